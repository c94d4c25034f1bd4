"""The time line of a run: spans from the ledger, rates, the trace file, the bottleneck."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

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
    assert {e["args"]["name"] for e in events if e["ph"] == "M"} == {"node", "other", "process 1", "w", "all machines"}
    assert {e["name"] for e in events if e["ph"] == "C"} == {"entries/s", "MB/s", "chunks"}
    assert whole[1]["cname"] == "terrible"
    assert list(trace_events([])) == []


def check_trace(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Check a file against the Trace Event Format as Perfetto's importer reads it, and return its slices.

    Every event has a phase and a process; slices have a thread, a name, and integer ``ts`` and ``dur`` in microseconds;
    slices of one thread nest; counters have numbers; names are metadata, before what they name.
    """
    assert content["displayTimeUnit"] in {"ms", "ns"}
    named: set[tuple[str, int]] = set()
    tracks: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for event in content["traceEvents"]:
        assert event["ph"] in {"M", "X", "C"}
        assert isinstance(event["name"], str)
        assert event["name"]
        assert event["pid"] > 0
        if event["ph"] == "M":
            assert event["name"] in {"process_name", "thread_name"}
            assert isinstance(event["args"]["name"], str)
            assert event["args"]["name"]
            named.add((event["name"], event["pid"] if event["name"] == "process_name" else event["tid"]))
            continue
        assert isinstance(event["ts"], int)
        assert event["ts"] >= 0
        assert ("process_name", event["pid"]) in named
        if event["ph"] == "C":
            assert all(isinstance(value, int | float) and math.isfinite(value) for value in event["args"].values())
            continue
        assert isinstance(event["dur"], int)
        assert event["dur"] >= 0
        assert isinstance(event["cat"], str)
        assert ("thread_name", event["tid"]) in named
        assert event["tid"] not in {pid for what, pid in named if what == "process_name"}
        tracks.setdefault((event["pid"], event["tid"]), []).append(event)
    for slices in tracks.values():
        open_until: list[int] = []
        for event in sorted(slices, key=lambda e: (e["ts"], -e["dur"])):
            while open_until and open_until[-1] <= event["ts"]:
                open_until.pop()
            end = event["ts"] + event["dur"]
            assert not open_until or end <= open_until[-1], "slices overlap without nesting"
            open_until.append(end)
    return [event for slices in tracks.values() for event in slices]


seconds = st.floats(0.0, 30.0)
one_span = st.builds(
    lambda place, start, length, phases, outcome: replace(
        SPAN, host=place[0], worker=place[1], started=1.8e9 + start, ended=1.8e9 + start + length, phases=phases,
        outcome=outcome,
    ),
    st.tuples(st.sampled_from(["node", "other", ""]), st.sampled_from(["process 1", "w", "driver"])), seconds, seconds,
    st.tuples(*[seconds] * len(PHASES)), st.sampled_from(["done", "crash"]),
)  # fmt: skip


@given(st.lists(one_span, max_size=12))
def test_trace_is_valid_whatever_clocks_say(of: list[Span]) -> None:
    """Also if chunks of a worker overlap, and phases are longer than their chunk."""
    found = check_trace({"displayTimeUnit": "ms", "traceEvents": list(trace_events(of))})
    assert sum(event["cat"] == "skim" for event in found) == len(of)


def test_command_writes_what_a_viewer_reads(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", {"a": {"m": histogram(1)}})
    answer = CliRunner().invoke(cli, ["trace", str(path)])
    assert answer.exit_code == 0, answer.output
    assert answer.output.strip() == str(path / "trace.json")
    content = json.loads((path / "trace.json").read_text())
    assert content["otherData"] == {"analysis": "test"}
    check_trace(content)
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
    starved = replace(chunks, total=replace(chunks.total, cpu=0.0, phases=replace(chunks.total.phases, build=3.0)))
    assert sum(spent([starved])) == pytest.approx(sum(spent([chunks])))  # without CPU while it compiles: not twice
    assert what_limits([]) == ""
