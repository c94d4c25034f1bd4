"""Fits of a model of RooFit, in the process that holds it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from scipy import optimize

from portico import root
from portico.errors import FitError, InputError
from portico.stats.exports.roofit import write
from portico.stats.roofit.built import Built
from portico.stats.roofit.expected import channels_of
from portico.stats.roofit.files import choices

__all__ = ["Engine"]

_TOLERANCE: Final = 0.05  # of Minuit: an estimated distance to the minimum of 1e-4 in -2 log L
_NEAR: Final = 1e-4  # of a range, from a bound
_HIGH: Final = 0.9  # of the range of the parameter of interest, from where it is extended
_WIDER, _OFTEN = 10.0, 8
_RISE: Final = 1e-3  # of -log L: a minimum is not higher than where the fit begins
_ENDLESS: Final = 1e12  # a bound that is none: Minuit loses all digits in such a range
_FAR: Final = 10.0  # of the range of a parameter without one, over its value
_SCAN: Final = 200  # points where the minimum of a constraint is looked for

_Json = dict[str, Any]


class Engine:
    """Fits of one model to its data, and to its Asimov data.

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
        self._nominal = {g.GetName(): g.getVal() for g in self._globals}
        self._measured = {"obs": dict(self._nominal)}
        self._data = {"obs": built.data}
        self._nll: dict[str, Any] = {}
        self.channels = channels_of(built)

    # what the other process asks for

    def describe(self) -> _Json:
        """Return parameters, channels and notes."""
        constraints = self._constraints()
        return {
            "poi": self.built.poi, "notes": self.built.notes, "class": self.built.pdf.ClassName(),
            "parameters": [
                {"name": name, "value": v.getVal(), "low": _finite(v.getMin()), "high": _finite(v.getMax()),
                 "constant": bool(v.isConstant()), "constraint": constraints.get(name)}
                for name, v in self._variables.items()
            ],
            "channels": [
                {"name": c.name, "label": c.label, "edges": c.edges.tolist(), "observed": c.observed.tolist(),
                 "signals": c.signals}
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
        measured = dict(self._nominal)
        for name, constraint in self._terms().items():
            glob = self._global_of(constraint)
            if glob is not None:
                measured[glob.GetName()] = self._expected_global(constraint, name, values[name])
        self._measured["asimov"] = measured

    def fit(self, data: str, fixed: Mapping[str, float], starts: Sequence[Mapping[str, float]], errors: bool) -> _Json:
        """Return the lowest minimum of fits from several starts.

        Raises
        ------
        FitError
            If none converges.
        """
        nll = self._likelihood(data)
        best: _Json | None = None
        for start in starts or [self._start]:
            for _ in range(_OFTEN):
                found = self._minimise(nll, fixed, start)
                poi = self.built.poi
                if found is None or poi in fixed or found["values"][poi] < _HIGH * self._poi.getMax():
                    break
                self._poi.setMax(_WIDER * self._poi.getMax())
            if found is not None and (best is None or found["nll"] < best["nll"]):
                best = found
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

    def _set(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            variable = self._variables[name]
            if not variable.getMin() <= value <= variable.getMax():
                (variable.setMin if value < variable.getMin() else variable.setMax)(value)
            variable.setVal(value)

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

    # constraints

    def _terms(self) -> dict[str, Any]:
        """Return the constraint of each parameter that alone has one."""
        pdf, found = self.built.pdf, dict[str, Any]()
        parameters = self._root.RooArgSet(*self._variables.values())
        terms = list(pdf.getAllConstraints(self.built.data.get(), parameters, False)) + self.built.external
        for term in terms:
            names = [v.GetName() for v in term.getVariables() if v.GetName() in self._variables and not v.isConstant()]
            if len(names) == 1:
                found[names[0]] = term
        return found

    def _global_of(self, term: Any) -> Any:
        inside = [v for v in term.getVariables() if self._globals.find(v.GetName())]
        return inside[0] if len(inside) == 1 else None

    def _expected_global(self, term: Any, name: str, value: float) -> float:
        """Return the global observable for which a constraint has its maximum at a value of its parameter."""
        glob = self._global_of(term)
        if term.InheritsFrom("RooGaussian") or term.InheritsFrom("RooBifurGauss"):
            return value if any(s.GetName() == name for s in term.servers()) else self._mean(term, glob)
        if term.InheritsFrom("RooPoisson"):
            return float(term.getMean().getVal())
        before = glob.getVal()

        def minus_log(at: float) -> float:
            glob.setVal(at)
            density = float(term.getVal(self._root.RooArgSet(glob)))
            return -math.log(density) if density > 0 else math.inf

        found = _minimum(minus_log, glob.getMin(), glob.getMax())
        glob.setVal(before)
        return found

    @staticmethod
    def _mean(term: Any, glob: Any) -> float:
        """Return the value of the other argument of a Gaussian: a function of the parameter."""
        sides = [of for of in (term.getX(), term.getMean()) if of.GetName() != glob.GetName()]
        return float(sides[0].getVal())

    def _constraints(self) -> dict[str, list[float]]:
        """Return center and widths (down, up) of each constraint, in its parameter."""
        found = {}
        for name, term in self._terms().items():
            variable = self._variables[name]
            before, low, high = variable.getVal(), variable.getMin(), variable.getMax()
            if _finite(high - low) is None:
                low, high = before - _FAR * max(abs(before), 1.0), before + _FAR * max(abs(before), 1.0)
            glob = self._global_of(term)
            over = self._root.RooArgSet(glob) if glob is not None else self._root.RooArgSet(variable)

            def minus_log(at: float, v: Any = variable, t: Any = term, o: Any = over) -> float:
                v.setVal(at)
                density = float(t.getVal(o))
                return -math.log(density) if density > 0 else math.inf

            center = _minimum(minus_log, low, high)
            step = 1e-3 * (high - low)
            least, widths = minus_log(center), list[float]()
            for side in (-1, 1):
                at = center + side * step
                rise = minus_log(at) - least if low <= at <= high else math.nan
                widths.append(step / math.sqrt(2 * rise) if rise > 0 else math.nan)
            variable.setVal(before)
            if not all(map(math.isnan, widths)):
                known = [w for w in widths if not math.isnan(w)]
                found[name] = [center, *(known[0] if math.isnan(w) else w for w in widths)]
        return found


def _minimum(of: Any, low: float, high: float) -> float:
    points = np.linspace(low, high, _SCAN)
    at = int(np.argmin([of(x) for x in points]))
    inside = float(points[max(at - 1, 0)]), float(points[min(at + 1, len(points) - 1)])
    found: Any = optimize.minimize_scalar(of, bounds=inside, method="bounded", options={"xatol": 1e-9 * (high - low)})
    return float(found.x)


def _at_bound(variable: Any) -> bool:
    low, high, value = variable.getMin(), variable.getMax(), variable.getVal()
    return _finite(high - low) is not None and min(value - low, high - value) < _NEAR * (high - low)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) and abs(value) < 1e30 else None
