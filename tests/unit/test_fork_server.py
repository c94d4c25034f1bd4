"""Runners that are forked: children like others, whatever becomes of the process that they are forked from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from portico.environment.interpreter import isolated
from portico.worker.child import Child, Inbox, end, has_died, post
from portico.worker.fork_server import ForkServer, _Forked
from portico.worker.process import RunnerProcess


@pytest.fixture
def server() -> Iterator[ForkServer]:
    made = ForkServer()
    yield made
    made.close()


@pytest.fixture
def begin(server: ForkServer, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Start a runner in a folder of its own."""
    begun: list[Child] = []

    def make(**variables: str) -> Child:
        python, environment = isolated(**variables)
        folder = tmp_path / str(len(begun))
        folder.mkdir()
        with (folder / "stderr.log").open("ab") as log:
            begun.append(server.start([*python, "-m", "portico.worker.runner"], folder, log, environment))
        return begun[-1]

    yield make
    for child in begun:
        end(child)


def ask(child: Child) -> dict[str, Any]:
    """Have a runner describe itself."""
    inbox = Inbox(child)
    assert child.stdin is not None
    post(child.stdin, {"op": "probe", "describe": True}, [])
    while (message := inbox.take()) is None:
        pass
    return message[0]


def test_a_runner_is_a_child_that_answers_and_whose_end_is_known(begin: Callable[..., Child], tmp_path: Path) -> None:
    first, second = begin(), begin()
    assert isinstance(first, _Forked)
    for child in (first, second):
        seen = psutil.Process(child.pid)
        assert (seen.ppid(), os.getpgid(child.pid)) == (os.getpid(), child.pid)
    answer = ask(first)
    assert answer["probe"]["describe"]["root"]["version"]
    assert answer["metrics"]["process"] == first.pid
    os.kill(first.pid, signal.SIGSEGV)
    while not has_died(first):
        time.sleep(0.01)
    assert not has_died(second)
    assert first.wait() == -signal.SIGSEGV
    assert end(second) == -signal.SIGKILL
    assert ask(begin())["probe"]


def test_its_surroundings_are_those_of_now(begin: Callable[..., Child], server: ForkServer) -> None:
    def variable(child: Child) -> str | None:
        return psutil.Process(child.pid).environ().get("PORTICO_TEST")

    before, after, again = begin(PORTICO_TEST="1"), begin(PORTICO_TEST="2"), begin(PORTICO_TEST="2")
    assert [variable(child) for child in (before, after, again)] == ["1", "2", "2"]
    assert not has_died(before)


@pytest.mark.parametrize("how", [signal.SIGKILL, "gone"])
def test_without_the_server_runners_are_started(begin: Callable[..., Child], server: ForkServer, how: object) -> None:
    forked = begin()
    assert server._process is not None
    if isinstance(how, signal.Signals):
        os.kill(server._process.pid, how)
        time.sleep(0.2)
    else:
        server.close()
    assert ask(forked)["probe"]
    assert isinstance(begin(), _Forked if how == "gone" else subprocess.Popen)
    assert isinstance(begin(), _Forked)


DRIVER = """
import time

from portico.executors.local import LocalExecutor

executor = LocalExecutor(2)
print(*(runner.call({"op": "probe"}, [])[0]["metrics"]["process"] for runner in executor._runners),
      executor._server._process.pid, flush=True)
time.sleep(60)
"""


def test_nothing_outlives_a_killed_driver() -> None:
    with subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        processes = [psutil.Process(int(pid)) for pid in driver.stdout.readline().split()]
        assert len(processes) == 3
        driver.kill()
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive


def test_a_process_that_dies_is_replaced_by_a_forked_one(server: ForkServer) -> None:
    runner = RunnerProcess(server=server)
    try:
        first = runner.call({"op": "probe"}, [])[0]["metrics"]["process"]
        os.kill(first, signal.SIGKILL)
        while runner.alive:
            time.sleep(0.01)
        second = runner.call({"op": "probe"}, [])[0]["metrics"]["process"]
        assert second != first
        assert isinstance(runner._process, _Forked)
    finally:
        runner.stop()
