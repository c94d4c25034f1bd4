"""The interface of a batch system."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pydantic import ByteSize, TypeAdapter

__all__ = ["BatchJob", "JobState", "Queue", "mebibytes"]

_SIZE = TypeAdapter(ByteSize)


@dataclass(frozen=True, slots=True)
class BatchJob:
    """Jobs with the same command, submitted together; each gets its number, from 0, as last argument.

    Parameters
    ----------
    name : str
        Name in the batch system.
    command : sequence of str
        Program and arguments; the number of the job is appended.
    count : int
        Number of jobs.
    folder : Path
        Folder on a disk that the jobs share, for the job script and the output ``NUMBER.out`` and ``NUMBER.err``.
    environment : mapping
        Variables to set.
    avoid : sequence of str
        Machines, by host name, on which the jobs run only if there are no others.
    apart : bool
        The jobs do not share the folder. What lies in ``inputs``, and what of job N lies in ``jobs/N/in``, is brought
        into the job's current folder if the batch system transfers files, and files that the job makes there are
        brought to ``jobs/N``.
    inputs : sequence of str
        Paths relative to ``jobs/N``, for all jobs that do not share the folder.
    secrets : str
        For the standard input of the jobs of a batch system that does not transfer files; only the user sees it.
    disks : sequence of str
        Folders that the jobs share and write to, which are made visible in an image.
    """

    name: str
    command: Sequence[str]
    count: int
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    avoid: Sequence[str] = ()
    apart: bool = False
    inputs: Sequence[str] = ()
    secrets: str = field(default="", repr=False)
    disks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class JobState:
    """The state of a job in the batch system.

    Parameters
    ----------
    id : str
        Its name in the batch system, ``CLUSTER.PROC`` or ``JOB_INDEX``.
    state : {"idle", "running", "held", "ended"}
        A ``held`` job never starts without help; ``ended`` includes removed, failed and unknown jobs.
    reason : str
        Why it is held or idle, or how it ended, as the batch system reports it; may be empty.
    cause : {"", "memory", "walltime", "removed"}
        The limit that the job exceeded, if the batch system reports one; such a job is held or ended. ``removed`` if
        somebody removed it, so that files it made may not have come back.
    """

    id: str
    state: Literal["idle", "running", "held", "ended"]
    reason: str = ""
    cause: Literal["", "memory", "walltime", "removed"] = ""


class Queue(Protocol):
    """A batch system."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def limit(self) -> int:
        """Maximum number of jobs in one submission."""

    @property
    def transfers(self) -> bool:
        """Whether it transfers the files of jobs that share no disk."""

    def script(self, job: BatchJob) -> str:
        """Return the job script as it would be submitted."""

    def submit(self, job: BatchJob) -> list[str]:
        """Submit all jobs in one submission; return the id of each job, in order.

        Raises
        ------
        WorkerError
            If the batch system does not answer or refuses, with its message.
        """

    def states(self, ids: Iterable[str]) -> dict[str, JobState]:
        """Return the state of each job, with the reason if it is not running.

        Raises
        ------
        WorkerError
            If the batch system does not answer.
        """

    def remove(self, ids: Iterable[str]) -> None:
        """Remove jobs; those that have already ended are ignored.

        Raises
        ------
        WorkerError
            If the batch system does not answer or refuses.
        """


def mebibytes(text: str) -> int:
    """Return a size of a `Site`, such as ``2 GB``, in units of 1024 x 1024 bytes, rounded up."""
    return -(-int(_SIZE.validate_python(text)) // 2**20)
