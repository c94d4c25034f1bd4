"""The files of an archive, read in memory: zip, tar, gzip, bzip2 and xz, archives within archives, and folders.

Nothing is extracted to disk, so that names of members are labels and no paths. What a member may become when it is
decompressed is bounded, and so is all that an archive may become. Links and devices are left out.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from portico.errors import ConfigError, InputError, near_path
from portico.files.troubles import is_regular

__all__ = ["is_archive", "members"]

_LARGEST: Final = 512 * 2**20  # bytes of a member
_ALTOGETHER: Final = 8 * 2**30  # bytes that are decompressed of an archive
_MOST: Final = 50_000  # members
_DEEPEST: Final = 3  # archives within archives
_BLOCK: Final = 512  # of tar
_COMPRESSED: Final[dict[bytes, Callable[[Any], Any]]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open,
}  # fmt: skip
_SUFFIXES: Final = {".tgz": ".tar", ".tbz2": ".tar", ".txz": ".tar", ".gz": "", ".bz2": "", ".xz": ""}
_HIDDEN: Final = ("__MACOSX", ".")  # what file managers add
_DAMAGED: Final = (
    OSError, EOFError, RuntimeError, NotImplementedError, ValueError, zlib.error, lzma.LZMAError, tarfile.TarError,
    zipfile.BadZipFile,
)  # fmt: skip


def is_archive(path: Path) -> bool:
    """Whether a path is a folder, or a file that begins as an archive or a compressed file does.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    if path.is_dir():
        return True
    if not is_regular(path):
        raise ConfigError(f"{path}: is a pipe or a device, not a file")
    try:
        with path.open("rb") as file:
            return _kind(file.read(_BLOCK)) != ""
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file{near_path(path)}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def members(path: Path, wanted: Callable[[str, bytes], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the files of an archive or a folder, also of those in archives in it.

    Parameters
    ----------
    path : Path
    wanted : callable
        Takes the name of a file and its first bytes; whether it is to be read.

    Raises
    ------
    InputError
        If the archive is damaged or encrypted, or larger than what is read here when it is decompressed.
    """
    reader = _Reader(path, wanted)
    if not path.is_dir():
        yield from reader.archive("", path)
        return
    for file in sorted(path.rglob("*")):
        if file.is_file() and not _hidden(name := file.relative_to(path).as_posix()):
            with file.open("rb") as opened:
                head = opened.read(_BLOCK)
            if _kind(head):
                yield from reader.archive(name, file)
            elif wanted(name, head):
                with file.open("rb") as opened:
                    yield name, reader.bounded(opened, name)


def _kind(head: bytes) -> str:
    if head[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
        return "zip"
    if head[257:262] == b"ustar":
        return "tar"
    return "compressed" if any(head.startswith(magic) for magic in _COMPRESSED) else ""


def _hidden(name: str) -> bool:
    return any(part.startswith(_HIDDEN) and part not in {".", ".."} for part in PurePosixPath(name).parts)


class _Reader:
    """Reads one archive with all that is in it, and counts what it becomes."""

    def __init__(self, path: Path, wanted: Callable[[str, bytes], bool]) -> None:
        self._path, self._wanted = path, wanted
        self._bytes, self._members = 0, 0

    def archive(self, name: str, source: Path | bytes, depth: int = 0) -> Iterator[tuple[str, bytes]]:
        """Yield what is in an archive, which is itself a file or the content of a member."""
        if depth > _DEEPEST:
            raise InputError(f"{self._path}: '{name}': archives in archives are read {_DEEPEST} deep; unpack it")
        try:
            with _opened(source) as file:
                kind = _kind(file.read(_BLOCK))
            if kind == "zip":
                yield from self._zip(name, source, depth)
            elif kind == "tar":
                yield from self._tar(name, source, depth)
            else:
                yield from self._compressed(name, source, depth)
        except _DAMAGED as error:
            where = f"{self._path}: {name}" if name else str(self._path)
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(f"{where}: this archive cannot be read: {reason}") from error

    def _zip(self, name: str, source: Path | bytes, depth: int) -> Iterator[tuple[str, bytes]]:
        with _opened(source) as opened, zipfile.ZipFile(opened) as archive:
            for info in archive.infolist():
                inner = _joined(name, info.filename)
                if info.is_dir() or _hidden(info.filename):
                    continue
                self._count(inner)
                with archive.open(info) as member:
                    yield from self._member(inner, member, depth)

    def _tar(
        self, name: str, source: Path | bytes, depth: int, decompressed: Callable[[Any], Any] | None = None
    ) -> Iterator[tuple[str, bytes]]:
        with _opened(source) as opened:
            file = self._counted(decompressed(opened) if decompressed else opened)
            with tarfile.open(fileobj=file, mode="r|") as archive:
                for info in archive:
                    self._count(inner := _joined(name, info.name))
                    if not info.isfile() or info.issparse() or _hidden(info.name):
                        continue
                    if (member := archive.extractfile(info)) is not None:
                        yield from self._member(inner, member, depth)

    def _compressed(self, name: str, source: Path | bytes, depth: int) -> Iterator[tuple[str, bytes]]:
        with _opened(source) as opened:
            magic = opened.read(8)
            opened.seek(0)
            decompressed = next(of for start, of in _COMPRESSED.items() if magic.startswith(start))
            with decompressed(opened) as file:
                head = file.read(_BLOCK)
            if _kind(head) != "tar":
                opened.seek(0)
                with decompressed(opened) as file:
                    yield from self._member(_uncompressed(name or self._path.name), file, depth)
                return
        yield from self._tar(name, source, depth, decompressed)

    def _member(self, name: str, file: IO[bytes], depth: int) -> Iterator[tuple[str, bytes]]:
        head = file.read(_BLOCK)
        self._add(len(head))
        if _kind(head):
            yield from self.archive(name, head + self.bounded(file, name), depth + 1)
        elif self._wanted(name, head):
            yield name, head + self.bounded(file, name)

    def bounded(self, file: IO[bytes], name: str) -> bytes:
        """Read a file, but no more than a member may have."""
        content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise InputError(
                f"{self._path}: '{name}' has more than {_LARGEST // 2**20} MB when it is decompressed, too much"
            )
        self._add(len(content))
        return content

    def _count(self, name: str) -> None:
        self._members += 1
        if self._members > _MOST:
            raise InputError(f"{self._path}: more than {_MOST} members, at '{name}'; unpack what you need")

    def _add(self, number: int) -> None:
        self._bytes += number
        if self._bytes > _ALTOGETHER:
            raise InputError(
                f"{self._path}: more than {_ALTOGETHER // 2**30} GB when it is decompressed; unpack what you need"
            )

    def _counted(self, file: IO[bytes]) -> Any:
        """Return a file for tarfile, whose bytes count also where members are skipped."""
        add = self._add

        class Counted:
            def read(self, size: int = -1) -> bytes:
                content = file.read(size)
                add(len(content))
                return content

        return Counted()


def _opened(source: Path | bytes) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _joined(outer: str, inner: str) -> str:
    parts = [part for part in PurePosixPath(inner.replace("\\", "/")).parts if part not in {"/", ".", ".."}]
    return "/".join([outer, *parts] if outer else parts) or "(no name)"


def _uncompressed(name: str) -> str:
    for suffix, left in _SUFFIXES.items():
        if name.endswith(suffix) and len(name) > len(suffix):
            return name.removesuffix(suffix) + left
    return name
