"""The manifest of a run folder, ``run.json``: its analysis, its identity, and its location when last written.

A folder that lies elsewhere now was moved or copied. A copy is a run of its own, with its own identity, and changes
nothing in a store that it shares with the original.
"""

from __future__ import annotations

import json
import os
import socket
import zlib
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from portico.config import read_yaml
from portico.errors import ConfigError, RunFolderError, near_path
from portico.files.atomic import write_atomic
from portico.files.troubles import explained

__all__ = ["MANIFEST", "Standing", "location_of", "marker_of", "read_manifest", "standing", "write_manifest"]

MANIFEST = "run.json"

_CHECKSUM = "checksum"
_HINT = "a run folder is made by: portico run ANALYSIS --run FOLDER"
_SHOWN = 8  # run folders that a message names


class Standing(StrEnum):
    """What a run folder is to the one that its manifest was written in."""

    SAME = "same"
    """It lies there."""
    MOVED = "moved"
    """It was moved here: there is none of this run any more where it lay."""
    COPY = "copy"
    """It is a copy: the original is there, or lay on another machine, where it may be."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a run folder.

    Raises
    ------
    RunFolderError
        If there is none, or it is damaged.
    """
    path = folder / MANIFEST
    try:
        if os.path.lexists(path) and not path.is_file():
            raise RunFolderError(f"{path}: is not a file; remove what is in its place, then: portico repair {folder}")
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        if folder.is_dir():
            raise RunFolderError(f"{folder}: is not a run folder of portico; {_hint(folder)}") from error
        raise RunFolderError(f"{folder}: no such folder; {_hint(folder)}") from error
    except NotADirectoryError as error:
        raise RunFolderError(f"{folder}: is a file, not a run folder of portico; {_HINT}") from error
    except OSError as error:
        raise explained(error, path, "read") from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.pop(_CHECKSUM, None) != _checksum(content):
        what = "is damaged" if text.strip() else "is empty"
        raise RunFolderError(f"{path}: {what}; write it again with: portico repair {folder}")
    return content


def _hint(folder: Path) -> str:
    """Return how to find a run folder in place of this one."""
    if not folder.is_dir():
        return near_path(folder, _is_run).removeprefix("; ").replace("?", "? ") + _HINT
    if (folder / "analysis.yaml").is_file():
        with suppress(ConfigError):
            name = read_yaml(folder / "analysis.yaml").get("name", "NAME")
            return f"it holds an analysis, whose run folder is runs/{name}, unless --run named another"
    with suppress(OSError):
        if inside := [str(path) for path in sorted(folder.iterdir()) if _is_run(path)]:
            more = f" and {len(inside) - _SHOWN} more" if len(inside) > _SHOWN else ""
            return f"in it are the run folders {', '.join(inside[:_SHOWN])}{more}"
    return _HINT


def _is_run(path: Path) -> bool:
    return (path / MANIFEST).is_file()


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the manifest of a run folder, with a checksum.

    Raises
    ------
    SpaceError, RunFolderError
        If it cannot be written.
    """
    with write_atomic(folder / MANIFEST) as aside:
        aside.write_text(json.dumps({**content, _CHECKSUM: _checksum(content)}, indent=1), encoding="utf-8")


def _checksum(content: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def location_of(folder: Path) -> dict[str, Any]:
    """Return the location of a folder: host, path and inode."""
    return {"host": socket.gethostname(), "path": str(folder.resolve()), "inode": folder.stat().st_ino}


def marker_of(manifest: Mapping[str, Any]) -> str:
    """Return the name of the file with which a run marks its store; it depends on the run and its folder."""
    place = manifest.get("place") or {}
    where = zlib.crc32(f"{place.get('inode')} {place.get('path')}".encode())
    return f"portico-run-{manifest.get('run')}-{where:08x}"


def standing(known: Mapping[str, Any], folder: Path) -> Standing:
    """Return what a folder is to the one that its manifest ``known`` was written in."""
    before, now = known.get("place"), location_of(folder)
    if not isinstance(before, dict) or (before["path"], before["inode"]) == (now["path"], now["inode"]):
        return Standing.SAME
    original = Path(before["path"])
    try:
        is_there = original.is_dir() and not original.samefile(folder)
        if is_there and read_manifest(original).get("run") == known.get("run"):
            return Standing.COPY
    except (OSError, RunFolderError):
        return Standing.COPY  # as far as can be seen
    elsewhere = before["host"] != now["host"] and before["inode"] != now["inode"]
    return Standing.COPY if elsewhere else Standing.MOVED
