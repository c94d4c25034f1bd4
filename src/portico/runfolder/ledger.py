"""The ledger: every chunk, every attempt, every result of a run, in one SQLite file beside it.

Partial results are kept here as well, so that a chunk's numbers and the note that it is done enter in one
transaction: they are there whole or not at all, and never twice.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portico.analysis.chunks import Chunk
from portico.errors import RunFolderError, SpaceError

__all__ = ["Attempt", "Ledger", "Lost", "Planned"]

_SCHEMA_VERSION = 2
_SUMMARY = "*"  # the sample under which the result of a summary step is kept
_NOTED = ("key", "number", "outcome", "message", "log")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS step (
    step TEXT PRIMARY KEY, position INTEGER, kind TEXT, state TEXT, seconds REAL, workers INTEGER, executor TEXT);
CREATE TABLE IF NOT EXISTS plan (
    step TEXT, sample TEXT, position INTEGER, key TEXT, file TEXT, uuid TEXT, tree TEXT, first INTEGER, last INTEGER,
    PRIMARY KEY (step, sample, position));
CREATE INDEX IF NOT EXISTS plan_key ON plan (key);
CREATE TABLE IF NOT EXISTS done (
    key TEXT PRIMARY KEY, attempt INTEGER, partial BLOB, checksum INTEGER, outputs TEXT);
CREATE TABLE IF NOT EXISTS attempt (
    key TEXT, number INTEGER, outcome TEXT, message TEXT, log TEXT, time REAL, metrics TEXT);
CREATE INDEX IF NOT EXISTS attempt_key ON attempt (key);
CREATE TABLE IF NOT EXISTS result (
    step TEXT, sample TEXT, key TEXT, merged BLOB, completeness REAL, PRIMARY KEY (step, sample));
CREATE TABLE IF NOT EXISTS lost (
    step TEXT, sample TEXT, key TEXT, file TEXT, entries INTEGER, kind TEXT, message TEXT);
CREATE VIEW IF NOT EXISTS kept AS
    SELECT step, sample, position, plan.key AS key, partial, checksum, outputs
    FROM plan JOIN done ON plan.key = done.key
    WHERE plan.key NOT IN (SELECT key FROM lost WHERE lost.step = plan.step AND lost.sample = plan.sample);
"""


