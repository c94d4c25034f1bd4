"""Results of a step for a sample as `hist.Hist`, ROOT objects, numbers and files."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from portico.errors import nearest
from portico.files.atomic import write_atomic
from portico.results.cutflow import Cutflow, Cutflows
from portico.results.kinds import KINDS
from portico.results.product import Product, ProductKind
from portico.results.table import ShownTable

__all__ = ["Results", "StepResults", "describe", "in_words", "plain", "write_root"]


class Results(Mapping[str, Any]):
    """The products of one step for one sample.

    ``results["mass"]`` is a `hist.Hist` for a histogram or profile, a number for Count, Sum, Mean, StdDev,
    Min and Max, a mapping of four numbers for Stats, a `Cutflow` for Report, a mapping of arrays for Take,
    AsNumpy and Graph, and a list of paths for Snapshot. ``results.root["mass"]`` is the ROOT object. Of a step over
    points, ``points`` and ``values`` are lists.

    Parameters
    ----------
    sample : str
        Name of the sample.
    products : mapping of str to Product
        The merged products.
    note : str
        What is to be known of them, such as that they were made with other options; empty if nothing.
    """

    def __init__(self, sample: str, products: Mapping[str, Product], note: str = "") -> None:
        self.sample = sample
        self.products = products
        self.note = note

    def __getitem__(self, name: str) -> Any:
        if name not in self.products:
            raise KeyError(f"no product '{name}' in sample '{self.sample}'; {nearest(name, self.products)}")
        return self._view(self.products[name])

    def _view(self, product: Product) -> Any:
        value = KINDS[product.kind].view(product)
        if self.note and isinstance(value, Cutflow):
            return replace(value, note=self.note)
        if self.note and KINDS[product.kind].bins:
            value.note = self.note  # goes on to what is computed from the histogram, and `portico.plot` shows it
        return value

    def __contains__(self, name: object) -> bool:
        return name in self.products

    def __iter__(self) -> Iterator[str]:
        return iter(self.products)

    def __len__(self) -> int:
        return len(self.products)

    def _table(self) -> ShownTable:
        rows = [(n, p.kind, in_words(p)) for n, p in self.products.items() if not _is_varied(p)]
        varied = len(self) - len(rows)
        more = f"{varied:,} systematic variation{'' if varied == 1 else 's'} of these: results.variations(NAME)"
        title = f"results of '{self.sample}', {len(self):,} product{'' if len(self) == 1 else 's'}"
        note = "\n".join([more] * bool(varied) + [self.note] * bool(self.note))
        return ShownTable(("product", "kind", "content"), rows, title, note, left=3)

    def __repr__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table().html()

    @property
    def cutflows(self) -> Cutflows:
        """The cutflows by name."""
        return Cutflows((name, self[name]) for name, p in self.products.items() if p.kind is ProductKind.CUTFLOW)

    @property
    def root(self) -> Mapping[str, Any]:
        """Histograms, profiles and graphs as ROOT objects, made on access."""
        return _RootView(self.products)

    def variations(self, name: str) -> dict[str, Any]:
        """Return a product under each of its systematic variations, ``nominal`` first."""
        found = {
            product.meta["variation"][1]: self._view(product)
            for product in self.products.values()
            if product.meta.get("variation", [""])[0] == name
        }
        return found or {"nominal": self[name]}


def _is_varied(product: Product) -> bool:
    return bool(product.meta.get("variation", ["", "nominal"])[1] != "nominal")


def in_words(product: Product) -> str:
    """Return in a few words what a product holds."""
    traits = KINDS[product.kind]
    if traits.extent is not None:
        return traits.extent(product)
    if traits.bins:
        bins = " x ".join(f"{axis['bins']:,}" for axis in product.meta["axes"])
        return f"{bins} bins, {product.arrays['entries'][0].item():,.0f} entries"
    value = traits.view(product)
    if isinstance(value, Cutflow):
        passed = f"{value.passed[-1]:,} of {value.reached[0]:,} pass" if value.cuts else "none"
        return f"{len(value.cuts)} cuts, {passed}"
    numbers = value if isinstance(value, dict) else {"": value}
    return ", ".join(f"{name} {number:,.6g}".strip() for name, number in numbers.items())


class StepResults(dict[str, Results]):
    """The results of one step by sample.

    Parameters
    ----------
    title : str
        What they are, in a line.
    results : mapping of str to Results
        By sample.
    note : str
        What is to be known of them; empty if nothing.
    """

    def __init__(self, title: str, results: Mapping[str, Results], note: str = "") -> None:
        super().__init__(results)
        self.title = title
        self.note = note

    def __missing__(self, sample: str) -> Results:
        raise KeyError(f"{self.title}: no sample '{sample}'; {nearest(sample, self)}")

    def _table(self) -> ShownTable:
        columns = 3 if any(results.note for results in self.values()) else 2
        rows = [(name, f"{len(results):,}", results.note)[:columns] for name, results in self.items()]
        return ShownTable(("sample", "products", "note")[:columns], rows, self.title, self.note)

    def __repr__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table().html()


class _RootView(Mapping[str, Any]):
    def __init__(self, products: Mapping[str, Product]) -> None:
        self._products = {
            name: (make, product)
            for name, product in products.items()
            if (make := KINDS[product.kind].to_root) is not None
        }

    def __getitem__(self, name: str) -> Any:
        from portico import root

        if name not in self._products:
            raise KeyError(f"no ROOT object '{name}'; {nearest(name, self._products)}")
        make, product = self._products[name]
        root.load()
        return make(name, product)

    def __iter__(self) -> Iterator[str]:
        return iter(self._products)

    def __len__(self) -> int:
        return len(self._products)


def describe(products: Mapping[str, Product]) -> dict[str, Any]:
    """Return a description of products for JSON, without bin contents and arrays."""
    return {
        name: plain({"kind": product.kind, **product.meta, **KINDS[product.kind].describe(product)})
        for name, product in products.items()
    }


def plain(value: Any) -> Any:
    """Return a value for JSON, which has neither infinity nor NaN: these become "inf", "-inf" and null."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def write_root(path: Path, samples: Mapping[str, Mapping[str, Product]], labels: Mapping[str, str]) -> None:
    """Write ``results.root``: a folder for each sample, with histograms, profiles, graphs and array trees.

    ``labels`` has a text for each partial sample, which becomes a TNamed ``partial`` in its folder, with ``_`` after it
    if a product has this name.
    """
    import ROOT
    import uproot

    with write_atomic(path) as aside:
        file = ROOT.TFile.Open(str(aside), "RECREATE")
        for sample, products in samples.items():
            folder = file.mkdir(sample)
            if sample in labels:
                label = _free("partial", products)
                folder.WriteTObject(ROOT.TNamed(label, labels[sample]), label)
            for name, product in products.items():
                if (make := KINDS[product.kind].to_root) is not None:
                    made = make(name, product)
                    write = folder.WriteTObject if isinstance(made, ROOT.TObject) else folder.WriteObject
                    write(made, name)
        file.Close()
        trees = {
            f"{sample}/{name}": convert(product)
            for sample, products in samples.items()
            for name, product in products.items()
            if (convert := KINDS[product.kind].to_tree) is not None
        }
        if trees:
            with uproot.update(aside) as update:
                for name, (types, columns) in trees.items():
                    if types is None:
                        update.mkrntuple(name, columns)
                    else:
                        update.mktree(name, types, counter_name=_counters(types)).extend(columns)


def _counters(columns: Mapping[str, Any]) -> Callable[[str], str]:
    """Return how the branches with the lengths of lists are named: ``nv`` for ``v``, unless a column has this name."""
    return lambda counted: _free(f"n{counted}", columns)


def _free(name: str, taken: Container[str]) -> str:
    while name in taken:
        name += "_"
    return name
