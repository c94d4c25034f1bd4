"""Toys of pyhf workspaces: see `portico.stats.toys.ToySource`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from portico.errors import FitError
from portico.stats.fit import Fit
from portico.stats.shapes import Array
from portico.stats.toys import statistic_of
from portico.stats.workspace import Workspace
from portico.stats.workspace_fits import WorkspaceFitter

__all__ = ["PyhfToys", "ThrownData", "thrown"]


@dataclass(frozen=True, slots=True)
class ThrownData:
    """One toy.

    Attributes
    ----------
    values : array
        Main data and auxiliary data, as pyhf orders them.
    near : Fit
        What it was thrown from, where fits to it begin.
    """

    values: Array
    near: Fit


class PyhfToys:
    """Toys of a workspace, of the events and of the auxiliary measurements.

    The model of pyhf throws with numpy's global generator; here the one that is given is used, so that a toy depends on
    its seed alone.

    Parameters
    ----------
    workspace : Workspace
    backend : {"numpy", "jax", "minuit"}
    blind : bool
        Do not use the data: toys are thrown from the start values of the nuisance parameters.
    """

    def __init__(self, workspace: Workspace, *, backend: str = "numpy", blind: bool = False) -> None:
        self.observed = not blind
        self.workspace, self.fitter = workspace, WorkspaceFitter(workspace, backend)
        config = workspace.model.config
        self._data = np.concatenate([workspace.counts, config.auxdata])
        self._background: Fit | None = None
        self._thrown: dict[float, tuple[Fit, Array]] = {}

    def sample(self, mu: float, rng: np.random.Generator) -> ThrownData:
        """Return data thrown under a strength, with the nuisance parameters at their best fit to the data for it.

        Raises
        ------
        FitError
            If that fit does not converge, or expects fewer than 0 events in a bin.
        """
        if mu not in self._thrown:
            fit = self._conditional(mu)
            mean = self.fitter.expected(fit.values)
            self._thrown[mu] = fit, mean
        fit, mean = self._thrown[mu]
        return ThrownData(thrown(self.fitter, mean, rng), fit)

    def statistic(self, mu: float, data: ThrownData) -> float:
        """Return q~_mu of thrown data.

        Raises
        ------
        FitError
            If the fits do not converge.
        """
        return self._statistic(mu, data.values, data.near)

    def observed_statistic(self, mu: float) -> float:
        """Return q~_mu of the observed data.

        Raises
        ------
        ValueError
            While they are blinded.
        FitError
            If the fits do not converge.
        """
        if not self.observed:
            raise ValueError("there is no observed statistic while data are blinded")
        return self._statistic(mu, self._data, self._conditional(mu))

    def _conditional(self, mu: float) -> Fit:
        """Fit the data with a fixed strength, always from the background-only fit, so that no order matters."""
        if not self.observed:
            return Fit({**self.fitter.start(), self.workspace.poi: mu}, 0.0, 0.0, ())
        if self._background is None:
            self._background = self.fitter.fit(self._data, 0.0)
        return self.fitter.fit(self._data, mu, self._background.values)

    def _statistic(self, mu: float, data: Array, near: Fit) -> float:
        def fit(held: float | None, starts: Sequence[Mapping[str, float]]) -> Fit:
            return self.fitter.fit(data, held, starts[0], starts[1:])

        return statistic_of(fit, self.workspace.poi, mu, near)


def thrown(fitter: WorkspaceFitter, mean: Array, rng: np.random.Generator) -> Array:
    """Return main and auxiliary data thrown around their expectations.

    Raises
    ------
    FitError
        If a bin expects fewer than 0 events.
    """
    normal, widths = fitter.likelihood.normal, fitter.likelihood.widths
    main, auxiliary = mean[: len(mean) - len(normal)], mean[len(mean) - len(normal) :]
    if not np.all(main >= 0):
        raise FitError(f"{fitter.workspace.where}: a bin expects fewer than 0 events: no toys can be thrown")
    counted = rng.poisson(np.where(normal, 0.0, auxiliary))
    measured = rng.normal(auxiliary, widths)
    return np.concatenate([rng.poisson(main), np.where(normal, measured, counted)])
