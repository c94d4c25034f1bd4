"""Storms: processes killed at random all through a run of 200 chunks, the scheduler lost, the driver lost.

After each, the ledger is exact and every number is that of the quiet run, bit for bit.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import uproot

import portico
from portico.analysis.analysis import Analysis, load_analysis
from portico.executors.dask import DaskExecutor
from portico.executors.local import LocalExecutor
from portico.runfolder.folder import RunFolder
from portico.runfolder.load import Run
from tests.conftest import REPOSITORY, Remember, numbers_of, write_events
from tests.services.farm.need import free_port, wait_for
from tests.services.farm.user import end
from tools.facility.services import answers

pytestmark = [pytest.mark.full, pytest.mark.integration, pytest.mark.timeout(1800)]

FILES, CLUSTERS, ENTRIES = 4, 50, 1000  # of each file
CHUNKS = FILES * CLUSTERS
KILLS = 20
# Few products: each process that is started anew loads ROOT and compiles them, which takes seconds.
CODE = """
import time


def select(frame, sample):
    time.sleep(0.05)
    kept = frame.Define("y", "x * w").Filter("x > 2")
    return {"tree": kept.Snapshot("kept", "kept.root", ["event", "y"]), "sum": kept.Sum("y")}
"""
STEP = '  - {name: select, function: "mysteps:select", chunk: 20 entries}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an analysis of 200 chunks."""
    made = tmp_path_factory.mktemp("storm")
    generator = np.random.default_rng(7)
    for number in range(FILES):
        write_events(made / f"events{number}.root", generator, ENTRIES, CLUSTERS)
    (made / "mysteps.py").write_text(CODE)
    samples = f'    a: {{files: ["{made}/events*.root"]}}'
    (made / "analysis.yaml").write_text(f"name: storm\ndataset:\n  samples:\n{samples}\nsteps:\n{STEP}\n")
    return made


@pytest.fixture(scope="module")
def analysis(folder: Path) -> Analysis:
    return load_analysis(folder)


