"""Histograms and profiles as `hist.Hist`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from portico.results.product import Product

__all__ = ["histogram_to_hist", "profile_to_hist"]


def histogram_to_hist(product: Product) -> Any:
    """Convert a histogram to a `hist.Hist`, with flow bins and squared weights."""
    import hist

    axes, cube = _axes_and_bins(product)
    storage = hist.storage.Weight() if "sumw2" in cube else hist.storage.Double()
    h = hist.Hist(*axes, storage=storage, label=product.meta["title"])
    view: Any = h.view(flow=True)
    if "sumw2" in cube:
        view["value"], view["variance"] = cube["values"], cube["sumw2"]
    else:
        view[...] = cube["values"]
    return h


def _axes_and_bins(product: Product) -> tuple[list[Any], dict[str, npt.NDArray[Any]]]:
    """Return the hist axes of a product, and its arrays in their shape."""
    axes = product.meta["axes"]
    shape = [axis["bins"] + 2 for axis in axes]
    # TH1..TH3 number their bins with the first axis running fastest, THn with the last.
    order: Any = "C" if product.meta["class"].startswith("THn") else "F"
    cube = {
        key: product.arrays[key].reshape(shape, order=order)
        for key in ("values", "sumw2", "bin_entries", "bin_sumw2")
        if product.arrays.get(key) is not None and product.arrays[key].size
    }
    hist_axes = []
    for number, axis in enumerate(axes):
        made, keep = _hist_axis(axis, cube["values"], number)
        hist_axes.append(made)
        cube = {key: np.take(array, keep, axis=number) for key, array in cube.items()}
    return hist_axes, cube


def _hist_axis(axis: Mapping[str, Any], values: npt.NDArray[Any], number: int) -> tuple[Any, npt.NDArray[np.intp]]:
    """Return a hist axis, and the indices of ROOT's bins, including flow bins, that it keeps."""
    import hist

    bins = axis["bins"]
    everything = np.arange(bins + 2)
    flows = np.take(values, [0, bins + 1], axis=number)
    if len(axis["labels"]) == bins and not flows.any():
        labels = [axis["labels"][str(i)] for i in range(1, bins + 1)]
        if len(set(labels)) == bins:
            return hist.axis.StrCategory(labels, label=axis["title"], flow=False), everything[1:-1]
    if axis["edges"] is not None:
        return hist.axis.Variable(axis["edges"], label=axis["title"]), everything
    return hist.axis.Regular(bins, axis["low"], axis["high"], label=axis["title"]), everything


def profile_to_hist(product: Product) -> Any:
    """Convert a profile to a `hist.Hist`, with flow bins and squared weights."""
    import hist

    axes, cube = _axes_and_bins(product)
    entries = cube["bin_entries"]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(entries != 0, cube["values"] / entries, 0.0)
    deltas = np.maximum(cube["sumw2"] - mean * cube["values"], 0.0)
    weighted = "bin_sumw2" in cube
    storage = hist.storage.WeightedMean() if weighted else hist.storage.Mean()
    h = hist.Hist(*axes, storage=storage, label=product.meta["title"])
    view: Any = h.view(flow=True)
    view["value"] = mean
    if weighted:
        view["sum_of_weights"], view["sum_of_weights_squared"] = entries, cube["bin_sumw2"]
        view["_sum_of_weighted_deltas_squared"] = deltas
    else:
        view["count"], view["_sum_of_deltas_squared"] = entries, deltas
    return h
