"""Histograms and profiles as `hist.Hist`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from portico.results.product import Product

__all__ = ["effective_entries", "errors_of_means", "histogram_to_hist", "profile_means", "profile_to_hist"]

Array = npt.NDArray[np.float64]


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
        made = _hist_axis(axis)
        hist_axes.append(made)
        if not made.traits.underflow:
            cube = {key: _without_underflow(array, number) for key, array in cube.items()}
    return hist_axes, cube


def _without_underflow(array: npt.NDArray[Any], number: int) -> npt.NDArray[Any]:
    """Add the underflow to the overflow: an axis of labels has one bin for all that has none of them."""
    moved = np.moveaxis(array, number, 0)
    return np.moveaxis(np.concatenate([moved[1:-1], [moved[-1] + moved[0]]]), 0, number)


def _hist_axis(axis: Mapping[str, Any]) -> Any:
    """Return a hist axis, whose type depends on ROOT's axis alone: of labels if each bin has one of its own."""
    import hist

    bins = axis["bins"]
    labels = [axis["labels"].get(str(i), "") for i in range(1, bins + 1)]
    if all(labels) and len(set(labels)) == bins:
        return hist.axis.StrCategory(labels, label=axis["title"], flow=True)
    named: dict[str, Any] = {"__dict__": {"labels": dict(axis["labels"])}} if axis["labels"] else {}
    if axis["edges"] is not None:
        return hist.axis.Variable(axis["edges"], label=axis["title"], **named)
    return hist.axis.Regular(bins, axis["low"], axis["high"], label=axis["title"], **named)


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
    h: Any = hist.Hist(*axes, storage=storage, label=product.meta["title"])
    view = h.view(flow=True)
    view["value"] = mean
    if weighted:
        view["sum_of_weights"], view["sum_of_weights_squared"] = entries, cube["bin_sumw2"]
        view["_sum_of_weighted_deltas_squared"] = deltas
    else:
        view["count"], view["_sum_of_deltas_squared"] = entries, deltas
    if option := product.meta.get("option", ""):
        h.error_option = option
    return h


def errors_of_means(h: Any, *, flow: bool = False) -> Array:
    """Return the errors of a profile as ``TProfile`` has them; NaN where the sum of weights is not above 0.

    ``h.variances()`` differs: it divides by n - 1, and takes sums of weights for numbers of entries.

    Parameters
    ----------
    h : hist.Hist
        With means in its bins.
    flow : bool
        Whether to include the flow bins.
    """
    view: Any = h.view(flow=flow)
    if "sum_of_weights" in view.dtype.names:
        weights, squares, deltas = (
            view[field] for field in ("sum_of_weights", "sum_of_weights_squared", "_sum_of_weighted_deltas_squared")
        )
    else:
        weights = squares = view["count"]
        deltas = view["_sum_of_deltas_squared"]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(weights > 0, np.sqrt(np.maximum(deltas / weights, 0.0)), np.nan)
        return _errors(spread, weights, weights**2 / squares, getattr(h, "error_option", ""))


def _errors(spread: Array, weights: Array, effective: Array, option: str) -> Array:
    """Return errors of means by the error option of ``TProfile``."""
    match option:
        case "s":
            return spread
        case "i":  # the values are integers, which have an error of 1 / sqrt(12)
            return np.where(spread == 0, 1 / np.sqrt(12 * effective), spread / np.sqrt(effective))
        case "g":  # the weights are 1 / sigma^2
            return np.where(np.isnan(spread), np.nan, 1 / np.sqrt(weights))
        case _:
            return np.asarray(spread / np.sqrt(effective))


def profile_means(
    sums: Array, squares: Array, weights: Array, effective: Array, option: str = ""
) -> tuple[Array, Array]:
    """Return means and their errors as ``TProfile`` has them; NaN where the sum of weights is not above 0.

    Parameters
    ----------
    sums, squares, weights : array
        Sums of w y, w y^2 and w in each bin.
    effective : array
        Effective entries, see `effective_entries`.
    option : str
        The error option of the profile: "", "s", "i" or "g".
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(weights > 0, sums / weights, np.nan)
        spread = np.sqrt(np.maximum(squares / weights - mean**2, 0.0))
        return mean, _errors(spread, weights, effective, option)


def effective_entries(products: Sequence[Product]) -> npt.NDArray[np.float64]:
    """Return (sum of w)^2 / (sum of w^2) in each bin of profiles that are added; without weights, the entries."""
    weights = np.sum([product.arrays["bin_entries"] for product in products], axis=0, dtype=np.float64)
    each = (p.arrays["bin_sumw2"] if p.arrays["bin_sumw2"].size else p.arrays["bin_entries"] for p in products)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(weights**2 / np.sum(list(each), axis=0, dtype=np.float64))
