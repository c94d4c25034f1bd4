"""Step 0 of the analysis: make event files of signal, control channel and background.

A sample of generated events has no files but a number of entries, and each event follows from the sample's seed and
the entry's number alone: results are the same bit for bit however the entries are cut. Parameters of the sample:

``process``
    ``signal`` (Ds -> mu N, N -> mu pi), ``control`` (Ds -> phi pi, phi -> mu mu) or ``background`` (charm and beauty
    with muons; also with another seed as stand-in for data).
``mass``, ``ctau``
    Of N, in GeV and mm, for ``signal``.
``seed``
    A whole number from 0 on.
``min_muons``
    Identified muons (fakes included) that an event must have, 1 by default. 2 leaves out what the skim cannot use.

Every entry repeats the generation until a trigger fires and there are enough muons. How many decays of Ds mesons (in
``background``: events) of the full spectrum that took is in the column ``generated`` and, summed, in the product
``generated``: the efficiency of generator and trigger is the number of events written over that sum.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hnl.constants import MASSES, TRIGGER_PATHS
from portico import step

FOLDER: Final = Path(__file__).parent / "pools"

SIMULATED_RUN: Final = 1
DATA_RUN: Final = 321000  # a number like those of 2018, so that nothing takes the stand-in for simulation
EVENTS_PER_LUMI: Final = 1000

#: Columns of the event tree and the members of ``hnl::Event`` that they come from.
EVENT_COLUMNS: Final[Mapping[str, str]] = {
    **{f"BS_{axis}": f"bs_{axis}" for axis in "xyz"},
    **{f"BS_width{axis.upper()}": f"bs_width_{axis}" for axis in "xyz"},
    **{f"PV_{name}": f"pv_{name}" for name in ("x", "y", "z", "cov", "prob")},
    "Track_qOverP": "track_q_over_p",
    **{f"Track_{name}": f"track_{name}" for name in ("lambda", "phi", "dxy", "dsz", "cov", "charge")},
    "Muon_track": "muon_track",
    **{f"Muon_is{name}": f"muon_{name.lower()}" for name in ("Soft", "Loose", "Medium", "Global", "Tracker")},
    "Muon_isStandAlone": "muon_stand_alone",
    **{f"Trig_{name}": f"trigger_{name}" for name in ("muon", "paths", "pt", "eta", "phi")},
}

#: The same for what only simulation has.
GENERATOR_COLUMNS: Final[Mapping[str, str]] = {
    "Track_gen": "track_gen",
    "Gen_pdgId": "gen_pdg",
    "Gen_mother": "gen_mother",
    "Gen_motherPdgId": "gen_mother_pdg",
    **{f"Gen_{name}": f"gen_{name}" for name in ("px", "py", "pz", "mass", "vx", "vy", "vz")},
}


def pool_factor(pool: str, description: Mapping[str, Any]) -> float:
    """Return how many decays (events) of the full spectrum one draw from a pool stands for.

    Parameters
    ----------
    pool : {"ds", "background"}
        Which pool.
    description : mapping
        Content of ``pools.json``.

    Returns
    -------
    float
        Rounded to 1/1024, so that sums of it are exact and do not depend on their order.
    """
    prefix = "ds_" if pool == "ds" else ""
    total, kept = f"{prefix}cross_section_pb", f"{prefix}kept_cross_section_pb"
    processes = description[pool].values()
    ratio = float(sum(p[total] for p in processes) / sum(p[kept] for p in processes))
    return round(1024 * ratio) / 1024


def event_expression(parameters: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    """Return the C++ call that simulates one entry.

    Parameters
    ----------
    parameters : mapping
        Of the sample, as described above.
    description : mapping
        Content of ``pools.json``.

    Raises
    ------
    ValueError
        If a parameter is missing, unknown or out of range.
    """
    process = parameters.get("process")
    seed, muons = _whole(parameters, "seed", None), _whole(parameters, "min_muons", 1)
    pool = "background" if process == "background" else "ds"
    request = f"hnl::Request{{{seed}ULL, {pool_factor(pool, description)!r}, {muons}}}"
    if process == "signal":
        mass, ctau = (_number(parameters, name) for name in ("mass", "ctau"))
        low, high = MASSES["muon"] + MASSES["pion"], MASSES["Ds"] - MASSES["muon"]
        if not low < mass < high or not ctau > 0.0:
            allowed = f"mass must be between {low:.4f} and {high:.4f}, ctau above 0"
            raise ValueError(f"mass {mass} GeV, ctau {ctau} mm: {allowed}")
        return f"hnl::simulate_signal(entry, {request}, {mass!r}, {ctau!r})"
    if process in {"control", "background"}:
        return f"hnl::simulate_{process}(entry, {request})"
    raise ValueError(f"parameter 'process' is {process!r}; possible are 'signal', 'control' and 'background'")


@step(
    headers=["include/event.h"],
    files=["pools/ds.root", "pools/background.root", "pools/pools.json"],
)
def simulate(frame: Any, sample: Any) -> dict[str, Any]:
    """Simulate the entries of a generated sample.

    Parameters
    ----------
    frame : ROOT.RDataFrame
        With the one column ``entry``.
    sample : portico.Sample
        Of kind ``data`` (no generator information is written) or another; its parameters are described above.

    Returns
    -------
    dict
        ``events``: the tree ``events``. ``generated``: sum of generated decays or events. ``cutflow``: the report.
        ``tracks``, ``trigger_pt``, ``trigger_paths``: histograms.
    """
    import ROOT

    ROOT.hnl.load_pools(str(FOLDER / "ds.root"), str(FOLDER / "background.root"))
    description = json.loads((FOLDER / "pools.json").read_text(encoding="utf-8"))
    frame = frame.Define("simulated", event_expression(sample.parameters, description))
    frame = frame.Define("generated", "simulated.generated_decays")
    generated = frame.Sum("generated")
    frame = frame.Filter("simulated.triggered", "trigger fired")

    is_data = sample.kind == "data"
    scalars = {
        "run": f"unsigned({DATA_RUN if is_data else SIMULATED_RUN})",
        "lumi": f"unsigned(entry / {EVENTS_PER_LUMI} + 1)",
        "event": "ULong64_t(entry + 1)",
    }
    members = {**EVENT_COLUMNS, **({} if is_data else GENERATOR_COLUMNS)}
    columns = {**scalars, **{column: f"simulated.{member}" for column, member in members.items()}}
    if not is_data:
        columns["nPU_trueInt"] = "0"
    for column, expression in columns.items():
        frame = frame.Define(column, expression)
    paths = len(TRIGGER_PATHS)
    monitor = frame.Define("n_tracks", "Track_phi.size()").Define(
        "trigger_path", f"hnl::fired_paths(Trig_paths, {paths})"
    )
    return {
        "events": frame.Snapshot("events", "events.root", [*columns, *([] if is_data else ["generated"])]),
        "generated": generated,
        "cutflow": frame.Report(),
        "tracks": monitor.Histo1D(("tracks", ";tracks;events", 100, 0, 200), "n_tracks"),
        "trigger_pt": monitor.Histo1D(("trigger_pt", ";trigger muon p_{T} (GeV);muons", 60, 0, 60), "Trig_pt"),
        "trigger_paths": monitor.Histo1D(("trigger_paths", ";path;muons", paths, 0, paths), "trigger_path"),
    }


def _whole(parameters: Mapping[str, Any], name: str, default: int | None) -> int:
    value = parameters.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"parameter '{name}' is {value!r}; give a whole number from 0 on, for example: {name}: 1")
    return value


def _number(parameters: Mapping[str, Any], name: str) -> float:
    value = parameters.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"parameter '{name}' is {value!r}; signal needs a number, for example: {name}: 1.0")
    return float(value)
