"""A run as a file of trace events, which Perfetto and Chrome's ``chrome://tracing`` show.

The format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU, "JSON Object Format", and
what Perfetto reads of it: https://perfetto.dev/docs/getting-started/other-formats#chrome-json-format.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from portico.files.atomic import write_atomic
from portico.monitor.timeline import PHASES, Span, flow, lanes, spans
from portico.runfolder.folder import RunFolder

__all__ = ["trace_events", "write_trace"]

_ALL: Final = "all machines"


def write_trace(run_path: Path, output: Path | None = None) -> Path:
    """Write the trace of a run: processes are machines, threads are workers, and a chunk has its phases below it.

    Parameters
    ----------
    run_path : Path
        The run folder.
    output : Path, optional
        The file to write; ``trace.json`` in the run folder by default.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    RunFolderError
        If ``run_path`` is not a run folder.
    SpaceError
        If the disk is full.
    """
    path = output if output is not None else run_path / "trace.json"
    folder = RunFolder(run_path)
    name = folder.manifest()["analysis"]
    ledger = folder.open_ledger()
    try:
        events = trace_events(spans(ledger))
    finally:
        ledger.close()
    with write_atomic(path) as aside, aside.open("w", encoding="utf-8") as file:
        file.write(f'{{"displayTimeUnit": "ms", "otherData": {json.dumps({"analysis": name})}, "traceEvents": [\n')
        file.writelines(f"{',' * (i > 0)}{json.dumps(event, allow_nan=False)}\n" for i, event in enumerate(events))
        file.write("]}\n")
    return path


def trace_events(of: Sequence[Span]) -> Iterator[dict[str, Any]]:
    """Return the events of a trace: names of machines and workers, chunks with their phases, and rates.

    Times are microseconds since the first chunk began.
    """
    if not of:
        return
    hosts = {host: number for number, host in enumerate(dict.fromkeys(host for host, _ in lanes(of)), 1)}
    zero = min(s.started for s in of)
    placed = list(_placed(of, zero))
    whole = len(hosts) + 1
    in_order = sorted(dict.fromkeys(place for _, place in placed), key=lambda p: (p[1] == "driver", p))
    # A process without a thread is given one with its own number by viewers: those of workers come after them.
    tracks = {place: number for number, place in enumerate(in_order, whole + 1)}
    for host, pid in (*hosts.items(), (_ALL, whole)):
        yield {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": host or "unknown"}}
    for (host, worker, number), tid in tracks.items():
        name = worker if number == 1 else f"{worker} ({number})"
        yield {"ph": "M", "name": "thread_name", "pid": hosts[host], "tid": tid, "args": {"name": name}}
    for s, place in placed:
        yield from _of_span(s, {"pid": hosts[s.host], "tid": tracks[place]}, zero)
    if (rates := flow(of, 500)) is not None:
        for name, values in (("entries/s", rates.entries), ("MB/s", rates.megabytes), ("chunks", rates.running)):
            for time, value in zip(rates.edges[:-1], values, strict=True):
                counter = {"ph": "C", "name": name, "pid": whole, "ts": _micro(time - zero)}
                yield {**counter, "args": {name: round(float(value), 3)}}


def _placed(of: Sequence[Span], zero: float) -> Iterator[tuple[Span, tuple[str, str, int]]]:
    """Give each span a track: the first one of its worker that is free, since the events of a track must not overlap.

    A worker has more than one if the clock of its machine was set back.
    """
    ends: dict[tuple[str, str], list[int]] = {}
    for s in sorted(of, key=lambda s: s.started):
        start, end = _moments(s, zero)
        tracks = ends.setdefault((s.host, s.worker), [])
        number = next((n for n, last in enumerate(tracks) if last <= start), len(tracks))
        tracks[number : number + 1] = [end]
        yield s, (s.host, s.worker, number + 1)


def _moments(s: Span, zero: float) -> tuple[int, int]:
    return _micro(s.started - zero), _micro(s.ended - zero)


def _of_span(s: Span, place: dict[str, int], zero: float) -> Iterator[dict[str, Any]]:
    start, end = _moments(s, zero)
    known = {
        "chunk": s.chunk, "attempt": s.attempt, "outcome": s.outcome, "message": s.message, "wait (s)": s.wait,
        "entries": s.entries, "bytes read": s.bytes_read, "CPU (s)": s.cpu, "peak memory (bytes)": s.peak_memory,
    }  # fmt: skip
    name = f"{s.step}: {s.sample}" if s.sample else s.step
    whole = {"ph": "X", "name": name, "cat": s.step, **place, "ts": start, "dur": end - start}
    yield {**whole, "args": {key: value for key, value in known.items() if value}} | (
        {} if s.outcome == "done" else {"cname": "terrible"}
    )
    moments = [min(end, start + _micro(t)) for t in itertools.accumulate(s.phases, initial=0.0)]
    for phase, (begin, after) in zip(PHASES, itertools.pairwise(moments), strict=True):
        if after > begin:
            yield {"ph": "X", "name": phase, "cat": "phase", **place, "ts": begin, "dur": after - begin}


def _micro(seconds: float) -> int:
    return round(1e6 * seconds)
