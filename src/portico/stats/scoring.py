"""Minima by Fisher scoring: Newton's method with the information in place of the second derivatives.

It needs a handful of likelihoods where a minimiser that has to learn the curvature needs dozens. It ends where the
estimated distance to the minimum is as small as iminuit requires; other fits are left to iminuit.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from portico.stats.shapes import Array

__all__ = ["Curved", "score"]

_DISTANCE: Final = 1e-6  # estimated, of -log L; iminuit's with tol = 0.01 is 1e-5
_ITERATIONS: Final = 40
_HALVINGS: Final = 12
_DECREASE: Final = 1e-4  # of what the slope promises, that a step must bring
_ROUNDING: Final = 1e-9  # of -log L
_RIDGE: Final = 1e-9  # of the information, where a parameter does nothing


class Curved(Protocol):
    """-log L with its derivatives."""

    def __call__(self, at: Array) -> float:
        """Return -log L."""

    def curvature(self, at: Array) -> tuple[Array, Array]:
        """Return the gradient, (n,), and the information, (n, n)."""


def score(likelihood: Curved, start: Array, free: npt.NDArray[np.bool_], low: Array, high: Array) -> Array | None:
    """Minimise -log L within bounds.

    Parameters
    ----------
    likelihood : Curved
    start : array of shape (n,)
        Within the bounds.
    free : array of bool of shape (n,)
        What is not held.
    low, high : array of shape (n,)

    Returns
    -------
    array of shape (n,), or None
        None if it does not come near enough to a minimum.
    """
    at, value = start.copy(), likelihood(start)
    for _ in range(_ITERATIONS):
        slope, information = likelihood.curvature(at)
        # At a bound, what would lead out of it stays.
        loose = np.flatnonzero(free & ~((at <= low) & (slope > 0)) & ~((at >= high) & (slope < 0)))
        if not len(loose):
            return at
        part = information[np.ix_(loose, loose)]
        # Each parameter in its own standard deviations, so that units do not matter.
        size = np.sqrt(np.diag(part))
        size[size == 0] = 1.0
        part = part / np.outer(size, size)
        part[np.diag_indices_from(part)] += _RIDGE
        try:
            step: Array = -np.asarray(np.linalg.solve(part, slope[loose] / size), dtype=np.float64) / size
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(step).all():
            return None
        if -0.5 * float(slope[loose] @ step) < _DISTANCE:
            return at
        found = _along(likelihood, at, value, slope, loose, step, low, high)
        if found is None:
            return None
        at, value = found
    return None


def _along(
    likelihood: Curved, at: Array, value: float, slope: Array, loose: npt.NDArray[np.intp], step: Array,
    low: Array, high: Array,
) -> tuple[Array, float] | None:  # fmt: skip
    """Go along a step, cut at the bounds, half as far until it leads down enough."""
    for halving in range(_HALVINGS):
        there = at.copy()
        there[loose] = np.clip(at[loose] + 0.5**halving * step, low[loose], high[loose])
        found = likelihood(there)
        if found <= value + _DECREASE * float(slope @ (there - at)) + _ROUNDING:
            return there, found
    return None
