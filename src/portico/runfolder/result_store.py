"""The results in the ledger, stored under their keys, with the current keys and those of earlier versions."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from portico.errors import RunFolderError
from portico.runfolder.damage import Damage, find_damage, forget, result_checksum
from portico.runfolder.database import Damaged, Database, from_json
from portico.runfolder.schema import SCHEMA, SCHEMA_VERSION
from portico.runfolder.stored_paths import MEND, StoredPaths
from portico.runfolder.version import SUMMARY, StepVersion, Version

__all__ = ["ResultStore"]


class ResultStore:
    """The database of one run folder, and the results in it.

    Parameters
    ----------
    path : Path
        The SQLite file.
    read_only : bool
        For those who only look, while a driver may be writing.
    locks : bool
        Whether the file system has locks.

    Raises
    ------
    RunFolderError, SpaceError
        As `Database`.
    """

    def __init__(self, path: Path, read_only: bool = False, locks: bool = True) -> None:
        self._path = path
        self._db = Database(path, SCHEMA, SCHEMA_VERSION, read_only, locks)
        self.paths = StoredPaths(path.parent)
        """How paths are written in it, and in the results that it keeps."""

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def reading(self) -> AbstractContextManager[None]:
        """See one state of the ledger in all that follows, whatever a driver commits meanwhile."""
        return self._db.reading()

    def transaction(self) -> AbstractContextManager[None]:
        """Do all that follows, or nothing; at the end it is on disk. One inside another is a part of that.

        Raises
        ------
        SpaceError
            If the disk is full.
        RunFolderError
            If the file cannot be written.
        """
        return self._db.transaction()

    def about(self, name: str) -> str:
        """Return a property of the whole run, such as its manifest; empty if it is not known."""
        row = self._db.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return "" if row is None else str(row[0])

    def set_about(self, values: Mapping[str, str]) -> None:
        """Note properties of the whole run."""
        with self.transaction():
            self._db.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", values.items())

    def watch(self, check: Callable[[], None]) -> None:
        """Call a function before each transaction, which raises an error if nothing may be written."""
        self._db.check = check

    def check(self) -> None:
        """Raise the error of the function that `watch` was given, if nothing may be written."""
        self._db.check()

    def faults(self) -> list[str]:
        """Return what is wrong with the structure of the file."""
        return self._db.faults()

    def take_rows(self, rows: Iterable[tuple[str, Sequence[str], Sequence[Any]]]) -> int:
        """Take rows of another ledger that fit, each with its table and columns; return how many."""
        taken, known = 0, self._db.columns()
        with self.transaction():
            for table, columns, values in rows:
                if known.get(table) == set(columns):
                    taken += self._db.take(table, columns, values)
        return taken

    def damage(self) -> Damage:
        """Return what is not as it was written, after looking at all that is kept."""
        return find_damage(self._db, self.paths)

    def mend(self, damage: Damage, distrust: bool) -> None:
        """Forget what is damaged.

        Parameters
        ----------
        damage : Damage
            From `damage`.
        distrust : bool
            Something else has written to the ledger: forget what has no checksum as well, plans and states of steps,
            which the next run makes again.
        """
        with self.transaction():
            forget(self._db, damage)
            if distrust:
                for table in ("plan", "lost"):
                    self._db.execute(f"DELETE FROM {table}")  # noqa: S608
                self._db.execute("UPDATE step SET state = 'interrupted'")

    def set_result(
        self, step: str, sample: str, key: str, merged: bytes, completeness: float = 1.0, *,
        chunks: Sequence[str] = (), made: str = "", inputs: Iterable[Sequence[str]] = (),
    ) -> None:  # fmt: skip
        """Keep the merged result of a step's sample under its key, and make it the current one.

        Parameters
        ----------
        step, sample, key : str
            Which result.
        merged : bytes
            The result.
        completeness : float
            The fraction of the events that it holds.
        chunks : sequence of str
            Keys of the chunks that it was merged from.
        made, inputs
            As in `use_result`.
        """
        names = zlib.compress("\n".join(chunks).encode())
        checksum = result_checksum(step, sample, key, merged, float(completeness), names)
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?, ?, ?, ?)",
                (step, sample, key, merged, checksum, float(completeness), names),
            )
            self._use(step, sample, key, made, json.dumps(list(inputs)))

    def use_result(self, step: str, sample: str, key: str, made: str, inputs: Iterable[Sequence[str]]) -> None:
        """Make a result that is kept the current one.

        Parameters
        ----------
        step, sample, key : str
            Which result.
        made : str
            Digest of the code and options that make it, as in `set_wanted`.
        inputs : iterable of (str, str, str)
            Step, sample and key of the results that it was made of.
        """
        read = json.dumps(list(inputs))
        query = "SELECT 1 FROM current WHERE step = ? AND sample = ? AND key = ? AND made = ? AND inputs = ?"
        if self._db.execute(query, (step, sample, key, made, read)).fetchone() is None:  # a commit waits for the disk
            with self.transaction():
                self._use(step, sample, key, made, read)

    def _use(self, step: str, sample: str, key: str, made: str, inputs: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO current VALUES (?, ?, ?, ?, ?)", (step, sample, key, made, inputs))

    def has_result(self, step: str, sample: str, key: str) -> bool:
        """Return whether a result is kept under a key."""
        query = "SELECT 1 FROM result WHERE step = ? AND sample = ? AND key = ?"
        return self._db.execute(query, (step, sample, key)).fetchone() is not None

    def drop_result(self, step: str, sample: str) -> None:
        """Leave a step's sample without a current result, because other code or input made the one that was."""
        names = step, sample
        if self._db.execute("SELECT 1 FROM current WHERE step = ? AND sample = ?", names).fetchone() is not None:
            with self.transaction():
                self._db.execute("DELETE FROM current WHERE step = ? AND sample = ?", names)

    def completeness(self, step: str, sample: str) -> float:
        """Return the fraction of a sample's events that a result holds: less than 1 only in a partial run."""
        row = self._db.execute(
            "SELECT completeness FROM result JOIN current USING (step, sample, key) WHERE step = ? AND sample = ?",
            (step, sample),
        ).fetchone()
        return 1.0 if row is None else float(row[0])

    def result_keys(self, step: str) -> dict[str, str]:
        """Return the key of each sample's current result, in the order of the samples."""
        query = "SELECT sample, key FROM current WHERE step = ? AND sample != ?"
        keys = dict(self._db.execute(query, (step, SUMMARY)).fetchall())
        return {sample: keys[sample] for sample in self.in_order(step, keys)}

    def in_order(self, step: str, samples: Iterable[str]) -> list[str]:
        """Return samples of a step in the order of the analysis, whichever of them ran last."""
        order = [sample for other, sample in self.wanted() if other == step]
        planned = "SELECT sample FROM plan WHERE step = ? GROUP BY sample ORDER BY MIN(rowid)"
        order += [sample for (sample,) in self._db.execute(planned, (step,))]  # also those that it has not any more
        there = set(samples)
        return [sample for sample in dict.fromkeys([*order, *sorted(there)]) if sample in there]

    def result(self, step: str, sample: str, key: str | None = None) -> bytes | None:
        """Return the merged result under a key, the current one by default; None if there is none.

        Raises
        ------
        Damaged
            If it is not as it was written.
        """
        row = self._db.execute(
            "SELECT checksum, key, merged, completeness, chunks FROM result WHERE step = ? AND sample = ? AND key = "
            "COALESCE(?, (SELECT key FROM current WHERE step = ? AND sample = ?))",
            (step, sample, key, step, sample),
        ).fetchone()
        if row is None:
            return None
        checksum, found, merged, completeness, chunks = row
        if result_checksum(step, sample, found, merged, completeness, chunks) != checksum:
            where = f"the result of step '{step}'" + (f", sample '{sample}'," if sample != SUMMARY else "")
            raise Damaged(f"{self._path}: {where} is damaged; {MEND}")
        return bytes(merged)

    def set_files(
        self, step: str, key: str, files: Sequence[Mapping[str, Any]], text: str = "", *,
        made: str = "", inputs: Iterable[Sequence[str]] = (),
    ) -> None:  # fmt: skip
        """Record the files of a step's folder under a key, and make them the current ones.

        Parameters
        ----------
        step, key : str
            Which.
        files : sequence of mapping
            ``name``, ``size``, ``adler32`` and ``stamp`` of each.
        text : str
            JSON of the values that a summary step returned.
        made, inputs
            As in `use_result`.
        """
        content = json.dumps({"files": list(files), "text": text}).encode()
        self.set_result(step, SUMMARY, key, content, made=made, inputs=inputs)

    def files(self, step: str, key: str | None = None) -> tuple[list[dict[str, Any]], str] | None:
        """Return what `set_files` recorded under a key, by default the current one; None if there is nothing."""
        blob = self.result(step, SUMMARY, key)
        if blob is None:
            return None
        content = json.loads(blob)
        return content["files"], content["text"]

    def files_key(self, step: str) -> str | None:
        """Return the key of the files in a step's folder, or None."""
        query = "SELECT key FROM current WHERE step = ? AND sample = ?"
        row = self._db.execute(query, (step, SUMMARY)).fetchone()
        return None if row is None else row[0]

    def set_wanted(self, made: Mapping[tuple[str, str], str]) -> None:
        """Note the code and options that results would be made with now.

        Parameters
        ----------
        made : mapping of (str, str) to str
            By step and sample: a digest, the part before a colon common to all samples of the step.
        """
        rows = [(*names, text) for names, text in made.items()]
        if self._db.execute("SELECT * FROM wanted ORDER BY rowid").fetchall() != rows:
            with self.transaction():
                self._db.execute("DELETE FROM wanted")
                self._db.executemany("INSERT INTO wanted VALUES (?, ?, ?)", rows)

    def wanted(self) -> list[tuple[str, str]]:
        """Return step and sample of all results that the analysis would have."""
        return self._db.execute("SELECT step, sample FROM wanted ORDER BY rowid").fetchall()

    def made(self, step: str) -> dict[str, str]:
        """Return by sample the code and options that the current results of a step were made with."""
        return dict(self._db.execute("SELECT sample, made FROM current WHERE step = ?", (step,)).fetchall())

    def stale(self) -> set[tuple[str, str]]:
        """Return step and sample of the current results that were made with other options or input."""
        wanted = {(step, sample): made for step, sample, made in self._db.execute("SELECT * FROM wanted")}
        rows = self._db.execute(
            "SELECT current.step, sample, key, made, inputs FROM current JOIN step USING (step) "
            "WHERE sample != ? OR kind = 'summary'",
            (SUMMARY,),
        )
        keys, made_of = {}, {}
        found: set[tuple[str, str]] = set()
        for step, sample, key, made, inputs in rows:
            keys[step, sample] = key
            made_of[step, sample] = [((earlier, other), then) for earlier, other, then in from_json(inputs)]
            if made != wanted.get((step, sample), ""):
                found.add((step, sample))
        known = -1
        while len(found) > known:  # what was made of such a result is one, too
            known = len(found)
            found |= {n for n, of in made_of.items() if any(keys.get(o) != then or o in found for o, then in of)}
        return found

    def current_results(self) -> set[tuple[str, str, str]]:
        """Return step, sample and key of the current results, and of the current files of steps' folders."""
        return set(self._db.execute("SELECT step, sample, key FROM current").fetchall())

    def result_sizes(self) -> dict[tuple[str, str, str], int]:
        """Return the bytes of each result that is kept, with the files of steps' folders."""
        found = {}
        for step, sample, key, size in self._db.execute("SELECT step, sample, key, LENGTH(merged) FROM result"):
            files, _ = (self.files(step, key) or ([], "")) if sample == SUMMARY else ([], "")
            found[step, sample, key] = size + sum(item["size"] for item in files)
        return found

    def chunks_of(self, step: str, sample: str, key: str) -> list[str]:
        """Return the keys of the chunks that a result was merged from."""
        query = "SELECT chunks FROM result WHERE step = ? AND sample = ? AND key = ?"
        row = self._db.execute(query, (step, sample, key)).fetchone()
        return [] if row is None else [name for name in zlib.decompress(row[0]).decode().split("\n") if name]

    def version(self, number: int | None = None) -> Version:
        """Return the keys and states of the results: the current ones, or those of an earlier version.

        Raises
        ------
        RunFolderError
            If there is no such version.
        """
        if number is None:
            return Version(0, time.time(), self._steps())
        row = self._db.execute("SELECT * FROM version WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise RunFolderError(f"{self._path}: there is no version {number}")
        return _read_version(*row)

    def versions(self) -> list[tuple[int, float]]:
        """Return number and time of each version that is kept, the latest last."""
        return self._db.execute("SELECT number, time FROM version ORDER BY number").fetchall()

    def keep_version(self) -> None:
        """Keep the current keys as a version, unless they are those of the last one."""
        last = self._db.execute("SELECT * FROM version ORDER BY number DESC LIMIT 1").fetchone()
        rows = self._db.execute(
            "SELECT step, sample, key FROM current JOIN step USING (step) WHERE sample != ? OR kind = 'summary'",
            (SUMMARY,),
        )
        if {(step, sample): key for step, sample, key in rows} == (_read_version(*last).keys if last else {}):
            return
        now = Version(0, time.time(), self._steps())
        with self.transaction():
            self._db.execute("INSERT INTO version (time, steps) VALUES (?, ?)", (now.time, now.to_json()))

    def _steps(self) -> dict[str, StepVersion]:
        """Return the steps as they are now, in order."""
        stale, steps = self.stale(), {}
        for step, kind, state in self._db.execute("SELECT step, kind, state FROM step ORDER BY position").fetchall():
            entries = self.entries(step)
            read, planned = ({sample: of[which] for sample, of in entries.items()} for which in (0, 1))
            for sample, entries in self._db.execute(  # of files that could not be cut into chunks
                "SELECT sample, SUM(entries) FROM lost WHERE step = ? AND key = '' GROUP BY sample", (step,)
            ):
                planned[sample] = planned.get(sample, 0) + entries
            keys = self.result_keys(step)
            files = self.files_key(step)
            of_step = tuple(sample for other, sample in sorted(stale) if other == step)
            steps[step] = StepVersion(kind, state, keys, files, read, planned, of_step)
        return steps

    def entries(self, step: str) -> dict[str, tuple[int, int]]:
        """Return by sample how many entries of the plan are done, without lost chunks, and how many there are."""
        query = "SELECT sample, SUM(entries) FROM kept WHERE step = ? GROUP BY sample"
        done = dict(self._db.execute(query, (step,)).fetchall())
        query = "SELECT sample, SUM(last - first) FROM plan WHERE step = ? GROUP BY sample"
        total = dict(self._db.execute(query, (step,)).fetchall())
        return {sample: (done.get(sample, 0), total[sample]) for sample in self.in_order(step, total)}

    def verified(self) -> dict[str, tuple[str, str]]:
        """Return stamp and Adler-32, by path, of the files whose checksum was computed after they were written."""
        rows = self._db.execute("SELECT path, stamp, adler32 FROM verified")
        return {self.paths.used(path): (stamp, adler32) for path, stamp, adler32 in rows}

    def set_verified(self, found: Iterable[tuple[str, str, str]]) -> None:
        """Note path, stamp and Adler-32 of files whose checksum was computed, unless the ledger is only read."""
        rows = [(self.paths.written(path), stamp, adler32) for path, stamp, adler32 in found]
        if rows and not self._db.read_only:
            with self.transaction():
                self._db.executemany("INSERT OR REPLACE INTO verified VALUES (?, ?, ?)", rows)


def _read_version(number: int, time: float, steps: str) -> Version:
    try:
        return Version.from_json(number, time, steps)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"version @{number} in the ledger is damaged ({error}); {MEND}") from error
