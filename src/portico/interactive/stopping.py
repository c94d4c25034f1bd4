"""An executor that another thread can stop between two tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from portico.environment.bundle import Bundle
from portico.executors.base import Executor
from portico.worker.task import Outcome, Task
from portico.worker.wire import Message

__all__ = ["Stopped", "Stopping"]


class Stopped(KeyboardInterrupt):
    """The run was asked to stop. It is left as by Ctrl-C: what is done is kept."""


class Stopping:
    """An executor for one run, which ends with `Stopped` once it is asked to.

    Everything else is done by the executor that it stands for. After `stop`, no more tasks are taken; those that run
    may end until the deadline, so that their results are kept and their processes stay warm.

    Parameters
    ----------
    executor : Executor
        Runs the tasks.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._running = 0
        self._deadline: float | None = None

    def stop(self, seconds: float) -> None:
        """Ask for the end of the run; tasks that run get so long to end."""
        self._deadline = time.monotonic() + seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    @property
    def free(self) -> int:
        """Number of tasks to submit now."""
        if self._deadline is None:
            return self._executor.free
        self._stop_if(self._running == 0)
        return 0

    def prepare(self, bundle: Bundle) -> None:
        """Run the following tasks with this bundle, unless it is to stop."""
        self._stop_if(True)
        self._executor.prepare(bundle)

    def call(self, content: dict[str, Any], blobs: list[bytes]) -> Message:
        """Have a worker answer a message, unless it is to stop."""
        self._stop_if(True)
        return self._executor.call(content, blobs)

    def submit(self, task: Task) -> None:
        """Start a task."""
        self._executor.submit(task)
        self._running += 1

    def renew(self, tell: Callable[[str], None]) -> bool:
        """Start again what is lost; the tasks that ran there are forgotten."""
        self._running = 0
        return self._executor.renew(tell)

    def wait(self, timeout: float) -> list[Outcome]:
        """Return the tasks that ended."""
        outcomes = self._executor.wait(timeout)
        self._running -= len(outcomes)
        self._stop_if(not outcomes and self._deadline is not None and time.monotonic() > self._deadline)
        return outcomes

    def _stop_if(self, now: bool) -> None:
        if now and self._deadline is not None:
            raise Stopped
