"""Limits against one variable: observed, and bands of the expected one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from portico.plot.bins import Array
from portico.plot.plane import around, log_axis, runs_of
from portico.plot.style import new_axes, settle, styled, to_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from portico.stats.limit import Limit

__all__ = ["figure_of_bands"]

_GREEN, _YELLOW = "#607641", "#F5BB54"  # of the LHC experiments' bands


def figure_of_bands(
    x: Sequence[float] | Array,
    limits: Sequence[Limit | None],
    *,
    xlabel: str,
    ylabel: str,
    logx: bool = False,
    logy: bool = True,
    label: str = "",
    title: str = "",
    reference: float | None = None,
) -> Figure:
    """Draw the limits at several x: observed, expected median, and its bands of 1 and 2 standard deviations.

    Parameters
    ----------
    x : array of shape (n,)
        In any order.
    limits : sequence of Limit or None
        One for each x. Where there is none, a cross is drawn at the lower edge, and bands and lines have a gap.
    xlabel, ylabel : str
    logx, logy : bool
        Logarithmic axes.
    label : str
        Title of the legend, for example the confidence level.
    title : str
        Above the axes.
    reference : float, optional
        Where a horizontal line is drawn, for example at a signal strength of 1.

    Raises
    ------
    ValueError
        If there is no x, or not one limit for each, or an x of a logarithmic axis is not above 0.
    """
    if len(x) == 0 or len(x) != len(limits):
        raise ValueError(f"{len(limits)} limits for {len(x)} values of x; give one (or None) for each, at least one")
    if logx and not np.min(x) > 0:
        raise ValueError(f"x = {np.min(x):g} cannot be on a logarithmic axis; leave logx out")
    at, bands, observed = _sorted(np.asarray(x, np.float64), limits)
    with styled():
        figure, axes = new_axes(7.0, 5.4)
        if logx:
            log_axis(axes, float(np.log10(at[-1] / at[0])))
        axes.set_xlim(around(at, logx=logx))
        _draw_bands(axes, at, bands)
        _draw_observed(axes, at, observed, lost=np.isnan(bands).any(axis=1) & np.isnan(observed))
        if reference is not None:
            axes.axhline(reference, color="#bd1f01", linewidth=1.2, zorder=3)
        axes.set(xlabel=to_label(xlabel), ylabel=to_label(ylabel))
        axes.set_title(to_label(title))
        drawn = np.concatenate([bands.ravel(), observed, [] if reference is None else [reference]])
        _frame(axes, drawn, logy=logy)
        entries = sorted(zip(*axes.get_legend_handles_labels(), strict=True), key=lambda entry: entry[1] != "observed")
        axes.legend(
            [handle for handle, _ in entries], [name for _, name in entries], title=to_label(label) or None,
            loc="upper right", ncols=2, alignment="left",
        )  # fmt: skip
        return settle(figure)


def _sorted(x: Array, limits: Sequence[Limit | None]) -> tuple[Array, Array, Array]:
    """Return x, expected limits of shape (n, 5) and observed limits by x; NaN where there are none."""
    order = np.argsort(x, kind="stable")
    found = [limits[i] for i in order]
    bands = np.array([np.full(5, np.nan) if limit is None else limit.expected for limit in found], np.float64)
    observed = np.array([np.nan if limit is None or limit.observed is None else limit.observed for limit in found])
    bands[~np.isfinite(bands)], observed[~np.isfinite(observed)] = np.nan, np.nan
    return x[order], bands, observed


def _draw_bands(axes: Axes, x: Array, bands: Array) -> None:
    good: npt.NDArray[np.bool_] = np.asarray(np.isfinite(bands).all(axis=1))
    first = True
    for begin, end in runs_of(good):
        at, band = x[begin:end], bands[begin:end]
        if len(at) == 1:  # a point alone has no width
            half = 0.25 * np.min(np.abs(np.delete(x, begin) - at[0]), initial=0.2 * abs(at[0]) or 1.0)
            at, band = np.array([at[0] - half, at[0] + half]), np.repeat(band, 2, axis=0)
        for low, high, color, name in ((1, 3, _GREEN, "68% expected"), (0, 4, _YELLOW, "95% expected")):
            label, below = (name if first else "_nolegend_"), 2 if low else 1
            axes.fill_between(at, band[:, low], band[:, high], color=color, linewidth=0, label=label, zorder=below)
        label = "median expected" if first else "_nolegend_"
        axes.plot(at, band[:, 2], "--", color="black", linewidth=1.4, label=label, zorder=3)
        first = False


def _draw_observed(axes: Axes, x: Array, observed: Array, *, lost: npt.NDArray[np.bool_]) -> None:
    """Draw the observed limits, and crosses where there is no limit of any kind."""
    if np.isfinite(observed).any():
        axes.plot(x, observed, "o-", color="black", markersize=4, linewidth=1.4, label="observed", zorder=4)
    if lost.any():
        at = np.full(lost.sum(), 0.02)
        axes.plot(x[lost], at, "x", transform=axes.get_xaxis_transform(), color="#717581", label="no limit")


def _frame(axes: Axes, values: Array, *, logy: bool) -> None:
    """Set the range of y, with space for the legend above."""
    good = values[np.isfinite(values) & ((values > 0) | (not logy))]
    low, high = (float(good.min()), float(good.max())) if good.size else (0.1, 1.0)
    if logy:
        axes.set_yscale("log")
        decades = max(np.log10(high / low), 0.5)
        axes.set_ylim(low / 10 ** (0.08 * decades), high * 10 ** (0.5 * decades))
    else:
        axes.set_ylim(min(0.0, low), (high if high > 0 else 1.0) * 1.5)
