"""Batch jobs of a run as they lie in its folder, ``RUN/batch.jobs/NUMBER``: for the driver, jobs, status and cancel.

A submission is a folder that driver and jobs share. ``submission.json`` says what was submitted and where,
``tasks/N.json`` what job N is to do, ``notes/N.json`` what it is at, ``outcomes/KEY`` how a chunk ended, and
``N.out`` and ``N.err`` are what job N printed.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from portico.clusters.queues.base import JobState
from portico.clusters.queues.select import queue_of
from portico.clusters.site import Site
from portico.errors import RunFolderError
from portico.files.atomic import write_atomic
from portico.runfolder.folder import BATCH, RunFolder

__all__ = ["CREDENTIALS", "Submission", "cancel", "submissions"]

CREDENTIALS = "credentials"
"""Folder beside the submissions, in which the driver leaves credentials for the jobs."""

_RECORD = "submission.json"
_CANCELLED = "cancelled"
_KEPT = {"name", "kind", "options", "cores", "memory", "walltime"}  # of the site: no variables, no secrets


@dataclass(frozen=True, slots=True)
class Submission:
    """Jobs that were submitted together.

    Parameters
    ----------
    folder : Path
        Theirs.
    site : Site
        Where they were submitted; read again, it has what finds the jobs and what they may use, and no more.
    keys : sequence of sequence of str
        The chunks of each job.
    ids : sequence of str
        The name of each job in the batch system; empty until it is known.
    function, code : str
        ``module:function`` and the digest of its code, by which outdated jobs are recognised.
    on : str
        The site as the user named it, for commands that we propose.
    submitted : float
        When; seconds since 1970.
    """

    folder: Path
    site: Site
    keys: Sequence[Sequence[str]]
    ids: Sequence[str] = ()
    function: str = ""
    code: str = ""
    on: str = ""
    submitted: float = field(default_factory=time.time)

    @property
    def number(self) -> str:
        """Its number among the submissions of the run."""
        return self.folder.name

    @property
    def cancelled(self) -> bool:
        """Whether its jobs were removed by ``portico cancel``, or because nobody needs them any more."""
        return (self.folder / _CANCELLED).exists()

    @property
    def outcomes(self) -> Path:
        """Where jobs write how each chunk ended."""
        return self.folder / "outcomes"

    @property
    def trees(self) -> Path:
        """Where jobs write trees, until they are collected."""
        return self.folder / "trees"

    def tasks(self, job: int) -> Path:
        """Return the file that says what a job is to do."""
        return self.folder / "tasks" / f"{job}.json"

    def note(self, job: int) -> Path:
        """Return the file in which a job says what it is at."""
        return self.folder / "notes" / f"{job}.json"

    def log(self, job: int, size: int = 4096) -> str:
        """Return the end of what a job wrote to standard error."""
        path = self.folder / f"{job}.err"
        return path.read_bytes()[-size:].decode(errors="replace") if path.exists() else ""

    def at(self, job: int) -> dict[str, Any]:
        """Return what a job last noted: ``task`` is the key of the chunk that it works on; empty if it never began."""
        try:
            content: dict[str, Any] = json.loads(self.note(job).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content

    def ended(self) -> set[str]:
        """Return the keys of the chunks whose outcome lies here."""
        try:
            return {path.name for path in self.outcomes.iterdir() if not path.name.startswith(".")}
        except OSError:
            return set()

    def write(self) -> None:
        """Write the record, whole or not at all."""
        content = {
            "site": self.site.model_dump(include=_KEPT), "keys": [list(keys) for keys in self.keys],
            "ids": list(self.ids), "function": self.function, "code": self.code, "on": self.on,
            "submitted": self.submitted,
        }  # fmt: skip
        with write_atomic(self.folder / _RECORD) as aside:
            aside.write_text(json.dumps(content), encoding="utf-8")

    def submitted_as(self, ids: Sequence[str]) -> Submission:
        """Return it with the names of its jobs, and write that down."""
        known = replace(self, ids=tuple(ids), submitted=time.time())
        known.write()
        return known

    def mark_cancelled(self) -> None:
        """Note that its jobs are to be removed, before they are, so that a driver does not take them for lost."""
        (self.folder / _CANCELLED).touch()

    @classmethod
    def read(cls, folder: Path) -> Submission | None:
        """Read the record of a folder; None if it has none that can be read."""
        try:
            content = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
            site = Site(**content.pop("site"))
            return cls(folder, site, **content)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None


def submissions(run: Path) -> Iterator[Submission]:
    """Return the submissions of a run folder, in order."""
    folder = run / BATCH
    names = [path for path in folder.iterdir() if path.name.isdecimal()] if folder.is_dir() else []
    for path in sorted(names, key=lambda path: int(path.name)):
        found = Submission.read(path)
        if found is not None:
            yield found


def cancel(run: Path) -> dict[str, JobState]:
    """Remove the jobs of a run from the batch system; what they have finished is kept.

    Returns
    -------
    dict of str to JobState
        The jobs that were there, and what they did.

    Raises
    ------
    RunFolderError
        If ``run`` is no run folder.
    WorkerError
        If the batch system does not answer; nothing is removed then, or not all.
    """
    if not run.is_dir():
        raise RunFolderError(f"{run}: no such folder; give the run folder, such as runs/NAME")
    RunFolder(run).manifest()
    removed: dict[str, JobState] = {}
    for submission in submissions(run):
        queue = queue_of(submission.site)
        alive = {name: state for name, state in queue.states(submission.ids).items() if state.state != "ended"}
        submission.mark_cancelled()
        queue.remove(alive)
        removed |= alive
    shutil.rmtree(run / BATCH / CREDENTIALS, ignore_errors=True)
    return removed
