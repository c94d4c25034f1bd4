"""Amdahl's law with a fixed time, fitted to measured times, and the limit of the storage, with their uncertainties.

The time of N workers for the volume V is taken as ``fixed + V (serial + shared / N)``, where no term is negative. It
is linear in its three parameters, so the fit is a least-squares problem with bounds. An interval of any quantity holds
all its values for which the fit is as good as at its best within the spread of the measurements: also at a bound, and
where the measurements leave a direction open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, nnls
from scipy.stats import norm, t

__all__ = ["ASSUMED", "Interval", "Law", "StorageLimit", "Timing", "fit_law", "fit_storage"]

Array = npt.NDArray[np.float64]

ASSUMED: Final = 0.1
"""The relative spread of times that were measured once."""

_LEAST: Final = 0.01  # relative spread below which nothing else on a machine is known to stay constant
_WAITING: Final = 1.2  # times per byte below which more workers may as well have waited for a core or for the driver
_FIXED: Final = 1e4  # weight of what is held fixed, relative to the measurements


class Interval(NamedTuple):
    """A value with the interval that contains the true one with a probability of 68%; its end may be infinite."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Timing:
    """Repeated measurements of the same work.

    Parameters
    ----------
    workers : int
        How many did it.
    volume : float
        Of the input, in bytes or entries.
    seconds : tuple of float
        Wall times; at least one.
    """

    workers: int
    volume: float
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the times."""
        return float(np.median(self.seconds))

    @property
    def spread(self) -> float:
        """Half the distance of the shortest and the longest time."""
        return (max(self.seconds) - min(self.seconds)) / 2


class _Spread(NamedTuple):
    """Relative standard deviation of one measurement, and how many degrees of freedom tell it."""

    relative: float
    freedom: int

    @classmethod
    def of(cls, repeated: Sequence[Sequence[float]]) -> _Spread:
        freedom = sum(len(values) - 1 for values in repeated)
        if freedom == 0:
            return cls(ASSUMED, 0)
        logs = [np.log(values) for values in repeated]
        squares = sum(float(((values - values.mean()) ** 2).sum()) for values in logs)
        return cls(max(math.sqrt(squares / freedom), _LEAST), freedom)

    def of_median(self, value: float, number: int) -> float:
        """Return the standard deviation of the median of so many measurements."""
        return self.relative * value * min(1.0, math.sqrt(math.pi / 2 / number))


@dataclass(frozen=True)
class Law:
    """The law, fitted; make it with `fit_law`.

    Parameters
    ----------
    timings : tuple of Timing
        What it is fitted to.
    spread : float
        Relative standard deviation of one measurement.
    repeated : bool
        Whether the spread was measured, not assumed.
    chi2 : float
        Sum of the squared residuals in units of the spread.
    freedom : int
        Number of measured points above that of parameters which they determine.
    """

    timings: tuple[Timing, ...]
    spread: float
    repeated: bool
    chi2: float
    freedom: int
    _best: Array
    _rows: Array
    _values: Array
    _unit: float
    _reach: float

    @property
    def fixed(self) -> Interval:
        """Seconds that depend neither on workers nor on input."""
        return self._interval(np.array([1.0, 0.0, 0.0]))

    @property
    def serial(self) -> Interval:
        """Seconds per volume that do not shrink with more workers."""
        return Interval(*(x / self._unit for x in self._interval(np.array([0.0, 1.0, 0.0]))))

    @property
    def shared(self) -> Interval:
        """Seconds of one worker per volume that workers share."""
        return Interval(*(x / self._unit for x in self._interval(np.array([0.0, 0.0, 1.0]))))

    @property
    def serial_fraction(self) -> Interval:
        """The part of the time for each volume that is not shared; its inverse is the largest speed-up.

        It is between 0 and 1. If the time does not depend on the volume, it is not known: the interval is all of it.
        """
        _, serial, shared = self._best
        total = serial + shared
        value = float(serial / total) if total > 0 else 0.5

        def excess(fraction: float) -> float:
            return self._excess(np.array([0.0, 1.0 - fraction, -fraction]), 0.0)

        low = 0.0 if excess(0.0) <= 0 else _root(excess, 0.0, value)
        high = 1.0 if excess(1.0) <= 0 else _root(excess, value, 1.0)
        return Interval(value, low, high)

    @property
    def determined(self) -> bool:
        """Whether the points tell all three terms from one another: two numbers of workers, and two volumes."""
        return int(np.linalg.matrix_rank(self._rows)) == 3

    def seconds(self, workers: float, volume: float) -> float:
        """Return the time of so many workers for a volume."""
        return float(self._row(workers, volume) @ self._best)

    def predict(self, workers: float, volume: float) -> Interval:
        """Return the time of so many workers for a volume, with its interval if the law holds there."""
        return self._interval(self._row(workers, volume))

    def efficiency(self, workers: float, volume: float) -> float:
        """Return the speed-up relative to one worker over the number of workers."""
        return self.seconds(1, volume) / (workers * self.seconds(workers, volume))

    def _row(self, workers: float, volume: float) -> Array:
        share = volume / self._unit
        return np.array([1.0, share, share / workers])

    def _interval(self, row: Array) -> Interval:
        best = float(row @ self._best)
        step = 1e-3 * float(np.abs(row).max()) * max(point.median for point in self.timings)

        def excess(value: float) -> float:
            return self._excess(row, value)

        low = 0.0 if best <= 0 or excess(0.0) <= 0 else _root(excess, 0.0, best)
        while excess(best + step) <= 0:  # ends: no term is negative, so each is bounded by every time measured
            step *= 2
        return Interval(best, low, _root(excess, best, best + step))

    def _excess(self, row: Array, value: float) -> float:
        """Return how much worse than allowed the fit is if a combination of parameters has this value."""
        weight = _FIXED * float(self._rows.max()) / float(np.abs(row).max())
        rows = np.vstack([self._rows, weight * row])
        values = np.append(self._values, weight * value)
        return float(nnls(rows, values)[1]) ** 2 - self.chi2 - self._reach


def fit_law(timings: Sequence[Timing]) -> Law:
    """Fit the law to the medians of times.

    Each is weighted with the relative spread of all repeated measurements. If the points scatter more about the law
    than that, intervals grow accordingly; with few repetitions or points they grow as Student's distribution demands.

    Raises
    ------
    ValueError
        If there are no times, or one is not positive.
    """
    points = tuple(timings)
    if not points or not all(p.workers > 0 and p.volume > 0 and min(p.seconds, default=0.0) > 0 for p in points):
        raise ValueError("give at least one time; workers, volumes and times are positive")
    spread = _Spread.of([p.seconds for p in points])
    unit = max(p.volume for p in points)
    sigma = np.array([spread.of_median(p.median, len(p.seconds)) for p in points])
    rows = np.array([[1.0, p.volume / unit, p.volume / unit / p.workers] for p in points]) / sigma[:, None]
    values = np.array([p.median for p in points]) / sigma
    best, norm_of_rest = nnls(rows, values)
    chi2, freedom = float(norm_of_rest) ** 2, len(points) - int(np.linalg.matrix_rank(rows))
    return Law(points, spread.relative, spread.freedom > 0, chi2, freedom, best, rows, values, unit,
               _reach(chi2, freedom, spread.freedom))  # fmt: skip


def _reach(chi2: float, of_fit: int, of_spread: int) -> float:
    """Return by how much the sum of squares may exceed its minimum within an interval of 68%."""
    scatter = chi2 / of_fit if of_fit > 0 else 0.0
    freedom = of_fit if scatter > 1 else of_spread
    return float(max(scatter, 1.0) * t.ppf(norm.cdf(1.0), max(freedom, 1)) ** 2)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function changes its sign."""
    return float(brentq(function, low, high, xtol=1e-12, rtol=1e-6))


