"""Cached searches on disk, which are repeated only if files that they looked at have changed.

Counted are the files that were read, the folders that were listed, and also the paths at which nothing was: a file that
appears there may be found the next time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Generic, TypeVar

__all__ = ["Kept", "is_file", "note"]

Key = TypeVar("Key")
Value = TypeVar("Value")
_Stamp = tuple[int, int, int, int]

_LOOKING: ContextVar[dict[str, _Stamp | None] | None] = ContextVar("looking", default=None)
_SETTLED = 2.0  # seconds after which a change gives a file another time, on any file system
_MOST = 256


def note(path: str | os.PathLike[str]) -> None:
    """Note that a search is about to read a file, or to list a folder."""
    looking = _LOOKING.get()
    if looking is not None:
        looking.setdefault(os.fspath(path), _stamp(os.fspath(path)))


def is_file(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a file, and note that a search has looked for it."""
    note(path)
    return os.path.isfile(path)  # noqa: PTH113 (false for what cannot be a path)


def _stamp(path: str) -> _Stamp | None:
    with suppress(OSError, ValueError):
        status = os.stat(path)  # noqa: PTH116
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return None


@contextmanager
def _looking() -> Iterator[dict[str, _Stamp | None]]:
    seen: dict[str, _Stamp | None] = {}
    token = _LOOKING.set(seen)
    try:
        yield seen
    finally:
        _LOOKING.reset(token)


class Kept(Generic[Key, Value]):
    """Results of searches, valid until a file that they looked at changes.

    A search whose files changed a moment ago is not kept, since a second change might not show in their times.
    """

    def __init__(self) -> None:
        self._found: dict[Key, tuple[Value, object, dict[str, _Stamp | None]]] = {}

    def get(self, key: Key, search: Callable[[], Value]) -> Value:
        """Return what a search finds, which is not made if it would find what it found before.

        Parameters
        ----------
        key
            Identifies the search.
        search : callable
            Makes it, and calls `note` or `is_file` for all that it looks at. Environment variables and the working
            directory may count too.
        """
        around = (os.getcwd(), dict(os.environ))  # noqa: PTH109
        if (kept := self._found.get(key)) is not None:
            value, before, seen = kept
            if before == around and all(_stamp(path) == stamp for path, stamp in seen.items()):
                return value
            self._found.pop(key, None)
        with _looking() as seen:
            value = search()
        latest = max((max(stamp[2:]) for stamp in seen.values() if stamp is not None), default=0)
        if time.time() - latest / 1e9 > _SETTLED:
            self._found[key] = value, around, seen
            for old in list(self._found)[:-_MOST]:
                self._found.pop(old, None)
        return value
