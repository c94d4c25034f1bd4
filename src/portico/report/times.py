"""The time line of a run for the page: chunks by worker, rates, files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from portico.monitor.timeline import Span, flow, lanes

__all__ = ["FileTime", "slowest_files", "times"]

_MOST = 4000
_PAUSE = 20.0


@dataclass(frozen=True, slots=True)
class FileTime:
    """How long the chunks of a file took together."""

    step: str
    sample: str
    file: str
    seconds: float
    megabytes: float

    @property
    def rate(self) -> float:
        """MB per second of the workers that read it."""
        return self.megabytes / self.seconds if self.seconds > 0 else 0.0


def slowest_files(of: Sequence[Span], most: int = 8) -> list[FileTime]:
    """Return the files whose chunks took longest, failed attempts included."""
    found: dict[tuple[str, str, str], FileTime] = {}
    for s in of:
        if s.file:
            key = (s.step, s.sample, s.file)
            before = found.get(key, FileTime(*key, 0.0, 0.0))
            found[key] = FileTime(*key, before.seconds + s.seconds, before.megabytes + s.bytes_read / 1e6)
    return sorted(found.values(), key=lambda f: (-f.seconds, f.step, f.file))[:most]


def times(of: Sequence[Span]) -> dict[str, Any]:
    """Return the time line for JSON: seconds since the first chunk began, pauses between runs left out.

    Of very many attempts the failed and the longest ones are drawn.
    """
    moved, pauses = _without_pauses(of)
    rows = {lane: number for number, lane in enumerate(lanes(moved))}
    steps = list(dict.fromkeys(s.step for s in moved))
    chosen = sorted(moved, key=lambda s: (s.outcome == "done", -s.seconds))[:_MOST]
    rates = flow(moved, 150)
    drawn = [
        [rows[s.host, s.worker], steps.index(s.step), *(round(x, 3) for x in (s.started, s.seconds, *s.phases)),
         s.sample, s.chunk, s.entries, "" if s.outcome == "done" else s.outcome]
        for s in sorted(chosen, key=lambda s: s.started)
    ]  # fmt: skip
    return {
        "lanes": [worker if len({h for h, _ in rows}) == 1 else f"{host} {worker}" for host, worker in rows],
        "steps": steps,
        "spans": drawn,
        "left": len(moved) - len(chosen),
        "pauses": pauses,
        "flow": None if rates is None else {
            "t": [round(float(t), 3) for t in (rates.edges[1:] + rates.edges[:-1]) / 2],
            **{name: [float(f"{v:.4g}") for v in values.tolist()]
               for name, values in (("n", rates.entries), ("mb", rates.megabytes), ("running", rates.running))},
        },
    }  # fmt: skip


def _without_pauses(of: Sequence[Span]) -> tuple[list[Span], int]:
    """Return attempts at times since the first, with gaps in which nothing ran cut out; and how many gaps were."""
    moved, pauses = [], 0
    end, gone = (of[0].started, of[0].started) if of else (0.0, 0.0)
    for s in sorted(of, key=lambda s: s.started):
        if s.started - end > _PAUSE:
            gone += s.started - end - 1.0
            pauses += 1
        end = max(end, s.ended)
        moved.append(replace(s, started=s.started - gone, ended=s.ended - gone))
    return moved, pauses
