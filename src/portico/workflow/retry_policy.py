"""The retry policy: what follows when a chunk fails, from the kind of the failure and what the chunk went through."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from portico.worker.task import Failed, FailureKind

__all__ = ["DEATHS", "TRANSIENTS", "Action", "History", "Response", "respond"]

DEATHS = 3
"""How often a chunk is tried whose worker died, or had no disk to write to."""

TRANSIENTS = 6
"""How often a chunk is tried whose file cannot be read just now: again after 1, 2, 4, 8 and 16 seconds."""


class Action(StrEnum):
    """What follows a failure."""

    RETRY = "retry"
    SPLIT = "split"
    """Run the chunk as two halves."""
    QUARANTINE = "quarantine"
    """Give up the chunk, and with it all chunks of its file."""
    GIVE_UP = "give up"
    """Give up the chunk alone."""
    STOP = "stop"
    """Stop the step: every chunk would fail in the same way."""


@dataclass(frozen=True, slots=True)
class History:
    """What has happened to one chunk so far.

    Parameters
    ----------
    replicas : int
        How many replicas its file has.
    deaths, transients, refusals : int
        Lost workers, transient failures, and replicas that were found to be bad.
    """

    replicas: int = 1
    deaths: int = 0
    transients: int = 0
    refusals: int = 0

    def after(self, kind: FailureKind) -> History:
        """Return the history with one more failure."""
        if kind.is_of_the_worker:
            return replace(self, deaths=self.deaths + 1)
        match kind:
            case FailureKind.TRANSIENT:
                return replace(self, transients=self.transients + 1)
            case FailureKind.INPUT:
                return replace(self, refusals=self.refusals + 1)
            case _:
                return self


@dataclass(frozen=True, slots=True)
class Response:
    """What to do about a failure.

    Parameters
    ----------
    action : Action
        What follows.
    delay : float
        Seconds to wait before a retry.
    on_another_worker : bool
        A retry avoids the worker that failed.
    from_next_replica : bool
        A retry reads the file's next replica.
    message : str
        What the user reads after the failure itself.
    """

    action: Action
    delay: float = 0.0
    on_another_worker: bool = False
    from_next_replica: bool = False
    message: str = ""


def respond(failed: Failed, history: History) -> Response:
    """Return what follows a failure.

    Parameters
    ----------
    failed : Failed
        The failure.
    history : History
        Of the chunk, this failure included.
    """
    kind = failed.kind
    if kind.stops_the_run:
        return Response(Action.STOP)
    if kind.is_of_the_worker:
        if history.deaths < DEATHS:
            message = f"trying again on another worker ({history.deaths + 1} of {DEATHS})"
            return Response(Action.RETRY, on_another_worker=True, message=message)
        return Response(Action.STOP if kind in {FailureKind.SPACE, FailureKind.DISK} else Action.GIVE_UP)
    match kind:
        case FailureKind.TRANSIENT if history.transients < TRANSIENTS:
            delay, several = 2.0 ** (history.transients - 1), history.replicas > 1
            source = ", from the file's next replica" if several else ""
            message = f"trying again in {delay:.0f} s ({history.transients + 1} of {TRANSIENTS}){source}"
            return Response(Action.RETRY, delay, from_next_replica=several, message=message)
        case FailureKind.TRANSIENT if failed.task.folder and failed.task.folder in failed.message:
            return Response(Action.STOP)  # it is the store that does not answer, not the input
        case FailureKind.TRANSIENT:
            return Response(Action.QUARANTINE, message=f"given up after {TRANSIENTS} attempts")
        case FailureKind.INPUT if history.refusals < history.replicas:
            return Response(Action.RETRY, from_next_replica=True, message="trying the file's next replica")
        case FailureKind.INPUT:
            return Response(Action.QUARANTINE)
        case FailureKind.MEMORY if failed.task.chunk.entries > 1:
            return Response(Action.SPLIT, message="trying again in two halves")
        case _:
            return Response(Action.GIVE_UP)
