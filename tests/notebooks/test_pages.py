"""The Python of the pages, executed over real runs, and the commands of the first ten minutes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from click.testing import CliRunner

import portico
from portico.cli import cli
from tests.pages import DOCS, PAGES, REPOSITORY, blocks, commands
from tests.unit.test_exports import templates

pytestmark = pytest.mark.integration

EXECUTED = [page for page in PAGES if any(block.language == "python" and not block.why for block in blocks(page))]
REAL = ("README.md", "run-folder.md")
"""They read the run of examples/dimuon, which needs real data."""


def call(command: str) -> str:
    """Run a command of portico as the shell would."""
    program, *arguments = shlex.split(command)
    assert program == "portico"
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, f"{command}: {done.output}"
    return done.output


def write_muons(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with uproot.recreate(path) as file:
        columns = {"nMuon": np.array([2, 1], np.int32), "met": np.array([30.0, 7.0], np.float32)}
        file.mktree("Events", {name: column.dtype for name, column in columns.items()}).extend(columns)


def write_workspace(folder: Path) -> None:
    """Write a workspace without its signal, and the patch that adds it."""
    norm = {"name": "norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
    mu = {"name": "mu", "type": "normfactor", "data": None}
    signal = {"name": "signal", "data": [12.0, 4.0], "modifiers": [mu]}
    patch = [{"op": "add", "path": "/channels/0/samples/0", "value": signal}]
    (folder / "signal.json").write_text(json.dumps(patch))
    workspace = {
        "channels": [{"name": "c", "samples": [{"name": "background", "data": [50.0, 60.0], "modifiers": [norm]}]}],
        "observations": [{"name": "c", "data": [52.0, 58.0]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }
    (folder / "background.json").write_text(json.dumps(workspace))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, chain: portico.Run) -> Path:
    """A folder with what the pages read: runs, models, events; made by the commands of the first ten minutes."""
    folder = tmp_path_factory.mktemp("pages")
    before = Path.cwd()
    os.chdir(folder)
    try:
        _first_steps()
        for name in ("original", "port"):
            (folder / "runs" / name).symlink_to("mysearch")
        (folder / "runs" / "hnl").symlink_to(chain.path)
        (folder / "model.json").write_text(templates().model_dump_json())
        write_workspace(folder)
        made = sorted((chain.path / "simulate" / "signal_m1p0_ctau100").glob("*.root"))
        shutil.copy(made[0], folder / "events.root")
        (folder / "signal" / "run" / "simulate").mkdir(parents=True)
        (folder / "signal" / "run" / "simulate" / "signal").symlink_to(made[0].parent)
    finally:
        os.chdir(before)
    return folder


def _first_steps() -> None:
    """Do what docs/first-steps.md says, in the current folder."""
    write_muons(Path("data/muons.root"))
    changed = False
    for command in commands(DOCS / "first-steps.md"):
        if "--dry-run" in command and not changed:
            path = Path("mysearch/analysis.yaml")
            text = path.read_text()
            assert "min_pt: 20.0" in text
            path.write_text(text.replace("min_pt: 20.0", "min_pt: 25.0"))
            changed = True
        said = call(command)
        if command.startswith("portico compare"):
            assert said.startswith("equal")
    assert changed
    assert Path("runs/mysearch/report.html").exists()


@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_python_of_the_page_runs(
    page: Path, place: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    if page.name in REAL and not (place / "runs" / "dimuon").exists():
        monkeypatch.setenv("PORTICO_REAL_DATA", str(request.getfixturevalue("real_data")))
        call(f"portico run {REPOSITORY}/examples/dimuon --run runs/dimuon --sample run2012")
    if page.name == "metrics.md":
        call(next(command for command in commands(page) if "measured" in command).replace("runs/hnl", "runs/mysearch"))
    names: dict[str, Any] = {"__name__": "page", "__file__": str(place / "page.py")}
    for block in blocks(page):
        if block.language == "python" and not block.why:
            # Errors name the line of the page.
            code = compile("\n" * block.line + block.code, str(page), "exec")
            with np.errstate(invalid="ignore"):  # some categories of so few events are empty
                exec(code, names)


def test_what_is_not_executed_says_who_tests_it() -> None:
    left = [block for page in PAGES for block in blocks(page) if block.why]
    executed = sum(block.language == "python" and not block.why for page in PAGES for block in blocks(page))
    assert executed > 2 * len(left)
    for block in left:
        named = [word.strip(";,") for word in block.why.split() if word.startswith(("tests/", "notebooks/"))]
        assert named or block.why == "as above", block.why
        assert all((REPOSITORY / name).exists() for name in named), block.why
