"""The results of a run, read from its folder."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from portico.analysis.blinding import Blinding
from portico.errors import ConfigError, RunFolderError, nearest
from portico.results.table import ShownTable
from portico.results.view import Results, StepResults
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Ledger
from portico.runfolder.step_files import StepFiles
from portico.runfolder.stored_paths import StoredPaths
from portico.runfolder.version import STALE, SUMMARY, StepVersion, Version

__all__ = ["Run", "find_version", "load", "parse_run"]

_PREVIOUS = "previous"
_FINISHED = {"done", "partial"}


class Run(Mapping[str, Mapping[str, Results]]):
    """The results of a run: ``run["histograms"]["signal"]["mass"]``.

    It is a fixed set of results: a later run in the same folder changes nothing in it. Results that are not current any
    more are kept for a while; see `portico prune`.

    Parameters
    ----------
    path : Path
        The run folder, or ``RUN@previous`` or ``RUN@NUMBER`` for an earlier version.

    Raises
    ------
    RunFolderError
        If it is none.
    ConfigError
        If there is no such version.
    """

    def __init__(self, path: Path) -> None:
        self.path, wanted = parse_run(path)
        self._folder = RunFolder(self.path)
        self.blinding = Blinding.from_manifest(self._folder.manifest())
        """Intervals in which data are not shown: ``run.blinding.of("mass", ["data"])`` is for ``portico.plot``."""
        ledger = self._folder.open_ledger()
        try:
            self.version: Version = find_version(ledger, self.path, wanted)
        finally:
            ledger.close()

    @property
    def states(self) -> dict[str, str]:
        """The state of each step: planned, running, done, failed or partial."""
        return {name: step.state for name, step in self.version.steps.items()}

    @property
    def stale(self) -> dict[str, tuple[str, ...]]:
        """By step, the samples whose results were made with other options than those of now; ``*`` for a summary."""
        return {name: step.stale for name, step in self.version.steps.items() if step.stale}

    @property
    def partial(self) -> bool:
        """Whether a step was finished without some of its chunks."""
        return "partial" in self.states.values()

    @property
    def notes(self) -> list[str]:
        """What is to be known: steps that have failed or are not done, and results made with other options."""
        lines = [f"step '{name}' is {state}" for name, state in self.states.items() if state not in _FINISHED]
        for name, samples in self.stale.items():
            which = "".join(f", '{sample}'" for sample in samples if sample != SUMMARY)
            lines.append(f"step '{name}'{which}: {STALE}")
        return lines

    def __getitem__(self, step: str) -> Mapping[str, Results]:
        of = self._step(step)
        summary = f"a summary of all samples: run.summary({step!r})" if of.kind == "summary" else ""
        return StepResults(f"step '{step}' of {self.path}", self.read(step, of.results), summary)

    def _step(self, name: str) -> StepVersion:
        if name not in self.version.steps:
            raise KeyError(f"{self.path}: no step '{name}'; {nearest(name, self.version.steps)}")
        return self.version.steps[name]

    def _table(self) -> ShownTable:
        rows = []
        for name, of in self.version.steps.items():
            samples = [] if of.kind == "summary" else [f"{len(of.results):,}", f"{sum(of.read.values()):,}"]
            rows.append((name, of.kind, of.state, *(samples or ["", ""])))
        version = f" @{self.version.number}" if self.version.number else ""
        columns = ("step", "kind", "state", "samples", "entries")
        return ShownTable(columns, rows, f"run {self.path}{version}", "\n".join(self.notes), left=3)

    def __repr__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table().html()

    def read(self, step: str, samples: Iterable[str]) -> dict[str, Results]:
        """Return the results of a step for some of its samples.

        Raises
        ------
        RunFolderError
            If they were pruned, or are damaged.
        """
        of = self.version.steps[step]
        ledger = self._folder.open_ledger()
        try:
            blobs = {sample: ledger.result(step, sample, of.results[sample]) for sample in samples}
        finally:
            ledger.close()
        found, paths = {}, StoredPaths(self.path)
        for sample, blob in blobs.items():
            if blob is None:
                raise RunFolderError(self._pruned(step))
            found[sample] = Results(sample, paths.decode(blob), STALE if sample in of.stale else "")
        return found

    def _pruned(self, step: str) -> str:
        return f"{self.path}: these results of step '{step}' are not current, and were pruned; run again to make them"

    def __iter__(self) -> Iterator[str]:
        return iter(self.version.steps)

    def __len__(self) -> int:
        return len(self.version.steps)

    def summary(self, step: str) -> dict[str, Any]:
        """Return the values of a summary step.

        Raises
        ------
        KeyError
            If there are none.
        RunFolderError
            If they were pruned, or are damaged.
        """
        of = self._step(step)
        if of.kind != "summary" or of.files is None:
            has = f"its results are run[{step!r}]" if of.kind != "summary" else f"it is {of.state}"
            raise KeyError(f"{self.path}: step '{step}' has no summary: {has}")
        ledger = self._folder.open_ledger()
        try:
            found = ledger.files(step, of.files)
        finally:
            ledger.close()
        if found is None:
            raise RunFolderError(self._pruned(step))
        content: dict[str, Any] = json.loads(found[1])
        return content

    def file(self, step: str, name: str) -> Path:
        """Return where a file that a summary step wrote lies now; a later run may move it.

        Raises
        ------
        KeyError
            If there is no such step, or it wrote none of this name.
        InputError
            If it is gone, or was changed.
        """
        of = self._step(step)
        key = of.files if of.kind == "summary" else None
        ledger = self._folder.open_ledger()
        try:
            files = StepFiles(self.path, step, ledger)
            names = [item["name"] for item in files.items(key)] if key is not None else []
            if name not in names:
                raise KeyError(f"{self.path}: step '{step}' wrote no file '{name}'; {nearest(name, names)}")
            return files.path(name, key)
        finally:
            ledger.close()


def parse_run(path: str | Path) -> tuple[Path, str]:
    """Return folder and version of ``RUN`` or ``RUN@VERSION``; a folder of the entire name comes first."""
    whole = Path(path)
    name, at, version = whole.name.rpartition("@")
    return (whole, "") if not at or not name or whole.exists() else (whole.with_name(name), version)


def find_version(ledger: Ledger, path: Path, wanted: str) -> Version:
    """Return the current results, or those of an earlier version.

    Parameters
    ----------
    ledger : Ledger
        Of the run.
    path : Path
        Of the run folder, for messages.
    wanted : str
        Empty, ``previous`` or a number.

    Raises
    ------
    ConfigError
        If there is no such version.
    """
    now = ledger.version()
    if not wanted:
        return now
    kept = [ledger.version(number) for number, _ in ledger.versions()]
    if wanted == _PREVIOUS:
        kept = [version for version in kept if version.keys != now.keys]
    else:
        kept = [version for version in kept if str(version.number) == wanted]
    if not kept:
        known = ", ".join(f"@{number}" for number, _ in ledger.versions()) or "none"
        raise ConfigError(f"{path}: no version '@{wanted}' is kept; valid: @{_PREVIOUS}, {known}")
    return kept[-1]


def load(path: str | Path) -> Run:
    """Open the results of a run folder; of an earlier version with ``RUN@previous`` or ``RUN@NUMBER``.

    Warns if a step has failed or is not done, or if results were made with other options than those of now.

    Raises
    ------
    RunFolderError
        If it is none.
    ConfigError
        If there is no such version.
    """
    run = Run(Path(path))
    for note in run.notes:
        warnings.warn(f"{run.path}: {note}", stacklevel=2)
    return run
