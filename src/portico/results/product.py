"""Products: what a step returns under one name, reduced to plain arrays, and their kinds. Without ROOT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy.typing as npt

__all__ = ["Array", "Partial", "Product", "ProductKind"]

Array = npt.NDArray[Any]
Partial = Mapping[str, "Product"]
"""The products of one chunk, or of many merged, by name."""


class ProductKind(StrEnum):
    """The kind of a product; its value is the word in encoded results and JSON."""

    HISTOGRAM = "histogram"
    PROFILE = "profile"
    COUNT = "count"
    SUM = "sum"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    MOMENTS = "moments"
    CUTFLOW = "cutflow"
    GRAPH = "graph"
    ARRAY = "array"
    TREE = "tree"
    LIST = "list"


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """One product of a step.

    Parameters
    ----------
    kind : ProductKind
        Determines the merge rules and the Python value.
    meta : mapping
        Properties that must be the same in all chunks, such as class, title and axes; ready for JSON.
    arrays : mapping of str to array
        Arrays that merge by the rules of the kind.
    items : tuple
        Concatenated items that are not arrays: the files of a written tree, points and their values.
    """

    kind: ProductKind
    meta: Mapping[str, Any]
    arrays: Mapping[str, Array]
    items: tuple[Any, ...] = field(default=())
