"""Step 0 of the analysis: make event files of signal, control channel and background.

A sample of generated events has no files but a number of entries, and each event follows from the sample's seed and
the entry's number alone: results are the same bit for bit however the entries are cut. Parameters of the sample:

``process``
    ``signal`` (Ds -> mu N, N -> mu pi), ``control`` (Ds or D+ -> phi pi, phi -> mu mu), ``background`` (charm and
    beauty with muons; also with another seed as stand-in for data) or ``mixture`` of these.
``mass``, ``ctau``
    Of N, in GeV and mm, for ``signal``.
``meson``
    ``Ds`` (default) or ``Dplus``, for ``control``.
``origin``
    ``all`` (default), ``prompt`` or ``b``: which mesons are taken, for ``signal`` and ``control``.
``fractions``
    For ``mixture``: shares of ``signal``, ``control``, ``control_dplus``, ``background`` in the events, which add to 1.
``mode``, ``pileup``
    ``fast`` (default) has no pile-up, ``data-like`` 30 additional collisions on average; ``pileup`` is another mean.
``seed``
    An integer from 0 on.
``min_muons``
    Identified muons (fakes and those of pile-up included) that an event must have, 1 by default. 2 leaves out what the
    skim cannot use.

Every entry repeats the generation until a trigger fires and there are enough muons. How many decays of Ds (or D+)
mesons (in ``background``: events) of the full spectrum, of the chosen origin, that took is in the column ``generated``
and, summed, in the product ``generated``: the efficiency of generator and trigger is the number of events written over
that sum. It is 0 for a mixture, whose parts have a normalisation each. ``docs/events.md`` describes the columns.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from hnl.constants import TRIGGER_PATHS
from hnl.processes import event_expression, is_mixture
from portico import step
from portico.errors import nearest

FOLDER: Final = Path(__file__).parent / "pools"

SIMULATED_RUN: Final = 1
DATA_RUN: Final = 321000  # a number like those of 2018, so that nothing takes the stand-in for simulation
EVENTS_PER_LUMI: Final = 1000
CLUSTER_BYTES: Final = 2 * 2**20  # compressed: a chunk of a few thousand events gives several clusters

#: Columns of the event tree.
EVENT_COLUMNS: Final = (
    *("run", "lumi", "event", "BS_x", "BS_y", "BS_z", "BS_widthX", "BS_widthY", "BS_widthZ"),
    *(f"PV_{name}" for name in ("x", "y", "z", "cov", "prob", "nTracks", "sumPt2")),
    *(f"Track_{name}" for name in ("qOverP", "lambda", "phi", "dxy", "dsz", "cov", "charge")),
    "Muon_track",
    *(f"Muon_is{name}" for name in ("Soft", "Loose", "Medium", "Global", "Tracker", "StandAlone")),
    *(f"Trig_{name}" for name in ("muon", "paths", "pt", "eta", "phi")),
)

#: What only simulation has.
GENERATOR_COLUMNS: Final = (
    *("nPU_trueInt", "nPU", "Track_gen", "Track_collision", "Gen_pdgId", "Gen_mother", "Gen_motherPdgId"),
    *(f"Gen_{name}" for name in ("px", "py", "pz", "mass", "vx", "vy", "vz")),
)


@step(
    headers=["include/simulate.h"],
    sources=["source/simulate.cc"],
    files=[
        "pools/ds.root",
        "pools/dplus.root",
        "pools/background.root",
        "pools/minbias.root",
        "pools/pools.json",
    ],
)
def simulate(frame: Any, sample: Any, *, format: str = "rntuple") -> dict[str, Any]:  # noqa: A002 (the option's name)
    """Simulate the entries of a generated sample.

    Parameters
    ----------
    frame : ROOT.RDataFrame
        With the one column ``entry``.
    sample : portico.Sample
        Of kind ``data`` (no generator information is written) or another; its parameters are described above.
    format : {"rntuple", "ttree"}
        What the events are written as; either has several clusters a file.

    Returns
    -------
    dict
        ``events``: the tree ``events``. ``generated``: sum of generated decays or events. ``cutflow``: the report.
        ``tracks``, ``vertices``, ``trigger_pt``, ``trigger_paths``: histograms.

    Raises
    ------
    ValueError
        If a parameter of the sample or the format is wrong.
    """
    import ROOT

    options = _written_as(format)
    ROOT.hnl.load_pools(str(FOLDER))
    description = json.loads((FOLDER / "pools.json").read_text(encoding="utf-8"))
    frame = frame.Define("simulated", event_expression(sample.parameters, description))
    frame = frame.Define("generated", "0.0" if is_mixture(sample.parameters) else "simulated.generated_decays")
    generated = frame.Sum("generated")
    frame = frame.Filter("simulated.triggered", "trigger fired")

    is_data = sample.kind == "data"
    run = DATA_RUN if is_data else SIMULATED_RUN
    frame = ROOT.hnl.define_event_columns(ROOT.RDF.AsRNode(frame), run, EVENTS_PER_LUMI)
    columns = [*EVENT_COLUMNS, *([] if is_data else [*GENERATOR_COLUMNS, "generated"])]
    paths = len(TRIGGER_PATHS)
    monitor = frame.Define("n_tracks", "Track_phi.size()").Define("n_vertices", "PV_z.size()")
    monitor = monitor.Define("trigger_path", f"hnl::fired_paths(Trig_paths, {paths})")
    return {
        "events": frame.Snapshot("events", "events.root", columns, options),
        "generated": generated,
        "cutflow": frame.Report(),
        "tracks": monitor.Histo1D(("tracks", ";tracks;events", 200, 0, 1000), "n_tracks"),
        "vertices": monitor.Histo1D(("vertices", ";primary vertices;events", 80, 0, 80), "n_vertices"),
        "trigger_pt": monitor.Histo1D(("trigger_pt", ";trigger muon p_{T} (GeV);muons", 60, 0, 60), "Trig_pt"),
        "trigger_paths": monitor.Histo1D(("trigger_paths", ";path;muons", paths, 0, paths), "trigger_path"),
    }



def _written_as(name: str) -> Any:
    """Return the options of a Snapshot with clusters small enough for many chunks."""
    import ROOT

    formats = ROOT.RDF.ESnapshotOutputFormat
    options = ROOT.RDF.RSnapshotOptions()
    options.fCompressionAlgorithm = ROOT.RCompressionSetting.EAlgorithm.kZSTD
    options.fCompressionLevel = 1  # measured numbers hardly compress: level 5 gains 3% and halves the speed
    if name == "rntuple":
        options.fOutputFormat = formats.kRNTuple
        options.fApproxZippedClusterSize = CLUSTER_BYTES
    elif name == "ttree":
        options.fOutputFormat = formats.kTTree
        options.fAutoFlush = -CLUSTER_BYTES  # negative: bytes, not entries
    else:
        raise ValueError(f"option 'format' is {name!r}; {nearest(name, ('rntuple', 'ttree'))}")
    return options
