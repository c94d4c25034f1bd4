"""Selections that a hostile reader of the documentation would declare: the right numbers, or an error that says why."""

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
from portico.errors import ConfigError
from portico.results.view import Results
from portico.selection import Selection, book, load_selection, resolve
from portico.selection.expression import loose_part
from portico.worker.frame import run_chunk

FLOAT, INT = "ROOT::VecOps::RVec<float>", "ROOT::VecOps::RVec<int>"
COLUMNS = {
    "run": "int",
    "lumi": "int",
    "event": "int",
    "n": "int",
    "list": FLOAT,
    "C_a": FLOAT,
    "C_b": FLOAT,
    "C_i": INT,
}
NAN, INF = np.nan, np.inf
EVENTS: dict[str, Any] = {
    "run": np.ones(5, np.int32), "lumi": np.ones(5, np.int32), "event": np.arange(5, dtype=np.int32),
    "n": np.int32([3, 0, 2, 1, 2]),
    "list": [[1.0], [], [2.0], [], [3.0]],
    "C_a": [[NAN, -INF, -INF], [], [1.0, 2.0], [NAN], [2.0, 2.0]],
    "C_b": [[0.0, 1.0, 2.0], [], [3.0, 4.0], [5.0], [6.0, 7.0]],
    "C_i": [[1, 2, 3], [], [4, 5], [6], [7, 8]],
}  # fmt: skip


def declared(**fields: Any) -> dict[str, Any]:
    return {"preselection": {"all": "true"}, "rules": {"best": {"score": "C_a"}}, **fields}


def parsed(**fields: Any) -> Selection:
    return parse(Selection, declared(**fields), "selection.yaml")


LOOPS = (("TTree", False), ("RNTuple", False))
READ = [LOOPS, pytest.param((("TTree", True),), marks=pytest.mark.full)]
"""Loops over a TTree and over an RNTuple, and RDataFrame, which takes long to compile."""


def selected(folder: Path, events: dict[str, Any] | None = None, read: Any = LOOPS, **fields: Any) -> list[Results]:
    root.load()
    columns = {name: ak.Array(values) for name, values in {**EVENTS, **(events or {})}.items()}
    columns |= {n: ak.values_astype(a, np.int32 if n == "C_i" else np.float32)
                for n, a in columns.items() if a.ndim > 1}  # fmt: skip
    selection, found = parsed(**{"output": {"columns": ["C_b"]}, **fields}), []
    for kind, of_node in read:
        path = folder / f"{kind}{of_node}.root"
        with uproot.recreate(path) as file:
            types = {name: array.type.content for name, array in columns.items()}
            (file.mktree if kind == "TTree" else file.mkrntuple)("t", types).extend(columns)
        sample = Sample(name="s", tree="t", kind="background", cross_section=1.0, luminosity=0.001, processed_events=1)

        def step(frame: Any, sample: Sample, of_node: bool = of_node) -> Any:
            node = frame.Filter("true") if of_node else frame
            return book(selection, node, sample, folder=folder, where="selection.yaml")

        products, _ = run_chunk(step, Chunk(str(path), "", "t", 0, len(columns["n"])), sample, {}, folder)
        found.append(Results("s", products))
    return found


def chosen(results: Results) -> dict[int, list[int]]:
    (path,) = results["candidates"]
    with uproot.open(path) as file:
        rows = file["candidates"].arrays(["event", "chosen"])
    return dict(zip(rows.event.to_list(), rows.chosen.to_list(), strict=True))


@pytest.mark.parametrize("read", READ, ids=["loops", "RDataFrame"])
def test_not_a_number_loses_against_all(tmp_path: Path, read: Any) -> None:
    for results in selected(tmp_path, read=read):
        assert chosen(results) == {0: [1], 2: [1], 3: [0], 4: [0]}


@pytest.mark.parametrize("read", READ, ids=["loops", "RDataFrame"])
def test_a_choice_may_read_no_candidates_and_lists_after_their_length(tmp_path: Path, read: Any) -> None:
    """The number of candidates is known all the same; ``list[0]`` is not read where there is none."""
    fields = {"define": {"lead": "list.at(0)"}, "event": {"has": "list.size() > 0", "high": "lead > 1.5"},
              "rules": {"first": {"score": "0"}}}  # fmt: skip
    for results in selected(tmp_path, read=read, **fields):
        assert chosen(results) == {2: [0], 4: [0]}
        assert results["cutflow_inclusive"].passed == (3, 2, 2, 2)


