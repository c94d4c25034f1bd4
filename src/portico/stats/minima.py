"""The lowest of several minima: local fits from several starts, and from the other side of parameters that bend.

A shape whose variations up and down lead to the same side, or differ much in size, gives a likelihood with a minimum on
each side of 0 of its nuisance parameter. A fit that begins near one of them never sees the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from portico.stats.shapes import Array

__all__ = ["Found", "bending", "lowest"]

_RESIDUAL: Final = 5.0  # standard deviations by which a count may be off
_STIFF: Final = 0.25  # of what the data know of a parameter, since they know less where others move with it
_SIDES: Final = (-1.5, 1.5)  # where a fit begins on the other side, in standard deviations
_NEAR: Final = 0.75  # what is no other side
_GAIN: Final = 1e-5  # of -log L
_ROUNDS: Final = 6

#: A minimum and -log L there.
Found = tuple[Array, float]
#: Fits from a start, with some parameters free; None where it does not converge.
Local = Callable[[Array, npt.NDArray[np.bool_]], Found | None]


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


def lowest(local: Local, starts: Iterable[Array], free: npt.NDArray[np.bool_], sided: Sequence[int]) -> Found | None:
    """Return the lowest minimum that is found.

    Parameters
    ----------
    local : callable
    starts : iterable of array
        After the first one those from which fits may end in another minimum, or where the first fit failed.
    free : array of bool of shape (n,)
    sided : sequence of int
        Free parameters in which the likelihood may have two minima, in standard deviations from 0.
    """
    best: Found | None = None
    for start in starts:
        if best is None or any(abs(start[i] - best[0][i]) >= _NEAR for i in sided):
            best = _lower(local(start, free), best)
    if best is None:
        return None
    for _ in range(_ROUNDS):
        before: Found = best
        for i, side in _other_sides(before[0], sided):
            best = _lower(_from(local, best[0], free, i, side), best) or best
        if best is before:
            break
    return best


def _lower(found: Found | None, best: Found | None) -> Found | None:
    if found is None or (best is not None and not found[1] < best[1] - _GAIN):
        return best
    return found


def _other_sides(at: Array, sided: Sequence[int]) -> Iterable[tuple[int, float]]:
    """Yield parameters with the other sides than where they are: fits begin there."""
    return ((i, side) for i in sided for side in _SIDES if abs(at[i] - side) >= _NEAR)


def _from(local: Local, at: Array, free: npt.NDArray[np.bool_], i: int, side: float) -> Found | None:
    """Fit all others with a parameter held on a side, and then everything."""
    start, others = at.copy(), free.copy()
    start[i], others[i] = side, False
    held = local(start, others) if others.any() else None
    return local(held[0] if held is not None else start, free)
