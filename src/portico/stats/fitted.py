"""The result of a fit of any model to its data: parameters, expected events with uncertainties, agreement, impacts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from portico.stats.impacts import Impact
from portico.stats.shapes import Array

__all__ = ["Fitted", "FittedChannel", "FittedParameter", "State", "Yield", "fitted_channels"]

#: Expected events at given parameters: by channel, of each sample in the bins.
Expected = Callable[[Array], Sequence[Mapping[str, Array]]]


@dataclass(frozen=True, slots=True)
class FittedParameter:
    """A parameter after a fit.

    Attributes
    ----------
    name : str
    value : float
    error : float
        nan where it is fixed or at a bound.
    pull : float
        Distance from its auxiliary measurement, in standard deviations of it; nan for free parameters.
    constraint : float
        Its uncertainty in the same units; below 1 where the data know more.
    fixed : bool
    at_bound : bool
    """

    name: str
    value: float
    error: float
    pull: float
    constraint: float
    fixed: bool = False
    at_bound: bool = False


@dataclass(frozen=True, slots=True)
class Yield:
    """Events of a sample in a channel, or of all its samples, before and after the fit, with their uncertainties."""

    channel: str
    sample: str
    before: float
    before_error: float
    after: float
    error: float
    observed: float


@dataclass(frozen=True)
class FittedChannel:
    """A channel before and after the fit.

    Attributes
    ----------
    name : str
    edges : array of shape (bins + 1,)
        0, 1, 2, ... where the format has none.
    observed : array of shape (bins,), optional
        None while blinded.
    before, after : mapping of str to array of shape (bins,)
        Expected events of each sample.
    before_errors, after_errors : array of shape (bins,)
        Uncertainties of their sum.
    sample_errors : mapping of str to (float, float)
        Uncertainties of the events of each sample in all bins, before and after.
    sum_errors : (float, float)
        Of all events in all bins.
    blind : sequence of (float, float)
        Intervals that are blinded.
    signals : sequence of str
        Samples that the parameter of interest multiplies.
    label : str
        Of the variable; empty where the format has none.
    """

    name: str
    edges: Array
    observed: Array | None
    before: Mapping[str, Array]
    after: Mapping[str, Array]
    before_errors: Array
    after_errors: Array
    sample_errors: Mapping[str, tuple[float, float]]
    sum_errors: tuple[float, float]
    blind: Sequence[tuple[float, float]] = ()
    signals: Sequence[str] = ()
    label: str = ""

    def yields(self) -> list[Yield]:
        """Return the events of each sample, and then of all of them as ``total``, which alone has data."""
        sums = [(name, float(self.before[name].sum()), float(bins.sum())) for name, bins in self.after.items()]
        rows = [
            Yield(self.name, name, first, self.sample_errors[name][0], last, self.sample_errors[name][1], math.nan)
            for name, first, last in sums
        ]
        observed = math.nan if self.observed is None or self.blind else float(self.observed.sum())
        before, after, errors = sum(of[1] for of in sums), sum(of[2] for of in sums), self.sum_errors
        return [*rows, Yield(self.name, "total", before, errors[0], after, errors[1], observed)]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "name": self.name, "edges": self.edges.tolist(),
            "observed": None if self.observed is None else self.observed.tolist(),
            "before": {name: bins.tolist() for name, bins in self.before.items()},
            "before_errors": self.before_errors.tolist(),
            "after": {name: bins.tolist() for name, bins in self.after.items()},
            "after_errors": self.after_errors.tolist(),
        }  # fmt: skip


@dataclass(frozen=True)
class Fitted:
    """The result of a fit.

    Attributes
    ----------
    poi : str
    parameters : tuple of FittedParameter
        The parameter of interest first.
    channels : tuple of FittedChannel
    statistic : float
        -2 log of the likelihood ratio to the saturated model.
    degrees : int
        Measurements less free parameters.
    p_value : float
        Of a worse agreement by chi2, which needs some events in each bin; nan without degrees of freedom.
    impacts : tuple of Impact
        The largest first; empty unless asked for.
    notes : tuple of str
    toys : int
        Toys that were fitted.
    p_toys : float
        Of a worse agreement in toys, (1 + worse ones)/(1 + toys); nan without toys.
    """

    poi: str
    parameters: tuple[FittedParameter, ...]
    channels: tuple[FittedChannel, ...]
    statistic: float
    degrees: int
    p_value: float
    impacts: tuple[Impact, ...]
    notes: tuple[str, ...]
    toys: int = 0
    p_toys: float = math.nan

    @property
    def yields(self) -> list[Yield]:
        """Those of all channels."""
        return [row for channel in self.channels for row in channel.yields()]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "poi": self.poi,
            "parameters": [asdict(of) for of in self.parameters],
            "yields": [asdict(of) for of in self.yields],
            "channels": [of.to_json() for of in self.channels],
            "goodness": {"statistic": self.statistic, "degrees": self.degrees, "p_value": self.p_value,
                         "toys": self.toys, "p_toys": self.p_toys},
            "impacts": [asdict(of) for of in self.impacts],
            "notes": list(self.notes),
        }  # fmt: skip


@dataclass(frozen=True)
class State:
    """Values of all parameters, and their covariance: 0 for those without uncertainty."""

    at: Array
    covariance: Array


def fitted_channels(
    expected: Expected, before: State, after: State, bounds: tuple[Array, Array],
    data: Sequence[tuple[str, Array, Array | None]],
) -> list[FittedChannel]:  # fmt: skip
    """Return channels before and after a fit.

    Uncertainties are those of the parameters with their correlations: the change of the events by each is half of that
    between one standard deviation below and above, as far as its bounds allow.

    Parameters
    ----------
    expected : callable
    before, after : State
    bounds : (array, array)
        Of the parameters.
    data : sequence of (str, array, array or None)
        Name, edges and observed events of each channel.
    """
    spreads = [_spread(expected, state, bounds) for state in (before, after)]
    events = [expected(state.at) for state in (before, after)]
    found = []
    for i, (name, edges, observed) in enumerate(data):
        (first, first_sums, first_all), (last, last_sums, last_all) = (of[i] for of in spreads)
        errors = {sample: (first_sums[k], last_sums[k]) for k, sample in enumerate(events[0][i])}
        found.append(
            FittedChannel(name, edges, observed, events[0][i], events[1][i], first, last, errors, (first_all, last_all))
        )
    return found


def _spread(expected: Expected, state: State, bounds: tuple[Array, Array]) -> list[tuple[Array, list[float], float]]:
    """Return by channel the uncertainties of its bins, of each sample, and of all its events."""
    moved = np.flatnonzero(np.diag(state.covariance) > 0)
    covariance = state.covariance[np.ix_(moved, moved)]
    slopes: list[list[tuple[Array, Array]]] = [[] for _ in expected(state.at)]
    for i in moved:
        sides, size = [], float(np.sqrt(state.covariance[i, i]))
        for at_i in (min(state.at[i] + size, bounds[1][i]), max(state.at[i] - size, bounds[0][i])):
            at = state.at.copy()
            at[i] = at_i
            sides.append((at_i, expected(at)))
        (high, up), (low, down) = sides
        for of, more, less in zip(slopes, up, down, strict=True):
            change = np.array([(more[name] - less[name]) / (high - low) for name in more])
            of.append((change.sum(axis=0), change.sum(axis=1)))
    found = []
    for of, channel in zip(slopes, expected(state.at), strict=True):
        bins = len(next(iter(channel.values())))
        by_bin = np.array([b for b, _ in of]).reshape(len(moved), bins)
        by_sample = np.array([s for _, s in of]).reshape(len(moved), len(channel))
        found.append(
            (_errors(by_bin, covariance), _errors(by_sample, covariance).tolist(),
             float(_errors(by_bin.sum(axis=1, keepdims=True), covariance)[0]))
        )  # fmt: skip
    return found


def _errors(slopes: Array, covariance: Array) -> Array:
    return np.asarray(np.sqrt(np.maximum(np.einsum("ik,ij,jk->k", slopes, covariance, slopes), 0.0)))
