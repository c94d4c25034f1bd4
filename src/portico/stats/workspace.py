"""Profile likelihoods and toys of pyhf (HistFactory) workspaces, for the formulae of `portico.stats.asymptotic`.

Yields are interpolated as ROOT's HistFactory and the command line of pyhf do it: ``normsys`` with code 4, ``histosys``
with code 4p. The backend of pyhf is global; here it is set for each fit and restored.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final

import numpy as np

from portico.errors import FitError, InputError, MissingExtra
from portico.stats.fit import Fit
from portico.stats.shapes import Array

__all__ = ["BACKENDS", "INTERPOLATION", "PyhfProfiles", "Workspace", "WorkspaceFitter", "using"]

#: What computes and minimises: numpy with scipy, jax with scipy and exact gradients, numpy with iminuit.
BACKENDS: Final = ("numpy", "jax", "minuit")
#: Of nuisance parameters between their variations: the settings of `pyhf.Model`.
INTERPOLATION: Final = {"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}
_NEAR: Final = 1e-4  # of the range, from a bound
_WIDER: Final = 10.0  # by which the bound of the parameter of interest grows
_GROWTHS: Final = 8
_SLACK: Final = 2e-3  # of -2 log L, which a conditional fit may be better than the free one
_TOLERANCE: Final = 0.01  # of iminuit: an estimated distance to the minimum of 2e-5 in -2 log L
_DOUBLINGS: Final = 40


@dataclass(frozen=True)
class Workspace:
    """A checked workspace of pyhf with one of its measurements.

    Attributes
    ----------
    where : str
        Its file, for messages.
    spec : mapping
        The workspace, patches applied.
    measurement : str
    poi : str
        The parameter of interest, a normfactor.
    parameters : tuple of dict
        Settings of parameters by the measurement.
    """

    where: str
    spec: Mapping[str, Any]
    measurement: str
    poi: str
    parameters: tuple[dict[str, Any], ...] = ()

    @cached_property
    def model(self) -> Any:
        """The `pyhf.Model`.

        Raises
        ------
        InputError
            If pyhf cannot build it.
        """
        import pyhf

        spec = {"channels": self.spec["channels"], "parameters": list(self.parameters)}
        try:
            with using("numpy"):  # its schema is checked by us: the library's own check warns of its age
                model = pyhf.Model(spec, poi_name=self.poi, validate=False, modifier_settings=INTERPOLATION)
                expected = model.expected_data(model.config.suggested_init())
        except Exception as error:  # pyhf has many of its own, and raises KeyError and IndexError as well
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise InputError(f"{self.where}: pyhf cannot build a model from this workspace: {reason}") from error
        bounds = model.config.suggested_bounds()
        for name, start, (low, high) in zip(model.config.par_names, model.config.suggested_init(), bounds, strict=True):
            if not low <= start <= high:
                raise InputError(f"{self.where}: parameter '{name}' starts at {start:g}, out of [{low:g}, {high:g}]")
        if not np.all(np.isfinite(expected)):
            raise InputError(f"{self.where}: the expected events are not finite at the start values of the parameters")
        return model

    @cached_property
    def counts(self) -> Array:
        """Observed events in the bins of all channels, in the order of the model."""
        observed = {entry["name"]: entry["data"] for entry in self.spec["observations"]}
        return np.array([n for name in self.model.config.channels for n in observed[name]], dtype=np.float64)


@contextmanager
def using(backend: str) -> Iterator[None]:
    """Set the backend of pyhf, and restore the previous one.

    All models of pyhf follow a change, which takes jax milliseconds: put it around many fits, too.

    Raises
    ------
    MissingExtra
        If jax is asked for and not installed.
    """
    import pyhf

    if backend == "jax":
        try:
            import jax  # noqa: F401 (whether it is there)
        except ImportError as error:
            raise MissingExtra("jax", "the jax backend of pyhf") from error
    before, logger = pyhf.get_backend(), logging.getLogger("pyhf")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)  # pyhf logs each failed fit; they are handled here
    try:
        if backend == "minuit":
            pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=_TOLERANCE))
        else:
            pyhf.set_backend(backend, pyhf.optimize.scipy_optimizer())
        with np.errstate(all="ignore"):
            yield
    finally:
        pyhf.set_backend(*before)
        logger.setLevel(level)


class WorkspaceFitter:
    """Fits of a workspace to any data, with the parameter of interest free above 0 or fixed.

    Parameters
    ----------
    workspace : Workspace
    backend : {"numpy", "jax", "minuit"}
        Where a fit with scipy fails, iminuit tries.

    Attributes
    ----------
    notes : list of str
        Warnings about the fits so far.
    """

    def __init__(self, workspace: Workspace, backend: str = "numpy") -> None:
        if backend not in BACKENDS:
            raise ValueError(f"no backend {backend!r}; valid: {', '.join(BACKENDS)}")
        self.workspace, self.model, self.backend = workspace, workspace.model, backend
        self.notes: list[str] = []
        config = self.model.config
        self._poi, self._names = config.poi_index, list(config.par_names)
        self._highest = float(config.suggested_bounds()[self._poi][1])

    def fit(self, data: Array, mu: float | None = None, start: Mapping[str, float] | None = None) -> Fit:
        """Maximise the likelihood.

        Parameters
        ----------
        data : array
            Main data and auxiliary data, as pyhf orders them.
        mu : float, optional
            Where the parameter of interest is fixed.
        start : mapping of str to float, optional
            Where the fit begins.

        Raises
        ------
        FitError
            If it does not converge.
        """
        if mu is not None:
            return self._fit(data, mu, start, max(self._highest, mu))
        highest = self._highest
        for _ in range(_GROWTHS):
            found = self._fit(data, None, start, highest)
            if found.values[self.workspace.poi] < highest * (1 - _NEAR):
                return found
            self._note(
                f"the best fit of {self.workspace.poi} is above its upper bound in the workspace, "
                f"{self._highest:g}: the bound was moved"
            )
            highest *= _WIDER
        raise FitError(f"{self.workspace.where}: the best fit of {self.workspace.poi} lies above {highest / _WIDER:g}")

    def _fit(self, data: Array, mu: float | None, start: Mapping[str, float] | None, highest: float) -> Fit:
        import pyhf

        config = self.model.config
        bounds = [(float(low), float(high)) for low, high in config.suggested_bounds()]
        bounds[self._poi] = (0.0, highest)
        first = config.suggested_init() if start is None else [start[name] for name in self._names]
        fixed = list(config.suggested_fixed())
        if mu is not None:
            first[self._poi], fixed[self._poi] = mu, True
        first = [min(max(float(x), low), high) for x, (low, high) in zip(first, bounds, strict=True)]
        reason = ""
        for backend in dict.fromkeys((self.backend, "minuit")):
            try:
                with using(backend):
                    tensor = pyhf.tensorlib.astensor(data)
                    found, value = pyhf.infer.mle.fit(
                        tensor, self.model, first, bounds, fixed, return_fitted_val=True
                    )  # fmt: skip
                    values, objective = np.asarray(found, dtype=np.float64).ravel(), float(np.asarray(value).ravel()[0])
            except (pyhf.exceptions.FailedMinimization, ValueError, np.linalg.LinAlgError) as error:
                reason = " ".join(str(error).split())[:200]
                continue
            if math.isfinite(objective) and np.all(np.isfinite(values)):
                if backend != self.backend:
                    self._note(f"scipy failed in some fits (first with: {reason}); iminuit found their minima")
                return self._result(values, objective, bounds, fixed)
            reason = "the likelihood is no number"
        held = f" with {self.workspace.poi} = {mu:g}" if mu is not None else ""
        raise FitError(f"{self.workspace.where}: the fit{held} does not converge: {reason}")

    def _result(self, values: Array, objective: float, bounds: Sequence[tuple[float, float]], fixed: list[bool]) -> Fit:
        at_limit = tuple(
            name
            for i, (name, value, (low, high)) in enumerate(zip(self._names, values, bounds, strict=True))
            if not fixed[i] and i != self._poi and min(value - low, high - value) < _NEAR * (high - low)
        )
        named = {name: float(value) for name, value in zip(self._names, values, strict=True)}
        return Fit(named, objective / 2, objective, (), at_limit)

    def objective(self, data: Array, at: Mapping[str, float]) -> float:
        """Return -2 log L at given parameters."""
        import pyhf

        with using(self.backend):
            pars, observed = (pyhf.tensorlib.astensor(part) for part in ([at[name] for name in self._names], data))
            return float(np.asarray(pyhf.infer.mle.twice_nll(pars, observed, self.model)).ravel()[0])

    def expected(self, at: Mapping[str, float], **other: float) -> Array:
        """Return expected main and auxiliary data at given parameters, some of them replaced."""
        import pyhf

        values = {**at, **other}
        with using(self.backend):
            pars = pyhf.tensorlib.astensor([values[name] for name in self._names])
            return np.asarray(self.model.expected_data(pars), dtype=np.float64)

    def start(self) -> dict[str, float]:
        """Return the start values of the workspace."""
        return dict(zip(self._names, map(float, self.model.config.suggested_init()), strict=True))

    def _note(self, text: str) -> None:
        """Keep one note of each kind."""
        if text[:20] not in {note[:20] for note in self.notes}:
            self.notes.append(text)


class PyhfProfiles:
    """Profiles of a workspace: see `portico.stats.asymptotic.Profiles`.

    Parameters
    ----------
    workspace : Workspace
    backend : {"numpy", "jax", "minuit"}
    blind : bool
        Do not use the data: expected limits are those of the start values of all nuisance parameters.

    Attributes
    ----------
    background : Fit
        With a strength of 0, to the data; start values while blinded.
    best : Fit, optional
        With a free strength, not negative.
    fitter : WorkspaceFitter

    Raises
    ------
    FitError
        If the fits to the data do not converge.
    """

    def __init__(self, workspace: Workspace, *, backend: str = "numpy", blind: bool = False) -> None:
        self.workspace, self.fitter = workspace, WorkspaceFitter(workspace, backend)
        self.data: Array | None = None
        self.best: Fit | None = None
        if blind:
            self.background = Fit({**self.fitter.start(), workspace.poi: 0.0}, 0.0, 0.0, ())
        else:
            self.data = np.concatenate([workspace.counts, workspace.model.config.auxdata])
            self.background = self.fitter.fit(self.data, 0.0)
            self.best = self.fitter.fit(self.data)
            if self.best.objective > self.background.objective:  # a bound: the minimum is at 0
                again = self.fitter.fit(self.data, start=self.background.values)
                self.best = min(self.background, again, key=lambda fit: fit.objective)
        self.asimov = self.fitter.expected(self.background.values)
        # The likelihood of Asimov data is largest at the parameters that they are made of: no fit is needed.
        self._free_asimov = self.fitter.objective(self.asimov, self.background.values)
        self._starts: dict[str, Mapping[str, float]] = {}
        self.poi, self.statistics = workspace.poi, cache(self._find)

    @property
    def observed(self) -> bool:
        """Whether the data are used."""
        return self.best is not None

    def _find(self, mu: float) -> tuple[float, float]:
        of_asimov = max(self._at("asimov", self.asimov, mu).objective - self._free_asimov, 0.0)
        if self.best is None or self.data is None:
            return of_asimov, of_asimov
        if self.best.values[self.workspace.poi] >= mu:
            return 0.0, of_asimov
        gain = self._at("data", self.data, mu).objective - self.best.objective
        if gain < -_SLACK:
            held = f"{self.workspace.where}: the fit with {self.workspace.poi} = {mu:g}"
            raise FitError(f"{held} is better than the best fit, which was no minimum; try another backend: minuit")
        return max(gain, 0.0), of_asimov

    def _at(self, which: str, data: Array, mu: float) -> Fit:
        """Fit with a fixed strength, from where the last such fit ended."""
        found = self.fitter.fit(data, mu, self._starts.get(which, self.background.values))
        self._starts[which] = found.values
        return found

    def events(self) -> dict[str, tuple[Array, Array]]:
        """Return expected signal for a strength of 1 and expected background in the bins of each channel."""
        at, poi, bins = self.background.values, self.workspace.poi, len(self.workspace.counts)
        background = self.fitter.expected(at)[:bins]
        signal = self.fitter.expected(at, **{poi: 1.0})[:bins] - background
        slices = self.fitter.model.config.channel_slices
        return {name: (signal[part], background[part]) for name, part in slices.items()}
