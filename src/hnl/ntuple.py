"""The parts that both ntuples share: event columns, blocks of candidate columns, and the skim itself.

Types are those of the original, with one element per candidate (``C_``), primary vertex (``PV_``) or trigger muon
(``HLT_``). ``docs/ntuple.md`` says what each column means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hnl.constants import TRIGGER_PATHS

#: Columns of the mother of a fitted vertex, without prefix.
VERTEX: Final[Mapping[str, str]] = dict.fromkeys(
    (
        *("mass", "massErr", "preFit_mass", "pt", "px", "py", "pz"),
        *(f"vertex_{name}" for name in ("x", "y", "z", "xErr", "yErr", "zErr", "chi2", "prob", "cos2D", "cos3D")),
        *(f"vertex_{n}D{what}_{origin}" for origin in ("BS", "PV") for n in (2, 3) for what in ("Dist", "Err", "Sig")),
    ),
    "float",
)

_TRACK: Final[Mapping[str, str]] = {
    **dict.fromkeys(("pt", "eta", "phi"), "float"),
    "charge": "int",
    "idx": "unsigned",
    **dict.fromkeys(("fitted_px", "fitted_py", "fitted_pz", "fitted_E"), "float"),
}

#: Columns of a muon, without prefix.
MUON: Final[Mapping[str, str]] = {
    **_TRACK,
    **dict.fromkeys(("isSoft", "isLoose", "isMedium", "isGlobal", "isTracker", "isStandAlone"), "short"),
    **dict.fromkeys(("BS_ip", "BS_ip_xy", "BS_ips", "BS_ips_xy"), "float"),
    **dict.fromkeys(("PV_ip", "PV_ip_xy", "PV_ip_z", "PV_ips", "PV_ips_xy", "PV_ips_z"), "float"),
}

#: Columns of the pion, without prefix.
PION: Final[Mapping[str, str]] = {
    **_TRACK,
    **dict.fromkeys(("BS_ip", "BS_ip_xy", "BS_ip_z", "BS_ips", "BS_ips_xy", "BS_ips_z"), "float"),
    **dict.fromkeys(("PV_ip_xy", "PV_ip_z", "PV_ips_xy", "PV_ips_z"), "float"),
}

#: Columns of the pairs of a candidate.
PAIRS: Final[Mapping[str, str]] = dict.fromkeys(
    ("C_mu1mu2_mass", "C_mu1mu2_dr", "C_mu1pi_dr", "C_mu2pi_dr"),
    "float",
)

#: Where the distances of a candidate are measured from, without prefix.
ORIGIN: Final[Mapping[str, str]] = {"BS_x": "float", "BS_y": "float", "BS_z": "float", "iBestPV": "int"}

#: Numbers of the event.
EVENT_COLUMNS: Final[Mapping[str, str]] = {
    "run": "unsigned", "lumi": "unsigned", "event": "unsigned long", "nCand": "int", "nPV": "int", "numTrack": "int",
}  # fmt: skip

#: Columns of the primary vertices.
PV_COLUMNS: Final[Mapping[str, str]] = dict.fromkeys(
    ("PV_x", "PV_y", "PV_z", "PV_xErr", "PV_yErr", "PV_zErr", "PV_prob"),
    "float",
)

#: Columns of the trigger muons.
TRIGGER_COLUMNS: Final[Mapping[str, str]] = {
    "HLT_mu_trig_idx": "unsigned",
    **{f"HLT_mu_trig_{name}": "float" for name in ("pt", "eta", "phi")},
    **{
        f"HLT_{path}_{name}": kind
        for path in TRIGGER_PATHS
        for name, kind in {
            "matched": "short", "pt": "float", "eta": "float", "dr": "float", "prescale": "int",
        }.items()
    },
}  # fmt: skip


def prefixed(prefix: str, columns: Mapping[str, str]) -> dict[str, str]:
    """Return columns and types with the names prefixed."""
    return {prefix + name: kind for name, kind in columns.items()}


def with_candidates(frame: Any, define: str = "define_candidates") -> Any:
    """Keep events with a candidate, and define the columns of the event and of its candidates.

    Parameters
    ----------
    frame : ROOT.RDataFrame
        Over the tree ``events`` that `hnl.simulate` describes.
    define : str
        The C++ function that finds the candidates and defines their columns.

    Returns
    -------
    ROOT.RDF.RNode
        With the columns of `EVENT_COLUMNS`, `PV_COLUMNS`, `TRIGGER_COLUMNS`, and of candidates.
    """
    import ROOT

    return getattr(ROOT.hnl, define)(ROOT.RDF.AsRNode(frame), list(TRIGGER_PATHS))


def build_ntuple(
    frame: Any, sample: Any, define: str, define_generator: str, candidate: Mapping[str, str],
    generator: Mapping[str, str], histograms: Mapping[str, tuple[str, int, float, float, str]],
) -> dict[str, Any]:  # fmt: skip
    """Build candidates, and return the products of a skim.

    Parameters
    ----------
    frame : ROOT.RDataFrame
        Over the tree ``events`` that `hnl.simulate` describes.
    sample : portico.Sample
        Of kind ``data``, which has no generator columns, or another.
    define, define_generator : str
        The C++ functions that find the candidates (see `with_candidates`), and that define generator columns.
    candidate, generator : mapping of str to str
        Columns of candidates, and those of simulation only, with the types of their elements.
    histograms : mapping of str to (str, int, float, float, str)
        Titles, bins, range and column of histograms of all candidates.

    Returns
    -------
    dict
        ``wztree``: the ntuple. ``cutflow``: the report. The histograms, and ``candidates``, their number in an event.
    """
    import ROOT

    frame = with_candidates(frame, define)
    columns = [*EVENT_COLUMNS, *PV_COLUMNS, *TRIGGER_COLUMNS, *candidate]
    if sample.kind != "data":
        frame = getattr(ROOT.hnl, define_generator)(frame)
        columns += ["nPU_trueInt", *generator]
    return {
        "wztree": frame.Snapshot("wztree", "wztree.root", columns),
        "cutflow": frame.Report(),
        **{name: frame.Histo1D((name, *model), column) for name, (*model, column) in histograms.items()},
        "candidates": frame.Histo1D(("candidates", ";candidates;events", 50, 0, 50), "nCand"),
    }
