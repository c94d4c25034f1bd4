"""The Dask executor with a lost scheduler, with failed workers, and with several drivers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
from distributed import LocalCluster

import portico
from portico.analysis.analysis import Analysis
from portico.environment.bundle import collect
from portico.environment.credentials import Credentials
from portico.errors import WorkerError
from portico.executors import base
from portico.executors.dask import DaskExecutor
from portico.executors.local import LocalExecutor
from portico.report import write_report
from portico.worker.task import Done, Task
from tests.conftest import Remember, numbers_of
from tests.integration.test_dask import CODE, address, analysis, process, worker

__all__ = ["address", "analysis"]  # fixtures

pytestmark = [pytest.mark.integration, pytest.mark.dask]


@pytest.mark.full
def test_a_lost_scheduler_ends_the_run_which_resumes(analysis: Analysis, local: LocalExecutor, tmp_path: Path) -> None:
    file, remember = tmp_path / "scheduler.json", Remember()
    with process(
        "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)
    ) as scheduler:
        while not file.exists():
            time.sleep(0.05)
        where = json.loads(file.read_text())["address"]
        with process(*worker(where, "only", tmp_path)):
            executor = DaskExecutor(where)
            remember._on_advance = lambda advanced: scheduler.kill() if advanced == 3 else None
            began = time.monotonic()
            try:
                with pytest.raises(WorkerError, match=f"the Dask scheduler at {where} is gone; what is done is kept"):
                    portico.run(analysis, folder=tmp_path / "run", executor=executor, reporter=remember)
                assert time.monotonic() - began < 120
                with pytest.raises(WorkerError, match="is gone"):
                    executor.call({"op": "nothing"}, [])
                with pytest.raises(WorkerError, match="is gone"):
                    executor.send_credentials(Credentials())
            finally:
                executor.close()
    again = Remember()
    run = portico.run(analysis, folder=tmp_path / "run", executor=local, reporter=again)
    assert 0 < again.ran["total"] <= 17  # of 20: what was done is not done again
    quiet = portico.run(analysis, folder=tmp_path / "quiet", executor=local)
    assert numbers_of(run, "total") == numbers_of(quiet, "total")


@pytest.fixture
def executor() -> Iterator[DaskExecutor]:
    made = DaskExecutor(workers=2)
    yield made
    made.close()


def task_of(events: Path, number: int, avoid: tuple[str, ...] = ()) -> Task:
    from portico.analysis.chunks import Chunk

    chunk = Chunk(str(events / "events0.root"), "", "Events", 0, 50)
    return Task(f"key{number}", 1, chunk, "mysteps:total", {"name": "a", "kind": "data"}, {}, "", avoid)


def outcomes_of(executor: DaskExecutor, tasks: list[Task]) -> list[str]:
    for task in tasks:
        executor.submit(task)
    found: list[str] = []
    deadline = time.monotonic() + 120
    while len(found) < len(tasks):
        assert time.monotonic() < deadline
        ended = executor.wait(1)
        assert len(ended) <= executor._portion.count
        for outcome in ended:
            assert isinstance(outcome, Done), outcome
            found.append(str(outcome.metrics["worker"]))
    return found


@pytest.mark.full
def test_workers_that_failed_are_avoided(
    executor: DaskExecutor, events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_BYTES", 1)  # one result at a time
    (tmp_path / "mysteps.py").write_text(CODE)
    (tmp_path / "helper.py").write_text('EXPRESSION = "x"\n')
    executor.prepare(collect("mysteps:total", tmp_path))
    names = sorted(executor.call_all({"op": "nothing"}))
    assert len(names) == 2
    assert outcomes_of(executor, [task_of(events, n, (names[0],)) for n in range(3)]) == [names[1]] * 3
    # All have failed: better one of them than none.
    assert len(outcomes_of(executor, [task_of(events, 9, tuple(names))])) == 1


def test_drivers_share_a_cluster_and_leave_nothing(tmp_path: Path) -> None:
    def plugins(dask_scheduler: object) -> list[str]:
        return sorted(name for name in dask_scheduler.worker_plugins if "portico" in name)  # type: ignore[attr-defined]

    def kept(dask_worker: object) -> tuple[int, int]:
        state = vars(dask_worker)
        return len(state.get("_portico_bundles", ())), len(state.get("_portico_credentials", ()))

    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0", memory_limit=0
    ) as cluster:
        first, second = (DaskExecutor(cluster.scheduler_address) for _ in range(2))
        for number in range(3):
            (tmp_path / "one.py").write_text(f"def s(frame, sample):\n    return {{'n{number}': frame.Count()}}\n")
            first.prepare(collect("one:s", tmp_path))
            second.prepare(collect("one:s", tmp_path))
        first.send_credentials(Credentials({"token": b"first"}))
        time.sleep(1.5)  # what was replaced is forgotten after a second
        assert list(first.client.run(kept).values()) == [(2, 1)]
        first.close()
        time.sleep(1.5)
        assert list(second.client.run(kept).values()) == [(1, 0)]
        left = second.client.run_on_scheduler(plugins)
        second.close()
        assert [name.partition("-Client")[0] for name in left] == ["portico-bundle", "portico-runner"]


def test_the_address_of_a_dashboard_is_told(analysis: Analysis, tmp_path: Path, local: LocalExecutor) -> None:
    """That of a scheduler that has one; where there is none, nothing is said."""
    file = tmp_path / "other.json"
    options = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
    with process("dask_scheduler", *options, "--scheduler-file", str(file)):
        while not file.exists():
            time.sleep(0.05)
        where = json.loads(file.read_text())["address"]
        with closing(DaskExecutor(where)) as executor:
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/status", executor.dashboard)
            session = portico.session(analysis, folder=tmp_path / "session", executor=executor)
            try:
                assert executor.dashboard in repr(session)
                assert f'href="{executor.dashboard}"' in session._repr_html_()
            finally:
                session.close()
    assert local.dashboard == ""
    with closing(DaskExecutor(workers=1)) as own:
        assert own.dashboard == ""


@pytest.mark.full
def test_report_links_that_of_dask(analysis: Analysis, tmp_path: Path) -> None:
    """Or names what its report needs; a run that runs nothing keeps it."""
    with closing(DaskExecutor(workers=1)) as own:
        run = portico.run(analysis, folder=tmp_path / "run", executor=own)
        page, made = write_report(run.path).read_text(), run.path / "executor-report.html"
        if find_spec("bokeh") is None:
            assert not made.exists()
            assert "pip install &#39;portico-hep[dask-report]&#39;" in page
            return
        assert 'href="executor-report.html"' in page
        content = made.read_text()
        assert "Dask Performance Report" in content
        assert re.search(r"number of tasks: [1-9]", content)
        assert not re.search(r'<(script|link)[^>]*(src|href)="http', content), "nothing comes from the network"
        portico.run(analysis, folder=run.path, executor=own)
        assert made.read_text() == content
        assert 'href="run/executor-report.html"' in write_report(run.path, tmp_path / "report.html").read_text()
