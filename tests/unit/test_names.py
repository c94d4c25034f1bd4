"""Names in selections: whatever columns are called, each expression reads the one that it names."""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

from portico import root
from portico.analysis.chunks import Chunk
from portico.analysis.dataset import Sample
from portico.config import parse
from portico.cpp import KEYWORDS, mapped, unmapped
from portico.errors import ConfigError
from portico.results.view import Results
from portico.selection import Selection, book
from portico.selection.choice import choice
from portico.selection.expression import names_of
from portico.selection.functions import functions, parameters
from portico.selection.kernel import kernel
from portico.selection.resolve import resolve
from portico.worker.frame import run_chunk

OWN = """index i k size result results weight weights chosen selection selections multiplicity choices reached any
    matched score0 prefer0 value values normalisation node parameters report counts histograms varied in_plain
    Choose Parameters Total OfEvent book RVec portico_choices portico_weight portico_index portico_sample
    portico_value_x portico portico_functions"""
STD = "min max abs pow exp log std ROOT size_t Long64_t NULL errno EOF gamma y0"
OTHERS = "x C e E1 f u L inclusive low best nominal up variation pos.x pos.y pos_x pos.x.y a_2e_b a.b a_b é entry_"
WORDS = [*OWN.split(), *STD.split(), *OTHERS.split(), *sorted(KEYWORDS)]
LITERALS = {"true", "false", "nullptr", "static_cast"}
PREFIX = {"not", "compl", "sizeof"}
DATA = Sample(name="s", kind="data", entries=9)
BIN: dict[str, Any] = {"bins": 1, "range": [0, 1]}


def named(word: str, *, plainly: bool) -> str:
    """How an expression names a column: in backquotes where C++ has another use of the word."""
    return word if plainly and word not in LITERALS | PREFIX else f"`{word}`"


# ---- expressions


@st.composite
def expressions(draw: st.DrawFn) -> tuple[str, str, set[str]]:
    """An expression, the C++ that it should become, and its columns."""
    parts: list[tuple[str, str]] = []
    used: set[str] = set()
    for position in range(draw(st.integers(1, 6))):
        if position:
            operator = draw(
                st.sampled_from(
                    [" + ", "*", " - ", " / ", " < ", " >= ", " == ", " != ", " && ", " || ", " & ", " ? 1 : "]
                )
            )
            parts.append((operator, operator))
        kind = draw(st.sampled_from(["column", "column", "call", "cast", "member", "other"]))
        word = draw(st.sampled_from(WORDS))
        name, value = named(word, plainly=draw(st.booleans())), mapped("value", word)
        if parts and parts[-1][0] == " < ":  # or an argument of a template
            name = f"`{word}`"
        if kind != "other":
            used.add(word)
        if kind == "column":
            parts.append((name, value))
        elif kind == "call":
            function = draw(st.sampled_from(["min", "index", "result", "std::size", "::i", "ours"]))
            called = "portico_functions::ours" if function == "ours" else function
            parts.append((f"{function}( {name}, 2.5e-3f)", f"{called}( {value}, 2.5e-3f)"))
        elif kind == "cast":
            before = draw(st.sampled_from(["int(", "(float)(", "static_cast<unsigned int>(", "not (", "double("]))
            name = f"`{word}`" if re.search("[)>]|not", before) else name  # or a cast to a type of that name
            parts.append((f"{before}{name})", f"{before}{value})"))
        elif kind == "member":
            member = draw(st.sampled_from(["[0]", ".size()", ".at(0x1F)", ".index()", "->result()"]))
            parts.append((name + member, value + member))
        else:
            literal = draw(
                st.sampled_from(['"index"', "'i'", "1e5", "0xE1", "true", "M::size", "1'000u", "std::result<int>()"])
            )
            parts.append((literal, literal))
    return "".join(a for a, _ in parts), "".join(b for _, b in parts), used


