"""Cost of what makes a run durable: fsync of files, folders and ledger, and the checksums that are verified on reuse.

Two runs, each with and without fsync (a library before the system's answers it at once), in turn: 200 chunks that each
write a tree, and empty chunks. Then the time to resume, after which nothing is made, with all checksums known, with all
to be computed (a copied folder), and with `portico verify`. At last the time from a kill to the next result: a kill
of a process that runs chunks, and one of the driver, where it counts from the start of the same command.

Usage: python bench/durable.py [--chunks N] [--times N] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
from _common import analysis, made_files

from portico.runfolder.verify import verify

EVENTS, TREES = 600_000, 200
NO_SYNC = "int fsync(int f) { (void)f; return 0; }\nint fdatasync(int f) { (void)f; return 0; }\n"
KILLED_AFTER = 60  # chunks
DRIVER = """
import sys, time
import portico
class Reporter:
    def begin(self, *_): ...
    def note(self, *_): ...
    def warn(self, *_): ...
    def end(self, *_): ...
    def advance(self, *_):
        print(time.time(), flush=True)
portico.run(portico.load_analysis(sys.argv[1]), folder=sys.argv[2], workers=1, reporter=Reporter())
"""
RUN = """
import resource, sys, time
import portico
from portico.executors.local import LocalExecutor
made, folder = portico.load_analysis(sys.argv[1]), sys.argv[2]
executor = LocalExecutor(2)
began = time.perf_counter()
portico.run(made, folder=folder, executor=executor)
seconds = time.perf_counter() - began
executor.close()
used = resource.getrusage(resource.RUSAGE_SELF)
print(seconds, used.ru_utime + used.ru_stime)
"""


def without_sync(folder: Path) -> dict[str, str]:
    """Return the environment of processes whose fsync does nothing."""
    (folder / "nosync.c").write_text(NO_SYNC)
    library = folder / "nosync.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(folder / "nosync.c")], check=True)
    return {**os.environ, "LD_PRELOAD": str(library)}


def timed(source: Path, run: Path, environment: Mapping[str, str]) -> tuple[float, float]:
    """Run an analysis in a process of its own; return the wall time and the driver's CPU time in seconds."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(source), str(run)], env=environment, check=True, capture_output=True, text=True
    )
    wall, cpu = map(float, done.stdout.split()[-2:])
    return wall, cpu


def compare(name: str, source: Path, folder: Path, times: int) -> Path:
    """Run with and without fsync in turn, and print the medians; return the last run folder."""
    ways = {"with fsync": dict(os.environ), "without": without_sync(folder)}
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    run = folder / "run"
    for _ in range(times):
        for way, environment in ways.items():
            shutil.rmtree(run, ignore_errors=True)
            found[way].append(timed(source, run, environment))
    words = [
        f"{way} {statistics.median(wall for wall, _ in each):.2f} s, "
        f"driver {statistics.median(cpu for _, cpu in each):.2f} s of CPU"
        for way, each in found.items()
    ]
    print(f"{name}: {'; '.join(words)} (medians of {times})", flush=True)
    return run


def resume(source: Path, run: Path) -> None:
    """Print how long it takes to find that nothing is to be done, and to verify all of it."""
    known = timed(source, run, os.environ)[0]
    copy = run.with_name("copy")
    shutil.copytree(run, copy)
    anew = timed(source, copy, os.environ)[0]
    began = time.perf_counter()
    found = verify(copy)
    seconds = time.perf_counter() - began
    assert not found.faults
    size = (run / "ledger.sqlite").stat().st_size
    print(
        f"  resumed in {known:.2f} s, as a copy in {anew:.2f} s; {found.files} files, {found.size / 1e6:.0f} MB "
        f"verified in {seconds:.2f} s; ledger {size / 1e6:.1f} MB", flush=True,
    )  # fmt: skip
    shutil.rmtree(copy)


def after_kills(source: Path, folder: Path) -> None:
    """Print how long it takes from a kill to the next result; results are told twice a second."""
    command = [sys.executable, "-c", DRIVER, str(source), str(folder / "killed")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        told = [float(driver.stdout.readline()) for _ in range(KILLED_AFTER)]
        # Beside the server that forks: what it has forked, which is younger.
        psutil.Process(max(child.pid for child in psutil.Process(driver.pid).children())).kill()
        killed = time.time()
        after = next(moment for line in driver.stdout if (moment := float(line)) > killed) - killed
        driver.kill()
    began = time.time()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        again = float(driver.stdout.readline()) - began
        driver.kill()
    usual = (told[-1] - told[0]) / (KILLED_AFTER - 1)
    print(
        f"  a chunk takes {usual:.2f} s; next result {after:.2f} s after the kill of its process, {again:.2f} s after "
        "the start of a driver that was killed", flush=True,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=20_000, help="empty chunks")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    chosen = parser.parse_args()
    files = made_files(EVENTS, TREES)
    place = Path(tempfile.mkdtemp(prefix="portico-bench-", dir=chosen.folder))
    try:
        listed = ", ".join(f"'{file}'" for file in files)
        per_chunk = EVENTS // TREES
        cases = {
            f"{TREES} chunks with trees": (
                f"{{muons: {{files: [{listed}]}}}}",
                f"[{{name: copy, function: 'copies:copy', chunk: {per_chunk} entries}}]",
            ),
            f"{chosen.chunks:,} empty chunks": (
                f"{{none: {{entries: {chosen.chunks}}}}}", "[{name: empty, function: 'steps:empty', chunk: 1 entries}]",
            ),
        }  # fmt: skip
        for number, (name, (samples, steps)) in enumerate(cases.items()):
            source = place / str(number) / "analysis"
            source.mkdir(parents=True)
            analysis(source, samples, steps)
            (source / "copies.py").write_text(
                "def copy(frame, sample):\n"
                "    columns = [c for c in map(str, frame.GetColumnNames()) if 'Muon' in c]\n"
                "    return {'events': frame.Snapshot('Events', 'e.root', columns), 'n': frame.Count()}\n"
            )
            resume(source, compare(name, source, place / str(number), chosen.times))
            if not number:
                after_kills(source, place / str(number))
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
