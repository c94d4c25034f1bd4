"""Portico on Dask workers of one thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.table.contenders import portico
from bench.table.contenders.distrdf import cluster
from bench.table.inputs import Input


class Contender(portico.Contender):
    """A cluster whose workers have just started, and sessions on it."""

    IS_READY = True

    def __init__(self, given: Input, workers: int, folder: Path) -> None:
        self._cluster, self._client = cluster(workers, folder)
        super().__init__(given, workers, folder)

    def _connect(self, workers: int) -> Any:
        from portico import connect

        return connect(self._cluster.scheduler_address)

    def close(self) -> None:
        """End the session and the cluster."""
        super().close()
        self._client.close()
        self._cluster.close()
