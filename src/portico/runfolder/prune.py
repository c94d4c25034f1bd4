"""Removal of results that are no longer current, the oldest first, by age and size."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from portico.files.kept import OLDER, aside_of
from portico.files.storage import storage_of
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Ledger
from portico.runfolder.step_files import StepFiles
from portico.runfolder.tidy import HIDDEN, TREE
from portico.runfolder.version import SUMMARY

__all__ = ["KEEP_BYTES", "KEEP_DAYS", "Pruned", "prune", "prune_run"]

KEEP_DAYS = 30.0
"""Results that have not been current for so many days are removed at the end of each run."""

KEEP_BYTES = 10**9
"""So many bytes of older results are kept, or as many as the current ones have, if these are more."""

_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or would be.

    Parameters
    ----------
    versions : tuple of int
        Numbers of the versions of the run that are gone.
    kept : tuple of int
        Those that are left, without the current one.
    freed, older, current : int
        Bytes that were removed, that older results still take, and that the current ones take.
    """

    versions: tuple[int, ...]
    kept: tuple[int, ...]
    freed: int
    older: int
    current: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return asdict(self)


def prune(
    folder: RunFolder, ledger: Ledger, *, days: float = KEEP_DAYS, size: int | None = None, dry_run: bool = False
) -> Pruned:
    """Remove older results of a run.

    Parameters
    ----------
    folder : RunFolder
        Claimed by the caller, unless ``dry_run``.
    ledger : Ledger
        Of the folder.
    days : float
        Versions that have not been current for longer are removed.
    size : int, optional
        Bytes that older results may take; by default `KEEP_BYTES`, or as many as the current ones take.
    dry_run : bool
        Only say what would be removed.

    Raises
    ------
    RunFolderError, InputError
        If a file cannot be removed.
    """
    sizes = ledger.result_sizes()
    trees = ledger.chunk_sizes()
    held = ledger.current_results()
    chunks = _chunks(ledger, held) | ledger.planned_keys()
    current = _size(held, chunks, sizes, trees)
    bound = max(KEEP_BYTES, current) if size is None else size
    versions = [ledger.version(number) for number, _ in ledger.versions()]
    gone: list[int] = []
    until, older = time.time(), 0
    last = versions[-1].number if versions else 0
    for version in reversed(versions):
        results = {(step, sample, key) for (step, sample), key in version.all_keys.items()} - held
        more = _chunks(ledger, results) - chunks
        needed = _size(results, more, sizes, trees)
        if version.number != last and (gone or until < time.time() - days * _DAY or older + needed > bound):
            gone.append(version.number)
        else:
            held, chunks, older = held | results, chunks | more, older + needed
        until = version.time
    freed = sum(sizes.values()) + sum(trees.values()) - _size(held, chunks, sizes, trees)
    if not dry_run and freed:
        _remove(folder, ledger, held, chunks, gone)
    kept = tuple(version.number for version in versions if version.number not in gone and version.number != last)
    return Pruned(tuple(sorted(gone)), kept, freed, older, current)


def prune_run(folder: RunFolder, *, days: float = KEEP_DAYS, size: int | None = None, dry_run: bool = False) -> Pruned:
    """Remove older results of a run that no driver works in; parameters are those of `prune`.

    Raises
    ------
    RunFolderError
        If this is not a run folder, or it is in use.
    """
    manifest = folder.manifest()
    if dry_run:
        with closing(folder.open_ledger()) as ledger:
            return prune(folder, ledger, days=days, size=size, dry_run=True)
    with folder.claim(manifest) as (claimed, ledger):
        pruned = prune(claimed, ledger, days=days, size=size)
        ledger.shrink()
        return pruned


Result = tuple[str, str, str]  # step, sample, key


def _chunks(ledger: Ledger, results: Iterable[Result]) -> set[str]:
    return {key for result in results for key in ledger.chunks_of(*result)}


def _size(results: Iterable[Result], chunks: Iterable[str], sizes: dict[Result, int], trees: dict[str, int]) -> int:
    return sum(sizes.get(result, 0) for result in results) + sum(trees.get(key, 0) for key in chunks)


def _remove(folder: RunFolder, ledger: Ledger, held: set[Result], chunks: set[str], gone: Iterable[int]) -> None:
    """Remove first from the ledger, then the files that it knew, so that it never names files that are gone."""
    before = _asides(folder, ledger)
    ledger.remove(held, chunks, gone)
    wanted = _asides(folder, ledger)
    for place in dict.fromkeys([f"{folder.base}/{OLDER}", f"{folder.path.resolve()}/{OLDER}"]):
        storage = storage_of(place)
        for path in storage.listed(place):
            name = path.rpartition("/")[2]
            left = TREE.fullmatch(name) or HIDDEN.fullmatch(name)  # by a process that was killed here
            if path not in wanted and (path in before or left):
                storage.remove(path)
    _remove_empty(folder.path / OLDER)


def _asides(folder: RunFolder, ledger: Ledger) -> set[str]:
    """Return where all files that the ledger knows lie while they are not current."""
    found = {aside_of(path) for path in ledger.trees()}
    for step, sample, key in ledger.result_sizes():
        if sample == SUMMARY:
            files = StepFiles(folder.path.resolve(), step, ledger)
            found |= {str(files.aside(key) / item["name"]) for item in files.items(key)}
    return found


def _remove_empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
