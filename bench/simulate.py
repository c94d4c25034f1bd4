"""Events simulated per second and core, with and without pile-up, and the peak memory of the worker.

One worker, timed by its CPU time, so that other work on the machine matters little. The first chunk, which compiles, is
reported separately.

Usage: python bench/simulate.py [EVENTS]
"""

from __future__ import annotations

import sys
from pathlib import Path

from _common import scratch

import portico
from portico.analysis.analysis import load_analysis
from portico.executors.base import Executor
from portico.executors.local import LocalExecutor
from portico.runfolder.ledger import Ledger

PROCESSES = {
    "signal": "process: signal, mass: 1.5, ctau: 100.0",
    "background": "process: background, min_muons: 2",
}
MODES = {"fast": 5000, "data-like": 1000}  # events a chunk


def measure(folder: Path, executor: Executor, parameters: str, mode: str, events: int) -> str:
    """Run one sample, and return the metrics of its chunks."""
    chunk = min(MODES[mode], events // 3)
    (folder / "analysis.yaml").write_text(
        f"name: bench\ndataset: {{samples: {{made: {{kind: background, entries: {events}, "
        f"parameters: {{{parameters}, mode: {mode}, seed: 1}}}}}}}}\n"
        f"steps: [{{name: simulate, function: 'hnl.simulate:simulate', chunk: {chunk} entries}}]\n"
    )
    run = portico.run(load_analysis(folder), folder=folder / "run", executor=executor)
    files = [Path(file) for file in run["simulate"]["made"]["events"]]
    ledger = Ledger(folder / "run" / "ledger.sqlite", read_only=True)
    chunks = sorted((metrics for _, _, metrics in ledger.metrics("simulate")), key=lambda m: m["jit"])
    ledger.close()
    compiled, warm = chunks[-1], chunks[:-1]
    entries = sum(metrics["entries"] for metrics in warm)
    return (
        f"{entries / sum(metrics['cpu'] for metrics in warm):.0f} events/s of CPU, "
        f"{entries / sum(metrics['wall'] for metrics in warm):.0f} of wall, compiling {compiled['jit']:.1f} s, "
        f"{sum(file.stat().st_size for file in files) / events / 1e3:.1f} kB an event, "
        f"worker {max(metrics['peak_memory'] for metrics in chunks) / 1e6:.0f} MB"
    )


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for mode in MODES:
        for name, parameters in PROCESSES.items():
            executor = LocalExecutor(1)
            try:
                with scratch() as folder:
                    share = events if mode == "fast" else events // 4
                    found = measure(folder, executor, parameters, mode, share)
            finally:
                executor.close()
            print(f"{name}, {mode}: {found}" + (" (aim 1000 of CPU)" if mode == "data-like" else ""))


if __name__ == "__main__":
    main()
