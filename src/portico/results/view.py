"""Results: what a step gave for a sample, as `hist.Hist`, ROOT objects, small tables and plain files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from portico.errors import nearest
from portico.files.atomic import write_atomic
from portico.results.product import Product

__all__ = ["Cutflow", "Results", "describe", "to_hist", "write_root"]


@dataclass(frozen=True, slots=True)
class Cutflow:
    """How many entries reached and passed each named cut.

    Parameters
    ----------
    cuts : tuple of str
        Names, in order.
    reached, passed : tuple of int
        Entries before and after each cut.
    yields, uncertainties : tuple of float
        Sums of weights before all cuts and after each, and roots of the sums of squared weights; empty where entries
        have no weight.
    """

    cuts: tuple[str, ...]
    reached: tuple[int, ...]
    passed: tuple[int, ...]
    yields: tuple[float, ...] = ()
    uncertainties: tuple[float, ...] = ()

    def rows(self) -> list[tuple[str, int, int, float, float]]:
        """Return name, reached, passed, efficiency and cumulative efficiency of each cut."""
        first = self.reached[0] if self.reached else 0
        return [
            (cut, reached, passed, passed / reached if reached else 0.0, passed / first if first else 0.0)
            for cut, reached, passed in zip(self.cuts, self.reached, self.passed, strict=True)
        ]

    def __str__(self) -> str:
        width = max((len(cut) for cut in self.cuts), default=3)
        lines = [f"{'cut':{width}} {'reached':>12} {'passed':>12} {'eff.':>7} {'cum.':>7}"]
        lines += [f"{cut:{width}} {a:>12} {p:>12} {e:>7.2%} {c:>7.2%}" for cut, a, p, e, c in self.rows()]
        if self.yields:
            pairs = zip(self.yields[1:], self.uncertainties[1:], strict=True)
            weighted = [f"{'yield':>12} {'+-':>10}", *(f"{value:>12.5g} {error:>10.2g}" for value, error in pairs)]
            lines = [f"{line} {more}" for line, more in zip(lines, weighted, strict=True)]
        return "\n".join(lines)


class Results(Mapping[str, Any]):
    """The products of one step for one sample.

    ``results["mass"]`` is a `hist.Hist` for a histogram or profile, a number for Count, Sum, Mean, StdDev,
    Min and Max, a mapping of four numbers for Stats, a `Cutflow` for Report, a mapping of arrays for Take,
    AsNumpy and Graph, and a list of paths for Snapshot. ``results.root["mass"]`` is the ROOT object.

    Parameters
    ----------
    sample : str
        Name of the sample.
    products : mapping of str to Product
        What was merged.
    """

    def __init__(self, sample: str, products: Mapping[str, Product]) -> None:
        self.sample = sample
        self.products = products

    def __getitem__(self, name: str) -> Any:
        if name not in self.products:
            raise KeyError(f"no product '{name}' in sample '{self.sample}'; {nearest(name, self.products)}")
        return _show(self.products[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.products)

    def __len__(self) -> int:
        return len(self.products)

    @property
    def cutflows(self) -> dict[str, Cutflow]:
        """The cutflows by name."""
        return {name: self[name] for name, product in self.products.items() if product.kind == "cutflow"}

    @property
    def root(self) -> Mapping[str, Any]:
        """Histograms, profiles and graphs as ROOT objects, made when they are asked for."""
        return _RootView(self.products)

    def variations(self, name: str) -> dict[str, Any]:
        """Return a product under each of its systematic variations, ``nominal`` first."""
        found = {
            product.meta["variation"][1]: _show(product)
            for product in self.products.values()
            if product.meta.get("variation", [""])[0] == name
        }
        return found or {"nominal": self[name]}


class _RootView(Mapping[str, Any]):
    def __init__(self, products: Mapping[str, Product]) -> None:
        self._products = {n: p for n, p in products.items() if p.kind in {"histogram", "profile", "graph"}}

    def __getitem__(self, name: str) -> Any:
        from portico import root
        from portico.results.root_objects import to_root

        root.load()
        return to_root(name, self._products[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._products)

    def __len__(self) -> int:
        return len(self._products)


def _show(product: Product) -> Any:
    match product.kind:
        case "histogram" | "profile":
            return to_hist(product)
        case "count" | "sum" | "minimum" | "maximum":
            return product.arrays["value"][0].item()
        case "moments":
            return _show_moments(product)
        case "cutflow":
            arrays, none = product.arrays, np.zeros(0)
            columns = (arrays["all"], arrays["passed"], arrays.get("weights", none), arrays.get("squares", none) ** 0.5)
            return Cutflow(tuple(product.meta["cuts"]), *(tuple(column.tolist()) for column in columns))
        case "tree":
            return [item["path"] for item in product.items]
        case "array":
            return _columns(product.arrays)
        case _:
            return dict(product.arrays)


def _show_moments(product: Product) -> Any:
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


def _columns(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Return columns as numpy arrays, or awkward arrays where an event has a list."""
    columns: dict[str, Any] = {}
    for name, array in arrays.items():
        if name.endswith("#counts"):
            continue
        counts = arrays.get(f"{name}#counts")
        if counts is None:
            columns[name] = array
        else:
            import awkward

            columns[name] = awkward.unflatten(array, counts)
    return columns


