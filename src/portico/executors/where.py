"""Where a run goes: from what follows ``--on`` to an open executor."""

from __future__ import annotations

from portico.clusters.site import RESERVED, load_site, looks_like_a_file, sites
from portico.errors import ConfigError, nearest
from portico.executors.base import Executor

__all__ = ["job_script", "open_executor", "places"]

_ADDRESS = "tcp://HOST:PORT"
_DISTRDF = "distrdf+"


def open_executor(on: str, workers: int | None) -> Executor:
    """Open the executor that ``on`` names.

    Parameters
    ----------
    on : str
        ``local``; ``dask``, an own cluster on this machine; the address of a Dask scheduler, ``tcp://HOST:PORT`` or
        ``tls://HOST:PORT``; a site, by its name or its YAML file, on which a Dask cluster is started; or ``distrdf``
        and ``distrdf+tcp://HOST:PORT``, ROOT's own distributed RDataFrame.
    workers : int, optional
        How many; on a site, how many at most.

    Raises
    ------
    ConfigError
        If it names nothing, or a site's file is wrong.
    WorkerError
        If what it names does not answer.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"{workers} workers cannot run anything; give 1 or more")
    _check(on)
    if on == "local":
        from portico.executors.local import LocalExecutor

        return LocalExecutor(workers)
    if on == "distrdf" or on.startswith(_DISTRDF):
        from portico_distrdf.executor import DistrdfExecutor

        return DistrdfExecutor(on.removeprefix(_DISTRDF) if on != "distrdf" else None, workers)
    from portico.executors.dask import DaskExecutor

    if on == "dask" or "://" in on:
        return DaskExecutor(None if on == "dask" else on, workers)
    from portico.clusters.base import start_cluster

    return DaskExecutor(cluster=start_cluster(load_site(on), workers))


def job_script(on: str) -> str | None:
    """Return what would be submitted or started for one job where ``on`` names a site, else nothing.

    Raises
    ------
    ConfigError
        If ``on`` names nothing, or the site's file is wrong.
    MissingExtra
        If the library that writes it is not installed.
    """
    _check(on)
    if on in RESERVED or "://" in on:
        return None
    from portico.clusters.base import print_script

    return print_script(load_site(on))


def places() -> list[str]:
    """Return the words that may follow ``--on``, besides addresses and files."""
    return [*sorted(RESERVED), *sites()]


def _check(on: str) -> None:
    if on not in places() and "://" not in on and not looks_like_a_file(on):
        raise ConfigError(f"cannot run on '{on}'; {nearest(on, [*places(), _ADDRESS, 'a site file of yours (.yaml)'])}")
