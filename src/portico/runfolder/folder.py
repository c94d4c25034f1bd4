"""The run folder: paths in it, and the lock and manifest of the run that writes there."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import tempfile
import uuid
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from portico.errors import RunFolderError
from portico.files.atomic import write_atomic
from portico.files.kept import aside_of
from portico.files.storage import normal, storage_of
from portico.runfolder.ledger import Ledger

__all__ = ["BATCH", "SUMMARY_FILE", "RunFolder"]

BATCH = "batch.jobs"
"""Folder of batch jobs in the run folder: they write there while no driver runs. No step can have this name."""

SUMMARY_FILE = "summary.json"
"""File with the values of a summary step in its folder."""

_MANIFEST = "run.json"
_LEDGER = "ledger.sqlite"
_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run.

    Parameters
    ----------
    path : Path
        The folder.
    store : str, optional
        Folder or URL where trees are written instead; its manifest remembers it for later runs.
    """

    path: Path
    store: str | None = None

    @property
    def ledger_path(self) -> Path:
        """Path of the ledger."""
        return self.path / _LEDGER

    def step(self, name: str) -> Path:
        """Return the folder of a step."""
        return self.path / name

    def trees(self, step: str, sample: str) -> str:
        """Return the folder or URL where a step's trees of a sample are written."""
        return f"{self.store or self.path.resolve()}/{step}/{sample}"

    def settle(self, step: str, samples: Container[str] | None, wanted: Iterable[str], known: Container[str]) -> None:
        """Leave only the wanted trees in the folders of a step's samples; only while none of its chunks runs.

        Those of results that are not current are moved to a folder of their own, since a pattern such as
        ``STEP/SAMPLE/*.root`` must not count them. Temporary files and what the ledger does not know are removed.

        Parameters
        ----------
        step : str
            The step.
        samples : container of str, optional
            The samples whose folders to look at; all by default.
        wanted : iterable of str
            The trees of the current results.
        known : container of str
            The trees of all results that are kept.

        Raises
        ------
        RunFolderError, InputError
            If a file cannot be moved or removed.
        """
        folder = f"{self.store or self.path.resolve()}/{step}"
        storage, made = storage_of(folder), set()

        def is_ours(path: str) -> bool:
            sample, _, name = path.removeprefix(f"{folder}/").partition("/")
            return bool(name) and "/" not in name and (samples is None or sample in samples)

        keep, there = set(filter(is_ours, wanted)), set(filter(is_ours, storage.listed(folder)))
        for path in sorted(keep - there):
            storage.rename(aside_of(path), path)
        for path in sorted(there - keep):
            aside = aside_of(path)
            place = aside.rpartition("/")[0]
            if path not in known:
                if path.endswith((".root", ".part")):
                    storage.remove(path)
                continue
            if place not in made:
                storage.make(place)
                made.add(place)
            storage.rename(path, aside)

    def manifest(self) -> dict[str, Any]:
        """Return what `claim` wrote.

        Raises
        ------
        RunFolderError
            If this is no run folder.
        """
        try:
            content: dict[str, Any] = json.loads((self.path / _MANIFEST).read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            problem = "is not a run folder of portico" if self.path.is_dir() else "no such folder"
            raise RunFolderError(
                f"{self.path}: {problem}; a run folder is made by: portico run ANALYSIS --run FOLDER"
            ) from error
        return content

    def open_ledger(self) -> Ledger:
        """Open the ledger for reading.

        Raises
        ------
        RunFolderError
            If this is no run folder.
        """
        self.manifest()
        return Ledger(self.ledger_path, read_only=True)

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
            If the folder belongs to another analysis, is in use, or holds other things.
        SpaceError
            If nothing can be written.
        """
        self._make()
        with (self.path / _LOCK).open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.seek(0)
                raise RunFolderError(
                    f"{self.path}: in use by another portico run ({lock.read().strip() or 'unknown'}); "
                    "wait for it, or choose another folder with --run"
                ) from error
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}")
            lock.flush()
            claimed = self._check(manifest)
            ledger = Ledger(self.ledger_path)
            try:
                yield claimed, ledger
            finally:
                ledger.close()

    def _make(self) -> None:
        if self.path.exists() and not (self.path / _LOCK).exists() and not (self.path / _MANIFEST).exists():
            if not self.path.is_dir():
                raise RunFolderError(f"{self.path}: is a file; give a folder with --run")
            if any(self.path.iterdir()):
                raise RunFolderError(
                    f"{self.path}: holds other things than a run; give a new or empty folder with --run"
                )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"{self.path}: cannot be made: {error.strerror}") from error
        if not os.access(self.path, os.W_OK):
            raise RunFolderError(f"{self.path}: cannot be written to; choose another folder with --run")

    def _check(self, manifest: dict[str, Any]) -> RunFolder:
        path = self.path / _MANIFEST
        known = self.manifest() if path.exists() else {}
        if known:
            owner = known.get("analysis")
            if owner != manifest["analysis"]:
                raise RunFolderError(
                    f"{self.path}: belongs to the analysis '{owner}', not '{manifest['analysis']}'; "
                    "choose another folder with --run"
                )
        store = normal(self.store) if self.store is not None else known.get("store")
        if store is not None:
            manifest = {**manifest, "store": store, "run": known.get("run", uuid.uuid4().hex)}
            self._claim_store(store, manifest["run"])
        with write_atomic(path) as aside:
            aside.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        return replace(self, store=store)

    def _claim_store(self, store: str, run: str) -> None:
        """Refuse a store that holds anything but this run's trees, because unwanted files there are removed."""
        storage, mark = storage_of(store), f"{store}/portico-run-{run}"
        if storage.size(mark) is not None:
            return
        if storage.holds(store):
            raise RunFolderError(
                f"{store}: holds other things than the trees of this run; choose a new or empty folder with --store"
            )
        storage.make(store)
        with tempfile.TemporaryDirectory(prefix="portico-") as folder:
            name = Path(folder) / "mark"
            name.write_text("This folder belongs to one run of portico, which removes what it does not know.\n")
            storage.write(mark, name)

    def clean(self) -> None:
        """Remove temporary files of interrupted attempts. Only for the driver that claimed the folder."""
        for aside in self.path.rglob(".*.part*"):
            if BATCH not in aside.relative_to(self.path).parts:  # a job may be writing it
                aside.unlink(missing_ok=True)
