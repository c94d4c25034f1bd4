"""Two runs side by side: every kind of difference is found, named, and nothing else is."""

from __future__ import annotations

import itertools
import json
import math
import re
import tempfile
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.analysis.chunks import Chunk
from portico.cli import cli
from portico.cli.compare import compare as command
from portico.compare import ATOL, RTOL, Comparison, Tolerance, compare
from portico.compare import events as events_module
from portico.compare.bins import migrated
from portico.compare.numbers import agree
from portico.errors import ConfigError, InputError, ProductError, RunFolderError
from portico.files.storage import checksum_of
from portico.report.comparison import ratio, write_comparison
from portico.report.svg import Curve
from portico.results.exact import exact_sum
from portico.results.partial import encode
from portico.results.product import Product, ProductKind
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Attempt, Ledger, Lost, Planned
from portico.runfolder.step_files import StepFiles

RNG = np.random.default_rng(20261101)


def axis(bins: int, low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"bins": bins, "low": low, "high": high, "edges": None, "title": "m (GeV)", "labels": {}, **more}


def histogram(values: Any, squares: Any = None, *, axes: Any = None, entries: float | None = None) -> Product:
    flat = np.asarray(values, float)
    sums = np.zeros(0) if squares is None else np.asarray(squares, float)
    meta = {
        "class": f"TH{len(axes or [0])}D",
        "name": "h",
        "title": "",
        "axes": axes or [axis(flat.size - 2, 0.0, 1.0)],
    }
    count = float(flat.sum()) if entries is None else entries
    return Product(ProductKind.HISTOGRAM, meta, {
        "values": flat, "sumw2": sums, "stats": np.array([flat.sum(), 1.0]), "entries": np.array([count]),
    })  # fmt: skip


def cutflow(every: list[int], passed: list[int], cuts: list[str] | None = None, weights: Any = None) -> Product:
    arrays = {"all": np.array(every), "passed": np.array(passed)}
    if weights is not None:
        arrays |= {"weights": np.array(weights, float), "squares": np.array(weights, float) ** 2}
    return Product(ProductKind.CUTFLOW, {"cuts": cuts or [f"cut {i}" for i in range(len(every))]}, arrays)


def number(value: Any, kind: str = "sum") -> Product:
    if kind != "sum":
        return Product(kind, {"operation": kind.title()}, {"value": np.array([value])})
    meta = {"operation": "Sum", "type": "integer" if isinstance(value, int) else "float"}
    return Product(kind, meta, {"sums": exact_sum(value)[np.newaxis]})


def tree(folder: Path, *files: Mapping[str, Any], name: str = "candidates", kind: str = "TTree") -> Product:
    """Write a tree as a step does, one file for each chunk."""
    folder.mkdir(parents=True, exist_ok=True)
    items = []
    for number, columns in enumerate(files):
        path = folder / f"{name}-{number}.root"
        with uproot.recreate(path) as file:
            arrays = {key: ak.Array(value) for key, value in columns.items()}
            if kind == "RNTuple":
                file.mkrntuple(name, arrays)
            else:
                file.mktree(name, {key: array.type.content for key, array in arrays.items()}).extend(arrays)
        size, checksum = path.stat().st_size, checksum_of(path)
        items.append({"path": str(path), "size": size, "adler32": checksum, "uuid": str(path)})
    return Product(ProductKind.TREE, {"tree": name, "format": kind}, {}, tuple(items))


