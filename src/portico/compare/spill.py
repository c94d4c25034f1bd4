"""Temporary files that split the rows of two tables by event, for tables in very different orders."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from portico.compare.columns import Batch, Column, concatenate
from portico.compare.keys import Key
from portico.errors import SpaceError

__all__ = ["Spill"]

_LOW = np.uint64(0xFFFFFFFF)
_NONE = np.zeros(0, np.int64)


class Spill:
    """Both tables split into parts, in a temporary folder that is removed at the end.

    Parameters
    ----------
    parts : int
        Number of parts; the rows of one event are in the same part of both tables.
    """

    def __init__(self, parts: int) -> None:
        self.parts = parts
        self._folder = tempfile.TemporaryDirectory(prefix="portico-compare-")
        self._names: list[list[str]] = [[], []]

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._folder.cleanup()

    def write(self, side: int, key: Key, batches: Iterable[Batch]) -> None:
        """Split the rows of a side into its parts.

        Raises
        ------
        SpaceError
            If the disk is full.
        """
        files: list[IO[bytes]] = []
        try:
            files = [self._path(side, part).open("wb") for part in range(self.parts)]
            for batch in batches:
                self._names[side] = list(batch)
                key.note_types(batch)
                part_of = self._part(key, batch)
                for part in np.unique(part_of):
                    for column in batch.values():
                        rows = column.take(np.flatnonzero(part_of == part))
                        np.save(files[part], rows.values, allow_pickle=False)
                        np.save(files[part], _NONE if rows.offsets is None else rows.offsets, allow_pickle=False)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            raise SpaceError(
                f"no space left in {tempfile.gettempdir()}: trees with events in different orders are compared through "
                "temporary files as large as the trees; set TMPDIR to a larger disk"
            ) from error
        finally:
            for file in files:
                file.close()

    def read(self, side: int, part: int) -> Batch | None:
        """Return the rows of a part, or None if there are none."""
        batches = []
        with self._path(side, part).open("rb") as file:
            while file.peek(1):
                batches.append(_load(file, self._names[side]))
        return concatenate(batches) if batches else None

    def _path(self, side: int, part: int) -> Path:
        return Path(self._folder.name) / f"{side}-{part}"

    def _part(self, key: Key, batch: Batch) -> np.ndarray:
        number = np.zeros(len(next(iter(batch.values()))), np.uint64)
        for array in key.arrays(batch):
            number = (number ^ (array & _LOW)) * np.uint64(0x9E3779B97F4A7C15)
        return ((number >> np.uint64(32)) % np.uint64(self.parts)).astype(np.int64)


def _load(file: IO[bytes], names: list[str]) -> Batch:
    batch = {}
    for name in names:
        values, offsets = np.load(file, allow_pickle=False), np.load(file, allow_pickle=False)
        batch[name] = Column(values, offsets if offsets.size else None)
    return batch
