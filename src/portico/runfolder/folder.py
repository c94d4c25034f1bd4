"""The run folder: paths in it, and the lock and manifest of the run that writes there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from portico.files.troubles import explaining_any
from portico.runfolder.claim import LEDGER, claim, open_to_read
from portico.runfolder.ledger import Ledger
from portico.runfolder.manifest import read_manifest
from portico.runfolder.tidy import HIDDEN

__all__ = ["BATCH", "OWN_REPORT", "SUMMARY_FILE", "RunFolder"]

BATCH = "batch.jobs"
"""Folder of batch jobs in the run folder: they write there while no driver runs. No step can have this name."""

OWN_REPORT = "executor-report.html"
"""The executor's own report of the last run, such as Dask's; also the key of what the ledger says about it."""

SUMMARY_FILE = "summary.json"
"""File with the values of a summary step in its folder."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run.

    Parameters
    ----------
    path : Path
        The folder.
    store : str, optional
        Folder or URL where trees are written instead; its manifest remembers it for later runs.
    notes : tuple of str
        What was found and mended when it was claimed, for the user.
    """

    path: Path
    store: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def ledger_path(self) -> Path:
        """Path of the ledger."""
        return self.path / LEDGER

    def step(self, name: str) -> Path:
        """Return the folder of a step."""
        return self.path / name

    def trees(self, step: str, sample: str) -> str:
        """Return the folder or URL where a step's trees of a sample are written."""
        return f"{self.base}/{step}/{sample}"

    @property
    def base(self) -> str:
        """The folder or URL in which each step has a folder of trees."""
        return self.store or str(self.path.resolve())

    def manifest(self) -> dict[str, Any]:
        """Return what `claim` wrote.

        Raises
        ------
        RunFolderError
            If this is not a run folder, or its manifest is damaged.
        """
        return read_manifest(self.path)

    def open_ledger(self) -> Ledger:
        """Open the ledger for reading.

        Raises
        ------
        RunFolderError
            If this is not a run folder, or its ledger is damaged, foreign, or gone.
        """
        return open_to_read(self.path)

    @contextmanager
    def claim(self, manifest: dict[str, Any]) -> Iterator[tuple[RunFolder, Ledger]]:
        """Make the folder if need be, keep other drivers out, and open the ledger for writing.

        Yields the folder with the store that this run writes to, given now or remembered, and the ledger.

        Parameters
        ----------
        manifest : dict
            Its ``analysis`` must be that of the folder if it exists.

        Raises
        ------
        RunFolderError
            If the folder belongs to another analysis, is in use, is damaged, holds other things, or cannot be used.
        SpaceError
            If nothing can be written.
        """
        with explaining_any(self.path), claim(self.path, self.store, manifest) as claimed:
            yield replace(self, store=claimed.store, notes=tuple(claimed.notes)), claimed.ledger

    def clean(self) -> None:
        """Remove temporary files of interrupted attempts. Only for the driver that claimed the folder."""
        for aside in self.path.rglob(".*.part*"):
            ours = HIDDEN.fullmatch(aside.name) and not aside.is_dir()
            if ours and BATCH not in aside.relative_to(self.path).parts:  # a job may be writing it
                aside.unlink(missing_ok=True)
