"""The bottleneck of a run, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from portico.monitor.metrics import StepMetrics
from portico.monitor.units import duration, share

__all__ = ["Spent", "spent", "what_limits"]


class Spent(NamedTuple):
    """Seconds of workers, with those of summary steps, by what they were spent on."""

    compute: float
    read: float
    compile: float
    collect: float
    faults: float
    serial: float
    idle: float


_WORDS = {
    "compute": ("computing in event loops", "More workers reduce it, as long as there are chunks for all of them."),
    "read": (
        "waiting for data: the CPU was idle while files were opened and event loops ran",
        "Faster or closer storage reduces it, and so does the column cache (--cache).",
    ),
    "compile": (
        "loading ROOT, building graphs and compiling them, once per process",
        "Larger chunks, fewer processes or a session, which keeps its workers, reduce it; more workers do not.",
    ),
    "collect": (
        "collecting histograms and writing trees",
        "Fewer variations and fewer or coarser histograms reduce it.",
    ),
    "faults": ("attempts that failed", "The section on losses says why."),
    "serial": ("summary steps, which run in one process", "More workers do not reduce it."),
    "idle": (
        "workers without a chunk, while others ran the last ones or the driver planned, merged and wrote",
        "Smaller chunks or fewer workers use the workers better.",
    ),
}


def spent(steps: Sequence[StepMetrics]) -> Spent:
    """Return what the time of workers was spent on.

    Time in chunks without CPU, loading and compiling aside, is taken as waiting for data. A worker that has no chunk
    while its step runs is idle.
    """
    chunks = [m for m in steps if m.kind != "summary" and m.total.chunks_done]
    phases = [m.total.phases for m in chunks]
    compiling = sum(p.setup + p.build for p in phases)
    collecting = sum(p.serialise for p in phases)
    idle_cpu = sum(max(0.0, m.total.busy - m.total.cpu) for m in chunks)
    busy, faults = sum(m.total.busy for m in chunks), sum(m.lost_seconds for m in steps)
    inside = busy + sum(p.setup for p in phases)
    reading = max(0.0, inside - compiling - collecting)  # opening files and the event loop
    waiting = min(idle_cpu, reading)
    computing = reading - waiting
    there = sum(max(m.seconds, m.total.elapsed) * max(m.workers, 1) for m in chunks)
    serial = sum(m.seconds for m in steps if m.kind == "summary")
    return Spent(computing, waiting, compiling, collecting, faults, serial, max(0.0, there - inside - faults))


def what_limits(steps: Sequence[StepMetrics]) -> str:
    """Return what most of a run's time went to and what would shorten it; empty if nothing ran."""
    of = spent(steps)
    total = sum(of)
    if total <= 0:
        return ""
    name, seconds = max(zip(Spent._fields, of, strict=True), key=lambda item: item[1])
    what, hint = _WORDS[name]
    part = f"{share(seconds, total)} of the workers' time ({duration(seconds)} of {duration(total)})"
    return f"{part} went to {what}. {hint}"
