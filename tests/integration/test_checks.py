"""Checks before a run: every problem in one list, none in a healthy analysis, and nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from click.testing import CliRunner

import portico
from portico.analysis.analysis import Analysis
from portico.cli import cli
from portico.executors.local import LocalExecutor
from portico.runfolder.manifest import write_manifest
from portico.workflow.dry_run import preview

pytestmark = pytest.mark.integration

CODE = """
from pathlib import Path

from portico import step
from portico.selection import book, load_selection

FOLDER = Path(__file__).parent


@step(files=["selection.yaml"])
def select(frame, sample):
    return book(load_selection(FOLDER / "selection.yaml"), frame, sample, folder=FOLDER)


@step(files=["scale.json"])
def scale(frame, sample):
    return {"n": frame.Count()}


def skim(frame, sample):
    kept = frame.Define("y", "2 * x").Filter("x > 5").Snapshot("kept", "kept.root", ["x", "y"])
    return {"kept": kept, "n": frame.Count()}


def after(frame, sample):
    return {"sum": frame.Sum("y"), "large": frame.Filter("z > 1").Count()}


def fine(frame, sample):
    return {"sum": frame.Sum("y"), "x": frame.Histo1D(("x", "", 4, 0, 40), "x")}


def text(frame, sample):
    return {"n": frame.Filter("x > 1 &&& 2").Count()}


def varied(frame, sample):
    return {"n": frame.Vary("w", "ROOT::RVecD{x, x}", ["down", "up"], "shift").Count()}


def number(frame, sample):
    return {"x": frame.Histo1D("x")}
"""
SELECTION = """
key: [run, luminosityBlock, event]
event: {many: "nothing > 1"}
preselection: {pt: "C_pt > threshold"}
categories: {all: {any: "C_pt > 0"}}
rules: {best: {score: C_prob}}
corrections: {scale: {file: absent.json, name: scale}}
histograms: [{column: C_pt, bins: 4, range: [0, 40]}]
"""


def write(path: Path, entries: int) -> None:
    with uproot.recreate(path) as file:
        file["Events"] = {
            "x": np.arange(float(entries)), "C_pt": np.ones((entries, 2), np.float32),
            **{name: np.arange(entries, dtype=np.uint32) for name in ("run", "luminosityBlock", "event")},
        }  # fmt: skip


def steps(*named: str) -> str:
    inputs = {"after": "skim", "fine": "skim"}
    more = {name: f", input: {earlier}" for name, earlier in inputs.items()}
    return "\n".join(f'  - {{name: {name}, function: "mysteps:{name}"{more.get(name, "")}}}' for name in named)


def dry_run(analysis: Analysis, *more: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(cli, ["run", str(analysis.path), "--dry-run", "--json", *more])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, json.loads(done.stdout)


def test_all_problems_are_in_one_list(make_analysis: Callable[..., Analysis], tmp_path: Path) -> None:
    for name in ("a", "b", "d"):
        write(tmp_path / f"{name}.root", 20)
    (tmp_path / "c.root").write_bytes((tmp_path / "a.root").read_bytes()[:2000])
    samples = f"""    a: {{files: ["{tmp_path}/a.root", "{tmp_path}/d.root"]}}
    b: {{files: ["{tmp_path}/b.root", "{tmp_path}/a.root"]}}
    c: {{files: ["{tmp_path}/c.root"]}}"""
    names = ("select", "scale", "skim", "after", "text", "varied", "number")
    analysis = make_analysis(CODE, steps(*names), samples, selection__yaml=SELECTION)
    status, found = dry_run(analysis, "--run", str(tmp_path / "run"))
    assert status == 1
    errors: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for problem in found["problems"]:
        errors.setdefault((problem["step"], tuple(problem["samples"])), []).append(problem["message"])
    both = ("a", "b")
    unknown = [*(f"'{name}' is not a column" for name in ("nothing", "threshold", "C_prob")), "scale: no file"]
    words = {
        ("", ()): ["samples 'a' and 'b' both read the same file"],
        ("select", ("a",)): unknown,
        ("select", ("b",)): unknown,
        ("scale", ()): ["scale.json"],
        ("after", both): ["mysteps.py", "z"],
        ("text", both): ["mysteps.py", "does not compile: cannot take the address"],
        ("varied", both): ['cannot redefine or vary column "w"'],
        ("number", both): ["chooses its axis from the data"],
        ("", ("c",)): ["c.root: truncated"],
    }  # fmt: skip
    for of, expected in words.items():
        for word in expected:
            assert any(word in message for message in errors[of]), (of, word, errors)
    assert len(errors) == len(words), errors
    assert found["unchecked"] == ["step 'after', sample 'c': step 'skim' could not be built"]
    assert not (tmp_path / "run").exists()


@pytest.mark.full
def test_a_healthy_analysis_has_no_problem_until_its_input_shrinks(
    make_analysis: Callable[..., Analysis], single: LocalExecutor, tmp_path: Path
) -> None:
    write(tmp_path / "a.root", 20)
    write(tmp_path / "b.root", 30)
    samples = f'    a: {{files: ["{tmp_path}/a.root", "{tmp_path}/b.root"]}}'
    analysis = make_analysis(CODE, steps("skim", "fine"), samples)
    folder = tmp_path / "run"
    for _ in range(2):  # before it has run, and after
        status, found = dry_run(analysis, "--run", str(folder))
        assert (status, found["problems"], found["unchecked"]) == (0, [], [])
        run = portico.run(analysis, folder=folder, executor=single)
        assert run["fine"]["a"]["sum"] == 2 * (sum(range(6, 20)) + sum(range(6, 30)))
    fewer = make_analysis(CODE, steps("skim", "fine"), samples.replace(f', "{tmp_path}/b.root"', ""))
    status, found = dry_run(fewer, "--run", str(folder))
    assert status == 1
    assert [problem["message"] for problem in found["problems"]] == [
        f"1 file with 20 entries, but 2 files with 50 entries when its results were made: {tmp_path}/b.root is gone"
    ]
    assert dry_run(fewer, "--run", str(folder), "--accept-changed-input")[0] == 0


POINTS = """
import json

