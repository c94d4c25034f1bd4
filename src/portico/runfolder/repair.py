"""Repair of a run folder: intact parts are kept, damaged ones are dropped, and the next run recreates them."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from portico.errors import RunFolderError
from portico.files.troubles import explaining, explaining_any
from portico.runfolder.claim import LEDGER, claim, close_ledger, free_name, is_changed, make_private, put_journal_aside
from portico.runfolder.database import Damaged
from portico.runfolder.ledger import Ledger
from portico.runfolder.manifest import MANIFEST, read_manifest
from portico.runfolder.owner import Held, hold
from portico.runfolder.verify import verify

__all__ = ["Repaired", "repair"]


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did.

    Parameters
    ----------
    run : str
        The run folder.
    done : tuple of str
        What was found and mended.
    left : tuple of str
        What the next run makes again, with the reason.
    """

    run: str
    done: tuple[str, ...]
    left: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)


def repair(path: Path) -> Repaired:
    """Mend a run folder: its manifest and its ledger. Wrong files are forgotten, so that the next run makes them.

    Nothing is removed: a ledger that is replaced lies beside the new one.

    Parameters
    ----------
    path : Path
        The run folder.

    Raises
    ------
    RunFolderError
        If there is no such folder, a driver works in it, or it has neither a manifest nor a ledger that can be read.
    SpaceError
        If the disk is full.
    """
    if not path.is_dir():
        raise RunFolderError(f"{path}: no such folder; give a run folder, such as runs/NAME")
    if not os.path.lexists(path / MANIFEST) and not (path / LEDGER).exists():
        read_manifest(path)  # says that this is not a run folder
    done: list[str] = []
    with explaining_any(path):
        with hold(path) as held:
            put_journal_aside(path, held, done)
            _make_sound(path, held, done)
        with claim(path, None, _manifest(path)) as claimed:
            done += claimed.notes
            faults = verify_files(path)
            claimed.ledger.forget(key for key, _ in faults if key)
    return Repaired(str(path), tuple(done), tuple(text for _, text in faults))


def verify_files(path: Path) -> list[tuple[str, str]]:
    """Return what is wrong with files, each with the key of the chunk that wrote it."""
    return [(fault.key, str(fault)) for fault in verify(path).faults]


def _manifest(path: Path) -> dict[str, Any]:
    """Return the manifest with which the folder is claimed: its own, or what the ledger remembers."""
    try:
        return read_manifest(path)
    except RunFolderError as error:
        if (path / LEDGER).is_file():
            with closing(Ledger(path / LEDGER, read_only=True)) as ledger:
                if text := ledger.about("manifest"):
                    content: dict[str, Any] = json.loads(text)
                    return content
        words = str(error).rpartition(";")[0]
        raise RunFolderError(
            f"{words}, and there is no ledger to restore it from; remove {path / MANIFEST} if it is there, and run "
            "again to recreate everything"
        ) from error


def _make_sound(path: Path, held: Held, done: list[str]) -> None:
    """Put a new ledger in the place of one whose structure is damaged, with all that can be read of it."""
    file = path / LEDGER
    if not file.is_file() or file.stat().st_size == 0:
        return
    changed = is_changed(path, held.before)
    try:
        with closing(Ledger(file, locks=held.locks)) as ledger:
            faults = ledger.faults()
    except Damaged as error:
        faults = [str(error)]
    except RunFolderError as error:
        if not changed:
            raise
        faults = [str(error)]
    if not faults:
        return
    held.begin()
    aside, new = free_name(path / f"{LEDGER}.damaged"), free_name(path / f"{LEDGER}.new")
    make_private(new)
    with closing(Ledger(new, locks=held.locks)) as ledger:
        kept = ledger.take_rows(_rows(file))
    with explaining(file):
        file.rename(aside)
        new.rename(file)
    with closing(Ledger(file, locks=held.locks)) as ledger:
        ledger.mend(ledger.damage(), distrust=True)
        close_ledger(ledger, held)
    why = "it was changed by something else than portico" if changed else "it was damaged"
    done.append(f"{file}: {why}; {kept:,} rows could be read, and the old one is {aside}")


def _rows(file: Path) -> Iterator[tuple[str, tuple[str, ...], tuple[Any, ...]]]:
    """Yield what can be read of a damaged ledger: table, columns and values of each row, from both ends of tables."""
    try:
        database = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        database.text_factory = lambda text: text.decode(errors="replace")
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    except sqlite3.Error:
        return
    with closing(database):
        for table in tables:
            for order in ("ASC", "DESC"):
                with suppress(sqlite3.Error):
                    rows = database.execute(f'SELECT rowid, * FROM "{table}" ORDER BY rowid {order}')  # noqa: S608
                    columns = ("rowid", *(column[0] for column in rows.description[1:]))
                    for row in rows:
                        yield table, columns, row