@settings(deadline=None, max_examples=400)
@given(expressions())
def test_columns_get_names_that_nothing_else_has(case: tuple[str, str, set[str]]) -> None:
    text, code, used = case
    names = names_of(text, set(WORDS), {"ours"})
    assert names.code == code
    assert names.values == used


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("pos.x > pos_x", "VALUEx_pos_2e_x > VALUE_pos_x"),
        ("pos . x", "VALUEx_pos_2e_x"),
        ("pos.x.y + pos.x.z", "VALUEx_pos_2e_x_2e_y + VALUEx_pos_2e_x.z"),
        ("int > 3 && int(x) > (int)x", "VALUE_int > 3 && int(VALUE_x) > (int)VALUE_x"),
        ("std::pair<int, float>(x, int)", "std::pair<int, float>(VALUE_x, VALUE_int)"),
        ("not not && !int", "not not && !VALUE_int"),
        ("`not` and and", "VALUE_not and VALUE_and"),
        ("sample.mass + sample", "portico_sample.VALUE_mass + sample"),
        ("x < int >= 3", "VALUE_x < VALUE_int >= 3"),
        ("std::max<int>(x, 1) + x<int", "std::max<int>(VALUE_x, 1) + VALUE_x<VALUE_int"),
        ("sizeof(int) * sizeof x", "sizeof(int) * sizeof VALUE_x"),
    ],
)
def test_words_of_cpp_and_members(text: str, code: str) -> None:
    found = names_of(text, {*WORDS} - {"sample"}).code.replace("portico_value_sample", "sample")
    assert found == code.replace("VALUE", "portico_value")


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text("ab_.2e:/é x", min_size=1), min_size=2, max_size=9, unique=True))
def test_different_names_stay_different(names: list[str]) -> None:
    made = [mapped("value", name) for name in names]
    assert len(set(made)) == len(names)
    assert all(re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) for name in made)
    assert [unmapped(f"use of '{name}'") for name in made] == [f"use of '{name}'" for name in names]


# ---- the generated C++


def declared(event: list[str], candidate: list[str], label: str) -> Selection:
    """A selection that uses columns in every place."""
    kinds = {"kinds": ["data"]}
    one, other, c, d = (f"`{name}`" for name in (*event, *candidate))
    fields: dict[str, Any] = {
        "define": {"defined": f"{c} + {one}", "flat": f"{other} * 2"},
        "event": {"e": f"{one} > 1 && flat > {other}"},
        "match": {"candidate": f"{d} > {one}", "kinds": ["data"]},
        "preselection": {"p": f"defined > 1 && {c} < sample.entries"},
        "categories": {"low": {"cut": f"{d} > {other}"}},
        "rules": {"best": {"score": f"{c}", "prefer": f"{one} > 0"}, "second": {"score": f"{d}"}},
        "weights": {
            label: {"expression": f"{one} * {{variation}}", "nominal": "1", "variations": {"up": "2"}, **kinds},
            f"{label}_": {"expression": f"{c} * {other}", **kinds},
        },
        "shapes": {label: {"columns": {candidate[0]: f"{c} + {other}"}, "nominal": "", **kinds,
                           "variations": {"shifted": ""}}},
        "histograms": [{"column": n, "name": f"h{k}", **BIN} for k, n in enumerate([*event, *candidate])],
    }  # fmt: skip
    return parse(Selection, {**fields, "output": {"columns": ["defined", "flat"]}}, "here")


def tokens(selection: Selection, columns: list[str]) -> Counter[str]:
    """What the C++ of a selection consists of, without the texts in it."""
    kinds = {"run": "int", "lumi": "int", "event": "int"}
    kinds |= {name: "ROOT::VecOps::RVec<float>" if name.startswith("C_") else "int" for name in columns}
    resolved = resolve(selection, kinds, DATA)
    made = kernel(resolved)
    parts = parameters(resolved), functions(resolved, None, "n"), *choice(resolved, None, "n", list(made.columns))[:2]
    text = re.sub(r"(?m)^#.*$", "", "\n".join([*parts, made.text, made.book]))
    return Counter(re.findall(r"\b[A-Za-z_]\w*", re.sub(r'"(?:[^"\\]|\\.)*"', "", text)))


