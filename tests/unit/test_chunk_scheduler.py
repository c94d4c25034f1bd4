"""The chunk scheduler in simulated histories: random failures, delays, workers and interrupts, without a clock."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.analysis.chunks import Chunk
from portico.analysis.dataset import Sample
from portico.errors import InputError, PorticoError, RunFolderError, SpaceError, StepError, WorkerError
from portico.executors.base import Executor
from portico.results.partial import encode
from portico.results.product import Product, ProductKind
from portico.runfolder.ledger import Attempt, Ledger, Planned
from portico.worker.task import Done, Failed, FailureKind, Outcome, Task
from portico.worker.wire import Message
from portico.workflow import chunk_states
from portico.workflow.chunk_loop import run_chunks
from portico.workflow.chunk_scheduler import ChunkScheduler, StepJob
from portico.workflow.chunk_states import (
    TRANSITIONS,
    AskForProblems,
    Cancel,
    Cause,
    ChunkState,
    Commit,
    Interrupted,
    Keep,
    Note,
    Stop,
    Submit,
    TimePassed,
    Warn,
    WorkersChanged,
)
from portico.workflow.retry_policy import DEATHS, DOUBTS, LOSSES, TRANSIENTS
from tests.conftest import Remember

ENDS = {ChunkState.DONE, ChunkState.GIVEN_UP, ChunkState.DROPPED}
SURVIVED = [kind for kind in FailureKind if not kind.stops_the_run]
EMPTY = encode({})


def job(files: int, chunks: int, replicas: int = 1) -> StepJob:
    names = [f"root://a//f{number}" for number in range(files)]
    others = {name: tuple(f"root://r{n}{name[8:]}" for n in range(1, replicas)) for name in names}
    sample = Sample(name="s", files=tuple(names), replicas=others if replicas > 1 else {})
    tasks = []
    for position in range(files * chunks):
        chunk = Chunk(names[position // chunks], "u", "t", 8 * position, 8 * position + 8)
        key = f"k{position:03d}-"
        tasks.append((Planned("s", position, key, chunk), Task(key, 1, chunk, "m:f", {}, {}, "out")))
    return StepJob("step", tasks, {}, {"s": sample})


@dataclass
class Simulation:
    """An executor and a ledger of the imagination, which check what the scheduler asks of them."""

    scheduler: ChunkScheduler
    random: random.Random
    failing: float
    kinds: list[FailureKind]
    now: float = 0.0
    workers: int = 1
    running: dict[str, Task] = field(default_factory=dict)
    held: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    committed: int = 0
    error: PorticoError | None = None

    def tell(self, event: chunk_states.Event) -> None:
        before = dict(self.scheduler.states)
        for decision in self.scheduler.handle(event):
            match decision:
                case Submit(task):
                    assert len(self.running) < self.workers, "more tasks than the executor takes"
                    assert task.key not in self.running
                    self.attempts[task.key] += 1
                    assert task.attempt == self.attempts[task.key]
                    self.running[task.key] = task
                case Keep(planned, done):
                    assert done.task.chunk.entries == planned.chunk.entries == done.metrics["entries"]
                    self.kept[planned.key] += 1
                case Commit():
                    self.committed = sum(self.kept.values())
                case Stop(error):
                    self.error = error
                case Cancel():
                    self.running.clear()
                case Note() | Warn() | AskForProblems():
                    pass
        allowed = {start: {after for (s, _), after in TRANSITIONS.items() if s is start} for start in ChunkState}
        for key, state in self.scheduler.states.items():
            start = before.get(key, state)
            assert start is state or state in allowed[start] or any(state in allowed[n] for n in allowed[start])

    def step(self) -> None:
        self.now += self.random.choice([0.0, 0.2, 0.6, 5.0, 40.0])
        self.tell(TimePassed(self.now))
        self.workers = self.random.randint(1, 5)
        self.tell(WorkersChanged(self.workers, max(0, self.workers - len(self.running))))
        for key in self.random.sample(sorted(self.running), k=self.random.randint(0, len(self.running))):
            task = self.running.pop(key)
            if self.random.random() < self.failing:
                kind = self.random.choice(self.kinds)
                self.tell(Failed(task, kind, "why", metrics={"worker": f"w{self.random.randint(0, 3)}"}))
            else:
                self.tell(Done(task, EMPTY, {"entries": task.chunk.entries}))
            if self.error is not None:
                return

    def run(self, steps: int = 20_000) -> None:
        for _ in range(steps):
            if self.scheduler.is_finished or self.error is not None:
                return
            self.step()
        raise AssertionError("the loop does not end")


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32), files=st.integers(1, 4), chunks=st.integers(1, 6), replicas=st.integers(1, 3),
    failing=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), kinds=st.lists(st.sampled_from(SURVIVED), min_size=1),
)  # fmt: skip
def test_every_chunk_ends_once(
    seed: int, files: int, chunks: int, replicas: int, failing: float, kinds: list[FailureKind]
) -> None:
    work = job(files, chunks, replicas)
    keys = {planned.key: planned for planned, _ in work.tasks}
    simulation = Simulation(ChunkScheduler(work), random.Random(seed), failing, kinds)
    simulation.run()
    states = simulation.scheduler.states
    assert all(count == 1 for count in simulation.kept.values()), "a chunk counts once"
    assert max(simulation.attempts.values()) <= DEATHS + LOSSES + TRANSIENTS + DOUBTS + replicas * (DOUBTS + 1)
    if simulation.error is not None:  # no space, a bad disk, no answer of the store, only crashes or bad files
        assert isinstance(simulation.error, SpaceError | StepError | RunFolderError | InputError)
        return
    assert set(states.values()) <= ENDS
    assert {key for key in keys if states[key] is ChunkState.DONE} == simulation.kept.keys()
    lost = {failed.task.key for failed in simulation.scheduler.given_up}
    assert lost == {key for key in keys if states[key] is ChunkState.GIVEN_UP}
    bad = {keys[f.task.key].chunk.file for f in simulation.scheduler.given_up if f.kind.is_of_the_file}
    dropped = {keys[key].chunk.file for key in keys if states[key] is ChunkState.DROPPED}
    assert dropped <= bad
    if failing == 0:
        assert simulation.kept.keys() == keys.keys()


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), after=st.integers(0, 30), leave=st.booleans())
def test_an_interrupt_cancels_unless_jobs_may_stay(seed: int, after: int, leave: bool) -> None:
    simulation = Simulation(ChunkScheduler(job(2, 6)), random.Random(seed), 0.3, [FailureKind.LOST])
    for _ in range(after):
        if not simulation.scheduler.is_finished:
            simulation.step()
    running = simulation.scheduler.running
    decisions = simulation.scheduler.handle(Interrupted(leave))
    assert decisions == ([Cancel()] if running and not leave else [])


def submitted(scheduler: ChunkScheduler, free: int = 100) -> list[Task]:
    return [d.task for d in scheduler.handle(WorkersChanged(free, free)) if isinstance(d, Submit)]


def alone(scheduler: ChunkScheduler) -> list[Task]:
    """What is read once more because nothing else is left to be read."""
    assert submitted(scheduler) == []
    scheduler.handle(TimePassed(scheduler._now + 1.0))
    return submitted(scheduler)


@pytest.mark.parametrize("kind", [FailureKind.USER, FailureKind.INTERNAL])
def test_what_every_chunk_would_meet_stops_the_step_at_once(kind: FailureKind) -> None:
    scheduler = ChunkScheduler(job(1, 3))
    first, *_ = submitted(scheduler)
    note, stop = scheduler.handle(Failed(first, kind, "why"))
    assert isinstance(note, Note)
    assert isinstance(stop, Stop)
    assert "step 'step', sample 's', root://a//f0 entries 0-7: why" in str(stop.error)


def test_results_are_committed_twice_a_second() -> None:
    scheduler = ChunkScheduler(job(1, 3))
    first, second, _ = submitted(scheduler)
    assert [type(d) for d in scheduler.handle(Done(first, EMPTY, {}))] == [Keep]
    assert scheduler.handle(TimePassed(0.4)) == []
    assert scheduler.handle(TimePassed(0.6)) == [Commit()]
    assert scheduler.handle(TimePassed(2.0)) == []
    scheduler.handle(Failed(second, FailureKind.LOST, "gone"))
    assert scheduler.handle(TimePassed(2.6)) == [Commit()]


def test_results_of_many_chunks_are_committed_at_once() -> None:
    scheduler = ChunkScheduler(job(1, 250))
    decisions = [d for task in submitted(scheduler, 250) for d in scheduler.handle(Done(task, EMPTY, {}))]
    assert [n for n, d in enumerate(decisions) if isinstance(d, Commit)] == [200]


def test_silence_and_slow_chunks_are_noticed() -> None:
    scheduler = ChunkScheduler(job(1, 4))
    first, *_ = submitted(scheduler, 4)
    scheduler.handle(TimePassed(10.0))
    scheduler.handle(Done(first, EMPTY, {}))
    assert AskForProblems() not in scheduler.handle(TimePassed(35.0))
    assert AskForProblems() in scheduler.handle(TimePassed(45.0))
    warnings = [d.message for d in scheduler.handle(TimePassed(130.0)) if isinstance(d, Warn)]
    assert len(warnings) == 3
    assert "has been running for 130 s, the longest before took 10 s" in warnings[0]
    assert not [d for d in scheduler.handle(TimePassed(131.0)) if isinstance(d, Warn)], "each is named once"
    queued = ChunkScheduler(job(1, 4), in_queue=True)
    submitted(queued)
    assert not [d for d in queued.handle(TimePassed(500.0)) if isinstance(d, Warn)]


def test_a_retry_on_another_worker_comes_last_once_others_succeeded() -> None:
    scheduler = ChunkScheduler(job(1, 4))
    first, second = submitted(scheduler, 2)
    scheduler.handle(Done(first, EMPTY, {}))
    scheduler.handle(Failed(second, FailureKind.CRASH, "died", metrics={"worker": "w1"}))
    tasks = submitted(scheduler)
    assert [task.key for task in tasks] == ["k002-", "k003-", "k001-"]
    assert (tasks[-1].attempt, tasks[-1].avoid) == (2, ("w1",))


def test_the_next_replica_is_read() -> None:
    scheduler = ChunkScheduler(job(1, 1, replicas=3))
    (task,) = submitted(scheduler)
    read = [task.chunk.file]
    for _ in range(2):
        scheduler.handle(Failed(task, FailureKind.INPUT, "truncated"))
        scheduler.handle(TimePassed(scheduler._now))
        (task,) = submitted(scheduler)
        read.append(task.chunk.file)
    assert len(set(read)) == 3
    scheduler.handle(Failed(task, FailureKind.INPUT, "truncated"))
    (task,) = alone(scheduler)
    for _ in range(2):
        scheduler.handle(Failed(task, FailureKind.INPUT, "truncated"))
        scheduler.handle(TimePassed(scheduler._now))
        (task,) = submitted(scheduler)
        read.append(task.chunk.file)
    assert len(set(read[3:])) == 2, "each replica is read once more"
    scheduler.handle(Failed(task, FailureKind.INPUT, "truncated"))
    assert scheduler.is_finished
    assert [failed.task.key for failed in scheduler.given_up] == ["k000-"]


def test_a_failure_is_noted_and_told() -> None:
    scheduler = ChunkScheduler(job(2, 1))
    first, second = submitted(scheduler)
    lost = Failed(first, FailureKind.LOST, "gone", "the log", {"worker": "w1"})
    note, warning = scheduler.handle(lost)
    assert note == Note(Attempt("k000-", 1, FailureKind.LOST, "gone", "the log", {"worker": "w1"}))
    where = "step 'step', sample 's', root://a//f0 entries 0-7"
    assert warning == Warn(f"{where}: gone; trying again on another worker (2 of {LOSSES})")
    _, told = scheduler.handle(Failed(second, FailureKind.INPUT, "cut"))
    assert isinstance(told, Warn)
    assert told.message.endswith("cut; it is tried once more after another file was read: the machine may be at fault")
    (first,) = submitted(scheduler)
    scheduler.handle(Done(first, EMPTY, {}))
    (second,) = submitted(scheduler)
    _, told = scheduler.handle(Failed(second, FailureKind.INPUT, "cut"))
    advice = "copy or recreate the file, or continue without it with --allow-partial"
    assert told == Warn(f"step 'step', sample 's', root://a//f1 entries 8-15: cut; {advice}")


def test_warnings_of_chunks_are_told_once() -> None:
    scheduler = ChunkScheduler(job(1, 3))
    first, second, third = submitted(scheduler)
    told = [
        [d.message for d in scheduler.handle(Done(task, EMPTY, {}, (), words)) if isinstance(d, Warn)]
        for task, words in ((first, ("a", "b", "a")), (second, ("c",)), (third, ("b", "d", "c")))
    ]
    assert told == [["step 'step': a", "step 'step': b"], ["step 'step': c"], ["step 'step': d"]]


def test_no_more_is_read_of_a_bad_file() -> None:
    scheduler = ChunkScheduler(job(2, 2))
    (first,) = submitted(scheduler, 1)
    scheduler.handle(Failed(first, FailureKind.INPUT, "cut"))
    others = submitted(scheduler)
    assert [task.chunk.file for task in others] == ["root://a//f1", "root://a//f1"], "none while the file is in doubt"
    scheduler.handle(Done(others[0], EMPTY, {}))
    (again,) = submitted(scheduler)
    assert again.key == first.key
    scheduler.handle(Failed(again, FailureKind.INPUT, "cut"))
    assert submitted(scheduler) == []
    scheduler.handle(Done(others[1], EMPTY, {}))
    assert scheduler.is_finished
    assert scheduler.states["k001-"] is ChunkState.DROPPED


@pytest.mark.parametrize("succeeds", [False, True])
@pytest.mark.parametrize(("files", "whose"), [(1, "the step itself, or its only file,"), (2, "the step itself")])
def test_a_step_that_kills_every_process_is_stopped_unless_something_succeeded(
    succeeds: bool, files: int, whose: str
) -> None:
    scheduler = ChunkScheduler(job(files, 8 // files))
    tasks, stops = submitted(scheduler, 8), []
    if succeeds:
        scheduler.handle(Done(tasks.pop(), EMPTY, {}))
    for attempt in range(1, DEATHS + 1):
        assert {task.attempt for task in tasks} == {attempt}
        for task in tasks:
            stops += [d for d in scheduler.handle(Failed(task, FailureKind.CRASH, "died")) if isinstance(d, Stop)]
            if stops:
                break
        if stops:
            assert attempt == DEATHS
            break
        scheduler.handle(TimePassed(scheduler._now + 1.0))
        tasks = submitted(scheduler, 8)
    assert len(stops) == (not succeeds)
    for stop in stops:
        assert isinstance(stop.error, StepError)
        tried = "8 chunks" if files == 1 else "8 chunks of 2 files"
        why = "killed their process, took too long or needed too much memory"
        words = f": died\n{tried} were tried, and all {why}: {whose} is at fault"
        assert str(stop.error).endswith(words)


def test_deaths_of_halves_are_not_those_of_one_chunk() -> None:
    scheduler = ChunkScheduler(job(3, 1))
    whole, *tasks = submitted(scheduler, 3)
    scheduler.handle(Failed(whole, FailureKind.MEMORY, "too much"))
    tasks += submitted(scheduler, 2)
    stops: list[Stop] = []
    for attempt in range(1, DEATHS + 1):
        assert stops == [], "the deaths of two halves, each of which died no more often than the other chunks"
        assert {task.key: task.attempt for task in tasks} == dict.fromkeys(
            ("k000-a", "k000-b", "k001-", "k002-"), attempt
        )
        for task in tasks:
            stops += [d for d in scheduler.handle(Failed(task, FailureKind.CRASH, "died")) if isinstance(d, Stop)]
        scheduler.handle(TimePassed(scheduler._now + 1.0))
        tasks = submitted(scheduler, 4)
    assert stops, "each died three times"


def test_a_transient_failure_waits_and_reads_the_next_replica() -> None:
    scheduler = ChunkScheduler(job(1, 1, replicas=3))
    (task,) = submitted(scheduler)
    read, now = [task.chunk.file], 0.0
    for kind, wait in ((FailureKind.TRANSIENT, 1.0), (FailureKind.INPUT, 0.0), (FailureKind.TRANSIENT, 2.0)):
        scheduler.handle(Failed(task, kind, "why"))
        if wait:
            scheduler.handle(TimePassed(now + 0.9 * wait))
            assert submitted(scheduler) == []
        now += wait
        scheduler.handle(TimePassed(now))
        (task,) = submitted(scheduler)
        read.append(task.chunk.file)
    assert read == ["root://a//f0", "root://r1//f0", "root://r2//f0", "root://a//f0"]


def test_a_replica_that_one_machine_refused_is_read_again_when_the_others_do_not_answer() -> None:
    scheduler = ChunkScheduler(job(1, 1, replicas=2))
    (task,) = submitted(scheduler)
    scheduler.handle(Failed(task, FailureKind.INPUT, "no such file", metrics={"host": "without the mount"}))
    read = []
    for _ in range(TRANSIENTS):
        scheduler.handle(TimePassed(scheduler._now + 100.0))
        (task,) = submitted(scheduler)
        read.append(task.chunk.file)
        scheduler.handle(Failed(task, FailureKind.TRANSIENT, "no answer", metrics={"host": "another"}))
    assert set(read) == {"root://r1//f0"}
    (task,) = alone(scheduler)
    assert task.chunk.file == "root://a//f0"
    scheduler.handle(Done(task, EMPTY, {"host": "another"}))
    assert scheduler.is_finished
    assert not scheduler.given_up


def test_outcomes_of_tasks_that_do_not_run_are_ignored() -> None:
    scheduler = ChunkScheduler(job(1, 2))
    first, _ = submitted(scheduler)
    scheduler.handle(Done(first, EMPTY, {}))
    assert scheduler.handle(Done(first, EMPTY, {})) == []
    assert scheduler.handle(Failed(first, FailureKind.LOST, "late")) == []


def test_the_failure_of_an_earlier_attempt_does_not_count_for_the_one_that_runs() -> None:
    scheduler = ChunkScheduler(job(1, 1))
    (task,) = submitted(scheduler)
    scheduler.handle(Failed(task, FailureKind.LOST, "gone"))
    scheduler.handle(TimePassed(scheduler._now))
    (again,) = submitted(scheduler)
    for _ in range(DEATHS):
        assert scheduler.handle(Failed(task, FailureKind.LOST, "gone")) == []
    assert scheduler.states[task.key] is ChunkState.RUNNING
    kept = [d for d in scheduler.handle(Done(task, EMPTY, {})) if isinstance(d, Keep)]
    assert len(kept) == 1, "a result is one, whichever attempt it is of"
    assert scheduler.handle(Failed(again, FailureKind.LOST, "gone")) == []
    assert scheduler.is_finished


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_each_replica_is_read_before_a_file_is_bad(bad: int) -> None:
    """Also if servers did not answer meanwhile; a replica that is bad is not read again."""
    for seed in range(20):
        numbers, scheduler, now = random.Random(seed), ChunkScheduler(job(1, 1, replicas=3)), 0.0
        (task,) = submitted(scheduler)
        replicas, read = ("root://a//f0", "root://r1//f0", "root://r2//f0"), list[str]()
        transients = TRANSIENTS - 1
        while not scheduler.is_finished:
            file = task.chunk.file
            assert file not in read, "it was found to be bad"
            if transients and numbers.random() < 0.4:
                transients -= 1
                scheduler.handle(Failed(task, FailureKind.TRANSIENT, "why"))
            elif file in replicas[:bad]:
                read.append(file)
                scheduler.handle(Failed(task, FailureKind.INPUT, "truncated"))
            else:
                scheduler.handle(Done(task, EMPTY, {}))
            now += 100.0
            scheduler.handle(TimePassed(now))
            task = next(iter(submitted(scheduler)), task)
        assert scheduler.given_up == []


def test_halves_become_one_result_or_none() -> None:
    product = encode({"n": Product(ProductKind.COUNT, {}, {"value": np.array([1])}, ())})
    scheduler = ChunkScheduler(job(1, 1))
    (whole,) = submitted(scheduler)
    scheduler.handle(Failed(whole, FailureKind.MEMORY, "too much"))
    first, second = submitted(scheduler)
    assert scheduler.handle(Done(first, product, {"entries": 4}, ({"path": "first"},))) == []
    (keep,) = scheduler.handle(Done(second, product, {"entries": 4}, ({"path": "second"},)))
    assert isinstance(keep, Keep)
    assert keep.done.metrics["entries"] == 8
    assert [file["path"] for file in keep.done.files] == ["first", "second"]
    assert set(scheduler.states.values()) == {ChunkState.DONE}


def test_the_table_of_transitions_is_complete() -> None:
    assert {cause for _, cause in TRANSITIONS} == set(Cause)
    starts = {start for start, _ in TRANSITIONS}
    assert starts == set(ChunkState) - ENDS, "an end has no way out, and every other state has one"
    assert set(TRANSITIONS.values()) == set(ChunkState)


class Leaving(Executor):
    """Does the first task, then loses its scheduler, which cannot cancel the others either."""

    name, workers, free = "leaving", 1, 2

    def __init__(self) -> None:
        self._tasks: list[Task] = []

    def prepare(self, bundle: object) -> None: ...

    def submit(self, task: Task) -> None:
        self._tasks.append(task)

    def wait(self, timeout: float) -> list[Outcome]:
        if len(self._tasks) < 3:
            return [Done(self._tasks[0], EMPTY, {})]
        raise WorkerError("the scheduler is gone")

    def call(self, content: object, blobs: object) -> Message:
        raise NotImplementedError

    def cancel(self) -> None:
        raise WorkerError("nothing can be cancelled")

    def close(self) -> None: ...


def test_what_is_done_is_kept_also_if_nothing_can_be_cancelled(tmp_path: Path) -> None:
    work, ledger = job(1, 4), Ledger(tmp_path / "ledger.sqlite")
    ledger.plan("step", 0, "frame", {"s": [planned for planned, _ in work.tasks]}, others=False)
    with pytest.raises(WorkerError):
        run_chunks(work, Leaving(), ledger, Remember())
    assert ledger.done("step").keys() == {"k000-"}
    ledger.close()


class Late(Executor):
    """Answers a task twice: that its worker is lost, and then all the same. Both attempts hold its only worker."""

    name, workers = "late", 1

    def __init__(self) -> None:
        self._answers: list[Outcome] = []
        self._held = self._asked = 0

    @property
    def free(self) -> int:
        self._asked += 1
        return 0 if self._asked == 2 else 1 - self._held  # so that the lost task is the first to be tried again

    def prepare(self, bundle: object) -> None: ...

    def submit(self, task: Task) -> None:
        self._held += 1
        if task.attempt == 1 and not self._answers:
            self._answers = [Failed(task, FailureKind.LOST, "gone"), Done(task, EMPTY, {})]
        else:
            self._answers.append(Done(task, EMPTY, {}))

    def wait(self, timeout: float) -> list[Outcome]:
        if not self._answers:
            return []
        outcome = self._answers.pop(0)
        self._held -= isinstance(outcome, Failed) or not self._answers
        return [outcome]

    def call(self, content: object, blobs: object) -> Message:
        raise NotImplementedError

    def close(self) -> None: ...


def test_a_worker_that_answers_late_does_not_stop_the_loop(tmp_path: Path) -> None:
    """The second attempt holds the worker that the next chunk waits for, though its result is not waited for."""
    work, ledger = job(1, 2), Ledger(tmp_path / "ledger.sqlite")
    ledger.plan("step", 0, "frame", {"s": [planned for planned, _ in work.tasks]}, others=False)
    assert run_chunks(work, Late(), ledger, Remember()) == []
    assert ledger.done("step").keys() == {"k000-", "k001-"}
    ledger.close()


class Unanswered(Ledger):
    """Commits, and then says that it could not, once."""

    failed = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with super().transaction():
            yield
        if not self.failed and self.done("step"):
            self.failed = True
            raise RunFolderError("input/output error")


def test_a_commit_whose_answer_was_lost_counts_once(tmp_path: Path) -> None:
    work, ledger = job(1, 3), Unanswered(tmp_path / "ledger.sqlite")
    ledger.plan("step", 0, "frame", {"s": [planned for planned, _ in work.tasks]}, others=False)
    with pytest.raises(RunFolderError, match="input/output error"):
        run_chunks(work, Once(), ledger, Remember())
    assert ledger.done("step").keys() == {"k001-", "k002-"}
    assert len(list(ledger.metrics("step"))) == 2
    assert [attempt.number for _, attempt, _ in ledger.failures("step")] == [1], "its failure is noted once"
    rows = ledger._db.execute("SELECT key FROM attempt WHERE outcome = 'done'").fetchall()
    assert len(rows) == 2
    ledger.close()


class Once(Leaving):
    """Loses the first task, and does the others."""

    workers, free = 1, 3

    def wait(self, timeout: float) -> list[Outcome]:
        first, *others = self._tasks
        self._tasks = []
        time.sleep(0.6)  # so that the next round commits
        return [*(Done(task, EMPTY, {}) for task in others), Failed(first, FailureKind.LOST, "gone")]

    def cancel(self) -> None: ...
