"""Partial results that give way to those of subtrees: each chunk counts once, and no bit changes, whatever happens."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import traceback
import uuid
import zlib
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import portico
from portico.analysis.analysis import Analysis, load_analysis
from portico.analysis.chunks import Chunk
from portico.environment.bundle import Bundle
from portico.errors import InputError
from portico.executors.base import Executor
from portico.interactive.keeping import keep_results
from portico.interactive.so_far import read_so_far
from portico.monitor.status import read_status
from portico.results.partial import encode
from portico.results.product import Product, ProductKind
from portico.runfolder import subtrees
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Ledger, Planned
from portico.runfolder.prune import prune_run
from portico.worker.task import Done, Failed, FailureKind, Outcome, Task
from portico.worker.wire import Message
from portico.workflow import chunk_scheduler, merging
from tests.conftest import Remember, numbers_of, write_events

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
CODE = """
def fill(frame, sample, *, cut=1):
    return {}
"""
STEPS = "  - {name: fill, function: 'mysteps:fill', chunk: 50 entries, options: {cut: 1}}"
AXIS = {"bins": 3, "low": 0.0, "high": 1.0, "edges": None, "title": "", "labels": {}}
HEAD = {"class": "TH1D", "name": "h", "title": "", "axes": [AXIS], "content": ""}


def random_of(file: str, first: int, cut: int) -> np.random.Generator:
    return np.random.default_rng([*f"{file} {first} {cut}".encode()])


def products(file: str, first: int, cut: int) -> dict[str, Product]:
    """Return products whose sums round: in another order of terms they have other bits."""
    values = random_of(file, first, cut).normal(size=5) * 10.0 ** np.arange(5)
    arrays = {"values": values, "sumw2": values**2, "stats": np.zeros(20), "entries": np.array([50.0])}
    return {
        "h": Product(ProductKind.HISTOGRAM, HEAD, arrays),
        "n": Product(ProductKind.COUNT, {"operation": "Count"}, {"value": np.array([50])}),
    }


class Prepared(Executor):
    """Answers from the name and the entries of a chunk, in any order; chunks fail as they are told to."""

    name, workers, make = "prepared", 8, staticmethod(products)

    def __init__(self, seed: int = 0, interrupt_after: int | None = None) -> None:
        self._random, self._interrupt_after = random.Random(seed), interrupt_after
        self._tasks: list[Task] = []
        self.bad: set[tuple[str, int]] = set()
        self.trees = False
        self.ran: list[tuple[str, int]] = []

    @property
    def free(self) -> int:
        return 8 - len(self._tasks)

    def prepare(self, bundle: Bundle) -> None: ...

    def submit(self, task: Task) -> None:
        self._tasks.append(task)

    def wait(self, timeout: float) -> list[Outcome]:
        self._random.shuffle(self._tasks)
        count = self._random.randint(1, len(self._tasks))
        given, self._tasks = self._tasks[:count], self._tasks[count:]
        if self._interrupt_after is not None:
            self._interrupt_after -= len(given)
            if self._interrupt_after < 0:
                raise KeyboardInterrupt
        return [self._outcome(task) for task in given]

    def _outcome(self, task: Task) -> Outcome:
        what = (Path(task.chunk.file).stem, task.chunk.first)
        self.ran.append(what)
        if what in self.bad:
            return Failed(task, FailureKind.INPUT, "bad on purpose")
        return Done(task, encode(self.make(*what, task.options["cut"])), {"wall": 1.0}, self._files(task))

    def _files(self, task: Task) -> tuple[dict[str, Any], ...]:
        if not self.trees:
            return ()
        path = Path(task.folder) / f".{uuid.uuid4().hex}.part"
        path.write_bytes(os.urandom(20))  # like trees of ROOT, two of one chunk differ
        described = {"size": 20, "adler32": f"{zlib.adler32(path.read_bytes()):08x}", "uuid": path.name}
        return ({"product": "tree", "tree": "kept", "path": str(path), **described},)

    def call(self, content: dict[str, Any], blobs: list[bytes]) -> Message:
        return {}, [b"results.root"]

    def close(self) -> None: ...


class Bench:
    """An analysis over files of five chunks each, and its runs."""

    def __init__(self, make: Callable[..., Analysis], folder: Path) -> None:
        self._make, self._folder, self.names = make, folder, list[str]()
        for name in ("b0", "b1", "b2", "b3"):
            self.add(name)

    def add(self, name: str) -> None:
        write_events(self._folder / f"{name}.root", np.random.default_rng(len(self.names)), 250)
        self.names = sorted([*self.names, name])

    def run(self, executor: Executor, cut: int = 1, run: str = "run", **options: Any) -> tuple[portico.Run, Remember]:
        reporter = Remember()
        options = {"executor": executor, "reporter": reporter, "folder": self._folder / run, **options}
        return portico.run(self.analysis(cut), **options), reporter

    def analysis(self, cut: int = 1) -> Analysis:
        listed = ", ".join(f"'{self._folder}/{name}.root'" for name in self.names)
        return self._make(CODE, STEPS, f"    s: {{files: [{listed}]}}").with_options("fill", cut=cut)

    def whole(self, cut: int = 1) -> dict[str, Any]:
        """Return the numbers of a run in which nothing happens and nothing is merged before its end."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(merging, "SEPARATE_BYTES", 10**9)
            return numbers_of(self.run(Prepared(), cut, run=uuid.uuid4().hex)[0], "fill")