@dataclass(frozen=True, slots=True)
class Planned:
    """A chunk in the plan of a step, with its key."""

    sample: str
    position: int
    key: str
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a chunk.

    Parameters
    ----------
    key : str
        Of the chunk.
    number : int
        1 for the first.
    outcome : str
        ``done`` or a kind of `portico.worker.task.Failed`.
    message, log : str
        Of a failure.
    metrics : dict
        Seconds by phase, bytes, memory, host.
    """

    key: str
    number: int
    outcome: str
    message: str = ""
    log: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lost:
    """A chunk that a result does not include, or a file that could not even be planned.

    Parameters
    ----------
    sample, key, file : str
        Which; the key of a file that could not be planned is empty.
    entries : int
        How many events are lost; of a file that could not be planned, estimated from its siblings.
    kind, message : str
        Why, as in `portico.worker.task.Failed`.
    """

    sample: str
    key: str
    file: str
    entries: int
    kind: str
    message: str


class Ledger:
    """The ledger of one run folder.

    Parameters
    ----------
    path : Path
        The SQLite file.
    read_only : bool
        For those who only look, while a driver may be writing.

    Raises
    ------
    RunFolderError
        If the file is not a ledger, or one of another version.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self._path = path
        # A driver that was killed may have left a journal, which only a reader who may write can roll back.
        mode = ("?mode=rw" if os.access(path, os.W_OK) else "?mode=ro") if read_only else ""
        uri = f"{path.resolve().as_uri()}{mode}"
        try:
            self._db = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)
            with self._guard():
                if read_only:
                    self._db.execute("PRAGMA query_only = ON")
                else:
                    self._db.execute("PRAGMA synchronous = NORMAL")
                    self._db.execute("PRAGMA journal_mode = TRUNCATE")  # no WAL: ledgers live on network disks
                self._open(read_only)
        except sqlite3.DatabaseError as error:
            raise RunFolderError(f"{path}: is not a ledger of portico: {error}") from error

    def _open(self, read_only: bool) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and read_only:
            raise RunFolderError(f"{self._path}: the run has not begun yet")
        if version not in {0, _SCHEMA_VERSION}:
            raise RunFolderError(f"{self._path}: written by another version of portico; use a new run folder")
        if not read_only:
            self._db.executescript(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "full" in str(error) or "disk I/O" in str(error):
                raise SpaceError(
                    f"{self._path}: cannot be written, the disk is full ({error}); free space and run again"
                ) from error
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all that follows, or nothing.

        Raises
        ------
        SpaceError
            If the disk is full.
        """
        with self._guard():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def plan(self, step: str, position: int, kind: str, samples: Mapping[str, Sequence[Planned]], others: bool) -> None:
        """Replace the plan of a step for the samples given.

        Parameters
        ----------
        step, position, kind
            Name, position in the analysis, ``frame`` or ``summary``.
        samples : mapping of str to sequence of Planned
            The chunks of each sample, in order.
        others : bool
            Whether to keep the plan of other samples.
        """
        with self.transaction():
            self._db.execute(
                "INSERT INTO step VALUES (?, ?, ?, 'planned', 0, 0, '') ON CONFLICT (step) "
                "DO UPDATE SET position = excluded.position, kind = excluded.kind, state = 'planned'",
                (step, position, kind),
            )
            if not others:
                self._db.execute("DELETE FROM plan WHERE step = ?", (step,))
                self._db.execute("DELETE FROM lost WHERE step = ?", (step,))
            for sample, planned in samples.items():
                self._db.execute("DELETE FROM plan WHERE step = ? AND sample = ?", (step, sample))
                self._db.execute("DELETE FROM lost WHERE step = ? AND sample = ?", (step, sample))
                rows = (
                    (step, sample, p.position, p.key, c.file, c.uuid, c.tree, c.first, c.last)
                    for p, c in ((p, p.chunk) for p in planned)
                )
                self._db.executemany("INSERT INTO plan VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def prune(self, step: str, samples: Iterable[str]) -> None:
        """Drop results that no plan needs: partial ones of older code or inputs, and those of other samples."""
        names = set(samples)
        with self.transaction():
            self._db.execute("DELETE FROM done WHERE key NOT IN (SELECT key FROM plan)")
            self._db.execute("DELETE FROM attempt WHERE key NOT IN (SELECT key FROM plan)")
            for (sample,) in self._db.execute("SELECT sample FROM result WHERE step = ?", (step,)).fetchall():
                if sample not in names:
                    self._db.execute("DELETE FROM result WHERE step = ? AND sample = ?", (step, sample))

    def set_state(self, step: str, state: str, seconds: float = 0.0, workers: int = 0, executor: str = "") -> None:
        """Record the state of a step (``running``, ``done``, ``failed``, ``partial``), and how long it took."""
        with self.transaction():
            self._db.execute(
                "UPDATE step SET state = ?, seconds = CASE WHEN ? > 0 THEN ? ELSE seconds END, "
                "workers = CASE WHEN ? > 0 THEN ? ELSE workers END, "
                "executor = CASE WHEN ? != '' THEN ? ELSE executor END "
                "WHERE step = ?",
                (state, seconds, seconds, workers, workers, executor, executor, step),
            )

    def steps(self) -> list[tuple[str, str, str, float, int, str]]:
        """Return name, kind, state, seconds, workers and executor of each step, in order."""
        return self._db.execute(
            "SELECT step, kind, state, seconds, workers, executor FROM step ORDER BY position"
        ).fetchall()

    def planned(self, step: str, sample: str | None = None) -> Iterator[Planned]:
        """Return the plan of a step, in chunk order."""
        rows = self._db.execute(
            "SELECT sample, position, key, file, uuid, tree, first, last FROM plan "
            "WHERE step = ? AND (? IS NULL OR sample = ?) ORDER BY rowid",
            (step, sample, sample),
        )
        for row in rows:
            yield Planned(row[0], row[1], row[2], Chunk(*row[3:]))

    def done(self, step: str) -> dict[str, list[dict[str, Any]]]:
        """Return the keys of a step's chunks that are done, with the files that each wrote."""
        rows = self._db.execute(
            "SELECT key, outputs FROM done WHERE key IN (SELECT key FROM plan WHERE step = ?)", (step,)
        )
        return {key: json.loads(outputs) for key, outputs in rows}

    def commit(
        self, finished: Iterable[tuple[Attempt, bytes, list[dict[str, Any]]]], failed: Iterable[Attempt] = ()
    ) -> None:
        """Record attempts, with partial result and files of those that succeeded; a chunk counts once."""
        now = time.time()
        with self.transaction():
            for attempt, partial, outputs in finished:
                self._db.execute(
                    "INSERT OR IGNORE INTO done VALUES (?, ?, ?, ?, ?)",
                    (attempt.key, attempt.number, partial, zlib.crc32(partial), json.dumps(outputs)),
                )
                self._note(attempt, now)
            for attempt in failed:
                self._note(attempt, now)

    def _note(self, attempt: Attempt, now: float) -> None:
        self._db.execute(
            "INSERT INTO attempt VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*(getattr(attempt, name) for name in _NOTED), now, json.dumps(attempt.metrics)),
        )

    def forget(self, keys: Iterable[str]) -> None:
        """Forget that chunks are done, because their files are gone."""
        with self.transaction():
            self._db.executemany("DELETE FROM done WHERE key = ?", ((key,) for key in keys))

    def partials(self, step: str, sample: str) -> Iterator[bytes]:
        """Return the partial results of a step's sample in chunk order, one at a time, without lost chunks.

        Raises
        ------
        RunFolderError
            If one is damaged.
        """
        rows = self._db.execute(
            "SELECT key, partial, checksum FROM kept WHERE step = ? AND sample = ? ORDER BY position",
            (step, sample),
        )
        for key, partial, checksum in rows:
            if zlib.crc32(partial) != checksum:
                raise RunFolderError(
                    f"{self._path}: the result of chunk {key[:12]} is damaged; remove the run folder and run again"
                )
            yield partial

    def outputs(self, step: str, sample: str) -> list[list[dict[str, Any]]]:
        """Return the files that each chunk of a step's sample wrote, in chunk order, without lost chunks."""
        rows = self._db.execute(
            "SELECT outputs FROM kept WHERE step = ? AND sample = ? ORDER BY position", (step, sample)
        )
        return [json.loads(outputs) for (outputs,) in rows]

    def set_lost(self, step: str, lost: Iterable[Lost]) -> None:
        """Record the losses of a step: what its results do not include."""
        rows = ((step, x.sample, x.key, x.file, x.entries, x.kind, x.message) for x in lost)
        with self.transaction():
            self._db.executemany("INSERT INTO lost VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def lost(self, step: str) -> list[Lost]:
        """Return the losses of a step: what its results do not include."""
        rows = self._db.execute(
            "SELECT sample, key, file, entries, kind, message FROM lost WHERE step = ? ORDER BY rowid", (step,)
        )
        return [Lost(*row) for row in rows]

    def set_result(self, step: str, sample: str, key: str, merged: bytes, completeness: float = 1.0) -> None:
        """Keep the merged result of a step's sample under its key, and the fraction of the events that it holds."""
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?, ?)", (step, sample, key, merged, completeness)
            )

    def drop_result(self, step: str, sample: str) -> None:
        """Forget a merged result that other code or input made than the plan's."""
        with self.transaction():
            self._db.execute("DELETE FROM result WHERE step = ? AND sample = ?", (step, sample))

    def completeness(self, step: str, sample: str) -> float:
        """Return the fraction of a sample's events that a result holds: less than 1 only in a partial run."""
        row = self._db.execute(
            "SELECT completeness FROM result WHERE step = ? AND sample = ?", (step, sample)
        ).fetchone()
        return 1.0 if row is None else float(row[0])

    def result_keys(self, step: str) -> dict[str, str]:
        """Return the key of each sample's result, in the order of the samples."""
        rows = self._db.execute(
            "SELECT sample, key FROM result WHERE step = ? AND sample != ? ORDER BY "
            "(SELECT MIN(rowid) FROM plan WHERE plan.step = result.step AND plan.sample = result.sample)",
            (step, _SUMMARY),
        )
        return dict(rows.fetchall())

    def result(self, step: str, sample: str) -> bytes | None:
        """Return a merged result, or None."""
        row = self._db.execute("SELECT merged FROM result WHERE step = ? AND sample = ?", (step, sample)).fetchone()
        return None if row is None else row[0]

    def set_summary(self, step: str, key: str, files: Sequence[str]) -> None:
        """Record the files that a summary step wrote, under its key."""
        self.set_result(step, _SUMMARY, key, json.dumps(files).encode())

    def summary(self, step: str) -> tuple[str, list[str]] | None:
        """Return the key of a summary step and the names of the files that it wrote, or None if it has not run."""
        query = "SELECT key, merged FROM result WHERE step = ? AND sample = ?"
        row = self._db.execute(query, (step, _SUMMARY)).fetchone()
        return None if row is None else (row[0], json.loads(row[1]))

    def metrics(self, step: str) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Return sample, position and metrics of each chunk of the plan that is done, in chunk order."""
        rows = self._db.execute(
            "SELECT sample, plan.position, metrics, number FROM plan JOIN done ON plan.key = done.key "
            "JOIN attempt ON attempt.key = done.key AND attempt.number = done.attempt AND outcome = 'done' "
            "WHERE plan.step = ? GROUP BY plan.rowid ORDER BY plan.rowid",
            (step,),
        )
        for sample, position, metrics, number in rows:
            yield sample, position, {**json.loads(metrics), "attempt": number}

    def failures(self, step: str) -> list[tuple[Planned, Attempt, bool]]:
        """Return the failed attempts at the chunks of the plan, the latest last, and whether a later one succeeded."""
        rows = self._db.execute(
            "SELECT sample, position, plan.key, file, uuid, tree, first, last, number, outcome, message, log, metrics, "
            "EXISTS (SELECT 1 FROM done WHERE done.key = plan.key) "
            "FROM plan JOIN attempt ON attempt.key = plan.key "
            "WHERE step = ? AND outcome != 'done' ORDER BY time, number",
            (step,),
        )
        return [
            (
                Planned(r[0], r[1], r[2], Chunk(*r[3:8])),
                Attempt(r[2], r[8], r[9], r[10], r[11], json.loads(r[12])),
                bool(r[13]),
            )
            for r in rows
        ]
