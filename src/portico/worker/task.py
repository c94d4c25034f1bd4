"""What a worker is given and what it gives back: a chunk to run, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from portico.analysis.chunks import Chunk

__all__ = ["Done", "Failed", "Outcome", "Task"]


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
    """A chunk that ran; ``partial`` is what `portico.results.product.encode` wrote."""

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
