"""Conversion of the handles that a step returns to products; needs ROOT."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from portico import root
from portico.errors import ProductError
from portico.results.axes import refuse_axis
from portico.results.exact import LIMBS, exact_sum
from portico.results.histogram_list import products_of
from portico.results.own_handle import OwnHandle
from portico.results.product import Product, ProductKind
from portico.results.root_columns import columns_product
from portico.results.root_makers import STORAGE, axes_of, content_axis

__all__ = ["OPERATIONS", "POSSIBLE", "TAG", "collect", "collect_parts", "collect_value", "tag_of", "varied"]

TAG = "_portico"
"""Attribute of a handle with the operation that made it, for handles whose type does not determine it."""

POSSIBLE = (
    "Histo1D/2D/3D/ND, Profile1D/2D, Count, Sum, Mean, StdDev, Min, Max, Stats, Report, Graph, GraphAsymmErrors, "
    "Take, AsNumpy, Snapshot, and VariationsFor of these without Report, AsNumpy and Snapshot"
)
OPERATIONS = ("Sum", "Mean", "StdDev", "Stats", "Min", "Max")
"""Operations that give a number, in the order of ``include/numbers.h``."""
_EXTREMES = {"Min": (ProductKind.MINIMUM, "low"), "Max": (ProductKind.MAXIMUM, "high")}
_COUNTS = {f"RResultMap<{kind}>" for kind in ("ULong64_t", "unsigned long long")}
_HISTOGRAMS = tuple(f"TH{axes}{letter}" for axes in "123" for letter in STORAGE)
_GRAPHS = {
    "TGraph": ("x", "y"),
    "TGraphErrors": ("x", "y", "ex", "ey"),
    "TGraphAsymmErrors": ("x", "y", "exlow", "exhigh", "eylow", "eyhigh"),
}


def collect(name: str, handle: Any) -> list[tuple[str, Product]]:
    """Convert one handle whose event loop has run to products.

    Parameters
    ----------
    name : str
        The name under which the step returned it.
    handle : object
        An RResultPtr, RResultMap or AsNumpyResult, or a mapping of arrays.

    Returns
    -------
    list of (str, Product)
        One product; for a map of variations the nominal one under ``name`` and each other one under
        `variation_name`. A list of histograms gives one product per histogram, under the histogram's own name.

    Raises
    ------
    ProductError
        If the result of the handle cannot be merged over chunks.
    """
    kind = type(handle).__name__
    if kind.startswith("RResultMap<"):
        return _collect_variations(name, handle)
    if isinstance(handle, OwnHandle):
        return handle.products(name)
    if kind == "AsNumpyResult":
        taken = {column: pointer.GetValue() for column, pointer in handle._result_ptrs.items()}
        return [(name, columns_product(name, taken))]
    if isinstance(handle, Mapping) and all(isinstance(value, np.ndarray) for value in handle.values()):
        return [(name, columns_product(name, handle))]
    if kind.startswith("RResultPtr<"):
        return collect_parts(name, handle.GetValue(), tag_of(handle) or "")
    raise ProductError(f"product '{name}' is a {kind}, which cannot be collected; valid: {POSSIBLE}")


def book(node: Any, name: str, columns: list[Any]) -> Any:
    """Book one of the `OPERATIONS` as an action of ours, which merges exactly.

    Raises
    ------
    ProductError
        If there are other arguments than columns.
    """
    import ROOT

    if len(columns) > (2 if name == "Stats" else 1):
        raise ProductError(f"{name} takes no more than columns: every chunk would count the initial value")
    ours = root.use("numbers.h")
    return ours.book(ROOT.RDF.AsRNode(node), getattr(ours.Operation, name), [str(column) for column in columns])


def refuse_unmergeable(name: str, handle: Any) -> None:
    """Refuse what Aggregate, Reduce and Book give, but for ROOT's objects: only the user knows how it merges.

    Raises
    ------
    ProductError
        If the handle is that of a number, a text, a list or the like.
    """
    import ROOT

    kind = type(handle).__name__.removeprefix("RResultPtr<").removesuffix(">").strip()
    known = ROOT.TClass.GetClass(kind)
    if kind != "vector<TH1D>" and not (known and known.InheritsFrom("TObject")):
        raise _refusal(name, kind, f"{name} gives")


def tag_of(handle: Any) -> Any:
    """Return the tag of a handle, or None. Access to an unknown attribute of an RResultPtr would run the event loop."""
    return getattr(handle, "__dict__", {}).get(TAG) if not isinstance(handle, dict) else None


def variation_name(name: str, variation: str) -> str:
    """Return the name of a varied product: ``mass`` and ``pt:up`` give ``mass_pt_up``.

    Characters that are not part of names in ROOT files become ``_``; `portico.results.partial.gather` tells apart
    variations that then have one name.
    """
    return name if variation == "nominal" else f"{name}_{re.sub(r'[^A-Za-z0-9_.+=-]', '_', variation)}"


def _collect_variations(name: str, handle: Any) -> list[tuple[str, Product]]:
    # Access to a value of an RResultMap runs the event loop; access to its keys does not.
    handle["nominal"]
    operation = "Count" if type(handle).__name__ in _COUNTS else ""
    return [
        varied(part, str(key), product)
        for key in handle.GetKeys()
        for part, product in _parts(name, handle[key], operation)
    ]


def varied(name: str, variation: str, product: Product) -> tuple[str, Product]:
    """Return a product as that of a variation, and its name."""
    meta = {**product.meta, "variation": [name, variation]}
    return variation_name(name, variation), replace(product, meta=meta)


def _parts(name: str, value: Any, operation: str) -> list[tuple[str, Product]]:
    """Convert a value, or the histograms of a list by their own names."""
    return products_of(value) if _type(value) == "vector<TH1D>" else [(name, collect_value(name, value, operation))]


def _type(value: Any) -> str:
    return type(value).__name__


def collect_parts(name: str, value: Any, operation: str = "") -> list[tuple[str, Product]]:
    """Convert the value of one handle to its products."""
    if _type(value) == "Filled":  # without variations, and those of each variation
        tagged = zip(value.tags, value.sets, strict=True)
        varied_ones = [varied(key, str(tag), one) for tag, of_tag in tagged for key, one in products_of(of_tag)]
        return products_of(value.plain) + varied_ones
    if _type(value) == "Counts":
        flows = [(str(flow.name), collect_value(str(flow.name), flow, operation)) for flow in value.flows]
        return flows + products_of(value.histograms)
    return _parts(name, value, operation)


def collect_value(name: str, value: Any, operation: str) -> Product:
    """Convert the value of one handle to a product; ``operation`` distinguishes operations that give the same type.

    Raises
    ------
    ProductError
        If it cannot be merged over chunks.
    """
    import ROOT

    if type(value).__name__ == "Numbers":
        return _numbers(name, value)
    if operation == "Count":
        return Product(ProductKind.COUNT, {"operation": operation}, {"value": np.array([value], np.int64)})
    if operation in OPERATIONS:
        return _of_root(name, value, operation)
    if str(getattr(value, "ClassName", str)()) in {"TProfile", "TProfile2D"}:
        return _profile(value)
    if isinstance(value, ROOT.THn):
        return _thn(name, value)
    if isinstance(value, ROOT.TH1):
        return _histogram(name, value)
    if isinstance(value, ROOT.TGraph):
        return _graph(name, value)
    if isinstance(value, ROOT.RDF.RCutFlowReport):
        cuts = list(value)
        arrays = {
            "passed": np.array([cut.GetPass() for cut in cuts], np.int64),
            "all": np.array([cut.GetAll() for cut in cuts], np.int64),
        }
        return Product(ProductKind.CUTFLOW, {"cuts": [str(cut.GetName()) for cut in cuts]}, arrays)
    if type(value).__name__ == "Flow":
        return _flow(value)
    if operation == "Take" or hasattr(type(value), "value_type"):
        return columns_product(name, {name: value})
    raise _refusal(name, type(value).__name__)


def _refusal(name: str, what: str, begin: str = "") -> ProductError:
    begin = begin or f"product '{name}' is"
    return ProductError(f"{begin} a {what}, which cannot be merged over chunks; valid: {POSSIBLE}")


def _flow(value: Any) -> Product:
    events = np.array(list(value.events), np.int64)
    arrays = {"passed": events[1:], "all": events[:-1]}
    arrays |= {name: np.array(list(getattr(value, name)), np.float64) for name in ("weights", "squares")}
    return Product(ProductKind.CUTFLOW, {"cuts": [str(cut) for cut in value.cuts]}, arrays)


def _numbers(name: str, value: Any) -> Product:
    """Convert ``portico::Numbers``; the column's type, which empty chunks have as well, decides that of the numbers."""
    operation = OPERATIONS[int(value.operation)]
    family = _family(str(value.column_type()))
    if family is None:
        raise ProductError(
            f"product '{name}': column '{value.column}' is a {value.column_type()}, and {operation} needs numbers or "
            "lists of numbers"
        )
    extremes, dtype = {
        "float": (value.floats, np.float64), "integer": (value.integers, np.int64),
        "natural": (value.naturals, np.uint64),
    }[family]  # fmt: skip
    if operation in _EXTREMES:
        kind, side = _EXTREMES[operation]
        return Product(kind, {"operation": operation}, {"value": np.array(list(getattr(extremes, side)), dtype)})
    sums = np.array(value.sums(), np.int64).reshape(-1, LIMBS)
    if operation == "Sum":
        number = "float" if family == "float" else "integer"
        return Product(ProductKind.SUM, {"operation": operation, "type": number}, {"sums": sums[2:3]})
    bounds = {"minimum": np.array(list(extremes.low), dtype), "maximum": np.array(list(extremes.high), dtype)}
    arrays = {"n": np.array([value.n], np.int64), "sums": sums, **bounds}
    return Product(ProductKind.MOMENTS, {"operation": operation}, arrays)


