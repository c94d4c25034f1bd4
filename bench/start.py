"""Start-up of a process of the simulation, the skim and the selection of hnl, until it loops over events.

Usage: python bench/start.py

Each step runs over one sample in a process of its own: with the library of its C++ sources, which an earlier process
has made, and with cling alone. `start` imports ROOT and loads the step, `build` makes and compiles its graph, `loop` is
the event loop of the first chunk: medians of wall seconds, on an idle machine. `CPU` is that of the chunk.
"""

from __future__ import annotations

import os
import statistics
import time
from contextlib import closing
from pathlib import Path

import psutil
from _common import scratch

import hnl
import portico
from portico.runfolder.ledger import Ledger

STEPS = ("simulate", "skim", "select")
SAMPLE = "signal_m1p0_ctau100"
TIMES = 3


def first_chunks(folder: Path, how: str) -> dict[str, tuple[float, ...]]:
    """Run each step in a new process; return start, build, loop and CPU seconds of its first chunk."""
    os.environ["PORTICO_CXX"] = how
    analysis = portico.load_analysis(Path(hnl.__file__).parent)
    for step in STEPS:
        with closing(portico.connect(workers=1)) as executor:
            portico.run(analysis, folder=folder, steps=[step], samples=[SAMPLE], executor=executor)
    found = {}
    with closing(Ledger(folder / "ledger.sqlite")) as ledger:
        for step in STEPS:
            metrics = min((metrics for _, _, metrics in ledger.metrics(step)), key=lambda metrics: metrics["started"])
            times = metrics["setup"] + metrics["open"], metrics["build"], metrics["loop"], metrics["cpu"]
            found[step] = tuple(times)
    return found


def wait_for_libraries() -> None:
    """Wait until all libraries are made that processes have begun: this goes on after their end."""
    while any("portico.environment.maker" in (one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])):
        time.sleep(0.5)


def main() -> None:
    """Interleave both, and print the medians."""
    seen: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    with scratch() as folder:
        first_chunks(folder / "made", "")  # makes the libraries
        wait_for_libraries()
        for turn in range(TIMES):
            for name, how in (("library", ""), ("cling", "none")):
                for step, times in first_chunks(folder / f"{name}{turn}", how).items():
                    seen.setdefault((step, name), []).append(times)
    print(f"{'step':<10}{'C++':<10}{'start':>8}{'build':>8}{'loop':>8}{'CPU':>8}")
    for (step, name), times in sorted(seen.items(), key=lambda item: STEPS.index(item[0][0])):
        medians = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{step:<10}{name:<10}" + "".join(f"{median:8.2f}" for median in medians))


if __name__ == "__main__":
    main()