def run_folder(
    path: Path,
    results: Mapping[str, Mapping[str, Mapping[str, Product]]],
    *,
    entries: int = 1000,
    chunks: int = 2,
    states: Mapping[str, str] | None = None,
    failed: int = 0,
    summaries: Mapping[str, Any] | None = None,
    tables: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Write a run folder as the driver does."""
    with RunFolder(path).claim({"analysis": "test", "file": "analysis.yaml", "portico": "1"}) as (_, ledger):
        for position, (step, samples) in enumerate(results.items()):
            edges = np.linspace(0, entries, chunks + 1).astype(int).tolist()
            planned = {
                sample: [
                    Planned(sample, i, f"{step}-{sample}-{i}", Chunk("/d.root", "u", "Events", edges[i], edges[i + 1]))
                    for i in range(chunks)
                ]
                for sample in samples
            }
            ledger.plan(step, position, "frame", planned, others=False)
            every = [p for plan in planned.values() for p in plan]
            done = every[: len(every) - failed]
            ledger.commit([(Attempt(p.key, 1, "done"), encode({}), []) for p in done])
            for sample, products in samples.items():
                ledger.set_result(step, sample, "key", encode(products))
            ledger.set_state(step, (states or {}).get(step, "done"), 1.0, 2, "local")
        for step, values in (summaries or {}).items():
            ledger.plan(step, 99, "summary", {}, others=False)
            ledger.set_state(step, "done", 1.0, 1, "local")
            text = json.dumps(values)
            contents = {"summary.json": text.encode(), "picture.png": b"picture"}
            for name, columns in (tables or {}).items():
                with uproot.recreate(path / f"{name}.root") as file:
                    file.mktree(name, {key: np.asarray(v).dtype for key, v in columns.items()}).extend(columns)
                contents[f"{name}.root"] = (path / f"{name}.root").read_bytes()
            StepFiles(path, step, ledger).write("key", contents, text)
    return path


Pairing = Callable[..., Comparison]


@pytest.fixture
def against(tmp_path: Path) -> Pairing:
    """Return a function that compares two sets of products of one sample."""

    def call(first: Mapping[str, Product], second: Mapping[str, Product], **options: Any) -> Comparison:
        a = run_folder(tmp_path / "first", {"select": {"signal": first}})
        b = run_folder(tmp_path / "second", {"select": {"signal": second}}, chunks=3)
        return compare(a, b, **options)

    return call


def found(comparison: Comparison) -> dict[tuple[str, str, str], int]:
    """Return the number of differences by kind, what and side."""
    return {(d.kind, d.what, d.side): d.count for d in comparison.differences}


# numbers


@pytest.mark.parametrize(
    ("a", "b", "identical", "close"),
    [
        (1.0, 1.0, True, True),
        (1.0, 1.0 + 1e-13, False, True),
        (1.0, 1.0 + 1e-11, False, False),
        (0.0, -0.0, False, True),
        (0.0, 1e-300, False, False),
        (math.nan, math.nan, True, True),
        (math.nan, 1.0, False, False),
        (math.inf, math.inf, True, True),
        (math.inf, 1e308, False, False),
        (math.inf, -math.inf, False, False),
        (2**53, 2**53 + 1, False, False),
        (np.uint64(2**64 - 1), np.int64(-1), False, False),
        (np.float32(0.1), 0.1, True, True),
        (True, False, False, False),
        (10**30, 10**30 + 1, False, False),
        (10**400, 10**400, True, True),
        (10**400, 1.0, False, False),
    ],
)
def test_when_numbers_agree(a: Any, b: Any, identical: bool, close: bool) -> None:
    for pair in ((a, b), (b, a)):
        agreement = agree(*(np.array([x]) for x in pair), Tolerance())
        assert (bool(agreement.identical[0]), bool(agreement.close[0])) == (identical, close)


def test_the_absolute_tolerance_and_what_is_none() -> None:
    assert agree(np.array([0.0]), np.array([1e-9]), Tolerance(0, 1e-8)).close.all()
    assert not agree(np.array([1.0]), np.array([np.nextafter(1, 2)]), Tolerance(0, 0)).close.any()
    for wrong in ({"rtol": -1.0}, {"rtol": 1.0}, {"rtol": math.nan}, {"atol": math.inf}, {"atol": -1e-3}):
        with pytest.raises(ConfigError, match="valid: "):
            Tolerance(**wrong)


# bins


weights = st.floats(0.125, 8.0, width=16)
fills = st.lists(st.tuples(st.integers(0, 11), weights), min_size=1, max_size=40)


def filled(places: list[int], ws: list[float], shape: tuple[int, ...] = (12,)) -> tuple[np.ndarray, np.ndarray]:
    size = math.prod(shape)
    sums = np.bincount(places, ws, size), np.bincount(places, np.square(ws), size)
    return tuple(a.reshape(shape) for a in sums)  # type: ignore[return-value]


def classify(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> tuple[Any, Any]:
    layers = list(zip(first, second, strict=True))
    beyond = np.logical_or.reduce([~agree(a, b, Tolerance()).close for a, b in layers])
    return beyond, migrated(layers, layers[1], beyond, Tolerance())


@settings(max_examples=200, deadline=None)
@given(fills, st.data())
def test_what_moves_by_one_bin_is_migrated(entries: list[tuple[int, float]], data: st.DataObject) -> None:
    places, ws = (list(column) for column in zip(*entries, strict=True))
    index = data.draw(st.integers(0, len(places) - 1))
    moved = list(places)
    moved[index] += 1 if places[index] < 11 else -1
    beyond, migration = classify(filled(places, ws), filled(moved, ws))
    assert beyond.sum() == 2
    assert (beyond == migration).all()


@settings(max_examples=200, deadline=None)
@given(fills, st.integers(0, 39))
def test_what_is_lost_is_not_migrated(entries: list[tuple[int, float]], index: int) -> None:
    places, ws = (list(column) for column in zip(*entries, strict=True))
    index %= len(places)
    beyond, migration = classify(
        filled(places, ws), filled(places[:index] + places[index + 1 :], ws[:index] + ws[index + 1 :])
    )
    assert beyond.sum() == 1
    assert not migration.any()


@settings(max_examples=200, deadline=None)
@given(fills, st.lists(st.floats(-1, 1), min_size=12, max_size=12))
def test_rounding_is_neither_beyond_nor_migrated(entries: list[tuple[int, float]], noise: list[float]) -> None:
    places, ws = (list(column) for column in zip(*entries, strict=True))
    first = filled(places, ws)
    second = first[0] * (1 + 1e-13 * np.array(noise)), first[1]
    beyond, migration = classify(first, second)
    assert not beyond.any()
    assert not migration.any()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), weights), min_size=1, max_size=30), st.data())
def test_migration_in_two_dimensions(entries: list[tuple[int, int, float]], data: st.DataObject) -> None:
    places = [(x, y) for x, y, _ in entries]
    ws = [w for *_, w in entries]
    index = data.draw(st.integers(0, len(places) - 1))
    step = data.draw(st.sampled_from([(0, 1), (1, 0), (1, 1), (1, -1)]))
    moved = list(places)
    x, y = (c + d if 0 <= c + d < 6 else c - d for c, d in zip(places[index], step, strict=True))
    moved[index] = (x, y)
    before, after = (filled([6 * x + y for x, y in where], ws, (6, 6)) for where in (places, moved))
    beyond, migration = classify(before, after)
    assert beyond.sum() == 2
    assert (beyond == migration).all()
    lost = filled([6 * x + y for x, y in places[1:]], ws[1:], (6, 6)) if len(places) > 1 else (np.zeros((6, 6)),) * 2
    assert not classify(before, lost)[1].any()


def line(*values: float) -> tuple[np.ndarray, np.ndarray]:
    return np.array(values, float), np.array(values, float)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 5, 0, 0), (0, 0, 0, 5), "...."),  # two bins away over an empty one: no neighbour
        ((0, 5, 1, 0), (0, 4, 1, 1), ".M.M"),  # over a bin that handed one on
        ((9, 0, 0, 0), (0, 0, 0, 9), "...."),
        ((3, 0, 0, 5), (2, 1, 0, 4), "MM.."),  # one moved, another is lost
        ((5, 5, 5, 5), (6, 6, 6, 6), "...."),
        ((4, 0, 0, 4), (3, 1, 1, 3), "MMMM"),
        ((9,) * 12, (8, 10) * 6, "." * 12),  # more than half of many bins: another distribution
        ((9,) * 30, (8, 10) * 6 + (9,) * 18, "M" * 12 + "." * 18),
        ((1, 0, 5, 5), (0, 0, 6, 5), "...."),  # from bin 0 to 2 over the empty bin 1
    ],
)
def test_what_is_called_a_migration(first: Any, second: Any, expected: str) -> None:
    _, migration = classify(line(*first), line(*second))
    assert "".join("M" if m else "." for m in migration) == expected


def test_negative_weights_migrate_too() -> None:
    first = np.array([0.0, -2.0, 3.0, 1.0]), np.array([0.0, 4.0, 9.0, 1.0])
    second = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 0.0, 13.0, 1.0])
    assert classify(first, second)[1].tolist() == [False, True, True, False]


# products


def test_a_run_is_equal_to_itself_whatever_the_chunks(tmp_path: Path, against: Pairing) -> None:
    products = {
        "mass": histogram([0, 1.5, 2.5, 0], [0, 2.25, 6.25, 0]), "flow": cutflow([10, 8], [8, 4], weights=[10, 8, 4]),
        "n": number(12, "count"), "graph": Product(ProductKind.GRAPH, {}, {"x": np.arange(3.0), "y": np.ones(3)}),
        "columns": Product(
            ProductKind.ARRAY, {}, {"x": np.arange(4.0), "v": np.arange(3), "v#counts": np.array([0, 2, 0, 1])},
        ),
    }  # fmt: skip
    comparison = against(products, products)
    assert comparison.equal
    assert comparison.identical
    assert comparison.verdict == "equal: 1 sample, 1 step, 5 products, 1 histogram, 4 bins, 4 rows; all bit for bit"
    assert comparison.total.beyond == comparison.total.unequal == 0
    # 4 bins, 4 squares, entries and 2 moments; 2 * 4 and 2 of the cutflow; count; 2 * 3; 4 + 3
    assert comparison.total.numbers == 11 + 10 + 1 + 6 + 7


def test_a_bin_beyond_the_tolerance(against: Pairing) -> None:
    comparison = against({"mass": histogram([0, 1, 2, 0])}, {"mass": histogram([0, 1, 2.5, 0], entries=3)})
    assert found(comparison) == {("other", "bins", ""): 1}
    (difference,) = comparison.differences
    assert (difference.step, difference.sample, difference.product) == ("select", "signal", "mass")
    assert str(difference.examples[0]) == "x in [0.5, 1): 2.0 | 2.5"
    assert difference.largest == pytest.approx(0.2)
    assert comparison.verdict.startswith("different: 1 other; compared 1 sample, 1 step")
    lines = repr(comparison).splitlines()
    assert lines[0] == comparison.verdict
    assert lines[1].split()[:3] == ["kind", "where", "what"]
    assert comparison.differences[0].address in lines[2]
    assert comparison._repr_html_().count("<tr>") == 1 + len(comparison.differences)
    assert comparison.overlays[0].name == "mass"


def test_a_migrated_bin_with_its_squares(against: Pairing) -> None:
    first = histogram([0, 2.5, 1, 7, 0], [0, 3.25, 1, 49, 0])
    second = histogram([0, 1.0, 2.5, 7, 0], [0, 1, 3.25, 49, 0])
    assert found(against({"m": first}, {"m": second})) == {("migrated bin", "bins", ""): 2}
    # The sum is kept, the sum of squares is not: something else happened.
    other = histogram([0, 1.0, 2.5, 7, 0], [0, 1, 3.5, 49, 0])
    assert found(against({"m": first}, {"m": other})) == {("other", "bins", ""): 2}


def test_squares_alone_and_squares_that_are_not_kept(against: Pairing) -> None:
    plain, weighted = histogram([0, 4, 9, 0]), histogram([0, 4, 9, 0], [0, 4, 9, 0])
    assert against({"m": plain}, {"m": weighted}).identical
    other = histogram([0, 4, 9, 0], [0, 4, 10, 0])
    assert found(against({"m": plain}, {"m": other})) == {("other", "sums of squared weights", ""): 1}


def test_rounding_is_equal_and_told(against: Pairing) -> None:
    first, second = histogram([0, 1, 3, 0]), histogram([0, 1, np.nextafter(3, 4), 0], entries=4)
    comparison = against({"m": first}, {"m": second})
    assert comparison.equal
    assert not comparison.identical
    assert "equal within 1e-12 relative" in comparison.verdict
    # Of four bins, the entries and two moments.
    assert "1 of 7 numbers are not the same bits (largest 1.5e-16 relative)" in comparison.verdict
    strict = against({"m": first}, {"m": second}, rtol=0)
    assert not strict.equal
    assert found(strict)["other", "bins", ""] == 1


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (axis(2, 0, 1), axis(3, 0, 1), "bins in x: 2 | 3"),
        (axis(2, 0, 1), axis(2, 0, 2), "edge 1 in x: 0.5 | 1.0"),
        (axis(2, 0, 1), axis(2, 0, 1, labels={"1": "a"}), "label of bin 1 in x:  | a"),
    ],
)
def test_other_axes(against: Pairing, first: Any, second: Any, expected: str) -> None:
    pair = (histogram(np.zeros(a["bins"] + 2), axes=[a]) for a in (first, second))
    comparison = against(*({"m": h} for h in pair))
    assert found(comparison) == {("other", "axes", ""): 1}
    assert str(comparison.differences[0].examples[0]) == expected


def test_the_same_edges_written_out(against: Pairing) -> None:
    regular = histogram(np.arange(12), axes=[axis(10, 0, 1)])
    listed = histogram(np.arange(12), axes=[axis(10, 0, 1, edges=[i / 10 for i in range(11)])])
    assert against({"m": regular}, {"m": listed}).identical


def test_a_profile_moves_with_its_entries(against: Pairing) -> None:
    def profile(values: Any, squares: Any, entries: Any) -> Product:
        made = histogram(values, squares)
        meta = {**made.meta, "class": "TProfile", "option": ""}
        extra = {"bin_entries": np.array(entries, float), "bin_sumw2": np.zeros(0)}
        return Product(ProductKind.PROFILE, meta, {**made.arrays, **extra, "entries": np.array([9.0])})

    first = profile([0, 6, 2, 0], [0, 20, 4, 0], [0, 2, 1, 0])
    assert against({"p": first}, {"p": first}).identical
    moved = profile([0, 2, 6, 0], [0, 4, 20, 0], [0, 1, 2, 0])
    assert found(against({"p": first}, {"p": moved})) == {("migrated bin", "bins", ""): 2}


def test_cutflows_cut_by_cut(against: Pairing) -> None:
    first = cutflow([100, 80], [80, 40], ["muons", "charge"], [100, 80, 40])
    second = cutflow([100, 80], [80, 39], ["muons", "charge"], [100, 80, 39])
    comparison = against({"flow": first}, {"flow": second})
    assert found(comparison) == {
        ("other", "entries passed", ""): 1, ("other", "sum of weights", ""): 1, ("other", "sum of squares", ""): 1,
    }  # fmt: skip
    assert str(comparison.differences[0].examples[0]) == "cut 'charge': 40 | 39"
    more = cutflow([100, 80, 60], [80, 60, 40], ["muons", "mass", "charge"])
    less = cutflow([100, 80], [80, 40], ["muons", "charge"])
    assert found(against({"flow": more}, {"flow": less})) == {
        ("missing", "cuts", "second"): 1, ("other", "entries before", ""): 1,
    }  # fmt: skip


def test_other_kinds_of_products(against: Pairing) -> None:
    points = {"x": np.arange(3.0), "y": np.ones(3)}
    first = {"n": number(3, "count"), "s": number(1.5), "g": Product(ProductKind.GRAPH, {}, points), "k": number(1)}
    fewer = {"x": np.arange(2.0), "y": np.ones(2)}
    second = {
        "n": number(4, "count"),
        "s": number(1.5 + 1e-14),
        "g": Product(ProductKind.GRAPH, {}, fewer),
        "k": histogram([0, 1, 0]),
    }
    comparison = against({**first, "lost": number(1)}, {**second, "new": histogram([0, 1, 0])})
    assert found(comparison) == {
        ("missing", "points", "second"): 1, ("missing", "sums", "second"): 1, ("missing", "histograms", "first"): 1,
        ("other", "count", ""): 1, ("other", "kind", ""): 1, ("rounding", "sum", ""): 1,
    }  # fmt: skip
    kinds = [difference.kind for difference in comparison.differences]
    assert kinds == sorted(
        kinds, key=["missing", "double", "other candidate", "other", "migrated bin", "rounding"].index
    )


# trees


def candidates(size: int = 50, **changed: Any) -> dict[str, Any]:
    """Return the columns of a tree as the selection writes it."""
    random = np.random.default_rng(7)
    counts = random.integers(1, 4, size)
    total = int(counts.sum())

    def lists(values: np.ndarray) -> ak.Array:
        return ak.unflatten(values, counts)

    return {
        "run": np.full(size, 4_000_000_000, np.uint32), "lumi": np.arange(size, dtype=np.uint32) // 10,
        "event": np.arange(size, dtype=np.uint64) + np.uint64(2**63),
        "chosen": lists(random.integers(0, 5, total).astype(np.uint32)),
        "C_mass": lists(random.normal(1.9, 0.1, total).astype(np.float32)),
        "weight": random.normal(1, 0.1, size),
        **changed,
    }  # fmt: skip


def rows(columns: Mapping[str, Any], chosen: Any) -> dict[str, Any]:
    return {name: ak.Array(values)[chosen] for name, values in columns.items()}


def cut(columns: Mapping[str, Any], *edges: int) -> list[dict[str, Any]]:
    bounds = [0, *edges, len(columns["run"])]
    return [rows(columns, slice(a, b)) for a, b in itertools.pairwise(bounds)]


@pytest.fixture(params=["in step", "in parts"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compare in step, or as if the orders differed too much."""
    if request.param == "in parts":
        monkeypatch.setattr(events_module, "_WAITING", -1)
        monkeypatch.setattr(events_module, "_PARTS", (3, 3))
    return request.param


@pytest.fixture
def trees(tmp_path: Path, against: Pairing, way: str) -> Pairing:
    """Return a function that compares two trees, each given as the columns of its files."""

    def call(
        first: list[Any], second: list[Any], kinds: tuple[str, str] = ("TTree", "TTree"), **options: Any
    ) -> Comparison:
        a, b = (
            tree(tmp_path / f"trees{n}", *p, kind=k)
            for n, (p, k) in enumerate(zip((first, second), kinds, strict=True))
        )
        return against({"candidates": a}, {"candidates": b}, **options)

    return call


@pytest.mark.parametrize("small", [False, True])
def test_equal_trees_in_other_chunks_and_formats(trees: Pairing, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if small:
        monkeypatch.setattr(events_module, "_BATCH", 200)
    columns = candidates()
    # uproot writes the lengths of lists into a TTree as columns; an RNTuple has none.
    lengths = {f"n{name}": ak.values_astype(ak.num(columns[name]), "int32") for name in ("chosen", "C_mass")}
    comparison = trees(cut(columns, 20), cut({**columns, **lengths}, 5, 5, 33), ("TTree", "RNTuple"))
    assert comparison.identical
    assert comparison.total.events == 50
    assert comparison.total.numbers == 2 * len(ak.flatten(columns["C_mass"])) + 3 * 50


@pytest.mark.parametrize("small", [False, True])
def test_events_in_another_order(trees: Pairing, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if small:
        monkeypatch.setattr(events_module, "_BATCH", 200)
    columns = candidates()
    comparison = trees(cut(columns, 20), cut(rows(columns, RNG.permutation(50)), 7))
    assert comparison.identical
    assert comparison.total.events == 50


def test_missing_events(trees: Pairing) -> None:
    columns = candidates()
    comparison = trees(
        cut(rows(columns, np.delete(np.arange(50), 30)), 10), cut(rows(columns, np.delete(np.arange(50), [3, 40])), 20)
    )
    assert found(comparison) == {("missing", "events", "second"): 2, ("missing", "events", "first"): 1}
    (lost,) = comparison.differences[1].examples
    assert lost.where == f"run 4000000000, lumi 3, event {2**63 + 30}"
    assert comparison.total.events == 47


def test_double_events(trees: Pairing) -> None:
    columns = candidates()
    comparison = trees(cut(columns, 10), [rows(columns, slice(0, 30)), rows(columns, slice(28, 50))])
    assert found(comparison) == {("double", "events", "second"): 2}
    assert comparison.verdict.startswith("different: 2 double")
    assert trees([rows(columns, [0, 1, 1])], [rows(columns, [0, 1, 1])]).identical


def test_another_candidate(trees: Pairing) -> None:
    columns = candidates()
    chosen, mass = (ak.to_list(columns[name]) for name in ("chosen", "C_mass"))
    chosen[17][0] += 1
    mass[17][0] += 0.5
    second = {
        **columns,
        "chosen": ak.values_astype(ak.Array(chosen), "uint32"),
        "C_mass": ak.values_astype(ak.Array(mass), "float32"),
    }
    comparison = trees(cut(columns, 10), cut(second, 33))
    assert found(comparison) == {("other candidate", "events", ""): 1}
    assert comparison.differences[0].examples[0].where == f"run 4000000000, lumi 1, event {2**63 + 17}, chosen"


def test_a_candidate_less_and_another_weight(trees: Pairing) -> None:
    columns = candidates()
    chosen, mass = (ak.to_list(columns[name]) for name in ("chosen", "C_mass"))
    row = next(i for i, c in enumerate(chosen) if len(c) > 1)
    del chosen[row][0], mass[row][0]
    weight = columns["weight"].copy()
    weight[4] *= 2
    weight[5] *= 1 + 1e-14
    second = {
        **columns, "weight": weight, "chosen": ak.values_astype(ak.Array(chosen), "uint32"),
        "C_mass": ak.values_astype(ak.Array(mass), "float32"),
    }  # fmt: skip
    comparison = trees(cut(columns, 10), cut(second, 33))
    assert found(comparison) == {
        ("missing", "candidates", "second"): 1, ("other", "rows of column 'weight'", ""): 1,
        ("rounding", "rows of column 'weight'", ""): 1,
    }  # fmt: skip
    assert comparison.differences[1].largest == pytest.approx(0.5)


def flat(**changed: Any) -> dict[str, Any]:
    """A row for each candidate: three of every event."""
    event = np.repeat(np.arange(10, dtype=np.int32), 3)
    return {
        "run": np.ones(30, np.int32),
        "lumi": np.ones(30, np.int32),
        "event": event,
        "mass": np.arange(30.0),
        **changed,
    }


def test_several_rows_of_an_event(trees: Pairing) -> None:
    columns = flat()
    # One of the middle is missing; of another event two are swapped; one has another mass.
    order = np.delete(np.arange(30), 13)
    order[[3, 4]] = order[[4, 3]]
    mass = columns["mass"].copy()
    mass[20] = -1
    second = rows({**columns, "mass": mass}, order)
    comparison = trees(cut(columns, 4), cut(second, 14))
    assert found(comparison) == {("missing", "candidates", "second"): 1, ("other candidate", "events", ""): 1}
    assert comparison.total.events == 29
    assert comparison.differences[0].examples[0].where == "run 1, lumi 1, event 4"
    doubled = trees(cut(columns, 4), [columns, rows(columns, slice(3, 6))])
    assert found(doubled) == {("double", "events", "second"): 3}


def test_columns_that_one_has(trees: Pairing) -> None:
    columns = candidates()
    more = {**columns, "extra": np.arange(50.0)}
    assert found(trees([columns], [more])) == {("missing", "columns", "first"): 1}


def test_trees_of_chunks_without_events(trees: Pairing) -> None:
    columns = candidates()
    empty = rows(columns, slice(0, 0))
    assert trees([empty, columns, empty], [columns]).identical
    assert trees([empty], [empty, empty]).identical
    assert found(trees([empty], [columns])) == {("missing", "events", "first"): 50}


def test_trees_without_event_identity(trees: Pairing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "_BATCH", 200)
    columns = {"run": np.arange(40), "x": np.arange(40.0), "v": ak.Array([[1.0] * (i % 3) for i in range(40)])}
    comparison = trees(cut(columns, 13), cut(columns, 20))
    assert comparison.identical
    assert comparison.total.rows == 40
    x = columns["x"].copy()
    x[25] = -1
    comparison = trees(cut(columns, 13), cut({**columns, "x": x}, 20))
    assert found(comparison) == {("other", "rows of column 'x'", ""): 1}
    assert comparison.differences[0].examples[0].where == "entry 25, x"
    comparison = trees(cut(columns, 13), [rows(columns, slice(0, 38))])
    assert found(comparison) == {("missing", "entries", "second"): 2}
    assert "its columns were not compared" in comparison.notes[0]


def test_event_numbers_of_32_bits(trees: Pairing) -> None:
    """The original's ntuples hold event numbers that overflowed."""
    columns = candidates(event=np.arange(50, dtype=np.uint64) + np.uint64(2**32 + 2**31), lumi=np.ones(50, np.float32))
    narrow = {
        **columns,
        "event": columns["event"].astype(np.uint32).view(np.int32),
        "run": columns["run"].view(np.int32),
    }
    assert (narrow["event"] < 0).all()
    comparison = trees([columns], [narrow])
    assert comparison.identical
    assert comparison.total.events == 50
    assert comparison.notes == ("'event' has 32 bits on one side: only its lowest 32 bits were compared",)


def test_nested_lists_and_flags(trees: Pairing) -> None:
    columns = {
        **candidates(4),
        "deep": ak.Array([[[1, 2], []], [], [[3]], [[4], [5]]]),
        "good": np.array([True, False, True, True]),
    }
    other = {**columns, "deep": ak.Array([[[1], [2]], [], [[3]], [[4], [5]]])}
    kinds = ("RNTuple", "RNTuple")
    assert trees([columns], [columns], kinds).identical
    assert found(trees([columns], [other], kinds)) == {("other", "rows of column 'deep#counts'", ""): 1}


def test_the_same_files_are_not_read(tmp_path: Path, against: Pairing) -> None:
    written = tree(tmp_path / "trees", *cut(candidates(), 20))
    path = Path(written.items[0]["path"])
    path.chmod(0o600)
    comparison = against({"t": written}, {"t": written})
    assert comparison.identical
    assert (comparison.total.unread, comparison.total.events, comparison.total.numbers) == (4, 50, 0)


def test_files_that_are_not_what_the_step_wrote(tmp_path: Path, against: Pairing) -> None:
    first, second = (tree(tmp_path / name, *cut(candidates(), 20)) for name in ("a", "b"))
    path = Path(second.items[1]["path"])
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(InputError, match="was changed since the step wrote it"):
        against({"t": first}, {"t": second})
    middle = len(whole) // 2
    path.write_bytes(whole[:100] + bytes(len(whole) - 200) + whole[-100:] if middle else whole)
    with pytest.raises(InputError, match="its checksum differs"):
        against({"t": first}, {"t": second})
    path.unlink()
    with pytest.raises(InputError, match="no such file any more; run the step again"):
        against({"t": first}, {"t": second})


# runs


def test_summaries(tmp_path: Path) -> None:
    steps = {"select": {"signal": {"m": histogram([0, 1, 0])}}}
    event = {"run": np.ones(4, np.int32), "lumi": np.ones(4, np.int32), "event": np.arange(4), "w": np.arange(4.0)}
    values = {"limits": [1.0, 2.0], "name": "x", "fit": {"mass": 1.9, "ok": True}}
    a = run_folder(tmp_path / "a", steps, summaries={"limits": values}, tables={"weights": event})
    same = compare(a, a)
    assert same.identical
    assert same.total.events == 4
    other = {"limits": [1.0, 2.1], "name": "y", "fit": {"ok": True, "new": 1}}
    changed = {**event, "w": np.array([0.0, 1.0, 2.0, 4.0])}
    b = run_folder(tmp_path / "b", steps, summaries={"limits": other}, tables={"weights": changed})
    comparison = compare(a, b)
    assert found(comparison) == {
        ("missing", "values", "second"): 1, ("missing", "values", "first"): 1, ("other", "values", ""): 2,
        ("other candidate", "events", ""): 1,
    }  # fmt: skip
    places = {str(e) for d in comparison.differences if d.what == "values" for e in d.examples}
    assert places == {"limits[1]: 2.0 | 2.1", "name: x | y", "fit.mass", "fit.new"}
    assert compare(a, b, samples=["signal"]).equal


def test_steps_and_samples_that_one_has(tmp_path: Path) -> None:
    h = {"m": histogram([0, 1, 0])}
    a = run_folder(tmp_path / "a", {"skim": {"x": h}, "select": {"x": h, "y": h}})
    b = run_folder(tmp_path / "b", {"select": {"x": h, "z": h}, "late": {"x": h}})
    comparison = compare(a, b)
    assert [(d.what, d.side, d.address) for d in comparison.differences] == [
        ("steps", "second", "skim"), ("samples", "second", "select/y"), ("samples", "first", "select/z"),
        ("steps", "first", "late"),
    ]  # fmt: skip
    assert compare(a, b, steps=["select"], samples=["x"]).identical
    for options, message in (
        ({"steps": ["selec"]}, "did you mean 'select'"), ({"samples": ["xx"]}, "did you mean 'x'"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            compare(a, b, **options)
    with pytest.raises(ConfigError, match="nothing to compare"):
        compare(a, a, steps=["skim"], samples=["y"])


def test_runs_with_nothing_in_common(tmp_path: Path) -> None:
    a = run_folder(tmp_path / "a", {"skim": {"x": {"m": histogram([0, 1, 0])}}})
    b = run_folder(tmp_path / "b", {"fill": {"x": {"m": histogram([0, 1, 0])}}})
    with pytest.raises(ConfigError, match="no step in common: skim in the first, fill in the second"):
        compare(a, b)


def test_a_partial_run_is_told(tmp_path: Path) -> None:
    steps = {"select": {"x": {"m": histogram([0, 1, 0])}}}
    a = run_folder(tmp_path / "a", steps)
    b = run_folder(tmp_path / "b", steps, states={"select": "partial"}, failed=1)
    comparison = compare(a, b)
    assert comparison.notes == (f"{b}: step 'select' is partial: 500 of 1,000 entries",)
    assert found(comparison) == {("missing", "entries", "second"): 500}
    with RunFolder(b).claim({"analysis": "test"}) as (_, ledger):
        ledger.set_lost("select", [
            Lost("x", "select-x-0", "/d.root", 500, "input", "was done, and is gone without"),
            Lost("x", "", "/e.root", 70, "input", "could not be planned"),
        ])  # fmt: skip
    assert compare(a, b).notes == (f"{b}: step 'select' is partial: 0 of 1,070 entries",)


@pytest.mark.parametrize("state", ["failed", "interrupted", "running", "planned"])
def test_runs_that_are_not_finished_are_not_equal(tmp_path: Path, state: str) -> None:
    a, b = (
        run_folder(tmp_path / name, {"select": {"x": {"m": histogram([0, 1, 0])}}}, states={"select": state}, failed=1)
        for name in "ab"
    )
    comparison = compare(a, b)
    assert (comparison.agrees, comparison.equal, comparison.identical) == (True, False, False)
    words = f"step 'select' is {state}: 500 of 1,000 entries"
    assert comparison.gaps == (f"{a}: {words}", f"{b}: {words}")
    assert comparison.verdict.startswith(f"incomplete: {a}: {words} and 1 more; no difference in what was compared: ")
    shown = CliRunner().invoke(command, [str(a), str(b), "--json"])
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)["equal"] is False


def test_what_was_not_computed_is_not_equal(tmp_path: Path) -> None:
    """A sample without a result on both sides, a step that has not run, results of other options, no product."""
    results = {"select": {"x": {"m": histogram([0, 1, 0])}, "y": {"m": histogram([0, 1, 0])}}}
    a, b = (run_folder(tmp_path / name, results) for name in "ab")
    wanted = {("select", "x"): "", ("select", "y"): ""}

    def gaps(change: Callable[[Ledger], None], **chosen: list[str]) -> set[str]:
        for folder in (a, b):
            with RunFolder(folder).claim({"analysis": "test"}) as (_, ledger):
                change(ledger)
        comparison = compare(a, b, **chosen)
        assert comparison.agrees
        assert comparison.equal is not bool(comparison.gaps)
        return {
            gap.removeprefix(f"{side}: ") for side in (a, b) for gap in comparison.gaps if gap.startswith(str(side))
        }

    assert gaps(lambda ledger: ledger.set_wanted(wanted)) == set()
    more = wanted | {("limits", "*"): "", ("select", "z"): ""}
    assert gaps(lambda ledger: ledger.set_wanted(more)) == {
        "step 'limits' has not run",
        "step 'select', sample 'z': no result",
    }
    assert gaps(lambda _: None, steps=["select"], samples=["x"]) == set()
    other = wanted | {("select", "y"): "other"}
    assert gaps(lambda ledger: ledger.set_wanted(other)) == {"step 'select', sample 'y': made with other options"}
    assert gaps(lambda _: None, samples=["x"]) == set()
    assert gaps(lambda ledger: ledger.drop_result("select", "y")) == {"step 'select', sample 'y': no result"}
    nothing = compare(*(run_folder(tmp_path / name, {"select": {"x": {}}}) for name in "cd"))
    assert nothing.gaps == ("no product was compared",)
    assert not nothing.equal


def test_what_is_no_run(tmp_path: Path) -> None:
    a = run_folder(tmp_path / "a", {"select": {"x": {"m": histogram([0, 1, 0])}}})
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.root").write_text("no ROOT file")
    for path, kind, message in (
        (tmp_path / "none", RunFolderError, "no such run folder or ROOT file"),
        (tmp_path / "folder", RunFolderError, "is not a run folder of portico"),
        (tmp_path / "text.root", InputError, "not a ROOT file"),
    ):
        with pytest.raises(kind, match=message):
            compare(a, path)
    (a / "ledger.sqlite").write_bytes(b"damaged")
    with pytest.raises(RunFolderError, match=r"ledger.sqlite: is damaged"):
        compare(a, a)


def test_json_is_stable_and_finite(against: Pairing) -> None:
    products = {"m": histogram([0, 1, math.nan, 0]), "s": number(math.inf)}
    comparison = against(products, {"m": histogram([0, 1, 2, 0]), "s": number(1.0)})
    text = json.dumps(comparison.to_json(), allow_nan=False)
    again = json.dumps(compare(comparison.first, comparison.second).to_json(), allow_nan=False)
    assert text == again
    content = json.loads(text)
    assert set(content) == {
        "first", "second", "equal", "identical", "verdict", "rtol", "atol", "total", "samples", "differences", "notes",
    }  # fmt: skip
    assert content["equal"] is False
    assert {d["kind"] for d in content["differences"]} == {"other"}
    assert any(e["first"] == "nan" for d in content["differences"] for e in d["examples"])


def test_examples_are_few_and_counts_are_whole(against: Pairing) -> None:
    comparison = against({"m": histogram(np.arange(1000))}, {"m": histogram(np.arange(1000) + 1.0)})
    (bins, *_) = comparison.differences
    assert (bins.count, len(bins.examples)) == (1000, 100)


# files of other programs


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A run with two samples, a histogram, a profile-free count and a tree in each."""
    columns = candidates()
    samples = {
        name: {
            "mass": histogram([0, 1, 2.5, 0], [0, 1, 3.25, 0]),
            "flat": histogram([1, 2, 3, 4]),
            "n": number(3, "count"),
            "candidates": tree(tmp_path / f"ours-{name}", *cut(columns, 20)),
        }
        for name in ("signal", "data")
    }
    return run_folder(tmp_path / "ours", {"select": samples})


def their_file(path: Path, folders: tuple[str, ...], *, name: str = "mass", shift: float = 0.0) -> Path:
    """Write what another program would: weighted histograms of hist in folders."""
    import hist

    made = hist.Hist(hist.axis.Regular(2, 0, 1), storage=hist.storage.Weight())
    made.view(flow=True)["value"] = [0, 1 + shift, 2.5 - shift, 0]
    made.view(flow=True)["variance"] = [0, 1, 3.25, 0]
    with uproot.recreate(path) as file:
        for folder in folders:
            file[f"{folder}/{name}"] = made
            file[f"{folder}/flat"] = np.array([2.0, 3.0]), np.array([0, 0.5, 1])
    return path


def write_mapping(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mapping.yaml"
    path.write_text(text)
    return path


def test_what_a_file_holds_besides_is_told_and_waiting_entries_are_refused(root: Any, tmp_path: Path) -> None:
    """Nothing of a file is left out silently, be it of a class that is not compared, or in a buffer and in no bin."""
    for number in (1, 2):
        file = root.TFile(str(tmp_path / f"{number}.root"), "RECREATE")
        h, poly = root.TH1D("h", "", 2, 0, 2), root.TH2Poly("poly", "", 0, 2, 0, 1)
        efficiency = root.TEfficiency("efficiency", "", 2, 0, 2)
        h.Fill(0.5)
        efficiency.Fill(True, 0.5 * number)
        for made in (h, poly, efficiency):
            made.Write()
        if number == 2:
            waiting = root.TH1D("waiting", "", 2, 1, 1)
            for x in (0.5, 1.5, 2.5):
                waiting.Fill(x)
            file.mkdir("other").WriteTObject(waiting)
        file.Close()
    one, two = tmp_path / "1.root", tmp_path / "2.root"
    comparison = compare(one, one)
    assert comparison.equal
    what = "since only histograms, profiles, graphs and trees are: poly (TH2Poly), efficiency (TEfficiency)"
    assert comparison.notes == (f"{one}: not compared, {what}",)
    with pytest.raises(InputError, match=r"'other/waiting' has 3 entries in its buffer that are in no bin; call"):
        compare(one, two)


def test_profiles_with_other_errors_and_axes_without_ends(against: Pairing) -> None:
    everything = histogram([0, 4, 0], axes=[axis(1, -math.inf, math.inf, edges=[-math.inf, math.inf])])
    profiles = [
        Product(ProductKind.PROFILE, {**histogram([0, 6, 0]).meta, "class": "TProfile", "option": option}, {
            "values": np.array([0.0, 6, 0]), "sumw2": np.array([0.0, 20, 0]), "bin_entries": np.array([0.0, 2, 0]),
            "stats": np.zeros(6), "entries": np.array([2.0]),
        })
        for option in ("", "s")
    ]  # fmt: skip
    comparison = against({"h": everything, "p": profiles[0]}, {"h": everything, "p": profiles[1]})
    (difference,) = comparison.differences
    assert (difference.product, difference.what, str(difference.examples[0])) == ("p", "error options", "mean | s")


def test_a_file_laid_out_as_results_root(ours: Path, tmp_path: Path) -> None:
    theirs = their_file(tmp_path / "theirs.root", ("signal", "data"))
    comparison = compare(ours, theirs, samples=["signal"])
    # The file's flat histogram has nothing outside of its range, ours has; uproot counts entries otherwise.
    bins = [d for d in comparison.differences if d.what == "bins"]
    assert [(d.product, d.count) for d in bins] == [("flat", 2)]
    assert {e.where for e in bins[0].examples} == {"x < 0", "x >= 1"}
    assert not [d for d in comparison.differences if d.product == "mass" and d.what != "entries"]
    assert comparison.notes == (f"2 products were not compared: {theirs} has no counts, cutflows and trees",)
    swapped = compare(theirs, ours, samples=["signal"])
    assert [d.examples[0].first for d in swapped.differences if d.what == "bins"] == [bins[0].examples[0].second]


MAPPED = """
histograms:
  select/{sample}/mass: "{sample}/h_mass"
"""


def test_histograms_of_another_program(ours: Path, tmp_path: Path) -> None:
    mapping = write_mapping(tmp_path, MAPPED)
    theirs = their_file(tmp_path / "theirs.root", ("signal", "data"), name="h_mass", shift=0.5)
    comparison = compare(ours, theirs, mapping=mapping)
    assert [(d.kind, d.sample, d.product, d.count) for d in comparison.differences if d.what == "bins"] == [
        ("migrated bin", "signal", "mass", 2), ("migrated bin", "data", "mass", 2),
    ]  # fmt: skip
    one = their_file(tmp_path / "one.root", ("signal",), name="h_mass")
    lost = compare(ours, one, mapping=mapping)
    assert [(d.kind, d.sample, d.what, d.side) for d in lost.differences if d.kind == "missing"] == [
        ("missing", "data", "histograms", "second")
    ]
    assert compare(ours, one, mapping=mapping, samples=["signal"]).total.histograms == 1


TREE = """
trees:
  - ours: select/{sample}/candidates
    theirs: "{sample}/Events"
    files: ["theirs-{sample}.root"]
    key: {run: runNumber, lumi: luminosityBlock, event: eventNumber}
    columns: {C_mass: Ds_mass, weight: w}
    candidate: [C_mass]
"""


def their_tree(path: Path, sample: str, columns: Mapping[str, Any], **changed: Any) -> None:
    names = {"run": "runNumber", "lumi": "luminosityBlock", "event": "eventNumber", "C_mass": "Ds_mass", "weight": "w"}
    renamed = {names[key]: ak.Array(value) for key, value in columns.items() if key in names} | changed
    with uproot.recreate(path) as file:
        types = {key: array.type.content for key, array in renamed.items()}
        file.mktree(f"{sample}/Events", types).extend(renamed)


def test_a_tree_of_another_program(ours: Path, tmp_path: Path) -> None:
    mapping = write_mapping(tmp_path, TREE)
    columns = candidates()
    masses = ak.to_list(columns["C_mass"])
    masses[7][0] = 99.0
    # Another order, one event less, doubles instead of floats, and a column that nobody asked for.
    order = np.delete(RNG.permutation(50), 3)
    other = {**columns, "C_mass": ak.values_astype(ak.Array(masses), "float64")}
    for sample, content in (("signal", rows(other, order)), ("data", columns)):
        unasked = {"extra": ak.Array(np.zeros(len(content["run"])))}
        their_tree(tmp_path / f"theirs-{sample}.root", sample, content, **unasked)
    there = set(order.tolist())
    gone = next(i for i in range(50) if i not in there)
    comparison = compare(ours, tmp_path / "theirs-data.root", mapping=mapping)
    expected = {("missing", "signal", "events", 1)}
    if gone != 7:
        expected.add(("other candidate", "signal", "events", 1))
    assert {(d.kind, d.sample, d.what, d.count) for d in comparison.differences} == expected
    assert comparison.total.events == 99
    swapped = compare(tmp_path / "theirs-data.root", ours, mapping=mapping)
    assert {d.side for d in swapped.differences if d.kind == "missing"} == {"first"}


SCALAR = """
trees:
  - ours: select/signal/candidates
    theirs: signal/Events
    files: ["theirs.root"]
    key: {run: runNumber, lumi: luminosityBlock, event: eventNumber}
    columns: {C_mass: Ds_mass, weight: w}
    choose: {selection: 0}
"""


def per_selection(values: Any) -> dict[str, Any]:
    """Return events with lists over selections: 0 in all but every seventh event, with others before and after it."""
    selections = [[2, 1] if n % 7 == 0 else [1, 0] if n % 2 else [0, 3] for n in range(len(values))]
    masses = [[value if s == 0 else -value for s in of] for value, of in zip(values, selections, strict=True)]
    columns = {key: np.arange(len(values), dtype="uint32") for key in ("run", "lumi", "event")}
    return {**columns, "selection": selections, "C_mass": masses, "weight": np.ones(len(values)), "hits": masses}


@pytest.mark.parametrize("swap", [False, True])
def test_a_list_per_selection_against_one_value_per_event(tmp_path: Path, swap: bool) -> None:
    values = RNG.normal(1.9, 0.1, 40)
    kept = [n for n in range(40) if n % 7]
    mine = tree(tmp_path / "t", per_selection(values))
    ours = run_folder(tmp_path / "ours", {"select": {"signal": {"candidates": mine}}})
    scalar = {key: np.array(kept, dtype="uint32") for key in ("run", "lumi", "event")}
    scalar |= {"C_mass": values[kept], "weight": np.ones(len(kept))}
    their_tree(tmp_path / "theirs.root", "signal", scalar)
    sides = (tmp_path / "theirs.root", ours) if swap else (ours, tmp_path / "theirs.root")
    same = compare(*sides, mapping=write_mapping(tmp_path, SCALAR))
    assert same.identical, same.differences
    assert same.total.events == len(kept)
    other = write_mapping(tmp_path, SCALAR.replace("selection: 0", "selection: 1"))
    different = compare(*sides, mapping=other)
    assert {d.kind for d in different.differences} >= {"missing"}
    wrong = write_mapping(tmp_path, SCALAR.replace("selection: 0", "selektion: 0"))
    with pytest.raises(ConfigError, match="no column 'selektion'; did you mean 'selection'"):
        compare(*sides, mapping=wrong)


def test_choose_needs_one_element(tmp_path: Path) -> None:
    columns = per_selection(np.ones(4)) | {"selection": [[0, 0], [0], [1], [0]]}
    columns |= {"C_mass": columns["selection"], "hits": columns["selection"]}
    ours = run_folder(tmp_path / "ours", {"select": {"signal": {"candidates": tree(tmp_path / "t", columns)}}})
    their_tree(tmp_path / "theirs.root", "signal", columns | {"C_mass": np.ones(4)})
    with pytest.raises(ProductError, match=r"several elements with .*selection == 0"):
        compare(ours, tmp_path / "theirs.root", mapping=write_mapping(tmp_path, SCALAR))
    text = SCALAR.replace("selection: 0", "weight: 1")
    with pytest.raises(ProductError, match="needs lists of one length"):
        compare(ours, tmp_path / "theirs.root", mapping=write_mapping(tmp_path, text))


def test_a_mapping_to_begin_with(ours: Path, tmp_path: Path) -> None:
    """What is printed where names differ is a mapping with which the comparison works."""
    whole = their_file(tmp_path / "whole.root", ("signal", "data"), name="h_mass", shift=0.5)
    theirs = tmp_path / "theirs.root"
    with uproot.recreate(theirs) as file, uproot.open(whole) as source:
        for sample in ("signal", "data"):
            file[f"{sample}/h_mass"] = source[f"{sample}/h_mass"]
            file[f"{sample}/unlike"] = np.array([2.0, 3.0]), np.array([0, 7, 8])
    with pytest.raises(ConfigError, match="match no step") as error:
        compare(ours, theirs)
    words, _, text = str(error.value).partition("--mapping:\n")
    assert "by content and name" in words
    assert yaml.safe_load(text)["histograms"] == {"select/{sample}/mass": "{sample}/h_mass"}
    found = compare(ours, theirs, mapping=write_mapping(tmp_path, text))
    assert {(d.kind, d.sample) for d in found.differences if d.what == "bins"} == {
        ("migrated bin", "signal"), ("migrated bin", "data")
    }  # fmt: skip
    renamed = their_file(tmp_path / "renamed.root", ("one/signal", "one/data"), name="mass")
    with pytest.raises(ConfigError, match="no histogram with the same path") as error:
        compare(theirs, renamed)
    assert "h_mass" in str(error.value).partition("--mapping:\n")[2]


def test_a_mapping_to_begin_with_pairs_equal_content_and_then_the_most_alike(tmp_path: Path) -> None:
    """As in ROOT's tutorial df103: two names of ours are like one of theirs, and the order is not the same."""
    contents = {"h_data_2el2mu": 1.0, "h_data_4el": 2.0, "h_data_4mu": 3.0, "left": 4.0}
    products = {name: histogram([0, value, 7.0, 0]) for name, value in contents.items()}
    ours = run_folder(tmp_path / "ours", {"select": {"data": products}})
    with uproot.recreate(tmp_path / "theirs.root") as file:
        for name, value in {"h_data_4el": 2.0, "h_data_2el2mu_doublemu": 1.0, "h_data_4mu": 5.0, "unlike": 4.0}.items():
            file[name] = np.array([value, 7.0]), np.array([0, 0.5, 1])
    with pytest.raises(ConfigError, match="match no step") as error:
        compare(ours, tmp_path / "theirs.root")
    assert yaml.safe_load(str(error.value).partition("--mapping:\n")[2])["histograms"] == {
        "select/data/h_data_2el2mu": "h_data_2el2mu_doublemu", "select/data/h_data_4el": "h_data_4el",
        "select/data/h_data_4mu": "h_data_4mu", "select/data/left": "unlike",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("histogramms: {a: b}", "unknown key 'histogramms'; did you mean 'histograms'"),
        ("trees: [{ours: a/b/c, theirs: t, colums: {}}]", "unknown key 'trees.0.colums'; did you mean 'columns'"),
        ("trees: [{ours: a/b/c}]", "key 'trees.0.theirs' is missing"),
        ("folder: x", "unknown key 'folder'"),
        ("histograms: {select/signal/mas: signal/mass}", "did you mean 'select/signal/mass'"),
        ("histograms: {select/signal/mass: signal/mas}", "no 'signal/mas' in .*did you mean 'signal/mass'"),
        ("histograms: {'select/{sampel}/mass': x}", "'{sampel}' is not a field; valid: {step}, {sample}, {product}"),
        ("histograms: {select/signal/mass: '{sample}/mass'}", "has fields that are missing in 'select/signal/mass'"),
        ("trees: [{ours: select/signal/candidates, theirs: t, files: [none*.root]}]", "no file 'none\\*.root'"),
        (
            ("trees: [{ours: select/signal/candidates, theirs: signal/Events, files: [t.root], "
            "columns: {C_mass: Ds_mas}}]"),
            "t.root: 'signal/Events' has no column 'Ds_mas'; did you mean 'Ds_mass'",
        ),
        (
            ("trees: [{ours: select/signal/candidates, theirs: signal/Events, files: [t.root], "
            "columns: {C_mas: Ds_mass}}]"),
            "'select/signal/candidates' has no column 'C_mas'; did you mean 'C_mass'",
        ),
        (
            ("trees: [{ours: select/signal/candidates, theirs: signal/Events, files: [t.root], "
            "columns: {C_mass: Ds_mass}, key: {weight: w}}]"),
            "column 'weight' cannot be a key, because it contains fractions",
        ),
    ],
)  # fmt: skip
def test_a_wrong_mapping_is_refused(ours: Path, tmp_path: Path, text: str, message: str) -> None:
    their_tree(tmp_path / "t.root", "signal", candidates())
    theirs = their_file(tmp_path / "theirs.root", ("signal", "data"))
    with pytest.raises(ConfigError, match=message):
        compare(ours, theirs, mapping=write_mapping(tmp_path, text))


def test_a_mapping_names_the_key_of_all_trees(tmp_path: Path, against: Pairing) -> None:
    columns = {"id": np.arange(20), "x": np.arange(20.0)}
    order = RNG.permutation(20)
    pair = tree(tmp_path / "a", columns), tree(tmp_path / "b", rows(columns, order))
    mapping = write_mapping(tmp_path, "key: [id]")
    comparison = against({"t": pair[0]}, {"t": pair[1]}, mapping=mapping)
    assert comparison.identical
    assert comparison.total.events == 20
    with pytest.raises(ConfigError, match="key 'idd' is not a column of both; did you mean 'id'"):
        against({"t": pair[0]}, {"t": pair[1]}, mapping=write_mapping(tmp_path, "key: [idd]"))


def test_two_files_and_files_that_do_not_fit(ours: Path, tmp_path: Path) -> None:
    a = their_file(tmp_path / "a.root", ("signal", "data"))
    b = their_file(tmp_path / "b.root", ("signal", "data"), shift=0.5)
    other = their_file(tmp_path / "c.root", ("elsewhere",))
    assert compare(a, a).identical
    assert {(d.kind, d.product) for d in compare(a, b).differences} == {("migrated bin", "mass")}
    with pytest.raises(ConfigError, match="no histogram with the same path"):
        compare(a, other)
    with pytest.raises(ConfigError, match=r"match no step of .*--mapping"):
        compare(ours, other)
    whole = a.read_bytes()
    a.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="truncated"):
        compare(ours, a)


# the command and the page


def call(*arguments: Any) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_exit_statuses_and_what_is_shown(tmp_path: Path) -> None:
    steps = {"select": {"x": {f"h{i}": histogram([0, 1, 2, 0]) for i in range(30)}}}
    other = {"select": {"x": {f"h{i}": histogram([0, 1, 2.5, 0], entries=3) for i in range(30)}}}
    a, b = run_folder(tmp_path / "a", steps), run_folder(tmp_path / "b", other)
    same = call(a, a)
    assert (same.exit_code, same.stdout) == (
        0, "equal: 1 sample, 1 step, 30 products, 30 histograms, 120 bins; all bit for bit\n"
    )  # fmt: skip
    different = call(a, b)
    assert different.exit_code == 1
    lines = different.stdout.splitlines()
    assert lines[0].startswith("different: 30 other; compared 1 sample, 1 step, 30 products")
    assert lines[1] == "tolerance: 1e-12 relative"
    assert "x in [0.5, 1): 2.0 | 2.5" in different.stdout
    assert "... and 10 more; all with --json" in different.stdout
    assert call(a, b, "--atol", "0.6").exit_code == 0
    content = json.loads(call(a, b, "--json").stdout)
    assert len(content["differences"]) == 30
    assert content["equal"] is False


def test_defaults_of_the_command_are_those_of_the_library() -> None:
    defaults = {p.name: p.default for p in command.params}
    assert (defaults["rtol"], defaults["atol"]) == (RTOL, ATOL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none",), "none: no such run folder or ROOT file"),
        (("text.root",), "not a ROOT file"),
        (("a", "--step", "selec"), "did you mean 'select'"),
        (("a", "--rtol", "2"), "the relative tolerance is 2; valid: from 0"),
        (("a", "--mapping", "none.yaml"), "none.yaml: no such file"),
        ((), "Missing argument"),
    ],
)
def test_wrong_usage_is_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    run_folder(Path("a"), {"select": {"x": {"m": histogram([0, 1, 0])}}})
    Path("text.root").write_text("no ROOT file")
    done = call("a", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


class Tags(HTMLParser):
    """Checks that tags close in the order they open, and keeps the text."""

    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = """<script>alert('x')</script>"&{{ 7*7 }}"""


def test_the_page_is_whole_and_escaped(tmp_path: Path) -> None:
    def products(shift: float) -> dict[str, Product]:
        axes = [axis(4, 0, 1), axis(4, 0, 1)]
        values = np.zeros(36)
        values[8] = shift
        return {
            HOSTILE: histogram([0, 1, 2 + shift, 4 * shift, 0]), "map": histogram(values, axes=axes),
            "s": number(math.inf if shift else 1.0), "same": histogram([0, 1, 0]), "tiny": number(1 + 1e-15 * shift),
        }  # fmt: skip

    sample = HOSTILE.replace("/", "")  # which a folder cannot have
    a = run_folder(tmp_path / "a", {"select": {sample: products(0.0)}})
    b = run_folder(tmp_path / "b", {"select": {sample: products(1.0)}}, states={"select": "partial"})
    page = tmp_path / "page.html"
    done = call(a, b, "--html", page)
    assert done.exit_code == 1
    assert f"page: {page}" in done.stdout
    text = page.read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert "script" not in tags.seen
    assert "<script>" not in text
    assert HOSTILE in tags.text
    assert sample in tags.text
    assert "49" not in tags.text.replace("{{ 7*7 }}", "")
    assert tags.seen.count("svg") == 6, "the histogram that differs, two projections of the other, and ratios"
    for words in (
        "different",
        "1e-12 relative",
        "step 'select' is partial",
        "(projection on axis 2)",
        "Rounding: 1",
    ):
        assert words in tags.text
    assert "nan" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    assert "http" not in text
    assert write_comparison(compare(a, a), tmp_path / "same.html").read_text().count("<svg") == 0
    assert page.read_text() == write_comparison(compare(a, b), tmp_path / "again.html").read_text()


def test_all_draws_every_histogram(tmp_path: Path) -> None:
    def products(shift: float) -> dict[str, Product]:
        same = {"same": histogram([0, 1, 4, 0], [0, 1, 4, 0]), "profile": histogram([0, 3, 1, 0])}
        return same | {"off": histogram([0, 9, 4 + shift, 0]), "tiny": histogram([0, 9 + 1e-14 * shift, 4, 0])}

    a, b = (run_folder(tmp_path / name, {"select": {"s": products(x)}}) for name, x in (("a", 0.0), ("b", 1.0)))
    page = tmp_path / "page.html"
    assert call(a, b, "--html", page, "--all").exit_code == 1
    text = page.read_text()
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert titles[:4] == [
        "What differs", "Histograms that differ", "Histograms that are equal within the tolerance: 1",
        "Histograms that are the same bit for bit: 2",
    ]  # fmt: skip
    before, _, after = text.partition("Histograms that are equal")
    assert re.findall(r"<figcaption>(.*?)</figcaption>", before) == ["select/s/off"]
    assert re.findall(r"<figcaption>(.*?)</figcaption>", after) == [
        f"select/s/{n}" for n in ("tiny", "same", "profile")
    ]
    for plot, below in re.findall(r"<figure>(<svg.*?</svg>)(<svg.*?</svg>)", text):
        assert [">a</text>" in plot, ">b</text>" in plot, "events / bin" in plot, 'class="error"' in plot] == [True] * 4
        assert "second / first" in below
        assert 'class="error"' in below
    assert text.count("<svg") == 8
    assert call(a, a, "--html", page, "--all").exit_code == 0
    assert page.read_text().count("<figcaption>") == 4
    assert call(a, b, "--all").exit_code == 2


def test_ratios_have_errors_and_no_bins_that_are_empty() -> None:
    """By hand: 10 +- 2 over 5 +- 1 is 2 +- 0.566; of 0 and 3 there is an arrow."""
    edges = np.arange(5.0)

    def of(values: list[float], errors: list[float]) -> Curve:
        return Curve(edges, np.array(values), np.array(errors), 1.0, 0.0, 1.0, "x", ())

    drawn = ratio(of([5, 0, 0, 4], [1, 0, 0, 0]), of([10, 3, 0, 4], [2, 1, 0, 0]))
    (bars,) = re.findall(r'd="([^"]*)" stroke="[^"]*" class="error"', drawn)
    ends = [float(y) for y in re.findall(r"[\d.]+ ([\d.]+)V([\d.]+)", bars)[0]]
    tick = {float(v): float(y) for y, v in re.findall(r'y="([\d.]+)" class="y">([\d.]+)</text>', drawn)}
    (low, y0), (high, y1) = sorted(tick.items())[0], sorted(tick.items())[-1]
    value = [low + (y - (y0 - 3)) * (high - low) / (y1 - y0) for y in ends]
    assert bars.count("M") == 1
    assert value == pytest.approx([min(2 + 0.566, high), 2 - 0.566], abs=0.06)
    (line,) = re.findall(r'd="([^"]*)" stroke="[^"]*"/>', drawn)
    assert line.count("H") == 2, "of the bins with entries on both sides"
    assert line.count("m-2.5") == 1


def test_completion_of_steps_and_samples(ours: Path) -> None:
    for option, expected in (("--step", "select"), ("--sample", "signal")):
        words = {"COMP_WORDS": f"portico compare {ours} {ours} {option} ", "COMP_CWORD": "5"}
        done = CliRunner().invoke(cli, [], env={"_PORTICO_COMPLETE": "bash_complete", **words}, prog_name="portico")
        assert f"plain,{expected}" in done.stdout


def test_rows_that_wait_and_then_go_aside(tmp_path: Path, against: Pairing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many parts, of several batches each, with every kind of difference in another order."""
    monkeypatch.setattr(events_module, "_BATCH", 2_000)
    monkeypatch.setattr(events_module, "_WAITING", 10_000)
    columns = candidates(600)
    order = RNG.permutation(600)[:597]
    weight = columns["weight"].copy()
    weight[order[5]] += 1
    second = cut(rows({**columns, "weight": weight}, np.concatenate([order, order[10:12]])), 100, 400)
    pair = tree(tmp_path / "a", *cut(columns, 200)), tree(tmp_path / "b", *second)
    before = set(Path(tempfile.gettempdir()).glob("portico-compare-*"))
    comparison = against({"t": pair[0]}, {"t": pair[1]})
    assert found(comparison) == {
        ("missing", "events", "second"): 3, ("double", "events", "second"): 2,
        ("other", "rows of column 'weight'", ""): 1,
    }  # fmt: skip
    lost = {e.where.rpartition(" ")[2] for d in comparison.differences if d.kind == "missing" for e in d.examples}
    assert lost == {str(2**63 + i) for i in set(range(600)) - set(order.tolist())}
    assert set(Path(tempfile.gettempdir()).glob("portico-compare-*")) == before, "nothing is left aside"
