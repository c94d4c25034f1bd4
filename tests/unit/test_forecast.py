"""Forecasts of runs from the measured rates of earlier ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from portico.clusters.site import Site
from portico.monitor.metrics import Cost, StepMetrics
from portico.workflow.forecast import Place, forecast

MB = 2**20


def cost(chunks: int, entries: int, busy: float, cpu: float, memory: int = 500 * MB) -> Cost:
    return Cost(chunks, entries, chunks, entries, busy / 2, busy, cpu, peak_memory=memory)


def step(name: str, **samples: Cost) -> StepMetrics:
    costs = samples.values()
    total = cost(
        sum(c.chunks for c in costs), sum(c.entries for c in costs), sum(c.busy for c in costs),
        sum(c.cpu for c in costs), max(c.peak_memory for c in costs),
    )  # fmt: skip
    return StepMetrics(name, "frame", "done", "local", 2, 10.0, total, dict(samples), (), {}, {}, (), (), ())


KNOWN = {"fill": step("fill", data=cost(10, 1000, 100.0, 80.0), mc=cost(10, 1000, 300.0, 200.0, 900 * MB))}


def test_each_sample_has_its_own_rate() -> None:
    found = forecast({"fill": {"data": (20, 2000), "mc": (5, 500)}}, [(Path("runs/a"), KNOWN)], Place(5))
    (one,) = found.steps
    assert (one.chunks, one.entries, one.measured, one.executor) == (25, 2500, "runs/a", "local")
    assert one.worker_seconds == pytest.approx(200 + 150)
    assert one.cpu_seconds == pytest.approx(160 + 100)
    assert one.memory == 900 * MB
    assert one.seconds == pytest.approx(70)
    assert found.cpu_hours == pytest.approx(260 / 3600)
    assert found.seconds == one.seconds
    assert found.to_json()["chunks"] == 25


def test_a_new_sample_costs_what_all_do_and_few_chunks_do_not_use_all_workers() -> None:
    (one,) = forecast({"fill": {"new": (2, 100)}}, [(Path("a"), KNOWN)], Place(50)).steps
    assert one.worker_seconds == pytest.approx(100 * 400 / 2000)
    assert one.seconds == pytest.approx(10)  # one chunk


def test_what_an_earlier_step_has_yet_to_write_is_assumed_to_be_as_before() -> None:
    (one,) = forecast({"fill": {"data": None}}, [(Path("a"), KNOWN)], Place(1)).steps
    assert (one.entries, one.chunks, one.assumed) == (1000, 10, True)
    assert not forecast({"fill": {"other": None}}, [(Path("a"), KNOWN)], Place(1)).steps


def test_the_first_run_that_measured_a_step_counts_and_others_are_unknown() -> None:
    empty = {"fill": step("fill", data=Cost(10, 1000))}
    wanted: dict[str, dict[str, tuple[int, int] | None]] = {
        "fill": {"data": (1, 10)},
        "late": {"data": None},
        "done": {"data": (0, 0)},
    }
    found = forecast(wanted, [(Path("new"), empty), (Path("old"), KNOWN)], Place(1))
    assert [one.measured for one in found.steps] == ["old"]
    assert found.unknown == ("late",)


def test_what_does_not_fit_into_a_job_is_told() -> None:
    site = Site(name="farm", kind="slurm", memory="1 GB", walltime="00:01:00", queues={"short": "00:10:00"})
    wanted = {"fill": {"mc": (10, 1000)}}
    found = forecast(wanted, [(Path("a"), KNOWN)], Place.of(site, 2, True, None))
    assert found.queue == "short"
    memory, walltime = found.warnings
    assert "step 'fill' needs 944 MB in one process, but a worker of site 'farm' has 800 MB of its 1 GB" in memory
    assert "a job with 5 chunks takes about 2 min 30 s, longer than the walltime 00:01:00 of site 'farm'" in walltime
    assert "--chunks-per-job" in walltime
    assert len(forecast(wanted, [(Path("a"), KNOWN)], Place.of(site, 2, True, 1)).warnings) == 1
    assert len(forecast(wanted, [(Path("a"), KNOWN)], Place.of(site, 2, False, None)).warnings) == 1
