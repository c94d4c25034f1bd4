"""Empty histograms and cutflows of a selection. Nothing is compiled for them, so a changed binning costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portico import root
from portico.selection.functions import groups
from portico.selection.model import INCLUSIVE
from portico.selection.resolved import Resolved

__all__ = ["empty"]


def empty(resolved: Resolved, before: Sequence[str]) -> Any:
    """Return the empty histograms and cutflows of a selection, a ``portico::Empty``.

    Parameters
    ----------
    resolved : Resolved
        The selection.
    before : sequence of str
        Labels of the cuts before the categories.
    """
    in_categories = {INCLUSIVE: ["any category"]} if resolved.inclusive_in_categories else {}
    cuts = {**resolved.categories, **in_categories}
    stages = [[*before, *cuts.get(selection, {}), "best candidate"] for selection in resolved.selections]
    made = root.use("selection_loop.h").EmptySelection(list(resolved.selections), list(resolved.rules), stages)
    for group, filled in groups(resolved).items():
        for one in filled:
            edges = [float(edge) for edge in one.edges]
            made.histogram(group == "varied", one.name, f";{one.title};events", one.bins or 0, edges)
    nominal = ["nominal", *resolved.weight_tags] if resolved.has_variations else []
    return made.finish(nominal, resolved.shape_tags)
