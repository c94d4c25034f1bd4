"""One driver in a run folder, on any machine and file system; who that is, and whether it lives."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from portico.errors import RunFolderError
from portico.monitor.status import read_status
from portico.runfolder import owner
from portico.runfolder.folder import RunFolder
from portico.runfolder.owner import LOCK, Record, hold, read_lock, working
from tests.faulty import as_nobody, failing, run_failing

HOUR = 3600
DRIVER = """
import sys, time
from pathlib import Path
from portico.runfolder.folder import RunFolder
with RunFolder(Path(sys.argv[1])).claim({"analysis": "test"}) as (_, ledger):
    ledger.plan("skim", 0, "frame", {}, others=False)
    print("in", flush=True)
    time.sleep(float(sys.argv[2]))
print("out", flush=True)
"""
CLAIM = """
import sys
from pathlib import Path
from portico.errors import PorticoError
from portico.runfolder.folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
try:
    with folder.claim({"analysis": "test"}) as (_, ledger):
        ledger.set_about({"x": str(int(ledger.about("x") or 0) + 1)})
    ledger = folder.open_ledger()
    print(ledger.about("x"), [row[0] for row in ledger.steps()])
    ledger.close()
except PorticoError as error:
    print(f"{type(error).__name__}: {error}")
"""


def elsewhere(**changes: object) -> Record:
    """Return the record of a driver on another machine."""
    return replace(Record.mine(), host="elsewhere", boot="other", token="other", **changes)  # type: ignore[arg-type]


def leave(folder: Path, record: Record, age: float) -> None:
    """Write the record of a driver whose last sign of life is some time ago."""
    folder.mkdir(exist_ok=True)
    (folder / LOCK).write_text(json.dumps({"driver": asdict(record)}))
    os.utime(folder / LOCK, (time.time() - age, time.time() - age))


def test_a_driver_on_another_machine_is_seen_without_a_lock(tmp_path: Path) -> None:
    leave(tmp_path, elsewhere(process=17), 5)
    words = (
        r"in use by another portico run \(process 17 on elsewhere\); its last sign of life was [45] s ago: if it was"
    )
    with pytest.raises(RunFolderError, match=words), hold(tmp_path):
        pass
    assert working(tmp_path) == "process 17 on elsewhere"
    for age in (HOUR, -HOUR):  # clocks may differ, and files be touched
        leave(tmp_path, elsewhere(process=17), age)
        assert working(tmp_path) == ""
        with hold(tmp_path) as held:
            assert working(tmp_path) == str(held.record)
    assert read_lock(tmp_path).driver is None


@pytest.mark.parametrize("changes", [{"boot": "earlier"}, {"namespace": "pid:[1]"}, {"process": 2**22 + 1}])
def test_dead_drivers_of_this_machine_are_no_hindrance(tmp_path: Path, changes: dict[str, object]) -> None:
    leave(tmp_path, replace(Record.mine(), **changes), 1)  # type: ignore[arg-type]
    with hold(tmp_path):
        pass


def test_a_driver_that_was_overtaken_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that was stopped for so long that another machine takes it for dead."""
    monkeypatch.setattr(owner, "BEAT_SECONDS", 0.05)
    folder = RunFolder(tmp_path / "run")
    with folder.claim({"analysis": "test"}) as (_, ledger):
        ledger.plan("first", 0, "frame", {}, others=False)
        leave(folder.path, elsewhere(process=17), 0)
        time.sleep(0.2)
        with pytest.raises(RunFolderError, match=r"was taken over by another portico run \(process 17 on elsewhere\)"):
            ledger.plan("second", 0, "frame", {}, others=False)
        assert [row[0] for row in ledger.steps()] == ["first"]


def test_signs_of_life_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "BEAT_SECONDS", 0.05)
    with hold(tmp_path):
        os.utime(tmp_path / LOCK, (0, 0))
        until = time.monotonic() + 10
        while (tmp_path / LOCK).stat().st_mtime < 1 and time.monotonic() < until:
            time.sleep(0.01)
        assert abs(time.time() - (tmp_path / LOCK).stat().st_mtime) < 10


