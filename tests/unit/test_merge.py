"""Merging: a fixed tree, exact sums, and a wire format that gives back what went in."""

from __future__ import annotations

import itertools
import math
import zlib
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.compare.runs import COMPARERS
from portico.errors import ProductError, RunFolderError
from portico.results import packed
from portico.results.exact import LIMBS, exact_sum, settled, value_of
from portico.results.kinds import KINDS
from portico.results.packed import pack, to_bytes, unpack
from portico.results.partial import (
    decode,
    encode,
    gather,
    merge,
    merge_all,
    merge_encoded,
    merge_nodes,
    put_files,
    take_files,
)
from portico.results.product import Product, ProductKind
from portico.results.root_objects import varied
from portico.results.view import Results

AXIS = {"bins": 2, "low": 0.0, "high": 2.0, "edges": None, "title": "x", "labels": {}}
HEAD = {"class": "TH1D", "name": "h", "title": "t", "axes": [AXIS]}
numbers = st.floats(-1e12, 1e12)


def histogram(values: list[float], **meta: object) -> Product:
    array = np.array(values)
    return Product(
        ProductKind.HISTOGRAM,
        {**HEAD, **meta},
        {"values": array, "sumw2": array**2, "stats": np.zeros(20), "entries": np.array([3.0])},
    )


def terms(*values: float) -> np.ndarray:
    total = sum((exact_sum(value) for value in values), np.zeros(LIMBS, np.int64))
    return np.asarray(total)


def moments(data: list[float], weights: list[float] | None = None) -> Product:
    weights = [1.0] * len(data) if weights is None else weights
    pairs = list(zip(weights, data, strict=True))
    products = [
        [w for w, _ in pairs],
        [_product(w, w) for w, _ in pairs],
        [_product(w, x) for w, x in pairs],
        [_product(w, x, x) for w, x in pairs],
    ]
    bounds = {"minimum": np.array([min(data)] if data else []), "maximum": np.array([max(data)] if data else [])}
    arrays = {"n": np.array([len(data)]), "sums": np.stack([terms(*values) for values in products]), **bounds}
    return Product(ProductKind.MOMENTS, {"operation": "Stats"}, arrays)


def _product(*factors: float) -> Fraction | float:
    return math.prod(map(Fraction, factors)) if all(map(math.isfinite, factors)) else math.prod(factors)


@given(st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=40))
def test_the_tree_depends_on_the_order_alone(parts: list[list[float]]) -> None:
    def tree(low: int, high: int) -> np.ndarray:  # the same tree, written top-down
        if high - low == 1:
            return np.array(parts[low])
        left = 1 << ((high - low - 1).bit_length() - 1)
        return np.asarray(tree(low, low + left) + tree(low + left, high))

    merged = merge_all({"h": histogram(values)} for values in parts)
    assert merged is not None
    assert merged["h"].arrays["values"].tobytes() == tree(0, len(parts)).tobytes()
    assert merged["h"].arrays["entries"][0] == 3 * len(parts)


bins = st.lists(st.sampled_from([0.0, 1.0, 0.1, -0.3, 1e17, math.inf, -math.inf, math.nan]), min_size=4, max_size=4)


@st.composite
def partials(draw: st.DrawFn) -> dict[str, Product]:
    """A partial result of every kind of rule, of which some have no entries."""
    made: dict[str, Product] = {}
    for name in "abc":
        whole = histogram(draw(bins))
        squares = whole.arrays["sumw2"] if draw(st.booleans()) else np.zeros(0)
        made[name] = Product(whole.kind, whole.meta, {**whole.arrays, "sumw2": squares})
    data = draw(st.lists(st.integers(-3, 3).map(float), max_size=3))
    made["moments"] = moments(data)
    made["low"] = Product(ProductKind.MINIMUM, {}, {"value": np.array([min(data)] if data else [])})
    made["n"] = Product(ProductKind.COUNT, {}, {"value": np.array([len(data)])})
    made["x"] = Product(ProductKind.ARRAY, {}, {"x": np.array(data, np.float32), "flag": np.array(data) > 0})
    made["points"] = Product(ProductKind.LIST, {}, {}, tuple(data))
    return made


def bits(products: dict[str, Product] | None) -> object:
    assert products is not None
    return {
        name: (p.kind, p.meta, p.items, {k: (a.dtype.str, a.shape, a.tobytes()) for k, a in p.arrays.items()})
        for name, p in products.items()
    }


def one_by_one(parts: dict[int, dict[str, Product]], low: int, high: int) -> dict[str, Product] | None:
    """Merge product by product along the tree of positions, written top-down."""
    if high - low == 1:
        return parts.get(low)
    middle = (low + high) // 2
    first, second = one_by_one(parts, low, middle), one_by_one(parts, middle, high)
    return merge(first, second) if first and second else first or second


