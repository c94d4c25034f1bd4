"""Machines and time: nodes without their input, processes that are stopped or leave children behind, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

import portico
from portico.analysis.analysis import Analysis
from portico.errors import WorkerError
from portico.executors import daskscheduler
from portico.executors.dask import DaskExecutor
from portico.executors.local import LocalExecutor
from portico.runfolder.folder import RunFolder
from portico.worker.process import RunnerProcess
from tests.conftest import Remember, numbers_of
from tests.faulty import can_mount
from tests.integration.test_dask import address, process, worker

__all__ = ["address"]  # a fixture

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

TOTAL = """
import time


def total(frame, sample, *, slow=0.0):
    time.sleep(slow)
    return {"n": frame.Count(), "w": frame.Sum("w")}
"""
STEP = '  - {name: total, function: "mysteps:total", chunk: 50 entries}'
MOMENT = 6.0
"""Two seconds for the end after Ctrl-C, and four for a machine that is very busy with other tests."""


def test_an_answer_that_nobody_waits_for_is_not_that_to_the_next_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a notebook, while a summary or a list of points is made, and another run with the same executor."""
    executor = LocalExecutor(1)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        assert "'zeroth'" in executor.call({"op": "zeroth"}, [])[0]["message"]
        with monkeypatch.context() as patch:
            patch.setattr(RunnerProcess, "_next_answer", interrupted)
            with pytest.raises(KeyboardInterrupt):
                executor.call({"op": "first"}, [])
        assert "'second'" in executor.call({"op": "second"}, [])[0]["message"]
    finally:
        executor.close()


def test_a_process_that_dies_while_its_child_lives_is_replaced(
    make_analysis: Callable[..., Analysis], events: Path, tmp_path: Path
) -> None:
    """The step forks; its child keeps all pipes of the process open."""
    code = f"""
import os
import time
from pathlib import Path


def forks(frame, sample):
    once = Path("{tmp_path}/once")
    if not once.exists():
        once.touch()
        if os.fork() == 0:
            Path("{tmp_path}/child").write_text(str(os.getpid()))
            time.sleep(600)
            os._exit(0)
        time.sleep(0.5)
        os.kill(os.getpid(), 9)
    return {{"n": frame.Count()}}
"""
    files = f'    a: {{files: "{events}/events0.root"}}'
    analysis = make_analysis(code, '  - {name: forks, function: "mysteps:forks", chunk: 250 entries}', files)
    reporter, executor = Remember(), LocalExecutor(1)
    try:
        run = portico.run(analysis, folder=tmp_path / "run", executor=executor, reporter=reporter)
    finally:
        executor.close()
    assert run["forks"]["a"]["n"] == 250
    assert any("was killed by SIGKILL; trying again" in warning for warning in reporter.warnings)
    with suppress(psutil.NoSuchProcess):  # until its memory is free, the system still knows it
        psutil.Process(int((tmp_path / "child").read_text())).wait(30)


@pytest.mark.full
def test_a_chunk_of_a_stopped_process_has_a_time_limit(
    make_analysis: Callable[..., Analysis], events: Path, tmp_path: Path
) -> None:
    files = f'    a: {{files: "{events}/events0.root"}}'
    analysis = make_analysis(TOTAL, STEP, files)
    executor = LocalExecutor(1)

    def stop(advanced: int) -> None:
        process = executor._runners[0]._process
        if advanced == 2 and process is not None:
            os.kill(process.pid, signal.SIGSTOP)

    reporter = Remember(stop)
    try:
        run = portico.run(analysis, folder=tmp_path / "run", executor=executor, reporter=reporter, chunk_timeout=45)
    finally:
        executor.close()
    assert run["total"]["a"]["n"] == 250
    assert any("took longer than the 45 s that a chunk may take; trying" in warning for warning in reporter.warnings)


def test_what_a_stopped_process_is_waited_for_is_told(events: Path) -> None:
    from portico.analysis.chunks import Chunk
    from portico.worker.task import Task

    executor = LocalExecutor(1)
    try:
        executor.submit(Task("k", 1, Chunk(f"{events}/events0.root", "", "Events", 0, 9), "m:f", {"name": "a"}, {}, ""))
        assert executor.problems() == []
        runner = executor._runners[0]._process
        assert runner is not None
        os.kill(runner.pid, signal.SIGSTOP)
        until = time.monotonic() + 10
        while not (told := executor.problems()):
            assert time.monotonic() < until
        assert f"is stopped; let it go on with: kill -CONT {runner.pid}" in told[0]
    finally:
        executor.close()


