"""Columns of trees as flat arrays of values or lists, with functions to select, join, compare and identify rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from portico.compare.numbers import Agreement, Tolerance, agree
from portico.errors import ProductError

__all__ = [
    "Batch", "Column", "RowAgreement", "compare_rows", "concatenate", "fingerprints", "identify", "pick", "split",
]  # fmt: skip

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of some rows.

    Parameters
    ----------
    values : array
        One value per row, or the elements of all lists.
    offsets : array of int, optional
        Start of each row's list, and the end of the last one; only for lists.
    """

    values: Array
    offsets: Array | None = None

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.values.nbytes + (0 if self.offsets is None else self.offsets.nbytes)

    @property
    def counts(self) -> Array:
        """Length of each row's list; ones for plain values."""
        return np.ones(len(self), np.int64) if self.offsets is None else np.diff(self.offsets)

    def take(self, rows: Rows) -> Column:
        """Return the given rows, in that order."""
        if self.offsets is None:
            return Column(self.values[rows])
        counts = self.counts[rows]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        index = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], counts)
        return Column(self.values[index], offsets)

    def row(self, number: int) -> bool | int | float | str:
        """Return one row, a list as text."""
        if self.offsets is None:
            value: bool | int | float = self.values[number].item()
            return value
        return str(self.values[self.offsets[number] : self.offsets[number + 1]].tolist())


Batch = dict[str, Column]
"""Some rows of a table."""


def concatenate(parts: Sequence[Batch]) -> Batch:
    """Join batches of the same columns."""
    if len(parts) == 1:
        return parts[0]
    return {name: _join([part[name] for part in parts]) for name in parts[0]}


def _join(columns: Sequence[Column]) -> Column:
    values = np.concatenate([column.values for column in columns])
    if columns[0].offsets is None:
        return Column(values)
    return Column(values, np.concatenate([[0], np.cumsum(np.concatenate([column.counts for column in columns]))]))


def pick(batch: Batch, wanted: Mapping[str, float]) -> Batch:
    """Return rows with one element of their lists, and without the rows that have no such element.

    Parameters
    ----------
    batch : Batch
        With the columns of ``wanted``.
    wanted : mapping of str to float
        The value of the element by column.

    Raises
    ------
    ProductError
        If such a column has no lists, their lists differ in length, or a row has several such elements.
    """
    names = " and ".join(f"{name} == {value:g}" for name, value in wanted.items())
    first = batch[next(iter(wanted))]
    for name in wanted:
        if not _same_lists(first, batch[name]):
            raise ProductError(f"'choose' needs lists of one length in a row, and '{name}' has others")
    hits = np.flatnonzero(np.logical_and.reduce([batch[name].values == value for name, value in wanted.items()]))
    rows = np.repeat(np.arange(len(first)), first.counts)[hits]
    if (np.diff(rows) == 0).any():
        raise ProductError(f"a row has several elements with {names}; 'choose' needs one at most")
    return {
        name: Column(column.values[hits]) if _same_lists(first, column) else column.take(rows)
        for name, column in batch.items()
    }


def _same_lists(first: Column, second: Column) -> bool:
    """Return whether both have lists, of the same length in each row."""
    offsets = first.offsets, second.offsets
    return offsets[0] is not None and offsets[1] is not None and np.array_equal(offsets[0], offsets[1])


def split(name: str, array: Any) -> Iterator[tuple[str, Column]]:
    """Turn an awkward array into columns: ``name``, ``name.field`` of records, ``name#counts`` of lists in lists.

    Raises
    ------
    ProductError
        If it contains anything but numbers, lists and records.
    """
    import awkward

    yield from _split(name, awkward.to_packed(array).layout, None)