@given(st.dictionaries(st.integers(0, 15), partials(), min_size=1))
def test_blocks_merge_to_the_bits_of_products_whatever_is_missing(parts: dict[int, dict[str, Product]]) -> None:
    with np.errstate(invalid="ignore"):
        expected = one_by_one(parts, 0, 16)
        merged = merge_nodes((position, unpack(encode(parts[position]))) for position in sorted(parts))
    assert expected is not None
    assert merged is not None
    assert bits(packed.settled(merged).products()) == bits(packed.settled(pack(expected)).products())


@given(st.dictionaries(st.integers(0, 15), partials(), min_size=1), st.sets(st.integers(0, 3)))
def test_subtrees_that_were_merged_before_change_no_bit(parts: dict[int, dict[str, Product]], before: set[int]) -> None:
    nodes = {position: encode(part) for position, part in parts.items()}
    whole = merge_encoded(sorted(nodes.items()))
    for group in before:
        inside = [position for position in sorted(nodes) if position // 4 == group]
        if inside:
            merged = merge_nodes((position, unpack(nodes.pop(position))) for position in inside)
            assert merged is not None
            nodes[4 * group] = to_bytes(merged)
    again = merge_encoded(sorted(nodes.items()))
    assert whole is not None
    assert again is not None
    assert to_bytes(again) == to_bytes(whole)


def test_what_chunks_share_is_decoded_once() -> None:
    packed._head.cache_clear()
    parts = [encode({"h": histogram([1.0, 2.0, 3.0, float(i)], title="decoded once")}) for i in range(20)]
    merged = merge_encoded(enumerate(parts))
    assert merged is not None
    assert merged.products()["h"].arrays["values"].tolist() == [20.0, 40.0, 60.0, 190.0]
    assert packed._head.cache_info().misses == 1


def test_what_another_version_wrote_is_refused() -> None:
    for other in (b"", zlib.compress(b"[]\n"), encode({}).replace(b"-2", b"-3", 1)):
        with pytest.raises(RunFolderError, match="another version of portico"):
            decode(other)


def test_numbers_without_a_pattern_are_stored_as_they_are() -> None:
    random = np.random.default_rng(1).uniform(size=10_000)
    noise, zeros = (encode({"h": histogram(list(values))}) for values in (random, 0 * random))
    assert len(zeros) < 2_000
    body = unpack(noise).blocks[0]
    assert body.ctypes.data % 8 == 0
    assert random.tobytes() in noise


def test_nothing_merges_to_nothing() -> None:
    assert merge_all([]) is None


numbers = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-100)  # products are no smaller than doubles reach
weights = st.sampled_from([0.0, 1.0, -1.0, 0.1, -0.3, 1e-9, 1e9, math.inf, -math.inf, math.nan]) | numbers
clusters = st.lists(st.lists(st.tuples(numbers, weights), max_size=5), min_size=1, max_size=8)


def in_chunks(parts: list[Product], cuts: set[int]) -> dict[str, Product]:
    """Merge the clusters of each chunk, and then the chunks."""
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(parts)), len(parts)]
    chunks = [merge_all({"p": part} for part in parts[a:b]) for a, b in itertools.pairwise(edges)]
    merged = merge_all(chunk for chunk in chunks if chunk is not None)
    assert merged is not None
    return merged


@given(clusters, st.sets(st.integers(1, 7)), st.sets(st.integers(1, 7)))
def test_moments_do_not_depend_on_the_chunks(
    data: list[list[tuple[float, float]]], cuts: set[int], others: set[int]
) -> None:
    parts = [moments([x for x, _ in part], [w for _, w in part]) for part in data]
    merged, again = in_chunks(parts, cuts), in_chunks(parts, others)
    assert encode(merged) == encode(again)
    pairs = [pair for part in data for pair in part]
    found, finite = Results("s", merged)["p"], [w for _, w in pairs if math.isfinite(w)]
    assert found["n"] == len(pairs)
    if len(finite) == len(pairs):
        assert found["sum of weights"] == math.fsum(finite)
        if (total := sum(map(Fraction, finite))) != 0:
            assert found["mean"] == float(sum(Fraction(x) * Fraction(w) for x, w in pairs) / total)
    else:
        assert not math.isfinite(found["sum of weights"])
        assert math.isnan(found["stddev"]) or len(pairs) == 1


dyadic = st.sampled_from([0.0, 1.0, -1.0, 0.5, -2.25, math.inf, -math.inf, math.nan])


