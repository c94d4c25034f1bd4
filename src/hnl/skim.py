"""Step 1 of the analysis: mu mu pi candidates with their vertices, as a flat ntuple.

Reads the tree ``events`` and writes ``wztree`` with the columns of the original ntuples. All lengths are in cm except
``C_Hnl_gen_l_prop``, the proper decay length of the generated N, in mm; momenta in GeV. The generator's decay lengths
are those of the event's N for every candidate, and -1 where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hnl.constants import TRIGGER_PATHS
from portico import step

_KINEMATICS: Final = ("mass", "pt", "px", "py", "pz")
_VERTEX: Final = (
    *(f"vertex_{name}" for name in ("x", "y", "z", "xErr", "yErr", "zErr", "prob", "cos2D", "cos3D")),
    *(f"vertex_{n}D{what}_{origin}" for n in (2, 3) for what in ("Dist", "Err", "Sig") for origin in ("BS", "PV")),
)
_TRACK: Final = ("pt", "eta", "phi", "charge", "idx", "fitted_px", "fitted_py", "fitted_pz", "fitted_E")
_FLAGS: Final = ("isSoft", "isLoose", "isMedium", "isGlobal", "isTracker", "isStandAlone")
_MUON_IMPACT: Final = (
    *("BS_ip", "BS_ip_xy", "BS_ips", "BS_ips_xy"),
    *("PV_ip", "PV_ip_xy", "PV_ip_z", "PV_ips", "PV_ips_xy", "PV_ips_z"),
)
_PION_IMPACT: Final = (
    *("BS_ip", "BS_ip_xy", "BS_ip_z", "BS_ips", "BS_ips_xy", "BS_ips_z"),
    *("PV_ip_xy", "PV_ip_z", "PV_ips_xy", "PV_ips_z"),
)
_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "Ds": (*_KINEMATICS, *_VERTEX),
    "Hnl": (*_KINEMATICS, *_VERTEX),
    "mu_Ds": (*_TRACK, *_FLAGS, *_MUON_IMPACT),
    "mu_Hnl": (*_TRACK, *_FLAGS, *_MUON_IMPACT),
    "pi": (*_TRACK, *_PION_IMPACT),
}

#: Candidate columns and where they come from.
CANDIDATE_COLUMNS: Final[Mapping[str, str]] = {
    **{f"C_{part}_{name}": f"candidates.{part}.{name}" for part, names in _PARTS.items() for name in names},
    **{f"C_{name}": f"candidates.{name}" for name in ("mu1mu2_mass", "mu1mu2_dr", "mu1pi_dr", "mu2pi_dr")},
    **{f"C_mu_Ds_{name}": f"candidates.mu_Ds_{name}" for name in ("BS_x", "BS_y", "BS_z", "iBestPV")},
}

#: The same for simulation only.
GENERATOR_COLUMNS: Final[Mapping[str, str]] = {
    "C_Hnl_gen_l": "ROOT::RVecF(nCand, generator.l)",
    "C_Hnl_gen_l_prop": "ROOT::RVecF(nCand, generator.l_prop)",
    "C_mu_Hnl_isHnlDaughter": "hnl::is_daughter(candidates.track_mu_Hnl, generator, 13, 9900015)",
    "C_mu_Ds_isHnlBrother": "hnl::is_hnl_brother(candidates.track_mu_Ds, generator)",
    "C_pi_isHnlDaughter": "hnl::is_daughter(candidates.track_pi, generator, 211, 9900015)",
}

#: Columns of the event: identity, vertices and trigger muons.
EVENT_COLUMNS: Final[Mapping[str, str]] = {
    "nCand": "candidates.size()",
    "nPV": "int(vertices.size())",
    "numTrack": "int(tracks.size())",
    **{f"PV_{axis}Err": f"hnl::vertex_error(PV_cov, {axis!r})" for axis in "xyz"},
    **{f"HLT_mu_trig_{name}": f"trigger.{name}" for name in ("idx", "pt", "eta", "phi")},
    **{
        f"HLT_{path}_{name}": f"trigger.path[{k}].{name}"
        for k, path in enumerate(TRIGGER_PATHS)
        for name in ("matched", "pt", "eta", "dr", "prescale")
    },
}

#: Columns passed through.
KEPT_COLUMNS: Final = ("run", "lumi", "event", "PV_x", "PV_y", "PV_z", "PV_prob")

_MUON_INPUT: Final = (
    "Muon_track, Muon_isSoft, Muon_isLoose, Muon_isMedium, Muon_isGlobal, Muon_isTracker, Muon_isStandAlone"
)
_GENERATOR_INPUT: Final = (
    "Track_gen, Gen_pdgId, Gen_mother, Gen_motherPdgId, Gen_px, Gen_py, Gen_pz, Gen_mass, Gen_vx, Gen_vy, Gen_vz"
)


@step(headers=["include/matching.h"])
def skim(frame: Any, sample: Any) -> dict[str, Any]:
    """Build mu mu pi candidates.

    Parameters
    ----------
    frame : ROOT.RDataFrame
        Over the tree ``events`` that `hnl.simulate` describes.
    sample : portico.Sample
        Of kind ``data``, which has no generator columns, or another.

    Returns
    -------
    dict
        ``wztree``: the ntuple. ``cutflow``: the report. ``hnl_mass``, ``ds_mass``, ``hnl_prob``, ``hnl_lxy``,
        ``candidates``: histograms of all candidates.
    """
    frame = _with_candidates(frame)
    columns = {**EVENT_COLUMNS, **CANDIDATE_COLUMNS}
    kept = list(KEPT_COLUMNS)
    if sample.kind != "data":
        frame = frame.Define("generator", f"hnl::read_generator({_GENERATOR_INPUT})")
        columns |= GENERATOR_COLUMNS
        kept.append("nPU_trueInt")
    for column, expression in columns.items():
        frame = frame.Define(column, expression)
    return {
        "wztree": frame.Snapshot("wztree", "wztree.root", [*kept, *columns]),
        "cutflow": frame.Report(),
        "hnl_mass": frame.Histo1D(("hnl_mass", ";m(#mu#pi) (GeV);candidates", 140, 0, 7), "C_Hnl_mass"),
        "ds_mass": frame.Histo1D(("ds_mass", ";m(#mu#mu#pi) (GeV);candidates", 200, 0, 10), "C_Ds_mass"),
        "hnl_prob": frame.Histo1D(("hnl_prob", ";N vertex probability;candidates", 50, 0, 1), "C_Hnl_vertex_prob"),
        "hnl_lxy": frame.Histo1D(("hnl_lxy", ";L_{xy} (cm);candidates", 100, 0, 100), "C_Hnl_vertex_2DDist_BS"),
        "candidates": frame.Histo1D(("candidates", ";candidates;events", 50, 0, 50), "nCand"),
    }


def _with_candidates(frame: Any) -> Any:
    """Keep events with a candidate, and define what the columns are read from."""
    frame = frame.Filter("Muon_track.size() >= 2", "two muons")
    frame = frame.Define("beam_spot", "hnl::read_beam_spot(BS_x, BS_y, BS_z, BS_widthX, BS_widthY, BS_widthZ)")
    tracks = "Track_qOverP, Track_lambda, Track_phi, Track_dxy, Track_dsz, Track_cov"
    frame = frame.Define("tracks", f"hnl::read_tracks(beam_spot, {tracks})")
    frame = frame.Define("muons", f"hnl::read_muons({_MUON_INPUT})")
    frame = frame.Define("fired", "hnl::trigger_muons(tracks, muons, Trig_muon)")
    frame = frame.Filter("ROOT::VecOps::Any(fired)", "trigger muon")
    frame = frame.Define("vertices", "hnl::read_vertices(PV_x, PV_y, PV_z, PV_cov)")
    frame = frame.Define("candidates", "hnl::find_candidates(tracks, muons, fired, beam_spot, vertices)")
    frame = frame.Filter("candidates.size() > 0", "a candidate")
    return frame.Define(
        "trigger", "hnl::match_trigger(tracks, muons, fired, Trig_muon, Trig_paths, Trig_pt, Trig_eta, Trig_phi)"
    )
