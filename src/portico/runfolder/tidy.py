"""Tidying the folders of trees: removing leftovers of interrupted attempts, moving results aside that are not current.

Nothing is removed that this run did not write. A file that it wrote is known by its name: hidden, or that of a chunk in
the plan. Others stay; those that a pattern such as ``STEP/SAMPLE/*.root`` would count among the trees are moved aside.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from portico.errors import RunFolderError
from portico.files import is_remote
from portico.files.kept import aside_of
from portico.files.storage import Storage, storage_of

__all__ = ["FOREIGN", "HIDDEN", "TREE", "remove_leftovers", "settle", "tree_name"]

FOREIGN = "foreign.files"
"""Folder, in the run folder and in its store, of files that others put among the trees. No step can have this name."""

HIDDEN = re.compile(r"\.[0-9a-f]{32}\.part[^/]*")
"""Names of files that are being written."""

TREE = re.compile(r"[^/]+-\d{6}-([0-9a-f]{8})(?:-\d+)?\.root")
"""Names of trees, with the beginning of the key of their chunk."""


def tree_name(tree: str, position: int, key: str, number: int = 0) -> str:
    """Return the name of a chunk's tree; ``number`` tells those of a chunk that ran in halves."""
    return f"{tree}-{position:06d}-{key[:8]}{f'-{number}' if number else ''}.root"


def remove_leftovers(
    base: str, step: str, keys: Iterable[str], known: Collection[str], *, hidden: bool = True
) -> None:  # fmt: skip
    """Remove trees of attempts that were interrupted, before the plan that they belong to is replaced.

    Parameters
    ----------
    base : str
        The run folder, or the store.
    step : str
        The step.
    keys : iterable of str
        Of the chunks in the plan of the interrupted run.
    known : collection of str
        The trees of all results that are kept.
    hidden : bool
        Remove files on their way as well, which no job that goes on without a driver may be writing, or has written.

    Raises
    ------
    RunFolderError, InputError
        If a file cannot be removed.
    """
    folder, begun = f"{base}/{step}", {key[:8] for key in keys}
    storage = storage_of(folder)
    for path in storage.listed(folder):
        name = path.rpartition("/")[2]
        if path not in known and _is_written(name, begun) and (hidden or not HIDDEN.fullmatch(name)):
            storage.remove(path)


def _is_written(name: str, keys: Collection[str]) -> bool:
    """Return whether a name is that of a file which a chunk with one of these keys wrote, or one on its way."""
    found = TREE.fullmatch(name)
    return bool(HIDDEN.fullmatch(name)) or (found is not None and found[1] in keys)


def settle(
    base: str, step: str, samples: Collection[str] | None, *, wanted: Iterable[str], known: Collection[str],
    keys: Iterable[str],
) -> dict[str, str]:  # fmt: skip
    """Leave only the wanted trees in the folders of a step's samples; only while none of its chunks runs.

    Parameters
    ----------
    base, step
        As in `remove_leftovers`.
    samples : collection of str, optional
        The samples whose folders to look at; all by default.
    wanted : iterable of str
        The trees of the current results.
    known : collection of str
        The trees of all results that are kept.
    keys : iterable of str
        Of the chunks in the plan.

    Returns
    -------
    dict of str to str
        Where files lie now that this run did not write.

    Raises
    ------
    RunFolderError, InputError
        If a file cannot be moved or removed, or the folder is a link that leads out of the run folder.
    """
    folder, begun = f"{base}/{step}", {key[:8] for key in keys}
    _refuse_links(base, step)
    storage = storage_of(folder)

    def is_ours(path: str) -> bool:
        sample, _, name = path.removeprefix(f"{folder}/").partition("/")
        return bool(name) and "/" not in name and (samples is None or sample in samples)

    keep, there = set(filter(is_ours, wanted)), set(filter(is_ours, storage.listed(folder)))
    asides = {path: aside_of(path) for path in there - keep if path in known}
    foreign: dict[str, str] = {}
    for path in sorted(there - keep - asides.keys()):
        if _is_written(path.rpartition("/")[2], begun):
            storage.remove(path)
        elif path.endswith(".root"):
            foreign[path] = _free(storage, f"{base}/{FOREIGN}/{path.removeprefix(f'{base}/')}")
    for path in sorted(keep - there):
        storage.rename(aside_of(path), path)
    _move_all(storage, {**asides, **foreign})
    return foreign


def _move_all(storage: Storage, moves: Mapping[str, str]) -> None:
    for place in sorted({target.rpartition("/")[0] for target in moves.values()}):
        storage.make(place)
    for path, target in sorted(moves.items()):
        storage.rename(path, target)


def _free(storage: Storage, path: str) -> str:
    """Return a path, or one with a number after it, where no file lies."""
    number, found = 1, path
    while storage.size(found) is not None:
        number += 1
        found = f"{path}.{number}"
    return found


def _refuse_links(base: str, step: str) -> None:
    """Refuse folders that are links out of the run folder: a copy of it shares them with the original."""
    if is_remote(base):
        return
    top = Path(base, step)
    for folder in [top, *(top.iterdir() if top.is_dir() else ())]:
        real = os.path.realpath(folder)
        if folder.is_symlink() and folder.is_dir() and not Path(real).is_relative_to(os.path.realpath(base)):
            raise RunFolderError(
                f"{folder}: is a link to {real}, where a copy of this run would write, too; put the folder itself in "
                "its place, or have trees written elsewhere with --store"
            )
