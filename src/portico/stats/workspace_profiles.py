"""Profile likelihoods of pyhf (HistFactory) workspaces, for the formulae of `portico.stats.asymptotic`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from portico.stats.fit import Fit
from portico.stats.shapes import Array
from portico.stats.workspace import Workspace
from portico.stats.workspace_fits import WorkspaceFitter

__all__ = ["PyhfProfiles"]

_IMPROVED: Final = 1e-4  # of -2 log L, by which a better best fit changes results


class PyhfProfiles:
    """Profiles of a workspace: see `portico.stats.asymptotic.Profiles`.

    Parameters
    ----------
    workspace : Workspace
    backend : {"numpy", "jax", "minuit"}
    blind : bool
        Do not use the data: expected limits are those of the start values of all nuisance parameters.

    Attributes
    ----------
    background : Fit
        With a strength of 0, to the data; start values while blinded.
    best : Fit, optional
        With a free strength, not negative.
    fitter : WorkspaceFitter
    unit : float
        See `WorkspaceFitter`.
    several_minima : bool
        Whether the variations of its shapes make several minima possible.
    improved : int
        How often a fit with a fixed strength led to a better free one: what was computed before does not hold.

    Raises
    ------
    FitError
        If the fits to the data do not converge.
    """

    def __init__(self, workspace: Workspace, *, backend: str = "numpy", blind: bool = False) -> None:
        self.workspace, self.fitter = workspace, WorkspaceFitter(workspace, backend)
        self.poi, self.unit = workspace.poi, self.fitter.unit
        self.data: Array | None = None
        self.best: Fit | None = None
        self.improved, self.several_minima = 0, self.fitter.may_bend
        if blind:
            self.background = Fit({**self.fitter.start(), workspace.poi: 0.0}, 0.0, 0.0, ())
        else:
            self.data = np.concatenate([workspace.counts, workspace.model.config.auxdata])
            self.background = self.fitter.fit(self.data, 0.0)
            self.best = self.fitter.fit(self.data, others=[self.background.values])
            if self.best.objective > self.background.objective:  # a bound: the minimum is at 0
                again = self.fitter.fit(self.data, start=self.background.values)
                self.best = min(self.background, again, key=lambda fit: fit.objective)
        self.asimov = self.fitter.expected(self.background.values)
        # The likelihood of Asimov data is largest at the parameters that they are made of: no fit is needed.
        self._free_asimov = self.fitter.objective(self.asimov, self.background.values)
        self._fits: dict[tuple[str, float], Fit] = {}
        self._starts: dict[str, Mapping[str, float]] = {}

    @property
    def observed(self) -> bool:
        """Whether the data are used."""
        return self.best is not None

    def statistics(self, mu: float) -> tuple[float, float]:
        """Return q~_mu of the data (of the Asimov data while blinded) and of the Asimov data of mu = 0."""
        of_asimov = self.of_asimov(mu)
        if self.best is None or self.data is None:
            return of_asimov, of_asimov
        if self.best.values[self.poi] >= mu:
            return 0.0, of_asimov
        of_best = self._at_best(mu, self.best, self.data)
        return max(self.conditional("data", mu).objective - of_best, 0.0), of_asimov

    def of_asimov(self, mu: float) -> float:
        """Return q~_mu of the Asimov data of mu = 0 alone."""
        return max(self.conditional("asimov", mu).objective - self._free_asimov, 0.0)

    def conditional(self, which: str, mu: float) -> Fit:
        """Fit ``data`` or ``asimov`` data with a fixed strength, from where the last such fit ended and from others."""
        key = which, mu
        if key not in self._fits:
            data = self.asimov if which == "asimov" or self.data is None else self.data
            others = [self.background.values, *([self.best.values] if self.best is not None else [])]
            found = self.fitter.fit(data, mu, self._starts.get(which, self.background.values), others)
            self._fits[key], self._starts[which] = found, found.values
        return self._fits[key]

    def _at_best(self, mu: float, best: Fit, data: Array) -> float:
        """Return the objective of the best fit, after a better one was looked for if the fit with mu is better."""
        fixed = self.conditional("data", mu)
        if fixed.objective < best.objective:
            again = self.fitter.fit(data, start=fixed.values)
            better = min(fixed, again, key=lambda fit: fit.objective)
            if better.objective < best.objective - _IMPROVED:
                self.improved += 1
            self.best = best = better
        return best.objective

    def hypotheses(self, mu: float) -> tuple[Array, Array]:
        """Return the Asimov counts, and those of the fit to them with a strength, auxiliary ones last."""
        there, bins = self.fitter.expected(self.conditional("asimov", mu).values), len(self.workspace.counts)
        counted = np.concatenate([np.ones(bins, dtype=np.bool_), ~self.fitter.likelihood.normal])
        return self.asimov[counted], there[counted]

    def events(self) -> dict[str, tuple[Array, Array]]:
        """Return expected signal for a strength of 1 and expected background in the bins of each channel."""
        at, bins = self.background.values, len(self.workspace.counts)
        background = self.fitter.expected(at)[:bins]
        signal = self.fitter.expected(at, **{self.poi: self.unit})[:bins] - background
        slices = self.fitter.model.config.channel_slices
        return {name: (signal[part] / self.unit, background[part]) for name, part in slices.items()}
