"""The run folder: paths in it, and the lock and manifest of the run that writes there."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
import uuid
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from portico.errors import RunFolderError
from portico.files.storage import normal, storage_of
from portico.runfolder.ledger import Ledger
from portico.runfolder.manifest import MANIFEST, Standing, place_of, read_manifest, standing, write_manifest
from portico.runfolder.places import Places
from portico.runfolder.tidy import HIDDEN

__all__ = ["BATCH", "SUMMARY_FILE", "RunFolder"]

BATCH = "batch.jobs"
"""Folder of batch jobs in the run folder: they write there while no driver runs. No step can have this name."""

SUMMARY_FILE = "summary.json"
"""File with the values of a summary step in its folder."""

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
            If this is no run folder, or its manifest is damaged.
        """
        return read_manifest(self.path)

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
            with suppress(FileExistsError):  # others see what its owner lets them see, by chmod
                os.close(os.open(self.ledger_path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            ledger = Ledger(self.ledger_path)
            try:
                yield claimed, ledger
            finally:
                ledger.close()

    def _make(self) -> None:
        if self.path.exists() and not (self.path / _LOCK).exists() and not (self.path / MANIFEST).exists():
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
        known = self.manifest() if os.path.lexists(self.path / MANIFEST) else {}
        owner = known.get("analysis", manifest["analysis"])
        if owner != manifest["analysis"]:
            raise RunFolderError(
                f"{self.path}: belongs to the analysis '{owner}', not '{manifest['analysis']}'; "
                "choose another folder with --run"
            )
        places, is_copy = Places(self.path), standing(known, self.path) is Standing.COPY
        new = {"run": uuid.uuid4().hex} if is_copy or "run" not in known else {"run": known["run"]}
        store = normal(self.store) if self.store is not None else known.get("store")
        store = None if store is None else places.used(store)
        if store is not None:
            self._claim_store(store, new["run"], known, is_copy)
            new["store"] = places.written(store)
        write_manifest(self.path, {**manifest, **new, "place": place_of(self.path)})
        return replace(self, store=store)

    def _claim_store(self, store: str, run: str, known: Mapping[str, Any], is_copy: bool) -> None:
        """Refuse a store that is not this run's, because files there are moved and removed.

        A mark in the store names the run and where its folder lies, so that of several copies one has the store.
        """
        storage, mark = storage_of(store), _mark(store, run, place_of(self.path))
        if storage.size(mark) is not None:
            return
        if not is_copy and storage.size(before := _mark(store, run, known.get("place", {}))) is not None:
            storage.rename(before, mark)
            return
        if storage.holds(store):
            if known.get("store") == Places(self.path).written(store):
                raise RunFolderError(
                    f"{self.path}: is a copy of {known['place']['path']}, or was moved from another machine, and "
                    f"{store} belongs to the original; choose a new or empty folder with --store: trees that are "
                    f"in {store} are read from there, and not changed"
                )
            raise RunFolderError(
                f"{store}: holds other things than the trees of this run; choose a new or empty folder with --store"
            )
        storage.make(store)
        with tempfile.TemporaryDirectory(prefix="portico-") as folder:
            name = Path(folder) / "mark"
            name.write_text("This folder belongs to one run of portico, which moves and removes what it wrote.\n")
            storage.write(mark, name)

    def clean(self) -> None:
        """Remove temporary files of interrupted attempts. Only for the driver that claimed the folder."""
        for aside in self.path.rglob(".*.part*"):
            ours = HIDDEN.fullmatch(aside.name) and not aside.is_dir()
            if ours and BATCH not in aside.relative_to(self.path).parts:  # a job may be writing it
                aside.unlink(missing_ok=True)


def _mark(store: str, run: str, place: Mapping[str, Any]) -> str:
    where = zlib.crc32(f"{place.get('inode')} {place.get('path')}".encode())
    return f"{store}/portico-run-{run}-{where:08x}"
