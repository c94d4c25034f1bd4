"""The selection of hnl written a second time, with awkward and numpy: masks, and the choice of a candidate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import awkward as ak
import numpy as np

from hnl.constants import TRIGGER_PATHS

RULES = ("mass", "distance_ratio", "cosine", "probability")
CUTS = {  # sign, Lxy range, significance, pion ip, muon ips: typed in again, not imported
    "SSlxy0to1": (1, 0.0, 1.0, 35.3, 0.03, 2.8),
    "SSlxy1to5": (1, 1.0, 5.0, 107.0, 0.03, 2.6),
    "SSlxy5toInf": (1, 5.0, np.inf, 191.8, 0.03, 3.0),
    "OSlxy0to1": (-1, 0.0, 1.0, 38.2, 0.05, 3.5),
    "OSlxy1to5": (-1, 1.0, 5.0, 120.5, 0.03, 2.2),
    "OSlxy5toInf": (-1, 5.0, np.inf, 255.0, 0.03, 3.4),
}
SELECTIONS = ("inclusive", *CUTS)
KEY = ("run", "lumi", "event")
CHOSEN = (*KEY, "selection", "chosen", *(f"{name}_{rule}" for rule in RULES[1:] for name in ("selection", "chosen")))
COLUMNS = (  # what is read here
    *KEY, "C_Ds_mass", "C_mu_Ds_isHnlBrother", "C_mu_Hnl_isHnlDaughter", "C_pi_isHnlDaughter", "C_pi_BS_ip_xy",
    "C_mu_Hnl_BS_ips_xy", "C_Hnl_vertex_2DDist_BS", "C_Hnl_vertex_2DSig_BS", "HLT_mu_trig_idx",
    *(f"C_{n}_vertex_{v}" for n in ("Ds", "Hnl") for v in ("3DDist_PV", "cos2D", "prob")),
    *(f"C_mu_{n}_{v}" for n in ("Ds", "Hnl") for v in ("pt", "eta", "idx", "charge", "isSoft")),
    *(f"HLT_{path}_{v}" for path in TRIGGER_PATHS for v in ("matched", "pt", "dr")),
)  # fmt: skip
"""Columns of the ntuple that are used; those of the generator are in simulation only."""


def fired(events: ak.Array, muon: str) -> ak.Array:
    """Candidates whose muon fired a path."""
    found = ak.zeros_like(events.C_mu_Ds_pt, dtype=bool)
    index, pt, eta = (events[f"{muon}_{name}"] for name in ("idx", "pt", "eta"))
    same = index[:, :, np.newaxis] == events.HLT_mu_trig_idx[:, np.newaxis, :]
    for path in TRIGGER_PATHS:
        matched, trigger_pt, dr = (events[f"HLT_{path}_{name}"] for name in ("matched", "pt", "dr"))
        hit = same & (matched > 0)[:, np.newaxis, :]
        last = ak.max(ak.mask(ak.local_index(hit), hit), axis=-1)
        close = (dr[last] < 0.05) & (abs(trigger_pt[last] - pt) / pt < 0.1)
        found = found | (ak.fill_none(close, False) & (pt > 7.5) & (abs(eta) < np.float64(1.45)))
    return found


def masks(events: ak.Array) -> dict[str, ak.Array]:
    """Candidates that pass the preselection, as ``inclusive``, and those that pass each category's cuts as well."""
    any_fired = fired(events, "C_mu_Ds") | fired(events, "C_mu_Hnl")
    inclusive = any_fired & (events.C_mu_Ds_isSoft > 0) & (events.C_mu_Hnl_isSoft > 0)
    found = {"inclusive": inclusive}
    lxy, product = events.C_Hnl_vertex_2DDist_BS, events.C_mu_Ds_charge * events.C_mu_Hnl_charge
    for name, (sign, low, high, significance, pion, muon_ips) in CUTS.items():
        found[name] = (
            inclusive
            & (product == sign)
            & (lxy >= low)
            & (lxy < high)
            & (ak.values_astype(events.C_Hnl_vertex_2DSig_BS, np.float64) > significance)
            & (ak.values_astype(abs(events.C_pi_BS_ip_xy), np.float64) > pion)
            & (ak.values_astype(events.C_mu_Hnl_BS_ips_xy, np.float64) > muon_ips)
        )
    return found


def matched(events: ak.Array) -> ak.Array:
    """Candidates that are the generated one."""
    return (events.C_mu_Ds_isHnlBrother > 0) & (events.C_mu_Hnl_isHnlDaughter > 0) & (events.C_pi_isHnlDaughter > 0)


def choice(events: ak.Array, rule: str, *, signal: bool) -> dict[tuple[int, int], int]:
    """(entry, selection) -> index, in the order of the original: one candidate of an event, then its category."""
    found: dict[tuple[int, int], int] = {}
    of_category = {number: mask for number, mask in enumerate(masks(events).values()) if number}
    eligible = ak.any(ak.concatenate([mask[np.newaxis] for mask in of_category.values()]), axis=0)
    for entry, best in _best(events, eligible, rule, signal=signal).items():
        (category,) = [number for number, mask in of_category.items() if mask[entry, best]]
        found |= {(entry, 0): best, (entry, category): best}
    return found


def choice_per_category(events: ak.Array, rule: str, *, signal: bool) -> dict[tuple[int, int], int]:
    """(entry, selection) -> index, where the preselection and every category choose for themselves."""
    return {
        (entry, number): best
        for number, mask in enumerate(masks(events).values())
        for entry, best in _best(events, mask, rule, signal=signal).items()
    }


def _best(events: ak.Array, eligible: ak.Array, rule: str, *, signal: bool) -> dict[int, int]:
    """Entry -> index of the best eligible candidate; in signal only where it is the generated one."""
    chosen = {}
    needed = ("C_Ds_mass", *(f"C_{n}_vertex_{v}" for n in ("Ds", "Hnl") for v in ("3DDist_PV", "cos2D", "prob")))
    flat = {name: ak.to_numpy(ak.flatten(events[name])) for name in needed}
    starts = np.concatenate([[0], np.cumsum(ak.num(events.C_Ds_mass))])
    right = matched(events) if signal else None
    for entry, mask in enumerate(eligible):
        candidates = np.flatnonzero(mask)
        if not len(candidates):
            continue
        rows = starts[entry] + candidates
        candidates, score = _scores({name: values[rows] for name, values in flat.items()}, candidates, rule)
        best = int(candidates[np.argmax(np.where(np.isnan(score), -np.inf, score))])
        if right is None or right[entry][best]:
            chosen[entry] = best
    return chosen


def _scores(here: Mapping[str, Any], candidates: Any, rule: str) -> tuple[Any, Any]:
    if rule == "mass":
        return candidates, -np.abs(here["C_Ds_mass"].astype(np.float64) - 1.96835).astype(np.float32)
    if rule == "distance_ratio":
        with np.errstate(all="ignore"):
            score = here["C_Hnl_vertex_3DDist_PV"] / here["C_Ds_vertex_3DDist_PV"]
        forward = here["C_Hnl_vertex_cos2D"] >= 0
        return (candidates[forward], score[forward]) if forward.any() else (candidates, score)
    what = {"cosine": "cos2D", "probability": "prob"}[rule]
    return candidates, here[f"C_Hnl_vertex_{what}"] * here[f"C_Ds_vertex_{what}"]
