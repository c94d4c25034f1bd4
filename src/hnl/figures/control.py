"""Figures of the control channel. Each returns a Figure and saves nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hnl.constants import CONTROL_RANGE
from hnl.fits.mass import MassFit, bin_contents
from portico.plot.style import COLORS, new_figure, settle, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BINS = 80
_FINE = 10  # points of the curve in a bin
_LABELS = {"Ds": r"$D_s^+ \to \phi\pi^+$", "Dplus": r"$D^+ \to \phi\pi^+$", "background": "background"}


def figure_of_fit(mass: npt.NDArray[np.float64], fit: MassFit) -> Figure:
    """Mass of the chosen candidates with the fit and its components, and pulls below.

    Parameters
    ----------
    mass : array of shape (n,)
        In GeV, of the events that were fitted.
    fit : MassFit
        Their fit.
    """
    edges = np.linspace(*CONTROL_RANGE, _BINS + 1)
    counts, _ = np.histogram(mass, edges)
    expected = np.sum(list(bin_contents(edges, fit).values()), axis=0)
    with styled():
        figure = new_figure(7, 6)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3.5, 1])
        _draw_components(top, fit)
        centers = (edges[1:] + edges[:-1]) / 2
        points: Any = {"fmt": "o", "color": "black", "markersize": 3, "zorder": 5}
        top.errorbar(centers, counts, yerr=np.sqrt(counts), label="data", **points)
        top.set_ylabel(f"events / {1000 * (edges[1] - edges[0]):g} MeV")
        top.set_ylim(0, 1.25 * max(1.0, float((counts + np.sqrt(counts)).max())))
        top.legend(loc="upper left")
        top.text(0.97, 0.95, _numbers(fit), transform=top.transAxes, ha="right", va="top", fontsize=11)
        bottom.bar(centers, (counts - expected) / np.sqrt(np.maximum(expected, 1e-9)), np.diff(edges), color=COLORS[3])
        bottom.axhline(0, color="black", linewidth=0.8)
        bottom.set(xlabel=r"$m(\mu\mu\pi)$ (GeV)", ylabel="pull", xlim=CONTROL_RANGE, ylim=(-4.5, 4.5))
        return settle(figure)


def _draw_components(axes: Any, fit: MassFit) -> None:
    fine = np.linspace(*CONTROL_RANGE, _FINE * _BINS + 1)
    centers = (fine[1:] + fine[:-1]) / 2
    parts = {name: _FINE * content for name, content in bin_contents(fine, fit).items()}
    axes.plot(centers, np.sum(list(parts.values()), axis=0), color=COLORS[0], label="fit", zorder=4)
    floor = parts["background"]
    for name, color in (("Ds", COLORS[2]), ("Dplus", COLORS[1])):
        top = floor + parts[name]
        axes.fill_between(centers, floor, top, color=color, alpha=0.35, linewidth=0, label=_LABELS[name])
    axes.plot(centers, floor, color=COLORS[8], linestyle="--", label=_LABELS["background"])


def _numbers(fit: MassFit) -> str:
    lines = [
        f"$N({symbol})$ = {fit.values[name]:.0f} $\\pm$ {fit.errors[name]:.0f}"
        for name, symbol in (("Ds", "D_s"), ("Dplus", "D^+"))
    ]
    lines.append(f"$m(D_s)$ = {1000 * fit.values['mass']:.2f} $\\pm$ {1000 * fit.errors['mass']:.2f} MeV")
    lines.append(f"$\\sigma$ = {1000 * fit.values['width']:.2f} $\\pm$ {1000 * fit.errors['width']:.2f} MeV")
    lines.append(f"$\\chi^2$/ndof = {fit.chi2:.1f}/{fit.ndof}, p = {fit.p_value:.2g}")
    return "\n".join(lines)
