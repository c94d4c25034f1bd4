"""Facts about client, scheduler and workers, as they report them."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from portico.environment.probe import PACKAGES, describe
from portico.errors import PorticoError, WorkerError
from portico.executors.base import Executor

__all__ = ["Facts", "ask_cluster", "ask_one", "gather", "wait_for_workers"]

_DISTRIBUTION = "portico-hep"


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts that are known before a run.

    Parameters
    ----------
    here : mapping
        Description of this process, from `portico.environment.probe.describe`.
    workers : mapping of str to mapping
        Description of each worker.
    silent : mapping of str to str
        Workers that could not answer, and why.
    cluster : mapping of str to mapping of str to str
        Package versions of ``the scheduler`` and of each worker, as Dask reports them; empty without Dask.
    threads : mapping of str to int
        Threads of each Dask worker; empty without Dask.
    skew : mapping of str to float
        Seconds by which the clock of each worker is at least ahead of this machine's; negative if it is behind.
    site_file : str
        The file of the site that was examined; empty if it is none.
    """

    here: Mapping[str, Any]
    workers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)
    cluster: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    threads: Mapping[str, int] = field(default_factory=dict)
    skew: Mapping[str, float] = field(default_factory=dict)
    site_file: str = ""

    def version(self, package: str) -> dict[str, str]:
        """Return the version of a package on the scheduler and on each worker, as far as it is known."""
        known = {name: versions[package] for name, versions in self.cluster.items() if package in versions}
        return known | {name: str(worker["versions"].get(package, "")) for name, worker in self.workers.items()}


def wait_for_workers(executor: Executor, seconds: float) -> None:
    """Wait until a worker answers.

    Raises
    ------
    WorkerError
        If none does in time, with the reason that the batch system or service gives.
    """
    if not executor.workers:  # a site starts workers only when there is work for them
        _ask(executor, {"op": "probe"}, seconds, "started")


def ask_one(executor: Executor, content: dict[str, Any], seconds: float = 300.0) -> dict[str, Any]:
    """Have one worker answer a message: the last one may have been lost, and no other may come.

    Raises
    ------
    WorkerError
        If none does in time, with the reason that the batch system or service gives.
    """
    return _ask(executor, content, seconds, "answered")


def _ask(executor: Executor, content: dict[str, Any], seconds: float, verb: str) -> dict[str, Any]:
    answers: SimpleQueue[dict[str, Any] | PorticoError] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(executor.call(content, [])[0])
        except PorticoError as failure:
            answers.put(failure)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        reason = "; ".join(executor.problems()) or "reason unknown"
        raise WorkerError(f"no worker {verb} within {seconds:.0f} s: {reason}") from None
    if isinstance(answer, PorticoError):
        raise answer
    return answer


def gather(executor: Executor) -> Facts:
    """Collect the facts about client, scheduler and every worker."""
    answers = executor.call_all({"op": "probe", "describe": True})
    silent = {name: answer["message"] for name, answer in answers.items() if "failed" in answer}
    cluster, threads = ask_cluster(executor)
    return Facts(
        here=describe(Path(tempfile.gettempdir()) / "portico"),
        workers={name: answer["probe"]["describe"] for name, answer in answers.items() if name not in silent},
        silent=silent,
        cluster=cluster,
        threads=threads,
        skew=_skew(executor),
    )


def _skew(executor: Executor) -> dict[str, float]:
    """Compare clocks: a worker reads its clock after the request was sent and before its answer arrives."""
    sent = time.time()
    answers = executor.call_all({"op": "probe"})
    arrived = time.time()
    times = {name: answer["probe"]["time"] for name, answer in answers.items() if "failed" not in answer}
    return {name: min(clock - sent, 0.0) + max(clock - arrived, 0.0) for name, clock in times.items()}


def ask_cluster(executor: Executor) -> tuple[dict[str, dict[str, str]], dict[str, int]]:
    """Return the package versions of a Dask cluster, and the threads of each worker.

    Both are empty for executors without Dask.
    """
    client = getattr(executor, "client", None)
    if client is None:
        return {}, {}
    try:
        reported = client.get_versions(check=False, packages=[_DISTRIBUTION, *PACKAGES])
        workers = client.scheduler_info(n_workers=-1)["workers"]
    except (OSError, TimeoutError, RuntimeError) as failure:
        raise WorkerError(f"the Dask scheduler does not answer: {failure}") from failure
    names = {address: str(worker["name"]) for address, worker in workers.items()}
    versions = {"the scheduler": _packages(reported["scheduler"])}
    versions |= {names[address]: _packages(w) for address, w in reported["workers"].items() if address in names}
    return versions, {names[address]: int(worker["nthreads"]) for address, worker in workers.items()}


def _packages(report: Any) -> dict[str, str]:
    packages = report["packages"] if isinstance(report, dict) else {}  # a worker that has just died has no report
    found = {name: str(version) for name, version in packages.items() if version is not None}
    if _DISTRIBUTION in found:
        found["portico"] = found.pop(_DISTRIBUTION)
    if "python" in found:
        found["python"] = ".".join(found["python"].split(".")[:3])
    return found
