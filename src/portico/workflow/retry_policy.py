"""The retry policy: what follows when a chunk fails, from the kind of the failure and what the chunk went through."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from portico.worker.task import Failed, FailureKind

__all__ = [
    "DEATHS", "DOUBTS", "LOSSES", "TRANSIENTS", "Action", "Evidence", "History", "Response", "next_replica", "patience",
    "respond",
]  # fmt: skip

DEATHS = 3
"""How often a chunk is tried whose process died, took too long, or had no disk to write to."""

LOSSES = 12
"""How often a chunk is tried at most whose worker went away. Of 10^5 chunks, of which each attempt is evicted with a
probability of 5% (20%), 2e-11 (4e-4) are expected to be evicted so often."""

TRANSIENTS = 6
"""How often a chunk is tried whose file cannot be read just now: again after 1, 2, 4, 8 and 16 seconds."""

DOUBTS = 5
"""How often a chunk is read once more at most because no witness says that its machine reads other files."""

_RISK = 1e-3
"""Chunks of a step, on average, that may be given up although it was by chance that they lost their worker so often."""


class Action(StrEnum):
    """What follows a failure."""

    RETRY = "retry"
    SPLIT = "split"
    """Run the chunk as two halves."""
    DOUBT = "doubt"
    """Read the chunk again when another file was read, or nothing else is left: the machine may be at fault."""
    QUARANTINE = "quarantine"
    """Give up the chunk, and with it all chunks of its file."""
    GIVE_UP = "give up"
    """Give up the chunk alone."""
    STOP = "stop"
    """Stop the step: every chunk would fail in the same way."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the other chunks of a step say about a failure.

    Parameters
    ----------
    has_witness : bool
        The machine that could not read the file has read another one since the file could first not be read.
    is_alone : bool
        Nothing else was left to read, and no machine that had not tried the file before.
    losses : int
        How often a chunk may lose its worker, see `patience`.
    """

    has_witness: bool = True
    is_alone: bool = False
    losses: int = LOSSES


@dataclass(frozen=True, slots=True)
class History:
    """What has happened to one chunk so far.

    Parameters
    ----------
    replicas : int
        How many replicas its file has.
    deaths, losses, transients, refusals, doubts : int
        Processes that died or had no disk, workers that went away, transient failures, replicas that were found to be
        bad, and how often it was read once more because the machine may have been at fault.
    """

    replicas: int = 1
    deaths: int = 0
    losses: int = 0
    transients: int = 0
    refusals: int = 0
    doubts: int = 0

    def after(self, kind: FailureKind) -> History:
        """Return the history with one more failure."""
        match kind:
            case FailureKind.LOST:
                return replace(self, losses=self.losses + 1)
            case FailureKind.TRANSIENT:
                return replace(self, transients=self.transients + 1)
            case FailureKind.INPUT:
                return replace(self, refusals=self.refusals + 1)
            case _:
                return replace(self, deaths=self.deaths + 1) if kind.is_of_the_worker else self


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
        A retry avoids the worker that failed, and its machine.
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


def patience(chunks: int, lost: int, ended: int) -> int:
    """Return how often a chunk may lose its worker before it counts as the reason.

    If a fraction r of the attempts at other chunks loses its worker, of n chunks n r^k lose theirs k times in a row by
    chance. A chunk is given up when that is less than 0.001; at the earliest after `DEATHS`, at the latest after
    `LOSSES` attempts.

    Parameters
    ----------
    chunks : int
        Of the step.
    lost, ended : int
        Of the attempts at other chunks, those that lost their worker, and all that ended.
    """
    rate = (lost + 1) / (ended + 1)
    if rate >= 1:
        return LOSSES
    often = math.ceil(math.log(_RISK / max(chunks, 1)) / math.log(rate))
    return min(max(often, DEATHS), LOSSES)


def respond(failed: Failed, history: History, evidence: Evidence = Evidence()) -> Response:
    """Return what follows a failure.

    Parameters
    ----------
    failed : Failed
        The failure.
    history : History
        Of the chunk, this failure included.
    evidence : Evidence
        What other chunks say; by default that the machine reads other files.
    """
    kind = failed.kind
    if kind.stops_the_run:
        return Response(Action.STOP)
    if kind.is_of_the_worker:
        return _after_death(kind, history, evidence)
    several = history.replicas > 1
    match kind:
        case FailureKind.TRANSIENT if history.transients < TRANSIENTS:
            delay = 2.0 ** (history.transients - 1)
            source = ", from the file's next replica" if several else ""
            message = f"trying again in {delay:.0f} s ({history.transients + 1} of {TRANSIENTS}){source}"
            return Response(Action.RETRY, delay, on_another_worker=True, from_next_replica=several, message=message)
        case FailureKind.TRANSIENT if failed.task.folder and failed.task.folder in failed.message:
            return Response(Action.STOP)  # it is the store that does not answer, not the input
        case FailureKind.TRANSIENT:
            return _once_more(history, evidence, doubts=min(history.refusals, 1)) or Response(
                Action.QUARANTINE, message=_given_up(f"given up after {history.transients} attempts", evidence)
            )
        case FailureKind.INPUT if history.refusals % history.replicas:
            return Response(Action.RETRY, on_another_worker=True, from_next_replica=True,
                            message="trying the file's next replica")  # fmt: skip
        case FailureKind.INPUT:
            return _once_more(history, evidence, doubts=1) or Response(
                Action.QUARANTINE, message=_given_up("", evidence)
            )
        case FailureKind.MEMORY if failed.task.chunk.entries > 1:
            return Response(Action.SPLIT, message="trying again in two halves")
        case _:
            return Response(Action.GIVE_UP)


def next_replica(replicas: Sequence[str], last: str, bad: Collection[str], doubted: bool = False) -> str:
    """Return the replica after the last one that was read, of those that are not bad; of the bad ones if in doubt."""
    after = replicas.index(last) + 1
    files = (*replicas[after:], *replicas[:after])
    return next((file for file in files if (file in bad) is doubted), files[0])


def _after_death(kind: FailureKind, history: History, evidence: Evidence) -> Response:
    count, most = (history.losses, evidence.losses) if kind is FailureKind.LOST else (history.deaths, DEATHS)
    if count < most:
        message = f"trying again on another worker ({count + 1} of {most})"
        return Response(Action.RETRY, on_another_worker=True, message=message)
    return Response(Action.STOP if kind in {FailureKind.SPACE, FailureKind.DISK} else Action.GIVE_UP)


def _once_more(history: History, evidence: Evidence, doubts: int) -> Response | None:
    """Doubt that the file is bad, as long as it was doubted less often than needed or its machine has no witness."""
    is_sure = (evidence.has_witness and history.doubts >= doubts) or (evidence.is_alone and history.doubts > 0)
    if is_sure or history.doubts >= DOUBTS:
        return None
    message = "it is tried once more after another file was read: the machine may be at fault"
    return Response(Action.DOUBT, on_another_worker=True, from_next_replica=history.replicas > 1, message=message)


def _given_up(words: str, evidence: Evidence) -> str:
    if evidence.has_witness:
        return words
    alone = "no other file was read since, so the disk, the mount or the server of all files may be at fault"
    return f"{words}; {alone}" if words else alone
