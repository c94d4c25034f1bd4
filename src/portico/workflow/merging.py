"""Merging of neighbours while a step runs, so that the ledger stores one result in place of many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from portico.errors import ProductError
from portico.results.packed import to_bytes, unpack
from portico.results.partial import merge_nodes
from portico.runfolder import subtrees
from portico.runfolder.ledger import Ledger, Planned

__all__ = ["SEPARATE_BYTES", "Merging", "ready"]

SEPARATE_BYTES = 10**8
"""Partial results of a step are merged while more bytes of them than this are kept one by one.

Those that are kept one by one serve any later plan. A subtree serves only a plan in which its chunks are neighbours at
the same positions: where a file was put before them, or taken away, they run again.
"""

_AT_ONCE = 2**25  # bytes of subtrees that enter the ledger in one transaction
_GAIN = 2  # a subtree that is not so many times smaller than its parts is mostly lists, which merging does not shorten


def ready(chunks: Sequence[Planned], done: Sequence[int], first: int) -> bool:
    """Return whether the subtree that begins at a position may be merged.

    Its chunks have to be done, and those next to it of the same file as well: if one of these turns out to be bad, so
    are all chunks of its file, and the subtree would have to be dissolved. Of a large file that is a large part of it,
    up to the size of a subtree on either side.

    Parameters
    ----------
    chunks : sequence of Planned
        The plan of a sample.
    done : sequence of int
        Of each chunk whether it is done.
    first : int
        The position.
    """
    low, high = first, first + subtrees.SIZE
    while low > max(0, first - subtrees.SIZE) and chunks[low - 1].chunk.file == chunks[first].chunk.file:
        low -= 1
    while high < min(len(chunks), first + 2 * subtrees.SIZE) and chunks[high].chunk.file == chunks[high - 1].chunk.file:
        high += 1
    return all(done[low:high])


class Merging:
    """The chunks of one step that are done, and which of them are merged.

    Parameters
    ----------
    ledger : Ledger
        Has the plan of the step.
    step : str
        The step.
    plan : mapping of str to sequence of Planned
        The chunks of each sample, in order.
    """

    def __init__(self, ledger: Ledger, step: str, plan: Mapping[str, Sequence[Planned]]) -> None:
        self._ledger, self._plan = ledger, plan
        self._separate = ledger.subtrees.separate(step)
        self._bytes = sum(self._separate.values())
        done = ledger.done(step)
        self._done = {name: bytearray(chunk.key in done for chunk in chunks) for name, chunks in plan.items()}
        self._left = {
            name: [
                first for first in range(0, len(chunks) - subtrees.SIZE + 1, subtrees.SIZE)
                if not self._done[name][first] or chunks[first].key in self._separate
            ]
            for name, chunks in plan.items()
        }  # fmt: skip

    def take(self, planned: Planned, size: int) -> None:
        """Take note that a chunk was committed with a partial result of so many bytes."""
        self._done[planned.sample][planned.position] = 1
        self._separate[planned.key] = size
        self._bytes += size

    def merge(self) -> None:
        """Merge what can be merged, if too much is kept one by one.

        Raises
        ------
        RunFolderError
            If a partial result is damaged.
        SpaceError
            If the disk is full.
        """
        if self._bytes <= SEPARATE_BYTES:
            return
        merged: dict[tuple[str, ...], bytes] = {}
        for name, first in list(self._ready()):
            chunks = tuple(planned.key for planned in self._plan[name][first : first + subtrees.SIZE])
            data = self._merged(chunks) if self._left[name] else None
            if data is None:
                self._left[name].clear()
                continue
            self._left[name].remove(first)
            self._bytes -= sum(self._separate.pop(key) for key in chunks)
            merged[chunks] = data
            if sum(map(len, merged.values())) > _AT_ONCE:
                self._ledger.subtrees.keep(merged)
                merged = {}
        self._ledger.subtrees.keep(merged)

    def _merged(self, chunks: Sequence[str]) -> bytes | None:
        """Return the merged result of chunks, or None if it is not to be kept in their place."""
        parts = self._ledger.subtrees.partials(chunks)
        try:
            merged = merge_nodes((number, unpack(data)) for number, data in enumerate(parts))
        except ProductError:  # the end of the step tells it, with the sample
            return None
        data = b"" if merged is None else to_bytes(merged)
        return data if _GAIN * len(data) <= sum(self._separate[key] for key in chunks) else None

    def _ready(self) -> Iterator[tuple[str, int]]:
        for name, left in self._left.items():
            chunks, done = self._plan[name], self._done[name]
            yield from ((name, first) for first in left if done[first] and ready(chunks, done, first))
