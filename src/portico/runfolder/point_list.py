"""The list of points that a function returned for a step over points, with a checksum, in the folder of the step."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from portico.files.atomic import write_atomic
from portico.files.troubles import is_regular

__all__ = ["POINTS_FILE", "read_points", "write_points"]

POINTS_FILE = "points.json"


def write_points(path: Path, key: str, points: Sequence[Any]) -> None:
    """Write a list of points.

    Parameters
    ----------
    path : Path
        The file.
    key : str
        Of the function that returned them, and its arguments.
    points : sequence
        As JSON can hold them.

    Raises
    ------
    SpaceError, RunFolderError
        If it cannot be written.
    """
    content = {"key": key, "checksum": _checksum(key, points), "points": points}
    with write_atomic(path) as aside:
        aside.write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_points(path: Path) -> tuple[str, list[Any]] | None:
    """Return key and points of a list; None if there is none, or it is not as it was written."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if is_regular(path) else None
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("points"), list):
        return None
    key, points = str(content.get("key")), content["points"]
    return (key, points) if content.get("checksum") == _checksum(key, points) else None


def _checksum(key: str, points: Sequence[Any]) -> str:
    return f"{zlib.crc32(json.dumps([key, points], sort_keys=True).encode()):08x}"
