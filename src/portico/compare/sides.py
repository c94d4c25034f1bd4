"""The two sides of a comparison: a run folder, or a ROOT file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from portico.analysis.blinding import Blinding
from portico.compare.rootfile import RootFile
from portico.errors import RunFolderError, near_path
from portico.results.product import Product, ProductKind
from portico.runfolder.folder import RunFolder
from portico.runfolder.load import Run, parse_run
from portico.runfolder.manifest import MANIFEST
from portico.runfolder.step_files import StepFiles
from portico.runfolder.version import STALE, SUMMARY

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
    run : Run
        Its results.
    label : str
        Names it in messages.

    Raises
    ------
    RunFolderError
        If it is not a run folder.
    """

    def __init__(self, run: Run, label: str) -> None:
        self.path, self.label, self.blinding = run.path, label, run.blinding
        self._run, self._version = run, run.version
        self._ledger = RunFolder(run.path).open_ledger()

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    @cached_property
    def steps(self) -> dict[str, StepRecord]:
        """The steps that have started, in order."""
        return {
            name: StepRecord(name, of.kind, of.state, tuple(of.results), dict(of.read), dict(of.planned))
            for name, of in self._version.steps.items()
        }

    def products(self, step: str, sample: str) -> dict[str, Product]:
        """Return the merged products of a step's sample."""
        key = self._version.steps[step].results.get(sample)
        blob = None if key is None else self._ledger.result(step, sample, key)
        return {} if blob is None else self._ledger.paths.decode(blob)

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
            If they are damaged.
        """
        return self._run.summary(step)

    def tables(self, step: str) -> dict[str, Path]:
        """Return the tables that a summary step wrote, by the name of the file.

        Raises
        ------
        InputError
            If one is gone, or was changed.
        """
        files, key = StepFiles(self.path, step, self._ledger), self._version.steps[step].files
        names = [item["name"] for item in files.items(key)]
        return {Path(name).stem: files.path(name, key) for name in names if name.endswith(".root")}

    def has_summary(self, step: str) -> bool:
        """Return whether a summary step has a result."""
        return self._version.steps[step].files is not None

    def notes(self) -> list[str]:
        """Describe the steps that were finished without some of their chunks."""
        return [self._state(step) for step in self.steps.values() if step.state == "partial"]

    def gaps(self, steps: Collection[str], samples: Collection[str]) -> list[str]:
        """Describe the results that are not there, or not those of the analysis as it is now.

        Parameters
        ----------
        steps, samples : collection of str
            Only those of these; of all if empty.
        """
        lines = []
        expected = dict.fromkeys(self._ledger.wanted() if not self._version.number else ())
        for step in self.steps.values():
            if not samples and step.state not in {"done", "partial"} and (not steps or step.name in steps):
                lines.append(self._state(step))
            of = (*step.planned, *self._version.steps[step.name].stale)
            expected |= dict.fromkeys((step.name, sample) for sample in of)
        for name, sample in expected:
            if (steps and name not in steps) or (samples and sample not in samples and sample != SUMMARY):
                continue
            where = f"{self.label}: step '{name}'" + (f", sample '{sample}'" if sample != SUMMARY else "")
            if name not in self.steps:
                lines.append(f"{self.label}: step '{name}' has not run")
            elif not (self.has_summary(name) if sample == SUMMARY else sample in self.steps[name].samples):
                lines.append(f"{where}: no result")
            elif sample in self._version.steps[name].stale:
                lines.append(f"{where}: {STALE}")
        return lines

    def _state(self, step: StepRecord) -> str:
        read, planned = sum(step.read.values()), sum(step.planned.values())
        words = f": {read:,} of {planned:,} entries" if planned else ""
        return f"{self.label}: step '{step.name}' is {step.state}{words}"


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

    def left_out(self) -> list[str]:
        """Describe the objects of the file that cannot be compared."""
        others = [f"{path} ({kind})" for path, kind in self.file.others.items()]
        if not others:
            return []
        more = f" and {len(others) - 5:,} more" if len(others) > 5 else ""
        names = f"{', '.join(others[:5])}{more}"
        return [f"{self.label}: not compared, since only histograms, profiles, graphs and trees are: {names}"]

    def notes(self) -> list[str]:
        """Return nothing: an incomplete file cannot be opened."""
        return []

    def gaps(self, steps: Collection[str], samples: Collection[str]) -> list[str]:  # noqa: ARG002 (as RunSide's)
        """Return nothing: an incomplete file cannot be opened."""
        return []


def _is_side(path: Path) -> bool:
    return path.suffix == ".root" or (path / MANIFEST).is_file()


def open_side(side: str | Path | Run) -> RunSide | FileSide:
    """Open a run folder, an earlier version of one, or a ROOT file.

    Raises
    ------
    RunFolderError
        If a folder is not a run folder, or the path does not exist.
    ConfigError
        If a run has no such version.
    InputError
        If a file is damaged or not a ROOT file.
    """
    if isinstance(side, Run):
        number = f"@{side.version.number}" if side.version.number else ""
        return RunSide(side, f"{side.path}{number}")
    if str(side).startswith("root://") or Path(side).is_file():
        return FileSide(side)
    if not parse_run(side)[0].exists():
        raise RunFolderError(f"{side}: no such run folder or ROOT file{near_path(side, _is_side)}")
    return RunSide(Run(Path(side)), str(side))
