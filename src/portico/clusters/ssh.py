"""Dask clusters over SSH: the scheduler in this process, workers on other machines."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from portico.clusters.base import DEATH_SECONDS, Cluster, limit, log_folder, need, one_line, prefix, python_of
from portico.clusters.site import Site
from portico.errors import ConfigError, WorkerError

__all__ = ["script", "start"]

_OURS = {"hosts"}


def script(site: Site) -> str:
    """Return the command for each host, without starting it."""
    hosts = _hosts(site, None)
    return (
        "".join(f"# on {host}\n" for host in hosts)
        + f"{_python(site, log_folder(site))} -m distributed.cli.dask_spec tls://SCHEDULER:PORT "
        + f"# {site.cores} worker{'s' if site.cores > 1 else ''} of one thread\n"
    )


def start(site: Site, workers: int | None) -> _SSH:
    """Start a scheduler in this process, and workers on all hosts.

    Raises
    ------
    WorkerError
        If a host cannot be reached, or no worker starts there.
    """
    need("ssh", "Dask over SSH", ["distributed", "asyncssh", "cryptography"])
    return _SSH(site, workers)


def _hosts(site: Site, workers: int | None) -> list[str]:
    hosts = site.options.get("hosts")
    if not isinstance(hosts, list):
        raise ConfigError(f"site '{site.name}': 'options.hosts' must be a list, for example [node1, node2]")
    return hosts[: limit(site, workers) // site.cores]


def _python(site: Site, folder: Path) -> str:
    python = prefix(site, folder) + python_of(site)
    variables = {**site.environment, **({"TMPDIR": site.scratch} if site.scratch else {})}
    return f"env {shlex.join(f'{name}={value}' for name, value in variables.items())} {python}" if variables else python


class _SSH(Cluster):
    """A cluster of fixed workers; a nanny on each host restarts workers that die."""

    def __init__(self, site: Site, workers: int | None) -> None:
        from portico.clusters.silent import SilentScheduler
        from portico.clusters.tls import Keys

        distributed: Any = importlib.import_module("distributed")  # only partly typed
        hosts, folder = _hosts(site, workers), log_folder(site)
        self.site, self.maximum = site, len(hosts) * site.cores
        self._keys = Keys(folder)
        security = self._keys.security()
        options = {
            "n_workers": site.cores, "nthreads": 1, "death_timeout": DEATH_SECONDS, "memory_limit": 0,
            "protocol": "tls://", "security": _for_workers(security),
            **({"interface": site.interface} if site.interface else {}),
            **({"local_directory": site.scratch} if site.scratch else {}),
        }  # fmt: skip
        connect = {key: value for key, value in site.options.items() if key not in _OURS}
        scheduler = {"protocol": "tls://", "security": security, "dashboard": False, "port": 0}
        if site.interface:
            scheduler["interface"] = site.interface
        spec = {
            host: {"cls": _worker_class(), "options": {
                "address": host, "connect_options": connect, "kwargs": options,
                "remote_python": _python(site, folder), "worker_class": "portico.clusters.silent.SilentNanny",
            }}
            for host in hosts
        }  # fmt: skip
        try:
            self.dask = distributed.SpecCluster(
                workers=spec, scheduler={"cls": SilentScheduler, "options": scheduler}, security=security,
                name=site.name, silence_logs="error",
            )  # fmt: skip
        except WorkerError:
            self._keys.remove()
            raise
        except (RuntimeError, OSError, TypeError, ValueError) as error:
            self._keys.remove()
            raise WorkerError(f"site '{site.name}': cannot start the Dask scheduler: {error}") from error

    def adapt(self, demand: Callable[[], int]) -> None:
        """Do nothing: all hosts have their workers from the start."""

    def problems(self) -> list[str]:
        """Return that workers are missing, and the hosts on which they were started."""
        present = len(self.dask.scheduler_info["workers"])
        if present >= self.maximum:
            return []
        hosts = ", ".join(_hosts(self.site, self.maximum))
        return [f"SSH: {present} of {self.maximum} workers are connected; check that these machines are up: {hosts}"]

    def close(self) -> None:
        """Stop workers and scheduler."""
        super().close()
        self._keys.remove()


def _worker_class() -> type[Any]:
    ssh: Any = importlib.import_module("distributed.deploy.ssh")

    class HostWorker(ssh.Worker):  # type: ignore[misc]
        """Workers of one host, whose errors name it."""

        async def start(self) -> None:
            try:
                await super().start()
            except Exception as error:
                raise WorkerError(
                    f"no worker could be started on {self.address}: {one_line(error)}; check: ssh {self.address} "
                    f"'{self.remote_python} -c \"import portico, distributed\"'"
                ) from error

    return HostWorker


def _for_workers(security: Any) -> dict[str, Any]:
    """Return the settings with which a worker finds its keys, ready for JSON."""
    settings = security.get_tls_config_for_role("worker")
    return {
        "require_encryption": True, "tls_ca_file": settings["ca_file"], "tls_worker_cert": settings["cert"],
        "tls_worker_key": settings["key"],
    }  # fmt: skip
