"""Dask schedulers and workers that open no HTTP port and keep their files where no other user can write.

Dask serves pages and metrics over plain HTTP beside every scheduler and worker, also without a dashboard; a worker's
port is open on all interfaces by default. Nothing here reads them. Workers of batch jobs are started with
``--worker-class portico.clusters.silent.SilentWorker --no-dashboard``.

A scheduler whose site asks for a dashboard serves it below a secret path only: Dask's pages have no password, and every
user of a machine reaches a port of its loopback. The link that the user gets has the path.

Dask keeps the files of all users of a machine in one folder below ``/tmp``, and puts it on ``sys.path``. Whoever makes
that folder first could replace what is in it, and what another user leaves there makes Dask print errors. Importing
this module gives Dask a folder that belongs to this user, unless the user's configuration names one.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import dask
import tornado.routing
from distributed import Nanny, Scheduler, SpecCluster, Worker

__all__ = ["SilentNanny", "SilentScheduler", "SilentWorker", "local_cluster"]

_SCHEDULER: Any = Scheduler  # which have no types
_WORKER: Any = Worker
_NANNY: Any = Nanny


_SECRET = secrets.token_urlsafe(24)  # of the dashboards of this process


def _own_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"portico-dask-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
    return folder if is_own else Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))


if dask.config.get("temporary-directory") is None:
    dask.config.set({"temporary-directory": str(_own_folder())})


class SilentWorker(_WORKER):  # type: ignore[misc]
    """A Dask worker without an HTTP server, unless it is told to have a dashboard."""

    def start_http_server(self, *args: Any, **options: Any) -> None:
        """Start the HTTP server only for a dashboard; ``dask worker`` has an address for it in any case."""
        if self._dashboard:
            super().start_http_server(*args, **options)


class SilentScheduler(_SCHEDULER):  # type: ignore[misc]
    """A Dask scheduler without an HTTP server, unless an address is given for it; then below a secret path."""

    def start_http_server(self, routes: Any, dashboard_address: Any, *args: Any, **options: Any) -> None:
        """Start the HTTP server only at an address that was asked for."""
        if dashboard_address:
            super().start_http_server(routes, dashboard_address, *args, **options)
            self.http_server.request_callback = _Secret(self.http_application)
            template = str(dask.config.get("distributed.dashboard.link"))
            if f"/{_SECRET}/" not in template:
                head, _, page = template.rpartition("/")
                dask.config.set({"distributed.dashboard.link": f"{head}/{_SECRET}/{page}"})


class _Secret(tornado.routing.Router):
    """Hands requests below the secret path to an application, as if the path were not there; others find nothing."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def find_handler(self, request: Any, **options: Any) -> Any:
        """Return what handles a request; none if it does not know the secret."""
        _, given, rest = (*request.path.split("/", 2), "", "")[:3]
        if not hmac.compare_digest(given.encode(), _SECRET.encode()):
            return None
        request.path = f"/{rest}"
        request.uri = f"/{request.uri.split('/', 2)[2]}" if rest else "/"
        return self._application.find_handler(request, **options)


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
