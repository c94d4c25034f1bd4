"""The figure of the decay length of the Ds. Returns a Figure and saves nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from portico.plot.style import COLORS, new_figure, settle, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hnl.fits.prompt import PromptFit

_TITLES = {
    "C_Ds_lxy_prop": r"$D_s$ transverse proper decay length (cm)",
    "C_Ds_l_prop": r"$D_s$ proper decay length (cm)",
}
_WIDTH = 0.005  # cm, that contents are given for: bins differ


def figure_of_prompt(fit: PromptFit, variable: str) -> Figure:
    """Decay length of weighted data with the fitted templates, and pulls below.

    Parameters
    ----------
    fit : PromptFit
        The bins at the ends hold what lies beyond them as well.
    variable : str
        The column, for the axis.
    """
    edges, widths = fit.edges, np.diff(fit.edges) / _WIDTH
    centers = (edges[1:] + edges[:-1]) / 2
    prompt, beauty = fit.components / widths
    # the spread of the sum within the statistics of the templates
    yields = fit.total * np.array([fit.fraction, 1 - fit.fraction])
    spread = np.sqrt(yields**2 @ fit.template_variance) / widths
    data, errors = fit.data / widths, np.sqrt(fit.variance) / widths
    with styled():
        figure = new_figure(7, 6)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3.5, 1])
        top.stairs(beauty, edges, fill=True, color=COLORS[1], alpha=0.5, label=r"$D_s$ from b")
        total = beauty + prompt
        top.stairs(total, edges, baseline=beauty, fill=True, color=COLORS[2], alpha=0.4, label=r"prompt $D_s$")
        top.stairs(total, edges, color=COLORS[0], linewidth=1.6, label="fit")
        band: Any = {"baseline": total - spread, "fill": True, "color": COLORS[8], "alpha": 0.4}
        top.stairs(total + spread, edges, label="simulation's statistics", **band)
        points: Any = {"fmt": "o", "color": "black", "markersize": 3.5, "zorder": 5}
        top.errorbar(centers, data, yerr=errors, label=r"data, sPlot-weighted to $D_s$", **points)
        top.set_ylabel(f"events / {1e4 * _WIDTH:g} $\\mathrm{{\\mu m}}$")
        top.set_ylim(0, 1.3 * float((data + errors).max()))
        top.legend(loc="upper right", bbox_to_anchor=(1.0, 0.84))
        top.text(0.97, 0.95, _numbers(fit), transform=top.transAxes, ha="right", va="top", fontsize=11)
        bottom.stairs(fit.pulls, edges, fill=True, color=COLORS[3])
        bottom.axhline(0, color="black", linewidth=0.8)
        title = _TITLES.get(variable, variable)
        bottom.set(xlabel=title, ylabel="pull", xlim=(edges[0], edges[-1]), ylim=(-4.5, 4.5))
        return settle(figure)


def _numbers(fit: PromptFit) -> str:
    return (
        f"prompt, of those selected: {fit.fraction:.3f} $\\pm$ {fit.error:.3f}\n"
        f"$\\chi^2$/ndof = {fit.chi2:.1f}/{fit.ndof}, p = {fit.p_value:.2g}"
    )
