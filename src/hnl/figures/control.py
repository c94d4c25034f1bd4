"""Figures of the control channel. Each returns a Figure and saves nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hnl.constants import CONTROL_RANGE
from hnl.fits.mass import MassFit, bin_contents
from portico.plot import fits
from portico.plot.panels import Panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BINS = 80
_FINE = 10  # points of the curve in a bin
_LABELS = {"background": "background", "Dplus": r"$D^+ \to \phi\pi^+$", "Ds": r"$D_s^+ \to \phi\pi^+$"}
"""The first lies at the bottom."""


def figure_of_fit(mass: npt.NDArray[np.float64], fit: MassFit) -> Figure:
    """Mass of the chosen candidates with the fit and its components, and pulls below.

    Parameters
    ----------
    mass : array of shape (n,)
        In GeV, of the events that were fitted.
    fit : MassFit
        Their fit.
    """
    edges, fine = (np.linspace(*CONTROL_RANGE, n * _BINS + 1) for n in (1, _FINE))
    curve = {_LABELS[name]: _FINE * y for name, y in _in_order(bin_contents(fine, fit)).items()}
    panel = Panel(
        edges,
        np.histogram(mass, edges)[0].astype(np.float64),
        {_LABELS[name]: y for name, y in _in_order(bin_contents(edges, fit)).items()},
        curve=((fine[1:] + fine[:-1]) / 2, curve),
        notes=_numbers(fit),
    )
    return fits.figure_of_fit(panel, xlabel=r"$m(\mu\mu\pi)$ (GeV)")


def _in_order(parts: dict[str, npt.NDArray[np.float64]]) -> dict[str, npt.NDArray[np.float64]]:
    return {name: parts[name] for name in _LABELS}


def _numbers(fit: MassFit) -> list[str]:
    lines = [
        f"$N({symbol})$ = {fit.values[name]:.0f} $\\pm$ {fit.errors[name]:.0f}"
        for name, symbol in (("Ds", "D_s"), ("Dplus", "D^+"))
    ]
    lines.append(f"$m(D_s)$ = {1000 * fit.values['mass']:.2f} $\\pm$ {1000 * fit.errors['mass']:.2f} MeV")
    lines.append(f"$\\sigma$ = {1000 * fit.values['width']:.2f} $\\pm$ {1000 * fit.errors['width']:.2f} MeV")
    lines.append(f"$\\chi^2$/ndof = {fit.chi2:.1f}/{fit.ndof}, p = {fit.p_value:.2g}")
    return lines
