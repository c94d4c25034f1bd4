"""The driver under the partial results of many chunks: it keeps them, merges them, and finds them again.

Workers are left out: an executor of no processes answers each task at once with one of a few partial results, which are
real ones, encoded as a worker encodes them. Measured are the driver's CPU time for a chunk, the ledger, the time of a
resumed run, and memory. Each run is a process of its own, so that its largest memory is its own.

Usage: python bench/sums.py [--chunks N ...] [--histograms N] [--bins N] [--fill X] [--folder PATH]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _common import analysis, scratch

import portico
from portico.environment.bundle import Bundle
from portico.executors.base import Executor
from portico.results.partial import encode
from portico.results.product import Product, ProductKind
from portico.worker.task import Done, Outcome, Task
from portico.worker.wire import Message

AT_ONCE = 32
KINDS = 4
PHASES = ("open", "build", "jit", "loop", "serialise", "cpu", "setup")


class Prepared(Executor):
    """An executor that has its answers ready."""

    name, workers = "prepared", AT_ONCE

    def __init__(self, partials: list[bytes]) -> None:
        self._partials, self._tasks = partials, list[Task]()

    @property
    def free(self) -> int:
        return AT_ONCE - len(self._tasks)

    def prepare(self, bundle: Bundle) -> None: ...

    def submit(self, task: Task) -> None:
        self._tasks.append(task)

    def wait(self, timeout: float) -> list[Outcome]:
        tasks, self._tasks = self._tasks, []
        return [self._done(task) for task in tasks]

    def _done(self, task: Task) -> Done:
        now = time.time()
        metrics = {
            "started": now, "ended": now, "host": "bench", "process": 1, "peak_memory": 2**28, "wall": 0.01,
            "entries": task.chunk.entries, "bytes_read": 10**6, "loops": 1, **dict.fromkeys(PHASES, 0.001),
        }  # fmt: skip
        return Done(task, self._partials[task.chunk.first % len(self._partials)], metrics)

    def call(self, content: dict[str, Any], blobs: list[bytes]) -> Message:
        raise NotImplementedError

    def close(self) -> None: ...


def partial(seed: int, histograms: int, bins: int, fill: float) -> bytes:
    """Return a partial result of histograms and a cutflow.

    Bins have ``fill`` entries on average; with 0 their contents are weights without a pattern, which do not compress.
    """
    random = np.random.default_rng(seed)
    axis = {"bins": bins, "low": 0.0, "high": 1.0, "edges": None, "title": "m [GeV]", "labels": {}}
    made = {}
    for number in range(histograms):
        name = f"category{number % 7}_mass_{number}"
        head = {"class": "TH1D", "name": name, "title": name, "axes": [axis], "content": "events"}
        values = random.poisson(fill, bins + 2).astype(float) if fill else random.uniform(size=bins + 2)
        squares, entries = values if fill else values**2, np.array([float(bins)])
        arrays = {"values": values, "sumw2": squares, "stats": random.uniform(size=20), "entries": entries}
        made[name] = Product(ProductKind.HISTOGRAM, {**head, "variation": [name, "nominal"]}, arrays)
    flow = {"passed": np.array([seed, 1]), "all": np.array([10, seed])}
    made["cutflow"] = Product(ProductKind.CUTFLOW, {"cuts": ["trigger", "mass"]}, flow)
    return encode(made)


def measured(chunks: int, histograms: int, bins: int, fill: float, folder: Path) -> dict[str, Any]:
    """Run and resume in one folder; return what it took. Called in a process of its own."""
    with scratch() as place:
        made = analysis(
            place, f"{{none: {{entries: {chunks}}}}}",
            "[{name: empty, function: 'steps:empty', chunk: 1 entries, options: {seconds: 0.0}}]",
        )  # fmt: skip
        began = time.process_time()
        parts = [partial(seed, histograms, bins, fill) for seed in range(KINDS)]
        executor = Prepared(parts)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        encoding = (time.process_time() - began) / KINDS
        began, clock = time.process_time(), time.perf_counter()
        run = portico.run(made, folder=folder, executor=executor, export=False)
        cpu, wall = time.process_time() - began, time.perf_counter() - clock
        found = run["empty"]["none"]
        assert found["cutflow"].reached[0] == 10 * chunks
        began, clock = time.process_time(), time.perf_counter()
        portico.run(made, folder=folder, executor=executor, export=False)
        again, resumed = time.process_time() - began, time.perf_counter() - clock
    return {
        "chunks": chunks, "kB": sum(map(len, parts)) / KINDS / 1e3, "encode": encoding, "cpu": cpu, "wall": wall,
        "resume": resumed, "resume_cpu": again, "ledger": (folder / "ledger.sqlite").stat().st_size / 1e6,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, "before": before / 1e3,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", nargs="+", type=int, default=[1_000, 10_000])
    parser.add_argument("--histograms", type=int, default=40)
    parser.add_argument("--bins", type=int, default=150)
    parser.add_argument("--fill", type=float, default=0.0, help="entries of a bin in a chunk; 0 for random weights")
    parser.add_argument("--folder", type=Path, help="where run folders are made; a temporary one by default")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    sizes = (chosen.histograms, chosen.bins, chosen.fill)
    if chosen.one:
        print(json.dumps(measured(chosen.chunks[0], *sizes, chosen.folder)))
        return
    for chunks in chosen.chunks:
        with tempfile.TemporaryDirectory(prefix="portico-bench-", dir=chosen.folder) as place:
            command = [sys.executable, __file__, "--one", "--chunks", str(chunks), "--folder", f"{place}/run"]
            command += ["--histograms", str(sizes[0]), "--bins", str(sizes[1]), "--fill", str(sizes[2])]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        it = json.loads(answer.splitlines()[-1])
        print(
            f"{chunks} chunks of {it['kB']:.0f} kB ({sizes[0]} histograms of {sizes[1]} bins): driver "
            f"{1e3 * it['cpu'] / chunks:.2f} ms CPU a chunk, {it['wall']:.1f} s; ledger {it['ledger']:.1f} MB; resumed "
            f"in {it['resume']:.2f} s ({it['resume_cpu']:.2f} s CPU); {it['memory']:.0f} MB ({it['before']:.0f} MB "
            f"before); encoding {1e3 * it['encode']:.1f} ms", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
