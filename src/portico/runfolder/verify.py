"""Verification of a run folder: comparing all files with their checksums, and the ledger with the files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from portico.errors import PorticoError, RunFolderError
from portico.files.kept import find
from portico.files.storage import storage_of
from portico.runfolder.claim import LEDGER
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Ledger
from portico.runfolder.owner import working
from portico.runfolder.point_list import POINTS_FILE, read_points
from portico.runfolder.step_files import StepFiles
from portico.runfolder.stored_paths import StoredPaths
from portico.runfolder.tidy import FOREIGN, TREE
from portico.runfolder.version import SUMMARY

__all__ = ["Fault", "Verified", "verify"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it was written.

    Parameters
    ----------
    path : str
        The file.
    what : str
        What is wrong with it.
    key : str
        Of the chunk that wrote it; empty for other files.
    """

    path: str
    what: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found.

    Parameters
    ----------
    run : str
        The run folder.
    files, size : int
        How many files were read, and how many bytes they have.
    chunks : int
        How many chunks the ledger has as done.
    faults : tuple of Fault
        What is wrong.
    notes : tuple of str
        What is odd, but harms nothing.
    """

    run: str
    files: int
    size: int
    chunks: int
    faults: tuple[Fault, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return {**asdict(self), "whole": not self.faults}


def verify(path: Path) -> Verified:
    """Read everything that a run folder keeps, and compare it with what was written.

    Parameters
    ----------
    path : Path
        The run folder. What a driver that works in it meanwhile changes may seem wrong.

    Raises
    ------
    RunFolderError
        If there is no such folder.
    """
    if not path.is_dir():
        raise RunFolderError(f"{path}: no such folder; give a run folder, such as runs/NAME")
    who = working(path)
    notes = [f"{who} is using it; files that it changes meanwhile may be reported as wrong"] if who else []
    faults: list[Fault] = []
    folder = RunFolder(path)
    try:
        store = folder.manifest().get("store")
        folder = folder if store is None else replace(folder, store=StoredPaths(path).used(store))
    except RunFolderError as error:
        faults.append(_of(error))
    try:
        ledger = folder.open_ledger()
    except PorticoError as error:
        if str(error) not in {str(fault) for fault in faults}:
            faults.append(_of(error))
        return Verified(str(path), 0, 0, 0, tuple(faults), tuple(notes))
    with closing(ledger), ledger.reading():
        looked = _Looked(folder, ledger)
        faults += looked.ledger()
        if not faults:
            faults += [*looked.trees(), *looked.step_files(), *looked.points()]
            notes += looked.foreign()
        return Verified(str(path), looked.files, looked.size, looked.chunks, tuple(faults), tuple(notes))


def _of(error: PorticoError) -> Fault:
    where, _, what = str(error).partition(": ")
    return Fault(where, what)


class _Looked:
    """What was looked at in one run folder."""

    def __init__(self, folder: RunFolder, ledger: Ledger) -> None:
        self._folder, self._ledger = folder, ledger
        self._run = folder.path.resolve()
        self.files = self.size = self.chunks = 0

    def ledger(self) -> Iterator[Fault]:
        """Yield what is wrong in the ledger."""
        path = str(self._folder.path / LEDGER)
        yield from (Fault(path, f"is damaged: {text}") for text in self._ledger.faults())
        if damage := self._ledger.damage():
            yield Fault(path, f"{damage} in it are damaged")

    def trees(self) -> Iterator[Fault]:
        """Yield the trees of all chunks that are done which are not as they were written."""
        items: list[dict[str, Any]] = []
        for key, files in self._ledger.all_done():
            self.chunks += 1
            items += [{**file, "key": key} for file in files]
        yield from self._files(items)

    def _files(self, items: Sequence[dict[str, Any]]) -> Iterator[Fault]:
        for item, kept in zip(items, find(items, thoroughly=True), strict=True):
            self.files += 1
            self.size += int(item.get("size", 0))
            if kept.fault:
                yield Fault(kept.path, kept.fault.partition("; ")[0], item.get("key", ""))

    def step_files(self) -> Iterator[Fault]:
        """Yield the files of steps, of current and earlier results, which are not as they were written."""
        current = self._ledger.current_results()
        for step, sample, key in self._ledger.result_sizes():
            if sample == SUMMARY:
                items = StepFiles(self._run, step, self._ledger).items(key)
                if (step, sample, key) not in current:
                    items = [{**item, "path": item["aside"]} for item in items]
                yield from self._files(items)

    def points(self) -> Iterator[Fault]:
        """Yield the lists of points which are not as they were written."""
        for path in sorted(self._folder.path.glob(f"*/{POINTS_FILE}")):
            if path.parent.name not in {row[0] for row in self._ledger.steps()}:
                continue
            if StepFiles(self._run, path.parent.name, self._ledger).find(POINTS_FILE) is not None:
                continue  # a file of a summary step
            self.files += 1
            if read_points(path) is None:
                yield Fault(str(path), "was changed since it was written")

    def foreign(self) -> list[str]:
        """Return what lies among the trees, and is not of this run."""
        known = self._ledger.trees()
        found: list[str] = []
        for step, kind, *_ in self._ledger.steps():
            folder = f"{self._folder.base}/{step}"
            for path in storage_of(folder).listed(folder) if kind == "frame" else ():
                sample, _, name = path.removeprefix(f"{folder}/").partition("/")
                if name.endswith(".root") and sample and path not in known:
                    what = "belongs to no result" if TREE.fullmatch(name) else "does not belong to this run"
                    found.append(f"{path}: {what}; the next run moves it to {FOREIGN}, or removes it if it is its own")
        return found
