"""The states of a chunk, the transitions between them, and the events and decisions of the chunk loop.

A chunk is in one state at a time, and moves only along `TRANSITIONS`. `portico.workflow.chunk_scheduler` decides;
`portico.workflow.chunk_loop` performs what it decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from portico.errors import PorticoError
from portico.runfolder.ledger import Attempt, Planned
from portico.worker.task import Done, Failed, Task

__all__ = [
    "TRANSITIONS",
    "AskForProblems",
    "Cancel",
    "Cause",
    "ChunkState",
    "Commit",
    "Decision",
    "Event",
    "Interrupted",
    "Keep",
    "Note",
    "Stop",
    "Submit",
    "TimePassed",
    "Warn",
    "WorkersChanged",
]  # fmt: skip


class ChunkState(StrEnum):
    """Where a chunk is on its way."""

    WAITING = "waiting"
    """For a free worker."""
    RUNNING = "running"
    """Submitted to the executor."""
    DELAYED = "delayed"
    """It failed, and is tried again after a while."""
    DOUBTED = "doubted"
    """Its file could not be read, for which the machine may be to blame."""
    SPLIT = "split"
    """Its two halves run in its stead."""
    DONE = "done"
    GIVEN_UP = "given up"
    """It failed for good; the results go without it."""
    DROPPED = "dropped"
    """Not needed: another chunk of its file, or its other half, was given up."""


class Cause(StrEnum):
    """Why a chunk changes its state."""

    SUBMITTED = "submitted"
    SUCCEEDED = "succeeded"
    RETRIED = "retried at once"
    RETRIED_LATER = "retried later"
    DUE = "its delay is over"
    DOUBTED = "cannot read its file"
    OTHER_READ = "another file was read"
    ALONE = "nothing else is left"
    SPLIT = "needs too much memory"
    HALVES_DONE = "both halves are done"
    HALF_GIVEN_UP = "a half was given up"
    GIVEN_UP = "failed for good"
    NOT_NEEDED = "not needed any more"


TRANSITIONS: Mapping[tuple[ChunkState, Cause], ChunkState] = {
    (ChunkState.WAITING, Cause.SUBMITTED): ChunkState.RUNNING,
    (ChunkState.WAITING, Cause.NOT_NEEDED): ChunkState.DROPPED,
    (ChunkState.RUNNING, Cause.SUCCEEDED): ChunkState.DONE,
    (ChunkState.RUNNING, Cause.RETRIED): ChunkState.WAITING,
    (ChunkState.RUNNING, Cause.RETRIED_LATER): ChunkState.DELAYED,
    (ChunkState.DELAYED, Cause.DUE): ChunkState.WAITING,
    (ChunkState.RUNNING, Cause.DOUBTED): ChunkState.DOUBTED,
    (ChunkState.DOUBTED, Cause.OTHER_READ): ChunkState.WAITING,
    (ChunkState.DOUBTED, Cause.ALONE): ChunkState.DELAYED,
    (ChunkState.DOUBTED, Cause.NOT_NEEDED): ChunkState.DROPPED,
    (ChunkState.RUNNING, Cause.SPLIT): ChunkState.SPLIT,
    (ChunkState.SPLIT, Cause.HALVES_DONE): ChunkState.DONE,
    (ChunkState.SPLIT, Cause.HALF_GIVEN_UP): ChunkState.GIVEN_UP,
    (ChunkState.SPLIT, Cause.NOT_NEEDED): ChunkState.DROPPED,
    (ChunkState.RUNNING, Cause.GIVEN_UP): ChunkState.GIVEN_UP,
    (ChunkState.RUNNING, Cause.NOT_NEEDED): ChunkState.DROPPED,
}
"""The state that follows a state and a cause; what is not here cannot happen."""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The time is ``now``, in seconds of a clock that never runs backwards. Time enters by this event alone."""

    now: float


@dataclass(frozen=True, slots=True)
class WorkersChanged:
    """The executor has ``workers``, and takes ``free`` more tasks now."""

    workers: int
    free: int


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The user or an error ends the loop; with ``leave``, what was submitted may go on without this process."""

    leave: bool


Event = Done | Failed | TimePassed | WorkersChanged | Interrupted
"""What the scheduler is told: how a task ended, or one of the events above."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Give the task to the executor."""

    task: Task


@dataclass(frozen=True, slots=True)
class Keep:
    """Give the trees of a chunk their final names, and hold its result for the next commit."""

    planned: Planned
    done: Done


@dataclass(frozen=True, slots=True)
class Note:
    """Hold a failed attempt for the next commit."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Commit:
    """Write what is held to the ledger."""


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell the user."""

    message: str


@dataclass(frozen=True, slots=True)
class KeepAway:
    """A machine fails what others do: have the executor start no more workers there, if it can."""

    machine: str


@dataclass(frozen=True, slots=True)
class AskForProblems:
    """Nothing has come for a while: ask the executor why, and tell the user."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Have the executor forget what was submitted and has not ended."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End the step with an error."""

    error: PorticoError


Decision = Submit | Keep | Note | Commit | Warn | KeepAway | AskForProblems | Cancel | Stop
"""What the scheduler has decided, for the loop to perform in order."""
