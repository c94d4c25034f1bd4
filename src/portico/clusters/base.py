"""The interface of a site's Dask cluster, and functions that all kinds of clusters share."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shlex
import signal
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from portico.clusters.site import Site
from portico.environment.interpreter import SAFE
from portico.errors import MissingExtra, WorkerError

__all__ = [
    "Cluster", "import_jobqueue", "lifetime", "limit", "log_folder", "need", "one_line", "prefix", "print_script",
    "python_of", "runner_memory", "start_cluster", "worker_options",
]  # fmt: skip

DEATH_SECONDS = 120
"""Time after which a worker without a scheduler ends."""

SILENT = ("--no-dashboard", "--worker-class", "portico.clusters.silent.SilentWorker")
"""Options of ``dask worker`` without which it opens an HTTP port on all interfaces."""

# Seconds before the walltime in which a worker finishes its chunk: 5 minutes, at most a tenth of it, at least 10.
_MARGIN, _SHARE, _LEAST = 300, 10, 10
_DASK_BYTES = 200_000_000  # of a Dask worker and its nanny: 130 MB resident right after the start


class Cluster(ABC):
    """A Dask cluster that was started for one run.

    Attributes
    ----------
    site : Site
        Its settings.
    dask : object
        The cluster object, as a Dask client takes it.
    maximum : int
        The maximum number of workers.
    """

    site: Site
    dask: Any
    maximum: int

    @abstractmethod
    def adapt(self, demand: Callable[[], int]) -> None:
        """Start and stop workers according to the demand, between minimum and maximum, from now on.

        Parameters
        ----------
        demand : callable
            Returns the number of workers that would have work; called often, from another thread.
        """

    @abstractmethod
    def problems(self) -> list[str]:
        """Return why workers are missing, as reported by the batch system or service."""

    def hopeless(self) -> str:
        """Return why no worker can ever start; empty as long as one may."""
        return ""

    def keep_away(self, machine: str, workers: Iterable[str]) -> None:  # noqa: B027 (a default, not an omission)
        """Start no more workers on a machine, and others in place of those there; by default nothing changes.

        Parameters
        ----------
        machine : str
            Its host name.
        workers : iterable of str
            Names of its workers.
        """

    def close(self) -> None:
        """Stop scheduler and workers."""
        with suppress(TimeoutError):
            self.dask.close(timeout=60)


def start_cluster(site: Site, workers: int | None = None) -> Cluster:
    """Start the Dask cluster of a site.

    Parameters
    ----------
    site : Site
        Its settings.
    workers : int, optional
        Maximum number of workers; by default that of the site.

    Raises
    ------
    MissingExtra
        If the library for this kind of cluster is not installed.
    ConfigError
        If the library refuses the site's settings.
    WorkerError
        If the batch system or service does not answer.
    """
    cluster: Cluster = _module(site).start(site, workers)
    return cluster


def _module(site: Site) -> ModuleType:
    """Return the module of the site's kind."""
    return importlib.import_module(f"portico.clusters.{site.kind}")


def print_script(site: Site) -> str:
    """Return the job script of a site, or its equivalent, without submitting or starting anything.

    Raises
    ------
    MissingExtra
        If the library that writes it is not installed.
    ConfigError
        If the library refuses the site's settings.
    """
    text: str = _module(site).script(site)
    return text


def need(extra: str, what: str, modules: Iterable[str]) -> None:
    """Check that the modules of an extra are installed.

    Raises
    ------
    MissingExtra
        If one is missing.
    """
    if any(importlib.util.find_spec(module) is None for module in modules):
        raise MissingExtra(extra, what)


def import_jobqueue(system: str) -> Any:
    """Import ``dask_jobqueue.SYSTEM``; by itself it makes Ctrl-C an exit without an error, in the whole process."""
    before = signal.getsignal(signal.SIGINT)
    try:
        return importlib.import_module(f"dask_jobqueue.{system}")
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def one_line(error: Exception) -> str:
    """Return the message of an error in one line; the type of the error if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__


def limit(site: Site, workers: int | None) -> int:
    """Return the maximum number of workers, a multiple of the workers per job."""
    return max((workers or site.workers) // site.cores, 1) * site.cores


def lifetime(site: Site) -> tuple[int, int]:
    """Return the lifetime of a worker in seconds, and its random spread.

    Their sum is shorter than the walltime by 5 minutes or a tenth of it, so that the current chunk can finish;
    otherwise another worker repeats it. The spread keeps workers that started together from retiring together.
    """
    margin = max(min(_MARGIN, site.seconds // _SHARE), min(_LEAST, site.seconds // 2))
    stagger = margin // 2
    return max(site.seconds - margin - stagger, 1), stagger


def worker_options(site: Site) -> list[str]:
    """Return the options of ``dask worker`` for every job."""
    seconds, stagger = lifetime(site)
    return ["--lifetime", f"{seconds}s", "--lifetime-stagger", f"{stagger}s"]


def python_of(site: Site) -> str:
    """Return the interpreter of the workers, quoted for a shell; it imports nothing from the current folder."""
    return shlex.quote(site.python or ("python3" if site.image is not None else sys.executable)) + f" {SAFE}"


def prefix(site: Site, folder: Path) -> str:
    """Return the command that runs a worker's interpreter in Apptainer, quoted for a shell; empty without an image."""
    if site.image is None:
        return ""
    return shlex.join(["apptainer", "exec", "--bind", str(folder), site.image]) + " "


def runner_memory(site: Site) -> int:
    """Return the memory limit, in bytes, of the process that runs a worker's chunks: its share minus Dask's needs."""
    share = site.memory_bytes // site.cores
    return max(share - _DASK_BYTES, share // 2)


def log_folder(site: Site) -> Path:
    """Make and return the folder for the jobs' logs and for the TLS keys.

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
            f"site '{site.name}': cannot make the folder for job logs: {error}; set 'folder' to another one, on a disk "
            "that jobs share"
        ) from error
    return folder
