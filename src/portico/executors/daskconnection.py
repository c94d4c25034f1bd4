"""The connection of an executor to a Dask cluster: to a given scheduler, or to a cluster that was started for it."""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from portico.clusters.base import Cluster, start_cluster
from portico.errors import MissingExtra, WorkerError
from portico.executors.daskreport import watch_tasks
from portico.executors.daskscheduler import SchedulerLink, unreachable

if TYPE_CHECKING:
    from distributed import Client, Security

__all__ = ["Connection", "Restarts"]

logger = logging.getLogger(__name__)

_SEND_SECONDS = 60.0  # within which every worker takes what is sent to all; one that is stopped gets it later
_ENDED = {"closing", "closing_gracefully", "closed", "failed"}
_CLOSE_SECONDS = 30.0  # for the workers of a cluster whose scheduler may be gone
_TRIES = 3  # new clusters in a row, without a chunk that was done on any of them
_PAUSE_SECONDS = 10.0  # before the next one, if one does not start


class Connection:
    """A client, and the cluster behind it.

    Parameters
    ----------
    address : str, optional
        Of a scheduler; a cluster inside this process, which opens no port, is started by default.
    workers : int, optional
        Of the cluster inside this process; all cores by default.
    timeout : float
        Seconds to wait for a scheduler.
    site : Cluster, optional
        Cluster of a site; closed with the connection.
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
        self, address: str | None, workers: int | None, timeout: float, site: Cluster | None, security: Security | None
    ) -> None:
        if importlib.util.find_spec("distributed") is None:
            raise MissingExtra("dask", "running on Dask")
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port

        from portico.clusters.silent import local_cluster

        self.site, self._workers, self._timeout, self._own = site, workers, timeout, None
        self._closed, self._sent = False, set[str]()
        self.is_started_here = address is None
        """Whether the cluster was started for this connection, so that another one may take its place."""
        if address is None and site is None:
            # The chunks run in processes of their own anyway: the workers may live in this one.
            self._own = local_cluster(workers or len(os.sched_getaffinity(0)))
        target = self._own if site is None else site.dask
        try:
            if address and address.startswith(("tcp://", "tls://")):
                get_address_host_port(address)  # the client would end with a wrong one after a minute, and badly
            self.client: Client = Client(address or target, security=security, timeout=timeout, set_as_default=False)
        except (OSError, TimeoutError, TypeError, ValueError, RuntimeError, ImportError) as error:
            self._stop_clusters()
            raise WorkerError(unreachable(address, error)) from error
        again = "" if self.is_started_here else "start it again and "
        try:
            self.link = SchedulerLink(self.client, again, self._has_ended)
            watch_tasks(self.client, self.link)
        except BaseException:
            self._stop_clusters()
            raise

    def _has_ended(self) -> bool:
        """Return whether the scheduler has ended: of one in this process, its clients are not informed."""
        cluster = self._own if self.site is None else self.site.dask
        status = getattr(getattr(cluster, "scheduler", None), "status", None)
        return getattr(status, "name", "") in _ENDED

    def again(self) -> Connection:
        """Return a connection to a new cluster of the same kind; this one has to be closed.

        Raises
        ------
        PorticoError
            If the cluster does not start.
        """
        site = start_cluster(self.site.site, self.site.maximum) if self.site is not None else None
        return Connection(None, self._workers, self._timeout, site, None)

    def send_own(self, plugin: Any, kind: str) -> None:
        """Send a plugin to all workers, also later ones; what was sent before under this name is replaced."""
        name = f"portico-{kind}-{self.client.id}"
        self._sent.add(name)
        self.send(plugin, name)

    def send(self, plugin: Any, name: str) -> None:
        """Send a plugin that belongs to all drivers of the cluster, and stays there."""
        register = self.client._register_worker_plugin
        idempotent = bool(getattr(plugin, "idempotent", False))
        try:
            with self.link.asking():
                self.link.sync(register, plugin, name, idempotent, seconds=_SEND_SECONDS)
        except TimeoutError:  # all others have it
            words = f"a Dask worker has not taken the analysis within {_SEND_SECONDS:.0f} s; is one stopped?"
            logger.warning("%s", self.link.problem or words)

    def close(self) -> None:
        """Leave the scheduler, and take along what belongs to this driver; stop the cluster if it was started here."""
        if not self._closed:
            self._closed = True
            lost = bool(self.link.lost)
            self.link.close(self._sent)
            with _impatient() if lost else nullcontext():
                self._stop_clusters()

    def _stop_clusters(self) -> None:
        if self._own is not None:
            own: Any = self._own
            with suppress(TimeoutError):
                own.close(timeout=_CLOSE_SECONDS)
        if self.site is not None:
            self.site.close()


@contextmanager
def _impatient() -> Iterator[None]:
    """Do not wait for a scheduler that is gone: Dask asks it to end, and would try to connect for half a minute."""
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        yield


class Restarts:
    """The new clusters of an executor in place of lost ones: a few in a row, until one gets something done."""

    def __init__(self) -> None:
        self._tries = 0

    def forget(self) -> None:
        """Take note that the present cluster works."""
        self._tries = 0

    def renew(self, lost: Connection, tell: Callable[[str], None]) -> Connection | None:
        """Close a lost connection and return one to a new cluster; None if too many were started in a row.

        Parameters
        ----------
        lost : Connection
            Its scheduler is gone.
        tell : callable
            Takes what the user is to know.

        Raises
        ------
        PorticoError
            If no cluster starts.
        """
        why = lost.link.lost
        while self._tries < _TRIES:
            self._tries += 1
            tell(f"{why}; what is done is kept, and the run continues on a new cluster ({self._tries} of at most "
                 f"{_TRIES} in a row)")  # fmt: skip
            lost.close()
            try:
                return lost.again()
            except WorkerError as error:
                if self._tries == _TRIES:
                    raise
                why = str(error)
                time.sleep(_PAUSE_SECONDS)
        tell(f"{why}; {_TRIES} new clusters in a row were lost before a chunk was done; no other one is started")
        return None
