"""Cutflows of all samples side by side, and the yields at their ends."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portico.analysis.plotting import Group
from portico.report.labels import to_html
from portico.results.cutflow import Cutflow
from portico.results.product import ProductKind
from portico.results.view import Results

__all__ = ["Flows", "Yields", "flows_of", "yields_of"]


@dataclass(frozen=True, slots=True)
class Flows:
    """One cutflow of several samples, whose cuts are those of the longest, or some of them in this order."""

    name: str
    cuts: tuple[str, ...]
    flows: Mapping[str, Cutflow]

    def to_json(self) -> dict[str, Any]:
        """Return entries, yields and uncertainties of each sample before all cuts and after each; null without one."""
        return {"name": self.name, "cuts": self.cuts, "rows": {s: self._row(flow) for s, flow in self.flows.items()}}

    def _row(self, flow: Cutflow) -> dict[str, list[float | None]]:
        after = dict(zip(flow.cuts, range(1, len(flow.cuts) + 1), strict=True))
        places = [0, *(after.get(cut) for cut in self.cuts)]
        entries = (flow.reached[0] if flow.reached else 0, *flow.passed)
        columns: dict[str, Sequence[float]] = {"n": entries}
        if flow.yields:
            columns |= {"y": flow.yields, "u": flow.uncertainties}
        return {key: [None if i is None else _short(of[i]) for i in places] for key, of in columns.items()}


@dataclass(frozen=True, slots=True)
class Yields:
    """Yields after all cuts: a row per cutflow, a column per group, with uncertainties where there are weights.

    ``without`` names, by cutflow, the samples that are not in the sum of their group.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[float, float] | None, ...]], ...]
    weighted: bool
    without: tuple[tuple[str, tuple[str, ...]], ...] = ()


def flows_of(samples: Mapping[str, Results]) -> list[Flows]:
    """Return the cutflows of all samples by name; those whose cuts do not fit together stand apart."""
    found: list[Flows] = []
    names = dict.fromkeys(name for results in samples.values() for name in results)
    for name in names:
        having = {
            sample: results[name]
            for sample, results in samples.items()
            if name in results and results.products[name].kind is ProductKind.CUTFLOW
        }
        while having:
            longest = max(having.values(), key=lambda flow: len(flow.cuts)).cuts
            fitting = {s: flow for s, flow in having.items() if _is_part(flow.cuts, longest)}
            found.append(Flows(name, longest, fitting))
            having = {s: flow for s, flow in having.items() if s not in fitting}
    return found


def _is_part(some: Sequence[str], every: Sequence[str]) -> bool:
    """Return whether some cuts are among others, in the same order; a name that occurs twice only in itself."""
    if len(set(every)) != len(every):
        return tuple(some) == tuple(every)
    rest = iter(every)
    return all(cut in rest for cut in some)


def _short(value: float) -> float | None:
    if isinstance(value, int):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None


def yields_of(flows: Sequence[Flows], groups: Sequence[Group], most: int = 5) -> Yields:
    """Return the yields at the end of cutflows, of the first groups; data first, and the sum of the stack.

    If some cutflows have weights, those without, of candidates before a choice or of all categories, are left out.
    Entries are not added to yields: in a sum in which a sample has weights, those without are lacking.
    """
    weighted = [of for of in flows if any(flow.yields for flow in of.flows.values())]
    flows = weighted or flows
    present = {sample for of in flows for sample in of.flows}
    shown = [group for group in groups if present.intersection(group.samples)][:most]
    stack = [group for group in groups if group.draw == "stack" and present.intersection(group.samples)]
    columns = [(to_html(group.label), [group]) for group in shown]
    if len(stack) > 1:
        columns.insert(sum(group.draw == "data" for group in shown), ("background", stack))
    rows = tuple((of.name, tuple(_end(of, summed) for _, summed in columns)) for of in flows)
    every = [group for group in groups if group in shown or (len(stack) > 1 and group.draw == "stack")]
    lacking = ((of.name, _absent(of, every, together=len(stack) > 1)) for of in flows)
    without = tuple((name, absent) for name, absent in lacking if absent)
    return Yields(tuple(label for label, _ in columns), rows, bool(weighted), without)


def _absent(of: Flows, groups: Collection[Group], *, together: bool) -> tuple[str, ...]:
    """Return the samples without this cutflow in the groups that have it, and in the sum of the stack."""
    stack = [group for group in groups if group.draw == "stack"] if together else []
    sums = [stack, *([group] for group in groups)]
    lacking = {
        name
        for summed in sums
        if (there := _ends(of, summed))
        for group in summed
        for name in group.samples
        if name not in there
    }
    return tuple(name for group in groups for name in group.samples if name in lacking)


def _end(of: Flows, groups: Sequence[Group]) -> tuple[float, float] | None:
    ends = _ends(of, groups).values()
    return (sum(value for value, _ in ends), math.hypot(*(error for _, error in ends))) if ends else None


def _ends(of: Flows, groups: Sequence[Group]) -> dict[str, tuple[float, float]]:
    """Return what is left of the samples of a sum: their yields; their entries if none of them has yields."""
    having = {name: of.flows[name] for group in groups for name in group.samples if name in of.flows}
    weighted = {name: flow for name, flow in having.items() if flow.yields}
    if weighted:
        return {name: (flow.yields[-1], flow.uncertainties[-1]) for name, flow in weighted.items()}
    passed = {name: float(flow.passed[-1]) for name, flow in having.items() if flow.passed}
    return {name: (number, math.sqrt(number)) for name, number in passed.items()}
