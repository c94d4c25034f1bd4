"""When and where every attempt at every chunk ran, from the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from portico.runfolder.database import from_json

if TYPE_CHECKING:
    from portico.runfolder.ledger import Ledger, Planned

__all__ = ["PHASES", "SUMMARY_TIME", "Flow", "Span", "flow", "lanes", "spans"]

SUMMARY_TIME: Final = "summary"
"""Before the name of a summary step, what the ledger knows its time by."""

PHASES: Final = ("setup", "open", "build", "jit", "loop", "serialise")
"""The phases of a chunk in their order; ``jit`` is shown after ``build``, of which it is a part."""


@dataclass(frozen=True, slots=True)
class Span:
    """One attempt at a chunk, or a summary step.

    Parameters
    ----------
    step, sample, file, chunk : str
        Which; sample, file and chunk are empty for a summary step.
    attempt : int
        1 for the first.
    outcome : str
        ``done`` or the kind of failure.
    message : str
        Of a failure.
    host, worker : str
        Where it ran; the worker's name, or the process on its host.
    started, ended : float
        Seconds since 1970.
    wait : float
        Seconds from submission to ``started``.
    phases : tuple of float
        Seconds of each of `PHASES`, ``build`` without ``jit``.
    entries, bytes_read, peak_memory : int
        As in `portico.worker.metrics.METRICS`.
    cpu : float
        Seconds.
    """

    step: str
    sample: str
    file: str
    chunk: str
    attempt: int
    outcome: str
    message: str
    host: str
    worker: str
    started: float
    ended: float
    wait: float
    phases: tuple[float, ...]
    entries: int
    bytes_read: int
    peak_memory: int
    cpu: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.started


def spans(ledger: Ledger) -> list[Span]:
    """Return the attempts at planned chunks whose time is known, in the order in which they began."""
    found: list[Span] = []
    for step, kind, *_ in ledger.steps():
        if kind == "summary":
            found.append(_span(step, None, 1, "done", "", from_json(ledger.about(f"{SUMMARY_TIME} {step}") or "{}")))
            continue
        planned = {(p.sample, p.position): p for p in ledger.planned(step)}
        for sample, position, metrics in ledger.metrics(step):
            found.append(_span(step, planned[sample, position], metrics["attempt"], "done", "", metrics))
        for of, attempt, _ in ledger.failures(step):
            found.append(_span(step, of, attempt.number, attempt.outcome, attempt.message, attempt.metrics))
    return sorted((s for s in found if 0 < s.started <= s.ended), key=lambda s: (s.started, s.worker, s.step, s.chunk))


def _span(
    step: str, planned: Planned | None, attempt: int, outcome: str, message: str, metrics: dict[str, Any]
) -> Span:
    seconds = {name: float(metrics.get(name, 0.0)) for name in (*PHASES, "started", "ended", "wait", "cpu")}
    seconds["build"] = max(0.0, seconds["build"] - seconds["jit"])
    host, process = str(metrics.get("host", "unknown")), metrics.get("process")
    of, worker = ("", "", ""), "driver"
    if planned is not None:
        of = (planned.sample, planned.chunk.file, str(planned.chunk))
        worker = metrics.get("worker") or (f"process {process}" if process else "worker")
    return Span(
        step, *of, attempt, outcome, message, host, str(worker),
        seconds["started"], seconds["ended"], seconds["wait"], tuple(seconds[name] for name in PHASES),
        int(metrics.get("entries", 0)), int(metrics.get("bytes_read", 0)), int(metrics.get("peak_memory", 0)),
        seconds["cpu"],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Flow:
    """Rates in intervals of equal length.

    Parameters
    ----------
    edges : array of shape (n + 1,)
        Seconds since 1970.
    entries, megabytes : array of shape (n,)
        Entries and MB read per second.
    running : array of shape (n,)
        Chunks that ran at a time, on average.
    """

    edges: npt.NDArray[np.float64]
    entries: npt.NDArray[np.float64]
    megabytes: npt.NDArray[np.float64]
    running: npt.NDArray[np.float64]


def flow(of: Sequence[Span], bins: int = 120) -> Flow | None:
    """Spread the entries and bytes of chunks evenly over their time; None if nothing ran."""
    done = [s for s in of if s.outcome == "done" and s.sample]
    if not of or not done:
        return None
    first, last = min(s.started for s in of), max(s.ended for s in of)
    edges = np.linspace(first, max(last, first + 1e-3), bins + 1)
    width = edges[1] - edges[0]
    begins, ends = np.array([[s.started, max(s.ended, s.started + 1e-6)] for s in done]).T
    counts = np.array([[s.entries, s.bytes_read / 1e6, s.ended - s.started] for s in done]).T / (ends - begins)
    rates = []
    for rate in counts:
        # A rate that is constant between begin and end: its integral up to each edge, from two sums over sorted times.
        total = _integral(edges, begins, rate) - _integral(edges, ends, rate)
        rates.append(np.maximum(np.diff(total), 0.0) / width)
    return Flow(edges, *rates)


def _integral(at: npt.NDArray[np.float64], times: npt.NDArray[np.float64], rates: npt.NDArray[np.float64]) -> Any:
    """Return the integral up to ``at`` of the rates that begin at ``times``."""
    order = np.argsort(times)
    zero = times[order] - at[0]
    rate = np.concatenate([[0.0], np.cumsum(rates[order])])
    moment = np.concatenate([[0.0], np.cumsum(rates[order] * zero)])
    place = np.searchsorted(zero, at - at[0], side="right")
    return rate[place] * (at - at[0]) - moment[place]


def lanes(of: Sequence[Span]) -> list[tuple[str, str]]:
    """Return host and worker of each lane of a picture, in order."""
    return sorted({(s.host, s.worker) for s in of}, key=lambda lane: (lane[1] == "driver", lane))
