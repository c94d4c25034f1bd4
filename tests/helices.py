"""Helices for tests, by circles in the complex plane: independent of the C++ and written in another way.

A track is (q/p, lambda, phi, dxy, dsz) at its closest approach to a reference in the transverse plane, as in CMS.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, minimize_scalar

from tests.constants import CONSTANTS

KAPPA = CONSTANTS["CURVATURE_PER_TESLA"] * CONSTANTS["MAGNETIC_FIELD"]
Array = NDArray[np.float64]


def parameters_of(position: Sequence[float], momentum: Sequence[float], charge: float, reference: Array) -> list[float]:
    """Track parameters at the reference, from a point and the momentum there."""
    px, py, pz = momentum
    pt = math.hypot(px, py)
    p = math.hypot(pt, pz)
    dx, dy, dz = (position[i] - reference[i] for i in range(3))
    direction = complex(px, py) / pt
    if charge == 0.0:
        turned = complex(dx, dy) / direction
        return [1.0 / p, math.atan2(pz, pt), cmath.phase(direction), turned.imag, (dz - turned.real * pz / pt) * pt / p]
    radius = pt / KAPPA
    centre = complex(dx, dy) - 1j * charge * radius * direction
    closest = centre * (1.0 - radius / abs(centre))
    tangent = -1j * charge * (closest - centre) / radius
    arc = -charge * cmath.phase(tangent / direction) * radius
    offset = (closest / tangent).imag
    return [charge / p, math.atan2(pz, pt), cmath.phase(tangent), offset, (dz + arc * pz / pt) * pt / p]


def path(track: Sequence[float], reference: Array, origin: Array) -> Callable[[float], Array]:
    """The track as a function of the way along its circle, from where it is closest to an origin in the plane."""
    curvature, slope, phi, dxy, dsz = track
    radius = math.cos(slope) / abs(KAPPA * curvature) * (-1.0 if curvature > 0.0 else 1.0)
    start = complex(reference[0], reference[1]) + dxy * 1j * cmath.exp(1j * phi)
    centre = start + 1j * radius * cmath.exp(1j * phi)
    towards = complex(origin[0], origin[1]) - centre
    closest = centre + abs(radius) * towards / abs(towards)
    first = radius * cmath.phase((closest - centre) / (start - centre))
    z = reference[2] + dsz / math.cos(slope) + math.tan(slope) * first

    def at(way: float) -> Array:
        turned = centre + (closest - centre) * cmath.exp(1j * way / radius)
        return np.array([turned.real, turned.imag, z + math.tan(slope) * way])

    return at


def impact_parameters(track: Sequence[float], reference: Array, origin: Array) -> Array:
    """Signed transverse and longitudinal impact parameters to an origin, and the one in space."""
    at = path(track, reference, origin)
    closest = at(0.0) - origin
    forward = at(1e-3) - at(-1e-3)
    across = math.copysign(math.hypot(closest[0], closest[1]), forward[0] * closest[1] - forward[1] * closest[0])
    slope = math.tan(track[1])
    guess = -closest[2] * slope / (1.0 + slope**2)
    near = minimize_scalar(lambda way: float(np.sum((at(way) - origin) ** 2)), (0.9 * guess, 1.1 * guess), tol=1e-12)
    return np.array([across, closest[2], math.sqrt(near.fun)])


def gradient(function: Callable[[Array], Array], at: Array, steps: Array) -> Array:
    """Central differences, one column for each argument."""
    columns = []
    for k, step in enumerate(steps):
        shift = np.zeros(len(at))
        shift[k] = step
        columns.append((function(at + shift) - function(at - shift)) / (2.0 * step))
    return np.array(columns).T


def whitening(covariance: Array) -> Array:
    """A matrix that turns residuals of this covariance into independent ones of unit size."""
    return np.linalg.cholesky(np.linalg.inv(covariance)).T


def residuals_of(
    tracks: Sequence[Array], whiten: Sequence[Array], reference: Array
) -> Callable[[Sequence[Array], Sequence[Array]], Array]:
    """The residuals of tracks as a function of the position and momentum of each."""

    def residuals(positions: Sequence[Array], momenta: Sequence[Array]) -> Array:
        out = []
        for track, matrix, position, momentum in zip(tracks, whiten, positions, momenta, strict=True):
            difference = track - np.array(parameters_of(position, momentum, math.copysign(1.0, track[0]), reference))
            difference[2] = math.remainder(difference[2], 2 * math.pi)
            out.append(matrix @ difference)
        return np.concatenate(out)

    return residuals


def fit_vertex(
    tracks: Sequence[Array], covariances: Sequence[Array], reference: Array, position: Array, momenta: Sequence[Array]
) -> tuple[Array, Array, float]:
    """Fit tracks to one vertex with MINPACK and central differences.

    Returns position and momenta in one array, its covariance, and chi2.
    """
    residuals = residuals_of(tracks, [whitening(c) for c in covariances], reference)
    count = len(tracks)

    def evaluate(x: Array) -> Array:
        return residuals([x[:3]] * count, [x[3 + 3 * k : 6 + 3 * k] for k in range(count)])

    start = np.concatenate([position, *momenta])
    precision = {"xtol": 1e-10, "ftol": 1e-10, "gtol": 1e-10}
    fit = least_squares(evaluate, start, jac="3-point", method="lm", x_scale="jac", **precision)
    jacobian = gradient(evaluate, fit.x, np.concatenate([np.full(3, 1e-5), 1e-5 * np.abs(fit.x[3:]) + 1e-7]))
    return fit.x, np.linalg.inv(jacobian.T @ jacobian), 2.0 * fit.cost
