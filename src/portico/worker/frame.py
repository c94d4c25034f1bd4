"""Running a step over one chunk: one frame, whose methods are checked, and one event loop for all products."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico import root
from portico.errors import InputError, StepError
from portico.results import root_objects
from portico.results.own_handle import OwnHandle, has_own_loop
from portico.results.partial import gather
from portico.results.product import Product, ProductKind
from portico.worker.arguments import (
    LOOP_WHILE_BUILT,
    by_position,
    follow_alias,
    refuse_filled,
    refuse_local_entry,
    require_model,
    require_numba,
    warn_of_range,
)  # fmt: skip
from portico.worker.handles import check_handles, explain_handles, line_of_loop, refuse_foreign
from portico.worker.missing_columns import MISSING, of_ntuple
from portico.worker.open_chunk import open_chunk, refuse_doubtful
from portico.worker.opened import expect
from portico.worker.per_sample import define_per_sample
from portico.worker.snapshot import aside, part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.analysis.chunks import Chunk
    from portico.analysis.dataset import Sample
    from portico.worker.cached import CachedChunk

__all__ = ["CHECKED", "Timing", "describe_file", "new_tree", "run_chunk"]

_TRANSFORMATIONS = ("Alias", "Cache", "Define", "DefinePerSample", "DefineSlot", "DefineSlotEntry", "Filter", "Range",
                    "Redefine", "RedefineSlot", "RedefineSlotEntry", "Vary")  # fmt: skip
_TAGGED = ("Count", "Take", "Report", "Graph")
_ANY = ("Aggregate", "Reduce", "Book")
_HISTOGRAMS = ("Histo1D", "Histo2D", "Histo3D", "HistoND", "HistoNSparseD", "Profile1D", "Profile2D")
_FILLED = (*_HISTOGRAMS, "Fill", *root_objects.OPERATIONS)
_OTHERS = ("AsNumpy", "Display", "Foreach", "ForeachSlot", "GraphAsymmErrors", "Snapshot")
CHECKED = (*_TRANSFORMATIONS, *MISSING, *_TAGGED, *_FILLED, *_ANY, *_OTHERS)
"""Methods whose calls are checked while a step builds its graph: all that take columns or expressions."""


@dataclass(slots=True)
class Timing:
    """Seconds of wall time by phase, and what else was counted, of one chunk.

    ``build`` includes ``jit``, the just-in-time compilation. Columns were found in the column cache, or filled into it.
    """

    open: float = 0.0
    build: float = 0.0
    jit: float = 0.0
    loop: float = 0.0
    serialise: float = 0.0
    bytes_read: int = 0
    loops: int = 0
    columns_found: int = 0
    columns_filled: int = 0


@dataclass(slots=True)
class _Graph:
    """The graph that a step builds over one chunk.

    It holds the Snapshots that it booked, the folder they go to, what is read, the process's own folder, another file
    that has columns that this lacks, whether this is an RNTuple, and the chunk in the column cache, besides the aliases
    of columns.
    """

    folder: Path
    chunk: Chunk
    sample: Sample
    scratch: Path
    reference: str = ""
    is_ntuple: bool = False
    cached: CachedChunk | None = None
    snapshots: list[tuple[str, str, Path]] = field(default_factory=list)
    aliases: set[str] = field(default_factory=set)
    has_copies: bool = False  # made by Cache, with an event loop each

    def tree(self, name: str, kind: str) -> tuple[str, str, Path]:
        """Return name, format and path of a tree that the loop will write."""
        self.snapshots.append((name, kind, part(self.folder)))
        return self.snapshots[-1]


_built: ContextVar[_Graph | None] = ContextVar("_built", default=None)
"""The graph that a step is building; none while ROOT works.

ROOT's classes, patched once for the process, are the only place where a step's calls can be seen, and no argument of
ours gets there: hence a variable. ROOT's own methods call each other, so it is none while one of them runs.
"""


def new_tree(name: str, kind: str) -> tuple[str, str, Path]:
    """Return name, format (``RNTuple`` or ``TTree``) and path of a tree that portico writes itself: its handle's tag.

    Where no step is being built, as in a notebook, the file lies in the working directory.
    """
    graph = _built.get()
    return graph.tree(name, kind) if graph is not None else (name, kind, Path(f"{name}.root"))


class _ColumnElsewhere(BaseException):
    """A step says what to do without a column that the chunk's file lacks, so the frame must know the column."""


class _CheckedMethod:
    """A method of RInterface that is checked while a step builds its graph; keeps template arguments in brackets."""

    def __init__(self, name: str, original: Any) -> None:
        self._name, self._original = name, original

    def __get__(self, instance: Any, owner: Any) -> Any:
        bound = self._original.__get__(instance, owner)
        return bound if _built.get() is None or instance is None else _CheckedCall(self._name, bound, instance)


