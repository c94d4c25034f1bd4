"""Injection study: whether fits find the signal that was put in, whatever family the background is made of.

Data are thrown from each family, fitted to the background, with signals of several expected standard deviations; all
are fitted with the envelope over the families, and with each family alone for comparison. The pull is

    sign(mu_hat - mu) sqrt(2 log L(mu_hat) - 2 log L(mu)),

with the penalties of the envelope in both: the distance in units of the likelihood's own uncertainty (what MINOS would
give, one side or the other), with mu free to be negative. Of n events under a peak its mean is -1/(6 sqrt n) even of a
perfect fit, three times less than that of (mu_hat - mu)/sigma_hat with sigma_hat from second derivatives, which is too
small wherever n fluctuates down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

import numpy as np

from portico.errors import FitError
from portico.stats.asymptotic import asimov
from portico.stats.fit import Fit, Fitter
from portico.stats.goodness import throw
from portico.stats.likelihood import Choice, competing
from portico.stats.model import Model, Observation, observation

__all__ = ["ENVELOPE", "Bias", "bias_study"]

#: How fits over all families are called.
ENVELOPE: Final = "envelope"
_BELOW: Final = 20.0  # expected standard deviations, to which mu may be negative


@dataclass(frozen=True, slots=True)
class Bias:
    """Pulls of one kind of fit in data of one family with one injected signal.

    Attributes
    ----------
    truth : str
        Family that data are thrown from.
    fitted : str
        Family that is fitted, or ``envelope``.
    injected : float
        In expected standard deviations without signal.
    mu : float
        The same as a strength.
    toys : int
        Fits that converged.
    failed : int
        Fits that did not.
    mean, error : float
        Mean pull and its statistical uncertainty; nan of less than two toys.
    width : float
        Standard deviation of the pulls.
    median : float
        Median of mu_hat - mu, over the expected standard deviation.
    """

    truth: str
    fitted: str
    injected: float
    mu: float
    toys: int
    failed: int
    mean: float
    error: float
    width: float
    median: float


def bias_study(
    model: Model,
    *,
    injected: Sequence[float] = (0, 1, 2, 5),
    toys: int = 500,
    seed: int = 1,
    penalty: float = 1.0,
    singles: bool = True,
    errors: Literal["likelihood", "hesse"] = "likelihood",
) -> list[Bias]:
    """Throw data with injected signals from each family, and return the pulls of the fits to them.

    Parameters
    ----------
    model : Model
        With data, which may be blinded: backgrounds are fitted to what may be seen with a signal of 0. Where several
        components compete, all of them take their first family in one truth, their second in the next, and so on.
    injected : sequence of float
        In expected standard deviations.
    toys : int
        Of each truth and signal; data are thrown in the bins of the channels.
    seed : int
    penalty : float
        See `Fitter`.
    singles : bool
        Fit each family alone as well.
    errors : str
        ``hesse`` takes (mu_hat - mu)/sigma_hat instead, for comparison.

    Raises
    ------
    ValueError
        If there are no data, or less than 2 toys.
    FitError
        If a family cannot be fitted to the background.
    """
    if toys < 2:
        raise ValueError(f"toys = {toys}; a mean pull with its error needs 2 or more")
    truths = _truths(model)
    alone = truths if singles and len(truths) > 1 else {}
    rows = []
    for number, (truth, choice) in enumerate(truths.items()):
        wide, data, background, sigma = _prepared(model, choice, penalty)
        for size in injected:
            source = _Source(wide, data, background, size * sigma)
            results: dict[str, list[_Result]] = {ENVELOPE: [], **{name: [] for name in alone}}
            for child in np.random.SeedSequence([seed, number, round(1000 * size)]).spawn(toys):
                toy = source.throw(np.random.default_rng(child))
                fitter = partial(Fitter, wide, toy, penalty=penalty, known=source.values)
                for name, result in _results(fitter, alone, choice, size * sigma, errors).items():
                    results[name] += [result] if result else []
            rows += [_row(truth, name, size, sigma, several, toys) for name, several in results.items()]
    return rows


@dataclass(frozen=True, slots=True)
class _Result:
    """The fits to one toy: objectives with the true mu and with the best, mu_hat - mu, and sigma_hat if asked for."""

    at_truth: float
    best: float
    away: float
    sigma: float | None

    @property
    def pull(self) -> float:
        if self.sigma is not None:
            return self.away / self.sigma
        return math.copysign(math.sqrt(max(self.at_truth - self.best, 0.0)), self.away)


class _Source:
    """Throws data of a background with a signal."""

    def __init__(self, model: Model, data: Observation, background: Fit, mu: float) -> None:
        self.values: Mapping[str, float] = {**background.values, model.poi: mu}
        self._model, self._data = model, data
        self._fit = Fit(self.values, 0.0, 0.0, background.choice)
        self._likelihood = Fitter(model, data).likelihood(background.choice)

    def throw(self, rng: np.random.Generator) -> Observation:
        return throw(self._model, self._likelihood, self._fit, self._data, rng)


def _truths(model: Model) -> dict[str, Choice]:
    """Families by name, each as a choice."""
    rivals = competing(model)
    if not rivals:
        return {"background": ()}
    truths = {}
    for i in range(max(len(component.shapes) for _, component in rivals)):
        choice = tuple(min(i, len(component.shapes) - 1) for _, component in rivals)
        shapes = [component.shapes[k] for (_, component), k in zip(rivals, choice, strict=True)]
        names = dict.fromkeys(f"{shape.kind}{getattr(shape, 'order', '')}" for shape in shapes)
        truths["/".join(names) if "/".join(names) not in truths else f"{'/'.join(names)}#{i}"] = choice
    return truths


def _prepared(model: Model, choice: Choice, penalty: float) -> tuple[Model, Observation, Fit, float]:
    """Return the model with wide bounds of mu, its Asimov data, the background, and the expected uncertainty of mu."""
    none = {model.poi: 0.0}
    fitter = Fitter(model, observation(model), penalty=penalty, choose=False, choice=choice)
    background = fitter.fit(none)
    data = asimov(model, fitter, background)
    of_asimov = Fitter(
        model.with_poi_bounds(-math.inf, math.inf), data, penalty=penalty, choose=False, choice=choice,
        known=background.values,
    )  # fmt: skip
    sigma = of_asimov.fit(errors=True).errors[model.poi]
    return model.with_poi_bounds(-_BELOW * sigma, 2 * _BELOW * sigma), data, background, sigma


def _results(
    fitter: Callable[..., Fitter], alone: Mapping[str, Choice], choice: Choice, mu: float, errors: str
) -> dict[str, _Result | None]:
    """Fit one toy in all ways; where one component competes, the envelope is the best of the single fits."""
    found = {name: _fitted(fitter(choose=False, choice=only), mu, errors) for name, only in alone.items()}
    single = [result for result in found.values() if result]
    if not alone or len(choice) > 1:
        found[ENVELOPE] = _fitted(fitter(choice=choice), mu, errors)
    elif single:
        best = min(single, key=lambda result: result.best)
        found[ENVELOPE] = replace(best, at_truth=min(result.at_truth for result in single))
    return found


def _fitted(fitter: Fitter, mu: float, errors: str) -> _Result | None:
    """Fit one toy with mu held at its truth and free; None if a fit fails."""
    poi = fitter.model.poi
    try:
        at_truth = fitter.fit({poi: mu})
        best = fitter.fit(errors=errors == "hesse")
    except FitError:
        return None
    return _Result(at_truth.objective, best.objective, best.values[poi] - mu, best.errors.get(poi))


def _row(truth: str, fitted: str, size: float, sigma: float, found: Sequence[_Result], toys: int) -> Bias:
    pulls = np.array([result.pull for result in found])
    few = len(pulls) < 2
    mean, width = (math.nan, math.nan) if few else (float(pulls.mean()), float(pulls.std(ddof=1)))
    median = math.nan if few else float(np.median([result.away for result in found])) / sigma
    error = width / math.sqrt(len(pulls)) if not few else math.nan
    return Bias(truth, fitted, size, size * sigma, len(pulls), toys - len(pulls), mean, error, width, median)
