"""Histograms of one variable: alone, over one another, and as a spectrum of resonances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from portico.plot.bins import Intervals, bins_of, leave_headroom, name_axes, shade, tell_flow
from portico.plot.style import COLORS, new_axes, settle, styled, to_label

if TYPE_CHECKING:
    from hist import Hist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Region", "histogram", "overlay", "spectrum"]


@dataclass(frozen=True, slots=True)
class Region:
    r"""A range of the x axis with a name, such as a resonance.

    Parameters
    ----------
    label : str
        As matplotlib shows it, for example ``r"$J/\psi$"``.
    low, high : float
        In units of the axis.
    """

    label: str
    low: float
    high: float


def histogram(
    h: Hist[Any],
    *,
    title: str | None = None,
    density: bool = False,
    log: bool = False,
    flow: Literal["text", "bins", "none"] = "text",
    blind: Intervals = (),
) -> Figure:
    """Draw one histogram with its statistical errors.

    Parameters
    ----------
    h : Hist
        Of one axis.
    title : str, optional
        The histogram's own by default.
    density : bool
        Scale to unit area.
    log : bool
        Logarithmic y axis.
    flow : {"text", "bins", "none"}
        Say in words what lies outside the range, show it as a bin at either end, or do neither.
    blind : sequence of (float, float)
        Intervals that are shaded, and whose bins are empty, such as ``run.blinding.of("mass", ["data"])``.

    Raises
    ------
    ValueError
        If the histogram has more than one axis.
    """
    with styled():
        bins = bins_of(h, density, flow == "bins", blind)
        figure, axes = new_axes()
        shade(axes, blind)
        axes.stairs(bins.values, bins.edges, color=COLORS[0], fill=True, alpha=0.25)
        axes.stairs(bins.values, bins.edges, color=COLORS[0])
        axes.errorbar(bins.centers, bins.values, bins.errors, fmt="none", ecolor=COLORS[0], elinewidth=1.2)
        name_axes(axes, h, density=density)
        positive = bins.values[bins.values > 0]
        lowest = (
            float(positive.min(initial=np.inf)) if log and positive.size else float((bins.values - bins.errors).min())
        )
        leave_headroom(axes, float((bins.values + bins.errors).max()), lowest, log=log, factor=1.2)
        if flow == "bins":
            axes.set_xlim(bins.edges[0], bins.edges[-1])
            for low, high in (bins.edges[:2], bins.edges[-2:]):
                axes.axvspan(low, high, facecolor="none", edgecolor="#999999", hatch="///", linewidth=0)
        elif flow == "text":
            tell_flow(axes, bins)
        axes.set_title(to_label(title if title is not None else str(h.label or "")))
        return settle(figure, [h])


def overlay(
    histograms: Mapping[str, Hist[Any]],
    *,
    title: str = "",
    density: bool = True,
    log: bool = False,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Draw histograms of the same variable over one another, one colour each.

    Parameters
    ----------
    histograms : mapping of str to Hist
        By label; each has one axis. An empty one is named in the legend, not drawn.
    title : str
        Above the axes.
    density : bool
        Scale each to unit area, so that shapes can be compared.
    log : bool
        Logarithmic y axis.
    size : tuple of float, optional
        In inches.

    Raises
    ------
    ValueError
        If there are none, or one has more than one axis.
    """
    if not histograms:
        raise ValueError("there is no histogram to draw; give at least one")
    with styled():
        figure, axes = new_axes(*(size or (7.0, 5.0)))
        highest, lowest, smallest = 0.0, 0.0, np.inf
        for number, (name, h) in enumerate(histograms.items()):
            bins = bins_of(h, density)
            color = COLORS[number % len(COLORS)]
            style = ("-", "--", ":")[number // len(COLORS) % 3]
            empty = "" if bins.values.any() else " (empty)"
            axes.stairs(
                bins.values, bins.edges, color=color, linestyle=style, label=f"{to_label(name)}{empty}", linewidth=1.4
            )
            if not empty:
                axes.errorbar(
                    bins.centers, bins.values, bins.errors, fmt="none", ecolor=color, elinewidth=0.8, alpha=0.7
                )
                # A nearly empty sample must not dwarf the others with its errors.
                highest, lowest = max(highest, float(bins.values.max())), min(lowest, float(bins.values.min()))
                smallest = min(smallest, float(bins.values[bins.values > 0].min(initial=smallest)))
        lowest = smallest if log and np.isfinite(smallest) else lowest
        name_axes(axes, next(iter(histograms.values())), density=density)
        leave_headroom(axes, highest, lowest, log=log, factor=1.15 + 0.07 * -(-len(histograms) // 2))
        axes.legend(loc="upper right", ncols=1 if len(histograms) < 4 else 2)
        axes.set_title(to_label(title))
        return settle(figure, histograms.values())


def spectrum(
    h: Hist[Any], *, regions: Sequence[Region] = (), title: str = "", log: bool = True, y: str | None = None
) -> Figure:
    """Draw a spectrum over orders of magnitude, data as points, with regions marked.

    Parameters
    ----------
    h : Hist
        Of one axis, above 0; bins of equal width in the logarithm look best.
    regions : sequence of Region
        What to mark.
    title : str
        Above the axes.
    log : bool
        Logarithmic y axis; the x axis always is.
    y : str, optional
        Label of the y axis.

    Raises
    ------
    ValueError
        If the axis reaches below 0.
    """
    bins = bins_of(h)
    if bins.edges[0] <= 0:
        raise ValueError(f"the axis begins at {bins.edges[0]:g} and cannot be logarithmic; begin it above 0")
    with styled():
        figure, axes = new_axes(8.5, 5.2)
        axes.set_xscale("log")
        axes.stairs(bins.values, bins.edges, fill=True, color=COLORS[0], alpha=0.3)
        filled = bins.values > 0
        middles = np.sqrt(bins.edges[1:] * bins.edges[:-1])
        axes.errorbar(
            middles[filled],
            bins.values[filled],
            bins.errors[filled],
            fmt="o",
            color="black",
            markersize=3,
            elinewidth=1,
        )
        highest = float((bins.values + bins.errors).max())
        name_axes(axes, h, y=y, per_bin=False)
        if log:
            axes.set_ylim(0.5 * float(bins.values[filled].min(initial=1.0)), max(highest, 1.0) * 6)
            axes.set_yscale("log")
        else:
            axes.set_ylim(0, max(highest, 1.0) * 1.3)
        _mark(axes, regions)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_title(to_label(title))
        return settle(figure, [h])


def _mark(axes: Axes, regions: Sequence[Region]) -> None:
    for number, region in enumerate(regions):
        axes.axvspan(region.low, region.high, color=COLORS[(number + 1) % len(COLORS)], alpha=0.22, linewidth=0)
        # Neighbours take turns in height, so that narrow ones do not write over each other.
        place = float(np.sqrt(region.low * region.high)), (0.955, 0.88)[number % 2]
        axes.text(*place, region.label, transform=axes.get_xaxis_transform(), ha="center", va="top", size=12)
