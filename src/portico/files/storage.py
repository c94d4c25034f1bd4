"""Storage of trees: folders and XRootD servers, with the same calls for both.

Each call to a server has a time limit and is retried while the error is transient; other errors carry the server's own
words.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import zlib
from collections.abc import Callable, Container
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NoReturn, Protocol
from urllib.parse import urlsplit

from portico.errors import ConfigError, InputError, MissingExtra, PorticoError, RunFolderError, SpaceError
from portico.files.atomic import make_folder, rename_when_seen, sync
from portico.files.remote import is_remote, no_connection, retried, tune_xrootd
from portico.files.troubles import explained, is_regular
from portico.shown import has_secret

__all__ = ["Storage", "checksum_of", "normal", "speaks_xrootd", "storage_of"]

_CALL_SECONDS = 120
_SLOWEST = 50_000  # bytes a second; a copy may take as long as that, and a call's time more
_BLOCK = 2**20
_SEEN_SECONDS = 10.0  # until a file that a worker wrote on a network disk is seen here
_PROTOCOLS = ("root", "roots", "xroot", "xroots")
# Numbers of answers, from XProtocol.hh.
_NOT_FOUND, _EXISTS = 3011, 3018
_NO_SPACE = {3009, 3021}  # full, over quota
_FORBIDDEN = {3010, 3025, 3030}  # not authorized, read-only, authentication failed
_NO_CHECKSUMS = {3000, 3013}  # no such kind of query, not supported
_CLOSED = re.compile(r"marked read/only|read-only file system|permission denied|Auth failed", re.IGNORECASE)


class Storage(Protocol):
    """Files on one file system or server. Every path is complete: absolute, or a URL with its server.

    Raises
    ------
    RunFolderError
        By what writes, if that is not allowed there.
    SpaceError
        By what writes, if there is no space left.
    InputError
        By all, if a server does not answer, or its answer is not understood.
    """

    def make(self, folder: str) -> None:
        """Make a folder with those above it; it may be there already."""

    def write(self, path: str, source: Path) -> str:
        """Copy a local file to ``path`` and return its Adler-32 as it is there; on failure nothing is left."""

    def fetch(self, path: str, target: Path) -> None:
        """Copy a file to a local one; on failure nothing is left."""

    def rename(self, aside: str, final: str) -> None:
        """Rename a file; it replaces one of that name."""

    def remove(self, path: str) -> None:
        """Remove a file; it may be gone already."""

    def size(self, path: str) -> int | None:
        """Return the bytes of a file; None if it is not there."""

    def stat(self, path: str) -> tuple[int, int] | None:
        """Return the bytes of a file and the time of its last modification in ns; None if it is not there."""

    def holds(self, folder: str) -> bool:
        """Return whether a folder is there and has anything in it."""

    def stamp(self, path: str) -> str | None:
        """Return the stamp of a file, ``SIZE:MODIFIED:INODE``, without inode on a server; None if it is not there."""

    def listed(self, folder: str) -> dict[str, str]:
        """Return all files in a folder and those below with their stamps; none if it is not there."""

    def list(self, folder: str, suffix: str) -> list[str]:
        """Return the files in a folder and those below whose names end so, in order; none if it is not there."""

    def checksum(self, path: str) -> str:
        """Return the Adler-32 of a file in hexadecimal: the server's, or computed by reading it."""

    def kept_checksum(self, path: str) -> str:
        """Return the Adler-32 that a server tells of a file, in hexadecimal; empty if it tells none."""


def storage_of(location: str | Path) -> Storage:
    """Return the storage that a path or URL is in.

    Raises
    ------
    ConfigError
        If nothing can be written to such a URL.
    MissingExtra
        If XRootD's Python bindings are not installed.
    """
    text = str(location)
    if not is_remote(text):
        return _Folders()
    if not speaks_xrootd(text):
        raise ConfigError(f"{text}: trees are written to folders and to XRootD, such as root://host//store/user/me")
    url = urlsplit(text)
    return _server(f"{url.scheme}://{url.netloc}")


def speaks_xrootd(url: str) -> bool:
    """Return whether a URL is that of an XRootD server."""
    parts = urlsplit(url)
    return parts.scheme in _PROTOCOLS and bool(parts.netloc)


def normal(location: str | Path) -> str:
    """Return the folder or URL of a store in the form that the ledger uses: absolute, without a slash at the end.

    Raises
    ------
    ConfigError
        If a URL carries a password or a token.
    """
    text = str(location)
    if not is_remote(text):
        return str(Path(os.path.expanduser(text)).resolve())  # noqa: PTH111 (which raises nothing)
    if has_secret(text):
        raise ConfigError(
            f"{text}: a run keeps the URL of its store, so it must not carry a password or a token; put the token into "
            "the file that BEARER_TOKEN_FILE names"
        )
    url = urlsplit(text)
    return f"{url.scheme}://{url.netloc}/{_path(text)}".rstrip("/")


