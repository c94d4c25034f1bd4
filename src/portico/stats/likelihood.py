"""The likelihood of a model for an observation, with its gradient.

-log L = sum over channels of [expected - sum_i w_i log(density_i)] + sum over nuisance parameters of (theta - c)^2/2;
of binned data the density is the expected number in the bin, and w_i log(w_i) - w_i is subtracted, so that twice the
value is the likelihood ratio to the saturated model (Baker and Cousins, Nucl. Instrum. Meth. 221 (1984) 437). Where a
density is not above 0 the logarithm goes on along its tangent, so that fits recover.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy import special

from portico.stats.model import Channel, Component, Model, Observation, Points, shape_parameters
from portico.stats.shapes import Array, Template, interpolation

__all__ = ["Choice", "Likelihood", "competing"]

_SMALLEST: Final = 1e-9  # events in a bin, or events per unit; below, the logarithm is continued
_RELATIVE_STEP: Final = 1e-3  # of a parameter's step, for derivatives of shapes

Choice = tuple[int, ...]


def competing(model: Model) -> list[tuple[Channel, Component]]:
    """Return the components whose shapes compete, in the order of a `Choice`."""
    return [(channel, component) for channel, component in model.components if len(component.shapes) > 1]


@dataclass(slots=True)
class _Term:
    """A component with one of its shapes, and where its parameters are among those of the likelihood."""

    shape: Any
    events: float
    strength: int | None
    effects: list[tuple[int, float, float]]  # parameter, odd and even part of the logarithm at 1
    base: Array  # of the shape's parameters
    free: list[tuple[int, int]]  # shape parameter, parameter
    shifts: list[tuple[int, int, float]]  # shape parameter, parameter, shift at 1
    steps: Array  # of the shape's parameters, for derivatives
    values: Array | None = None  # of the last call
    content: Array | None = None

    def parameters(self, at: Array) -> Array:
        values = self.base.copy()
        for k, i in self.free:
            values[k] = at[i]
        for k, i, shift in self.shifts:
            values[k] += shift * at[i]
        return values

    def factor(self, at: Array) -> float:
        logarithm = 0.0
        for i, odd, even in self.effects:
            rise, bend = interpolation(float(at[i]))
            logarithm += odd * rise + even * bend
        return math.exp(min(logarithm, 100.0))


class Likelihood:
    """-log L as a function of all parameters that its choice of shapes leaves.

    Parameters
    ----------
    model : Model
    data : Observation
    choice : tuple of int
        Which shape of each of the competing components; the first of each by default.

    Attributes
    ----------
    names : list of str
        Parameters in the order of the arguments.
    """

    def __init__(self, model: Model, data: Observation, choice: Choice = ()) -> None:
        self.model, self.data = model, data
        rivals = competing(model)
        self.choice = choice or (0,) * len(rivals)
        chosen = {(c.name, k.name): i for (c, k), i in zip(rivals, self.choice, strict=True)}
        picked = {
            (channel.name, component.name): component.shapes[chosen.get((channel.name, component.name), 0)]
            for channel, component in model.components
        }
        names = dict.fromkeys([parameter.name for parameter in model.parameters])
        names |= dict.fromkeys(model.nuisances)
        for channel, component in model.components:
            if component.floating:
                names |= dict.fromkeys(shape_parameters(channel, component, picked[channel.name, component.name]))
        self.names = list(names)
        where = {name: i for i, name in enumerate(self.names)}
        self._constrained = np.array([where[name] for name in model.nuisances], dtype=np.intp)
        self._centers = np.array([data.centers.get(name, 0.0) for name in model.nuisances])
        self._terms = [
            [_term(channel, component, picked[channel.name, component.name], where) for component in channel.components]
            for channel in model.channels
        ]
        self._saturated = [_saturated(points) for points in data.channels]

    @property
    def bent(self) -> list[int]:
        """The nuisance parameters whose effects up and down are not inverse to each other, or that move templates."""
        found: set[int] = set()
        for term in (term for terms in self._terms for term in terms):
            found |= {i for i, _, even in term.effects if even != 0}
            found |= {i for _, i in term.free if isinstance(term.shape, Template)}
        return sorted(found)

    def totals(self, at: Array) -> Array:
        """Return the expected events in the bins of all channels, one behind the other."""
        parts = self.expected(dict(zip(self.names, at.tolist(), strict=True)))
        return np.concatenate([np.sum(list(of.values()), axis=0) for of in parts])

    @property
    def shape_parameters(self) -> int:
        """How many parameters the chosen shapes of competing components have: what the penalty counts."""
        rivals = competing(self.model)
        return sum(len(k.shapes[i].parameters) for (_, k), i in zip(rivals, self.choice, strict=True))

    def start(self, known: Mapping[str, float]) -> Array:
        """Return start values: known ones where there are any."""
        of = self.model.all_parameters
        return np.array([min(max(known.get(name, of[name].start), of[name].low), of[name].high) for name in self.names])

    def __call__(self, at: Sequence[float] | Array) -> float:
        """Return -log L."""
        at = np.asarray(at, dtype=np.float64)
        total = 0.5 * float(np.sum((at[self._constrained] - self._centers) ** 2))
        for terms, points, saturated in zip(self._terms, self.data.channels, self._saturated, strict=True):
            expected, density = 0.0, np.zeros(len(points.weights))
            for term in terms:
                events, content = self._evaluate(term, points, at)
                expected += events * _total(content, points)
                density += events * content
            total += expected - _logarithms(density, points) - saturated
        return float(total)

    def gradient(self, at: Sequence[float] | Array) -> Array:
        """Return the derivatives of -log L by the parameters."""
        return self.curvature(at, second=False)[0]

    def curvature(self, at: Sequence[float] | Array, *, second: bool = True) -> tuple[Array, Array]:
        """Return the derivatives of -log L by the parameters, and the Fisher information as second ones.

        The information of binned data is that of expected counts, of unbinned data that of the events themselves: both
        leave out the second derivatives of the densities, and are never negative.

        Parameters
        ----------
        at : array of shape (n,)
        second : bool
            Whether the information is wanted; it is 0 otherwise.

        Returns
        -------
        gradient : array of shape (n,)
        information : array of shape (n, n)
        """
        at = np.asarray(at, dtype=np.float64)
        slope, information = np.zeros(len(at)), np.zeros((len(at), len(at)))
        slope[self._constrained] += at[self._constrained] - self._centers
        information[self._constrained, self._constrained] += 1.0
        for terms, points in zip(self._terms, self.data.channels, strict=True):
            density, total, changes = self._changes(terms, points, at)
            safe = np.maximum(density, _SMALLEST)
            slope += total - changes @ np.where(points.used, points.weights / safe, 0.0)
            if second:
                weights = np.where(points.used, 1 / safe if points.x is None else points.weights / safe**2, 0.0)
                near = np.flatnonzero(changes.any(axis=1))
                information[np.ix_(near, near)] += (changes[near] * weights) @ changes[near].T
        return slope, information

    def _changes(self, terms: Sequence[_Term], points: Points, at: Array) -> tuple[Array, Array, Array]:
        """Return the density of a channel, and the derivatives of its total, (n,), and of its density, (n, points)."""
        density = np.zeros(len(points.weights))
        total, changes = np.zeros(len(at)), np.zeros((len(at), len(points.weights)))
        for term in terms:
            events, content = self._evaluate(term, points, at)
            density += events * content
            own = _total(content, points)
            by_events = [(i, events * (odd + even * _bend_slope(float(at[i])))) for i, odd, even in term.effects]
            if term.strength is not None:
                by_events.append((term.strength, term.events * term.factor(at)))
            for i, change in by_events:
                total[i] += change * own
                changes[i] += change * content
            if events == 0:
                continue
            by_shape = self._shape_changes(term, points, at)
            for k, i, scale in [*((k, i, 1.0) for k, i in term.free), *term.shifts]:
                total[i] += events * scale * _total(by_shape[k], points, normalised=0.0)
                changes[i] += events * scale * by_shape[k]
        return density, total, changes

    def expected(self, at: Mapping[str, float], edges: Sequence[Array] | None = None) -> list[dict[str, Array]]:
        """Return the expected events of each component in bins, by channel.

        Parameters
        ----------
        at : mapping of str to float
            Every parameter.
        edges : sequence of array, optional
            Of each channel; those of the model by default.
        """
        values = np.array([at[name] for name in self.names])
        bins = edges or [np.array(channel.edges) for channel in self.model.channels]
        return [
            {
                component.name: _events(term, values) * term.shape.contents(ends, term.parameters(values))
                for component, term in zip(channel.components, terms, strict=True)
            }
            for channel, terms, ends in zip(self.model.channels, self._terms, bins, strict=True)
        ]

    @staticmethod
    def _evaluate(term: _Term, points: Points, at: Array) -> tuple[float, Array]:
        values = term.parameters(at)
        if term.content is None or term.values is None or not np.array_equal(values, term.values):
            term.values, term.content = values, _content(term.shape, points, values)
        return _events(term, at), term.content

    @staticmethod
    def _shape_changes(term: _Term, points: Points, at: Array) -> dict[int, Array]:
        """Derivatives of the content by parameters of the shape."""
        values, found = term.parameters(at), {}
        if hasattr(term.shape, "derivatives"):
            x = points.x if points.edges is None else points.edges
            return dict(enumerate(term.shape.derivatives(x, values, bins=points.edges is not None)))
        for k in {k for k, _ in term.free} | {k for k, _, _ in term.shifts}:
            step = np.zeros(len(values))
            step[k] = term.steps[k] * _RELATIVE_STEP
            above, below = (_content(term.shape, points, values + sign * step) for sign in (1, -1))
            found[k] = (above - below) / (2 * step[k])
        return found


def _term(channel: Channel, component: Component, shape: Any, where: Mapping[str, int]) -> _Term:
    effects = []
    for name, (down, up) in component.effects.items():
        low, high = math.log(down), math.log(up)
        effects.append((where[name], 0.5 * (high - low), 0.5 * (high + low)))
    position = {parameter.name: k for k, parameter in enumerate(shape.parameters)}
    floating = component.floating or isinstance(shape, Template)
    free = [(k, where[name]) for k, name in enumerate(shape_parameters(channel, component, shape))] if floating else []
    shifts = [
        (position[parameter], where[name], shift)
        for name, of in component.shifts.items()
        for parameter, shift in of.items()
        if parameter in position
    ]
    return _Term(
        shape, component.events, where[component.strength] if component.strength else None, effects,
        np.array([parameter.start for parameter in shape.parameters]), free, shifts,
        np.array([parameter.step for parameter in shape.parameters]),
    )  # fmt: skip


def _events(term: _Term, at: Array) -> float:
    strength = 1.0 if term.strength is None else float(at[term.strength])
    return term.events * strength * term.factor(at)


def _content(shape: Any, points: Points, values: Array) -> Array:
    content: Array = shape.density(points.x, values) if points.edges is None else shape.contents(points.edges, values)
    return content


def _total(content: Array, points: Points, normalised: float = 1.0) -> float:
    """Return the part of a component in the bins that are used."""
    return normalised if points.edges is None else float(content[points.used].sum())


def _logarithms(density: Array, points: Points) -> float:
    filled = points.used & (points.weights > 0)
    d, w = density[filled], points.weights[filled]
    safe = np.maximum(d, _SMALLEST)
    return float(w @ (np.log(safe) + np.minimum(d - _SMALLEST, 0.0) / _SMALLEST))


def _saturated(points: Points) -> float:
    w = points.weights
    return 0.0 if points.edges is None else float(np.sum(w - special.xlogy(w, w)))


def _bend_slope(theta: float) -> float:
    """Derivative of the even part of the interpolation."""
    t = abs(theta)
    return math.copysign(1.0 if t > 1 else t * (15 - 20 * t * t + 9 * t**4) / 4, theta)
