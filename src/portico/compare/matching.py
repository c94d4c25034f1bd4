"""Rows of the same event compared with each other: every column, and whether another candidate was chosen."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from portico.compare.columns import Batch, Column, RowAgreement, Rows, compare_rows, fingerprints, identify
from portico.compare.findings import Findings
from portico.compare.keys import Key, pair_rows, pair_up
from portico.compare.model import Example

__all__ = ["CANDIDATE", "Matcher", "common_columns", "identity_of", "note_rows"]

CANDIDATE: Final[Sequence[Sequence[str]]] = (("chosen", "selection"), ("C_*_idx",), ("C_*",), ("*",))
"""Columns that tell which candidate was chosen: the first of these lines that a tree has any of."""

_LONGEST = 60  # letters of a list in an example


def identity_of(names: Iterable[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that tell which candidate a row is of.

    Parameters
    ----------
    names : iterable of str
        All columns but the keys.
    patterns : sequence of str
        From the mapping; `CANDIDATE` if empty.
    """
    there = list(names)
    for line in [patterns] if patterns else CANDIDATE:
        found = tuple(name for name in there if any(fnmatch.fnmatchcase(name, pattern) for pattern in line))
        if found:
            return found
    return ()


class Matcher:
    """Compares rows of both sides, given in pieces.

    Parameters
    ----------
    findings : Findings
        Where differences go.
    product : str
        Name of the tree's product.
    key : Key
        What identifies an event.
    patterns : sequence of str
        Which other columns tell which candidate a row is of; `CANDIDATE` if empty.
    """

    def __init__(self, findings: Findings, product: str, key: Key, patterns: Sequence[str]) -> None:
        self.findings, self.product, self.key = findings, product, key
        self._patterns = patterns
        self.names: tuple[str, ...] | None = None
        self.identity: tuple[str, ...] = ()

    def match(self, first: Batch, second: Batch) -> tuple[Batch, Batch]:
        """Compare the rows that have a partner; return the others."""
        if self.names is None:
            self.names = common_columns(self.findings, self.product, first, second, self.key.names)
            self.identity = identity_of(self.names, self._patterns)
        keys = self.key.arrays(first), self.key.arrays(second)
        i, j = pair_rows(*keys)
        agreements = self._compare(first, second, i, j)
        good = np.logical_and.reduce([a.close for a in agreements.values()]) if agreements else np.ones(len(i), bool)
        if not good.all() or len(i) < max(len(keys[0][0]), len(keys[1][0])):
            again = self._again(first, second, (i, j), good, identify(list(zip(*keys, strict=True))))
            if again is not None:
                i, j = again
                agreements = self._compare(first, second, i, j)
        self.findings.tally.events += len(i)
        note_rows(
            self.findings, self.product, agreements, self.identity,
            lambda n: self.key.text(first, int(i[n])),
            lambda name, n: (first[name].row(int(i[n])), second[name].row(int(j[n]))),
        )  # fmt: skip
        return _without(first, i), _without(second, j)

    def _compare(self, first: Batch, second: Batch, i: Rows, j: Rows) -> dict[str, RowAgreement]:
        pairs = ((name, _rows(first[name], i), _rows(second[name], j)) for name in self.names or ())
        return {name: compare_rows(a, b, self.findings.tolerance) for name, a, b in pairs}

    def _again(
        self, first: Batch, second: Batch, pairs: tuple[Rows, Rows], good: np.ndarray, numbers: tuple[Rows, Rows]
    ) -> tuple[Rows, Rows] | None:
        """Pair anew the rows of events that have several: the rows that are the same belong together.

        Events come with several rows where a tree has one per candidate, or where an event was counted twice. Paired
        in their order, one row that is missing would make all that follow look different.
        """
        several = np.zeros(1 + max(int(n.max(initial=0)) for n in numbers), bool)
        for n in numbers:
            several |= np.bincount(n, minlength=len(several)) > 1
        keep = good | ~several[numbers[0][pairs[0]]]
        loose = []
        for batch_numbers, paired in zip(numbers, pairs, strict=True):
            free = several[batch_numbers]
            free[paired[keep]] = False
            loose.append(np.flatnonzero(free))
        if not (len(loose[0]) and len(loose[1])):
            return None
        ours = [(first, loose[0], numbers[0]), (second, loose[1], numbers[1])]
        prints = [fingerprints({name: batch[name] for name in self.names or ()}, rows) for batch, rows, _ in ours]
        ids = [n[rows] for _, rows, n in ours]
        same = pair_up(*identify([(ids[0], ids[1]), (prints[0], prints[1])]))
        rest = [np.delete(np.arange(len(rows)), taken) for rows, taken in zip(loose, same, strict=True)]
        others = pair_up(ids[0][rest[0]], ids[1][rest[1]])
        i, j = (
            np.concatenate([paired[keep], rows[taken], rows[left][more]])
            for paired, rows, taken, left, more in zip(pairs, loose, same, rest, others, strict=True)
        )
        order = np.argsort(i, kind="stable")
        return i[order], j[order]


