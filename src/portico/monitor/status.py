"""Status of a run folder: steps done, running and failed, also while a driver works in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portico.monitor.batch import BatchStatus, read_batch
from portico.monitor.metrics import StepMetrics, run_metrics
from portico.runfolder.folder import RunFolder
from portico.runfolder.owner import working

__all__ = ["RunStatus", "read_status"]

_UNFINISHED = {"planned", "running"}


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The state of a run.

    Parameters
    ----------
    path : Path
        The run folder.
    analysis, file, version : str
        Name of the analysis, the file it was read from, version of portico.
    driver : str
        ``process N on HOST`` if a driver works in the folder now, else empty.
    steps : tuple of StepMetrics
        The steps that were begun, in order.
    batch : BatchStatus, optional
        Batch jobs that were submitted and not collected.
    versions : tuple of (int, float)
        Number and time of each version of the results that is kept, the latest last.
    """

    path: Path
    analysis: str
    file: str
    version: str
    driver: str
    steps: tuple[StepMetrics, ...]
    batch: BatchStatus | None = None
    versions: tuple[tuple[int, float], ...] = ()

    def state_of(self, step: StepMetrics) -> str:
        """Return the state of a step; one that runs without a driver was interrupted, or left to batch jobs."""
        if self.driver or step.state not in {*_UNFINISHED, "interrupted"}:
            return step.state
        return "submitted" if self.batch is not None else "interrupted"

    @property
    def state(self) -> str:
        """The state of the whole run: running, submitted, interrupted, failed, partial or done."""
        if self.driver:
            return "running"
        states = {self.state_of(step) for step in self.steps} or {"interrupted"}
        return next(state for state in ("submitted", "interrupted", "failed", "partial", "done") if state in states)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            "run": str(self.path), "analysis": self.analysis, "file": self.file, "portico": self.version,
            "state": self.state, "driver": self.driver, "batch": None if self.batch is None else self.batch.to_json(),
            "steps": [{**step.to_json(), "state": self.state_of(step)} for step in self.steps],
            "versions": [{"version": number, "time": time} for number, time in self.versions],
        }  # fmt: skip


def read_status(path: Path) -> RunStatus:
    """Read the state of a run from its ledger.

    Raises
    ------
    RunFolderError
        If ``path`` is not a run folder.
    """
    folder = RunFolder(path)
    manifest = folder.manifest()
    ledger = folder.open_ledger()
    try:
        steps, batch, versions = run_metrics(ledger), read_batch(path, ledger), tuple(ledger.versions())
    finally:
        ledger.close()
    driver = working(path) if any(step.state in _UNFINISHED for step in steps) or not steps else ""
    name, file, version = (str(manifest.get(key, "")) for key in ("analysis", "file", "portico"))
    return RunStatus(path, name, file, version, driver, steps, batch, versions)
