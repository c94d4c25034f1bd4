"""The folder of the column cache, which all processes of a user on one machine share.

The files of one chunk lie in one folder, named by what the chunk is. They are written aside and renamed, so that each
is whole or not there, and verified before they are used. What is mapped into memory stays when its file is removed.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np

from portico.columns.eviction import Held, allowed, beyond
from portico.columns.layout import ALIGNMENT, HEADER_BYTES, Damaged, Head, checksum
from portico.config import parse_size
from portico.errors import ConfigError, PorticoWarning
from portico.files.remembered import cache_folder
from portico.shown import without_secrets

__all__ = ["ChunkColumns", "ColumnCache", "ColumnWriter", "KeptFile", "MappedColumn", "column_cache"]

_FORMAT = 2  # of the files; one more whenever they, or what is in them, are made in another way
_MOST_BYTES = 10 * 10**9
_LEFT_SECONDS = 3600.0  # after which a file that was not finished is taken as left by a process that died
_PART, _COLUMN, _SCHEMA = ".part", ".column", "schema"
_CHUNKS = "[0-9a-f][0-9a-f]/" + "[0-9a-f]" * 38  # what lies beside them in a folder of the user's is left alone
_CHECK_BYTES = 16


@dataclass(frozen=True, slots=True)
class MappedColumn:
    """A column in memory, which may be written to: what is written reaches no file.

    Parameters
    ----------
    head : Head
        What it is.
    memory : mmap
        The whole file.
    """

    head: Head
    memory: mmap.mmap

    @property
    def values(self) -> int:
        """The address of the values."""
        return int(np.frombuffer(self.memory, np.uint8).ctypes.data) + self.head.values_at

    @property
    def offsets(self) -> int:
        """The address of the offsets; 0 if there are none."""
        return self.values - self.head.values_at + self.head.offsets_at if self.head.lists else 0


@dataclass(frozen=True, slots=True)
class KeptFile:
    """What is kept of one input file.

    Parameters
    ----------
    file : str
        Its path or URL; empty if that is not known.
    chunks, columns, size : int
        Number of chunks, of columns of all chunks, and their bytes on disk.
    used : float
        When a column was used last, in seconds since 1970.
    """

    file: str
    chunks: int
    columns: int
    size: int
    used: float


class ColumnCache:
    """Columns in a folder.

    Parameters
    ----------
    folder : Path
        The folder, for this user alone; it is made if it is not there.
    most_bytes : int
        What all files may take together, unless less than three quarters of the disk are left free by that.

    Raises
    ------
    OSError
        If the folder belongs to another user, or cannot be made.
    """

    def __init__(self, folder: Path, most_bytes: int = _MOST_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.lstat()
        if status.st_uid != os.getuid() or folder.is_symlink():
            raise PermissionError(f"{folder} belongs to another user")
        folder.chmod(0o700)
        self.folder, self._most_bytes = folder, most_bytes
        self._verified: dict[str, tuple[int, int, int]] = {}
        self._written: int | None = None  # bytes since the last look at all files

    def chunk(self, file: str, tree: str, first: int, last: int) -> ChunkColumns:
        """Return what is kept of a range of entries.

        Parameters
        ----------
        file : str
            All that identifies the content of the file, and the versions of what reads it.
        tree : str
            Name of the tree.
        first, last : int
            Entries ``first <= entry < last``.
        """
        text = "\0".join([str(_FORMAT), file, tree, str(first), str(last)])
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        return ChunkColumns(self, self.folder / digest[:2] / digest[2:40], digest, last - first)

    def held(self) -> Iterator[Held]:
        """Yield all files; those that were left unfinished are removed."""
        for folder in self.folder.glob(_CHUNKS):
            with suppress(OSError), os.scandir(folder) as found:
                for each in found:
                    if not each.name.endswith((_PART, _COLUMN, _SCHEMA)):
                        continue
                    status = each.stat(follow_symlinks=False)
                    if each.name.endswith(_PART) and time.time() - status.st_mtime > _LEFT_SECONDS:
                        Path(each.path).unlink(missing_ok=True)
                    yield Held(each.path, status.st_blocks * 512, status.st_atime_ns)

    def contents(self) -> list[KeptFile]:
        """Return what is kept, by input file; the one that was used last first."""
        found: dict[str, list[Held]] = {}
        chunks: Counter[str] = Counter()
        for folder, files in groupby(
            sorted(self.held(), key=lambda held: held.path), lambda held: Path(held.path).parent
        ):
            file = ChunkColumns(self, folder, "", 0).about()
            columns = [each for each in files if each.path.endswith(_COLUMN)]
            chunks[file] += bool(columns)
            found.setdefault(file, []).extend(columns)
        kept = [
            KeptFile(file, chunks[file], len(of), sum(each.size for each in of), max(each.used for each in of) / 1e9)
            for file, of in found.items()
            if of
        ]
        return sorted(kept, key=lambda file: -file.used)

    def clear(self) -> int:
        """Remove all files; return how many bytes they took."""
        files = list(self.held())
        _remove(files)
        return sum(file.size for file in files)

    def limit(self, held: int) -> int:
        """Return how many bytes it may hold, if it holds ``held`` bytes now."""
        return allowed(self._most_bytes, held, shutil.disk_usage(self.folder).free)

    def wrote(self, size: int) -> None:
        """Take note of new files, and remove those used least recently if there are too many."""
        written = None if self._written is None else self._written + size
        self._written = 0 if written is None or written > self._most_bytes // 20 else written
        if self._written:
            return
        files = list(self.held())
        _remove(beyond(files, self.limit(sum(file.size for file in files))))

    def is_verified(self, path: Path, status: os.stat_result) -> bool:
        """Whether this process has verified a file as it is now."""
        return self._verified.get(str(path)) == _stamp(status)

    def verified(self, path: Path, status: os.stat_result) -> None:
        """Take note that a file was verified."""
        self._verified[str(path)] = _stamp(status)


class ChunkColumns:
    """What is kept of one chunk.

    Parameters
    ----------
    cache : ColumnCache
        The cache.
    folder : Path
        The folder of its files.
    digest : str
        What the chunk is.
    entries : int
        Number of its entries.
    """

    def __init__(self, cache: ColumnCache, folder: Path, digest: str, entries: int) -> None:
        self._cache, self._folder, self._digest, self._entries = cache, folder, digest, entries

    def schema(self) -> bytes | None:
        """Return what was kept with `keep_schema`; None if there is nothing."""
        found = self._read_schema()
        if found is None:
            return None
        with suppress(OSError):
            os.utime(self._folder / _SCHEMA)
        return found[1]

    def about(self) -> str:
        """Return the name of the input file that was kept with the schema; empty if there is none."""
        found = self._read_schema()
        return "" if found is None else found[0]

    def _read_schema(self) -> tuple[str, bytes] | None:
        try:
            written = (self._folder / _SCHEMA).read_bytes()
        except OSError:
            return None
        content = written[_CHECK_BYTES:]
        if written[:_CHECK_BYTES] != f"{checksum(content):016x}".encode():
            return None
        file, _, schema = content.partition(b"\0")
        return file.decode("utf-8", "surrogateescape"), schema

    def keep_schema(self, content: bytes, file: str) -> None:
        """Keep a description of the columns, with the name of the input file for people.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = self._folder / f"{uuid.uuid4().hex}{_PART}"
        content = without_secrets(file).encode("utf-8", "surrogateescape") + b"\0" + content
        aside.write_bytes(f"{checksum(content):016x}".encode() + content)
        aside.replace(self._folder / _SCHEMA)

    def open(self, column: str, element: str, lists: bool) -> MappedColumn | None:
        """Map a column; None if it is not kept. A damaged file is removed.

        Parameters
        ----------
        column : str
            Its name.
        element, lists
            As in `Head`.
        """
        path = self._path(column)
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                head = Head.read(file.read(HEADER_BYTES))
                head.check(self._key(column), element, lists, self._entries, status.st_size)
                memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
                if not self._cache.is_verified(path, status):
                    head.check_content(memoryview(memory)[HEADER_BYTES:])
                    self._cache.verified(path, status)
                os.utime(file.fileno(), ns=(time.time_ns(), status.st_mtime_ns))
        except Damaged:
            path.unlink(missing_ok=True)
            return None
        except (OSError, ValueError):
            return None
        return MappedColumn(head, memory)

    def begin(self, column: str, element: str, lists: bool) -> ColumnWriter:
        """Begin a column that is not kept yet.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return ColumnWriter(self._cache, self._path(column), Head(self._key(column), element, lists, self._entries, 0))

    def _key(self, column: str) -> bytes:
        return hashlib.sha256(f"{self._digest}\0{column}".encode("utf-8", "surrogateescape")).digest()

    def _path(self, column: str) -> Path:
        return self._folder / (self._key(column).hex()[:32] + _COLUMN)


class ColumnWriter:
    """A column on its way into the cache.

    Parameters
    ----------
    cache : ColumnCache
        The cache.
    path : Path
        Where it is to lie.
    head : Head
        What it is, but for the number of elements.
    """

    def __init__(self, cache: ColumnCache, path: Path, head: Head) -> None:
        self._cache, self._path, self.head = cache, path, head
        self._aside = path.with_name(f"{uuid.uuid4().hex}{_PART}")
        self._file = self._aside.open("xb+", buffering=0)
        self._file.seek(head.values_at)

    @property
    def alignment(self) -> int:
        """What the offsets behind the values are aligned to."""
        return ALIGNMENT

    def fileno(self) -> int:
        """Return the descriptor to which values, and then offsets, are written from where it stands."""
        return self._file.fileno()

    def finish(self, elements: int) -> MappedColumn:
        """Put a column that is written into its place, and map it.

        Raises
        ------
        OSError
            If it cannot be read back. That it cannot be put into its place is not an error: it is then not kept.
        """
        head = replace(self.head, elements=elements)
        if os.fstat(self.fileno()).st_size != head.size:
            raise OSError(f"{self._aside} has another size than was written")
        memory = mmap.mmap(self.fileno(), 0, access=mmap.ACCESS_COPY)
        content = checksum(memoryview(memory)[HEADER_BYTES:])
        os.pwrite(self.fileno(), head.sealed(content), 0)
        with suppress(OSError):
            self._aside.replace(self._path)
            self._cache.verified(self._path, os.fstat(self.fileno()))
            self._cache.wrote(head.size)
        return MappedColumn(head, memory)

    def close(self) -> None:
        """Close the file, and remove it if it is not in its place."""
        self._file.close()
        with suppress(OSError):
            self._aside.unlink(missing_ok=True)


def column_cache() -> ColumnCache | None:
    """Return the column cache of the user; None if there is none, of which the user is warned if it is a fault.

    It lies in ``columns`` in the folder of `cache_folder`, or in ``$PORTICO_COLUMNS``, and takes at most
    ``$PORTICO_COLUMNS_SIZE``, 10 GB by default, and a quarter of the space that is free without it.
    """
    base, own = cache_folder(), os.environ.get("PORTICO_COLUMNS")
    if own == "" or (own is None and base is None):
        return None
    folder = Path(own).absolute() if own else Path(base or "") / "columns"
    return _opened(folder, os.environ.get("PORTICO_COLUMNS_SIZE", ""), os.getpid())


@lru_cache
def _opened(folder: Path, size: str, process: int) -> ColumnCache | None:  # noqa: ARG001 (no cache survives a fork)
    try:
        most = parse_size(size) if size else _MOST_BYTES
        return ColumnCache(folder, most) if most else None
    except (ConfigError, OSError) as error:
        warnings.warn(f"columns are not kept: {error}", PorticoWarning, stacklevel=2)
        return None


def _remove(files: Iterable[Held]) -> None:
    """Remove files, and the folders that are empty then."""
    removed = [Path(file.path) for file in files]
    for path in removed:
        with suppress(OSError):
            path.unlink()
    for folder in {path.parent for path in removed}:
        with suppress(OSError):
            folder.rmdir()


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns
