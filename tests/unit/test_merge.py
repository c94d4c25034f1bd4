"""Merging: a fixed tree, exact sums, and a wire format that gives back what went in."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.compare.runs import COMPARERS
from portico.errors import ProductError
from portico.results.kinds import KINDS
from portico.results.partial import decode, encode, merge, merge_all
from portico.results.product import Product, ProductKind
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


def moments(data: list[float], operation: str = "StdDev") -> Product:
    n = float(len(data))
    mean = math.fsum(data) / n
    array = np.array([n, n, n, math.fsum(data), math.fsum((x - mean) ** 2 for x in data)])
    return Product(
        ProductKind.MOMENTS,
        {"operation": operation},
        {"moments": array, "minimum": np.array([min(data)]), "maximum": np.array([max(data)])},
    )


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


def test_nothing_merges_to_nothing() -> None:
    assert merge_all([]) is None


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), min_size=1, max_size=8))
def test_mean_and_deviation_merge_exactly_from_their_sums(parts: list[list[float]]) -> None:
    merged = merge_all({"s": moments(data)} for data in parts)
    assert merged is not None
    data = [x for part in parts for x in part]
    deviation = float(np.std(data, ddof=1)) if len(data) > 1 else 0.0
    scale = max(map(abs, data))
    assert Results("s", merged)["s"] == pytest.approx(deviation, rel=1e-9, abs=1e-9 * scale)
    mean = Results("s", {"s": Product(ProductKind.MOMENTS, {"operation": "Mean"}, merged["s"].arrays)})["s"]
    assert mean == pytest.approx(float(np.mean(data)), rel=1e-9, abs=1e-9 * scale)
    assert merged["s"].arrays["minimum"][0] == min(data)
    assert merged["s"].arrays["maximum"][0] == max(data)


def test_squares_that_root_left_out_are_the_contents() -> None:
    plain = histogram([1.0, 2.0, 3.0, 4.0])
    plain = Product(plain.kind, plain.meta, {**plain.arrays, "sumw2": np.zeros(0)})
    weighted = histogram([0.5, 0.5, 0.5, 0.5])
    for pair in ([plain, weighted], [weighted, plain]):
        merged = merge_all({"h": part} for part in pair)
        assert merged is not None
        assert merged["h"].arrays["sumw2"].tolist() == [1.25, 2.25, 3.25, 4.25]


def test_columns_and_files_are_joined_in_order() -> None:
    parts = [
        {
            "a": Product(
                ProductKind.ARRAY, {}, {"x": np.array([i], np.int32), "y#counts": np.array([2]), "y": np.array([i, i])}
            ),
            "t": Product(ProductKind.TREE, {"tree": "T"}, {}, ({"path": f"{i}"},)),
        }
        for i in range(5)
    ]
    merged = merge_all(parts)
    assert merged is not None
    results = Results("s", merged)
    assert results["a"]["x"].tolist() == [0, 1, 2, 3, 4]
    assert results["a"]["x"].dtype == np.int32
    assert results["a"]["y"].tolist() == [[i, i] for i in range(5)]
    assert results["t"] == ["0", "1", "2", "3", "4"]


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
