"""Clusters through Dask Gateway, a facility's own service that starts scheduler and workers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import yaml

from portico.clusters.base import Cluster, limit, need, one_line
from portico.clusters.site import Site
from portico.errors import ConfigError, WorkerError, nearest

__all__ = ["script", "start"]

_CLIENT = ("address", "proxy_address", "public_address", "auth")


def script(site: Site) -> str:
    """Return the request to the gateway, which writes the jobs itself."""
    request = {"gateway": site.options.get("address", "of Dask's configuration"), "options": _requested(site)}
    return "# Dask Gateway writes the jobs itself; this is the request:\n" + yaml.safe_dump(request, sort_keys=False)


def start(site: Site, workers: int | None) -> _Gateway:
    """Request a cluster from the gateway.

    Raises
    ------
    ConfigError
        If the gateway has no such option.
    WorkerError
        If it does not answer, or refuses.
    """
    need("gateway", "Dask Gateway", ["dask_gateway", "distributed"])
    return _Gateway(site, workers)


@functools.cache
def _loop() -> Any:
    """Return the loop of this process for all gateways.

    It is never stopped: the clients of dask-gateway use theirs once more when they are collected, whenever that is, and
    print a traceback if it is gone.
    """
    from distributed.utils import LoopRunner

    runner: Any = LoopRunner()
    runner.start()
    return runner.loop


def _requested(site: Site) -> dict[str, Any]:
    requested = {key: value for key, value in site.options.items() if key not in _CLIENT}
    return {**({"environment": site.environment} if site.environment else {}), **requested}


def _choose(site: Site, options: Any) -> None:
    """Set the gateway's options; each gateway has its own."""
    for key, value in _requested(site).items():
        if key not in options:
            raise ConfigError(f"site '{site.name}': the gateway has no option '{key}'; {nearest(key, options)}")
        options[key] = value


class _Gateway(Cluster):
    def __init__(self, site: Site, workers: int | None) -> None:
        from dask_gateway import Gateway

        self.site, self.maximum = site, limit(site, workers)
        self._gateway: Any = None
        client = {key: site.options[key] for key in _CLIENT if key in site.options}
        try:
            self._gateway = Gateway(**client, loop=_loop())
            options = self._gateway.cluster_options()
            _choose(site, options)
            self.dask = self._gateway.new_cluster(options, shutdown_on_close=True)
        except ConfigError:
            raise
        except Exception as error:  # of aiohttp, and the gateway's own
            where = site.options.get("address", "the address of Dask's configuration (gateway.address)")
            raise WorkerError(
                f"site '{site.name}': the gateway at {where} did not start a cluster: {one_line(error)}; check "
                "'options.address', 'options.auth', and your login"
            ) from error

    def adapt(self, demand: Callable[[], int]) -> None:  # noqa: ARG002 (the gateway asks the scheduler itself)
        """Let the gateway adapt between minimum and maximum."""
        if self.site.minimum >= self.maximum:
            self.dask.scale(self.maximum)
        else:
            self.dask.adapt(minimum=max(self.site.minimum, 1), maximum=self.maximum)

    def problems(self) -> list[str]:
        """Return the state of the cluster; the gateway does not report on single workers."""
        try:
            states = {report.name: report.status.name.lower() for report in self._gateway.list_clusters()}
        except Exception as error:  # of aiohttp, and the gateway's own
            return [f"Dask Gateway does not answer: {one_line(error)}"]
        if self.dask.name not in states:
            return [f"Dask Gateway: cluster {self.dask.name} no longer exists; run the same command again"]
        text = f"Dask Gateway: cluster {self.dask.name} is {states[self.dask.name]} and has no worker yet; the gateway "
        return [text + "does not report why: ask its administrator, or check its batch system or pods"]

    def close(self) -> None:
        """Stop the cluster."""
        with suppress(TimeoutError):
            self.dask.close(shutdown=True)
        self._gateway.close()
