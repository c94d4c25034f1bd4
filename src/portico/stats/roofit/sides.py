"""The other sides of nuisance parameters that bend the events of a model of RooFit: see `portico.stats.minima`.

Runs in the process that holds the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from portico.stats.minima import Found, bending, lowest
from portico.stats.shapes import Array

__all__ = ["Sides", "bent"]

_SEEN: Final = (-3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)  # where -log L is seen beside its parabola
_APART: Final = 0.5  # of those from the minimum
_STEP: Final = 0.1  # of the curvature at the minimum
_PARABOLIC: Final = (0.8, 1.25)  # of the parabola

#: Center, width below and width above of the constraint of each parameter that has one.
Constraints = Mapping[str, Sequence[float]]


def bent(events: Callable[[Mapping[str, float]], Array], start: Mapping[str, float], of: Constraints) -> list[str]:
    """Return the parameters in which a likelihood may have a minimum on each side of the center of their constraint.

    Parameters
    ----------
    events : callable
        Expected events in all bins.
    start : mapping of str to float
    of : mapping
        The parameters to look at.
    """
    names = list(of)
    if not names:
        return []
    none = events(start)
    sides = [
        [events({**start, name: of[name][0] + sign * of[name][at]}) for name in names] for sign, at in ((-1, 1), (1, 2))
    ]
    down, up = (np.stack(side, axis=1) for side in sides)
    found = bending(0.5 * (up - down), up + down - 2 * none[:, None], none)
    return [name for name, bends in zip(names, found, strict=True) if bends]


class Sides:
    """Fits from the other sides of some parameters.

    Parameters
    ----------
    names : sequence of str
        All parameters.
    sided : mapping
        Constraints of those in which the likelihood may have several minima.
    minus_log : callable
        -log L at values of all parameters.
    """

    def __init__(
        self, names: Sequence[str], sided: Constraints, minus_log: Callable[[Mapping[str, float]], float]
    ) -> None:
        self._names, self._minus_log = list(names), minus_log
        self._sided = [self._names.index(name) for name in sided]
        self._center, self._width = np.zeros(len(names)), np.ones(len(names))
        for i, (center, down, up) in zip(self._sided, sided.values(), strict=True):
            self._center[i], self._width[i] = center, 0.5 * (down + up)

    def visit(
        self, best: Mapping[str, float], fixed: Mapping[str, float],
        fit: Callable[[Mapping[str, float], Mapping[str, float]], tuple[Mapping[str, float], float] | None],
    ) -> None:  # fmt: skip
        """Fit from other sides than that of a first minimum, until that leads no lower.

        Parameters
        ----------
        best : mapping of str to float
            The first minimum.
        fixed : mapping of str to float
        fit : callable
            Fits from a start, with what is held; returns parameters and -log L, or None where it does not converge.
        """

        def local(start: Array, loose: npt.NDArray[np.bool_]) -> Found | None:
            at = self._values(start)
            found = fit(at, {name: at[name] for i, name in enumerate(self._names) if not loose[i]})
            return None if found is None else (self._scaled(found[0]), found[1])

        free = np.array([name not in fixed for name in self._names])
        sided = [i for i in self._sided if free[i]]
        lowest(local, [self._scaled(best)], free, sided, lambda of: [i for i in sided if self._leaves(of, i)])

    def _values(self, scaled: Array) -> dict[str, float]:
        return dict(zip(self._names, (self._center + self._width * scaled).tolist(), strict=True))

    def _scaled(self, values: Mapping[str, float]) -> Array:
        return (np.array([values[name] for name in self._names]) - self._center) / self._width

    def _leaves(self, found: Found, i: int) -> bool:
        """Whether -log L is not a parabola along a parameter, with the others where they are."""
        at, least = found

        def rise(step: float) -> float:
            there = at.copy()
            there[i] += step
            return self._minus_log(self._values(there)) - least

        curvature = (rise(_STEP) + rise(-_STEP)) / _STEP**2
        if not curvature > 0:
            return True
        for step in (side - float(at[i]) for side in _SEEN):
            if abs(step) >= _APART and not _PARABOLIC[0] < rise(step) / (0.5 * curvature * step**2) < _PARABOLIC[1]:
                return True
        return False
