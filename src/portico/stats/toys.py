"""CLs from toys: data thrown under a model, for few events, where the asymptotic formulae do not hold.

The test statistic is q~_mu. Toys of a strength mu are thrown with the nuisance parameters at their best fit to the
data for this mu, and so are the auxiliary measurements that constrain them (the profile construction of ATLAS and CMS,
CMS-NOTE-2011-005, section 2). Each toy has a random generator of its own, made of the seed, the hypothesis, the number
of the strength and the number of the toy: results do not depend on how toys are distributed over workers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

import numpy as np

from portico.errors import FitError
from portico.stats.asymptotic import asimov
from portico.stats.fit import Fit, Fitter, fit_at_start
from portico.stats.model import Channel, Model, Observation, Points, observation
from portico.stats.toy_limits import ToyStatistics, statistics_of

__all__ = ["FitFrom", "ModelToys", "ToySource", "check", "statistic_of", "throw_toy", "throw_toys", "with_expectation"]

_LEAST_TOYS: Final = 100

#: Fits data with a fixed strength, or a free one (None), from several starts, and returns the lowest minimum.
FitFrom = Callable[[float | None, Sequence[Mapping[str, float]]], Fit]


class ToySource(Protocol):
    """A model that toys are thrown from and fitted with."""

    @property
    def observed(self) -> bool:
        """Whether there are data, none of them blinded."""

    def sample(self, mu: float, rng: np.random.Generator) -> Any:
        """Return data thrown under a strength, with the nuisance parameters at their best fit to the data for it."""

    def statistic(self, mu: float, data: Any) -> float:
        """Return q~_mu of data, or raise `FitError`."""

    def observed_statistic(self, mu: float) -> float:
        """Return q~_mu of the observed data."""


def statistic_of(fit: FitFrom, poi: str, mu: float, near: Fit) -> float:
    """Return q~_mu of data that may have several minima.

    Parameters
    ----------
    fit : callable
    poi : str
    mu : float
    near : Fit
        Where fits begin: what a toy was thrown from.

    Raises
    ------
    FitError
        If a fit does not converge.
    """
    best = fit(None, [near.values, {**near.values, poi: 0.0}])
    if best.values[poi] >= mu:
        return 0.0
    fixed = fit(mu, [near.values, best.values])
    if fixed.objective < best.objective:
        best = min(fixed, fit(None, [fixed.values]), key=lambda of: of.objective)
        if best.values[poi] >= mu:
            return 0.0
    return max(fixed.objective - best.objective, 0.0)


class ModelToys:
    """Toys of a `Model`.

    Data of unbinned channels, observed ones too, are binned in at least 200 bins. While data are blinded, toys are
    thrown from the background-only fit to the data outside the blinded intervals; without data, from the start values.

    Parameters
    ----------
    model : Model
    penalty : float
        See `Fitter`.
    blind : bool
        Use the data in the background-only fit only.
    """

    def __init__(self, model: Model, *, penalty: float = 1.0, blind: bool = False) -> None:
        poi = model.all_parameters[model.poi]
        model = model.with_poi_bounds(0.0, max(poi.high, poi.start))
        self.observed = model.observed and not blind
        self.model = model.model_copy(update={"channels": tuple(_in_bins(channel) for channel in model.channels)})
        self._penalty = penalty
        self._data = observation(with_expectation(self.model))
        self._background: Fit | None = None
        self._thrown: dict[float, tuple[Fit, Observation]] = {}

    def sample(self, mu: float, rng: np.random.Generator) -> tuple[Observation, Fit]:
        """Return data thrown under a strength, and the fit that they are thrown from, near which fits to them begin."""
        if mu not in self._thrown:
            fit = self._conditional(mu)
            fitter = Fitter(self.model, self._data, penalty=self._penalty, choice=fit.choice)
            self._thrown[mu] = fit, asimov(self.model, fitter, fit)
        fit, mean = self._thrown[mu]
        centers = {name: float(rng.normal(mean.centers[name])) for name in self.model.nuisances}
        return Observation(tuple(_poisson(points, rng) for points in mean.channels), centers), fit

    def statistic(self, mu: float, data: tuple[Observation, Fit]) -> float:
        """Return q~_mu of thrown data."""
        return self._statistic(mu, *data)

    def observed_statistic(self, mu: float) -> float:
        """Return q~_mu of the observed data.

        Raises
        ------
        ValueError
            While they are blinded.
        """
        if not self.observed:
            raise ValueError("there is no observed statistic while data are blinded or missing")
        return self._statistic(mu, self._data, self._conditional(mu))

    def _conditional(self, mu: float) -> Fit:
        """Fit the data with a fixed strength, always from the background-only fit, so that no order matters."""
        if self._background is None:
            self._background = Fitter(self.model, self._data, penalty=self._penalty).fit({self.model.poi: 0.0})
        if not self.observed:
            return replace(self._background, values={**self._background.values, self.model.poi: mu})
        return self._fitter(self._data, self._background).fit({self.model.poi: mu})

    def _statistic(self, mu: float, data: Observation, near: Fit) -> float:
        poi, fitter = self.model.poi, self._fitter(data, near)
        fixed = fitter.fit({poi: mu})
        best = fitter.fit(others=[{**near.values, poi: 0.0}])
        if fixed.objective < best.objective:
            best = min(fixed, fitter.fit(others=[fixed.values]), key=lambda fit: fit.objective)
        if best.values[poi] >= mu:
            return 0.0
        if fitter.several_minima:
            again = fitter.fit({poi: mu}, others=[best.values])
            fixed = min(fixed, again, key=lambda fit: fit.objective)
        if best.choice != fixed.choice:  # the other families might be better for the fixed strength, too
            again = fitter.fit({poi: mu})
            fixed = min(fixed, again, key=lambda fit: fit.objective)
        return max(fixed.objective - best.objective, 0.0)

    def _fitter(self, data: Observation, near: Fit) -> Fitter:
        return Fitter(self.model, data, penalty=self._penalty, choice=near.choice, known=near.values)


def _in_bins(channel: Channel) -> Channel:
    """Return a channel with counts instead of values, in bins fine enough for its peaks."""
    if channel.values is None:
        return channel
    fine = channel.fine_edges
    counts = np.histogram(np.array(channel.values), fine)[0].astype(np.float64)
    return channel.model_copy(update={"edges": tuple(fine), "counts": tuple(counts), "values": None})


def with_expectation(model: Model) -> Model:
    """Return a model whose data are the expectation without signal at the start values, unless it has data."""
    if model.has_data:
        return model
    mean = asimov(model, *fit_at_start(model))
    filled = tuple(
        channel.model_copy(update={"counts": tuple(points.weights.tolist()), "values": None})
        for channel, points in zip(model.channels, mean.channels, strict=True)
    )
    return model.model_copy(update={"channels": filled})


def _poisson(mean: Points, rng: np.random.Generator) -> Points:
    if not np.all(mean.weights >= 0):
        raise FitError("the model expects fewer than 0 events in a bin: no toys can be thrown")
    return Points(mean.edges, None, rng.poisson(mean.weights).astype(np.float64), mean.used)


def throw_toy(source: ToySource, mu: float, number: int, *, signal: bool, seed: int, index: int = 0) -> float:
    """Throw one toy and return its q~_mu; not a number where its fits do not converge.

    Parameters
    ----------
    source : ToySource
    mu : float
        The strength of the test statistic.
    number : int
        Of the toy.
    signal : bool
        Whether it is thrown under mu; otherwise without signal.
    seed, index : int
        The seed of all, and the number of mu in a scan.
    """
    rng = np.random.default_rng([seed, int(signal), index, number])
    data = source.sample(mu if signal else 0.0, rng)
    try:
        return source.statistic(mu, data)
    except FitError:
        return math.nan


def throw_toys(source: ToySource, mu: float, toys: int, *, seed: int = 1, index: int = 0) -> ToyStatistics:
    """Throw toys of both hypotheses, in this process.

    Parameters
    ----------
    source : ToySource
    mu : float
        Above 0.
    toys : int
        Of each hypothesis.
    seed, index : int
        As in `throw_toy`.

    Raises
    ------
    FitError
        If fits to the data do not converge, or those of more than 1% of the toys.
    ValueError
        If mu is not above 0 or toys are too few.
    """
    check(mu, toys)
    background, signal = (
        np.array([throw_toy(source, mu, number, signal=is_signal, seed=seed, index=index) for number in range(toys)])
        for is_signal in (False, True)
    )
    return statistics_of(mu, source.observed_statistic(mu) if source.observed else None, background, signal)


def check(mu: float, toys: int) -> None:
    """Check the strength and the number of toys.

    Raises
    ------
    ValueError
        If mu is not above 0 or toys are too few.
    """
    if not (math.isfinite(mu) and mu > 0):
        raise ValueError(f"mu = {mu!r}; a signal strength to be tested must be finite and above 0")
    if toys < _LEAST_TOYS:
        raise ValueError(f"{toys} toys are too few, {_LEAST_TOYS} are needed")
