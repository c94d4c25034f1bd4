"""Measures of a run under the names of studies of distributed ROOT analyses, and its chunks and machines as tables.

The fields are described in ``docs/metrics.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from portico.errors import MissingExtra
from portico.files.atomic import write_atomic
from portico.monitor.metrics import StepMetrics, step_metrics
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Ledger
from portico.worker.machine import SAMPLE
from portico.worker.metrics import METRICS

__all__ = ["CHUNK", "MACHINE", "SCHEMA", "measures", "write_tables"]

SCHEMA: Final = 1
"""Version of the schema: fields may be added, those of a version keep their meaning."""

_OF_MACHINE: Final = "machine"
CHUNK: Final = ("step", "sample", "position", *(name for name in METRICS if name != _OF_MACHINE))
"""Columns of ``chunks.parquet``."""

MACHINE: Final = ("host", *SAMPLE)
"""Columns of ``machines.parquet``."""


def measures(run: Path) -> dict[str, Any]:
    """Return the measures of a run and of its steps, as JSON can hold them.

    Raises
    ------
    RunFolderError
        If ``run`` is not a run folder.
    """
    folder = RunFolder(run)
    manifest = folder.manifest()
    with closing(folder.open_ledger()) as ledger:
        steps = [_of_step(step_metrics(ledger, name)) for name, *_ in ledger.steps()]
    time, loop, entries = (sum(step[key] for step in steps) for key in ("overall_time", "event_loop_time", "entries"))
    return {
        "schema": SCHEMA, "run": str(run), **{key: manifest.get(key, "") for key in ("analysis", "portico", "ROOT")},
        "overall_time": time, "event_loop_time": loop, "entries": entries,
        "network_read": sum(step["network_read"] for step in steps),
        "cpu_time": sum(step["cpu_time"] for step in steps),
        "peak_memory": max((step["peak_memory"] for step in steps), default=0),
        "steps": steps,
    }  # fmt: skip


def _of_step(step: StepMetrics) -> dict[str, Any]:
    total = step.total
    overall = max(step.seconds, total.elapsed)
    return {
        "step": step.step, "kind": step.kind, "state": step.state, "executor": step.executor, "workers": step.workers,
        "overall_time": overall, "event_loop_time": total.elapsed, "worker_time": total.busy,
        "worker_loop_time": total.phases.loop, "jit_time": total.phases.jit, "wait_time": total.phases.wait,
        "lost_time": step.lost_seconds, "chunks": total.chunks_done, "entries": total.entries_done,
        "overall_rate": total.entries_done / overall if overall else 0.0, "event_loop_rate": total.rate,
        "worker_rate": total.core_rate, "network_read": total.bytes_read,
        "network_read_rate": 1e6 * total.megabytes_per_second,
        "worker_network_read_rate": 1e6 * total.core_megabytes_per_second, "cpu_time": total.cpu,
        "cpu_efficiency": total.cpu_efficiency, "peak_memory": total.peak_memory,
    }  # fmt: skip


def write_tables(run: Path, folder: Path) -> list[Path]:
    """Write ``chunks.parquet``, a row for each chunk that is done, and ``machines.parquet``, one a second and machine.

    Raises
    ------
    RunFolderError
        If ``run`` is not a run folder.
    MissingExtra
        If pyarrow is not installed.
    SpaceError
        If the disk is full.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("parquet", "writing Parquet") from error
    folder.mkdir(parents=True, exist_ok=True)
    with closing(RunFolder(run).open_ledger()) as ledger:
        chunks = list(_chunks(ledger))
    machines = sorted(_machines(chunks).values(), key=lambda row: (row["host"], row["time"]))
    paths = []
    for name, columns, rows in (("chunks", CHUNK, chunks), ("machines", MACHINE, machines)):
        path = folder / f"{name}.parquet"
        table = pa.table({column: [row.get(column) for row in rows] for column in columns})
        with write_atomic(path) as aside:
            parquet.write_table(table, aside)
        paths.append(path)
    return paths


def _chunks(ledger: Ledger) -> Iterator[dict[str, Any]]:
    for step, *_ in ledger.steps():
        for sample, position, metrics in ledger.metrics(step):
            yield {"step": step, "sample": sample, "position": position, **metrics}


def _machines(chunks: Iterable[dict[str, Any]]) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the samples by machine and second, each once."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for chunk in chunks:
        for sample in chunk.get(_OF_MACHINE, ()):
            row = dict(zip(SAMPLE, sample, strict=True))
            found.setdefault((str(chunk.get("host", "")), int(row["time"])), {"host": chunk.get("host", ""), **row})
    return found
