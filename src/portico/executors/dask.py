"""Chunks on a Dask cluster: an address, an own one on this machine, or one that a site starts."""

from __future__ import annotations

import importlib.util
import logging
import os
import queue
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from portico.clusters.base import Cluster, runner_memory
from portico.environment.bundle import Bundle
from portico.environment.credentials import Credentials
from portico.errors import MissingExtra, WorkerError
from portico.executors.base import Executor, Portion
from portico.worker.task import Failed, FailureKind, Outcome, Task, outcome_of
from portico.worker.wire import Message

if TYPE_CHECKING:
    from distributed import Client, Future, Security

__all__ = ["DaskExecutor"]

logger = logging.getLogger(__name__)

_AHEAD = 2  # tasks per worker, so that none waits for the driver
_COUNT_AGAIN = 0.5  # seconds for which the number of workers is not asked for again
_CALL_TICK = 1.0
_LOST_SECONDS = 30.0  # within which every worker must answer a message that is sent to all


class DaskExecutor(Executor):
    """Tasks of a Dask client; on each worker a process of portico's runs the chunks.

    A chunk that crashes takes that process with it, not the Dask worker.

    Parameters
    ----------
    address : str, optional
        Of a scheduler; an own cluster inside this process, which opens no port, is started by default.
    workers : int, optional
        Of the own cluster; all cores by default.
    timeout : float
        Seconds to wait for a scheduler.
    cluster : Cluster, optional
        Of a site, by `portico.clusters.base.start_cluster`; is closed with the executor.
    security : Security, optional
        TLS keys for the address; by default those of Dask's configuration.

    Raises
    ------
    MissingExtra
        If distributed is not installed.
    WorkerError
        If the scheduler cannot be reached.
    """

    def __init__(
        self, address: str | None = None, workers: int | None = None, timeout: float = 30,
        cluster: Cluster | None = None, security: Security | None = None,
    ) -> None:  # fmt: skip
        if importlib.util.find_spec("distributed") is None:
            raise MissingExtra("dask", "running on Dask")
        from distributed import Client

        from portico.clusters.silent import local_cluster

        self._site, self._own = cluster, None
        self._name = cluster.site.name if cluster is not None else address or "dask"
        if address is None and cluster is None:
            # The chunks run in processes of their own anyway: the workers may live in this one.
            self._own = local_cluster(workers or len(os.sched_getaffinity(0)))
        target = self._own if cluster is None else cluster.dask
        self._running: dict[str, tuple[Future, Task]] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._pinned: dict[str, frozenset[str]] = {}
        self._portion, self._calls = Portion(), 0
        self._sent: set[str] = set()
        self._known: tuple[float, dict[str, Any]] = (float("-inf"), {})
        try:
            self._client: Client = Client(address or target, security=security, timeout=timeout, set_as_default=False)
        except (OSError, TimeoutError, TypeError, ValueError, RuntimeError, ImportError) as error:
            self._stop_clusters()
            raise WorkerError(_unreachable(address, error)) from error
        self._owner = self._client.id
        self._address = str(self._client.scheduler_info(n_workers=0)["address"])
        self._lonely_since = time.monotonic()
        if cluster is not None:
            cluster.adapt(lambda: len(self._running) + self._calls)

    @property
    def name(self) -> str:
        """The name of the site, the address that was given, or ``dask`` for the own cluster."""
        return self._name

    @property
    def client(self) -> Client:
        """The Dask client."""
        return self._client

    @property
    def workers(self) -> int:
        """Number of workers that are connected."""
        return int(self._counts()["n_workers"])

    def _counts(self) -> dict[str, Any]:
        """Return what the scheduler tells of itself, without a list of workers, which may be long."""
        when, found = self._known
        if time.monotonic() - when > _COUNT_AGAIN:
            with self._asking():
                found = self._client.scheduler_info(n_workers=0)
            self._known = (time.monotonic(), found)
        return found

    def _names(self) -> dict[str, str]:
        """Return the name of each worker by its address."""
        with self._asking():
            workers = self._client.scheduler_info(n_workers=-1)["workers"]
        return {address: str(worker["name"]) for address, worker in workers.items()}

    @property
    def free(self) -> int:
        """How many tasks may be submitted: some for each worker, also for those that a site may yet start."""
        threads = int(self._counts()["total_threads"])
        expected = max(threads, self._site.maximum if self._site is not None else 1)
        return max(_AHEAD * expected - len(self._running), 0)

    def prepare(self, bundle: Bundle) -> None:
        """Send the bundle to all workers; those that join later get it when they join."""
        from portico.executors.daskworker import RunnerPlugin, SentPlugin

        memory = runner_memory(self._site.site) if self._site is not None else None
        with self._asking():
            try:
                self._client.register_plugin(RunnerPlugin(memory), name="portico-runner")
                self._send(SentPlugin(self._owner, bundle), "bundle")
            except Exception as error:
                self._raise_if_gone(error)
                raise WorkerError(
                    f"the Dask cluster cannot take the analysis: {error}; its scheduler and workers need the same "
                    "versions of portico, dask and Python as this process"
                ) from error

    def submit(self, task: Task) -> None:
        """Submit a task; workers that failed on it get it only if there are no others."""
        from portico.executors.daskworker import execute

        name = f"portico-{task.key}-{task.attempt}"
        if name in self._running:  # the same chunk in halves: keys tell tasks apart
            name = f"{name}-{uuid.uuid4().hex}"
        others: list[str] = []
        if task.avoid:
            others = [address for address, worker in self._names().items() if worker not in task.avoid]
        with self._asking():
            future = self._client.submit(
                execute, task.to_json(), self._owner, key=name, pure=False, retries=0, workers=others or None,
            )  # fmt: skip
        if others:
            self._pinned[name] = frozenset(others)
        self._running[name] = (future, task)
        future.add_done_callback(lambda done: self._ended.put(done.key))

    def wait(self, timeout: float) -> list[Outcome]:
        """Return what ended, at the latest after ``timeout`` seconds.

        Raises
        ------
        WorkerError
            If the scheduler is gone, or a site's jobs cannot start a worker.
        """
        ended: list[str] = []
        try:
            ended.append(self._ended.get(timeout=timeout))
            while len(ended) < self._portion.count:
                ended.append(self._ended.get_nowait())
        except queue.Empty:
            pass
        ended = [name for name in dict.fromkeys(ended) if name in self._running]
        fetched = self._fetched(ended)
        found = [self._outcome(name, fetched.get(name)) for name in ended]
        self._portion.learn(found)
        if not found:
            self._raise_if_gone()
            self._raise_if_hopeless()
            found = self._stranded() if self._pinned else []
        return found

    def _stranded(self) -> list[Outcome]:
        """Give back the tasks that were kept from some workers, when all others are gone."""
        here = self._names().keys()
        lost = [name for name, workers in self._pinned.items() if not workers & here and name in self._running]
        outcomes: list[Outcome] = []
        for name in lost:
            future, task = self._forget(name)
            future.release()
            outcomes.append(Failed(task, FailureKind.LOST, "the workers that had not failed on it are gone"))
        return outcomes

    def _forget(self, name: str) -> tuple[Future, Task]:
        self._pinned.pop(name, None)
        return self._running.pop(name)

    def _fetched(self, ended: list[str]) -> dict[str, Message]:
        """Fetch what several tasks returned at once, which is half the work of one after the other."""
        futures = {name: future for name in ended if (future := self._running[name][0]).status == "finished"}
        if len(futures) < 2:
            return {}
        try:
            return dict(zip(futures, self._client.gather(list(futures.values())), strict=True))
        except Exception:  # each is asked for alone, and says what is wrong with it
            return {}

    def _outcome(self, name: str, fetched: Message | None) -> Outcome:
        from distributed import KilledWorker

        future, task = self._forget(name)
        raised = future.status == "error"
        try:
            message = fetched or future.result(timeout=60)
        except KilledWorker as error:
            return Failed(task, FailureKind.LOST, f"the workers that worked on it died: {error}")
        except Exception as error:
            if raised:
                log = "".join(traceback.format_exception(error))
                return Failed(task, FailureKind.INTERNAL, f"{type(error).__name__}: {error}", log)
            self._raise_if_gone(error)
            return Failed(task, FailureKind.LOST, f"its result was lost with its worker: {error}")
        finally:
            future.release()
        return outcome_of(task, message)

    def call(self, content: dict[str, Any], blobs: list[bytes]) -> Message:
        """Have one worker answer a message; waits for a worker, and tells meanwhile why none comes.

        Raises
        ------
        WorkerError
            If the worker or the scheduler is lost, or a site's jobs cannot start a worker.
        """
        from portico.executors.daskworker import answer

        self._calls = 1
        try:
            with self._asking():
                future = self._client.submit(
                    answer, content, blobs, self._owner, key=f"portico-{uuid.uuid4().hex}", pure=False
                )
            told = time.monotonic()
            while True:
                with suppress(TimeoutError):
                    reply: Message = future.result(timeout=_CALL_TICK)
                    return reply
                self._raise_if_gone()
                self._raise_if_hopeless()
                if time.monotonic() - told > self._patience:
                    told = time.monotonic()
                    for problem in self.problems():
                        logger.warning("%s", problem)
        except WorkerError:
            raise
        except Exception as error:
            self._raise_if_gone(error)
            raise WorkerError(f"the workers died while they made '{content['op']}': {error}") from error
        finally:
            self._calls = 0

    def call_all(self, content: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Have every worker answer a message; one that does not is told as ``failed``."""
        from portico.executors.daskworker import answer

        names = self._names()
        with self._asking():
            futures = {
                address: self._client.submit(
                    answer, content, [], self._owner, workers=[address], pure=False,
                    key=f"portico-{uuid.uuid4().hex}",
                )
                for address in names
            }  # fmt: skip
        answers: dict[str, dict[str, Any]] = {}
        deadline = time.monotonic() + _LOST_SECONDS
        for address, name in names.items():
            try:
                answers[name] = futures[address].result(timeout=max(deadline - time.monotonic(), 0.1))[0]
            except Exception as error:
                self._raise_if_gone(error)
                words = f"worker {name} did not answer: {' '.join(str(error).split()) or type(error).__name__}"
                answers[name] = {"failed": "lost", "message": words, "log": "", "metrics": {}}
        return answers

    def send_credentials(self, credentials: Credentials) -> None:
        """Send credentials to all workers; those that join later get them when they join."""
        from portico.executors.daskworker import SentPlugin

        with self._asking():
            self._send(SentPlugin(self._owner, credentials), "credentials")

    def _send(self, plugin: Any, kind: str) -> None:
        """Send to all workers, also later ones; what was sent before under this name is replaced."""
        name = f"portico-{kind}-{self._owner}"
        self._client.register_plugin(plugin, name=name)
        self._sent.add(name)

    def problems(self) -> list[str]:
        """Say why no worker is connected, in the batch system's words, once the patience of the site is over."""
        if self.workers:
            self._lonely_since = time.monotonic()
            return []
        if time.monotonic() - self._lonely_since < self._patience:
            return []
        told = self._site.problems() if self._site is not None else []
        return told or [f"no worker is connected to {self._address}; the run goes on when one joins"]

    @property
    def _patience(self) -> float:
        return self._site.site.patience if self._site is not None else 10.0

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Tell as the scheduler's loss what fails because of it."""
        try:
            yield
        except WorkerError:
            raise
        except Exception as error:
            self._raise_if_gone(error)
            raise

    def _raise_if_gone(self, cause: Exception | None = None) -> None:
        if self._client.status != "running":
            self._raise_gone(cause)

    def _raise_gone(self, cause: Exception | None) -> NoReturn:
        again = "start it again and run" if self._site is None else "run"
        raise WorkerError(
            f"the Dask scheduler at {self._address} is gone; what is done is kept; {again} the same command"
        ) from cause

    def _raise_if_hopeless(self) -> None:
        if self._site is not None and (why := self._site.hopeless()):
            raise WorkerError(f"{why}; try: portico site {self._site.site.name} --script")

    def cancel(self) -> None:
        """Cancel all tasks."""
        if self._running:
            with suppress(Exception):  # of a scheduler that is gone
                self._client.cancel([future for future, _ in self._running.values()], force=True)
            self._running.clear()
            self._pinned.clear()

    def close(self) -> None:
        """Leave the scheduler, and take what was sent along; stop the own cluster."""
        if self._client.status == "running":
            for name in self._sent:
                with suppress(Exception):  # of a scheduler that is gone
                    self._client.unregister_worker_plugin(name)
        with _quiet(self._client.status != "running"):
            self._client.close()
        self._stop_clusters()

    def _stop_clusters(self) -> None:
        if self._own is not None:
            self._own.close()
        if self._site is not None:
            self._site.close()


@contextmanager
def _quiet(lost: bool) -> Iterator[None]:
    """Keep a client quiet that lost its scheduler: that it cannot connect again is told already."""
    log = logging.getLogger("distributed.client")
    level = log.level
    if lost:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _unreachable(address: str | None, error: Exception) -> str:
    told = " ".join(str(error).split()) or type(error).__name__
    if address is None:
        return f"the Dask cluster cannot be reached: {told}"
    if address.startswith("tls://") and not isinstance(error, (OSError, TimeoutError)):
        return (
            f"no Dask scheduler can be reached at {address}: {told}; a tls:// address needs the cluster's certificates "
            "in Dask's configuration (distributed.comm.tls), see docs/facility.md"
        )
    return f"no Dask scheduler answers at {address}: {told}; is it running and reachable?"
