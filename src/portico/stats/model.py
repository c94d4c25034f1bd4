"""Likelihood models: channels of events over one variable, each a sum of components with shapes.

The expected events of a component are

    events * strength * prod_k f_k(theta_k),

a free parameter and one factor for each nuisance parameter; log f is interpolated between the logarithms of the factors
at -1, 0 and +1 as `portico.stats.shapes.interpolation` says. Nuisance parameters have a standard normal constraint.
They may also shift parameters of the shape, linearly. Components whose shapes compete give the choice to the fit.

A model does not depend on a search: its parameter of interest is any free parameter. It is saved as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from portico.analysis.blinding import open_bins
from portico.config import Model as Strict
from portico.errors import nearest
from portico.stats.shapes import Array, DoubleCrystalBall, Parameter, Shape, Template

__all__ = ["Channel", "Component", "Model", "Observation", "Points", "counted", "observation"]

_FINEST: Final = 200  # bins of the expectation of an unbinned channel, at least
_FARTHEST: Final = 8.0  # standard deviations of a nuisance parameter


class Component(Strict):
    """One contribution to a channel.

    Attributes
    ----------
    name : str
    shapes : tuple of Shape
        One, or several that compete: the fit takes the best, with a penalty for each parameter.
    events : float
        Expected events in the window where all factors are 1.
    strength : str
        The free parameter that multiplies them; none by default.
    effects : mapping of str to (float, float)
        By nuisance parameter: factors of the events at -1 and at +1 standard deviation, above 0.
    shifts : mapping of str to mapping of str to float
        By nuisance parameter: how much it adds at +1 to parameters of the shape.
    floating : bool
        Whether the parameters of the shape are free. Those of a template are nuisance parameters in any case.
    """

    name: str
    shapes: tuple[Shape, ...] = Field(min_length=1)
    events: float = Field(ge=0, allow_inf_nan=False)
    strength: str = ""
    effects: dict[str, tuple[float, float]] = Field(default_factory=dict)
    shifts: dict[str, dict[str, float]] = Field(default_factory=dict)
    floating: bool = False

    @model_validator(mode="after")
    def _sound(self) -> Component:
        for name, factors in self.effects.items():
            if not all(math.isfinite(factor) and factor > 0 for factor in factors):
                raise ValueError(f"component '{self.name}': the factors of '{name}' must be above 0, not {factors}")
        for name, shifts in self.shifts.items():
            for parameter in shifts:
                valid = [known.name for shape in self.shapes for known in shape.parameters]
                if parameter not in valid:
                    raise ValueError(
                        f"component '{self.name}': '{name}' shifts '{parameter}'; {nearest(parameter, valid)}"
                    )
        return self

    @property
    def nuisances(self) -> Iterator[str]:
        """Names of the nuisance parameters, some of them more than once."""
        yield from self.effects
        yield from self.shifts
        for shape in self.shapes:
            if isinstance(shape, Template):
                yield from shape.changes


class Channel(Strict):
    """A selection of events, in a window of one variable.

    Attributes
    ----------
    name : str
    edges : tuple of float
        Bin edges; of an unbinned channel its window is enough, and its bins are those of Asimov data and of pictures.
    counts : tuple of float, optional
        Observed events in bins.
    values : tuple of float, optional
        Observed events, one number for each, in the window. Either `counts` or `values`, or neither before there are
        data.
    blind : tuple of (float, float)
        Blinded intervals: bins that overlap one are left out of fits.
    components : tuple of Component
    """

    name: str
    edges: tuple[float, ...] = Field(min_length=2)
    counts: tuple[float, ...] | None = None
    values: tuple[float, ...] | None = None
    blind: tuple[tuple[float, float], ...] = ()
    components: tuple[Component, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _sound(self) -> Channel:
        where = f"channel '{self.name}'"
        if not all(a < b for a, b in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError(f"{where}: bin edges must increase")
        if not all(low < high for low, high in self.blind):
            raise ValueError(f"{where}: write a blinded interval as [low, high], with low < high")
        if self.counts is not None and self.values is not None:
            raise ValueError(f"{where}: give data either as counts or as values")
        if self.counts is not None and len(self.counts) != len(self.edges) - 1:
            raise ValueError(f"{where}: {len(self.counts)} counts in {len(self.edges) - 1} bins")
        if self.counts is not None and not all(math.isfinite(n) and n >= 0 for n in self.counts):
            raise ValueError(f"{where}: counts must not be negative")
        if self.values is not None and not all(self.edges[0] <= x <= self.edges[-1] for x in self.values):
            raise ValueError(f"{where}: a value lies outside of the window, {self.edges[0]} to {self.edges[-1]}")
        if len({component.name for component in self.components}) < len(self.components):
            raise ValueError(f"{where}: two components have the same name")
        for component in self.components:
            for shape in component.shapes:
                if (shape.low, shape.high) != (self.edges[0], self.edges[-1]):
                    raise ValueError(f"{where}: '{component.name}' has another window, {shape.low} to {shape.high}")
                if self.values is not None and isinstance(shape, Template):
                    raise ValueError(f"{where}: a template needs counts, not values")
                if isinstance(shape, Template) and len(shape.bins) != len(self.edges) - 1:
                    raise ValueError(
                        f"{where}: a template of '{component.name}' has {len(shape.bins)} bins, the channel "
                        f"{len(self.edges) - 1}"
                    )
        return self

    @property
    def fine_edges(self) -> Array:
        """The bins of expectations: those of an unbinned channel are divided, to be as fine as its peaks."""
        edges = np.array(self.edges)
        if self.values is None:
            return edges
        parts = math.ceil(_FINEST / (len(edges) - 1))
        at = np.arange(parts * (len(edges) - 1) + 1) / parts
        return np.asarray(np.interp(at, np.arange(len(edges)), edges))


class Model(Strict):
    """Statistically independent channels that share parameters.

    Attributes
    ----------
    channels : tuple of Channel
    parameters : tuple of Parameter
        The free ones, which components name as their strength. Nuisance parameters need not be here; one that is here
        has other bounds.
    poi : str
        The parameter of interest, a strength.
    """

    channels: tuple[Channel, ...] = Field(min_length=1)
    parameters: tuple[Parameter, ...] = Field(min_length=1)
    poi: str = "mu"

    @model_validator(mode="after")
    def _sound(self) -> Model:
        if len({channel.name for channel in self.channels}) < len(self.channels):
            raise ValueError("two channels have one name")
        strengths = {component.strength for _, component in self.components}
        declared = {parameter.name for parameter in self.parameters}
        if len(declared) < len(self.parameters):
            raise ValueError("two parameters have one name")
        for name in strengths & set(self.nuisances):
            raise ValueError(f"'{name}' is a strength and a nuisance parameter; give one of them another name")
        for strength in strengths - declared - {""}:
            raise ValueError(f"strength '{strength}' is not a parameter; {nearest(strength, declared)}")
        if self.poi not in strengths:
            raise ValueError(f"parameter of interest '{self.poi}' multiplies no component")
        for channel, component in self.components:
            for shape in component.shapes if component.strength == self.poi else ():
                if isinstance(shape, DoubleCrystalBall) and not shape.low < shape.mean < shape.high:
                    where = f"outside of the window, {shape.low} to {shape.high}"
                    raise ValueError(f"channel '{channel.name}': the signal at {shape.mean} lies {where}")
        for parameter in self.parameters:
            used = strengths | {name for _, component in self.components for name in component.nuisances}
            if parameter.name not in used:
                raise ValueError(f"nothing depends on the parameter '{parameter.name}'")
        return self

    @property
    def components(self) -> Iterator[tuple[Channel, Component]]:
        """Each component with its channel."""
        for channel in self.channels:
            for component in channel.components:
                yield channel, component

    @cached_property
    def nuisances(self) -> tuple[str, ...]:
        """Names of the nuisance parameters, in order of appearance."""
        return tuple(dict.fromkeys(name for _, component in self.components for name in component.nuisances))

    @cached_property
    def all_parameters(self) -> dict[str, Parameter]:
        """Every parameter by name: free ones, nuisance parameters, and those of all floating shapes."""
        found = {parameter.name: parameter for parameter in self.parameters}
        for name in self.nuisances:
            found.setdefault(name, Parameter(name=name, start=0.0, low=-_FARTHEST, high=_FARTHEST, constrained=True))
        for channel, component in self.components:
            for shape in component.shapes if component.floating else ():
                for name, parameter in zip(shape_parameters(channel, component, shape), shape.parameters, strict=True):
                    found.setdefault(name, parameter.model_copy(update={"name": name}))
        return found

    @property
    def has_data(self) -> bool:
        """Whether all channels have data, blinded or not."""
        return all(c.counts is not None or c.values is not None for c in self.channels)

    @property
    def observed(self) -> bool:
        """Whether all channels have data, none of them blinded."""
        return self.has_data and not any(c.blind for c in self.channels)

    def with_poi_bounds(self, low: float, high: float) -> Model:
        """Return the model with other bounds of the parameter of interest."""
        changed = tuple(
            p.model_copy(update={"low": low, "high": high, "start": min(max(p.start, low), high)})
            if p.name == self.poi
            else p
            for p in self.parameters
        )
        return self.model_copy(update={"parameters": changed})


def shape_parameters(channel: Channel, component: Component, shape: Any) -> list[str]:
    """Names in the model of the parameters of a floating shape; a template's are nuisance parameters."""
    if isinstance(shape, Template):
        return list(shape.changes)
    family = f"{shape.kind}{getattr(shape, 'order', '')}"
    return [f"{channel.name}_{component.name}_{family}_{parameter.name}" for parameter in shape.parameters]


