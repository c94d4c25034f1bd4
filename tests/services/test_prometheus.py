"""Metrics of a run as Prometheus reads them, and the dashboard's expressions as it computes them."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from portico.monitor.exporter import MetricsExporter
from tests.services.farm.need import free_port, program

pytestmark = pytest.mark.prometheus

CONFIG = """
scrape_configs:
  - job_name: portico
    scrape_interval: 1s
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
CHUNK = {
    "wait": 0.1, "setup": 0.2, "open": 0.1, "build": 0.5, "jit": 0.3, "loop": 2.0, "serialise": 0.1, "wall": 2.7,
    "cpu": 2.5, "bytes_read": 3_000_000, "peak_memory": 500_000_000, "host": "node-1",
    "machine": [[1.0, 50.0, 4e9, 1e6, 2e6]],
}  # fmt: skip
Query = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def exporter() -> Iterator[MetricsExporter]:
    pytest.importorskip("prometheus_client")
    with MetricsExporter(0) as served:
        yield served


@pytest.fixture
def query(exporter: MetricsExporter, tmp_path: Path) -> Iterator[Query]:
    """A function that asks a Prometheus, which reads the exporter once a second."""
    server = program("prometheus", "prometheus")
    config, port = tmp_path / "prometheus.yml", free_port()
    config.write_text(CONFIG.format(port=urllib.parse.urlsplit(exporter.address).port))
    command = [str(server), f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}",
               f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:

        def ask(expression: str) -> list[dict[str, Any]]:
            url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
            with urllib.request.urlopen(url, timeout=10) as answer:
                content = json.load(answer)
            assert content["status"] == "success", content
            found: list[dict[str, Any]] = content["data"]["result"]
            return found

        try:
            yield ask
        finally:
            process.terminate()


def wait_for(query: Query, expression: str, value: float) -> list[dict[str, Any]]:
    """Return the answer once its sum is a value."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with suppress(OSError):  # it has not opened its port yet
            found = query(expression)
            if sum(float(one["value"][1]) for one in found) == value and found:
                return found
        time.sleep(0.5)
    raise AssertionError(f"{expression} did not become {value:g}")


def test_prometheus_reads_a_run(exporter: MetricsExporter, query: Query) -> None:
    exporter.begin("skim", {"a": 4000, "b": 1000}, {"a": 1000}, 3)
    exporter.advance("a", 1000, CHUNK)
    exporter.advance("b", 1000, CHUNK)
    exporter.warn("a file is slow")
    (a, b) = sorted(wait_for(query, "portico_entries_total", 2000), key=lambda one: str(one["metric"]["sample"]))
    assert (a["metric"]["step"], a["metric"]["sample"], b["metric"]["sample"]) == ("skim", "a", "b")
    wait_for(query, 'portico_worker_seconds_total{phase="build"}', pytest.approx(0.4))
    wait_for(query, "portico_network_read_bytes_total", 6_000_000)
    wait_for(query, "portico_workers", 3)
    wait_for(query, "portico_warnings_total", 1)
    wait_for(query, "portico_machine_received_bytes", 1_000_000)
    exporter.advance("a", 2000, {**CHUNK, "machine": [[2.0, 60.0, 4e9, 5e6, 3e6]]})
    wait_for(query, "portico_entries_total", 4000)
    wait_for(query, "portico_machine_cpu_percent", 60)
    panels = json.loads((files("portico.monitor") / "grafana.json").read_text())["panels"]
    time.sleep(2)  # rates need two readings
    assert len(panels) > 8
    for panel in panels:
        (target,) = panel["targets"]
        assert query(target["expr"]), f"{panel['title']} is empty"
    exporter.end("skim", "done", 3.0, 3)
    wait_for(query, "portico_step_running", 0)
