"""Paths of a run's files, stored relative to its folder, so that the folder can be copied or moved."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from portico.errors import RunFolderError
from portico.results.kinds import KINDS
from portico.results.partial import decode
from portico.results.product import Product
from portico.runfolder.database import Damaged
from portico.shown import without_secrets

__all__ = ["MEND", "StoredPaths", "refuse_paths"]

MEND = "run again: damaged parts are dropped and recreated"
"""What to do about damages in a ledger."""

_NONE = "[]"
_HERE = "./"  # how a path in the run folder begins where others may be relative to something else


class StoredPaths:
    """Conversion of paths between the form stored in a run folder and the one in use.

    Parameters
    ----------
    home : Path
        The run folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = f"{home.resolve()}/"

    def written(self, path: str) -> str:
        """Return the stored form of a path: ``./STEP/SAMPLE/NAME`` in the run folder, else a URL without secrets."""
        return _HERE + path.removeprefix(self._home) if path.startswith(self._home) else without_secrets(path)

    def used(self, path: str) -> str:
        """Return the absolute path, or the URL, of a stored path."""
        return self._home + path.removeprefix(_HERE) if path.startswith(_HERE) else path

    def files_written(self, files: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return descriptions of files with stored paths."""
        return [{**file, "path": self.written(file["path"])} for file in files]

    def files_used(self, files: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return descriptions of files with absolute paths or URLs."""
        return [{**file, "path": self.used(file["path"])} for file in files]

    def to_text(self, files: Iterable[Mapping[str, Any]]) -> str:
        """Return descriptions of files as text with a checksum; ``[]`` if there are none."""
        text = json.dumps(self.files_written(files))
        return text if text == _NONE else f"{text}{_checksum(text)}"

    def from_text(self, text: str) -> list[dict[str, Any]]:
        """Return the descriptions of files that `to_text` returned.

        Raises
        ------
        Damaged
            If it returned something else.
        """
        if text == _NONE:  # most chunks write no files
            return []
        content = text[: -len(_checksum(""))]
        if text != f"{content}{_checksum(content)}":
            raise Damaged(f"{self._home}: what the ledger says of a chunk's files is damaged; {MEND}")
        return self.files_used(json.loads(content))

    def decode(self, data: bytes) -> dict[str, Product]:
        """Decode a stored result, with absolute paths or URLs of its files."""
        return {name: replace(product, items=tuple(self.files_used(product.items))) if _has_paths(product) else product
                for name, product in decode(data).items()}  # fmt: skip


def refuse_paths(names: Iterable[str]) -> None:
    """Refuse names of steps, samples and files that a ledger has, with which a stranger's would lead out of its folder.

    Raises
    ------
    RunFolderError
        If one is not a plain name.
    """
    for name in names:
        if name in {"", ".", ".."} or "/" in name:
            raise RunFolderError(f"the ledger has '{name}' in place of a name: it is damaged, or made to do harm")


def _checksum(text: str) -> str:
    return f" {zlib.crc32(text.encode()):08x}"


def _has_paths(product: Product) -> bool:
    return bool(product.items) and KINDS[product.kind].has_files
