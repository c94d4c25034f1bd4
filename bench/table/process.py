"""A contender in a process of its own: the loop that serves it, and what starts the process and measures it.

The process reads a request per line of standard input and answers each with a line that begins with ``=``. CPU seconds
and memory are those of the process and of all that it started.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.table.inputs import Input

__all__ = ["Measured", "Process"]

REPOSITORY = Path(__file__).parents[2]
_SECONDS = 1800  # after which a program is taken to hang
_SHOWN = 2000  # characters of what a process wrote before it ended


@dataclass(frozen=True, slots=True)
class Measured:
    """What a query cost, and its result.

    Parameters
    ----------
    wall, cpu : float
        Seconds. Of the first query they include the start of the process, unless the contender says otherwise.
    work : float
        CPU seconds of the loops over events and of what they need, as portico counts them for its chunks: without
        planning, ledger and the sum of the results. For the others, `cpu`.
    memory : float
        The largest resident size that any process but that of the user has had, or that process alone, in MB.
    contents : mapping of str to list of float
        The contents of each histogram, with those of the flow bins.
    """

    wall: float
    cpu: float
    work: float
    memory: float
    contents: Mapping[str, list[float]]


class Process:
    """A contender in a new process.

    Parameters
    ----------
    contender : str
        The module in ``bench.table.contenders``.
    given : Input
        What it reads.
    workers : int
        How many cores it may use.
    folder : Path
        Its own, for what it writes.
    libraries : Path
        Where compiled C++ is kept.
    """

    def __init__(self, contender: str, given: Input, workers: int, folder: Path, libraries: Path) -> None:
        self.name = contender
        environment = {
            **os.environ, "PORTICO_CACHE": str(folder / "cache"), "PORTICO_COLUMNS": str(folder / "columns"),
            "PORTICO_LIBRARIES": str(libraries / "portico"), "NUMBA_CACHE_DIR": str(libraries / "numba"),
            "PYTHONWARNINGS": "ignore", "BENCH_LIBRARIES": str(libraries),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])),
        }  # fmt: skip
        for threads in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "NUMBA_NUM_THREADS"):
            environment[threads] = str(workers)
        command = [sys.executable, "-m", "bench.table.process", contender, given.text(), str(workers), str(folder)]
        self._began: float | None = time.perf_counter()
        self._log = folder / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                cwd=folder,
            )

    def __call__(self, method: str, **arguments: Any) -> Measured:
        """Have a query answered.

        Raises
        ------
        RuntimeError
            If the process ends instead, with the end of what it wrote; after half an hour it is killed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        began = self._began or time.perf_counter()
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"method": method, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
        timer = threading.Timer(_SECONDS, self._process.kill)
        timer.start()
        try:
            line = next((line for line in self._process.stdout if line.startswith("=")), "")
        finally:
            timer.cancel()
        if line:
            answer = json.loads(line[1:])
            wall = time.perf_counter() - began if answer.pop("whole") else answer["wall"]
            self._began = None
            return Measured(**{**answer, "wall": wall})
        written = self._log.read_text(errors="replace").strip()[-_SHOWN:]
        raise RuntimeError(f"the process of '{self.name}' ended in '{method}':\n{written}")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def cpu_seconds() -> float:
    """Return the CPU seconds of this process, of those that it started, and of theirs, whether they live or not."""
    own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    total = sum(usage.ru_utime + usage.ru_stime for usage in own)
    for child in psutil.Process().children(recursive=True):
        try:
            ended = child.cpu_times()
            total += time.clock_gettime((~child.pid << 3) | 2)  # the clock of its CPU time, as clock_getcpuclockid says
        except (psutil.NoSuchProcess, OSError):
            continue
        total += ended.children_user + ended.children_system
    return total


def peak_megabytes() -> float:
    """Return the largest peak of the resident size of any child, or that of this process if there is none."""
    children = psutil.Process().children(recursive=True)
    peaks = [_peak(child.pid) for child in children]
    return max([peak for peak in peaks if peak], default=_peak(os.getpid()))


def _peak(process: int) -> float:
    try:
        text = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return next((float(line.split()[1]) / 1e3 for line in text.splitlines() if line.startswith("VmHWM:")), 0.0)


def serve(name: str, given: Input, workers: int, folder: Path) -> None:
    """Answer requests until standard input ends."""
    module = importlib.import_module(f"bench.table.contenders.{name}")
    contender = module.Contender(given, workers, folder)
    is_first = not getattr(contender, "IS_READY", False)
    try:
        for line in sys.stdin:
            request = json.loads(line)
            before, began, clock = (0.0 if is_first else cpu_seconds()), time.perf_counter(), time.time()
            contents = getattr(contender, request["method"])(**request["arguments"])
            wall, cpu = time.perf_counter() - began, cpu_seconds() - before
            wall = getattr(contender, "seconds", wall)
            work = contender.work(clock) if hasattr(contender, "work") else cpu
            answer = {"wall": wall, "cpu": cpu, "work": work, "memory": peak_megabytes(), "contents": contents}
            answer["whole"] = is_first
            print("=" + json.dumps(answer), flush=True)
            is_first = False
    finally:
        contender.close()


if __name__ == "__main__":
    serve(sys.argv[1], Input.read(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
