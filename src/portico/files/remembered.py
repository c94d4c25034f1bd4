"""Summaries of trees and checksums of files, remembered between runs in one SQLite file of the user.

It holds nothing that the files do not tell again. An entry is valid for the stamp that its file had, and for the
versions of Portico and uproot that read it. Several processes may use it at once. If it is damaged it is made again;
where it cannot be written, or others could write it, the process remembers for itself alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from portico._version import __version__
from portico.files.summary import Column, Friend, TreeSummary
from portico.files.version import Version
from portico.shown import without_secrets

__all__ = ["Checksum", "Remembered", "cache_folder", "compiled_folder", "make_private", "remembered"]

_FORMAT = 2  # of the entries; one more whenever planning reads files in another way
_MOST_BYTES = 256 * 2**20
_LOCKED_SECONDS = 5.0
_AT_A_TIME = 500
_DAY = 86_400
_UNUSABLE = ("locked", "readonly", "unable to open", "full", "disk I/O")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS summary (file TEXT, tree TEXT, stamp TEXT, maker TEXT, digest TEXT, content TEXT,
    crc INTEGER, day INTEGER, PRIMARY KEY (file, tree)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS columns (digest TEXT PRIMARY KEY, content BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checksum (file TEXT PRIMARY KEY, stamp TEXT, adler32 TEXT, source TEXT, time REAL,
    day INTEGER) WITHOUT ROWID;
"""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Checksum:
    """The Adler-32 of a file.

    Parameters
    ----------
    value : str
        Eight hexadecimal digits; empty if it is unknown.
    source : str
        Who computed it: the server, or Portico by reading the file.
    time : float
        When it was asked for or computed, in seconds since 1970.
    """

    value: str
    source: str
    time: float


def cache_folder() -> Path | None:
    """Return the folder of the user's cache: ``$PORTICO_CACHE``, else ``portico`` in the one that XDG names.

    None if ``PORTICO_CACHE`` is empty, or there is no home.
    """
    own = os.environ.get("PORTICO_CACHE")
    if own is not None:
        return Path(own).absolute() if own else None
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "portico"
    except RuntimeError:
        return None


