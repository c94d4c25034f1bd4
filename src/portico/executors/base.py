"""The interface of an executor: what every backend does, and defaults for the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from portico.environment.bundle import Bundle
from portico.environment.credentials import Credentials
from portico.runfolder.ledger import Planned
from portico.worker.task import Done, Outcome, Task
from portico.worker.wire import Message

__all__ = ["Executor", "Portion"]

_BYTES, _LEAST = 2**28, 2**22


class Portion:
    """How many results to bring to the driver at a time, so that they take some 300 MB at most.

    Results of one step differ little in size: those that were brought tell that of the next ones.
    """

    def __init__(self) -> None:
        self._largest = _LEAST

    @property
    def count(self) -> int:
        """So many."""
        return max(1, _BYTES // self._largest)

    def learn(self, outcomes: Iterable[Outcome]) -> None:
        """Take note of the size of results."""
        self._largest = max([self._largest, *(len(done.partial) for done in outcomes if isinstance(done, Done))])


class Executor(ABC):
    """Runs tasks. The driver submits while ``free`` is positive and takes outcomes as they come.

    See ``docs/executors.md`` for a complete one.
    """

    keeps_running = False
    """Whether submitted tasks go on when this process ends, and are found again by their keys."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Where it runs, for the ledger; what ``--on`` takes to get there again."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """Number of workers at present."""

    @property
    @abstractmethod
    def free(self) -> int:
        """Number of tasks to submit now, so that no worker waits."""

    @property
    def dashboard(self) -> str:
        """Address of a page that shows what its workers do; empty if there is none."""
        return ""

    @abstractmethod
    def prepare(self, bundle: Bundle) -> None:
        """Make the bundle known to all workers, also later ones."""

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Start a task."""

    @abstractmethod
    def wait(self, timeout: float) -> list[Outcome]:
        """Return the tasks that ended, at the latest after ``timeout`` seconds."""

    @abstractmethod
    def call(self, content: dict[str, Any], blobs: list[bytes]) -> Message:
        """Let one worker answer a message of `portico.worker.wire`, while no task is running."""

    @abstractmethod
    def close(self) -> None:
        """Stop everything that this executor started."""

    def call_all(self, content: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Let every worker answer a message, while no task is running; by default one worker stands for all.

        Returns
        -------
        dict of str to dict
            The answers by the name of the worker.
        """
        return {self.name: self.call(content, [])[0]}

    def send_credentials(self, credentials: Credentials) -> None:  # noqa: B027 (a default, not an omission)
        """Send credentials to all workers, also later ones, in place of earlier ones; by default none are sent."""

    def farewell(self) -> str:
        """Say what goes on without this process, and how to come back to it; by default nothing does."""
        return ""

    def problems(self) -> list[str]:
        """Say why nothing happens, in the words of the system beneath; asked when nothing has come for a while."""
        return []

    def cancel(self) -> None:  # noqa: B027 (a default, not an omission)
        """Stop the tasks that have not ended; by default they go on, and their outcomes are ignored."""

    def replan(self, chunks: Mapping[str, list[Planned]]) -> Mapping[str, list[Planned]]:
        """Return what to run instead of these chunks of each sample, for a backend that cuts samples by itself."""
        return chunks
