"""CLs limits, p-values and significances from the asymptotic distributions of likelihood ratios.

Formulae of G. Cowan, K. Cranmer, E. Gross and O. Vitells, Eur. Phys. J. C 71 (2011) 1554, arXiv:1007.1727: the test
statistic of limits is q~_mu, its distributions those of sections 3.6 and 3.8 with the Asimov data of mu = 0. The
Asimov data and the centers of the constraints are taken from the fit with mu = 0 to the data. The profile likelihoods
may come from this package or from pyhf: see `Profiles`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Final, Protocol

import numpy as np
from scipy import interpolate, special

from portico.errors import FitError
from portico.stats.fit import Fit, Fitter
from portico.stats.limit import BANDS, CLs, Limit
from portico.stats.model import Model, Observation, Points, observation
from portico.stats.shapes import Array

__all__ = ["ModelProfiles", "Profiles", "asymptotic_limit", "cls_at", "discovery"]

_PRECISION: Final = 3e-4  # of a limit, relative
_DOUBLINGS: Final = 40
_REPEATS: Final = 5
_IMPROVED: Final = 1e-4  # of -2 log L, by which a better best fit changes results
_BEYOND: Final = (1.5, 3.0)  # of a limit, where CLs must stay below its level
_FINE: Final = 12  # points beyond a limit, where CLs rises
_RISE: Final = 0.01  # by which log CLs, or a significance, may be wrong


class Profiles(Protocol):
    """Profile likelihood ratios of a model, which is all that the asymptotic formulae need."""

    @property
    def observed(self) -> bool:
        """Whether there are data, none of them blinded."""

    def statistics(self, mu: float) -> tuple[float, float]:
        """Return q~_mu of the data (of the Asimov data where there are none) and of the Asimov data of mu = 0."""

    def of_asimov(self, mu: float) -> float:
        """Return q~_mu of the Asimov data of mu = 0 alone: all that expected limits need."""

    @property
    def poi(self) -> str:
        """Name of the parameter of interest."""

    @property
    def unit(self) -> float:
        """A strength of the order of the limits, where the search for them begins."""

    @property
    def improved(self) -> int:
        """How often the best fit was replaced by a better one: statistics of before do not hold."""

    @property
    def several_minima(self) -> bool:
        """Whether likelihoods of this model may have more than one minimum."""


class ModelProfiles:
    """Profiles of a `Model`.

    Parameters
    ----------
    model : Model
        Its parameter of interest is bounded below by 0, whatever its own bound.
    penalty : float
        See `Fitter`.

    Raises
    ------
    FitError
        If the fits to the data do not converge.
    """

    def __init__(self, model: Model, *, penalty: float = 1.0) -> None:
        poi = model.all_parameters[model.poi]
        self.model = model = model.with_poi_bounds(0.0, max(poi.high, poi.start))
        data = observation(model)
        self._fitter = Fitter(model, data, penalty=penalty)
        self.background: Fit = self._fitter.fit({model.poi: 0.0})
        self.asimov = asimov(model, self._fitter, self.background)
        self._of_asimov = Fitter(
            model, self.asimov, penalty=penalty, choice=self.background.choice, known=self.background.values
        )
        self._free_asimov = self._of_asimov.fit({model.poi: 0.0})
        self.several_minima = self._fitter.several_minima
        self.unit, self.improved = _unit(model, self._of_asimov, self.background), 0
        self.best: Fit | None = self._fitter.fit() if model.observed else None
        if self.best is not None and self.best.objective > self.background.objective:
            self.best = self.background  # a bound: the minimum is at 0
        self.poi = model.poi
        self._fits: dict[tuple[str, float], Fit] = {}

    @property
    def observed(self) -> bool:
        """Whether there are data, none of them blinded."""
        return self.best is not None

    def statistics(self, mu: float) -> tuple[float, float]:
        """Return q~_mu of the data (of the Asimov data where there are none) and of the Asimov data of mu = 0."""
        of_asimov = self.of_asimov(mu)
        if self.best is None:
            return of_asimov, of_asimov
        if self.best.values[self.poi] >= mu:
            return 0.0, of_asimov
        fixed = self.conditional("data", mu)
        if fixed.objective < self.best.objective:
            better = min(fixed, self._fitter.fit(), key=lambda fit: fit.objective)
            self.improved += better.objective < self.best.objective - _IMPROVED
            self.best = better
        return max(fixed.objective - self.best.objective, 0.0), of_asimov

    def of_asimov(self, mu: float) -> float:
        """Return q~_mu of the Asimov data of mu = 0 alone."""
        return max(self.conditional("asimov", mu).objective - self._free_asimov.objective, 0.0)

    def conditional(self, which: str, mu: float) -> Fit:
        """Fit ``data`` or ``asimov`` data with a fixed strength."""
        key = which, mu
        if key not in self._fits:
            fitter = self._fitter if which == "data" else self._of_asimov
            others = [fit.values for fit in (self.background, self.best) if fit is not None]
            self._fits[key] = fitter.fit({self.poi: mu}, others=others)
        return self._fits[key]

    def hypotheses(self, mu: float) -> dict[str, tuple[Array, Array]]:
        """Return the Asimov data, and the expectation of the fit to them with a strength, by channel."""
        fit = self.conditional("asimov", mu)
        edges = [channel.fine_edges for channel in self.model.channels]
        expected = self._of_asimov.likelihood(fit.choice).expected(fit.values, edges)
        return {
            channel.name: (points.weights, np.asarray(np.sum(list(parts.values()), axis=0), dtype=np.float64))
            for channel, points, parts in zip(self.model.channels, self.asimov.channels, expected, strict=True)
        }


def _unit(model: Model, fitter: Fitter, fit: Fit) -> float:
    """Return the strength whose signal is the uncertainty of the background, bin by bin."""
    likelihood, step = fitter.likelihood(fit.choice), model.all_parameters[model.poi].step
    none, some = (
        [np.sum(list(parts.values()), axis=0) for parts in likelihood.expected({**fit.values, model.poi: mu})]
        for mu in (0.0, step)
    )
    background, with_signal = np.concatenate(none), np.concatenate(some)
    signal = np.maximum(with_signal - background, 0.0) / step
    information = float(np.sum(signal**2 / np.maximum(background, 1.0)))
    return information**-0.5 if information > 0 else 1.0


def asimov(model: Model, fitter: Fitter, fit: Fit) -> Observation:
    """Return the data that equal the expectation of a fit, in the bins of the channels, none of them blinded."""
    bins = [channel.fine_edges for channel in model.channels]
    of_channels = fitter.likelihood(fit.choice).expected(fit.values, bins)
    points = tuple(
        Points(edges, None, total, np.ones(len(total), bool))
        for edges, parts in zip(bins, of_channels, strict=True)
        for total in [np.sum(list(parts.values()), axis=0)]
    )
    return Observation(points, {name: fit.values[name] for name in model.nuisances})


def cls_at(profiles: Profiles, mu: float) -> CLs:
    """Return CLs of a signal strength, observed and expected.

    Parameters
    ----------
    profiles : Profiles
    mu : float
        Above 0.
    """
    q, q_asimov = profiles.statistics(mu)
    root = math.sqrt(q_asimov)
    expected = tuple(float(special.ndtr(n - root) / special.ndtr(n)) for n in BANDS)
    if not profiles.observed:
        return CLs(mu, None, expected)
    clsb, clb = _p_values(q, q_asimov)
    return CLs(mu, clsb / clb if clb > 0 else 1.0, expected, clsb, clb)


def _p_values(q: float, q_asimov: float) -> tuple[float, float]:
    """CLs+b and CLb, equations 65 and 66 of arXiv:1007.1727."""
    if q_asimov == 0:
        return 1.0, 1.0
    root, root_asimov = math.sqrt(q), math.sqrt(q_asimov)
    if q <= q_asimov:
        return float(special.ndtr(-root)), float(special.ndtr(root_asimov - root))
    signal = (q + q_asimov) / (2 * root_asimov)
    background = (q - q_asimov) / (2 * root_asimov)
    return float(special.ndtr(-signal)), float(special.ndtr(-background))


def asymptotic_limit(profiles: Profiles, *, cl: float = 0.95) -> Limit:
    """Upper limits on the parameter of interest, observed and expected.

    Parameters
    ----------
    profiles : Profiles
        Of a `Model`, or of pyhf.
    cl : float
        Confidence level, between 0 and 1.

    Raises
    ------
    FitError
        If the fits do not converge, or nothing depends on the signal strength.
    ValueError
        For an impossible confidence level.
    """
    if not 0 < cl < 1:
        raise ValueError(f"confidence level = {cl!r}; it must lie between 0 and 1")
    for _ in range(_REPEATS):
        before = profiles.improved
        limit = _limit(profiles, cl)
        if profiles.improved == before:
            return limit
    raise FitError(f"each fit with a fixed {profiles.poi} is better than the best fit: no limit can be given")


def _limit(profiles: Profiles, cl: float) -> Limit:
    scale = _scale(profiles)
    # expected CLs at n standard deviations: [1 - Phi(sqrt(q_A) - n)] / Phi(n)
    targets = [n - float(special.ndtri((1 - cl) * special.ndtr(n))) for n in BANDS]
    known: dict[float, float] = {0.0: 0.0}

    def significance(mu: float) -> float:
        return math.sqrt(profiles.of_asimov(mu))

    def minus_log_cls(mu: float) -> float:
        return -math.log(max(cls_at(profiles, mu).observed or 0.0, 1e-300))

    expected = tuple(_last(significance, target, scale, known, profiles.several_minima) for target in targets)
    notes = [_note(f"expected CLs of {profiles.poi}", at) for at in [_fall(known)] if at]
    if not profiles.observed:
        return Limit("asymptotic", None, expected, notes=tuple(notes))
    seen: dict[float, float] = {0.0: 0.0}
    observed = _last(minus_log_cls, -math.log(1 - cl), expected[2], seen, profiles.several_minima)
    notes += [_note(f"CLs of {profiles.poi}", at) for at in [_fall(seen)] if at]
    return Limit("asymptotic", observed, expected, notes=tuple(notes))


def _last(
    function: Callable[[float], float], target: float, start: float, known: dict[float, float], beyond: bool
) -> float:
    """Solve function(x) = target as `invert`, for the largest x; look beyond it where the function may fall again."""
    x = invert(function, target, start, known)
    for factor in _BEYOND if beyond else ():
        further = factor * x
        if not any(1.2 * x < at <= further for at in known):
            known[further] = function(further)
    for further in np.geomspace(x, _BEYOND[-1] * x, _FINE + 1)[1:].tolist() if _fall(known) else ():
        known[further] = function(further)
    again = any(value < target for at, value in known.items() if at > x)
    return invert(function, target, start, known) if again else x


def _fall(values: Mapping[float, float]) -> tuple[float, float] | None:
    """Return between which two points a function falls that should rise."""
    ordered = sorted(values.items())
    falls = ((x, more) for (x, value), (more, lower) in pairwise(ordered) if lower < value * (1 - _RISE) - _RISE)
    return next(falls, None)


def _note(what: str, at: tuple[float, float]) -> str:
    return (
        f"{what} rises between {at[0]:.4g} and {at[1]:.4g}: the likelihood has several minima there, and the limit is "
        "the largest strength that is not excluded"
    )


def _scale(profiles: Profiles) -> float:
    """Return the signal strength that is two standard deviations away in the Asimov data."""
    mu = profiles.unit
    for _ in range(_DOUBLINGS):
        significance = math.sqrt(profiles.of_asimov(mu))
        if 0.02 <= significance <= 20.0:
            return 2.0 * mu / significance
        mu *= 8.0 if significance < 0.02 else 1 / 8.0
    raise FitError(f"the likelihood does not depend on {profiles.poi}: there is no signal where data are")


def invert(
    function: Callable[[float], float], target: float, start: float, known: dict[float, float] | None = None
) -> float:
    """Solve function(x) = target for a smooth function that rises from 0 at x = 0, in few evaluations.

    Parameters
    ----------
    function : callable
    target : float
        Above 0.
    start : float
        Of the order of the solution.
    known : dict, optional
        Values found before; those found here are added.

    Raises
    ------
    FitError
        If no solution is found: the function is not smooth.
    """
    values = {0.0: 0.0} if known is None else known
    x = _next(values, target, start)
    for _ in range(_DOUBLINGS):
        values[x] = function(x)
        previous, x = x, _next(values, target, start)
        if abs(x - previous) < _PRECISION * x:  # the curve may be flat at its end: a line is not
            x = _on_line(values, target)
            if abs(x - previous) < _PRECISION * x:
                return x
    raise FitError(f"no limit found near {x:g}: the fits do not converge")


def _around(values: Mapping[float, float], target: float) -> tuple[float, float | None]:
    """Return the last point below the target, and the next one, if it is known."""
    below = max(x for x, value in values.items() if value < target)
    return below, min((x for x, value in values.items() if value >= target and x > below), default=None)


def _on_line(values: Mapping[float, float], target: float) -> float:
    """Return where the line between the points around the target reaches it."""
    below, above = _around(values, target)
    if above is None:
        return 2 * below
    return below + (above - below) * (target - values[below]) / (values[above] - values[below])


def _next(values: dict[float, float], target: float, start: float) -> float:
    """Return where to evaluate next, from a monotonic curve through the known points."""
    below, above = _around(values, target)
    if above is None:
        return max(2 * below, start)
    points = sorted((x, value) for x, value in values.items())
    xs, ys = np.array([p[0] for p in points]), np.maximum.accumulate([p[1] for p in points])
    keep = np.concatenate([[True], np.diff(ys) > 0])
    x = float(interpolate.PchipInterpolator(ys[keep], xs[keep])(target))
    return x if below < x <= above else 0.5 * (below + above)


def discovery(model: Model, *, penalty: float = 1.0) -> tuple[float, float]:
    """Return the p-value of no signal and its significance: q_0 of arXiv:1007.1727, section 3.5.

    Raises
    ------
    ValueError
        If data are missing or blinded.
    FitError
        If the fits do not converge.
    """
    if not model.observed:
        raise ValueError("there is no observed p-value while data are blinded or missing")
    poi = model.all_parameters[model.poi]
    model = model.with_poi_bounds(0.0, poi.high)
    fitter = Fitter(model, observation(model), penalty=penalty)
    none, best = fitter.fit({model.poi: 0.0}), fitter.fit()
    significance = math.sqrt(max(none.objective - best.objective, 0.0))
    return float(special.ndtr(-significance)), significance