@settings(deadline=None, max_examples=120)
@given(
    st.lists(st.sampled_from([w for w in WORDS if w != "nominal"]), min_size=2, max_size=2, unique=True),
    st.lists(st.sampled_from(WORDS), min_size=2, max_size=2, unique=True),
    st.sampled_from([w for w in WORDS if re.fullmatch(r"[A-Za-z_]\w*", w)]),
)
def test_other_names_change_nothing_but_the_names(event: list[str], suffixes: list[str], label: str) -> None:
    """The C++ for any names is that for harmless ones, with other names: none is found under its own name."""
    event, candidate = sorted(event), sorted(f"C_{suffix}" for suffix in suffixes)  # arguments are in this order
    plain = ["p0", "p1", "C_q0", "C_q1"]
    hostile = tokens(declared(event, candidate, label), [*event, *candidate])
    harmless = tokens(declared(plain[:2], plain[2:], "harmless"), plain)
    renamed = dict(zip(plain, [*event, *candidate], strict=True)) | {"harmless": label, "harmless_": f"{label}_"}
    expected: Counter[str] = Counter()
    for token, times in harmless.items():
        found = re.fullmatch(r"portico_([a-z]+)_(p0|p1|C_q0|C_q1|harmless_?)", token)
        expected[mapped(found[1], renamed[found[2]]) if found else token] += times
    assert hostile == expected


# ---- what cannot be


def fields(**more: Any) -> dict[str, Any]:
    return {"preselection": {"p": "C_pt > 12"}, "rules": {"best": {"score": "C_pt"}}, **more}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"output": {"columns": ["weight"]}}, "output.columns: 'weight' and what the selection adds would both be"),
        ({"output": {"columns": ["pos*"]}}, "'pos_x' and 'pos.x' would both be 'pos_x' in the tree"),
        ({"constants": {"index": 3}}, "constants.index: the input has a column of this name"),
        ({"define": {"index": "3"}}, "define.index: the input has a column of this name"),
        ({"event": {"e": "sample.entries > 3"}}, "'sample.entries' is a column and a parameter of the sample"),
        ({"event": {"e": "pos.z > 3"}}, "'pos' is not a column"),
        ({"event": {"e": "`in dex` > 3"}}, "'in dex' is not a column"),
        ({"categories": {"a": {"x": "C_pt > 1"}, "a_b": {"x": "C_pt > 1"}}, "histograms": [
            {"column": "index", "name": "b_c", **BIN},
            {"column": "index", "name": "c", **BIN}]}, "two products would be named 'a_b_c'"),
        ({"categories": {"choices": {"x": "C_pt > 1"}}, "histograms": [
            {"column": "index", "name": "best", **BIN}]}, "products would be named 'choices_best'"),
    ],
)  # fmt: skip
def test_names_that_have_two_meanings_are_refused(more: dict[str, Any], message: str) -> None:
    kinds = dict.fromkeys(["run", "lumi", "event", "index", "weight", "pos.x", "pos_x", "sample.entries"], "int")
    selection = parse(Selection, fields(**more), "here")
    with pytest.raises(ConfigError, match=re.escape(message)):
        resolve(selection, {**kinds, "C_pt": "RVec<float>"}, DATA)


@pytest.mark.parametrize("group", ["corrections", "lookups"])
def test_functions_are_not_words_of_cpp(group: str) -> None:
    with pytest.raises(ConfigError, match=r"'class' is a C\+\+ keyword"):
        parse(
            Selection,
            fields(
                **{group: {"class": {"file": "a.json", "value": "w"} if group == "lookups" else {"file": "a.json"}}}
            ),
            "here",
        )


