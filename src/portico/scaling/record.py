"""The record of the measurements of a step, one JSON file, complete after each of them."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field

from portico.config import Model, parse, parse_json
from portico.errors import RunFolderError
from portico.files.atomic import make_folder, write_atomic
from portico.files.troubles import explaining_any
from portico.runfolder.claim import LEDGER

__all__ = ["Measurement", "Record", "locked", "read_record", "write_record"]

_LOCK = "lock"


class Measurement(Model):
    """One run of the step.

    Parameters
    ----------
    asked, workers : int
        Number of workers that was asked for, and that there were at the end.
    part : float
        Part of the input that was asked for.
    first : bool
        Whether it is the first run on new workers, which load ROOT and compile in it; no law is fitted to it.
    chunks, entries, bytes : int
        Of the input that ran; compressed bytes of all columns, 0 if unknown.
    seconds, loop_seconds : float
        Wall time of the step with planning, merging and writing, and during which chunks ran.
    worker_seconds, cpu_seconds : float
        Of all workers together in chunks, and CPU time of the same.
    bytes_read : int
        From storage, as ROOT counts them.
    columns_found, columns_filled : int
        Columns of chunks that were in the column cache, and that were put there.
    dropped : bool
        Whether the files were dropped from the page cache of this machine before.
    others : float
        Part of the cores of this machine that other processes used meanwhile; 0 if the workers are elsewhere.
    """

    asked: int = Field(gt=0)
    workers: int = Field(gt=0)
    part: float = Field(gt=0, le=1)
    first: bool = False
    chunks: int = Field(gt=0)
    entries: int = Field(ge=0)
    bytes: int = Field(ge=0)
    seconds: float = Field(gt=0, allow_inf_nan=False)
    loop_seconds: float = Field(ge=0, allow_inf_nan=False)
    worker_seconds: float = Field(ge=0, allow_inf_nan=False)
    cpu_seconds: float = Field(ge=0, allow_inf_nan=False)
    bytes_read: int = Field(ge=0)
    columns_found: int = Field(default=0, ge=0)
    columns_filled: int = Field(default=0, ge=0)
    dropped: bool = False
    others: float = Field(default=0.0, ge=0, le=1)

    @property
    def busy(self) -> int:
        """The number of workers that had a chunk."""
        return min(self.workers, self.chunks)


class Record(Model):
    """The measurements of one step with the same code, input and executor.

    Parameters
    ----------
    schema_version : int
        Of this file.
    analysis, step, on : str
        What ran, and where.
    identity : str
        Digest of code, options, chunks, executor and machine: measurements of another one do not belong here.
    cache : bool
        Whether the column cache was used.
    chunks, entries, bytes : int
        Of the whole input.
    measurements : tuple of Measurement
        In the order in which they were made.
    """

    schema_version: Literal[1] = 1
    analysis: str
    step: str
    on: str
    identity: str
    cache: bool
    chunks: int
    entries: int
    bytes: int
    measurements: tuple[Measurement, ...] = ()

    def with_measurement(self, made: Measurement) -> Record:
        """Return the record with one more measurement."""
        return self.model_copy(update={"measurements": (*self.measurements, made)})

    def count(self, asked: int, part: float) -> int:
        """Return how often a part of the input was measured with so many workers, besides first runs."""
        return sum(not m.first and (m.asked, m.part) == (asked, part) for m in self.measurements)


def read_record(path: Path) -> Record | None:
    """Read a record; None if there is none.

    Raises
    ------
    ConfigError
        If the file is not one.
    """
    try:
        content = parse_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RunFolderError(f"{path}: is not a record of portico scale: {error}; move it away") from error
    return parse(Record, content, str(path))


def write_record(path: Path, record: Record) -> None:
    """Write a record.

    Raises
    ------
    SpaceError
        If the disk is full.
    """
    with write_atomic(path) as aside:
        aside.write_text(json.dumps(record.model_dump(), indent=1), encoding="utf-8")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder of measurements, and keep it for this process.

    Raises
    ------
    RunFolderError
        If it is a run folder, another process measures in it, or it cannot be written.
    """
    if (folder / LEDGER).exists():
        raise RunFolderError(f"{folder}: is a run folder, which portico scale does not touch; choose another with -o")
    with explaining_any(folder):
        make_folder(folder)
        number = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunFolderError(
                f"{folder}: another portico scale measures here; wait for its end, or choose another folder with -o"
            ) from None
        except OSError:  # a disk without locks
            pass
        yield
    finally:
        os.close(number)
