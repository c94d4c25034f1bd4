"""The kinds of products, each with its merge rules, its Python value and its ROOT object."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, Literal

import numpy as np

from portico.files.kept import checked_paths
from portico.results import exact
from portico.results.columns import columns_of, describe_columns, tree_of
from portico.results.cutflow import Cutflow
from portico.results.hists import histogram_to_hist, profile_to_hist
from portico.results.product import Array, Product, ProductKind
from portico.results.root_makers import make_graph, make_histogram, make_profile

__all__ = ["KINDS", "Rule", "Traits", "add", "add_exactly", "concatenate"]

Rule = Callable[[Array, Array], Array]
"""Merges an array of the earlier entries with that of the later ones."""


def add(a: Array, b: Array) -> Array:
    """Merge arrays of one shape, element by element."""
    return np.add(a, b)


def concatenate(a: Array, b: Array) -> Array:
    """Merge arrays by concatenation."""
    return np.concatenate([a, b])


def add_exactly(a: Array, b: Array) -> Array:
    """Merge exact sums."""
    return np.add(a, b)


def _smaller(a: Array, b: Array) -> Array:
    """Merge the smallest numbers of two parts, which are empty if the part had no entries; of equal ones the first."""
    return np.where(b < a, b, a) if a.size and b.size else concatenate(a, b)


def _larger(a: Array, b: Array) -> Array:
    return np.where(b > a, b, a) if a.size and b.size else concatenate(a, b)


def _only(array: Array) -> Any:
    """Return the number of an array, or NaN if there is none because there were no entries."""
    return array[0].item() if array.size else math.nan


def _number(product: Product) -> Any:
    return _only(product.arrays["value"])


def _sum(product: Product) -> Any:
    value = exact.value_of(product.arrays["sums"][0])
    return int(value) if product.meta["type"] == "integer" else exact.nearest(value)


def _moments(product: Product) -> Any:
    n = _only(product.arrays["n"])
    weight, weight2, total, squares = (exact.value_of(limbs) for limbs in product.arrays["sums"])
    match product.meta["operation"]:
        case "Mean":
            return exact.ratio(total, weight)
        case "StdDev":
            return _deviation(n, weight, weight2, total, squares)
        case _:
            return {
                "n": n,
                "sum of weights": exact.nearest(weight),
                "mean": exact.ratio(total, weight),
                "stddev": _deviation(n, weight, weight2, total, squares),
                "min": _only(product.arrays["minimum"]),
                "max": _only(product.arrays["maximum"]),
            }


def _deviation(
    n: int, weight: Fraction | float, weight2: Fraction | float, total: Fraction | float, squares: Fraction | float
) -> float:
    """Return the standard deviation as RDataFrame's StdDev: the unbiased estimate for unit weights."""
    if n < 2:
        return 0.0
    if isinstance(weight, float) or isinstance(weight2, float):
        return math.nan
    if isinstance(total, float) or isinstance(squares, float):
        return math.nan
    if weight * weight == weight2:
        return math.nan
    spread = weight * squares - total * total
    if abs(spread) <= 4 * n * (1 + abs(weight)) * (1 + weight2) * exact.UNIT:  # squares too small for a double
        return 0.0
    variance = spread / (weight * weight - weight2)
    return math.sqrt(exact.nearest(variance)) if variance >= 0 else math.nan


def _cutflow(product: Product) -> Cutflow:
    arrays, none = product.arrays, np.zeros(0)
    columns = (arrays["all"], arrays["passed"], arrays.get("weights", none), arrays.get("squares", none) ** 0.5)
    reached, passed, yields, uncertainties = (tuple(column.tolist()) for column in columns)
    return Cutflow(tuple(product.meta["cuts"]), reached, passed, yields, uncertainties)


def _paths(product: Product) -> list[str]:
    return checked_paths(product.items)


def _items(product: Product) -> list[Any]:
    return list(product.items)


def _points(product: Product) -> dict[str, Array]:
    return dict(product.arrays)


def _describe_value(product: Product) -> dict[str, Any]:
    return {"value": KINDS[product.kind].view(product)}


def _describe_bins(product: Product) -> dict[str, Any]:
    return {"entries": product.arrays["entries"][0].item()}


