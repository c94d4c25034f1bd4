"""The log of a process that runs chunks: standard error of ROOT and the step, limited in size.

A step that prints something for each event would fill the disk. What earlier messages wrote is cut off when a message
begins; while one is worked on, whoever started the process gives the space in the middle of a long log back to the
disk. The lines in it by which failures are recognised are kept in a file beside it.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["LOG", "Log", "bound", "tail"]

LOG = "stderr.log"

MOST_BYTES = 32 * 2**20
"""When a log takes more than this, its middle goes."""
_LONGEST = 2**30
_ENDS = 2**20  # of its beginning and its end, what stays
_KEPT_BYTES = 2**20
_BLOCK = 2**20
_PAGE = 4096
_LINE = 2048
_TELLING = re.compile(
    rb"^[^\n]*(?:(?:SysError|Error|Fatal|Break) in <|No space left|quota exceeded|Just-in-time compilation phase"
    rb"|checksum verification failed|status code|unzip|\berror:|bad_alloc|terminate called)[^\n]*\n",
    re.MULTILINE | re.IGNORECASE,
)
_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # of fallocate(2)


class Log:
    """The log, as the process itself reads it.

    Parameters
    ----------
    folder : Path
        The folder of the process.
    """

    def __init__(self, folder: Path) -> None:
        self._path, self._kept = folder / LOG, _beside(folder)

    def begin(self) -> int:
        """Cut off what is old, and return where what comes now begins."""
        self._kept.unlink(missing_ok=True)
        sys.stderr.flush()
        with suppress(OSError):
            os.truncate(self._path, 0)
        return self.size()

    def size(self) -> int:
        """Return the position of its end."""
        return self._path.stat().st_size if self._path.exists() else 0

    def read(self, start: int) -> str:
        """Return what was written from a position on; of a long text the ends, and telling lines between."""
        sys.stderr.flush()
        with self._path.open("rb") as stream:
            parts = list(_data(stream.fileno(), start))
        if len(parts) > 1 and self._kept.exists():
            parts.insert(1, self._kept.read_bytes())
        return b"\n".join(parts).decode(errors="replace")


def tail(folder: Path, count: int) -> str:
    """Return the last bytes of a log."""
    try:
        with (folder / LOG).open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - count))
            return stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _beside(folder: Path) -> Path:
    return folder / f"{LOG}.kept"


def _data(number: int, start: int) -> Iterator[bytes]:
    """Yield the parts of a file that have not been given back to the disk."""
    end = os.fstat(number).st_size
    while start < end:
        try:
            first = os.lseek(number, start, os.SEEK_DATA)
            start = os.lseek(number, first, os.SEEK_HOLE)
        except OSError:  # nothing but a hole is left
            return
        yield os.pread(number, start - first, first).strip(b"\0")


def bound(folder: Path, most: int = 0) -> bool:
    """Give the middle of a long log back to the disk.

    Parameters
    ----------
    folder : Path
        The folder of the process.
    most : int
        Bytes from which on it is long; `MOST_BYTES` by default.

    Returns
    -------
    bool
        False if it is very long, on a file system that cannot take back a part of a file.
    """
    try:
        number = os.open(folder / LOG, os.O_RDWR)
    except OSError:
        return True
    try:
        status = os.fstat(number)
        if status.st_blocks * 512 < (most or MOST_BYTES):
            return True
        ends = min(_ENDS, (most or MOST_BYTES) // 4) // _PAGE * _PAGE
        last = (status.st_size - ends) // _PAGE * _PAGE
        _keep_telling(folder, number, ends, last)
        return _punch(number, ends, last - ends) or status.st_blocks * 512 < _LONGEST
    finally:
        os.close(number)


def _keep_telling(folder: Path, number: int, first: int, last: int) -> None:
    kept = _beside(folder)
    with kept.open("ab") as sink:
        position = first
        while position < last and sink.tell() < _KEPT_BYTES:
            with suppress(OSError):  # what was given back before is skipped
                position = max(position, os.lseek(number, position, os.SEEK_DATA))
            block = os.pread(number, min(_BLOCK, last - position), position)
            sink.writelines(line[-_LINE:] for line in dict.fromkeys(_TELLING.findall(block)))
            position += max(len(block), 1)


def _punch(number: int, first: int, length: int) -> bool:
    library = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    offset = ctypes.c_int64
    if library.fallocate64(number, _KEEP_SIZE | _PUNCH_HOLE, offset(first), offset(length)) == 0:
        return True
    return ctypes.get_errno() not in {errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTSUP}
