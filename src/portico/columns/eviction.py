"""Eviction from the column cache: the files to remove when it is full."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

__all__ = ["Held", "allowed", "beyond"]

_SHARE = 4  # of what is free


@dataclass(frozen=True, slots=True)
class Held:
    """A file of the cache.

    Parameters
    ----------
    path : str
        Where.
    size : int
        Bytes.
    used : int
        When it was used last, in ns.
    """

    path: str
    size: int
    used: int


def allowed(most: int, held: int, free: int) -> int:
    """Return how many bytes the cache may hold: at most ``most``, and a quarter of what would be free without it."""
    return min(most, (held + free) // _SHARE)


def beyond(files: Iterable[Held], limit: int) -> list[Held]:
    """Return the files to remove, so that the others take at most ``limit`` bytes: those used least recently."""
    newest_first = sorted(files, key=lambda file: (-file.used, file.path))
    sums = accumulate(file.size for file in newest_first)
    return [file for file, total in zip(newest_first, sums, strict=True) if total > limit]
