"""The SQLite file of a ledger: opening, protection, and messages for its problems."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from portico.errors import PorticoError, RunFolderError, SpaceError
from portico.files.troubles import explained, explaining, is_regular

__all__ = ["Damaged", "Database", "NotBegun", "from_json"]

LOCKED_SECONDS = 30.0
"""How long another program may hold the file."""

_PATIENCE = 1.0  # of SQLite itself, which hears no signals
_SHORT = 0.05
_JOURNAL = "-journal"
_PROBE = 2**16


class NotBegun(RunFolderError):  # noqa: N818 (it is as it should be)
    """The ledger has no tables yet: its driver was killed before it wrote them, or is about to."""


class Damaged(RunFolderError):  # noqa: N818 (what it says of a part of the ledger)
    """A part of a ledger is not as it was written."""


def from_json(text: object) -> Any:
    """Return what a column with JSON says.

    Raises
    ------
    Damaged
        If it is none.
    """
    try:
        return json.loads(str(text))
    except (ValueError, RecursionError) as error:
        raise Damaged(
            f"a row of the ledger is damaged ({error}); run again: the row is dropped and recreated"
        ) from error


def _copy_between_commits(path: Path, copy: Path) -> None:
    """Copy a file that somebody writes to, as it is between two transactions."""
    journal, until = path.with_name(path.name + _JOURNAL), time.monotonic() + LOCKED_SECONDS

    def state() -> tuple[int, ...]:
        status, left = path.stat(), journal.stat().st_size if journal.exists() else 0
        return left, status.st_size, status.st_mtime_ns

    while True:
        before = state()
        if before[0] == 0:
            shutil.copyfile(path, copy)
            if state() == before:
                return
        if time.monotonic() > until:
            raise RunFolderError(
                f"{path}: was written to for {LOCKED_SECONDS:.0f} s, and its file system has no locks; if no driver "
                "runs, it was killed while it wrote: run again, which takes back what is not complete"
            )
        time.sleep(_SHORT)


class _Rows:
    """The rows that a statement returns, whose errors are in words."""

    def __init__(self, cursor: sqlite3.Cursor, explained: Callable[[sqlite3.Error], PorticoError]) -> None:
        self._cursor, self._explained = cursor, explained

    @property
    def changed(self) -> int:
        """How many rows the statement has written."""
        return self._cursor.rowcount

    def __iter__(self) -> Iterator[Any]:
        while (row := self.fetchone()) is not None:
            yield row

    def fetchone(self) -> Any:
        try:
            return self._cursor.fetchone()
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def fetchall(self) -> list[Any]:
        try:
            return self._cursor.fetchall()
        except sqlite3.Error as error:
            raise self._explained(error) from error


class Database:
    """A SQLite file.

    Parameters
    ----------
    path : Path
        The file.
    schema : str
        SQL that makes its tables.
    version : int
        Of the schema: a file of another one is refused.
    read_only : bool
        For those who only look, while a driver may be writing.
    locks : bool
        Whether the file system has locks. Without, one driver may write, and readers look at a copy.

    Raises
    ------
    RunFolderError
        If the file is missing, damaged, no ledger or one of another version, locked, or cannot be used.
    SpaceError
        If the disk is full.
    """

    def __init__(self, path: Path, schema: str, version: int, read_only: bool = False, locks: bool = True) -> None:
        self.path, self.read_only = path, read_only
        self._stack = ExitStack()
        self._writing = False
        self.check: Callable[[], None] = lambda: None
        """Called before each transaction; raises an error if nothing may be written."""
        self._refuse_oddities()
        with self._guard(), explaining(path, "read"):
            self._db = self._connected() if locks else self._without_locks()
        self._stack.callback(self._db.close)
        try:
            self._prepare(schema, version)
            self._identity = self._seen()
        except BaseException:
            self.close()
            raise

    def _connected(self) -> sqlite3.Connection:
        # A driver that was killed may have left a journal, which only a reader who may write can roll back.
        mode = ("?mode=rw" if os.access(self.path, os.W_OK) else "?mode=ro") if self.read_only else ""
        uri = f"{self.path.resolve().as_uri()}{mode}"
        return sqlite3.connect(uri, uri=True, timeout=_PATIENCE, isolation_level=None)

    def _without_locks(self) -> sqlite3.Connection:
        if not self.read_only:
            uri = f"{self.path.resolve().as_uri()}?vfs=unix-none"
            return sqlite3.connect(uri, uri=True, isolation_level=None)
        copy = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-"))) / self.path.name
        _copy_between_commits(self.path, copy)
        return sqlite3.connect(f"{copy.as_uri()}?immutable=1", uri=True, isolation_level=None)

    def _refuse_oddities(self) -> None:
        for path in (self.path, self.path.with_name(self.path.name + _JOURNAL)):
            try:
                path.lstat()
                odd = path.is_symlink() and not path.exists()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise explained(error, path, "read") from error
            if odd or not is_regular(path):
                raise RunFolderError(f"{path}: is not a file; remove what is in its place, then: {self._repair}")
        if self.read_only and not self.path.exists():
            raise RunFolderError(
                f"{self.path}: does not exist; if the run has begun, it was removed: run again to recreate everything"
            )

    @property
    def _repair(self) -> str:
        return f"portico repair {self.path.parent}"

    def _prepare(self, schema: str, version: int) -> None:
        if self.read_only:
            self.execute("PRAGMA query_only = ON")
        else:
            self.execute("PRAGMA synchronous = FULL")
            self.execute("PRAGMA secure_delete = OFF")  # ON, as some build it, writes zeros over results
            self.execute("PRAGMA journal_mode = TRUNCATE")  # no WAL: ledgers live on network disks
        found = self.execute("PRAGMA user_version").fetchone()[0]
        if found == 0 and self.read_only:
            raise NotBegun(f"{self.path}: the run has not begun yet")
        if found not in {0, version}:
            raise RunFolderError(f"{self.path}: written by another version of portico; use a new run folder")
        if found == 0:
            if self.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None:
                raise Damaged(f"{self.path}: is not a ledger of portico; move it away, then: {self._repair}")
            with self._guard():
                self._db.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {version}; COMMIT;")

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> _Rows:
        """Execute a statement; wait for other programs that hold the file, and hear Ctrl-C meanwhile."""
        until = time.monotonic() + LOCKED_SECONDS
        with self._guard():
            while True:
                try:
                    return _Rows(self._db.execute(statement, values), self._explained)
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                        raise

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute a statement for each of several rows."""
        with self._guard():
            self._db.executemany(statement, rows)

    def columns(self) -> dict[str, set[str]]:
        """Return the columns of each table, with the number of rows."""
        tables = [row[0] for row in self.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
        return {t: {"rowid", *(row[1] for row in self.execute(f'PRAGMA table_info("{t}")').fetchall())} for t in tables}

    def take(self, table: str, columns: Sequence[str], values: Sequence[Any]) -> bool:
        """Insert a row of another file; return whether it was not there."""
        names, marks = ", ".join(f'"{name}"' for name in columns), ", ".join("?" * len(columns))
        statement = f'INSERT OR IGNORE INTO "{table}" ({names}) VALUES ({marks})'  # noqa: S608 (names of our tables)
        with self._guard():
            return self._db.execute(statement, tuple(values)).rowcount == 1

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See one state of the file in all that follows, whatever a driver commits meanwhile."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            self.execute("COMMIT")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all that follows, or nothing; at the end it is on disk. One inside another is a part of that.

        Raises
        ------
        SpaceError
            If the disk is full.
        RunFolderError
            If the file cannot be written, or was removed or replaced.
        """
        if self._writing:
            yield
            return
        self.check()
        self._check_identity()
        self.execute("BEGIN IMMEDIATE")
        self._writing = True
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            raise
        finally:
            self._writing = False

    def _seen(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _check_identity(self) -> None:
        """Refuse to go on with a file that has no name any more: what is written to it would be lost."""
        if self._seen() != self._identity:
            raise RunFolderError(
                f"{self.path}: was removed or replaced while the run wrote to it; nothing that came later is kept: "
                "put it back if it was moved, and run again"
            )

    def faults(self) -> list[str]:
        """Return what SQLite finds wrong with the structure of the file."""
        try:
            rows = self.execute("PRAGMA integrity_check(5)").fetchall()
        except RunFolderError as error:
            return [str(error)]
        return [row[0] for row in rows if row[0] != "ok"]

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _explained(self, error: sqlite3.Error) -> PorticoError:
        code = getattr(error, "sqlite_errorname", "")
        words = f"{error}, {code}" if code else str(error)
        match code.split("_")[1:2]:
            case ["FULL"]:
                return SpaceError(f"{self.path}: cannot be written, the disk is full; free space and run again")
            case ["BUSY"] | ["LOCKED"] | ["PROTOCOL"]:
                held = f"another program has held it for {LOCKED_SECONDS:.0f} s, such as sqlite3 or a backup"
                return RunFolderError(f"{self.path}: {held}; end that (fuser {self.path} names it), and try again")
            case ["READONLY"]:
                return RunFolderError(f"{self.path}: {self._why_not_written(words)}")
            case ["IOERR"]:
                return self._failing(words)
            case ["CANTOPEN"] | ["PERM"] | ["AUTH"]:
                return self._unopened(words)
            case ["NOMEM"]:
                return RunFolderError(f"{self.path}: not enough memory to read it ({words})")
        return Damaged(f"{self.path}: is damaged ({words}); keep what is intact with: {self._repair}")

    def _why_not_written(self, words: str) -> str:
        if "ROLLBACK" in words or "RECOVERY" in words or self.read_only:
            return (
                "a driver was killed while it wrote, and only a user who may write in the folder can take back what is "
                f"not complete ({words}); that user runs: portico status {self.path.parent}"
            )
        if not self.path.exists():
            return "was removed while the run wrote to it; run again"
        return f"cannot be written ({words}): file or folder is read-only; ask for access, or use another folder"

    def _failing(self, words: str) -> PorticoError:
        """Say why the system could not read or write, which SQLite does not tell."""
        try:
            self._probe()
        except OSError as error:
            return explained(error, self.path)
        return RunFolderError(
            f"{self.path}: cannot be read or written ({words}): the disk, or the server that it is on, fails; see its "
            "log (dmesg), and run again when it works: what is recorded as done is on disk"
        )

    def _probe(self) -> None:
        self.path.stat()
        if self.read_only:
            return
        name = self.path.with_name(f".{os.getpid():032x}.part")
        try:
            with name.open("wb") as stream:
                stream.write(bytes(_PROBE))
                stream.flush()
                os.fsync(stream.fileno())
        finally:
            if name.exists():
                name.unlink()

    def _unopened(self, words: str) -> PorticoError:
        try:
            with self.path.open("rb" if self.read_only else "r+b"):
                pass
            self._probe()
        except OSError as error:
            return explained(error, self.path, "read" if self.read_only else "written")
        return RunFolderError(f"{self.path}: cannot be opened ({words}); ask for access, or choose another folder")
