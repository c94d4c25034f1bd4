"""What an executor is given, what it gives back, and what it can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from portico.chunks import Chunk
from portico.environment.credentials import Credentials

__all__ = ["Done", "Executor", "Failed", "Outcome", "Task"]


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
        Workers, by name, that failed on it and should not get it again if there are others.
    parts : tuple of Chunk
        The chunks that it stands for, for an executor that is given whole samples; else none.
    """

    key: str
    attempt: int
    chunk: Chunk
    function: str
    sample: Mapping[str, Any]
    options: Mapping[str, Any]
    folder: str
    avoid: tuple[str, ...] = ()
    parts: tuple[Chunk, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the task as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Task:
        """Read what `to_json` returned."""
        parts = tuple(Chunk(**part) for part in content.get("parts", ()))
        return cls(**{**content, "chunk": Chunk(**content["chunk"]), "parts": parts})


@dataclass(frozen=True, slots=True)
class Done:
    """A chunk that ran; ``partial`` is what `portico.merge.encode` wrote."""

    task: Task
    partial: bytes
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """A chunk that did not.

    Parameters
    ----------
    kind : {"user", "input", "transient", "memory", "crash", "lost", "space", "internal"}
        ``user``: the step's code failed. ``input``: the file is bad. ``transient``: the file could not be read
        just now. ``memory``: the process needed more than it may have. ``crash``: the process died while it worked
        on the chunk. ``lost``: the worker went away. ``space``: no space left. ``internal``: portico failed.
    message : str
        For the user.
    log : str
        The end of what the process wrote to standard error.
    """

    task: Task
    kind: str
    message: str
    log: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)


Outcome = Done | Failed


class Executor(Protocol):
    """Runs tasks. The driver submits while ``free`` is positive and takes outcomes as they come."""

    @property
    def outlives(self) -> bool:
        """Whether what was submitted goes on when this process ends, and is found again by its key."""

    @property
    def whole(self) -> str:
        """A word if it is given whole samples, whose results are kept under keys with this word; else empty."""

    @property
    def workers(self) -> int:
        """Number of workers at present."""

    @property
    def free(self) -> int:
        """How many more tasks should be submitted now, so that no worker waits."""

    def prepare(self, bundle: Any) -> None:
        """Make the bundle (`portico.environment.bundle.Bundle`) known to all workers, also later ones."""

    def submit(self, task: Task) -> None:
        """Start a task."""

    def wait(self, timeout: float) -> list[Outcome]:
        """Return what ended, at the latest after ``timeout`` seconds."""

    def call(self, content: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """Have one worker answer a message of `portico.executors.wire`, when no task is running."""

    def call_all(self, content: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Have every worker answer a message, when no task is running; answers by the worker's name."""

    def entrust(self, credentials: Credentials) -> None:
        """Send credentials to all workers, also later ones; they replace what was sent before."""

    def problems(self) -> list[str]:
        """Say why nothing happens, in the words of the system beneath; asked when nothing has come for a while."""

    def cancel(self) -> None:
        """Forget all tasks that were submitted and have not ended."""

    def close(self) -> None:
        """Stop all that this executor started."""
