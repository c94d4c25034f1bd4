"""Chunks whose columns come from the column cache: reading them, and filling the cache.

Which columns a step reads is known when its event loop is about to start. Those that are not kept yet are read then, in
one pass over the chunk that does nothing else, and kept; the loop itself reads memory. What this cannot do is done by
the frame over the file.
"""

from __future__ import annotations

import ctypes
import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from portico import root
from portico._version import __version__
from portico.columns import ChunkColumns, MappedColumn, column_cache
from portico.cpp import exception_words
from portico.errors import InputError, PorticoWarning, ProductError, StepError
from portico.files import is_remote, version_of
from portico.files.plain_name import plain_name
from portico.worker.missing_columns import MISSING
from portico.worker.open_chunk import NotInBlocks, open_file

if TYPE_CHECKING:
    from portico.worker.task import Task

__all__ = ["CachedChunk", "CachedChunks", "NotCached"]

_logger = logging.getLogger(__name__)  # whose warnings go to standard error, the log of the process
T = TypeVar("T")


class NotCached(BaseException):
    """A step needs more than columns, which the frame over the file has. No error that a step might catch."""


class CachedChunk:
    """A chunk to be read from the column cache.

    Parameters
    ----------
    columns : ChunkColumns
        What is kept of it.
    task : Task
        The chunk, and the version that its file had when it was planned.
    scratch : Path
        Folder of this process, for links to files whose names ROOT would take for patterns.
    """

    def __init__(self, columns: ChunkColumns, task: Task, scratch: Path) -> None:
        self._columns, self._chunk, self._version = columns, task.chunk, task.version
        self._path, self._scratch = plain_name(task.chunk.file, scratch), scratch
        self._mapped: list[MappedColumn] = []
        self._call = ctypes.CFUNCTYPE(ctypes.c_int)(self._provide)
        self._source: Any = None
        self._has_counted_arrays = False
        self.error: Exception | None = None
        self.found, self.filled = 0, 0

    def frame(self) -> Any:
        """Return an RDataFrame over the chunk, which behaves as that over the file.

        Raises
        ------
        NotCached
            If the tree is not one that can be read from the cache.
        OSError
            If nothing can be written.
        """
        import ROOT

        try:
            schema = self._schema()
        except OSError as error:  # as in `_provide`: it is not one of the step
            self.error = error
            raise
        self._has_counted_arrays = bool(schema.counted)
        address = ctypes.cast(self._call, ctypes.c_void_p).value
        sample = f"{self._path}/{self._chunk.tree}"
        self._source = ROOT.portico.NewColumnSource(schema, sample, self._chunk.first, self._chunk.last, address)
        frame = ROOT.RDataFrame(ROOT.std.unique_ptr["ROOT::RDF::RDataSource"](self._source))
        frame._portico_cached = self  # lives as long
        frame._portico_entries = self._source, self._chunk.first, self._chunk.last
        return frame

    def close(self) -> None:
        """Unmap the columns; the frame cannot be used any more."""
        self._mapped.clear()

    def refuse(self, name: str) -> None:
        """Refuse a call of the step that the frame over the file may answer differently.

        Raises
        ------
        NotCached
            If so.
        """
        if name in MISSING:
            raise NotCached(f"{name} depends on the file")
        if name == "Snapshot" and self._has_counted_arrays:
            raise NotCached("Snapshot of a tree with arrays also writes their lengths")

    def _schema(self) -> Any:
        import ROOT

        portico = root.use("columns.h")
        kept = self._columns.schema()
        if kept is not None:
            return portico.ColumnSchema(kept.decode("utf-8", "surrogateescape"))
        with ExitStack() as stack:
            tree = self._opened(stack)
            portico = root.use("columns_fill.h")
            if isinstance(tree, ROOT.TTree):
                schema = portico.SchemaOfTree(tree, self._chunk.tree, self._path)
            else:
                schema = portico.SchemaOfNtuple(self._chunk.tree, self._path)
        self._columns.keep_schema(str(schema.Text()).encode("utf-8", "surrogateescape"), self._chunk.file)
        return schema

    def _opened(self, stack: ExitStack) -> Any:
        """Return the tree of the file that was planned, which is open until the stack closes it."""
        import ROOT

        file = open_file(self._chunk, self._path)
        stack.callback(file.Close)
        tree = file.Get(self._chunk.tree)
        if isinstance(tree, ROOT.TTree):
            if tree.GetListOfFriends() or tree.GetName() != self._chunk.tree.rpartition("/")[2]:
                raise NotCached("the tree has friends, or another name than its key")
            if str(ROOT.portico.Doubts(tree)):
                raise NotCached("the tree has columns that ROOT cannot read to their end")
        elif not isinstance(tree, ROOT.RNTuple):
            raise NotCached("there is no such tree")
        self._check_version()
        return tree

    def _check_version(self) -> None:
        if not is_remote(self._chunk.file) and version_of(self._chunk.file) != self._version:
            raise InputError("the file was written to after the run was planned")

    def _provide(self) -> int:
        """Have the columns in memory that the event loop asks for; it is called by the data source."""
        try:
            self._give_all()
        except Exception as error:
            self.error = error
            return 1
        return 0

    def _give_all(self) -> None:
        missing = []
        for index in range(self._source.Wanted()):
            name, kind = str(self._source.WantedName(index)), self._source.WantedKind(index)
            kept = self._columns.open(name, str(kind.element), kind.form != kind.kScalar)
            if kept is None:
                missing.append(index)
            else:
                self._give(name, kept)
        self.found += self._source.Wanted() - len(missing)
        if missing:
            self._fill(missing)

    def _give(self, name: str, column: MappedColumn) -> None:
        self._mapped.append(column)
        self._source.Give(name, column.values, column.offsets)

    def _fill(self, wanted: Sequence[int]) -> None:
        """Read columns from the file, and keep them."""
        import ROOT

        portico, source, chunk = root.use("columns_fill.h"), self._source, self._chunk
        with ExitStack() as stack:
            tree = self._opened(stack)
            sinks, writers, types = portico.ColumnSinks(), [], ROOT.std.vector["std::string"]()
            for index in wanted:
                name, kind = source.WantedName(index), source.WantedKind(index)
                writer = self._columns.begin(str(name), str(kind.element), kind.form != kind.kScalar)
                stack.callback(writer.close)
                writers.append(writer)
                types.push_back(source.WantedType(index))
                portico.AddSink(sinks, name, kind, writer.fileno())
            if isinstance(tree, ROOT.TTree):
                portico.FillFromTree(tree, sinks, chunk.first, chunk.last)
            else:
                portico.FillFromNtuple(chunk.tree, self._path, types, sinks, chunk.first, chunk.last)
            self._check_version()
            for index, writer, sink in zip(wanted, writers, sinks, strict=True):
                sink.Close(writer.alignment)
                self._give(str(source.WantedName(index)), writer.finish(int(sink.Elements())))
                self.filled += 1