class _CheckedCall:
    def __init__(self, name: str, method: Any, node: Any) -> None:
        self._name, self._method, self._node = name, method, node

    def __getitem__(self, types: Any) -> _CheckedCall:
        return _CheckedCall(self._name, self._method[types], self._node)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        given = [*arguments, *options.values()]
        refuse_local_entry(self._name, given)
        require_numba(self._name, given)
        warn_of_range(self._name)
        graph = _built.get()
        if graph is not None and graph.cached is not None:
            graph.cached.refuse(self._name)
        token = _built.set(None)
        try:
            return self._call(graph, by_position(self._name, arguments, options), options)
        finally:
            _built.reset(token)

    def _call(self, graph: _Graph | None, arguments: list[Any], options: dict[str, Any]) -> Any:
        of_column = self._name in MISSING and bool(arguments) and isinstance(arguments[0], str)
        if graph is not None and graph.is_ntuple and of_column:
            return of_ntuple(self._name, self._node, arguments, graph.chunk, graph.reference, graph.scratch)
        if graph is not None and arguments and (of_column or self._name == "Alias"):
            follow_alias(self._name, arguments[0], graph.aliases)
        if graph is not None and graph.reference and of_column and not self._node.HasColumn(arguments[0]):
            raise _ColumnElsewhere
        if graph is not None and self._name == "Snapshot":
            arguments, booked = aside(arguments, options, graph.folder)
            handle = self._method(*arguments, **options)
            graph.snapshots.append(booked)
            setattr(handle, root_objects.TAG, booked)
            return handle
        if graph is not None and self._name == "DefinePerSample":
            return define_per_sample(
                self._node, [*arguments, *options.values()], graph.chunk, graph.sample, graph.scratch
            )
        if self._name == "AsNumpy":
            return self._method(*arguments, **{**options, "lazy": True})
        if self._name in root_objects.OPERATIONS and (arguments or options):
            return root_objects.book(self._node, self._name, [*arguments, *options.values()])
        require_model(self._name, arguments, options)
        if self._name == "Fill":
            refuse_filled(arguments[0] if arguments else options.get("model"))
        if graph is not None and self._name == "Cache":
            graph.has_copies = True
        handle = self._method(*arguments, **options)
        if self._name in _TAGGED:
            setattr(handle, root_objects.TAG, self._name)
        elif self._name in _ANY:
            root_objects.refuse_unmergeable(self._name, handle)
        return handle


@cache
def check_methods() -> None:
    """Replace the methods of every class of RDataFrame nodes, now and when a class is made, once per process."""
    import ROOT
    from ROOT._pythonization import pythonization

    def replace(klass: Any) -> None:
        if "RDataFrame" in klass.__cpp_name__:
            return  # derives from RInterface<RLoopManager>
        for name in CHECKED:
            original = _unbound(klass, name) if name in dir(klass) else None
            if original is not None and not isinstance(original, _CheckedMethod):
                setattr(klass, name, _CheckedMethod(name, original))

    pythonization("RInterface<", ns="ROOT::RDF", is_prefix=True)(replace)
    for node in ("RLoopManager", "RJittedFilter", "RNodeBase"):  # may have been in use before, and then go unnoticed
        replace(ROOT.RDF.RInterface[f"ROOT::Detail::RDF::{node}"])


def _unbound(klass: Any, name: str) -> Any:
    """Return what ``klass`` or a base holds under ``name``, unbound."""
    for base in klass.__mro__:
        if name in vars(base):
            return vars(base)[name]
    raise AttributeError(name)


@contextmanager
def _building(graph: _Graph) -> Iterator[_Graph]:
    token = _built.set(graph)
    try:
        yield graph
    finally:
        _built.reset(token)


