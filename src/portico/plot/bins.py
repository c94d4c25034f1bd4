"""Bins of a histogram of one variable as they are drawn, and labels of its axes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from portico.analysis.blinding import open_bins
from portico.plot.style import to_label
from portico.results.hists import errors_of_means

if TYPE_CHECKING:
    from hist import Hist
    from matplotlib.axes import Axes

__all__ = [
    "Array", "Bins", "Intervals", "bins_of", "drawn_edges", "is_logarithmic", "leave_headroom", "name_axes", "shade",
    "tell_ends", "tell_flow",
]  # fmt: skip

Array = npt.NDArray[np.float64]
Intervals = Sequence[tuple[float, float]]
UNIT = re.compile(r"[(\[]([^()\[\]]+)[)\]]\s*$")
"""The unit in brackets at the end of a label."""


class Bins(NamedTuple):
    """The bins of a histogram as they are drawn; ``under`` and ``over`` are its flow bins."""

    edges: Array
    values: Array
    errors: Array
    under: float
    over: float

    @property
    def centers(self) -> Array:
        """The middles of the bins."""
        return (self.edges[1:] + self.edges[:-1]) / 2


def drawn_edges(edges: npt.ArrayLike) -> Array:
    """Return the edges between which bins are drawn: a bin that has no end is as wide as its neighbour."""
    drawn = np.array(edges, np.float64)
    finite = drawn[np.isfinite(drawn)]
    widths = np.diff(finite) if finite.size > 1 else np.ones(1)
    if finite.size:
        drawn[0] = drawn[0] if np.isfinite(drawn[0]) else finite[0] - widths[0]
        drawn[-1] = drawn[-1] if np.isfinite(drawn[-1]) else finite[-1] + widths[-1]
    return drawn if finite.size else np.array([-1.0, 1.0])


def is_logarithmic(edges: npt.ArrayLike) -> bool:
    """Return whether bins are to be drawn on a logarithmic axis: they lie above 0, and their widths differ much."""
    widths = np.diff(np.asarray(edges, np.float64))
    return bool(np.min(edges) > 0 and widths.max() > 20 * widths.min())


def tell_ends(edges: npt.ArrayLike) -> str:
    """Return which bins have no end, to be written behind the label of the axis."""
    first, last = np.isfinite(np.asarray(edges)[[0, -1]])
    parts = [*([] if first else ["first bin from \u2212\u221e"]), *([] if last else ["last bin to \u221e"])]
    return f" ({', '.join(parts)})" if parts else ""


def bins_of(h: Hist[Any], density: bool = False, flow: bool = False, blind: Intervals = ()) -> Bins:
    """Return the bins of one axis: to unit area with ``density``, with the flow bins with ``flow``.

    Bins that touch a blinded interval are empty, before anything else.
    """
    if len(h.axes) != 1:
        raise ValueError(
            f"the histogram has {len(h.axes)} axes, and 1 is needed; use heatmap, or project it with h.project(0)"
        )
    axis = h.axes[0]
    edges = drawn_edges(axis.edges)
    inner = slice(int(axis.traits.underflow), int(axis.traits.underflow) + len(edges) - 1)
    everything = np.asarray(h.values(flow=True), np.float64)
    squares = _squared_errors(h, everything)
    seen = open_bins(np.asarray(axis.edges, np.float64), blind, flow=True)
    hidden = ~seen[1 - inner.start : len(everything) + 1 - inner.start]
    everything, squares = np.where(hidden, 0.0, everything), np.where(hidden | ~np.isfinite(everything), 0.0, squares)
    under, over = float(everything[: inner.start].sum()), float(everything[inner.stop :].sum())
    values, errors = everything[inner], np.sqrt(squares[inner])
    if flow and axis.traits.underflow and axis.traits.overflow:
        width = (edges[-1] - edges[0]) / (len(edges) - 1)
        edges = np.concatenate([[edges[0] - width], edges, [edges[-1] + width]])
        values, errors = everything, np.sqrt(squares)
    if density:
        total = abs(values.sum())  # a negative sum turns no bin around
        norm = np.diff(edges) * (total if total else 1.0)
        with np.errstate(invalid="ignore"):  # contents may be infinite
            values, errors = values / norm, errors / norm
    return Bins(edges, values, errors, under, over)


def _squared_errors(h: Hist[Any], values: Array) -> Array:
    if str(h.kind) == "MEAN":
        return np.nan_to_num(errors_of_means(h, flow=True)) ** 2
    variances = h.variances(flow=True)
    return np.abs(values) if variances is None else np.asarray(variances, np.float64)


def shade(axes: Axes, blind: Intervals) -> None:
    """Shade blinded intervals."""
    for low, high in blind:
        axes.axvspan(low, high, facecolor="#dddddd", edgecolor="#999999", alpha=0.45, linewidth=0.6, zorder=1)


def name_axes(axes: Axes, h: Hist[Any], *, density: bool = False, y: str | None = None, per_bin: bool = True) -> None:
    """Name both axes, and the bins if they have names."""
    axis = h.axes[0]
    label = str(axis.label or axis.name or "")
    unit = match[1] if (match := UNIT.search(label)) else ""
    edges = drawn_edges(axis.edges)
    widths = np.diff(edges)
    axes.set_xlabel(to_label(label) + tell_ends(axis.edges))
    if y is not None:
        axes.set_ylabel(to_label(y))
    elif density:
        axes.set_ylabel("fraction of events" + (f" / {to_label(unit)}" if unit else " / unit"))
    elif per_bin and unit and np.allclose(widths, widths[0]):
        axes.set_ylabel(f"events / {'' if np.isclose(widths[0], 1) else f'{widths[0]:.3g} '}{to_label(unit)}")
    else:
        axes.set_ylabel("events / bin")
    labels = [str(item) for item in axis] if axis.traits.discrete and not axis.traits.ordered else []
    if labels:
        axes.set_xticks(np.arange(len(labels)) + 0.5, [to_label(item) for item in labels], rotation=30, ha="right")
        axes.tick_params(axis="x", which="minor", bottom=False, top=False)
    if is_logarithmic(edges):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlim(float(edges[0]), float(edges[-1]))


def leave_headroom(axes: Axes, highest: float, lowest: float, *, log: bool, factor: float = 1.25) -> None:
    """Leave space above the highest bin for legend and text; bins that are not finite have no height."""
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        drawn = [float(edge) if np.isfinite(edge) else 0.0 for edge in axes.dataLim.intervaly]
        lowest, highest = min(drawn), max(drawn)
    if log:
        floor = lowest / 3 if lowest > 0 else 0.5
        axes.set_ylim(floor, max(highest, 2 * floor) * 10 ** (0.35 * np.log10(max(highest / floor, 10))))
        axes.set_yscale("log")
    elif highest > 0:
        axes.set_ylim(min(lowest, 0.0), highest * factor)
    else:
        axes.set_ylim(min(lowest, 0.0), 1.0)


def tell_flow(axes: Axes, bins: Bins) -> None:
    """Write on the axes what lies outside their range."""
    parts = [f"{name} {value:g}" for name, value in (("below", bins.under), ("above", bins.over)) if value]
    if parts:
        text = "out of range: " + ", ".join(parts)
        axes.text(0.97, 0.95, text, transform=axes.transAxes, ha="right", va="top", size=10.5, color="#555555")
