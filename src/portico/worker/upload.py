"""Upload of the trees that a chunk wrote to a server."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from portico.errors import PorticoError
from portico.files import no_connection
from portico.files.storage import storage_of

__all__ = ["upload"]


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
    RunFolderError, SpaceError, InputError
        As `Storage.write`; then no tree is left on the server.
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
        raise
    return moved, time.perf_counter() - began