def _family(column_type: str) -> str | None:
    """Return the family of a column's numbers: float, integer or natural; None if it has none."""
    import ROOT

    element = column_type.rpartition("<")[2].partition(">")[0].partition(",")[0].partition("[")[0].strip()
    plain = str(ROOT.TClassEdit.ResolveTypedef(element))
    if plain in {"float", "double", "long double", "Float16_t", "Double32_t"}:
        return "float"
    if plain.startswith("unsigned ") or plain in {"bool", "ULong64_t"}:
        return "natural"
    return "integer" if plain in {"char", "signed char", "short", "int", "long", "long long", "Long64_t"} else None


def _of_root(name: str, value: Any, operation: str) -> Product:
    """Convert a result of ROOT's own Sum, Min, Max or, for Mean, StdDev and Stats without weights, TStatistic."""
    if operation in {"Sum", *_EXTREMES}:
        if not isinstance(value, (int, float, np.number)):
            raise ProductError(f"product '{name}': {operation} of {type(value).__name__} cannot be merged over chunks")
        if operation in _EXTREMES:
            return Product(_EXTREMES[operation][0], {"operation": operation}, {"value": np.array([value])})
        number = "integer" if isinstance(value, (int, np.integer)) else "float"
        sums = exact_sum(value.item() if isinstance(value, np.number) else value)[np.newaxis]
        return Product(ProductKind.SUM, {"operation": operation, "type": number}, {"sums": sums})
    n, total = int(value.GetN()), Fraction(value.GetMean()) * int(value.GetN())
    squares = Fraction(value.GetM2()) + total * total / n if n and operation != "Mean" else Fraction()
    bounds = [value.GetMin(), value.GetMax()] if n and operation == "Stats" else []
    arrays = {
        "n": np.array([n], np.int64),
        "sums": np.stack([exact_sum(part) for part in (Fraction(n), Fraction(n), total, squares)]),
        "minimum": np.array(bounds[:1]),
        "maximum": np.array(bounds[1:]),
    }
    return Product(ProductKind.MOMENTS, {"operation": operation}, arrays)


