"""Where a run goes: from what follows ``--on`` to an open executor."""

from __future__ import annotations

from portico.errors import ConfigError, nearest
from portico.executors.base import Executor

__all__ = ["open_executor"]


def open_executor(on: str, workers: int | None) -> Executor:
    """Open the executor that ``on`` names: ``local``, ``dask`` or the address of a Dask scheduler.

    Raises
    ------
    ConfigError
        If it names none.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"{workers} workers cannot run anything; give 1 or more")
    if on == "local":
        from portico.executors.local import LocalExecutor

        return LocalExecutor(workers)
    if on == "dask" or "://" in on:
        from portico.executors.dask import DaskExecutor

        return DaskExecutor(None if on == "dask" else on, workers)
    raise ConfigError(f"cannot run on '{on}'; {nearest(on, ['local', 'dask', 'tcp://HOST:PORT'])}")
