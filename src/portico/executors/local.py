"""Chunks in processes of this machine: nothing to install, nothing to start."""

from __future__ import annotations

import os
import selectors
from typing import Any

from portico.environment.bundle import Bundle
from portico.environment.credentials import Credentials
from portico.executors.base import Executor
from portico.worker.fork_server import ForkServer
from portico.worker.process import RunnerProcess
from portico.worker.task import Outcome, Task
from portico.worker.wire import Message

__all__ = ["LocalExecutor"]


class LocalExecutor(Executor):
    """N processes.

    Parameters
    ----------
    workers : int, optional
        How many; all cores that this process may use by default.
    memory : int, optional
        Bytes that one process may use; no limit of ours by default.
    """

    name = "local"

    def __init__(self, workers: int | None = None, memory: int | None = None) -> None:
        self._memory = memory
        self._server = ForkServer()
        self._runners = [self._new() for _ in range(workers or len(os.sched_getaffinity(0)))]

    def _new(self) -> RunnerProcess:
        return RunnerProcess(self._memory, server=self._server, makes_libraries=True)

    @property
    def workers(self) -> int:
        """Number of processes."""
        return len(self._runners)

    @property
    def free(self) -> int:
        """Number of idle processes."""
        return sum(not runner.busy for runner in self._runners)

    def prepare(self, bundle: Bundle) -> None:
        """Run the following tasks with this bundle."""
        for runner in self._runners:
            runner.use(bundle)

    def submit(self, task: Task) -> None:
        """Give a task to an idle process."""
        next(runner for runner in self._runners if not runner.busy).start(task)

    def wait(self, timeout: float) -> list[Outcome]:
        """Return the outcomes that are there, at the latest after ``timeout`` seconds."""
        with selectors.DefaultSelector() as selector:
            for runner in self._runners:
                if runner.busy:
                    runner.watch()
                    selector.register(runner, selectors.EVENT_READ, runner)
            ready = {key.data for key, _ in selector.select(timeout)} if selector.get_map() else set()
        ended = [runner for runner in self._runners if runner.busy and (runner in ready or not runner.alive)]
        return [outcome for runner in ended if (outcome := runner.next_outcome()) is not None]

    def call(self, content: dict[str, Any], blobs: list[bytes]) -> Message:
        """Have one of the idle processes answer a message, by preference one that holds ROOT already."""
        idle = [runner for runner in self._runners if not runner.busy]
        return next((runner for runner in idle if runner.alive), idle[0]).call(content, blobs)

    def call_all(self, content: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Have every process answer a message."""
        return {f"process {number}": runner.call(content, [])[0] for number, runner in enumerate(self._runners)}

    def send_credentials(self, credentials: Credentials) -> None:
        """Run the following tasks with these credentials."""
        for runner in self._runners:
            runner.use_credentials(credentials)

    def problems(self) -> list[str]:
        """Name the processes that are stopped."""
        return [words for runner in self._runners if (words := runner.trouble)]

    def cancel(self) -> None:
        """Stop the processes that are busy; they are started again when needed."""
        for runner in self._runners:
            if runner.busy:
                runner.kill()  # all at once: it takes a while until the memory of one is free
        for index, runner in enumerate(self._runners):
            if runner.busy:
                runner.stop()
                self._runners[index] = self._new()

    def close(self) -> None:
        """Stop all processes."""
        for runner in self._runners:
            runner.stop()
        self._server.close()
