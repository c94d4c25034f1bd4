"""The ledger: every chunk, every attempt, every result of a run, in one SQLite file beside it.

Partial results are kept here as well, so that a chunk's numbers and the note that it is done enter in one
transaction: they are there whole or not at all, and never twice. Those of neighbours may give way to their subtree
(`portico.runfolder.subtrees`), again in one transaction.
"""

from __future__ import annotations

import heapq
import json
import time
import zlib
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from portico.analysis.chunks import Chunk
from portico.runfolder.database import from_json
from portico.runfolder.result_store import ResultStore
from portico.runfolder.subtrees import Subtrees, subtree_keys
from portico.shown import without_secrets

__all__ = ["Attempt", "Ledger", "Lost", "Planned"]

_NOTED = ("key", "number", "outcome", "message", "log")


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


class Ledger(ResultStore):
    """The ledger of one run folder: the plan, every chunk and every attempt, beside the results.

    Parameters and errors are those of `ResultStore`.
    """

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
        rows = [row for sample, planned in samples.items() for row in self._rows(sample, planned)]
        same = self._is_planned(step, rows, samples if others else None)  # to read chunks is quicker than to write them
        at = self._db.execute("SELECT position, kind, state FROM step WHERE step = ?", (step,)).fetchone()
        if same and kind != "summary" and at == (position, kind, "done") and not self.lost(step):
            return
        with self.transaction():
            self._db.execute(
                "INSERT INTO step VALUES (?, ?, ?, 'planned', 0, 0, '') ON CONFLICT (step) "
                "DO UPDATE SET position = excluded.position, kind = excluded.kind, state = 'planned'",
                (step, position, kind),
            )
            where = "step = ? AND sample = ?" if others else "step = ?"
            of = [(step, *sample) for sample in (zip(samples) if others else [()])]
            for table in ("lost",) if same else ("lost", "plan"):
                self._db.executemany(f"DELETE FROM {table} WHERE {where}", of)  # noqa: S608
            if not same:
                new = ((step, *row) for row in rows)
                self._db.executemany("INSERT INTO plan VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", new)

    def _rows(self, sample: str, planned: Sequence[Planned]) -> Iterator[tuple[Any, ...]]:
        written = self.paths.written
        for p, subtree in zip(planned, subtree_keys([p.key for p in planned]), strict=True):
            c = p.chunk
            yield sample, p.position, p.key, written(c.file), c.uuid, c.tree, c.first, c.last, subtree

    def _is_planned(self, step: str, rows: Sequence[tuple[Any, ...]], samples: Collection[str] | None) -> bool:
        """Return whether these are the rows of the plan of a step, or of some of its samples."""
        columns = "sample, position, key, file, uuid, tree, first, last, subtree"
        found = self._db.execute(f"SELECT {columns} FROM plan WHERE step = ? ORDER BY rowid", (step,)).fetchall()  # noqa: S608
        return found == rows if samples is None else sorted(x for x in found if x[0] in samples) == sorted(rows)

    def keep_only(self, step: str, samples: Iterable[str]) -> None:
        """Leave samples that a step does not run on any more without a current result."""
        for sample in self.result_keys(step).keys() - set(samples):
            self.drop_result(step, sample)

    def set_state(self, step: str, state: str, seconds: float = 0.0, workers: int = 0, executor: str = "") -> None:
        """Record the state of a step (``running``, ``done``, ``failed``, ``partial``), and how long it took."""
        row = self._db.execute("SELECT state, workers, executor, seconds FROM step WHERE step = ?", (step,)).fetchone()
        if row is not None and row != (new := (state, workers or row[1], executor or row[2], seconds or row[3])):
            with self.transaction():
                query = "UPDATE step SET state = ?, workers = ?, executor = ?, seconds = ? WHERE step = ?"
                self._db.execute(query, (*new, step))

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
            yield Planned(row[0], row[1], row[2], self._chunk(*row[3:]))

    def _chunk(self, file: str, *others: Any) -> Chunk:
        return Chunk(self.paths.used(file), *others)

    def _files(self, outputs: str) -> list[dict[str, Any]]:
        return self.paths.from_text(outputs)

    def files_read(self, step: str, sample: str) -> dict[str, int]:
        """Return the files that the plan of a step's sample reads, in order, and how many entries of each."""
        rows = self._db.execute(
            "SELECT file, SUM(last - first) FROM plan WHERE step = ? AND sample = ? GROUP BY file ORDER BY MIN(rowid)",
            (step, sample),
        )
        return {self.paths.used(file): entries for file, entries in rows}

    def done(self, step: str) -> dict[str, list[dict[str, Any]]]:
        """Return the keys of a step's chunks that are done, with the files that each wrote."""
        rows = self._db.execute("SELECT key, outputs FROM available WHERE step = ?", (step,))
        return {key: self._files(outputs) for key, outputs in rows}

    def all_done(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Return the key of each chunk that is done, planned or not, with the files that it wrote."""
        for key, outputs in self._db.execute("SELECT key, outputs FROM done"):
            yield key, self._files(outputs)

    def trees(self) -> set[str]:
        """Return the paths of all trees that done chunks wrote, also those of results that are not current."""
        rows = self._db.execute("SELECT outputs FROM done WHERE outputs != '[]'")
        return {output["path"] for (outputs,) in rows for output in self._files(outputs)}

    def trees_of(self, step: str) -> set[str]:
        """Return the paths of the trees that the done chunks of a step's plan wrote."""
        rows = self._db.execute(  # from those that wrote some, which an index has
            "SELECT outputs FROM done CROSS JOIN plan ON plan.key = done.key WHERE outputs != '[]' AND step = ?",
            (step,),
        )
        return {output["path"] for (outputs,) in rows for output in self._files(outputs)}

    def commit(
        self, finished: Iterable[tuple[Attempt, bytes | None, list[dict[str, Any]]]], failed: Iterable[Attempt] = (),
        at: float | None = None,
    ) -> None:  # fmt: skip
        """Record attempts, with partial result and files of those that succeeded; a chunk counts once.

        The partial result is None if it is in a subtree. What is recorded with a time ``at`` is not recorded again: a
        commit may be repeated after an error, which does not tell whether it took place.
        """
        now = time.time() if at is None else at
        with self.transaction():
            for attempt, partial, outputs in finished:
                files = self.paths.to_text(outputs)
                row = (attempt.key, attempt.number, zlib.crc32(partial or b""), files, partial)
                new = self._db.execute(
                    "INSERT INTO done VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET attempt = "
                    "excluded.attempt, checksum = excluded.checksum, outputs = excluded.outputs, "
                    "partial = excluded.partial WHERE partial IS NULL", row)  # fmt: skip
                if new.changed:
                    self._note(attempt, now)
            for attempt in failed:
                self._note(attempt, now)

    def _note(self, attempt: Attempt, now: float) -> None:
        attempt = replace(attempt, message=without_secrets(attempt.message), log=without_secrets(attempt.log))
        self._db.execute(
            "INSERT INTO attempt SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE NOT EXISTS "
            "(SELECT 1 FROM attempt WHERE key = ?1 AND number = ?2 AND outcome = ?3 AND time = ?6)",
            (*(getattr(attempt, name) for name in _NOTED), now, without_secrets(json.dumps(attempt.metrics))),
        )

    def forget(self, keys: Iterable[str]) -> None:
        """Forget that chunks are done, because their files are gone; those of their subtrees run again."""
        gone = set(keys)
        if gone:
            with self.transaction():
                self.subtrees.dissolve(gone)
                self._db.executemany("DELETE FROM done WHERE key = ?", ((key,) for key in gone))

    def dissolve(self, keys: Iterable[str]) -> None:
        """Remove the subtrees that contain one of these chunks; those of which nothing is left run again."""
        with self.transaction():
            self.subtrees.dissolve(set(keys))

    @property
    def subtrees(self) -> Subtrees:
        """The partial results of neighbours that were merged."""
        return Subtrees(self._path, self._db, self.transaction)

    def partials(self, step: str, sample: str) -> Iterator[tuple[int, bytes]]:
        """Return the partial results of a step's sample in chunk order, one at a time, without lost chunks.

        Returns
        -------
        iterator of (int, bytes)
            The position of a chunk, and its result; or that of the first chunk of a subtree, and its merged result.

        Raises
        ------
        RunFolderError
            If one is damaged.
        """
        singles = self._db.execute(
            "SELECT position, key, partial, checksum FROM kept WHERE step = ? AND sample = ? "
            "AND subtree NOT IN (SELECT key FROM subtree) ORDER BY position",
            (step, sample),
        )
        merged = self._db.execute(
            "SELECT position, plan.key, merged, checksum FROM plan JOIN subtree ON subtree.key = plan.subtree "
            "AND subtree.first = plan.key WHERE step = ? AND sample = ? ORDER BY position",
            (step, sample),
        )
        for position, key, partial, checksum in heapq.merge(singles, merged):
            yield position, self.subtrees.checked(key, partial, checksum)

    def count(self, step: str, sample: str) -> int:
        """Return of how many chunks `partials` returns the results."""
        query = "SELECT COUNT(*) FROM kept WHERE step = ? AND sample = ?"
        return int(self._db.execute(query, (step, sample)).fetchone()[0])

    def chunks(self, keys: Iterable[str]) -> Iterator[tuple[Attempt, bytes | None, list[dict[str, Any]]]]:
        """Return chunks that are done, as `commit` takes them; those that are not are left out.

        Raises
        ------
        RunFolderError
            If a partial result is damaged.
        """
        query = (
            "SELECT number, outcome, message, log, metrics, partial, outputs, checksum FROM done JOIN attempt "
            "ON attempt.key = done.key AND number = done.attempt AND outcome = 'done' WHERE done.key = ?"
        )
        for key in keys:
            for number, outcome, message, log, metrics, partial, outputs, checksum in self._db.execute(query, (key,)):
                whole = partial if partial is None else self.subtrees.checked(key, partial, checksum)
                yield Attempt(key, number, outcome, message, log, from_json(metrics)), whole, self._files(outputs)
                break

    def outputs(self, step: str, sample: str) -> list[list[dict[str, Any]]]:
        """Return the files of each chunk of a step's sample that wrote some, in chunk order, without lost chunks."""
        if self._db.execute("SELECT 1 FROM done WHERE outputs != '[]' LIMIT 1").fetchone() is None:
            return []
        rows = self._db.execute(
            "SELECT outputs FROM kept WHERE step = ? AND sample = ? AND outputs != '[]' ORDER BY position",
            (step, sample),
        )
        return [self._files(outputs) for (outputs,) in rows]

    def set_lost(self, step: str, lost: Iterable[Lost]) -> None:
        """Record the losses of a step: what its results do not include; no subtree contains one of its chunks."""
        lost = [replace(x, message=without_secrets(x.message)) for x in lost]
        rows = ((step, x.sample, x.key, self.paths.written(x.file), x.entries, x.kind, x.message) for x in lost)
        if lost:
            with self.transaction():
                self.subtrees.dissolve({x.key for x in lost})
                self._db.executemany("INSERT INTO lost VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def lost(self, step: str) -> list[Lost]:
        """Return the losses of a step: what its results do not include."""
        rows = self._db.execute(
            "SELECT sample, key, file, entries, kind, message FROM lost WHERE step = ? ORDER BY rowid", (step,)
        )
        return [Lost(sample, key, self.paths.used(file), *others) for sample, key, file, *others in rows]

    def metrics(self, step: str) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Return sample, position and metrics of each chunk of the plan that is done, in chunk order."""
        rows = self._db.execute(
            "SELECT sample, available.position, metrics, number FROM available "
            "JOIN attempt ON attempt.key = available.key AND number = available.attempt AND outcome = 'done' "
            "WHERE step = ? GROUP BY plan ORDER BY plan",
            (step,),
        )
        for sample, position, metrics, number in rows:
            yield sample, position, {**from_json(metrics), "attempt": number}

    def failures(self, step: str) -> list[tuple[Planned, Attempt, bool]]:
        """Return the failed attempts at the chunks of the plan, the latest last, and whether a later one succeeded."""
        rows = self._db.execute(
            "SELECT sample, position, plan.key, file, uuid, tree, first, last, number, outcome, message, log, metrics, "
            "EXISTS (SELECT 1 FROM available WHERE available.key = plan.key AND available.step = plan.step) "
            "FROM plan JOIN attempt ON attempt.key = plan.key "
            "WHERE step = ? AND outcome != 'done' ORDER BY time, number",
            (step,),
        )
        return [
            (
                Planned(r[0], r[1], r[2], self._chunk(*r[3:8])),
                Attempt(r[2], r[8], r[9], r[10], r[11], from_json(r[12])),
                bool(r[13]),
            )
            for r in rows
        ]

    def planned_keys(self, step: str | None = None) -> set[str]:
        """Return the keys of all chunks in the plan of a step, by default of any."""
        return {key for (key,) in self._db.execute("SELECT key FROM plan WHERE step = COALESCE(?, step)", (step,))}

    def has_older(self) -> bool:
        """Return whether there are results that are not current, or chunks that are not planned."""
        queries = (
            "SELECT 1 FROM result WHERE (step, sample, key) NOT IN (SELECT step, sample, key FROM current) LIMIT 1",
            "SELECT 1 FROM done WHERE NOT EXISTS (SELECT 1 FROM plan WHERE plan.key = done.key) LIMIT 1",
            "SELECT 1 FROM subtree WHERE key NOT IN (SELECT subtree FROM plan) LIMIT 1",
        )
        return any(self._db.execute(query).fetchone() is not None for query in queries)

    def chunk_sizes(self) -> dict[str, int]:
        """Return the bytes of each done chunk with its trees, by key."""
        rows = self._db.execute("SELECT key, COALESCE(LENGTH(partial), 0), outputs FROM done")
        sizes = {
            key: size + sum(int(item.get("size", 0)) for item in self._files(outputs)) for key, size, outputs in rows
        }
        for first, size in self.subtrees.sizes():  # kept as long as all its chunks
            sizes[first] = sizes.get(first, 0) + size
        return sizes

    def remove(self, results: Container[tuple[str, str, str]], chunks: Container[str], versions: Iterable[int]) -> None:
        """Remove results and chunks except those given, and versions."""
        with self.transaction():
            rows = self._db.execute("SELECT step, sample, key FROM result").fetchall()
            unwanted = [row for row in rows if row not in results]
            self._db.executemany("DELETE FROM result WHERE step = ? AND sample = ? AND key = ?", unwanted)
            self.subtrees.keep_only(chunks)
            for table in ("done", "attempt"):
                keys = self._db.execute(f"SELECT DISTINCT key FROM {table}").fetchall()  # noqa: S608
                unneeded = [row for row in keys if row[0] not in chunks]
                self._db.executemany(f"DELETE FROM {table} WHERE key = ?", unneeded)  # noqa: S608
            self._db.executemany("DELETE FROM version WHERE number = ?", ((number,) for number in versions))

    def shrink(self) -> None:
        """Give the space of what was removed back to the disk.

        Raises
        ------
        SpaceError
            If the disk is full.
        """
        self._db.execute("VACUUM")
