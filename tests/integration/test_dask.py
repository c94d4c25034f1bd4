"""A real Dask cluster of processes: workers that join late, workers that die, code that is edited."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

import portico
from portico.analysis.analysis import Analysis
from portico.errors import StepError, WorkerError
from portico.executors.dask import DaskExecutor
from portico.executors.local import LocalExecutor
from portico.runfolder.ledger import Ledger
from portico.worker.metrics import METRICS
from tests.conftest import REPOSITORY, Remember, numbers_of

pytestmark = [pytest.mark.integration, pytest.mark.dask]

CODE = """
import helper


def total(frame, sample, *, slow=0.0):
    import time

    time.sleep(slow)
    return {"total": frame.Define("y", helper.EXPRESSION).Sum("y"), "n": frame.Count()}


def wrong(frame, sample):
    return {"n": frame.Filter("nothing > 1").Count()}
"""


@contextmanager
def process(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    file = tmp_path / "scheduler.json"
    with process(
        "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)
    ):
        deadline = time.monotonic() + 60
        while not file.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield json.loads(file.read_text())["address"]


def worker(address: str, name: str, folder: Path, host: str = "127.0.0.1") -> list[str]:
    return [
        "dask_worker", address, "--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard",
        "--local-directory", str(folder / name), "--host", host,
    ]  # fmt: skip


@pytest.fixture
def analysis(make_analysis: Callable[..., Analysis], events: Path) -> Analysis:
    return make_analysis(
        CODE,
        '  - {name: total, function: "mysteps:total", chunk: 50 entries, options: {slow: 0.1}}',
        f'    a: {{files: ["{events}/events*.root"]}}',
        helper__py='EXPRESSION = "x * w"\n',
    )


@pytest.mark.full
def test_workers_come_late_and_die(analysis: Analysis, address: str, local: LocalExecutor, tmp_path: Path) -> None:
    quiet = portico.run(analysis, folder=tmp_path / "quiet", executor=local)
    with process(*worker(address, "first", tmp_path)) as first, process(*worker(address, "third", tmp_path)):
        late: list[subprocess.Popen[bytes]] = []

        def disturb(advanced: int) -> None:
            if advanced == 2:
                late.append(subprocess.Popen(
                    [sys.executable, "-m", "distributed.cli.dask_worker", *worker(address, "late", tmp_path)[1:]],
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                ))  # fmt: skip
            if advanced == 4:
                os.kill(first.pid, signal.SIGKILL)
            if advanced == 5:
                deadline = time.monotonic() + 60
                while len(executor.client.scheduler_info(n_workers=-1)["workers"]) < 2:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)

        executor = DaskExecutor(address)
        try:
            run = portico.run(analysis, folder=tmp_path / "run", executor=executor, reporter=Remember(disturb))
        finally:
            executor.close()
            for joined in late:
                joined.kill()
                joined.wait()
    assert numbers_of(run, "total") == numbers_of(quiet, "total")
    ledger = Ledger(tmp_path / "run" / "ledger.sqlite", read_only=True)
    metrics = [metrics for _, _, metrics in ledger.metrics("total")]
    ledger.close()
    assert all(some.keys() == METRICS.keys() for some in metrics)
    names = [some["worker"] for some in metrics]
    assert len(names) == 20
    assert {"first", "late", "third"} >= set(names) >= {"late"}


def test_edited_code_and_errors_reach_live_workers(analysis: Analysis, address: str, tmp_path: Path) -> None:
    with process(*worker(address, "only", tmp_path)):
        executor = DaskExecutor(address)
        try:
            before = portico.run(analysis, folder=tmp_path / "run", executor=executor)["total"]["a"]["total"]
            (analysis.folder / "helper.py").write_text('EXPRESSION = "2 * x * w"\n')
            after = portico.run(analysis, folder=tmp_path / "run", executor=executor)["total"]["a"]["total"]
            assert after == pytest.approx(2 * before, rel=1e-12)
            step = analysis.steps[0].model_copy(update={"function": "mysteps:wrong", "options": {}})
            broken = analysis.model_copy(update={"steps": (step,)})
            with pytest.raises(StepError, match=r"sample 'a'.*entries 0-49.*mysteps\.py.*'nothing'"):
                portico.run(broken, folder=tmp_path / "run", executor=executor)
        finally:
            executor.close()


@pytest.mark.full
def test_chunks_go_back_to_the_machine_that_keeps_their_columns(
    analysis: Analysis, address: str, tmp_path: Path
) -> None:
    hosts = {"one": "127.0.0.1", "two": "127.0.0.2"}  # two machines, as far as Dask knows
    with ExitStack() as stack:
        for name, host in hosts.items():
            command, columns = worker(address, name, tmp_path, host), str(tmp_path / f"columns of {name}")
            stack.enter_context(process(*command, PORTICO_COLUMNS=columns))
        executor = stack.enter_context(closing(DaskExecutor(address)))
        while executor.workers < 2:
            time.sleep(0.1)
        found, of_worker = [], []
        for slow in (0.1, 0.101, 0.102):
            changed = analysis.with_options("total", slow=slow)
            run = portico.run(changed, folder=tmp_path / "run", executor=executor, cache=True)
            with closing(Ledger(run.path / "ledger.sqlite", read_only=True)) as ledger:
                metrics = [some for _, _, some in ledger.metrics("total")][-20:]
            found.append(sum(some["columns_found"] for some in metrics))
            of_worker.append(Counter(some["worker"] for some in metrics))
    assert found[0] == 0
    assert all(columns >= 0.9 * 40 for columns in found[1:]), found  # an idle worker may take a chunk of the other
    assert all(len(of) == 2 for of in of_worker)


def test_an_address_that_is_none_is_told_at_once() -> None:
    """The client, which had not begun, would wait a minute for its own end, and print a traceback."""
    command = [sys.executable, "-c", f"from tests.integration.test_dask import *; DaskExecutor({'tcp://a:b:1'!r})"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50, cwd=REPOSITORY)
    assert "WorkerError: no Dask scheduler answers at tcp://a:b:1" in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_scheduler_that_is_not_there_is_told() -> None:
    with pytest.raises(WorkerError, match=r"tcp://127\.0\.0\.1:9"):
        DaskExecutor("tcp://127.0.0.1:9", timeout=1)