def test_a_selection_resolves_to_what_it_says() -> None:
    kinds = dict.fromkeys(["run", "lumi", "event", "n", "C_n"], "int")
    kinds |= {"C_pt": "RVec<float>", "C_true": "RVec<bool>"}
    declared = fields(
        event={"many": "n > 2"}, preselection={"low": "C_pt > sample.low && C_n > 0"}, match={"candidate": "C_true"},
        categories={"a": {"high": "C_pt > 20"}}, rules={"best": {"score": "C_pt", "prefer": "C_true"}},
    )  # fmt: skip
    parameters = {"low": 12.0, "word": "a"}
    signal = Sample(name="s", kind="signal", cross_section=1.0, processed_events=1.0, parameters=parameters)
    data = Sample(name="d", kind="data", parameters=parameters)
    plain = resolve(parse(Selection, declared, "here"), kinds, data)
    selection = parse(Selection, {**declared, "choose": "per event", "inclusive": "categories"}, "here")
    found = resolve(selection, kinds, signal)
    assert (plain.per_event, plain.inclusive_in_categories, plain.match) == (False, False, None)
    assert (found.per_event, found.inclusive_in_categories) == (True, True)
    assert found.match is not None
    assert found.match.text == "C_true"
    assert found.of_candidate == {"C_pt", "C_true"}  # C_n has one value for each event
    assert {label: cut.text for label, cut in found.event.items()} == {"many": "n > 2"}
    assert {label: cut.text for label, cut in found.categories["a"].items()} == {"high": "C_pt > 20"}
    assert list(found.parameters.values()) == [12.0]
    ((score, prefer),) = found.rules.values()
    assert prefer is not None
    assert (prefer.text, score.text) == ("C_true", "C_pt")
    for more, sample, words in (
        ({"event": {"many": "C_pt > 2"}}, signal, "event.many: 'C_pt > 2' uses columns of candidates; move the cut to"),
        ({"event": {"many": "n > sample.word"}}, data, "event.many: sample 'd' has no numeric parameter 'word'; "),
        ({"rules": {"best": {"score": "C_p"}}}, data, "rules.best.score: 'C_p': 'C_p' is not a column"),
        ({"categories": {"a": {"high": "C_p > 1"}}}, data, "categories.a.high: 'C_p > 1': 'C_p' is not a column"),
    ):
        with pytest.raises(ConfigError, match=re.escape(words)):
            resolve(parse(Selection, {**declared, **more}, "here"), kinds, sample)


# ---- compiled

COLUMNS = [*"""index i k size result weight chosen selection choices reached any score0 value normalisation node sample
    portico_choices portico_index portico_value_x Choose class int new default this and not true float min abs pos.x
    pos_x inclusive low best nominal errno""".split(), "nvtx"]  # fmt: skip  # noqa: SIM905
NAMED = [f"`{name}`" if name in {"not", "true"} else name for name in COLUMNS]
HELPERS = "\n".join(f"inline double {name}(double x) {{ return x; }}" for name in ("result", "reached", "Choose"))


def write(path: Path) -> Path:
    ROOT = root.load()
    with ROOT.TFile(str(path), "RECREATE"):
        tree = ROOT.TTree("Events", "")
        numbers = {name: array("i", [0]) for name in ["run", "lumi", "event", *(set(COLUMNS) - {"pos.x"})]}
        for name, number in numbers.items():
            tree.Branch(name, number, f"{name}/I")
        position, pt, copy = array("f", [0, 0]), ROOT.std.vector("float")(), ROOT.std.vector("float")()
        tree.Branch("pos", position, "x/F:y/F")
        tree.Branch("C_pt", pt)
        tree.Branch("C_pt_all", copy)
        for event in range(20):
            for name, number in numbers.items():
                number[0] = {"run": 1, "lumi": 1, "event": event}.get(name, 100 + event)
            position[0] = 100 + event
            pt.clear()
            copy.clear()
            for j in range(event % 3):
                pt.push_back(10 + event + j)
                copy.push_back(-10 - event - j)
            tree.Fill()
        tree.Write()
    return path


