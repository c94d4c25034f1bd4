"""Tasks and outcomes: the chunk that a worker runs, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from portico.analysis.chunks import Chunk
from portico.worker.wire import Message

__all__ = ["Done", "Failed", "FailureKind", "Outcome", "Task", "outcome_of", "without_entries"]


class FailureKind(StrEnum):
    """The kind of a chunk's failure; its value is the word in the ledger, JSON and messages between processes."""

    USER = "user"
    """The step's own code failed."""
    INPUT = "input"
    """The file is damaged, missing or not the one that was planned."""
    TRANSIENT = "transient"
    """The file could not be read just now."""
    MEMORY = "memory"
    """The process needed more memory than it may use."""
    CRASH = "crash"
    """The process died while it worked on the chunk."""
    LOST = "lost"
    """The worker went away: evicted, preempted, cut off."""
    TIMEOUT = "timeout"
    """It ran longer than a chunk may."""
    SPACE = "space"
    """No space left where the worker writes."""
    DISK = "disk"
    """A disk that the worker writes to, or its server, fails."""
    INTERNAL = "internal"
    """Portico itself failed."""

    @property
    def is_of_the_file(self) -> bool:
        """Whether the input file is at fault, so that its other chunks are not trusted either."""
        return self in {FailureKind.INPUT, FailureKind.TRANSIENT}

    @property
    def is_of_the_worker(self) -> bool:
        """Whether the worker may be at fault, so that another one tries the chunk again."""
        return self in {
            FailureKind.CRASH, FailureKind.LOST, FailureKind.TIMEOUT, FailureKind.SPACE, FailureKind.DISK,
        }  # fmt: skip

    @property
    def tells_of_the_machine(self) -> bool:
        """Whether a machine that fails so several times in a row may be at fault; workers are lost on sound ones."""
        return self in {
            FailureKind.INPUT, FailureKind.TRANSIENT, FailureKind.CRASH, FailureKind.SPACE, FailureKind.DISK,
        }  # fmt: skip

    @property
    def stops_the_run(self) -> bool:
        """Whether every chunk would fail in the same way, so that the step stops at once."""
        return self in {FailureKind.USER, FailureKind.INTERNAL}


@dataclass(frozen=True, slots=True)
class Task:
    """One chunk to run.

    Parameters
    ----------
    key : str
        The chunk's key in the ledger.
    attempt : int
        1 for the first.
    chunk : Chunk
        What to read.
    function : str
        ``module:function`` in the bundle.
    sample : mapping
        The sample's fields without its files.
    options : mapping
        Keyword arguments of the step.
    folder : str
        Where trees are written aside: a folder, or a URL such as ``root://host//path/step/sample``.
    avoid : tuple of str
        Workers and machines, by name, that failed on it or on others, and should not get it if there are others.
    points : tuple of JSON values, optional
        Of a step over points: those of the chunk.
    friends : tuple of str
        The files of the friends that are stored with the tree, in their order.
    reference : str
        A file of the same sample that has the columns that the chunk's lacks; empty if it lacks none.
    source : str
        The identity of the file, under which its columns may be kept; empty if they may not.
    version : str
        Size and time of the last modification of the file when it was planned, as `portico.files.version_of`.
    seconds : float
        How long the chunk may run; 0 for any time.
    """

    key: str
    attempt: int
    chunk: Chunk
    function: str
    sample: Mapping[str, Any]
    options: Mapping[str, Any]
    folder: str
    avoid: tuple[str, ...] = ()
    points: tuple[Any, ...] | None = None
    friends: tuple[str, ...] = ()
    reference: str = ""
    source: str = ""
    version: str = ""
    seconds: float = 0.0

    def split(self) -> tuple[Task, Task]:
        """Return both halves of a task of at least two entries or points; the key of each has a letter after it."""
        half, chunk, points = self.chunk.entries // 2, self.chunk, self.points
        middle = chunk.first + half
        return (
            replace(
                self, key=f"{self.key}a", attempt=1, chunk=replace(chunk, last=middle),
                points=points and points[:half],
            ),
            replace(
                self, key=f"{self.key}b", attempt=1, chunk=replace(chunk, first=middle),
                points=points and points[half:],
            ),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Return the task as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Task:
        """Read what `to_json` returned."""
        points = content.get("points")
        points = None if points is None else tuple(points)
        friends = tuple(content.get("friends", ()))
        return cls(**{**content, "chunk": Chunk(**content["chunk"]), "points": points, "friends": friends})


@dataclass(frozen=True, slots=True)
class Done:
    """A chunk that ran.

    Parameters
    ----------
    task : Task
        Which.
    partial : bytes
        What `portico.results.partial.encode` wrote.
    metrics : mapping
        What it cost.
    files : sequence of mapping
        The files of the trees that it wrote, as `portico.results.partial.take_files` returns them.
    warnings : sequence of str
        What the user should know.
    """

    task: Task
    partial: bytes
    metrics: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[str] = ()

    def to_answer(self) -> Message:
        """Return the message that `outcome_of` reads."""
        content = {"metrics": dict(self.metrics), "files": list(self.files), "warnings": list(self.warnings)}
        return content, [self.partial]


@dataclass(frozen=True, slots=True)
class Failed:
    """A chunk that did not.

    Parameters
    ----------
    kind : FailureKind
        Why.
    message : str
        For the user.
    log : str
        The end of what the process wrote to standard error.
    """

    task: Task
    kind: FailureKind
    message: str
    log: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def to_answer(self) -> Message:
        """Return the message that `outcome_of` reads."""
        return {"failed": self.kind, "message": self.message, "log": self.log, "metrics": dict(self.metrics)}, []


def without_entries(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the message of a chunk as that of no entries: its graph is built and compiled, its trees are empty.

    Parameters
    ----------
    content : mapping
        The message.
    folder : Path
        Where its trees are written.
    """
    first = content["chunk"]["first"]
    return {**content, "op": "chunk", "chunk": {**content["chunk"], "last": first}, "folder": str(folder)}


Outcome = Done | Failed


def outcome_of(task: Task, message: Message) -> Outcome:
    """Return the outcome of a task from the message that a worker answered."""
    answer, blobs = message
    if "failed" in answer:
        kind = FailureKind(answer["failed"])
        return Failed(task, kind, answer["message"], answer.get("log", ""), answer["metrics"])
    return Done(task, blobs[0], answer["metrics"], tuple(answer["files"]), tuple(answer.get("warnings", ())))
