"""What the driver itself costs: 10,000 chunks of an empty step.

Usage: python bench/driver.py [CHUNKS]
"""

from __future__ import annotations

import resource
import sys
import time

import psutil
from _common import analysis, scratch

import portico
from portico.executors.local import LocalExecutor
from portico.ledger import Ledger


def main() -> None:
    chunks = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    executor = LocalExecutor(2)
    process = psutil.Process()
    costs = []
    try:
        for count in (100, chunks // 2, chunks):
            with scratch() as folder:
                empty = analysis(
                    folder,
                    f"{{none: {{entries: {count}}}}}",
                    "[{name: empty, function: 'steps:empty', chunk: 1 entries}]",
                )
                cpu, wall = time.process_time(), time.perf_counter()
                run = portico.run(empty, folder=folder / "run", executor=executor)
                assert run["empty"]["none"]["entries"] == count
                costs.append((count, time.process_time() - cpu, time.perf_counter() - wall, process.memory_info().rss))
                ledger = Ledger(folder / "run" / "ledger.sqlite", read_only=True)
                worker = max(metrics["peak_memory"] for _, _, metrics in ledger.metrics("empty"))
                ledger.close()
                again = time.perf_counter()
                portico.run(empty, folder=folder / "run", executor=executor)
                print(
                    f"{count} chunks: {costs[-1][1]:.2f} s CPU of the driver, {costs[-1][2]:.1f} s wall, "
                    f"resumed in {time.perf_counter() - again:.2f} s, {costs[-1][3] / 1e6:.0f} MB, "
                    f"worker {worker / 1e6:.0f} MB"
                )
    finally:
        executor.close()
    (_, cpu_half, _, memory_half), (_, cpu_all, _, memory_all) = costs[1], costs[2]
    print(f"driver: {1000 * (cpu_all - cpu_half) / (chunks - chunks // 2):.2f} ms a chunk (aim 5)")
    print(f"memory: {(memory_all - memory_half) / (chunks - chunks // 2):.0f} bytes a chunk (aim 2000), "
          f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
