"""Chunks on a Dask cluster: an address, an own one on this machine, or one that a site starts."""

from __future__ import annotations

import importlib.util
import logging
import os
import queue
import threading
import time
import traceback
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from portico.clusters.base import Cluster, runner_memory
from portico.environment.bundle import Bundle
from portico.environment.credentials import Credentials
from portico.errors import MissingExtra, WorkerError
from portico.executors.base import Executor, Portion
from portico.executors.daskreport import performance_report, watch_tasks
from portico.executors.daskscheduler import SchedulerLink, unreachable
from portico.executors.homes import Homes
from portico.worker.task import Done, Failed, FailureKind, Outcome, Task, outcome_of
from portico.worker.wire import Message

if TYPE_CHECKING:
    from distributed import Client, Future, Security

__all__ = ["DaskExecutor"]

logger = logging.getLogger(__name__)

_AHEAD = 2  # tasks per worker, so that none waits for the driver
_CALL_TICK = 1.0
_SEND_SECONDS = 60.0  # within which every worker takes what is sent to all; one that is stopped gets it later
_FETCH_SECONDS = 20.0  # within which a worker hands over results
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
        from distributed.comm.addressing import get_address_host_port

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
        self._ran = False
        self._hosts: dict[str, str] = {}  # of workers by name, as their outcomes tell
        self._homes = Homes()
        try:
            if address and address.startswith(("tcp://", "tls://")):
                get_address_host_port(address)  # the client would end with a wrong one after a minute, and badly
            self._client: Client = Client(address or target, security=security, timeout=timeout, set_as_default=False)
        except (OSError, TimeoutError, TypeError, ValueError, RuntimeError, ImportError) as error:
            self._stop_clusters()
            raise WorkerError(unreachable(address, error)) from error
        self._owner = self._client.id
        self._link = SchedulerLink(self._client, "start it again and " if cluster is None else "")
        watch_tasks(self._client, self._link)
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
        return int(self._link.counts["n_workers"])

    @property
    def dashboard(self) -> str:
        """Address of the scheduler's dashboard; empty if it has none."""
        with suppress(Exception):  # it has no dashboard, and what distributed raises then is not documented
            link = str(self._client.dashboard_link)
            return link if link.startswith(("http://", "https://", "/")) else ""  # "/": below the address of a hub
        return ""

    @property
    def free(self) -> int:
        """How many tasks may be submitted: some for each worker, also for those that a site may yet start."""
        threads = int(self._link.counts["total_threads"])
        expected = max(threads, self._site.maximum if self._site is not None else 1)
        return max(_AHEAD * expected - len(self._running), 0)

    def prepare(self, bundle: Bundle) -> None:
        """Send the bundle to all workers; those that join later get it when they join."""
        from portico.executors.daskworker import RunnerPlugin, SentPlugin

        memory = runner_memory(self._site.site) if self._site is not None else None
        try:
            self._send(RunnerPlugin(memory), "portico-runner")
            self._send_own(SentPlugin(self._owner, bundle), "bundle")
        except WorkerError:
            raise
        except Exception as error:
            raise WorkerError(
                f"the Dask cluster cannot load the analysis: {error}; its scheduler and workers need the same "
                "versions of portico, dask and Python as this process"
            ) from error

    def submit(self, task: Task) -> None:
        """Submit a task; workers that failed on it get it only if there are no others.

        Otherwise it goes to a machine that keeps its columns, or to another one if those there are busy.
        """
        from portico.executors.daskworker import execute

        self._ran = True
        name = f"portico-{task.key}-{task.attempt}"
        if name in self._running:  # the same chunk in halves: keys tell tasks apart
            name = f"{name}-{uuid.uuid4().hex}"
        others = self._others(task.avoid) if task.avoid else []
        near = [] if others or not task.source else self._homes.near(task, self._link.names())
        with self._link.asking():
            future = self._client.submit(
                execute, task.to_json(), self._owner, key=name, pure=False, retries=0, workers=others or near or None,
                allow_other_workers=bool(near),
            )  # fmt: skip
        if others:
            self._pinned[name] = frozenset(others)
        self._running[name] = (future, task)
        future.add_done_callback(lambda done: self._ended.put(done.key))

    def _others(self, avoid: tuple[str, ...]) -> list[str]:
        """Return the addresses of workers that are neither avoided nor on machines that are, or else of the former."""
        names = {address: name for address, name in self._link.names().items() if name not in avoid}
        elsewhere = [address for address, name in names.items() if self._hosts.get(name, "") not in avoid]
        return elsewhere or list(names)

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
        outcomes = [self._outcome(name, fetched.get(name)) for name in ended]
        found = [outcome for outcome in outcomes if outcome is not None]
        known = (outcome.metrics for outcome in found if "worker" in outcome.metrics)
        self._hosts |= {str(metrics["worker"]): str(metrics.get("host", "")) for metrics in known}
        self._learn_homes(found)
        self._portion.learn(found)
        if not found:
            self._link.raise_if_gone()
            self._raise_if_hopeless()
            found = self._stranded() if self._pinned else []
        return found

    def _learn_homes(self, outcomes: list[Outcome]) -> None:
        done = [outcome for outcome in outcomes if isinstance(outcome, Done) and outcome.task.source]
        addresses = {name: address for address, name in self._link.names().items()} if done else {}
        for outcome in done:
            if address := addresses.get(str(outcome.metrics.get("worker"))):
                self._homes.learn(outcome.task, address)

    def _stranded(self) -> list[Outcome]:
        """Give back the tasks that were kept from some workers, when all others are gone."""
        here = self._link.names().keys()
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
            gather, asked = self._client._gather, list(futures.values())
            return dict(zip(futures, self._link.sync(gather, asked, seconds=_FETCH_SECONDS), strict=True))
        except Exception:  # each is asked for alone, and says what is wrong with it
            return {}

    def _outcome(self, name: str, fetched: Message | None) -> Outcome | None:
        """Return the outcome of a task; None if it has to be asked for again."""
        from distributed import KilledWorker

        future, task = self._forget(name)
        raised = future.status == "error"
        try:
            message = fetched or future.result(timeout=_FETCH_SECONDS)
        except KilledWorker as error:
            died: Mapping[str, Any] = {"worker": str(error.last_worker.name)}
            return Failed(task, FailureKind.LOST, f"the workers that worked on it died: {error}", metrics=died)
        except Exception as error:
            if raised:
                log = "".join(traceback.format_exception(error))
                return Failed(task, FailureKind.INTERNAL, f"{type(error).__name__}: {error}", log)
            self._link.raise_if_gone(error)
            if self._link.problem:  # it is the scheduler that does not answer, and may do so again
                self._running[name] = future, task
                self._ended.put(name)
                return None
            future.release()
            return Failed(task, FailureKind.LOST, f"its result was lost with its worker: {error}")
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
            with self._link.asking():
                future = self._client.submit(
                    answer, content, blobs, self._owner, key=f"portico-{uuid.uuid4().hex}", pure=False
                )
            # Not by result(timeout) again and again: where the timeout meets the result, distributed fails at times.
            ended, told = threading.Event(), time.monotonic()
            future.add_done_callback(lambda _: ended.set())
            while True:
                if ended.wait(_CALL_TICK):
                    with suppress(TimeoutError):
                        reply: Message = future.result(timeout=_FETCH_SECONDS)
                        break
                self._link.raise_if_gone()
                self._raise_if_hopeless()
                if time.monotonic() - told > self._patience:
                    told = time.monotonic()
                    for problem in self.problems():
                        logger.warning("%s", problem)
        except WorkerError:
            raise
        except Exception as error:
            self._link.raise_if_gone(error)
            raise WorkerError(f"the workers died during '{content['op']}': {error}") from error
        else:
            return reply
        finally:
            self._calls = 0

    def call_all(self, content: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Have every worker answer a message; one that does not is told as ``failed``."""
        from portico.executors.daskworker import answer

        names = self._link.names()
        with self._link.asking():
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
                self._link.raise_if_gone(error)
                words = f"worker {name} did not answer: {' '.join(str(error).split()) or type(error).__name__}"
                answers[name] = {"failed": "lost", "message": words, "log": "", "metrics": {}}
        return answers

    def send_credentials(self, credentials: Credentials) -> None:
        """Send credentials to all workers; those that join later get them when they join."""
        from portico.executors.daskworker import SentPlugin

        with self._link.asking():
            self._send_own(SentPlugin(self._owner, credentials), "credentials")

    def _send_own(self, plugin: Any, kind: str) -> None:
        """Send to all workers, also later ones; what was sent before under this name is replaced."""
        name = f"portico-{kind}-{self._owner}"
        self._sent.add(name)
        self._send(plugin, name)

    def _send(self, plugin: Any, name: str) -> None:
        register = self._client._register_worker_plugin
        idempotent = bool(getattr(plugin, "idempotent", False))
        try:
            with self._link.asking():
                self._link.sync(register, plugin, name, idempotent, seconds=_SEND_SECONDS)
        except TimeoutError:  # all others have it
            words = f"a Dask worker has not taken the analysis within {_SEND_SECONDS:.0f} s; is one stopped?"
            logger.warning("%s", self._link.problem or words)

    def problems(self) -> list[str]:
        """Say that the scheduler is silent, or why no worker is connected, in the batch system's words."""
        if silent := self._link.problem:
            return [silent]
        if self.workers:
            self._lonely_since = time.monotonic()
            return self._link.silent_workers()
        if time.monotonic() - self._lonely_since < self._patience:
            return []
        told = self._site.problems() if self._site is not None else []
        return told or [f"no worker is connected to {self._link.address}; the run continues when one joins"]

    @property
    def _patience(self) -> float:
        return self._site.site.patience if self._site is not None else 10.0

    def _raise_if_hopeless(self) -> None:
        if self._site is not None and (why := self._site.hopeless()):
            raise WorkerError(f"{why}; try: portico site {self._site.site.name} --script")

    def own_report(self, since: float) -> str | None:
        """Return Dask's performance report; none if no task ran since the last one."""
        ran, self._ran = self._ran, False
        if not ran:
            return None
        return performance_report(self._client, self._link, since)

    def cancel(self) -> None:
        """Cancel all tasks."""
        if self._running:
            with suppress(Exception):  # of a scheduler that is gone
                self._client.cancel([future for future, _ in self._running.values()], force=True)
            self._running.clear()
            self._pinned.clear()

    def close(self) -> None:
        """Leave the scheduler, and take what was sent along; stop the own cluster."""
        self._link.close(self._sent)
        self._stop_clusters()

    def _stop_clusters(self) -> None:
        if self._own is not None:
            self._own.close()
        if self._site is not None:
            self._site.close()
