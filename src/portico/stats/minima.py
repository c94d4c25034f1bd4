"""The lowest of several minima: local fits from several starts, and from the other side of parameters that bend.

A shape whose variations up and down lead to the same side, or differ much in size, gives a likelihood with a minimum on
each side of 0 of its nuisance parameter. A fit that begins near one of them never sees the other. Of hundreds of
parameters dozens may bend a little: where -log L rises like a parabola on all sides there is no other minimum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, product
from typing import Final

import numpy as np
import numpy.typing as npt

from portico.stats.scoring import Curved
from portico.stats.shapes import Array

__all__ = ["Found", "bending", "lowest", "softened"]

_RESIDUAL: Final = 5.0  # standard deviations by which a count may be off
_STIFF: Final = 0.25  # of what the data know of a parameter, since they know less where others move with it
_SIDES: Final = (-1.5, 1.5)  # where a fit begins on the other side, in standard deviations
_NEAR: Final = 0.75  # what is no other side
_GAIN: Final = 1e-5  # of -log L
_TOGETHER: Final = 3  # parameters of which all sides are tried together
_IN_PAIRS: Final = 8  # of which those of each two
_SEEN: Final = (-3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)  # where -log L is seen beside its parabola
_APART: Final = 0.5  # of those from the minimum
_PARABOLIC: Final = (0.8, 2.0)  # of the parabola; no lower minimum was missed in 3,000 fits
_RIDGE: Final = 1e-9  # of the information, where a parameter does nothing
_ROUNDS: Final = 6

#: A minimum and -log L there.
Found = tuple[Array, float]
#: Fits from a start, with some parameters free; None where it does not converge.
Local = Callable[[Array, npt.NDArray[np.bool_]], Found | None]
#: Of the parameters with two sides those whose other side may be lower than a minimum: see `softened`.
Softened = Callable[[Found], Sequence[int]]


def bending(slopes: Array, bends: Array, events: Array) -> npt.NDArray[np.bool_]:
    """Tell in which nuisance parameters a likelihood may have two minima.

    The second derivative of -log L is 1 + sum of slope^2/events - sum of (n - events) bend/events: it may be negative
    where a residual of five standard deviations makes up for what the data and the constraint know.

    Parameters
    ----------
    slopes, bends : array of shape (bins, n)
        Half the sum, and the difference, of what one standard deviation up and down adds to the events.
    events : array of shape (bins,)
    """
    width = np.maximum(events, 1.0)[:, None]
    known = 1 + _STIFF * np.sum(slopes**2 / width, axis=0)
    found: npt.NDArray[np.bool_] = _RESIDUAL * np.sqrt(np.sum(bends**2 / width, axis=0)) > known
    return found


def softened(
    likelihood: Curved, found: Found, free: npt.NDArray[np.bool_], sided: Sequence[int], low: Array, high: Array
) -> list[int]:
    """Return the parameters along which -log L is not a parabola around a minimum, with all others on straight lines.

    Parameters
    ----------
    likelihood : Curved
    found : Found
    free : array of bool of shape (n,)
    sided : sequence of int
        Free parameters, in standard deviations from 0.
    low, high : array of shape (n,)
    """
    (at, least), loose = found, np.flatnonzero(free)
    part = likelihood.curvature(at)[1][np.ix_(loose, loose)]
    size = np.sqrt(np.where(np.diag(part) > 0, np.diag(part), 1.0))
    part = part / np.outer(size, size)
    part[np.diag_indices_from(part)] += _RIDGE
    positions = np.searchsorted(loose, sided)
    columns = np.linalg.solve(part, np.eye(len(loose))[:, positions]) / np.outer(size, size[positions])

    def leaves(i: int, column: Array, variance: float) -> bool:
        for step in (side - float(at[i]) for side in _SEEN):
            there = at.copy()
            there[loose] = np.clip(at[loose] + step / variance * column, low[loose], high[loose])
            share = (likelihood(there) - least) / (step**2 / (2 * variance)) if abs(step) >= _APART else 1.0
            if not _PARABOLIC[0] < share < _PARABOLIC[1]:
                return True
        return False

    return [i for i, k, column in zip(sided, positions, columns.T, strict=True) if leaves(i, column, float(column[k]))]


def lowest(
    local: Local, starts: Iterable[Array], free: npt.NDArray[np.bool_], sided: Sequence[int], softer: Softened
) -> Found | None:
    """Return the lowest minimum that is found.

    Fits begin on all sides of up to three parameters together, of up to eight on all sides of each two of them, and of
    more on those of each one, until that leads no lower.

    Parameters
    ----------
    local : callable
    starts : iterable of array
        After the first one those from which fits may end in another minimum, or where the first fit failed.
    free : array of bool of shape (n,)
    sided : sequence of int
        Free parameters in which the likelihood may have two minima, in standard deviations from 0.
    softer : callable
        Which of them may be lower on another side: see `softened`.
    """
    of, ends = np.array(sided, dtype=np.intp), list[Array]()
    best: Found | None = None
    for start in starts:
        if best is None or _is_new(start[of], ends):
            best = _lower(local(start, free), best, of, ends)
    if best is None:
        return None
    for _ in range(_ROUNDS if sided else 0):
        before: Found = best
        moving = np.array(softer(before), dtype=np.intp)
        number = 2 if _TOGETHER < len(moving) <= _IN_PAIRS else 1 if len(moving) > _IN_PAIRS else len(moving)
        for together in combinations(moving, number):
            for sides in product(_SIDES, repeat=len(together)):
                start = before[0].copy()
                start[list(together)] = sides
                if _is_new(start[of], ends):
                    best = _lower(_from(local, start, free, of), best, of, ends) or best
        if best is before or len(of) <= _TOGETHER:
            break
    return best


def _is_new(at: Array, ends: Sequence[Array]) -> bool:
    """Tell whether a start lies on another side than every minimum so far, in one parameter at least."""
    return all((np.abs(at - end) >= _NEAR).any() for end in ends)


def _lower(found: Found | None, best: Found | None, of: npt.NDArray[np.intp], ends: list[Array]) -> Found | None:
    if found is None:
        return best
    ends.append(found[0][of])
    return best if best is not None and not found[1] < best[1] - _GAIN else found


def _from(local: Local, start: Array, free: npt.NDArray[np.bool_], of: npt.NDArray[np.intp]) -> Found | None:
    """Fit all others with the parameters held on their sides, and then everything."""
    others = free.copy()
    others[of] = False
    held = local(start, others) if others.any() else None
    return local(held[0] if held is not None else start, free)
