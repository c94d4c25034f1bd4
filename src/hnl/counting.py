"""Upper limits from counts: asymptotic CLs with pyhf, and the exact counting construction for few events.

All limits are CLs limits on a signal strength mu that multiplies the signal of every channel.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import interpolate, optimize, signal, stats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array = npt.NDArray[np.float64]

#: Below so many expected background events in a channel asymptotic limits are too low (2.2 instead of 3.0 for n = 0).
ASYMPTOTIC_FROM: Final = 5.0
#: Positions of the expected limits in the background-only distribution, in standard deviations.
BANDS: Final = (-2, -1, 0, 1, 2)
_LARGEST_WEIGHT = 10


class FitError(ValueError):
    """A fit does not converge."""


@dataclass(frozen=True, slots=True)
class Channel:
    """Counts of one channel.

    Attributes
    ----------
    name : str
        Must differ between the channels of a model.
    background, background_uncertainty : float
        Expected background events. The uncertainty is that of a count: background (b / u)^2 was counted elsewhere and
        scaled, so that it has a gamma distribution; 0 means exactly known.
    signal, signal_uncertainty : float
        Expected signal events at mu = 1, with the uncertainty of the simulated sample.
    observed : int, optional
        Observed events; None while blinded.
    """

    name: str
    background: float
    background_uncertainty: float
    signal: float
    signal_uncertainty: float
    observed: int | None

    def __post_init__(self) -> None:
        numbers = (self.background, self.background_uncertainty, self.signal, self.signal_uncertainty)
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise ValueError(f"channel {self.name!r}: yields and uncertainties are finite and not negative: {numbers}")
        if self.observed is not None and self.observed < 0:
            raise ValueError(f"channel {self.name!r}: observed = {self.observed} events")


@dataclass(frozen=True, slots=True)
class Limit:
    """Upper limits on mu.

    Attributes
    ----------
    method : {"asymptotic", "counting"}
        How they were found.
    observed : float, optional
        None while blinded.
    expected : tuple of float
        Without signal, at -2, -1, 0, 1, 2 standard deviations.
    """

    method: Literal["asymptotic", "counting"]
    observed: float | None
    expected: tuple[float, ...]

    def scaled(self, factor: float) -> Limit:
        """Return the limit in units of `factor`."""
        observed = None if self.observed is None else self.observed * factor
        return replace(self, observed=observed, expected=tuple(value * factor for value in self.expected))


def upper_limit(channels: Sequence[Channel], *, cl: float = 0.95) -> Limit:
    """Upper limit on mu by the method that holds: asymptotic from `ASYMPTOTIC_FROM` background events in each channel.

    Where the fits of the asymptotic method do not converge it is the counting limit too. Channels without signal say
    nothing about mu and are left out.

    Parameters
    ----------
    channels : sequence of Channel
        Statistically independent.
    cl : float
        Confidence level, between 0 and 1.

    Raises
    ------
    ValueError
        If no channel has signal, or only some are blinded.
    """
    few = any(channel.background < ASYMPTOTIC_FROM for channel in channels if channel.signal > 0)
    if not few:
        with suppress(FitError):
            return asymptotic_limit(channels, cl=cl)
    return counting_limit(channels, cl=cl)


def asymptotic_limit(channels: Sequence[Channel], *, cl: float = 0.95) -> Limit:
    """CLs limit from the asymptotic distributions of q~_mu (arXiv:1007.1727), with pyhf.

    Background and signal uncertainties are gamma-constrained (``shapesys``), one parameter per channel.

    Raises
    ------
    ValueError
        As `upper_limit`; also when a channel expects no background, where the asymptotic formulae have no meaning.
    FitError
        If a fit does not converge.
    """
    import pyhf
    from pyhf.exceptions import FailedMinimization
    from pyhf.infer.calculators import AsymptoticCalculator

    channels = _contributing(channels, cl)
    if empty := [channel.name for channel in channels if channel.background == 0]:
        raise ValueError(f"no background in {', '.join(empty)}: asymptotic formulae do not hold; use counting_limit")
    unit = _natural_strength(channels)
    # The schema is checked by a library function that warns of its age; the specification is our own.
    model = pyhf.Model(_specification(channels, unit), poi_name="mu", validate=False)
    blinded = channels[0].observed is None
    main = [channel.background if channel.observed is None else channel.observed for channel in channels]
    data = [float(main[_index(channels, name)]) for name in model.config.channels] + model.config.auxdata
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

    # expected CLs at N standard deviations: [1 - Phi(sqrt(q_A) - N)] / Phi(N)
    targets = [float(stats.norm.isf((1 - cl) * stats.norm.cdf(n))) + n for n in BANDS]
    expected = tuple(_invert(lambda mu: point(mu)[0], target) * unit for target in targets)
    observed = None if blinded else _invert(lambda mu: point(mu)[1], -math.log(1 - cl)) * unit
    return Limit("asymptotic", observed, expected)


def _invert(function: Callable[[float], float], target: float) -> float:
    """Solve function(x) = target to 3e-4 for a smooth rising function with function(0) = 0, in few evaluations."""
    x, values = 1.0, {0.0: 0.0}
    for _ in range(30):
        values[x] = function(x)
        below = max(point for point, value in values.items() if value < target)
        above = min((point for point, value in values.items() if value >= target), default=None)
        previous = x
        if above is None:
            x *= 2
            continue
        rising = np.array(sorted((value, point) for point, value in values.items()))
        x = float(interpolate.PchipInterpolator(rising[:, 0], rising[:, 1])(target))
        x = min(max(x, below), above)
        if abs(x - previous) < 3e-4 * x:
            return x
    raise FitError(f"no asymptotic limit found near {x:g}: the fits do not converge")


def _specification(channels: Sequence[Channel], unit: float) -> dict[str, Any]:
    def sample(name: str, channel: Channel, value: float, uncertainty: float) -> dict[str, Any]:
        modifiers: list[dict[str, Any]] = []
        if uncertainty > 0:
            modifiers.append({"name": f"{name}_{channel.name}", "type": "shapesys", "data": [uncertainty]})
        if name == "signal":
            modifiers.append({"name": "mu", "type": "normfactor", "data": None})
        return {"name": name, "data": [value], "modifiers": modifiers}

    return {
        "channels": [
            {
                "name": channel.name,
                "samples": [
                    sample("signal", channel, channel.signal * unit, channel.signal_uncertainty * unit),
                    sample("background", channel, channel.background, channel.background_uncertainty),
                ],
            }
            for channel in channels
        ],
        "parameters": [{"name": "mu", "bounds": [[0.0, 1000.0]], "inits": [1.0]}],
    }


def counting_limit(channels: Sequence[Channel], *, cl: float = 0.95) -> Limit:
    """CLs limit from exact Poisson probabilities, for any number of events.

    The test statistic is the number of events, summed over channels with integer weights proportional to
    log(1 + s/(b + u^2)) at the expected sensitivity; the weights do not depend on the data, so the construction is
    exact whatever they are, also where one is 0. Uncertain yields are averaged over their gamma distributions (negative
    binomial counts). CLs is P(T <= t | mu s + b) / P(T <= t | b). With one channel and a known background it is the
    classical counting limit.

    Raises
    ------
    ValueError
        As `upper_limit`.
    """
    channels = _contributing(channels, cl)
    weighted = [(channel, weight) for channel, weight in zip(channels, _weights(channels), strict=True) if weight > 0]

    def cumulative(mu: float, size: int) -> Array:
        """P(T <= t) for t below `size`."""
        total = np.ones(1)
        for channel, weight in weighted:
            number = (size - 1) // weight + 1
            counts = _convolve(
                _counts(channel.background, channel.background_uncertainty, number),
                _counts(mu * channel.signal, mu * channel.signal_uncertainty, number),
                number,
            )
            spread = np.zeros((number - 1) * weight + 1)
            spread[::weight] = counts
            total = _convolve(total, spread, size)
        return np.cumsum(total)

    unit = _natural_strength(channels)
    thresholds = _quantiles(lambda size: cumulative(0.0, size))
    expected = tuple(_solve(cumulative, threshold, 1 - cl, unit) for threshold in thresholds)
    observed = None
    if channels[0].observed is not None:
        threshold = sum(weight * (channel.observed or 0) for channel, weight in weighted)
        observed = _solve(cumulative, threshold, 1 - cl, unit)
    return Limit("counting", observed, expected)


def _contributing(channels: Sequence[Channel], cl: float) -> list[Channel]:
    if not 0 < cl < 1:
        raise ValueError(f"confidence level = {cl!r}; it lies between 0 and 1")
    if len({channel.name for channel in channels}) < len(channels):
        raise ValueError(f"two channels have one name: {', '.join(channel.name for channel in channels)}")
    if len({channel.observed is None for channel in channels}) > 1:
        raise ValueError("some channels are blinded and others are not")
    contributing = [channel for channel in channels if channel.signal > 0]
    if not contributing:
        raise ValueError("no channel expects signal: there is no limit on its strength")
    return contributing


def _index(channels: Sequence[Channel], name: str) -> int:
    return [channel.name for channel in channels].index(name)


def _natural_strength(channels: Sequence[Channel]) -> float:
    """Signal strength of the order of the limit, to scale searches with."""
    background = sum(channel.background for channel in channels)
    variance = background + sum(channel.background_uncertainty**2 for channel in channels)
    excess = sum((channel.observed or 0) - channel.background for channel in channels)
    return (3 + 2 * math.sqrt(variance) + max(excess, 0.0)) / sum(channel.signal for channel in channels)


def _weights(channels: Sequence[Channel]) -> list[int]:
    blinded = [replace(channel, observed=None) for channel in channels]
    mu = _natural_strength(blinded)
    # A background below 0.1 is not known to be zero; without the floor its channel would outweigh all others.
    values = [
        math.log1p(mu * channel.signal / (max(channel.background, 0.1) + channel.background_uncertainty**2))
        for channel in channels
    ]
    if len(values) == 1:
        return [1]
    return [round(_LARGEST_WEIGHT * value / max(values)) for value in values]


def _counts(mean: float, uncertainty: float, number: int) -> Array:
    """Probabilities of 0 to number - 1 events of an uncertain mean."""
    n = np.arange(number)
    if uncertainty == 0 or mean == 0:
        return np.asarray(stats.poisson.pmf(n, mean), dtype=np.float64)
    shape = (mean / uncertainty) ** 2
    return np.asarray(stats.nbinom.pmf(n, shape, shape / (shape + mean)), dtype=np.float64)


def _convolve(a: Array, b: Array, size: int) -> Array:
    product = np.convolve(a, b) if min(len(a), len(b)) < 500 else np.clip(signal.fftconvolve(a, b), 0, None)
    return np.asarray(product[:size], dtype=np.float64)


def _quantiles(cumulative: Callable[[int], Array]) -> list[int]:
    """Values of the statistic at the expected bands."""
    probabilities = [float(stats.norm.cdf(n)) for n in BANDS]
    size = 64
    while (distribution := cumulative(size))[-1] < probabilities[-1]:
        size *= 2
    return [int(np.searchsorted(distribution, probability)) for probability in probabilities]


def _solve(cumulative: Callable[[float, int], Array], threshold: int, level: float, unit: float) -> float:
    """Solve CLs = level for mu at a value of the statistic."""
    background = cumulative(0.0, threshold + 1)[threshold]
    if background <= 0:
        raise ValueError(f"the background cannot fluctuate down to what was observed (statistic {threshold})")

    def excess(mu: float) -> float:
        return float(cumulative(mu, threshold + 1)[threshold] / background - level)

    upper = unit
    while excess(upper) > 0:
        upper *= 2
    return float(optimize.brentq(excess, 0.0, upper, rtol=1e-6))
