"""The command line without running anything: help, errors, files, previews, new analyses."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
import uproot
import yaml
from click.testing import CliRunner

import portico
from portico.analysis.init_template import create
from portico.cli import cli
from portico.cli.base import Command, Group, write_any_text
from portico.errors import ConfigError, InputError
from tests.made_runs import histogram, make_run


def call(*arguments, **options):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], **options)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Files, good and bad."""
    folder = tmp_path_factory.mktemp("data")
    columns = {"x": np.arange(100, dtype=np.float32), "n": np.arange(100, dtype=np.int32)}
    with uproot.recreate(folder / "good.root") as file:
        file.mktree("Events", {"x": "f4", "n": "i4"}).extend(columns)
        file.mktree("Runs", {"run": "i4"}).extend({"run": np.array([1, 2], dtype=np.int32)})
    with uproot.recreate(folder / "ntuple.root") as file:
        file.mkrntuple("Events", columns)
    with uproot.recreate(folder / "notree.root") as file:
        file["plots/h"] = np.histogram(columns["x"], bins=7)
        file["plane"] = np.histogram2d(columns["x"], columns["n"], bins=(3, 4))
        file["label"] = "words"
    uproot.recreate(folder / "empty.root").close()
    whole = (folder / "good.root").read_bytes()
    (folder / "truncated.root").write_bytes(whole[: len(whole) // 2])
    (folder / "zero.root").touch()
    (folder / "text.root").write_text("not ROOT")
    return folder


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A new analysis, in the working folder."""
    monkeypatch.chdir(tmp_path)
    create("toysearch", Path())
    return tmp_path / "toysearch"


def test_version_is_quick():
    before = os.times()
    out = subprocess.run(
        [sys.executable, "-m", "portico.cli", "--version"], capture_output=True, text=True, check=False
    )
    after = os.times()
    assert (out.returncode, out.stdout) == (0, f"portico {portico.__version__}\n")
    assert after.children_user + after.children_system - before.children_user - before.children_system < 0.5


def test_a_locale_without_umlauts(tmp_path):
    """What is shown is written all the same; a name of a file that cannot be given to the system is named."""
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    write_any_text(written, io.StringIO())
    written.write("35.0 ± 5.9")
    written.flush()
    assert written.buffer.getvalue() == rb"35.0 \xb1 5.9"
    text = "name: a\ndataset: {samples: {s: {files: größe.root}}}\nsteps: [{name: s, function: 'm:f'}]\n"
    (tmp_path / "analysis.yaml").write_text(text, "utf-8")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "portico.cli", "run", str(tmp_path), "--dry-run"]
    out = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **plain})
    assert out.returncode == 2
    assert "cannot be the name of a file here, whose names are in ascii; set PYTHONUTF8=1" in out.stderr


def test_help_loads_nothing_heavy():
    code = "import sys; from portico.cli import cli; cli(['run', '--help'], standalone_mode=False); "
    code += "print([m for m in ('ROOT', 'numpy', 'uproot', 'pydantic', 'rich', 'matplotlib') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "[]"


def commands(group: click.Group = cli, *before: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert isinstance(command, (Command, Group))
        yield (*before, name)
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_shows_examples(words):
    result = call(*words, "--help")
    assert result.exit_code == 0
    assert f"portico {' '.join(words)}" in result.output.partition("Examples:")[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu"], "No such command 'rnu'; did you mean 'run'?"),
        (["session"], "No such command 'session'; in Python and notebooks: portico.session(...)"),
        (["run"], "Missing argument 'ANALYSIS'"),
        (["run", ".", "--workers", "0"], "--workers"),
        (["inspect"], "Missing argument 'FILE...'"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
    ],
)
def test_wrong_usage(arguments, words):
    result = call(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_what_is_no_run_folder_leads_to_one(tmp_path):
    """The folder of an analysis, the folder of run folders, and a name with a mistake."""
    make_run(tmp_path / "runs" / "mysearch", {"a": {"m": histogram(1)}})
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "analysis.yaml").write_text("name: mysearch\n")
    assert "it holds an analysis, whose run folder is runs/mysearch" in call("status", tmp_path / "source").stderr
    assert f"in it are the run folders {tmp_path}/runs/mysearch\n" in call("report", tmp_path / "runs").stderr
    close = f"did you mean '{tmp_path}/runs/mysearch'?"
    for command in (["status"], ["compare", tmp_path / "runs" / "mysearch"]):
        assert close in call(*command, tmp_path / "runs" / "mysaerch").stderr
    assert "no step saved a statistical model" in call("limit", tmp_path / "runs" / "mysearch").stderr


def test_files_and_columns_with_a_mistake_have_a_nearest_one(tmp_path):
    with uproot.recreate(tmp_path / "events.root") as file:
        file["Events"] = {"Muon_pt": np.ones(3), "Muon_eta": np.ones(3), "nJet": np.ones(3)}
    assert f"did you mean '{tmp_path}/events.root'?" in call("inspect", tmp_path / "event.root").stderr
    assert "did you mean 'Muon_*'?" in call("inspect", tmp_path / "events.root", "--columns", "Moun_*").stderr
    (tmp_path / "model.json").write_text("{}")
    assert f"did you mean '{tmp_path}/model.json'?" in call("limit", tmp_path / "modle.json").stderr


def test_errors_are_messages_and_json(tmp_path):
    result = call("status", tmp_path, "--json")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert content["kind"] == "RunFolderError"
    assert "is not a run folder of portico" in content["error"]
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    assert "Traceback" in call("status", tmp_path, "--debug").stderr
    assert "Traceback" in call("status", tmp_path, env={"PORTICO_DEBUG": "1"}).stderr


def status_of(raised):
    def body():
        raise raised

    command = Command("test", callback=body)
    return CliRunner().invoke(command, [])


@pytest.mark.parametrize(
    ("raised", "status", "words"),
    [
        (ConfigError("wrong key"), 2, "error: wrong key"),
        (InputError("bad file"), 1, "error: bad file"),
        (KeyboardInterrupt(), 130, "the same command continues where it stopped"),
        (ZeroDivisionError("oh\nno"), 1, "error: ZeroDivisionError: oh no\nthis is a bug in portico"),
    ],
)
def test_exit_statuses(raised, status, words):
    result = status_of(raised)
    assert result.exit_code == status
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_inspect_shows_trees_and_columns(data):
    result = call("inspect", data / "good.root", data / "ntuple.root")
    assert result.exit_code == 0, result.stderr
    for words in (
        "Events (TTree): 100 entries",
        "Runs (TTree): 2 entries",
        "Events (RNTuple): 100 entries",
        "float",
        "total",
    ):
        assert words in result.stdout
    only = call("inspect", data / "good.root", "--tree", "Runs").stdout
    assert "Runs" in only
    assert "Events" not in only


def test_inspect_json(data):
    content = json.loads(call("inspect", data / "ntuple.root", "--json").stdout)
    tree = content["files"][0]["trees"][0]
    assert (tree["tree"], tree["format"], tree["entries"], tree["clusters"]) == ("Events", "RNTuple", 100, 1)
    assert {column["name"] for column in tree["columns"]} == {"x", "n"}
    assert tree["size"] == sum(column["size"] for column in tree["columns"]) > 0


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("nothere.root", "no such file"),
        ("", "is a folder, not a file"),
        ("zero.root", "is empty (0 bytes)"),
        ("text.root", "not a ROOT file"),
        ("truncated.root", "truncated"),
        ("empty.root", "holds no tree"),
    ],
)
def test_inspect_says_what_is_wrong(data, file, words):
    result = call("inspect", data / "good.root", data / file)
    assert result.exit_code == 1
    assert words in result.stderr
    assert str(data / file) in result.stderr
    assert "Events (TTree)" in result.stdout  # the good file is shown all the same
    assert json.loads(call("inspect", data / file, "--json").stdout)["kind"] == "InputError"


def test_inspect_chooses_columns(data):
    shown = call("inspect", data / "good.root", "--columns", "r?n").stdout
    assert ("Runs (TTree)" in shown, "Events" in shown) == (True, False)
    tree = json.loads(call("inspect", data / "good.root", "--columns", "n", "--columns", "y*", "--json").stdout)
    assert [[c["name"] for c in t["columns"]] for t in tree["files"][0]["trees"]] == [["n"]]
    wrong = call("inspect", data / "good.root", "--columns", "Run")
    assert wrong.exit_code == 1
    assert "no column or histogram like 'Run'; did you mean 'run'? valid: n, run, x" in wrong.stderr


def test_inspect_lists_histograms(data):
    result = call("inspect", data / "notree.root")
    assert result.exit_code == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["plots/h", "TH1D", "7", "100"] in rows
    assert ["plane", "TH2D", "3", "x", "4", "100"] in rows
    assert ["label", "TObjString"] in rows
    (file,) = json.loads(call("inspect", data / "notree.root", "--columns", "pl*/*", "--json").stdout)["files"]
    assert file["objects"] == [{"name": "plots/h", "kind": "TH1D", "bins": [7], "entries": 100.0}]


def test_inspect_names_the_trees_that_are_there(data):
    result = call("inspect", data / "good.root", "--tree", "Evnts")
    assert result.exit_code == 1
    assert "no tree 'Evnts'; did you mean 'Events'? valid: Events, Runs" in result.stderr


def test_init_makes_an_analysis_that_loads(toy):
    analysis = portico.load_analysis(toy)
    assert analysis.name == "toysearch"
    assert [step.name for step in analysis.steps] == ["events", "histograms", "yields"]
    assert {sample.kind for sample in analysis.dataset.samples.values()} == {"signal", "background"}
    assert not any("@" + "NAME" in path.read_text() for path in toy.rglob("*") if path.is_file())
    assert not list(toy.rglob("*.in"))


def test_init_never_overwrites(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("init", "one").exit_code == 0
    (tmp_path / "one" / "analysis.yaml").write_text("mine")
    result = call("init", "one")
    assert result.exit_code == 2
    assert "exists already and is not overwritten" in result.stderr
    assert (tmp_path / "one" / "analysis.yaml").read_text() == "mine"


@pytest.mark.parametrize("name", ["My", "a-b", "../a", "a/b", "1a", "", "select", "class", "portico", "a" * 65, "ä"])
def test_init_refuses_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    result = call("init", "--", name)
    assert result.exit_code == 2
    assert "choose another name" in result.stderr or "cannot name an analysis" in result.stderr
    assert not list(tmp_path.iterdir())


def test_dry_run_starts_nothing(toy):
    result = call("run", toy, "--dry-run")
    assert result.exit_code == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["events", "background", "4", "100,000", "0", "4"] in lines
    assert ["histograms", "signal", "after", "events"] in lines
    assert ["yields", "all", "after", "histograms"] in lines
    assert "5 chunks would run in runs/toysearch" in result.stdout
    assert not Path("runs").exists()
    content = json.loads(call("run", toy, "--dry-run", "--json", "--step", "events", "--sample", "signal").stdout)
    assert [(row["step"], row["sample"], row["chunks"]) for row in content["plan"]] == [("events", "signal", 1)]


def test_wrong_names_on_the_command_line(toy):
    for arguments, words in [
        (["--step", "evnets"], "no step 'evnets'; did you mean 'events'?"),
        (["--sample", "sgnal"], "no sample 'sgnal'; did you mean 'signal'?"),
        (["--on", "dsak"], "cannot run on 'dsak'; did you mean 'dask'?"),
    ]:
        result = call("run", toy, *arguments)
        assert result.exit_code == 2
        assert words in result.stderr


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("analysis.yaml", {"stpes": []}, "unknown key 'stpes'; did you mean 'steps'?"),
        (
            "analysis.yaml",
            {"steps": [{"name": "a", "function": "events:events", "chunk": "lots"}]},
            "chunk size 'lots'",
        ),
        ("analysis.yaml", {"steps": [{"name": "a", "function": "nowhere:a"}]}, "no module 'nowhere'"),
        ("analysis.yaml", {"steps": [{"name": "a", "function": "events:evnts"}]}, "did you mean 'events'?"),
        (
            "analysis.yaml",
            {"steps": [{"name": "a", "function": "events:events", "options": {"sed": 1}}]},
            "no option 'sed'",
        ),
        (
            "analysis.yaml",
            {"steps": [{"name": "a", "function": "events:events", "input": "b"}]},
            "input 'b' is not an earlier step",
        ),
        ("datasets.yaml", {"luminosity": "much"}, "key 'luminosity'"),
        ("datasets.yaml", {"samples": {"s": {"entries": -1}}}, "key 'entries'"),
        ("datasets.yaml", {"samples": {"s": {"entries": 1, "cross_section": float("inf")}}}, "key 'cross_section'"),
        ("datasets.yaml", {"samples": {"s": {}}}, "give either 'files' or"),
    ],
)
def test_wrong_configuration(toy, file, change, words):
    content = yaml.safe_load((toy / file).read_text())
    (toy / file).write_text(yaml.safe_dump({**content, **change}))
    result = call("run", toy)
    assert result.exit_code == 2
    assert words in result.stderr
    assert str(toy) in result.stderr
    assert "Traceback" not in result.stderr
    checked = call("run", toy, "--dry-run")  # lists what is wrong with steps; a file that is not an analysis has none
    assert checked.exit_code in {1, 2}
    assert words in checked.output
    assert str(toy) in checked.output


def test_not_yaml_and_no_analysis(toy):
    (toy / "analysis.yaml").write_text("name: [")
    assert "not valid YAML" in call("run", toy).stderr
    shutil.rmtree(toy)
    result = call("run", toy)
    assert result.exit_code == 2
    assert "portico init NAME" in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell):
    result = call("completion", shell)
    assert result.exit_code == 0
    assert "_PORTICO_COMPLETE" in result.stdout


def completions(*words):
    """Return what bash is offered for the last word."""
    environment = {
        "_PORTICO_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["portico", *map(str, words)]),
        "COMP_CWORD": str(len(words)),
    }
    return CliRunner().invoke(cli, [], env=environment, prog_name="portico").stdout.splitlines()


def test_completion_of_steps_and_samples(toy):
    for option, expected in [("--step", "histograms"), ("--sample", "background")]:
        assert f"plain,{expected}" in completions("run", toy, option, "")


def test_completion_of_analyses(toy):
    (toy.parent / "toys").mkdir()  # is none
    for command in ("run", "doctor"):
        assert completions(command, "toy") == ["plain,toysearch"]
        assert completions(command, f"{toy.parent}/to") == [f"plain,{toy}"]
    assert completions("run", "tow") == ["file,tow"]


def test_an_analysis_that_is_not_there_has_a_neighbour(toy):
    result = call("run", "toysaerch")
    assert result.exit_code == 2
    assert "no such file or folder; did you mean 'toysearch'? give an analysis.yaml" in result.stderr