@given(
    st.lists(st.lists(dyadic, min_size=4, max_size=4), min_size=1, max_size=8),
    st.sets(st.integers(1, 7)),
    st.sets(st.integers(1, 7)),
)
def test_bins_do_not_depend_on_the_chunks(parts: list[list[float]], cuts: set[int], others: set[int]) -> None:
    with np.errstate(invalid="ignore"):
        histograms = [histogram(values) for values in parts]
        assert encode(in_chunks(histograms, cuts)) == encode(in_chunks(histograms, others))


@given(st.lists(st.floats() | st.integers(-(2**63), 2**64 - 1), max_size=20), st.randoms())
def test_sums_are_exact_in_any_order(values: list[float], random: Random) -> None:
    total = value_of(terms(*values))
    random.shuffle(values)
    again = value_of(settled(terms(*values)[np.newaxis])[0])
    assert again == total or (math.isnan(again) and math.isnan(total))
    if all(map(math.isfinite, values)):
        assert total == sum(map(Fraction, values))


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), min_size=1, max_size=8))
def test_mean_and_deviation_are_those_of_numpy(parts: list[list[float]]) -> None:
    merged = merge_all({"s": moments(data)} for data in parts)
    assert merged is not None
    data = [x for part in parts for x in part]
    deviation = float(np.std(data, ddof=1)) if len(data) > 1 else 0.0
    scale = max(map(abs, data))
    found = Results("s", merged)["s"]
    assert found["stddev"] == pytest.approx(deviation, rel=1e-9, abs=1e-9 * scale)
    assert found["mean"] == pytest.approx(float(np.mean(data)), rel=1e-9, abs=1e-9 * scale)
    assert (found["min"], found["max"]) == (min(data), max(data))


def test_squares_that_root_left_out_are_the_contents() -> None:
    plain = histogram([1.0, 2.0, 3.0, 4.0])
    plain = Product(plain.kind, plain.meta, {**plain.arrays, "sumw2": np.zeros(0)})
    weighted = histogram([0.5, 0.5, 0.5, 0.5])
    for pair in ([plain, weighted], [weighted, plain]):
        merged = merge_all({"h": part} for part in pair)
        assert merged is not None
        assert merged["h"].arrays["sumw2"].tolist() == [1.25, 2.25, 3.25, 4.25]


def test_columns_and_files_are_joined_in_order(tmp_path: Path) -> None:
    for i in range(5):
        (tmp_path / f"{i}").touch()
    parts = [
        {
            "a": Product(
                ProductKind.ARRAY, {}, {"x": np.array([i], np.int32), "y#counts": np.array([2]), "y": np.array([i, i])}
            ),
            "t": Product(ProductKind.TREE, {"tree": "T"}, {}, ({"path": str(tmp_path / f"{i}")},)),
        }
        for i in range(5)
    ]
    merged = merge_all(parts)
    assert merged is not None
    results = Results("s", merged)
    assert results["a"]["x"].tolist() == [0, 1, 2, 3, 4]
    assert results["a"]["x"].dtype == np.int32
    assert results["a"]["y"].tolist() == [[i, i] for i in range(5)]
    assert results["t"] == [str(tmp_path / f"{i}") for i in range(5)]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"h": histogram([1, 2, 3, 4], axes=[{**AXIS, "high": 3.0}])}, "fixed axes"),
        ({"h": histogram([1, 2, 3, 4], title="another")}, "title"),
        ({"g": histogram([1, 2, 3, 4])}, "not for others"),
        ({"h": Product(ProductKind.COUNT, {}, {"value": np.array([1])})}, "a histogram in one and a count in another"),
        ({"h": histogram([1, 2])}, "bins"),
    ],
)
def test_what_does_not_match_is_named(other: dict[str, Product], words: str) -> None:
    with pytest.raises(ProductError, match=words) as caught:
        merge({"h": histogram([1, 2, 3, 4])}, other)
    assert "'h'" in str(caught.value) or "'g'" in str(caught.value)


dtypes = st.sampled_from([np.float64, np.float32, np.int64, np.int8, np.uint64, np.bool_])


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=5), st.tuples(dtypes, st.lists(st.integers(0, 1), max_size=6)), max_size=4
    )
)
def test_the_wire_gives_back_what_went_in(columns: dict[str, tuple[type, list[int]]]) -> None:
    arrays = {k: np.array(v, d) for k, (d, v) in columns.items()}
    product = Product(ProductKind.ARRAY, {"note": "ü\n"}, arrays, ({"path": "p"},))
    back = decode(encode({"a": product}))["a"]
    assert back.meta == product.meta
    assert back.items == product.items
    assert back.arrays.keys() == product.arrays.keys()
    for key, array in product.arrays.items():
        assert back.arrays[key].dtype == array.dtype
        assert back.arrays[key].tolist() == array.tolist()