DRIVER = """
import sys
from portico.cli import main
sys.argv[0] = "portico"
main()
"""


@contextmanager
def driver(analysis: Analysis, run: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", DRIVER, "run", str(analysis.folder), "--run", str(run), *options]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def wait_until_something_is_done(run: Path, driver: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert driver.poll() is None, driver.communicate()
        with suppress(Exception):
            ledger = RunFolder(run).open_ledger()
            done = ledger.done("total")
            ledger.close()
            if done:
                return
        time.sleep(0.1)
    raise AssertionError("no chunk was done")


def interrupted(driver: subprocess.Popen[str]) -> tuple[float, str]:
    """Press Ctrl-C once; return the seconds to the end, and what was said."""
    began = time.monotonic()
    driver.send_signal(signal.SIGINT)
    _, said = driver.communicate(timeout=60)
    assert driver.returncode == 130, said
    assert "what is done is kept, the same command continues where it stopped" in said
    assert "Traceback" not in said
    return time.monotonic() - began, said


@pytest.fixture
def slow(make_analysis: Callable[..., Analysis], events: Path) -> Analysis:
    """Twenty chunks of half a second."""
    step = '  - {name: total, function: "mysteps:total", chunk: 50 entries, options: {slow: 0.5}}'
    return make_analysis(TOTAL, step, f'    a: {{files: "{events}/events*.root"}}')


@pytest.mark.parametrize("on", ["local", pytest.param("dask", marks=[pytest.mark.dask, pytest.mark.full])])
@pytest.mark.parametrize("stopped", [pytest.param(False, marks=pytest.mark.full), True])
def test_ctrl_c_ends_a_run_within_two_seconds(slow: Analysis, tmp_path: Path, on: str, stopped: bool) -> None:
    """Also if the processes that run chunks are stopped; none of them is left."""
    run = tmp_path / "run"
    with driver(slow, run, "--on", on, "--workers", "2") as portico_run:
        wait_until_something_is_done(run, portico_run)
        runners = [p for p in psutil.Process(portico_run.pid).children() if "portico.worker.runner" in p.cmdline()]
        for runner in runners if stopped else ():
            runner.suspend()
        seconds, _ = interrupted(portico_run)
        assert seconds < MOMENT
        psutil.wait_procs(runners, timeout=10)
        assert not any(runner.is_running() for runner in runners)


@contextmanager
def suspended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@contextmanager
def alone(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A scheduler in a process of its own."""
    file = folder / "scheduler.json"
    with process(
        "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)
    ) as scheduler:
        wait_until(file.exists)
        yield json.loads(file.read_text())["address"], scheduler


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """A scheduler and a worker in processes of their own."""
    with alone(folder) as (where, scheduler), process(*worker(where, "only", folder)) as only:
        yield where, scheduler, only


@pytest.mark.full
@pytest.mark.dask
@pytest.mark.parametrize("which", ["scheduler", "worker"])
def test_ctrl_c_needs_neither_scheduler_nor_worker(slow: Analysis, tmp_path: Path, which: str) -> None:
    run = tmp_path / "run"
    with cluster(tmp_path) as (where, scheduler, only), driver(slow, run, "--on", where) as portico_run:
        wait_until_something_is_done(run, portico_run)
        with suspended(scheduler if which == "scheduler" else only):
            time.sleep(3)
            seconds, _ = interrupted(portico_run)
            assert seconds < MOMENT


@pytest.mark.dask
def test_a_stopped_scheduler_is_noticed_and_nobody_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a worker; with shorter limits than usual."""
    for name, seconds in (("SILENT_SECONDS", 6.0), ("_ANSWER", 1.0), ("_QUIET", 1.0), ("_LEAVE", 1.0)):
        monkeypatch.setattr(daskscheduler, name, seconds)
    with alone(tmp_path) as (where, scheduler):
        executor = DaskExecutor(where)
        try:
            assert executor.workers == 0
            assert executor.problems() == []
            with suspended(scheduler):
                wait_until(lambda: executor.problems() != [])
                assert f"the Dask scheduler at {where} has not answered for" in executor.problems()[0]
                assert executor.workers == 0, "as last known"
                assert executor.wait(0.1) == []
            wait_until(lambda: executor.problems() == [])
            scheduler.send_signal(signal.SIGSTOP)
            with pytest.raises(WorkerError, match=r"has not answered for .* s; it may be stopped"):
                wait_until(lambda: bool(executor.wait(0.1)))
        finally:
            began = time.monotonic()
            executor.close()
            assert time.monotonic() - began < 10


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.full
@pytest.mark.dask
def test_a_stopped_scheduler_is_told_and_ends_the_run_which_resumes(
    slow: Analysis, local: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With shorter limits than usual."""
    monkeypatch.setattr(daskscheduler, "SILENT_SECONDS", 4.0)
    monkeypatch.setattr(daskscheduler, "_ANSWER", 1.0)
    monkeypatch.setattr(daskscheduler, "_QUIET", 1.0)
    with cluster(tmp_path) as (where, scheduler, _), ExitStack() as stack:
        remember = Remember(lambda advanced: stack.enter_context(suspended(scheduler)) if advanced == 3 else None)
        executor = DaskExecutor(where)
        try:
            words = f"the Dask scheduler at {where} has not answered for .* s; it may be stopped.*; what is done"
            with pytest.raises(WorkerError, match=words):
                portico.run(slow, folder=tmp_path / "run", executor=executor, reporter=remember)
            assert "has not answered for" in executor.problems()[0]
        finally:
            began = time.monotonic()
            executor.close()
            assert time.monotonic() - began < 20
    again = Remember()
    portico.run(slow, folder=tmp_path / "run", executor=local, reporter=again)
    assert 0 < again.ran["total"] <= 17


def separate(command: list[str], host: str, hidden: Path | None) -> subprocess.Popen[bytes]:
    """Start a command on a machine of another name, perhaps one on which a folder is not mounted."""
    hide = f"mount -t tmpfs none '{hidden}' && " if hidden is not None else ""
    script = f'mount --make-rprivate / && {hide}hostname {host} && exec "$@"'
    return subprocess.Popen(
        ["unshare", "--uts", "--mount", "sh", "-c", script, "sh", *command],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.full
@pytest.mark.dask
def test_a_machine_without_the_input_is_named_and_costs_nothing(
    make_analysis: Callable[..., Analysis], local: LocalExecutor, events: Path, address: str, tmp_path: Path
) -> None:
    """Two workers on a blind machine, which is faster than all others, and one on a good one; real name spaces."""
    if os.geteuid() != 0 or not can_mount():
        pytest.skip("name spaces of machines and mounts need root")
    step = '  - {name: total, function: "mysteps:total", chunk: 10 entries}'
    analysis = make_analysis(TOTAL, step, f'    a: {{files: "{events}/events*.root"}}')
    quiet = portico.run(analysis, folder=tmp_path / "quiet", executor=local)
    reporter, executor = Remember(), DaskExecutor(address)
    with ExitStack() as stack:
        stack.callback(executor.close)
        for name, host, hidden in (("b1", "blind", events), ("b2", "blind", events), ("g", "good", None)):
            command = [sys.executable, "-m", "distributed.cli.dask_worker", *worker(address, name, tmp_path)[1:]]
            started = separate(command, host, hidden)
            stack.callback(started.wait)
            stack.callback(started.kill)
        executor.client.wait_for_workers(3, timeout=60)
        run = portico.run(analysis, folder=tmp_path / "run", executor=executor, reporter=reporter)
    assert numbers_of(run, "total") == numbers_of(quiet, "total")
    failed = [text for text in reporter.warnings if "tried once more" in text]
    assert 1 <= len(failed) <= 20, "of 100 chunks"
    files = {text.partition(": ")[0].split(" entries ")[0] for text in failed}
    named = [text for text in reporter.warnings if "machine blind fails chunks that others complete" in text]
    assert len(named) <= 1
    assert named or len(files) < 3, "a machine is named that fails three files in a row"
