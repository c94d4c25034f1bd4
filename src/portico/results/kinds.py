"""The kinds of products, each with its merge rules, its Python value and its ROOT object."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np

from portico.files.kept import checked_paths
from portico.results.cutflow import Cutflow
from portico.results.hists import histogram_to_hist, profile_to_hist
from portico.results.product import Array, Product, ProductKind
from portico.results.root_makers import make_graph, make_histogram, make_profile

__all__ = ["KINDS", "Traits", "add", "concatenate"]

Rule = Callable[[Array, Array], Array]


def add(a: Array, b: Array) -> Array:
    """Merge arrays of one shape, element by element."""
    return np.add(a, b)


def concatenate(a: Array, b: Array) -> Array:
    """Merge arrays by concatenation."""
    return np.concatenate([a, b])


def _add_moments(a: Array, b: Array) -> Array:
    """Merge (n, sum w, sum w^2, sum wx, sum w (x - mean)^2), as TStatistic::Merge does.

    The last one by Chan, Golub and LeVeque, Algorithms for computing the sample variance (1983), eq. 1.5.
    """
    total = a + b
    if a[1] != 0 and b[1] != 0 and total[1] != 0:
        shift = b[3] / b[1] - a[3] / a[1]
        total[4] += shift * shift * (a[1] * b[1] / total[1])
    return total


def _number(product: Product) -> Any:
    return product.arrays["value"][0].item()


def _moments(product: Product) -> Any:
    n, weight, weight2, total, squares = product.arrays["moments"].tolist()
    mean = total / weight if weight else math.nan
    # As RDataFrame's StdDev: the unbiased estimate for unit weights.
    deviation = math.sqrt(max(squares, 0.0) / (weight - weight2 / weight)) if n > 1 else 0.0
    match product.meta["operation"]:
        case "Mean":
            return mean
        case "StdDev":
            return deviation
        case _:
            low, high = product.arrays["minimum"][0].item(), product.arrays["maximum"][0].item()
            return {"n": int(n), "sum of weights": weight, "mean": mean, "stddev": deviation, "min": low, "max": high}


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


def _columns(product: Product) -> dict[str, Any]:
    """Return columns as numpy arrays, or as awkward arrays if they have a list per event."""
    columns: dict[str, Any] = {}
    for name, array in product.arrays.items():
        if name.endswith("#counts"):
            continue
        counts = product.arrays.get(f"{name}#counts")
        if counts is None:
            columns[name] = array
        else:
            import awkward

            columns[name] = awkward.unflatten(array, counts)
    return columns


def _tree(product: Product) -> tuple[dict[str, Any], dict[str, Any]]:
    arrays = product.arrays
    types = {
        name: f"var * {array.dtype.name}" if f"{name}#counts" in arrays else array.dtype
        for name, array in arrays.items()
        if not name.endswith("#counts")
    }
    return types, _columns(product)


def _describe_value(product: Product) -> dict[str, Any]:
    return {"value": _finite(KINDS[product.kind].view(product))}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _describe_bins(product: Product) -> dict[str, Any]:
    return {"entries": product.arrays["entries"][0].item()}


def _describe_cutflow(product: Product) -> dict[str, Any]:
    return {key: array.tolist() for key, array in product.arrays.items()}


def _describe_columns(product: Product) -> dict[str, Any]:
    return {"columns": {key: len(array) for key, array in product.arrays.items()}}


def _describe_files(product: Product) -> dict[str, Any]:
    return {"files": list(product.items)}


def _describe_list(product: Product) -> dict[str, Any]:
    return {"length": len(product.items)}


def _length(product: Product) -> str:
    return f"{max((len(array) for array in product.arrays.values()), default=len(product.items)):,} values"


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
        Returns the types and the columns of its tree in ``results.root``.
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
    to_tree: Callable[[Product], tuple[dict[str, Any], dict[str, Any]]] | None = None
    bins: Literal["", "contents", "means"] = ""
    is_number: bool = False
    is_table: bool = False
    has_files: bool = False
    extent: Callable[[Product], str] | None = None


_SUMS: Final = dict.fromkeys(("values", "sumw2", "stats", "entries", "bin_entries", "bin_sumw2"), add)
_PASSED: Final = dict.fromkeys(("passed", "all", "weights", "squares"), add)
_OF_MOMENTS: Final[dict[str, Rule]] = {"moments": _add_moments, "minimum": np.minimum, "maximum": np.maximum}

KINDS: Final[Mapping[ProductKind, Traits]] = {
    ProductKind.HISTOGRAM: Traits(
        view=histogram_to_hist, describe=_describe_bins, rules=_SUMS, to_root=make_histogram, bins="contents"
    ),
    ProductKind.PROFILE: Traits(
        view=profile_to_hist, describe=_describe_bins, rules=_SUMS, to_root=make_profile, bins="means"
    ),
    ProductKind.COUNT: Traits(view=_number, describe=_describe_value, rules={"value": add}, is_number=True),
    ProductKind.SUM: Traits(view=_number, describe=_describe_value, rules={"value": add}, is_number=True),
    ProductKind.MINIMUM: Traits(view=_number, describe=_describe_value, rules={"value": np.minimum}, is_number=True),
    ProductKind.MAXIMUM: Traits(view=_number, describe=_describe_value, rules={"value": np.maximum}, is_number=True),
    ProductKind.MOMENTS: Traits(view=_moments, describe=_describe_value, rules=_OF_MOMENTS, is_number=True),
    ProductKind.CUTFLOW: Traits(view=_cutflow, describe=_describe_cutflow, rules=_PASSED),
    ProductKind.GRAPH: Traits(view=_points, describe=_describe_columns, to_root=make_graph, extent=_length),
    ProductKind.ARRAY: Traits(view=_columns, describe=_describe_columns, to_tree=_tree, is_table=True, extent=_length),
    ProductKind.TREE: Traits(view=_paths, describe=_describe_files, is_table=True, has_files=True, extent=_size),
    ProductKind.LIST: Traits(view=_items, describe=_describe_list, extent=_length),
}
"""The traits of each kind."""
