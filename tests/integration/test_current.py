"""Results kept by content, stale results that say so, and files that are verified when they are read again."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import uproot
from click.testing import CliRunner

import portico
from portico import plot
from portico.analysis.analysis import Analysis
from portico.cli import cli
from portico.compare import compare
from portico.errors import ConfigError, InputError, RunFolderError
from portico.executors.local import LocalExecutor
from portico.files.kept import OLDER
from portico.monitor.status import read_status
from portico.report import write_report
from portico.runfolder.parquet import export_parquet
from tests.conftest import Remember, numbers_of, write_events
from tests.made_runs import unpacked

pytestmark = pytest.mark.integration

CODE = """
import matplotlib.figure

from portico import summary


def skim(frame, sample, *, cut=41):
    kept = frame.Filter(f"x > {cut / 20}", "cut")
    return {"tree": kept.Snapshot("kept", "kept.root", ["x", "w"]), "cutflow": kept.Report()}


def fill(frame, sample):
    return {"x": frame.Histo1D(("x", ";x;events", 20, 0.0, 20.0), "x")}


@summary
def total(results, samples):
    figure = matplotlib.figure.Figure()
    figure.add_subplot()
    return {"n": {name: float(r["x"].sum()) for name, r in results.items()}, "figure": figure}
"""
STEPS = """
  - {name: skim, function: "mysteps:skim", options: {cut: 41}, chunk: 50 entries}
  - {name: fill, function: "mysteps:fill", input: skim}
  - {name: total, function: "mysteps:total", input: fill}
