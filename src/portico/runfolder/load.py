"""The results of a run, read from its folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from portico.analysis.blinding import Blinding
from portico.errors import nearest
from portico.results.partial import decode
from portico.results.view import Results
from portico.runfolder.folder import SUMMARY_FILE, RunFolder

__all__ = ["Run", "load"]


class Run(Mapping[str, Mapping[str, Results]]):
    """The results of a run: ``run["histograms"]["signal"]["mass"]``.

    Parameters
    ----------
    path : Path
        The run folder.

    Raises
    ------
    RunFolderError
        If it is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = RunFolder(path)
        ledger = self._folder.open_ledger()
        try:
            self._steps = {name: (kind, state) for name, kind, state, *_ in ledger.steps()}
            self._samples = {name: list(ledger.result_keys(name)) for name in self._steps}
        finally:
            ledger.close()

    @property
    def states(self) -> dict[str, str]:
        """The state of each step: planned, running, done, failed or partial."""
        return {name: state for name, (_, state) in self._steps.items()}

    @property
    def partial(self) -> bool:
        """Whether a step was finished without some of its chunks."""
        return "partial" in self.states.values()

    @property
    def blinding(self) -> Blinding:
        """Intervals in which data are not shown: ``run.blinding.of("mass", ["data"])`` is for ``portico.plot``."""
        return Blinding.from_manifest(self._folder.manifest())

    def __getitem__(self, step: str) -> Mapping[str, Results]:
        if step not in self._steps:
            raise KeyError(f"{self.path}: no step '{step}'; {nearest(step, self._steps)}")
        ledger = self._folder.open_ledger()
        try:
            blobs = {sample: ledger.result(step, sample) for sample in self._samples[step]}
        finally:
            ledger.close()
        return {sample: Results(sample, decode(blob)) for sample, blob in blobs.items() if blob is not None}

    def __iter__(self) -> Iterator[str]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)

    def summary(self, step: str) -> dict[str, Any]:
        """Return the values of a summary step.

        Raises
        ------
        KeyError
            If there are none.
        """
        path = self._folder.step(step) / SUMMARY_FILE
        if not path.exists():
            raise KeyError(f"{self.path}: step '{step}' has no summary")
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content


def load(path: str | Path) -> Run:
    """Open the results of a run folder.

    Raises
    ------
    RunFolderError
        If it is none.
    """
    return Run(Path(path))