@pytest.mark.full  # half a minute of compiling
def test_columns_of_any_name_are_read_as_what_they_are(tmp_path: Path) -> None:
    """All columns hold the same numbers; a cut, histograms, weights, definitions and the tree use each."""
    root.load().gInterpreter.Declare(HELPERS)
    edges = {"n": 7, "low": -2.4, "high": -0.06666666666666643}
    data = {"nodetype": "binning", "input": "x", "edges": edges, "content": list(range(1, 8)), "flow": "error"}
    made = {"name": "index", "version": 1, "inputs": [{"name": "x", "type": "real"}], "data": data}
    file = {"schema_version": 2, "corrections": [{**made, "output": {"name": "w", "type": "real"}}]}
    (tmp_path / "edge.json").write_text(json.dumps(file))
    written = [name for name in COLUMNS if name not in {"weight", "chosen", "selection", "pos_x"}]
    kinds = {"kinds": ["data"]}
    selection = parse(Selection, {
        "corrections": {"index": {"file": "edge.json"}},  # one rounding below the upper edge: the last bin
        "constants": {"class_": 7},
        "define": {"total": " + ".join(NAMED), "C_sum": f"C_pt * 0 + C_pt_all * 0 + {' + '.join(NAMED)}"},
        "event": {
            "columns": " && ".join(f"{name} == nvtx" for name in NAMED),
            "correction": "index(index * 0 - 0.06666666666666644) == class_",
            "helpers": "result(result) == nvtx && reached(reached) == nvtx && Choose(Choose) == nvtx",
            "numbers": "min(-1, 5u) == -1 && max(-1, 5u) == 5 && min(16777217, 1e9f) == 16777217 && abs(5u) == 5u && "
                       "min(true, 3) == 1 && max(3l, -1) == 3",
        },
        "preselection": {"pt": "min(C_pt, 500.) > 12", "other": "C_pt_all == -C_pt"},
        "categories": {"low": {"i": "C_pt * 0 + i > 0"}, "nominal": {"k": "C_pt > k"}},
        "rules": {"best": {"score": "C_pt"}, "index": {"score": "i - C_pt", "prefer": "k > 0"}},
        "weights": {
            "weight": {"expression": "weight * {variation}", "nominal": "1", **kinds,
                       "variations": {"index": "2", "up": "3"}},
            "weight_varied": {"expression": "C_pt * 0 + result / chosen", **kinds},
        },
        "shapes": {"weight": {"columns": {"C_pt_all": "C_pt_all * {variation}"}, "nominal": "1", **kinds}},
        "histograms": [
            *({"column": name, "bins": 5, "range": [0, 200]} for name in COLUMNS),
            {"column": "total", "bins": 5, "range": [0, 200 * len(COLUMNS)], "varied": True},
            {"column": "C_sum", "bins": 5, "range": [0, 200 * len(COLUMNS)]},
        ],
        "output": {"columns": [*written, "C_pt", "C_pt_all", "total", "C_sum"]},
    }, "here")  # fmt: skip

    def step(frame: Any, sample: Sample) -> dict[str, Any]:
        return book(selection, frame, sample, folder=tmp_path)

    path = write(tmp_path / "a.root")
    products, _ = run_chunk(step, Chunk(str(path), "", "Events", 0, 20), DATA, {}, tmp_path)
    results = Results("s", products)
    expected = [0, 0, 1326, 0, 0]  # 12 events with a choice, weighted by 100 + event
    for name in (*COLUMNS, "total", "sum"):
        found = results[f"inclusive_{name}"].values()
        assert found.tolist() == expected, name
    assert results["low_nvtx"].values().tolist() == expected
    assert results["nominal_nvtx"].values().sum() == 0
    varied = results.variations("inclusive_total")
    assert {key: found.values().sum() / 1326 for key, found in varied.items()} == {
        "nominal": 1, "weight:index": 2, "weight:up": 3,
    }  # fmt: skip
    (item,) = products["candidates"].items
    with uproot.open(item["path"]) as tree_file:
        tree = tree_file["candidates"].arrays()
    assert tree.nvtx.tolist() == [100 + n for n in range(20) if n % 3 and 10 + n + n % 3 - 1 > 12]
    for name in written:
        assert (tree[name.replace(".", "_")] == tree.nvtx).to_list() == [True] * 12, name
    assert np.asarray(tree.weight[:, 0]).tolist() == tree.nvtx.tolist()
    assert (tree.C_pt_all == -tree.C_pt).to_list() == [[True, True]] * 12
