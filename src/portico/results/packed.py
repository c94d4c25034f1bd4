"""Partial results as blocks: arrays with the same merge rule and type are stored contiguously.

So partial results merge block by block, whatever number of products they have. What those of one sample share, such as
names and axes, is their `Head`; it comes first in their bytes, and equal bytes are decoded once.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from portico.errors import ProductError, RunFolderError
from portico.results import exact
from portico.results.kinds import KINDS, Rule, add, add_exactly, concatenate
from portico.results.product import Array, Partial, Product, ProductKind

__all__ = ["SQUARES", "Head", "Packed", "join", "pack", "settled", "to_bytes", "unpack"]

SQUARES: Mapping[str, str] = {"sumw2": "values", "bin_sumw2": "bin_entries"}
"""Sums of squared weights, and the sums of weights that they equal while ROOT stores none."""

_FORMAT = b"portico-partial-2"
_ALIGNED = 16
_HEADS = 64  # kept decoded: those of the samples that merge at one time
_SAMPLES, _SAMPLE, _TRIED = 8, 2048, 65536
_PAYS = 0.8  # what compression leaves more of is stored as it is, because it takes long to decompress


@dataclass(frozen=True, slots=True)
class _Block:
    """The arrays from ``first`` to ``last``, which merge by one rule and have one type."""

    rule: Rule
    dtype: np.dtype[Any]
    first: int
    last: int


class Head:
    """Names, kinds and properties of products, and the order in which their arrays lie.

    Parameters
    ----------
    content : list
        Of each product its name, kind, meta, and of each of its arrays the name, the type and the shape of a row; as
        JSON can hold it.
    encoded : bytes, optional
        The same as bytes, if they are known.
    """

    def __init__(self, content: list[list[Any]], encoded: bytes = b"") -> None:
        self.content, self._encoded = content, encoded
        groups: dict[tuple[Any, ...], list[tuple[int, str, tuple[int, ...]]]] = {}
        self.kinds = [ProductKind(kind) for _, kind, *_ in content]
        for number, (_, _, _, arrays) in enumerate(content):
            rules = KINDS[self.kinds[number]].rules
            for key, dtype, row in arrays:
                rule = rules.get(key, concatenate)
                alone = (number, key) if rule is concatenate else ()
                groups.setdefault((_plain(rule), dtype, *alone), []).append((number, key, tuple(row)))
        found = sorted(groups.items(), key=lambda group: -np.dtype(group[0][1]).itemsize)  # so that all are aligned
        ends = list(accumulate((len(arrays) for _, arrays in found), initial=0))
        self.arrays = [array for _, arrays in found for array in arrays]
        """Number of the product, name and shape of a row of each array, in the order of the blocks."""
        self.blocks = [
            _Block(group[0], np.dtype(group[1]), first, last)
            for (group, _), (first, last) in zip(found, pairwise(ends), strict=True)
        ]
        self.places = {(number, key): place for place, (number, key, _) in enumerate(self.arrays)}
        self.exact = [
            place for place, (number, key, _) in enumerate(self.arrays)
            if KINDS[self.kinds[number]].rules.get(key) is add_exactly
        ]  # fmt: skip
        """Those that are exact sums, by their place."""
        self.widths = np.array([math.prod(row) for _, _, row in self.arrays], np.int64)

    @property
    def encoded(self) -> bytes:
        """The content as bytes."""
        if not self._encoded:
            self._encoded = zlib.compress(json.dumps(self.content).encode(), level=1)
        return self._encoded


def _plain(rule: Rule) -> Rule:
    return add if rule is add_exactly else rule


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A partial result in blocks.

    Parameters
    ----------
    head : Head
        What its products are.
    rows : array of int64
        The number of rows of each array.
    blocks : list of array
        One flat array for each block of the head.
    items : mapping of str to tuple
        Items that are not arrays, by product.
    """

    head: Head
    rows: npt.NDArray[np.int64]
    blocks: list[Array]
    items: Mapping[str, tuple[Any, ...]]

    def ends(self, block: _Block) -> npt.NDArray[np.int64]:
        """Return where the arrays of a block begin in it, and where the last one ends."""
        span = slice(block.first, block.last)
        return np.concatenate([[0], np.cumsum(self.rows[span] * self.head.widths[span])])

    def array(self, number: int, key: str) -> Array:
        """Return an array of a product, flat."""
        place = self.head.places[number, key]
        which, block = next((i, b) for i, b in enumerate(self.head.blocks) if b.first <= place < b.last)
        ends = self.ends(block)
        return self.blocks[which][ends[place - block.first] : ends[place - block.first + 1]]

    def products(self) -> dict[str, Product]:
        """Return the products; their arrays are views of the blocks."""
        views: list[Array] = []
        for block, content in zip(self.head.blocks, self.blocks, strict=True):
            ends = self.ends(block).tolist()
            for place, (first, last) in zip(range(block.first, block.last), pairwise(ends), strict=True):
                row = self.head.arrays[place][2]
                view = content[first:last]
                views.append(view.reshape(int(self.rows[place]), *row) if row else view)
        places = self.head.places
        return {
            name: Product(
                self.head.kinds[number], meta, {key: views[places[number, key]] for key, _, _ in arrays},
                self.items.get(name, ()),
            )
            for number, (name, _, meta, arrays) in enumerate(self.head.content)
        }  # fmt: skip


