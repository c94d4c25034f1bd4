"""An executor of another distribution, that of docs/executors.md, installed beside portico."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import portico
from portico.analysis.analysis import Analysis
from portico.errors import ConfigError
from portico.executors.plugins import installed
from portico.executors.where import connect, destinations, job_script
from portico.runfolder.ledger import Ledger
from tests.conftest import REPOSITORY, numbers_of

pytestmark = pytest.mark.integration

PAGE = (REPOSITORY / "docs" / "executors.md").read_text()
CODE = """
from portico import summary


def fill(frame, sample):
    return {"x": frame.Histo1D(("x", "", 20, 0, 10), "x", "w"), "kept": frame.Snapshot("kept", "kept.root", ["x"])}


@summary
def total(results, samples):
    return {"sum": float(results["a"]["x"].values().sum())}
"""
STEPS = """
  - {name: fill, function: "mysteps:fill", chunk: 100 entries}
  - {name: total, function: "mysteps:total", input: fill}
"""


def install(folder: Path, name: str, value: str, code: str) -> None:
    """Install a distribution with one executor, as pip would."""
    module = value.partition(":")[0]
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[portico.executors]\n{name} = {value}\n")


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def serial(folder: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (entry,) = re.findall(r'^(serial) = "(.*)"$', PAGE, re.MULTILINE)
    install(folder, *entry, code)


def executors_in(run: Path) -> dict[str, str]:
    ledger = Ledger(run / "ledger.sqlite", read_only=True)
    try:
        return {name: executor for name, *_, executor in ledger.steps()}
    finally:
        ledger.close()


@pytest.mark.full
def test_an_analysis_runs_on_the_executor_of_the_page(
    make_analysis: Callable[..., Analysis], events: Path, site_packages: Path, tmp_path: Path
) -> None:
    serial(site_packages)
    analysis = make_analysis(CODE, STEPS, f'    a: {{files: "{events}/events[01].root"}}')
    command = [sys.executable, "-c", "from portico.cli import main; main()", "run", str(analysis.path)]
    path = os.pathsep.join([str(site_packages), str(Path(portico.__file__).parents[1])])

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *options], check=False, capture_output=True, text=True, timeout=200, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip

    help_text = " ".join(run("--help").stdout.split())
    assert "serial" in re.findall(r"installed executor, NAME or NAME\+ADDRESS: (.*?)\.", help_text)[0]
    done = run("--on", "serial", "--run", "theirs", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"].endswith("theirs")
    theirs, local = portico.load(tmp_path / "theirs"), portico.run(analysis, folder=tmp_path / "local", workers=1)
    assert numbers_of(theirs, "fill") == numbers_of(local, "fill")
    assert theirs.summary("total") == local.summary("total")
    assert executors_in(theirs.path) == {"fill": "serial", "total": "serial"}
    assert executors_in(local.path) == {"fill": "local", "total": "local"}


@pytest.mark.full
def test_records_name_the_executor_that_was_given(
    make_analysis: Callable[..., Analysis], events: Path, site_packages: Path, tmp_path: Path
) -> None:
    serial(site_packages)
    analysis = make_analysis(CODE, STEPS, f'    a: {{files: "{events}/events0.root"}}')
    executor = connect("serial")
    try:
        run = portico.run(analysis, folder=tmp_path / "run", executor=executor)
    finally:
        executor.close()
    assert executors_in(run.path) == {"fill": "serial", "total": "serial"}


def test_names_of_installed_executors(site_packages: Path) -> None:
    assert "distrdf" in installed()
    serial(site_packages)
    assert "serial" in destinations()
    assert job_script("serial+somewhere") is None
    with pytest.raises(ConfigError, match=r"on 'serail'; did you mean 'serial'\?"):
        connect("serail")
    with pytest.raises(ConfigError, match=r"on 'other\+tcp://host:1'; .*valid: .*serial"):
        connect("other+tcp://host:1")


@pytest.mark.parametrize(("name", "code", "words"), [
    ("broken", "import nothing_of_the_kind", "'broken' of theirs cannot be loaded from theirs:make: No module named"),
    ("broken", "x = 1", "'broken' of theirs cannot be loaded from theirs:make: .*no attribute 'make'"),
    ("broken", "def make(address, workers): return address", "theirs:make makes a str; it must make a portico.exec"),
    ("slurm", "def make(address, workers): ...", "a site 'slurm' and an executor 'slurm' of theirs; rename the site"),
])  # fmt: skip
def test_what_is_wrong_with_an_executor_is_said(site_packages: Path, name: str, code: str, words: str) -> None:
    install(site_packages, name, "theirs:make", code)
    sys.modules.pop("theirs", None)
    with pytest.raises(ConfigError, match=words):
        connect(f"{name}+tcp://host:1")
