"""Fits of a model of RooFit, in the process that holds it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from portico import root
from portico.errors import FitError, InputError
from portico.stats.exports.roofit import write
from portico.stats.roofit.built import Built
from portico.stats.roofit.constraints import Constraints, is_finite
from portico.stats.roofit.expected import channels_of
from portico.stats.roofit.files import choices
from portico.stats.roofit.sides import Sides, bent
from portico.stats.roofit.throwing import Thrower
from portico.stats.shapes import Array

__all__ = ["Engine"]

_TOLERANCE: Final = 0.05  # of Minuit: an estimated distance to the minimum of 1e-4 in -2 log L
_NEAR: Final = 1e-4  # of a range, from a bound
_HIGH: Final = 0.9  # of the range of the parameter of interest, from where it is extended
_WIDER, _OFTEN = 10.0, 8
_RISE: Final = 1e-3  # of -log L: a minimum is not higher than where the fit begins
_ENDLESS: Final = 1e12  # a bound that is none: Minuit loses all digits in such a range

_Json = dict[str, Any]


class Engine:
    """Fits of one model to its data, to its Asimov data, and to toys.

    Parameters
    ----------
    built : Built
    """

    def __init__(self, built: Built) -> None:
        self._root, self.built = root.load(), built
        if several := choices(built.pdf):
            raise InputError(f"'{several}' is a RooMultiPdf, a choice of shapes, which is not read here")
        space = built.space
        self._globals = self._root.RooArgSet(*[space.var(name) for name in built.globals if space.var(name)])
        every = built.pdf.getParameters(built.data.get())
        every.remove(self._globals, True, True)
        self._variables = {v.GetName(): v for v in every if v.InheritsFrom("RooRealVar")}
        for pdf in built.external:
            self._variables |= {
                v.GetName(): v for v in pdf.getVariables()
                if v.InheritsFrom("RooRealVar") and not self._globals.find(v.GetName())
            }  # fmt: skip
        if built.poi not in self._variables:
            raise InputError(f"nothing depends on the parameter of interest '{built.poi}'")
        self._poi = self._variables[built.poi]
        self._poi.setConstant(False)
        self._poi.setMin(0.0)
        if not math.isfinite(self._poi.getMax()) or self._poi.getMax() <= 0:
            self._poi.setMax(100.0)
        for variable in self._variables.values():
            if variable.getMax() > _ENDLESS:
                variable.removeMax()
            if variable.getMin() < -_ENDLESS:
                variable.removeMin()
        self._start = {name: v.getVal() for name, v in self._variables.items()}
        self._ranges = {name: (v.getMin(), v.getMax(), v.getError()) for name, v in self._variables.items()}
        self._nominal = {g.GetName(): g.getVal() for g in self._globals}
        self._measured = {"obs": dict(self._nominal)}
        self._data = {"obs": built.data}
        self._nll: dict[str, Any] = {}
        self.channels = channels_of(built)
        self._thrower: Thrower | None = None
        self._constraints = Constraints(built, self._globals, self._variables)
        self._known = self._constraints.widths()
        at = {name: of for name, of in self._known.items() if not self._variables[name].isConstant()}
        self._sided = {name: at[name] for name in bent(self._all_events, self._start, at)}
        self._refresh()

    # what the other process asks for

    def describe(self) -> _Json:
        """Return parameters, channels and notes."""
        return {
            "poi": self.built.poi, "notes": self.built.notes, "class": self.built.pdf.ClassName(),
            "sided": list(self._sided),
            "parameters": [
                {"name": name, "value": v.getVal(), "low": _finite(v.getMin()), "high": _finite(v.getMax()),
                 "constant": bool(v.isConstant()), "constraint": self._known.get(name)}
                for name, v in self._variables.items()
            ],
            "channels": [
                {"name": c.name, "label": c.label, "edges": c.edges.tolist(), "observed": c.observed.tolist(),
                 "signals": c.signals, "summed": c.summed}
                for c in self.channels
            ],
        }  # fmt: skip

    def events(self, values: Mapping[str, float]) -> list[dict[str, list[float]]]:
        """Return the expected events of each channel, by sample."""
        self._set(values)
        return [channel.events() for channel in self.channels]

    def asimov(self, values: Mapping[str, float]) -> None:
        """Make Asimov data, with global observables where each constraint has its maximum for these parameters."""
        self._set(values)
        calculator = self._root.RooStats.AsymptoticCalculator
        observables = self._root.RooArgSet(self.built.data.get())
        self._nll.pop("asimov", None)
        self._data["asimov"] = calculator.GenerateAsimovData(self.built.pdf, observables)
        self._measured["asimov"] = {**self._nominal, **self._constraints.expected(values)}

    def _all_events(self, values: Mapping[str, float]) -> Array:
        return np.concatenate([np.sum(list(of.values()), axis=0) for of in self.events(values)])

    def throw(self, values: Mapping[str, float], seeds: Sequence[int]) -> list[list[float]]:
        """Make a toy, which depends on the parameters and the seeds alone; return its counts in all channels.

        Raises
        ------
        FitError, InputError
            If no toys can be thrown.
        """
        self._refresh()
        self._thrower = self._thrower or Thrower(self.built, self._globals)
        self._set(values)
        self._nll.pop("toy", None)
        self._data["toy"], measured, rows = self._thrower.throw(values, seeds)
        self._measured["toy"] = {**self._nominal, **measured}
        return [channel.counts(*rows[channel.name]).tolist() for channel in self.channels]

    def fit(
        self, data: str, fixed: Mapping[str, float], starts: Sequence[Mapping[str, float]], *, errors: bool,
        fresh: bool = False,
    ) -> _Json:  # fmt: skip
        """Return the lowest minimum of fits from several starts.

        Parameters
        ----------
        data : {"obs", "asimov", "toy"}
        fixed : mapping of str to float
        starts : sequence of mapping of str to float
        errors : bool
        fresh : bool
            Forget what earlier fits have left behind: the same answer whatever they were.

        Raises
        ------
        FitError
            If none converges.
        """
        if fresh:
            self._refresh()
        nll = self._likelihood(data)
        best: _Json | None = None
        for start in starts or [self._start]:
            found = self._extended(nll, fixed, start)
            if found is not None and (best is None or found["nll"] < best["nll"]):
                best = found
        if best is not None and self._sided:
            best = self._on_all_sides(nll, fixed, best)
        if best is None:
            held = ", ".join(f"{name} = {value:g}" for name, value in fixed.items())
            raise FitError(f"the fit{f' with {held}' if held else ''} does not converge with Minuit")
        return self._with_errors(nll, fixed, best) if errors else best

    def write(self, path: str, form: str) -> None:
        """Write the model as ``roofit`` (workspace ``w`` with ModelConfig and data) or ``hs3``."""
        space, built = self.built.space, self.built
        self._set(self._start)
        name = "ModelConfig"
        if not space.obj(name):
            config = self._root.RooStats.ModelConfig(name, space)
            config.SetPdf(built.pdf)
            config.SetParametersOfInterest(self._root.RooArgSet(self._poi))
            free = [v for v in self._variables.values() if not v.isConstant() and v.GetName() != built.poi]
            config.SetNuisanceParameters(self._root.RooArgSet(*free))
            config.SetObservables(self._root.RooArgSet(built.data.get()))
            config.SetGlobalObservables(self._globals)
            if built.external:
                config.SetExternalConstraints(self._root.RooArgSet(*built.external))
            space.Import(config)
        if form == "hs3":
            done = self._root.RooJSONFactoryWSTool(space).exportJSON(path)
        else:
            space.SetName("w")
            done = write(space, None, path)
        if not done:
            raise InputError(f"ROOT did not write {form}")

    # likelihoods

    def _likelihood(self, data: str) -> Any:
        if data not in self._nll:
            fit = self._root.RooFit
            options = [fit.GlobalObservables(self._globals), fit.Offset("initial")]
            if self.built.external:
                options.append(fit.ExternalConstraints(self._root.RooArgSet(*self.built.external)))
            self._set(self._start)
            self._nll[data] = self.built.pdf.createNLL(self._data[data], *options)
        for name, value in self._measured[data].items():
            self._globals.find(name).setVal(value)
        return self._nll[data]

    def _refresh(self) -> None:
        """Set ranges, values and uncertainties, from which Minuit takes its steps, as they were before any fit."""
        for name, variable in self._variables.items():
            low, high, error = self._ranges[name]
            variable.removeRange()
            if math.isfinite(low):
                variable.setMin(low)
            if math.isfinite(high):
                variable.setMax(high)
            variable.setVal(self._start[name])
            variable.setError(error)
            variable.removeAsymError()

    def _set(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            variable = self._variables[name]
            if not variable.getMin() <= value <= variable.getMax():
                (variable.setMin if value < variable.getMin() else variable.setMax)(value)
            variable.setVal(value)

    def _extended(self, nll: Any, fixed: Mapping[str, float], start: Mapping[str, float]) -> _Json | None:
        """Minimise, with a wider range of the parameter of interest if it ends near the upper bound."""
        poi = self.built.poi
        for _ in range(_OFTEN):
            found = self._minimise(nll, fixed, start)
            if found is None or poi in fixed or found["values"][poi] < _HIGH * self._poi.getMax():
                break
            self._poi.setMax(_WIDER * self._poi.getMax())
        return found

    def _on_all_sides(self, nll: Any, fixed: Mapping[str, float], best: _Json) -> _Json:
        """Return the lowest minimum, where the likelihood may have several."""
        made: dict[float, _Json] = {best["nll"]: best}
        held = {name: v.getVal() for name, v in self._variables.items() if v.isConstant()} | dict(fixed)

        def minus_log(values: Mapping[str, float]) -> float:
            self._set(values)
            return float(nll.getVal())

        def fit(start: Mapping[str, float], more: Mapping[str, float]) -> tuple[dict[str, float], float] | None:
            found = self._extended(nll, {**more, **held}, start)
            if found is not None and more.keys() <= held.keys():
                made[found["nll"]] = found
            return None if found is None else (found["values"], found["nll"])

        Sides(list(self._variables), self._sided, minus_log).visit(best["values"], held, fit)
        return made[min(made)]

    def _minimise(self, nll: Any, fixed: Mapping[str, float], start: Mapping[str, float]) -> _Json | None:
        self._set({**self._start, **start, **fixed})
        held = [self._variables[name] for name in fixed if not self._variables[name].isConstant()]
        for variable in held:
            variable.setConstant(True)
        try:
            first = float(nll.getVal())
            first = first if math.isfinite(first) else math.inf
            if all(v.isConstant() for v in self._variables.values()):
                return self._result(nll)
            for strategy in (0, 1, 2):
                minimizer = self._minimizer(nll, strategy)
                if minimizer.minimize("Minuit2", "Migrad") in {0, 1} and nll.getVal() < first + _RISE:
                    return self._result(nll)
        finally:
            for variable in held:
                variable.setConstant(False)
        return None

    def _minimizer(self, nll: Any, strategy: int) -> Any:
        minimizer = self._root.RooMinimizer(nll)
        minimizer.setPrintLevel(-1)
        minimizer.setPrintEvalErrors(-1)
        minimizer.setStrategy(strategy)
        minimizer.setEps(_TOLERANCE)
        return minimizer

    def _result(self, nll: Any) -> _Json:
        values = {name: v.getVal() for name, v in self._variables.items()}
        near = [name for name, v in self._variables.items() if not v.isConstant() and _at_bound(v)]
        return {"values": values, "nll": float(nll.getVal()), "at_limit": near}

    def _with_errors(self, nll: Any, fixed: Mapping[str, float], best: _Json) -> _Json:
        self._set(best["values"])
        bound = [self._variables[name] for name in best["at_limit"]]
        held = [*bound, *(self._variables[name] for name in fixed)]
        held = [variable for variable in held if not variable.isConstant()]
        for variable in held:
            variable.setConstant(True)
        try:
            free = [name for name, v in self._variables.items() if not v.isConstant()]
            if not free:
                return {**best, "free": [], "covariance": []}
            minimizer = self._minimizer(nll, 2)
            minimizer.minimize("Minuit2", "Migrad")
            if minimizer.hesse() != 0:
                raise FitError("the fit converges, but has no uncertainties: Hesse fails")
            result = minimizer.save()
            names = [v.GetName() for v in result.floatParsFinal()]
            matrix = result.covarianceMatrix()
            covariance = [[matrix(i, j) for j in range(len(names))] for i in range(len(names))]
            if result.covQual() < 2:
                raise FitError("the fit converges, but has no uncertainties: its covariance is not positive definite")
            values = {name: v.getVal() for name, v in self._variables.items()}
            return {**best, "values": values, "free": names, "covariance": covariance}
        finally:
            for variable in held:
                variable.setConstant(False)


def _at_bound(variable: Any) -> bool:
    low, high, value = variable.getMin(), variable.getMax(), variable.getVal()
    return _finite(high - low) is not None and min(value - low, high - value) < _NEAR * (high - low)


def _finite(value: float) -> float | None:
    return float(value) if is_finite(value) else None
