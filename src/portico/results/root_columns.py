"""Conversion of columns that ROOT or numpy holds to products; needs ROOT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from portico import root
from portico.errors import ProductError
from portico.results.columns import counts_key, describe_columns
from portico.results.product import Array, Product, ProductKind

__all__ = ["columns_product"]

_POSSIBLE = "bool, integers, float and double, strings, and lists of these"


def columns_product(name: str, columns: Mapping[str, Any]) -> Product:
    """Convert columns, each a list of C++ or an array of numbers, whose types do not depend on what is in them.

    Parameters
    ----------
    name : str
        That of the product.
    columns : mapping
        The columns by name.

    Raises
    ------
    ProductError
        If one has elements of another type, or they have different lengths.
    """
    arrays: dict[str, Array] = {}
    texts = []
    for column, values in columns.items():
        where = f"product '{name}': column '{column}'"
        if "#counts" in column:
            raise ProductError(f"{where} has a name that portico needs for the lengths of lists; use Alias")
        if isinstance(values, np.ndarray) and values.dtype != object:
            arrays[column] = _numbers(where, np.array(values))
            continue
        flat = root.use("lists.h").flatten(values)
        if not flat.type:
            raise ProductError(f"{where} is a {type(values).__name__}; possible are {_POSSIBLE}")
        array = np.empty(len(flat.bytes) // np.dtype(str(flat.type)).itemsize, str(flat.type))
        flat.copy_to(array.ctypes.data)
        arrays[column] = _numbers(where, array)
        for level, counts in enumerate(flat.lengths):
            arrays[counts_key(column, level)] = np.array(counts, np.int64)
        if flat.text:
            texts.append(column)
    product = Product(ProductKind.ARRAY, {"texts": texts} if texts else {}, arrays)
    lengths = describe_columns(product)
    if len(set(lengths.values())) > 1:
        raise ProductError(f"product '{name}' has columns of different lengths: {dict(lengths)}")
    return product


def _numbers(where: str, array: Array) -> Array:
    """Return an array, refusing what neither a tree nor awkward can hold."""
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and array.itemsize not in {4, 8}):
        raise ProductError(f"{where} has the type {array.dtype}; possible are {_POSSIBLE}")
    if array.ndim == 0:
        raise ProductError(f"{where} is one number; give an array with one element")
    return array
