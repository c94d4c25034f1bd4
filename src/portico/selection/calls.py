"""The loop of a selection in C++, called through ctypes: nothing is compiled to call it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_bool, c_char_p, c_double, c_int, c_size_t, c_uint64, c_void_p
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from portico.environment import ahead
from portico.results.histogram_list import products_from
from portico.results.product import Product, ProductKind

if TYPE_CHECKING:
    from portico.selection.empty import Content

__all__ = ["HEADER", "Called", "Compiled", "Empty", "functions"]

HEADER = "selection_calls.h"
"""Defines the functions."""


class _Flat(ctypes.Structure):
    _fields_ = [
        ("heads", c_void_p), ("cells", c_void_p), ("squares", c_void_p), ("values", c_void_p), ("sumw2", c_void_p),
        ("stats", c_void_p), ("entries", c_void_p), ("bytes", c_size_t), ("histograms", c_size_t),
        ("all_cells", c_size_t), ("all_squares", c_size_t),
    ]  # fmt: skip


_TEXTS, _SIZES, _DOUBLES = POINTER(c_char_p), POINTER(c_size_t), POINTER(c_double)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "words": (c_char_p,),
    "new_empty": (c_bool, POINTER(c_void_p), _TEXTS, c_size_t, _TEXTS, c_size_t, _TEXTS, _SIZES),
    "add_histogram": (c_bool, c_void_p, c_bool, c_char_p, c_char_p, c_int, _DOUBLES, c_size_t),
    "finish_empty": (c_bool, POINTER(c_void_p), c_void_p, _TEXTS, c_size_t, _TEXTS, c_size_t),
    "delete_empty": (None, c_void_p),
    "new_loop": (c_bool, POINTER(c_void_p), c_char_p, c_char_p, c_double, _DOUBLES, c_size_t, _DOUBLES, c_size_t,
                 c_void_p, c_void_p, c_bool, c_char_p, c_char_p, c_size_t, c_size_t),
    "add_column": (c_bool, c_void_p, c_size_t, c_char_p, c_char_p, c_int),
    "add_tree": (c_bool, c_void_p, c_char_p, c_char_p, c_bool, c_size_t),
    "run_loop": (c_bool, c_void_p, c_uint64, c_uint64),
    "delete_loop": (None, c_void_p),
    "read_histograms": (c_bool, c_void_p, c_int, c_size_t, POINTER(_Flat)),
    "read_flow": (None, c_void_p, c_size_t, c_void_p, c_void_p, c_void_p),
    "read_reached": (None, c_void_p, c_void_p),
}  # fmt: skip


@cache
def functions() -> dict[str, Any]:
    """Return the functions by name."""
    return ahead.functions(HEADER, _SIGNATURES)


def _call(name: str, *arguments: Any) -> None:
    """Call a function that may fail.

    Raises
    ------
    RuntimeError
        Of a class with the name of the C++ exception.
    """
    if not functions()[name](*arguments):
        kind, _, words = functions()["words"]().decode(errors="replace").partition(": ")
        raise type(kind.rpartition("::")[2], (RuntimeError,), {})(words)


def _texts(texts: Sequence[str]) -> Any:
    return (c_char_p * len(texts))(*(_bytes(text) for text in texts))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class Compiled(NamedTuple):
    """What of a selection is compiled.

    Parameters
    ----------
    kernel, choice : str
        The namespaces of its class and of its choice.
    numbers : tuple of float
        Those that its cuts compare with.
    """

    kernel: str
    choice: str
    numbers: tuple[float, ...]


class Empty:
    """The empty histograms and cutflows of a selection, from which those of each loop are copied.

    Parameters
    ----------
    content : Content
        What there is to fill.
    """

    def __init__(self, content: Content) -> None:
        made, self.pointer, self.content = c_void_p(), c_void_p(), content
        self._delete = functions()["delete_empty"]
        names, sizes = [cut for of in content.stages for cut in of], [len(of) for of in content.stages]
        _call("new_empty", ctypes.byref(made), _texts(content.selections), len(content.selections),
              _texts(content.rules), len(content.rules), _texts(names), (c_size_t * len(sizes))(*sizes))  # fmt: skip
        for varied, name, title, bins, ends in content.histograms:
            numbers = (c_double * len(ends))(*ends)
            _call("add_histogram", made, varied, _bytes(name), _bytes(title), bins, numbers, len(ends))
        tags = (_texts(content.nominal), len(content.nominal), _texts(content.shapes), len(content.shapes))
        _call("finish_empty", ctypes.byref(self.pointer), made, *tags)

    def __del__(self) -> None:
        if self.pointer:
            self._delete(self.pointer)


class Called:
    """A loop over a source.

    Parameters
    ----------
    compiled : Compiled
        The class and its choice.
    normalisation : float
        The weight of an event.
    parameters : sequence of float
        Those of the sample.
    empty : Empty
        What it fills.
    source : tuple
        An address, and whether it is that of a data source rather than a TTree; or file and name of an RNTuple.
    sizes : (int, int)
        Numbers of columns and of cuts before the categories.

    Raises
    ------
    RuntimeError
        As of the methods: an exception of C++.
    """

    def __init__(
        self, compiled: Compiled, normalisation: float, parameters: Sequence[float], empty: Empty,
        source: tuple[int, bool] | tuple[str, str], sizes: tuple[int, int],
    ) -> None:  # fmt: skip
        self._pointer, self._empty, self._cuts = c_void_p(), empty, sizes[1]
        self._delete = functions()["delete_loop"]
        first, second = source
        if isinstance(first, str):
            opened: tuple[Any, ...] = None, False, _bytes(first), _bytes(str(second))
        else:
            opened = first, second, None, None
        numbers = [part for of in (parameters, compiled.numbers) for part in ((c_double * len(of))(*of), len(of))]
        _call("new_loop", ctypes.byref(self._pointer), *map(_bytes, compiled[:2]), normalisation, *numbers,
              empty.pointer, *opened, *sizes)  # fmt: skip

    def __del__(self) -> None:
        if self._pointer:
            self._delete(self._pointer)

    def add_column(self, number: int, name: str, kind: str, stage: int) -> None:
        """Add a column that is read in every event (0), where candidates are looked at (1), or after a choice (2)."""
        _call("add_column", self._pointer, number, _bytes(name), _bytes(kind), stage)

    def add_tree(self, name: str, path: str, is_ntuple: bool, cluster: int) -> None:
        """Add a tree that it writes."""
        _call("add_tree", self._pointer, _bytes(name), _bytes(path), is_ntuple, cluster)

    def run(self, first: int, last: int) -> None:
        """Loop over entries."""
        _call("run_loop", self._pointer, first, last)

    def histograms(self, group: int, number: int = 0) -> list[tuple[str, Product]]:
        """Return histograms: of the counts (0), plain ones (1), of a variation of a weight (2) or of a shape (3)."""
        flat = _Flat()
        _call("read_histograms", self._pointer, group, number, ctypes.byref(flat))

        def array(address: int, kind: Any, size: int) -> Any:
            return np.frombuffer(bytearray(ctypes.string_at(address, 8 * size)), kind) if size else np.zeros(0, kind)

        n = flat.histograms
        return products_from(
            ctypes.string_at(flat.heads, flat.bytes).decode("utf-8", "surrogateescape"),
            array(flat.cells, np.int64, n), array(flat.squares, np.int64, n),
            array(flat.values, np.float64, flat.all_cells), array(flat.sumw2, np.float64, flat.all_squares),
            array(flat.stats, np.float64, 20 * n), array(flat.entries, np.float64, n),
        )  # fmt: skip

    def flows(self) -> list[tuple[str, Product]]:
        """Return the cutflows."""
        found = []
        content = self._empty.content
        for number, (selection, cuts) in enumerate(zip(content.selections, content.stages, strict=True)):
            sums = np.empty((3, len(cuts) + 1))
            functions()["read_flow"](self._pointer, number, *(row.ctypes.data for row in sums))
            events = sums[0].astype(np.int64)
            arrays = {"passed": events[1:], "all": events[:-1], "weights": sums[1], "squares": sums[2]}
            found.append((f"cutflow_{selection}", Product(ProductKind.CUTFLOW, {"cuts": list(cuts)}, arrays)))
        return found

    def reached(self) -> Any:
        """Return the events before all cuts, and after each."""
        numbers = np.empty(self._cuts + 2, np.int64)
        functions()["read_reached"](self._pointer, numbers.ctypes.data)
        return numbers
