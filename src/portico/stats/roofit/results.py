"""Fits of a model of RooFit to its data: parameters with uncertainties, impacts, agreement, and expected events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from portico.errors import FitError
from portico.stats.fit import Fit
from portico.stats.fitted import Fitted, FittedChannel, FittedParameter, State, fitted_channels
from portico.stats.goodness import deviance, joined
from portico.stats.impacts import Impact
from portico.stats.roofit.model import RooFitModel
from portico.stats.shapes import Array

__all__ = ["fit_roofit"]

_FAILED: Final = 0.1  # of the toys, whose fits may fail


def fit_roofit(
    model: RooFitModel, *, impacts: bool = False, blind: bool = False, toys: int = 0, seed: int = 1
) -> Fitted:
    """Fit a model to its data.

    The goodness of fit is that of `portico.stats.goodness`, in bins with 5 expected events or more; parameters with a
    constraint are not counted.

    Parameters
    ----------
    model : RooFitModel
    impacts : bool
        Find the impact of each constrained parameter, which takes two fits each.
    blind : bool
        Take the expectation without signal, at the start values of all parameters, instead of the data.
    toys : int
        How many are thrown from the fit, and fitted, for the goodness of fit.
    seed : int

    Raises
    ------
    FitError
        If the fit does not converge or has no uncertainties, or more than a tenth of the fits to toys fail.
    """
    session, poi, start = model.session, model.poi, model.start
    notes, data = list(model.notes), "asimov" if blind else "obs"
    if blind:
        session.ask("asimov", values={**start, poi: 0.0})
        notes.append("blinded: the data are the expectation without signal at the start values")
    background, _ = session.fit(data, {poi: 0.0}, [start], fresh=True)
    best, found = session.fit(data, {}, [background.values, start], errors=True)
    names = list(best.values)
    covariance = np.zeros((len(names), len(names)))
    at = [names.index(name) for name in found["free"]]
    covariance[np.ix_(at, at)] = np.array(found["covariance"]).reshape(len(at), len(at))
    parameters = _parameters(session.about, best, covariance)
    if bound := [of.name for of in parameters if of.at_bound]:
        notes.append(f"at a limit of its range, without uncertainty: {', '.join(bound)}")
    channels = _channels(model, best, covariance, observed=not blind)
    seen = [_sum(of.before) if of.observed is None else of.observed for of in channels]
    expected = [np.maximum(_sum(of.after), 0.0) for of in channels]
    groups = [joined(of) for of in expected]
    statistic = _statistic(seen, expected, groups)
    loose = sum(not of.fixed and math.isnan(of.pull) for of in parameters)
    degrees = sum(len(of) for of in groups) - loose
    p_value = float(stats.chi2.sf(statistic, degrees)) if degrees > 0 else math.nan
    rows = _impacts(model, data, best, parameters) if impacts else []
    thrown = _thrown(model, best, groups, toys, seed)
    p_toys = (1 + np.sum(thrown >= statistic - 1e-9)) / (1 + len(thrown)) if toys else math.nan
    return Fitted(
        poi, tuple(parameters), tuple(channels), statistic, degrees, p_value,
        tuple(sorted(rows, key=lambda of: -of.size)), tuple(notes), len(thrown), float(p_toys),
    )  # fmt: skip


def _statistic(seen: Sequence[Array], expected: Sequence[Array], groups: Sequence[npt.NDArray[np.intp]]) -> float:
    return math.fsum(deviance(n, e, of) for n, e, of in zip(seen, expected, groups, strict=True))


def _thrown(
    model: RooFitModel, best: Fit, groups: Sequence[npt.NDArray[np.intp]], toys: int, seed: int
) -> Array:  # fmt: skip
    """Return the statistic of fits to toys that are thrown from a fit."""
    found, reason, session = [], "", model.session
    for child in np.random.SeedSequence(seed).spawn(toys):
        try:
            counts = session.ask("throw", values=dict(best.values), seeds=child.generate_state(4).tolist())
            fit, _ = session.fit("toy", {}, [best.values], fresh=True)
        except FitError as error:
            reason = str(error)
            continue
        events = session.ask("events", values=dict(fit.values))
        expected = [np.maximum(np.sum(list(of.values()), axis=0), 0.0) for of in events]
        found.append(_statistic([np.array(of) for of in counts], expected, groups))
    if len(found) < (1 - _FAILED) * toys:
        raise FitError(f"{model.where}: {toys - len(found)} of {toys} fits of toys fail, the last one: {reason}")
    return np.array(found)


def _sum(samples: Mapping[str, Array]) -> Array:
    return np.asarray(np.sum(list(samples.values()), axis=0))


def _parameters(about: Mapping[str, Any], best: Fit, covariance: Array) -> list[FittedParameter]:
    """Return all parameters, that of interest first."""
    found = []
    for i, of in enumerate(about["parameters"]):
        name, value = of["name"], best.values[of["name"]]
        error = math.sqrt(covariance[i, i]) if covariance[i, i] > 0 else math.nan
        pull, constraint = math.nan, math.nan
        if of["constraint"] is not None and not of["constant"]:
            center, down, up = of["constraint"]
            width = up if value > center else down
            pull, constraint = (value - center) / width, error / width
        bound = name in best.at_limit and not of["constant"]
        found.append(FittedParameter(name, value, error, pull, constraint, of["constant"], bound))
    return sorted(found, key=lambda of: of.name != about["poi"])


def _channels(model: RooFitModel, best: Fit, covariance: Array, *, observed: bool) -> list[FittedChannel]:
    """Return the channels before the fit, where free parameters have no uncertainty, and after it."""
    about, session = model.session.about, model.session
    names = [of["name"] for of in about["parameters"]]
    before = np.zeros_like(covariance)
    for i, of in enumerate(about["parameters"]):
        if of["constraint"] is not None and not of["constant"]:
            before[i, i] = (0.5 * (of["constraint"][1] + of["constraint"][2])) ** 2

    def expected(at: Array) -> list[dict[str, Array]]:
        found = session.ask("events", values=dict(zip(names, at.tolist(), strict=True)))
        return [{name: np.array(bins) for name, bins in channel.items()} for channel in found]

    bounds = [
        np.array([side if of[key] is None else of[key] for of in about["parameters"]])
        for key, side in (("low", -np.inf), ("high", np.inf))
    ]
    data = [
        (of["name"], np.array(of["edges"]), np.array(of["observed"]) if observed else None) for of in about["channels"]
    ]
    values = [np.array([of[name] for name in names]) for of in (model.start, best.values)]
    states = State(values[0], before), State(values[1], covariance)
    made = fitted_channels(expected, *states, (bounds[0], bounds[1]), data)
    return [
        replace(of, signals=tuple(known["signals"]), label=known["label"])
        for of, known in zip(made, about["channels"], strict=True)
    ]


def _impacts(model: RooFitModel, data: str, best: Fit, parameters: list[FittedParameter]) -> list[Impact]:
    found = []
    for of in parameters:
        if of.name == model.poi or math.isnan(of.pull) or math.isnan(of.error):
            continue
        changes, notes = [], []
        for sign, word in ((1, "up"), (-1, "down")):
            held = {of.name: of.value + sign * of.error}
            try:
                fit, _ = model.session.fit(data, held, [best.values])
                changes.append(fit.values[model.poi] - best.values[model.poi])
            except FitError as error:
                changes.append(math.nan)
                notes.append(f"{word}: {error}")
        found.append(Impact(of.name, of.pull, of.constraint, changes[0], changes[1], "; ".join(notes)))
    return found
