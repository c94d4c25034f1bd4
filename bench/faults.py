"""What killed workers cost: a run of 200 chunks, quiet and with 20 of its processes killed, all through it.

Usage: python bench/faults.py [KILLS]
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from _common import analysis, made_files, scratch

import portico
from portico.executors.local import LocalExecutor
from portico.monitor.status import read_status

CHUNKS, WORKERS = 200, 2


class Killer:
    """A reporter that kills a busy process each time so many chunks more are done."""

    def __init__(self, executor: LocalExecutor, kills: int) -> None:
        self._executor, self._left, self._each, self._done = executor, kills, CHUNKS / (max(kills, 1) + 1), 0
        self._due = self._each

    def begin(self, *_: Any) -> None: ...
    def warn(self, _: str) -> None: ...
    def end(self, *_: Any) -> None: ...

    def advance(self, _sample: str, _entries: int) -> None:
        self._done += 1
        busy = [runner for runner in self._executor._runners if runner.busy and runner.alive]
        if self._left and self._done >= self._due and busy:
            os.kill(busy[self._left % len(busy)]._process.pid, signal.SIGKILL)
            self._left, self._due = self._left - 1, self._due + self._each


def once(files: list[str], kills: int) -> tuple[float, float, Any]:
    """Return seconds of wall time, seconds of workers lost in failed attempts, and the run's number."""
    executor = LocalExecutor(WORKERS)
    listed = ", ".join(f"'{file}'" for file in files)
    try:
        with scratch() as folder:
            steps = f"[{{name: dimuon, function: 'steps:dimuon', chunk: {3_000_000 // CHUNKS} entries}}]"
            made = analysis(folder, f"{{muons: {{files: [{listed}]}}}}", steps)
            began = time.perf_counter()
            run = portico.run(made, folder=folder / "run", executor=executor, reporter=Killer(executor, kills))
            seconds = time.perf_counter() - began
            step = read_status(Path(folder) / "run").steps[0]
            products = {name: {k: a.tobytes() for k, a in p.arrays.items()}
                        for name, p in run["dimuon"]["muons"].products.items()}  # fmt: skip
            assert step.total.chunks == step.total.chunks_done
            failed = sum(fault.attempts for fault in step.faults)
            assert failed >= kills, f"{failed} attempts failed, {kills} were killed"
            return seconds, step.lost_seconds, products
    finally:
        executor.close()


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    files = made_files(3_000_000, 10)
    quiet, _, expected = once(files, 0)
    stormy, _, products = once(files, kills)
    print(f"{CHUNKS} chunks on {WORKERS} processes: quiet {quiet:.1f} s, with {kills} killed {stormy:.1f} s, "
          f"{stormy / quiet:.2f} times as long; a kill costs {(stormy - quiet) * WORKERS / kills:.1f} s of a worker")
    print(f"results equal bit for bit: {products == expected}")


if __name__ == "__main__":
    main()
