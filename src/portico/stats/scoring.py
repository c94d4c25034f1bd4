"""Minima by Fisher scoring: Newton's method with the information in place of the second derivatives.

It needs a handful of likelihoods where a minimiser that has to learn the curvature needs dozens. It ends where the
estimated distance to the minimum is as small as iminuit requires; other fits are left to iminuit.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

from portico.stats.shapes import Array

__all__ = ["Curved", "score"]

_DISTANCE: Final = 1e-6  # estimated, of -log L; iminuit's with tol = 0.01 is 1e-5
_ITERATIONS: Final = 40
_CLOSE: Final = 0.1  # a last step, of -log L, whose change of slope tells the curvature: farther off it may mislead
_CORRECTED: Final = 2.0  # by which the information may be off along it
_PROMISED: Final = 0.1  # by which the decrease may be another than the distance
_NEARLY: Final = 0.1  # of the distance where it ends, so that the last one need not be computed
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
    at, value, before = start.copy(), likelihood(start), 0.0
    last: tuple[Array, Array] | None = None
    for _ in range(_ITERATIONS):
        slope, information = likelihood.curvature(at)
        if last is not None and before < _CLOSE:
            information = _secant(information, at - last[0], slope - last[1])
        last = at, slope
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
            step: Array = -_solved(part, slope[loose] / size) / size
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(step).all():
            return None
        distance = -0.5 * float(slope[loose] @ step)
        if distance < _DISTANCE:
            return at
        found = _along(likelihood, at, value, slope, loose, step, low, high)
        if found is None:
            return None
        # Where a step brought what it promised, the next one is shorter in the same proportion as the last two.
        as_promised = abs(value - found[1] - distance) < _PROMISED * distance
        at, value = found
        if as_promised and distance**2 < _NEARLY * _DISTANCE * before:
            return at
        before = distance
    return None


def _solved(matrix: Array, right: Array) -> Array:
    """Solve equations; by Cholesky's decomposition, which takes half the time, where the matrix is positive."""
    _, found, failed = lapack.dposv(matrix, right)
    return np.asarray(np.linalg.solve(matrix, right) if failed else found, dtype=np.float64)


def _secant(information: Array, step: Array, change: Array) -> Array:
    """Correct the information along the last step by how much the slope has changed there (the formula of BFGS).

    The information leaves out that expected events bend, so that each step would end as far, in proportion, from the
    minimum as the last one.
    """
    along = information @ step
    straight, bent = float(step @ along), float(step @ change)
    if not straight / _CORRECTED < bent < straight * _CORRECTED:
        return information
    return np.asarray(information + np.outer(change, change) / bent - np.outer(along, along) / straight)


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