def test_a_lock_file_that_was_removed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "BEAT_SECONDS", 0.05)
    with hold(tmp_path) as held:
        (tmp_path / LOCK).unlink()
        until = time.monotonic() + 10
        while read_lock(tmp_path).driver is None and time.monotonic() < until:
            time.sleep(0.01)
        assert read_lock(tmp_path).driver == held.record
        with pytest.raises(RunFolderError, match="in use by another portico run"), hold(tmp_path):
            pass


@pytest.mark.parametrize(
    "text", ["process 1 on elsewhere", "", "\0" * 40, "{", "[]", '{"driver": {}}', '{"ledger": 1}', "\xff"]
)
def test_any_text_in_a_lock_file(tmp_path: Path, text: str) -> None:
    with RunFolder(tmp_path / "run").claim({"analysis": "test"}) as (_, ledger):
        ledger.plan("skim", 0, "frame", {}, others=False)
    (tmp_path / "run" / LOCK).write_text(text)
    assert read_status(tmp_path / "run").driver == ""
    with RunFolder(tmp_path / "run").claim({"analysis": "test"}) as (_, ledger):
        assert [row[0] for row in ledger.steps()] == ["skim"]


def test_something_else_in_place_of_the_lock_file(tmp_path: Path) -> None:
    (tmp_path / LOCK).mkdir()
    with pytest.raises(RunFolderError, match="lock: is not a file; remove what is in its place"), hold(tmp_path):
        pass
    (tmp_path / LOCK).rmdir()
    os.mkfifo(tmp_path / LOCK)
    with pytest.raises(RunFolderError, match="is not a file"), hold(tmp_path):
        pass
    (tmp_path / LOCK).unlink()
    (tmp_path / LOCK).symlink_to(LOCK)
    with pytest.raises(RunFolderError, match="a link leads to itself"), hold(tmp_path):
        pass


def test_a_killed_driver_is_no_hindrance_and_a_stopped_one_is(tmp_path: Path) -> None:
    run = tmp_path / "run"
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(run), "60"], stdout=subprocess.PIPE)
    assert driver.stdout is not None
    driver.stdout.readline()
    driver.send_signal(signal.SIGSTOP)
    who = f"process {driver.pid} on {socket.gethostname()}"
    with pytest.raises(RunFolderError, match=rf"in use by another portico run \({who}\); wait for it"), hold(run):
        pass
    assert read_status(run).driver == who
    driver.kill()
    driver.communicate()
    assert read_status(run).driver == ""
    with hold(run):
        pass


def test_without_locks_the_record_keeps_others_out(tmp_path: Path) -> None:
    """As on NFS without a lock server, where neither flock nor the locks of SQLite can be had."""
    run, rules = tmp_path / "run", "flock:ENOLCK lock:ENOLCK"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(run), "60"], stdout=subprocess.PIPE, env=failing(rules)
    )
    assert driver.stdout is not None
    assert driver.stdout.readline() == b"in\n"
    said = run_failing(rules, CLAIM, run).stdout
    assert said.startswith(f"RunFolderError: {run}: in use by another portico run (process {driver.pid} on"), said
    assert read_status(run).driver == f"process {driver.pid} on {socket.gethostname()}"
    driver.kill()
    driver.communicate()
    assert run_failing(rules, CLAIM, run).stdout == "1 ['skim']\n"
    assert run_failing(rules, CLAIM, run).stdout == "2 ['skim']\n"
    with RunFolder(run).claim({"analysis": "test"}) as (_, ledger):  # the same folder, with locks again
        assert ledger.about("x") == "2"


def test_a_lock_of_another_user(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with RunFolder(run).claim({"analysis": "test"}):
        pass
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    run.chmod(0o777)
    (run / LOCK).chmod(0o600)

    def claim() -> None:
        with RunFolder(run).claim({"analysis": "test"}):
            pass

    said = as_nobody(claim)
    assert said.startswith(f"RunFolderError: {run}/lock: cannot be written: "), said
    assert "it belongs to root (mode 600), this is nobody; ask for access, or choose another folder" in said
