"""Classification of rows without a partner: events that are missing on one side, and events that are double."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from portico.compare.columns import Batch, concatenate, fingerprints, identify
from portico.compare.findings import Findings
from portico.compare.keys import Key
from portico.compare.model import Example

__all__ = ["settle"]

_SIDES = ("first", "second")
_MOST_COPIES = 100_000  # events whose rows are all read again

Keys = list[npt.NDArray[np.uint64]]
Source = Callable[[Sequence[str]], Iterable[Batch]]


def settle(findings: Findings, product: str, key: Key, left: Sequence[Batch | None], sources: Sequence[Source]) -> None:
    """Decide for rows without a partner whether the event is missing on the other side, or double on their own.

    Parameters
    ----------
    findings, product
        Collector of the differences, and the product that they belong to.
    key : Key
        Columns that identify an event.
    left : sequence of two batches
        The rows of each side without a partner.
    sources : sequence of two callables
        Return all rows of each side again, with the given columns, or with all if none is given.
    """
    for side in (0, 1):
        batch = left[side]
        if batch is None or not len(next(iter(batch.values()))):
            continue
        keys = key.arrays(batch)
        there = _count(key, keys, sources[1 - side](key.names)) > 0
        lone = np.flatnonzero(~there)
        other = _SIDES[1 - side]
        if lone.size:
            findings.add("missing", product, "events", lone.size, _examples(key, batch, lone), side=other)
        more = np.flatnonzero(there)
        if more.size:
            copied = _copied(key, [array[more] for array in keys], sources[side])
            double, fewer = more[copied], more[~copied]
            if double.size:
                where = _examples(key, batch, double)
                findings.add("double", product, "events", double.size, where, side=_SIDES[side])
            if fewer.size:
                findings.add("missing", product, "candidates", fewer.size, _examples(key, batch, fewer), side=other)


def _examples(key: Key, batch: Batch, rows: npt.NDArray[np.intp]) -> Iterator[Example]:
    return (Example(key.text(batch, int(row)), None, None) for row in rows)


def _count(key: Key, keys: Keys, batches: Iterable[Batch]) -> npt.NDArray[np.int64]:
    """Count the occurrences of each key."""
    counts = np.zeros(len(keys[0]), np.int64)
    for batch in batches:
        ours, theirs = identify(list(zip(keys, key.arrays(batch), strict=True)))
        counts += np.bincount(theirs, minlength=int(ours.max(initial=0)) + 1)[ours]
    return counts


def _copied(key: Key, keys: Keys, source: Source) -> npt.NDArray[np.bool_]:
    """Return for each key whether two of its rows agree in every number: then the event was counted twice.

    Otherwise the event has several candidates, one row each, and the other side has fewer.
    """
    looked = [array[:_MOST_COPIES] for array in keys]
    rows = []
    for batch in source(()):
        wanted, theirs = identify(list(zip(looked, key.arrays(batch), strict=True)))
        found = np.flatnonzero(np.isin(theirs, wanted))
        if found.size:
            rows.append({name: column.take(found) for name, column in batch.items()})
    everything = concatenate(rows)
    wanted, theirs = identify(list(zip(looked, key.arrays(everything), strict=True)))
    prints = fingerprints(everything, np.arange(len(theirs)))
    _, first = np.unique(np.stack([theirs.astype(np.uint64), prints]), axis=1, return_index=True)
    again = np.delete(theirs, first)
    result = np.ones(len(keys[0]), bool)
    result[: len(wanted)] = np.isin(wanted, again)
    return result
