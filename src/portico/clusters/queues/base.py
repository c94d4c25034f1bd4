"""What a batch system can do for portico."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pydantic import ByteSize, TypeAdapter, ValidationError

from portico.errors import ConfigError

__all__ = ["BatchJob", "JobState", "Queue", "mebibytes"]

_SIZE = TypeAdapter(ByteSize)


@dataclass(frozen=True, slots=True)
class BatchJob:
    """Jobs of one kind, submitted at once: the same command with a number, from 0, after it.

    Parameters
    ----------
    name : str
        Shown by the batch system.
    command : sequence of str
        Program and arguments; the number of the job is appended.
    count : int
        How many.
    folder : Path
        On a disk that the jobs share; holds the job script, and what the jobs print as ``NUMBER.out`` and
        ``NUMBER.err``.
    environment : mapping
        Variables to set.
    """

    name: str
    command: Sequence[str]
    count: int
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobState:
    """What the batch system says of a job.

    Parameters
    ----------
    id : str
        As the batch system writes it, ``CLUSTER.PROC`` or ``JOB_INDEX``.
    state : {"idle", "running", "held", "ended"}
        ``held`` never starts without help; ``ended`` includes removed, failed and unknown ones.
    reason : str
        The batch system's own words: why it is held or idle, or how it ended; may be empty.
    cause : {"", "memory", "walltime"}
        Which of its limits the job went over, where the batch system says so; such a job is held or ended.
    """

    id: str
    state: Literal["idle", "running", "held", "ended"]
    reason: str = ""
    cause: Literal["", "memory", "walltime"] = ""


class Queue(Protocol):
    """A batch system."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def limit(self) -> int:
        """How many jobs one submission may have."""

    def script(self, job: BatchJob) -> str:
        """Return the job script as it would be submitted."""

    def submit(self, job: BatchJob) -> list[str]:
        """Submit, with one submission for all; return the id of each job, in order.

        Raises
        ------
        WorkerError
            If the batch system does not answer or refuses, with its own words.
        """

    def states(self, ids: Iterable[str]) -> dict[str, JobState]:
        """Return the state of each job, with the reason where it does not run."""

    def remove(self, ids: Iterable[str]) -> None:
        """Remove jobs; those that are gone already are passed over."""


def mebibytes(text: str) -> int:
    """Return a size such as ``2 GB`` in units of 1024 x 1024 bytes, rounded up.

    Raises
    ------
    ConfigError
        If it is none, or not positive.
    """
    try:
        size = int(_SIZE.validate_python(text))
    except ValidationError:
        size = 0
    if size <= 0:
        raise ConfigError(f"size '{text}': write for example '2 GB' or '500 MB'")
    return -(-size // 2**20)
