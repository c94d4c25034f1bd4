"""Backgrounds stacked, with signals and data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from portico.analysis.blinding import open_bins
from portico.plot.bins import Array, Bins, Intervals, bins_of, leave_headroom, name_axes, shade
from portico.plot.style import COLORS, HATCHED, new_axes, new_figure, settle, styled, to_label

if TYPE_CHECKING:
    from hist import Hist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["stack"]


def stack(
    backgrounds: Mapping[str, Hist[Any]],
    *,
    signals: Mapping[str, Hist[Any]] | None = None,
    data: Hist[Any] | None = None,
    title: str = "",
    log: bool = False,
    ratio: bool = True,
    blind: Intervals = (),
) -> Figure:
    """Draw backgrounds stacked, signals as lines, and data as points with a ratio below.

    Parameters
    ----------
    backgrounds : mapping of str to Hist
        The first lies at the bottom.
    signals : mapping of str to Hist, optional
        Not stacked.
    data : Hist, optional
        Drawn with errors of sqrt(n), or of its squared weights if it has some.
    title : str
        Above the axes.
    log : bool
        Logarithmic y axis.
    ratio : bool
        Show data over background, if there are both. The band is the statistical error of the background.
    blind : sequence of (float, float)
        Intervals that are shaded and where data are not shown, such as ``run.blinding.of("mass", ["data"])``.

    Raises
    ------
    ValueError
        If there is nothing to draw, or the bins differ.
    """
    signals = signals or {}
    drawn = [*backgrounds.values(), *signals.values(), *([data] if data is not None else [])]
    if not drawn:
        raise ValueError("there is nothing to draw; give backgrounds, signals or data")
    first = bins_of(drawn[0])
    if any(not np.array_equal(bins_of(h).edges, first.edges) for h in drawn):
        raise ValueError("the histograms have different bins; fill them with the same axis")
    with styled():
        figure, axes, below = _panels(ratio and data is not None and bool(backgrounds))
        total, errors = _pile(axes, backgrounds, first)
        tops = [(total + errors).max(initial=0.0)]
        for number, (name, h) in enumerate(signals.items(), 2 + len(backgrounds)):
            axes.stairs(h.values(), first.edges, color=COLORS[number % len(COLORS)], linewidth=2, label=to_label(name))
            tops.append(h.values().max())
        if data is not None:
            tops.append(_points(axes, bins_of(data, blind=blind), blind))
        name_axes(axes, drawn[0])
        shown = np.concatenate([total, *(bins_of(h, blind=blind if h is data else ()).values for h in drawn)])
        lowest = float(shown[shown > 0].min(initial=np.inf)) if log and (shown > 0).any() else 0.0
        leave_headroom(axes, float(max(tops)), lowest, log=log, factor=1.4)
        axes.legend(ncols=2, loc="upper right")
        axes.set_title(to_label(title))
        if below is not None and data is not None:
            _ratio(below, axes, bins_of(data, blind=blind), total, errors)
            shade(below, blind)
        return settle(figure, drawn)


def _pile(axes: Axes, backgrounds: Mapping[str, Hist[Any]], first: Bins) -> tuple[Array, Array]:
    """Draw the backgrounds on top of one another; return their sum and its error."""
    total, errors = np.zeros(len(first.values)), np.zeros(len(first.values))
    for number, (name, h) in enumerate(backgrounds.items()):
        bins, color = bins_of(h), COLORS[number % len(COLORS)]
        style: dict[str, Any] = {"fill": True, "color": color, "alpha": 0.75}
        axes.stairs(total + bins.values, bins.edges, baseline=total, label=to_label(name), **style)
        total, errors = total + bins.values, np.hypot(errors, bins.errors)
    if backgrounds:
        _band(axes, first.edges, total, errors, "stat. uncertainty")
    return total, errors


def _points(axes: Axes, data: Bins, blind: Intervals) -> float:
    """Draw data where they may be seen; return how high they reach."""
    seen = open_bins(data.edges, blind) & ((data.values != 0) | (data.errors > 0))  # empty bins stay empty
    axes.errorbar(
        data.centers[seen], data.values[seen], data.errors[seen], fmt="o", color="black", label="data", elinewidth=1.2
    )
    shade(axes, blind)
    return float((data.values + data.errors).max())


def _panels(two: bool) -> tuple[Figure, Axes, Axes | None]:
    if not two:
        figure, axes = new_axes()
        return figure, axes, None
    figure = new_figure(7, 6.2)
    figure.get_layout_engine().set(hspace=0.0, h_pad=0.03)  # type: ignore[union-attr,call-arg]
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    return figure, upper, lower


def _band(axes: Axes, edges: Array, middle: Array, errors: Array, label: str | None = None) -> None:
    axes.stairs(middle + errors, edges, baseline=middle - errors, fill=True, label=label, **HATCHED)


def _ratio(below: Axes, above: Axes, data: Bins, total: Array, errors: Array) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        middle, spread = data.values / total, data.errors / total
        band = np.where(total > 0, errors / total, 0.0)
    good = (total > 0) & (data.values > 0)
    _band(below, data.edges, np.ones_like(total), band)
    below.errorbar(data.centers[good], middle[good], spread[good], fmt="o", color="black", elinewidth=1.2)
    below.axhline(1.0, color="#555555", linewidth=0.9)
    below.set(xlabel=above.get_xlabel(), ylabel="data / bkg", ylim=(0.0, 2.0))
    below.yaxis.set_label_coords(-0.1, 0.5)
    below.yaxis.label.set(ha="center", size=12)
    above.set_xlabel("")
    above.tick_params(labelbottom=False)
