"""Expected events of a model of RooFit in bins, by sample, and its data in the same bins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from portico import root
from portico.stats.roofit.built import Built, Part
from portico.stats.shapes import Array

__all__ = ["Channel", "channels_of", "main_of", "rows_of"]

_BINS: Final = 40  # of unbinned data
_POINTS: Final = 5  # of a function in a bin of unbinned data

#: A sample: its name, the density at the present place, and its expected events if they are known.
_Sample = tuple[str, Callable[[], float], Callable[[], float] | None]


class Channel:
    """A channel in bins of its variable; one bin where it has several variables.

    Attributes
    ----------
    name, label : str
    edges : array of shape (bins + 1,)
    observed : array of shape (bins,)
    samples : list of str
    summed : bool
        Whether it has several variables, and its one bin holds all events.
    """

    def __init__(self, part: Part, built: Built) -> None:
        self.name, self._part, self._root = part.name, part, root.load()
        self._main = main_of(part.pdf, part.variables)
        self._samples = self._all_samples()
        self.samples = [name for name, *_ in self._samples]
        self._x: Any = next(iter(part.variables), None) if part.variables.size() == 1 else None
        if self._main.InheritsFrom("RooPoisson"):
            self._x = None
        self.summed = self._x is None and not self._main.InheritsFrom("RooPoisson")
        self.label = "" if self._x is None else self._title()
        self.edges, self._inside = self._binning()
        self.observed = self.counts(*rows_of(part))
        poi = self._root.RooArgSet(built.space.var(built.poi))
        self.signals = [name for name, *_ in self._samples if self._depends(name, poi)]

    def _title(self) -> str:
        name = self._x.GetName().removesuffix(f"_{self.name}")
        title, unit = str(self._x.GetTitle()), str(self._x.getUnit())
        shown = title if title and title != self._x.GetName() else name
        return f"{shown} ({unit})" if unit else shown

    def _binning(self) -> tuple[Array, int]:
        if self._x is None:
            return np.array([0.0, 1.0]), 1
        binned = self._part.data.InheritsFrom("RooDataHist") or self._main.InheritsFrom("RooRealSumPdf")
        if binned:
            binning = self._x.getBinning()
            return np.array([binning.binLow(i) for i in range(binning.numBins())] + [binning.highBound()]), 1
        return np.linspace(self._x.getMin(), self._x.getMax(), _BINS + 1), _POINTS

    def counts(self, values: Array, events: Array) -> Array:
        """Return the events in the bins.

        Parameters
        ----------
        values : array of shape (n, variables)
        events : array of shape (n,)
        """
        if self._main.InheritsFrom("RooPoisson"):
            return np.array([values[0, 0]])
        places = values[:, 0] if self._x is not None else np.full(len(values), 0.5)
        at = np.clip(np.searchsorted(self.edges, places, side="right") - 1, 0, len(self.edges) - 2)
        counts = np.zeros(len(self.edges) - 1)
        np.add.at(counts, at, events)
        return counts

    def _all_samples(self) -> list[_Sample]:
        main, over = self._main, self._part.variables
        if main.InheritsFrom("RooAddPdf"):
            pdfs, coefficients = list(main.pdfList()), list(main.coefList())
            found = []
            for i, pdf in enumerate(pdfs):
                known = coefficients[i].getVal if len(coefficients) == len(pdfs) else None
                found.append((self._short(pdf.GetName()), _normalised(pdf, over), known))
            if len(coefficients) == len(pdfs) and len({name for name, *_ in found}) == len(found):
                return found
        if main.InheritsFrom("RooRealSumPdf"):
            pairs = zip(main.funcList(), main.coefList(), strict=False)
            found = [
                (self._short(function.GetName()), _product(function, coefficient), None)
                for function, coefficient in pairs
            ]
            if len({name for name, *_ in found}) == len(found):
                return found
        return [("total", _normalised(main, over), None)]

    def _short(self, name: str) -> str:
        """Return the name of a process from that of its function."""
        for prefix in ("shapeSig_", "shapeBkg_"):
            if name.startswith(prefix):
                return name.removeprefix(prefix).split(f"_{self.name}", 1)[0]
        for end in ("_shapes", f"_{self.name}"):
            name = name.removesuffix(end)
        return name.removeprefix(f"model_{self.name}_") or name

    def _depends(self, name: str, poi: Any) -> bool:
        main = self._main
        for lists in (("pdfList", "coefList"), ("funcList", "coefList")):
            if hasattr(main, lists[0]) and len(self._samples) == main.coefList().size():
                at = self.samples.index(name)
                return bool(main.coefList()[at].dependsOn(poi) or getattr(main, lists[0])()[at].dependsOn(poi))
        return bool(main.dependsOn(poi)) and name != "total"

    def events(self) -> dict[str, list[float]]:
        """Return the expected events of each sample in the bins, at the present values of the parameters."""
        if self._main.InheritsFrom("RooPoisson"):
            return {self.samples[0]: [float(self._main.getMean().getVal())]}
        total = self._total()
        if self._x is None:
            known = {name: of() for name, _, of in self._samples if of is not None}
            return {name: [known.get(name, total if len(self._samples) == 1 else 0.0)] for name in self.samples}
        before = self._x.getVal()
        widths = np.diff(self.edges)
        table = np.zeros((len(self._samples), len(widths)))
        for k in range(self._inside):
            for b, at in enumerate(self.edges[:-1] + (k + 0.5) / self._inside * widths):
                self._x.setVal(at)
                for i, (_, density, _) in enumerate(self._samples):
                    table[i, b] += density() * widths[b] / self._inside
        self._x.setVal(before)
        if all(of is not None for *_, of in self._samples):
            sums = table.sum(axis=1, keepdims=True)
            scale = np.array([[of()] for *_, of in self._samples if of is not None])
            table = np.divide(table, sums, out=np.zeros_like(table), where=sums != 0) * scale
        else:
            table *= total / table.sum()
        return {name: row.tolist() for name, row in zip(self.samples, table, strict=True)}

    def _total(self) -> float:
        pdf = self._part.pdf
        if pdf.canBeExtended():
            return float(pdf.expectedEvents(self._part.variables))
        return float(self._part.data.sumEntries())


def _product(function: Any, coefficient: Any) -> Callable[[], float]:
    return lambda: float(function.getVal() * coefficient.getVal())


def _normalised(pdf: Any, over: Any) -> Callable[[], float]:
    return lambda: float(pdf.getVal(over))


def rows_of(part: Part) -> tuple[Array, Array]:
    """Return the data of a channel: values of its variables, of shape (n, variables), and events at them."""
    data, names = part.data, [str(v.GetName()) for v in part.variables]
    columns = [str(v.GetName()) for v in data.get()]
    # A channel that was split off has the variables of all; one of a card has other names, in the same order.
    places = [columns.index(name) for name in names] if set(names) <= set(columns) else list(range(len(names)))
    values, events = np.zeros((data.numEntries(), len(names))), np.zeros(data.numEntries())
    for i in range(data.numEntries()):
        row = data.get(i)
        values[i] = [row[k].getVal() for k in places]
        events[i] = data.weight()
    return values, events


def main_of(pdf: Any, variables: Any) -> Any:
    """Return the only factor of a product that depends on the variables; the product itself if there are several."""
    while pdf.InheritsFrom("RooProdPdf") or pdf.InheritsFrom("RooExtendPdf"):
        inner = [of for of in (pdf.pdfList() if pdf.InheritsFrom("RooProdPdf") else pdf.servers())
                 if of.InheritsFrom("RooAbsPdf") and of.dependsOn(variables)]  # fmt: skip
        if len(inner) != 1:
            break
        pdf = inner[0]
    return pdf


def channels_of(built: Built) -> list[Channel]:
    """Return the channels of a model."""
    return [Channel(part, built) for part in built.parts]
