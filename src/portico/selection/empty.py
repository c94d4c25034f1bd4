"""Empty histograms and cutflows of a selection. Nothing is compiled for them, so a changed binning costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portico.selection.functions import groups
from portico.selection.model import INCLUSIVE
from portico.selection.resolved import Resolved

__all__ = ["Content", "content_of", "empty"]


@dataclass(frozen=True, slots=True)
class Content:
    """What a selection fills.

    Parameters
    ----------
    selections, rules : tuple of str
        Their names.
    stages : tuple of tuple of str
        For each selection the labels of its cuts.
    histograms : tuple of (bool, str, str, int, list of float)
        For each whether it is filled for every variation; name, title, number of equal bins, and the two ends of its
        axis, or, with no such number, all edges.
    nominal, shapes : tuple of str
        The variations of the nominal choice, and those of columns.
    """

    selections: tuple[str, ...]
    rules: tuple[str, ...]
    stages: tuple[tuple[str, ...], ...]
    histograms: tuple[tuple[bool, str, str, int, list[float]], ...]
    nominal: tuple[str, ...]
    shapes: tuple[str, ...]


def content_of(resolved: Resolved, before: Sequence[str]) -> Content:
    """Return what a selection fills.

    Parameters
    ----------
    resolved : Resolved
        The selection.
    before : sequence of str
        Labels of the cuts before the categories.
    """
    in_categories = {INCLUSIVE: ["any category"]} if resolved.inclusive_in_categories else {}
    cuts = {**resolved.categories, **in_categories}
    stages = tuple((*before, *cuts.get(selection, {}), "best candidate") for selection in resolved.selections)
    histograms = tuple(
        (group == "varied", one.name, f";{one.title};events", one.bins or 0, [float(edge) for edge in one.edges])
        for group, filled in groups(resolved).items()
        for one in filled
    )
    nominal = ("nominal", *resolved.weight_tags) if resolved.has_variations else ()
    return Content(
        tuple(resolved.selections), tuple(resolved.rules), stages, histograms, nominal, tuple(resolved.shape_tags)
    )


def empty(content: Content) -> Any:
    """Return the empty histograms and cutflows, a ``portico::Empty``."""
    import ROOT

    made = ROOT.portico.EmptySelection(*(list(part) for part in (content.selections, content.rules)),
                                       [list(cuts) for cuts in content.stages])  # fmt: skip
    for histogram in content.histograms:
        made.histogram(*histogram)
    return made.finish(list(content.nominal), list(content.shapes))
