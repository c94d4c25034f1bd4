"""Figures of the signal: fitted shapes, resolution against mass, efficiency against lifetime. Nothing is saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hnl.fits.signal import SignalShapes, cms_resolution
from portico.plot.bins import Array
from portico.plot.style import COLORS, new_axes, new_figure, settle, styled
from portico.selection.model import INCLUSIVE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hnl.inputs.yields import Signal

__all__ = ["figure_of_efficiency", "figure_of_resolution", "figure_of_shapes"]

_BINS: Final = 25
_SIGMAS: Final = 5.0  # shown to each side of the mass
_COLUMNS: Final = 3
_FINE: Final = 400  # points of a curve
_FEW: Final = 10.0  # effective events
_FEWEST: Final = 2.0  # expected events of a pull


def figure_of_shapes(signal: Signal, shapes: SignalShapes) -> Figure:
    """Candidates of one mass in each category with the shape that is used there, and pulls below.

    Parameters
    ----------
    signal : Signal
        All samples of the mass, every event with its corrections alone.
    shapes : SignalShapes
        Known at this mass.
    """
    names = signal.categories or (INCLUSIVE,)
    rows = -(-len(names) // _COLUMNS)
    columns = min(_COLUMNS, len(names))
    with styled():
        figure = new_figure(4.6 * columns, 4.3 * rows)
        figure.suptitle(f"$m_N$ = {signal.mass:g} GeV")
        grid = figure.add_gridspec(2 * rows, columns, height_ratios=[3, 1] * rows)
        for number, name in enumerate(names):
            row, column = divmod(number, _COLUMNS)
            top = figure.add_subplot(grid[2 * row, column])
            bottom = figure.add_subplot(grid[2 * row + 1, column], sharex=top)
            _draw_shape(top, bottom, signal, shapes, name)
        return settle(figure)


def _draw_shape(top: Axes, bottom: Axes, signal: Signal, shapes: SignalShapes, name: str) -> None:
    fit = shapes.fit_at(signal.mass, name)
    own = name in shapes.fits[signal.mass]
    half = _SIGMAS * cms_resolution(signal.mass)
    edges = np.linspace(signal.mass - half, signal.mass + half, _BINS + 1)
    chosen = signal.chosen(name)
    mass, weights = signal.candidate_mass[chosen], signal.correction[chosen]
    sums, _ = np.histogram(mass, edges, weights=weights)
    squares, _ = np.histogram(mass, edges, weights=weights**2)
    inside = weights[(mass >= fit.low) & (mass < fit.high)]
    at = np.array([fit.values["mean"], fit.values["width"]])
    expected = inside.sum() * fit.ball.contents(edges, at)
    centers, errors = (edges[1:] + edges[:-1]) / 2, np.sqrt(squares)
    points: Any = {"fmt": "o", "color": "black", "markersize": 3, "zorder": 5}
    full = sums > 0
    top.errorbar(centers[full], sums[full], yerr=errors[full], **points)
    fine = np.linspace(edges[0], edges[-1], _FINE)
    curve = inside.sum() * fit.ball.density(fine, at) * (edges[1] - edges[0])
    top.plot(fine, curve, color=COLORS[0] if own else COLORS[1], linestyle="-" if own else "--")
    top.set_ylim(0, 1.45 * max(1e-9, float((sums + errors).max()), float(curve.max())))
    top.set_ylabel(f"events / {1000 * (edges[1] - edges[0]):.2g} MeV")
    numbers = (("mean", r"$\mu - m_N$", fit.values["mean"] - signal.mass), ("width", r"$\sigma$", fit.values["width"]))
    lines = [f"{symbol} = {1000 * x:.1f} $\\pm$ {1000 * fit.errors[key]:.1f} MeV" for key, symbol, x in numbers]
    place: Any = {"transform": top.transAxes, "va": "top"}
    top.text(0.03, 0.97, name if own else f"{name} (inclusive shape)", fontsize=10.5, weight="bold", **place)
    top.text(0.03, 0.89, "\n".join(lines), fontsize=9.5, **place)
    top.tick_params(labelbottom=False)
    # Where few events are expected, the fit says what their fluctuation is; their own weights may say 0.
    mean_weight = squares.sum() / sums.sum() if sums.sum() > 0 else 1.0
    pulls = (sums - expected) / np.sqrt(np.maximum(expected * mean_weight, 1e-30))
    shown = expected >= _FEWEST * mean_weight
    bottom.bar(centers[shown], pulls[shown], np.diff(edges)[shown], color=COLORS[3])
    bottom.axhline(0, color="black", linewidth=0.8)
    bottom.set(xlabel=r"$m(\mu\pi)$ (GeV)", ylabel="pull", xlim=(edges[0], edges[-1]), ylim=(-4.5, 4.5))
    bottom.yaxis.label.set(ha="center", y=0.5)
    bottom.locator_params(axis="x", nbins=6)


def figure_of_resolution(shapes: SignalShapes) -> Figure:
    """Fitted width against the mass, inclusive and per category, with the line through the inclusive ones and CMS's.

    Parameters
    ----------
    shapes : SignalShapes
    """
    masses = shapes.masses
    reach = max(0.05, 0.1 * (masses[-1] - masses[0]))
    x = np.linspace(masses[0] - reach, masses[-1] + reach, 50)
    with styled():
        figure, axes = new_axes()
        for number, name in enumerate(shapes.selections):
            own = [mass for mass in masses if name in shapes.fits[mass]]
            if not own:
                continue
            fits = [shapes.fits[mass][name] for mass in own]
            main = name == INCLUSIVE
            at = np.array(own) + (0.0 if main else 0.006 * (number - len(shapes.selections) / 2))
            axes.errorbar(
                at, [1000 * fit.values["width"] for fit in fits], yerr=[1000 * fit.errors["width"] for fit in fits],
                fmt="o" if main else ".", color="black" if main else COLORS[number % len(COLORS)], label=name,
                alpha=1.0 if main else 0.7, zorder=5 if main else 3,
            )  # fmt: skip
        if len(masses) > 1:
            _draw_line(axes, shapes, x)
        cms = [1000 * cms_resolution(mass) for mass in x]
        axes.plot(x, cms, color=COLORS[2], linestyle="--", label="CMS, arXiv:2403.04584")
        axes.set(xlabel=r"$m_N$ (GeV)", ylabel=r"width of $m(\mu\pi)$ (MeV)", xlim=(x[0], x[-1]))
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=10, ncols=2, loc="lower right")
        return settle(figure)


def _draw_line(axes: Axes, shapes: SignalShapes, x: Array) -> None:
    line = shapes.resolution()
    values, errors = (1000 * np.array(column) for column in zip(*(line.at(mass) for mass in x), strict=True))
    label = f"{1000 * line.offset:.2f} MeV + {1000 * line.slope:.2f} MeV $m_N$/GeV"
    axes.plot(x, values, color=COLORS[0], label=label)
    axes.fill_between(x, values - errors, values + errors, color=COLORS[0], alpha=0.2, linewidth=0)


def figure_of_efficiency(signal: Signal, ctaus: Sequence[float] | None = None) -> Figure:
    """Efficiency of each category against the lifetime; dotted where it rests on fewer than 10 effective events.

    Parameters
    ----------
    signal : Signal
        All samples of one mass.
    ctaus : sequence of float, optional
        Proper decay lengths in mm, rising, up to the longest generated one. By default 40 from a tenth of the shortest.
    """
    at = np.geomspace(0.1 * signal.shortest, signal.longest, 40) if ctaus is None else np.asarray(ctaus, np.float64)
    found = signal.efficiencies(at)
    with styled():
        figure, axes = new_axes()
        for number, name in enumerate(signal.categories or (INCLUSIVE,)):
            values = np.array([point[name].value for point in found])
            errors = np.array([point[name].error for point in found])
            known = np.array([point[name].effective_events >= _FEW for point in found])
            if not (values > 0).any():
                continue
            color = COLORS[number % len(COLORS)]
            axes.plot(at, values, color=color, linestyle=":", linewidth=1)
            axes.plot(at, np.where(known, values, np.nan), color=color, label=name)
            axes.fill_between(at, values - errors, values + errors, color=color, alpha=0.2, linewidth=0, where=known)
        for sample in signal.samples:
            axes.axvline(sample.ctau, color="black", linestyle=":", linewidth=0.8)
        axes.set_xscale("log")
        axes.set(xlabel=r"$c\tau$ (mm)", ylabel="efficiency", title=f"$m_N$ = {signal.mass:g} GeV")
        axes.set_xlim(at[0], at[-1])
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=10)
        return settle(figure)