def test_histograms_become_hist_with_flow_and_variances() -> None:
    h = Results("s", {"h": histogram([1.0, 2.0, 3.0, 4.0])})["h"]
    assert h.values(flow=True).tolist() == [1, 2, 3, 4]
    assert h.variances(flow=True).tolist() == [1, 4, 9, 16]
    assert h.axes[0].label == "x"


@pytest.mark.parametrize("kind", ProductKind)
def test_every_kind_has_its_traits_and_a_comparer(kind: ProductKind) -> None:
    assert kind in KINDS
    assert kind in COMPARERS


def test_variations_with_one_joined_name_are_told_apart() -> None:
    tags = ["nominal", "a:b_c", "a_b:c"]
    products = [varied("h", tag, histogram([1, 2, 3, 4])) for tag in tags]
    plain = ("h_a_b_c", histogram([0, 0, 0, 0], name="other"))
    gathered = gather([("h", products), ("h_a_b_c", [plain])])
    assert list(gathered) == ["h", "h_a_b_c.2", "h_a_b_c.3", "h_a_b_c"]
    assert [gathered[name].meta["variation"][1] for name in list(gathered)[:3]] == tags
    assert list(Results("s", gathered).variations("h")) == tags
    with pytest.raises(ProductError, match="two products are named 'h'"):
        gather([("h", products), ("g", [("h", histogram([0, 0, 0, 0]))])])


def numbers(kind: ProductKind, operation: str, **arrays: Any) -> Product:
    return Product(kind, {"operation": operation}, {key: np.asarray(array) for key, array in arrays.items()})


def test_the_first_of_equal_extremes_stays_and_parts_may_be_empty() -> None:
    for kind, operation in ((ProductKind.MINIMUM, "Min"), (ProductKind.MAXIMUM, "Max")):
        parts = [{"it": numbers(kind, operation, value=value)} for value in (np.zeros(0), [-0.0], np.zeros(0), [0.0])]
        merged = merge_all(parts)
        assert merged is not None
        assert math.copysign(1, Results("s", merged)["it"]) == -1
        assert merged["it"].arrays["value"].shape == (1,)


def test_mean_and_deviation_are_those_of_their_sums() -> None:
    sums = np.stack([exact_sum(value) for value in (3.0, 3.0, 6.0, 14.0)])  # of 1, 2 and 3
    arrays = {"n": [3], "sums": sums, "minimum": [], "maximum": []}
    merged = merge_all([{name: numbers(ProductKind.MOMENTS, name, **arrays) for name in ("Mean", "StdDev")}])
    assert merged is not None
    results = Results("s", merged)
    assert (results["Mean"], results["StdDev"]) == (2.0, 1.0)
    arrays["sums"] = np.stack([exact_sum(value) for value in (3.0, 3.0, math.inf, 14.0)])
    merged = merge_all([{"StdDev": numbers(ProductKind.MOMENTS, "StdDev", **arrays)}])
    assert merged is not None
    assert math.isnan(Results("s", merged)["StdDev"])


def test_files_in_which_a_column_has_another_type_do_not_lose_digits() -> None:
    for first, second in ((np.int64, np.uint64), (np.int64, np.float64), (np.uint64, np.float32)):
        for kind in (ProductKind.ARRAY, ProductKind.MAXIMUM):
            parts = [{"it": Product(kind, {}, {"it": np.array([1], dtype)})} for dtype in (first, second)]
            with pytest.raises(ProductError, match=r"'it' differs .* one type in all files"):
                merge_all(parts)


def test_files_are_taken_from_products_and_put_back_in_any_order() -> None:
    files = ({"path": "a", "size": 1}, {"path": "b", "size": 2})
    whole = {
        "first": Product(ProductKind.TREE, {"tree": "T", "format": "TTree"}, {}, files),
        "second": Product(ProductKind.TREE, {"tree": "U", "format": "TTree"}, {}, files[:1]),
        "list": Product(ProductKind.LIST, {}, {}, (1, 2)),
    }
    products, taken = take_files(whole)
    assert [product.items for product in products.values()] == [(), (), (1, 2)]
    assert taken == [{"product": name, "tree": tree, **file} for name, tree, file in (
        ("first", "T", files[0]), ("first", "T", files[1]), ("second", "U", files[0]),
    )]  # fmt: skip
    again = put_files(pack(products), [taken[1], taken[2], taken[0]]).products()
    assert [product.items for product in again.values()] == [files[::-1], files[:1], (1, 2)]