def pack(partial: Partial) -> Packed:
    """Put the arrays of products into blocks."""
    content, arrays = list[list[Any]](), list[dict[str, Array]]()
    for name, product in partial.items():
        own = {key: np.ascontiguousarray(array) for key, array in product.arrays.items()}
        types = [[key, a.dtype.newbyteorder("<").str, list(a.shape[1:])] for key, a in own.items()]
        content.append([name, str(product.kind), product.meta, types])
        arrays.append(own)
    head = Head(content)
    found = [arrays[number][key] for number, key, _ in head.arrays]
    rows = np.array([len(array) for array in found], np.int64)
    blocks = [
        np.concatenate([array.ravel() for array in found[block.first : block.last]], dtype=block.dtype)
        for block in head.blocks
    ]
    return Packed(head, rows, blocks, {name: product.items for name, product in partial.items() if product.items})


def join(a: Packed, b: Packed) -> Packed | None:
    """Merge two partial results of the same products, ``a`` with the earlier entries; None if their heads differ.

    Raises
    ------
    ProductError
        If a histogram has more bins in one than in the other.
    """
    if a.head is not b.head and a.head.content != b.head.content:
        return None
    rows, same, blocks = a.rows.copy(), a.rows == b.rows, []
    with np.errstate(invalid="ignore", over="ignore"):  # weights may be infinite
        for block, x, y in zip(a.head.blocks, a.blocks, b.blocks, strict=True):
            span = slice(block.first, block.last)
            if block.rule is concatenate:
                rows[span] += b.rows[span]
            elif not same[span].all():
                pieces = list(_pieces(block, a, b, x, y, same[span].tolist()))
                rows[span] = [len(piece) for piece in pieces] // a.head.widths[span]
                blocks.append(np.concatenate(pieces))
                continue
            blocks.append(block.rule(x, y))
    items = {name: (*a.items.get(name, ()), *b.items.get(name, ())) for name in {**a.items, **b.items}}
    return Packed(a.head, rows, blocks, items)


