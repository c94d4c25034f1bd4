"""The table of `make bench`: equal answers of its programs, differences that are reported, rows with their numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from bench.table import output
from bench.table.contenders import compiled, uproot_numba
from bench.table.inputs import Input, made
from bench.table.page import update
from bench.table.process import Measured
from bench.table.rounds import Answers, Found, run
from bench.table.rows import Row, fill, rows
from bench.table.scenarios import CUTS, RULE, scenarios

LIBRARIES = Path(__file__).parents[2] / ".pytest_cache" / "bench"
KINDS = ["wztree", "nano"]
ROOT_FORMATS = ["TTree", "RNTuple"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for input, with the libraries that were compiled before."""
    folder = tmp_path_factory.mktemp("input")
    LIBRARIES.mkdir(parents=True, exist_ok=True)
    (folder / "lib").symlink_to(LIBRARIES)
    return folder


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_LIBRARIES", str(LIBRARIES))
    return LIBRARIES


def cost(wall: float = 1.0, cpu: float = 1.0, memory: float = 100.0) -> Measured:
    return Measured(wall, cpu, cpu, memory, {})


@pytest.mark.full
def test_programs_answer_the_same(place: Path, libraries: Path, tmp_path: Path) -> None:
    given = made("wztree", 3000, place, ["TTree"])["TTree"]
    assert len(given.files) == 10
    assert given.events == 3000
    answers = Answers()
    for name, module in {"by hand": compiled, "numba": uproot_numba}.items():
        program = module.Contender(given, 1, tmp_path)
        for arguments in ({}, CUTS[0], *RULE):
            found = (program.by_hand if module is compiled else program.best)(**arguments)
            assert list(answers.check(json.dumps(arguments), name, found)) == []
            assert len(found) == 14
            assert sum(found["C_Ds_mass"]) == sum(found["nPV"]) > 30
        program.close()
    assert answers.compared == 3


def test_a_difference_is_reported_and_rounding_is_none() -> None:
    answers = Answers()
    assert list(answers.check("q", "first", {"a": [1.0, 2.0], "b": [0.1, 0.2]})) == []
    assert list(answers.check("q", "second", {"a": [1.0, 2.0], "b": [0.1, 0.2 * (1 + 1e-15)]})) == []
    (said,) = answers.check("q", "third", {"a": [1.0, 2.0 + 1e-13], "b": [0.1, 0.2]})
    assert said.startswith("q: a of third differs from that of first in 1 of 2 bins")
    assert len(list(answers.check("q", "x", {"a": [float("nan"), 3.0], "b": [0.1, 0.3]}))) == 2
    assert "has 3 bins" in next(answers.check("q", "x", {"a": [1.0, 2.0, 0.0], "b": [0.1, 0.2]}))
    assert "other histograms" in next(answers.check("q", "x", {"a": [1.0, 2.0]}))
    assert answers.compared == 5


def test_every_row_has_a_scenario_and_every_target_is_there() -> None:
    asked = {str(one): {ask.label for ask in one.asks} for one in scenarios(KINDS, ROOT_FORMATS)}
    assert len(asked) == len(scenarios(KINDS, ROOT_FORMATS))
    found = rows(KINDS, ROOT_FORMATS)
    for row in found:
        for name, label in filter(None, (row.above, row.below)):
            assert label in asked[name], row.text
    assert len({(row.layout, row.text, row.measure) for row in found}) == len(found)
    targets = [row.target for row in found if row.target is not None]
    assert {30.0, 4.0, 2.5, 3.0, 5.0, 1.9, 1.5, 1.6, 700.0, 0.95} <= set(targets)


def test_rows_are_medians_of_the_ratios_of_a_round() -> None:
    found = Found(measured={"a": {"warm": [[cost(cpu=2.0)], [cost(cpu=9.0)], [cost(cpu=4.0), cost(cpu=4.0)]]},
                            "b": {"warm": [[cost(cpu=1.0)], [cost(cpu=3.0)], [cost(cpu=1.0)]]}})  # fmt: skip
    one = fill(Row("TTree", "a / b", ("a", "warm"), ("b", "warm"), "CPU", 3.0), found)
    assert one.values == (2.0, 3.0, 4.0)
    assert one.median == 3.0
    assert one.reached is True
    assert fill(Row("TTree", "a / b", ("a", "warm"), ("b", "warm"), "CPU", 3.1), found).reached is False
    memory = fill(Row("TTree", "a", ("a", "warm"), None, "memory", 100.0, at_most=True), found)
    assert memory.reached is True
    assert fill(Row("TTree", "a", ("a", "warm"), None, "wall"), found).reached is None


