"""Tables and other files of summary steps, and the steps that read them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

import portico
from portico.analysis.analysis import Analysis
from portico.errors import ConfigError, InputError, PorticoError, RunFolderError
from portico.executors.local import LocalExecutor
from portico.files.digest import digest_of
from portico.workflow.dry_run import preview
from tests.conftest import Remember, write_events

pytestmark = pytest.mark.integration

CODE = '''
import numpy as np
import uproot

from portico import summary


def fill(frame, sample):
    return {"x": frame.AsNumpy(["event", "x"])}


@summary
def fit(results, samples, *, scale=1.0, comment=""):
    columns = results["a"]["x"]
    weight = np.round(scale) * columns["x"]
    weights = {"run": np.ones(len(weight), np.uint32), "event": columns["event"], "w": weight, "big": weight > 5.0}
    return {"weights": weights, "mean": float(weight.mean()), "edges": {"x": np.arange(3), "y": np.arange(2)}}


def use(frame, sample, *, weights="", factor=1.0):
    frame = frame.Define("one", "1.0")
    with uproot.open(weights) as file:
        total = float(file["weights"]["w"].array(library="np").sum())
    return {"total": frame.Define("t", repr(total * factor)).Max("t"), "n": frame.Count()}


@summary
def report(results, samples, *, fitted=""):
    return {"fitted": open(fitted).read()}
'''
STEPS = """
  - {name: fill, function: "mysteps:fill", chunk: 50 entries}
  - {name: fit, function: "mysteps:fit", input: fill}
  - {name: use, function: "mysteps:use", chunk: 50 entries, files: {weights: fit/weights.root}}
  - {name: report, function: "mysteps:report", input: use, files: {fitted: fit/summary.json}}
