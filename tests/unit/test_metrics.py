"""Cost from the ledger, and the display of progress."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from importlib.resources import files
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from rich.console import Console

from portico.analysis.chunks import Chunk
from portico.cli import cli
from portico.errors import ConfigError, RunFolderError
from portico.monitor import units
from portico.monitor.exporter import MetricsExporter, Tee
from portico.monitor.measures import CHUNK, measures, write_tables
from portico.monitor.metrics import run_metrics, step_metrics
from portico.monitor.progress import Progress, _words
from portico.monitor.status import read_status
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Attempt, Ledger, Planned
from portico.worker import machine
from portico.worker.metrics import METRICS, join

MANIFEST = {"analysis": "toy", "file": "/somewhere/analysis.yaml", "portico": "1"}


def planned(sample, position, entries=1000):
    chunk = Chunk(f"/data/{sample}.root", "uuid", "Events", position * entries, (position + 1) * entries)
    return Planned(sample, position, f"{sample}-{position}", chunk)


def ran(key, start, wall, number=1, host="one", **more):
    metrics = {
        "started": start, "ended": start + wall + 0.5, "wait": 0.25, "setup": 0.5, "wall": wall, "cpu": wall / 2,
        "entries": 1000, "bytes_read": 2_000_000, "peak_memory": 5 * 10**8, "host": host, "open": 0.1, "build": 0.2,
        "jit": 0.1, "loop": wall - 0.4, "serialise": 0.1, **more,
    }  # fmt: skip
    return Attempt(key, number, "done", metrics=metrics), b"partial", []


@pytest.fixture
def ledger(tmp_path):
    book = Ledger(tmp_path / "ledger.sqlite")
    book.plan("skim", 0, "frame", {"a": [planned("a", i) for i in range(3)], "b": [planned("b", 0)]}, others=False)
    yield book
    book.close()


def test_sums_and_rates(ledger):
    ledger.commit([ran("a-0", 100.0, 2.0), ran("a-1", 100.0, 4.0, host="two", peak_memory=7 * 10**8)])
    metrics = step_metrics(ledger, "skim")
    assert (metrics.total.chunks, metrics.total.chunks_done) == (4, 2)
    assert (metrics.total.entries, metrics.total.entries_done) == (4000, 2000)
    total = metrics.total
    assert total.busy == pytest.approx(6.0)
    assert total.elapsed == pytest.approx(4.75)  # 99.75 to 104.5
    assert total.rate == pytest.approx(2000 / 4.75)
    assert total.core_rate == pytest.approx(2000 / 6.0)
    assert total.megabytes_per_second == pytest.approx(4 / 4.75)
    assert total.core_megabytes_per_second == pytest.approx(4 / 6.0)
    assert total.cpu_efficiency == pytest.approx(0.5)
    assert total.peak_memory == 7 * 10**8
    assert total.phases.setup == pytest.approx(1.0)
    assert total.phases.wait == pytest.approx(0.5)
    assert total.phases.loop == pytest.approx(5.2)
    assert metrics.hosts == {"one": 1, "two": 1}
    assert metrics.samples["b"].chunks_done == 0
    assert metrics.samples["b"].rate == 0.0


def test_a_pause_between_runs_does_not_count(ledger):
    ledger.commit([ran("a-0", 100.0, 2.0), ran("a-1", 90_000.0, 2.0)])
    assert step_metrics(ledger, "skim").total.elapsed == pytest.approx(2 * 2.75)


def test_halves_of_a_chunk_add_up():
    late, early = (ran("a-0", start, 2.0, worker=name)[0].metrics for start, name in ((100.0, "w1"), (90.0, "w2")))
    both = join(late, {**early, "peak_memory": 7 * 10**8})
    assert (both["started"], both["ended"], both["setup"]) == (90.0, 102.5, 1.0)
    assert (both["wall"], both["entries"], both["peak_memory"], both["worker"]) == (4.0, 2000, 7 * 10**8, "w2")
    assert join({}, late) == late
    assert join(late, {"unheard of": 1}) == late


def test_slowest_chunks_come_first(ledger):
    ledger.commit([ran("a-0", 1.0, 2.0), ran("a-1", 1.0, 9.0, number=3), ran("b-0", 1.0, 5.0)])
    slowest = step_metrics(ledger, "skim").slowest
    assert [(chunk.sample, chunk.position, chunk.seconds) for chunk in slowest] == [
        ("a", 1, 9.0),
        ("b", 0, 5.0),
        ("a", 0, 2.0),
    ]
    assert (slowest[0].chunk, slowest[0].attempt) == ("/data/a.root entries 1000-1999", 3)


def test_faults_are_told_recovered_or_not(ledger):
    lost = Attempt("a-0", 1, "lost", "the worker went away", metrics={"started": 10.0, "ended": 13.0})
    crash = [Attempt("b-0", n, "crash", f"died {n}", metrics={"started": 0.0, "ended": 1.0}) for n in (1, 2, 3)]
    ledger.commit([], [lost, *crash])
    ledger.commit([ran("a-0", 20.0, 2.0, number=2)])
    metrics = step_metrics(ledger, "skim")
    assert [(f.sample, f.kind, f.attempts, f.recovered) for f in metrics.faults] == [
        ("b", "crash", 3, False),
        ("a", "lost", 1, True),
    ]
    assert metrics.lost_seconds == pytest.approx(6.0)
    assert [fault.message for fault in metrics.failed] == ["died 3"]


def test_metrics_are_json_and_unknown_steps_are_refused(ledger):
    ledger.commit([ran("a-0", 1.0, 2.0)])
    content = json.loads(json.dumps([step.to_json() for step in run_metrics(ledger)]))
    assert content[0]["step"] == "skim"
    assert content[0]["samples"]["a"]["cpu_efficiency"] == pytest.approx(0.5)
    with pytest.raises(KeyError, match="no step 'skin'"):
        step_metrics(ledger, "skin")


def test_status_tells_running_from_interrupted(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.claim(MANIFEST) as (_, book):
        book.plan("skim", 0, "frame", {"a": [planned("a", 0)]}, others=False)
        book.set_state("skim", "running", executor="local")
        status = read_status(folder.path)
        assert status.state == "running"
        assert status.driver == f"process {os.getpid()} on {socket.gethostname()}"
    status = read_status(folder.path)
    assert (status.state, status.driver) == ("interrupted", "")
    assert status.to_json()["steps"][0]["state"] == "interrupted"
    with pytest.raises(RunFolderError, match="is not a run folder"):
        read_status(tmp_path)


def test_status_after_a_driver_was_killed_in_a_commit(tmp_path):
    path = tmp_path / "run"
    code = f"""
