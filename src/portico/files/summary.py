"""Content of a ROOT file: trees, entries, clusters, columns. Read with uproot, without ROOT."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portico.errors import InputError, MissingExtra, near_path, nearest
from portico.files.remote import is_remote, tune_xrootd
from portico.files.version import Version, look_at

__all__ = ["Column", "Friend", "TreeSummary", "column_changes", "is_tree", "opened", "summarise", "trees"]

_SECONDS = 120  # for each request; XRootD's own limits are shorter
_TREES = {"TTree": "TTree", "ROOT::RNTuple": "RNTuple", "TNtuple": "TTree", "TNtupleD": "TTree"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column (branch or field) of a tree.

    Parameters
    ----------
    name : str
        Its name.
    type : str
        Its C++ type as written in the file.
    size : int
        Compressed bytes, 0 if unknown: planning needs names and types, which the files of a sample share.
    """

    name: str
    type: str
    size: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Friend:
    """A friend that is named in a tree.

    Parameters
    ----------
    name : str
        The name by which the tree calls it.
    tree : str
        Name of the friend's tree.
    file : str
        Its file as the tree names it, empty for the file of the tree itself; once it was looked for, its path or URL.
    found : TreeSummary, optional
        What its file holds, once that was looked for; still none for a tree whose friend this one is.
    """

    name: str
    tree: str
    file: str
    found: TreeSummary | None = None


@dataclass(frozen=True, slots=True)
class TreeSummary:
    """The properties of one tree in one file that planning needs.

    Parameters
    ----------
    file : str
        Path or URL.
    uuid : str
        The identity that ROOT gave the file when it was written.
    tree : str
        Name of the tree; empty for a file without any key.
    format : {"TTree", "RNTuple", "none"}
        How it is stored.
    entries : int
        Number of entries.
    ends : tuple of int
        Last entry + 1 of each cluster, ascending; empty if unknown.
    size : int
        Compressed bytes of the columns.
    columns : tuple of Column
        Its columns.
    version : str
        Size and time of the last modification of the file, as its file system or server tells them; empty if unknown.
    indexed : bool
        Whether the tree has an index, by which it is joined to trees with other entries.
    friends : tuple of Friend
        The friends that are stored with it.
    """

    file: str
    uuid: str
    tree: str
    format: str
    entries: int
    ends: tuple[int, ...]
    size: int
    columns: tuple[Column, ...]
    version: str = ""
    indexed: bool = False
    friends: tuple[Friend, ...] = ()


def trees(file: str) -> list[TreeSummary]:
    """Summarise every tree in a file.

    Raises
    ------
    InputError
        If the file is missing, not a ROOT file, truncated or damaged.
    """
    version = look_at(file)
    with opened(file) as directory:
        classes = directory.classnames(recursive=True, cycle=False)
        names = [name for name, class_name in classes.items() if class_name in _TREES]
        return [_summary(file, directory, name, _TREES[classes[name]], version) for name in names]


def summarise(file: str, tree: str, version: Version | None = None) -> TreeSummary:
    """Summarise one tree of a file.

    A file that is whole but holds no key at all counts as zero entries: jobs without events write such.

    Parameters
    ----------
    file, tree : str
        Path or URL, and the name of the tree.
    version : Version, optional
        That of the file, if it was looked at already.

    Raises
    ------
    InputError
        If the file is missing, not a ROOT file, truncated or damaged, or holds other things but not the tree.
    """
    version = version or look_at(file)  # before it is opened: what changes later has another version
    with opened(file) as directory:
        classes = directory.classnames(recursive=True, cycle=False)
        if not classes:
            if directory.file.fSeekInfo == 0:
                raise InputError(
                    f"{file}: was never closed by the process that wrote it, so it lists no contents; write it again, "
                    'or recover it: open it in ROOT with TFile::Open(path, "UPDATE") and close it'
                )
            return TreeSummary(file, str(directory.file.uuid), "", "none", 0, (), 0, (), _text(version))
        kind = _TREES.get(classes.get(tree, ""))
        if kind is None:
            found = [name for name, class_name in classes.items() if class_name in _TREES]
            what = f"'{tree}' is a {classes[tree]}, not a tree" if tree in classes else f"no tree '{tree}'"
            if classes.get(tree) == "TChain":
                raise InputError(f"{file}: {what}, and holds no events itself; give the files of the chain")
            raise InputError(f"{file}: {what}; {nearest(tree, found)}")
        return _summary(file, directory, tree, kind, version)