def checksum_of(path: Path) -> str:
    """Return the Adler-32 (RFC 1950) of a local file in hexadecimal."""
    checksum = 1
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            checksum = zlib.adler32(block, checksum)
    return f"{checksum:08x}"


class _Folders:
    """Folders of this machine or of a shared disk."""

    def make(self, folder: str) -> None:
        self._write(folder, lambda: make_folder(Path(folder)))

    def write(self, path: str, source: Path) -> str:
        try:
            self._write(path, lambda: shutil.copyfile(source, path))
            self._write(path, lambda: sync(Path(path)))
            return checksum_of(Path(path))
        except BaseException:
            with suppress(OSError):
                Path(path).unlink(missing_ok=True)
            raise

    def fetch(self, path: str, target: Path) -> None:
        self.write(str(target), Path(path))

    def rename(self, aside: str, final: str) -> None:
        self._write(final, lambda: rename_when_seen(Path(aside), Path(final), _SEEN_SECONDS))

    def remove(self, path: str) -> None:
        self._write(path, lambda: Path(path).unlink(missing_ok=True))

    def size(self, path: str) -> int | None:
        found = self.stat(path)
        return None if found is None else found[0]

    def stat(self, path: str) -> tuple[int, int] | None:
        status = _status(path)
        return None if status is None else (status.st_size, status.st_mtime_ns)

    def stamp(self, path: str) -> str | None:
        found = _status(path)
        return None if found is None else f"{found.st_size}:{found.st_mtime_ns}:{found.st_ino}"

    def listed(self, folder: str) -> dict[str, str]:
        found = {str(path): self.stamp(str(path)) for path in sorted(Path(folder).rglob("*")) if path.is_file()}
        return {path: stamp for path, stamp in found.items() if stamp is not None}

    def holds(self, folder: str) -> bool:
        return Path(folder).exists() and any(Path(folder).iterdir())

    def list(self, folder: str, suffix: str) -> list[str]:
        return [path for path in self.listed(folder) if path.endswith(suffix)]

    def checksum(self, path: str) -> str:
        if not is_regular(Path(path)):
            return ""  # of no file
        try:
            return checksum_of(Path(path))
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error

    def kept_checksum(self, path: str) -> str:  # noqa: ARG002 (a file system keeps none)
        return ""

    @staticmethod
    def _write(path: str, action: Callable[[], object]) -> None:
        try:
            action()
        except FileNotFoundError as error:
            raise InputError(f"{error.filename}: is not there") from error
        except OSError as error:
            raise explained(error, path) from error


def _status(path: str) -> os.stat_result | None:
    """Return the status of a file; None if it is not there, or there is only a link that leads nowhere."""
    try:
        return Path(path).stat()
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            return None
        raise explained(error, path, "read") from error


@lru_cache
def _server(url: str) -> _Server:
    return _Server(url)


