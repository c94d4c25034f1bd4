"""Many histograms at once, as a selection fills them: one call of C++ in place of some thirty for each histogram."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from portico.results.product import Product, ProductKind

__all__ = ["products_from", "products_of"]

_STATS = 20


def products_of(histograms: Any) -> list[tuple[str, Product]]:
    """Return the products of a ``std::vector<TH1D>``, by the names of the histograms."""
    import ROOT

    flat = ROOT.portico.HistogramList(histograms)
    sizes = (_array(part, np.int64) for part in (flat.cells, flat.squares))
    numbers = (_array(part, np.float64) for part in (flat.values, flat.sumw2, flat.stats, flat.entries))
    return products_from(str(flat.heads), *sizes, *numbers)


def products_from(
    heads: str, cells: npt.NDArray[np.int64], squares: npt.NDArray[np.int64], values: npt.NDArray[np.float64],
    sumw2: npt.NDArray[np.float64], stats: npt.NDArray[np.float64], entries: npt.NDArray[np.float64],
) -> list[tuple[str, Product]]:  # fmt: skip
    """Return the products of a ``portico::HistogramList`` with these members, by the names of the histograms."""
    found, cell, square = [], 0, 0
    sizes = zip(_heads(heads), cells.tolist(), squares.tolist(), strict=True)
    for n, (head, of_values, of_squares) in enumerate(sizes):
        arrays = {
            "values": values[cell : cell + of_values], "sumw2": sumw2[square : square + of_squares],
            "stats": stats[n * _STATS : (n + 1) * _STATS], "entries": entries[n : n + 1],
        }  # fmt: skip
        cell, square = cell + of_values, square + of_squares
        found.append((head["name"], Product(ProductKind.HISTOGRAM, head, arrays)))
    return found


def _array(vector: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.frombuffer(vector.data(), dtype, vector.size()).copy() if vector.size() else np.zeros(0, dtype)


@lru_cache(maxsize=256)
def _heads(text: str) -> tuple[Mapping[str, Any], ...]:
    """Return the properties of the histograms, as `portico.results.root_objects.collect_value` does of one."""
    return tuple(_head(*record.split("\x1d")) for record in text.split("\x1e")[:-1])


def _fields(text: str) -> list[str]:
    fields = text.split("\x1f")[:-1]
    if "\x10" not in text:
        return fields
    return [re.sub(r"\x10(.)", lambda found: chr(ord(found[1]) - ord(" ")), field) for field in fields]


def _head(first: str, second: str) -> dict[str, Any]:
    name, title, content, bins, low, high, axis_title, *edges = _fields(first)
    words = _fields(second)
    axis = {
        "bins": int(bins), "low": float(low), "high": float(high),
        "edges": [float(edge) for edge in edges] or None, "title": axis_title,
        "labels": dict(zip(words[::2], words[1::2], strict=True)),
    }  # fmt: skip
    return {"class": "TH1D", "name": name, "title": title, "axes": [axis], "content": content}
