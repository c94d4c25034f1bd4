"""Driver, ledger and Dask's scheduler under many chunks of 10 ms.

``local``: real processes run a step that sleeps 10 ms and counts; ROOT adds some milliseconds per chunk.
``dask``: a real scheduler, and workers connected over TCP, all in one process, which only sleep 10 ms and answer with a
partial result of some kB. This leaves the machine's cores to driver, ledger and scheduler, which are measured.

Usage: python bench/scheduler.py [--on local|dask ...] [--chunks N ...] [--workers N] [--kilobytes N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from _common import analysis, scratch

import portico
from portico.executors.base import Executor
from portico.executors.dask import DaskExecutor
from portico.executors.local import LocalExecutor
from portico.results.partial import encode
from portico.results.product import Product, ProductKind
from portico.runfolder.ledger import Ledger
from portico.worker.process import RunnerProcess
from portico.worker.task import Done, Outcome, Task

SECONDS = 0.01
IDLE_SECONDS = 20.0


class Sleeper(RunnerProcess):
    """A runner that sleeps instead of running a chunk; other messages go to a real one."""

    partial = b""

    def start(self, task: Task) -> None:
        self._task, self._began = task, time.time()

    def outcome(self) -> Outcome:
        time.sleep(SECONDS)
        task = self._task
        assert task is not None
        self._task = None
        phases = dict.fromkeys(("open", "build", "jit", "loop", "serialise", "cpu"), 0.001)
        metrics = {
            "started": self._began, "ended": time.time(), "host": "bench", "process": 1, "peak_memory": 2**28,
            "setup": 0.0, "wall": SECONDS, "entries": task.chunk.entries, "bytes_read": 10**6, "loops": 1, **phases,
        }  # fmt: skip
        return Done(task, self.partial, metrics)


def partial(kilobytes: float) -> bytes:
    """Return a partial result of about this size: a count, and a filled histogram without a pattern."""
    random, bins = np.random.default_rng(1), max(1, int(kilobytes * 1024 / 16))
    axis = {"bins": bins - 2, "low": 0.0, "high": 1.0, "edges": None, "title": "", "labels": {}}
    arrays = {
        "values": random.uniform(size=bins), "sumw2": random.uniform(size=bins), "stats": np.zeros(20),
        "entries": np.array([1.0]),
    }  # fmt: skip
    head = {"class": "TH1D", "name": "h", "title": "", "axes": [axis], "content": ""}
    return encode({
        "entries": Product(ProductKind.COUNT, {"operation": "Count"}, {"value": np.array([1])}),
        "h": Product(ProductKind.HISTOGRAM, head, arrays),
    })  # fmt: skip


def serve(address: str, count: int, kilobytes: float) -> None:
    """Run Dask workers in this process until the scheduler ends."""
    from distributed import Worker

    from portico.executors import daskworker

    Sleeper.partial = partial(kilobytes)
    daskworker.RunnerProcess = Sleeper  # type: ignore[misc]

    async def live() -> None:
        with tempfile.TemporaryDirectory() as folder:
            workers = [
                Worker(address, nthreads=1, name=str(i), memory_limit=0, local_directory=folder, dashboard=False,
                       host="127.0.0.1")
                for i in range(count)
            ]  # fmt: skip
            await asyncio.gather(*workers)
            await asyncio.gather(*(worker.finished() for worker in workers))

    asyncio.run(live())


@contextmanager
def dask(count: int, kilobytes: float) -> Iterator[tuple[str, dict[str, psutil.Process]]]:
    """Start a scheduler and a process of workers; yield the address and the processes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        scheduler = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
             "--no-dashboard", "--scheduler-file", str(file)], **quiet,
        )  # fmt: skip
        workers = None
        try:
            while not file.exists():
                time.sleep(0.1)
            time.sleep(0.5)
            address = json.loads(file.read_text())["address"]
            workers = subprocess.Popen(
                [sys.executable, __file__, "--serve", address, "--workers", str(count), "--kilobytes", str(kilobytes)],
                **quiet,
            )
            yield address, {"scheduler": psutil.Process(scheduler.pid), "workers": psutil.Process(workers.pid)}
        finally:
            for process in (workers, scheduler):
                if process is not None:
                    process.kill()
                    process.wait()


