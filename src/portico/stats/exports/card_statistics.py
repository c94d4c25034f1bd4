"""``autoMCStats`` of a datacard: statistical uncertainties of simulation, as modifiers of a workspace.

Combine decides bin by bin (arXiv:2404.06614, section 3.2.4). Above the threshold of effective events, one Gaussian
parameter moves the whole bin by the sum of squares of all errors, each times the strength of its process. Processes
that free factors scale differently have parameters of their own here, which is the same after profiling: the sum of
squares of their moves. Up to the threshold each process has a parameter: of a Poisson distribution up to the
threshold, of a Gaussian above it, and of a Gaussian that is added where the error is larger than the content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from portico.stats.exports.card_content import AutoStats
from portico.stats.shapes import Array

__all__ = ["Simulated", "statistics"]

_CLOSE: Final = 0.999  # how far an error may exceed the content, by rounding


@dataclass(frozen=True)
class Simulated:
    """A process in a channel.

    Attributes
    ----------
    name : str
    signal : bool
    free : tuple of str
        Free factors that multiply it.
    events, errors : array of shape (bins,)
    """

    name: str
    signal: bool
    free: tuple[str, ...]
    events: Array
    errors: Array


def statistics(channel: str, processes: Sequence[Simulated], flags: AutoStats) -> dict[str, list[dict[str, Any]]]:
    """Return modifiers by the name of the process.

    Parameters
    ----------
    channel : str
    processes : sequence of Simulated
    flags : AutoStats
    """
    found: dict[str, list[dict[str, Any]]] = {process.name: [] for process in processes}
    counted = [process for process in processes if flags.include_signal or not process.signal]
    if not counted or flags.threshold < 0:
        return found
    events = np.sum([process.events for process in counted], axis=0)
    variances = np.sum([process.errors**2 for process in counted], axis=0)
    known = variances > 0
    effective = np.where(known, np.floor(0.5 + events**2 / np.where(known, variances, 1.0)), 0.0)
    together, alone = known & (effective > flags.threshold), known & (effective <= flags.threshold)
    _together(found, channel, processes, together)
    for process in processes:
        for at in np.flatnonzero(alone & (process.errors > 0) & (process.events >= 0)):
            found[process.name].append(_alone(channel, process, int(at), flags.threshold))
    return found


def _together(
    found: Mapping[str, list[dict[str, Any]]], channel: str, processes: Sequence[Simulated], bins: Array
) -> None:
    groups: dict[tuple[str, ...], list[Simulated]] = {}
    for process in processes:
        groups.setdefault(process.free, []).append(process)
    main = max(groups, key=lambda free: (not groups[free][0].signal, sum(p.events.sum() for p in groups[free])))
    for free, of in groups.items():
        name = "_".join(["statistics", channel, *(() if free == main else free)])
        total = np.sum([process.events for process in of], axis=0)
        errors = np.sqrt(np.sum([process.errors**2 for process in of], axis=0))
        inside = bins & (errors > 0) & (total >= _CLOSE * errors)
        for process in of:
            data = np.where(inside, process.errors, 0.0)
            if inside.any():
                found[process.name].append(_of("staterror", name, data))
        for at in np.flatnonzero(bins & (errors > 0) & ~inside):
            found[of[0].name].append(_added(f"{name}_bin{at}", of[0], int(at), float(errors[at])))


def _alone(channel: str, process: Simulated, at: int, threshold: float) -> dict[str, Any]:
    name = f"statistics_{channel}_bin{at}_{process.name}"
    events, error = float(process.events[at]), float(process.errors[at])
    if not events >= _CLOSE * error or events == 0:
        return _added(name, process, at, error)
    number, data = np.floor(0.5 + (events / error) ** 2), np.zeros(len(process.events))
    poisson = number <= threshold
    data[at] = events / np.sqrt(number) if poisson else error
    return _of("shapesys" if poisson else "staterror", name, data)


def _added(name: str, process: Simulated, at: int, error: float) -> dict[str, Any]:
    move = np.zeros(len(process.events))
    move[at] = error
    sides = {"hi_data": process.events + move, "lo_data": process.events - move}
    data = {side: [float(n) for n in values] for side, values in sides.items()}
    return {"name": name, "type": "histosys", "data": data}


def _of(kind: str, name: str, data: Array) -> dict[str, Any]:
    return {"name": name, "type": kind, "data": [float(n) for n in data]}