"""
NOTHING = {"skim": 0, "fill": 0, "total": 0}
STALE = "made with other options"


class Bench:
    """An analysis of three steps over two samples, and its runs in one folder."""

    def __init__(self, analysis: Analysis, executor: LocalExecutor, folder: Path) -> None:
        self.analysis, self._executor, self.folder = analysis, executor, folder

    def run(self, cut: int, **options: tuple[str, ...]) -> tuple[portico.Run, Remember]:
        reporter = Remember()
        analysis = self.analysis.with_options("skim", cut=cut)
        run = portico.run(analysis, folder=self.folder, executor=self._executor, reporter=reporter, **options)
        return run, reporter


@pytest.fixture
def bench(make_analysis: Callable[..., Analysis], local: LocalExecutor, tmp_path: Path) -> Bench:
    for name, seed in (("a", 1), ("b", 2)):
        write_events(tmp_path / f"{name}.root", np.random.default_rng(seed), 100, clusters=2)
    samples = "\n".join(f'    {name}: {{files: "{tmp_path}/{name}.root"}}' for name in "ab")
    return Bench(make_analysis(CODE, STEPS, samples), local, tmp_path / "run")


def everything(run: portico.Run) -> dict[str, object]:
    """Return all numbers of a run, those in its trees too."""
    found: dict[str, object] = {"total": run.summary("total")}
    for step in ("skim", "fill"):
        found |= numbers_of(run, step)
    for sample, results in run["skim"].items():
        columns = [uproot.open(path)["kept"]["x"].array(library="np") for path in results["tree"]]
        found[sample] = np.concatenate(columns).tobytes()
    return found


def test_results_are_kept_by_content(bench: Bench) -> None:
    """Cut 41, then 42 for one sample, then for all, and back: nothing is lost, mixed or computed twice."""
    first, _ = bench.run(41)
    before = everything(first)
    names = {path.relative_to(bench.folder) for path in bench.folder.rglob("*.root")}

    mixed, reporter = bench.run(42, samples=("a",))
    assert reporter.ran == {"skim": 2, "fill": 2}
    assert "step 'total' is left out: 'b' of step 'fill' was made with other options" in reporter.warnings[0]
    check_stale(bench.folder, mixed)
    second, reporter = bench.run(42)
    assert reporter.ran == {"skim": 2, "fill": 2, "total": 1}
    after = everything(second)
    assert after != before
    assert not second.stale
    assert not second.notes
    assert "stale:" not in CliRunner().invoke(cli, ["status", str(bench.folder)]).output
    assert everything(first) == before, "a run in a user's hand changed"
    assert [len(list((bench.folder / "skim" / sample).glob("*.root"))) for sample in "ab"] == [2, 2]
    assert len(list((bench.folder / OLDER / "skim").glob("[ab]/*.root"))) == 4

    back, reporter = bench.run(41)
    assert reporter.ran == NOTHING
    assert everything(back) == before
    assert everything(second) == after
    now = {path.relative_to(bench.folder) for path in bench.folder.rglob("*.root")}
    assert {path for path in now if path.parts[0] != OLDER} == names
    assert json.loads((bench.folder / "total" / "summary.json").read_text()) == before["total"]

    assert compare(first, back).identical
    comparison = compare(bench.folder, f"{bench.folder}@previous")
    assert not comparison.equal
    assert not comparison.gaps
    assert {d.step for d in comparison.differences} == {"skim", "fill", "total"}
    assert compare(second, f"{bench.folder}@previous").identical
    with pytest.raises(ConfigError, match="no version '@99' is kept; valid: @previous, @1, @2, @3, @4"):
        portico.load(f"{bench.folder}@99")
    check_prune(bench.folder, back, second)


def check_stale(folder: Path, mixed: portico.Run) -> None:
    """After the cut of one sample was changed, everything says what is of the old one."""
    assert mixed.stale == {"skim": ("b",), "fill": ("b",), "total": ("*",)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = portico.load(folder)
    words = [str(warning.message).removeprefix(f"{folder}: step ") for warning in caught]
    assert words == ["'total' is planned", f"'skim', 'b': {STALE}", f"'fill', 'b': {STALE}", f"'total': {STALE}"]
    fill = loaded["fill"]
    assert (fill["a"].note, fill["b"].note) == ("", STALE)
    drawn = plot.overlay({name: results["x"][::2j] for name, results in fill.items()})
    assert STALE in [text.get_text() for text in drawn.axes[0].texts]
    drawn = plot.overlay({"a": fill["a"]["x"]})
    assert STALE not in [text.get_text() for text in drawn.axes[0].texts]
    assert loaded["skim"]["b"]["cutflow"].note == STALE
    assert [step.stale for step in read_status(folder).steps] == [("b",), ("b",), ("*",)]
    shown = CliRunner().invoke(cli, ["status", str(folder)]).output
    assert f"stale: step 'fill', 'b': {STALE}" in shown
    page = write_report(folder).read_text()
    assert page.count(f"b ({STALE})") >= 3
    assert unpacked(page)["index"]["stale"] == {"skim": ["b"], "fill": ["b"], "total": ["*"]}
    assert f"figure ({STALE})" in page
    for step in ("skim", "fill"):
        assert json.loads((folder / step / "results.json").read_text())["stale"] == {"b": STALE}
    with uproot.open(folder / "fill" / "results.root") as file:
        assert STALE in file["b/partial"].member("fTitle")
        assert "a/partial" not in file
    exported = {file.sample: file.note for file in export_parquet(folder, "skim", folder.parent / "parquet")}
    assert exported == {"a": "", "b": STALE}
    comparison = compare(folder, folder)
    assert not comparison.equal
    assert comparison.verdict.startswith("incomplete: ")
    assert f"{folder}: step 'fill', sample 'b': {STALE}" in comparison.gaps


def check_prune(folder: Path, current: portico.Run, older: portico.Run) -> None:
    """What is not current can be removed, and only that."""
    before = everything(current)
    files = sorted(folder.rglob("*.root"))
    invoke = CliRunner().invoke
    shown = json.loads(invoke(cli, ["prune", str(folder), "--keep-size", "0", "--dry-run", "--json"]).output)
    assert shown["versions"] == [1, 2, 3]
    assert shown["freed"] > 0
    assert sorted(folder.rglob("*.root")) == files
    assert json.loads(invoke(cli, ["prune", str(folder), "--json"]).output)["freed"] == 0, "far below the limits"
    assert invoke(cli, ["prune", str(folder), "--keep-size", "much"]).exit_code == 2
    done = invoke(cli, ["prune", str(folder), "--keep-days", "0"])
    assert done.exit_code == 0
    assert done.output.startswith("removed: @1, @2, @3")
    assert not list((folder / OLDER).rglob("*"))
    assert everything(current) == before
    with pytest.raises(RunFolderError, match="are not current, and were pruned; run again to make them"):
        older["fill"]


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_step_that_left_the_analysis_says_so(bench: Bench) -> None:
    bench.run(41)
    bench.analysis = bench.analysis.model_copy(update={"steps": bench.analysis.steps[:2]})
    run, reporter = bench.run(41)
    assert reporter.warnings == [f"step 'total' is not in the analysis any more; its results stay, as {STALE}"]
    assert run.stale == {"total": ("*",)}


def test_a_flipped_bit_is_noticed_wherever_it_is_read(bench: Bench) -> None:
    run, _ = bench.run(41)
    before = everything(run)
    folder = bench.folder

    tree = next((folder / "skim" / "a").glob("*.root"))
    flip(tree)
    wrong = "was changed since the step wrote it: its checksum differs"
    with pytest.raises(InputError, match=f"{tree.name}: {wrong}"):
        portico.load(folder)["skim"]["a"]["tree"]
    with pytest.raises(InputError, match=f"step 'fill', sample 'a': .*{tree.name}: {wrong}"):
        bench.run(41, steps=("fill",))
    with pytest.raises(InputError, match=wrong):
        list(export_parquet(folder, "skim", folder.parent / "parquet"))

    flip(folder / "fill" / "results.root")
    flip(folder / "total" / "summary.json")
    flip(folder / "total" / "figure.png")
    with pytest.raises(InputError, match=rf"figure.png: {wrong}"):
        write_report(folder)
    again, reporter = bench.run(41)
    assert reporter.ran == {"skim": 1, "fill": 1, "total": 1}
    assert everything(again) == before
    with uproot.open(folder / "fill" / "results.root") as file:
        assert file["a/x"].values().sum() == before["total"]["n"]["a"]  # type: ignore[index]
    write_report(folder)

    for name in ("results.root", "results.json"):
        flip(folder / "skim" / name)
    stat = tree.stat()
    tree.touch()  # other times, the same content
    _, reporter = bench.run(41)
    assert reporter.ran == NOTHING
    assert stat.st_mtime_ns != tree.stat().st_mtime_ns
    with uproot.open(folder / "skim" / "results.root"):
        assert json.loads((folder / "skim" / "results.json").read_text())["stale"] == {}


def test_a_damaged_older_result_is_made_again(bench: Bench) -> None:
    bench.run(41)
    bench.run(42)
    flip(next((bench.folder / OLDER / "skim" / "b").glob("*.root")))
    flip(next((bench.folder / OLDER / "total").rglob("summary.json")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        previous = portico.load(f"{bench.folder}@previous")
    with pytest.raises(InputError, match="its checksum differs"):
        previous["skim"]["b"]["tree"]
    _, reporter = bench.run(41)
    assert reporter.ran == {"skim": 1, "fill": 1, "total": 1}
    assert json.loads((bench.folder / "total" / "summary.json").read_text()) == previous.summary("total")
