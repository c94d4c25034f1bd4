"""Steps over points: the same values whoever computes them, resumed, extended chunk by chunk, errors with the point."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import portico
from portico.analysis.analysis import load_analysis
from portico.compare import compare
from portico.errors import ConfigError, PorticoError, StepError
from portico.executors.local import LocalExecutor
from portico.workflow.dry_run import preview
from tests.conftest import Remember

pytestmark = pytest.mark.integration

CODE = """
import math

import numpy as np

from portico import points, summary
from portico.errors import InputError


def grid(*, masses=(), couplings=2):
    return [{"mass": mass, "v": v} for mass in np.array(masses) for v in range(couplings)]


@points()
def scan(point, *, scale=1.0):
    if point["mass"] == 13:
        raise ValueError("unlucky")
    if point["mass"] == 14:
        raise InputError("cannot be read")
    if point["mass"] == 15:
        return object()
    row = np.float32(point["mass"]) / 3, [math.nan, math.inf, -0.0], point["v"] * scale
    return {"row": row, "nothing": None}


@summary
def collect(results, samples):
    found = results["points"]
    again = [{"mass": point["mass"]} for point in found["points"]]
    return {"sum": sum(v["row"][2] for v in found["values"]), "again.json": __import__("json").dumps(again)}


@points()
def double(point):
    return 2 * point["mass"]


def events(frame, sample):
    return {"n": frame.Count()}
"""
STEPS = """
  - {name: scan, function: "m:scan", points: "m:grid", chunk: 2 points, options: {masses: [MASSES], scale: 0.1}}
  - {name: collect, function: "m:collect", input: scan}
  - {name: double, function: "m:double", points: collect/again.json}
"""


@pytest.fixture(scope="module")
def local() -> Iterator[LocalExecutor]:
    executor = LocalExecutor(2)
    yield executor
    executor.close()


@pytest.fixture
def analysis(tmp_path: Path) -> Callable[..., portico.Analysis]:
    """Write and load an analysis without samples."""

    def make(masses: str = "1.0, 2.0, 3.0", steps: str = STEPS) -> portico.Analysis:
        (tmp_path / "m.py").write_text(CODE)
        (tmp_path / "analysis.yaml").write_text("name: plane\nsteps:" + steps.replace("MASSES", masses))
        return load_analysis(tmp_path)

    return make


def texts(run: portico.Run, step: str) -> dict[str, str]:
    found = run[step]["points"]
    return {name: repr(found[name]) for name in ("points", "values")}


SUMS = """
import numpy as np

from portico import points


def seeds():
    return [1, 2, 3]


@points()
def dot(point):
    random = np.random.default_rng(point)
    x, y = random.normal(size=(2, 1_000_000))
    return (x @ y).hex()
