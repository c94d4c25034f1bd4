"""Figures of the search and of its control channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["labelled"]


def labelled(products: Mapping[str, Any], label: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return products of a step, its figures with the label of an experiment.

    Parameters
    ----------
    products : mapping
        By name; figures are changed, all else is left alone.
    label : mapping, optional
        Arguments of `portico.plot.label`; no label by default.
    """
    from matplotlib.figure import Figure

    from portico import plot

    if label is not None:
        for figure in products.values():
            if isinstance(figure, Figure):
                plot.label(figure, **label)
    return dict(products)
