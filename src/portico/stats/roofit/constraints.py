"""The constraints of the parameters of a model of RooFit. Runs in a process of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from scipy import optimize

from portico import root
from portico.stats.roofit.built import Built

__all__ = ["Constraints", "is_finite"]

_FAR: Final = 10.0  # of the range of a parameter without one, over its value
_SCAN: Final = 200  # points where the minimum of a constraint is looked for


class Constraints:
    """The constraints of parameters that alone have one.

    Parameters
    ----------
    built : Built
    globs : RooArgSet
        Global observables.
    variables : mapping of str to RooRealVar
        All parameters.
    """

    def __init__(self, built: Built, globs: Any, variables: Mapping[str, Any]) -> None:
        self._root, self._built, self._globals, self._variables = root.load(), built, globs, variables

    def _terms(self) -> dict[str, Any]:
        pdf, found = self._built.pdf, dict[str, Any]()
        parameters = self._root.RooArgSet(*self._variables.values())
        terms = list(pdf.getAllConstraints(self._built.data.get(), parameters, False)) + self._built.external
        for term in terms:
            names = [v.GetName() for v in term.getVariables() if v.GetName() in self._variables and not v.isConstant()]
            if len(names) == 1:
                found[names[0]] = term
        return found

    def _global_of(self, term: Any) -> Any:
        inside = [v for v in term.getVariables() if self._globals.find(v.GetName())]
        return inside[0] if len(inside) == 1 else None

    def expected(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return global observables where each constraint has its maximum for parameters that are set."""
        found = {}
        for name, term in self._terms().items():
            glob = self._global_of(term)
            if glob is not None:
                found[str(glob.GetName())] = self._expected(term, name, values[name])
        return found

    def _expected(self, term: Any, name: str, value: float) -> float:
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

    def widths(self) -> dict[str, list[float]]:
        """Return center and widths (down, up) of each constraint, in its parameter."""
        found = {}
        for name, term in self._terms().items():
            variable = self._variables[name]
            before, low, high = variable.getVal(), variable.getMin(), variable.getMax()
            if not is_finite(high - low):
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


def is_finite(value: float) -> bool:
    """Whether a number is not an infinity of RooFit either."""
    return math.isfinite(value) and abs(value) < 1e30


def _minimum(of: Callable[[float], float], low: float, high: float) -> float:
    points = np.linspace(low, high, _SCAN)
    at = int(np.argmin([of(x) for x in points]))
    inside = float(points[max(at - 1, 0)]), float(points[min(at + 1, len(points) - 1)])
    found: Any = optimize.minimize_scalar(of, bounds=inside, method="bounded", options={"xatol": 1e-9 * (high - low)})
    return float(found.x)
