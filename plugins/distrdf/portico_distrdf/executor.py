"""Complete samples on ROOT's own distributed RDataFrame, on Dask: for steps within its list of operations."""

from __future__ import annotations

import importlib.util
import os
import queue
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from portico.analysis.chunks import Chunk
from portico.clusters.base import SILENT
from portico.environment.bundle import Bundle, key_of
from portico.environment.credentials import Credentials
from portico.environment.interpreter import isolated
from portico.errors import MissingExtra, WorkerError
from portico.executors.base import Executor
from portico.executors.dask import DaskExecutor
from portico.runfolder.ledger import Planned
from portico.worker.process import RunnerProcess
from portico.worker.task import Failed, FailureKind, Outcome, Task, outcome_of
from portico.worker.wire import Message

__all__ = ["DistrdfExecutor", "complete_samples"]

_LOG_BYTES = 4096
_OPERATION = "portico_distrdf.graph:answer"
_START_SECONDS = 60.0
_WORD = "distrdf"


def complete_samples(chunks: Mapping[str, list[Planned]]) -> dict[str, tuple[Planned, list[Chunk]]]:
    """Return each sample as one planned chunk, with the chunks that it stands for.

    Sums over other cuts are equal to rounding only, so results of complete samples have keys of their own.
    """
    samples = {}
    for name, planned in chunks.items():
        parts = [one.chunk for one in planned]
        files = list(dict.fromkeys(part.file for part in parts))
        file = files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
        key, uuid = key_of(_WORD, [one.key for one in planned]), key_of(sorted({part.uuid for part in parts}))
        chunk = Chunk(file, uuid, parts[0].tree, 0, sum(part.entries for part in parts))
        samples[name] = Planned(name, 0, key, chunk), parts
    return samples


class DistrdfExecutor(Executor):
    """One sample at a time: a process of portico's builds the graph, Dask workers run it.

    Parameters
    ----------
    address : str, optional
        Of a Dask scheduler; own worker processes on this machine are started by default.
    workers : int, optional
        Of the own cluster; all cores by default.

    Raises
    ------
    MissingExtra
        If distributed is not installed.
    WorkerError
        If the scheduler cannot be reached, or no worker starts.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        if importlib.util.find_spec("distributed") is None:
            raise MissingExtra("dask", "running on ROOT's distributed RDataFrame")
        self._name = f"{_WORD}+{address}" if address is not None else _WORD
        self._own = _Workers(workers or len(os.sched_getaffinity(0))) if address is None else None
        try:
            self._dask = DaskExecutor(address) if self._own is None else self._own.connect()
            if self._own is not None:
                self._own.await_first(self._dask)
        except BaseException:
            self._stop_workers()
            raise
        self._address = address or str(self._dask.client.scheduler_info(n_workers=0)["address"])
        self._keys = self._own.keys if self._own is not None else {}
        self._runner = RunnerProcess()
        self._thread = ThreadPoolExecutor(1)  # one that stays: a runner dies with the thread that started it
        self._bundle: Bundle | None = None
        self._credentials = Credentials()
        self._task: Task | None = None
        self._ended: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._parts: dict[str, list[Chunk]] = {}

    @property
    def name(self) -> str:
        """``distrdf``, with the address of a scheduler that was given."""
        return self._name

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        return self._address

    @property
    def workers(self) -> int:
        """Number of Dask workers that are connected."""
        return self._dask.workers

    @property
    def free(self) -> int:
        """One if nothing runs: a sample uses all workers."""
        return int(self._task is None)

    def replan(self, chunks: Mapping[str, list[Planned]]) -> Mapping[str, list[Planned]]:
        """Return one task for each sample, since ROOT cuts samples by itself."""
        samples = complete_samples(chunks)
        self._parts = {planned.key: parts for planned, parts in samples.values()}
        return {name: [planned] for name, (planned, _) in samples.items()}

    def prepare(self, bundle: Bundle) -> None:
        """Send the bundle to the workers, also to those that join later."""
        from portico_distrdf.worker import HoldPlugin

        self._bundle = bundle
        self._runner.use(bundle)
        try:
            self._dask.client.register_plugin(HoldPlugin(bundle), name=f"portico-distrdf-{bundle.digest}")
        except Exception as error:
            raise WorkerError(
                f"the Dask cluster cannot load the analysis: {error}; its scheduler and workers need the same versions "
                "of portico, ROOT, dask and Python as this process"
            ) from error

    def submit(self, task: Task) -> None:
        """Start a sample."""
        self._task = task
        self._thread.submit(self._run, task, self._runner)

    def _run(self, task: Task, runner: RunnerProcess) -> None:
        content = {"op": "chunk", **task.to_json()}
        if task.points is None:  # others are plain Python, which this process runs itself
            parts, own = [asdict(part) for part in self._parts[task.key]], self._own is not None
            if task.chunk.entries:
                content |= {"op": _OPERATION, "parts": parts, "own": own}
                content |= {"scheduler": self._address, "keys": self._keys}
            else:  # nothing to distribute, and ROOT refuses it
                content["chunk"] = parts[0]
        outcome = outcome_of(task, runner.call(content, []))
        metrics = {**outcome.metrics, "worker": "dask"}
        metrics["peak_memory"] = max(metrics.get("peak_memory", 0), metrics.pop("worker_memory", 0))
        outcome = replace(outcome, metrics=metrics)
        if isinstance(outcome, Failed) and outcome.kind == FailureKind.MEMORY and task.points is None:
            outcome = replace(outcome, kind=FailureKind.CRASH)  # a sample that ROOT cuts does not run in halves
        if isinstance(outcome, Failed) and outcome.kind == FailureKind.CRASH and self._own is not None:
            outcome = replace(outcome, log=outcome.log + self._own.log())
        self._ended.put(outcome)

    def wait(self, timeout: float) -> list[Outcome]:
        """Return the sample that ended, at the latest after ``timeout`` seconds."""
        try:
            outcome = self._ended.get(timeout=timeout)
        except queue.Empty:
            return []
        if self._task is None or outcome.task.key != self._task.key:
            return []  # of a task that was cancelled
        self._task = None
        return [outcome]

    def call(self, content: dict[str, Any], blobs: list[bytes]) -> Message:
        """Have the process that builds graphs answer a message."""
        return self._runner.call(content, blobs)

    def call_all(self, content: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Have a process beside every worker answer a message."""
        if self._bundle is not None:
            self._dask.prepare(self._bundle)
        return self._dask.call_all(content)

    def send_credentials(self, credentials: Credentials) -> None:
        """Send credentials to all workers, also to those that join later."""
        from portico_distrdf.worker import TrustPlugin

        self._credentials = credentials
        self._runner.use_credentials(credentials)
        self._dask.client.register_plugin(TrustPlugin(credentials), name="portico-distrdf-credentials")

    def problems(self) -> list[str]:
        """Say that no worker is connected, if so."""
        return self._dask.problems()

    def cancel(self) -> None:
        """Stop the sample that runs; the scheduler drops its tasks with the process that wanted them."""
        if self._task is None:
            return
        self._task = None
        self._runner.stop()
        self._runner = RunnerProcess()
        if self._bundle is not None:
            self._runner.use(self._bundle)
        self._runner.use_credentials(self._credentials)

    def close(self) -> None:
        """Leave the scheduler; stop the own workers."""
        self._runner.stop()
        self._thread.shutdown()
        self._dask.close()
        self._stop_workers()

    def _stop_workers(self) -> None:
        if self._own is not None:
            self._own.stop()