@pytest.fixture(scope="module")
def quiet(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return every number of a run that nothing disturbed."""
    reporter = Remember()
    run = portico.run(analysis, folder=tmp_path_factory.mktemp("quiet") / "run", workers=2, reporter=reporter)
    assert reporter.ran == {"select": CHUNKS}
    check_ledger(run.path, analysis)
    return everything(run)


def everything(run: Run) -> dict[str, bytes]:
    """Return all results and all that was written to trees, as bytes."""
    numbers = dict(numbers_of(run, "select"))
    trees = [f"{path}:kept" for path in run["select"]["a"]["tree"]]
    assert len(trees) == CHUNKS
    columns = uproot.concatenate(trees, library="np")
    return numbers | {f"tree/{name}": array.tobytes() for name, array in columns.items()}


def check_ledger(place: Path, analysis: Analysis) -> Counter[str]:
    """Check that each chunk is done exactly once and none is missing; return how its attempts ended."""
    ledger = RunFolder(place).open_ledger()
    try:
        planned = list(ledger.planned("select"))
        done = ledger.done("select")
        metrics = list(ledger.metrics("select"))
        failures = ledger.failures("select")
        attempts = ledger._db.execute("SELECT key FROM attempt WHERE outcome = 'done'").fetchall()
    finally:
        ledger.close()
    assert len(planned) == CHUNKS
    assert {chunk.key for chunk in planned} == set(done)
    assert sorted(key for (key,) in attempts) == sorted(done)  # nobody was done twice
    assert sum(entry["entries"] for _, _, entry in metrics) == FILES * ENTRIES
    read = sorted((chunk.chunk.file, chunk.chunk.first, chunk.chunk.last) for chunk in planned)
    for number in range(FILES):
        ranges = [(first, last) for file, first, last in read if file.endswith(f"events{number}.root")]
        assert [first for first, _ in ranges] == [0, *(last for _, last in ranges[:-1])]
        assert ranges[-1][1] == ENTRIES
    assert all(made_good for _, _, made_good in failures)
    written = [path for outputs in done.values() for output in outputs for path in [output["path"]]]
    assert sorted(written) == sorted(map(str, (place / "select" / "a").glob("*.root")))  # nothing half, nothing over
    assert not list(place.rglob(".*"))
    return Counter(attempt.outcome for _, attempt, _ in failures)


def check_input(run: Run, folder: Path) -> None:
    """Check the numbers against the input itself, without ROOT."""
    columns = uproot.concatenate([f"{folder}/events{number}.root:Events" for number in range(FILES)], library="np")
    keep = columns["x"] > 2
    results = run["select"]["a"]
    assert results["sum"] == pytest.approx((columns["x"] * columns["w"])[keep].sum(), rel=1e-12)
    trees = uproot.concatenate([f"{path}:kept" for path in results["tree"]], library="np")
    assert trees["event"].tolist() == columns["event"][keep].tolist()


class Storm(Remember):
    """A reporter beside which a thread kills a process at random after every few chunks, ``KILLS`` times."""

    def __init__(self, victims: Callable[[], list[int]], seed: int) -> None:
        super().__init__()
        self.kills = 0
        self._victims, self._random = victims, random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._rage)

    def __enter__(self) -> Storm:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _rage(self) -> None:
        after = 3
        while self.kills < KILLS and not self._over.is_set():
            if self.advanced < after or self._over.wait(self._random.uniform(0, 0.2)):
                self._over.wait(0.01)
                continue
            victims = self._victims()
            if victims and kill(self._random.choice(victims)):
                self.kills += 1
                after = self.advanced + self._random.randint(4, 9)


def kill(pid: int) -> bool:
    """Kill a process; whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def dask_process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of Dask's; what it started ends with it."""
    started = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        below = psutil.Process(started.pid).children(recursive=True) if started.poll() is None else []
        end(started, signal.SIGKILL)
        for child in below:
            kill(child.pid)
        psutil.wait_procs(below, timeout=10)


@contextmanager
def scheduler(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A scheduler on a port of loopback."""
    with dask_process("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard") as process:
        wait_for(lambda: answers(port), "the start of the scheduler")
        yield process


def worker(port: int, name: str, place: Path) -> list[str]:
    """Return the arguments of a worker with a nanny, which starts it again when it dies."""
    return [
        "dask_worker", f"tcp://127.0.0.1:{port}", "--name", name, "--nthreads", "1", "--no-dashboard",
        "--local-directory", str(place / name), "--host", "127.0.0.1", "--death-timeout", "30",
    ]  # fmt: skip


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[DaskExecutor, list[int]]]:
    """An executor on a cluster of three workers, and the pids of their nannies."""
    port = free_port()
    with ExitStack() as stack:
        stack.enter_context(scheduler(port))
        nannies = [stack.enter_context(dask_process(*worker(port, f"w{n}", tmp_path))) for n in range(3)]
        executor = DaskExecutor(f"tcp://127.0.0.1:{port}")
        stack.callback(executor.close)
        executor.client.wait_for_workers(3, timeout=60)
        yield executor, [nanny.pid for nanny in nannies]


def test_local_processes_killed_at_random(
    analysis: Analysis, folder: Path, quiet: dict[str, bytes], tmp_path: Path
) -> None:
    executor = LocalExecutor(2)

    def victims() -> list[int]:
        """Return the processes that work, without those whose chunk would be given up: 3 times are too many."""
        runners = [runner for runner in executor._runners if runner.task is not None and runner.task.attempt < 3]
        return [process.pid for runner in runners if (process := runner._process) is not None]

    try:
        with Storm(victims, 1) as storm:
            run = portico.run(analysis, folder=tmp_path / "run", executor=executor, reporter=storm)
    finally:
        executor.close()
    assert storm.kills >= KILLS
    failed = check_ledger(tmp_path / "run", analysis)
    assert set(failed) == {"crash"}
    assert KILLS // 2 < failed["crash"] <= storm.kills  # some were hit just after their chunk
    assert any("SIGKILL" in warning for warning in storm.warnings)
    assert everything(run) == quiet
    check_input(run, folder)


@pytest.mark.dask
def test_dask_workers_and_their_processes_killed_at_random(
    cluster: tuple[DaskExecutor, list[int]], analysis: Analysis, folder: Path, quiet: dict[str, bytes], tmp_path: Path
) -> None:
    executor, nannies = cluster

    def victims() -> list[int]:
        """Return all workers, and their runners without those whose chunk would be given up."""
        if any(key.endswith("-3") for keys in executor.client.processing().values() for key in keys):
            return []
        found = []
        for nanny in nannies:
            with suppress(psutil.Error):
                below = psutil.Process(nanny).children(recursive=True)
                found += [child.pid for child in below if "resource_tracker" not in " ".join(child.cmdline())]
        return found

    with Storm(victims, 2) as storm:
        run = portico.run(analysis, folder=tmp_path / "run", executor=executor, reporter=storm)
    assert storm.kills >= KILLS
    failed = check_ledger(tmp_path / "run", analysis)
    assert "crash" in failed  # what a lost worker had is given to another by Dask itself
    assert set(failed) <= {"crash", "lost"}
    assert everything(run) == quiet
    check_input(run, folder)


def driver(folder: Path, place: Path, port: int) -> list[str]:
    return [
        sys.executable, "-m", "portico.cli", "run", str(folder), "--on", f"tcp://127.0.0.1:{port}", "--run", str(place),
    ]  # fmt: skip


def chunks_done(place: Path) -> int:
    """Look into the ledger of a running driver."""
    if not (place / "run.json").exists():
        return 0
    try:
        ledger = RunFolder(place).open_ledger()
    except portico.errors.RunFolderError:  # not made yet
        return 0
    count = len(ledger.done("select"))
    ledger.close()
    return count


def wait_for_chunks(count: int, place: Path, process: subprocess.Popen[bytes], said: Path) -> None:
    """Wait until a running driver has so many chunks."""
    wait_for(lambda: chunks_done(place) >= count or process.poll() is not None, f"{count} chunks", 600, said)
    assert process.poll() is None, said.read_text()


def start(command: list[str], output: Path) -> subprocess.Popen[bytes]:
    with output.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, cwd=REPOSITORY)


@pytest.mark.dask
def test_the_scheduler_is_killed_and_the_same_command_resumes(
    analysis: Analysis, folder: Path, quiet: dict[str, bytes], tmp_path: Path
) -> None:
    port, place, said = free_port(), tmp_path / "run", tmp_path / "said"
    with ExitStack() as stack:
        lost = stack.enter_context(scheduler(port))
        for name in ("a", "b"):
            stack.enter_context(dask_process(*worker(port, name, tmp_path)))
        process = start(driver(folder, place, port), said)
        stack.callback(end, process)
        wait_for_chunks(60, place, process, said)
        lost.kill()
        began = time.monotonic()
        assert process.wait(120) == 1, said.read_text()
        assert time.monotonic() - began < 60
    text = " ".join(said.read_text().split())
    assert "Traceback" not in text, text
    assert f"tcp://127.0.0.1:{port}" in text
    assert "scheduler" in text, text
    before = chunks_done(place)
    assert 60 <= before < CHUNKS
    with ExitStack() as stack:
        stack.enter_context(scheduler(port))
        for name in ("c", "d"):
            stack.enter_context(dask_process(*worker(port, name, tmp_path)))
        process = start(driver(folder, place, port), said)
        stack.callback(end, process)
        assert process.wait(600) == 0, said.read_text()
    run = portico.load(place)
    assert not set(check_ledger(place, analysis)) - {"lost"}
    assert everything(run) == quiet
    check_input(run, folder)


@pytest.mark.dask
def test_the_driver_is_killed_twice_and_the_same_command_resumes(
    analysis: Analysis, folder: Path, quiet: dict[str, bytes], tmp_path: Path
) -> None:
    port, place, said = free_port(), tmp_path / "run", tmp_path / "said"
    with ExitStack() as stack:
        stack.enter_context(scheduler(port))
        for name in ("a", "b"):
            stack.enter_context(dask_process(*worker(port, name, tmp_path)))
        for count in (40, 110):
            process = start(driver(folder, place, port), said)
            stack.callback(end, process)
            wait_for_chunks(count, place, process, said)
            process.kill()
            process.wait()
            assert count <= chunks_done(place) < CHUNKS
        process = start(driver(folder, place, port), said)
        stack.callback(end, process)
        assert process.wait(600) == 0, said.read_text()
    run = portico.load(place)
    assert not check_ledger(place, analysis)
    assert everything(run) == quiet
    check_input(run, folder)
