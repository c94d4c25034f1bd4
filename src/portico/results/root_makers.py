"""Conversion of products to ROOT objects; needs ROOT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from portico.errors import ProductError
from portico.results.product import Product

__all__ = ["STORAGE", "axes_of", "content_axis", "make_graph", "make_histogram", "make_profile"]

STORAGE = {"D": np.float64, "F": np.float32, "I": np.int32, "L": np.int64, "S": np.int16}
"""Type of the bins of a histogram by the last letter of its class."""


def make_graph(name: str, product: Product) -> Any:
    """Make the ``TGraph``, ``TGraphErrors`` or ``TGraphAsymmErrors`` of a graph."""
    import ROOT

    columns = [array.copy() for array in product.arrays.values()]
    kind = getattr(ROOT, product.meta.get("class", "TGraph"))
    graph = kind(len(columns[0]), *columns) if len(columns[0]) else kind()
    graph.SetNameTitle(name, product.meta["title"])
    return graph


def make_histogram(name: str, product: Product) -> Any:
    """Make the ``TH1``, ``TH2``, ``TH3`` or ``THnD`` of a histogram.

    Raises
    ------
    ProductError
        If the merged contents do not fit into integer bins.
    """
    if product.meta["class"] == "THnD":
        return _make_thn(name, product)
    h = _make_empty(name, product)
    _fill(name, h, product)
    _set_statistics(h, product)
    return h


def make_profile(name: str, product: Product) -> Any:
    """Make the ``TProfile`` or ``TProfile2D`` of a profile."""
    h = _make_empty(name, product, *product.meta["limits"], product.meta["option"])
    _fill(name, h, product)
    arrays = product.arrays
    for i, entries in enumerate(arrays["bin_entries"]):
        h.SetBinEntries(i, entries)
    if arrays["bin_sumw2"].size:
        if not h.GetBinSumw2().GetSize():
            h.Sumw2()
        np.frombuffer(h.GetBinSumw2().GetArray(), dtype=np.float64, count=h.GetNcells())[:] = arrays["bin_sumw2"]
    _set_statistics(h, product)
    return h


def content_axis(h: Any) -> Any:
    """Return the axis whose title describes the bins' contents."""
    return (h.GetYaxis, h.GetZaxis, h.GetZaxis)[h.GetDimension() - 1]()


def axes_of(h: Any) -> list[Any]:
    """Return the axes of a histogram's bins."""
    return [h.GetXaxis(), h.GetYaxis(), h.GetZaxis()][: h.GetDimension()]


def _edges(axis: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    if axis["edges"] is not None:
        return np.array(axis["edges"], np.float64)
    return np.linspace(axis["low"], axis["high"], axis["bins"] + 1)


def _make_empty(name: str, product: Product, *options: float | str) -> Any:
    import ROOT

    meta = product.meta
    arguments: list[Any] = []
    for axis in meta["axes"]:
        arguments.append(axis["bins"])
        arguments.extend([axis["low"], axis["high"]] if axis["edges"] is None else [_edges(axis)])
    if meta["class"] == "TH3D" and len({a["edges"] is None for a in meta["axes"]}) > 1:
        arguments = [part for axis in meta["axes"] for part in (axis["bins"], _edges(axis))]
    h = getattr(ROOT, meta["class"])(name, meta["title"], *arguments, *options)
    h.SetDirectory(ROOT.nullptr)
    if h.GetDimension() < 3:
        content_axis(h).SetTitle(meta["content"])
    for axis, root_axis in zip(meta["axes"], axes_of(h), strict=True):
        _describe_axis(root_axis, axis)
    return h


def _describe_axis(root_axis: Any, axis: Mapping[str, Any]) -> None:
    root_axis.SetTitle(axis["title"])
    for bin_number, label in axis["labels"].items():
        root_axis.SetBinLabel(int(bin_number), label)


def _fill(name: str, h: Any, product: Product) -> None:
    arrays = product.arrays
    cells = h.GetNcells()
    dtype = np.dtype(STORAGE.get(product.meta["class"][-1], np.float64))
    values = arrays["values"].astype(dtype)
    if dtype.kind == "i" and not np.array_equal(values, arrays["values"]):
        raise ProductError(f"product '{name}': the merged contents exceed a {product.meta['class']}; use a TH1D")
    np.frombuffer(h.GetArray(), dtype=dtype, count=cells)[:] = values
    if arrays["sumw2"].size:
        if not h.GetSumw2N():
            h.Sumw2()
        np.frombuffer(h.GetSumw2().GetArray(), dtype=np.float64, count=cells)[:] = arrays["sumw2"]
    elif h.GetSumw2N():  # as TH1::SetDefaultSumw2 has it: squares of 0 for contents that are not
        h.Sumw2(False)


def _set_statistics(h: Any, product: Product) -> None:
    h.PutStats(product.arrays["stats"].copy())
    h.SetEntries(float(product.arrays["entries"][0]))


def _make_thn(name: str, product: Product) -> Any:
    import ROOT

    axes = product.meta["axes"]
    bins = np.array([axis["bins"] for axis in axes], np.int32)
    low, high = (np.array([axis[key] for axis in axes], np.float64) for key in ("low", "high"))
    h = ROOT.THnD(name, product.meta["title"], len(axes), bins, low, high)
    for i, axis in enumerate(axes):
        if axis["edges"] is not None:
            h.GetAxis(i).Set(axis["bins"], _edges(axis))
        _describe_axis(h.GetAxis(i), axis)
    squares = product.arrays["sumw2"].copy()
    if squares.size:
        h.Sumw2()
    ROOT.portico.WriteTHn(h, product.arrays["values"].copy(), squares if squares.size else ROOT.nullptr)
    h.SetEntries(float(product.arrays["entries"][0]))
    return h
