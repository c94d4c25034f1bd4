"""Comparison of histograms and profiles bin by bin, which recognises entries that moved to a neighbouring bin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from portico.analysis.blinding import open_bins
from portico.compare.findings import Findings, largest_of, value_of
from portico.compare.model import Example
from portico.compare.numbers import Agreement, Tolerance, agree
from portico.results.product import Product

__all__ = ["LAYERS", "compare_bins", "migrated"]

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Pair = tuple[Array, Array]

LAYERS = {
    "values": "bins",
    "sumw2": "sums of squared weights",
    "bin_entries": "bins' sums of weights",
    "bin_sumw2": "bins' sums of squared weights",
}
_LONGEST_CHAIN = 64  # bins in a row that exchange entries; a longer chain is not a migration
_MANY = 10  # bins; if more than these and more than half differ, the distribution is another one
_EDGES = 1e-12  # of an axis' range: the same edges may differ this much if one side computed them


def compare_bins(findings: Findings, name: str, first: Product, second: Product) -> None:
    """Compare two histograms or profiles: axes, every bin with its sum of squared weights, entries, moments."""
    odd = _axes_differ(first.meta["axes"], second.meta["axes"])
    if odd is not None:
        findings.add("other", name, "axes", 1, [odd])
        return
    options = [product.meta.get("option", "") or "mean" for product in (first, second)]
    if options[0] != options[1]:
        findings.add("other", name, "error options", 1, [Example("", *options)])
    layers = _layers(first, second)
    shape = [axis["bins"] + 2 for axis in first.meta["axes"]]
    order: Any = "C" if first.meta["class"].startswith("THn") else "F"
    cubes = {k: (a.reshape(shape, order=order), b.reshape(shape, order=order)) for k, (a, b) in layers.items()}
    agreements = {key: agree(a, b, findings.tolerance) for key, (a, b) in cubes.items()}
    findings.tally.histograms += 1
    findings.tally.bins += int(np.prod(shape))
    for agreement in agreements.values():
        findings.count(agreement)
    _note_bins(findings, name, first, cubes, agreements)
    findings.compare(name, "entries", first.arrays["entries"], second.arrays["entries"], lambda _: "")
    stats = first.arrays["stats"], second.arrays["stats"]
    if stats[0].size == stats[1].size and not findings.touched(name):
        findings.compare(name, "moments", *stats, lambda i: f"moment {i}")


def _note_bins(
    findings: Findings,
    name: str,
    product: Product,
    cubes: Mapping[str, Pair],
    agreements: Mapping[str, Agreement],
) -> None:
    beyond = ~np.logical_and.reduce([agreement.close for agreement in agreements.values()])
    # A layer that cannot be negative measures the content.
    content = next(cubes[key] for key in ("bin_sumw2", "bin_entries", "sumw2", "values") if key in cubes)
    moved = migrated(list(cubes.values()), content, beyond, findings.tolerance) if beyond.any() else beyond
    example = partial(_example, product.meta["axes"], findings.blind(name, product))
    if moved.any():
        examples = (example(cubes["values"], index) for index in np.argwhere(moved).tolist())
        findings.add("migrated bin", name, "bins", int(moved.sum()), examples)
    seen = moved
    for key, agreement in agreements.items():
        here = ~agreement.close & ~seen
        seen = seen | here
        for kind, chosen in (("other", here), ("rounding", agreement.close & ~agreement.identical)):
            if chosen.any():
                found = (example(cubes[key], index) for index in np.argwhere(chosen).tolist())
                largest = largest_of(agreement, chosen)
                findings.add(kind, name, LAYERS[key], int(chosen.sum()), found, largest=largest)


def _example(
    axes: Sequence[Mapping[str, Any]], blind: Sequence[tuple[float, float]], pair: Pair, index: list[int]
) -> Example:
    """Name a bin and its contents; of a blinded histogram, only bins in one dimension outside the intervals."""
    where, first = bin_name(axes, index), index[0]
    if blind and (len(axes) > 1 or not open_bins(_edges(axes[0]), blind, flow=True)[first]):
        return Example(f"{where}: blinded", None, None)
    return Example(where, *(value_of(array[*index]) for array in pair))


def _layers(first: Product, second: Product) -> dict[str, Pair]:
    """Return the arrays of both; without squared weights all weights are 1, so these are the contents."""
    layers: dict[str, Pair] = {}
    for key, instead in (("values", ""), ("sumw2", "values"), ("bin_entries", ""), ("bin_sumw2", "bin_entries")):
        pair = first.arrays.get(key, np.zeros(0)), second.arrays.get(key, np.zeros(0))
        if not any(array.size for array in pair):
            continue
        a, b = (
            array if array.size else product.arrays[instead or key]
            for array, product in zip(pair, (first, second), strict=True)
        )
        layers[key] = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return layers


def migrated(layers: Sequence[Pair], content: Pair, beyond: Mask, tolerance: Tolerance) -> Mask:
    """Return those of the differing bins that only exchanged entries with their neighbours.

    Parameters
    ----------
    layers : sequence of (array, array)
        Sums of weights, of squares and so on of both, all of one shape, flow bins included.
    content : (array, array)
        The layer that measures the content of a bin; never negative.
    beyond : array of bool
        The bins that differ by more than the tolerance.
    tolerance : Tolerance
        Allowed difference between the totals of a group of bins, relative to their contents.

    Returns
    -------
    array of bool
        In one dimension: groups of bins whose totals agree in all layers, and in which no bin loses more than its
        content if every entry moves by one bin. In more dimensions: groups of adjacent bins (corners touch) whose
        totals agree, and in which neighbours account for every loss and gain. None if more than ten bins and more
        than half of the filled ones differ: parts of two different distributions can agree by chance.
    """
    filled = (content[0] != 0) | (content[1] != 0)
    if beyond.sum() > max(_MANY, filled.sum() / 2):
        return np.zeros_like(beyond)
    if beyond.ndim == 1:
        return _migrated_line(layers, content, beyond, tolerance)
    from scipy import ndimage

    around = np.ones((3,) * beyond.ndim)
    labels, count = ndimage.label(beyond, structure=around)
    numbers = np.arange(1, count + 1)
    kept = np.ones(count, bool)
    for a, b in layers:
        totals = ndimage.sum_labels(b - a, labels, numbers)
        kept &= np.abs(totals) <= _slack(ndimage.sum_labels(np.abs(a) + np.abs(b), labels, numbers), count, tolerance)
    change = content[1] - content[0]
    gain, loss = np.maximum(change, 0), np.maximum(-change, 0)
    slack = _slack(content[0] + content[1], beyond.size, tolerance)
    near = (ndimage.convolve(part, around, mode="constant") for part in (gain, loss))
    near_gain, near_loss = (array * (1 + tolerance.rtol) + slack for array in near)
    possible = (loss <= near_gain) & (gain <= near_loss)
    kept &= np.asarray(ndimage.minimum(possible, labels, numbers), bool)
    kept &= np.asarray(ndimage.sum_labels(beyond, labels, numbers)) > 1
    return np.asarray(np.isin(labels, numbers[kept]) & beyond)


def _migrated_line(layers: Sequence[Pair], content: Pair, beyond: Mask, tolerance: Tolerance) -> Mask:
    moved = np.zeros_like(beyond)
    # Adjacent bins first: an entry that is missing elsewhere must not hide a migration.
    for start, stop in _runs(beyond):
        if _exchanged(layers, content, beyond, slice(start, stop), tolerance):
            moved[start:stop] = True
    rest = beyond & ~moved
    a, b = layers[0]
    total = np.concatenate([[0.0], np.cumsum(np.where(rest, b - a, 0.0))])
    found = np.flatnonzero(rest)
    first = 0
    while first < found.size:
        begin = int(found[first])
        ends = found[first + 1 : np.searchsorted(found, begin + _LONGEST_CHAIN)] + 1
        window = slice(begin, begin + _LONGEST_CHAIN)
        slack = _slack(np.sum(np.abs(a[window]) + np.abs(b[window])), _LONGEST_CHAIN, tolerance)
        kept = ends[np.abs(total[ends] - total[begin]) <= slack + 4 * np.finfo(float).eps * np.abs(total).max()]
        for end in kept.tolist():
            chain = slice(begin, end)
            if _exchanged(layers, content, rest, chain, tolerance):
                moved[chain] |= rest[chain]
                first = int(np.searchsorted(found, end)) - 1
                break
        first += 1
    return moved


def _runs(mask: Mask) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _exchanged(layers: Sequence[Pair], content: Pair, chosen: Mask, part: slice, tolerance: Tolerance) -> bool:
    """Return whether moving entries to the next bin can explain the differences in a range of bins."""
    inside = chosen[part]
    significant = False
    for a, b in layers:
        change = np.where(inside, b[part] - a[part], 0.0)
        slack = _slack(np.sum(np.abs(a[part]) + np.abs(b[part])), inside.size, tolerance)
        if not abs(change.sum()) <= slack:
            return False
        significant |= bool(change.max() > slack and change.min() < -slack)
    if not significant:
        return False
    held = content[0][part]
    flow = -np.cumsum(np.where(inside, content[1][part] - held, 0.0))[:-1]  # from each bin to the next
    given = np.append(np.maximum(flow, 0), 0.0) + np.insert(np.maximum(-flow, 0), 0, 0.0)
    return bool(np.all(given <= held + _slack(np.sum(held + content[1][part]), inside.size, tolerance)))


def _slack(scale: Any, count: int, tolerance: Tolerance) -> Any:
    """Return the allowed error of a sum of ``count`` numbers, from rounding or from the tolerance."""
    return max(tolerance.rtol, 4 * count * np.finfo(np.float64).eps) * scale + tolerance.atol


def _axes_differ(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> Example | None:
    if len(first) != len(second):
        return Example("number of axes", len(first), len(second))
    for number, (a, b) in enumerate(zip(first, second, strict=True)):
        where = "xyz"[number] if number < 3 else f"axis {number}"
        if a["bins"] != b["bins"]:
            return Example(f"bins in {where}", a["bins"], b["bins"])
        edges, others = _edges(a), _edges(b)
        with np.errstate(invalid="ignore"):  # equal infinite edges
            finite = edges[np.isfinite(edges)]
            same = np.abs(edges - others) <= _EDGES * (np.ptp(finite) if finite.size else 0.0)
        odd = np.flatnonzero(~same & (edges != others))
        if odd.size:
            return Example(f"edge {odd[0]} in {where}", edges[odd[0]].item(), others[odd[0]].item())
        labels = [(a["labels"].get(str(i), ""), b["labels"].get(str(i), "")) for i in range(1, a["bins"] + 1)]
        for i, (label, other) in enumerate(labels, 1):
            if label != other:
                return Example(f"label of bin {i} in {where}", label, other)
    return None


def _edges(axis: Mapping[str, Any]) -> Array:
    if axis["edges"] is not None:
        return np.asarray(axis["edges"], np.float64)
    return np.linspace(axis["low"], axis["high"], axis["bins"] + 1)


def bin_name(axes: Sequence[Mapping[str, Any]], index: Sequence[int]) -> str:
    """Name a bin by its edges or labels; the first and the last index are the flow bins."""
    words = []
    for number, (axis, i) in enumerate(zip(axes, index, strict=True)):
        name = "xyz"[number] if number < 3 else f"axis {number}"
        edges = _edges(axis)
        if i == 0:
            words.append(f"{name} < {edges[0]:g}")
        elif i == axis["bins"] + 1:
            words.append(f"{name} >= {edges[-1]:g}")
        elif axis["labels"].get(str(i)):
            words.append(f"{name} = {axis['labels'][str(i)]}")
        else:
            words.append(f"{name} in [{edges[i - 1]:g}, {edges[i]:g})")
    return ", ".join(words)