def to_hist(product: Product) -> Any:
    """Make a `hist.Hist` of a histogram or profile, flow bins and squared weights included."""
    import hist

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
    if product.kind == "profile":
        return _profile_hist(hist_axes, cube, product)
    storage = hist.storage.Weight() if "sumw2" in cube else hist.storage.Double()
    h = hist.Hist(*hist_axes, storage=storage, label=product.meta["title"])
    view: Any = h.view(flow=True)
    if "sumw2" in cube:
        view["value"], view["variance"] = cube["values"], cube["sumw2"]
    else:
        view[...] = cube["values"]
    return h


def _hist_axis(axis: Mapping[str, Any], values: npt.NDArray[Any], number: int) -> tuple[Any, npt.NDArray[np.intp]]:
    """Return a hist axis, and which of ROOT's bins (with both flow bins) it has."""
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


def _profile_hist(axes: list[Any], cube: dict[str, npt.NDArray[Any]], product: Product) -> Any:
    import hist

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


def describe(products: Mapping[str, Product]) -> dict[str, Any]:
    """Return what JSON can hold of products: everything but bin contents and arrays."""
    results = Results("", products)
    content: dict[str, Any] = {}
    for name, product in products.items():
        entry: dict[str, Any] = {"kind": product.kind, **product.meta}
        match product.kind:
            case "cutflow":
                entry |= {key: array.tolist() for key, array in product.arrays.items()}
            case "histogram" | "profile":
                entry["entries"] = product.arrays["entries"][0].item()
            case "tree":
                entry["files"] = list(product.items)
            case "array" | "graph":
                entry["columns"] = {key: len(array) for key, array in product.arrays.items()}
            case _:
                entry["value"] = _finite(results[name])
        content[name] = entry
    return content


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_root(path: Path, samples: Mapping[str, Mapping[str, Product]], labels: Mapping[str, str]) -> None:
    """Write ``results.root``: a folder for each sample, with histograms, profiles, graphs and array trees.

    ``labels`` says of samples that they are partial: a TNamed ``partial`` in their folder.
    """
    import ROOT
    import uproot

    from portico.results.root_objects import to_root

    with write_atomic(path) as aside:
        file = ROOT.TFile.Open(str(aside), "RECREATE")
        for sample, products in samples.items():
            folder = file.mkdir(sample)
            if sample in labels:
                folder.WriteTObject(ROOT.TNamed("partial", labels[sample]), "partial")
            for name, product in products.items():
                made = to_root(name, product)
                if made is not None:
                    folder.WriteTObject(made, name) if isinstance(made, ROOT.TObject) else folder.WriteObject(
                        made, name
                    )
        file.Close()
        arrays = [(s, n, p) for s, products in samples.items() for n, p in products.items() if p.kind == "array"]
        if arrays:
            with uproot.update(aside) as update:
                for sample, name, product in arrays:
                    update.mktree(f"{sample}/{name}", _types(product)).extend(_columns(product.arrays))


def _types(product: Product) -> dict[str, Any]:
    arrays = product.arrays
    return {
        name: f"var * {array.dtype.name}" if f"{name}#counts" in arrays else array.dtype
        for name, array in arrays.items()
        if not name.endswith("#counts")
    }
