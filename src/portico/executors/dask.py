"""Chunks on a Dask cluster: an address, an own one on this machine, or one that a site starts."""

from __future__ import annotations

import logging
import queue
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from portico.clusters.base import Cluster, runner_memory
from portico.environment.bundle import Bundle
from portico.environment.credentials import Credentials
from portico.errors import WorkerError
from portico.executors.base import Executor, Portion
from portico.executors.daskconnection import Connection, Restarts
from portico.executors.daskreport import performance_report
from portico.executors.homes import Homes
from portico.files.placement import Placement
from portico.worker.task import Done, Failed, FailureKind, Outcome, Task, outcome_of
from portico.worker.wire import Message

if TYPE_CHECKING:
    from distributed import Client, Future, Security

__all__ = ["DaskExecutor"]

logger = logging.getLogger(__name__)

_AHEAD = 2  # tasks per worker, so that none waits for the driver
_CALL_TICK = 1.0
_FETCH_SECONDS = 20.0  # within which a worker hands over results
_LOST_SECONDS = 30.0  # within which every worker must answer a message that is sent to all


class DaskExecutor(Executor):
    """Tasks of a Dask client; on each worker a process of portico's runs the chunks.

    A chunk that crashes takes that process with it, not the Dask worker.

    Parameters
    ----------
    address, workers, timeout, security
        As of `portico.executors.daskconnection.Connection`.
    cluster : Cluster, optional
        Of a site, by `portico.clusters.base.start_cluster`; is closed with the executor.

    Raises
    ------
    MissingExtra, WorkerError
        As of `portico.executors.daskconnection.Connection`.
    """

    def __init__(
        self, address: str | None = None, workers: int | None = None, timeout: float = 30,
        cluster: Cluster | None = None, security: Security | None = None,
    ) -> None:  # fmt: skip
        self._name = cluster.site.name if cluster is not None else address or "dask"
        self._running: dict[str, tuple[Future, Task]] = {}
        self._pinned: dict[str, frozenset[str]] = {}
        self._portion, self._calls = Portion(), 0
        self._credentials: Credentials | None = None
        self._ran = False
        self._restarts = Restarts()
        self._join(Connection(address, workers, timeout, cluster, security))

    def _join(self, connection: Connection) -> None:
        """Use a connection from now on; nothing is known of its workers yet."""
        self._connection, self._client, self._link = connection, connection.client, connection.link
        self._site, self._owner = connection.site, connection.client.id
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._hosts: dict[str, str] = {}  # of workers by name, as their outcomes tell
        self._homes = Homes()
        self._lonely_since = time.monotonic()
        if self._site is not None:
            self._site.adapt(lambda: len(self._running) + self._calls)

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
    def storage(self) -> Placement | None:
        """The storage sites that are read where the site's workers run."""
        return self._site.site.storage if self._site is not None else None

    def keep_away(self, machine: str) -> None:
        """Have the site start workers elsewhere, also in place of those on this machine."""
        if self._site is not None:
            self._site.keep_away(machine, [name for name, host in self._hosts.items() if host == machine])

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
            self._connection.send(RunnerPlugin(memory), "portico-runner")
            self._connection.send_own(SentPlugin(self._owner, bundle), "bundle")
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
        ended = self._ended  # that of this cluster
        future.add_done_callback(lambda done: ended.put(done.key))

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
        if any(isinstance(outcome, Done) for outcome in found):
            self._restarts.forget()
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
            self._restarts.forget()
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

        self._credentials = credentials
        with self._link.asking():
            self._connection.send_own(SentPlugin(self._owner, credentials), "credentials")

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

    @property
    def lost(self) -> str:
        """Why nothing can run any more: the scheduler is gone; empty as long as it answers."""
        return self._link.lost

    def renew(self, tell: Callable[[str], None]) -> bool:
        """Start a new cluster in place of one whose scheduler is gone, and send it the credentials.

        Raises
        ------
        PorticoError
            If it does not start.
        """
        if not self.lost or not self._connection.is_started_here:
            return False
        self._running.clear()
        self._pinned.clear()
        renewed = self._restarts.renew(self._connection, tell)
        if renewed is None:
            return False
        self._join(renewed)
        if self._credentials is not None:
            with suppress(WorkerError):  # of one that is gone already, which the next request tells
                self.send_credentials(self._credentials)
        return True

    def close(self) -> None:
        """Leave the scheduler, and take what was sent along; stop the cluster if it was started for this executor."""
        self._connection.close()
