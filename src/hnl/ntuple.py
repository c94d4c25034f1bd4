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

_MUON_INPUT: Final = (
    "Muon_track, Muon_isSoft, Muon_isLoose, Muon_isMedium, Muon_isGlobal, Muon_isTracker, Muon_isStandAlone"
)
_TRACK_INPUT: Final = "Track_qOverP, Track_lambda, Track_phi, Track_dxy, Track_dsz, Track_cov"
_TRIGGER_INPUT: Final = "Trig_muon, Trig_paths, Trig_pt, Trig_eta, Trig_phi"
_GENERATOR_INPUT: Final = (
    "Track_gen, Gen_pdgId, Gen_mother, Gen_motherPdgId, Gen_px, Gen_py, Gen_pz, Gen_mass, Gen_vx, Gen_vy, Gen_vz"
)


def prefixed(prefix: str, columns: Mapping[str, str]) -> dict[str, str]:
    """Return columns and types with the names prefixed."""
    return {prefix + name: kind for name, kind in columns.items()}


def with_candidates(frame: Any, finder: str) -> Any:
    """Keep events with a candidate, and define the columns of the event and what others are read from.

    Parameters
    ----------
    frame : ROOT.RDataFrame
        Over the tree ``events`` that `hnl.simulate` describes.
    finder : str
        The C++ function that makes the column ``candidates`` from tracks, muons, trigger flags, beam spot and vertices.

    Returns
    -------
    ROOT.RDF.RNode
        With the columns of `EVENT_COLUMNS`, `PV_COLUMNS` and `TRIGGER_COLUMNS`.
    """
    import ROOT

    frame = frame.Filter("Muon_track.size() >= 2", "two muons")
    frame = frame.Define("muons", f"hnl::read_muons({_MUON_INPUT})")
    frame = frame.Define("fired", "hnl::trigger_muons(Track_qOverP, Track_lambda, muons, Trig_muon)")
    frame = frame.Filter("ROOT::VecOps::Any(fired)", "trigger muon")
    frame = frame.Define("beam_spot", "hnl::read_beam_spot(BS_x, BS_y, BS_z, BS_widthX, BS_widthY, BS_widthZ)")
    frame = frame.Define("tracks", f"hnl::read_tracks(beam_spot, {_TRACK_INPUT})")
    frame = frame.Define("vertices", "hnl::read_vertices(PV_x, PV_y, PV_z, PV_cov)")
    frame = frame.Define("candidates", f"{finder}(tracks, muons, fired, beam_spot, vertices)")
    frame = frame.Define("nCand", "candidates.size()").Filter("nCand > 0", "a candidate")
    frame = frame.Define("nPV", "int(PV_z.size())").Define("numTrack", "int(Track_phi.size())")
    for axis in "xyz":
        frame = frame.Define(f"PV_{axis}Err", f"hnl::vertex_error(PV_cov, {axis!r})")
    frame = frame.Define("trigger", f"hnl::match_trigger(tracks, muons, fired, {_TRIGGER_INPUT})")
    return ROOT.hnl.define_trigger_columns(ROOT.RDF.AsRNode(frame), list(TRIGGER_PATHS))


def build_ntuple(
    frame: Any, sample: Any, find: str, define: str, candidate: Mapping[str, str],
    generator: Mapping[str, tuple[str, str]], histograms: Mapping[str, tuple[str, int, float, float, str]],
) -> dict[str, Any]:  # fmt: skip
    """Build candidates, and return the products of a skim.

    Parameters
    ----------
    frame : ROOT.RDataFrame
        Over the tree ``events`` that `hnl.simulate` describes.
    sample : portico.Sample
        Of kind ``data``, which has no generator columns, or another.
    find, define : str
        The C++ functions that find the candidates (see `with_candidates`) and define their columns.
    candidate : mapping of str to str
        Columns of candidates, and the types of their elements.
    generator : mapping of str to (str, str)
        Type and C++ expression of columns of simulation; expressions may use ``generator``.
    histograms : mapping of str to (str, int, float, float, str)
        Titles, bins, range and column of histograms of all candidates.

    Returns
    -------
    dict
        ``wztree``: the ntuple. ``cutflow``: the report. The histograms, and ``candidates``, their number in an event.
    """
    import ROOT

    frame = getattr(ROOT.hnl, define)(with_candidates(frame, f"hnl::{find}"))
    columns = [*EVENT_COLUMNS, *PV_COLUMNS, *TRIGGER_COLUMNS, *candidate]
    if sample.kind != "data":
        frame = frame.Define("generator", f"hnl::read_generator({_GENERATOR_INPUT})")
        for column, (_, expression) in generator.items():
            frame = frame.Define(column, expression)
        columns += ["nPU_trueInt", *generator]
    return {
        "wztree": frame.Snapshot("wztree", "wztree.root", columns),
        "cutflow": frame.Report(),
        **{name: frame.Histo1D((name, *model), column) for name, (*model, column) in histograms.items()},
        "candidates": frame.Histo1D(("candidates", ";candidates;events", 50, 0, 50), "nCand"),
    }
