"""What to do about a chunk that failed: one table from kinds of failure to what follows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from portico.worker.task import Failed

__all__ = ["DEATHS", "TRANSIENTS", "Record", "Verdict", "Way", "decide"]

DEATHS = 3
"""How often a chunk is tried whose worker died, or had no space left."""

TRANSIENTS = 6
"""How often a chunk is tried whose file cannot be read just now: after 1, 2, 4, 8 and 16 seconds again."""


class Way(Enum):
    """What follows a failure."""

    RETRY = auto()
    HALVE = auto()
    QUARANTINE = auto()
    GIVE_UP = auto()
    STOP = auto()


@dataclass(slots=True)
class Record:
    """What has happened to one chunk so far.

    Parameters
    ----------
    places : int
        How many places its file lies at.
    deaths, transients, refused : int
        Lost workers, failures that may pass, and places where the file was found to be bad.
    """

    places: int = 1
    deaths: int = 0
    transients: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, for a retry: after how many seconds, whether at the file's next place or on another worker.

    Parameters
    ----------
    way : Way
        What to do.
    after : float
        Seconds to wait.
    elsewhere : bool
        Not on the worker that failed.
    next_place : bool
        From the next place where the file lies.
    words : str
        What the user is told after the failure itself.
    """

    way: Way
    after: float = 0.0
    elsewhere: bool = False
    next_place: bool = False
    words: str = ""


def decide(failed: Failed, record: Record) -> Verdict:
    """Decide what follows a failure, and note it in the chunk's record."""
    match failed.kind:
        case "crash" | "lost" | "space":
            record.deaths += 1
            if record.deaths < DEATHS:
                words = f"trying again elsewhere ({record.deaths + 1} of {DEATHS})"
                return Verdict(Way.RETRY, elsewhere=True, words=words)
            return Verdict(Way.STOP if failed.kind == "space" else Way.GIVE_UP)
        case "transient":
            record.transients += 1
            if record.transients < TRANSIENTS:
                wait = 2.0 ** (record.transients - 1)
                other = record.places > 1
                where = ", from the file's next place" if other else ""
                words = f"trying again in {wait:.0f} s ({record.transients + 1} of {TRANSIENTS}){where}"
                return Verdict(Way.RETRY, wait, next_place=other, words=words)
            if failed.task.folder and failed.task.folder in failed.message:
                return Verdict(Way.STOP)  # it is the store that does not answer, not the input
            return Verdict(Way.QUARANTINE, words=f"given up after {TRANSIENTS} attempts")
        case "input":
            record.refused += 1
            if record.refused < record.places:
                return Verdict(Way.RETRY, next_place=True, words="trying the file's next place")
            return Verdict(Way.QUARANTINE)
        case "memory":
            if failed.task.chunk.entries > 1:
                return Verdict(Way.HALVE, words="trying again in two halves")
            return Verdict(Way.GIVE_UP)
        case _:
            return Verdict(Way.STOP)
