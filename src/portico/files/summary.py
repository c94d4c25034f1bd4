"""Content of a ROOT file: trees, entries, clusters, columns. Read with uproot, without ROOT."""

from __future__ import annotations

import importlib.util
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.errors import InputError, MissingExtra, nearest
from portico.files.remote import PATIENCE, is_remote, may_pass, no_connection, server_of, tune_xrootd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Column", "TreeSummary", "column_changes", "summarise", "summarise_all", "summarise_each", "trees",
           "version_of"]  # fmt: skip

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
        Compressed bytes, 0 if unknown.
    """

    name: str
    type: str
    size: int


@dataclass(frozen=True, slots=True)
class TreeSummary:
    """What planning needs to know about one tree in one file.

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
        Size and time of the last modification of the file, as its file system tells them; empty for a remote file.
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


def trees(file: str) -> list[TreeSummary]:
    """Summarise every tree in a file.

    Raises
    ------
    InputError
        If the file is missing, not a ROOT file, truncated or damaged.
    """
    with _open(file) as directory:
        classes = directory.classnames(recursive=True, cycle=False)
        names = [name for name, class_name in classes.items() if class_name in _TREES]
        return [_summary(file, directory, name, _TREES[classes[name]]) for name in names]


def summarise(file: str, tree: str) -> TreeSummary:
    """Summarise one tree of a file.

    A file that is whole but holds no key at all counts as zero entries: jobs without events write such.

    Raises
    ------
    InputError
        If the file is missing, not a ROOT file, truncated or damaged, or holds other things but not the tree.
    """
    with _open(file) as directory:
        classes = directory.classnames(recursive=True, cycle=False)
        if not classes:
            if directory.file.fSeekInfo == 0:
                raise InputError(
                    f"{file}: was never closed by the process that wrote it, so it lists no contents; write it again, "
                    'or recover it: open it in ROOT with TFile::Open(path, "UPDATE") and close it'
                )
            return TreeSummary(file, str(directory.file.uuid), "", "none", 0, (), 0, (), version_of(file))
        kind = _TREES.get(classes.get(tree, ""))
        if kind is None:
            found = [name for name, class_name in classes.items() if class_name in _TREES]
            what = f"'{tree}' is a {classes[tree]}, not a tree" if tree in classes else f"no tree '{tree}'"
            if classes.get(tree) == "TChain":
                raise InputError(f"{file}: {what}, and holds no events itself; give the files of the chain")
            raise InputError(f"{file}: {what}; {nearest(tree, found)}")
        return _summary(file, directory, tree, kind)


def summarise_all(
    files: Iterable[str], tree: str, threads: int = 8, *, replicas: Mapping[str, Sequence[str]] | None = None
) -> list[TreeSummary]:
    """Summarise one tree in many files, in the order given, several at a time.

    Parameters
    ----------
    files, tree, threads, replicas
        As in `summarise_each`.

    Raises
    ------
    InputError
        As `summarise`, for the first bad file; further bad files are listed.
    """
    results = summarise_each(files, tree, threads, replicas=replicas)
    errors = [result for result in results if isinstance(result, InputError)]
    if errors:
        more = "".join(f"\n{error}" for error in errors[1:10]) + ("\n..." if len(errors) > 10 else "")
        raise InputError(f"{errors[0]}{more}")
    return [result for result in results if isinstance(result, TreeSummary)]


def summarise_each(
    files: Iterable[str], tree: str, threads: int = 8, *, replicas: Mapping[str, Sequence[str]] | None = None
) -> list[TreeSummary | InputError]:
    """Summarise one tree in many files, in the order given, several at a time; errors are returned.

    Of a file with several replicas the first that answers is read, and named in the summary. Transient errors are
    retried after growing waits, for half a minute. A server that did not answer by then is not asked again for
    other files.

    Parameters
    ----------
    files : iterable of str
        Paths or URLs.
    tree : str
        Name of the tree.
    threads : int
        How many files are read at a time.
    replicas : mapping, optional
        Further replicas of a file, by its first.
    """
    others, reader = replicas or {}, _Reader()

    def attempt(file: str) -> TreeSummary | InputError:
        return reader.summarise((file, *others.get(file, ())), tree)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(attempt, files))


class _Reader:
    """Reads files from the first replica that answers, and remembers servers that do not."""

    def __init__(self) -> None:
        self._silent: dict[str, str] = {}  # the error of the attempt to connect, by server

    def summarise(self, replicas: Sequence[str], tree: str) -> TreeSummary | InputError:
        began, wait = time.monotonic(), 1.0
        while True:
            errors: list[InputError] = []
            for replica in replicas:
                try:
                    return self._summarise(replica, tree)
                except InputError as error:
                    errors.append(error)
            again = any(may_pass(str(error)) and server_of(replica) not in self._silent
                        for replica, error in zip(replicas, errors, strict=True))  # fmt: skip
            if not again or time.monotonic() - began + wait > PATIENCE:
                tried = "".join(f"\n  {error}" for error in errors)
                return errors[0] if len(errors) == 1 else InputError(
                    f"{replicas[0]}: none of its {len(replicas)} replicas can be read:{tried}"
                )  # fmt: skip
            time.sleep(wait)
            wait *= 2

    def _summarise(self, file: str, tree: str) -> TreeSummary:
        server = server_of(file)
        if server in self._silent:
            raise InputError(f"{file}: its server did not answer before: {self._silent[server]}")
        try:
            return summarise(file, tree)
        except InputError as error:
            if is_remote(file) and no_connection(str(error)):
                self._silent[server] = str(error).removeprefix(f"{file}: ")
            raise


def version_of(file: str) -> str:
    """Return size and time of the last modification of a local file; empty for a remote one, or if it is gone."""
    if is_remote(file):
        return ""
    try:
        status = Path(file).stat()
    except OSError:
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}"


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


def _open(file: str) -> Any:
    import uproot

    options: dict[str, Any] = {}
    if re.match("x?roots?://", file):
        tune_xrootd()
        if importlib.util.find_spec("XRootD") is None:
            raise MissingExtra("xrootd", "reading root:// URLs")
        # Not through fsspec, which keeps files open for half a minute after the end, and with them what they were.
        options = {"handler": uproot.XRootDSource, "timeout": _SECONDS}
    elif not is_remote(file):
        path = Path(file)
        if not path.exists():
            raise InputError(f"{file}: no such file")
        if path.is_dir():
            raise InputError(f"{file}: is a folder, not a file")
        if path.stat().st_size == 0:
            raise InputError(f"{file}: is empty (0 bytes); copy or make it again")
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


def _summary(file: str, directory: Any, name: str, kind: str) -> TreeSummary:
    try:
        tree = directory[name]
        describe = _describe_ttree if kind == "TTree" else _describe_rntuple
        entries, ends, columns, size = describe(tree)
    except Exception as error:
        raise InputError(f"{file}: '{name}' cannot be read, the file may be damaged: {_one_line(error)}") from error
    return TreeSummary(file, str(directory.file.uuid), name, kind, entries, ends, size, columns, version_of(file))


def _describe_ttree(tree: Any) -> tuple[int, tuple[int, ...], tuple[Column, ...], int]:
    columns = tuple(Column(b.name, b.typename, int(b.compressed_bytes)) for b in tree.branches)
    return int(tree.num_entries), _ttree_ends(tree), columns, int(tree.member("fZipBytes"))


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
