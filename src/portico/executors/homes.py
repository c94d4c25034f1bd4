"""The machine that read each chunk, so that later steps run where its columns are cached."""

from __future__ import annotations

from collections.abc import Mapping

from portico.worker.task import Task

__all__ = ["Homes"]


class Homes:
    """The machine of each chunk whose columns may be kept, as its last outcome told."""

    def __init__(self) -> None:
        self._machines: dict[tuple[str, int, int], str] = {}

    def learn(self, task: Task, address: str) -> None:
        """Note that a worker has read the chunk of a task.

        Parameters
        ----------
        task : Task
            What it ran.
        address : str
            The worker's, as Dask writes it.
        """
        if task.source:
            self._machines[_part(task)] = _machine(address)

    def near(self, task: Task, workers: Mapping[str, str]) -> list[str]:
        """Return the addresses of the workers where the columns of a chunk lie; empty if any worker is as good.

        Parameters
        ----------
        task : Task
            What is to be run.
        workers : mapping of str
            By address.
        """
        machine = self._machines.get(_part(task)) if task.source else None
        found = [address for address in workers if machine == _machine(address)]
        return found if len(found) < len(workers) else []


def _part(task: Task) -> tuple[str, int, int]:
    return task.source, task.chunk.first, task.chunk.last


def _machine(address: str) -> str:
    """Return the host of ``protocol://host:port``; workers inside one process have its name there."""
    return address.partition("://")[2].partition("/")[0].rpartition(":")[0]