def test_what_is_not_installed_or_fails_is_in_the_table(tmp_path: Path) -> None:
    found = Found(missing={"coffea, TTree": ["coffea"]}, failed={"b": "out of memory\nand more"},
                  measured={"a": {"warm": [[cost()]]}}, differences=["q: a differs"])  # fmt: skip
    table = [
        fill(Row("TTree", "first", ("coffea, TTree", "warm"), ("a", "warm"), "CPU", 3.0), found),
        fill(Row("TTree", "second", ("a", "warm"), ("b", "warm"), "CPU"), found),
        fill(Row("TTree", "third", ("a", "warm"), ("a", "warm"), "CPU", 2.0), found),
    ]
    assert table[0].reason == "not installed: coffea: pip install 'portico-hep[bench]'"
    about = output.conditions({("wztree", "TTree"): Input("wztree", "TTree", (__file__,), 7)}, 1)
    with (tmp_path / "text").open("w") as file:
        output.print_table(table, found, about, Console(file=file, width=200))
    text = (tmp_path / "text").read_text()
    for words in ("not installed: coffea", "failed: b: out of memory", "MISSED", "DIFFERENCE q: a differs", "7 events"):
        assert words in text
    assert "all equal" not in text
    content = json.loads(output.as_json(table, found, about))
    assert [row["reached"] for row in content["rows"]] == [None, None, False]
    assert content["input"]["wztree, TTree"]["events"] == 7
    page = tmp_path / "page.md"
    page.write_text("# A\n\n<!-- begin of make bench -->\nold\n<!-- end of make bench -->\n\nB\n")
    for _ in range(2):
        update(page, tmp_path / "table.png", content)
    words = page.read_text()
    assert words.startswith("# A\n\n<!-- begin")
    assert words.endswith("make bench -->\n\nB\n")
    assert "old" not in words
    assert "| third | CPU | >= 2 | 1, missed (1 - 1) [1] |" in words
    assert words.count("not installed: coffea") == 1
    assert words.count("](images/performance.png)") == 1
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")
    page.write_text("# A\n")
    with pytest.raises(ValueError, match="begin of make bench"):
        update(page, tmp_path / "table.png", content)


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_every_installed_program_answers_the_same(place: Path, kind: str) -> None:
    inputs = {(kind, layout): given for layout, given in made(kind, 4000, place).items()}
    longer = ("portico, declared, 2 workers", "portico on Dask", "RDataFrame, Python")
    chosen = [one for one in scenarios([kind], ["RNTuple"]) if one.kind == kind and not one.name.startswith(longer)]
    found = run(chosen, inputs, 1, LIBRARIES)
    assert found.failed == {}
    assert found.differences == []
    ran = {str(one) for one in chosen} - found.missing.keys()
    assert set(found.measured) == ran
    assert sum("portico" in name for name in ran) == (1 if kind == "nano" else 2)
    assert found.compared > 2 * len(ran)
    costs = [one for labels in found.measured.values() for rounds in labels.values() for of in rounds for one in of]
    assert all(one.cpu > 0 and one.wall > 0 and 0 < one.work <= one.cpu and one.memory > 50 for one in costs)


def test_a_program_that_fails_is_named_and_the_others_run(place: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.root"
    broken.write_bytes(b"no ROOT file")
    given = {("wztree", "RNTuple"): Input("wztree", "RNTuple", (str(broken),), 1)}
    chosen = [one for one in scenarios(KINDS, ["RNTuple"]) if one.name == "uproot and numba" and one.kind == "wztree"]
    found = run(chosen, given, 2, LIBRARIES)
    assert list(found.failed) == ["uproot and numba, RNTuple"]
    assert "broken.root" in found.failed["uproot and numba, RNTuple"]