def _pieces(block: _Block, a: Packed, b: Packed, x: Array, y: Array, same: list[bool]) -> Iterator[Array]:
    """Merge the arrays of a block one by one, since parts without entries have empty ones."""
    ends, others = a.ends(block).tolist(), b.ends(block).tolist()
    for place, (number, key, _) in enumerate(a.head.arrays[block.first : block.last]):
        first, second = x[ends[place] : ends[place + 1]], y[others[place] : others[place + 1]]
        if not same[place] and block.rule is add:
            if key in SQUARES and not (first.size and second.size):
                first = first if first.size else a.array(number, SQUARES[key])
                second = second if second.size else b.array(number, SQUARES[key])
            if first.size != second.size:
                name = a.head.content[number][0]
                raise ProductError(f"product '{name}' has {first.size} bins in one chunk and {second.size} in another")
        yield block.rule(first, second)


def settled(packed: Packed) -> Packed:
    """Return a merged result with one form for each value: exact sums without open carries, and one NaN.

    The bits of a NaN depend on the order of terms.
    """
    head, blocks = packed.head, list(packed.blocks)
    for which, block in enumerate(head.blocks):
        content = blocks[which]
        if block.rule is add and block.dtype.kind == "f" and np.isnan(content).any():
            blocks[which] = np.where(np.isnan(content), np.nan, content)
        ours = [place - block.first for place in head.exact if block.first <= place < block.last]
        if ours:
            blocks[which], ends = content.copy(), packed.ends(block)
            for place in ours:
                sums = content[ends[place] : ends[place + 1]].reshape(-1, exact.LIMBS)
                blocks[which][ends[place] : ends[place + 1]] = exact.settled(sums).ravel()
    return Packed(head, packed.rows, blocks, packed.items)


def to_bytes(packed: Packed) -> bytes:
    """Encode a partial result: a line with its format and lengths, the head, the items, the little-endian blocks."""
    items = zlib.compress(json.dumps(packed.items).encode(), level=1) if packed.items else b""
    numbers = packed.rows.astype("<i8", copy=False).tobytes()
    blocks = (b.astype(block.dtype, copy=False) for b, block in zip(packed.blocks, packed.head.blocks, strict=True))
    body = b"".join([numbers, *(block.tobytes() for block in blocks)])
    form, body = _compressed(body)
    head = packed.head.encoded
    line = b"%s %d %d %s" % (_FORMAT, len(head), len(items), form)
    line += b" " * (-(len(line) + 1 + len(head) + len(items)) % _ALIGNED)
    return b"".join([line, b"\n", head, items, body])


def _compressed(body: bytes) -> tuple[bytes, bytes]:
    """Return how a body is stored, and what is stored; a sample of it tells whether to try."""
    step = max(1, len(body) // _SAMPLES)
    sample = body if len(body) < _TRIED else b"".join(body[at : at + _SAMPLE] for at in range(0, len(body), step))
    if len(zlib.compress(sample, level=1)) >= _PAYS * len(sample):
        return b"r", body
    return b"z", zlib.compress(body, level=1)


def unpack(data: bytes) -> Packed:
    """Decode the bytes of `to_bytes`.

    Raises
    ------
    RunFolderError
        If they are of another format.
    """
    line, found, _ = data[:128].partition(b"\n")
    words = line.split()
    if not found or words[0] != _FORMAT:
        raise RunFolderError("a partial result was written by another version of portico; use a new run folder")
    first = len(line) + 1
    second = first + int(words[1])
    third = second + int(words[2])
    head = _head(data[first:second])
    listed = json.loads(zlib.decompress(data[second:third])) if third > second else {}
    body, offset = (zlib.decompress(data[third:]), 0) if words[3] == b"z" else (data, third)
    rows = np.frombuffer(body, "<i8", len(head.arrays), offset)
    offset += rows.nbytes
    sizes, blocks = rows * head.widths, []
    for block in head.blocks:
        blocks.append(np.frombuffer(body, block.dtype, int(sizes[block.first : block.last].sum()), offset))
        offset += blocks[-1].nbytes
    return Packed(head, rows, blocks, {name: tuple(items) for name, items in listed.items()})


@lru_cache(_HEADS)
def _head(encoded: bytes) -> Head:
    return Head(json.loads(zlib.decompress(encoded)), encoded)
