"""`portico run` as a user meets it: real processes, exit statuses, and what is said when something is wrong."""

from __future__ import annotations

import fcntl
import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import uproot
import yaml
from click.testing import CliRunner

from portico.analysis.init_template import create
from portico.cli import cli
from portico.errors import RunFolderError
from portico.monitor.status import read_status
from portico.runfolder.load import load
from portico.runfolder.manifest import write_manifest

pytestmark = pytest.mark.integration

STEPS = """
def good(frame, sample):
    return {"n": frame.Count(), "x": frame.Histo1D(("x", ";x;events", 10, 0, 100), "x")}

def nothing(frame, sample):
    frame.Filter("x > 1")

def not_cpp(frame, sample):
    return {"n": frame.Filter("x >> > 1", "odd cut").Count()}

def one_name(frame, sample):
    model = ("h", "", 10, 0, 100)
    return {"first": frame.Histo1D(model, "x"), "second": frame.Histo1D(model, "x")}

def no_column(frame, sample):
    return {"n": frame.Filter("y > 1").Count()}
"""


def portico(*arguments, folder, wait=True):
    """Start `portico` in a process of its own."""
    command = [sys.executable, "-m", "portico.cli", *(str(argument) for argument in arguments)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return ended(process) if wait else process


def ended(process):
    out, err = process.communicate(timeout=200)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def call(*arguments):
    """Call `portico` in this process."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def write_analysis(folder, files, *, function="good", name="bad", tree="Events"):
    folder.mkdir(exist_ok=True)
    samples = {"only": {"files": [str(file) for file in files], "tree": tree}}
    content = {
        "name": name,
        "dataset": {"samples": samples},
        "steps": [{"name": "fill", "function": f"steps:{function}"}],
    }
    (folder / "analysis.yaml").write_text(yaml.safe_dump(content))
    (folder / "steps.py").write_text(STEPS)
    return folder


def write_ntuple(path, **columns):
    with uproot.recreate(path) as file:
        file.mkrntuple("Events", columns)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A whole file, and one for each way of being bad."""
    folder = tmp_path_factory.mktemp("data")
    x = np.linspace(0, 100, 5000, dtype=np.float32)
    good = write_ntuple(folder / "good.root", x=x, y=x).read_bytes()
    write_ntuple(folder / "other.root", x=x[::2])
    with uproot.recreate(folder / "empty.root") as file:
        file.mktree("Events", {"x": "f4", "y": "f4"})
    (folder / "truncated.root").write_bytes(good[: len(good) // 2])
    (folder / "zero.root").touch()
    (folder / "text.root").write_text("these are not the bytes of a file of ROOT")
    damaged = bytearray(write_ntuple(folder / "damaged.root", x=x[::3]).read_bytes())
    for place in range(len(damaged) // 3, len(damaged) // 3 + 10):
        damaged[place] ^= 255
    (folder / "damaged.root").write_bytes(damaged)
    return folder


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A new analysis that was run once, and what that run said."""
    parent = tmp_path_factory.mktemp("toy")
    create("toysearch", parent)
    return parent / "toysearch", portico("run", ".", "--workers", 1, folder=parent / "toysearch")


def test_init_and_run(toy):
    folder, first = toy
    assert first.returncode == 0, first.stderr
    said = first.stderr.splitlines()
    assert said[0].startswith("step events: 2 samples, 120,000 entries, ")
    for step in ("events", "histograms", "yields"):
        assert any(line.startswith(f"step {step}: done in") for line in said)
    assert "results: runs/toysearch" in first.stdout
    assert "report:  runs/toysearch/report.html" in first.stdout, first.stderr
    assert (folder / "runs" / "toysearch" / "report.html").stat().st_size > 1000
    run = load(folder / "runs" / "toysearch")
    assert run["events"]["signal"]["made"] == 20_000
    assert run["histograms"]["background"]["cutflow"].reached[0] == 100_000
    assert 1 < run.summary("yields")["significance"] < 10
    _, _, found = first.stdout.partition("histograms: ")
    assert "yields after all cuts" in found or "entries after all cuts" in found
    assert "events: " not in first.stdout, "its trees are read by another step"
    flow = run["histograms"]["signal"]["cutflow"]
    number = f"{flow.yields[-1]:,.0f}" if flow.yields else f"{flow.passed[-1]:,}"
    row = next(line for line in found.splitlines() if line.startswith("signal"))
    assert f"{number} ± " in row


def test_run_again_does_nothing_and_tells_in_json(toy):
    folder, _ = toy
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("results.*")}
    result = portico("run", ".", "--json", folder=folder)
    assert result.returncode == 0, result.stderr
    content = json.loads(result.stdout)
    assert content["state"] == "done"
    assert [step["total"]["entries_done"] for step in content["steps"]] == [120_000, 120_000, 0]
    assert content["report"].endswith("report.html")
    flow = load(folder / "runs" / "toysearch")["histograms"]["signal"]["cutflow"]
    (told,) = content["yields"]["histograms"]["signal"].values()
    assert told == pytest.approx(
        [flow.yields[-1], flow.uncertainties[-1]] if flow.yields else [flow.passed[-1], flow.passed[-1] ** 0.5]
    )
    assert result.stderr.count("done before") == 3
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("results.*")}


def test_dry_run_and_status_after_a_run(toy, monkeypatch):
    folder, _ = toy
    monkeypatch.chdir(folder)
    plan = json.loads(call("run", ".", "--dry-run", "--json").stdout)["plan"]
    assert {(row["step"], row["sample"]): (row["chunks_done"], row["chunks"]) for row in plan[:4]} == {
        ("events", "signal"): (1, 1), ("events", "background"): (4, 4),
        ("histograms", "signal"): (1, 1), ("histograms", "background"): (4, 4),
    }  # fmt: skip
    text = call("status", "runs/toysearch").stdout
    assert call("status", "runs/toysearch", "--watch").stdout == text
    assert call("status", "runs/toysearch", "--watch", "--json").exit_code == 2
    assert "toysearch in runs/toysearch: done" in text
    assert "100,000" in text


@pytest.mark.timeout(500)
def test_interrupted_run_says_how_to_go_on(tmp_path):
    create("toysearch", tmp_path)
    folder = tmp_path / "toysearch"
    datasets = (folder / "datasets.yaml").read_text()
    (folder / "datasets.yaml").write_text(datasets.replace("entries: 20000\n", "entries: 50000000\n"))
    events = (folder / "events.py").read_text()  # so slow that it cannot end before it is interrupted
    slow = events.replace("    if sample.kind", "    import time\n\n    time.sleep(0.5)\n    if sample.kind")
    (folder / "events.py").write_text(slow)
    options = ("--step", "events", "--sample", "signal", "--workers", 1)
    process = portico("run", ".", *options, folder=folder, wait=False)
    path = folder / "runs" / "toysearch"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(RunFolderError):  # not begun yet
            status = read_status(path)
            if any(step.total.chunks_done for step in status.steps):
                assert status.state == "running"
                break
        time.sleep(0.5)
    watching = portico("status", path, "--watch", folder=folder, wait=False)
    time.sleep(3)
    assert watching.poll() is None, "the run goes on"
    process.send_signal(signal.SIGINT)
    result = ended(process)
    watched = ended(watching)
    assert watched.returncode == 0, watched.stderr
    assert "toysearch: interrupted" in watched.stdout
    assert result.returncode == 130, result.stderr
    assert result.stderr.endswith("interrupted; what is done is kept, the same command continues where it stopped\n")
    status = read_status(path)
    assert status.state == "interrupted"
    assert 0 < status.steps[0].total.chunks_done < status.steps[0].total.chunks
    assert "continues where it stopped" in call("status", path).stdout


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("nothere.root", "no such file"),
        ("", "is a folder; name its files"),
        ("no*match.root", "no file matches"),
        ("text.root", "not a ROOT file"),
        ("zero.root", "is empty (0 bytes)"),
        ("truncated.root", "truncated"),
    ],
)
def test_bad_files_are_named_before_anything_runs(data, tmp_path, file, words):
    analysis = write_analysis(tmp_path / "bad", [data / "good.root", data / file])
    result = call("run", analysis, "--run", tmp_path / "run")
    assert result.exit_code == 1
    assert words in result.stderr
    assert str(data / file) in result.stderr
    assert "Traceback" not in result.stderr


def test_wrong_tree_is_named_with_the_right_one(data, tmp_path):
    analysis = write_analysis(tmp_path / "bad", [data / "good.root"], tree="Evnts")
    result = call("run", analysis, "--run", tmp_path / "run")
    assert result.exit_code == 1
    assert "no tree 'Evnts'; did you mean 'Events'?" in result.stderr


def test_run_folder_of_another_analysis_or_in_use(data, tmp_path):
    analysis = write_analysis(tmp_path / "bad", [data / "good.root"])
    run = tmp_path / "run"
    run.mkdir()
    write_manifest(run, {"analysis": "another"})
    for arguments in ([], ["--dry-run"]):
        (run / "ledger.sqlite").touch()
        result = call("run", analysis, "--run", run, *arguments)
        assert result.exit_code == 1
        assert "belongs to the analysis 'another', not 'bad'; choose another folder with --run" in result.stderr
    with (run / "lock").open("w") as lock:
        lock.write(f"process 1 on {socket.gethostname()}")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = call("run", analysis, "--run", run)
    assert result.exit_code == 1
    assert "in use by another portico run (process 1 on" in result.stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    assert "contains something other than a run" in call("run", analysis, "--run", tmp_path / "full").stderr


def test_faults_of_the_step_are_told_once_with_the_place(data, tmp_path):
    cases = {
        "nothing": ["the step returned nothing; return a mapping", "good.root entries 0-"],
        "not_cpp": ["does not compile", "steps.py:9", "x >> > 1"],
        "one_name": ["'first' and 'second' are histograms with the same name 'h'"],
        "no_column": ["column 'y' is missing", "other.root"],
    }
    for name, words in cases.items():
        files = [data / "good.root", data / "other.root"] if name == "no_column" else [data / "good.root"]
        analysis = write_analysis(tmp_path / name, files, function=name)
        command = ("run", analysis, "--run", tmp_path / name / "run", "--workers", 1)
        if name == "not_cpp":
            result = portico(*command, folder=tmp_path)
            status, said = result.returncode, result.stderr
        else:
            called = call(*command)
            status, said = called.exit_code, called.stderr
        assert status == 1, (name, said)
        for word in [*words, "step 'fill', sample 'only'"]:
            assert word in said, name
        assert "Traceback" not in said
        assert said.count("error: step") == 1


@pytest.mark.full
def test_damaged_file_fails_or_is_left_out(data, tmp_path):
    analysis = write_analysis(tmp_path / "bad", [data / "good.root", data / "damaged.root", data / "empty.root"])
    command = ("run", analysis, "--run", tmp_path / "run", "--workers", 1)
    result = call(*command)
    assert result.exit_code == 1
    assert "damaged.root entries 0-1666" in result.stderr
    assert "unzip" in result.stderr
    assert "Traceback" not in result.stderr
    shown = call("status", tmp_path / "run")
    assert shown.exit_code == 0
    assert "failed: step 'fill', sample 'only'" in shown.stdout
    assert "1 of 2" in shown.stdout
    result = portico(*command, "--allow-partial", folder=tmp_path)
    assert result.returncode == 3
    assert "partial" in result.stdout
    assert load(tmp_path / "run")["fill"]["only"]["n"] == 5000


def test_empty_sample_gives_empty_results(data, tmp_path):
    analysis = write_analysis(tmp_path / "bad", [data / "empty.root"])
    result = call("run", analysis, "--run", tmp_path / "run", "--workers", 1)
    assert result.exit_code == 0, result.stderr
    results = load(tmp_path / "run")["fill"]["only"]
    assert results["n"] == 0
    assert results["x"].sum() == 0
    assert Path(tmp_path / "run" / "report.html").exists()