"""


@pytest.fixture
def four_steps(make_analysis: Callable[..., Analysis], tmp_path: Path) -> Analysis:
    write_events(tmp_path / "events.root", np.random.default_rng(1), 100, clusters=2)
    return make_analysis(CODE, STEPS, f'    a: {{files: "{tmp_path}/events.root"}}')


@pytest.fixture
def ran(four_steps: Analysis, single: LocalExecutor, tmp_path: Path) -> Callable[..., dict[str, int]]:
    """Run the analysis as it lies on disk; return how much of each step ran."""

    def run(*steps: str) -> dict[str, int]:
        reporter = Remember()
        analysis = portico.load_analysis(four_steps.folder)
        portico.run(analysis, folder=tmp_path / "run", executor=single, reporter=reporter, steps=steps)
        return reporter.ran

    return run


def edit(analysis: Analysis, old: str, new: str) -> Analysis:
    text = analysis.path.read_text()
    assert old in text
    analysis.path.write_text(text.replace(old, new))
    return portico.load_analysis(analysis.folder)


def rows(analysis: Analysis, folder: Path, **options: Any) -> dict[str, str]:
    """What would come first for each step, or that it is done."""
    found = preview(portico.load_analysis(analysis.folder), folder=folder, **options)
    return {row.step: row.after or ("done" if row.chunks == row.chunks_done else "to run") for row in found.rows}


def test_a_table_reaches_the_step_that_names_it(
    four_steps: Analysis, ran: Callable[..., dict[str, int]], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert rows(four_steps, folder) == {"fill": "to run", "fit": "fill", "use": "fit", "report": "fit"}
    assert ran() == {"fill": 2, "fit": 1, "use": 2, "report": 1}
    with uproot.open(tmp_path / "events.root") as file:
        x = file["Events"]["x"].array(library="np")
    run = portico.load(folder)
    assert run["use"]["a"]["total"] == pytest.approx(x.sum(), rel=1e-12)
    assert run.summary("fit") == {"mean": pytest.approx(x.mean()), "edges": {"x": [0, 1, 2], "y": [0, 1]}}
    assert json.loads(run.summary("report")["fitted"]) == run.summary("fit")
    with uproot.open(folder / "fit" / "weights.root") as file:
        assert file.keys() == ["weights;1"]
        table = file["weights"].arrays(library="np")
        kinds = {name: column.dtype.name for name, column in table.items()}
    assert kinds == {"run": "uint32", "event": "uint64", "w": "float64", "big": "bool"}
    np.testing.assert_array_equal(table["w"], x)
    np.testing.assert_array_equal(table["big"], x > 5.0)
    assert rows(four_steps, folder) == dict.fromkeys(("fill", "fit", "use", "report"), "done")
    assert ran() == {"fill": 0, "fit": 0, "use": 0, "report": 0}


def test_only_other_weights_run_the_step_again(
    four_steps: Analysis, ran: Callable[..., dict[str, int]], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    ran()
    weights = folder / "fit" / "weights.root"
    before, content = weights.read_bytes(), digest_of(weights)
    edit(four_steps, "input: fill}", "input: fill, options: {scale: 1.2}}")  # rounded: the same weights
    assert rows(four_steps, folder) == {"fill": "done", "fit": "fill", "use": "fit", "report": "fit"}
    assert ran() == {"fill": 0, "fit": 1, "use": 0, "report": 0}
    assert weights.read_bytes() != before, "the file is new, if only by its date"
    assert digest_of(weights) == content
    total = portico.load(folder)["use"]["a"]["total"]
    edit(four_steps, "scale: 1.2", "scale: 2.0")
    assert ran() == {"fill": 0, "fit": 1, "use": 2, "report": 1}
    assert portico.load(folder)["use"]["a"]["total"] == pytest.approx(2 * total, rel=1e-12)
    mine = four_steps.folder / "mine.root"
    shutil.copy(weights, mine)
    edit(four_steps, "fit/weights.root", "./mine.root")
    assert ran()["use"] == 0, "another file of the same content"
    with uproot.recreate(mine) as file:
        file.mktree("weights", {"w": "float64"}).extend({"w": np.array([1.0, 2.0])})
    assert ran() == {"fill": 0, "fit": 0, "use": 2, "report": 1}
    assert portico.load(folder)["use"]["a"]["total"] == 3.0


def test_a_file_that_is_gone_is_made_again(
    four_steps: Analysis, ran: Callable[..., dict[str, int]], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(RunFolderError, match="step 'use': files: weights: step 'fit' has not run; run that first"):
        ran("use")
    ran()
    (folder / "fit" / "weights.root").unlink()
    with pytest.raises(RunFolderError, match=r"weights.root is gone; run step 'fit' first"):
        ran("use")
    assert rows(four_steps, folder)["fit"] == "fill"
    assert ran() == {"fill": 0, "fit": 1, "use": 0, "report": 0}
    (folder / "fit" / "weights.root").write_bytes(b"root of nothing")
    with pytest.raises(InputError, match=r"weights.root: was changed since the step wrote it"):
        ran("use")


def test_an_interrupted_run_goes_on(
    four_steps: Analysis, single: LocalExecutor, ran: Callable[..., dict[str, int]], tmp_path: Path
) -> None:
    def stop(chunks: int) -> None:
        if chunks == 3:  # the first of the step that reads the weights
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        portico.run(four_steps, folder=tmp_path / "run", executor=single, reporter=Remember(stop))
    done = ran()
    assert (done["fill"], done["fit"], done["report"]) == (0, 0, 1)
    assert 0 < done["use"] <= 2


def test_what_needs_a_step_that_was_left_out_is_left_out(
    four_steps: Analysis, ran: Callable[..., dict[str, int]], single: LocalExecutor, tmp_path: Path
) -> None:
    ran()
    file = tmp_path / "events.root"
    damaged = bytearray(file.read_bytes())
    with uproot.open(file) as opened:
        start = opened["Events"]["x"].member("fBasketSeek")[0]
    damaged[start : start + 60] = bytes(60)
    file.write_bytes(damaged)
    edit(four_steps, "chunk: 50 entries}\n  - {name: fit", "chunk: 100 entries}\n  - {name: fit")
    reporter = Remember()
    with pytest.raises(PorticoError):
        portico.run(
            portico.load_analysis(four_steps.folder), folder=tmp_path / "run", executor=single, reporter=reporter
        )
    assert any("'fit' is left out: it needs all samples" in text for text in reporter.warnings)
    assert any("'use' is left out: it needs step 'fit'" in text for text in reporter.warnings)
    assert any("'report' is left out: it needs step 'use'" in text for text in reporter.warnings)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fit/weights.root", "weights.root", r"'weights.root' is not a file of a step; write STEP/FILE"),
        ("fit/weights.root", "fit/../weights.root", r"is not a file of a step; write STEP/FILE"),
        ("fit/weights.root", "./none.root", r"files: weights: no file .*none\.root"),
        ("fit/weights.root", "fti/weights.root", r"'fti' is not an earlier step; did you mean 'fit'\? valid: fill"),
        ("fit/weights.root", "report/summary.json", r"'report' is not an earlier step; .*valid: fill, fit$"),
        ("{weights: fit", "{weigths: fit", r"has no option 'weigths'; did you mean 'weights'\? valid: factor, weights"),
        ("fit/weights.root", "fill/results.root", r"'fill' is not a summary step, and only these .*valid: fit, report"),
        ("files: {weights", "options: {weights: x}, files: {weights", r"'weights' is in options too; give it once"),
        ("weights.root", "weight.root", r"wrote no file 'weight.root'; did you mean 'weights.root'\? valid: summary"),
    ],
)
def test_what_is_wrong_is_told(
    four_steps: Analysis, ran: Callable[..., dict[str, int]], old: str, new: str, message: str
) -> None:
    four_steps.path.write_text(four_steps.path.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=rf"analysis.yaml: step 'use': .*{message}"):
        ran()


def test_all_that_a_root_file_says_counts(tmp_path: Path) -> None:
    """Of tables of numbers the values count, of a file with anything else, such as a histogram or lists, every byte."""
    digests = []
    for number, bins in enumerate(([1.0, 2.0], [1.0, 3.0])):
        path = tmp_path / f"{number}.root"
        with uproot.recreate(path) as file:
            file["scale_factors"] = (np.array(bins), np.array([0.0, 1.0, 2.0]))
            file.mktree("weights", {"w": "float64"}).extend({"w": np.ones(2)})
        digests.append(digest_of(path))
    assert digests[0] != digests[1]
    lists = tmp_path / "lists.root"
    with uproot.recreate(lists) as file:
        file.mktree("weights", {"w": "var * float64"}).extend({"w": ak.Array([[1.0], [2.0, 3.0]])})
    assert digest_of(lists) == digest_of(lists) == hashlib.sha256(lists.read_bytes()).hexdigest()


OWN = """
import json


