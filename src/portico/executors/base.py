"""The interface of an executor: what every backend does, and defaults for the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from portico.environment.bundle import Bundle
from portico.environment.credentials import Credentials
from portico.files.placement import Placement
from portico.runfolder.ledger import Planned
from portico.worker.task import Done, Outcome, Task
from portico.worker.wire import Message

__all__ = ["Executor", "Portion"]

_BYTES, _LEAST = 2**28, 2**22


class Portion:
    """The number of results to transfer to the driver at a time, so that they take at most about 300 MB.

    Results of one step differ little in size: those that were brought tell that of the next ones.
    """

    def __init__(self) -> None:
        self._largest = _LEAST

    @property
    def count(self) -> int:
        """The number of results."""
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
        """The name in the ledger; preferably the value of ``--on`` that selects this executor."""

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
        """Send the bundle to all workers, including those that join later."""

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Start a task."""

    @abstractmethod
    def wait(self, timeout: float) -> list[Outcome]:
        """Return the tasks that ended, at the latest after ``timeout`` seconds."""

    @abstractmethod
    def call(self, content: dict[str, Any], blobs: list[bytes]) -> Message:
        """Send a message of `portico.worker.wire` to one worker and return its answer; no task is running."""

    @abstractmethod
    def close(self) -> None:
        """Stop everything that this executor started."""

    def call_all(self, content: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Send a message to every worker and return the answers; no task is running; by default to one worker only.

        Returns
        -------
        dict of str to dict
            The answers by the name of the worker.
        """
        return {self.name: self.call(content, [])[0]}

    def send_credentials(self, credentials: Credentials) -> None:  # noqa: B027 (a default, not an omission)
        """Send credentials to all workers, including later ones, replacing earlier ones; by default send none."""

    @property
    def storage(self) -> Placement | None:
        """The storage sites that are read where its workers run; no rules by default."""
        return None

    def keep_away(self, machine: str) -> None:  # noqa: B027 (a default, not an omission)
        """Start no more workers on a machine that fails what others do; by default it just gets no more tasks."""

    @property
    def lost(self) -> str:
        """Why nothing can run any more, such as a scheduler that is gone; empty by default, and as long as it works."""
        return ""

    def renew(self, tell: Callable[[str], None]) -> bool:  # noqa: ARG002 (for those that can)
        """Start again what is lost, and send it the credentials; tasks that ran there, and the bundle, are forgotten.

        Parameters
        ----------
        tell : callable
            Takes what the user is to know.

        Returns
        -------
        bool
            Whether the run can continue; by default it cannot.

        Raises
        ------
        PorticoError
            If it does not start.
        """
        return False

    def farewell(self) -> str:
        """Describe what continues without this process, and how to come back to it; by default nothing does."""
        return ""

    def problems(self) -> list[str]:
        """Return why nothing happens, as the system reports it; called when no outcome has arrived for a while."""
        return []

    def own_report(self, since: float) -> str | None:  # noqa: ARG002 (for those that have one)
        """Return the backend's own report as an HTML page; none if it ran no task, and by default.

        Parameters
        ----------
        since : float
            Seconds since 1970, before which nothing is of interest.

        Raises
        ------
        MissingExtra
            If a library that it needs is not installed.
        WorkerError
            If the backend does not return it.
        """
        return None

    def cancel(self) -> None:  # noqa: B027 (a default, not an omission)
        """Stop the tasks that have not ended; by default they continue, and their outcomes are ignored."""

    def replan(self, chunks: Mapping[str, list[Planned]]) -> Mapping[str, list[Planned]]:
        """Return what to run instead of these chunks of each sample, for a backend that cuts samples by itself."""
        return chunks
