"""Goodness of fit: the agreement of the data with the model that was fitted to them.

Twice the logarithm of the likelihood ratio to the saturated model (S. Baker and R. D. Cousins, Nucl. Instrum. Meth.
221 (1984) 437) follows chi2 where bins hold enough events: neighbours are joined until at least 5 are expected. The
number of degrees of freedom is that of the joined bins without the free parameters; constrained nuisance parameters
are not counted. For few events the same statistic, and the largest distance of the cumulative distributions
(Kolmogorov and Smirnov), are compared with toys that are thrown from the fit and fitted in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from portico.errors import FitError
from portico.stats.fit import Fit, Fitter
from portico.stats.likelihood import Likelihood
from portico.stats.model import Channel, Model, Observation, Points, counted, observation
from portico.stats.shapes import Array

__all__ = ["Agreement", "Goodness", "deviance", "goodness_of_fit", "joined", "throw"]

_LEAST: Final = 5.0  # expected events in joined bins
_FAILED: Final = 0.1  # of the toys, which may fail


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of one channel, or of all of them.

    Attributes
    ----------
    name : str
        The channel, or ``all``.
    statistic : float
        -2 log of the likelihood ratio to the saturated model, in joined bins.
    bins : int
        Joined bins.
    parameters : int
        Free parameters of this channel alone; of all channels also those that they share.
    p : float
        Probability of a worse agreement by chi2; nan where no degree of freedom is left.
    distance : float
        Largest distance of the cumulative distributions; of all channels the largest one. nan without events.
    toys : int
        Toys that were fitted.
    p_toys, p_distance : float
        Probabilities of a larger statistic and of a larger distance in toys, (1 + larger ones)/(1 + toys); nan without
        toys.
    """

    name: str
    statistic: float
    bins: int
    parameters: int
    p: float
    distance: float
    toys: int = 0
    p_toys: float = math.nan
    p_distance: float = math.nan


@dataclass(frozen=True, slots=True)
class Goodness:
    """The agreement of each channel and of all together."""

    channels: tuple[Agreement, ...]
    combined: Agreement


def goodness_of_fit(
    model: Model,
    fit: Fit,
    *,
    data: Observation | None = None,
    fixed: Mapping[str, float] | None = None,
    toys: int = 0,
    seed: int = 1,
    penalty: float = 1.0,
) -> Goodness:
    """Compare data with a fit, in the bins of the channels that are not blinded.

    Parameters
    ----------
    model : Model
    fit : Fit
        Of this model to these data.
    data : Observation, optional
        Those of the model by default. Unbinned ones are counted in the bins of their channel.
    fixed : mapping of str to float, optional
        Parameters that were held in the fit: they are not counted, and held in fits of toys.
    toys : int
        How many are thrown; 0 for none.
    seed : int
    penalty : float
        See `Fitter`.

    Raises
    ------
    ValueError
        If a channel has no data, or the number of toys is negative.
    FitError
        If more than a tenth of the fits of toys fail.
    """
    if toys < 0:
        raise ValueError(f"toys = {toys}; it must be 0 or more")
    held, data = dict(fixed or {}), data or observation(model)
    used = [_used(points, channel) for points, channel in zip(data.channels, model.channels, strict=True)]
    fitter = Fitter(model, data, penalty=penalty, choice=fit.choice)
    expected = _expected(fitter.likelihood(fit.choice), fit, used)
    groups = [joined(e) for e in expected]
    observed = [counted(p, c)[u] for p, c, u in zip(data.channels, model.channels, used, strict=True)]
    found = _statistics(observed, expected, groups)
    numbers = _numbers(model, fitter.likelihood(fit.choice), held)
    names = [*(channel.name for channel in model.channels), "all"]
    bins = [*(len(starts) for starts in groups), sum(len(starts) for starts in groups)]
    rows = [
        Agreement(name, float(q), n, k, float(stats.chi2.sf(q, n - k)) if n > k else math.nan, float(d))
        for name, q, d, n, k in zip(names, *found, bins, numbers, strict=True)
    ]
    if toys:
        thrown = _thrown(model, fit, data, used, groups, held, toys, seed, penalty)
        rows = [
            replace(row, toys=len(thrown), p_toys=_share(thrown[:, 0, i], q), p_distance=_share(thrown[:, 1, i], d))
            for i, (row, q, d) in enumerate(zip(rows, *found, strict=True))
        ]
    return Goodness(tuple(rows[:-1]), rows[-1])


