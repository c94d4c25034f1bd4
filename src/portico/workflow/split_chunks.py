"""Chunks that need too much memory: they run in halves, whose results merge again."""

from __future__ import annotations

from dataclasses import dataclass, field

from portico.results.partial import decode, encode, merge_all
from portico.worker.metrics import join
from portico.worker.task import Done, Task

__all__ = ["Halves"]


@dataclass(slots=True)
class Halves:
    """The chunks that were split, and those of their halves that are done.

    The halves of a chunk merge in entry order, so that counts and unweighted histograms are equal bit for bit to those
    of the undivided chunk; sums of weights may differ by rounding, because they are added in another order.
    """

    _parents: dict[str, Task] = field(default_factory=dict)
    _done: dict[str, list[Done | None]] = field(default_factory=dict)

    def split(self, task: Task) -> tuple[Task, Task]:
        """Split a task of at least two entries; a half has its key with a letter after it."""
        halves = task.split()
        self._parents |= {half.key: task for half in halves}
        self._done[task.key] = [None, None]
        return halves

    def planned(self, task: Task) -> Task:
        """Return the planned task that a task is or belongs to."""
        while task.key in self._parents:
            task = self._parents[task.key]
        return task

    def is_half(self, task: Task) -> bool:
        """Return whether a task is half of another."""
        return task.key in self._parents

    def split_parts(self, planned: Task) -> list[str]:
        """Return the keys of a planned task and of its halves that were cut themselves."""
        parents = {parent.key: parent for parent in self._parents.values()}
        return [key for key, parent in parents.items() if self.planned(parent).key == planned.key]

    def join(self, done: Done) -> Done | None:
        """Return the outcome of the undivided task; None while the other half is missing."""
        task = self._parents[done.task.key]
        halves = self._done[task.key]
        halves[done.task.key.endswith("b")] = done
        first, second = halves
        if first is None or second is None:
            return None
        merged = merge_all(decode(half.partial) for half in (first, second)) or {}
        metrics = join(first.metrics, second.metrics)
        return Done(task, encode(merged), metrics, (*first.files, *second.files))
