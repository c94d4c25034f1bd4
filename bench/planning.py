"""Planning of many files: the first time, when each is opened, and again, when their summaries are remembered.

The files are copies of one, each with a UUID of its own: ``small`` ones of 2 columns, and ``wide`` ones of 1,500. Each
planning is a process of its own with an empty cache or that of the first; the time is that of loading the analysis and
of planning its three steps.

Usage: python bench/planning.py [--small N] [--wide N] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import uproot
from _common import scratch

_STEPS = "".join(f"  - {{name: {name}, function: 'mysteps:h'}}\n" for name in ("one", "two", "three"))
_ENTRIES = 10


def write(folder: Path, files: int, columns: int) -> None:
    """Write an analysis of ``files`` files with ``columns`` columns."""
    folder.mkdir()
    (folder / "mysteps.py").write_text('def h(frame, sample):\n    return {"n": frame.Count()}\n')
    (folder / "analysis.yaml").write_text(
        f"name: planning\ndataset: {{tree: Events, samples: {{s: {{files: ['*.root']}}}}}}\nsteps:\n{_STEPS}"
    )
    first = folder / "f00000.root"
    with uproot.recreate(first) as file:
        file.mktree("Events", {f"c{i}": "float32" for i in range(columns)})
        file["Events"].extend({f"c{i}": np.zeros(_ENTRIES, np.float32) for i in range(columns)})
    data = bytearray(first.read_bytes())
    place = 59 if int.from_bytes(data[4:8], "big") >= 1_000_000 else 47  # of the UUID in the file's header
    for number in range(1, files):
        data[place : place + 16] = uuid.uuid4().bytes
        (folder / f"f{number:05d}.root").write_bytes(data)


def plan(folder: Path, profile: bool) -> None:
    """Plan once and print the seconds, and what they went into."""
    from portico.analysis.analysis import load_analysis
    from portico.workflow.dry_run import preview

    profiler = cProfile.Profile()
    started, cpu = time.perf_counter(), time.process_time()
    if profile:
        profiler.enable()
    chunks = sum(row.chunks for row in preview(load_analysis(folder), folder=folder / "run").rows)
    profiler.disable()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    if profile:
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("cumulative").print_stats(25)
    print(json.dumps({"seconds": round(seconds, 2), "cpu": round(cpu, 2), "chunks": chunks}))


def measure(folder: Path, profile: bool) -> dict[str, float]:
    """Plan in a new process."""
    command = [sys.executable, __file__, "--plan", str(folder), *(["--profile"] if profile else [])]
    environment = {**os.environ, "PORTICO_CACHE": str(folder.parent / "cache")}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Write the files, plan twice, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=10_000, metavar="N", help="files of 2 columns (%(default)s)")
    parser.add_argument("--wide", type=int, default=20, metavar="N", help="files of 1,500 columns (%(default)s)")
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plan:
        plan(given.plan, given.profile)
        return
    for name, files, columns in (("small", given.small, 2), ("wide", given.wide, 1500)):
        if files:
            with scratch() as folder:
                write(folder / "analysis", files, columns)
                time.sleep(2)  # files that have just been written are not remembered
                for which in ("first", "again"):
                    print(f"{files} {name} files, {which}:", measure(folder / "analysis", given.profile), flush=True)


if __name__ == "__main__":
    main()
