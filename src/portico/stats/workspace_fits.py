"""Fits of pyhf (HistFactory) workspaces to any data.

Minima are found by Fisher scoring, and by iminuit where that does not converge. Where variations of shapes make several
minima possible, fits begin from several starts, and the lowest minimum is taken. Nothing depends on the unit of the
parameter of interest or on its bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from portico.errors import FitError
from portico.stats.degenerate import degenerate_groups
from portico.stats.fit import Fit
from portico.stats.minima import Found, bending, lowest, softened
from portico.stats.minuit import converges, prepared
from portico.stats.scoring import score
from portico.stats.shapes import Array
from portico.stats.workspace import BACKENDS, Workspace, using
from portico.stats.workspace_likelihood import HistFactory, WorkspaceLikelihood

__all__ = ["WorkspaceFitter"]

_NEAR: Final = 1e-4  # of the range, from a bound
_HIGHEST: Final = 1e6  # of the parameter of interest, in units of the strength that the data can tell
_AGREEMENT: Final = 1e-6  # of expected events and of -2 log L with pyhf


class WorkspaceFitter:
    """Fits of a workspace to any data, with the parameter of interest free above 0 or fixed.

    Parameters
    ----------
    workspace : Workspace
    backend : {"numpy", "jax", "minuit"}
        ``minuit`` leaves Fisher scoring out; ``jax`` goes on from its minimum with the likelihood of pyhf on jax.

    Attributes
    ----------
    notes : list of str
        Warnings about the fits so far.
    unit : float
        A strength of the order of what the data can tell from 0: the signal is the uncertainty of the background.

    Raises
    ------
    FitError
        If the expected events or the likelihood are not those of pyhf.
    """

    def __init__(self, workspace: Workspace, backend: str = "numpy") -> None:
        if backend not in BACKENDS:
            raise ValueError(f"no backend {backend!r}; valid: {', '.join(BACKENDS)}")
        if backend == "jax":
            with using(backend):  # fails here, if it is missing
                pass
        self.workspace, self.model, self.backend = workspace, workspace.model, backend
        self.notes: list[str] = []
        self.likelihood = HistFactory(workspace.model, workspace.spec["channels"])
        self._poi, self._names = workspace.model.config.poi_index, self.likelihood.names
        self._bound = float(self.likelihood.high[self._poi])
        self.likelihood.start[self._poi] = max(self.likelihood.start[self._poi], 0.0)
        self.unit = self._unit()
        self._low, self._high = self.likelihood.low.copy(), self.likelihood.high.copy()
        self._low[self._poi], self._high[self._poi] = 0.0, max(self._bound, _HIGHEST * self.unit)
        _check_against_pyhf(workspace, self.likelihood)

    def fit(
        self, data: Array, mu: float | None = None, start: Mapping[str, float] | None = None,
        others: Sequence[Mapping[str, float]] = (),
    ) -> Fit:  # fmt: skip
        """Maximise the likelihood.

        Parameters
        ----------
        data : array
            Main data and auxiliary data, as pyhf orders them.
        mu : float, optional
            Where the parameter of interest is fixed.
        start : mapping of str to float, optional
            Where the fit begins; start values of the workspace by default.
        others : sequence of mapping of str to float
            Where further fits begin, if there may be several minima.

        Raises
        ------
        FitError
            If it does not converge.
        """
        likelihood, free = WorkspaceLikelihood(self.likelihood, data), ~self.likelihood.fixed
        initial = self.likelihood.start.copy()
        initial[self._poi] = self.unit
        starts = [self._start(of, mu) for of in ([] if start is None else [start]) + [*others]]
        starts.append(self._start(dict(zip(self._names, initial.tolist(), strict=True)), mu))
        free[self._poi] = mu is None
        sided = self._bending(starts[0], data, free)
        found = lowest(
            lambda at, loose: self._local(likelihood, at, loose), starts, free, sided,
            lambda found: softened(likelihood, found, free, sided, self._low, self._high),
        )  # fmt: skip
        if found is not None and self.backend == "jax":
            found = self._with_pyhf(likelihood, data, found, free)
        if found is None:
            held = f" with {self.workspace.poi} = {mu:g}" if mu is not None else ""
            raise FitError(
                f"{self.workspace.where}: the fit{held} does not converge, neither by Fisher scoring nor by iminuit"
            )
        return self._result(found, free)

    def _local(self, likelihood: WorkspaceLikelihood, start: Array, free: npt.NDArray[np.bool_]) -> Found | None:
        at = score(likelihood, start, free, self._low, self._high) if self.backend != "minuit" else None
        if at is None:
            at = self._minuit(likelihood, start, free)
        return None if at is None else (at, likelihood(at))

    def _minuit(self, likelihood: WorkspaceLikelihood, start: Array, free: npt.NDArray[np.bool_]) -> Array | None:
        information = np.diag(likelihood.curvature(start)[1])
        known = information > 0
        steps = np.where(known, np.where(known, information, 1.0) ** -0.5, 0.1 * np.maximum(np.abs(start), 1e-3))
        minuit = prepared(
            likelihood, lambda at: likelihood.curvature(at)[0], start, names=self._names,
            bounds=(self._low, self._high), steps=steps, free=free,
        )  # fmt: skip
        return np.array(minuit.values) if converges(minuit) else None

    def _with_pyhf(self, likelihood: WorkspaceLikelihood, data: Array, found: Found, free: Any) -> Found:
        """Go on from a minimum with the likelihood of pyhf on jax and scipy, and take what is lower."""
        import pyhf

        at = np.clip(found[0], self._low, self._high)
        bounds = list(zip(self._low.tolist(), self._high.tolist(), strict=True))
        try:
            with using(self.backend):
                tensor = pyhf.tensorlib.astensor(data)
                pars = pyhf.infer.mle.fit(tensor, self.model, at.tolist(), bounds, (~free).tolist())
                there = np.asarray(pars, dtype=np.float64).ravel()
        except (pyhf.exceptions.FailedMinimization, ValueError):
            return found
        value = likelihood(there) if np.all(np.isfinite(there)) else math.inf
        return (there, value) if value < found[1] else found

    def _start(self, values: Mapping[str, float], mu: float | None) -> Array:
        at = np.array([values[name] for name in self._names])
        if mu is not None:
            at[self._poi] = mu
        low, high = self._low.copy(), self._high.copy()
        low[self._poi], high[self._poi] = 0.0, math.inf
        clipped: Array = np.clip(at, low, high)
        return clipped

    def _bending(self, at: Array, data: Array, free: npt.NDArray[np.bool_]) -> list[int]:
        """Return the parameters in which expected events bend enough for two minima."""
        there = self.likelihood.start.copy()
        there[self._poi] = max(at[self._poi], self.unit)
        rates = self.likelihood.rates
        expected, slopes, _ = rates.derivatives(there)
        found = bending(slopes, rates.bends(there), np.minimum(expected, data[: rates.bins]))
        return [int(i) for i in np.flatnonzero(found & free)]

    @property
    def may_bend(self) -> bool:
        """Whether variations of shapes may lead to several minima."""
        at = self.likelihood.start.copy()
        at[self._poi] = self.unit
        return bool(self._bending(at, self.likelihood.rates.expected(at), ~self.likelihood.fixed))

    @property
    def only_poi(self) -> bool:
        """Whether nothing but the parameter of interest is free."""
        return int(np.sum(~self.likelihood.fixed)) == 1

    def degenerate(self, at: Mapping[str, float]) -> list[list[str]]:
        """Return groups of free parameters whose changes cancel in all expected events, with signal in them.

        Parameters
        ----------
        at : mapping of str to float
            Where.
        """
        values = np.array([at[name] for name in self._names])
        values[self._poi] = max(values[self._poi], self.unit)
        values = np.where((values <= self._low) & ~self.likelihood.fixed, self.likelihood.start, values)
        data = self.likelihood.expected(values)
        information = WorkspaceLikelihood(self.likelihood, data).curvature(values)[1]
        free = np.flatnonzero(~self.likelihood.fixed)
        groups = degenerate_groups(information[np.ix_(free, free)])
        return [[self._names[free[i]] for i in group] for group in groups]

    def _unit(self) -> float:
        rates, at = self.likelihood.rates, self.likelihood.start.copy()
        at[self._poi] = 0.0
        background = rates.expected(at)
        at[self._poi] = 1.0
        signal = rates.expected(at) - background
        seen = signal > 0
        information = float(np.sum(signal[seen] ** 2 / np.maximum(background[seen], 1.0)))
        return information**-0.5 if information > 0 else 1.0

    def _result(self, found: Found, free: npt.NDArray[np.bool_]) -> Fit:
        at, value = found
        if free[self._poi] and at[self._poi] > self._bound:
            self._note(
                f"the best fit of {self.workspace.poi} is above its upper bound in the workspace, {self._bound:g}: the "
                "bound was moved"
            )
        if free[self._poi] and at[self._poi] >= self._high[self._poi] * (1 - _NEAR):
            raise FitError(f"{self.workspace.where}: the best fit of {self.workspace.poi} lies above {at[self._poi]:g}")
        distance = np.minimum(at - self._low, self._high - at) / (self._high - self._low)
        near = free & (distance < _NEAR)
        near[self._poi] = False
        values = dict(zip(self._names, at.tolist(), strict=True))
        return Fit(values, value, 2 * value, (), tuple(self._names[i] for i in np.flatnonzero(near)))

    def objective(self, data: Array, at: Mapping[str, float]) -> float:
        """Return -2 log L at given parameters, relative to the saturated model."""
        return 2 * WorkspaceLikelihood(self.likelihood, data)(np.array([at[name] for name in self._names]))

    def expected(self, at: Mapping[str, float], **other: float) -> Array:
        """Return expected main and auxiliary data at given parameters, some of them replaced."""
        values = {**at, **other}
        return self.likelihood.expected(np.array([values[name] for name in self._names]))

    def start(self) -> dict[str, float]:
        """Return the start values of the workspace."""
        return dict(zip(self._names, self.likelihood.start.tolist(), strict=True))

    def _note(self, text: str) -> None:
        """Keep one note of each kind."""
        if text[:20] not in {note[:20] for note in self.notes}:
            self.notes.append(text)


def _check_against_pyhf(workspace: Workspace, likelihood: HistFactory) -> None:
    """Compare expected events with those of pyhf, with all parameters a little off their start values."""
    at = likelihood.start + 0.3 * np.where(likelihood.start == 0, 1.0, 0.1 * likelihood.start)
    at = np.clip(at, likelihood.low, likelihood.high)
    with using("numpy"):
        reference = np.asarray(workspace.model.expected_data(at), dtype=np.float64)
    found = likelihood.expected(at)
    if not np.allclose(found, reference, rtol=_AGREEMENT, atol=1e-9):
        worst = int(np.argmax(np.abs(found - reference)))
        raise FitError(
            f"{workspace.where}: expected events are not those of pyhf: {found[worst]:g} and {reference[worst]:g} in "
            f"bin {worst + 1}; please report this workspace"
        )
