"""Snapshots of a step, each in a file of the chunk's own, with the user's options."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

from portico.errors import StepError

__all__ = ["CLUSTER_BYTES", "aside", "part"]

CLUSTER_BYTES = 8 * 2**20
"""Of an RNTuple, compressed; the default of 128 MiB would make files that cannot be cut."""
_KEYWORDS = {"treename": 0, "filename": 1, "columnList": 2, "columnNameRegexp": 2, "options": 3}
_OF_TREES = ("fIncludeVariations", "fAutoFlush", "fSplitLevel", "fBasketSize")  # RNTuple would ignore them


def part(folder: Path) -> Path:
    """Return the path of a new file in a folder, which is not complete until it is renamed."""
    return folder / f".{uuid.uuid4().hex}.part"


def aside(arguments: list[Any], options: dict[str, Any], folder: Path) -> tuple[list[Any], tuple[str, str, Path]]:
    """Return the arguments of a lazy Snapshot to a file of its own, and its tree, format and path.

    Parameters
    ----------
    arguments, options : list, dict
        What the step gave; keyword arguments are taken out of ``options``.
    folder : Path
        Where the file is written.

    Raises
    ------
    StepError
        If the arguments are wrong, or ask for what the format does not have.
    """
    import ROOT

    for key, position in _KEYWORDS.items():
        if key in options:
            arguments = arguments + [""] * (position - len(arguments)) + [options.pop(key)]
    if len(arguments) < 2 or not all(isinstance(a, str) for a in arguments[:2]):
        raise StepError("Snapshot needs a tree name and a file name")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.+-]*", arguments[0]):  # it is part of the name of the file
        raise StepError(f"Snapshot: {arguments[0]!r} cannot name a tree; use letters, digits, _ . + -")
    settings = ROOT.RDF.RSnapshotOptions(arguments[3]) if len(arguments) > 3 else ROOT.RDF.RSnapshotOptions()
    formats, default = ROOT.RDF.ESnapshotOutputFormat, ROOT.RDF.RSnapshotOptions()
    if settings.fOutputFormat == formats.kRNTuple and settings.fIncludeVariations:
        raise StepError(
            "Snapshot with fIncludeVariations: ROOT writes variations to a TTree only; leave out fOutputFormat, or set "
            "it to ROOT.RDF.ESnapshotOutputFormat.kTTree"
        )
    if settings.fOutputFormat == formats.kDefault:
        is_tree = any(getattr(settings, name) != getattr(default, name) for name in _OF_TREES)
        settings.fOutputFormat = formats.kTTree if is_tree else formats.kRNTuple
        if settings.fApproxZippedClusterSize == default.fApproxZippedClusterSize:
            settings.fApproxZippedClusterSize = CLUSTER_BYTES
    settings.fLazy, settings.fMode = True, "RECREATE"
    kind = "RNTuple" if settings.fOutputFormat == formats.kRNTuple else "TTree"
    path = part(folder)
    columns = arguments[2] if len(arguments) > 2 else ""
    return [arguments[0], str(path), columns, settings], (arguments[0], kind, path)
