"""Figures of two variables, of profiles and of cutflows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from portico.plot.bins import drawn_edges
from portico.plot.style import COLORS, new_axes, settle, styled, to_label
from portico.results.hists import errors_of_means

if TYPE_CHECKING:
    from hist import Hist
    from matplotlib.figure import Figure

    from portico.results.cutflow import Cutflow

__all__ = ["cutflow", "heatmap", "profile"]


def heatmap(h: Hist[Any], *, title: str | None = None, log: bool = False) -> Figure:
    """Draw a histogram of two axes as colours; bins without content stay white.

    Parameters
    ----------
    h : Hist
        Of two axes.
    title : str, optional
        The histogram's own by default.
    log : bool
        Logarithmic colours.

    Raises
    ------
    ValueError
        If the histogram has not two axes.
    """
    if len(h.axes) != 2:
        raise ValueError(f"the histogram has {len(h.axes)} axes, and 2 are needed; project it with h.project(0, 1)")
    from matplotlib.colors import LogNorm

    with styled():
        figure, axes = new_axes(7.0, 5.4)
        values = np.asarray(h.values(), np.float64)
        shown = np.ma.masked_where(~np.isfinite(values) | ((values <= 0) if log else (values == 0)), values)
        x, y = (drawn_edges(axis.edges) for axis in h.axes)
        norm = LogNorm() if log and shown.count() else None
        mesh = axes.pcolormesh(x, y, shown.T, cmap="viridis", norm=norm, rasterized=True)
        figure.colorbar(mesh, ax=axes, label="events / bin", pad=0.02)
        labels = [str(axis.label or "") for axis in h.axes]
        sizes = [14 * min(1.0, 40 / max(len(label), 1)) for label in labels]
        axes.set_xlabel(to_label(labels[0]), size=sizes[0])
        axes.set_ylabel(to_label(labels[1]), size=sizes[1])
        axes.set_title(to_label(title if title is not None else str(h.label or "")))
        outside = float(np.asarray(h.values(flow=True)).sum() - values.sum())
        if outside:
            text = f"out of range: {outside:g}"
            axes.set_title(text, loc="right", size=10.5, color="#555555")
        return settle(figure, [h])


def profile(profiles: Hist[Any] | Mapping[str, Hist[Any]], *, title: str = "", y: str = "mean") -> Figure:
    """Draw the mean in each bin with its error; bins without entries are left out.

    Parameters
    ----------
    profiles : Hist, or mapping of str to Hist
        Of one axis, with storage ``Mean`` or ``WeightedMean``; several by label.
    title : str
        Above the axes.
    y : str
        Label of the y axis.

    Raises
    ------
    ValueError
        If one has more than one axis.
    """
    several: Mapping[str, Hist[Any]] = profiles if isinstance(profiles, Mapping) else {"": profiles}
    with styled():
        figure, axes = new_axes()
        for number, (name, h) in enumerate(several.items()):
            if len(h.axes) != 1:
                raise ValueError(f"the profile has {len(h.axes)} axes, and 1 is needed")
            axis = h.axes[0]
            filled = np.asarray(h.counts()) > 0
            errors = np.nan_to_num(errors_of_means(h))
            centers, widths = np.asarray(axis.centers), np.asarray(axis.widths)
            axes.errorbar(
                centers[filled],
                np.asarray(h.values())[filled],
                errors[filled],
                widths[filled] / 2,
                fmt="o",
                color=COLORS[number % len(COLORS)],
                label=to_label(name) or "_nolegend_",
                elinewidth=1.2,
            )
            axes.set_xlim(float(axis.edges[0]), float(axis.edges[-1]))
            axes.set_xlabel(to_label(str(axis.label or "")))
        axes.set_ylabel(to_label(y))
        axes.margins(y=0.15)
        if any(several):
            axes.legend()
        axes.set_title(to_label(title))
        return settle(figure, several.values())


def cutflow(cutflows: Mapping[str, Cutflow], *, title: str = "") -> Figure:
    """Draw what fraction of the first cut's entries is left after each cut, a bar for each sample.

    Parameters
    ----------
    cutflows : mapping of str to Cutflow
        By sample, all with the same cuts.
    title : str
        Above the axes.

    Raises
    ------
    ValueError
        If there are none, or their cuts differ.
    """
    if len({flow.cuts for flow in cutflows.values()}) != 1:
        raise ValueError("the cutflows have different cuts, or there are none; draw each alone")
    cuts = next(iter(cutflows.values())).cuts
    with styled():
        figure, axes = new_axes(7.0, 1.6 + 0.28 * len(cuts) * (1 + len(cutflows)))
        height = 0.8 / len(cutflows)
        for number, (name, flow) in enumerate(cutflows.items()):
            left = [row[4] for row in flow.rows()]
            places = np.arange(len(cuts)) + (number - (len(cutflows) - 1) / 2) * height
            axes.barh(places, left, height * 0.95, color=COLORS[number % len(COLORS)], label=to_label(name))
        axes.set_yticks(range(len(cuts)), [to_label(cut) for cut in cuts])
        axes.tick_params(axis="y", which="minor", left=False, right=False)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.02)
        axes.set_xlabel("fraction left")
        axes.legend(loc="lower right")
        axes.set_title(to_label(title))
        return settle(figure, cutflows.values())
