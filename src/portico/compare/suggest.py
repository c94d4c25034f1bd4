"""A mapping to begin with, where the names of two sides do not match: by axes of histograms and likeness of names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from difflib import SequenceMatcher
from itertools import islice
from typing import Any, Final

import yaml

from portico.compare.sides import FileSide, RunSide
from portico.errors import PorticoError
from portico.results.product import Product, ProductKind

__all__ = ["suggest"]

_LIKE: Final = 0.4
_MOST_READ: Final = 800  # products of a side
_MOST: Final = 40  # entries of a mapping

_Shape = tuple[Any, ...]


def suggest(first: RunSide | FileSide, second: RunSide | FileSide) -> str:
    """Return the text of a mapping that pairs what looks alike, with a line before it; empty if nothing does.

    Histograms are alike if they have the same bins and similar names, trees if their names are similar or there is one.
    """
    ours, theirs = (second, first) if isinstance(first, FileSide) and isinstance(second, RunSide) else (first, second)
    shapes: dict[_Shape, list[str]] = {}
    for address, shape in islice(_shapes(theirs), _MOST_READ):
        shapes.setdefault(shape, []).append(address)
    histograms: dict[str, str] = {}
    trees: dict[str, str] = {}
    used: set[str] = set()
    for address, shape in islice(_shapes(ours), _MOST_READ):
        found = trees if shape == _TREE else histograms
        known = shapes.get(shape, ())
        sample = address.split("/")[1] if isinstance(ours, RunSide) else address.rpartition("/")[0]
        pattern = _general(address, sample)
        if len(histograms) + len(trees) >= _MOST or pattern in found:
            continue
        best = max((other for other in known if other not in used), key=lambda other: _score(address, sample, other),
                   default="")  # fmt: skip
        alone = shape == _TREE and len(known) == 1
        if best and (alone or _likeness(address, best) >= _LIKE):
            used.add(best)
            name = _general(best, sample)
            found[pattern if name != best else address] = name
    content: dict[str, Any] = {"histograms": histograms} if histograms else {}
    if trees:
        content["trees"] = [{"ours": one, "theirs": other} for one, other in trees.items()]
    if not content:
        return ""
    text = yaml.safe_dump(content, sort_keys=False, width=1000, allow_unicode=True)
    return f"\na mapping to begin with, by axes and names; check it, save it, and give it with --mapping:\n\n{text}"


_TREE: Final[_Shape] = ("tree",)


def _shapes(side: RunSide | FileSide) -> Iterator[tuple[str, _Shape]]:
    """Yield the addresses of histograms with their bins, and of trees."""
    products: Iterator[tuple[str, Product]] = side.addresses() if isinstance(side, RunSide) else _of_file(side)
    for address, product in products:
        if product.kind is ProductKind.TREE:
            yield address, _TREE
        elif "axes" in product.meta and product.meta.get("variation", ["", "nominal"])[1] == "nominal":
            axes = product.meta["axes"]
            yield address, tuple((axis["bins"], float(axis["low"]), float(axis["high"])) for axis in axes)


def _of_file(side: FileSide) -> Iterator[tuple[str, Product]]:
    for path in [*side.file.trees, *side.file.histograms]:
        with suppress(PorticoError):  # what cannot be read is told when it is compared
            yield path, side.product(path)


def _likeness(address: str, other: str) -> float:
    """Return how alike two names are, from 0 to 1."""
    return SequenceMatcher(None, address.rpartition("/")[2].lower(), other.rpartition("/")[2].lower()).ratio()


def _score(address: str, sample: str, other: str) -> float:
    """Return how well two histograms go together: those of one sample better than those of two."""
    return _likeness(address, other) + (0.25 if sample and sample in other.split("/") else 0.0)


def _general(address: str, sample: str) -> str:
    """Return an address with the field of the sample in the place of its name."""
    parts = address.split("/")
    if sample in parts:
        parts[parts.index(sample)] = "{sample}"
    return "/".join(parts)
