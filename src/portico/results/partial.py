"""Partial results: gathering, merging and encoding the products of chunks, without ROOT.

Each array merges by a rule of the product's kind (`portico.results.kinds`). Partial results merge along a tree that
only depends on the positions of chunks, so that floating-point sums are the same bit for bit for any executor and any
order of arrival.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from portico.errors import ProductError
from portico.results.kinds import KINDS, add, concatenate
from portico.results.packed import SQUARES, Packed, join, pack, settled, to_bytes, unpack
from portico.results.product import Partial, Product

__all__ = ["decode", "encode", "gather", "merge", "merge_all", "merge_encoded", "merge_nodes", "put_files",
           "take_files"]  # fmt: skip


_HINTS = {
    "axes": "; give the histogram fixed axes",
    "type": "; give the column one type in all files, for example with Define",
}


def gather(parts: Iterable[tuple[str, Iterable[tuple[str, Product]]]]) -> dict[str, Product]:
    """Combine the products of all handles.

    Parameters
    ----------
    parts : iterable of (str, iterable of (str, Product))
        The name under which the step returned a handle, and the products of that handle by name.

    Returns
    -------
    dict of str to Product
        The products by name. A variation whose name is taken, such as those of ``a:b_c`` and ``a_b:c``, has a number
        after it, ``mass_a_b_c.2``; its ``meta["variation"]`` names product and variation.

    Raises
    ------
    ProductError
        If two products, or the histograms of two products, have the same name.
    """
    found = [(handle, name, product) for handle, products in parts for name, product in products]
    taken: set[str] = set()
    titles: dict[str, str] = {}
    for handle, name, product in found:
        if _is_varied(product):
            continue
        if name in taken:
            raise ProductError(f"two products are named '{name}'; rename one")
        taken.add(name)
        if KINDS[product.kind].bins and titles.setdefault(product.meta["name"], handle) != handle:
            raise ProductError(
                f"products '{titles[product.meta['name']]}' and '{handle}' are histograms with the same name "
                f"'{product.meta['name']}'; rename one"
            )
    collected = {}
    for _, name, product in found:
        own = _free(name, taken) if _is_varied(product) else name
        taken.add(own)
        collected[own] = product
    return collected


def _free(name: str, taken: set[str]) -> str:
    numbered = itertools.chain([name], (f"{name}.{number}" for number in itertools.count(2)))
    return next(free for free in numbered if free not in taken)


def _is_varied(product: Product) -> bool:
    return bool(product.meta.get("variation", ["", "nominal"])[1] != "nominal")


def merge(first: Partial, second: Partial) -> dict[str, Product]:
    """Merge two partial results; ``first`` has the earlier entries.

    Raises
    ------
    ProductError
        If the two do not have the same products with the same axes.
    """
    if first.keys() != second.keys():
        odd = sorted(first.keys() ^ second.keys())
        raise ProductError(
            f"the step returned product '{odd[0]}' for some chunks but not for others; always return the same names"
        )
    with np.errstate(invalid="ignore", over="ignore"):  # weights may be infinite
        return {name: _merge_product(name, product, second[name]) for name, product in first.items()}


def merge_all(parts: Iterable[Partial]) -> dict[str, Product] | None:
    """Merge partial results given in chunk order; None if there are none."""
    merged = merge_nodes((position, pack(part)) for position, part in enumerate(parts))
    return None if merged is None else settled(merged).products()


def merge_encoded(nodes: Iterable[tuple[int, bytes]], files: Iterable[Mapping[str, Any]] = ()) -> Packed | None:
    """Merge encoded partial results, as `merge_nodes` takes them, and put in the files of all; None if there are none.

    Raises
    ------
    ProductError
        If they do not have the same products with the same axes.
    RunFolderError
        If another version of portico wrote one.
    """
    merged = merge_nodes((position, unpack(data)) for position, data in nodes)
    return None if merged is None else put_files(settled(merged), files)


def merge_nodes(nodes: Iterable[tuple[int, Packed]]) -> Packed | None:
    """Merge partial results along the fixed tree; None if there are none.

    The tree is that of the bits of positions: its leaves are 0, 1, 2, ..., and each node joins two neighbours of equal
    weight. Where chunks are missing, a node is its other half. A node that has been merged before, of 2^k positions
    that begin at a multiple of 2^k, may stand for its leaves.

    Parameters
    ----------
    nodes : iterable of (int, Packed)
        The first position of each, in order, and its result. The logarithm of their number is in memory at a time.
    """
    stack: list[tuple[int, Packed]] = []
    for position, node in nodes:
        while len(stack) > 1 and stack[-2][0] ^ stack[-1][0] < stack[-1][0] ^ position:
            _join_last(stack)
        stack.append((position, node))
    while len(stack) > 1:
        _join_last(stack)
    return stack[0][1] if stack else None


def _join_last(stack: list[tuple[int, Packed]]) -> None:
    _, second = stack.pop()
    position, first = stack.pop()
    stack.append((position, join(first, second) or pack(merge(first.products(), second.products()))))


def _merge_product(name: str, a: Product, b: Product) -> Product:
    if a.kind != b.kind or a.meta != b.meta or a.arrays.keys() != b.arrays.keys():
        raise ProductError(f"product '{name}' differs between chunks: {_difference(a, b)}")
    rules = KINDS[a.kind].rules
    a, b = _with_squares(a, b), _with_squares(b, a)
    arrays = {}
    for key, array in a.arrays.items():
        rule = rules.get(key, concatenate)
        if rule is add and array.shape != b.arrays[key].shape:
            raise ProductError(
                f"product '{name}' has {array.size} bins in one chunk and {b.arrays[key].size} in another"
            )
        if array.dtype.kind != b.arrays[key].dtype.kind:  # numpy would make doubles of both, without all their digits
            types = f"{key} is {array.dtype} in one and {b.arrays[key].dtype} in another{_HINTS['type']}"
            raise ProductError(f"product '{name}' differs between chunks: {types}")
        arrays[key] = rule(array, b.arrays[key])
    return Product(a.kind, a.meta, arrays, a.items + b.items)


def _with_squares(product: Product, other: Product) -> Product:
    """Add the sums of squared weights to a histogram if the other has them.

    ROOT stores none until a weight other than 1 is filled; until then they equal the contents.
    """
    missing = {
        squares: product.arrays[sums]
        for squares, sums in SQUARES.items()
        if squares in product.arrays and not product.arrays[squares].size and other.arrays[squares].size
    }
    return replace(product, arrays={**product.arrays, **missing}) if missing else product


def _difference(a: Product, b: Product) -> str:
    if a.kind != b.kind:
        return f"a {a.kind} in one and a {b.kind} in another"
    for key in a.meta.keys() | b.meta.keys():
        if a.meta.get(key) != b.meta.get(key):
            hint = _HINTS.get(key, "")
            return f"{key} is {a.meta.get(key)!r} in one and {b.meta.get(key)!r} in another{hint}"
    return f"{sorted(a.arrays)} in one and {sorted(b.arrays)} in another"


def encode(partial: Partial) -> bytes:
    """Encode a partial result as bytes, see `portico.results.packed.to_bytes`."""
    return to_bytes(pack(partial))


def decode(data: bytes) -> dict[str, Product]:
    """Decode the bytes of `encode`.

    Raises
    ------
    RunFolderError
        If another version of portico wrote them.
    """
    return unpack(data).products()


def take_files(partial: Partial) -> tuple[dict[str, Product], list[dict[str, Any]]]:
    """Separate the files of written trees from the products, so that files can be moved without decoding products.

    Returns
    -------
    products : dict of str to Product
        The products without files.
    files : list of dict
        ``product``, ``tree``, ``path`` and further properties of each file.
    """
    files = [
        {"product": name, "tree": product.meta["tree"], **item}
        for name, product in partial.items() if KINDS[product.kind].has_files for item in product.items
    ]  # fmt: skip
    return {name: replace(product, items=()) if KINDS[product.kind].has_files else product
            for name, product in partial.items()}, files  # fmt: skip


def put_files(packed: Packed, files: Iterable[Mapping[str, Any]]) -> Packed:
    """Return products with the files that `take_files` separated from them, in the given order."""
    items: dict[str, tuple[dict[str, Any], ...]] = {}
    for file in files:
        item = {key: value for key, value in file.items() if key not in {"product", "tree"}}
        items[file["product"]] = (*items.get(file["product"], ()), item)
    return replace(packed, items={**packed.items, **items})
