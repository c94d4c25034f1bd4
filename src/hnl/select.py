"""Step 2 of the analysis: preselection, categories, best candidate.

Order: definitions, generator matching (signal), preselection and categories as masks of candidates, one best candidate
per selection. There are seven selections: ``inclusive`` (the preselection alone) and the six categories. Each chooses
its own best candidate among the candidates that pass it, so an event may contribute different candidates to several.

Layout of the tree written: one entry per event with at least one choice. Every candidate column ``C_*`` is a short
vector with one element per choice *made*; ``selection`` says which selection made it (0 inclusive, then the categories
in the order of `CATEGORIES`), ``chosen`` is the candidate's index in the input. So ``C_Hnl_mass[selection == 3]`` is
the N mass of the third category's best candidate, or nothing. The alternatives are worse: seven trees are seven event
loops for the next step and seven files per chunk; seven scalar columns per variable are 400 columns, mostly empty;
one entry per choice is beyond RDataFrame, and breaks the key (run, lumi, event) by which runs are compared and weights
are joined.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hnl.constants import TRIGGER_PATHS
from portico import step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portico import Sample


@dataclass(frozen=True, slots=True)
class TriggerCuts:
    """Requirements on a muon that fired a path: dR and relative pT difference to the trigger muon, pT (GeV), |eta|."""

    max_dr: float = 0.05
    max_dptopt: float = 0.1
    min_pt: float = 7.5
    max_abs_eta: float = 1.45

    def cpp(self) -> str:
        """Return the same as a C++ value."""
        values = (self.max_dr, self.max_dptopt, self.min_pt, self.max_abs_eta)
        return f"hnl::TriggerCuts{{{', '.join(map(_double, values))}}}"


@dataclass(frozen=True, slots=True)
class Category:
    """One category: charges of the two muons, range of Lxy, and the cuts optimised for it.

    Attributes
    ----------
    name : str
        As in the original.
    sign : int
        +1: the muons have the same charge; -1: opposite charges.
    min_lxy, max_lxy : float
        Range of ``C_Hnl_vertex_2DDist_BS`` in cm, the lower edge included.
    min_significance : float
        ``C_Hnl_vertex_2DSig_BS`` is above.
    min_pion_ip : float
        Absolute ``C_pi_BS_ip_xy`` is above, in cm.
    min_muon_ips : float
        ``C_mu_Hnl_BS_ips_xy`` is above.
    """

    name: str
    sign: int
    min_lxy: float
    max_lxy: float
    min_significance: float
    min_pion_ip: float
    min_muon_ips: float

    def cpp(self) -> str:
        """Return the same as a C++ value."""
        values = (self.min_lxy, self.max_lxy, self.min_significance, self.min_pion_ip, self.min_muon_ips)
        return f"hnl::CategoryCuts{{{self.sign}, {', '.join(map(_double, values))}}}"


TRIGGER_CUTS: Final = TriggerCuts()

CATEGORIES: Final = (
    Category("SSlxy0to1", +1, 0.0, 1.0, 35.3, 0.03, 2.8),
    Category("SSlxy1to5", +1, 1.0, 5.0, 107.0, 0.03, 2.6),
    Category("SSlxy5toInf", +1, 5.0, math.inf, 191.8, 0.03, 3.0),
    Category("OSlxy0to1", -1, 0.0, 1.0, 38.2, 0.05, 3.5),
    Category("OSlxy1to5", -1, 1.0, 5.0, 120.5, 0.03, 2.2),
    Category("OSlxy5toInf", -1, 5.0, math.inf, 255.0, 0.03, 3.4),
)

INCLUSIVE: Final = "inclusive"
SELECTIONS: Final = (INCLUSIVE, *(category.name for category in CATEGORIES))

DS_MASS: Final = 1.96835  # GeV, the value of the original's residual

# Score of a candidate per rule, and the candidates that come before the others whatever their score.
RULES: Final[Mapping[str, tuple[str, str | None]]] = {
    "mass": (f"hnl::mass_score(C_Ds_mass, {DS_MASS!r})", None),
    "distance_ratio": (
        "hnl::ratio_score(C_Hnl_vertex_3DDist_PV, C_Ds_vertex_3DDist_PV)",
        "hnl::forward(C_Hnl_vertex_cos2D)",
    ),
    "cosine": ("hnl::product_score(C_Hnl_vertex_cos2D, C_Ds_vertex_cos2D)", None),
    "probability": ("hnl::product_score(C_Hnl_vertex_prob, C_Ds_vertex_prob)", None),
}

GENERATOR_FLAGS: Final = ("C_mu_Hnl_isHnlDaughter", "C_mu_Ds_isHnlBrother", "C_pi_isHnlDaughter")

_SPACE = tuple(f"{dimension}{what}_{origin}" for dimension in ("2D", "3D") for what in ("Dist", "Err", "Sig")
               for origin in ("BS", "PV"))  # fmt: skip
_VERTEX = (*_SPACE, "x", "y", "z", "prob", "cos2D", "cos3D")
_MUON = (
    *("pt", "eta", "phi", "charge", "idx", "isSoft", "isLoose", "isMedium", "isGlobal", "isTracker"),
    *("BS_ip", "BS_ip_xy", "BS_ips", "BS_ips_xy"),
    *("PV_ip", "PV_ip_xy", "PV_ip_z", "PV_ips", "PV_ips_xy", "PV_ips_z"),
)
_PION = (
    *("pt", "eta", "phi", "charge", "idx"),
    *("BS_ip_xy", "BS_ip_z", "BS_ips_xy", "BS_ips_z", "PV_ip_xy", "PV_ip_z", "PV_ips_xy", "PV_ips_z"),
)

#: Candidate columns carried to the output, all with the chosen candidate's value.
CANDIDATE_COLUMNS: Final = (
    *(f"C_Ds_{name}" for name in ("mass", "pt")),
    *(f"C_Hnl_{name}" for name in ("mass", "pt", "px", "py", "pz")),
    *(f"C_{particle}_vertex_{name}" for particle in ("Ds", "Hnl") for name in _VERTEX),
    *(f"C_mu_{parent}_{name}" for parent in ("Ds", "Hnl") for name in _MUON),
    *(f"C_pi_{name}" for name in _PION),
    *("C_mu1mu2_mass", "C_mu1mu2_dr", "C_mu1pi_dr", "C_mu2pi_dr"),
)
DERIVED_COLUMNS: Final = ("C_Hnl_p", "C_Hnl_l_prop", "C_trigger")
#: Carried where they exist: in simulation.
SIMULATION_COLUMNS: Final = ("C_Hnl_gen_l", "C_Hnl_gen_l_prop", *GENERATOR_FLAGS)
EVENT_COLUMNS: Final = ("run", "lumi", "event", "nPV")
_NUMBER_TYPES: Final = {"run": "std::uint32_t", "lumi": "std::uint32_t", "event": "std::uint64_t"}


@step(headers=["include/selection.h"])
def select(
    frame: Any,
    sample: Sample,
    *,
    rule: str = "mass",
    paths: Iterable[str] = TRIGGER_PATHS,
    missing_paths: str = "error",
    match_generator: bool = True,
) -> dict[str, Any]:
    """Choose the best candidate of every event in each of the seven selections.

    Parameters
    ----------
    frame : RDataFrame node
        Over ``wztree`` ntuples.
    sample : Sample
        Generator matching is applied to the kind ``signal`` only.
    rule : str
        ``mass`` (default): |m(mu mu pi) - 1.96835 GeV|, in float32, smallest. ``distance_ratio``: 3D distance of the N
        vertex to the PV over that of the Ds vertex largest, among candidates with N cos2D >= 0, or among all when none
        has it. ``cosine``, ``probability``: product of the N and Ds vertex cos2D, or probabilities, largest. Ties go to
        the lowest index; a score that is not a number loses against every other.
    paths : iterable of str
        Trigger paths of which one is required.
    missing_paths : str
        ``error``: a path without columns in the input is an error, since leaving it out changes the result. ``skip``:
        it did not fire.
    match_generator : bool
        Turn off to keep the unmatched candidates of signal.

    Returns
    -------
    dict
        ``candidates``: the tree described in this module's docstring; ``cutflow``; ``selected``: events per selection;
        ``multiplicity``: number of candidates against selection. Both histograms are unweighted.

    Raises
    ------
    ValueError
        For an unknown option, or columns that the input lacks.
    """
    _check_options(rule, missing_paths)
    available = {str(name) for name in frame.GetColumnNames()}
    matching = match_generator and sample.kind == "signal"
    required = (*EVENT_COLUMNS, *CANDIDATE_COLUMNS, *(GENERATOR_FLAGS if matching else ()), "HLT_mu_trig_idx")
    _require(required, available, sample)
    paths = _existing_paths(tuple(paths), available, sample, skip=missing_paths == "skip")

    node = _choose(_preselect(_define(frame), paths, matching=matching), rule, matching=matching)
    carried = [name for name in (*CANDIDATE_COLUMNS, *DERIVED_COLUMNS, *SIMULATION_COLUMNS)
               if name in available or name in DERIVED_COLUMNS]  # fmt: skip
    event = [name for name in (*EVENT_COLUMNS, "nPU_trueInt") if name in available]
    for name in carried:
        node = node.Redefine(name, f"hnl::pick({name}, chosen)")
    columns = [*event, "selection", "chosen", "multiplicity", *carried]
    return {
        "candidates": node.Snapshot("candidates", "candidates.root", columns),
        "cutflow": node.Report(),
        **_counts(node),
    }


def selection_title() -> str:
    """Title of an axis that numbers the selections."""
    return "selection (" + ", ".join(f"{number} {name}" for number, name in enumerate(SELECTIONS)) + ")"


def _counts(node: Any) -> dict[str, Any]:
    bins = (len(SELECTIONS), 0, len(SELECTIONS))
    selected = ("selected", f";{selection_title()};events", *bins)
    multiplicity = ("multiplicity", f";candidates;{selection_title()};events", 30, 0, 30, *bins)
    return {
        "selected": node.Histo1D(selected, "selection"),
        "multiplicity": node.Histo2D(multiplicity, "multiplicity", "selection"),
    }


def _define(frame: Any) -> Any:
    """Derived candidate variables, and run, lumi and event as the numbers they are whatever type the ntuple has."""
    for name, cpp_type in _NUMBER_TYPES.items():
        frame = frame.Redefine(name, f"static_cast<{cpp_type}>(hnl::number({name}))")
    frame = frame.Define("C_Hnl_p", "hnl::momentum(C_Hnl_px, C_Hnl_py, C_Hnl_pz)")
    return frame.Define("C_Hnl_l_prop", "hnl::proper_length(C_Hnl_vertex_3DDist_PV, C_Hnl_mass, C_Hnl_p)")


def _preselect(node: Any, paths: tuple[str, ...], *, matching: bool) -> Any:
    if matching:
        node = node.Define("C_matched", f"hnl::all_true({', '.join(GENERATOR_FLAGS)})")
        node = node.Filter("hnl::any_candidate(C_matched)", "generator matched")
    muons = ", ".join(f"C_mu_{parent}_{name}" for parent in ("Ds", "Hnl") for name in ("idx", "pt", "eta"))
    for path in paths:
        trigger = f"HLT_mu_trig_idx, HLT_{path}_matched, HLT_{path}_pt, HLT_{path}_dr"
        node = node.Define(f"C_fired_{path}", f"hnl::path_fired({muons}, {trigger}, {TRIGGER_CUTS.cpp()})")
    node = node.Define("C_trigger", f"hnl::any_path({', '.join(f'C_fired_{path}' for path in paths)})")
    return node.Filter("hnl::any_candidate(C_trigger)", "trigger")


def _choose(node: Any, rule: str, *, matching: bool) -> Any:
    masks = (
        "C_trigger, C_mu_Ds_isSoft, C_mu_Hnl_isSoft, C_mu_Ds_charge, C_mu_Hnl_charge, C_Hnl_vertex_2DDist_BS, "
        "C_Hnl_vertex_2DSig_BS, C_pi_BS_ip_xy, C_mu_Hnl_BS_ips_xy"
    )
    categories = ", ".join(category.cpp() for category in CATEGORIES)
    node = node.Define("C_selections", f"hnl::selections({masks}, {{{categories}}})")
    node = node.Filter("hnl::any_candidate(C_selections)", "preselection")
    score, preferred = RULES[rule]
    arguments = ", ".join(filter(None, ("C_selections", score, preferred, f"{len(SELECTIONS)}u")))
    best = f"hnl::best({arguments})"
    if matching:
        best = f"hnl::only_matched({best}, C_matched)"
    node = node.Define("best", best).Define("selection", "hnl::made(best)")
    node = node.Define("chosen", "hnl::pick(best, selection)")
    node = node.Define("multiplicity", "hnl::multiplicity(C_selections, selection)")
    return node.Filter("!chosen.empty()", "best candidate")


def _check_options(rule: str, missing_paths: str) -> None:
    if rule not in RULES:
        raise ValueError(f"rule = {rule!r}; the rules are {', '.join(RULES)}")
    if missing_paths not in ("error", "skip"):
        raise ValueError(f"missing_paths = {missing_paths!r}; it is 'error' or 'skip'")


def _require(names: Iterable[str], available: set[str], sample: Sample) -> None:
    missing = [name for name in names if name not in available]
    if missing:
        raise ValueError(
            f"sample {sample.name!r} ({sample.kind}) lacks columns that select needs: {', '.join(missing)}"
        )


def _existing_paths(paths: tuple[str, ...], available: set[str], sample: Sample, *, skip: bool) -> tuple[str, ...]:
    if unknown := [path for path in paths if path not in TRIGGER_PATHS]:
        raise ValueError(f"trigger paths {', '.join(unknown)} are unknown; known are {', '.join(TRIGGER_PATHS)}")
    needed = {path: [f"HLT_{path}_{name}" for name in ("matched", "pt", "dr")] for path in paths}
    missing = [name for names in needed.values() for name in names if name not in available]
    if missing and not skip:
        raise ValueError(
            f"sample {sample.name!r} lacks columns of trigger paths: {', '.join(missing)}; leave the path out of the "
            "option 'paths', or set missing_paths: skip"
        )
    existing = tuple(path for path, names in needed.items() if available.issuperset(names))
    if not existing:
        raise ValueError(
            f"sample {sample.name!r} has none of the trigger paths {', '.join(paths) or '(none asked for)'}"
        )
    return existing


def _double(value: float) -> str:
    """Return a C++ literal of exactly this double."""
    return "std::numeric_limits<double>::infinity()" if math.isinf(value) else repr(float(value))
