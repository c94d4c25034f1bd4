"""Opening a chunk: an RDataFrame over an entry range of one tree in one file, or over generated entries."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.errors import InputError
from portico.files import is_remote

if TYPE_CHECKING:
    from portico.analysis.chunks import Chunk

__all__ = ["open_chunk"]

_SPECIAL = re.compile(r"[*?\[\]\\#:;,|%&=\s]")  # of patterns, and of the parts of a URL


def open_chunk(chunk: Chunk, scratch: Path) -> Any:
    """Return an RDataFrame over the entries of a chunk.

    Parameters
    ----------
    chunk : Chunk
        The entries; of a generated sample the frame has a column ``entry``.
    scratch : Path
        Folder of this process, for links to files whose names ROOT would take for patterns.

    Raises
    ------
    InputError
        If the file cannot be opened, or is not the one that was planned.
    """
    import ROOT

    if not chunk.file:
        frame = ROOT.RDataFrame(chunk.entries)
        return frame.Define("entry", ROOT.portico.GlobalEntry(chunk.first), ["rdfentry_"])
    # A URL of this machine is else taken for a path: a server's files lie elsewhere, and a cache keeps parts of them.
    ROOT.gEnv.SetValue("TFile.ForceRemote", 1)
    path = _plain_name(chunk.file, scratch)
    try:
        file = ROOT.TFile.Open(path)
    except OSError as error:
        raise InputError(f"cannot be opened: {error}") from error
    if not file or file.IsZombie() or file.TestBit(ROOT.TFile.kRecovered):
        raise InputError("cannot be opened, it may be truncated or damaged")
    found = str(ROOT.portico.FileIdentity(file))
    if chunk.uuid and found != chunk.uuid:
        file.Close()
        raise InputError(
            f"was replaced after the run was planned (identity {found} instead of {chunk.uuid}); run again"
        )
    tree = file.Get(chunk.tree)
    if isinstance(tree, ROOT.TTree) and tree.GetName() != chunk.tree.rpartition("/")[2]:
        return _renamed_tree(file, tree, chunk)
    file.Close()
    specification = ROOT.RDF.Experimental.RDatasetSpec()
    specification.AddSample(("chunk", chunk.tree, path))
    specification.WithGlobalRange((chunk.first, chunk.last))
    return ROOT.RDataFrame(specification)


def _plain_name(file: str, scratch: Path) -> str:
    """Return a name of the file that ROOT takes literally: a link to it if its own could be a pattern or a URL."""
    if is_remote(file) or not _SPECIAL.search(file):
        return file
    link = scratch / f"input-{hashlib.sha256(file.encode()).hexdigest()[:16]}.root"
    if not link.is_symlink():
        link.symlink_to(file)
    return str(link)


def _renamed_tree(file: Any, tree: Any, chunk: Chunk) -> Any:
    """Return a frame over a tree whose key has another name: RDatasetSpec looks for the name that the tree has."""
    import ROOT

    entries = ROOT.TEntryList(tree)
    entries.EnterRange(chunk.first, chunk.last)
    tree.SetEntryList(entries)
    frame = ROOT.RDataFrame(tree)
    frame._portico_input = file, tree, entries  # they live as long as the frame
    return frame
