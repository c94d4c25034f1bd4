"""Cutting files into chunks, from the data alone.

Results are the same bit for bit whatever runs them, because the cuts depend on nothing but the files'
clusters and one target size: never on the number of workers.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from portico.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from portico.files import TreeSummary

__all__ = ["MOST_CHUNKS", "Chunk", "ChunkSize", "plan", "plan_generated", "plan_points"]

MOST_CHUNKS = 10_000_000
"""Of a generated sample; the driver has all of them in memory."""

_UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30, "b": 1}
_SIZE = re.compile(r"^\s*(?P<number>[0-9][0-9_]*(?:\.[0-9]+)?)\s*(?P<unit>[A-Za-z]+)\s*$")


@dataclass(frozen=True, slots=True)
class ChunkSize:
    """Target size of a chunk; exactly one of the two is set.

    Parameters
    ----------
    size : int, optional
        Compressed bytes of the tree's columns.
    entries : int, optional
        Number of entries, or of points.
    """

    size: int | None = None
    entries: int | None = None

    @classmethod
    def parse(cls, text: str | int) -> ChunkSize:
        """Parse ``"50 MB"``, ``"1.5 GiB"``, ``"20000 entries"``, ``"4 points"`` or a number of entries.

        Raises
        ------
        ConfigError
            If the text is none of these or not positive.
        """
        match = _SIZE.match(f"{text} entries" if isinstance(text, int) else text)
        if match is not None and math.isfinite(number := float(match["number"].replace("_", ""))):
            unit = match["unit"].lower()
            if unit in {"entries", "events", "point", "points"} and number >= 1 and number.is_integer():
                return cls(entries=int(number))
            if unit in _UNITS and 1 <= number * _UNITS[unit] < math.inf:
                return cls(size=int(number * _UNITS[unit]))
        raise ConfigError(f"chunk size '{text}': write for example '50 MB' or '20000 entries'")


@dataclass(frozen=True, slots=True)
class Chunk:
    """An entry range of one tree in one file, of a generated sample, or of a list of points.

    Parameters
    ----------
    file : str
        Path or URL; empty for a generated sample and for points.
    uuid : str
        The file's identity when the chunk was planned.
    tree : str
        Name of the tree; ``points`` for points.
    first, last : int
        Entries ``first <= entry < last``.
    """

    file: str
    uuid: str
    tree: str
    first: int
    last: int

    @property
    def entries(self) -> int:
        """Number of entries."""
        return self.last - self.first

    def __str__(self) -> str:
        noun = "entries" if self.file or not self.tree else "points"
        numbers = f"{noun} {self.first}-{self.last - 1}" if self.entries else f"no {noun}"
        return numbers if noun == "points" else f"{self.file or 'generated'} {numbers}"


def plan(files: Sequence[TreeSummary], target: ChunkSize) -> Iterator[Chunk]:
    """Cut files into chunks, in file and entry order.

    A chunk is a run of whole clusters, as many as come nearest to the target from above; a cluster is
    never cut. A file whose cluster boundaries are unknown is cut at multiples of the target. Files without
    entries give no chunk. Together the chunks cover each entry exactly once.

    Parameters
    ----------
    files : sequence of TreeSummary
        What the files hold.
    target : ChunkSize
        Size to aim at.
    """
    for file in files:
        for first, last in pairwise(_cuts(file, _entries_per_chunk(file, target))):
            yield Chunk(file.file, file.uuid, file.tree, first, last)


def plan_generated(entries: int, target: ChunkSize) -> Iterator[Chunk]:
    """Cut a generated sample of ``entries`` events into chunks.

    Raises
    ------
    ConfigError
        If the target is in bytes, which events that do not exist yet do not have, or there would be more than
        `MOST_CHUNKS`.
    """
    if target.entries is None:
        raise ConfigError("generated events have no size in bytes; give the chunk size in entries")
    if entries > MOST_CHUNKS * target.entries:
        raise ConfigError(
            f"{entries:,} generated entries in chunks of {target.entries:,} are more than {MOST_CHUNKS:,} chunks; give "
            "the step a larger 'chunk', or correct 'entries' of the sample"
        )
    for first in range(0, entries, target.entries):
        yield Chunk("", "", "", first, min(first + target.entries, entries))


def plan_points(number: int, per_chunk: int) -> Iterator[Chunk]:
    """Cut a list of points into chunks; an empty list gives one chunk without points, so that there is a result."""
    for first in range(0, max(number, 1), per_chunk):
        yield Chunk("", "", "points", first, min(first + per_chunk, number))


def _entries_per_chunk(file: TreeSummary, target: ChunkSize) -> int:
    if target.entries is not None:
        return target.entries
    assert target.size is not None  # noqa: S101 (one of the two is set)
    return max(1, target.size * file.entries // file.size) if file.size > 0 else max(1, file.entries)


def _cuts(file: TreeSummary, per_chunk: int) -> list[int]:
    """Return the entries at which a file is cut, with 0 and the number of entries."""
    if file.entries == 0:
        return []
    cuts = [0]
    ends = file.ends or range(per_chunk, file.entries, per_chunk)
    for end in ends:
        if end - cuts[-1] >= per_chunk and end < file.entries:
            cuts.append(end)
    return [*cuts, file.entries]