import os, signal
from pathlib import Path
from portico.runfolder.folder import RunFolder
with RunFolder(Path({str(path)!r})).claim({MANIFEST!r}) as (_, book):
    book.plan("skim", 0, "frame", {{}}, others=False)
    book.set_state("skim", "running")
    book._db.execute("PRAGMA cache_size = 2")
    book._db.execute("BEGIN IMMEDIATE")
    for i in range(5):
        book._db.execute("INSERT INTO done VALUES (?, 1, 0, '[]', ?)", (str(i), os.urandom(10**6)))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert (path / "ledger.sqlite-journal").stat().st_size > 0  # has to be rolled back first
    status = read_status(path)
    assert [(step.step, step.total.chunks_done) for step in status.steps] == [("skim", 0)]
    assert status.state == "interrupted"


def test_measures_have_the_names_that_are_documented(ledger, tmp_path):
    folder = tmp_path / "run"
    with RunFolder(folder).claim(MANIFEST) as (_, book):
        book.plan("skim", 0, "frame", {"a": [planned("a", i) for i in range(2)]}, others=False)
        one = ran("a-0", 100.0, 2.0, machine=[[100.2, 50.0, 1e9, 5, 6], [101.2, 70.0, 1e9, 7, 8]])
        two = ran("a-1", 102.0, 2.0, machine=[[101.7, 71.0, 1e9, 7, 8], [102.7, 90.0, 1e9, 9, 9]])
        book.commit([one, two])
        book.set_state("skim", "done", 10.0, 2, "local")
    found = measures(folder)
    (step,) = found["steps"]
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    table = page.partition("## Tables")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE)
    assert set(step) == {name for row in rows for name in re.findall("`(.+?)`", row)}
    assert step["entries"] == 2000
    assert step["overall_rate"] == pytest.approx(200)  # 2,000 entries in 10 s
    assert step["event_loop_rate"] == pytest.approx(2000 / 4.75)  # from 0.25 s before the first to the last end
    assert step["worker_rate"] == pytest.approx(500)  # 2,000 entries in twice 2 s
    assert step["network_read"] == 4_000_000
    assert step["cpu_efficiency"] == pytest.approx(0.5)
    assert (found["overall_time"], found["entries"], found["schema"]) == (10.0, 2000, 1)
    parquet = pytest.importorskip("pyarrow.parquet")
    chunks, machines = (parquet.read_table(path) for path in write_tables(folder, tmp_path / "out"))
    assert chunks.column_names == list(CHUNK)
    assert set(CHUNK) - {"step", "sample", "position"} == METRICS.keys() - {"machine"}
    assert chunks.column("loop").to_pylist() == pytest.approx([1.6, 1.6])
    assert machines.to_pylist() == [
        {"host": "one", "time": 100.2, "cpu": 50.0, "memory": 1e9, "received": 5, "sent": 6},
        {"host": "one", "time": 101.2, "cpu": 70.0, "memory": 1e9, "received": 7, "sent": 8},
        {"host": "one", "time": 102.7, "cpu": 90.0, "memory": 1e9, "received": 9, "sent": 9},
    ]  # fmt: skip
    assert step_metrics(ledger, "skim").total.chunks == 4


