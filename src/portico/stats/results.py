"""Fits of models of every kind to their data."""

from __future__ import annotations

from portico.stats.fitted import Fitted
from portico.stats.model_file import AnyModel
from portico.stats.model_results import fit_model
from portico.stats.roofit.model import RooFitModel
from portico.stats.roofit.results import fit_roofit
from portico.stats.workspace import Workspace
from portico.stats.workspace_results import fit_workspace

__all__ = ["fit_to_data"]


def fit_to_data(
    model: AnyModel, *, backend: str = "numpy", impacts: bool = False, blind: bool = False,
    toys: int = 0, seed: int = 1,
) -> Fitted:  # fmt: skip
    """Fit a model to its data.

    Parameters
    ----------
    model : Model, Workspace or RooFitModel
    backend : {"numpy", "jax", "minuit"}
        What fits a workspace.
    impacts : bool
        Find the impact of each constrained parameter, which takes two fits each.
    blind : bool
        Take an expectation without signal instead of the data.
    toys : int
        How many are thrown from the fit, and fitted, for the goodness of fit.
    seed : int

    Raises
    ------
    FitError
        If a fit does not converge or has no uncertainties.
    """
    if isinstance(model, Workspace):
        return fit_workspace(model, backend=backend, impacts=impacts, blind=blind, toys=toys, seed=seed)
    if isinstance(model, RooFitModel):
        return fit_roofit(model, impacts=impacts, blind=blind, toys=toys, seed=seed)
    return fit_model(model, impacts=impacts, blind=blind, toys=toys, seed=seed)
