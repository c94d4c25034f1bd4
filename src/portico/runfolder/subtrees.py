"""Subtrees: merged results of neighbours in a plan, which replace their partial results in the ledger.

A subtree is of `SIZE` chunks, the first of which has a position that is a multiple of it, so that it is a node of the
tree along which results merge. Its key is that of its chunks in their order; a plan in which they are neighbours at
other positions does not use it. It is there only while each of its chunks is done.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from portico.runfolder.database import Damaged, Database
from portico.runfolder.stored_paths import MEND

__all__ = ["SIZE", "Subtree", "Subtrees", "subtree_keys"]

SIZE = 64
"""Chunks of a subtree: what runs again if one of them is lost, and by how much the ledger shrinks."""


@dataclass(frozen=True, slots=True)
class Subtree:
    """Neighbours that were merged.

    Parameters
    ----------
    key : str
        From `subtree_keys`.
    chunks : tuple of str
        The keys of its chunks, in order.
    merged : bytes
        Their merged result.
    """

    key: str
    chunks: tuple[str, ...]
    merged: bytes


def subtree_keys(chunks: Sequence[str]) -> list[str]:
    """Return for each chunk of a plan the key of the subtree that it may be merged into.

    Parameters
    ----------
    chunks : sequence of str
        The keys of a sample's chunks, in order.

    Returns
    -------
    list of str
        Empty for the chunks at the end that do not make up a subtree.
    """
    whole = len(chunks) // SIZE * SIZE
    keys: list[str] = []
    for first in range(0, whole, SIZE):
        digest = hashlib.sha256("\n".join(chunks[first : first + SIZE]).encode()).hexdigest()
        keys += [digest[:32]] * SIZE
    return keys + [""] * (len(chunks) - whole)


class Subtrees:
    """The subtrees in a ledger.

    Parameters
    ----------
    path : Path
        The ledger, for messages.
    db : Database
        The same, open.
    transaction : callable
        Begins a transaction.
    """

    def __init__(self, path: Path, db: Database, transaction: Callable[[], AbstractContextManager[None]]) -> None:
        self._path, self._db, self._transaction = path, db, transaction

    def checked(self, key: str, result: bytes, checksum: int) -> bytes:
        """Return the result of a chunk, or of a subtree that begins with it.

        Raises
        ------
        Damaged
            If it is not as it was written.
        """
        if zlib.crc32(result) != checksum:
            raise Damaged(f"{self._path}: the result of chunk {key[:12]} is damaged; {MEND}")
        return result

    def keep(self, merged: Mapping[tuple[str, ...], bytes]) -> None:
        """Keep merged results of neighbours in place of their partial results.

        Parameters
        ----------
        merged : mapping of tuple of str to bytes
            By the keys of `SIZE` done chunks, in order: their merged result.
        """
        with self._transaction():
            for chunks, data in merged.items():
                self._add(Subtree(subtree_keys(chunks)[0], chunks, data))
                keys = ((key,) for key in chunks)
                self._db.executemany("UPDATE done SET partial = NULL WHERE key = ?", keys)

    def take_over(self, chunks: Iterable[str], source: Subtrees) -> None:
        """Keep the subtrees of another ledger all of whose chunks are among these."""
        for subtree in source._inside(chunks):
            with self._transaction():
                self._add(subtree)

    def _add(self, subtree: Subtree) -> None:
        names = zlib.compress("\n".join(subtree.chunks).encode())
        checksum = zlib.crc32(subtree.merged)
        row = (subtree.key, subtree.chunks[0], checksum, names, subtree.merged)
        self._db.execute("INSERT OR REPLACE INTO subtree VALUES (?, ?, ?, ?, ?)", row)

    def dissolve(self, chunks: Container[str]) -> None:
        """Remove the subtrees that contain one of these chunks; in a transaction of the caller."""
        self._remove(key for key, of in self._members() if any(chunk in chunks for chunk in of))

    def keep_only(self, chunks: Container[str]) -> None:
        """Remove the subtrees that contain other chunks than these; in a transaction of the caller."""
        self._remove(key for key, of in self._members() if any(chunk not in chunks for chunk in of))

    def _remove(self, keys: Iterable[str]) -> None:
        self._db.executemany("DELETE FROM subtree WHERE key = ?", [(key,) for key in keys])

    def _inside(self, chunks: Iterable[str]) -> Iterator[Subtree]:
        wanted = set(chunks)
        for key, of in list(self._members()):
            if wanted.issuperset(of):
                query = "SELECT merged, checksum FROM subtree WHERE key = ?"
                merged, checksum = self._db.execute(query, (key,)).fetchone()
                yield Subtree(key, of, self.checked(of[0], merged, checksum))

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Return the key of the first chunk of each subtree, and how many bytes it takes."""
        yield from self._db.execute("SELECT first, LENGTH(merged) FROM subtree")

    def _members(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        for key, names in self._db.execute("SELECT key, chunks FROM subtree"):
            yield key, tuple(zlib.decompress(names).decode().split("\n"))

    def separate(self, step: str) -> dict[str, int]:
        """Return the bytes of each partial result of a step's plan that is in no subtree of the plan, by key."""
        rows = self._db.execute(
            "SELECT key, LENGTH(partial) FROM available WHERE step = ? AND subtree NOT IN (SELECT key FROM subtree)",
            (step,),
        )
        return dict(rows.fetchall())

    def unused(self, step: str) -> int:
        """Return how many chunks of a step's plan are in subtrees alone, and in none of this plan."""
        query = (
            "SELECT COUNT(*) FROM plan JOIN done ON done.key = plan.key "
            "WHERE step = ? AND partial IS NULL AND subtree NOT IN (SELECT key FROM subtree)"
        )
        return int(self._db.execute(query, (step,)).fetchone()[0])

    def partials(self, chunks: Iterable[str]) -> Iterator[bytes]:
        """Return the partial results of chunks that are in no subtree, one at a time.

        Raises
        ------
        RunFolderError
            If one is damaged.
        """
        for key in chunks:
            row = self._db.execute("SELECT partial, checksum FROM done WHERE key = ?", (key,)).fetchone()
            yield self.checked(key, *row)
