"""Versions of files: what their file system or server reports about them, without opening them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from portico.errors import PorticoError
from portico.files.remote import is_remote, may_pass
from portico.files.storage import speaks_xrootd, storage_of

__all__ = ["Version", "look_at", "version_of"]

_SECOND = 1_000_000_000
_TICK = _SECOND // 50  # of the clock that stamps files: at most 10 ms in a kernel
_COARSE_TICK = 2 * _SECOND  # where times are whole seconds, or every other one


@dataclass(frozen=True, slots=True)
class Version:
    """The version of a file at one moment.

    Parameters
    ----------
    text : str
        Size and time of the last modification, in bytes and ns; the same on every machine that sees the file.
    stamp : str
        Changes whenever the file does, also if its size and time of modification were kept: of a local file also the
        time of the last change of status and the inode. What is remembered of a file is valid for one stamp.
    settled : bool
        Whether a later change would certainly change the stamp: not so within a tick of the clock.
    """

    text: str
    stamp: str
    settled: bool


def look_at(file: str) -> Version | None:
    """Return the version of a file; None if it is not there, or its server does not tell.

    Raises
    ------
    InputError
        If the server does not answer.
    """
    if not is_remote(file):
        try:
            status = Path(file).stat()
        except OSError:
            return None
        text = f"{status.st_size}:{status.st_mtime_ns}"
        return Version(text, f"{text}:{status.st_ctime_ns}:{status.st_ino}", _settled(status.st_ctime_ns))
    if not speaks_xrootd(file):
        return None
    try:
        found = storage_of(file).stat(file)
    except PorticoError as error:
        if may_pass(str(error)):
            raise
        return None  # opening it tells why
    return None if found is None else Version(text := f"{found[0]}:{found[1]}", text, _settled(found[1]))


def version_of(file: str) -> str:
    """Return the version of a local file as text; empty for a remote one, or if it is gone."""
    found = None if is_remote(file) else look_at(file)
    return "" if found is None else found.text


def _settled(changed: int) -> bool:
    """Return whether a time in ns is older than a tick; times of whole seconds come from a clock of seconds."""
    return time.time_ns() - changed > (_COARSE_TICK if changed % _SECOND == 0 else _TICK)
