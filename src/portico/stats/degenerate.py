"""Groups of parameters whose changes undo each other, from the information on them."""

from __future__ import annotations

from typing import Final

import numpy as np

from portico.stats.shapes import Array

__all__ = ["degenerate_groups"]

_SINGULAR: Final = 1e-10  # of the information with 1 on its diagonal
_TAKES_PART: Final = 1e-3


def degenerate_groups(information: Array) -> list[list[int]]:
    """Return groups of parameters that only together change nothing; those without any information belong to none.

    Parameters
    ----------
    information : array of shape (n, n)
    """
    used = np.flatnonzero(np.diag(information) > 0)
    size = np.sqrt(np.diag(information)[used])
    found, vectors = np.linalg.eigh(information[np.ix_(used, used)] / np.outer(size, size))
    empty = vectors[:, found < _SINGULAR]
    together = np.abs(empty @ empty.T) > _TAKES_PART
    groups: list[set[int]] = []
    for i in np.flatnonzero(np.diag(together)):
        mine = {int(j) for j in np.flatnonzero(together[i])}
        for other in [group for group in groups if group & mine]:
            groups.remove(other)
            mine |= other
        groups.append(mine)
    return [[int(used[i]) for i in sorted(group)] for group in groups]