@pytest.fixture
def bench(make_analysis: Callable[..., Analysis], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Subtrees of four chunks, as soon as they are complete: b0 b0 b0 b0 | b0 b1 b1 b1 | b1 b1 b2 b2 | ..."""
    monkeypatch.setattr(subtrees, "SIZE", 4)
    monkeypatch.setattr(merging, "SEPARATE_BYTES", 0)
    monkeypatch.setattr(chunk_scheduler, "_COMMIT_CHUNKS", 2)
    return Bench(make_analysis, tmp_path)


def kept(folder: Path) -> tuple[int, int]:
    """Return how many subtrees the ledger has, and how many partial results of single chunks."""
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        counts = ("SELECT COUNT(*) FROM subtree", "SELECT COUNT(*) FROM done WHERE partial IS NOT NULL")
        first, second = (db.execute(query).fetchone()[0] for query in counts)
        return first, second


def test_neighbours_are_merged_and_no_bit_changes(bench: Bench, tmp_path: Path) -> None:
    executor = Prepared()
    run, _ = bench.run(executor)
    assert numbers_of(run, "fill") == bench.whole()
    assert kept(tmp_path / "run") == (5, 0)
    assert sorted(executor.ran) == [(name, first) for name in bench.names for first in range(0, 250, 50)]
    status = read_status(tmp_path / "run")
    assert [(step.state, step.total.chunks_done, step.total.chunks) for step in status.steps] == [("done", 20, 20)]
    again, reporter = bench.run(executor)
    assert reporter.ran == {"fill": 0}
    assert numbers_of(again, "fill") == numbers_of(run, "fill")


def test_few_bytes_are_not_merged(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "SEPARATE_BYTES", 10**6)
    bench.run(Prepared())
    assert kept(tmp_path / "run") == (0, 20)


@pytest.mark.parametrize("seed", range(4))
def test_interrupted_and_resumed_in_any_order(bench: Bench, tmp_path: Path, seed: int) -> None:
    expected, chance, merged = bench.whole(), random.Random(seed), []
    for _ in range(100):
        executor = Prepared(seed=chance.randrange(2**32), interrupt_after=chance.randint(0, 8))
        try:
            run, _ = bench.run(executor)
        except KeyboardInterrupt:
            merged.append(kept(tmp_path / "run"))
        else:
            break
    assert numbers_of(run, "fill") == expected
    assert kept(tmp_path / "run") == (5, 0)
    counts = [count for count, _ in merged]
    assert counts == sorted(counts)
    assert any(0 < count < 5 for count in counts)


def test_what_is_done_so_far_has_each_chunk_once(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        bench.run(Prepared(seed=2, interrupt_after=16))
    found = read_so_far(tmp_path / "run", "fill", ["s"], {})["s"]
    done = found["n"] // 50
    assert 0 < done < 20
    assert kept(tmp_path / "run")[0] > 0
    assert found.note == f"PARTIAL: {50 * done:,} of 1,000 entries"
    assert found.products["h"].arrays["entries"][0] == 50 * done


def test_a_bad_file_leaves_the_results_of_its_neighbours(bench: Bench, tmp_path: Path) -> None:
    """A chunk whose tree is gone runs again, and its file turns out to be bad after it was merged with others."""
    executor = Prepared()
    executor.trees = True
    whole, _ = bench.run(executor)
    next((tmp_path / "run" / "fill" / "s").glob("kept-000006-*.root")).unlink()  # the second chunk of b1
    executor.ran.clear()
    executor.bad = {("b1", 50)}
    run, reporter = bench.run(executor, allow_partial=True)
    assert reporter.states == {"fill": "partial"}
    again = {("b0", 200), ("b2", 0), ("b2", 50)}  # what was merged with chunks of b1
    assert again <= set(executor.ran)
    assert {name for name, _ in set(executor.ran) - again} == {"b1"}
    other = Prepared()
    other.bad = executor.bad
    expected, _ = bench.run(other, run="other", allow_partial=True)
    assert numbers_of(run, "fill") == numbers_of(expected, "fill")
    assert run["fill"]["s"]["n"] == 750
    executor.bad = set()
    executor.ran.clear()
    repaired, _ = bench.run(executor)
    assert {name for name, _ in executor.ran} == {"b1"}
    assert numbers_of(repaired, "fill") == numbers_of(whole, "fill")


def test_a_bad_file_fails_the_run_and_its_repair_finishes_it(bench: Bench, tmp_path: Path) -> None:
    expected, executor = bench.whole(), Prepared(seed=5)
    executor.bad = {("b2", 100)}
    with pytest.raises(InputError, match="bad on purpose"):
        bench.run(executor)
    assert kept(tmp_path / "run")[0] > 0
    executor.bad = set()
    executor.ran.clear()
    run, _ = bench.run(executor)
    assert {name for name, _ in executor.ran} == {"b2"}
    assert numbers_of(run, "fill") == expected


def test_a_tree_that_is_gone_is_made_again_with_its_subtree(bench: Bench, tmp_path: Path) -> None:
    executor = Prepared()
    executor.trees = True
    before, _ = bench.run(executor)
    trees = sorted((tmp_path / "run" / "fill" / "s").glob("*.root"))
    trees[9].unlink()
    executor.ran.clear()
    after, reporter = bench.run(executor)
    assert any("3 chunks run again" in warning for warning in reporter.warnings)
    assert sorted(executor.ran) == [("b1", 150), ("b1", 200), ("b2", 0), ("b2", 50)]
    assert numbers_of(after, "fill") == numbers_of(before, "fill")
    assert sorted((tmp_path / "run" / "fill" / "s").glob("*.root")) == trees
    assert kept(tmp_path / "run") == (5, 0)
    _, reporter = bench.run(executor)
    assert reporter.ran == {"fill": 0}


def test_files_that_are_added_run_alone_and_those_before_them_shift_the_rest(bench: Bench, tmp_path: Path) -> None:
    executor = Prepared()
    bench.run(executor)
    bench.add("b4")
    executor.ran.clear()
    run, _ = bench.run(executor)
    assert {name for name, _ in executor.ran} == {"b4"}
    assert numbers_of(run, "fill") == bench.whole()
    bench.add("b15")
    executor.ran.clear()
    run, reporter = bench.run(executor)
    assert any("chunks run again: their results were merged" in warning for warning in reporter.warnings)
    assert numbers_of(run, "fill") == bench.whole()
    assert ("b0", 0) not in executor.ran
    assert ("b15", 0) in executor.ran
    assert ("b3", 0) in executor.ran
    bench.names.remove("b15")
    executor.ran.clear()
    run, _ = bench.run(executor, accept_changed_input=True)
    assert executor.ran == []
    assert numbers_of(run, "fill") == bench.whole()


def test_a_plan_that_another_program_changed_is_written_again(bench: Bench, tmp_path: Path) -> None:
    executor = Prepared()
    before, _ = bench.run(executor)
    for change in ("DELETE FROM plan WHERE position = 7", "UPDATE plan SET last = last + 1, subtree = ''"):
        with closing(sqlite3.connect(tmp_path / "run" / "ledger.sqlite")) as db, db:
            db.execute(change)
        executor.ran.clear()
        run, _ = bench.run(executor, accept_changed_input=True)
        assert executor.ran == []
        assert numbers_of(run, "fill") == numbers_of(before, "fill")
        assert read_status(tmp_path / "run").steps[0].total.entries == 1000


def test_samples_keep_their_order_when_one_of_them_changes(tmp_path: Path) -> None:
    def plan(*order: str, files: int = 1) -> list[str]:
        chunks = {
            name: [Planned(name, n, f"{name}{n}", Chunk(f"f{n}", "", "t", 0, 9)) for n in range(count)]
            for name, count in ((name, files if name == "a" else 1) for name in order)
        }
        ledger.plan("fill", 0, "frame", chunks, others=False)
        assert [p.key for p in ledger.planned("fill")] == [p.key for of in chunks.values() for p in of]
        return list(ledger.entries("fill"))

    with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger:
        assert plan("a", "b") == plan("a", "b", files=2) == ["a", "b"]
        assert plan("b", "a", files=2) == ["b", "a"]
        assert plan("b") == ["b"]


def test_an_earlier_cut_comes_back_without_a_chunk(bench: Bench, tmp_path: Path) -> None:
    executor = Prepared()
    first, _ = bench.run(executor, cut=1)
    second, _ = bench.run(executor, cut=2)
    assert numbers_of(second, "fill") == bench.whole(cut=2) != numbers_of(first, "fill")
    assert kept(tmp_path / "run") == (10, 0)
    bench.add("b4")
    executor.ran.clear()
    back, _ = bench.run(executor, cut=1)
    assert {name for name, _ in executor.ran} == {"b4"}
    assert numbers_of(back, "fill") == bench.whole(cut=1)


def test_pruning_removes_the_subtrees_of_older_results(bench: Bench, tmp_path: Path) -> None:
    executor, folder = Prepared(), RunFolder(tmp_path / "run")
    first, _ = bench.run(executor, cut=1)
    bench.run(executor, cut=2)
    bench.run(executor, cut=3)
    assert kept(tmp_path / "run") == (15, 0)
    told = prune_run(folder, days=0, size=0, dry_run=True)
    pruned = prune_run(folder, days=0, size=0)
    assert pruned == told
    assert pruned.freed > 0 == pruned.older
    assert kept(tmp_path / "run") == (5, 0)
    again, _ = bench.run(executor, cut=1)
    assert len(executor.ran) == 80
    assert numbers_of(again, "fill") == numbers_of(first, "fill")


def test_a_run_of_its_own_takes_the_subtrees_over(bench: Bench, tmp_path: Path) -> None:
    executor = Prepared()
    executor.trees = True
    run, _ = bench.run(executor)
    executor.ran.clear()
    keep_results(run, tmp_path / "kept", bench.analysis(), "fill", [], {"executor": executor})
    assert executor.ran == []
    assert kept(tmp_path / "kept") == (5, 0)
    assert numbers_of(portico.load(tmp_path / "kept"), "fill") == numbers_of(run, "fill")


def test_lists_stay_in_parts(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def long(*what: Any) -> dict[str, Product]:
        return {"x": Product(ProductKind.ARRAY, {}, {"x": random_of(*what).uniform(size=1000)})}

    monkeypatch.setattr(Prepared, "make", staticmethod(long))
    run, _ = bench.run(Prepared())
    assert kept(tmp_path / "run") == (0, 20)
    assert len(run["fill"]["s"]["x"]["x"]) == 20_000


CALLS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <unistd.h>
static long left = -1;
void kill_at(long calls) { left = calls; }
#define WATCH(type, name, given, passed) \\
  type name given { \\
    static type (*real) given; \\
    if (!real) *(void **)(&real) = dlsym(RTLD_NEXT, #name); \\
    if (left >= 0 && left-- == 0) kill(getpid(), SIGKILL); \\
    return real passed; \\
  }
WATCH(ssize_t, pwrite, (int f, const void *b, size_t n, off_t o), (f, b, n, o))
WATCH(ssize_t, pwrite64, (int f, const void *b, size_t n, off64_t o), (f, b, n, o))
WATCH(int, ftruncate, (int f, off_t n), (f, n))
WATCH(int, ftruncate64, (int f, off64_t n), (f, n))
WATCH(int, fdatasync, (int f), (f))
WATCH(int, fsync, (int f), (f))
WATCH(int, unlink, (const char *p), (p))
WATCH(int, rename, (const char *p, const char *q), (p, q))
"""


def killed_at(what: str, points: Iterable[int], folder: Path) -> None:
    """Kill drivers, one at each point of what they do; the next driver has to finish the run.

    In a process of its own, since it forks. Leaves the number of drivers that were killed in a file.
    """
    subtrees.SIZE, merging.SEPARATE_BYTES, chunk_scheduler._COMMIT_CHUNKS = 4, 0, 2
    arm = at_statement if what == "statements" else ctypes.CDLL("").kill_at
    expected = in_child(lambda: digest_of(folder / "analysis", folder / "quiet"))
    killed = 0
    for point in points:
        place = folder / f"killed{point}"
        if in_child(lambda: digest_of(folder / "analysis", place, lambda: arm(point))):  # noqa: B023
            break  # there are no more points
        killed += 1
        again = in_child(lambda: digest_of(folder / "analysis", place))  # noqa: B023
        assert again == expected, point
        merged, single = kept(place)
        assert 4 * merged + single == 20, point
        shutil.rmtree(place)
    (folder / "killed").write_text(str(killed))


def in_child(work: Callable[[], str]) -> str:
    """Return what a function returns in a forked process; empty if that was killed."""
    source, sink = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(sink, work().encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(sink)
    with os.fdopen(source, "rb") as stream:
        text = stream.read().decode()
    _, status = os.waitpid(child, 0)
    assert text or os.WTERMSIG(status) == signal.SIGKILL
    return text


def at_statement(point: int) -> None:
    """Kill this process at an SQL statement, or within one."""
    connect, count = sqlite3.connect, itertools.count()

    def tick(*_: object) -> None:
        if next(count) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(*arguments: Any, **options: Any) -> sqlite3.Connection:
        db = connect(*arguments, **options)
        db.set_trace_callback(tick)
        db.set_progress_handler(tick, 100)
        return db

    sqlite3.connect = watched


def digest_of(analysis: Path, folder: Path, before: Callable[[], object] = lambda: None) -> str:
    """Run an analysis and return the digest of its numbers."""
    before()
    run = portico.run(load_analysis(analysis), folder=folder, executor=Prepared(), export=False)
    return hashlib.sha256(repr(sorted(numbers_of(run, "fill").items())).encode()).hexdigest()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("what", "every"),
    [
        ("statements", 29),
        pytest.param("statements", 5, marks=pytest.mark.full),
        pytest.param("calls", 11, marks=pytest.mark.full),
    ],
)
def test_a_driver_that_is_killed_anywhere_is_resumed(bench: Bench, tmp_path: Path, what: str, every: int) -> None:
    """Killed at SQL statements and within them, or at the system calls by which the ledger is written."""
    bench.analysis()
    code = f"""
from pathlib import Path
from tests.integration.test_sums import killed_at
killed_at({what!r}, range(0, 100_000, {every}), Path({str(tmp_path)!r}))
"""
    environment = dict(os.environ)
    if what == "calls":
        (tmp_path / "calls.c").write_text(CALLS)
        library = str(tmp_path / "calls.so")
        subprocess.run(["g++", "-x", "c", "-shared", "-fPIC", "-o", library, str(tmp_path / "calls.c")], check=True)
        environment["LD_PRELOAD"] = library
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int((tmp_path / "killed").read_text()) > 200 // every


def large(folder: Path, bins: int, chunks: int) -> None:
    """Run over a histogram of many bins in many chunks, and leave the bytes by which this process grew in a file."""
    axis = {**AXIS, "bins": bins - 2}
    values = np.random.default_rng(1).poisson(0.1, bins).astype(float)
    arrays = {"values": values, "sumw2": values, "stats": np.zeros(20), "entries": np.array([values.sum()])}
    made = {"h": Product(ProductKind.HISTOGRAM, {**HEAD, "axes": [axis]}, arrays)}
    Prepared.make, merging.SEPARATE_BYTES = staticmethod(lambda *_: made), 10**6
    (folder / "mysteps.py").write_text(CODE)
    step = STEPS.replace("50 entries", "1 entries")
    (folder / "analysis.yaml").write_text(
        f"name: large\ndataset: {{samples: {{s: {{entries: {chunks}}}}}}}\nsteps:\n{step}\n"
    )
    encode(made)  # what the worker needs is not the driver's
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = portico.run(load_analysis(folder), folder=folder / "run", executor=Prepared(), export=False)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert np.array_equal(run["fill"]["s"].products["h"].arrays["values"], chunks * values)
    (folder / "grown").write_text(str(1024 * grown))


@pytest.mark.parametrize(("bins", "chunks"), [(10**5, 200), pytest.param(10**6, 1000, marks=pytest.mark.full)])
def test_large_histograms_fit_into_the_driver(tmp_path: Path, bins: int, chunks: int) -> None:
    """The driver holds as many results as the tree is high, and the ledger has subtrees."""
    code = f"""
from pathlib import Path
from tests.integration.test_sums import large
large(Path({str(tmp_path)!r}), {bins}, {chunks})
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert kept(tmp_path / "run")[0] >= chunks // 64 - 1
    one = 16 * bins  # bytes of a partial result
    assert int((tmp_path / "grown").read_text()) < 2**27 + 20 * one
