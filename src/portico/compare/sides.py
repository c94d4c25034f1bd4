"""The two sides of a comparison: a run folder, or a ROOT file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from portico.analysis.blinding import Blinding
from portico.compare.rootfile import RootFile
from portico.errors import RunFolderError
from portico.results.partial import decode
from portico.results.product import Product, ProductKind
from portico.runfolder.folder import SUMMARY_FILE, RunFolder

__all__ = ["FileSide", "RunSide", "StepRecord", "open_side"]


@dataclass(frozen=True, slots=True)
class StepRecord:
    """The state of a step according to the ledger.

    Parameters
    ----------
    name, kind, state : str
        Kind is ``frame`` or ``summary``.
    samples : tuple of str
        Samples with a result.
    read, planned : mapping of str to int
        Entries by sample, of the chunks that are done and of all chunks.
    """

    name: str
    kind: str
    state: str
    samples: tuple[str, ...]
    read: dict[str, int] = field(default_factory=dict)
    planned: dict[str, int] = field(default_factory=dict)


class RunSide:
    """A run folder, for reading.

    Parameters
    ----------
    path : Path
        The folder.

    Raises
    ------
    RunFolderError
        If it is not a run folder.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.label = path, str(path)
        self._folder = RunFolder(path)
        self._ledger = self._folder.open_ledger()

    @cached_property
    def blinding(self) -> Blinding:
        """The intervals in which the run hides data."""
        return Blinding.from_manifest(self._folder.manifest())

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    @cached_property
    def steps(self) -> dict[str, StepRecord]:
        """The steps that have started, in order."""
        return {name: self._step(name, kind, state) for name, kind, state, *_ in self._ledger.steps()}

    def _step(self, name: str, kind: str, state: str) -> StepRecord:
        samples = tuple(self._ledger.result_keys(name))
        read, planned = dict.fromkeys(samples, 0), dict.fromkeys(samples, 0)
        lost = self._ledger.lost(name)
        done = self._ledger.done(name).keys() - {chunk.key for chunk in lost}
        for file in lost:
            if not file.key:  # a file that could not be cut into chunks
                planned[file.sample] = planned.get(file.sample, 0) + file.entries
        for chunk in self._ledger.planned(name):
            entries = chunk.chunk.last - chunk.chunk.first
            planned[chunk.sample] = planned.get(chunk.sample, 0) + entries
            if chunk.key in done:
                read[chunk.sample] = read.get(chunk.sample, 0) + entries
        return StepRecord(name, kind, state, samples, read, planned)

    def products(self, step: str, sample: str) -> dict[str, Product]:
        """Return the merged products of a step's sample."""
        blob = self._ledger.result(step, sample)
        return {} if blob is None else decode(blob)

    def addresses(self) -> Iterator[tuple[str, Product]]:
        """Return every product with its address ``STEP/SAMPLE/PRODUCT``."""
        for step in self.steps.values():
            for sample in step.samples:
                for name, product in self.products(step.name, sample).items():
                    yield f"{step.name}/{sample}/{name}", product

    def summary(self, step: str) -> dict[str, Any]:
        """Return the values of a summary step.

        Raises
        ------
        RunFolderError
            If its file is damaged.
        """
        path = self._folder.step(step) / SUMMARY_FILE
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{path}: cannot read the results of step '{step}'; run it again") from error
        return content

    def tables(self, step: str) -> dict[str, Path]:
        """Return the tables that a summary step wrote, by the name of the file."""
        _, names = self._ledger.summary(step) or ("", [])
        return {Path(n).stem: self._folder.step(step) / n for n in names if n.endswith(".root")}

    def has_summary(self, step: str) -> bool:
        """Return whether a summary step has a result."""
        return self._ledger.summary(step) is not None

    def notes(self) -> list[str]:
        """Describe the steps that are not complete."""
        lines = []
        for step in self.steps.values():
            if step.state == "done":
                continue
            read, planned = sum(step.read.values()), sum(step.planned.values())
            words = f": {read:,} of {planned:,} entries" if planned else ""
            lines.append(f"{self.label}: step '{step.name}' is {step.state}{words}")
        return lines


class FileSide:
    """A ROOT file, for reading.

    Parameters
    ----------
    path : str or Path
        The file.
    """

    blinding = Blinding()

    def __init__(self, path: str | Path) -> None:
        self.file = RootFile(path)
        self.path, self.label = Path(path), str(path)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def samples(self) -> dict[str, dict[str, str]]:
        """Return the paths of histograms and arrays, by folder and name, as ``results.root`` has them."""
        found: dict[str, dict[str, str]] = {}
        for path in [*self.file.histograms, *self.file.trees]:
            folder, _, name = path.rpartition("/")
            found.setdefault(folder, {})[name] = path
        return found

    def product(self, path: str) -> Product:
        """Return the histogram at a path, or a tree as a product that names this file."""
        if path in self.file.trees:
            return Product(ProductKind.TREE, {"tree": path}, {}, ({"path": self.file.path},))
        return self.file.histogram(path)

    def notes(self) -> list[str]:
        """Return nothing: an incomplete file cannot be opened."""
        return []


def open_side(path: str | Path) -> RunSide | FileSide:
    """Open a run folder or a ROOT file.

    Raises
    ------
    RunFolderError
        If a folder is not a run folder, or the path does not exist.
    InputError
        If a file is damaged or not a ROOT file.
    """
    if str(path).startswith("root://") or Path(path).is_file():
        return FileSide(path)
    if not Path(path).exists():
        raise RunFolderError(f"{path}: no such run folder or ROOT file")
    return RunSide(Path(path))
