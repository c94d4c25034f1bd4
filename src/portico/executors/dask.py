"""Chunks on a Dask cluster: an address, or an own one on this machine."""

from __future__ import annotations

import importlib.util
import os
import queue
import traceback
import uuid
from typing import TYPE_CHECKING, Any

from portico.environment.bundle import Bundle
from portico.environment.credentials import Credentials
from portico.errors import MissingExtra, WorkerError
from portico.executors.base import Done, Failed, Outcome, Task

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["DaskExecutor"]

_AHEAD = 2  # tasks per worker, so that none waits for the driver


class DaskExecutor:
    """Tasks of a Dask client; on each worker a process of portico's runs the chunks.

    A chunk that crashes takes that process with it, not the Dask worker.

    Parameters
    ----------
    address : str, optional
        Of a scheduler; an own cluster on this machine's loopback is started by default.
    workers : int, optional
        Of the own cluster; all cores by default.
    timeout : float
        Seconds to wait for a scheduler.

    Raises
    ------
    MissingExtra
        If distributed is not installed.
    WorkerError
        If the scheduler cannot be reached.
    """

    def __init__(self, address: str | None = None, workers: int | None = None, timeout: float = 30) -> None:
        if importlib.util.find_spec("distributed") is None:
            raise MissingExtra("dask", "running on Dask")
        from distributed import Client, LocalCluster

        self._cluster: LocalCluster | None = None
        if address is None:
            self._cluster = LocalCluster(
                # The chunks run in processes of their own anyway: the workers may live in this one.
                n_workers=workers or len(os.sched_getaffinity(0)), threads_per_worker=1, processes=False,
                dashboard_address="127.0.0.1:0", memory_limit=0,
            )  # fmt: skip
        try:
            self._client: Client = Client(address or self._cluster, timeout=timeout)
        except (OSError, TimeoutError) as error:
            raise WorkerError(
                f"no Dask scheduler answers at {address}: {error}; is it running and reachable?"
            ) from error
        self._running: dict[str, tuple[Future, Task]] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._digest = ""

    outlives = False

    @property
    def client(self) -> Client:
        """The Dask client."""
        return self._client

    @property
    def workers(self) -> int:
        """Number of workers that are connected."""
        return len(self._workers())

    def _workers(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return found

    @property
    def free(self) -> int:
        """How many tasks may be submitted."""
        return max(_AHEAD * max(self.workers, 1) - len(self._running), 0)

    def prepare(self, bundle: Bundle) -> None:
        """Send the bundle to all workers; those that join later get it when they join."""
        from portico.executors.daskworker import BundlePlugin, RunnerPlugin

        self._digest = bundle.digest
        try:
            self._client.register_plugin(RunnerPlugin(), name="portico-runner")
            self._client.register_plugin(BundlePlugin(bundle), name=f"portico-{bundle.digest}")
        except Exception as error:
            raise WorkerError(
                f"the Dask cluster cannot take the analysis: {error}; its scheduler and workers need the same versions "
                "of portico, dask and Python as this process"
            ) from error

    def submit(self, task: Task) -> None:
        """Submit a task."""
        from portico.executors.daskworker import execute

        name = f"portico-{task.key}-{task.attempt}"
        future = self._client.submit(execute, task.to_json(), self._digest, key=name, pure=False, retries=0)
        self._running[name] = (future, task)
        future.add_done_callback(lambda done: self._ended.put(done.key))

    def wait(self, timeout: float) -> list[Outcome]:
        """Return what ended, at the latest after ``timeout`` seconds."""
        outcomes = []
        try:
            outcomes.append(self._outcome(self._ended.get(timeout=timeout)))
            while True:
                outcomes.append(self._outcome(self._ended.get_nowait()))
        except queue.Empty:
            pass
        return [outcome for outcome in outcomes if outcome is not None]

    def _outcome(self, name: str) -> Outcome | None:
        if name not in self._running:
            return None
        from distributed import KilledWorker

        future, task = self._running.pop(name)
        raised = future.status == "error"
        try:
            answer, partial = future.result(timeout=60)
        except KilledWorker as error:
            return Failed(task, "lost", f"the workers that worked on it died: {error}")
        except Exception as error:
            if raised:
                log = "".join(traceback.format_exception(error))
                return Failed(task, "internal", f"{type(error).__name__}: {error}", log)
            return Failed(task, "lost", f"its result was lost with its worker: {error}")
        finally:
            future.release()
        if "failed" in answer:
            return Failed(task, answer["failed"], answer["message"], answer["log"], answer["metrics"])
        return Done(task, partial, answer["metrics"])

    def call(self, content: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """Have one worker answer a message."""
        from portico.executors.daskworker import answer

        future = self._client.submit(
            answer, content, blobs, self._digest, key=f"portico-{uuid.uuid4().hex}", pure=False
        )
        try:
            return future.result()
        except Exception as error:
            raise WorkerError(f"the workers died while they made '{content['op']}': {error}") from error

    def call_all(self, content: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Have every worker answer a message."""
        from portico.executors.daskworker import answer

        names = {address: str(worker["name"]) for address, worker in self._workers().items()}
        futures = {
            names[address]: self._client.submit(answer, content, [], self._digest, workers=[address], pure=False)
            for address in names
        }
        return {name: future.result()[0] for name, future in futures.items()}

    def entrust(self, credentials: Credentials) -> None:
        """Send credentials to all workers; those that join later get them when they join."""
        from portico.executors.daskworker import CredentialsPlugin

        self._client.register_plugin(CredentialsPlugin(credentials), name="portico-credentials")

    def problems(self) -> list[str]:
        """Say that no worker is connected, if so."""
        return [] if self.workers else ["no worker is connected; the run goes on when one joins"]

    def cancel(self) -> None:
        """Cancel all tasks."""
        if self._running:
            self._client.cancel([future for future, _ in self._running.values()], force=True)
            self._running.clear()

    def close(self) -> None:
        """Leave the scheduler; stop the own cluster."""
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()
