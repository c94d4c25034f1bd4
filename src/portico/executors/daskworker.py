"""What runs inside a Dask worker: it keeps one runner process alive over all runs."""

from __future__ import annotations

import threading
from typing import Any

from distributed import Worker, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from portico.environment.bundle import Bundle
from portico.environment.credentials import Credentials
from portico.executors.base import Done, Task
from portico.executors.process import RunnerProcess

__all__ = ["BundlePlugin", "CredentialsPlugin", "RunnerPlugin", "answer", "execute"]

_BUNDLES = "_portico_bundles"
_CREDENTIALS = "_portico_credentials"
_RUNNER = "_portico_runner"


class BundlePlugin(WorkerPlugin):
    """Gives the bundle to the worker when it joins.

    Parameters
    ----------
    bundle : Bundle
        What travels.
    """

    idempotent = True

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def setup(self, worker: Worker) -> None:
        """Keep the bundle; start nothing."""
        _state(worker, _BUNDLES)[self._bundle.digest] = self._bundle


class CredentialsPlugin(WorkerPlugin):
    """Gives credentials to the worker when it joins, and again when they are renewed.

    Parameters
    ----------
    credentials : Credentials
        What the runners use from their next task on.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def setup(self, worker: Worker) -> None:
        """Keep the credentials."""
        _state(worker, _CREDENTIALS)[""] = self._credentials


class RunnerPlugin(WorkerPlugin):
    """Stops the runners when a worker is closed in good order; a killed worker's runners end by themselves."""

    idempotent = True

    def teardown(self, worker: Worker) -> None:
        """Stop the runner with the worker."""
        for runner in _state(worker, _RUNNER).values():
            runner.stop()


def execute(task: dict[str, Any], digest: str) -> tuple[dict[str, Any], bytes]:
    """Run one task in this worker's runner process.

    Parameters
    ----------
    task : dict
        Of `Task.to_json`.
    digest : str
        Of the bundle to run it with.

    Returns
    -------
    answer : dict
        Metrics, and ``failed``, ``message`` and ``log`` if it failed.
    partial : bytes
        The encoded products.
    """
    runner = _runner(digest)
    runner.start(Task.from_json(task))
    outcome = runner.outcome()
    metrics = {**outcome.metrics, "worker": str(get_worker().name)}
    if isinstance(outcome, Done):
        return {"metrics": metrics}, outcome.partial
    return {"failed": outcome.kind, "message": outcome.message, "log": outcome.log, "metrics": metrics}, b""


def answer(content: dict[str, Any], blobs: list[bytes], digest: str) -> tuple[dict[str, Any], list[bytes]]:
    """Have this worker's runner process answer a message."""
    return _runner(digest).call(content, blobs)


def _runner(digest: str) -> RunnerProcess:
    """Return the runner of this worker's thread, set to use a bundle."""
    worker = get_worker()
    runners, thread = _state(worker, _RUNNER), threading.get_ident()
    if thread not in runners:  # a worker with several threads gets a process for each
        runners[thread] = RunnerProcess()
    runner: RunnerProcess = runners[thread]
    if digest:
        runner.use(_state(worker, _BUNDLES)[digest])
    if trusted := _state(worker, _CREDENTIALS).get(""):
        runner.entrust(trusted)
    return runner


def _state(worker: Worker, name: str) -> dict[Any, Any]:
    """Return a dictionary kept on the worker object, which lives as long as the worker."""
    if not hasattr(worker, name):
        setattr(worker, name, {})
    state: dict[Any, Any] = getattr(worker, name)
    return state
