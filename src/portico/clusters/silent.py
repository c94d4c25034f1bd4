"""Dask schedulers and workers that open no HTTP port.

Dask serves pages and metrics over plain HTTP beside every scheduler and worker, also without a dashboard; a worker's
port is open on all interfaces by default. Nothing here reads them. Workers of batch jobs are started with
``--worker-class portico.clusters.silent.SilentWorker --no-dashboard``.
"""

from __future__ import annotations

from typing import Any

from distributed import Nanny, Scheduler, SpecCluster, Worker

__all__ = ["SilentNanny", "SilentScheduler", "SilentWorker", "local_cluster"]

_SCHEDULER: Any = Scheduler  # which have no types
_WORKER: Any = Worker
_NANNY: Any = Nanny


class SilentWorker(_WORKER):  # type: ignore[misc]
    """A Dask worker without an HTTP server, unless it is told to have a dashboard."""

    def start_http_server(self, *args: Any, **options: Any) -> None:
        """Start the HTTP server only for a dashboard; ``dask worker`` has an address for it in any case."""
        if self._dashboard:
            super().start_http_server(*args, **options)


class SilentScheduler(_SCHEDULER):  # type: ignore[misc]
    """A Dask scheduler without an HTTP server, unless an address is given for it."""

    def start_http_server(self, routes: Any, dashboard_address: Any, *args: Any, **options: Any) -> None:
        """Start the HTTP server only at an address that was asked for."""
        if dashboard_address:
            super().start_http_server(routes, dashboard_address, *args, **options)


class SilentNanny(_NANNY):  # type: ignore[misc]
    """A nanny of such a worker; Dask's commands over SSH name the class of the nanny only."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"worker_class": SilentWorker, **options})


def local_cluster(workers: int, security: Any = None) -> Any:
    """Start a scheduler in this process, and workers as threads of it.

    Parameters
    ----------
    workers : int
        How many workers of one thread. More may connect if there are keys.
    security : Security, optional
        TLS keys: the scheduler then listens on this machine's loopback. Without, it opens no port.

    Returns
    -------
    SpecCluster
        As a Dask client takes it.
    """
    where = {"protocol": "tls://", "host": "127.0.0.1", "security": security} if security else {"protocol": "inproc://"}
    worker = {"cls": SilentWorker, "options": {**where, "nthreads": 1, "memory_limit": 0, "silence_logs": "warning"}}
    return SpecCluster(  # type: ignore[no-untyped-call]
        workers=dict.fromkeys(range(workers), worker), worker=worker, security=security, silence_logs="warning",
        scheduler={"cls": SilentScheduler, "options": {**where, "port": 0, "dashboard": False}},
    )  # fmt: skip