def fill(frame, sample, *, factors, regions):
    return {"n": frame.Define("factor", str(json.load(open(factors))["factor"])).Sum("factor"), **{
        f"first_{number}": frame.Filter(cut).Count() for number, cut in enumerate(regions.values())
    }}
"""
FACTORS = """
  - name: fill
    function: "mysteps:fill"
    files: {factors: ./factors.json}
    options: {regions: {A: x > 2, B: x > 5}}
"""


def test_results_of_an_older_file_or_order_of_an_option_are_not_current(
    make_analysis: Callable[..., Analysis], events: Path, single: LocalExecutor, tmp_path: Path
) -> None:
    samples = "\n".join(f"    {name}: {{files: ['{events}/events{n}.root']}}" for n, name in enumerate("ab"))

    def run(factors: str, steps: str, *names: str) -> portico.Run:
        analysis = make_analysis(OWN, steps, samples, factors__json=factors)
        return portico.run(analysis, folder=tmp_path / "run", executor=single, samples=names)

    first = run('{"factor": 1.0}', FACTORS)
    assert not first.stale
    changed = run('{"factor": 2.0}', FACTORS, "a")
    assert [changed["fill"][name]["n"] for name in "ab"] == [500.0, 250.0]
    assert changed.stale == {"fill": ("b",)}
    (tmp_path / "analysis" / "other.json").write_text('{"factor": 3.0}')
    other = run('{"factor": 2.0}', FACTORS.replace("./factors", "./other"), "a")
    assert (other["fill"]["a"]["n"], other.stale) == (750.0, {"fill": ("b",)})
    swapped = run('{"factor": 1.0}', FACTORS.replace("A: x > 2, B: x > 5", "B: x > 5, A: x > 2"))
    for name in "ab":
        numbers = [[of["fill"][name][f"first_{n}"] for n in (0, 1)] for of in (first, swapped)]
        assert numbers[0] == numbers[1][::-1]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("2026-01-01", r"datetime.date\(2026, 1, 1\) is a date; valid: numbers"), ("!!set {a}", "is a set; valid"),
        ("[1, {a: !!binary aGk=}]", "b'hi' is a bytes"), ("{x: {1: a}}", "the key 1 is not text; write it in quotes"),
    ],
)  # fmt: skip
def test_options_reach_the_worker_as_they_are_written(
    make_analysis: Callable[..., Analysis], events: Path, single: LocalExecutor, tmp_path: Path, value: str, error: str
) -> None:
    steps = f"  - {{name: fill, function: 'mysteps:fill', options: {{factors: 'x', regions: {value}}}}}"
    analysis = make_analysis(OWN, steps, f"    a: {{files: ['{events}/events0.root']}}")
    with pytest.raises(ConfigError, match=f"step 'fill': options: regions: .*{error}"):
        portico.run(analysis, folder=tmp_path / "run", executor=single)
