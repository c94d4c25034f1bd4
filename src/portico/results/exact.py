"""Exact sums: integers in fixed point, to which terms add in any order and grouping with the same bits.

A sum is 73 integers: 70 limbs of 32 bits, the first one in units of 2^-1074, then how many terms were infinite,
negative infinite and NaN. Sums add element by element. ``include/numbers.h`` writes them on the worker.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

__all__ = ["LIMBS", "UNIT", "exact_sum", "nearest", "ratio", "settled", "value_of"]

_DIGITS = 70
UNIT = Fraction(1, 2**1074)
"""The smallest positive double; what is smaller counts as 0."""
LIMBS = _DIGITS + 3
"""Integers of one sum."""


def exact_sum(value: float | Fraction) -> npt.NDArray[np.int64]:
    """Return a sum with one term; of a fraction, the digits below 2^-1074 are dropped."""
    limbs = np.zeros(LIMBS, np.int64)
    if isinstance(value, float) and not math.isfinite(value):
        limbs[_DIGITS + (2 if math.isnan(value) else int(value < 0))] = 1
        return limbs
    units = math.floor(Fraction(value) / UNIT)
    for i in range(_DIGITS - 1):
        limbs[i] = units & 0xFFFFFFFF
        units >>= 32
    limbs[_DIGITS - 1] = units
    return limbs


def value_of(limbs: npt.NDArray[np.int64]) -> Fraction | float:
    """Return the exact value of a sum, or infinity or NaN as its terms give."""
    positive, negative, nan = limbs[_DIGITS:].tolist()
    if nan or (positive and negative):
        return math.nan
    if positive or negative:
        return math.inf if positive else -math.inf
    units: int = sum(limb << (32 * i) for i, limb in enumerate(limbs[:_DIGITS].tolist()))
    return units * UNIT


def settled(sums: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return sums, an array of shape (number, `LIMBS`), with carries done, so that equal values have equal bits."""
    result = np.array(sums, np.int64)
    for i in range(_DIGITS - 1):
        over = result[:, i] >> 32
        result[:, i] -= over << 32
        result[:, i + 1] += over
    return result


def nearest(value: Fraction | float) -> float:
    """Return the nearest double; infinity beyond the largest one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def ratio(a: Fraction | float, b: Fraction | float) -> float:
    """Return a / b, rounded once; NaN if b is 0."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return nearest(a / b) if b else math.nan
    return nearest(a) / nearest(b) if b else math.nan