def common_columns(
    findings: Findings, product: str, first: Batch, second: Batch, but: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the columns of both but some; a column of one alone is missing in the other."""
    for side, has, lacks in (("second", first, second), ("first", second, first)):
        absent = [name for name in has if name not in lacks]
        if absent:
            examples = (Example(name, None, None) for name in absent)
            findings.add("missing", product, "columns", len(absent), examples, side=side)
    return tuple(name for name in first if name in second and name not in but)


def note_rows(
    findings: Findings,
    product: str,
    agreements: Mapping[str, RowAgreement],
    identity: Sequence[str],
    where: Callable[[int], str],
    values: Callable[[str, int], tuple[object, object]],
) -> None:
    """Note how paired rows differ.

    Parameters
    ----------
    findings, product
        Where to, and of what.
    agreements : mapping of str to RowAgreement
        By column.
    identity : sequence of str
        Columns that tell which candidate a row is of; nothing is called another candidate if empty.
    where : callable
        Names a row.
    values : callable
        Returns the values of both in a column and row.
    """
    for agreement in agreements.values():
        findings.count(agreement.numbers)
    if all(agreement.identical.all() for agreement in agreements.values()):
        return

    def examples(name: str, rows: Rows) -> Iterable[Example]:
        for row in rows:
            pair = (_short(value) for value in values(name, int(row)))
            yield Example(f"{where(int(row))}, {name}", *pair)

    settled = np.zeros(len(next(iter(agreements.values())).close), bool)
    for name in identity:  # first of all: a candidate more or less, then another one
        for side, chosen in (("second", agreements[name].longer < 0), ("first", agreements[name].longer > 0)):
            rows = np.flatnonzero(chosen & ~settled)
            if rows.size:
                findings.add("missing", product, "candidates", rows.size, examples(name, rows), side=side)
                settled[rows] = True
    for name in identity:
        rows = np.flatnonzero(~agreements[name].close & ~settled)
        if rows.size:
            findings.add("other candidate", product, "events", rows.size, examples(name, rows))
            settled[rows] = True
    for name, agreement in agreements.items():
        for kind, chosen in (
            ("other", ~agreement.close & ~settled), ("rounding", agreement.close & ~agreement.identical),
        ):  # fmt: skip
            rows = np.flatnonzero(chosen)
            if rows.size:
                largest = float(agreement.relative[rows].max())
                what = f"rows of column '{name}'"
                findings.add(kind, product, what, rows.size, examples(name, rows), largest=largest)


def _rows(column: Column, rows: Rows) -> Column:
    """Take rows; a beginning without copying."""
    count = len(rows)
    if count and rows[-1] == count - 1 and np.array_equal(rows, np.arange(count)):
        if column.offsets is None:
            return Column(column.values[:count])
        return Column(column.values[: column.offsets[count]], column.offsets[: count + 1])
    return column.take(rows)


def _without(batch: Batch, rows: Rows) -> Batch:
    keep = np.ones(len(next(iter(batch.values()))), bool)
    keep[rows] = False
    left = np.flatnonzero(keep)
    return {name: column.take(left) for name, column in batch.items()}


def _short(value: object) -> bool | int | float | str:
    if isinstance(value, (bool, int, float)):
        return value
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."