@dataclass(frozen=True, slots=True)
class Points:
    """The data of one channel, as a likelihood uses them.

    Attributes
    ----------
    edges : array of shape (bins + 1,), optional
        None of unbinned data.
    x : array of shape (n,), optional
        Unbinned data.
    weights : array of shape (bins,) or (n,)
        Counts, or 1 for each event.
    used : array of bool of shape (bins,)
        False where bins are blinded; all of unbinned data are used.
    """

    edges: Array | None
    x: Array | None
    weights: Array
    used: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Observation:
    """Data of all channels, and the auxiliary measurements of the nuisance parameters.

    Attributes
    ----------
    channels : tuple of Points
    centers : mapping of str to float
        Of the constraints; 0 where nothing is said.
    """

    channels: tuple[Points, ...]
    centers: Mapping[str, float] = field(default_factory=dict)


def observation(model: Model) -> Observation:
    """Return the observed data of a model.

    Raises
    ------
    ValueError
        If a channel has no data, or events in a bin where all templates are empty.
    """
    return Observation(tuple(_points(channel) for channel in model.channels))


def counted(points: Points, channel: Channel) -> Array:
    """Return the events in the bins of a channel."""
    if points.x is None:
        return points.weights
    return np.histogram(points.x, np.array(channel.edges))[0].astype(np.float64)


