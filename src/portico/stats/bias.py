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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    fits: list[tuple[str, Choice | None]] = [(ENVELOPE, None), *(truths.items() if singles and len(truths) > 1 else ())]
    rows = []
    for number, (truth, choice) in enumerate(truths.items()):
        wide, data, background, sigma = _prepared(model, choice, penalty)
        for size in injected:
            mu = size * sigma
            source = _Source(wide, data, background, mu)
            results: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in fits}
            for child in np.random.SeedSequence([seed, number, round(1000 * size)]).spawn(toys):
                toy = source.throw(np.random.default_rng(child))
                for name, only in fits:
                    pull = _pull(wide, toy, source.values, mu, choice if only is None else only, only is None,
                                 penalty, errors)  # fmt: skip
                    results[name] += [pull] if pull else []
            rows += [_row(truth, name, size, mu, sigma, found, toys) for name, found in results.items()]
    return rows


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


def _pull(
    model: Model, toy: Observation, known: Mapping[str, float], mu: float, choice: Choice, choose: bool,
    penalty: float, errors: str,
) -> tuple[float, float] | None:  # fmt: skip
    """Return the pull and mu_hat - mu, or None if a fit fails."""
    fitter = Fitter(model, toy, penalty=penalty, choose=choose, choice=choice, known=known)
    try:
        at_truth = fitter.fit({model.poi: mu})
        best = fitter.fit(errors=errors == "hesse")
    except FitError:
        return None
    away = best.values[model.poi] - mu
    if errors == "hesse":
        return away / best.errors[model.poi], away
    return math.copysign(math.sqrt(max(at_truth.objective - best.objective, 0.0)), away), away


def _row(
    truth: str, fitted: str, size: float, mu: float, sigma: float, found: Sequence[tuple[float, float]], toys: int
) -> Bias:
    pulls = np.array([pull for pull, _ in found])
    few = len(pulls) < 2
    mean, width = (math.nan, math.nan) if few else (float(pulls.mean()), float(pulls.std(ddof=1)))
    median = math.nan if few else float(np.median([away for _, away in found])) / sigma
    error = width / math.sqrt(len(pulls)) if not few else math.nan
    return Bias(truth, fitted, size, mu, len(pulls), toys - len(pulls), mean, error, width, median)
