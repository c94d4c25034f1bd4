"""Forecasts of real runs: from the run folder, and from one beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import portico
from portico.analysis.analysis import Analysis
from portico.cli.tables import show_preview
from portico.executors.local import LocalExecutor
from portico.workflow.dry_run import preview

pytestmark = pytest.mark.integration

CODE = """
def total(frame, sample, *, least=0.0):
    return {"total": frame.Filter(f"x > {least}").Sum("x"), "n": frame.Count()}
"""


def test_a_dry_run_tells_what_the_run_needs(
    make_analysis: Callable[..., Analysis], events: Path, local: LocalExecutor, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    step = '  - {name: total, function: "mysteps:total", chunk: 50 entries}'
    analysis = make_analysis(CODE, step, f'    a: {{files: ["{events}/events*.root"]}}')
    first, other = tmp_path / "runs" / "first", tmp_path / "runs" / "other"
    before = preview(analysis, folder=first).expected
    assert before is not None
    assert (before.steps, before.unknown) == ((), ("total",))
    portico.run(analysis, folder=first, executor=local)
    done = preview(analysis, folder=first).expected
    assert done is not None
    assert (done.steps, done.unknown) == ((), ())
    changed = preview(analysis.with_options("total", least=1.0), folder=first)
    assert changed.expected is not None
    assert [one.measured for one in changed.expected.steps] == [str(first)]
    found = preview(analysis, folder=other, workers=3)
    assert found.expected is not None
    (one,) = found.expected.steps
    assert (one.chunks, one.entries, one.measured, one.executor, found.expected.workers) == (
        20,
        1000,
        str(first),
        "local",
        3,
    )
    assert one.cpu_seconds > 0
    assert one.memory > 2**26
    assert one.worker_seconds / 3 <= one.seconds <= one.worker_seconds
    assert json.loads(json.dumps(found.to_json()))["forecast"]["chunks"] == 20
    capsys.readouterr()
    show_preview(found)
    said = " ".join(capsys.readouterr().out.split())
    assert f"{first} on local" in said
    assert "with 3 workers: done at " in said
    assert not other.exists()
