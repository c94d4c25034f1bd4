"""Expected events of a HistFactory model and their derivatives, in numpy.

The formulae are those of pyhf: ``normsys`` is interpolated with code 4, ``histosys`` with code 4p (CERN-OPEN-2012-016;
L. Heinrich et al., JOSS 6 (2021) 2823). The yield of a sample in a bin is a *cell*; cells lie behind one another, and
so do all changes of cells, so that a call is a handful of operations on arrays, however many modifiers there are. Code
4p is a straight line in a parameter and a bend, which is the same function for all cells: both are sparse matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse

from portico.stats.shapes import Array

__all__ = ["Rates"]

Indices = npt.NDArray[np.intp]
_OF_BINS: Final = ("shapesys", "staterror", "shapefactor")
_POWERS: Final = np.arange(1.0, 7.0)[:, None]  # of the polynomial of code 4
_FARTHEST: Final = 600.0  # of an exponent


class Rates:
    """Expected events in all bins as a function of the parameters.

    Parameters
    ----------
    channels : sequence of mapping
        Of the specification, in the order of the bins.
    slices : mapping of str to slice
        Where the parameters of a modifier are among all of them.
    parameters : int
        How many there are.
    """

    def __init__(self, channels: Sequence[Mapping[str, Any]], slices: Mapping[str, slice], parameters: int) -> None:
        cells = _Cells(channels)
        self.bins, self.parameters = cells.bins, parameters
        self._nominal, self._bin, self._row = cells.nominal, cells.bin, cells.row
        self._cells = len(self._nominal)
        self._moved, self._moved_by, self._up, self._down = _histosys(cells, slices)
        self._norm_row, self._norm_by, *self._norm = _normsys(cells, slices)
        self._factor_row, self._factor_by = _factors(cells, slices)
        self._scaled, self._scaled_by = _of_bins(cells, slices)
        self._rows = len(cells.first)
        self._of_rows = np.concatenate([self._norm_row, self._factor_row])
        self._size = cells.bins * parameters
        self._odd, self._even = 0.5 * (self._up + self._down), 0.0625 * (self._up - self._down)
        shape, places = (self._cells, parameters), (self._moved, self._moved_by)
        self._lines, self._bent = (sparse.csr_array((of, places), shape=shape) for of in (self._odd, self._even))
        # Every change of a row, cell by cell, for derivatives.
        self._entries, self._spread = _spread(self._of_rows, cells.first, cells.bins_of)
        by = np.concatenate([self._norm_by, self._factor_by])[self._entries]
        self._flat = np.concatenate([
            self._bin[self._moved] * parameters + self._moved_by,
            self._bin[self._spread] * parameters + by,
            self._bin[self._scaled] * parameters + self._scaled_by,
        ])  # fmt: skip

    def expected(self, at: Array) -> Array:
        """Return the expected events, of shape (bins,), at parameters of shape (parameters,)."""
        return _sums(self._bin, self.cells(at), self.bins)

    def cells(self, at: Array) -> Array:
        """Return the events of each sample in each bin: channel by channel, and there sample by sample."""
        rows = np.ones(self._rows)
        np.multiply.at(rows, self._of_rows, np.concatenate([self._norms(at), at[self._factor_by]]))
        scale = rows[self._row]
        np.multiply.at(scale, self._scaled, at[self._scaled_by])
        return np.asarray(self._additive(at) * scale)

    def derivatives(self, at: Array) -> tuple[Array, Array, Array]:
        """Return the expected events and their derivatives.

        Returns
        -------
        expected : array of shape (bins,)
        first, second : array of shape (bins, parameters)
            By each parameter, once and twice.
        """
        y, square, (up, down, coefficients) = at[self._norm_by], at * at, self._norm
        far = square >= 1
        slopes = np.where(far, 8 * np.sign(at), at * (30 + square * (18 * square - 40)))
        by_move = self._odd + self._even * slopes[self._moved_by]
        bend_move = self._even * np.where(far, 0.0, 30 + square * (90 * square - 120))[self._moved_by]
        outside, logs = np.abs(y) >= 1, np.where(y > 0, up, -down)
        factor = np.exp(np.minimum(logs * y, _FARTHEST))
        slope = _polynomial(_POWERS * coefficients, y)
        bend = _polynomial((_POWERS * (_POWERS - 1) * coefficients)[1:], y)
        by_norm, bend_norm = np.where(outside, logs * factor, slope), np.where(outside, logs**2 * factor, bend)
        expected, (first, second) = self._changes(at, (by_move, by_norm, 1.0), (bend_move, bend_norm, 0.0))
        return expected, first, second

    def bends(self, at: Array) -> Array:
        """Return by how much expected events leave a straight line, up and down by a standard deviation together.

        Of shape (bins, parameters); 0 for parameters that are no ``normsys`` or ``histosys``.
        """
        up, down, _ = self._norm
        bent = (self._up - self._down, np.exp(up) + np.exp(down) - 2, 0.0)
        return self._changes(at, bent)[1][0]

    def _changes(self, at: Array, *by: tuple[Array, Array, float]) -> tuple[Array, list[Array]]:
        """Return the expected events, and the changes that those of ``histosys``, ``normsys`` and factors make."""
        additive = self._additive(at)
        rows, others = _products(self._of_rows, np.concatenate([self._norms(at), at[self._factor_by]]), self._rows)
        bins, others_of_bins = _products(self._scaled, at[self._scaled_by], self._cells)
        in_rows = rows[self._row]
        scale = in_rows * bins
        moved, spread = scale[self._moved], others[self._entries] * (additive * bins)[self._spread]
        scaled = others_of_bins * (additive * in_rows)[self._scaled]
        found = []
        for move, norm, factor in by:
            in_entries = np.concatenate([norm, np.full(len(self._factor_by), factor)])[self._entries]
            changes = np.concatenate([move * moved, in_entries * spread, factor * scaled])
            found.append(_sums(self._flat, changes, self._size).reshape(self.bins, self.parameters))
        return _sums(self._bin, additive * scale, self.bins), found

    def _additive(self, at: Array) -> Array:
        """Return the cells with what ``histosys`` adds to them: code 4p."""
        square = at * at
        bends = np.where(square >= 1, 8 * np.abs(at), square * (15 + square * (3 * square - 10)))
        return np.asarray(self._nominal + self._lines @ at + self._bent @ bends)

    def _norms(self, at: Array) -> Array:
        """Return the factors of ``normsys``: code 4."""
        if not len(self._norm_by):
            return np.zeros(0)
        (up, down, coefficients), x = self._norm, at[self._norm_by]
        far = np.exp(np.minimum(np.where(x > 0, up, -down) * x, _FARTHEST))
        inside = 1 + x * _polynomial(coefficients, x)
        factors: Array = np.where(np.abs(x) >= 1, far, inside)
        return factors


class _Cells:
    """The samples of all channels, one behind the other, and their modifiers."""

    def __init__(self, channels: Sequence[Mapping[str, Any]]) -> None:
        widths = [len(channel["samples"][0]["data"]) for channel in channels]
        offsets = np.concatenate([[0], np.cumsum(widths)]).astype(np.intp)
        self.bins = int(offsets[-1])
        self.samples = [(c, sample) for c, channel in enumerate(channels) for sample in channel["samples"]]
        self.bins_of = np.array([widths[c] for c, _ in self.samples], dtype=np.intp)
        self.first = np.concatenate([[0], np.cumsum(self.bins_of)]).astype(np.intp)[:-1]
        self.nominal = np.concatenate([np.asarray(sample["data"], dtype=np.float64) for _, sample in self.samples])
        self.bin = np.concatenate([offsets[c] + np.arange(widths[c]) for c, _ in self.samples]).astype(np.intp)
        self.row = np.repeat(np.arange(len(self.samples)), self.bins_of)
        self.bin_of_channel = self.bin - np.concatenate([np.full(widths[c], offsets[c]) for c, _ in self.samples])

    def modifiers(self, *kinds: str) -> Iterator[tuple[int, Indices, Mapping[str, Any]]]:
        """Yield the row, the cells, and the modifier."""
        for row, (_, sample) in enumerate(self.samples):
            cells = self.first[row] + np.arange(self.bins_of[row])
            yield from ((row, cells, modifier) for modifier in sample["modifiers"] if modifier["type"] in kinds)


def _histosys(cells: _Cells, slices: Mapping[str, slice]) -> tuple[Indices, Indices, Array, Array]:
    moved, by, up, down = [], [], [], []
    for _, where, modifier in cells.modifiers("histosys"):
        nominal, data = cells.nominal[where], modifier["data"]
        high, low = np.asarray(data["hi_data"]) - nominal, nominal - np.asarray(data["lo_data"])
        used = (high != 0) | (low != 0)
        moved.append(where[used])
        by.append(np.full(int(used.sum()), slices[modifier["name"]].start))
        up.append(high[used])
        down.append(low[used])
    return _joined(moved), _joined(by), _numbers(up), _numbers(down)


def _normsys(cells: _Cells, slices: Mapping[str, slice]) -> tuple[Indices, Indices, Array, Array, Array]:
    found = [(row, modifier) for row, _, modifier in cells.modifiers("normsys")]
    up = np.log([modifier["data"]["hi"] for _, modifier in found]) if found else np.zeros(0)
    down = np.log([modifier["data"]["lo"] for _, modifier in found]) if found else np.zeros(0)
    rows = np.array([row for row, _ in found], dtype=np.intp)
    by = np.array([slices[modifier["name"]].start for _, modifier in found], dtype=np.intp)
    return rows, by, up, down, _code_4(up, down)


def _code_4(up: Array, down: Array) -> Array:
    """Return the coefficients of x to x^6 whose value and two derivatives at 1 and -1 are those outside, (6, n)."""
    powers = np.arange(1, 7)
    equations = np.array([
        np.ones(6), powers, powers * (powers - 1),
        (-1.0) ** powers, powers * (-1.0) ** (powers - 1), powers * (powers - 1) * (-1.0) ** powers,
    ])  # fmt: skip
    high, low = np.exp(up), np.exp(down)
    conditions = np.array([high - 1, up * high, up**2 * high, low - 1, -down * low, down**2 * low])
    return np.linalg.solve(equations, conditions)


def _factors(cells: _Cells, slices: Mapping[str, slice]) -> tuple[Indices, Indices]:
    found = [(row, slices[modifier["name"]].start) for row, _, modifier in cells.modifiers("normfactor", "lumi")]
    rows, by = zip(*found, strict=True) if found else ((), ())
    return np.array(rows, dtype=np.intp), np.array(by, dtype=np.intp)


def _of_bins(cells: _Cells, slices: Mapping[str, slice]) -> tuple[Indices, Indices]:
    """Return the cells with a factor of their own, and its parameter."""
    covered: dict[str, list[Indices]] = {}
    shared: set[str] = set()
    for _, where, modifier in cells.modifiers(*_OF_BINS):
        covered.setdefault(modifier["name"], []).append(where)
        if modifier["type"] == "shapefactor":
            shared.add(modifier["name"])
    scaled, by = [], []
    for name, parts in covered.items():
        where = _joined(parts)
        if name in shared:  # channels may share the factors of their bins
            place = cells.bin_of_channel[where]
        else:
            place = np.searchsorted(np.unique(cells.bin[where]), cells.bin[where])
        scaled.append(where)
        by.append(slices[name].start + place)
    return _joined(scaled), _joined(by)


def _polynomial(coefficients: Array, x: Array) -> Array:
    """Return polynomials of one argument each; coefficients of shape (powers from 0, n)."""
    value: Array = coefficients[-1].copy()
    for of in coefficients[-2::-1]:
        value *= x
        value += of
    return value


def _sums(of: Indices, values: Array, number: int) -> Array:
    """Return the sum of the values of each group."""
    return np.bincount(of, values, number).astype(np.float64, copy=False)


def _spread(rows: Indices, first: Indices, widths: Indices) -> tuple[Indices, Indices]:
    """Return for each cell of each row the number of the entry, and the cell."""
    lengths = widths[rows]
    entries = np.repeat(np.arange(len(rows)), lengths)
    within = np.arange(len(entries)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return entries, first[rows][entries] + within if len(rows) else np.zeros(0, dtype=np.intp)


def _products(of: Indices, values: Array, number: int) -> tuple[Array, Array]:
    """Return the product of each group of values, and for each value that of the others, also beside zeros."""
    product, zero = np.ones(number), values == 0
    if not zero.any():
        np.multiply.at(product, of, values)
        return product, product[of] / values
    filled = np.where(zero, 1.0, values)
    zeros = np.bincount(of, zero, number)
    np.multiply.at(product, of, filled)
    others = np.where(zeros[of] - zero > 0, 0.0, product[of] / filled)
    return np.where(zeros > 0, 0.0, product), others


def _joined(parts: Sequence[Indices]) -> Indices:
    return np.concatenate([*parts, np.zeros(0, dtype=np.intp)]).astype(np.intp)


def _numbers(parts: Sequence[Array]) -> Array:
    return np.concatenate([*parts, np.zeros(0)])
