"""A model as histograms around one fit, for formats that hold bins only.

The fit is that without signal to the data (to what is not blinded of them); without data the start values stand for it.
Around it, of each component: the contents of bins, factors for nuisance parameters, contents at -1 and +1 where a
nuisance parameter changes the shape, and the derivatives by the parameters of floating shapes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from portico.errors import FitError, InputError
from portico.stats.fit import Fitter, fit_at_start
from portico.stats.likelihood import Choice, Likelihood, competing
from portico.stats.model import Component, Model, counted, observation
from portico.stats.shapes import Array, Parameter, Template

__all__ = ["BinnedChannel", "BinnedModel", "Process", "Slope", "binned"]

_STEP: Final = 1e-3  # of a parameter's step, for derivatives
_SIGMAS: Final = 10.0  # how far a linearised parameter may go, in units of its uncertainty
_POSITIVE: Final = 0.95  # of the way to a bin without events
_RANGE: Final = 1000.0  # bounds of a strength that has none, over its value


@dataclass(frozen=True, slots=True)
class Process:
    """One component of one channel.

    Attributes
    ----------
    name : str
    strength : str
        The free parameter that multiplies it; empty for none.
    nominal : array of shape (bins,)
        Expected events with the strength at its unit and all nuisance parameters at 0.
    effects : mapping of str to (float, float)
        Factors of the events at -1 and +1.
    changes : mapping of str to (array, array)
        Contents at -1 and +1 of nuisance parameters that change the shape; the factors of ``effects`` are not in them.
    slopes : mapping of str to array
        Change of the contents for one unit of a floating shape parameter, to first order.
    """

    name: str
    strength: str
    nominal: Array
    effects: Mapping[str, tuple[float, float]]
    changes: Mapping[str, tuple[Array, Array]]
    slopes: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class BinnedChannel:
    """A channel: bin edges, observed (or Asimov) events, and its processes."""

    name: str
    edges: Array
    data: Array
    processes: tuple[Process, ...]


@dataclass(frozen=True, slots=True)
class Slope:
    """A floating parameter of a shape: its fitted value, the unit of its linear change, and its range."""

    value: float
    unit: float
    bound: float


@dataclass(frozen=True, slots=True)
class BinnedModel:
    """All channels of a model in bins.

    Attributes
    ----------
    channels : tuple of BinnedChannel
    poi : str
        The parameter of interest.
    strengths : mapping of str to Parameter
        The free parameters. But for the parameter of interest they are in units of what the fit found, so that they
        are 1 there; their bounds are finite.
    slopes : mapping of str to Slope
        Floating parameters of shapes.
    units : mapping of str to float
        The value in the model of a strength of 1.
    held : tuple of str
        Floating parameters of shapes that ended at a bound, or do nothing: they stay where they are.
    asimov : bool
        Whether the data are the expectation without signal: nothing is observed, or it is blinded.
    source : str
        What the numbers are, for people.
    """

    channels: tuple[BinnedChannel, ...]
    poi: str
    strengths: Mapping[str, Parameter]
    slopes: Mapping[str, Slope]
    units: Mapping[str, float]
    held: tuple[str, ...]
    asimov: bool
    source: str


@dataclass(frozen=True, slots=True)
class _Point:
    """The point of the expansion."""

    likelihood: Likelihood
    values: Mapping[str, float]
    errors: Mapping[str, float]
    at_limit: tuple[str, ...]
    source: str

    def contents(self, moved: Mapping[str, float]) -> list[dict[str, Array]]:
        return self.likelihood.expected({**self.values, **moved})


def binned(model: Model, *, penalty: float = 1.0) -> BinnedModel:
    """Return a model in the bins of its channels, around the fit without signal.

    Where shapes compete, the fit's choice is taken.

    Parameters
    ----------
    model : Model
    penalty : float
        See `portico.stats.fit.Fitter`.

    Raises
    ------
    FitError
        If the fit does not converge.
    InputError
        If there are events in a bin where none are expected without signal: there is no likelihood without signal.
    """
    point = _point(model, penalty)
    strengths, units = _strengths(model, point)
    base = {**dict.fromkeys(model.nuisances, 0.0), **units}
    nominal = point.contents(base)
    moved = {name: [point.contents({**base, name: side}) for side in (-1.0, 1.0)] for name in model.nuisances}
    slopes, held = _slopes(model, point, base, nominal)
    data = [np.asarray(np.sum(list(parts.values()), axis=0)) for parts in point.contents({model.poi: 0.0})]
    if model.observed:
        data = [counted(of, channel) for of, channel in zip(observation(model).channels, model.channels, strict=True)]
    channels = tuple(
        BinnedChannel(
            channel.name,
            np.array(channel.edges),
            data[c],
            tuple(
                Process(
                    component.name,
                    component.strength,
                    nominal[c][component.name],
                    component.effects,
                    _changes(component, c, moved),
                    {
                        name: changes[c][component.name]
                        for name, (_, changes) in slopes.items()
                        if np.any(changes[c][component.name])
                    },
                )
                for component in channel.components
            ),
        )
        for c, channel in enumerate(model.channels)
    )
    _check(model, channels)
    of = {name: slope for name, (slope, _) in slopes.items()}
    return BinnedModel(channels, model.poi, strengths, of, units, held, not model.observed, point.source)


def _point(model: Model, penalty: float) -> _Point:
    if not model.has_data:
        fitter, fit = fit_at_start(model)
        return _Point(fitter.likelihood(fit.choice), fit.values, {}, (), "start values")
    fitter = Fitter(model, observation(model), penalty=penalty)
    fit = fitter.fit({model.poi: 0.0})
    try:
        errors = fitter.fit({model.poi: 0.0}, errors=True).errors
    except FitError:  # a channel without events; only the scale of linearised parameters, which there is without
        errors = {}
    source = "fit without signal" + _chosen(model, fit.choice)
    return _Point(fitter.likelihood(fit.choice), fit.values, errors, fit.at_limit, source)


def _chosen(model: Model, choice: Choice) -> str:
    words = []
    for (channel, component), index in zip(competing(model), choice, strict=True):
        shape = component.shapes[index]
        words.append(f"{channel.name} {component.name} {shape.kind}{getattr(shape, 'order', '')}")
    return f" ({', '.join(words)})" if words else ""


def _strengths(model: Model, point: _Point) -> tuple[dict[str, Parameter], dict[str, float]]:
    found, units = {}, {}
    used = {component.strength for _, component in model.components}
    for parameter in model.parameters:
        if parameter.name not in used:
            continue
        value, is_poi = point.values[parameter.name], parameter.name == model.poi
        unit = 1.0 if is_poi or value <= 0 or parameter.name in point.at_limit else value
        start = parameter.start if is_poi else value / unit
        low, high = parameter.low / unit, parameter.high / unit
        reach = _RANGE * max(abs(start), 1.0)
        low = max(low, 0.0) if is_poi else max(low, -reach)
        high = high if math.isfinite(high) else reach
        found[parameter.name] = Parameter(
            name=parameter.name, start=min(max(start, low), high), low=low, high=high, step=parameter.step / unit
        )
        units[parameter.name] = unit
    return found, units


def _changes(
    component: Component, at: int, moved: Mapping[str, list[list[dict[str, Array]]]]
) -> dict[str, tuple[Array, Array]]:
    templates = [shape for shape in component.shapes if isinstance(shape, Template)]
    shaping = [*component.shifts, *(name for shape in templates for name in shape.changes)]
    changes = {}
    for name in dict.fromkeys(shaping):
        down, up = (
            contents[at][component.name] / factor
            for contents, factor in zip(moved[name], component.effects.get(name, (1.0, 1.0)), strict=True)
        )
        changes[name] = (down, up)
    return changes


def _slopes(
    model: Model, point: _Point, base: Mapping[str, float], nominal: list[dict[str, Array]]
) -> tuple[dict[str, tuple[Slope, list[dict[str, Array]]]], tuple[str, ...]]:
    """Derivatives by the parameters of the chosen floating shapes, and those that have none."""
    known = {parameter.name for parameter in model.parameters} | set(model.nuisances)
    slopes: dict[str, tuple[Slope, list[dict[str, Array]]]] = {}
    held = []
    for name in point.likelihood.names:
        if name in known:
            continue
        value, step = point.values[name], model.all_parameters[name].step
        above, below = (point.contents({**base, name: value + side * _STEP * step}) for side in (1, -1))
        by_step = [{k: (a[k] - b[k]) / (2 * _STEP) for k in a} for a, b in zip(above, below, strict=True)]
        unit = point.errors.get(name, 0.0) or step * min(_uncertainty(nominal, by_step), 1.0)
        changes = [{k: change * (unit / step) for k, change in part.items()} for part in by_step]
        bound = _reach(nominal, changes)
        if name in point.at_limit or not math.isfinite(bound):
            held.append(name)
        else:
            slopes[name] = Slope(value, unit, bound), changes
    return slopes, tuple(held)


def _uncertainty(nominal: list[dict[str, Array]], changes: list[dict[str, Array]]) -> float:
    """How well the expected events alone would measure a change, from the information that bins have."""
    information = sum(
        float(np.sum(np.square(slope) / np.maximum(contents[name], 1e-9)))
        for contents, slopes in zip(nominal, changes, strict=True)
        for name, slope in slopes.items()
    )
    return 1 / math.sqrt(information) if information > 0 else math.inf


def _reach(nominal: list[dict[str, Array]], changes: list[dict[str, Array]]) -> float:
    """How many units go, until a bin would expect less than nothing; infinite if nothing changes."""
    reach = math.inf
    for contents, slopes in zip(nominal, changes, strict=True):
        for name, slope in slopes.items():
            moving = np.abs(slope) > 1e-9 * max(float(contents[name].max()), 1e-300)
            if moving.any():
                to_zero = float(np.min(contents[name][moving] / np.abs(slope[moving])))
                reach = min(reach, _SIGMAS, _POSITIVE * to_zero)
    return reach


def _check(model: Model, channels: tuple[BinnedChannel, ...]) -> None:
    for channel in channels:
        without = sum(
            (process.nominal for process in channel.processes if process.strength != model.poi),
            np.zeros(len(channel.data)),
        )
        if (impossible := np.flatnonzero((without <= 0) & (channel.data > 0))).size:
            low, high = channel.edges[impossible[0]], channel.edges[impossible[0] + 1]
            raise InputError(
                f"channel '{channel.name}', bin {low:g} to {high:g}: {channel.data[impossible[0]]:g} events and none "
                "expected without signal; use wider bins, or a background that is above 0 there"
            )
