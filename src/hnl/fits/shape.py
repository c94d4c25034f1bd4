"""Fit of a double-sided Crystal Ball to simulated candidates of one mass. Arrays in, numbers out.

The fit is in fine bins, 1/20 of the resolution wide, where the binned likelihood is the unbinned one. Events have
weights, so that second derivatives alone give wrong errors: the covariance is

    H^-1 [sum_b W2_b g_b g_b^T] H^-1,

with H the second derivatives of -sum_b W_b log p_b, g_b the derivatives of log p_b, and W_b and W2_b the sums of
weights and of squared weights in bin b (C. Langenbruch, Eur. Phys. J. C 82 (2022) 393, arXiv:1911.01303).

Few events do not determine tails. Below 500 effective events they are held at those of a better known shape, or at
default ones; below 30, mean and width are fitted with the default tails, the same on both sides. The default ones are
about those of the simulated detector, close to a Gaussian with exponential tails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from portico.errors import FitError
from portico.stats.shapes import Array, DoubleCrystalBall

if TYPE_CHECKING:
    from iminuit import Minuit

__all__ = ["FREE_TAILS", "KNOWN_TAILS", "PARAMETERS", "ShapeFit", "fit_binned", "fit_histogram", "fit_shape"]

PARAMETERS: Final = ("mean", "width", "alpha_left", "n_left", "alpha_right", "n_right")
FREE_TAILS: Final = 500.0
"""Effective events that tails are fitted with: with 300, half of the shapes have a tail at the edge of its range."""
KNOWN_TAILS: Final = 30.0
"""Effective events with which tails that are given are used."""

_TAILS: Final = PARAMETERS[2:]
_DEFAULT_TAILS: Final = (1.8, 20.0, 1.8, 20.0)
_BOUNDS: Final = {"alpha_left": (0.4, 4.0), "n_left": (1.2, 40.0), "alpha_right": (0.4, 4.0), "n_right": (1.2, 40.0)}
_FEWEST: Final = 3.0  # below, there is nothing to fit
_BIN: Final = 0.05  # of the resolution
_MOST_BINS: Final = 4000
_STEP: Final = 1e-3  # of numerical derivatives, in errors
_NEAR: Final = 1e-3  # of a bound


@dataclass(frozen=True)
class ShapeFit:
    """A fitted double-sided Crystal Ball.

    Attributes
    ----------
    generated : float
        Mass of N in GeV.
    low, high : float
        The window of the fit in GeV.
    values, errors : dict of str to float
        Of `PARAMETERS`: mean and width in GeV, tails as in `portico.stats.shapes.DoubleCrystalBall`. The error of what
        was held is 0.
    covariance : array of shape (6, 6)
        In the order of `PARAMETERS`.
    effective_events : float
        (sum w)^2 / sum w^2 in the window.
    notes : tuple of str
        What was held, and why.
    """

    generated: float
    low: float
    high: float
    values: dict[str, float]
    errors: dict[str, float]
    covariance: Array
    effective_events: float
    notes: tuple[str, ...] = ()

    @property
    def tails(self) -> dict[str, float]:
        """Values of the four parameters of the tails."""
        return {name: self.values[name] for name in _TAILS}

    @property
    def ball(self) -> DoubleCrystalBall:
        """The shape in the window of the fit."""
        return DoubleCrystalBall(low=self.low, high=self.high, **self.values)

    def to_json(self) -> dict[str, Any]:
        """Return the result for a summary."""
        return {
            "parameters": {n: {"value": self.values[n], "error": self.errors[n]} for n in PARAMETERS},
            "effective_events": self.effective_events,
            "window": [self.low, self.high],
            "notes": list(self.notes),
        }


def fit_shape(
    mass: Array,
    weights: Array,
    m_generated: float,
    low: float,
    high: float,
    *,
    tails: dict[str, float] | None = None,
) -> ShapeFit:
    """Fit the shape of the candidates of one mass.

    Parameters
    ----------
    mass, weights : arrays of shape (n,)
        Of candidates, in GeV; weights are not negative.
    m_generated : float
        Mass of N in GeV.
    low, high : float
        The window in GeV; candidates outside are left out.
    tails : dict of str to float, optional
        At which tails are held with fewer than 500 effective events: `ShapeFit.tails` of another fit.

    Raises
    ------
    FitError
        If there are fewer than 3 effective events, a mass or weight is not a number or negative, or the fit does not
        converge.
    """
    mass, weights = np.asarray(mass, np.float64), np.asarray(weights, np.float64)
    inside = (mass >= low) & (mass < high)
    mass, weights = mass[inside], weights[inside]
    if not (low < m_generated < high):
        raise FitError(f"the window of the signal shape, {low:g} to {high:g} GeV, does not hold m_N = {m_generated:g}")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise FitError(f"signal of m_N = {m_generated:g} GeV has weights that are negative or not finite")
    _require_events(_effective(weights.sum(), (weights**2).sum()), m_generated)
    order = np.argsort(mass)
    below = np.cumsum(weights[order]) / weights.sum()
    quantiles = np.interp([0.16, 0.84], below, mass[order])
    scale = max(float(quantiles[1] - quantiles[0]) / 2, 1e-3 * (high - low))
    bins = min(math.ceil((high - low) / (_BIN * scale)), _MOST_BINS)
    sums, edges = np.histogram(mass, bins, (low, high), weights=weights)
    squares, _ = np.histogram(mass, edges, weights=weights**2)
    return fit_histogram(edges, sums, squares, m_generated, tails=tails)


def fit_histogram(
    edges: Array, sums: Array, squares: Array, m_generated: float, *, tails: dict[str, float] | None = None
) -> ShapeFit:
    """Fit the shape of a histogram, whose edges are the window; see `fit_shape`.

    Parameters
    ----------
    edges : array of shape (bins + 1,)
        In GeV, finer than the resolution.
    sums, squares : array of shape (bins,)
        Sums of weights and of squared weights.
    m_generated : float
        Mass of N in GeV.
    tails : dict of str to float, optional
        At which tails are held with fewer than 500 effective events.
    """
    effective = _effective(sums.sum(), squares.sum())
    _require_events(effective, m_generated)
    held, notes = tails, []
    free: tuple[str, ...] = PARAMETERS[:2]
    if effective >= FREE_TAILS:
        free, held = PARAMETERS, None  # another shape's tails may be at the edge of their range: no place to start
    elif effective >= KNOWN_TAILS:
        where = "default ones" if tails is None else "those of a better known shape"
        notes.append(f"{effective:.0f} effective events, fewer than {FREE_TAILS:g}: tails are {where}")
    else:
        held = None
        notes.append(f"{effective:.0f} effective events, fewer than {KNOWN_TAILS:g}: symmetric default tails")
    below = np.concatenate([[0.0], np.cumsum(sums)]) / sums.sum()
    quantiles = np.interp([0.16, 0.5, 0.84], below, edges)
    start = {
        "mean": float(quantiles[1]),
        "width": max(float(quantiles[2] - quantiles[0]) / 2, 1e-4 * float(edges[-1] - edges[0])),
        **(held or dict(zip(_TAILS, _DEFAULT_TAILS, strict=True))),
    }
    return fit_binned(edges, sums, squares, m_generated, start, free, notes)


def fit_binned(
    edges: Array,
    sums: Array,
    squares: Array,
    m_generated: float,
    start: dict[str, float],
    free: Sequence[str],
    notes: Sequence[str] = (),
) -> ShapeFit:
    """Fit some parameters of the shape to a histogram, with the others held at their start; see `fit_histogram`.

    A tail that ends at the edge of its range is held there, so that it does not spoil the errors of the others.
    """
    likelihood = _likelihood(edges, sums, squares)
    at_bound: list[str] = []
    while True:
        minuit = _minimise(likelihood, start, [name for name in free if name not in at_bound], edges)
        values = {name: float(minuit.values[name]) for name in PARAMETERS}
        where = f"the signal shape at m_N = {m_generated:g} GeV"
        if not minuit.valid or _near_bound(minuit, ("mean", "width")):
            found = ", ".join(f"{name} = {value:.4g}" for name, value in values.items())
            raise FitError(f"the fit of {where} does not converge: {found}")
        start = values
        if more := _near_bound(minuit, [name for name in _TAILS if not minuit.fixed[name]]):
            at_bound += more
            start |= {name: _nearest_end(minuit, name) for name in more}
            continue
        minuit.hesse()
        loose = [name for name in ("n_left", "n_right") if not minuit.fixed[name]]
        if minuit.accurate or not loose:
            break
        at_bound += loose  # a tail so far out that its power is not known
    if not minuit.accurate:
        raise FitError(f"the fit of {where} converges, but has no errors")
    covariance = _sandwich(minuit, edges, sums, squares)
    notes = [*notes, *(f"{name} cannot be determined, held at {values[name]:.3g}" for name in at_bound)]
    errors = dict(zip(PARAMETERS, np.sqrt(np.diag(covariance)).tolist(), strict=True))
    low, high = float(edges[0]), float(edges[-1])
    effective = _effective(sums.sum(), squares.sum())
    return ShapeFit(m_generated, low, high, values, errors, covariance, effective, tuple(notes))


def _effective(total: float, squares: float) -> float:
    return float(total * total / squares) if squares > 0 else 0.0


def _require_events(effective: float, mass: float) -> None:
    if effective < _FEWEST:
        raise FitError(
            f"signal of m_N = {mass:g} GeV has {effective:.1f} effective events: too few for a shape; "
            "simulate more, or take the shape of another selection"
        )


def _contents(edges: Array, values: Sequence[float]) -> Array:
    named = dict(zip(_TAILS, map(float, values[2:]), strict=True))
    ball = DoubleCrystalBall(low=edges[0], high=edges[-1], mean=values[0], width=values[1], **named)
    return np.maximum(ball.contents(edges, np.array(values[:2])), 1e-300)


def _likelihood(edges: Array, sums: Array, squares: Array) -> Callable[..., float]:
    used = np.flatnonzero(sums)
    scaled = sums[used] * (sums.sum() / squares.sum())  # so that they add up to the effective events

    def value(*values: float) -> float:
        return -float(scaled @ np.log(_contents(edges, values)[used]))

    return value


def _minimise(likelihood: Callable[..., float], start: dict[str, float], free: Sequence[str], edges: Array) -> Minuit:
    from iminuit import Minuit

    minuit = Minuit(likelihood, *(start[name] for name in PARAMETERS), name=PARAMETERS)
    minuit.print_level = -1
    minuit.errordef, minuit.strategy = Minuit.LIKELIHOOD, 1
    reach = min(5 * start["width"], float(edges[-1] - edges[0]) / 2)
    minuit.limits["mean"] = (start["mean"] - reach, start["mean"] + reach)
    minuit.limits["width"] = (0.1 * start["width"], 10 * start["width"])
    for name in _TAILS:
        minuit.limits[name] = _BOUNDS[name]
    for name in PARAMETERS:
        minuit.errors[name] = 0.1 * (start["width"] if name in PARAMETERS[:2] else start[name])
        minuit.fixed[name] = name not in free
    minuit.migrad(ncall=4000)
    if not minuit.valid:
        minuit.simplex().migrad(ncall=8000)
    return minuit


def _near_bound(minuit: Minuit, names: Sequence[str]) -> list[str]:
    found = []
    for name in names:
        low, high = minuit.limits[name]
        if min(minuit.values[name] - low, high - minuit.values[name]) < _NEAR * (high - low):
            found.append(name)
    return found


def _nearest_end(minuit: Minuit, name: str) -> float:
    low, high = minuit.limits[name]
    return float(low if minuit.values[name] - low < high - minuit.values[name] else high)


def _sandwich(minuit: Minuit, edges: Array, sums: Array, squares: Array) -> Array:
    """Covariance of all parameters for weighted events; rows of those that were held are 0."""
    values = np.array(minuit.values)
    inverse = np.array(minuit.covariance) * (sums.sum() / squares.sum())  # of the unscaled second derivatives
    gradient = np.zeros((len(PARAMETERS), len(sums)))
    for i, name in enumerate(PARAMETERS):
        if not minuit.fixed[name]:
            step = np.zeros(len(values))
            step[i] = _STEP * minuit.errors[name]
            up, down = (np.log(_contents(edges, (values + sign * step).tolist())) for sign in (1, -1))
            gradient[i] = (up - down) / (2 * step[i])
    middle = (gradient * squares) @ gradient.T
    return np.asarray(inverse @ middle @ inverse)
