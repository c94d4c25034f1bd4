"""Fits of a workspace to its data: parameters with uncertainties, impacts, goodness of fit, and expected events.

Uncertainties are those of the inverse of the second derivatives of -log L at the best fit, which are differences of its
exact gradient. Parameters that are fixed or at a bound have none.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np
from scipy import stats

from portico.errors import FitError
from portico.stats.fit import Fit
from portico.stats.fitted import Fitted, FittedChannel, FittedParameter, State, fitted_channels
from portico.stats.impacts import Impact
from portico.stats.shapes import Array
from portico.stats.workspace import Workspace
from portico.stats.workspace_fits import WorkspaceFitter
from portico.stats.workspace_likelihood import WorkspaceLikelihood
from portico.stats.workspace_toys import thrown

__all__ = ["fit_workspace"]

_STEP: Final = 1e-4  # of a difference, in the uncertainty of a parameter by its own information
_FAILED: Final = 0.1  # of the toys, whose fits may fail


def fit_workspace(
    workspace: Workspace, *, backend: str = "numpy", impacts: bool = False, blind: bool = False, toys: int = 0,
    seed: int = 1,
) -> Fitted:  # fmt: skip
    """Fit a workspace to its data.

    Parameters
    ----------
    workspace : Workspace
    backend : {"numpy", "jax", "minuit"}
    impacts : bool
        Find the impact of each constrained parameter, which takes two fits each.
    blind : bool
        Take the expectation without signal, at the start values of all parameters, instead of the data.
    toys : int
        How many are thrown from the fit, and fitted, for the goodness of fit.
    seed : int

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
    thrown = _thrown(workspace, fitter, best, toys, seed)
    p_toys = (1 + np.sum(thrown >= best.objective - 1e-9)) / (1 + len(thrown)) if toys else math.nan
    return Fitted(
        workspace.poi, tuple(parameters), tuple(fit.channels(observed=not blind)), best.objective, degrees, p_value,
        tuple(sorted(found, key=lambda of: -of.size)), tuple(notes), len(thrown), float(p_toys),
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

    def channels(self, *, observed: bool) -> list[FittedChannel]:
        """Return the channels before the fit, where free parameters have no uncertainty, and after it."""
        model, workspace = self._likelihood, self._fitter.workspace
        spec = {channel["name"]: channel["samples"] for channel in workspace.spec["channels"]}
        names = workspace.model.config.channels
        lengths = [len(sample["data"]) for name in names for sample in spec[name]]

        def expected(at: Array) -> list[dict[str, Array]]:
            cells = iter(np.split(model.rates.cells(at), np.cumsum(lengths)[:-1]))
            return [{sample["name"]: next(cells) for sample in spec[name]} for name in names]

        before = np.zeros_like(self.covariance)
        for i, width in self._auxiliary()[1].items():
            before[i, i] = width**2 * bool(self.free_in_fit[i])
        data = []
        for name in names:
            part = workspace.model.config.channel_slices[name]
            edges = np.array(workspace.axes.get(name, ("", range(part.stop - part.start + 1)))[1], dtype=np.float64)
            data.append((name, edges, workspace.counts[part] if observed else None))
        states = State(model.start, before), State(self._at, self.covariance)
        signals = {
            name: tuple(s["name"] for s in samples if any(m["name"] == workspace.poi for m in s["modifiers"]))
            for name, samples in spec.items()
        }
        found = fitted_channels(expected, *states, (model.low, model.high), data)
        return [replace(of, signals=signals[of.name], label=workspace.axes.get(of.name, ("",))[0]) for of in found]


def _thrown(workspace: Workspace, fitter: WorkspaceFitter, best: Fit, toys: int, seed: int) -> Array:
    """Return -2 log L of fits to toys that are thrown from a fit."""
    found, reason, mean = [], "", fitter.expected(best.values)
    for child in np.random.SeedSequence(seed).spawn(toys):
        data = thrown(fitter, mean, np.random.default_rng(child))
        try:
            found.append(fitter.fit(data, start=best.values).objective)
        except FitError as error:
            reason = str(error)
    if len(found) < (1 - _FAILED) * toys:
        raise FitError(f"{workspace.where}: {toys - len(found)} of {toys} fits of toys fail, the last one: {reason}")
    return np.array(found)


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
