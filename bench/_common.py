"""Tools of the benchmarks: generated events in a cache folder, runs in scratch folders, medians of pairs."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import portico
from portico.analysis.analysis import Analysis, load_analysis
from portico.executors.base import Executor
from portico.results.view import Results

HERE = Path(__file__).parent / "muons"
CACHE = Path(os.environ.get("PORTICO_CACHE", Path.home() / ".cache" / "portico")) / "bench"


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield an empty folder."""
    folder = Path(tempfile.mkdtemp(prefix="portico-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def analysis(folder: Path, samples: str, steps: str) -> Analysis:
    """Write and load an analysis of the benchmark's steps."""
    for name in ("steps.py", "muons.h"):
        shutil.copy(HERE / name, folder / name)
    (folder / "analysis.yaml").write_text(f"name: bench\ndataset: {{samples: {samples}}}\nsteps: {steps}\n")
    return load_analysis(folder)


def made_files(events: int, files: int, kind: str = "TTree") -> list[str]:
    """Return files of generated events, which are made once."""
    place = CACHE / f"{kind}-{events}-{files}"
    with scratch() as folder:
        options = f"options: {{kind: {kind}}}, chunk: {events // files} entries"
        made = analysis(
            folder, f"{{muons: {{entries: {events}}}}}", f"[{{name: make, function: 'steps:make', {options}}}]"
        )
        return list(portico.run(made, folder=place)["make"]["muons"]["events"])


def run_once(
    files: list[str], function: str, executor: Executor, chunk: str = "300000 entries"
) -> tuple[float, Results]:
    """Run one step over files in a new run folder; return the seconds and the results."""
    with scratch() as folder:
        listed = ", ".join(f"'{file}'" for file in files)
        once = analysis(
            folder,
            f"{{muons: {{files: [{listed}]}}}}",
            f"[{{name: {function}, function: 'steps:{function}', chunk: {chunk}}}]",
        )
        start = time.perf_counter()
        run = portico.run(once, folder=folder / "run", executor=executor)
        seconds = time.perf_counter() - start
        return seconds, run[function]["muons"]


def paired(first: Callable[[], float], second: Callable[[], float], times: int) -> tuple[float, float, float]:
    """Run two functions in turn; return the medians of both, and of their ratio pair by pair."""
    pairs = [(first(), second()) for _ in range(times)]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )
