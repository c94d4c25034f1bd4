"""Content of a ROOT file besides trees: histograms, profiles, graphs and others. Read with uproot, without ROOT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from portico.files.buffered import unbinned
from portico.files.summary import is_tree, opened

__all__ = ["StoredObject", "objects"]

_READ = 500
_FOLDERS = ("TDirectory", "TDirectoryFile")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a file that is not a tree.

    Parameters
    ----------
    name, kind : str
        Its path in the file, and its class.
    bins : tuple of int
        Of each axis of a histogram or profile; empty of other classes.
    entries : float, optional
        Of a histogram or profile.
    """

    name: str
    kind: str
    bins: tuple[int, ...] = ()
    entries: float | None = None


def objects(file: str) -> list[StoredObject]:
    """Return what a file holds besides trees and folders; bins and entries of the first 500.

    Raises
    ------
    InputError
        If the file is missing, not a ROOT file, truncated or damaged.
    """
    with opened(file) as directory:
        classes = directory.classnames(recursive=True, cycle=False)
        names = [name for name, kind in classes.items() if kind not in _FOLDERS and not is_tree(kind)]
        return [_describe(directory, name, classes[name], read=n < _READ) for n, name in enumerate(names)]


def _describe(directory: Any, name: str, kind: str, *, read: bool) -> StoredObject:
    if not read or not kind.startswith(("TH1", "TH2", "TH3", "TProfile")):
        return StoredObject(name, kind)
    try:
        stored = directory[name]
        bins = tuple(int(axis.member("fNbins")) for axis in stored.axes)
        return StoredObject(name, kind, bins, float(unbinned(stored) or stored.member("fEntries")))
    except Exception:  # uproot lets many kinds through for damaged objects; that it is there can still be told
        return StoredObject(name, kind)
