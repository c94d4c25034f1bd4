"""A model with one shape for each component, parameter values and data, for formats without competing shapes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np

from portico.errors import InputError
from portico.stats.asymptotic import asimov
from portico.stats.fit import Fit, Fitter, fit_at_start
from portico.stats.likelihood import Choice, Likelihood, competing
from portico.stats.model import Channel, Component, Model, Observation, Points, observation, shape_parameters
from portico.stats.shapes import Parameter, Shape

__all__ = ["Chosen", "choose"]

_FUNCTIONS: Final = {"exp", "abs", "max", "channel", "weight", "one"}  # no parameter may have such a name


@dataclass(frozen=True)
class Chosen:
    """A model with one shape for each component.

    Attributes
    ----------
    model : Model
    choice : tuple of int
        Of the competing components.
    values : mapping of str to float
        Of all parameters that the chosen shapes have.
    data : Observation
        What is observed; where that is blinded or missing, the expectation without signal.
    names : mapping of str to str
        What RooFit, HS3 and Combine call things, by their names in the model.
    """

    model: Model
    choice: Choice
    values: Mapping[str, float]
    data: Observation
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def blinded(self) -> bool:
        """Whether the data are an expectation."""
        return not self.model.observed

    @cached_property
    def _shapes(self) -> dict[tuple[str, str], Shape]:
        picked = {(c.name, k.name): i for (c, k), i in zip(competing(self.model), self.choice, strict=True)}
        return {(c.name, k.name): k.shapes[picked.get((c.name, k.name), 0)] for c, k in self.model.components}

    def shape(self, channel: Channel, component: Component) -> Shape:
        """Return the shape of a component."""
        return self._shapes[channel.name, component.name]

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters that are left, by name."""
        return {name: self.model.all_parameters[name] for name in Likelihood(self.model, self.data, self.choice).names}

    @cached_property
    def events(self) -> dict[tuple[str, str], float]:
        """Events expected at ``values``, by channel and component."""
        expected = Likelihood(self.model, self.data, self.choice).expected(self.values)
        return {
            (channel.name, name): float(content.sum())
            for channel, parts in zip(self.model.channels, expected, strict=True)
            for name, content in parts.items()
        }

    @property
    def labels(self) -> list[str]:
        """What was chosen, in words: channel, component, shape."""
        return [
            f"{channel.name} {component.name} {shape.kind}{getattr(shape, 'order', '')}"
            for channel, component in competing(self.model)
            for shape in [self.shape(channel, component)]
        ]

    def to_json(self) -> str:
        """Return it as text for another process."""
        channels = [
            {name: None if array is None else array.tolist() for name, array in (
                ("edges", of.edges), ("x", of.x), ("weights", of.weights), ("used", of.used)
            )}
            for of in self.data.channels
        ]  # fmt: skip
        return json.dumps({
            "model": self.model.model_dump(), "choice": self.choice, "values": dict(self.values),
            "channels": channels, "centers": dict(self.data.centers),
        })  # fmt: skip

    @classmethod
    def from_json(cls, text: str) -> Chosen:
        """Return what `to_json` wrote."""
        content: dict[str, Any] = json.loads(text)
        model = Model.model_validate(content["model"])
        points = tuple(
            Points(
                None if of["edges"] is None else np.array(of["edges"]), None if of["x"] is None else np.array(of["x"]),
                np.array(of["weights"], dtype=np.float64), np.array(of["used"], dtype=np.bool_),
            )
            for of in content["channels"]
        )  # fmt: skip
        data = Observation(points, content["centers"])
        return cls(model, tuple(content["choice"]), content["values"], data, _names(model))


def choose(model: Model, *, choice: Choice | None = None, values: Mapping[str, float] | None = None) -> Chosen:
    """Choose shapes, values and data to export: those of the background-only fit by default.

    Parameters
    ----------
    model : Model
    choice : tuple of int, optional
        Which shape of each of the competing components.
    values : mapping of str to float, optional
        Values of some or all parameters. The parameter of interest is 1 by default, and 0 in Asimov data.

    Raises
    ------
    InputError
        If there is no such choice or parameter, or two names become one in RooFit.
    FitError
        If the fit does not converge.
    """
    numbers = [len(component.shapes) for _, component in competing(model)]
    if choice is not None and (
        len(choice) != len(numbers) or not all(0 <= i < n for i, n in zip(choice, numbers, strict=True))
    ):
        raise InputError(f"choice = {choice}: it has one number for each competing component, below {numbers}")
    if both := {parameter.name for parameter in model.parameters if not parameter.constrained} & set(model.nuisances):
        raise InputError(f"parameter '{min(both)}' is free and a nuisance parameter as well; rename one of the two")
    names = _names(model)
    fit, data = _background(model, choice)
    if unknown := (values or {}).keys() - fit.values.keys():
        raise InputError(f"there is no parameter '{min(unknown)}' in what is exported; it has {', '.join(fit.values)}")
    poi = model.all_parameters[model.poi]
    found = {**fit.values, model.poi: min(max(1.0, poi.low), poi.high), **(values or {})}
    return Chosen(model, fit.choice, found, data, names)


def _background(model: Model, choice: Choice | None) -> tuple[Fit, Observation]:
    """Return the fit without signal, and the data or what it expects in place of them."""
    if not model.has_data:
        fitter, fit = fit_at_start(model, choice or ())
    else:
        fitter = Fitter(model, observation(model), choose=choice is None, choice=choice or ())
        fit = fitter.fit({model.poi: 0.0})
    return fit, fitter.data if model.observed else asimov(model, fitter, fit)


def _names(model: Model) -> dict[str, str]:
    """Return names that RooFit and HS3 take, by those of the model."""
    every = [name for channel, component in model.components for name in (channel.name, component.name)]
    every += model.all_parameters
    for channel, component in model.components:
        for shape in component.shapes:
            every += shape_parameters(channel, component, shape)
    found: dict[str, str] = {}
    for name in dict.fromkeys(every):
        safe = re.sub(r"\W", "_", name, flags=re.ASCII)
        if not safe[:1].isalpha() or safe in _FUNCTIONS:
            safe = f"p_{safe}"
        if safe in found.values():
            raise InputError(f"the name '{name}' and another one both become '{safe}' in RooFit; change one of them")
        found[name] = safe
    return found