def make_private(folder: Path) -> bool:
    """Make a folder; return whether it can be written, and by no other user, whose files would be taken for ours."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
    except OSError:
        return False
    return status.st_uid == os.getuid() and not status.st_mode & 0o022 and os.access(folder, os.W_OK)


def compiled_folder(variable: str, name: str) -> Path | None:
    """Return a folder of kept compiled code: the one in an environment variable, else ``name`` in the user's cache.

    None where none can be kept, or where another user could write to it.
    """
    own, cache = os.environ.get(variable), cache_folder()
    if not own and (own is not None or cache is None):
        return None
    folder = Path(own).absolute() if own else Path(cache or "", name)
    return folder if make_private(folder) else None


def remembered() -> Remembered:
    """Return what this process remembers with the others of the user."""
    folder = cache_folder()
    return _opened(None if folder is None else folder / "files.sqlite", os.getpid())


@lru_cache
def _opened(path: Path | None, process: int) -> Remembered:  # noqa: ARG001 (a connection does not survive a fork)
    return Remembered(path)


@lru_cache
def _maker() -> str:
    return f"{_FORMAT} {__version__} {metadata.version('uproot')}"


class Remembered:
    """Summaries and checksums in one SQLite file.

    Parameters
    ----------
    path : Path, optional
        The file; without one they last as long as the process.
    most_bytes : int
        When it grows beyond this, what was not used for the longest time is forgotten.
    """

    def __init__(self, path: Path | None, most_bytes: int = _MOST_BYTES) -> None:
        self._path, self._most_bytes = path, most_bytes
        self._lock = threading.Lock()
        self._shared: dict[str, tuple[Column, ...]] = {}
        self._db: sqlite3.Connection | None = None

    def summaries(self, files: Sequence[str], tree: str) -> dict[str, tuple[str, TreeSummary]]:
        """Return the stamp and the summary of a tree for each file of which they are known."""
        asked = {without_secrets(file): file for file in files}
        rows = self._do(lambda db: self._select(db, list(asked), tree))
        found = {}
        for written, stamp, content, digest in rows:
            file, columns = asked[written], self._shared.get(digest)
            if columns is not None:
                found[file] = stamp, _from_text(file, content, columns)
        return found

    def keep(self, summaries: Iterable[tuple[str, Version, TreeSummary]]) -> None:
        """Remember summaries of files, each with the tree that was asked for; unsettled ones are left out."""
        rows, columns = [], {}
        for tree, version, summary in summaries:
            if version.settled:
                digest, content = _digest(summary.columns), _to_text(summary)
                columns[digest] = summary.columns
                rows.append((without_secrets(summary.file), tree, version.stamp, _maker(), digest, content,
                             zlib.crc32(content.encode()), _today()))  # fmt: skip
        if rows:
            self._do(lambda db: self._insert(db, rows, columns))

    def shared(self, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        """Return columns without their sizes, the same object for all files with the same."""
        return self._shared.setdefault(_digest(columns), tuple(Column(c.name, c.type) for c in columns))

    def checksum(self, file: str, stamp: str) -> Checksum | None:
        """Return the checksum that is known of a file that has this stamp."""
        query = "SELECT adler32, source, time FROM checksum WHERE file = ? AND stamp = ?"
        row = self._do(lambda db: db.execute(query, (without_secrets(file), stamp)).fetchone())
        return None if row is None else Checksum(*row)

    def keep_checksum(self, file: str, version: Version, checksum: Checksum) -> None:
        """Remember the checksum of a file, unless its version is unsettled."""
        row = without_secrets(file), version.stamp, checksum.value, checksum.source, checksum.time, _today()
        if version.settled:
            self._do(lambda db: db.execute("INSERT OR REPLACE INTO checksum VALUES (?, ?, ?, ?, ?, ?)", row))

    def _do(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Return what an action returns; on a new file if this one is damaged, or in memory if it cannot be used."""
        with self._lock:
            try:
                return self._within(action)
            except (sqlite3.Error, OSError) as error:
                self._close()
                if isinstance(error, OSError) or any(words in str(error) for words in _UNUSABLE):
                    self._path = None
                elif self._path is not None:
                    self._remove(self._path)
            try:
                return self._within(action)
            except (sqlite3.Error, OSError):
                self._close()
                self._path = None
            return self._within(action)

    def _within(self, action: Callable[[sqlite3.Connection], T]) -> T:
        if self._db is None:
            if self._path is not None and not make_private(self._path.parent):
                self._path = None
            self._db = sqlite3.connect(self._path or ":memory:", timeout=_LOCKED_SECONDS, check_same_thread=False)
            self._db.execute("PRAGMA synchronous = OFF")  # what a crash of the machine leaves is made again
            self._db.execute("PRAGMA journal_mode = TRUNCATE")  # no WAL: homes are on network disks
            self._db.executescript(_SCHEMA)
        with self._db:
            return action(self._db)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    @staticmethod
    def _remove(path: Path) -> None:
        for name in (path, path.with_name(path.name + "-journal")):
            with suppress(OSError):
                name.unlink()

    def _select(self, db: sqlite3.Connection, files: Sequence[str], tree: str) -> list[tuple[str, str, str, str]]:
        """Return file, stamp, content and digest of the entries, and have their columns at hand."""
        found: list[tuple[str, str, str, str]] = []
        old: list[tuple[int, str, str]] = []
        today = _today()
        for some in _parts(files):
            marks = ", ".join("?" * len(some))
            rows = db.execute(
                "SELECT file, stamp, content, digest, crc, day FROM summary "  # noqa: S608 (only marks)
                f"WHERE tree = ? AND maker = ? AND file IN ({marks})", (tree, _maker(), *some),
            )  # fmt: skip
            for file, stamp, content, digest, crc, day in rows:
                if zlib.crc32(content.encode()) == crc:
                    found.append((file, stamp, content, digest))
                    old += [(today, file, tree)] * (day != today)
        db.executemany("UPDATE summary SET day = ? WHERE file = ? AND tree = ?", old)
        for digest in {digest for *_, digest in found} - self._shared.keys():
            row = db.execute("SELECT content FROM columns WHERE digest = ?", (digest,)).fetchone()
            columns = _columns(row[0]) if row is not None else ()
            if _digest(columns) == digest:
                self._shared[digest] = columns
        return found

    def _insert(
        self, db: sqlite3.Connection, rows: Sequence[tuple[object, ...]], columns: Mapping[str, tuple[Column, ...]]
    ) -> None:
        packed = ((digest, zlib.compress(_listed(of))) for digest, of in columns.items())
        db.executemany("INSERT OR IGNORE INTO columns VALUES (?, ?)", packed)
        db.executemany("INSERT OR REPLACE INTO summary VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        pages, free, size = (db.execute(f"PRAGMA {of}").fetchone()[0] for of in ("page_count", "freelist_count",
                                                                                 "page_size"))  # fmt: skip
        if (pages - free) * size > self._most_bytes:
            for table, key in (("summary", "file, tree"), ("checksum", "file")):
                db.execute(f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} "  # noqa: S608 (names)
                           f"ORDER BY day LIMIT (SELECT COUNT(*) / 2 FROM {table}))")  # fmt: skip
            db.execute("DELETE FROM columns WHERE digest NOT IN (SELECT digest FROM summary)")


def _today() -> int:
    return int(time.time()) // _DAY


def _parts(files: Sequence[str]) -> Iterable[Sequence[str]]:
    return (files[first : first + _AT_A_TIME] for first in range(0, len(files), _AT_A_TIME))


def _listed(columns: Iterable[Column]) -> bytes:
    return json.dumps([(column.name, column.type) for column in columns]).encode()


def _digest(columns: Iterable[Column]) -> str:
    return hashlib.sha256(_listed(columns)).hexdigest()


def _columns(content: bytes) -> tuple[Column, ...]:
    """Read columns; none if they are damaged."""
    try:
        return tuple(Column(name, kind) for name, kind in json.loads(zlib.decompress(content)))
    except (zlib.error, ValueError, TypeError):
        return ()


def _to_text(summary: TreeSummary) -> str:
    """Write a summary but for its columns; clusters as runs of one length, since most have the same."""
    runs: list[list[int]] = []
    for first, last in zip((0, *summary.ends), summary.ends, strict=False):
        if runs and runs[-1][0] == last - first:
            runs[-1][1] += 1
        else:
            runs.append([last - first, 1])
    friends = [(friend.name, friend.tree, friend.file) for friend in summary.friends]
    return json.dumps([summary.uuid, summary.tree, summary.format, summary.entries, runs, summary.size,
                       summary.version, summary.indexed, friends])  # fmt: skip


def _from_text(file: str, text: str, columns: tuple[Column, ...]) -> TreeSummary:
    uuid, tree, kind, entries, runs, size, version, indexed, friends = json.loads(text)
    ends: list[int] = []
    last = 0
    for length, times in runs:
        ends += range(last + length, last + length * times + 1, length)
        last += length * times
    known = tuple(Friend(*friend) for friend in friends)
    return TreeSummary(file, uuid, tree, kind, entries, tuple(ends), size, columns, version, indexed, known)
