"""Random selections on random events: a loop without RDataFrame has RDataFrame's bits, and both those of Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from portico import root
from portico.analysis.chunks import Chunk
from portico.analysis.dataset import Sample
from portico.config import parse
from portico.files import summarise
from portico.results.product import Product, ProductKind
from portico.results.view import Results
from portico.selection import Selection, book, event_weight
from portico.selection.loop import Loop
from portico.worker.frame import run_chunk
from tests.chosen import choose

ROOT = root.load()
pytestmark = pytest.mark.integration
EVENTS, CLUSTER = 600, 97
FLOATS, INTEGERS = ("C_a", "C_b", "C_c", "C_d"), ("C_i", "C_j")
ODD = np.float32([np.nan, np.inf, -np.inf, 0.0, -0.0])


def made_events(rng: np.random.Generator, path: Path) -> dict[str, Path]:
    """Write events without candidates, with some and with very many; with numbers that are none, and exact ties."""
    counts = rng.choice([0, 1, 2, 3, 8, 300], EVENTS, p=[0.3, 0.2, 0.2, 0.15, 0.14, 0.01])
    columns: dict[str, Any] = {
        "run": np.full(EVENTS, 316_000, np.int32), "lumi": (np.arange(EVENTS) // 50).astype(np.int32),
        "event": (np.arange(EVENTS) - EVENTS // 2).astype(np.int32), "n": rng.integers(0, 5, EVENTS).astype(np.int32),
        "x": rng.normal(0, 1, EVENTS).astype(np.float32), "list": ak.unflatten(rng.normal(0, 1, 2 * EVENTS), 2),
    }  # fmt: skip
    for name in (*FLOATS, *INTEGERS):
        total = counts.sum()
        values = rng.normal(0, 1, total).astype(np.float32).round(1)
        values = np.where(rng.random(total) < 0.03, rng.choice(ODD, total), values).astype(np.float32)
        of = values if name in FLOATS else rng.integers(-2, 3, total).astype(np.int16)
        columns[name] = ak.unflatten(of, counts)
    columns["list"] = ak.values_astype(columns["list"], np.float32)
    types = {name: ak.Array(values).type.content for name, values in columns.items()}
    written = {"TTree": path / "tree.root", "RNTuple": path / "ntuple.root"}
    for kind, file_path in written.items():
        with uproot.recreate(file_path) as file:
            made = file.mktree("t", types) if kind == "TTree" else file.mkrntuple("t", types)
            for begin in range(0, EVENTS, CLUSTER):
                made.extend({name: values[begin : begin + CLUSTER] for name, values in columns.items()})
    return written


def made_selection(rng: np.random.Generator) -> Selection:
    """Declare cuts, categories, rules, weights, variations and histograms at random."""
    return parse(Selection, declared_at_random(rng), Path("random.yaml"))


def declared_at_random(rng: np.random.Generator) -> dict[str, Any]:
    """Return a selection as its file has it."""

    def some(words: list[str], least: int = 0) -> list[str]:
        return [str(word) for word in rng.permutation(words)[: rng.integers(least, len(words) + 1)]]

    cuts = ["C_a > -0.5", "std::abs(C_b) < 1.5", "C_i >= 0", "C_sum > -2 && C_c < 2", "!(C_j == 1 && C_d > 0)"]
    event = ["n > 0", "x < 1.2", "list[0] + list[1] > -2", "event != 7"]
    categories = ["C_i > 0", "C_i <= 0 && C_a > 0", "C_sum > 1", "x > 0"]
    scores = ["-std::abs(C_a - 0.25)", "C_b * C_c", "C_d"]
    weights: dict[str, Any] = {
        "event": {"expression": "1 + 0.1 * n * {variation}", "nominal": "1", "variations": {"up": "1.5", "dn": "0"}},
        "candidate": {"expression": "1 + 0.01 * C_i + 0.001 * {variation}", "nominal": "0", "variations": {"up": "1"}},
    }
    shapes: dict[str, Any] = {
        "scale": {
            "columns": {"C_a": "C_a * {variation}f"}, "variations": {"up": "1.1", "down": "0.9"},
            **({"nominal": "1.01"} if rng.random() < 0.5 else {}),
        },
    }  # fmt: skip
    declared: dict[str, Any] = {
        "candidates": "C_", "define": {"C_sum": "double(C_a) + C_b", "twice": "2 * x"},
        "event": {f"event {n}": cut for n, cut in enumerate(some(event))},
        "preselection": {f"cut {n}": cut for n, cut in enumerate(some(cuts, 1))},
        "categories": {f"category{n}": {"a": cut, "b": "C_c > -1.5"} for n, cut in enumerate(some(categories))},
        "rules": {
            f"rule{n}": {"score": score, **({"prefer": "C_j >= 0"} if rng.random() < 0.5 else {})}
            for n, score in enumerate(some(scores, 1))
        },
        "weights": {name: weights[name] for name in some([*weights])},
        "shapes": {name: shapes[name] for name in some([*shapes])},
        "histograms": [
            {"column": "C_a", "bins": 20, "range": [-2, 2], "varied": True},
            {"column": "C_sum", "edges": [-3, -1, 0, 0.5, 4]}, {"column": "twice", "bins": 7, "range": [-3, 3]},
        ],
        "output": {"columns": ["C_a", "C_sum", "x", "event"]},
    }  # fmt: skip
    if rng.random() < 0.5:
        declared["match"] = {"candidate": "C_j > -2 && C_i != 0", "kinds": ["background"]}
    if declared["categories"]:
        declared |= {"choose": str(rng.choice(["per category", "per event"]))}
        declared |= {"inclusive": str(rng.choice(["preselection", "categories"]))}
    return declared


FIRST, LAST = 13, EVENTS - 5


def sample_of(path: Path) -> Sample:
    return Sample(name="s", files=(str(path),), tree="t", kind="background", cross_section=1.5, luminosity=2.0,
                  filter_efficiency=0.5, processed_events=700)  # fmt: skip


def filled(path: Path, selection: Selection, folder: Path, *, of_node: bool) -> tuple[dict[str, Product], ak.Array]:
    folder.mkdir()
    sample, summary = sample_of(path), summarise(str(path), "t")
    chunk = Chunk(str(path), summary.uuid, "t", FIRST, LAST)

    def step(frame: Any, sample: Sample) -> Any:
        return book(selection, frame.Filter("true") if of_node else frame, sample, folder=folder)

    products, _ = run_chunk(step, chunk, sample, {}, folder)
    (tree,) = products["candidates"].items
    with uproot.open(tree["path"]) as file:
        return products, file["candidates"].arrays()


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(n, marks=pytest.mark.full) for n in range(2, 40))])
def test_a_loop_has_the_bits_of_rdataframe(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng([20261130, seed])
    loops: list[Any] = []
    over = Loop.over
    monkeypatch.setattr(Loop, "over", lambda *given: loops.append(over(*given)) or loops[-1])
    files, selection = made_events(rng, tmp_path), made_selection(rng)
    expected, tree = filled(files["TTree"], selection, tmp_path / "node", of_node=True)
    for kind, path in files.items():
        products, rows = filled(path, selection, tmp_path / kind, of_node=False)
        assert products.keys() == expected.keys()
        for name, product in expected.items():
            if product.kind is not ProductKind.TREE and name != "cutflow":  # that of a node has one more filter
                assert products[name].meta == product.meta, (kind, name)
                for key, values in product.arrays.items():
                    np.testing.assert_array_equal(products[name].arrays[key], values, err_msg=f"{kind} {name} {key}")
        for name in tree.fields:
            assert ak.array_equal(rows[name], tree[name], equal_nan=True, dtype_exact=False), (kind, name)
    assert [loop is None for loop in loops] == [True, False, False]


def events_of(path: Path) -> list[dict[str, Any]]:
    """Return the columns of each event, with the types of C++; run, luminosity block and event are unsigned."""
    with uproot.open(path) as file:
        read = file["t"].arrays(entry_start=FIRST, entry_stop=LAST)
    columns = {name: [np.asarray(value) for value in read[name]] for name in read.fields if read[name].ndim > 1}
    columns |= {name: list(np.asarray(read[name])) for name in read.fields if name not in columns}
    columns["event"] = [np.uint64(np.uint32(value)) for value in columns["event"]]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(n, marks=pytest.mark.full) for n in range(2, 60))])
def test_a_selection_is_that_of_a_loop_in_python(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng([20261201, seed])
    path, declared = made_events(rng, tmp_path)["TTree"], declared_at_random(rng)
    selection = parse(Selection, declared, Path("random.yaml"))
    products, rows = filled(path, selection, tmp_path / "filled", of_node=False)
    results, expected = (
        Results("s", products),
        choose(declared, events_of(path), event_weight(sample_of(path)), "background"),
    )
    for name in products:
        if products[name].kind is ProductKind.HISTOGRAM:
            base, tag = products[name].meta.get("variation", (name, "nominal"))
            made = results.root[name].Clone()
            made.Reset()
            for value, weight in expected.fills.get((base, tag), []):
                made.Fill(value, weight)
            cells = range(made.GetNcells())
            assert [results.root[name].GetBinContent(i) for i in cells] == [made.GetBinContent(i) for i in cells], name
            assert [results.root[name].GetBinError(i) for i in cells] == [made.GetBinError(i) for i in cells], name
    assert {key[0] for key in expected.fills} <= {p.meta.get("variation", [n])[0] for n, p in products.items()}
    for of, flow in expected.flows.items():
        found = products[f"cutflow_{of}"].arrays
        events = [int(found["all"][0]), *found["passed"].tolist()]
        stages = [*range(len(events) - 1), -1]
        numbers = [flow.get(stage, (0, 0.0, 0.0)) for stage in stages]
        sums = zip(events, found["weights"].tolist(), found["squares"].tolist(), strict=True)
        assert list(sums) == numbers, of
    for name in ("event", "selection", "chosen", "multiplicity", "weight"):
        assert rows[name].to_list() == [row[name] for row in expected.rows], name
