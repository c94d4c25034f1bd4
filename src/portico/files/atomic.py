"""Atomic writing of files: they appear complete or not at all, and are flushed to disk.

They are written under another name, brought to the disk, and renamed; then the folder is, which has the new name.
"""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from portico.files.troubles import explained

__all__ = ["make_folder", "rename_when_seen", "sync", "sync_folders", "write_atomic"]

_FIRST_WAIT = 0.05

_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EBADF}
"""What file systems answer that cannot bring a folder to the disk by itself, as some of user space."""


def sync(path: Path) -> None:
    """Bring a file or folder to the disk, so that it is there after a power cut.

    Raises
    ------
    OSError
        If the disk fails or is full.
    """
    try:
        number = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(number)


def sync_folders(folders: Iterable[str | Path]) -> None:
    """Bring the names in folders to the disk.

    Raises
    ------
    SpaceError, RunFolderError
        If the disk fails or is full.
    """
    for folder in sorted({Path(folder) for folder in folders}):
        try:
            sync(folder)
        except OSError as error:
            raise explained(error, folder) from error


def make_folder(folder: Path) -> None:
    """Make a folder with those above it, on disk; it may be there already.

    Raises
    ------
    OSError
        If that is not possible.
    """
    if folder.is_dir():
        return
    new = [folder, *(above for above in folder.parents if not above.exists())]
    folder.mkdir(parents=True, exist_ok=True)
    for path in new:
        sync(path.parent)


def rename_when_seen(aside: Path, final: Path, seconds: float) -> None:
    """Rename a file that another machine wrote, and that a network disk may show here only a little later.

    Parameters
    ----------
    aside, final : Path
        Its old and new name.
    seconds : float
        For how long to wait until it is seen.

    Raises
    ------
    FileNotFoundError
        If it is not seen then.
    OSError
        If it cannot be renamed for another reason.
    """
    wait, until = _FIRST_WAIT, time.monotonic() + seconds
    while not _renamed(aside, final):
        if time.monotonic() + wait > until:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(aside))
        time.sleep(wait)
        wait *= 2
        with suppress(OSError):
            list(aside.parent.iterdir())  # asks the server for the names, which may be remembered otherwise


def _renamed(aside: Path, final: Path) -> bool:
    try:
        aside.replace(final)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def write_atomic(path: Path) -> Iterator[Path]:
    """Give a path aside to write to; rename it to ``path`` when all went well, else remove it. Its folder is made.

    Raises
    ------
    SpaceError
        If the disk is full.
    RunFolderError
        If it cannot be written for another reason.
    """
    aside = path.with_name(f".{uuid.uuid4().hex}.part{path.suffix}")
    ours = {str(place) for place in (aside, path, *path.parents)}
    try:
        make_folder(path.parent)
        yield aside
        sync(aside)
        aside.replace(path)
        sync(path.parent)
    except OSError as error:
        if error.filename is None or str(error.filename) in ours:
            raise explained(error, path) from error
        raise
    finally:
        aside.unlink(missing_ok=True)
