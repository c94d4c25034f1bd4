"""Fits of a `Model` to its data: parameters with uncertainties, impacts, goodness of fit, and expected events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from portico.analysis.blinding import open_bins
from portico.stats.asymptotic import asimov
from portico.stats.fit import Fit, Fitter
from portico.stats.fitted import Fitted, FittedChannel, FittedParameter, State, fitted_channels
from portico.stats.goodness import goodness_of_fit
from portico.stats.impacts import pulls_and_impacts
from portico.stats.model import Channel, Model, Observation, counted, observation
from portico.stats.shapes import Array
from portico.stats.toys import with_expectation

__all__ = ["fit_model"]


def fit_model(model: Model, *, impacts: bool = False, blind: bool = False, toys: int = 0, seed: int = 1) -> Fitted:
    """Fit a model to its data.

    Parameters
    ----------
    model : Model
        The strength is not negative. Data of blinded intervals are not used; without data, the expectation at the start
        values takes their place.
    impacts : bool
        Find pulls and impacts of the nuisance parameters, see `portico.stats.impacts`.
    blind : bool
        Take the expectation of the fit without signal instead of the data.
    toys : int
        How many are thrown from the fit, and fitted, for the goodness of fit.
    seed : int

    Raises
    ------
    ValueError
        If the number of toys is negative.
    FitError
        If the fit does not converge or has no errors.
    """
    notes = []
    if not model.has_data:
        notes.append("there are no data: the expectation at the start values takes their place")
    poi = model.all_parameters[model.poi]
    model = with_expectation(model).with_poi_bounds(0.0, max(poi.high, poi.start))
    data = observation(model)
    fitter = Fitter(model, data)
    if blind:
        seen = fitter.fit({model.poi: 0.0})
        data = asimov(model, fitter, seen)
        fitter = Fitter(model, data, choose=False, choice=seen.choice, known=seen.values)
        notes.append("blinded: the data are the expectation of the fit without signal")
    fit = fitter.fit(errors=True)
    parameters = _parameters(model, data, fit)
    if bound := [of.name for of in parameters if of.at_bound]:
        notes.append(f"at a limit of its range, without uncertainty: {', '.join(bound)}")
    agreement = goodness_of_fit(model, fit, data=data, toys=toys, seed=seed).combined
    found = pulls_and_impacts(model, mu=0.0 if blind else None) if impacts else []
    if impacts and not blind and not model.observed:
        notes.append("impacts are those of the expectation without signal, since data are blinded")
    return Fitted(
        model.poi, tuple(parameters), tuple(_channels(model, fitter, fit, data if not blind else None)),
        agreement.statistic, agreement.bins - agreement.parameters, agreement.p, tuple(found), tuple(notes),
        agreement.toys, agreement.p_toys,
    )  # fmt: skip


def _parameters(model: Model, data: Observation, fit: Fit) -> list[FittedParameter]:
    """Return all parameters, that of interest first."""
    found = []
    for name, value in fit.values.items():
        bound = name in fit.at_limit
        error = fit.errors[name] if not bound else math.nan
        pull, constraint = math.nan, math.nan
        if name in model.nuisances:
            pull, constraint = value - data.centers.get(name, 0.0), error
        found.append(FittedParameter(name, value, error, pull, constraint, at_bound=bound))
    return sorted(found, key=lambda of: of.name != model.poi)


def _channels(model: Model, fitter: Fitter, fit: Fit, data: Observation | None) -> list[FittedChannel]:
    """Return the channels before the fit, where free parameters have no uncertainty, and after it."""
    likelihood = fitter.likelihood(fit.choice)
    names, of = likelihood.names, model.all_parameters
    after = np.zeros((len(names), len(names))) if fit.covariance is None else fit.covariance.copy()
    at_bound = np.array([name in fit.at_limit for name in names])
    after[at_bound], after[:, at_bound] = 0.0, 0.0
    before = np.diag([float(name in model.nuisances) for name in names])
    values = np.array([fit.values[name] for name in names])
    bounds = np.array([[of[name].low for name in names], [of[name].high for name in names]])

    def expected(at: Array) -> Sequence[dict[str, Array]]:
        return likelihood.expected(dict(zip(names, at.tolist(), strict=True)))

    rows = [
        (c.name, np.array(c.edges), _observed(c, data, i) if data is not None else None)
        for i, c in enumerate(model.channels)
    ]
    states = State(likelihood.start({}), before), State(values, after)
    found = fitted_channels(expected, *states, (bounds[0], bounds[1]), rows)
    return [
        replace(of, blind=c.blind, signals=tuple(k.name for k in c.components if k.strength == model.poi))
        for of, c in zip(found, model.channels, strict=True)
    ]


def _observed(channel: Channel, data: Observation, index: int) -> Array:
    """Return the counts in the bins of a channel, 0 where they are blinded."""
    seen = open_bins(np.array(channel.edges), channel.blind)
    return np.where(seen, counted(data.channels[index], channel), 0.0)
