"""Damage in a ledger: damaged parts are found and dropped, and the next run recreates them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from portico.runfolder.database import Damaged, Database
from portico.runfolder.stored_paths import StoredPaths
from portico.runfolder.version import Version

__all__ = ["Damage", "find_damage", "forget", "result_checksum"]


@dataclass(frozen=True, slots=True)
class Damage:
    """Damaged rows of the tables of the ledger, by their numbers.

    Parameters
    ----------
    chunks : list of str
        Chunks whose partial results or descriptions of files are damaged, by the beginnings of their keys.
    results : list of (str, str)
        Merged results, by step and sample; the sample ``*`` is the files in the folder of the step.
    rows : dict of str to list of int
        The numbers of all damaged rows, by table.
    """

    chunks: list[str] = field(default_factory=list)
    results: list[tuple[str, str]] = field(default_factory=list)
    rows: dict[str, list[int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(self.rows.values())

    def __str__(self) -> str:
        counts = ((len(self.chunks), "chunk"), (len(self.results), "merged result"),
                  (sum(map(len, self.rows.values())) - len(self.chunks) - len(self.results), "other part"))  # fmt: skip
        return ", ".join(f"{count} {what}{'s' * (count > 1)}" for count, what in counts if count)


def result_checksum(step: str, sample: str, key: str, merged: bytes, completeness: float, chunks: bytes) -> int:
    """Return the checksum of a row with a merged result."""
    return zlib.crc32(merged, zlib.crc32(f"{step}\n{sample}\n{key}\n{completeness!r}\n".encode() + chunks))


def find_damage(db: Database, paths: StoredPaths) -> Damage:
    """Look at all that is kept in a ledger."""
    chunks, results = list(_chunks(db, paths)), list(_results(db))
    rows = {
        "done": [row for row, _ in chunks], "subtree": list(_subtrees(db)), "result": [row for row, *_ in results],
        "attempt": list(_attempts(db)), "current": list(_current(db)), "version": list(_versions(db)),
    }  # fmt: skip
    names = [key for _, key in chunks]
    return Damage(names, [(step, sample) for _, step, sample in results], rows)


def forget(db: Database, damage: Damage) -> None:
    """Remove what is damaged, and what was made current of it; in a transaction of the caller."""
    for table, rows in damage.rows.items():
        db.executemany(f"DELETE FROM {table} WHERE rowid = ?", [(row,) for row in rows])  # noqa: S608
    db.execute(
        "DELETE FROM current WHERE NOT EXISTS (SELECT 1 FROM result WHERE result.step = current.step "
        "AND result.sample = current.sample AND result.key = current.key)"
    )


def _chunks(db: Database, paths: StoredPaths) -> Iterator[tuple[int, str]]:
    for row, key, checksum, outputs, partial in db.execute("SELECT rowid, key, checksum, outputs, partial FROM done"):
        if not _is_whole(partial, checksum) or not _is_read(paths, outputs):
            yield row, str(key)[:12]


def _is_whole(blob: object, checksum: object) -> bool:
    return blob is None or (isinstance(blob, bytes) and zlib.crc32(blob) == checksum)


def _is_read(paths: StoredPaths, outputs: object) -> bool:
    try:
        paths.from_text(str(outputs))
    except Damaged:
        return False
    return True


def _subtrees(db: Database) -> Iterator[int]:
    for row, checksum, chunks, merged in db.execute("SELECT rowid, checksum, chunks, merged FROM subtree"):
        if merged is None or not _is_whole(merged, checksum) or not _is_packed(chunks):
            yield row


def _is_packed(chunks: object) -> bool:
    try:
        return isinstance(chunks, bytes) and bool(zlib.decompress(chunks).decode())
    except (zlib.error, UnicodeDecodeError):
        return False


def _results(db: Database) -> Iterator[tuple[int, str, str]]:
    query = "SELECT rowid, checksum, step, sample, key, merged, completeness, chunks FROM result"
    for row, checksum, step, sample, key, merged, completeness, chunks in db.execute(query):
        blobs = isinstance(merged, bytes) and isinstance(chunks, bytes)
        if not blobs or result_checksum(step, sample, key, merged, completeness, chunks) != checksum:
            yield row, str(step), str(sample)


def _attempts(db: Database) -> Iterator[int]:
    for row, metrics in db.execute("SELECT rowid, metrics FROM attempt"):
        if not _is_json(metrics, dict):
            yield row


def _current(db: Database) -> Iterator[int]:
    for row, inputs in db.execute("SELECT rowid, inputs FROM current"):
        if not _is_json(inputs, list):
            yield row


def _is_json(text: object, kind: type) -> bool:
    try:
        return isinstance(json.loads(str(text)), kind)
    except ValueError:
        return False


def _versions(db: Database) -> Iterator[int]:
    for number, time, steps in db.execute("SELECT number, time, steps FROM version"):
        try:
            Version.from_json(number, float(time), str(steps))
        except (ValueError, KeyError, TypeError, AttributeError):
            yield number
