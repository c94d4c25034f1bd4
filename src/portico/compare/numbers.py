"""Agreement of numbers: bit for bit, or within a tolerance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from portico.errors import ConfigError

__all__ = ["ATOL", "RTOL", "Agreement", "Tolerance", "agree"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

RTOL = 1e-12
"""The default: sums of a million numbers in another order agree this well, and no physical difference is so small."""
ATOL = 0.0
"""The default: only the user knows which absolute difference is negligible."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Allowed difference of floating-point numbers a and b: ``|a - b| <= atol + rtol * max(|a|, |b|)``.

    Integers must be equal.

    Parameters
    ----------
    rtol, atol : float
        Relative, and absolute in the unit of the number.

    Raises
    ------
    ConfigError
        If one is negative or not finite, or ``rtol`` is 1 or more.
    """

    rtol: float = RTOL
    atol: float = ATOL

    def __post_init__(self) -> None:
        if not 0 <= self.rtol < 1:
            raise ConfigError(f"the relative tolerance is {self.rtol:g}; valid: from 0 (bit for bit) to less than 1")
        if not (math.isfinite(self.atol) and self.atol >= 0):
            raise ConfigError(f"the absolute tolerance is {self.atol:g}; valid: 0 or a small positive number")

    def __str__(self) -> str:
        parts = [f"{self.rtol:g} relative"] if self.rtol else []
        parts += [f"{self.atol:g} absolute"] if self.atol else []
        return " or ".join(parts) or "no tolerance"


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of pairs of numbers, one element per pair.

    Parameters
    ----------
    identical : array of bool
        Whether both have identical bits; nan is identical to nan.
    close : array of bool
        Whether they agree within the tolerance, or are identical.
    relative : array of float
        ``|a - b| / max(|a|, |b|)``; 0 if identical, infinite if one is not finite.
    """

    identical: Mask
    close: Mask
    relative: npt.NDArray[np.float64]


def agree(first: Array, second: Array, tolerance: Tolerance) -> Agreement:
    """Compare numbers pair by pair.

    A float32 and a float64 are compared as float32, because the float32 never had the other digits.
    """
    a, b = np.asarray(first), np.asarray(second)
    if object in (a.dtype, b.dtype):  # integers beyond 64 bits, which would be rounded
        exact = np.array([x == y for x, y in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)], bool)
        same = exact.reshape(a.shape)
        return Agreement(same, same, np.where(same, 0.0, np.inf))
    if a.dtype.kind in "bui" and b.dtype.kind in "bui":
        same = np.asarray(a == b)
        if same.all():
            return Agreement(same, same, np.zeros(same.shape))
        return Agreement(same, same, np.where(same, 0.0, _relative(a.astype(np.float64), b.astype(np.float64))))
    a, b = _as_floats(a, b)
    nan = np.isnan(a) & np.isnan(b)
    identical = ((a == b) & (np.signbit(a) == np.signbit(b))) | nan
    if identical.all():
        return Agreement(identical, identical, np.zeros(identical.shape))
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(a - b)
        scale = np.maximum(np.abs(a), np.abs(b))
        close = (a == b) | ((distance <= tolerance.atol + tolerance.rtol * scale) & np.isfinite(scale)) | nan
    return Agreement(identical, close, np.where(identical, 0.0, _relative(a, b)))


def _as_floats(a: Array, b: Array) -> tuple[Array, Array]:
    if a.dtype.kind == "f" and b.dtype.kind == "f":
        narrow = min(a.dtype, b.dtype, key=lambda dtype: dtype.itemsize)
        with np.errstate(over="ignore"):
            return a.astype(narrow, copy=False), b.astype(narrow, copy=False)
    return a.astype(np.float64), b.astype(np.float64)


def _relative(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        relative = np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))
    relative[a == b] = 0.0
    return np.where(np.isnan(relative), np.inf, relative)