def test_the_command_for_metrics(tmp_path):
    with RunFolder(tmp_path / "run").claim(MANIFEST) as (_, book):
        book.plan("skim", 0, "frame", {"a": [planned("a", 0)]}, others=False)
        book.commit([ran("a-0", 100.0, 2.0)])
        book.set_state("skim", "done", 10.0, 2, "local")

    def call(*arguments):
        return CliRunner().invoke(cli, ["metrics", *map(str, arguments)])

    assert "100 /s" in call(tmp_path / "run").stdout
    assert json.loads(call(tmp_path / "run", "--json").stdout)["steps"][0]["worker_rate"] == 500
    assert call(tmp_path / "run", "-o", tmp_path / "out").exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "metrics.json", "chunks.parquet", "machines.parquet"
    }  # fmt: skip
    assert json.loads(call("--grafana").stdout)["title"] == "Portico"
    assert call().exit_code == 2
    assert call(tmp_path / "none").exit_code == 1


def test_served_metrics_add_up_and_the_dashboard_knows_them():
    parser = pytest.importorskip("prometheus_client.parser")
    chunk = {"loop": 2.0, "build": 0.5, "jit": 0.3, "cpu": 2.5, "bytes_read": 7, "peak_memory": 9, "host": "one",
             "machine": [[1.0, 50.0, 3, 4, 5]]}  # fmt: skip
    with MetricsExporter(0) as exporter, MetricsExporter(0) as other:
        told = Tee(exporter, other)
        told.begin("skim", {"a": 40, "b": 10}, {"a": 20}, 2)
        told.advance("a", 10, chunk)
        told.advance("a", 10, {**chunk, "peak_memory": 3, "machine": [[0.5, 99.0, 3, 4, 5]]})
        told.warn("slow")
        told.note("nothing")
        told.end("skim", "done", 1.0, 2)
        texts = [urllib.request.urlopen(served.address, timeout=10).read().decode() for served in (exporter, other)]
        with pytest.raises(ConfigError, match=r"--metrics-port \d+: .*in use"):
            MetricsExporter(int(exporter.address.split(":")[2].split("/")[0]))
    assert "127.0.0.1" in exporter.address
    one, two = (
        {
            (s.name, *(s.labels[name] for name in ("step", "sample", "phase", "host") if name in s.labels)): s.value
            for family in parser.text_string_to_metric_families(text)
            for s in family.samples
            if not s.name.endswith("_created")
        }
        for text in texts
    )
    assert one == two
    assert one["portico_entries_total", "skim", "a"] == 20
    assert one["portico_entries_total", "skim", "b"] == 0
    assert one["portico_entries_done_before", "skim", "a"] == 20
    assert one["portico_worker_seconds_total", "skim", "build"] == pytest.approx(0.4)
    assert one["portico_peak_memory_bytes", "one"] == 9
    assert one["portico_machine_cpu_percent", "one"] == 50, "an older sample came later"
    assert one["portico_warnings_total",] == 1
    assert one["portico_step_running", "skim"] == 0
    names = {name for name, *_ in one}
    board = json.loads((files("portico.monitor") / "grafana.json").read_text())
    used = {name for panel in board["panels"] for name in re.findall(r"portico_\w+", panel["targets"][0]["expr"])}
    assert used <= names
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    assert names <= set(re.findall(r"portico_\w+", page)), "not documented"