from portico import points, summary


def three():
    return [1, 2, 3]


def none():
    raise ValueError("no masses")


def odd():
    return {"mass": 1}


@points()
def scan(point, *, limits=""):
    return {"twice": 2 * point}


@summary
def found(results, samples, *, limits=""):
    return {"points.json": json.dumps([1])}
"""


def test_points_and_files_are_looked_at(make_analysis: Callable[..., Analysis], tmp_path: Path) -> None:
    write(tmp_path / "a.root", 20)
    named = {
        "good": "points: mysteps:three", "late": "points: found/points.json", "fails": "points: mysteps:none",
        "wrong": "points: mysteps:odd", "large": "points: mysteps:three, chunk: 2 MB",
        "absent": "points: mysteps:three, files: {limits: ./absent.json}",
    }  # fmt: skip
    lines = [f'  - {{name: {name}, function: "mysteps:scan", {more}}}' for name, more in named.items()]
    lines.insert(1, '  - {name: found, function: "mysteps:found", input: good}')
    lines.append('  - {name: last, function: "mysteps:found", input: good, files: {limits: found/limits.json}}')
    analysis = make_analysis(POINTS, "\n".join(lines), f'    a: {{files: "{tmp_path}/a.root"}}')
    status, found = dry_run(analysis, "--run", str(tmp_path / "run"))
    assert status == 1
    errors = {problem["step"]: problem["message"] for problem in found["problems"]}
    for step, word in (
        ("fails", "no masses"), ("wrong", "return a list of points"), ("large", "points have no size"),
        ("absent", "absent.json"),
    ):  # fmt: skip
        assert word in errors.pop(step)
    assert errors == {}
    assert found["unchecked"] == [
        "step 'late': points: step 'found' has not run; run that first",
        "step 'last': files: limits: step 'found' has not run; run that first",
    ]
    assert not (tmp_path / "run").exists()


def test_the_text_names_each_problem(make_analysis: Callable[..., Analysis], tmp_path: Path) -> None:
    write(tmp_path / "a.root", 20)
    analysis = make_analysis(CODE, steps("text", "number"), f'    a: {{files: "{tmp_path}/a.root"}}')
    for command in (["run", "--dry-run"], ["doctor", "--workers", "1"]):
        done = CliRunner().invoke(cli, [*command, str(analysis.path), "--run", str(tmp_path / "run")])
        assert done.exit_code == 1
        assert "step 'text', sample 'a': " in done.stdout
        assert "step 'number', sample 'a': " in done.stdout
        assert "2 errors" in done.stdout


def test_the_doctor_names_a_run_folder_of_another_analysis(
    make_analysis: Callable[..., Analysis], tmp_path: Path
) -> None:
    write(tmp_path / "a.root", 20)
    analysis = make_analysis(CODE, steps("skim"), f'    a: {{files: "{tmp_path}/a.root"}}')
    run = tmp_path / "run"
    run.mkdir()
    write_manifest(run, {"analysis": "another"})
    (run / "ledger.sqlite").touch()
    done = CliRunner().invoke(cli, ["doctor", str(analysis.path), "--workers", "1", "--run", str(run), "--json"])
    findings = json.loads(done.stdout)["findings"]
    [found] = [finding for finding in findings if finding["level"] == "error"]
    assert (done.exit_code, found["check"]) == (1, "run folder")
    assert "belongs to the analysis 'another', not 'test'" in found["what"]


def test_a_run_that_may_be_partial_is_previewed_as_one(
    make_analysis: Callable[..., Analysis], events: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.root"
    bad.write_bytes(b"no ROOT file" * 100)
    code = "def fill(frame, sample):\n    return {'n': frame.Count()}\n"
    samples = f"    a: {{files: ['{events}/events0.root', '{bad}']}}"
    analysis = make_analysis(code, "  - {name: fill, function: 'mysteps:fill'}", samples)
    whole, part = (preview(analysis, folder=tmp_path / "run", allow_partial=on, checked=True) for on in (False, True))
    assert (whole.rows[0].blocked, part.rows[0].blocked, part.rows[0].entries) == (True, False, 250)
    assert whole.checked is not None
    assert part.checked is not None
    assert (whole.checked.errors, part.checked.errors) == (1, 0)
    (problem,) = part.checked.problems
    assert (problem.level, problem.samples) == ("warning", ("a",))
    assert problem.message.startswith(str(bad))
    assert problem.message.endswith("; left out")
