"""Functions that run inside a Dask worker, which keeps one runner process alive over all runs.

Several drivers may use one Dask cluster, so what they send is kept under the name of each driver's client.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from distributed import Worker, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from portico.environment.bundle import Bundle
from portico.environment.credentials import Credentials
from portico.worker.process import RunnerProcess
from portico.worker.task import Failed, FailureKind, Task
from portico.worker.wire import Message

__all__ = ["RunnerPlugin", "SentPlugin", "answer", "execute"]

_REPLACED_SECONDS = 1.0
_THIS_MACHINE = ("inproc://", "tcp://127.", "tls://127.", "tcp://[::1]", "tls://[::1]")
_BUNDLES = "_portico_bundles"
_CREDENTIALS = "_portico_credentials"
_MEMORY = "_portico_memory"
_RUNNER = "_portico_runner"


class SentPlugin(WorkerPlugin):
    """Gives a driver's bundle or credentials to the worker when it joins; what is sent next takes their place.

    Parameters
    ----------
    owner : str
        The driver's client.
    sent : Bundle or Credentials
        What the runners use from their next task on.
    """

    def __init__(self, owner: str, sent: Bundle | Credentials) -> None:
        self._owner, self._sent = owner, sent
        self._kept = _BUNDLES if isinstance(sent, Bundle) else _CREDENTIALS

    def setup(self, worker: Worker) -> None:
        """Keep what was sent; start nothing."""
        _state(worker, self._kept)[self._owner] = self._sent

    def teardown(self, worker: Worker) -> None:
        """Forget it, a little later: Dask takes a plugin away before it puts the next in its place."""

        def forget() -> None:
            state = _state(worker, self._kept)
            if state.get(self._owner) is self._sent:
                del state[self._owner]

        worker.loop.call_later(_REPLACED_SECONDS, forget)


class RunnerPlugin(WorkerPlugin):
    """Stops the runners when a worker is closed in good order; a killed worker's runners end by themselves.

    Parameters
    ----------
    memory : int, optional
        Bytes that one runner may use. Dask's own limit does not see the runner, which is a process of its own.
    """

    idempotent = True  # runners stay warm from step to step, and from run to run

    def __init__(self, memory: int | None = None) -> None:
        self._memory = memory

    def setup(self, worker: Worker) -> None:
        """Keep the limit for runners that start from now on."""
        _state(worker, _MEMORY)[""] = self._memory

    def teardown(self, worker: Worker) -> None:
        """Stop the runner with the worker."""
        runners = _state(worker, _RUNNER)
        while runners:
            runners.popitem()[1].stop()


def execute(content: dict[str, Any], owner: str) -> Message:
    """Run one task in this worker's runner process.

    Parameters
    ----------
    content : dict
        Of `Task.to_json`.
    owner : str
        The driver's client, whose bundle and credentials are used.

    Returns
    -------
    Message
        The outcome, for `portico.worker.task.outcome_of`.
    """
    worker, task = get_worker(), Task.from_json(content)
    name = str(worker.name)
    if owner not in _state(worker, _BUNDLES):
        message = f"worker {name} has not received the analysis"
        return Failed(task, FailureKind.LOST, message, metrics={"worker": name}).to_answer()
    runner = _runner(owner)
    runner.start(task)
    outcome = runner.outcome()
    return replace(outcome, metrics={**outcome.metrics, "worker": name}).to_answer()


def answer(content: dict[str, Any], blobs: list[bytes], owner: str) -> Message:
    """Have this worker's runner process answer a message."""
    return _runner(owner).call(content, blobs)


def _runner(owner: str) -> RunnerProcess:
    """Return the runner of this worker's thread, with the owner's bundle and credentials, if there are any."""
    worker = get_worker()
    runners, thread = _state(worker, _RUNNER), threading.get_ident()
    if thread not in runners:  # a worker with several threads gets a process for each
        is_here = worker.address.startswith(_THIS_MACHINE)
        runners[thread] = RunnerProcess(_state(worker, _MEMORY).get(""), makes_libraries=is_here)
    runner: RunnerProcess = runners[thread]
    if bundle := _state(worker, _BUNDLES).get(owner):
        runner.use(bundle)
    runner.use_credentials(_state(worker, _CREDENTIALS).get(owner, Credentials()))  # never those of another driver
    return runner


def _state(worker: Worker, name: str) -> dict[Any, Any]:
    """Return a dictionary kept on the worker object, which lives as long as the worker."""
    if not hasattr(worker, name):
        setattr(worker, name, {})
    state: dict[Any, Any] = getattr(worker, name)
    return state