@dataclass(frozen=True, slots=True)
class StorageLimit:
    """The rate that storage delivers to all workers together.

    Parameters
    ----------
    seen : bool
        Whether workers wait longer for data if there are more of them, beyond the spread and by at least a fifth.
    rate : Interval
        Bytes per second; without a limit that is seen, the value is infinite, and the lower end says up to which rate
        there is none.
    highest : float
        The highest rate that was measured.
    """

    seen: bool
    rate: Interval
    highest: float


def fit_storage(readings: Sequence[tuple[int, float, float]]) -> StorageLimit | None:
    """Fit the limit of the storage to the time that workers need per byte.

    A worker needs ``max(u, N / B)`` seconds per byte: ``u`` by itself, more if N workers share the rate B.

    Parameters
    ----------
    readings : sequence of (int, float, float)
        Of each measurement: the number of workers, the seconds of all workers together per byte read, and of these
        the seconds of CPU. CPU time that grows with the number of workers is no waiting for data, and taken out.

    Returns
    -------
    StorageLimit or None
        None if nothing was read.
    """
    known = [(n, wall, cpu) for n, wall, cpu in readings if n > 0 and wall > 0 and math.isfinite(wall)]
    if not known:
        return None
    numbers = np.array([n for n, *_ in known], np.float64)
    wall, cpu = (np.array([row[k] for row in known]) for k in (1, 2))
    least = float(np.median(cpu[numbers == numbers.min()]))
    times = np.maximum(wall - np.maximum(cpu - least, 0.0), wall * 1e-3)
    spread = _Spread.of([tuple(times[numbers == n]) for n in np.unique(numbers)])
    weights = 1 / (spread.relative * times) ** 2
    highest = float((numbers / wall).max())

    def badness(inverse: float) -> float:
        return _shelf(times, weights, numbers * inverse)

    # Between rates that no worker would notice, and those that one alone would wait for.
    ends = 0.5 * float(times.min() / numbers.max()), 1.2 * float((times / numbers).max())
    grid = np.concatenate([[0.0], np.geomspace(*ends, 600)])
    found = np.array([badness(x) for x in grid])
    least_bad = int(found.argmin())
    reach = _reach(float(found[least_bad]), len(known) - 2, spread.freedom)
    good = grid[found <= found[least_bad] + reach]
    few, many = (float(np.median(times[numbers == n])) for n in (numbers.min(), numbers.max()))
    seen = bool(found[0] > found[least_bad] + 4 * reach)
    if seen and many < _WAITING * few:  # as with one number of workers
        return StorageLimit(False, Interval(math.inf, highest, math.inf), highest)
    high = 1 / good.min() if good.min() > 0 else math.inf
    value = 1 / float(grid[least_bad]) if seen else math.inf
    return StorageLimit(seen, Interval(value, float(1 / good.max()) if good.max() > 0 else 0.0, high), highest)


def _shelf(times: Array, weights: Array, floor: Array) -> float:
    """Return the smallest weighted sum of squares of ``times - max(u, floor)`` over all u."""
    order = np.argsort(floor)
    ends = np.append(floor[order], np.inf)
    summed, of_weights = np.cumsum((weights * times)[order]), np.cumsum(weights[order])
    tried = np.clip(summed / of_weights, ends[:-1], ends[1:])
    return min(float((weights * (times - np.maximum(u, floor)) ** 2).sum()) for u in (*tried, 0.0))