def throw(model: Model, likelihood: Likelihood, fit: Fit, data: Observation, rng: np.random.Generator) -> Observation:
    """Throw data from a fit: Poisson counts in the bins that are used, and centers of the constraints.

    Parameters
    ----------
    model : Model
    likelihood : Likelihood
        With the choice of the fit.
    fit : Fit
    data : Observation
        Whose used bins are used.
    rng : numpy.random.Generator
    """
    points = []
    for channel, parts, of in zip(model.channels, likelihood.expected(fit.values), data.channels, strict=True):
        mean, used = np.maximum(np.sum(list(parts.values()), axis=0), 0.0), _used(of, channel)
        counts = np.where(used, rng.poisson(mean), 0).astype(np.float64)
        points.append(Points(np.array(channel.edges), None, counts, used))
    return Observation(tuple(points), {name: float(rng.normal(fit.values[name])) for name in model.nuisances})


def _used(points: Points, channel: Channel) -> npt.NDArray[np.bool_]:
    return points.used if points.edges is not None else np.ones(len(channel.edges) - 1, dtype=np.bool_)


def _expected(likelihood: Likelihood, fit: Fit, used: Sequence[npt.NDArray[np.bool_]]) -> list[Array]:
    return [
        np.maximum(np.sum(list(parts.values()), axis=0)[use], 0.0)
        for parts, use in zip(likelihood.expected(fit.values), used, strict=True)
    ]


def deviance(observed: Array, expected: Array, starts: npt.NDArray[np.intp]) -> float:
    """Return -2 log of the likelihood ratio to the saturated model, in groups of bins by their first ones."""
    n, mean = np.add.reduceat(observed, starts), np.maximum(np.add.reduceat(expected, starts), 1e-9)
    return float(2 * np.sum(mean - n + special.xlogy(n, n / mean)))


def joined(expected: Array) -> npt.NDArray[np.intp]:
    """Return the first bins of groups with 5 expected events or more; what is left belongs to the last group."""
    starts, total = [0], 0.0
    for i, e in enumerate(expected):
        if total >= _LEAST and expected[i:].sum() >= _LEAST:
            starts.append(i)
            total = 0.0
        total += e
    return np.array(starts, dtype=np.intp)


def _statistics(
    observed: Sequence[Array], expected: Sequence[Array], groups: Sequence[npt.NDArray[np.intp]]
) -> tuple[list[float], list[float]]:
    """Return likelihood ratios and distances by channel, and of all at the end."""
    ratios, distances = [], []
    for n, e, starts in zip(observed, expected, groups, strict=True):
        ratios.append(deviance(n, e, starts))
        there = n.sum() > 0 and e.sum() > 0
        distances.append(float(np.max(np.abs(n.cumsum() / n.sum() - e.cumsum() / e.sum()))) if there else math.nan)
    known = [d for d in distances if not math.isnan(d)]
    return [*ratios, sum(ratios)], [*distances, max(known, default=math.nan)]


def _numbers(model: Model, likelihood: Likelihood, held: Mapping[str, float]) -> list[int]:
    """Count free parameters without a constraint: by channel those of its own, and all of them."""
    owners: dict[str, set[str]] = {}
    for channel, component in model.components:
        if component.strength:
            owners.setdefault(component.strength, set()).add(channel.name)
    loose = [name for name in likelihood.names if name not in held and name not in model.nuisances]
    own = {channel.name: 0 for channel in model.channels}
    for name in loose:
        of = owners.get(name) or {c.name for c, k in model.components if name.startswith(f"{c.name}_{k.name}_")}
        if len(of) == 1:
            own[next(iter(of))] += 1
    return [*own.values(), len(loose)]


def _thrown(
    model: Model, fit: Fit, data: Observation, used: Sequence[npt.NDArray[np.bool_]],
    groups: Sequence[npt.NDArray[np.intp]], held: Mapping[str, float], toys: int, seed: int, penalty: float,
) -> Array:  # fmt: skip
    """Return the statistics of toys that could be fitted, of shape (toys, 2, channels + 1)."""
    likelihood = Likelihood(model, data, fit.choice)
    found, reason = [], ""
    for child in np.random.SeedSequence(seed).spawn(toys):
        toy = throw(model, likelihood, fit, data, np.random.default_rng(child))
        try:
            fitter = Fitter(model, toy, penalty=penalty, choice=fit.choice, known=fit.values)
            again = fitter.fit(held)
        except FitError as error:
            reason = str(error)
            continue
        expected = _expected(fitter.likelihood(again.choice), again, used)
        counts = [points.weights[use] for points, use in zip(toy.channels, used, strict=True)]
        found.append(_statistics(counts, expected, groups))
    if len(found) < (1 - _FAILED) * toys:
        raise FitError(f"goodness of fit: {toys - len(found)} of {toys} fits of toys fail, the last one: {reason}")
    return np.array(found)


def _share(thrown: Array, value: float) -> float:
    if math.isnan(value):
        return math.nan
    return float((1 + np.sum(thrown >= value - 1e-9)) / (1 + len(thrown)))