def _graph(name: str, value: Any) -> Product:
    kind, count = str(value.ClassName()), int(value.GetN())
    if kind not in _GRAPHS:
        raise _refusal(name, kind)
    pointers = {key: getattr(value, f"Get{key[:2].upper()}{key[2:]}")() for key in _GRAPHS[kind]}
    arrays = {key: _copy(pointer, np.float64, count) for key, pointer in pointers.items()}
    return Product(ProductKind.GRAPH, {"class": kind, "name": value.GetName(), "title": value.GetTitle()}, arrays)


def _copy(pointer: Any, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
    return np.frombuffer(pointer, dtype=dtype, count=count).copy() if count else np.zeros(0, dtype)


def _axis(axis: Any) -> dict[str, Any]:
    bins = int(axis.GetNbins())
    # Not GetBinLowEdge, which computes the last edge: rounded, or NaN between infinities.
    edges = _copy(axis.GetXbins().GetArray(), np.float64, bins + 1).tolist() if axis.IsVariableBinSize() else None
    refuse_axis(str(axis.GetName()), bins, edges or [float(axis.GetXmin()), float(axis.GetXmax())], edges is not None)
    labels = {str(i): str(axis.GetBinLabel(i)) for i in range(1, bins + 1)} if axis.GetLabels() else {}
    return {
        "bins": bins, "low": float(axis.GetXmin()), "high": float(axis.GetXmax()), "edges": edges,
        "title": str(axis.GetTitle()), "labels": {i: label for i, label in labels.items() if label},
    }  # fmt: skip


def _head(h: Any, axes: list[Any]) -> dict[str, Any]:
    return {
        "class": str(h.ClassName()), "name": str(h.GetName()), "title": str(h.GetTitle()),
        "axes": [_axis(axis) for axis in axes], "content": content_axis(h).GetTitle() if h.InheritsFrom("TH1") else "",
    }  # fmt: skip


def _sumw2(h: Any, cells: int) -> npt.NDArray[np.float64]:
    return _copy(h.GetSumw2().GetArray(), np.float64, cells if h.GetSumw2N() else 0)


def _stats(h: Any) -> npt.NDArray[np.float64]:
    """Return the sums of w, w^2, wx and so on of all fills, as `PutStats` takes them.

    `GetStats` would compute them from the bins if the weights add up to 0.
    """
    import ROOT

    buffer = np.zeros(20, np.float64)  # TH1::kNstat is 13
    ROOT.portico.ReadSums(h, buffer)
    return buffer


def _histogram(name: str, h: Any) -> Product:
    kind = str(h.ClassName())
    if kind not in _HISTOGRAMS:
        raise _refusal(name, kind)
    h.BufferEmpty(1)
    cells = int(h.GetNcells())
    values, sumw2 = _copy(h.GetArray(), STORAGE[kind[-1]], cells), _sumw2(h, cells)
    if full := _full(values, sumw2):
        where = f"product '{name}': a bin has {full} of a {kind}"
        raise ProductError(f"{where}, at which ROOT stops counting; use a TH{kind[2]}D")
    arrays = {
        "values": values.astype(np.float64), "sumw2": sumw2, "stats": _stats(h), "entries": np.array([h.GetEntries()]),
    }  # fmt: skip
    return Product(ProductKind.HISTOGRAM, _head(h, axes_of(h)), arrays)


def _full(values: npt.NDArray[Any], sumw2: npt.NDArray[np.float64]) -> str:
    """Return what a bin has at which one more entry adds nothing: an integer's limit, 2^24 equal weights in a float."""
    if values.dtype.kind == "i":
        largest = np.iinfo(values.dtype).max
        return "the largest content" if ((values == largest) | (values == -largest)).any() else ""
    squares = sumw2 if sumw2.size else np.abs(values).astype(np.float64)
    many = np.square(values, dtype=np.float64) >= 2.0**24 * squares
    return "the largest count" if values.itemsize == 4 and (many & (squares > 0)).any() else ""


def _profile(h: Any) -> Product:
    h.BufferEmpty(1)
    cells = int(h.GetNcells())
    arrays = {
        "values": _copy(h.GetArray(), np.float64, cells),
        "sumw2": _sumw2(h, cells),
        "bin_entries": np.array([h.GetBinEntries(i) for i in range(cells)]),
        "bin_sumw2": _copy(h.GetBinSumw2().GetArray(), np.float64, cells if h.GetBinSumw2().GetSize() else 0),
        "stats": _stats(h),
        "entries": np.array([h.GetEntries()]),
    }
    limits = (h.GetYmin(), h.GetYmax()) if h.GetDimension() == 1 else (h.GetZmin(), h.GetZmax())
    meta = {**_head(h, axes_of(h)), "option": str(h.GetErrorOption()), "limits": [float(limit) for limit in limits]}
    return Product(ProductKind.PROFILE, meta, arrays)


def _thn(name: str, h: Any) -> Product:
    import ROOT

    if str(h.ClassName()) != "THnT<double>" and "THnD" not in str(h.ClassName()):
        raise ProductError(f"product '{name}' is a {h.ClassName()}, which cannot be merged; valid: {POSSIBLE}")
    cells = int(h.GetNbins())
    values, squares = np.zeros(cells), np.zeros(cells if h.GetCalculateErrors() else 0)
    ROOT.portico.ReadTHn(h, values, squares if squares.size else ROOT.nullptr)
    head = _head(h, [h.GetAxis(i) for i in range(h.GetNdimensions())])
    return Product(
        ProductKind.HISTOGRAM, {**head, "class": "THnD"},
        {"values": values, "sumw2": squares, "stats": np.zeros(0), "entries": np.array([h.GetEntries()])},
    )  # fmt: skip
