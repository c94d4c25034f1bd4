"""Events per second and core of both skims, without pile-up and at 30 vertices, and their peak memory.

Usage: python bench/skim.py [EVENTS]

The rate is per CPU time of complete chunks, including opening, reading and writing, in a process that has compiled; the
time to compile, once per process, is in another column.
"""

from __future__ import annotations

import sys

from _common import CACHE, scratch

import portico
from portico.analysis.analysis import load_analysis
from portico.executors.local import LocalExecutor
from portico.runfolder.ledger import Ledger

SAMPLES = {
    "signal": "process: signal, mass: 1.0, ctau: 10.0, min_muons: 2",
    "background": "process: background, min_muons: 2",
    "control": "process: control, min_muons: 2",
}
CHUNK = 5_000  # of the files made here, a quarter of the events each


def made_events(process: str, mode: str, events: int) -> list[str]:
    """Return files of simulated events, which are made once."""
    with scratch() as folder:
        parameters = f"{{{SAMPLES[process]}, mode: {mode}, seed: 11}}"
        (folder / "analysis.yaml").write_text(
            f"name: bench\ndataset: {{samples: {{{process}: {{entries: {events}, parameters: {parameters}}}}}}}\n"
            f"steps: [{{name: simulate, function: 'hnl.simulate:simulate', chunk: {events // 4} entries}}]\n"
        )
        place = CACHE / f"skim-{process}-{mode}-{events}"
        return list(portico.run(load_analysis(folder), folder=place)["simulate"][process]["events"])


def skimmed(process: str, files: list[str], function: str) -> tuple[float, float, float, float]:
    """Skim files on one core: events/s, candidates per event, seconds to compile, peak memory in MB."""
    with scratch() as folder:
        listed = ", ".join(f"'{file}'" for file in files)
        (folder / "analysis.yaml").write_text(
            f"name: bench\ndataset: {{samples: {{{process}: {{tree: events, files: [{listed}]}}}}}}\n"
            f"steps: [{{name: skim, function: '{function}', chunk: {CHUNK} entries}}]\n"
        )
        executor = LocalExecutor(1)
        try:
            run = portico.run(load_analysis(folder), folder=folder / "run", executor=executor)
        finally:
            executor.close()
        candidates = run["skim"][process]["candidates"]
        ledger = Ledger(folder / "run" / "ledger.sqlite", read_only=True)
        rows = [metrics for _, _, metrics in ledger.metrics("skim")]
        ledger.close()
        warm = rows[1:]  # the first chunk compiles
        rate = sum(row["entries"] for row in warm) / sum(row["cpu"] for row in warm)
        number = float(candidates.values() @ candidates.axes[0].centers) / sum(row["entries"] for row in rows)
        compiling = rows[0]["cpu"] - rows[0]["entries"] / rate
        return rate, number, compiling, max(row["peak_memory"] for row in rows) / 1e6


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 16_000
    print("process     vertices  events/s/core  candidates/event  once (s)  peak (MB)")
    for mode, count in (("fast", events), ("data-like", events // 4)):
        for process in SAMPLES:
            name = "control_skim" if process == "control" else "skim"
            files = made_events(process, mode, count)
            rate, number, once, peak = skimmed(process, files, f"hnl.{name}:{name}")
            vertices = "1" if mode == "fast" else "~30"
            print(f"{process:12}{vertices:>7}{rate:14.0f}{number:18.2f}{once:10.1f}{peak:11.0f}")
    print("aim: 2000 events/s/core without pile-up, 300 at 30 vertices")


if __name__ == "__main__":
    main()
