"""Columns of arrays: numbers, texts, and lists of these of any depth, as flat arrays and the lengths of the lists.

The array ``pt`` has all elements; ``pt#counts`` has the lengths of the outermost lists, ``pt#counts2`` those of the
lists in these, and so on. The characters of texts are elements, and texts the innermost lists; ``meta["texts"]`` names
their columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from portico.results.product import Array, Product

__all__ = ["arrays_of", "columns_of", "counts_key", "describe_columns", "levels_of", "names_of", "tree_of"]


def counts_key(column: str, level: int) -> str:
    """Return the key of the array with the lengths of the lists of a level, counted from 0."""
    return f"{column}#counts{level + 1 if level else ''}"


def names_of(product: Product) -> list[str]:
    """Return the names of the columns."""
    return [name for name in product.arrays if "#counts" not in name]


def levels_of(product: Product, column: str) -> list[Array]:
    """Return the lengths of a column's lists, the outermost level first; none for a column of numbers."""
    levels: list[Array] = []
    while (counts := product.arrays.get(counts_key(column, len(levels)))) is not None:
        levels.append(counts)
    return levels


def columns_of(product: Product) -> dict[str, Any]:
    """Return the columns: numpy arrays of numbers, or of `str` (with dtype object); lists as awkward arrays."""
    columns = arrays_of(product)
    for name in product.meta.get("texts", ()):
        if len(levels_of(product, name)) == 1:
            texts = np.empty(len(columns[name]), object)
            texts[:] = columns[name].tolist()
            columns[name] = texts
    return columns


def arrays_of(product: Product) -> dict[str, Any]:
    """Return the columns: numbers as numpy arrays, and the others as awkward arrays."""
    texts = product.meta.get("texts", ())
    columns: dict[str, Any] = {}
    for name in names_of(product):
        levels, array = levels_of(product, name), product.arrays[name]
        if name in texts:
            array = _texts(array, levels.pop())
        columns[name] = _lists(array, levels)
    return columns


def _lists(array: Any, levels: list[Array]) -> Any:
    import awkward

    for counts in reversed(levels):
        array = awkward.unflatten(array, counts)
    return array


def _texts(characters: Array, counts: Array) -> Any:
    import awkward
    from awkward.contents import ListOffsetArray, NumpyArray
    from awkward.index import Index64

    offsets = Index64(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
    content = NumpyArray(characters.view(np.uint8), parameters={"__array__": "char"})
    return awkward.Array(ListOffsetArray(offsets, content, parameters={"__array__": "string"}))


def tree_of(product: Product) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return the types of the columns of a TTree, and the columns; no types if only an RNTuple can hold them."""
    columns = arrays_of(product)
    if product.meta.get("texts") or any(len(levels_of(product, name)) > 1 for name in columns):
        return None, columns
    return {
        name: f"var * {product.arrays[name].dtype.name}" if levels_of(product, name) else product.arrays[name].dtype
        for name in columns
    }, columns


def describe_columns(product: Product) -> Mapping[str, int]:
    """Return the number of rows of each column."""
    return {name: len((levels_of(product, name) or [product.arrays[name]])[0]) for name in names_of(product)}
