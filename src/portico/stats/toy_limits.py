"""CLs and limits from the test statistics of toys, with their statistical uncertainties."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from portico.errors import FitError
from portico.stats.limit import BANDS, CLs, Limit
from portico.stats.shapes import Array

__all__ = ["OutOfRange", "ToyStatistics", "cls_of", "limit_of", "statistics_of"]

_EQUAL: Final = 1e-3  # of the statistic: equal counts give equal values up to the precision of fits
_MOST_FAILED: Final = 0.01  # of the toys
_NEAR: Final = 8.0  # points with CLs below this multiple of the level are fitted
_BEYOND: Final = 3  # points beyond the crossing that are used
_ITERATIONS: Final = 100


@dataclass(frozen=True, slots=True)
class ToyStatistics:
    """Statistics of toys for one strength.

    Attributes
    ----------
    mu : float
    observed : float, optional
        q~_mu of the data; None while blinded.
    background, signal : array
        q~_mu of the toys without signal and with a strength of mu; those whose fits did not converge are left out.
    failed : int
        Number of toys left out.
    """

    mu: float
    observed: float | None
    background: Array
    signal: Array
    failed: int = 0


class OutOfRange(FitError):  # noqa: N818 (it says what to do next, not what is wrong)
    """CLs does not cross its level between the tested strengths; `higher` tells in which direction to go on."""

    def __init__(self, message: str, *, higher: bool) -> None:
        super().__init__(message)
        self.higher = higher


def statistics_of(mu: float, observed: float | None, background: Array, signal: Array) -> ToyStatistics:
    """Return the finite statistics, and count the others as failed.

    Raises
    ------
    FitError
        If these are more than 1%.
    """
    kept = [values[np.isfinite(values)] for values in (background, signal)]
    for values, good, name in zip((background, signal), kept, ("without signal", "with signal"), strict=True):
        failed = len(values) - len(good)
        if failed > _MOST_FAILED * len(values):
            raise FitError(
                f"the fits to {failed} of {len(values)} toys {name} do not converge at mu = {mu:g}; up to "
                f"{_MOST_FAILED:.0%} may. Is the model degenerate, or are its start values far off?"
            )
    failed = len(background) + len(signal) - len(kept[0]) - len(kept[1])
    return ToyStatistics(mu, observed, kept[0], kept[1], failed)


def cls_of(statistics: ToyStatistics) -> CLs:
    """Return CLs with its uncertainty from the number of toys.

    An expected CLs takes as data the background-only toy at the quantile of the band.
    """
    bands = [_Tails.of(statistics, q) for q in _quantiles(statistics)]
    expected, uncertainties = tuple(band.cls for band in bands), tuple(band.uncertainty for band in bands)
    if statistics.observed is None:
        return CLs(statistics.mu, None, expected, None, None, None, uncertainties, statistics.failed)
    data = _Tails.of(statistics, statistics.observed)
    clsb, clb = data.signal / data.signal_toys, data.background / data.background_toys
    return CLs(statistics.mu, data.cls, expected, clsb, clb, data.uncertainty, uncertainties, statistics.failed)


def _quantiles(statistics: ToyStatistics) -> list[float]:
    """Return the statistics without signal at the positions of the bands."""
    background = np.sort(statistics.background)[::-1]
    places = [math.ceil(float(stats.norm.cdf(n)) * len(background)) - 1 for n in BANDS]
    return [float(background[max(place, 0)]) for place in places]


@dataclass(frozen=True, slots=True)
class _Tails:
    """Numbers of toys at or above a value of the statistic, and in total."""

    signal: int
    background: int
    signal_toys: int
    background_toys: int

    @classmethod
    def of(cls, statistics: ToyStatistics, q: float) -> _Tails:
        signal, background = (int(np.sum(of >= q - _EQUAL)) for of in (statistics.signal, statistics.background))
        # The data may lie beyond all toys without signal: CLb is taken as that of one toy, then.
        return cls(signal, max(background, 1), len(statistics.signal), len(statistics.background))

    @property
    def clb(self) -> float:
        return self.background / self.background_toys

    @property
    def clb_variance(self) -> float:
        """Of the logarithm of CLb."""
        return (1 - self.clb) / self.background

    @property
    def cls(self) -> float:
        return self.signal / self.signal_toys / self.clb

    @property
    def uncertainty(self) -> float:
        """Of CLs, from binomial fluctuations; where there is no toy with signal, that of one."""
        least = max(self.signal, 1)
        relative = (1 - least / self.signal_toys) / least + self.clb_variance
        return least / self.signal_toys / self.clb * math.sqrt(relative)


def limit_of(scan: Sequence[ToyStatistics], *, cl: float = 0.95) -> Limit:
    """Return the limits from toys at several strengths.

    Near the level 1 - cl the logarithm of CLs is taken as a parabola in mu that bends down, or else as a straight line.
    The likelihood of these is that of the numbers of toys with signal; points with none of them count, too. Where
    there are too few toys for either, the limit is the midpoint of two strengths, with half their distance as
    uncertainty.

    Raises
    ------
    OutOfRange
        If CLs of the data or of a band does not cross the level between the strengths.
    ValueError
        For an impossible confidence level, or a single strength.
    """
    if not 0 < cl < 1:
        raise ValueError(f"confidence level = {cl!r}; it must lie between 0 and 1")
    if len(scan) < 2:
        raise ValueError("a limit needs toys at two strengths or more")
    ordered = sorted(scan, key=lambda statistics: statistics.mu)
    mus = np.array([statistics.mu for statistics in ordered])
    quantiles = [_quantiles(statistics) for statistics in ordered]
    bands = []
    for i, n in enumerate(BANDS):
        tails = [_Tails.of(statistics, qs[i]) for statistics, qs in zip(ordered, quantiles, strict=True)]
        bands.append(_crossing(f"expected at {n:+d}", mus, tails, 1 - cl))
    observed: tuple[float | None, float | None] = (None, None)
    if all(statistics.observed is not None for statistics in ordered):
        tails = [_Tails.of(statistics, statistics.observed or 0.0) for statistics in ordered]
        observed = _crossing("observed", mus, tails, 1 - cl)
    limits, errors = zip(*bands, strict=True)
    points = tuple(cls_of(statistics) for statistics in ordered)
    return Limit("toys", observed[0], limits, observed[1], errors, points)


def _crossing(what: str, mus: Array, tails: Sequence[_Tails], level: float) -> tuple[float, float]:
    """Return where CLs crosses a level, and the uncertainty."""
    cls = np.array([of.cls for of in tails])
    if not np.any(cls >= level) or cls[-1] >= level:
        higher = bool(cls[-1] >= level)
        raise OutOfRange(
            f"CLs ({what}) is {'not below' if higher else 'below'} {level:g} for all mu from {mus[0]:g} to "
            f"{mus[-1]:g}; give {'higher' if higher else 'lower'} ones",
            higher=higher,
        )
    last = int(np.nonzero(cls >= level)[0][-1])
    near = cls < min(level * _NEAR, 0.9)
    near[last : last + 2], near[last + 2 + _BEYOND :] = True, False
    chosen = [of for of, use in zip(tails, near, strict=True) if use]
    middle, width = 0.5 * (mus[last] + mus[last + 1]), 0.5 * (mus[last + 1] - mus[last])
    x = (mus[near] - middle) / width
    filled = sum(of.signal > 0 for of in chosen)
    for degree in (2, 1) if filled > 2 else (1,):
        found, covariance = _parabola(x, chosen, level, degree)
        if degree == 2 and found[0] > 0:  # that is noise: probabilities of counts are concave in the logarithm
            continue
        slope = np.polyder(found)
        real = [float(root.real) for root in np.roots(found) if abs(root.imag) < 1e-9]
        falling = [root for root in real if x[0] <= root <= x[-1] and np.polyval(slope, root) < 0]
        if falling:
            root = min(falling, key=abs)
            powers = root ** np.arange(degree, -1, -1.0)
            error = math.sqrt(powers @ covariance @ powers) / abs(float(np.polyval(slope, root)))
            return float(middle + root * width), float(error * width)
    return float(middle), float(width)  # toys are too few for more than where the crossing lies


def _parabola(x: Array, tails: Sequence[_Tails], level: float, degree: int) -> tuple[Array, Array]:
    """Fit the logarithm of CLs over its level by reweighted least squares (Poisson regression).

    Returns
    -------
    coefficients : array
        Highest power first.
    covariance : array
    """
    seen = np.array([of.signal for of in tails], dtype=np.float64)
    offset = np.array([of.signal_toys * of.clb * level for of in tails])
    basis, value = np.vander(x, degree + 1), np.log((seen + 0.5) / offset)
    noise = np.array([of.clb_variance for of in tails])
    found = np.zeros(degree + 1)
    for _ in range(_ITERATIONS):
        mean = offset * np.exp(value)
        weight = 1 / (1 / mean + noise)
        covariance = np.linalg.pinv(basis.T @ (weight[:, None] * basis))
        before, found = found, covariance @ basis.T @ (weight * (value + (seen - mean) / mean))
        value = np.clip(basis @ found, -20.0, 20.0)
        if np.allclose(found, before, rtol=1e-9, atol=1e-9):
            break
    return found, covariance
