"""Step 1 of the analysis: mu mu pi candidates with their vertices, as a flat ntuple.

Reads the tree ``events`` and writes ``wztree`` with the columns of the original ntuples, and a few more;
``docs/ntuple.md`` says what each means and how the vertices are fitted. All lengths are in cm except
``C_Hnl_gen_l_prop``, the proper decay length of the generated N, in mm; momenta in GeV. The generator's decay lengths
are those of the event's N for every candidate, and -1 where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hnl.ntuple import MUON, ORIGIN, PAIRS, PION, VERTEX, build_ntuple, prefixed
from portico import step

#: Candidate columns and the types of their elements.
CANDIDATE_COLUMNS: Final[Mapping[str, str]] = {
    **prefixed("C_Ds_", VERTEX),
    **prefixed("C_Hnl_", VERTEX),
    **prefixed("C_mu_Ds_", {**MUON, **ORIGIN}),
    **prefixed("C_mu_Hnl_", MUON),
    **prefixed("C_pi_", PION),
    **PAIRS,
}

#: Candidate columns of simulation only and the types of their elements.
GENERATOR_COLUMNS: Final[Mapping[str, str]] = {
    "C_Hnl_gen_l": "float",
    "C_Hnl_gen_l_prop": "float",
    "C_mu_Hnl_isHnlDaughter": "short",
    "C_mu_Ds_isHnlBrother": "short",
    "C_pi_isHnlDaughter": "short",
}


@step(headers=["include/columns.h"], sources=["source/skim.cc"])
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
    histograms = {
        "hnl_mass": (";m(#mu#pi) (GeV);candidates", 140, 0, 7, "C_Hnl_mass"),
        "ds_mass": (";m(#mu#mu#pi) (GeV);candidates", 200, 0, 10, "C_Ds_mass"),
        "hnl_prob": (";N vertex probability;candidates", 50, 0, 1, "C_Hnl_vertex_prob"),
        "hnl_lxy": (";L_{xy} (cm);candidates", 100, 0, 100, "C_Hnl_vertex_2DDist_BS"),
    }
    return build_ntuple(
        frame, sample, "define_candidates", "define_candidate_generator", CANDIDATE_COLUMNS, GENERATOR_COLUMNS,
        histograms,
    )  # fmt: skip
