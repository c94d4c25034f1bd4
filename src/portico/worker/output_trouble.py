"""Troubles with what a chunk writes, recognised in ROOT's words: they are of the disk, not of the input or the step."""

from __future__ import annotations

import re

from portico.errors import RunFolderError
from portico.worker.task import FailureKind

__all__ = ["NO_SPACE", "OutputError", "output_trouble"]

NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded", re.IGNORECASE)
_FAILS = re.compile(r"(?:SysError|Error) in <TFile::\w+>: error (?:writing|flushing)[^\n]*")


class OutputError(RunFolderError):
    """A disk, or the server that it is on, does not take what a chunk writes."""


def output_trouble(log: str) -> tuple[FailureKind, str] | None:
    """Return what is wrong where a chunk writes, kind and words, from what ROOT wrote; None if nothing is."""
    if NO_SPACE.search(log):
        return FailureKind.SPACE, "no space left on device"
    return (FailureKind.DISK, found[0]) if (found := _FAILS.search(log)) else None
