"""Two tables compared event by event, or in their order; memory stays bounded for any size.

Both sides are read in step, a batch at a time. Rows that have found no partner wait; runs of one analysis have their
events in the same order, so few do. If too many wait, the orders differ: then both tables are put into parts by their
events, in files aside, and the parts are compared one by one.
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
_UNPACKED = 4  # a file's bytes, once decompressed
_PARTS = (16, 500)


@dataclass(frozen=True, slots=True)
class Rule:
    """How the rows of a table are told apart.

    Parameters
    ----------
    key : tuple of str
        Columns that identify an event; run, luminosity block and event under their usual names if empty.
    candidate : tuple of str
        Columns that tell which candidate was chosen, ``*`` standing for any letters; the usual ones if empty.
    """

    key: tuple[str, ...] = ()
    candidate: tuple[str, ...] = ()


class _OutOfStep(Exception):  # noqa: N818 (no error: the other way is taken)
    """Too many rows wait for a partner."""


def compare_tables(findings: Findings, product: str, first: Table, second: Table, rule: Rule) -> None:
    """Compare two tables of one name.

    Raises
    ------
    ConfigError
        If a key that was named is not there.
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
        raise ConfigError(f"{first.label}: key '{absent[0]}' is no column of both; {nearest(absent[0], names)}")
    key = rule.key or find_key(names)
    if not names:
        return
    if not key:
        _in_order(findings, product, first, second, names)
        return
    trial = findings.fresh()
    try:
        _in_step(trial, product, (first, second), names, Key(key, first.label), rule)
    except _OutOfStep:
        trial = findings.fresh()
        _in_parts(trial, product, (first, second), names, Key(key, first.label), rule)
    findings.absorb(trial)


def _same_files(first: Table, second: Table) -> bool:
    """Say whether both are the same files, by what the ledger keeps of them, or by path."""
    kept = [
        sorted(tuple(str(item[k]) for k in ("adler32", "size", "uuid")) for item in table.files if "adler32" in item)
        for table in (first, second)
    ]
    if kept[0] and kept[0] == kept[1] and len(kept[0]) == len(first.files) == len(second.files):
        return True
    paths = [[str(item["path"]) for item in table.files] for table in (first, second)]
    return bool(paths[0]) and paths[0] == paths[1] and first.tree == second.tree and first.names == second.names


def _common_names(findings: Findings, product: str, first: Table, second: Table) -> list[str]:
    if not (first.names and second.names):
        return list(first.names or second.names)  # a side without files has no rows: all of the other's are missing
    for side, has, lacks in (("second", first.names, second.names), ("first", second.names, first.names)):
        absent = [name for name in has if name not in lacks]
        if absent:
            examples = (Example(name, None, None) for name in absent)
            findings.add("missing", product, "columns", len(absent), examples, side=side)
    return [name for name in first.names if name in second.names]


def _in_step(
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
        key.see(batch)
        read[side] += _length(batch)
        before = waiting[side]
        waiting[side] = batch if before is None else concatenate([before, batch])
        waiting = _match(matcher, waiting, open_)
        if sum(column.nbytes for b in waiting if b is not None for column in b.values()) > _WAITING:
            raise _OutOfStep
    waiting = _match(matcher, waiting, open_)
    _note_cut(findings, key)
    settle(findings, product, key, waiting, [_source(table, names) for table in tables])


def _match(matcher: Matcher, waiting: Sequence[Batch | None], open_: Sequence[bool]) -> list[Batch | None]:
    """Compare what waits, but for the last event of a side that goes on: more of its rows may come."""
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
            settle(findings, product, key, left, [_given(batch) for batch in batches])
    _note_cut(findings, key)


def _source(table: Table, names: Sequence[str]) -> Source:
    return lambda chosen: gathered(table.batches(chosen or names), _BATCH)


def _given(batch: Batch | None) -> Source:
    return lambda _: [] if batch is None else [batch]


def _note_cut(findings: Findings, key: Key) -> None:
    for name in key.cut:
        findings.notes[f"'{name}' has 32 bits in one of the two: its lowest 32 bits were compared"] = None


def _in_order(findings: Findings, product: str, first: Table, second: Table, names: Sequence[str]) -> None:
    rows = first.rows(), second.rows()
    if rows[0] != rows[1]:
        side = "second" if rows[1] < rows[0] else "first"
        findings.add("missing", product, "entries", abs(rows[0] - rows[1]), [Example("entries", *rows)], side=side)
        findings.notes[
            f"{first.label}: no columns of run, luminosity block and event, and not equally many entries: its columns "
            "were not compared; name what identifies an entry as 'key' in a mapping"
        ] = None
        return
    place = 0
    columns: tuple[str, ...] | None = None
    for a, b in _side_by_side(first, second, names):
        columns = columns if columns is not None else common_columns(findings, product, a, b)
        found = {name: compare_rows(a[name], b[name], findings.tolerance) for name in columns}
        begin = place
        note_rows(
            findings, product, found, (), lambda n, begin=begin: f"entry {begin + n}",  # type: ignore[misc]
            lambda name, n, a=a, b=b: (a[name].row(n), b[name].row(n)),  # type: ignore[misc]
        )  # fmt: skip
        place += _length(a)
    findings.tally.rows += place


def _side_by_side(first: Table, second: Table, names: Sequence[str]) -> Iterator[tuple[Batch, Batch]]:
    """Return batches of the same rows of both."""
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
