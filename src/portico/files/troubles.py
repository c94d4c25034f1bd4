"""Messages for disk problems: what failed, where, why, and what to do.

Each number of an error of the system has its own words. A full disk is one that the system calls full, and no other.
"""

from __future__ import annotations

import errno
import getpass
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portico.errors import PorticoError, RunFolderError, SpaceError

__all__ = ["ENVIRONMENT", "explained", "explaining", "explaining_any", "is_regular", "of_a_disk"]

_AGAIN = "run again when it works: what is recorded as done is on disk"
_WORDS = {
    errno.EIO: "input/output error: the disk, or the server that it is on, fails; see its log (dmesg), and " + _AGAIN,
    errno.EROFS: "the file system is read-only, as one with errors may be mounted; have it mounted for writing, or "
    "choose another folder",
    errno.ENOLCK: "the file system has no locks, or its lock server does not answer; choose a folder on another one",
    errno.ESTALE: "its server removed or replaced it (stale file handle); " + _AGAIN,
    errno.ENOENT: "it is not there any more: was it removed or moved meanwhile? run again",
    errno.ENOTDIR: "a file is where a folder should be; remove it, and run again",
    errno.EISDIR: "a folder is where a file should be; remove it, and run again",
    errno.EEXIST: "something else is in its place; remove it, and run again",
    errno.ELOOP: "a link leads to itself; remove it, and run again",
    errno.EMFILE: "too many open files; raise the limit with: ulimit -n 4096",
    errno.ENFILE: "the machine has too many open files; " + _AGAIN,
    errno.ENAMETOOLONG: "the name is too long for its file system; choose a folder with a shorter path",
    errno.EFBIG: "the file is larger than its file system, or the limit of the shell (ulimit -f), allows",
    errno.ETIMEDOUT: "its server does not answer; " + _AGAIN,
    errno.EHOSTDOWN: "its server does not answer; " + _AGAIN,
    errno.EHOSTUNREACH: "its server cannot be reached; " + _AGAIN,
    errno.ECONNREFUSED: "its server does not answer; " + _AGAIN,
    errno.ENOTCONN: "it is not mounted any more (transport endpoint is not connected); mount it again, and run again",
    errno.ENODEV: "its disk is gone; " + _AGAIN,
    errno.ENXIO: "its disk is gone, or it is not a file; " + _AGAIN,
    errno.EREMOTEIO: "its server has an input/output error; " + _AGAIN,
}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM}

_OF_DISKS = _FULL | {errno.EIO, errno.EROFS, errno.ESTALE, errno.EFBIG, errno.EREMOTEIO}
"""Those that sockets and processes do not have."""

ENVIRONMENT = frozenset(_WORDS.keys() - {errno.ENOENT, errno.EEXIST} | _FULL | _FORBIDDEN)
"""Numbers of errors that are of a disk or its server, whoever meets them."""


def explained(error: OSError, path: str | Path, done: str = "written") -> PorticoError:
    """Return the error of portico for an error of the system.

    Parameters
    ----------
    error : OSError
        What the system said.
    path : str or Path
        The file or folder.
    done : str
        What was to be done with it.
    """
    if error.errno in _FULL:
        what = "no space left" if error.errno == errno.ENOSPC else "no space left in the quota"
        return SpaceError(f"{path}: {what}; free space and run again, what is done is kept")
    if error.errno in _FORBIDDEN:
        return RunFolderError(f"{path}: cannot be {done}: {_whose(Path(path), error)}; ask for access, or choose "
                              "another folder")  # fmt: skip
    words = _WORDS.get(error.errno or 0, f"{error.strerror or error}; choose another folder")
    return RunFolderError(f"{path}: cannot be {done}: {words}")


def _whose(path: Path, error: OSError) -> str:
    """Say to whom a file or folder belongs, or the folder that it is in, if it cannot be seen."""
    for place in (path, *path.parents):
        try:
            status = place.lstat()
        except OSError:
            continue
        try:
            owner = place.owner()
        except (OSError, KeyError):
            owner = str(status.st_uid)
        whom = "it" if place == path else f"{place}"
        mode = f"{status.st_mode & 0o777:03o}"
        return f"{error.strerror or 'permission denied'}: {whom} belongs to {owner} (mode {mode}), this is {_user()}"
    return error.strerror or "permission denied"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@contextmanager
def explaining(path: str | Path, done: str = "written") -> Iterator[None]:
    """Turn errors of the system into errors of portico; their own path stands for ``path``, if they have one.

    Raises
    ------
    SpaceError
        If the disk is full.
    RunFolderError
        If it cannot be used for another reason.
    """
    try:
        yield
    except OSError as error:
        raise explained(error, error.filename or path, done) from error


def of_a_disk(error: OSError, folder: str | Path) -> PorticoError | None:
    """Return the error of portico for an error of a disk; None for other errors, as those of connections.

    Parameters
    ----------
    error : OSError
        What the system said.
    folder : str or Path
        Where it happened, if the error names no file.
    """
    if error.errno not in ENVIRONMENT or (error.filename is None and error.errno not in _OF_DISKS):
        return None
    other = tempfile.gettempdir()
    or_other = f", or a temporary one in {other}" if other != f"{folder}" else ""
    where = error.filename or f"a file in {folder}{or_other}"
    return explained(error, where)


@contextmanager
def explaining_any(folder: str | Path) -> Iterator[None]:
    """Turn errors of disks into errors of portico, in what works with many files in a folder; others stay.

    Raises
    ------
    SpaceError
        If a disk is full.
    RunFolderError
        If one cannot be used for another reason.
    """
    try:
        yield
    except OSError as error:
        if found := of_a_disk(error, folder):
            raise found from error
        raise


def is_regular(path: Path) -> bool:
    """Return whether something can be read as a file: a pipe would wait for ever, a folder cannot be read."""
    return path.is_file() or not path.exists()