def _points(channel: Channel) -> Points:
    edges = np.array(channel.edges)
    used = open_bins(edges, channel.blind)
    if not used.any():
        raise ValueError(f"channel '{channel.name}': all bins are blinded, nothing is left to fit")
    if channel.counts is not None:
        counts = np.where(used, np.array(channel.counts), 0.0)
        _check_possible(channel, counts)
        return Points(edges, None, counts, used)
    if channel.values is None:
        raise ValueError(f"channel '{channel.name}' has no data")
    values = np.array(channel.values, dtype=np.float64)
    if channel.blind:  # fits need the integral of what is left: taken in bins
        counts = np.histogram(values, edges)[0].astype(np.float64)
        return Points(edges, None, np.where(used, counts, 0.0), used)
    return Points(None, values, np.ones(len(values)), np.ones(len(values), dtype=np.bool_))


def _check_possible(channel: Channel, counts: Array) -> None:
    """Refuse events where no component expects any: the likelihood would be 0 for every strength."""
    expected = np.zeros(len(counts))
    for component in channel.components:
        for shape in component.shapes:
            if not isinstance(shape, Template):
                return
            variations = [shape.bins, *(bins for pair in shape.changes.values() for bins in pair)]
            expected += component.events * np.max(variations, axis=0)
    for i in np.flatnonzero((counts > 0) & (expected <= 0)):
        raise ValueError(
            f"channel '{channel.name}': {counts[i]:g} events between {channel.edges[i]:g} and "
            f"{channel.edges[i + 1]:g}, where no component expects any; join bins, or give a component some content "
            "there"
        )
