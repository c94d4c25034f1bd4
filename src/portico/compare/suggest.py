"""A mapping to begin with, where the names of two sides do not match: by axes of histograms and likeness of names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import numpy as np
import yaml

from portico.compare.sides import FileSide, RunSide
from portico.errors import PorticoError
from portico.results.product import Product, ProductKind

__all__ = ["suggest"]

_LIKE: Final = 0.4
_MOST_READ: Final = 800  # products of a side
_MOST: Final = 40  # entries of a mapping

_Shape = tuple[Any, ...]
_Content = tuple[float, ...]
_TREE: Final[_Shape] = ("tree",)


def suggest(first: RunSide | FileSide, second: RunSide | FileSide) -> str:
    """Return the text of a mapping that pairs what looks alike, with a line before it; empty if nothing does.

    Histograms are alike if they have the same bins, and the same content or similar names; trees if their names are
    similar or there is one. The pairs that are most alike are chosen first.
    """
    ours, theirs = (second, first) if isinstance(first, FileSide) and isinstance(second, RunSide) else (first, second)
    chosen = _choose(ours, theirs)
    histograms = {one: other for one, (other, shape) in chosen.items() if shape != _TREE}
    trees = [{"ours": one, "theirs": other} for one, (other, shape) in chosen.items() if shape == _TREE]
    content: dict[str, Any] = {"histograms": histograms} if histograms else {}
    if trees:
        content["trees"] = trees
    if not content:
        return ""
    text = yaml.safe_dump(content, sort_keys=False, width=1000, allow_unicode=True)
    return (
        "\na mapping to begin with, which pairs histograms with the same bins by content and name; check it, save it, "
        f"and give it with --mapping:\n\n{text}"
    )


def _choose(ours: RunSide | FileSide, theirs: RunSide | FileSide) -> dict[str, tuple[str, _Shape]]:
    """Return the addresses of ours with those of theirs, in the order of ours; ``{sample}`` stands for all samples."""
    pairs = sorted(_pairs(ours, theirs), key=lambda pair: (-pair[0], pair[1]))
    found: dict[str, tuple[int, str, _Shape]] = {}
    ours_used: set[str] = set()
    theirs_used: set[str] = set()
    for _, order, address, other, shape in pairs:
        sample = _sample_of(address, ours)
        pattern, name = _general(address, sample), _general(other, sample)
        if address in ours_used or other in theirs_used or pattern in found:
            continue
        ours_used.add(address)
        theirs_used.add(other)
        found[pattern if name != other else address] = order, name, shape
    ordered = sorted(found.items(), key=lambda item: item[1][0])[:_MOST]
    return {address: (name, shape) for address, (_, name, shape) in ordered}


def _pairs(ours: RunSide | FileSide, theirs: RunSide | FileSide) -> Iterator[tuple[float, int, str, str, _Shape]]:
    """Yield each pair that is alike: how much, the place of ours, both addresses, and their bins."""
    known: dict[_Shape, list[tuple[str, _Content]]] = {}
    for address, shape, content in islice(_shapes(theirs), _MOST_READ):
        known.setdefault(shape, []).append((address, content))
    for order, (address, shape, content) in enumerate(islice(_shapes(ours), _MOST_READ)):
        others = known.get(shape, [])
        sample = _sample_of(address, ours)
        for other, its in others:
            likeness = _likeness(_name(address), _name(other))
            same = bool(content) and np.allclose(content, its, rtol=1e-6, atol=0)
            if likeness >= _LIKE or same or (shape == _TREE and len(others) == 1):
                of_sample = bool(sample) and sample in other.split("/")
                yield likeness + 0.25 * of_sample + same, order, address, other, shape


def _sample_of(address: str, ours: RunSide | FileSide) -> str:
    return address.split("/")[1] if isinstance(ours, RunSide) else address.rpartition("/")[0]


def _shapes(side: RunSide | FileSide) -> Iterator[tuple[str, _Shape, _Content]]:
    """Yield the addresses of histograms with their bins and a summary of their content, and of trees."""
    products: Iterator[tuple[str, Product]] = side.addresses() if isinstance(side, RunSide) else _of_file(side)
    for address, product in products:
        if product.kind is ProductKind.TREE:
            yield address, _TREE, ()
        elif "axes" in product.meta and product.meta.get("variation", ["", "nominal"])[1] == "nominal":
            axes = product.meta["axes"]
            shape = tuple((axis["bins"], float(axis["low"]), float(axis["high"])) for axis in axes)
            yield address, shape, _content(product)


def _content(product: Product) -> _Content:
    """Return numbers that only histograms with the same bins share; none if all bins are empty."""
    values = np.asarray(product.arrays.get("values", ()), np.float64).ravel()
    if not np.any(values):
        return ()
    return float(values.sum()), float(values @ np.arange(1.0, values.size + 1)), float(values @ values)


def _of_file(side: FileSide) -> Iterator[tuple[str, Product]]:
    for path in [*side.file.trees, *side.file.histograms]:
        with suppress(PorticoError):  # what cannot be read is told when it is compared
            yield path, side.product(path)


def _name(address: str) -> str:
    return address.rpartition("/")[2].lower()


@lru_cache(maxsize=100_000)
def _likeness(name: str, other: str) -> float:
    """Return how alike two names are, from 0 to 1."""
    matcher = SequenceMatcher(None, name, other)
    return matcher.ratio() if matcher.real_quick_ratio() >= _LIKE else 0.0


def _general(address: str, sample: str) -> str:
    """Return an address with the field of the sample in the place of its name."""
    parts = address.split("/")
    if sample in parts:
        parts[parts.index(sample)] = "{sample}"
    return "/".join(parts)