def test_one_process_of_a_machine_takes_samples(monkeypatch):
    monkeypatch.setattr(machine, "_SECOND", 0.02)
    first, second = machine.MachineWatch(), machine.MachineWatch()
    work = f"test {os.getpid()}"
    first.touch(work)
    samples = wait_for_samples(first)
    second.touch(work)  # of the same work: the first one takes them
    time.sleep(0.2)
    assert second.drain() == []
    second.touch(f"{work}, other")
    samples += wait_for_samples(second)
    assert all(len(sample) == len(machine.SAMPLE) for sample in samples)
    when, cpu, memory, received, sent = samples[0]
    assert abs(when - time.time()) < 60
    assert 0 <= cpu <= 100
    assert 0 < memory < psutil.virtual_memory().total
    assert received >= 0
    assert sent >= 0
    monkeypatch.setattr(machine, "_IDLE_SECONDS", 0.0)
    deadline = time.monotonic() + 30
    while any(t.name == "portico machine" for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(t.name == "portico machine" for t in threading.enumerate()), "it does not end"


def wait_for_samples(watched):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if samples := watched.drain():
            return samples
        time.sleep(0.02)
    raise AssertionError("no samples")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def watch(terminal):
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, force_terminal=terminal, width=120, color_system=None, legacy_windows=False)
    return Progress(console, clock), out, clock


def test_progress_without_terminal_is_a_few_lines():
    progress, out, clock = watch(False)
    with progress:
        progress.begin("skim", {"a": 3000, "b": 1000}, {"a": 1000, "b": 0}, 2)
        for clock.now in (4.0, 8.0, 12.0):
            progress.advance("b" if clock.now == 12.0 else "a", 1000)
        progress.warn("a [file] is bad")
        progress.end("skim", "done", 12.5, 3)
    assert out.getvalue().splitlines() == [
        "step skim: 2 samples, 4,000 entries (1,000 done before), 2 workers",
        "step skim: 4,000 / 4,000 entries (100%), 250 /s",
        "warning: a [file] is bad",
        "step skim: done in 12.5 s, 3 chunks, 3,000 entries",
    ]


