"""Conversion of the handles that a step returns to products; needs ROOT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from portico.errors import ProductError
from portico.results.product import Product, ProductKind
from portico.results.root_makers import STORAGE, axes_of, content_axis

__all__ = ["TAG", "collect", "collect_value", "tag_of", "variation_name"]

TAG = "_portico"
"""Attribute of a handle with the operation that made it, for handles whose type does not determine it."""

_POSSIBLE = (
    "Histo1D/2D/3D/ND, Profile1D/2D, Count, Sum, Mean, StdDev, Min, Max, Stats, Report, Graph, Take, AsNumpy, "
    "Snapshot, and VariationsFor of these"
)
_SCALARS = {
    "Count": ProductKind.COUNT, "Sum": ProductKind.SUM, "Min": ProductKind.MINIMUM, "Max": ProductKind.MAXIMUM,
}  # fmt: skip


def collect(name: str, handle: Any) -> dict[str, Product]:
    """Convert one handle whose event loop has run to products.

    Parameters
    ----------
    name : str
        The name under which the step returned it.
    handle : object
        An RResultPtr, RResultMap or AsNumpyResult, or a mapping of arrays.

    Returns
    -------
    dict of str to Product
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
    if kind == "AsNumpyResult":
        return {name: _arrays(name, handle.GetValue())}
    if isinstance(handle, Mapping) and all(isinstance(value, np.ndarray) for value in handle.values()):
        return {name: _arrays(name, handle)}
    if kind.startswith("RResultPtr<"):
        values = _parts(name, handle.GetValue())
        return {key: collect_value(key, value, tag_of(handle) or "") for key, value in values.items()}
    raise ProductError(f"product '{name}' is a {kind}, which cannot be collected; possible are {_POSSIBLE}")


def tag_of(handle: Any) -> Any:
    """Return the tag of a handle, or None. Access to an unknown attribute of an RResultPtr would run the event loop."""
    return getattr(handle, "__dict__", {}).get(TAG) if not isinstance(handle, dict) else None


def variation_name(name: str, variation: str) -> str:
    """Return the name of a varied product: ``mass`` and ``pt:up`` give ``mass_pt_up``."""
    return name if variation == "nominal" else f"{name}_{variation.replace(':', '_')}"


def _collect_variations(name: str, handle: Any) -> dict[str, Product]:
    # Access to a value of an RResultMap runs the event loop; access to its keys does not.
    handle["nominal"]
    keys = [str(key) for key in handle.GetKeys()]
    products = {}
    for key in keys:
        for part, value in _parts(name, handle[key]).items():
            product = collect_value(part, value, tag_of(handle) or "")
            products[variation_name(part, key)] = Product(
                product.kind, {**product.meta, "variation": [part, key]}, product.arrays, product.items
            )
    return products


def _parts(name: str, value: Any) -> dict[str, Any]:
    """Return the parts of a list of histograms, or of a selection's counts, by their own names."""
    if type(value).__name__ == "vector<TH1D>":
        return {str(histogram.GetName()): histogram for histogram in value}
    if type(value).__name__ == "Counts":
        return {**{str(flow.name): flow for flow in value.flows}, **_parts(name, value.histograms)}
    return {name: value}


def collect_value(name: str, value: Any, operation: str) -> Product:
    """Convert the value of one handle to a product; ``operation`` distinguishes operations that give the same type.

    Raises
    ------
    ProductError
        If it cannot be merged over chunks.
    """
    import ROOT

    if operation in _SCALARS:
        return _scalar(name, value, operation)
    if isinstance(value, ROOT.TStatistic):
        return _moments(value, operation or "Stats")
    if isinstance(value, (ROOT.TProfile, ROOT.TProfile2D)):
        return _profile(value)
    if isinstance(value, ROOT.THn):
        return _thn(name, value)
    if isinstance(value, ROOT.TH1):
        return _histogram(name, value)
    if isinstance(value, ROOT.TGraph):
        count = value.GetN()
        arrays = {"x": _copy(value.GetX(), np.float64, count), "y": _copy(value.GetY(), np.float64, count)}
        return Product(ProductKind.GRAPH, {"name": value.GetName(), "title": value.GetTitle()}, arrays)
    if isinstance(value, ROOT.RDF.RCutFlowReport):
        cuts = list(value)
        arrays = {
            "passed": np.array([cut.GetPass() for cut in cuts], np.int64),
            "all": np.array([cut.GetAll() for cut in cuts], np.int64),
        }
        return Product(ProductKind.CUTFLOW, {"cuts": [str(cut.GetName()) for cut in cuts]}, arrays)
    if type(value).__name__ == "Flow":
        return _flow(value)
    if operation == "Take" or type(value).__name__.startswith("vector<"):
        return _arrays(name, {name: np.asarray(list(value), dtype=object) if _is_nested(value) else np.asarray(value)})
    raise ProductError(
        f"product '{name}' is a {type(value).__name__}, which cannot be merged over chunks; possible are {_POSSIBLE}"
    )


