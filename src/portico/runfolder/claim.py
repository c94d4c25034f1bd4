"""Claiming a run folder for one driver, with checks of its manifest and ledger."""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from portico.errors import PorticoError, RunFolderError
from portico.files.atomic import make_folder
from portico.files.storage import checksum_of, normal, storage_of
from portico.files.troubles import explained, explaining
from portico.runfolder.database import Damaged, NotBegun
from portico.runfolder.ledger import Ledger
from portico.runfolder.manifest import (
    MANIFEST,
    Standing,
    location_of,
    marker_of,
    read_manifest,
    standing,
    write_manifest,
)
from portico.runfolder.owner import LOCK, Held, hold, read_lock
from portico.runfolder.stored_paths import StoredPaths

__all__ = ["LEDGER", "Claimed", "claim", "close_ledger", "free_name", "is_changed", "make_private", "open_to_read",
           "put_journal_aside"]  # fmt: skip

LEDGER = "ledger.sqlite"

_RUN, _TEXT = "run", "manifest"  # what the ledger knows of the run
_WAS = "was"  # in the manifest of a copy: the original, whose ledger it begins with
_JOURNAL = f"{LEDGER}-journal"
_CHANGED = "it was changed since the last run, by something else than portico"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run folder that is claimed.

    Parameters
    ----------
    ledger : Ledger
        Open for writing.
    store : str, optional
        Where trees are written, if not in the run folder.
    notes : list of str
        What the user should know.
    """

    ledger: Ledger
    store: str | None
    notes: list[str] = field(default_factory=list)


@contextmanager
def claim(path: Path, given: str | None, manifest: Mapping[str, Any]) -> Iterator[Claimed]:
    """Make a run folder if need be, keep other drivers out, and open its ledger for writing.

    Parameters
    ----------
    path : Path
        The folder.
    given : str, optional
        The store, if it is given and not remembered.
    manifest : mapping
        Its ``analysis`` must be that of the folder if it exists.

    Raises
    ------
    RunFolderError
        If the folder belongs to another analysis, is in use, damaged, or holds other things, or cannot be used.
    SpaceError
        If nothing can be written.
    """
    _make(path)
    notes: list[str] = []
    with hold(path) as held:
        put_journal_aside(path, held, notes)
        changed = is_changed(path, held.before)
        known, is_written = _known(path, held, notes)
        content, store = _identified(path, given, known, manifest)
        ledger, whole = _opened(path, held, known, changed, notes), False
        try:
            _refuse_foreign(path, ledger, {known.get(_RUN), known.get(_WAS), content.get(_WAS), content[_RUN]})
            if known.get(_WAS) and ledger.about(_RUN) == known[_WAS]:  # a driver ended between the two files
                content[_WAS] = known[_WAS]
            _mend(path, ledger, held, changed, notes)
            ledger.watch(held.check)
            if not is_written or content != known:
                write_manifest(path, content)
            if ledger.about(_TEXT) != (text := json.dumps(content)):
                ledger.set_about({_RUN: content[_RUN], _TEXT: text})
            yield Claimed(ledger, store, notes)
            whole = True
        except Damaged:
            raise
        except BaseException:
            whole = True
            raise
        finally:
            close_ledger(ledger, held, whole)


def free_name(path: Path) -> Path:
    """Return a path that begins so, and at which nothing lies."""
    number = 1
    while os.path.lexists(found := path.with_name(f"{path.name}-{number}")):
        number += 1
    return found


def put_journal_aside(path: Path, held: Held, notes: list[str]) -> None:
    """Move a journal away that is not of the ledger, which was closed without one, and note it."""
    if "ledger" not in held.before or not foreign_journal(path):
        return
    journal, aside = path / _JOURNAL, free_name(path / f"{_JOURNAL}.foreign")
    with explaining(journal):
        journal.rename(aside)
    notes.append(f"{journal}: is not of this ledger, which was closed without one; it was moved to {aside}")


def make_private(file: Path) -> None:
    """Make a file that others see only if its owner lets them, by chmod; it may be there."""
    with explaining(file), suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _opened(path: Path, held: Held, known: Mapping[str, Any], changed: bool, notes: list[str]) -> Ledger:
    file = path / LEDGER
    if known and not (file.exists() and file.stat().st_size):
        notes.append(f"{file}: is gone, and with it what was done; all of it is run again")
    make_private(file)
    try:
        return Ledger(file, locks=held.locks)
    except Damaged:
        raise
    except RunFolderError as error:
        if changed:  # a version that is none
            raise damaged(path, _CHANGED) from error
        raise


def _mend(path: Path, ledger: Ledger, held: Held, changed: bool, notes: list[str]) -> None:
    """Look through a ledger that was not left as it is by a driver that ended, and forget what is damaged."""
    if not changed and "ledger" in held.before:
        held.begin()
        return
    if faults := ledger.faults():
        raise damaged(path, faults[0])
    damage = ledger.damage()
    held.begin()
    if damage or changed:
        ledger.mend(damage, changed)
        why = f"{path / LEDGER}: {_CHANGED}" if changed else f"{path / LEDGER}: a driver was killed while it wrote"
        what = f"; {damage} in it were damaged and will be recreated" if damage else "; nothing in it is damaged"
        notes.append(why + what)


def _make(path: Path) -> None:
    try:
        if path.exists() and not any(os.path.lexists(path / name) for name in (LOCK, MANIFEST, LEDGER)):
            if not path.is_dir():
                raise RunFolderError(f"{path}: is a file; give a folder with --run")
            if any(path.iterdir()):
                what = "contains something other than a run; give a new or empty folder with --run"
                raise RunFolderError(f"{path}: {what}")
        make_folder(path)
        _probe(path)
    except OSError as error:
        raise explained(error, error.filename if isinstance(error, FileExistsError) else path) from error


def _probe(path: Path) -> None:
    """Look whether anything can be written, which permissions alone do not tell."""
    if not os.access(path, os.W_OK):
        number, name = tempfile.mkstemp(".part", f".{uuid.uuid4().hex[:24]}", path)
        os.close(number)
        Path(name).unlink()


def _known(path: Path, held: Held, notes: list[str]) -> tuple[dict[str, Any], bool]:
    """Return the manifest of a folder, and whether it is written there: if it is lost or damaged, the ledger has it."""
    if not os.path.lexists(path / MANIFEST) and not (path / LEDGER).exists():
        return {}, False
    try:
        return read_manifest(path), True
    except RunFolderError as error:
        text = remembered_manifest(path, held.locks)
        if not text and not os.path.lexists(path / MANIFEST):
            return {}, False
        words = str(error).rpartition(";")[0] if os.path.lexists(path / MANIFEST) else f"{path / MANIFEST}: is gone"
        if not text:
            raise RunFolderError(
                f"{words}, and there is no ledger to restore it from; remove it, and run again to recreate everything"
            ) from error
        if os.path.lexists(path / MANIFEST) and not (path / MANIFEST).is_file():
            raise
        notes.append(f"{words}; it is restored from the ledger")
        return dict(json.loads(text)), False


def remembered_manifest(path: Path, locks: bool) -> str:
    """Return the text of the manifest that the ledger has; empty if there is no ledger that has one."""
    if not (path / LEDGER).exists() or not (path / LEDGER).stat().st_size:
        return ""
    try:
        with closing(Ledger(path / LEDGER, read_only=True, locks=locks)) as ledger:
            return ledger.about(_TEXT)
    except NotBegun:
        return ""


def _identified(
    path: Path, given: str | None, known: Mapping[str, Any], manifest: Mapping[str, Any]
) -> tuple[dict[str, Any], str | None]:
    """Return the manifest that is to be written, and the store."""
    owner = known.get("analysis", manifest["analysis"])
    if owner != manifest["analysis"]:
        raise RunFolderError(
            f"{path}: belongs to the analysis '{owner}', not '{manifest['analysis']}'; choose another folder with --run"
        )
    paths, is_copy = StoredPaths(path), standing(known, path) is Standing.COPY
    new = {_RUN: known.get(_RUN) or uuid.uuid4().hex, "place": location_of(path)}
    if is_copy:
        new |= {_RUN: uuid.uuid4().hex, _WAS: known[_RUN]}
    store = normal(given) if given is not None else known.get("store")
    if store is not None:
        store = paths.used(store)
        _claim_store(path, store, new, known, is_copy)
        new["store"] = paths.written(store)
    content = {name: value for name, value in manifest.items() if name not in {_WAS, "store"}}
    written: dict[str, Any] = json.loads(json.dumps({**content, **new}))  # as it is read again
    return written, store


def _claim_store(path: Path, store: str, new: Mapping[str, Any], known: Mapping[str, Any], is_copy: bool) -> None:
    """Refuse a store that is not this run's, because files there are moved and removed.

    A mark in the store names the run and where its folder lies, so that of several copies one has the store.
    """
    storage, mark = storage_of(store), f"{store}/{marker_of(new)}"
    if storage.size(mark) is not None:
        return
    if not is_copy and storage.size(before := f"{store}/{marker_of(known)}") is not None:
        storage.rename(before, mark)
        return
    if storage.holds(store):
        if known.get("store") == StoredPaths(path).written(store):
            original = known["place"]["path"]
            raise RunFolderError(
                f"{path}: is a copy of {original}, or was moved from another machine, and {store} belongs to the "
                f"original; choose a new or empty folder with --store: trees that are in {store} are read from there, "
                "and not changed"
            )
        raise RunFolderError(
            f"{store}: contains something other than the trees of this run; choose a new or empty folder with --store"
        )
    storage.make(store)
    with tempfile.TemporaryDirectory(prefix="portico-") as folder:
        name = Path(folder) / "mark"
        name.write_text("This folder belongs to one run of portico, which moves and removes what it wrote.\n")
        storage.write(mark, name)


def _refuse_foreign(path: Path, ledger: Ledger, runs: set[Any]) -> None:
    run = ledger.about(_RUN)
    if run and run not in runs:
        raise RunFolderError(
            f"{path / LEDGER}: is the ledger of another run than {path / MANIFEST}; put the right one in its place, "
            "or remove it and run again to recreate everything"
        )


def damaged(path: Path, what: str) -> RunFolderError:
    """Return the error for a damaged ledger."""
    return RunFolderError(
        f"{path / LEDGER}: is damaged: {what}; see what is wrong with: portico verify {path}; keep what is intact "
        f"with: portico repair {path}"
    )


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"


@lru_cache(maxsize=100)
def _checksum(path: Path, _stamp: str) -> str:
    return checksum_of(path)


def close_ledger(ledger: Ledger, held: Held, whole: bool = True) -> None:
    """Close a ledger, and note in the lock file how it was left; not if something in it was found to be damaged."""
    ledger.close()
    path = held.folder / LEDGER
    with suppress(OSError, PorticoError):
        if whole and not held.leave:  # else it was not changed
            held.leave = {"ledger": {"stamp": _stamp(path), "adler32": checksum_of(path)}}


def is_changed(path: Path, left: Mapping[str, Any]) -> bool:
    """Return whether a ledger is not as the last driver left it, because something else than portico wrote to it."""
    noted, file = left.get("ledger"), path / LEDGER
    if not isinstance(noted, dict) or not file.is_file():
        return False
    with explaining(file, "read"):
        stamp = _stamp(file)
        is_empty = file.stat().st_size == 0  # as good as gone
        return not is_empty and stamp != noted.get("stamp") and _checksum(file, stamp) != noted.get("adler32")


def foreign_journal(path: Path) -> bool:
    """Return whether there is a journal beside a ledger that was closed: SQLite would take it for one of it."""
    journal = path / _JOURNAL
    return journal.is_file() and journal.stat().st_size > 0


def open_to_read(path: Path) -> Ledger:
    """Open the ledger of a run folder for reading, while a driver may work there.

    Raises
    ------
    RunFolderError
        If it is damaged, foreign, or gone.
    """
    manifest = read_manifest(path)
    lock, file = read_lock(path), path / LEDGER
    if "ledger" in lock.left:
        if file.is_file() and file.stat().st_size == 0:
            raise RunFolderError(f"{file}: is empty, and finished work is lost; run again to recreate everything")
        foreign, changed = foreign_journal(path), is_changed(path, lock.left)
        if (foreign or changed) and read_lock(path) == lock:  # else a driver has begun to work meanwhile
            raise damaged(path, f"{path / _JOURNAL} is not of it, and would change it" if foreign else _CHANGED)
    ledger = Ledger(path / LEDGER, read_only=True, locks=lock.left.get("locks", True))
    try:
        _refuse_foreign(path, ledger, {manifest.get(_RUN), manifest.get("was")})
    except BaseException:
        ledger.close()
        raise
    return ledger
