"""Time from `portico run --on ...` to the first finished chunk and to the end: locally, on HTCondor and on Slurm.

The batch systems are those of the tests: run tools/services.sh first. All run as the same ordinary user.

Usage: python bench/farm.py [CHUNKS]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.conftest import numbers_of, write_events
from tests.services.farm.pool import htcondor_pool
from tests.services.farm.slurm import slurm_pool
from tests.services.farm.user import User, ordinary_user

import portico
from portico.errors import PorticoError
from portico.runfolder.folder import RunFolder

CODE = """
import time


def select(frame, sample):
    time.sleep(0.25)
    kept = frame.Filter("x > 2", "x > 2").Define("y", "x * w")
    return {"cutflow": kept.Report(), "y": kept.Histo1D(("y", ";y;events", 30, 0, 15), "y", "w")}
"""
SITE = """
kind: {kind}
memory: 2 GB
disk: 100 MB
walltime: "00:20:00"
workers: 2
interface: lo
folder: {folder}/jobs
"""


def first_done(run: Path) -> int:
    """Return the number of finished chunks."""
    try:
        ledger = RunFolder(run).open_ledger()
    except (PorticoError, OSError):
        return 0
    try:
        return len(ledger.done("select"))
    finally:
        ledger.close()


def timed(user: User, folder: Path, run: str, *options: str) -> tuple[float, float]:
    """Return the seconds from the start of the command to the first finished chunk, and to its end."""
    began = time.perf_counter()
    command = [user.python, "-m", "portico.cli", "run", ".", "--run", run, *options]
    process = user.popen(command, cwd=folder, stdout=(folder / f"{run}.log").open("wb"))
    first = None
    while process.poll() is None:
        if first is None and first_done(folder / run):
            first = time.perf_counter() - began
        time.sleep(0.1)
    if process.returncode:
        sys.exit((folder / f"{run}.log").read_text())
    end = time.perf_counter() - began
    return first or end, end


def main() -> None:
    chunks = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with ExitStack() as stack:
        user = stack.enter_context(ordinary_user())
        pools: dict[str, Callable[[User], object]] = {"htcondor": htcondor_pool, "slurm": slurm_pool}
        users = {kind: stack.enter_context(start(user)).user for kind, start in pools.items()}
        folder = user.folder("bench")
        write_events(folder / "events.root", np.random.default_rng(1), 20 * chunks, chunks)
        (folder / "mysteps.py").write_text(CODE)
        step = '[{name: select, function: "mysteps:select", chunk: 20 entries}]'
        files = f'{{samples: {{a: {{files: "{folder}/events.root"}}}}}}'
        (folder / "analysis.yaml").write_text(f"name: farm\ndataset: {files}\nsteps: {step}\n")
        for kind in users:
            (folder / f"{kind}.yaml").write_text(SITE.format(kind=kind, folder=folder))
        user.own(folder)
        cases = [("local", user, ("--workers", "2"))]
        for kind, who in users.items():
            site = str(folder / f"{kind}.yaml")
            cases += [(f"{kind}-dask", who, ("--on", site)), (f"{kind}-batch", who, ("--on", site, "--batch"))]
        print(f"{chunks} chunks of 0.25 s on 2 workers, all started cold")
        reference = None
        for name, who, options in cases:
            first, end = timed(who, folder, name, *options)
            numbers = numbers_of(portico.load(folder / name), "select")
            reference = reference or numbers
            print(f"{name:15s} first chunk {first:5.1f} s, end {end:5.1f} s, equal to local: {numbers == reference}")


if __name__ == "__main__":
    main()
