"""Maximum likelihood fits over parameters and, where shapes compete, over the choice between them.

Minima are found by Fisher scoring, and by iminuit where that does not converge; errors are iminuit's.

The choice between background families is a discrete nuisance parameter (P. Dauncey et al., JINST 10 (2015) P04015,
arXiv:1408.6865): every fit takes the choice with the smallest -2 log L + penalty * (number of shape parameters), so
that the profile of the parameter of interest is the envelope over the choices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from portico.errors import FitError, nearest
from portico.stats.likelihood import Choice, Likelihood, competing
from portico.stats.minima import Found, bending, lowest, softened
from portico.stats.minuit import converges, prepared
from portico.stats.model import Channel, Model, Observation, Points, shape_parameters
from portico.stats.scoring import score
from portico.stats.shapes import Array, Parameter

if TYPE_CHECKING:
    from iminuit import Minuit

__all__ = ["Fit", "Fitter", "fit_at_start"]

_PENALTY: Final = 1.0  # of -2 log L for each parameter of a shape
_GAIN: Final = 1e-3  # of -2 log L, a gain for which the choice is changed
_NEAR: Final = 1e-2  # of a parameter's step, from a bound
_ROUNDS: Final = 5  # of choosing and fitting


@dataclass(frozen=True, slots=True)
class Fit:
    """The result of a fit.

    Attributes
    ----------
    values : mapping of str to float
        Of all parameters that the chosen shapes have.
    errors : mapping of str to float
        From the second derivatives; empty unless asked for. Of a fixed parameter 0.
    covariance : array of shape (n, n), optional
        Of the parameters in the order of ``values``, if asked for.
    nll : float
        -log L at the minimum.
    objective : float
        -2 log L with the penalty: what is compared between fits.
    choice : tuple of int
        The chosen shapes of the competing components.
    at_limit : tuple of str
        Parameters that ended at a bound: they have no meaningful error.
    """

    values: Mapping[str, float]
    nll: float
    objective: float
    choice: Choice
    at_limit: tuple[str, ...] = ()
    errors: Mapping[str, float] = field(default_factory=dict)
    covariance: Array | None = None


class Fitter:
    """Repeated fits of one model to one observation, some parameters fixed; each starts where the last ended.

    Parameters
    ----------
    model : Model
    data : Observation
    penalty : float
        Added to -2 log L for each parameter of a competing shape.
    choose : bool
        Whether competing shapes are chosen in each fit; otherwise `choice` stays.
    choice : tuple of int
        Where the choice begins.
    known : mapping of str to float
        Good start values, for example those of another fit.
    """

    def __init__(
        self,
        model: Model,
        data: Observation,
        *,
        penalty: float = _PENALTY,
        choose: bool = True,
        choice: Choice = (),
        known: Mapping[str, float] | None = None,
    ) -> None:
        self.model, self.data, self._penalty, self._choose = model, data, penalty, choose
        self._rivals = competing(model)
        self._choice: Choice = choice or (0,) * len(self._rivals)
        self._known = {**_yields(model, data), **(known or {})}
        self._likelihoods: dict[Choice, Likelihood] = {}
        self._single: dict[tuple[str, Choice], Likelihood] = {}
        self._shared = _shared(model)
        self._bending: dict[Choice, list[int]] = {}

    def likelihood(self, choice: Choice) -> Likelihood:
        """Return the likelihood with a choice of shapes."""
        if choice not in self._likelihoods:
            self._likelihoods[choice] = Likelihood(self.model, self.data, choice)
        return self._likelihoods[choice]

    def fit(
        self, fixed: Mapping[str, float] | None = None, *, errors: bool = False,
        others: Sequence[Mapping[str, float]] = (),
    ) -> Fit:  # fmt: skip
        """Maximise the likelihood.

        Parameters
        ----------
        fixed : mapping of str to float
            Parameters that are held.
        errors : bool
            Find errors and covariance as well.
        others : sequence of mapping of str to float
            Where further fits begin, if there may be several minima.

        Raises
        ------
        FitError
            If a parameter to be fixed does not exist, or the fit does not converge.
        """
        held = dict(fixed or {})
        if unknown := held.keys() - self.model.all_parameters.keys():
            name = sorted(unknown)[0]
            raise FitError(f"the model has no parameter '{name}'; {nearest(name, self.model.all_parameters)}")
        choice = self._choice
        best = self._minimise(choice, held, errors=False, others=others)
        for _ in range(_ROUNDS if self._choose and self._rivals else 0):
            choice = self._better(best, held)
            if choice == best.choice:
                break
            other = self._minimise(choice, held, errors=False, others=others)
            if other.objective > best.objective - _GAIN:
                break
            best = other
        if errors:
            best = self._minimise(best.choice, held, errors=True)
        self._choice = best.choice
        self._known |= best.values
        return best

    @property
    def several_minima(self) -> bool:
        """Whether variations of templates make several minima possible."""
        return bool(self._sided(self.likelihood(self._choice)))

    def _minimise(
        self, choice: Choice, held: Mapping[str, float], *, errors: bool, others: Sequence[Mapping[str, float]] = ()
    ) -> Fit:
        likelihood = self.likelihood(choice)
        found: dict[str, float] = {}
        covariance: Array | None = None
        at = self._lowest(likelihood, held, others)
        if at is None or errors:
            known = self._known if at is None else dict(zip(likelihood.names, at.tolist(), strict=True))
            minuit = _minuit(likelihood, known, held)
            _converge(minuit, held)
            at = np.array(minuit.values)
            if errors:
                found, covariance = _errors(minuit, held)
        values = dict(zip(likelihood.names, at.tolist(), strict=True))
        self._known |= values
        nll = likelihood(at)
        objective = 2 * nll + self._penalty * likelihood.shape_parameters
        at_limit = _at_limit(values, held, self.model.all_parameters)
        return Fit(values, nll, objective, choice, at_limit, found, covariance)

    def _lowest(
        self, likelihood: Likelihood, held: Mapping[str, float], others: Sequence[Mapping[str, float]]
    ) -> Array | None:
        """Return the minimum by Fisher scoring, the lowest of several; None where scoring does not find it."""
        sided = [i for i in self._sided(likelihood) if likelihood.names[i] not in held]
        if not sided:
            return _scored(likelihood, self._known, held)
        free = np.array([name not in held for name in likelihood.names])
        low, high = _bounds(likelihood)

        def local(start: Array, loose: npt.NDArray[np.bool_]) -> Found | None:
            at = score(likelihood, start, loose, low, high)
            return None if at is None else (at, likelihood(at))

        starts = [likelihood.start({**known, **held}) for known in (self._known, *others, {})]
        for start in starts:
            for i, name in enumerate(likelihood.names):
                start[i] = held.get(name, start[i])
        found = lowest(local, starts, free, sided, lambda found: softened(likelihood, found, free, sided, low, high))
        return None if found is None else found[0]

    def _sided(self, likelihood: Likelihood) -> list[int]:
        """Return the parameters in which the likelihood may have two minima."""
        if likelihood.choice not in self._bending:
            start = likelihood.start(self._known)
            self._bending[likelihood.choice] = [i for i in likelihood.bent if _bends(likelihood, start, i)]
        return self._bending[likelihood.choice]

    def _better(self, best: Fit, held: Mapping[str, float]) -> Choice:
        """Choose each shape anew, with all that channels share where the last fit left it."""
        choice = list(best.choice)
        for position, (_, component) in enumerate(self._rivals):
            objectives = [self._alone(best, position, index, held) for index in range(len(component.shapes))]
            at = int(np.argmin(objectives))
            if objectives[at] < objectives[best.choice[position]] - _GAIN:
                choice[position] = at
        return tuple(choice)

    def _alone(self, best: Fit, position: int, index: int, held: Mapping[str, float]) -> float:
        """Fit one channel with one shape of one component, and return its part of the objective."""
        channel, component = self._rivals[position]
        choice = tuple(index if i == position else other for i, other in enumerate(best.choice))
        mine = tuple(i for (of, _), i in zip(self._rivals, choice, strict=True) if of is channel)
        key = (channel.name, mine)
        if key not in self._single:
            shapes = {k.name: i for (of, k), i in zip(self._rivals, choice, strict=True) if of is channel}
            self._single[key] = _of_channel(self.model, self.data, channel, shapes)
        likelihood = self._single[key]
        fixed = {name: best.values[name] for name in likelihood.names if name in self._shared} | dict(held)
        known = {**self._known, **best.values}
        at = _scored(likelihood, known, fixed)
        if at is None:
            minuit = _minuit(likelihood, known, fixed)
            if not converges(minuit):
                return math.inf
            at = np.array(minuit.values)
        values = dict(zip(likelihood.names, at.tolist(), strict=True))
        self._known |= {name: values[name] for name in shape_parameters(channel, component, component.shapes[index])}
        return 2 * likelihood(at) + self._penalty * len(component.shapes[index].parameters)


def fit_at_start(model: Model, choice: Choice = ()) -> tuple[Fitter, Fit]:
    """Return the start values as a fit without signal, and a fitter to no events: of a model that has no data."""
    empty = tuple(
        Points(np.array(c.edges), None, np.zeros(len(c.edges) - 1), np.ones(len(c.edges) - 1, bool))
        for c in model.channels
    )
    fitter = Fitter(model, Observation(empty))
    likelihood = fitter.likelihood(choice or (0,) * len(competing(model)))
    values = dict(zip(likelihood.names, likelihood.start({}).tolist(), strict=True))
    return fitter, Fit({**values, model.poi: 0.0}, 0.0, 0.0, likelihood.choice)


def _shared(model: Model) -> set[str]:
    """Names of strengths and nuisance parameters of more than one channel."""
    used = [name for c in model.channels for name in {n for k in c.components for n in (k.strength, *k.nuisances)}]
    return {name for name in used if used.count(name) > 1}


def _of_channel(model: Model, data: Observation, channel: Channel, shapes: Mapping[str, int]) -> Likelihood:
    """Return the likelihood of one channel with one shape for each component."""
    at = next(i for i, known in enumerate(model.channels) if known.name == channel.name)
    others = tuple(k.model_copy(update={"shapes": (k.shapes[shapes.get(k.name, 0)],)}) for k in channel.components)
    alone = channel.model_copy(update={"components": others})
    used = {k.strength for k in others} | {name for k in others for name in k.nuisances}
    parameters = tuple(parameter for parameter in model.parameters if parameter.name in used)
    part = model.model_copy(update={"channels": (alone,), "parameters": parameters})
    return Likelihood(part, Observation((data.channels[at],), data.centers))


def _scored(likelihood: Likelihood, known: Mapping[str, float], held: Mapping[str, float]) -> Array | None:
    """Return the minimum by Fisher scoring, if that finds it."""
    start, free = likelihood.start(known), np.ones(len(likelihood.names), dtype=np.bool_)
    for i, name in enumerate(likelihood.names):
        if name in held:
            start[i], free[i] = held[name], False
    return score(likelihood, start, free, *_bounds(likelihood))


def _bounds(likelihood: Likelihood) -> tuple[Array, Array]:
    of = [likelihood.model.all_parameters[name] for name in likelihood.names]
    return np.array([parameter.low for parameter in of]), np.array([parameter.high for parameter in of])


def _bends(likelihood: Likelihood, start: Array, index: int) -> bool:
    """Whether there may be a minimum on each side of 0 of a parameter."""
    at = {sign: start.copy() for sign in (-1.0, 0.0, 1.0)}
    for sign, values in at.items():
        values[index] = sign
    down, none, up = (likelihood.totals(values) for values in at.values())
    slope, bend = 0.5 * (up - down), up + down - 2 * none
    return bool(bending(slope[:, None], bend[:, None], none)[0])


def _errors(minuit: Minuit, held: Mapping[str, float]) -> tuple[dict[str, float], Array | None]:
    """Return errors and covariance from the second derivatives."""
    if not minuit.nfit:
        return dict.fromkeys(held, 0.0), None
    minuit.hesse()
    if not minuit.accurate:
        raise FitError(f"the fit converges, but has no errors: {_where(minuit)}")
    errors = {name: 0.0 if name in held else float(minuit.errors[name]) for name in minuit.parameters}
    return errors, np.array(minuit.covariance)


def _minuit(likelihood: Likelihood, known: Mapping[str, float], held: Mapping[str, float]) -> Minuit:
    start = likelihood.start(known)
    for i, name in enumerate(likelihood.names):
        start[i] = held.get(name, start[i])
    steps = np.array([likelihood.model.all_parameters[name].step for name in likelihood.names])
    free = np.array([name not in held for name in likelihood.names])
    return prepared(
        likelihood, likelihood.gradient, start, names=likelihood.names, bounds=_bounds(likelihood), steps=steps,
        free=free,
    )  # fmt: skip


def _converge(minuit: Minuit, held: Mapping[str, float]) -> None:
    if not converges(minuit):
        fixed = f" with {', '.join(f'{name} = {value:g}' for name, value in held.items())}" if held else ""
        raise FitError(f"the fit{fixed} does not converge: {_where(minuit)}")


def _where(minuit: Minuit) -> str:
    return ", ".join(f"{name} = {minuit.values[name]:.4g}" for name in minuit.parameters)


def _at_limit(
    values: Mapping[str, float], held: Mapping[str, float], parameters: Mapping[str, Parameter]
) -> tuple[str, ...]:
    def distance(name: str) -> float:
        return min(values[name] - parameters[name].low, parameters[name].high - values[name])

    return tuple(name for name in values if name not in held and distance(name) < _NEAR * parameters[name].step)


def _yields(model: Model, data: Observation) -> dict[str, float]:
    """Guess the strengths of single components, other than the parameter of interest, from what is left of the data."""
    guess: dict[str, float] = {}
    shared = [component.strength for _, component in model.components]
    for channel, points in zip(model.channels, data.channels, strict=True):
        loose = [k for k in channel.components if k.strength and k.strength != model.poi and k.events > 0]
        if len(loose) != 1 or shared.count(loose[0].strength) > 1:
            continue
        rest = sum(k.events for k in channel.components if k is not loose[0] and k.strength != model.poi)
        share = _used_share(points)
        guess[loose[0].strength] = max(float(points.weights.sum()) / share - rest, 0.5) / loose[0].events
    return guess


def _used_share(points: Points) -> float:
    if points.edges is None:
        return 1.0
    widths = np.diff(points.edges)
    return float(widths[points.used].sum() / widths.sum())
