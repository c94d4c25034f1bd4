"""A selection as one loop over the entries of a tree, without RDataFrame; handles of what it fills."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from portico.cpp import exception_words
from portico.errors import StepError
from portico.results.own_handle import OwnHandle, Written
from portico.results.product import Product, ProductKind
from portico.results.root_objects import TAG, varied
from portico.selection.calls import Called
from portico.selection.resolved import element_type
from portico.worker.frame import new_tree
from portico.worker.open_chunk import NotInBlocks
from portico.worker.snapshot import CLUSTER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from portico.selection.calls import Compiled, Empty
    from portico.selection.empty import Content
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
    called : Called
        Not yet run.
    entries : (int, int)
        The first one, and the one after the last.
    content : Content
        What it fills.
    cuts : tuple of str
        Labels of the cuts before the categories.
    trees : mapping of str to Tree
        What it writes.
    """

    def __init__(
        self, called: Called, entries: tuple[int, int], content: Content, cuts: tuple[str, ...],
        trees: Mapping[str, Tree],
    ) -> None:  # fmt: skip
        self._called, self._content, self._cuts, self._trees = called, content, cuts, trees
        self._entries: tuple[int, int] | None = entries
        self._has_run = False

    @classmethod
    def over(
        cls, frame: Any, compiled: Compiled, weight: float, parameters: Sequence[float], kernel: Kernel,
        empty: Empty, trees: Mapping[str, Tree],
    ) -> Self | None:  # fmt: skip
        """Return the loop over the entries of a frame; None where RDataFrame has to read them.

        That is so for a node other than the frame of a chunk, and for columns that are neither fields nor branches of
        numbers or lists of numbers.
        """
        import ROOT

        entries = getattr(frame, "_portico_entries", None)
        if entries is None:
            return None
        *where, first, last = entries  # file and name of an RNTuple, a TTree, or a data source
        tree = where[0]
        source = where if isinstance(tree, str) else (ROOT.addressof(tree), not isinstance(tree, ROOT.TTree))
        sizes = len(kernel.columns), len(kernel.cuts)
        called = Called(compiled, weight, parameters, empty, tuple(source), sizes)
        try:
            for number, (column, kind) in enumerate(kernel.columns.items()):
                element = element_type(kind)
                read_as = kind if element is None else f"ROOT::VecOps::RVec<{element}>"
                stage = 0 if column in kernel.every else 1 if column in kernel.always else 2
                called.add_column(number, column, read_as, stage)
        except RuntimeError as error:
            _logger.warning("portico: the selection is read by RDataFrame: %s", exception_words(error))
            return None
        for name, kind, path in trees.values():
            called.add_tree(name, str(path), kind == "RNTuple", CLUSTER_BYTES)
        return cls(called, (first, last), empty.content, kernel.cuts, trees)

    def result(self) -> Called:
        """Run the loop, if it has not run, and return it.

        Raises
        ------
        StepError
            If it failed before: its sums are those of a part.
        NotInBlocks
            If RDataFrame has to read the columns.
        RuntimeError
            Another exception of C++.
        """
        if self._entries is not None:
            entries, self._entries = self._entries, None
            try:
                self._called.run(*entries)
            except RuntimeError as error:
                if type(error).__name__ == "NotInBlocks":
                    raise NotInBlocks(exception_words(error)) from None
                raise
            self._has_run = True
        if not self._has_run:
            raise StepError("the loop of this selection failed; create a new frame")
        return self._called

    def report(self) -> list[tuple[str, Product]]:
        """Return the cutflow before the categories."""
        reached = self.result().reached()
        arrays = {"passed": reached[1:], "all": reached[:-1]}
        return [("cutflow", Product(ProductKind.CUTFLOW, {"cuts": [*self._cuts, "best candidate"]}, arrays))]

    def counts(self) -> list[tuple[str, Product]]:
        """Return the cutflows and histograms of choices."""
        return self.result().flows() + self.result().histograms(0)

    def nominal(self) -> list[tuple[str, Product]]:
        """Return the histograms of the nominal choice."""
        return self.result().histograms(1) + self._varied(self._content.nominal, 2)

    def shapes(self) -> list[tuple[str, Product]]:
        """Return the histograms of the choices with varied columns."""
        return self._varied(self._content.shapes, 3)

    def _varied(self, tags: Sequence[str], group: int) -> list[tuple[str, Product]]:
        sets = ((tag, self.result().histograms(group, number)) for number, tag in enumerate(tags))
        return [varied(name, tag, product) for tag, of_tag in sets for name, product in of_tag]

    def handles(self) -> dict[str, Any]:
        """Return the handles of all that is filled and written, as `portico.selection.book` does."""
        filled = [self.nominal, *([self.shapes] if self._content.shapes else [])]
        trees = {name: written(tree, _Part(self, self.nominal)) for name, tree in self._trees.items()}
        handles = {f"histograms_{n}": _Part(self, part) for n, part in enumerate(filled)}
        return {"cutflow": _Part(self, self.report), "counts": _Part(self, self.counts), **handles, **trees}


class _Part(OwnHandle):
    """The handle of a part of what a loop fills."""

    def __init__(self, loop: Loop, part: Callable[[], list[tuple[str, Product]]]) -> None:
        self._loop, self._part = loop, part

    def GetValue(self) -> Any:  # noqa: N802
        self._loop.result()
        return self._part()

    def products(self, name: str) -> list[tuple[str, Product]]:  # noqa: ARG002 (they have names)
        return self._part()


def written(tree: Tree, filled: Any) -> Written:
    """Return the handle of a tree that is written in the loop that fills something."""
    handle = Written(filled)
    setattr(handle, TAG, tree)
    return handle
