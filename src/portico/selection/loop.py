"""A selection as one loop over the entries of a tree, without RDataFrame; handles of what it fills."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from portico import root
from portico.cpp import exception_words
from portico.errors import StepError
from portico.results.own_handle import OwnHandle, Written
from portico.results.product import Product, ProductKind
from portico.results.root_objects import TAG, collect_parts
from portico.selection.resolved import element_type
from portico.worker.frame import new_tree
from portico.worker.open_chunk import NotInBlocks
from portico.worker.snapshot import CLUSTER_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.selection.kernel import Kernel

__all__ = ["Loop", "new_trees", "rows_of", "written"]

_logger = logging.getLogger(__name__)  # whose warnings go to standard error, the log of the process
Tree = tuple[str, str, Path]
"""Name, format and path of a tree, as `portico.worker.frame.new_tree` returns them."""
_TREES = {"rntuple": ("candidates", "RNTuple"), "ttree": ("candidates_ttree", "TTree")}


def new_trees(formats: tuple[str, ...]) -> dict[str, Tree]:
    """Return the trees of candidates that a selection writes, by name."""
    return {name: new_tree(name, kind) for name, kind in map(_TREES.__getitem__, formats)}


def rows_of(trees: Mapping[str, Tree]) -> Any:
    """Return the C++ writers of trees."""
    import ROOT

    rows = ROOT.portico.Trees()
    for name, kind, path in trees.values():
        rows.push_back(ROOT.std.make_shared["portico::Rows"](name, str(path), kind == "RNTuple", CLUSTER_BYTES))
    return rows


class Loop:
    """The loop of a compiled selection; `over` makes it.

    Parameters
    ----------
    loop : portico::SelectionLoop
        Not yet run.
    entries : (int, int)
        The first one, and the one after the last.
    cuts : tuple of str
        Labels of the cuts before the categories.
    trees : mapping of str to Tree
        What it writes.
    """

    def __init__(self, loop: Any, entries: tuple[int, int], cuts: tuple[str, ...], trees: Mapping[str, Tree]) -> None:
        self._loop, self._cuts, self._trees = loop, cuts, trees
        self._entries: tuple[int, int] | None = entries
        self._has_run = False

    @classmethod
    def over(
        cls, frame: Any, compiled: Any, empty: Any, kernel: Kernel, trees: Mapping[str, Tree]
    ) -> Self | None:
        """Return the loop over the entries of a frame; None where RDataFrame has to read them.

        That is so for a node other than the frame of a chunk, and for columns that are no fields or branches of numbers
        or of lists of numbers.
        """
        import ROOT

        entries = getattr(frame, "_portico_entries", None)
        if entries is None:
            return None
        *where, first, last = entries  # file and name of an RNTuple, a TTree, or a data source
        if isinstance(where[0], ROOT.ROOT.RDF.RDataSource):  # ROOT.RDF is looked up anew each time, for 0.3 ms
            blocks = root.use("blocks_mapped.h").mapped_blocks(*where)
        else:
            blocks = ROOT.portico.blocks_of(*where)
        loop = ROOT.portico.SelectionLoop(
            compiled, empty, rows_of(trees), ROOT.std.move(blocks), len(kernel.columns), len(kernel.cuts)
        )
        try:
            for number, (column, kind) in enumerate(kernel.columns.items()):
                element = element_type(kind)
                read_as = kind if element is None else f"ROOT::VecOps::RVec<{element}>"
                stage = 0 if column in kernel.every else 1 if column in kernel.always else 2
                loop.read(number, column, read_as, stage)
        except ROOT.std.runtime_error as error:
            _logger.warning("portico: the selection is read by RDataFrame: %s", exception_words(error))
            return None
        return cls(loop, (first, last), kernel.cuts, trees)

    def result(self) -> Any:
        """Run the loop, if it has not run, and return it.

        Raises
        ------
        StepError
            If it failed before: its sums are those of a part.
        NotInBlocks
            If RDataFrame has to read the columns.
        """
        import ROOT

        if self._entries is not None:
            entries, self._entries = self._entries, None
            try:
                self._loop.run(*entries)
            except ROOT.portico.NotInBlocks as error:
                raise NotInBlocks(exception_words(error)) from None
            self._has_run = True
        if not self._has_run:
            raise StepError("the loop of this selection failed; create a new frame")
        return self._loop

    def report(self) -> Product:
        """Return the cutflow before the categories."""
        reached = np.array(list(self.result().reached), np.int64)
        arrays = {"passed": reached[1:], "all": reached[:-1]}
        return Product(ProductKind.CUTFLOW, {"cuts": [*self._cuts, "best candidate"]}, arrays)

    def handles(self) -> dict[str, Any]:
        """Return the handles of all that is filled and written, as `portico.selection.book` does."""
        shapes = ["shapes"] if self._loop.shapes.sets.size() else []
        filled = {f"histograms_{n}": _Part(self, part) for n, part in enumerate(["nominal", *shapes])}
        trees = {name: written(tree, _Part(self, "nominal")) for name, tree in self._trees.items()}
        return {"cutflow": _Report(self), "counts": _Part(self, "counts"), **filled, **trees}


class _Part(OwnHandle):
    def __init__(self, loop: Loop, part: str) -> None:
        self._loop, self._part = loop, part

    def GetValue(self) -> Any:  # noqa: N802
        return getattr(self._loop.result(), self._part)

    def products(self, name: str) -> list[tuple[str, Product]]:
        return collect_parts(name, self.GetValue())


class _Report(OwnHandle):
    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def GetValue(self) -> Product:  # noqa: N802
        return self._loop.report()

    def products(self, name: str) -> list[tuple[str, Product]]:
        return [(name, self.GetValue())]


def written(tree: Tree, filled: Any) -> Written:
    """Return the handle of a tree that is written in the loop that fills something."""
    handle = Written(filled)
    setattr(handle, TAG, tree)
    return handle
