"""Checksums of files (Adler-32), reported by servers or computed by reading the files, and cached."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from portico.errors import ConfigError, InputError
from portico.files.remembered import Checksum, remembered
from portico.files.storage import speaks_xrootd, storage_of
from portico.files.version import look_at

__all__ = ["checksum_of_file", "server_checksums"]

_SERVER, _READ = "its server", "reading it"
_THREADS = 8


def checksum_of_file(file: str) -> Checksum:
    """Return the checksum of a file: its server's, else computed by reading all of it, once for each version.

    The value is empty for a URL of a kind that is not known to tell it.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    memory, version = remembered(), look_at(file)
    known = memory.checksum(file, version.stamp) if version is not None else None
    if known is not None and known.value:
        return known
    try:
        storage = storage_of(file)
    except ConfigError:
        return Checksum("", _SERVER, time.time())
    kept = storage.kept_checksum(file)
    found = Checksum(kept, _SERVER, time.time()) if kept else Checksum(storage.checksum(file), _READ, time.time())
    if version is not None:
        memory.keep_checksum(file, version, found)
    return found


def server_checksums(files: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the checksums that servers keep of files, by file; empty for those of which they keep none.

    A server is asked once for each version of a file. That it does not answer is not an error.

    Parameters
    ----------
    files : iterable of (str, str)
        URLs, each with its version as its summary has it.
    """
    asked = [(file, version) for file, version in files if speaks_xrootd(file)]
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip((file for file, _ in asked), pool.map(_of_server, asked), strict=True))


def _of_server(asked: tuple[str, str]) -> str:
    file, text = asked
    memory = remembered()
    known = memory.checksum(file, text)  # the stamp of a file on a server is its version
    if known is None:
        try:
            known = Checksum(storage_of(file).kept_checksum(file), _SERVER, time.time())
        except InputError:
            return ""
        version = look_at(file) if text else None
        if version is not None and version.text == text:
            memory.keep_checksum(file, version, known)
    return known.value if known.source == _SERVER else ""