def _flow(value: Any) -> Product:
    events = np.array(list(value.events), np.int64)
    arrays = {"passed": events[1:], "all": events[:-1]}
    arrays |= {name: np.array(list(getattr(value, name)), np.float64) for name in ("weights", "squares")}
    return Product(ProductKind.CUTFLOW, {"cuts": [str(cut) for cut in value.cuts]}, arrays)


def _is_nested(vector: Any) -> bool:
    return len(vector) > 0 and (isinstance(vector[0], str) or hasattr(vector[0], "__len__"))


def _scalar(name: str, value: Any, operation: str) -> Product:
    if not isinstance(value, (int, float, np.number)):
        raise ProductError(f"product '{name}': {operation} of {type(value).__name__} cannot be merged over chunks")
    dtype = np.int64 if isinstance(value, (int, np.integer)) else np.float64
    return Product(_SCALARS[operation], {"operation": operation}, {"value": np.array([value], dtype)})


def _moments(value: Any, operation: str) -> Product:
    import ROOT

    total = ROOT.portico.SumOf(value)
    moments = np.array([value.GetN(), value.GetW(), value.GetW2(), total, value.GetM2()], np.float64)
    bounds = {"minimum": np.array([value.GetMin()]), "maximum": np.array([value.GetMax()])}
    return Product(ProductKind.MOMENTS, {"operation": operation}, {"moments": moments, **bounds})


def _copy(pointer: Any, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
    return np.frombuffer(pointer, dtype=dtype, count=count).copy() if count else np.zeros(0, dtype)


def _axis(axis: Any) -> dict[str, Any]:
    bins = int(axis.GetNbins())
    edges = [float(axis.GetBinLowEdge(i)) for i in range(1, bins + 2)] if axis.IsVariableBinSize() else None
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
    buffer = np.zeros(20, np.float64)  # TH1::kNstat is 13
    h.GetStats(buffer)
    return buffer


def _histogram(name: str, h: Any) -> Product:
    dtype = STORAGE.get(str(h.ClassName())[-1])
    if dtype is None:
        raise ProductError(f"product '{name}' is a {h.ClassName()}, which cannot be merged; possible are {_POSSIBLE}")
    cells = int(h.GetNcells())
    values = _copy(h.GetArray(), dtype, cells).astype(np.float64)
    arrays = {"values": values, "sumw2": _sumw2(h, cells), "stats": _stats(h), "entries": np.array([h.GetEntries()])}
    return Product(ProductKind.HISTOGRAM, _head(h, axes_of(h)), arrays)


def _profile(h: Any) -> Product:
    cells = int(h.GetNcells())
    arrays = {
        "values": _copy(h.GetArray(), np.float64, cells),
        "sumw2": _sumw2(h, cells),
        "bin_entries": np.array([h.GetBinEntries(i) for i in range(cells)]),
        "bin_sumw2": _copy(h.GetBinSumw2().GetArray(), np.float64, cells if h.GetBinSumw2().GetSize() else 0),
        "stats": _stats(h),
        "entries": np.array([h.GetEntries()]),
    }
    return Product(ProductKind.PROFILE, {**_head(h, axes_of(h)), "option": str(h.GetErrorOption())}, arrays)


def _thn(name: str, h: Any) -> Product:
    import ROOT

    if str(h.ClassName()) != "THnT<double>" and "THnD" not in str(h.ClassName()):
        raise ProductError(f"product '{name}' is a {h.ClassName()}, which cannot be merged; possible are {_POSSIBLE}")
    cells = int(h.GetNbins())
    values, squares = np.zeros(cells), np.zeros(cells if h.GetCalculateErrors() else 0)
    ROOT.portico.ReadTHn(h, values, squares if squares.size else ROOT.nullptr)
    head = _head(h, [h.GetAxis(i) for i in range(h.GetNdimensions())])
    return Product(
        ProductKind.HISTOGRAM, {**head, "class": "THnD"},
        {"values": values, "sumw2": squares, "stats": np.zeros(0), "entries": np.array([h.GetEntries()])},
    )  # fmt: skip


def _arrays(name: str, columns: Mapping[str, Any]) -> Product:
    arrays: dict[str, npt.NDArray[Any]] = {}
    for column, values in columns.items():
        array = np.asarray(values)
        if array.dtype != object:
            arrays[column] = np.ascontiguousarray(array)
            continue
        rows = [np.asarray(row) for row in array]
        if any(row.ndim != 1 or row.dtype == object or row.dtype.kind in "US" for row in rows):
            raise ProductError(f"product '{name}': column '{column}' must have numbers or lists of numbers")
        arrays[column] = np.concatenate(rows) if rows else np.zeros(0)
        arrays[f"{column}#counts"] = np.array([len(row) for row in rows], np.int64)
    return Product(ProductKind.ARRAY, {}, arrays)