class _Workers:
    """A Dask scheduler in this process, and workers in processes of their own: ROOT runs in them.

    They are started as commands. Processes forked or spawned from this one would run the user's main program again.
    All connections have TLS, with keys that only this user can read: who connects to a Dask scheduler runs code there.
    """

    def __init__(self, count: int) -> None:
        if importlib.util.find_spec("cryptography") is None:
            raise MissingExtra("dask", "TLS between the Dask workers of this machine")
        from portico.clusters.silent import local_cluster
        from portico.clusters.tls import Keys

        self._folder = Path(tempfile.mkdtemp(prefix="portico-dask-"))
        self._keys = Keys(self._folder)
        self.keys = {path.stem: str(path) for path in self._keys.files}
        self._cluster = local_cluster(0, self._keys.security())
        # Read by ROOT when a worker imports it.
        python, environment = isolated(EXTRA_CLING_ARGS=os.environ.get("EXTRA_CLING_ARGS", "-O2"))
        command = [
            *python, "-m", "distributed.cli.dask_worker", str(self._cluster.scheduler_address),
            "--tls-ca-file", self.keys["ca_file"], "--tls-cert", self.keys["cert"], "--tls-key", self.keys["key"],
            "--nthreads", "1", "--memory-limit", "0", "--host", "127.0.0.1", "--death-timeout", "60",
            "--local-directory", str(self._folder), *SILENT,
        ]  # fmt: skip
        self._processes = []
        with (self._folder / "workers.log").open("wb") as log:
            for number in range(count):
                self._processes.append(subprocess.Popen(
                    [*command, "--name", str(number)], stdout=log, stderr=log, env=environment,
                ))  # fmt: skip

    def connect(self) -> DaskExecutor:
        """Return a client of theirs."""
        return DaskExecutor(str(self._cluster.scheduler_address), security=self._keys.security())

    def await_first(self, dask: DaskExecutor) -> None:
        """Wait until a worker is connected.

        Raises
        ------
        WorkerError
            If none comes.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not dask.workers:
            if time.monotonic() > deadline or all(process.poll() is not None for process in self._processes):
                raise WorkerError(f"no Dask worker started on this machine:\n{self.log().strip()}")
            time.sleep(0.1)

    def log(self) -> str:
        """Return the end of what the workers wrote."""
        return (self._folder / "workers.log").read_bytes()[-_LOG_BYTES:].decode(errors="replace")

    def stop(self) -> None:
        """End all workers, and the scheduler."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._cluster.close()
        self._keys.remove()
        shutil.rmtree(self._folder, ignore_errors=True)