def test_compiling_is_not_in_the_time_that_is_left():
    """Processes start for 8 s, then two of them do 100 chunks of 0.4 s: 20 s, of which each line tells the rest."""
    progress, out, clock = watch(False)
    progress.begin("skim", {"a": 100_000}, {}, 2)
    for n in range(100):
        clock.now = 8.4 + 0.4 * (n // 2)
        wall = 8.4 if n < 2 else 0.4
        progress.advance("a", 1000, {"wall": wall, "build": wall - 0.4})
        if n < 98:
            (left,) = re.findall(r"(\d+) s left", " ".join(_words(progress._counts["all samples"], clock.now, 2)))
            assert float(left) == pytest.approx(0.4 * (99 - n) / 2, rel=0.2, abs=1)
    assert "s left" in out.getvalue()


def test_kept_entries_are_not_in_the_rate():
    progress, out, clock = watch(False)
    progress.begin("skim", {"a": 1_000_000}, {"a": 900_000}, 1)
    clock.now = 10.0
    progress.advance("a", 50_000)
    assert "950,000 / 1,000,000 entries (95%), 5.0 k/s, 10 s left" in out.getvalue()


def test_a_step_that_is_done_says_so_and_a_summary_is_shown():
    progress, out, _ = watch(False)
    progress.begin("skim", {"a": 10}, {"a": 10}, 1)
    progress.end("skim", "done", 0.1, 0)
    progress.begin("yields", {}, {}, 1)
    progress.end("yields", "done", 1.5, 1)
    assert out.getvalue().splitlines() == [
        "step skim: done before",
        "step yields: summary",
        "step yields: done in 1.50 s",
    ]


def test_bars_in_a_terminal():
    progress, out, clock = watch(True)
    samples = {f"sample{i:02}": 100 for i in range(20)}
    with progress:
        progress.begin("skim", samples, {}, 2)
        clock.now = 1.0
        for name in samples:
            progress.advance(name, 100)
        progress.warn("look here")
        progress.end("skim", "done", 1.0, 20)
    text = out.getvalue()
    assert "2,000 / 2,000 100%" in " ".join(text.split())
    assert "warning: look here" in text
    assert text.rstrip().endswith("step skim: done in 1.00 s, 20 chunks, 2,000 entries")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.size(0), "0 B"),
        (units.size(1500), "1.5 kB"),
        (units.size(999_600), "1.0 MB"),
        (units.size(123_456_789), "123 MB"),
        (units.size(2.5e15), "2500.0 TB"),
        (units.duration(0.4), "0.40 s"),
        (units.duration(59.99), "1 min 00 s"),
        (units.duration(7800), "2 h 10 min"),
        (units.rate(0), "-"),
        (units.rate(3.14), "3.1 /s"),
        (units.rate(12_345), "12.3 k/s"),
        (units.rate(229_200), "229 k/s"),
        (units.rate(2.5e6), "2.50 M/s"),
        (units.share(1, 0), "-"),
        (units.share(1, 1), "100%"),
        (units.share(99_999, 100_000), "99.9%"),
        (units.share(1, 300), "0.3%"),
    ],
)
def test_units(text, expected):
    assert text == expected


def test_a_machine_that_failed_what_others_did_is_sick(ledger):
    """One failed three chunks of four, and has done none; the other lost a worker, and failed one that it did."""
    sick = [Attempt(f"a-{n}", 1, "input", "cannot be opened", metrics={"host": "blind"}) for n in range(3)]
    other = [Attempt("b-0", 1, "crash", "died", metrics={"host": "good"}),
             Attempt("b-0", 2, "lost", "gone", metrics={"host": "good"})]  # fmt: skip
    ledger.commit([], [*sick, *other])
    assert step_metrics(ledger, "skim").failing == {}, "others have not done them yet"
    ledger.commit([ran(f"a-{n}", 20.0, 2.0, number=2, host="good") for n in range(3)])
    ledger.commit([ran("b-0", 20.0, 2.0, number=3, host="good")])
    metrics = step_metrics(ledger, "skim")
    assert metrics.failing == {"blind": 3}
    assert metrics.to_json()["failing"] == {"blind": 3}