@pytest.mark.parametrize(
    "fields",
    [
        {"histograms": [{"column": "C_c", "bins": 2, "range": [0, 2]}]},
        {"weights": {"w": {"expression": "C_c"}}},
        {"shapes": {"s": {"columns": {"C_a": "C_a * C_c * {variation}"}, "variations": {"up": "1"}}}},
        {"shapes": {"s": {"columns": {"C_a": "C_a * C_c * {variation}"}, "nominal": "1"}}},
        {"output": {"columns": ["C_c"]}},
    ],
    ids=["histogram", "weight", "shape", "corrected", "tree"],
)
@pytest.mark.full
def test_a_list_of_another_length_is_not_of_candidates(tmp_path: Path, fields: dict[str, Any]) -> None:
    longer = {"C_c": [[1.0] * 4, [1.0], [1.0] * 4, [1.0] * 4, [1.0] * 4]}
    with pytest.raises(Exception, match=r"column C_c has 4 elements, but other candidate columns have [123]"):
        selected(tmp_path, longer, **fields)


@pytest.mark.full
@pytest.mark.parametrize("value", ["C_i * 1.1", "C_i * 2147483647L"])
def test_a_shape_keeps_integers(tmp_path: Path, value: str) -> None:
    fields = {"shapes": {"s": {"columns": {"C_i": f"{value} + {{variation}}"}, "variations": {"up": "1"}}}}
    with pytest.raises(Exception, match=r"must give integers; convert its value|which its type cannot hold"):
        selected(tmp_path, **fields)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"weights": {"w": {"expression": "{variation}", "variations": {"": "2"}}}}, "a variation cannot be named ''"),
        ({"weights": {"w": {"expression": "{variation}", "variations": {"nominal": "2"}}}}, "named 'nominal'"),
        ({"shapes": {"w": {"columns": {"C_a": "C_a"}, "variations": {" ": "2"}}}}, "a variation cannot be named ' '"),
        (
            {
                "weights": {"pt": {"expression": "{variation}", "variations": {"up": "2", "x": "1"}}},
                "shapes": {"pt": {"columns": {"C_a": "C_a"}, "variations": {"up": "2", "y": "1"}}},
            },
            "the variation 'pt:up' is both that of a weight and of a shape",
        ),
        ({"histograms": [{"column": "C_a", "edges": [0, NAN, 2]}]}, "edges of bins must increase"),
        ({"histograms": [{"column": "C_a", "bins": 2, "range": [NAN, 1]}]}, "edges of bins must increase"),
        ({"histograms": [{"column": "C_a", "bins": 2, "range": [0, INF]}]}, "equal bins need a finite range"),
        ({"constants": {"c": NAN}}, "'c' is nan"),
        ({"constants": {"c": -(2**63)}}, "'c' is -9223372036854775808"),
    ],
)
def test_what_has_no_meaning_is_refused(fields: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        parsed(**fields)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("C_a > 1, C_b > 2", "',' separates"), ("C_a > 1; C_b > 2", "';' separates"), ("C_a < 5, C_b > (2)", "','"),
        ("C_a > 1) || (C_b > 2", "brackets"), ("(C_a > 1", "brackets"), ("C_a[0)", "brackets"),
        ("max(C_a, C_b) > 1", ""), ("my::f<int, 3>(C_a)", ""), ("std::array<std::pair<int, int>, 2>{}.size() > 0", ""),
        ("f(',', \";\")", ""), ("[&]{ int i = 0; return i; }() == 0", ""), ("C_a << 2 > 1", ""),
    ],
)  # fmt: skip
def test_an_expression_is_one(text: str, fault: str) -> None:
    assert fault in loose_part(text, {"C_a", "C_b"})
    assert bool(loose_part(text, {"C_a", "C_b"})) == bool(fault)


def test_an_expression_of_two_is_an_error() -> None:
    sample = Sample(name="s", kind="data")
    with pytest.raises(ConfigError, match=r"preselection\.all: 'C_a > 1, C_b > 2': ',' separates two expressions"):
        resolve(parsed(preselection={"all": "C_a > 1, C_b > 2"}), COLUMNS, sample, "selection.yaml")
    none = {name: kind for name, kind in COLUMNS.items() if not name.startswith("C_")}
    with pytest.raises(ConfigError, match="no list whose name begins with 'C_', so there is nothing to choose from"):
        resolve(parsed(rules={"first": {"score": "0"}}), none, sample, "selection.yaml")


def test_a_category_may_have_the_name_of_a_key(tmp_path: Path) -> None:
    path = tmp_path / "selection.yaml"
    path.write_text(
        "preselection: {all: 'C_a > 0', p: 'C_a > 1'}\nevent: {e: 'n > 0'}\nrules: {r: {score: C_a}}\n"
        "categories: {event: {x: 'C_b > 0'}, preselection: {y: 'C_b < 0', p: 'C_b > 3'}}\n"
    )
    changed = load_selection(path, {"event/x": "C_b > 1", "preselection/all": "C_a > 2"})
    assert changed.categories == {"event": {"x": "C_b > 1"}, "preselection": {"y": "C_b < 0", "p": "C_b > 3"}}
    assert changed.event == {"e": "n > 0"}
    assert changed.preselection == {"all": "C_a > 2", "p": "C_a > 1"}
    with pytest.raises(ConfigError, match="'preselection/p' is both a cut of the selection and of a category"):
        load_selection(path, {"preselection/p": "true"})
