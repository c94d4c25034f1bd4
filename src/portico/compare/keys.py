"""Keys of events: the columns that identify an event, and the pairing of rows with the same key."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from portico.compare.columns import Batch, Column, Rows, identify
from portico.errors import ConfigError

__all__ = ["KEYS", "Key", "find_key", "pair_up"]

KEYS: Final[Sequence[Sequence[str]]] = (
    ("run", "runNumber", "Run"),
    ("lumi", "luminosityBlock", "lumiBlock", "luminosity_block", "ls"),
    ("event", "eventNumber", "evt", "Event"),
)
"""Known names of run, luminosity block and event number; the first that a table has is used."""

_LOW = np.uint64(0xFFFFFFFF)


def find_key(names: Collection[str]) -> tuple[str, ...]:
    """Return the columns that identify an event; empty if one of the three is missing."""
    found = [next((name for name in known if name in names), "") for known in KEYS]
    return tuple(found) if all(found) else ()


class Key:
    """The key columns of both tables, as unsigned integers of one width.

    If one side stores a key in 32 bits and the other in 64, as with event numbers, the lowest 32 bits are compared.

    Parameters
    ----------
    names : sequence of str
        The columns.
    where : str
        Name of the product, for messages.
    """

    def __init__(self, names: Sequence[str], where: str) -> None:
        self.names, self._where = tuple(names), where
        self._bytes: dict[str, set[int]] = {name: set() for name in names}

    def note_types(self, batch: Batch) -> None:
        """Record the types of a side's columns.

        Raises
        ------
        ConfigError
            If a column cannot be a key.
        """
        for name in self.names:
            column = batch[name]
            values = column.values
            if column.offsets is not None or (values.dtype.kind == "f" and not np.array_equal(values, np.rint(values))):
                what = "fractions" if column.offsets is None else "lists"
                raise ConfigError(
                    f"{self._where}: column '{name}' cannot be a key, because it contains {what}; "
                    "name columns with one integer per row under 'key' in a mapping"
                )
            if values.dtype.kind != "f":
                self._bytes[name].add(values.dtype.itemsize)

    @property
    def cut(self) -> list[str]:
        """The columns of which one side stores only the lowest 32 bits."""
        return [name for name, widths in self._bytes.items() if len(widths) > 1 and min(widths) == 4]

    def arrays(self, batch: Mapping[str, Column]) -> list[npt.NDArray[np.uint64]]:
        """Return the key of each row as one array per key column."""
        found = []
        for name in self.names:
            values = batch[name].values
            unsigned = (values if values.dtype.kind == "u" else values.astype(np.int64)).astype(np.uint64)
            found.append(unsigned & _LOW if 4 in self._bytes[name] else unsigned)
        return found

    def text(self, batch: Mapping[str, Column], row: int) -> str:
        """Name the event of a row."""
        one = {name: batch[name].take(np.array([row])) for name in self.names}
        return ", ".join(f"{name} {int(a[0])}" for name, a in zip(self.names, self.arrays(one), strict=True))


def pair_up(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> tuple[Rows, Rows]:
    """Pair rows with the same number: the first with the first of the other side, the second with the second."""
    counts = _occurrences(first), _occurrences(second)
    most = 1 + max((int(count.max(initial=0)) for count in counts), default=0)
    codes = first * most + counts[0], second * most + counts[1]
    _, i, j = np.intersect1d(*codes, assume_unique=True, return_indices=True)
    order = np.argsort(i)
    return i[order], j[order]


def pair_rows(first: Sequence[npt.NDArray[Any]], second: Sequence[npt.NDArray[Any]]) -> tuple[Rows, Rows]:
    """Pair rows with the same key. Two sides in the same order need no sorting."""
    size = min(len(first[0]), len(second[0]))
    if all(np.array_equal(a[:size], b[:size]) for a, b in zip(first, second, strict=True)):
        return np.arange(size), np.arange(size)
    return pair_up(*identify(list(zip(first, second, strict=True))))


def _occurrences(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Count for each element the equal ones before it."""
    order = np.argsort(numbers, kind="stable")
    positions = np.arange(len(numbers))
    begins = np.concatenate([[True], np.diff(numbers[order]) != 0])[: len(numbers)]
    result = np.empty(len(numbers), np.int64)
    result[order] = positions - np.maximum.accumulate(np.where(begins, positions, 0))
    return result
