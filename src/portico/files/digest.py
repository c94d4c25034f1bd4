"""Digests of the content of files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from portico.errors import InputError

__all__ = ["digest_of"]

_ROWS = 1_000_000  # of a tree, read at a time
_TREES = {"TTree", "ROOT::RNTuple"}
_FOLDERS = {"TDirectory", "TDirectoryFile"}


def digest_of(path: Path) -> str:
    """Return a digest of what a file says, or of all files in a folder and their names.

    A ROOT file also holds when it was written. Of one that holds nothing but trees of numbers, as summary steps write,
    the names, types and values of the columns count; of any other, such as one with histograms, every byte.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if path.is_dir():
            for file in sorted(file for file in path.rglob("*") if file.is_file()):
                digest.update(f"{file.relative_to(path)}\0{digest_of(file)}\0".encode())
        elif path.suffix != ".root" or not _add_trees(path, digest.update):
            with path.open("rb") as content:
                return hashlib.file_digest(content, "sha256").hexdigest()
    except InputError:
        raise
    except Exception as error:  # uproot lets many kinds through for damaged files
        text = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read: {text}; remove it, and run the step that writes it") from error
    return digest.hexdigest()


def _add_trees(path: Path, add: Callable[[bytes], None]) -> bool:
    """Add the trees of a file; return whether they are all that it holds, and hold only numbers."""
    import uproot

    with uproot.open(path) as file:
        classes = sorted(file.classnames(cycle=False).items())
        if {name for _, name in classes} - _TREES - _FOLDERS:
            return False
        trees = [(name, file[name]) for name, class_name in classes if class_name in _TREES]
        for name, tree in trees:
            add(json.dumps([name, tree.num_entries, tree.typenames()]).encode())
            for first in range(0, tree.num_entries, _ROWS):
                columns: dict[str, Any] = tree.arrays(library="np", entry_start=first, entry_stop=first + _ROWS)
                for column in tree.keys():  # noqa: SIM118 (a tree is not a mapping)
                    if columns[column].dtype.hasobject:  # the addresses of lists
                        return False
                    add(np.ascontiguousarray(columns[column]).tobytes())
        return bool(trees)