class Watch:
    """CPU seconds and the largest memory of processes from now on."""

    def __init__(self, processes: dict[str, psutil.Process]) -> None:
        self._processes = processes
        self._before = {name: self._cpu(name) for name in processes}
        self.memory = dict.fromkeys(processes, 0)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _cpu(self, name: str) -> float:
        times = self._processes[name].cpu_times()
        return float(times.user + times.system)

    def _sample(self) -> None:
        while not self._done.wait(0.5):
            for name, process in self._processes.items():
                self.memory[name] = max(self.memory[name], process.memory_info().rss)

    def stop(self) -> dict[str, float]:
        self._done.set()
        self._thread.join()
        return {name: self._cpu(name) - before for name, before in self._before.items()}


def measure(on: str, executor: Executor, chunks: int, workers: int, processes: dict[str, psutil.Process]) -> None:
    """Run the chunks, resume the run, and print a row."""
    with scratch() as folder:
        made = analysis(
            folder, f"{{none: {{entries: {chunks}}}}}",
            f"[{{name: empty, function: 'steps:empty', chunk: 1 entries, options: {{seconds: {SECONDS}}}}}]",
        )  # fmt: skip
        watch, began = Watch({"driver": psutil.Process(), **processes}), time.perf_counter()
        run = portico.run(made, folder=folder / "run", executor=executor)
        wall, cpu = time.perf_counter() - began, watch.stop()
        assert run["empty"]["none"]["entries"] == chunks
        began = time.perf_counter()
        portico.run(made, folder=folder / "run", executor=executor)
        resumed = time.perf_counter() - began
        size = (folder / "run" / "ledger.sqlite").stat().st_size
        ledger = Ledger(folder / "run" / "ledger.sqlite", read_only=True)
        inside = sum(metrics["wall"] for _, _, metrics in ledger.metrics("empty")) / chunks
        ledger.close()
    ideal = chunks * SECONDS / workers
    costs = ", ".join(
        f"{name} {1000 * seconds / chunks:.2f} ms CPU a chunk and {watch.memory[name] / 1e6:.0f} MB"
        for name, seconds in cpu.items()
    )
    print(
        f"{on}, {chunks} chunks, {workers} workers: {wall:.1f} s, ideal {ideal:.1f} s, efficiency {ideal / wall:.0%}; "
        f"{costs}; a chunk takes {1000 * inside:.1f} ms on the worker; ledger {size / 1e6:.1f} MB; "
        f"resumed in {resumed:.2f} s", flush=True,
    )  # fmt: skip


def idle(scheduler: psutil.Process, empty: int, workers: int) -> None:
    """Print the cost to the scheduler of idle workers, which only send heartbeats."""
    time.sleep(5)
    watch = Watch({"scheduler": scheduler})
    time.sleep(IDLE_SECONDS)
    share, grown = watch.stop()["scheduler"] / IDLE_SECONDS, scheduler.memory_info().rss - empty
    print(
        f"dask, {workers} workers that do nothing: scheduler {share:.1%} of a core, "
        f"{grown / workers / 1e3:.0f} kB a worker", flush=True,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--on", nargs="+", default=["local", "dask"], choices=["local", "dask"])
    parser.add_argument("--chunks", nargs="+", type=int, default=[1_000, 10_000, 100_000])
    parser.add_argument("--workers", type=int)
    parser.add_argument("--kilobytes", type=float, default=4.0)
    parser.add_argument("--serve", metavar="ADDRESS", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        serve(chosen.serve, chosen.workers, chosen.kilobytes)
        return
    if "local" in chosen.on:
        workers = chosen.workers or 2
        local = LocalExecutor(workers)
        try:
            for chunks in chosen.chunks:
                measure("local", local, chunks, workers, {})
        finally:
            local.close()
    if "dask" in chosen.on:
        workers = chosen.workers or 32
        with dask(workers, chosen.kilobytes) as (address, processes):
            empty = processes["scheduler"].memory_info().rss
            executor = DaskExecutor(address)
            while executor.workers < workers:
                time.sleep(0.2)
            idle(processes["scheduler"], empty, workers)
            for chunks in chosen.chunks:
                measure("dask", executor, chunks, workers, processes)
            executor.close()


if __name__ == "__main__":
    main()