def column_changes(reference: TreeSummary, other: TreeSummary) -> list[str]:
    """Return a line for each column that is missing in ``other`` or has another type than in ``reference``."""
    types = {column.name: column.type for column in other.columns}
    lines = []
    for column in reference.columns:
        if column.name not in types:
            lines.append(f"column '{column.name}' is missing")
        elif types[column.name] != column.type:
            lines.append(f"column '{column.name}' is {types[column.name]} instead of {column.type}")
    return lines


def is_tree(kind: str) -> bool:
    """Return whether a class is that of a tree."""
    return kind in _TREES


def opened(file: str, **options: Any) -> Any:
    """Open a file with uproot, for a ``with`` statement.

    Parameters
    ----------
    file : str
        Path or URL.
    **options
        Of ``uproot.open``.

    Raises
    ------
    InputError
        If the file is missing, not a ROOT file, truncated or damaged.
    """
    import uproot

    if re.match("x?roots?://", file):
        tune_xrootd()
        if importlib.util.find_spec("XRootD") is None:
            raise MissingExtra("xrootd", "reading root:// URLs")
        # Not through fsspec, which keeps files open for half a minute after the end, and with them what they were.
        options |= {"handler": uproot.XRootDSource, "timeout": _SECONDS}
    elif not is_remote(file):
        path = Path(file)
        if not path.exists():
            raise InputError(f"{file}: no such file{near_path(file)}")
        if path.is_dir():
            raise InputError(f"{file}: is a folder, not a file")
        if path.stat().st_size == 0:
            raise InputError(f"{file}: is empty (0 bytes); copy or recreate it")
        with path.open("rb") as stream:
            if stream.read(4) != b"root":
                raise InputError(f"{file}: not a ROOT file")
    try:
        directory = uproot.open({file: None}, **options)  # a mapping: the name is a name, also with a colon in it
        stored, actual = directory.file.fEND, directory.file.source.num_bytes
    except Exception as error:  # uproot lets many kinds through for damaged files
        words = _one_line(error)
        why = "" if is_remote(file) and isinstance(error, OSError) else ", it may be truncated or damaged"
        raise InputError(f"{file}: cannot be opened{why}: {words}") from error
    if actual is not None and actual < stored:
        directory.close()
        raise InputError(f"{file}: truncated: {actual} bytes instead of {stored}; copy it again")
    return directory


def _one_line(error: BaseException) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip()
    return f"{type(error).__name__}: {text[:200]}"


def _summary(file: str, directory: Any, name: str, kind: str, version: Version | None) -> TreeSummary:
    import uproot

    indexed = False
    friends: tuple[Friend, ...] = ()
    try:
        tree = directory[name]
        describe = _describe_ttree if kind == "TTree" else _describe_rntuple
        entries, ends, columns, size = describe(tree)
        if kind == "TTree":
            stored = tree.chunk.raw_data.tobytes()
            indexed = b"TTreeIndex" in stored  # the names of the classes of what is stored with the tree
            friends = _other_files(file, name) if b"TFriendElement" in stored or b".root" in stored else ()
    except InputError:
        raise
    except uproot.KeyInFileError as error:  # it is listed, but looked for in a folder, or as a cycle
        raise InputError(
            f"{file}: ROOT cannot find the tree '{name}', since its own name contains '/' or ';'; write it again under "
            "another name"
        ) from error
    except Exception as error:
        raise InputError(f"{file}: '{name}' cannot be read, the file may be damaged: {_one_line(error)}") from error
    return TreeSummary(
        file, str(directory.file.uuid), name, kind, entries, ends, size, columns, _text(version), indexed, friends
    )


