"""Comparison of two tables event by event, or row by row in their order, with bounded memory for any size.

Both sides are read in parallel, a batch at a time. Rows without a partner wait; runs of one analysis have their events
in the same order, so few rows do. If too many wait, the orders differ: then both tables are split by event into
temporary files, which are compared one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from portico.compare.columns import Batch, compare_rows, concatenate
from portico.compare.findings import Findings
from portico.compare.keys import Key, find_key
from portico.compare.matching import Matcher, common_columns, note_rows
from portico.compare.model import Example
from portico.compare.spill import Spill
from portico.compare.tables import Table, gathered
from portico.compare.unmatched import Source, settle
from portico.errors import ConfigError, nearest

__all__ = ["Rule", "compare_tables"]

_BATCH = 20_000_000  # bytes of a side that are compared at a time
_WAITING = 250_000_000  # bytes that may wait for a partner
_UNPACKED = 4  # decompressed bytes per byte of a file
_PARTS = (16, 500)


@dataclass(frozen=True, slots=True)
class Rule:
    """The columns that identify the rows of a table.

    Parameters
    ----------
    key : tuple of str
        Columns that identify an event; if empty, run, luminosity block and event under their usual names.
    candidate : tuple of str
        Columns that identify the chosen candidate, with ``*`` as wildcard; the usual ones if empty.
    """

    key: tuple[str, ...] = ()
    candidate: tuple[str, ...] = ()


class _TooManyWaiting(Exception):  # noqa: N818 (not an error: the tables are split instead)
    """Too many rows wait for a partner."""


def compare_tables(findings: Findings, product: str, first: Table, second: Table, rule: Rule) -> None:
    """Compare two tables with the same name.

    Raises
    ------
    ConfigError
        If a key column does not exist.
    InputError
        If a file cannot be read.
    """
    findings.tally.products += 1
    if _same_files(first, second):
        findings.tally.unread += len(first.files) + len(second.files)
        if rule.key or find_key(first.names):
            findings.tally.events += first.rows()
        else:
            findings.tally.rows += first.rows()
        return
    names = _common_names(findings, product, first, second)
    absent = [name for name in rule.key if name not in names]
    if absent:
        raise ConfigError(f"{first.label}: key '{absent[0]}' is not a column of both; {nearest(absent[0], names)}")
    key = rule.key or find_key(names)
    if not names:
        return
    if not key:
        _in_order(findings, product, first, second, names)
        return
    trial = findings.fresh()
    try:
        _in_parallel(trial, product, (first, second), names, Key(key, first.label), rule)
    except _TooManyWaiting:
        trial = findings.fresh()
        _in_parts(trial, product, (first, second), names, Key(key, first.label), rule)
    findings.absorb(trial)


def _same_files(first: Table, second: Table) -> bool:
    """Return whether both have the same files, by checksum and size from the ledger, or by path."""
    if first.choose != second.choose:
        return False
    known = [
        sorted(tuple(str(item[k]) for k in ("adler32", "size", "uuid")) for item in table.files if "adler32" in item)
        for table in (first, second)
    ]
    if known[0] and known[0] == known[1] and len(known[0]) == len(first.files) == len(second.files):
        return True
    paths = [[str(item["path"]) for item in table.files] for table in (first, second)]
    return bool(paths[0]) and paths[0] == paths[1] and first.tree == second.tree and first.names == second.names


def _common_names(findings: Findings, product: str, first: Table, second: Table) -> list[str]:
    if not (first.names and second.names):
        return list(first.names or second.names)  # a side without files has no rows: all of the other's are missing
    findings.add_missing(product, "columns", first.names, second.names)
    return [name for name in first.names if name in second.names]


def _in_parallel(
    findings: Findings, product: str, tables: tuple[Table, Table], names: Sequence[str], key: Key, rule: Rule
) -> None:
    matcher = Matcher(findings, product, key, rule.candidate)
    streams = [gathered(table.batches(names), _BATCH) for table in tables]
    waiting: list[Batch | None] = [None, None]
    read, open_ = [0, 0], [True, True]
    while any(open_):
        side = min((s for s in (0, 1) if open_[s]), key=lambda s: read[s])
        batch = next(streams[side], None)
        if batch is None:
            open_[side] = False
            continue
        key.note_types(batch)
        read[side] += _length(batch)
        before = waiting[side]
        waiting[side] = batch if before is None else concatenate([before, batch])
        waiting = _match(matcher, waiting, open_)
        if sum(column.nbytes for b in waiting if b is not None for column in b.values()) > _WAITING:
            raise _TooManyWaiting
    waiting = _match(matcher, waiting, open_)
    _note_cut(findings, key)
    settle(findings, product, key, waiting, [_source(table, names) for table in tables])


def _match(matcher: Matcher, waiting: Sequence[Batch | None], open_: Sequence[bool]) -> list[Batch | None]:
    """Compare the waiting rows, except the last event of a side with more batches: it may have more rows."""
    first, second = waiting
    if first is None or second is None:
        return list(waiting)
    ready, held = zip(
        *(_hold_back(matcher.key, b) if more else (b, None) for b, more in zip((first, second), open_, strict=True)),
        strict=True,
    )
    left = matcher.match(*ready)
    return [batch if more is None else concatenate([batch, more]) for batch, more in zip(left, held, strict=True)]


def _hold_back(key: Key, batch: Batch) -> tuple[Batch, Batch]:
    other = np.zeros(_length(batch), bool)
    for array in key.arrays(batch):
        other |= array != array[-1:]
    end = int(np.flatnonzero(other).max(initial=-1)) + 1
    rows = np.arange(_length(batch))
    return tuple({n: c.take(part) for n, c in batch.items()} for part in (rows[:end], rows[end:]))  # type: ignore[return-value]


def _in_parts(
    findings: Findings, product: str, tables: tuple[Table, Table], names: Sequence[str], key: Key, rule: Rule
) -> None:
    wanted = -(-sum(table.size for table in tables) * _UNPACKED // _WAITING)
    matcher = Matcher(findings, product, key, rule.candidate)
    with Spill(min(max(wanted, _PARTS[0]), _PARTS[1])) as spill:
        for side, table in enumerate(tables):
            spill.write(side, key, gathered(table.batches(names), _BATCH))
        for part in range(spill.parts):
            batches = [spill.read(side, part) for side in (0, 1)]
            left = _match(matcher, batches, (False, False))
            settle(findings, product, key, left, [lambda _, b=b: [] if b is None else [b] for b in batches])  # type: ignore[misc]
    _note_cut(findings, key)


def _source(table: Table, names: Sequence[str]) -> Source:
    return lambda chosen: gathered(table.batches(chosen or names), _BATCH)


def _note_cut(findings: Findings, key: Key) -> None:
    for name in key.cut:
        findings.notes[f"'{name}' has 32 bits on one side: only its lowest 32 bits were compared"] = None


def _in_order(findings: Findings, product: str, first: Table, second: Table, names: Sequence[str]) -> None:
    rows = first.rows(), second.rows()
    if rows[0] != rows[1]:
        side = "second" if rows[1] < rows[0] else "first"
        findings.add("missing", product, "entries", abs(rows[0] - rows[1]), [Example("entries", *rows)], side=side)
        findings.notes[
            f"{first.label}: its columns were not compared, because it has no columns of run, luminosity block and "
            "event, and the numbers of entries differ; name the columns that identify an entry under 'key' in a mapping"
        ] = None
        return
    position = 0
    columns: tuple[str, ...] | None = None
    for a, b in _side_by_side(first, second, names):
        columns = columns if columns is not None else common_columns(findings, product, a, b)
        found = {name: compare_rows(a[name], b[name], findings.tolerance) for name in columns}
        begin = position
        note_rows(
            findings, product, found, (), lambda n, begin=begin: f"entry {begin + n}",  # type: ignore[misc]
            lambda name, n, a=a, b=b: (a[name].row(n), b[name].row(n)),  # type: ignore[misc]
        )  # fmt: skip
        position += _length(a)
    findings.tally.rows += position


def _side_by_side(first: Table, second: Table, names: Sequence[str]) -> Iterator[tuple[Batch, Batch]]:
    """Return batches with the same rows of both tables."""
    streams = [gathered(table.batches(names), _BATCH) for table in (first, second)]
    rest: list[Batch | None] = [None, None]
    while True:
        for side in (0, 1):
            if rest[side] is None or not _length(rest[side] or {}):
                rest[side] = next(streams[side], None)
        a, b = rest
        if a is None or b is None:
            return
        count = min(_length(a), _length(b))
        heads, tails = zip(*(_cut(batch, count) for batch in (a, b)), strict=True)
        rest = list(tails)
        yield heads[0], heads[1]


def _cut(batch: Batch, count: int) -> tuple[Batch, Batch]:
    rows = np.arange(_length(batch))
    return (
        {name: column.take(rows[:count]) for name, column in batch.items()},
        {name: column.take(rows[count:]) for name, column in batch.items()},
    )


def _length(batch: Batch) -> int:
    return len(next(iter(batch.values()))) if batch else 0
