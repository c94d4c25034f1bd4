"""Comparison of rows of the same event, column by column, which recognises another choice of candidate."""

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
"""Columns that identify the chosen candidate: the first of these groups of which a tree has any."""

_LONGEST = 60  # characters of a list in an example


def identity_of(names: Iterable[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that identify the candidate of a row.

    Parameters
    ----------
    names : iterable of str
        All columns but the keys.
    patterns : sequence of str
        From the mapping; `CANDIDATE` if empty.
    """
    available = list(names)
    for group in [patterns] if patterns else CANDIDATE:
        found = tuple(name for name in available if any(fnmatch.fnmatchcase(name, pattern) for pattern in group))
        if found:
            return found
    return ()


class Matcher:
    """Compares rows of both sides, one batch at a time.

    Parameters
    ----------
    findings : Findings
        Collects the differences.
    product : str
        Name of the tree's product.
    key : Key
        Columns that identify an event.
    patterns : sequence of str
        Columns that identify the candidate of a row; `CANDIDATE` if empty.
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
        """Pair the rows of events with several rows again, so that identical rows become partners.

        An event has several rows if the tree has one per candidate, or if the event was counted twice. If they were
        paired in order, one missing row would make all following ones look different.
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
    """Return the columns of both except ``but``; a column on one side only is missing on the other."""
    findings.add_missing(product, "columns", first, second)
    return tuple(name for name in first if name in second and name not in but)


def note_rows(
    findings: Findings,
    product: str,
    agreements: Mapping[str, RowAgreement],
    identity: Sequence[str],
    where: Callable[[int], str],
    values: Callable[[str, int], tuple[object, object]],
) -> None:
    """Add the differences of paired rows.

    Parameters
    ----------
    findings, product
        Collector of the differences, and the product that they belong to.
    agreements : mapping of str to RowAgreement
        By column.
    identity : sequence of str
        Columns that identify the candidate of a row; if empty, no difference is ``other candidate``.
    where : callable
        Names a row.
    values : callable
        Returns the values of both sides in a column and row.
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
    for name in identity:  # a missing candidate first, then another choice of candidate
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
    """Take rows; the first rows of a column without a copy."""
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
