"""Files that steps wrote: where they lie now, and the checks before they are read again.

A file is verified by its Adler-32, which the ledger keeps. The checksum is computed again only if size, time of the
last modification or inode are others than when it was written or last verified.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from portico.errors import InputError
from portico.files import is_remote
from portico.files.storage import storage_of

__all__ = ["OLDER", "Kept", "aside_of", "checked_path", "checked_paths", "find", "stamps"]

OLDER = "older.results"
"""Folder, in the run folder and in its store, of files whose results are not current. No step can have this name."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that a step wrote, as it was found.

    Parameters
    ----------
    path : str
        Where it lies now.
    stamp : str, optional
        Its size, time of the last modification, and inode; None if it is gone.
    fault : str
        What is wrong with it; empty if nothing is.
    computed : str
        Its Adler-32, if it had to be computed.
    """

    path: str
    stamp: str | None
    fault: str = ""
    computed: str = ""


def aside_of(path: str) -> str:
    """Return where a tree ``BASE/STEP/SAMPLE/NAME`` lies while its result is not current."""
    base, step, sample, name = path.rsplit("/", 3)
    return f"{base}/{OLDER}/{step}/{sample}/{name}"


def stamps(paths: Iterable[str]) -> dict[str, str | None]:
    """Return the stamp of each file, None for those that are not there; one call for each folder of a server.

    A stamp is ``SIZE:MODIFIED:INODE``; servers have no inode.

    Raises
    ------
    InputError
        If a server does not answer.
    """
    folders: dict[str, list[str]] = defaultdict(list)
    found: dict[str, str | None] = {}
    for path in paths:
        folders[path.rpartition("/")[0]].append(path)
    for folder, wanted in folders.items():
        storage = storage_of(folder)
        if is_remote(folder) and len(wanted) > 1:
            there = storage.listed(folder)
            found |= {path: there.get(path) for path in wanted}
        else:
            found |= {path: storage.stamp(path) for path in wanted}
    return found


def find(
    items: Sequence[Mapping[str, Any]], known: Mapping[str, tuple[str, str]] | None = None, *, thoroughly: bool = False
) -> list[Kept]:
    """Find files and verify them.

    Parameters
    ----------
    items : sequence of mapping
        ``path`` of each, as the ledger has it, with ``size``, ``adler32`` and ``stamp``, if these are known, and
        ``aside``, if it may lie elsewhere than `aside_of`.
    known : mapping of str to (str, str), optional
        Stamp and Adler-32 of files whose checksum was computed since they were written, by path.
    thoroughly : bool
        Compute all checksums, whatever the stamps say.

    Raises
    ------
    InputError
        If a server does not answer, or a file cannot be read.
    """
    places = [str(item["path"]) for item in items]
    there = stamps(places)
    asides = {
        path: str(item.get("aside") or aside_of(path))
        for path, item in zip(places, items, strict=True)
        if there[path] is None and "size" in item
    }
    if asides:
        elsewhere = stamps(asides.values())
        places = [asides[path] if path in asides and elsewhere[asides[path]] else path for path in places]
        there |= elsewhere
    trusted = None if thoroughly else known or {}
    return [_verified(item, path, there[path], trusted) for item, path in zip(items, places, strict=True)]


def _verified(
    item: Mapping[str, Any], path: str, stamp: str | None, known: Mapping[str, tuple[str, str]] | None
) -> Kept:
    if stamp is None:
        return Kept(path, None, "no such file any more; run the step again to make it")
    if "size" in item and int(stamp.partition(":")[0]) != item["size"]:
        return Kept(path, stamp, "was changed since the step wrote it; remove it, and run the step again")
    if "adler32" not in item:
        return Kept(path, stamp)
    if known is None:
        computed = storage_of(path).checksum(path)
    elif stamp == item.get("stamp") or known.get(item["path"]) == (stamp, item["adler32"]):
        return Kept(path, stamp)
    else:
        computed = _checksum(path, stamp)
    if computed == item["adler32"]:
        return Kept(path, stamp, computed=computed)
    fault = "was changed since the step wrote it: its checksum differs; run the step again to make it"
    return Kept(path, stamp, fault, computed)


@lru_cache(maxsize=100_000)
def _checksum(path: str, _stamp: str) -> str:
    return storage_of(path).checksum(path)


def checked_paths(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return where files that a step wrote lie now, after verifying them.

    Raises
    ------
    InputError
        If one does not exist any more, or was changed.
    """
    found = find(items)
    for kept in found:
        if kept.fault:
            raise InputError(f"{kept.path}: {kept.fault}")
    return [kept.path for kept in found]


def checked_path(item: Mapping[str, Any]) -> str:
    """Return where a file that a step wrote lies now, after verifying it.

    Raises
    ------
    InputError
        If it does not exist any more, or was changed.
    """
    return checked_paths([item])[0]
