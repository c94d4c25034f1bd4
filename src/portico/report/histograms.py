"""Histograms of a step as compact numbers for the page, which draws them when they are chosen."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from portico.analysis.blinding import Blinding, open_bins
from portico.analysis.plotting import Group, PlotStyle
from portico.plot.bins import UNIT, drawn_edges, is_logarithmic, tell_ends
from portico.report.labels import to_html
from portico.results.hists import effective_entries, profile_means
from portico.results.kinds import KINDS
from portico.results.product import Product
from portico.results.view import Results

__all__ = ["Drawable", "can_be_drawn", "drawables", "split_names"]

Array = npt.NDArray[np.float64]
_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Drawable:
    """A histogram, profile or map of all samples of a step.

    Parameters
    ----------
    name : str
        Of the product.
    category, variable : str
        Parts of the name without its variation; the category may be empty.
    variation : str
        Such as ``pileup:up``; empty for the nominal one.
    products : mapping of str to Product
        By sample, all with the same axes.
    odd : tuple of str
        Samples in which it has other axes.
    """

    name: str
    category: str
    variable: str
    variation: str
    products: Mapping[str, Product]
    odd: tuple[str, ...] = ()

    def content(self, groups: Sequence[Group], style: PlotStyle, blinding: Blinding) -> dict[str, Any]:
        """Return what the page draws, for JSON: axes, blinded intervals, and the numbers of each group.

        Bins of data that touch a blinded interval have no number: they are null.
        """
        of, base = style.of(self.name, self.base, self.variable), next(iter(self.products.values()))
        axis = base.meta["axes"][0]
        edges = _edges(axis)
        means = KINDS[base.kind].bins == "means"
        content: dict[str, Any] = {
            "x": to_html((of.x if of.x is not None else axis["title"]) + tell_ends(edges)),
            "y": to_html(of.y) if of.y is not None else to_html(_vertical(axis, edges, base)),
            "e": _rounded(drawn_edges(edges), 9),
            "blind": [list(map(float, pair)) for pair in self._blind(blinding, self.products)],
        }
        content |= {key: 1 for key, on in (("log", of.log), ("logx", is_logarithmic(edges)), ("mean", means)) if on}
        if len(axis["labels"]) == axis["bins"]:
            content["labels"] = [to_html(axis["labels"].get(str(i), "")) for i in range(1, axis["bins"] + 1)]
        if len(base.meta["axes"]) == 2:
            second = base.meta["axes"][1]
            content |= {"y": to_html(second["title"]), "f": _rounded(drawn_edges(_edges(second)), 9)}
        content["g"] = {
            str(number): numbers
            for number, group in enumerate(groups)
            if (numbers := self._numbers(group, edges, blinding)) is not None
        }
        if words := self._left_out(groups):
            content["w"] = words
        return content

    def _left_out(self, groups: Sequence[Group]) -> str:
        """Return in words which samples are not drawn, or not in the sum of their group."""
        there = self.products
        drawn = [group.samples for group in groups if any(name in there for name in group.samples)]
        absent = [name for samples in drawn for name in samples if name not in there and name not in self.odd]
        parts = [f"{', '.join(self.odd)}: other bins, not drawn"] * bool(self.odd)
        return "; ".join([*parts, *[f"without {', '.join(absent)}"] * bool(absent)])

    @property
    def base(self) -> str:
        """The name without its variation."""
        return f"{self.category}_{self.variable}" if self.category else self.variable

    def _blind(self, blinding: Blinding, samples: Mapping[str, Any] | Sequence[str]) -> list[tuple[float, float]]:
        names = dict.fromkeys((self.name, self.base))
        return list(dict.fromkeys(interval for name in names for interval in blinding.of(name, samples)))

    def _numbers(self, group: Group, edges: Array, blinding: Blinding) -> dict[str, Any] | None:
        having = [self.products[sample] for sample in group.samples if sample in self.products]
        if not having:
            return None
        flat = len(having[0].meta["axes"]) == 1
        blind = self._blind(blinding, group.samples)
        if blind and not flat:
            return None
        sums = {
            key: np.sum([np.asarray(product.arrays[key], np.float64) for product in having], axis=0)
            for key in ("values", "bin_entries")
            if key in having[0].arrays
        }
        squares = np.sum([_squares(product) for product in having], axis=0)
        if not flat:
            return _map(having[0], sums["values"] * group.scale)
        values, errors = sums["values"] * group.scale, np.sqrt(squares) * group.scale
        if KINDS[having[0].kind].bins == "means":
            option = having[0].meta.get("option", "")
            weights, effective = sums["bin_entries"], effective_entries(having)
            values, errors = profile_means(sums["values"], squares, weights, effective, option)
        shown = open_bins(edges, blind)
        numbers = {"v": _rounded(np.where(shown, values[1:-1], np.nan))}
        if not np.allclose(errors**2, values, rtol=1e-9, atol=0):
            numbers["u"] = _rounded(np.where(shown, errors[1:-1], np.nan), 3)
        if not blind and KINDS[having[0].kind].bins == "contents" and values[[0, -1]].any():
            numbers["o"] = _rounded(values[[0, -1]])
        return numbers


def _edges(axis: Mapping[str, Any]) -> Array:
    if axis["edges"]:
        return np.array(axis["edges"], np.float64)
    return np.linspace(axis["low"], axis["high"], axis["bins"] + 1)


def _squares(product: Product) -> Array:
    squares = np.asarray(product.arrays["sumw2"], np.float64)
    return squares if squares.size else np.abs(np.asarray(product.arrays["values"], np.float64))


def _vertical(axis: Mapping[str, Any], edges: Array, product: Product) -> str:
    """Return the title of the y axis: ``events / 0.05 GeV``."""
    if KINDS[product.kind].bins == "means":
        return "mean"
    what, unit, widths = product.meta.get("content") or "events", UNIT.search(axis["title"]), np.diff(edges)
    if not unit or axis["labels"] or not np.allclose(widths, widths[0]):
        return f"{what} / bin" if not axis["labels"] else what
    return f"{what} / {'' if np.isclose(widths[0], 1) else f'{widths[0]:.3g} '}{unit[1]}"


def _map(product: Product, values: Array) -> dict[str, Any]:
    shape = [axis["bins"] + 2 for axis in product.meta["axes"]]
    order: Any = "C" if product.meta["class"].startswith("THn") else "F"
    inside = values.reshape(shape, order=order)[1:-1, 1:-1]
    return {"z": [_rounded(row, 4) for row in inside.T]}


def _rounded(numbers: Array, digits: int = _DIGITS) -> list[Any]:
    """Return numbers with a few digits as JSON has them: null for what is not finite, integers without a point."""
    return [
        None if not math.isfinite(x) else int(x) if x == int(x) and abs(x) < 1e15 else float(f"{x:.{digits}g}")
        for x in numbers.tolist()
    ]


def drawables(samples: Mapping[str, Results], style: PlotStyle) -> Iterator[Drawable]:
    """Return what of a step can be drawn, nominal histograms first, then variations.

    Samples whose histogram has other axes than that of the first sample are left out, and named.
    """
    found: dict[str, dict[str, Product]] = {}
    odd: dict[str, list[str]] = defaultdict(list)
    for sample, results in samples.items():
        for name, product in results.products.items():
            if can_be_drawn(product):
                having = found.setdefault(name, {})
                if not having or _same_bins(product, next(iter(having.values()))):
                    having[sample] = product
                else:
                    odd[name].append(sample)
    variations = {name: next(iter(of.values())).meta.get("variation", (name, "")) for name, of in found.items()}
    nominal = [name for name, (_, tag) in variations.items() if tag in {"", "nominal"}]
    parts = split_names(nominal, style.categories)
    place = {name: number for number, name in enumerate(nominal)}
    varied = sorted((name for name in found if variations[name][0] in place and name not in place),
                    key=lambda name: place[variations[name][0]])  # fmt: skip
    for name in (*nominal, *varied):
        base, tag = variations[name]
        category, variable = parts[name if name in parts else base]
        yield Drawable(name, category, variable, "" if name in parts else tag, found[name], tuple(odd[name]))


def can_be_drawn(product: Product) -> bool:
    """Return whether the page draws a product: histograms of one or two axes, and profiles of one."""
    most = {"contents": 2, "means": 1, "": 0}[KINDS[product.kind].bins]
    return most > 0 and len(product.meta["axes"]) <= most


def _same_bins(a: Product, b: Product) -> bool:
    keys = ("bins", "low", "high", "edges", "labels")
    one, other = ([[axis[key] for key in keys] for axis in product.meta["axes"]] for product in (a, b))
    return a.kind is b.kind and one == other


def split_names(names: Sequence[str], categories: Sequence[str] = ()) -> dict[str, tuple[str, str]]:
    """Split names of histograms into category and variable: ``SR_mass`` and ``CR_mass`` have the variable ``mass``.

    Without given categories, a first word is one if most of what follows it follows another first word, too.

    Parameters
    ----------
    names : sequence of str
        Of histograms.
    categories : sequence of str
        Those known.
    """
    words = {name: name.partition("_") for name in names if "_" in name}
    if categories:
        longest = sorted(categories, key=len, reverse=True)
        known = {name: next((c for c in longest if name.startswith(f"{c}_")), "") for name in names}
        return {name: (of, name[len(of) + 1 :] if of else name) for name, of in known.items()}
    shared = Counter(variable for _, _, variable in words.values())
    of_word, common = Counter(word for word, _, _ in words.values()), Counter[str]()
    for word, _, variable in words.values():
        common[word] += shared[variable] > 1
    found = {word for word, count in common.items() if count > 1 and 2 * count > of_word[word]}
    if len(found) < 2:
        return {name: ("", name) for name in names}
    return {n: (words[n][0], words[n][2]) if n in words and words[n][0] in found else ("", n) for n in names}
