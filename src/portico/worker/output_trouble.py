"""Errors in writing a chunk's output, recognised in ROOT's messages: the disk is at fault, not input or step."""

from __future__ import annotations

import re

from portico.errors import RunFolderError
from portico.worker.task import FailureKind

__all__ = ["NO_SPACE", "OutputError", "output_trouble"]

NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded", re.IGNORECASE)
_FAILS = re.compile(r"(?:SysError|Error) in <TFile::\w+>: error (?:writing|flushing)[^\n]*")
_UNOPENED = re.compile(  # under the name that only what a chunk writes has, `portico.worker.snapshot.part`
    r"^[^\n]*/\.[0-9a-f]{32}\.part\b[^\n]*$", re.MULTILINE
)
_FOLDER = re.compile(r"([^\s'\"]*)/\.[0-9a-f]{32}\.part\b")
_WORDS = re.compile(
    r"can ?not (?:be )?(?:open|create|writ)|could not (?:be )?(?:open|create|writ)|(?:unable|failed) to (?:open|create)"
    r"|No such file|Permission denied|Read-only file system|Input/output error|Stale file handle|does not exist",
    re.IGNORECASE,
)


class OutputError(RunFolderError):
    """A disk, or the server that it is on, does not take what a chunk writes."""


def output_trouble(log: str) -> tuple[FailureKind, str] | None:
    """Return what is wrong where a chunk writes, kind and words, from what ROOT said; None if nothing is."""
    if NO_SPACE.search(log):
        places = [found[1] for line in log.splitlines() if NO_SPACE.search(line) and (found := _FOLDER.search(line))]
        return FailureKind.SPACE, f"no space left {f'in {places[0]}' if places else 'on device'}"
    if found := _FAILS.search(log):
        return FailureKind.DISK, found[0]
    unopened = next((line for line in _UNOPENED.findall(log) if _WORDS.search(line)), "")
    return (FailureKind.DISK, unopened.strip()) if unopened else None
