"""Metrics of a run while it goes on, for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

from portico.errors import ConfigError, MissingExtra
from portico.worker.machine import SAMPLE

__all__ = ["MetricsExporter", "Tee"]

_ADDRESS: Final = "127.0.0.1"
_PHASES: Final = ("wait", "setup", "open", "build", "jit", "loop", "serialise")


class MetricsExporter:
    """A reporter that serves what it is told at ``http://127.0.0.1:PORT/metrics``; use it in a ``with`` statement.

    Parameters
    ----------
    port : int
        Of this machine, on which nobody else can read it; 0 for any.

    Raises
    ------
    MissingExtra
        If prometheus_client is not installed.
    ConfigError
        If the port cannot be used.
    """

    def __init__(self, port: int) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
        except ImportError as error:
            raise MissingExtra("monitoring", "serving metrics for Prometheus") from error
        of = ("step", "sample")
        registry = CollectorRegistry()
        known: dict[str, Any] = {"registry": registry}
        self._planned = Gauge("portico_entries_planned", "Entries of a step, with those done before", of, **known)
        self._before = Gauge("portico_entries_done_before", "Of these, done by earlier runs", of, **known)
        self._entries = Counter("portico_entries", "Entries that this run has read", of, **known)
        self._chunks = Counter("portico_chunks", "Chunks that this run has done", of, **known)
        self._seconds = Counter("portico_worker_seconds", "Time of workers by phase", ("step", "phase"), **known)
        self._cpu = Counter("portico_cpu_seconds", "CPU time of chunks", ("step",), **known)
        self._read = Counter("portico_network_read_bytes", "Bytes that chunks read, as ROOT counts them", of, **known)
        self._memory = Gauge("portico_peak_memory_bytes", "Largest resident size of a process", ("host",), **known)
        self._workers = Gauge("portico_workers", "Workers at the beginning of the step", **known)
        self._running = Gauge("portico_step_running", "1 while a step runs", ("step",), **known)
        self._warnings = Counter("portico_warnings", "Warnings of this run", **known)
        machine = ("host",)
        self._of_machine = {
            "cpu": Gauge("portico_machine_cpu_percent", "CPU in use of all cores", machine, **known),
            "memory": Gauge("portico_machine_memory_bytes", "Memory in use", machine, **known),
            "received": Gauge("portico_machine_received_bytes", "Bytes received since boot", machine, **known),
            "sent": Gauge("portico_machine_sent_bytes", "Bytes sent since boot", machine, **known),
        }
        self._latest: dict[str, float] = {}
        try:
            self._server, self._thread = start_http_server(port, addr=_ADDRESS, registry=registry)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"--metrics-port {port}: {error}; give another one, or 0 for any") from error
        self.address = f"http://{_ADDRESS}:{self._server.server_port}/metrics"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def begin(self, step: str, entries: Mapping[str, int], done: Mapping[str, int], workers: int) -> None:
        """Note that a step begins."""
        self._step = step
        self._workers.set(workers)
        self._running.labels(step).set(1)
        for sample, count in entries.items():
            self._planned.labels(step, sample).set(count)
            self._before.labels(step, sample).set(done.get(sample, 0))
            self._entries.labels(step, sample)

    def advance(self, sample: str, entries: int, metrics: Mapping[str, Any]) -> None:
        """Note that a chunk is done."""
        step, host = self._step, str(metrics.get("host", ""))
        self._entries.labels(step, sample).inc(entries)
        self._chunks.labels(step, sample).inc()
        self._read.labels(step, sample).inc(metrics.get("bytes_read", 0))
        self._cpu.labels(step).inc(metrics.get("cpu", 0.0))
        for phase in _PHASES:
            inside = metrics.get("jit", 0.0) if phase == "build" else 0.0
            self._seconds.labels(step, phase).inc(max(metrics.get(phase, 0.0) - inside, 0.0))
        if host:
            peak = self._memory.labels(host)
            peak.set(max(metrics.get("peak_memory", 0), self._latest.get(f"memory {host}", 0)))
            self._latest[f"memory {host}"] = max(metrics.get("peak_memory", 0), self._latest.get(f"memory {host}", 0))
        for sampled in metrics.get("machine", ()):
            values = dict(zip(SAMPLE, sampled, strict=True))
            if values["time"] >= self._latest.get(host, 0.0):
                self._latest[host] = values["time"]
                for name, gauge in self._of_machine.items():
                    gauge.labels(host).set(values[name])

    def note(self, message: str) -> None:
        """Do nothing: it is not a number."""

    def warn(self, message: str) -> None:  # noqa: ARG002 (the reporter's)
        """Count a warning."""
        self._warnings.inc()

    def end(self, step: str, state: str, seconds: float, ran: int) -> None:  # noqa: ARG002 (the reporter's)
        """Note that a step ended."""
        self._running.labels(step).set(0)


class Tee:
    """A reporter that tells others the same.

    Parameters
    ----------
    *reporters
        The others, in order.
    """

    def __init__(self, *reporters: Any) -> None:
        self._reporters = reporters

    def __getattr__(self, name: str) -> Any:
        methods = [getattr(reporter, name) for reporter in self._reporters]

        def tell(*arguments: Any) -> None:
            for method in methods:
                method(*arguments)

        return tell
