"""Submissions of batch jobs, as folders ``RUN/batch.jobs/NUMBER`` that the driver and the jobs share.

``submission.json`` describes the jobs and the site, ``tasks/N.json`` the chunks of job N, ``notes/N.json`` its current
chunk, ``outcomes/KEY`` the outcome of a chunk, and ``N.out`` and ``N.err`` are the output of job N. If they share no
disk, ``jobs/N`` has what goes to job N and what came back (`portico.executors.transfer`).
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from portico.clusters.queues.base import JobState
from portico.clusters.queues.select import queue_of
from portico.clusters.site import Site
from portico.errors import RunFolderError
from portico.files.atomic import write_atomic
from portico.files.storage import storage_of
from portico.runfolder.folder import BATCH, RunFolder

__all__ = ["CREDENTIALS", "OUTCOME", "Submission", "cancel", "submissions"]

CREDENTIALS = "credentials"
"""Folder beside the submissions, through which the driver gives credentials to the jobs."""

OUTCOME = "outcome."
"""With what the names of outcomes begin that a job without a shared disk leaves; the key of the chunk follows."""

_RECORD = "submission.json"
_ID = re.compile(r"[0-9]+([._][0-9]+)?")
_CANCELLED = "cancelled"
_SAVED = {"name", "kind", "options", "cores", "memory", "walltime", "filesystem"}  # no variables, no secrets


@dataclass(frozen=True, slots=True)
class Submission:
    """Jobs that were submitted together.

    Parameters
    ----------
    folder : Path
        Folder of the submission.
    site : Site
        Site of the jobs; after reading it again, only with the settings that identify the batch system and the
        resources of a job.
    keys : sequence of sequence of str
        Keys of the chunks of each job.
    ids : sequence of str
        Id of each job in the batch system; empty until known.
    function, code : str
        ``module:function`` and the digest of its code, which identify outdated jobs.
    on : str
        The site as the user named it, for proposed commands.
    submitted : float
        Time of the submission in seconds since 1970.
    url : str
        Folder of the run's store through which files go to the jobs and back; empty if they share a disk, or the batch
        system transfers files.
    """

    folder: Path
    site: Site
    keys: Sequence[Sequence[str]]
    ids: Sequence[str] = ()
    function: str = ""
    code: str = ""
    on: str = ""
    submitted: float = field(default_factory=time.time)
    url: str = ""

    @property
    def number(self) -> str:
        """Its number among the submissions of the run."""
        return self.folder.name

    @property
    def cancelled(self) -> bool:
        """Whether its jobs were removed, by ``portico cancel`` or because they are no longer needed."""
        return (self.folder / _CANCELLED).exists()

    @property
    def outcomes(self) -> Path:
        """Folder of the chunks' outcomes."""
        return self.folder / "outcomes"

    @property
    def trees(self) -> Path:
        """Folder of the jobs' trees, until they are collected."""
        return self.folder / "trees"

    def tasks(self, job: int) -> Path:
        """Return the file with the tasks of a job."""
        return self.folder / "tasks" / f"{job}.json"

    def job(self, job: int) -> Path:
        """Return the folder of a job that shares no disk: what goes to it, and what came back."""
        return self.folder / "jobs" / str(job)

    def note(self, job: int) -> Path:
        """Return the file in which a job notes its current chunk."""
        return self.folder / "notes" / f"{job}.json"

    def log(self, job: int, size: int = 4096) -> str:
        """Return the end of a job's standard error."""
        path = self.folder / f"{job}.err"
        return path.read_bytes()[-size:].decode(errors="replace") if path.exists() else ""

    def at(self, job: int) -> dict[str, Any]:
        """Return the last note of a job: ``task`` is the key of its current chunk; empty if it has not started."""
        try:
            content: dict[str, Any] = json.loads(self.note(job).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content

    def ended(self) -> set[str]:
        """Return the keys of the chunks with an outcome."""
        try:
            return {path.name for path in self.outcomes.iterdir() if not path.name.startswith(".")}
        except OSError:
            return set()

    def in_store(self) -> list[str]:
        """Return the names of the submission's files in the store, without its number, with which they begin.

        Raises
        ------
        PorticoError
            If the store does not answer.
        """
        found = storage_of(self.url).listed(self.url.rpartition("/")[0])
        return [url.removeprefix(f"{self.url}.") for url in found if url.startswith(f"{self.url}.")]

    def returned(self, ended: Iterable[int]) -> set[str]:
        """Return the keys of the chunks whose outcomes came back, but were not brought to the others.

        Parameters
        ----------
        ended : iterable of int
            The jobs that have ended: what HTCondor brings back is complete only then.

        Raises
        ------
        PorticoError
            If the store does not answer.
        """
        if self.url:
            names = self.in_store()
        else:
            names = [path.name for number in ended for path in self.job(number).glob(f"{OUTCOME}*")]
        return {name.removeprefix(OUTCOME) for name in names if name.startswith(OUTCOME)}

    def write(self) -> None:
        """Write the record atomically."""
        content = {
            "site": self.site.model_dump(include=_SAVED), "keys": [list(keys) for keys in self.keys],
            "ids": list(self.ids), "function": self.function, "code": self.code, "on": self.on,
            "submitted": self.submitted, "url": self.url, "place": str(self.folder.resolve()),
        }  # fmt: skip
        with write_atomic(self.folder / _RECORD) as aside:
            aside.write_text(json.dumps(content), encoding="utf-8")

    def submitted_as(self, ids: Sequence[str]) -> Submission:
        """Return the submission with the ids of its jobs, after writing the record."""
        known = replace(self, ids=tuple(ids), submitted=time.time())
        known.write()
        return known

    def mark_cancelled(self) -> None:
        """Mark the submission before its jobs are removed, so that a driver does not consider them lost."""
        (self.folder / _CANCELLED).touch()

    @classmethod
    def read(cls, folder: Path) -> Submission | None:
        """Read the record of a folder; None if there is no readable record.

        In a copy of a run folder there are results of jobs, but the jobs are those of the original: they have no ids.
        """
        try:
            content = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
            site, place = Site(**content.pop("site")), Path(content.pop("place"))
            if (place / _RECORD).exists() and not place.samefile(folder):
                content["ids"] = ()
            if not all(map(_ID.fullmatch, content["ids"])):  # of a stranger's: commands would take it for an option
                return None
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
    """Remove the jobs of a run from the batch system; finished chunks are kept.

    Returns
    -------
    dict of str to JobState
        The jobs that were removed, with their last states.

    Raises
    ------
    RunFolderError
        If ``run`` is not a run folder.
    WorkerError
        If the batch system does not answer; then some jobs, or all, are not removed.
    """
    if not run.is_dir():
        raise RunFolderError(f"{run}: no such folder; give a run folder, such as runs/NAME")
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