def _describe_cutflow(product: Product) -> dict[str, Any]:
    return {key: array.tolist() for key, array in product.arrays.items()}


def _describe_columns(product: Product) -> dict[str, Any]:
    return {"columns": describe_columns(product)}


def _describe_files(product: Product) -> dict[str, Any]:
    return {"files": [{key: value for key, value in item.items() if key != "stamp"} for item in product.items]}


def _describe_list(product: Product) -> dict[str, Any]:
    return {"length": len(product.items)}


def _length(product: Product) -> str:
    return f"{max(describe_columns(product).values(), default=len(product.items)):,} values"


def _size(product: Product) -> str:
    size = sum(int(item.get("size", 0)) for item in product.items)
    return f"{len(product.items)} files, {size / 1e6:,.1f} MB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The traits of a kind of product.

    Parameters
    ----------
    view : callable
        Returns the value of ``Results[...]``.
    describe : callable
        Returns the entries in ``results.json`` besides kind and ``meta``.
    rules : mapping of str to callable
        Merge rules of its arrays by name; other arrays are concatenated.
    to_root : callable, optional
        Makes its ROOT object from a name and the product; needs ROOT.
    to_tree : callable, optional
        Returns the types and the columns of its tree in ``results.root``; no types if it is an RNTuple.
    bins : {"", "contents", "means"}
        Meaning of the bins' values, if it has bins.
    is_number : bool
        Whether it is one number, or a few.
    is_table : bool
        Whether it has rows with columns, one row per event or candidate.
    has_files : bool
        Whether it is stored in files, which its items name.
    extent : callable, optional
        Describes the size of a product that is too long to show.
    """

    view: Callable[[Product], Any]
    describe: Callable[[Product], dict[str, Any]]
    rules: Mapping[str, Rule] = field(default_factory=dict)
    to_root: Callable[[str, Product], Any] | None = None
    to_tree: Callable[[Product], tuple[dict[str, Any] | None, dict[str, Any]]] | None = None
    bins: Literal["", "contents", "means"] = ""
    is_number: bool = False
    is_table: bool = False
    has_files: bool = False
    extent: Callable[[Product], str] | None = None


_SUMS: Final = dict.fromkeys(("values", "sumw2", "stats", "entries", "bin_entries", "bin_sumw2"), add)
_PASSED: Final = dict.fromkeys(("passed", "all", "weights", "squares"), add)
_OF_MOMENTS: Final[dict[str, Rule]] = {"n": add, "sums": add_exactly, "minimum": _smaller, "maximum": _larger}

KINDS: Final[Mapping[ProductKind, Traits]] = {
    ProductKind.HISTOGRAM: Traits(
        view=histogram_to_hist, describe=_describe_bins, rules=_SUMS, to_root=make_histogram, bins="contents"
    ),
    ProductKind.PROFILE: Traits(
        view=profile_to_hist, describe=_describe_bins, rules=_SUMS, to_root=make_profile, bins="means"
    ),
    ProductKind.COUNT: Traits(view=_number, describe=_describe_value, rules={"value": add}, is_number=True),
    ProductKind.SUM: Traits(view=_sum, describe=_describe_value, rules={"sums": add_exactly}, is_number=True),
    ProductKind.MINIMUM: Traits(view=_number, describe=_describe_value, rules={"value": _smaller}, is_number=True),
    ProductKind.MAXIMUM: Traits(view=_number, describe=_describe_value, rules={"value": _larger}, is_number=True),
    ProductKind.MOMENTS: Traits(view=_moments, describe=_describe_value, rules=_OF_MOMENTS, is_number=True),
    ProductKind.CUTFLOW: Traits(view=_cutflow, describe=_describe_cutflow, rules=_PASSED),
    ProductKind.GRAPH: Traits(view=_points, describe=_describe_columns, to_root=make_graph, extent=_length),
    ProductKind.ARRAY: Traits(
        view=columns_of, describe=_describe_columns, to_tree=tree_of, is_table=True, extent=_length
    ),
    ProductKind.TREE: Traits(view=_paths, describe=_describe_files, is_table=True, has_files=True, extent=_size),
    ProductKind.LIST: Traits(view=_items, describe=_describe_list, extent=_length),
}
"""The traits of each kind."""
