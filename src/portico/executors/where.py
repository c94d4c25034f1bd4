"""The choice of an executor: from the value of ``--on`` to an open executor."""

from __future__ import annotations

from pathlib import Path

from portico.clusters.site import RESERVED, Site, load_site, looks_like_a_file, sites
from portico.errors import ConfigError, nearest
from portico.executors.base import Executor
from portico.executors.plugins import installed, open_plugin, plugin_of

__all__ = ["check_options", "connect", "destinations", "job_script", "site_at"]

_ADDRESS = "tcp://HOST:PORT"


def connect(
    on: str = "local", workers: int | None = None, *, batch: str | Path | None = None, detach: bool = False,
    chunks_per_job: int | None = None,
) -> Executor:  # fmt: skip
    """Open an executor, for several runs one after the other; close it with its ``close()``.

    Parameters
    ----------
    on : str
        ``local``, processes of this machine; ``dask``, an own cluster on this machine; the address of a Dask
        scheduler, ``tcp://HOST:PORT`` or ``tls://HOST:PORT``; a site, by its name or its YAML file, on which a Dask
        cluster is started; or ``NAME`` or ``NAME+ADDRESS`` of an executor that another package adds.
    workers : int, optional
        How many; all cores by default; on a site, how many at most.
    batch : str or Path, optional
        The run folder, for plain batch jobs of the site, which go on without this process.
    detach : bool
        With ``batch``: stop waiting, with `portico.errors.Detached`, as soon as all jobs are submitted.
    chunks_per_job : int, optional
        With ``batch``: chunks that a job runs one after the other; by default there is a job for each worker, and no
        job has more than 100.

    Raises
    ------
    ConfigError
        If ``on`` names nothing, a site's file is wrong, or options are wrong or do not go together.
    WorkerError
        If what it names does not answer.
    """
    check_options(on, workers, batch=batch is not None, detach=detach, chunks_per_job=chunks_per_job)
    if batch is not None:
        from portico.executors.batch import open_batch

        return open_batch(on, Path(batch), workers=workers, chunks_per_job=chunks_per_job, detach=detach)
    if on == "local":
        from portico.executors.local import LocalExecutor

        return LocalExecutor(workers)
    if on not in RESERVED and (plugin := plugin_of(on)):
        return open_plugin(plugin, on, workers)
    from portico.executors.dask import DaskExecutor

    if on == "dask" or "://" in on:
        return DaskExecutor(None if on == "dask" else on, workers)
    from portico.clusters.base import start_cluster

    return DaskExecutor(cluster=start_cluster(load_site(on), workers))


def check_options(
    on: str, workers: int | None, *, batch: bool = False, detach: bool = False, chunks_per_job: int | None = None
) -> None:
    """Refuse options of `portico.run` that are wrong or do not go together, without opening anything.

    Raises
    ------
    ConfigError
        If an option is wrong.
    """
    for number, what in ((workers, "workers"), (chunks_per_job, "chunks per job")):
        if number is not None and number < 1:
            raise ConfigError(f"{number} {what} cannot run anything; give 1 or more")
    if batch:
        from portico.executors.batch import batch_site

        batch_site(on)
    elif detach or chunks_per_job is not None:
        option = "detach" if detach else "chunks-per-job"
        raise ConfigError(f"--{option} goes with --batch (in Python, {option.replace('-', '_')} with batch)")
    else:
        _check(on)


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
    site = site_at(on)
    if site is None:
        return None
    from portico.clusters.base import print_script

    return print_script(site)


def site_at(on: str) -> Site | None:
    """Return the site that ``on`` names, if it names one.

    Raises
    ------
    ConfigError
        If the site's file is wrong.
    """
    return None if on in RESERVED or "://" in on or plugin_of(on) else load_site(on)


def destinations() -> list[str]:
    """Return the words that may follow ``--on``, besides addresses and files."""
    return [*sorted(RESERVED), *installed(), *sites()]


def _check(on: str) -> None:
    scheme, is_address, _ = on.partition("://")
    known = "+" not in scheme if is_address else looks_like_a_file(on)
    if on not in destinations() and not known and not plugin_of(on):
        valid = [*destinations(), _ADDRESS, "your own site file (.yaml)"]
        hint = "; it comes with: pip install ./plugins/distrdf" if on.partition("+")[0] == "distrdf" else ""
        raise ConfigError(f"cannot run on '{on}'{hint}; {nearest(on, valid)}")