def run_chunk(
    function: Callable[..., Any],
    chunk: Chunk,
    sample: Sample,
    options: Mapping[str, Any],
    folder: Path,
    compiled: Callable[[], float] = lambda: 0.0,
    scratch: Path | None = None,
    friends: Sequence[str] = (),
    reference: str = "",
    cached: CachedChunk | None = None,
    in_blocks: bool = True,
) -> tuple[dict[str, Product], Timing]:
    """Run a step over one chunk, with one event loop for all its products.

    Parameters
    ----------
    function, chunk, sample, options
        The step, what it reads, and its arguments.
    folder : Path
        Where trees are written aside, on the file system on which they will stay.
    compiled : callable
        Returns the seconds that just-in-time compilation took since the chunk began.
    scratch : Path, optional
        Folder of the process, for links to files; ``folder`` by default.
    friends, reference, cached, in_blocks
        Other files that the chunk needs, as in `portico.worker.task.Task`; the chunk in the column cache, read instead;
        whether a selection may read a TTree without RDataFrame.

    Returns
    -------
    dict of str to Product, and Timing
        What the step returned, and how long each phase took.

    Raises
    ------
    InputError
        If the file is not the one that was planned, or damaged.
    StepError, ProductError
        If the step returns what cannot be used.
    NotInBlocks
        If a TTree cannot be read without RDataFrame.
    """
    check_methods()
    timing, clock, read_before, scratch = Timing(), _Clock(), _bytes_read(), scratch or folder
    frame = cached.frame() if cached else open_chunk(chunk, scratch, friends, in_blocks=in_blocks)
    timing.open, graph = clock.lap(), _Graph(folder, chunk, sample, scratch, "" if friends else reference)
    try:
        handles = _build(function, frame, options, graph)
    except _ColumnElsewhere:
        frame = open_chunk(chunk, scratch, reference=reference)
        handles = _build(function, frame, options, graph := _Graph(folder, chunk, sample, scratch))
    seen = None if all(map(has_own_loop, handles.values())) else frame.Count()  # takes two seconds to compile
    timing.build, jitted = clock.lap(), compiled()
    _run_loops(seen, frame, handles, graph)
    timing.jit, read_after = compiled(), _bytes_read()
    timing.build += timing.jit - jitted  # the last compilation happens when the loop is started
    timing.loop, handles = max(0.0, clock.lap() - (timing.jit - jitted)), dict(handles)
    collected, timing.serialise = gather(_collect(handles)), clock.lap()
    return collected, _counted(timing, frame, cached, read_after - read_before)


def _build(function: Callable[..., Any], frame: Any, options: Mapping[str, Any], graph: _Graph) -> Mapping[str, Any]:
    """Return what a step returns, after checking it."""
    expect(options.values(), graph.chunk.file)
    graph.is_ntuple = getattr(frame, "_portico_is_ntuple", False)
    graph.cached = getattr(frame, "_portico_cached", None)
    with _building(graph):
        try:
            handles: Mapping[str, Any] = function(frame, graph.sample, **options)
        except Exception as error:
            explain_handles(error, int(frame.GetNRuns()))
            raise
    try:
        check_handles(handles, graph.snapshots, int(frame.GetNRuns()))
    except StepError as error:
        if str(error) != LOOP_WHILE_BUILT:
            raise
        with _building(graph):
            line = line_of_loop(lambda: function(frame, graph.sample, **options), lambda: int(frame.GetNRuns()))
        raise StepError(f"{line}: {error}" if line else str(error)) from error
    return handles


def _counted(timing: Timing, frame: Any, cached: CachedChunk | None, bytes_read: int) -> Timing:
    timing.bytes_read, timing.loops = bytes_read, int(frame.GetNRuns()) or 1
    timing.columns_found, timing.columns_filled = (cached.found, cached.filled) if cached else (0, 0)
    return timing


def _run_loops(seen: Any, frame: Any, handles: Mapping[str, Any], graph: _Graph) -> None:
    root.hear_errors()
    chunk = graph.chunk
    if seen is not None and seen.GetValue() != chunk.entries:
        raise InputError(
            f"read {seen.GetValue()} entries instead of {chunk.entries}; the file is damaged, or ROOT cannot read a "
            "column that the step uses, such as one of a friend's friend"
        )
    for handle in handles.values():
        if isinstance(handle, OwnHandle):
            handle.GetValue()
    if not graph.has_copies:
        refuse_foreign(handles)
    refuse_doubtful(frame)


def _bytes_read() -> int:
    """Return what this process has read so far; RNTuple reads past the counter of TFile, so the kernel's is used."""
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        if line.startswith("rchar:"):
            return int(line.partition(":")[2])
    return 0


class _Clock:
    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        elapsed, self._last = now - self._last, now
        return elapsed


def _collect(handles: dict[str, Any]) -> Iterator[tuple[str, list[tuple[str, Product]]]]:
    """Collect all products, and empty the mapping: the writer of a tree touches its file once more when it goes."""
    for name in list(handles):
        handle = handles.pop(name)
        tag = root_objects.tag_of(handle)
        if isinstance(tag, tuple):
            tree, kind, path = tag
            handle.GetValue()
            del handle
            tree_file = Product(ProductKind.TREE, {"tree": tree, "format": kind}, {}, (describe_file(path),))
            yield name, [(name, tree_file)]
        else:
            yield name, root_objects.collect(name, handle)


def describe_file(path: Path) -> dict[str, Any]:
    """Return path, size, checksum (Adler-32) and identity of a file that was written, perhaps through a plain name."""
    import ROOT

    checksum = 1
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            checksum = zlib.adler32(block, checksum)
    file = ROOT.TFile.Open(str(path))
    identity = str(ROOT.portico.FileIdentity(file))
    file.Close()
    written = path.parent.readlink() / path.name if path.parent.is_symlink() else path
    return {"path": str(written), "size": path.stat().st_size, "adler32": f"{checksum:08x}", "uuid": identity}
