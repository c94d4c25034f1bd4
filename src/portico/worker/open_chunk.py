"""Opening a chunk: an RDataFrame over an entry range of one tree in one file, or over generated entries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico import root
from portico.errors import InputError
from portico.files.plain_name import plain_name

if TYPE_CHECKING:
    from portico.analysis.chunks import Chunk

__all__ = ["NotInBlocks", "count_entries", "open_chunk", "open_file", "refuse_doubtful"]


_AGAIN = "write the file again"
_THROWN = re.compile(r"(?!TypeError|ValueError)\w+: ")  # not: no constructor takes such arguments


class NotInBlocks(BaseException):
    """Columns of a TTree are not to be read basket by basket, but by RDataFrame. No error that a step might catch."""


def open_chunk(
    chunk: Chunk, scratch: Path, friends: Sequence[str] = (), reference: str = "", in_blocks: bool = True
) -> Any:
    """Return an RDataFrame over the entries of a chunk; after its loop, `refuse_doubtful` checks what was read.

    Where the frame has the entries of a tree, and no more, ``_portico_entries`` has what a loop without RDataFrame
    reads: of an RNTuple its file and name, of a TTree the open tree, of a chunk in the column cache the data source;
    and the entry range. ``_portico_is_ntuple`` is whether it is an RNTuple.

    Parameters
    ----------
    chunk : Chunk
        The entries; of a generated sample the frame has a column ``entry``.
    scratch : Path
        Folder of this process, for links to files whose names ROOT would take for patterns.
    friends : sequence of str
        The files of the friends that are stored with the tree, in their order.
    reference : str
        A file from which columns are known that the chunk's own lacks; not for trees with friends.
    in_blocks : bool
        Whether a loop without RDataFrame may read a TTree.

    Raises
    ------
    InputError
        If the file cannot be opened, or is not the one that was planned.
    """
    import ROOT

    if not chunk.file:
        frame = ROOT.RDataFrame(chunk.entries)
        return frame.Define("entry", ROOT.portico.GlobalEntry(chunk.first), ["rdfentry_"])
    path = plain_name(chunk.file, scratch)
    file = open_file(chunk, path)
    tree = _tree_of(file, chunk.tree)
    doubts = str(ROOT.portico.Doubts(tree)).split("\n")[:-1] if isinstance(tree, ROOT.TTree) else []
    # ROOT drops the query of a URL from the name of the file, and does not find it in the specification then.
    names = (chunk.tree.rpartition("/")[2], path)
    odd = "=" in chunk.tree  # which the specification takes for a value of a query
    if doubts and reference:
        raise InputError(f"{doubts[0]}; {_AGAIN}")
    if isinstance(tree, ROOT.TTree) and (friends or doubts or odd or (tree.GetName(), file.GetName()) != names):
        return _of_tree(file, tree, chunk, [plain_name(friend, scratch) for friend in friends])
    specification = ROOT.RDF.Experimental.RDatasetSpec()
    before = 0
    if reference:
        before = count_entries(reference, chunk.tree, scratch)
        specification.AddSample(("reference", chunk.tree, plain_name(reference, scratch)))
    specification.AddSample(("chunk", chunk.tree, path))
    specification.WithGlobalRange((before + chunk.first, before + chunk.last))
    frame = _frame_over(specification)
    frame._portico_is_ntuple = isinstance(tree, ROOT.RNTuple) and not reference
    if frame._portico_is_ntuple:
        frame._portico_entries = path, chunk.tree, chunk.first, chunk.last
    elif in_blocks and isinstance(tree, ROOT.TTree) and not (reference or tree.GetListOfFriends()):
        frame._portico_entries = tree, chunk.first, chunk.last
        frame._portico_input = file, tree  # they live as long as the frame
        return frame
    file.Close()
    return frame


def _frame_over(source: Any) -> Any:
    """Return the RDataFrame over a tree or a specification.

    Raises
    ------
    InputError
        If ROOT throws while it looks at the columns, as for an RNTuple with a ``std::bitset``.
    """
    import ROOT

    try:
        return ROOT.RDataFrame(source)
    except Exception as error:  # with what each constructor says
        said = [line for line in map(str.strip, str(error).splitlines()) if _THROWN.match(line)]
        if not said:
            raise
        odd = "; a type that it does not know, such as std::bitset, may be the reason: leave such columns out"
        hint = odd if said[0].startswith("out_of_range") else ""
        raise InputError(f"ROOT makes no RDataFrame of this file: {said[0]}{hint}") from error


def _tree_of(file: Any, name: str) -> Any:
    """Return a TTree or RNTuple of an open file.

    Raises
    ------
    InputError
        If ROOT does not find it, as it finds none without a name.
    """
    import ROOT

    tree = file.Get(name)
    if tree == ROOT.nullptr:  # "not tree" would open its friends
        raise InputError(f"ROOT finds no '{name}' under that name, which it may not allow; rename the tree")
    return tree


def open_file(chunk: Chunk, path: str) -> Any:
    """Return the open file of a chunk; ``path`` is its name for ROOT.

    Raises
    ------
    InputError
        If it cannot be opened, or is not the one that was planned.
    """
    import ROOT

    # A URL of this machine is else taken for a path: a server's files lie elsewhere, and a cache keeps parts of them.
    ROOT.gEnv.SetValue("TFile.ForceRemote", 1)
    root.hear_errors()
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
    return file


def count_entries(file: str, tree: str, scratch: Path) -> int:
    """Return the number of entries of a TTree or RNTuple.

    Raises
    ------
    InputError
        If it cannot be opened.
    """
    import ROOT

    path = plain_name(file, scratch)
    opened = ROOT.TFile.Open(path)
    found = opened.Get(tree) if opened else None
    if not found:
        raise InputError(f"{file}: the tree '{tree}' cannot be opened")
    if isinstance(found, ROOT.TTree):
        entries = int(found.GetEntries())
    else:
        entries = int(ROOT.RNTupleReader.Open(tree, path).GetNEntries())
    opened.Close()
    return entries


def _of_tree(file: Any, tree: Any, chunk: Chunk, friends: Sequence[str]) -> Any:
    """Return a frame over a tree whose key or file has another name, or whose friends lie elsewhere than it says.

    RDatasetSpec looks for the name that the tree has, and opens friends by the names that are stored.
    """
    import ROOT

    for friend, place in zip(tree.GetListOfFriends() or (), friends, strict=True):
        if friend.GetTitle():
            friend.SetTitle(place)
    entries = ROOT.TEntryList(tree)
    entries.EnterRange(chunk.first, chunk.last)
    tree.SetEntryList(entries)
    frame = _frame_over(tree)
    frame._portico_input = file, tree, entries  # they live as long as the frame
    return frame


def refuse_doubtful(frame: Any) -> None:
    """Refuse a chunk whose event loop has read what ROOT reads wrongly without an error.

    Raises
    ------
    InputError
        If a column was read beyond its end, or has a layout that ROOT cannot read.
    """
    import ROOT

    _, tree, *_ = getattr(frame, "_portico_input", (None, None))
    if tree and (found := str(ROOT.portico.DoubtsRead(tree)).split("\n")[0]):
        raise InputError(f"{found}; {_AGAIN}")
