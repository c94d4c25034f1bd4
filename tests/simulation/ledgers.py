"""SQLite as the ledger meets it, with its faults: busy, full, failing, or done without an answer."""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from portico.runfolder.schema import SCHEMA, SCHEMA_VERSION

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["Connection", "Sqlite"]

_FAULTS = (("SQLITE_FULL", 13), ("SQLITE_IOERR_FSYNC", 1034), ("SQLITE_IOERR_WRITE", 778))


class Connection(sqlite3.Connection):
    """A connection of the world's driver.

    SQLite itself is trusted to keep or undo a transaction as a whole, also when power is lost. Drivers are not killed
    here as processes are, so the journal is in memory, which is quicker.
    """

    world: World
    stays_open = False
    """One connection serves all drivers, one after the other: to open one takes long."""

    def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:  # type: ignore[override]
        world = self.world
        world.alive()
        if statement == "COMMIT":
            return self._commit(statement)
        if statement.startswith("BEGIN"):
            with world.operation("begin"):
                if world.fails("ledger is busy"):
                    world.clock.now += world.random("storage").choice((1.0, 20.0, 31.0))  # 30 s are waited for
                    raise _error("SQLITE_BUSY", 5)
                return super().execute(statement, values)
        if statement.startswith("PRAGMA journal_mode"):
            statement = "PRAGMA journal_mode = MEMORY"
        return super().execute(statement, values)

    def executemany(self, statement: str, rows: Any) -> sqlite3.Cursor:  # type: ignore[override]
        self.world.alive()
        return super().executemany(statement, rows)

    def close(self) -> None:
        if not self.stays_open:
            super().close()
        elif self.in_transaction:
            super().execute("ROLLBACK")

    def _commit(self, statement: str) -> sqlite3.Cursor:
        world = self.world
        with world.operation("commit"):
            if world.fails("commit fails"):
                raise _error(*world.random("storage").choice(_FAULTS))
            cursor = super().execute(statement)
            if world.fails("answer of commit is lost"):
                raise _error("SQLITE_IOERR_DIR_FSYNC", 1290)
            return cursor


def _error(name: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("simulated")
    error.sqlite_errorname, error.sqlite_errorcode = name, code
    return error


class Sqlite:
    """Stands for the module `sqlite3`: connects as the world says.

    Parameters
    ----------
    world : World
        Has the faults.
    in_memory : bool
        Keep the ledger in memory, which is quicker; the file is there, and empty.
    """

    def __init__(self, world: World, in_memory: bool) -> None:
        self._world, self._opened = world, list[Connection]()
        self._kept: Connection | None = None
        if in_memory:
            self._kept = sqlite3.connect(":memory:", isolation_level=None, factory=Connection)
            self._kept.world, self._kept.stays_open = world, True
            _empty_ledger().backup(self._kept)

    def connect(self, place: str, **kwargs: Any) -> Connection:
        self._world.alive()
        if self._kept is not None:
            return self._kept
        connection = sqlite3.connect(place, factory=Connection, **kwargs)
        connection.world = self._world
        self._opened.append(connection)
        return connection

    def leave(self) -> list[Connection]:
        """Hand over what is open, for another driver to work meanwhile."""
        opened, self._opened = self._opened, []
        return opened

    def join(self, opened: list[Connection]) -> None:
        """Take back what `leave` handed over."""
        self._opened += opened

    def close(self) -> None:
        """Close what a driver that was killed has left open, which undoes what was not committed."""
        for connection in self._opened if self._kept is None else [self._kept]:
            connection.close()
        self._opened.clear()

    def end(self) -> None:
        """Close all."""
        self.close()
        if self._kept is not None:
            self._kept.stays_open = False
            self._kept.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(sqlite3, name)


@lru_cache
def _empty_ledger() -> sqlite3.Connection:
    """Return a ledger with its tables, which take long to make."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    return connection