def _text(version: Version | None) -> str:
    return "" if version is None else version.text


def _other_files(file: str, name: str) -> tuple[Friend, ...]:
    """Return the friends of a tree, and refuse branches in other files; uproot reads both only if it is asked to.

    Raises
    ------
    InputError
        If a branch lies in another file: it would be no part of the identity of this one.
    """
    with opened(file, minimal_ttree_metadata=False) as directory:
        tree = directory[name]
        for branch in tree.itervalues(recursive=True):
            if other := branch.member("fFileName", none_if_missing=True):
                raise InputError(
                    f"{file}: '{name}': the column '{branch.name}' lies in another file, {other}, and a change of that "
                    "would not be noticed; write the tree into one file, for example with Snapshot"
                )
        stored = tree.member("fFriends") or ()
        members = ([str(friend.member(name)) for name in ("fName", "fTreeName", "fTitle")] for friend in stored)
        return tuple(Friend(name, tree, path) for name, tree, path in members)


def _describe_ttree(tree: Any) -> tuple[int, tuple[int, ...], tuple[Column, ...], int]:
    columns = tuple(Column(b.name, _type_of(b), int(b.compressed_bytes)) for b in tree.branches)
    return int(tree.num_entries), _ttree_ends(tree), columns, int(tree.member("fZipBytes"))


def _type_of(branch: Any) -> str:
    """Return the type of a branch, also of one that uproot cannot read: a step reads it with ROOT, or not at all."""
    try:
        return str(branch.typename)
    except Exception:  # uproot fails in many ways, for example for an array of Float16_t with a range
        return str(branch.member("fClassName", none_if_missing=True) or branch.member("fTitle"))


def _ttree_ends(tree: Any) -> tuple[int, ...]:
    """Cluster ends as TTree::TClusterIterator finds them: recorded ranges, then fAutoFlush."""
    entries = int(tree.num_entries)
    ends: list[int] = []
    first = 0
    recorded = int(tree.members.get("fNClusterRange") or 0)
    last_of = [int(x) for x in tree.member("fClusterRangeEnd")[:recorded]] if recorded else []
    size_of = [int(x) for x in tree.member("fClusterSize")[:recorded]] if recorded else []
    flush = max(int(tree.members.get("fAutoFlush") or 0), 0)
    for last, size in [*zip(last_of, size_of, strict=True), (entries - 1, flush)]:
        stop = min(last + 1, entries)
        if size > 0:
            ends.extend(range(first + size, stop, size))
        if stop > first and (size > 0 or recorded):
            ends.append(stop)
        first = max(first, stop)
    return tuple(ends)


def _describe_rntuple(ntuple: Any) -> tuple[int, tuple[int, ...], tuple[Column, ...], int]:
    ends = [int(c.num_first_entry) + int(c.num_entries) for c in ntuple.cluster_summaries]
    sizes: dict[int, int] = {}
    for cluster in ntuple.page_link_list:
        for index, column in enumerate(cluster):
            sizes[index] = sizes.get(index, 0) + sum(int(page.locator.num_bytes) for page in column.pages)
    fields = ntuple.field_records  # of the header, and of later extensions of the schema
    top = _top_fields(fields)
    of_field = dict.fromkeys(range(len(fields)), 0)
    for index, record in enumerate(ntuple.column_records):
        of_field[top[int(record.field_id)]] += sizes.get(index, 0)
    columns = tuple(
        Column(field.field_name, field.type_name or "record", of_field[index])
        for index, field in enumerate(fields)
        if int(field.parent_field_id) == index
    )
    return int(ntuple.num_entries), tuple(ends), columns, sum(sizes.values())


def _top_fields(fields: Any) -> dict[int, int]:
    """Map each field to the top-level field that it belongs to (a top-level field is its own parent)."""
    top = {}
    for index in range(len(fields)):
        current = index
        while int(fields[current].parent_field_id) != current:
            current = int(fields[current].parent_field_id)
        top[index] = current
    return top