"""


def test_sums_of_numpy_do_not_depend_on_the_number_of_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.py").write_text(SUMS)
    (tmp_path / "analysis.yaml").write_text('name: s\nsteps:\n  - {name: dot, function: "m:dot", points: "m:seeds"}\n')
    found = []
    for threads in "1", "2":  # with as many threads as cores, BLAS splits sums into as many parts
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", threads)
        run = portico.run(load_analysis(tmp_path), folder=tmp_path / threads, workers=1)
        found.append(texts(run, "dot")["values"])
    assert found[0] == found[1]


def test_the_same_whoever_computes_and_however_often(
    analysis: Callable[..., portico.Analysis], local: LocalExecutor, tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    def stop(advanced: int) -> None:
        if advanced == 1:
            raise Stop

    with pytest.raises(Stop):
        portico.run(analysis(), folder=tmp_path / "two", executor=local, reporter=Remember(stop))
    resumed, again = Remember(), Remember()
    run = portico.run(analysis(), folder=tmp_path / "two", executor=local, reporter=resumed)
    assert 0 < resumed.ran["scan"] < 3
    assert run.states == dict.fromkeys(("scan", "collect", "double"), "done")
    portico.run(analysis(), folder=tmp_path / "two", executor=local, reporter=again)
    assert set(again.ran.values()) == {0}
    alone = portico.run(analysis(steps=STEPS.replace("2 points", "5 points")), folder=tmp_path / "one", workers=1)
    assert texts(run, "scan") == texts(alone, "scan")
    assert texts(run, "double") == texts(alone, "double")
    assert compare(run, alone).verdict.endswith("5 products; all bit for bit")

    found = run["scan"]["points"]
    assert found["points"] == [{"mass": mass, "v": v} for mass in (1.0, 2.0, 3.0) for v in (0, 1)]
    row = found["values"][-1]["row"]
    assert row[0] == 1.0
    assert math.isnan(row[1][0])
    assert row[1][1] == math.inf
    assert math.copysign(1, row[1][2]) == -1
    assert row[2] == 0.1
    assert run["double"]["points"]["values"] == [2.0, 2.0, 4.0, 4.0, 6.0, 6.0]
    told = json.loads((run.path / "scan" / "results.json").read_text())["samples"]["points"]
    assert told == {name: {"kind": "list", "length": 6} for name in ("points", "values")}


@pytest.mark.dask
@pytest.mark.parametrize("on", ["dask", pytest.param("distrdf", marks=pytest.mark.full)])
def test_the_same_on_other_executors(
    analysis: Callable[..., portico.Analysis], local: LocalExecutor, tmp_path: Path, on: str
) -> None:
    here = portico.run(analysis(), folder=tmp_path / "local", executor=local, steps=["scan"])
    there = portico.run(analysis(), folder=tmp_path / "there", on=on, workers=1, steps=["scan"])
    assert texts(there, "scan") == texts(here, "scan")


def test_what_is_added_alone_is_computed(
    analysis: Callable[..., portico.Analysis], local: LocalExecutor, tmp_path: Path
) -> None:
    before, after = Remember(), Remember()
    rows = preview(analysis(), folder=tmp_path / "run").rows
    assert [(row.step, row.after) for row in rows] == [("scan", "m:grid"), ("collect", "scan"), ("double", "collect")]
    portico.run(analysis(), folder=tmp_path / "run", executor=local, reporter=before)
    assert before.ran == {"scan": 3, "collect": 1, "double": 6}
    row, *_ = preview(analysis(), folder=tmp_path / "run").rows
    assert (row.chunks, row.entries, row.chunks_done) == (3, 6, 3)
    run = portico.run(analysis("0.5, 1.0, 2.0, 2.0, 3.0"), folder=tmp_path / "run", executor=local, reporter=after)
    assert after.ran == {"scan": 2, "collect": 1, "double": 4}  # 2.0 stands twice in the list
    assert [point["mass"] for point in run["scan"]["points"]["points"][::2]] == [0.5, 1.0, 2.0, 2.0, 3.0]
    assert run.summary("collect")["sum"] == pytest.approx(0.5)


def test_no_points(analysis: Callable[..., portico.Analysis], local: LocalExecutor, tmp_path: Path) -> None:
    run = portico.run(analysis(""), folder=tmp_path / "run", executor=local)
    assert run["scan"]["points"]["values"] == run["double"]["points"]["points"] == []


@pytest.mark.parametrize(
    ("mass", "words"),
    [
        ("13.0", r"m.py:17 .*: ValueError: unlucky; at point 2, {\"mass\": 13.0, \"v\": 0}"),
        ("14.0", r"m.py:19 .*: cannot be read; at point 2, {\"mass\": 14.0, \"v\": 0}"),
        ("15.0", r"the value cannot be saved as JSON: a object is neither .*; at point 2, {\"mass\": 15.0"),
    ],
)
def test_an_error_names_the_point(
    analysis: Callable[..., portico.Analysis], local: LocalExecutor, tmp_path: Path, mass: str, words: str
) -> None:
    steps = STEPS.replace("2 points", "4 points")
    with pytest.raises(StepError, match=f"step 'scan', sample 'points', points .*{words}"):
        portico.run(analysis(f"1.0, {mass}", steps), folder=tmp_path / "run", executor=local)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ('[{name: a, function: "m:scan"}]', "reads samples, but the key 'dataset' is missing"),
        ('[{name: a, function: "m:scan", points: x/y.json}]', "'x' is not an earlier step"),
        ('[{name: a, function: "m:scan", points: list}]', "write STEP/FILE, .* or module:function"),
        ('[{name: a, function: "m:scan", points: "m:grid", samples: [b]}]', "remove 'input', 'tree' and 'samples'"),
        ('[{name: a, function: "m:collect", points: "m:grid"}]', "m:collect is not a step over points; decorate it"),
        ('[{name: a, function: "m:scan", points: "m:scan"}]', "m:scan is a step; the function of points has no"),
        ('[{name: a, function: "m:scan", points: "m:grid", options: {mass: 1}}]',
         "m:scan or m:grid has no option 'mass'; did you mean 'masses'"),
        ('[{name: a, function: "m:scan", points: "m:grid", chunk: 1 MB, options: {masses: []}}]',
         "chunk '1 MB': points have no size; write for example '4 points'"),
        ('[{name: a, function: "m:scan", points: "m:grid"}, {name: b, function: "m:events", input: a}]',
         "step 'a' runs over points and leaves no events"),
        ('[{name: a, function: "m:scan", points: "m:grid", options: {masses: 1}}]', "step 'a', m:grid: .*m.py:11"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    analysis: Callable[..., portico.Analysis], local: LocalExecutor, tmp_path: Path, steps: str, words: str
) -> None:
    with pytest.raises(PorticoError, match=words):
        portico.run(analysis(steps=f" {steps}\n"), folder=tmp_path / "run", executor=local)


def test_a_step_over_points_says_so(analysis: Callable[..., portico.Analysis], tmp_path: Path) -> None:
    made = analysis()
    (tmp_path / "analysis.yaml").write_text(
        'name: plane\ndataset: {samples: {a: {entries: 3}}}\nsteps: [{name: a, function: "m:scan"}]\n'
    )
    assert made.dataset.samples == {}
    with pytest.raises(ConfigError, match="m:scan is a step over points; say which with 'points'"):
        portico.run(load_analysis(tmp_path), folder=tmp_path / "run", workers=1)
