"""Cost of killed workers: a run of 200 chunks, without faults and with 20 processes killed during the run.

Usage: python bench/faults.py [KILLS]
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from _common import analysis, made_files, scratch

import portico
from portico.executors.local import LocalExecutor
from portico.monitor.status import read_status

EVENTS, CHUNKS, WORKERS = 3_000_000, 200, 2


class Killer(threading.Thread):
    """A reporter that kills a busy process after every few chunks, with a random delay."""

    def __init__(self, executor: LocalExecutor, kills: int) -> None:
        super().__init__(daemon=True)
        self._executor, self._done, self._random = executor, 0.0, random.Random(1)
        self._due = [CHUNKS * (n + 1) / (kills + 1) for n in range(kills)]

    def begin(self, *_: Any) -> None:
        self.start()

    def note(self, _: str) -> None: ...

    def warn(self, _: str) -> None: ...
    def end(self, *_: Any) -> None: ...

    def advance(self, _sample: str, entries: int) -> None:
        self._done += entries / (EVENTS // CHUNKS)  # several chunks may be reported at once

    def run(self) -> None:
        while self._due:
            time.sleep(self._random.uniform(0.01, 0.1))
            # A chunk that kills three processes counts as the cause: spare those that were hit twice.
            busy = [r for r in self._executor._runners if r.alive and (task := r.task) is not None and task.attempt < 3]
            if busy and self._done >= self._due[0]:
                os.kill(self._random.choice(busy)._process.pid, signal.SIGKILL)
                del self._due[0]


def once(files: list[str], kills: int) -> tuple[float, int, Any]:
    """Return the wall time in seconds, the number of failed attempts, and the products."""
    executor = LocalExecutor(WORKERS)
    listed = ", ".join(f"'{file}'" for file in files)
    try:
        with scratch() as folder:
            steps = f"[{{name: dimuon, function: 'steps:dimuon', chunk: {EVENTS // CHUNKS} entries}}]"
            made = analysis(folder, f"{{muons: {{files: [{listed}]}}}}", steps)
            began = time.perf_counter()
            run = portico.run(made, folder=folder / "run", executor=executor, reporter=Killer(executor, kills))
            seconds = time.perf_counter() - began
            step = read_status(Path(folder) / "run").steps[0]
            products = {name: {k: a.tobytes() for k, a in p.arrays.items()}
                        for name, p in run["dimuon"]["muons"].products.items()}  # fmt: skip
            assert step.total.chunks == step.total.chunks_done == CHUNKS
            failed = sum(fault.attempts for fault in step.faults)
            assert kills / 2 < failed <= kills or kills == 0, f"{failed} attempts failed, {kills} processes were killed"
            return seconds, failed, products
    finally:
        executor.close()


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    files = made_files(EVENTS, CHUNKS)
    quiet, _, expected = once(files, 0)
    stormy, failed, products = once(files, kills)
    cost = (stormy - quiet) * WORKERS / kills
    print(f"{CHUNKS} chunks on {WORKERS} processes: quiet {quiet:.1f} s, with {kills} killed ({failed} with a chunk) "
          f"{stormy:.1f} s, {stormy / quiet:.2f} times as long; a kill costs {cost:.1f} s of a worker")
    print(f"results equal bit for bit: {products == expected}")


if __name__ == "__main__":
    main()
