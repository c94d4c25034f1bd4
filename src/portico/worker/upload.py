"""Storing the trees that a chunk wrote: flushed to disk, or uploaded to a server."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from portico.errors import InputError, PorticoError
from portico.files import may_pass, no_connection
from portico.files.atomic import sync
from portico.files.storage import storage_of
from portico.files.troubles import explained
from portico.worker.output_trouble import OutputError

__all__ = ["bring_to_disk", "upload"]


def upload(files: Sequence[Mapping[str, Any]], folder: str) -> tuple[list[dict[str, Any]], float]:
    """Upload all trees that a chunk wrote, or none, under their hidden names.

    Parameters
    ----------
    files : sequence of mapping
        Files of one chunk on this machine, from `portico.results.partial.take_files`.
    folder : str
        A URL.

    Returns
    -------
    files : list of mapping
        The files with their URLs.
    seconds : float
        Duration of the upload.

    Raises
    ------
    RunFolderError, SpaceError
        As `Storage.write`; then no tree is left on the server.
    InputError
        If the server does not answer just now.
    """
    began, moved = time.perf_counter(), [{**f, "path": f"{folder.rstrip('/')}/{Path(f['path']).name}"} for f in files]
    sent: list[str] = []
    storage = storage_of(folder)
    try:
        for file, there in zip(files, moved, strict=True):
            sent.append(there["path"])
            storage.write(there["path"], Path(file["path"]))
    except PorticoError as error:
        for url in () if no_connection(str(error)) else sent:
            with suppress(PorticoError):
                storage.remove(url)
        if isinstance(error, InputError) and not may_pass(str(error)):  # of the store, not of the input
            raise OutputError(str(error)) from error
        raise
    return moved, time.perf_counter() - began


def bring_to_disk(files: Sequence[Mapping[str, Any]], folder: Path) -> float:
    """Have the trees of a chunk on the disk, not only in the memory of this machine, before they count as done.

    Parameters
    ----------
    files : sequence of mapping
        As in `upload`.
    folder : Path
        Where they were written.

    Returns
    -------
    float
        Seconds that it took.

    Raises
    ------
    OutputError
        If the disk fails or is full.
    """
    began = time.perf_counter()
    for file in files:
        path = folder / Path(file["path"]).name
        try:
            sync(path)
        except OSError as error:
            raise OutputError(str(explained(error, path))) from error
    return time.perf_counter() - began
