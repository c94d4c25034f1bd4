"""Temporary folders of processes, removed even if the process is killed.

They hold credentials. A killed process cannot remove its folder; the next one on the same machine does.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

__all__ = ["Scratch"]

_PREFIX = "portico-"
_LOCK = "portico-process.lock"  # of no other folder: a run folder has a file "lock"


class Scratch:
    """A folder that only this user can open, removed by `close` or after its process has died."""

    def __init__(self) -> None:
        _remove_abandoned()
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        aside = self.path / f".{_LOCK}.part"
        self._lock: IO[bytes] = aside.open("wb")
        with suppress(OSError):  # a file system without locks: the folder is then not removed by others
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            aside.rename(self.path / _LOCK)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _remove_abandoned() -> None:
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError), _held(lock):
            shutil.rmtree(lock.parent, ignore_errors=True)


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    """Lock a folder; fails if the process that made it is alive, or if it belongs to another user."""
    if lock.parent.is_symlink() or lock.parent.stat().st_uid != os.getuid():
        raise PermissionError(lock)
    with lock.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
