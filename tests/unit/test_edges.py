"""Ends of bins: a number just inside gets the value of its bin, and all others that of correctionlib."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import correctionlib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portico.corrections.binning import dumped
from portico.corrections.schema import pick, read_set

LOWS = st.sampled_from([0.0, -1.0, -2.4, 0.1, 1 / 3, 15.0, -math.pi, 1e6, -1e-3])
WIDTHS = st.sampled_from([1.0, 0.3, 4.8, 100.0, 7 / 3, 2 * math.pi, 0.01])


def correction(data: Any, *inputs: str) -> dict[str, Any]:
    made = {"name": "c", "version": 1, "inputs": [{"name": name, "type": "real"} for name in inputs], "data": data}
    return {"schema_version": 2, "corrections": [{**made, "output": {"name": "w", "type": "real"}}]}


def ours(file: dict[str, Any], policy: Any) -> Any:
    text = pick(read_set(json.dumps(file).encode(), "here"), "c", "here").text(policy)
    return correctionlib.CorrectionSet.from_string(text)["c"]


def at(function: Any, *x: float) -> float | None:
    """The value; None if it is refused."""
    try:
        return float(function.evaluate(*map(float, x)))
    except (RuntimeError, ValueError, IndexError):
        return None


def equal(n: int, low: float, high: float, flow: str, content: Any = None) -> dict[str, Any]:
    content = content or [float(i + 1) for i in range(n)]
    edges = {"n": n, "low": low, "high": high}
    return {"nodetype": "binning", "input": "x", "edges": edges, "content": content, "flow": flow}


def around(edges: Any) -> list[float]:
    return [
        float(f(edge))
        for edge in edges
        for f in (lambda x: np.nextafter(x, -np.inf), float, lambda x: np.nextafter(x, np.inf))
    ]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), LOWS, WIDTHS, st.sampled_from(["error", "clamp", "wrap"]), st.randoms())
@example(7, -2.4, 7 / 3, "error", None)  # 0 by correctionlib 2.9
@example(4, 0.0, 1.1, "wrap", None)  # 0 just below 0
def test_equal_bins(n: int, low: float, width: float, flow: str, random: Any) -> None:
    high = low + width
    file = correction(equal(n, low, high, flow), "x")
    reference = correctionlib.CorrectionSet.from_string(dumped(file))["c"]
    made = ours(file, "clamp" if flow == "clamp" else "refuse")
    inside = [random.uniform(low, high) for _ in range(20)] if random else []
    beyond = [low - 1e-18, low - 1e-16, low - width / 3, high + width / 3, 1e300, -1e300]
    for x in [*around(np.linspace(low, high, n + 1)), *inside, *beyond]:
        expected, found = at(reference, x), at(made, x)
        if found != expected:  # only where correctionlib leaves the last bin, or wraps to the first too early
            assert (expected, found) in {(0.0, n), (1.0, n)}, x
            assert min(abs(x - low), abs(x - high)) <= 1e-15 * max(abs(low), abs(high))
        assert found != 0
    assert at(made, np.nextafter(high, -np.inf)) == n
    assert at(made, low) == 1
    assert at(made, high) == {"error": None, "clamp": n, "wrap": 1}[flow]
    assert at(made, np.nextafter(low, -np.inf)) == {"error": None, "clamp": 1, "wrap": n}[flow]
    for x, end in ((-math.inf, 1), (math.inf, n)):
        assert at(made, x) == (end if flow == "clamp" else None)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 9), LOWS, WIDTHS, st.booleans()), min_size=2, max_size=3),
    st.sampled_from(["error", "clamp", "wrap"]),
)
def test_several_axes_have_the_bins_of_each(axes: list[tuple[int, float, float, bool]], flow: str) -> None:
    """The value of a bin in several dimensions is made of its numbers, so that a wrong row is seen."""
    names = ["x", "y", "z"][: len(axes)]
    edges: list[Any] = []
    for n, low, width, is_equal in axes:
        listed = np.linspace(low, low + width, n + 1).tolist()
        edges.append({"n": n, "low": low, "high": low + width} if is_equal else listed)
    numbers = [range(1, n + 1) for n, *_ in axes]
    content = [float(sum(i * 10**k for k, i in enumerate(bins))) for bins in itertools.product(*numbers)]
    node = {"nodetype": "multibinning", "inputs": names, "edges": edges, "content": content, "flow": flow}
    policy = "clamp" if flow == "clamp" else "refuse"
    made = ours(correction(node, *names), policy)
    single = []
    for (n, *_), axis in zip(axes, edges, strict=True):
        data = {**equal(n, 0.0, 1.0, flow), "edges": axis}
        single.append(ours(correction(data, "x"), policy))
    points = [[low, np.nextafter(low + width, -np.inf), low + width / 3, low + width] for _, low, width, _ in axes]
    for point in itertools.product(*points):
        bins = [at(function, x) for function, x in zip(single, point, strict=True)]
        expected = None if None in bins else sum(i * 10**k for k, i in enumerate(bins))  # type: ignore[operator,misc]
        assert at(made, *point) == expected


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-1e3, 1e3, width=64), min_size=2, max_size=20, unique=True))
@example(
    [-9.602227558215902e-15, 1.1538511148125385, 1.8554198448069474, 1 / 3 + 100]
)  # correctionlib reads them one rounding too low
def test_bins_begin_at_their_edges(edges: list[float]) -> None:
    edges = [edge for edge in sorted(edges) if len(dumped({"edges": edge})) != len(json.dumps({"edges": edge}))]
    edges = [0.0 - 2000, *(b for a, b in itertools.pairwise([-2000.0, *edges]) if b - a > 1e-9)]
    content = [float(n) for n in range(1, len(edges) + 1)]
    node = {"nodetype": "binning", "input": "x", "edges": [*edges, "inf"], "content": content, "flow": "error"}
    made = ours(correction(node, "x"), "refuse")
    for n, edge in enumerate(edges[1:], 1):
        assert (at(made, np.nextafter(edge, -np.inf)), at(made, edge)) == (n, n + 1)


@pytest.mark.parametrize("flow", ["error", "clamp", "wrap", 7.0])
def test_bins_in_bins_and_values_for_overflow(flow: Any) -> None:
    low, high = -2.4, -2.4 + 7 / 3
    inner = {**equal(7, low, high, flow), "input": "y"}
    file = correction({**equal(7, low, high, flow), "content": [1.0] * 6 + [inner]}, "x", "y")
    edge = np.nextafter(high, -np.inf)
    for policy in ("refuse", "clamp"):
        assert at(ours(file, policy), edge, edge) == 7
        outside = {"refuse": None, "clamp": 7.0}[policy] if flow != "wrap" else 1.0
        assert at(ours(file, policy), high, edge) == outside
