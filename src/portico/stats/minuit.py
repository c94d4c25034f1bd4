"""The set-up of iminuit for likelihoods with gradients, in one place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from portico.stats.shapes import Array

if TYPE_CHECKING:
    from iminuit import Minuit

__all__ = ["converges", "prepared"]

_TOLERANCE: Final = 0.01  # an estimated distance to the minimum of 1e-5 in -log L
_CALLS: Final = 20000


def prepared(
    minus_log: Callable[[Array], float], gradient: Callable[[Array], Array], start: Array, *, names: Sequence[str],
    bounds: tuple[Array, Array], steps: Array, free: npt.NDArray[np.bool_],
) -> Minuit:  # fmt: skip
    """Return iminuit for -log L, of which it sees the difference to the start.

    Parameters
    ----------
    minus_log, gradient : callable
    start : array of shape (n,)
    names : sequence of str
    bounds : (array, array)
        Lower and upper ones.
    steps : array of shape (n,)
    free : array of bool of shape (n,)
    """
    from iminuit import Minuit

    first = minus_log(start)
    offset = first if math.isfinite(first) else 0.0  # small numbers have precise differences
    minuit = Minuit(lambda at: minus_log(at) - offset, start, grad=gradient, name=tuple(names))
    minuit.errordef, minuit.strategy, minuit.tol = Minuit.LIKELIHOOD, 0, _TOLERANCE
    minuit.print_level = -1  # at 0 Minuit prints warnings, which are handled here, to the output of the program
    for i, name in enumerate(names):
        minuit.limits[name] = (bounds[0][i], bounds[1][i])
        minuit.errors[name] = steps[i]
        minuit.fixed[name] = not free[i]
    return minuit


def converges(minuit: Minuit) -> bool:
    """Minimise, with more and more care; whether a minimum is found."""
    if minuit.nfit == 0:
        return True
    for strategy in (0, 1, 2):
        minuit.strategy = strategy
        minuit.migrad(ncall=_CALLS)
        if minuit.valid:
            return True
    return False
