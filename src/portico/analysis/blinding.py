"""Blinded intervals: the key ``blind`` of an analysis, stored with every run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["Blinding", "open_bins"]

_DATA: Final = "data"


def open_bins(
    edges: npt.NDArray[np.float64], blind: Iterable[tuple[float, float]], *, flow: bool = False
) -> npt.NDArray[np.bool_]:
    """Return which bins may be shown: those that no blinded interval overlaps.

    Parameters
    ----------
    edges : array of shape (bins + 1,)
        As the axis has them, which may be infinite.
    blind : iterable of (float, float)
    flow : bool
        With the flow bins at both ends, which hold what lies outside of the axis.

    Raises
    ------
    ValueError
        If an interval does not begin below its end: it would hide nothing.
    """
    edges = np.concatenate([[-np.inf], edges, [np.inf]]) if flow else edges
    seen = np.ones(len(edges) - 1, dtype=np.bool_)
    for low, high in blind:
        if not low < high:
            raise ValueError(f"the blinded interval ({low:g}, {high:g}) hides nothing; write (low, high), low < high")
        seen &= (edges[1:] <= low) | (edges[:-1] >= high)
    return seen


@dataclass(frozen=True, slots=True)
class Blinding:
    """Intervals in which a run does not show data.

    Attributes
    ----------
    intervals : mapping of str to sequence of (float, float)
        By pattern of products, in units of their axis; empty once unblinded.
    data : frozenset of str
        Samples that are data.
    """

    intervals: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    data: frozenset[str] = frozenset()

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Blinding:
        """Read it from the description of a run."""
        samples: Mapping[str, str] = manifest.get("samples", {})
        return cls(manifest.get("blind", {}), frozenset(name for name, kind in samples.items() if kind == _DATA))

    def of(self, product: str, samples: Iterable[str]) -> list[tuple[float, float]]:
        """Return the intervals of a product, if one of these samples is data."""
        if self.data.isdisjoint(samples):
            return []
        return [(i[0], i[1]) for name, found in self.intervals.items() if fnmatchcase(product, name) for i in found]
