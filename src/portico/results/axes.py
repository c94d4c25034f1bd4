"""Axes that a histogram cannot have, although ROOT makes one with them. Without ROOT."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from portico.errors import ProductError

__all__ = ["refuse_axis"]


def refuse_axis(name: str, bins: int, edges: Sequence[float], variable: bool) -> None:
    """Refuse an axis whose bins are not intervals.

    Parameters
    ----------
    name : str
        Name of the axis, for messages.
    bins : int
        Number of its bins.
    edges : sequence of float
        All edges, of which the first and the last may be infinite; of equal bins the two ends.
    variable : bool
        Whether these are all edges.

    Raises
    ------
    ProductError
        If there are no bins, edges do not increase, or an end of equal bins is not finite.
    """
    found = np.asarray(edges, np.float64)
    if bins < 1:
        raise ProductError(f"a histogram has no bins on its {name}; give it 1 or more")
    if not (found[1:] > found[:-1]).all():
        odd = int(np.argmin(found[1:] > found[:-1]))
        where = (
            f"edge {found[odd]:g} is followed by {found[odd + 1]:g}" if variable else f"{found[0]:g} to {found[1]:g}"
        )
        raise ProductError(f"the {name} of a histogram: {where}; edges must increase")
    if not variable and not np.isfinite(found).all():
        raise ProductError(
            f"the {name} of a histogram: {bins} equal bins from {found[0]:g} to {found[1]:g}; give finite ends, or all "
            "edges, of which the first and the last may be infinite"
        )
