"""The time line of a run: spans from the ledger, rates, the trace file, the bottleneck."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from portico.cli import cli
from portico.monitor.bottleneck import spent, what_limits
from portico.monitor.metrics import run_metrics
from portico.monitor.timeline import PHASES, SUMMARY_TIME, Span, flow, lanes, spans
from portico.monitor.trace import trace_events
from portico.report.times import slowest_files, times
from portico.runfolder.folder import RunFolder
from tests.made_runs import HOSTILE, histogram, make_run

SPAN = Span(
    "skim", "data", "/d/a.root", "a.root entries 0-9", 1, "done", "", "node", "process 1", 1000.0, 1010.0, 0.5,
    (1.0, 0.5, 0.5, 1.0, 6.5, 0.5), 100, 2_000_000, 10**8, 9.0,
)  # fmt: skip


def test_spans_are_all_attempts_in_order(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", {"a": {"m": histogram(1)}}, state="failed", failure=HOSTILE, values={"x": 1})
    with RunFolder(path).claim({"analysis": "test"}) as (_, ledger):
        ledger.set_about({f"{SUMMARY_TIME} limits": json.dumps({"started": 1.8e9, "ended": 1.8e9 + 2, "host": "h"})})
        found = spans(ledger)
    assert [(s.step, s.outcome, s.worker) for s in found] == [
        ("histograms", "done", "process 7"), ("histograms", "input", "process 8"), ("limits", "done", "driver"),
    ]  # fmt: skip
    done = found[0]
    assert dict(zip(PHASES, done.phases, strict=True)) == {
        "setup": 0.0, "open": 0.1, "build": pytest.approx(0.2), "jit": 0.7, "loop": 2.0, "serialise": 0.05,
    }  # fmt: skip
    assert (done.entries, done.file, found[1].message) == (50_000, "/data/a.root", HOSTILE)


def test_rates_add_up_to_what_was_read() -> None:
    random = np.random.default_rng(5)
    starts = random.uniform(0, 50, 40)
    many = [
        replace(SPAN, started=1000 + s, ended=1000 + s + random.uniform(0.01, 9), entries=int(7 * s)) for s in starts
    ]
    rates = flow(many, 77)
    assert rates is not None
    width = rates.edges[1] - rates.edges[0]
    assert rates.entries.sum() * width == pytest.approx(sum(s.entries for s in many))
    assert rates.megabytes.sum() * width == pytest.approx(2 * len(many))
    assert rates.running.sum() * width == pytest.approx(sum(s.seconds for s in many))
    one = flow([SPAN], 10)
    assert one is not None
    assert np.allclose(one.entries, 10.0)
    assert flow([replace(SPAN, outcome="crash")]) is None


def test_trace_nests_phases_in_chunks() -> None:
    other = replace(SPAN, host="other", worker="w", started=1003.0, ended=1004.0, outcome="input", phases=(0.0,) * 6)
    events = list(trace_events([SPAN, other]))
    whole = [e for e in events if e["ph"] == "X" and e["cat"] == "skim"]
    phases = [e for e in events if e["ph"] == "X" and e["cat"] == "phase"]
    assert [(e["ts"], e["dur"]) for e in whole] == [(0, 10_000_000), (3_000_000, 1_000_000)]
    assert [e["name"] for e in phases] == list(PHASES)
    assert all(a["ts"] + a["dur"] <= b["ts"] for a, b in pairwise(phases))
    assert phases[-1]["ts"] + phases[-1]["dur"] <= 10_000_000
    assert len({(e["pid"], e["tid"]) for e in whole}) == 2
    assert {e["args"]["name"] for e in events if e["ph"] == "M"} == {"node", "other", "process 1", "w"}
    assert {e["name"] for e in events if e["ph"] == "C"} == {"entries/s", "MB/s", "chunks"}
    assert whole[1]["cname"] == "terrible"
    assert list(trace_events([])) == []


def test_command_writes_what_a_viewer_reads(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", {"a": {"m": histogram(1)}})
    answer = CliRunner().invoke(cli, ["trace", str(path)])
    assert answer.exit_code == 0, answer.output
    assert answer.output.strip() == str(path / "trace.json")
    content = json.loads((path / "trace.json").read_text())
    assert content["otherData"] == {"analysis": "test"}
    assert sum(e["ph"] == "X" and e["cat"] == "histograms" for e in content["traceEvents"]) == 2
    assert CliRunner().invoke(cli, ["trace", str(tmp_path / "none")]).exit_code == 1


def test_pauses_between_runs_are_cut_out() -> None:
    later = replace(SPAN, started=90_000.0, ended=90_010.0)
    drawn = times([SPAN, later])
    assert drawn["pauses"] == 1
    assert [s[2] for s in drawn["spans"]] == [0.0, 11.0]
    assert lanes([SPAN, later]) == [("node", "process 1")]


def test_files_that_took_longest() -> None:
    slow = replace(SPAN, file="/d/b.root", ended=1050.0)
    first, second = slowest_files([SPAN, slow, SPAN])
    assert (first.file, first.seconds, first.rate) == ("/d/b.root", 50.0, 2 / 50)
    assert (second.seconds, second.megabytes) == (20.0, 4.0)


def test_what_limits_a_run_is_what_most_time_went_to(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", {"a": {"m": histogram(1)}}, values={"x": 1})
    ledger = RunFolder(path).open_ledger()
    try:
        steps = run_metrics(ledger)
    finally:
        ledger.close()
    of = spent(steps)
    assert of.serial == 1.0
    assert of.compute == pytest.approx(2 * 3.1 - 2 * 0.9 - 2 * 0.05 - 2 * 0.2)
    assert of.idle == pytest.approx(7.5 * 2 - 6.2)
    assert "workers without a chunk" in what_limits(steps)
    (chunks, summary) = steps
    assert "event loops" in what_limits([replace(chunks, seconds=0.0, workers=1)])
    assert "summary steps" in what_limits([replace(summary, seconds=99.0)])
    waiting = replace(chunks, seconds=0.0, workers=1, total=replace(chunks.total, cpu=0.5))
    assert "waiting for data" in what_limits([waiting])
    assert what_limits([]) == ""