class CachedChunks:
    """The chunks of one process: read from the cache where that is possible, otherwise from their files."""

    def __init__(self) -> None:
        self._left_out: set[tuple[str, str]] = set()  # bundle and step: those that need more than columns
        self._can_write = True

    def run(self, task: Task, bundle: str, scratch: Path, run: Callable[[Task, CachedChunk | None, bool], T]) -> T:
        """Run a chunk.

        Parameters
        ----------
        task : Task
            The chunk.
        bundle : str
            Digest of the code.
        scratch : Path
            Folder of this process.
        run : callable
            Runs it, with the columns or, if that fails, without, and says whether a selection may read a TTree without
            RDataFrame; each time on the state of a new process.
        """
        step = bundle, task.function
        cached = _opened(task, scratch) if self._can_write and step not in self._left_out else None
        if cached is None:
            return _from_file(task, run)
        try:
            with closing(cached):
                return run(task, cached, True)
        except (StepError, ProductError, root.StaleProcess):
            raise
        except (Exception, NotCached) as error:
            words = exception_words(cached.error or error)
            _logger.warning("portico: %s: read without the column cache: %s", task.chunk, words)
            if isinstance(error, NotCached) or cached.error is None:
                self._left_out.add(step)
            elif isinstance(cached.error, OSError) or type(cached.error).__name__ == "system_error":  # of C++
                self._can_write = False
                warnings.warn(f"columns are not kept any more: {words}", PorticoWarning, stacklevel=2)
        return _from_file(task, run)


def _from_file(task: Task, run: Callable[[Task, CachedChunk | None, bool], T]) -> T:
    """Run a chunk; RDataFrame reads what a selection cannot read without, and what killed a process."""
    if task.attempt == 1:
        try:
            return run(task, None, True)
        except NotInBlocks as reason:
            _logger.warning("portico: %s: read by RDataFrame: %s", task.chunk, reason)
    return run(task, None, False)


def _opened(task: Task, scratch: Path) -> CachedChunk | None:
    """Return a chunk in the cache; None if it is not to be read from there, as one that killed a process."""
    if not task.source or task.attempt > 1 or task.points is not None or task.friends or task.reference:
        return None
    cache = column_cache()
    if cache is None:
        return None
    import ROOT

    chunk, maker = task.chunk, f"{__version__} {ROOT.__version__}"
    return CachedChunk(cache.chunk(f"{maker}\0{task.source}", chunk.tree, chunk.first, chunk.last), task, scratch)