def _split(name: str, layout: Any, offsets: Array | None) -> Iterator[tuple[str, Column]]:
    if layout.is_record:
        for field in layout.fields:
            yield from _split(f"{name}.{field}", layout.content(field), offsets)
    elif layout.is_list:
        lists = layout.to_ListOffsetArray64(True)
        own = np.asarray(lists.offsets)
        content = lists.content[: own[-1]]
        if offsets is None:
            yield from _split(name, content, own)
        else:
            yield f"{name}#counts", Column(np.diff(own), offsets)
            yield from _split(name, content, own[offsets])
    elif layout.is_numpy and layout.purelist_depth > 1:
        yield from _split(name, layout.to_RegularArray(), offsets)
    elif layout.is_numpy and np.asarray(layout.data).dtype.kind in "biuf":
        values = np.asarray(layout.data)
        yield name, Column(values.astype(values.dtype.newbyteorder("="), copy=False), offsets)
    else:
        raise ProductError(
            f"column '{name}' has type {layout.form.type}, which cannot be compared; "
            "list the columns to compare under 'columns' in a mapping"
        )


@dataclass(frozen=True, slots=True)
class RowAgreement:
    """Agreement of two columns, row by row.

    Parameters
    ----------
    identical, close : array of bool
        Whether each row has identical bits; whether it agrees within the tolerance.
    relative : array of float
        The largest relative difference in each row; infinite if the lists differ in length.
    longer : array of int
        Number of elements by which each row is longer in the second column.
    numbers : Agreement
        Agreement of the single numbers, in lists of the same length.
    """

    identical: Mask
    close: Mask
    relative: npt.NDArray[np.float64]
    longer: npt.NDArray[np.int64]
    numbers: Agreement


def compare_rows(first: Column, second: Column, tolerance: Tolerance) -> RowAgreement:
    """Compare two columns with the same number of rows, row by row."""
    longer = (second.counts - first.counts).astype(np.int64)
    if first.offsets is None and second.offsets is None:
        numbers = agree(first.values, second.values, tolerance)
        return RowAgreement(numbers.identical, numbers.close, numbers.relative, longer, numbers)
    same = longer == 0
    if not same.all():
        rows = np.flatnonzero(same)
        first, second = first.take(rows), second.take(rows)
    numbers = agree(first.values, second.values, tolerance)
    identical, close, relative = same.copy(), same.copy(), np.where(same, 0.0, np.inf)
    if not numbers.identical.all():
        owner = np.repeat(np.flatnonzero(same), first.counts)
        identical[owner[~numbers.identical]] = False
        close[owner[~numbers.close]] = False
        np.maximum.at(relative, owner, numbers.relative)
    return RowAgreement(identical, close, relative, longer, numbers)


def identify(keys: Sequence[tuple[Array, Array]]) -> tuple[Rows, Rows]:
    """Number the rows of two sides so that rows have the same number if and only if all their keys are equal.

    Parameters
    ----------
    keys : sequence of (array, array)
        The values of each key column on both sides.
    """
    size = len(keys[0][0])
    number = np.zeros(size + len(keys[0][1]), np.int64)
    for first, second in keys:
        _, inverse = np.unique(np.concatenate([first, second]), return_inverse=True)
        _, number = np.unique(number * (int(inverse.max(initial=0)) + 1) + inverse, return_inverse=True)
    return number[:size], number[size:]


def fingerprints(batch: Mapping[str, Column], rows: Rows) -> npt.NDArray[np.uint64]:
    """Hash the bits of each row over all columns, in the order of their names."""
    result = np.zeros(len(rows), np.uint64)
    for name in sorted(batch):
        column = batch[name].take(rows)
        values = column.values
        bits = np.ascontiguousarray(values.astype(np.float64) if values.dtype.kind == "f" else values.astype(np.int64))
        hashed = _mix(bits.view(np.uint64))
        if column.offsets is not None:
            counts = column.counts
            position = (np.arange(len(hashed)) - np.repeat(column.offsets[:-1], counts)).astype(np.uint64)
            sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_mix(hashed + position))])
            hashed = sums[column.offsets[1:]] - sums[column.offsets[:-1]] + counts.astype(np.uint64)
        result = _mix(result + hashed)
    return result


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
