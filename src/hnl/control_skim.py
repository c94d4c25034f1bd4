"""The skim of the control channel: Ds (or D+) -> phi pi, phi -> mu mu, as a flat ntuple like that of `hnl.skim`.

Differs from `hnl.skim` in its candidates: ``C_Ds_*`` is the vertex of all three tracks, since the phi does not fly, and
``C_Phi_*`` that of the two muons alone. ``docs/ntuple.md`` has the columns. Lengths are in cm, momenta in GeV.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hnl.ntuple import MUON, ORIGIN, PAIRS, PION, VERTEX, build_ntuple, prefixed
from portico import step

#: Candidate columns and the types of their elements.
CANDIDATE_COLUMNS: Final[Mapping[str, str]] = {
    **prefixed("C_Ds_", {**VERTEX, **ORIGIN}),
    **prefixed("C_Phi_", VERTEX),
    **prefixed("C_mu1_Phi_", MUON),
    **prefixed("C_mu2_Phi_", MUON),
    **prefixed("C_pi_", PION),
    **PAIRS,
}

#: Candidate columns of simulation only and the types of their elements.
GENERATOR_COLUMNS: Final[Mapping[str, str]] = {
    "C_mu1_Phi_isPhiDaughter": "short",
    "C_mu2_Phi_isPhiDaughter": "short",
    "C_mu2_Phi_hasBAncestor": "short",
    "C_pi_isDsDaughter": "short",
    "C_Ds_gen_pdgId": "int",
}


@step(headers=["include/columns.h"], sources=["source/skim.cc"])
def control_skim(frame: Any, sample: Any) -> dict[str, Any]:
    """Build mu mu pi candidates with the two muons from a phi.

    Parameters
    ----------
    frame : ROOT.RDataFrame
        Over the tree ``events`` that `hnl.simulate` describes.
    sample : portico.Sample
        Of kind ``data``, which has no generator columns, or another.

    Returns
    -------
    dict
        ``wztree``: the ntuple. ``cutflow``: the report. ``ds_mass``, ``phi_mass``, ``ds_prob``, ``candidates``:
        histograms of all candidates.
    """
    histograms = {
        "ds_mass": (";m(#mu#mu#pi) (GeV);candidates", 140, 1.6, 2.3, "C_Ds_mass"),
        "phi_mass": (";m(#mu#mu) (GeV);candidates", 100, 0.9, 1.15, "C_Phi_mass"),
        "ds_prob": (";vertex probability;candidates", 50, 0, 1, "C_Ds_vertex_prob"),
    }
    return build_ntuple(
        frame, sample, "define_control_candidates", "define_control_generator", CANDIDATE_COLUMNS,
        GENERATOR_COLUMNS, histograms,
    )  # fmt: skip
