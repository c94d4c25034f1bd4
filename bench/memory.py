"""Peak memory of a worker that fills 50 histograms, and the time to start.

Usage: python bench/memory.py
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from _common import made_files, run_once

from portico.executors.local import LocalExecutor
from portico.runfolder.ledger import Ledger


def main() -> None:
    executor = LocalExecutor(2)
    peaks: list[float] = []
    original = Ledger.commit

    def watch(ledger: Ledger, finished: list, failed: tuple = ()) -> None:  # type: ignore[type-arg]
        peaks.extend(attempt.metrics["peak_memory"] for attempt, _, _ in finished)
        original(ledger, finished, failed)

    Ledger.commit = watch  # type: ignore[method-assign]
    try:
        run_once(made_files(3_000_000, 10), "fifty", executor)
    finally:
        executor.close()
    print(f"worker, 50 histograms: {max(peaks) / 1e6:.0f} MB peak (aim 750)")
    for what, command in {
        "import portico": [sys.executable, "-c", "import portico"],
        "python alone": [sys.executable, "-c", ""],
        "portico --version": [str(Path(sys.executable).with_name("portico")), "--version"],
    }.items():
        times = []
        for _ in range(7):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - start)
        print(f"{what}: {sorted(times)[3]:.3f} s")


if __name__ == "__main__":
    main()