class _Server:
    """A server or redirector of XRootD.

    Parameters
    ----------
    url : str
        Without a path, such as ``root://host:1094``.
    """

    def __init__(self, url: str) -> None:
        tune_xrootd()
        try:
            from XRootD import client
            from XRootD.client import flags
        except ImportError as error:
            raise MissingExtra("xrootd", f"writing to {url}") from error
        self._client, self._flags = client, flags
        self._calls = client.FileSystem(url)

    def make(self, folder: str) -> None:
        parents = self._flags.MkDirFlags.MAKEPATH
        self._call(folder, "made", lambda: self._calls.mkdir(_path(folder), parents, timeout=_CALL_SECONDS), {_EXISTS})

    def write(self, path: str, source: Path) -> str:
        sent = checksum_of(source), source.stat().st_size
        try:
            self._call(path, "written", lambda: self._copy(str(source.resolve()), path, sent[1]))
            self._verify(path, *sent)
        except BaseException as error:
            if not no_connection(str(error)):  # else the server removes it, when it finds the connection broken
                with suppress(PorticoError):
                    self.remove(path)
            raise
        return sent[0]

    def fetch(self, path: str, target: Path) -> None:
        size = self.size(path)
        if size is None:
            raise InputError(f"{path}: is not there")
        try:
            self._call(path, "read", lambda: self._copy(path, str(target.resolve()), size))
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def _verify(self, path: str, checksum: str, size: int) -> None:
        found, there = self.checksum(path), self.size(path)
        if (found, there) != (checksum, size):
            raise InputError(
                f"{path}: was written wrongly: {there} bytes with checksum {found} are there, {size} bytes with "
                f"checksum {checksum} were sent; run again"
            )

    def rename(self, aside: str, final: str) -> None:
        tries = []

        def move() -> Any:
            tries.append(aside)
            answer = self._calls.mv(_path(aside), _path(final), timeout=_CALL_SECONDS)
            lost = answer[0].errno == _NOT_FOUND and len(tries) > 1  # it may be done, and its answer lost
            return self._calls.stat(_path(final), timeout=_CALL_SECONDS) if lost else answer

        self._call(aside, f"renamed to {final.rpartition('/')[2]}", move)

    def remove(self, path: str) -> None:
        self._call(path, "removed", lambda: self._calls.rm(_path(path), timeout=_CALL_SECONDS), {_NOT_FOUND})

    def size(self, path: str) -> int | None:
        found = self.stat(path)
        return None if found is None else found[0]

    def stat(self, path: str) -> tuple[int, int] | None:
        found = self._call(path, "opened", lambda: self._calls.stat(_asked(path), timeout=_CALL_SECONDS), {_NOT_FOUND})
        return None if found is None else (int(found.size), int(found.modtime) * 1_000_000_000)

    def stamp(self, path: str) -> str | None:
        found = self._call(path, "found", lambda: self._calls.stat(_asked(path), timeout=_CALL_SECONDS), {_NOT_FOUND})
        return None if found is None else _stamp(found)

    def listed(self, folder: str) -> dict[str, str]:
        found = self._entries(folder, self._flags.DirListFlags.STAT | self._flags.DirListFlags.RECURSIVE)
        base, above = folder.rstrip("/"), _path(folder).rstrip("/") + "/"
        files = {
            f"{base}/{(found.parent + entry.name).removeprefix(above)}": _stamp(entry.statinfo)
            for entry in found or ()
            if not entry.statinfo.flags & self._flags.StatInfoFlags.IS_DIR
        }
        return dict(sorted(files.items()))

    def holds(self, folder: str) -> bool:
        found = self._entries(folder, self._flags.DirListFlags.NONE)
        return found is not None and any(True for _ in found)

    def _entries(self, folder: str, how: int) -> Any:
        how |= self._flags.DirListFlags.LOCATE | self._flags.DirListFlags.MERGE  # on all servers behind a redirector
        call = partial(self._calls.dirlist, _path(folder), how, timeout=_CALL_SECONDS)
        return self._call(folder, "listed", call, {_NOT_FOUND})

    def list(self, folder: str, suffix: str) -> list[str]:
        return [path for path in self.listed(folder) if path.endswith(suffix)]

    def checksum(self, path: str) -> str:
        return self.kept_checksum(path) or self._read_back(path)

    def kept_checksum(self, path: str) -> str:
        code, query = self._flags.QueryCode.CHECKSUM, _asked(path, "cks.type=adler32")
        answer = self._call(
            path, "checked", lambda: self._calls.query(code, query, timeout=_CALL_SECONDS), _NO_CHECKSUMS
        )
        kind, _, value = bytes(answer or b"").rstrip(b"\0").decode().partition(" ")
        return value.strip().lower().rjust(8, "0") if kind == "adler32" else ""

    def _read_back(self, path: str) -> str:
        """Return the Adler-32 of a file on a server that keeps no checksums of this kind."""
        checksum = 1
        with self._client.File() as file:
            self._call(path, "opened", lambda: file.open(path, timeout=_CALL_SECONDS))
            position = 0
            while block := self._call(path, "read", partial(file.read, position, _BLOCK, timeout=_CALL_SECONDS)):
                checksum = zlib.adler32(block, checksum)
                position += len(block)
        return f"{checksum:08x}"

    def _copy(self, source: str, target: str, size: int) -> Any:
        process = self._client.CopyProcess()
        process.add_job(
            source, target, force=True, mkdir=True, posc=True, inittimeout=_CALL_SECONDS,
            cptimeout=_CALL_SECONDS + size // _SLOWEST,
        )  # fmt: skip
        status = process.prepare()
        return (status, None) if not status.ok else process.run()

    @staticmethod
    def _call(path: str, done: str, call: Callable[[], Any], fine: Container[int] = ()) -> Any:
        """Return what a server answers; None for errors whose numbers are ``fine``."""

        def attempt() -> Any:
            status, answer = call()
            return answer if status.ok or status.errno in fine else _refuse(path, done, status)

        return retried(attempt)


def _refuse(path: str, done: str, status: Any) -> NoReturn:
    text = f"{path}: cannot be {done}: {' '.join(status.message.split())}"
    if status.errno in _NO_SPACE:
        raise SpaceError(f"{text}; free space there and run again, what is done is kept")
    if status.errno in _FORBIDDEN or _CLOSED.search(text):
        raise RunFolderError(f"{text}; ask for write access, renew proxy or token, or choose another folder")
    raise InputError(text)


def _stamp(found: Any) -> str:
    return f"{int(found.size)}:{int(found.modtime)}"


def _path(url: str) -> str:
    """Return the path of a URL, which begins with one slash whether or not the URL doubles it."""
    return "/" + urlsplit(url).path.lstrip("/")


def _asked(url: str, *more: str) -> str:
    """Return the path of a URL with its query, in which a token may stand without which a server says nothing."""
    query = "&".join(filter(None, [urlsplit(url).query, *more]))
    return f"{_path(url)}?{query}" if query else _path(url)
