"""What client, scheduler and workers say of themselves."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portico.environment.probe import PACKAGES, describe
from portico.errors import PorticoError, WorkerError
from portico.executors.base import Executor

__all__ = ["Facts", "ask_cluster", "gather", "wait_for_workers"]

_DISTRIBUTION = "portico-hep"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known before a run.

    Parameters
    ----------
    here : mapping
        What this process says, by `portico.environment.probe.describe`.
    workers : mapping of str to mapping
        What each worker says.
    silent : mapping of str to str
        Workers that could not answer, and why.
    cluster : mapping of str to mapping of str to str
        Versions of packages that Dask knows of, of ``the scheduler`` and of each worker; empty without Dask.
    threads : mapping of str to int
        Threads of each of Dask's workers; empty without them.
    skew : mapping of str to float
        Seconds by which the clock of each worker is ahead of this machine's, as far as it is certain.
    """

    here: Mapping[str, Any]
    workers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)
    cluster: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    threads: Mapping[str, int] = field(default_factory=dict)
    skew: Mapping[str, float] = field(default_factory=dict)

    def version(self, package: str) -> dict[str, str]:
        """Return the version of a package wherever it is known."""
        told = {name: versions[package] for name, versions in self.cluster.items() if package in versions}
        return told | {name: str(said["versions"].get(package, "")) for name, said in self.workers.items()}


def wait_for_workers(executor: Executor, seconds: float) -> None:
    """Wait until a worker answers.

    Raises
    ------
    WorkerError
        If none does in time, with the reason that the system beneath gives.
    """
    if executor.workers:
        return
    answered = threading.Event()
    failures: list[PorticoError] = []

    def ask() -> None:
        try:  # a site starts workers when there is something to do for them
            executor.call({"op": "probe"}, [])
        except PorticoError as failure:
            failures.append(failure)
        answered.set()

    threading.Thread(target=ask, daemon=True).start()
    if not answered.wait(seconds):
        told = "; ".join(executor.problems()) or "the system beneath gives no reason"
        raise WorkerError(f"no worker came within {seconds:.0f} s: {told}")
    if failures:
        raise failures[0]


def gather(executor: Executor) -> Facts:
    """Ask client, scheduler and every worker."""
    answers = executor.call_all({"op": "probe", "describe": True})
    silent = {name: said["message"] for name, said in answers.items() if "failed" in said}
    cluster, threads = ask_cluster(executor)
    return Facts(
        here=describe(Path(tempfile.gettempdir()) / "portico"),
        workers={name: said["probe"]["describe"] for name, said in answers.items() if name not in silent},
        silent=silent,
        cluster=cluster,
        threads=threads,
        skew=_skew(executor),
    )


def _skew(executor: Executor) -> dict[str, float]:
    """Compare clocks: an answer was written between the question and its arrival."""
    asked = time.time()
    answers = executor.call_all({"op": "probe"})
    arrived = time.time()
    times = {name: said["probe"]["time"] for name, said in answers.items() if "failed" not in said}
    return {name: min(told - asked, 0.0) + max(told - arrived, 0.0) for name, told in times.items()}


def ask_cluster(executor: Executor) -> tuple[dict[str, dict[str, str]], dict[str, int]]:
    """Return what a Dask cluster knows of itself: versions of packages, and threads of each worker.

    Both are empty for executors without Dask.
    """
    client = getattr(executor, "client", None)
    if client is None:
        return {}, {}
    try:
        told = client.get_versions(check=False, packages=[_DISTRIBUTION, *PACKAGES])
        workers = client.scheduler_info(n_workers=-1)["workers"]
    except (OSError, TimeoutError, RuntimeError) as failure:
        raise WorkerError(f"the Dask scheduler does not answer: {failure}") from failure
    names = {address: str(worker["name"]) for address, worker in workers.items()}
    versions = {"the scheduler": _packages(told["scheduler"])}
    versions |= {names[address]: _packages(said) for address, said in told["workers"].items() if address in names}
    return versions, {names[address]: int(worker["nthreads"]) for address, worker in workers.items()}


def _packages(said: Any) -> dict[str, str]:
    packages = said["packages"] if isinstance(said, dict) else {}  # of a worker that has just died there is none
    found = {name: str(version) for name, version in packages.items() if version is not None}
    if _DISTRIBUTION in found:
        found["portico"] = found.pop(_DISTRIBUTION)
    if "python" in found:
        found["python"] = ".".join(found["python"].split(".")[:3])
    return found
