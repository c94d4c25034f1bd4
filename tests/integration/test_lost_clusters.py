"""A run whose Dask cluster loses its scheduler goes on with a new one, from its ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import portico
from portico.analysis.analysis import Analysis
from portico.environment.bundle import Bundle
from portico.environment.credentials import Credentials
from portico.errors import WorkerError
from portico.executors.dask import DaskExecutor
from portico.executors.local import LocalExecutor
from portico.interactive.stopping import Stopping
from tests.conftest import Remember, numbers_of

pytestmark = [pytest.mark.integration, pytest.mark.dask]

CODE = """
def total(frame, sample, *, slow=0.0):
    import time

    time.sleep(slow)
    return {"total": frame.Define("y", "x * w").Sum("y"), "n": frame.Count()}


def again(results, samples):
    return {name: of["n"] for name, of in results.items()}
"""


@pytest.fixture
def analysis(make_analysis: Callable[..., Analysis], events: Path) -> Analysis:
    steps = [
        '  - {name: total, function: "mysteps:total", chunk: 50 entries, options: {slow: 0.05}}',
        '  - {name: again, function: "mysteps:again", input: total}',
    ]
    code = CODE.replace("def again", "@portico.summary\ndef again").replace(
        "\ndef total", "import portico\n\n\ndef total"
    )
    return make_analysis(code, "\n".join(steps), f'    a: {{files: ["{events}/events*.root"]}}')


def end_scheduler(executor: DaskExecutor) -> None:
    """Close the scheduler of the executor's own cluster, and nothing else of it."""
    own: Any = executor._connection._own
    asyncio.run_coroutine_threadsafe(own.scheduler.close(), own.loop.asyncio_loop).result(30)


@pytest.mark.full
def test_a_run_goes_on_when_its_scheduler_is_lost(analysis: Analysis, local: LocalExecutor, tmp_path: Path) -> None:
    quiet = portico.run(analysis, folder=tmp_path / "quiet", executor=local)
    with closing(DaskExecutor(workers=2)) as executor:
        executor.send_credentials(Credentials({"token": b"one"}))
        clusters = []

        def lose(advanced: int) -> None:
            if advanced in {3, 9}:  # twice
                clusters.append(executor._connection)
                end_scheduler(executor)

        remember = Remember(lose)
        run = portico.run(analysis, folder=tmp_path / "run", executor=executor, reporter=remember)
        assert executor._connection not in clusters
        assert len(set(clusters)) == 2
        kept = executor.client.run(lambda dask_worker: len(vars(dask_worker)["_portico_credentials"]))
        assert set(kept.values()) == {1}  # as on the workers of the first cluster
        assert portico.run(analysis, folder=tmp_path / "next", executor=executor).path.exists()
    assert numbers_of(run, "total") == numbers_of(quiet, "total")
    told = [text for text in remember.warnings if "new cluster" in text]
    assert len(told) == 2
    words = "is gone; what is done is kept, and the run continues on a new cluster (1 of at most 3 in a row)"
    assert all(words in text for text in told)  # something was done between the two
    assert numbers_of(run, "again") == numbers_of(quiet, "again")


def test_clusters_that_are_lost_before_a_chunk_is_done_are_not_started_for_ever(
    analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = DaskExecutor.prepare

    def lose(self: DaskExecutor, bundle: Bundle) -> None:
        prepare(self, bundle)
        end_scheduler(self)

    monkeypatch.setattr(DaskExecutor, "prepare", lose)
    remember = Remember()
    with (
        closing(DaskExecutor(workers=1)) as executor,
        pytest.raises(WorkerError, match="is gone; what is done is kept"),
    ):
        portico.run(analysis, folder=tmp_path / "run", executor=executor, reporter=remember)
    told = [text for text in remember.warnings if "new cluster" in text]
    assert ["(1 of" in told[0], "(2 of" in told[1], "(3 of" in told[2]] == [True] * 3
    assert "3 new clusters in a row were lost before a chunk was done; no other one is started" in told[3]


@pytest.mark.full
def test_a_session_goes_on_too(analysis: Analysis, tmp_path: Path) -> None:
    with closing(DaskExecutor(workers=1)) as executor:
        lost = False

        def lose(advanced: int) -> None:
            nonlocal lost
            if advanced == 2 and not lost:
                lost = True
                end_scheduler(executor)

        stopping: Any = Stopping(executor)
        run = portico.run(analysis, folder=tmp_path / "run", executor=stopping, reporter=Remember(lose))
        assert lost
        assert stopping._running == 0
        assert run["total"]["a"]["n"] == 1000
