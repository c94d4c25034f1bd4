"""Upper limits from counts: asymptotic CLs with pyhf, and the exact counting construction for few events.

All limits are CLs limits on a signal strength mu that multiplies the signal of every count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import numpy as np
from scipy import optimize, signal, stats

from portico.errors import FitError
from portico.stats.asymptotic import invert
from portico.stats.few import ASYMPTOTIC_FROM, effective_events, sensitive_strength
from portico.stats.limit import BANDS, CLs, Limit
from portico.stats.shapes import Array

__all__ = ["COMMON", "Count", "asymptotic_counts", "counting_cls", "counting_limit",
           "deciding_events", "histfactory_channels", "upper_limit"]  # fmt: skip

#: Name of the nuisance parameter shared by the signals of all counts.
COMMON: Final = "common_signal"
#: Of a count in the sum of `counting_limit`; counts with a twentieth of the weight of another are left out.
LARGEST_WEIGHT: Final = 10
_FARTHEST: Final = 1e6  # a limit, relative to the strength where the search for it begins
_LONG: Final = 500  # entries of a distribution above which convolutions use Fourier transforms
_NODES, _SHARES = np.polynomial.hermite_e.hermegauss(15)  # to average over a standard normal distribution


@dataclass(frozen=True, slots=True)
class Count:
    """The number of events in one selection.

    Attributes
    ----------
    name : str
        Must differ between the counts of a model.
    background, background_uncertainty : float
        Expected background events. The uncertainty is that of a count: background (b / u)^2 was counted elsewhere and
        scaled, so that it has a gamma distribution; 0 means exactly known.
    signal, signal_uncertainty : float
        Expected signal events at mu = 1, with the uncertainty of the simulated sample.
    observed : int, optional
        Observed events; None while blinded.
    common : float
        Relative uncertainty of the signal that all counts share, such as that of a luminosity: one standard normal z
        multiplies the signal of each by (1 + common)^z.
    """

    name: str
    background: float
    background_uncertainty: float
    signal: float
    signal_uncertainty: float
    observed: int | None
    common: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.background, self.background_uncertainty, self.signal, self.signal_uncertainty, self.common)
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise ValueError(f"channel {self.name!r}: yields and errors must be finite and at least 0, not {numbers}")
        if self.observed is not None and self.observed < 0:
            raise ValueError(f"channel {self.name!r}: observed = {self.observed} events")


def upper_limit(counts: Sequence[Count], *, cl: float = 0.95) -> Limit:
    """Upper limit on mu: counting where fewer than `ASYMPTOTIC_FROM` events decide it, else asymptotic.

    Counts matter by what they contribute to the sensitivity, see `portico.stats.few`. The counting limit is also used
    where the fits of the asymptotic method do not converge. Channels without signal
    do not constrain mu and are left out.

    Parameters
    ----------
    counts : sequence of Count
        Statistically independent.
    cl : float
        Confidence level, between 0 and 1.

    Raises
    ------
    ValueError
        If no channel has signal, or only some are blinded.
    """
    if deciding_events(counts)[0] >= ASYMPTOTIC_FROM:
        with suppress(FitError):
            return asymptotic_counts(counts, cl=cl)
    return counting_limit(counts, cl=cl)


def deciding_events(counts: Sequence[Count]) -> tuple[float, str]:
    """Return how many events decide the limit from counts, and the count that this depends on most.

    Raises
    ------
    ValueError
        As `upper_limit`.
    """
    counts = _contributing(counts)
    signal, background = (np.array([getattr(c, of) for c in counts]) for of in ("signal", "background"))
    number, at = effective_events(background, background + sensitive_strength(signal, background) * signal)
    return number, counts[at].name


def asymptotic_counts(counts: Sequence[Count], *, cl: float = 0.95) -> Limit:
    """CLs limit from the asymptotic distributions of q~_mu (arXiv:1007.1727), with pyhf.

    Background and signal uncertainties are gamma-constrained (``shapesys``), one parameter per channel; the common one
    is ``normsys``.

    Raises
    ------
    ValueError
        As `upper_limit`; also when a channel expects no background, where the asymptotic formulae do not hold.
    FitError
        If a fit does not converge.
    """
    import pyhf
    from pyhf.exceptions import FailedMinimization
    from pyhf.infer.calculators import AsymptoticCalculator

    _check_level(cl)
    counts = _contributing(counts)
    if empty := [count.name for count in counts if count.background == 0]:
        raise ValueError(f"no background in {', '.join(empty)}: asymptotic formulae do not hold; use counting_limit")
    unit = _natural_strength(counts)
    # The schema is checked by a library function that warns of its age; the specification is our own.
    specification = {
        "channels": histfactory_channels(counts, unit),
        "parameters": [{"name": "mu", "bounds": [[0.0, 1000.0]], "inits": [1.0]}],
    }
    model = pyhf.Model(specification, poi_name="mu", validate=False)
    blinded = counts[0].observed is None
    main = {count.name: count.background if count.observed is None else count.observed for count in counts}
    data = [float(main[name]) for name in model.config.channels] + model.config.auxdata
    calculator = AsymptoticCalculator(data, model, test_stat="qtilde")

    @cache
    def point(mu: float) -> tuple[float, float]:
        """Significance of mu in the background-only Asimov data, and minus the logarithm of the observed CLs."""
        try:
            statistic = calculator.teststatistic(mu)
        except FailedMinimization as error:
            raise FitError(f"a fit at mu = {mu:g} does not converge: {error}") from error
        cls = calculator.pvalues(statistic, *calculator.distributions(mu))[2]
        return float(calculator.sqrtqmuA_v), -math.log(max(float(cls), 1e-300))

    known: dict[float, float] = {0.0: 0.0}
    # expected CLs at N standard deviations: [1 - Phi(sqrt(q_A) - N)] / Phi(N)
    targets = [float(stats.norm.isf((1 - cl) * stats.norm.cdf(n))) + n for n in BANDS]
    expected = tuple(invert(lambda mu: point(mu)[0], target, 1.0, known) * unit for target in targets)
    observed = None if blinded else invert(lambda mu: point(mu)[1], -math.log(1 - cl), 1.0) * unit
    return Limit("asymptotic", observed, expected)


def histfactory_channels(counts: Sequence[Count], unit: float = 1.0, *, poi: str = "mu") -> list[dict[str, Any]]:
    """Return counts as channels of one bin in a HistFactory specification of pyhf.

    Parameters
    ----------
    counts : sequence of Count
    unit : float
        Strength of 1 in units of mu.
    poi : str
        Name of the strength.
    """

    def sample(name: str, count: Count, value: float, uncertainty: float) -> dict[str, Any]:
        modifiers: list[dict[str, Any]] = []
        if uncertainty > 0 and value > 0:
            modifiers.append({"name": f"{name}_{count.name}", "type": "shapesys", "data": [float(uncertainty)]})
        if name == "signal":
            modifiers.append({"name": poi, "type": "normfactor", "data": None})
            if count.common > 0:
                factors = {"hi": 1 + count.common, "lo": 1 / (1 + count.common)}
                modifiers.append({"name": COMMON, "type": "normsys", "data": factors})
        return {"name": name, "data": [float(value)], "modifiers": modifiers}

    return [
        {
            "name": count.name,
            "samples": [
                sample("signal", count, count.signal * unit, count.signal_uncertainty * unit),
                sample("background", count, count.background, count.background_uncertainty),
            ],
        }
        for count in counts
    ]


def counting_limit(counts: Sequence[Count], *, cl: float = 0.95, weights: int = LARGEST_WEIGHT) -> Limit:
    """CLs limit from exact Poisson probabilities, for any number of events.

    The test statistic is the number of events, summed over channels with integer weights proportional to
    log(1 + s/(b + u^2)) at the expected sensitivity; the weights do not depend on the data, so the construction is
    exact whatever they are, also where one is 0. Uncertain yields are averaged over their gamma distributions (negative
    binomial counts), and once more over the uncertainty that the signals share. CLs is
    P(T <= t | mu s + b) / P(T <= t | b). With one channel and a known background it is the classical counting limit.

    Parameters
    ----------
    counts : sequence of Count
        Statistically independent.
    cl : float
        Confidence level, between 0 and 1.
    weights : int
        The largest weight: with larger ones counts of little weight are not left out.

    Raises
    ------
    ValueError
        As `upper_limit`.
    """
    _check_level(cl)
    total = _Weighted(counts, weights)
    expected = tuple(total.solve(threshold, 1 - cl) for threshold in total.quantiles())
    observed = None if total.observed is None else total.solve(total.observed, 1 - cl)
    return Limit("counting", observed, expected)


def counting_cls(counts: Sequence[Count], mu: float = 1.0, *, weights: int = LARGEST_WEIGHT) -> CLs:
    """CLs of one signal strength from exact Poisson probabilities: mu is excluded at 95% where it is below 0.05.

    Parameters
    ----------
    counts : sequence of Count
        Statistically independent. The construction is that of `counting_limit`, which solves this for mu.
    mu : float
        Signal strength, not negative.
    weights : int
        As there.

    Raises
    ------
    ValueError
        As `upper_limit`; also for a negative or infinite mu.
    """
    if not (math.isfinite(mu) and mu >= 0):
        raise ValueError(f"mu = {mu!r}; a signal strength must be finite and not negative")
    total = _Weighted(counts, weights)
    pairs = [total.p_values(mu, threshold) for threshold in total.quantiles()]
    expected = tuple(clsb / clb for clsb, clb in pairs)
    if total.observed is None:
        return CLs(mu, None, expected)
    clsb, clb = total.p_values(mu, total.observed)
    return CLs(mu, clsb / clb, expected, clsb, clb)


class _Weighted:
    """The weighted sum of counts and its distributions.

    Attributes
    ----------
    observed : int, optional
        Its value in the data.
    """

    def __init__(self, counts: Sequence[Count], largest: int) -> None:
        counts = _contributing(counts)
        pairs = zip(counts, _weights(counts, largest), strict=True)
        self._terms = [(count, weight) for count, weight in pairs if weight > 0]
        self._unit = _natural_strength(counts)
        blinded = counts[0].observed is None
        self.observed = None if blinded else sum(weight * (count.observed or 0) for count, weight in self._terms)
        # Nodes and weights for the average over the uncertainty that the signals share.
        shared = any(count.common for count, _ in self._terms)
        self._z, self._shares = (_NODES, _SHARES) if shared else (np.zeros(1), np.ones(1))
        self._background = cache(self._of_background)

    def cumulative(self, mu: float, size: int) -> Array:
        """Return P(T <= t) for t below `size`."""
        total = self._background(size)
        for count, weight in self._terms if mu > 0 else ():
            mean = mu * count.signal * (1 + count.common) ** self._z[:, None]
            relative = count.signal_uncertainty / count.signal
            total = _plus(total, _probabilities(mean, relative, (size - 1) // weight + 1), weight)
        return np.cumsum(np.average(np.broadcast_to(total, (len(self._z), size)), axis=0, weights=self._shares))

    def _of_background(self, size: int) -> Array:
        """Return P(T = t) without signal, of shape (1, size)."""
        total = np.eye(1, size)
        for count, weight in self._terms:
            if count.background > 0:
                mean = np.array([[count.background]])
                relative = count.background_uncertainty / count.background
                total = _plus(total, _probabilities(mean, relative, (size - 1) // weight + 1), weight)
        return total

    def quantiles(self) -> list[int]:
        """Return the values at the expected bands."""
        probabilities = [float(stats.norm.cdf(n)) for n in BANDS]
        size = 64
        while (distribution := self.cumulative(0.0, size))[-1] < probabilities[-1]:
            size *= 2
        return [int(np.searchsorted(distribution, probability)) for probability in probabilities]

    def p_values(self, mu: float, threshold: int) -> tuple[float, float]:
        """Return CLs+b and CLb at a value of the sum."""
        background = float(self.cumulative(0.0, threshold + 1)[threshold])
        if background <= 0:
            raise ValueError(f"the background cannot fluctuate down to what was observed (statistic {threshold})")
        return float(self.cumulative(mu, threshold + 1)[threshold]), background

    def solve(self, threshold: int, level: float) -> float:
        """Solve CLs = level for mu at a value of the sum."""

        def excess(mu: float) -> float:
            clsb, clb = self.p_values(mu, threshold)
            return clsb / clb - level

        upper = self._unit
        while excess(upper) > 0:
            upper *= 2
            if upper > _FARTHEST * self._unit:
                raise FitError("no limit found: is the signal's uncertainty larger than the signal?")
        return float(optimize.brentq(excess, 0.0, upper, rtol=1e-6))


def _check_level(cl: float) -> None:
    if not 0 < cl < 1:
        raise ValueError(f"confidence level = {cl!r}; it must lie between 0 and 1")


def _contributing(counts: Sequence[Count]) -> list[Count]:
    if len({count.name for count in counts}) < len(counts):
        raise ValueError(f"two channels have the same name: {', '.join(count.name for count in counts)}")
    if len({count.observed is None for count in counts}) > 1:
        raise ValueError("some channels are blinded and others are not")
    contributing = [count for count in counts if count.signal > 0]
    if not contributing:
        raise ValueError("no channel expects signal: there is no limit on its strength")
    return contributing


def _natural_strength(counts: Sequence[Count]) -> float:
    """Signal strength of the order of the limit, to scale searches with."""
    background = sum(count.background for count in counts)
    variance = background + sum(count.background_uncertainty**2 for count in counts)
    excess = sum((count.observed or 0) - count.background for count in counts)
    return (3 + 2 * math.sqrt(variance) + max(excess, 0.0)) / sum(count.signal for count in counts)


def _weights(counts: Sequence[Count], largest: int = LARGEST_WEIGHT) -> list[int]:
    blinded = [replace(count, observed=None) for count in counts]
    mu = _natural_strength(blinded)
    # A background below 0.1 is not known to be zero; without the floor its channel would outweigh all others.
    values = [
        math.log1p(mu * count.signal / (max(count.background, 0.1) + count.background_uncertainty**2))
        for count in counts
    ]
    if len(values) == 1:
        return [1]
    return [round(largest * value / max(values)) for value in values]


def _probabilities(mean: Array, relative: float, number: int) -> Array:
    """Probabilities of 0 to number - 1 events, of shape (k, number), of k means of shape (k, 1).

    With a relative uncertainty each mean has a gamma distribution.
    """
    n = np.arange(number)
    if relative == 0:
        return np.asarray(stats.poisson.pmf(n, mean), dtype=np.float64)
    shape = relative**-2
    return np.asarray(stats.nbinom.pmf(n, shape, shape / (shape + mean)), dtype=np.float64)


def _plus(total: Array, probabilities: Array, weight: int) -> Array:
    """Return the distribution of T + weight n, of those of T and n, each below the size of T."""
    size = total.shape[-1]
    if size > _LONG:
        spread = np.zeros((len(probabilities), size))
        spread[:, ::weight] = probabilities
        return np.asarray(np.clip(signal.fftconvolve(total, spread, axes=-1)[:, :size], 0, None), dtype=np.float64)
    # Term by term: no small probability is lost in the rounding of large ones.
    summed = np.zeros((max(len(total), len(probabilities)), size))
    for n in range(probabilities.shape[-1]):
        summed[:, n * weight :] += probabilities[:, n, None] * total[:, : size - n * weight]
    return summed
