"""Figures of the N mass in all categories: data, background fit and signal. Each returns a Figure and saves nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hnl.hypotheses import SIGNAL
from portico.plot.fits import figure_of_fits
from portico.plot.panels import Panel, panels_of
from portico.stats.fit import Fit, Fitter
from portico.stats.model import observation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hnl.hypotheses import Hypothesis

__all__ = ["background_fit", "figure_of_spectra"]

_EVENTS: Final = 10.0
_XLABEL: Final = r"$m(\mu\pi)$ (GeV)"


def background_fit(hypothesis: Hypothesis) -> tuple[Fitter, Fit]:
    """Fit the background to the data outside the blinded windows.

    Raises
    ------
    FitError
        If the fit does not converge.
    """
    point = min(hypothesis.points, key=lambda point: abs(point.events - _EVENTS))
    model = hypothesis.model_at(point)
    fitter = Fitter(model, observation(model))
    return fitter, fitter.fit({model.poi: 0.0})


def figure_of_spectra(hypothesis: Hypothesis, fitter: Fitter, fit: Fit) -> Figure:
    """Draw the fit without signal in every category, and the signal of the coupling that gives about ten events.

    Parameters
    ----------
    hypothesis : Hypothesis
        With data, and so with a model.
    fitter, fit
        Of `background_fit`.
    """
    point = min(hypothesis.points, key=lambda point: abs(point.events - _EVENTS))
    label = f"$m_N$ = {hypothesis.mass:g} GeV, $|V|^2$ = {point.coupling_squared:.2g}"
    panels = panels_of(fitter, fit, strength=1.0, label=label)
    return figure_of_fits([_without_signal(panel) for panel in panels], xlabel=_XLABEL)


def _without_signal(panel: Panel) -> Panel:
    """Leave out the component that is 0: it would be in the legend."""
    parts = {name: y for name, y in panel.components.items() if name != SIGNAL}
    curve = None if panel.curve is None else (panel.curve[0], {n: y for n, y in panel.curve[1].items() if n != SIGNAL})
    return replace(panel, components=parts, curve=curve)
