"""Doors: the ports of each mode, strangers of the same machine, and modules of the current folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import portico
from portico.analysis.analysis import Analysis
from portico.environment.interpreter import isolated
from portico.executors.where import connect
from tests.doors import opened_by

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

COUNTED = """
def counted(frame, sample):
    from fractions import Fraction

    frame = frame.Filter(f"x > {float(Fraction(-1, 2))}")
    return {"n": frame.Count(), "x": frame.Sum("x")}
"""


@pytest.fixture
def analysis(make_analysis: Callable[..., Analysis], events: Path) -> Analysis:
    steps = '  - {name: counted, function: "mysteps:counted", chunk: 250 entries}'
    return make_analysis(COUNTED, steps, f'    a: {{files: ["{events}/events*.root"]}}')


@pytest.mark.dask
@pytest.mark.parametrize(("mode", "ports"), [("local", 0), ("dask", 0), ("distrdf", 5)])
def test_every_port_is_on_loopback_and_needs_a_certificate(mode: str, ports: int) -> None:
    """A scheduler, two nannies and two workers listen where ROOT runs in Dask workers; nothing listens elsewhere."""
    assert [address for address, _ in opened_by(mode, 2)] == ["127.0.0.1"] * ports


MODULES = """
import json
import sys

from portico.executors.where import connect

def path_of_modules():
    import sys

    return sys.path

if __name__ == "__main__":
    executor = connect(sys.argv[1], 1)
    try:
        client = getattr(executor, "_dask", executor).client  # of ROOT's Dask workers
        print(json.dumps([*sys.path, *client.run_on_scheduler(path_of_modules), *client.run(path_of_modules)]))
    finally:
        executor.close()
"""


@pytest.mark.dask
@pytest.mark.parametrize("mode", ["dask", "distrdf"])
@pytest.mark.parametrize("trap", ["link", "open"])
def test_modules_come_from_no_folder_that_another_user_made(mode: str, trap: str, tmp_path: Path) -> None:
    """Dask shares a folder below /tmp among all users, and has it on the path of modules."""
    shared = tmp_path / "tmp"
    (shared / "dask-scratch-space").mkdir(parents=True)
    (shared / "dask-scratch-space" / "abandoned.dirlock").mkdir(mode=0)
    (shared / "elsewhere").mkdir()
    own = shared / f"portico-dask-{os.getuid()}"
    if trap == "link":
        own.symlink_to(shared / "elsewhere")
    else:
        own.mkdir()
    for folder in shared.iterdir():
        folder.chmod(0o777)
    program = tmp_path / "modules.py"
    program.write_text(MODULES)
    said = subprocess.run(
        [sys.executable, program, mode], env={**os.environ, "TMPDIR": str(shared)}, capture_output=True, text=True,
        timeout=200, check=True,
    )  # fmt: skip
    assert said.stderr == ""
    found = {path for path in map(Path, json.loads(said.stdout.splitlines()[-1])) if path.is_relative_to(shared)}
    assert found
    for path in found:
        below = shared / path.relative_to(shared).parts[0]
        assert below.stat().st_mode & 0o077 == 0, path


@pytest.mark.dask
def test_strangers_of_this_machine_run_nothing_as_the_driver() -> None:
    """Another user needs no more than the port to ask; without the keys of this cluster the answer is no."""
    from distributed import Client, Security

    executor: Any = connect("distrdf", 1)
    try:
        address = executor._dask.client.scheduler.address
        assert executor._dask.client.run_on_scheduler(os.getpid) == os.getpid()
        for where, keys in (
            (address.replace("tls://", "tcp://"), None), (address, Security.temporary()),
            (address, Security(require_encryption=True)),
        ):  # fmt: skip
            with pytest.raises((OSError, TypeError)):
                Client(where, security=keys, timeout=2).run_on_scheduler(os.getpid)
        folder = executor._own._folder
        for path in (folder, *folder.glob("keys-*"), *folder.glob("keys-*/*")):
            assert path.stat().st_mode & 0o077 == 0
    finally:
        executor.close()
    assert not folder.exists()


PLANTED = """
#include <stdio.h>
__attribute__((constructor)) static void begin(void) {
    FILE *file = fopen(SEEN, "w");
    if (file) fclose(file);
}
"""


@pytest.mark.parametrize(
    "planted",
    [".rootlogon.py", *(pytest.param(name, marks=pytest.mark.full)
                        for name in ("libHist.so", "libROOTDataFrame.so", "libCling.so", ".rootrc"))],
)  # fmt: skip
def test_root_takes_nothing_from_the_current_folder(
    planted: str, analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ROOT's path of libraries begins with ".", and it looks there for libraries that are in no path, too."""
    folder, seen = tmp_path / "current", tmp_path / "seen"
    folder.mkdir()
    path = folder / planted
    if path.suffix == ".so":
        (tmp_path / "planted.c").write_text(PLANTED)
        command = ["cc", "-shared", "-fPIC", f'-DSEEN="{seen}"', "-o", str(path), str(tmp_path / "planted.c")]
        subprocess.run(command, check=True)
    else:
        path.write_text(f"open({str(seen)!r}, 'w')" if path.suffix == ".py" else "Root.ErrorIgnoreLevel: 6000\n")
    monkeypatch.chdir(folder)
    executor = connect("local", 1)
    try:
        run = portico.run(analysis, folder=tmp_path / "run", executor=executor)
    finally:
        executor.close()
    assert run["counted"]["a"]["n"] == 1000
    assert not seen.exists()
    if planted == ".rootrc":
        code = "from portico import root; print(root.load().gEnv.GetValue('Root.ErrorIgnoreLevel', 1))"
        python, environment = isolated()
        done = subprocess.run([*python, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "1"


def test_runners_leave_a_folder_that_anybody_can_write_to(tmp_path: Path) -> None:
    code = (
        "import os; from portico.worker.loading import leave_unsafe_folder; leave_unsafe_folder(); print(os.getcwd())"
    )
    python, environment = isolated()
    for mode, left in ((0o755, False), (0o1777, True), (0o775, False)):
        tmp_path.chmod(mode)
        done = subprocess.run(
            [*python, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
        )
        assert (done.stdout.strip() == "/") == left


def test_files_of_the_current_folder_do_not_run_in_runners(
    analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by Python's rule for ``-m``, nor by an empty entry of PYTHONPATH, which scripts leave behind."""
    folder, seen = tmp_path / "current", tmp_path / "seen"
    folder.mkdir()
    for name in ("fractions", "json", "numpy", "portico"):
        (folder / f"{name}.py").write_text(f"open({str(seen)!r}, 'w').write('{name}')\nraise SystemExit(1)\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", str(tmp_path)) + "::.")
    executor = connect("local", 1)
    try:
        run = portico.run(analysis, folder=tmp_path / "run", executor=executor)
    finally:
        executor.close()
    assert run["counted"]["a"]["n"] == 1000
    assert not seen.exists()
