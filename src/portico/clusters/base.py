"""What a Dask cluster of a site can do, and what all kinds of them share."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from portico.clusters.site import Kind, Site
from portico.errors import MissingExtra, WorkerError

__all__ = [
    "Cluster", "lifetime", "limit", "log_folder", "need", "prefix", "print_script", "python_of", "runner_memory",
    "start_cluster", "worker_options",
]  # fmt: skip

DEATH_SECONDS = 120
"""After which a worker that finds no scheduler ends."""

_MODULES: dict[Kind, str] = {
    "htcondor": "portico.clusters.htcondor",
    "slurm": "portico.clusters.slurm",
    "ssh": "portico.clusters.ssh",
    "kubernetes": "portico.clusters.kubernetes",
    "gateway": "portico.clusters.gateway",
}
_MARGIN, _SHARE, _LEAST = 300, 10, 10  # seconds that are left to end a chunk: 5 minutes, at most a tenth, at least 10
_DASK_BYTES = 200_000_000  # of a Dask worker and its nanny: 130 MB resident when they have just started


class Cluster(Protocol):
    """A Dask cluster that was started for one run."""

    @property
    def site(self) -> Site:
        """Its settings."""

    @property
    def dask(self) -> Any:
        """What a Dask client takes."""

    @property
    def maximum(self) -> int:
        """How many workers there may be."""

    def adapt(self, demand: Callable[[], int]) -> None:
        """Keep as many workers as there is work for, between minimum and maximum, from now on.

        Parameters
        ----------
        demand : callable
            How many workers would have something to do; called often, from another thread.
        """

    def problems(self) -> list[str]:
        """Say why workers are missing, in the words of the system beneath."""

    def hopeless(self) -> str:
        """Say why no worker can ever come; empty as long as one may."""

    def close(self) -> None:
        """Stop scheduler and workers."""


def start_cluster(site: Site, workers: int | None = None) -> Cluster:
    """Start the Dask cluster of a site.

    Parameters
    ----------
    site : Site
        Its settings.
    workers : int, optional
        How many workers at most; those of the site by default.

    Raises
    ------
    MissingExtra
        If the library for it is not installed.
    ConfigError
        If the site's settings are refused by the library.
    WorkerError
        If the system beneath does not answer.
    """
    cluster: Cluster = importlib.import_module(_MODULES[site.kind]).start(site, workers)
    return cluster


def print_script(site: Site) -> str:
    """Return what would be submitted for one job of a site, or started; nothing is.

    Raises
    ------
    MissingExtra
        If the library that writes it is not installed.
    ConfigError
        If the site's settings are refused by the library.
    """
    text: str = importlib.import_module(_MODULES[site.kind]).script(site)
    return text


def need(extra: str, what: str, modules: Iterable[str]) -> None:
    """Check that the modules of an extra are there.

    Raises
    ------
    MissingExtra
        If one is not.
    """
    if any(importlib.util.find_spec(module) is None for module in modules):
        raise MissingExtra(extra, what)


def limit(site: Site, workers: int | None) -> int:
    """Return how many workers there may be, in whole jobs and at least one."""
    return max((workers or site.workers) // site.cores, 1) * site.cores


def lifetime(site: Site) -> tuple[int, int]:
    """Return after how many seconds a worker retires, and by how many more or less.

    The sum is before the walltime, by 5 minutes or a tenth of it: the chunk that it works on ends, or is done again
    elsewhere. Workers that began together do not retire together.
    """
    margin = max(min(_MARGIN, site.seconds // _SHARE), min(_LEAST, site.seconds // 2))
    stagger = margin // 2
    return max(site.seconds - margin - stagger, 1), stagger


def worker_options(site: Site) -> list[str]:
    """Return the options of ``dask worker`` that every job gets."""
    seconds, stagger = lifetime(site)
    return ["--lifetime", f"{seconds}s", "--lifetime-stagger", f"{stagger}s", "--no-dashboard"]


def python_of(site: Site) -> str:
    """Return the interpreter of the workers, for a shell."""
    return shlex.quote(site.python or ("python3" if site.image is not None else sys.executable))


def prefix(site: Site, folder: Path) -> str:
    """Return what stands before the interpreter of a worker that runs in Apptainer, for a shell."""
    if site.image is None:
        return ""
    return shlex.join(["apptainer", "exec", "--bind", str(folder), site.image]) + " "


def runner_memory(site: Site) -> int:
    """Return the bytes that the process may use that runs a worker's chunks: its share less what Dask needs."""
    share = site.memory_bytes // site.cores
    return max(share - _DASK_BYTES, share // 2)


def log_folder(site: Site) -> Path:
    """Make the folder for what jobs print and for the keys that protect the connections; return it.

    Raises
    ------
    WorkerError
        If it cannot be made.
    """
    if site.folder is not None:
        folder = Path(os.path.expandvars(site.folder)).expanduser().absolute()
    else:
        folder = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "portico" / site.name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise WorkerError(
            f"site '{site.name}': the folder for job logs cannot be made: {error}; write another one under 'folder', "
            "on a disk that jobs share"
        ) from error
    return folder
