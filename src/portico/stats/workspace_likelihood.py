"""The likelihood of a HistFactory workspace for any data, with its derivatives, in numpy.

-log L = sum over bins of [expected - n + n log(n/expected)] + sum over constraints, each less its value at the
saturated model: twice the value is the likelihood ratio to that model (Baker and Cousins, Nucl. Instrum. Meth. 221
(1984) 437), which loses no digits where bins hold 10^8 events. Where a rate is not above 0 the logarithm goes on along
its tangent, and a bin without events expects none. The numbers are those of pyhf, which the tests compare them with.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from scipy import special

from portico.stats.rates import Rates
from portico.stats.shapes import Array

__all__ = ["HistFactory", "WorkspaceLikelihood"]

_SMALLEST: Final = 1e-9  # events in a bin; below, the logarithm is continued
_MOST: Final = 0.9  # of what a constraint knows, which bends may take away, whatever bins know
_LEAST: Final = 1e-9  # of the information, below which a matrix counts as positive


class HistFactory:
    """Rates and constraints of a model of pyhf.

    Parameters
    ----------
    model : pyhf.Model
    channels : sequence of mapping
        Those of the specification.

    Attributes
    ----------
    names : list of str
    start, low, high : array of shape (n,)
        Of the parameters.
    fixed : array of bool of shape (n,)
    normal : array of bool of shape (m,)
        Which of the auxiliary measurements are normal; the others are counts.
    widths : array of shape (m,)
        Of those; 0 for counts.
    """

    def __init__(self, model: Any, channels: Any) -> None:
        config = model.config
        ordered = {channel["name"]: channel for channel in channels}
        self.names: list[str] = list(config.par_names)
        self.start = np.array(config.suggested_init(), dtype=np.float64)
        self.low, self.high = np.array(config.suggested_bounds(), dtype=np.float64).reshape(-1, 2).T
        self.fixed = np.array(config.suggested_fixed(), dtype=np.bool_)
        slices = {name: config.par_slice(name) for name in config.par_order}
        self.rates = Rates([ordered[name] for name in config.channels], slices, len(self.names))
        parameters, normal, widths, scales = [], [], [], []
        for name in config.auxdata_order:
            of, number = config.param_set(name), config.param_set(name).n_parameters
            parameters += list(range(slices[name].start, slices[name].start + number))
            is_normal = of.pdf_type == "normal"
            normal += [is_normal] * number
            widths += [float(width) for width in of.width()] if is_normal else [0.0] * number
            scales += [1.0] * number if is_normal else [float(factor) for factor in of.factors]
        self.constrained = np.array(parameters, dtype=np.intp)
        self.normal, self.widths, self.scales = np.array(normal, dtype=np.bool_), np.array(widths), np.array(scales)

    def expected(self, at: Array) -> Array:
        """Return the expected events, and behind them the auxiliary data."""
        return np.concatenate([self.rates.expected(at), at[self.constrained] * self.scales])


class WorkspaceLikelihood:
    """-log L as a function of all parameters.

    Parameters
    ----------
    model : HistFactory
    data : array
        Main data and auxiliary data, as pyhf orders them.
    """

    def __init__(self, model: HistFactory, data: Array) -> None:
        self.model = model
        self._n, auxiliary = data[: model.rates.bins], data[model.rates.bins :]
        self._normal, self._counted = (model.constrained[of] for of in (model.normal, ~model.normal))
        self._centers, self._widths = auxiliary[model.normal], model.widths[model.normal]
        self._counts, self._scales = auxiliary[~model.normal], model.scales[~model.normal]

    def __call__(self, at: Array) -> float:
        """Return -log L."""
        pulls = (at[self._normal] - self._centers) / self._widths
        value = _poisson(self.model.rates.expected(at), self._n) + 0.5 * float(pulls @ pulls)
        return value + _poisson(at[self._counted] * self._scales, self._counts)

    def curvature(self, at: Array) -> tuple[Array, Array]:
        """Return the derivatives of -log L, and the information in place of the second ones.

        Returns
        -------
        gradient : array of shape (n,)
        information : array of shape (n, n)
            With the second derivatives of the expected events by each parameter, as long as there is a minimum then.
        """
        rates, changes, bends = self.model.rates.derivatives(at)
        slope_of_bins, weights = _slopes(rates, self._n)
        gradient, information = changes.T @ slope_of_bins, (changes.T * weights) @ changes
        gradient[self._normal] += (at[self._normal] - self._centers) / self._widths**2
        information[self._normal, self._normal] += 1 / self._widths**2
        slope, weights = _slopes(at[self._counted] * self._scales, self._counts)
        gradient[self._counted] += self._scales * slope
        information[self._counted, self._counted] += self._scales**2 * weights
        known = np.zeros(len(at))
        known[self._normal] += 1 / self._widths**2
        known[self._counted] += self._scales**2 * weights
        return gradient, _bent(information, slope_of_bins @ bends, known)


def _bent(information: Array, bends: Array, constraints: Array) -> Array:
    """Add second derivatives to the diagonal, unless that leaves no minimum; constraints are what they alone know."""
    if not bends.any():
        return information
    bent, known = information.copy(), np.diag(information) > 0
    bent[np.diag_indices_from(bent)] += bends
    if np.all(bends >= -_MOST * constraints):  # what the bins know is never negative
        return bent
    size = np.sqrt(np.where(known, np.diag(information), 1.0))
    try:
        np.linalg.cholesky((bent / np.outer(size, size))[np.ix_(known, known)] + _LEAST * np.eye(int(known.sum())))
    except np.linalg.LinAlgError:
        return information
    return bent


def _poisson(expected: Array, n: Array) -> float:
    """Return the sum of expected - n + n log(n/expected), precise where they are close."""
    safe = np.maximum(expected, _SMALLEST)
    excess = safe - n
    total = float(np.sum(excess - special.xlog1py(n, excess / np.maximum(n, _SMALLEST))))
    below = expected < _SMALLEST
    if below.any():
        total += float(np.sum(((expected - _SMALLEST) * np.where(n > 0, 1 - n / _SMALLEST, 0.0))[below]))
    return total


def _slopes(expected: Array, n: Array) -> tuple[Array, Array]:
    """Return the derivative by the expected events, and the weight of their squared changes."""
    safe = np.maximum(expected, _SMALLEST)
    slope = np.where((n > 0) | (expected > 0), 1 - n / safe, 0.0)
    return slope, 1 / safe
