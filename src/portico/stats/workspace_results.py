"""Results of a fit of a workspace: parameters with uncertainties, impacts, goodness of fit, and yields.

Uncertainties are those of the inverse of the second derivatives of -log L at the best fit, which are differences of its
exact gradient. Parameters that are fixed or at a bound have none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from scipy import stats

from portico.errors import FitError
from portico.stats.fit import Fit
from portico.stats.impacts import Impact
from portico.stats.shapes import Array
from portico.stats.workspace import Workspace, using
from portico.stats.workspace_fits import WorkspaceFitter
from portico.stats.workspace_likelihood import WorkspaceLikelihood

__all__ = ["Fitted", "FittedParameter", "Yield", "fit_workspace"]

_STEP: Final = 1e-4  # of a difference, in the uncertainty of a parameter by its own information


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
    """Events of a sample in a channel, or of all its samples; ``before`` the fit and after it."""

    channel: str
    sample: str
    before: float
    after: float
    error: float
    observed: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """The result of a fit.

    Attributes
    ----------
    poi : str
    parameters : tuple of FittedParameter
        The parameter of interest first.
    yields : tuple of Yield
        Of each channel its samples, and then all of them as ``total``, which alone has an uncertainty and data.
    statistic : float
        -2 log of the likelihood ratio to the saturated model, with the auxiliary measurements.
    degrees : int
        Measurements less free parameters.
    p_value : float
        Of a worse agreement by chi2, which needs some events in each bin; nan without degrees of freedom.
    impacts : tuple of Impact
        The largest first; empty unless asked for.
    notes : tuple of str
    """

    poi: str
    parameters: tuple[FittedParameter, ...]
    yields: tuple[Yield, ...]
    statistic: float
    degrees: int
    p_value: float
    impacts: tuple[Impact, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "poi": self.poi,
            "parameters": [asdict(of) for of in self.parameters],
            "yields": [asdict(of) for of in self.yields],
            "goodness": {"statistic": self.statistic, "degrees": self.degrees, "p_value": self.p_value},
            "impacts": [asdict(of) for of in self.impacts],
            "notes": list(self.notes),
        }


def fit_workspace(
    workspace: Workspace, *, backend: str = "numpy", impacts: bool = False, blind: bool = False
) -> Fitted:
    """Fit a workspace to its data.

    Parameters
    ----------
    workspace : Workspace
    backend : {"numpy", "jax", "minuit"}
    impacts : bool
        Find the impact of each constrained parameter, which takes two fits each.
    blind : bool
        Take the expectation without signal, at the start values of all parameters, instead of the data.

    Raises
    ------
    FitError
        If the fit does not converge.
    """
    fitter = WorkspaceFitter(workspace, backend)
    start = fitter.start()
    data = np.concatenate([workspace.counts, workspace.model.config.auxdata])
    if blind:
        data = fitter.expected(start, **{workspace.poi: 0.0})
    best = fitter.fit(data)
    fit = _Uncertain(fitter, data, best)
    parameters = fit.parameters()
    found = _impacts(fitter, data, best, parameters) if impacts else []
    degrees = len(data) - int(np.sum(fit.free_in_fit))
    p_value = float(stats.chi2.sf(best.objective, degrees)) if degrees > 0 else math.nan
    notes = [*workspace.notes, *fitter.notes]
    if bound := [of.name for of in parameters if of.at_bound]:
        notes.append(f"at a limit of its range, without uncertainty: {', '.join(bound)}")
    if blind:
        notes.append("blinded: the data are the expectation without signal at the start values")
    yields = fit.yields(start, None if blind else workspace.counts)
    return Fitted(
        workspace.poi, tuple(parameters), tuple(yields), best.objective, degrees, p_value,
        tuple(sorted(found, key=lambda of: -of.size)), tuple(notes),
    )  # fmt: skip


class _Uncertain:
    """A fit with the covariance of its parameters."""

    def __init__(self, fitter: WorkspaceFitter, data: Array, best: Fit) -> None:
        self._fitter, self._data, self._best = fitter, data, best
        self._likelihood = fitter.likelihood
        self._at = np.array([best.values[name] for name in self._likelihood.names])
        self.free_in_fit = ~self._likelihood.fixed
        bound = set(best.at_limit)
        poi = fitter.workspace.poi
        if best.values[poi] <= 1e-6 * fitter.unit:
            bound.add(poi)
        self.bound = np.array([name in bound for name in self._likelihood.names])
        self.covariance = self._covariance()

    def _covariance(self) -> Array:
        """Return the covariance of all parameters, with 0 for those without uncertainty."""
        likelihood = WorkspaceLikelihood(self._likelihood, self._data)
        information = likelihood.curvature(self._at)[1]
        used = np.flatnonzero(self.free_in_fit & ~self.bound & (np.diag(information) > 0))
        hessian = np.zeros((len(used), len(used)))
        for column, i in enumerate(used):
            step = _STEP * information[i, i] ** -0.5
            sides = []
            for sign in (1, -1):
                at = self._at.copy()
                at[i] += sign * step
                sides.append(likelihood.curvature(at)[0][used])
            hessian[:, column] = (sides[0] - sides[1]) / (2 * step)
        covariance = np.zeros((len(self._at), len(self._at)))
        if not len(used):
            return covariance
        size = np.sqrt(np.abs(np.diag(hessian)))
        try:
            inverse = np.linalg.inv(0.5 * (hessian + hessian.T) / np.outer(size, size)) / np.outer(size, size)
        except np.linalg.LinAlgError as error:
            where = self._fitter.workspace.where
            raise FitError(f"{where}: the fit has no uncertainties: its second derivatives are singular") from error
        if np.any(np.diag(inverse) <= 0):
            where = self._fitter.workspace.where
            raise FitError(f"{where}: the fit has no uncertainties: its second derivatives are not those of a minimum")
        covariance[np.ix_(used, used)] = inverse
        return covariance

    def parameters(self) -> list[FittedParameter]:
        """Return all parameters, that of interest first."""
        errors = np.sqrt(np.diag(self.covariance))
        centers, widths = self._auxiliary()
        found = []
        for i, name in enumerate(self._likelihood.names):
            error = float(errors[i]) if errors[i] > 0 else math.nan
            center, width = centers.get(i, math.nan), widths.get(i, math.nan)
            value, fixed = float(self._at[i]), not bool(self.free_in_fit[i])
            found.append(
                FittedParameter(
                    name,
                    value,
                    error,
                    (value - center) / width,
                    error / width,
                    fixed,
                    bool(self.bound[i]) and not fixed,
                )
            )
        poi = self._fitter.workspace.poi
        return sorted(found, key=lambda of: of.name != poi)

    def _auxiliary(self) -> tuple[dict[int, float], dict[int, float]]:
        """Return center and width of the auxiliary measurement of each constrained parameter."""
        model = self._likelihood
        measured = self._data[model.rates.bins :]
        centers, widths = {}, {}
        for i, value, normal, width, scale in zip(
            model.constrained, measured, model.normal, model.widths, model.scales, strict=True
        ):
            if normal:
                centers[int(i)], widths[int(i)] = float(value), float(width)
            elif scale > 0:
                centers[int(i)], widths[int(i)] = float(value / scale), float(scale**-0.5)
        return centers, widths

    def yields(self, start: Mapping[str, float], counts: Array | None) -> list[Yield]:
        """Return the events of each sample in each channel, before and after the fit."""
        model = self._fitter.workspace.model
        before = np.array([start[name] for name in self._likelihood.names])
        with using("numpy"):
            by_sample = [
                np.asarray(model.main_model.expected_data(at, return_by_sample=True)) for at in (before, self._at)
            ]
        slopes = self._likelihood.rates.derivatives(self._at)[1]
        found = []
        samples = {
            channel["name"]: [s["name"] for s in channel["samples"]]
            for channel in self._fitter.workspace.spec["channels"]
        }
        for channel in model.config.channels:
            of = model.config.channel_slices[channel]
            for sample in samples[channel]:
                row = model.config.samples.index(sample)
                events = [float(table[row, of].sum()) for table in by_sample]
                found.append(Yield(channel, sample, events[0], events[1], math.nan, math.nan))
            slope = slopes[of].sum(axis=0)
            error = float(np.sqrt(max(slope @ self.covariance @ slope, 0.0)))
            events = [float(table[:, of].sum()) for table in by_sample]
            observed = math.nan if counts is None else float(counts[of].sum())
            found.append(Yield(channel, "total", events[0], events[1], error, observed))
        return found


def _impacts(fitter: WorkspaceFitter, data: Array, best: Fit, parameters: list[FittedParameter]) -> list[Impact]:
    """Return the changes of the parameter of interest with each constrained parameter held at its uncertainty."""
    poi, fixed, start = fitter.workspace.poi, fitter.likelihood.fixed, fitter.likelihood.start
    found = []
    for of in parameters:
        if of.name == poi or math.isnan(of.pull) or math.isnan(of.error):
            continue
        at, changes, notes = fitter.likelihood.names.index(of.name), [], []
        for sign, word in ((1, "up"), (-1, "down")):
            held = {**best.values, of.name: of.value + sign * of.error}
            before, start[at], fixed[at] = start[at], held[of.name], True
            try:
                changes.append(fitter.fit(data, None, held).values[poi] - best.values[poi])
            except FitError as error:
                changes.append(math.nan)
                notes.append(f"{word}: {error}")
            finally:
                start[at], fixed[at] = before, False
        found.append(Impact(of.name, of.pull, of.constraint, changes[0], changes[1], "; ".join(notes)))
    return found
