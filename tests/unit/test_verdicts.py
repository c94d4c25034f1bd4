"""Verdicts on files, steps and machines: they depend neither on the order of chunks nor on the number of workers.

The chunks of a world behave in a known way on each machine; the scheduler is told of them in many orders.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.analysis.chunks import Chunk
from portico.analysis.dataset import Sample
from portico.errors import InputError, PorticoError, StepError
from portico.results.partial import encode
from portico.runfolder.ledger import Planned
from portico.worker.task import Done, Failed, FailureKind, Task
from portico.workflow.chunk_scheduler import ChunkScheduler, StepJob
from portico.workflow.chunk_states import ChunkState, Keep, Stop, Submit, TimePassed, Warn, WorkersChanged
from portico.workflow.retry_policy import DEATHS, DOUBTS, LOSSES
from portico.workflow.trials import COUNT

EMPTY = encode({})


@dataclass
class World:
    """A step whose files have chunks, each of which always fails in one way, or not at all, on machines of some kinds.

    Parameters
    ----------
    files : dict of str to list of FailureKind or None
        How each chunk of each file fails.
    machines : dict of str to FailureKind or None
        How each machine fails everything; that happens fast.
    order : list of str
        The files as they are listed.
    workers : int
        Of each machine.
    """

    files: Mapping[str, list[FailureKind | None]]
    machines: Mapping[str, FailureKind | None]
    order: list[str]
    workers: int
    random: random.Random
    evicted: float = 0.0
    queue: list[Task] = field(default_factory=list)
    busy: list[tuple[float, int, str, Task]] = field(default_factory=list)
    kept: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    error: PorticoError | None = None
    now: float = 0.0
    number: int = 0

    def run(self) -> ChunkScheduler:
        tasks, planned = [], {}
        for position, (name, index) in enumerate((n, i) for n in self.order for i in range(len(self.files[n]))):
            chunk = Chunk(name, "u", "t", 10 * index, 10 * index + 10)
            key = f"{name}/{index}"
            planned[key] = Planned("s", position, key, chunk)
            tasks.append((planned[key], Task(key, 1, chunk, "m:f", {}, {}, "out")))
        scheduler = ChunkScheduler(StepJob("step", tasks, {}, {"s": Sample(name="s", files=tuple(self.order))}))
        while not scheduler.is_finished and self.error is None:
            assert self.number < 100_000, "it does not end"
            count = self.workers * len(self.machines)
            self.tell(scheduler, WorkersChanged(count, 2 * count - len(self.queue) - len(self.busy)))
            self.start()
            self.end(scheduler)
        return scheduler

    def tell(self, scheduler: ChunkScheduler, event: object) -> None:
        for decision in scheduler.handle(event):  # type: ignore[arg-type]
            match decision:
                case Submit(task):
                    self.queue.append(task)
                    self.attempts[task.key] += 1
                case Keep(planned, _):
                    self.kept[planned.key] += 1
                case Stop(error):
                    self.error = error
                case Warn(message):
                    self.warnings.append(message)

    def start(self) -> None:
        """Give tasks to idle workers; what a task avoids gets it only if there is nothing else."""
        idle = [name for name in self.machines for _ in range(self.workers)]
        for _, _, name, _ in self.busy:
            idle.remove(name)
        self.random.shuffle(idle)
        for name in idle:
            for task in self.queue:
                if name not in task.avoid or not set(self.machines) - set(task.avoid):
                    self.queue.remove(task)
                    seconds = 0.01 if self.machines[name] else self.random.uniform(1, 3)
                    self.number += 1
                    self.busy.append((self.now + seconds, self.number, name, task))
                    break

    def end(self, scheduler: ChunkScheduler) -> None:
        """Let time pass until the next chunk ends, and tell of it."""
        if not self.busy:
            self.now += 0.5
            self.tell(scheduler, TimePassed(self.now))
            return
        self.busy.sort()
        self.now, _, name, task = self.busy.pop(0)
        self.tell(scheduler, TimePassed(self.now))
        kind = self.machines[name] or self.files[task.chunk.file][task.chunk.first // 10]
        if self.random.random() < self.evicted:
            kind = FailureKind.LOST
        if kind is None:
            self.tell(scheduler, Done(task, EMPTY, {"host": name, "entries": 10}))
        else:
            self.tell(scheduler, Failed(task, kind, "why", metrics={"host": name} if kind != "lost" else {}))

    @property
    def verdict(self) -> tuple[object, ...]:
        """What the user is left with: the kind of the error that stops the step, or the files and chunks that count."""
        return (type(self.error),) if self.error is not None else (None, *sorted(self.kept))


def verdict_of(
    files: Mapping[str, list[FailureKind | None]], machines: Mapping[str, FailureKind | None], seed: int,
    workers: int = 1, order: list[str] | None = None,
) -> tuple[World, tuple[object, ...]]:  # fmt: skip
    chance = random.Random(seed)
    names = list(files)
    if order is None:
        chance.shuffle(names)
    world = World(files, machines, order or names, workers, chance)
    scheduler = world.run()
    if world.error is not None:
        return world, world.verdict
    bad = {f.task.chunk.file for f in scheduler.given_up if f.kind.is_of_the_file}  # as `losses` counts them
    kept = [key for key in world.kept if key.rpartition("/")[0] not in bad]
    assert max(world.kept.values(), default=1) == 1
    return world, (None, *sorted(kept))


HOW = st.sampled_from([None, None, None, FailureKind.INPUT, FailureKind.CRASH])
FILES = st.lists(st.lists(HOW, min_size=1, max_size=4), min_size=1, max_size=12).map(
    lambda found: {f"f{number}": chunks for number, chunks in enumerate(found)}
)


@settings(max_examples=200, deadline=None)
@given(files=FILES, seeds=st.lists(st.integers(0, 2**32), min_size=2, max_size=2), workers=st.integers(1, 4),
       hosts=st.integers(1, 3))  # fmt: skip
def test_neither_order_nor_workers_decide(
    files: dict[str, list[FailureKind | None]], seeds: list[int], workers: int, hosts: int
) -> None:
    _, first = verdict_of(files, {"h": None}, seeds[0])
    world, second = verdict_of(files, {f"h{n}": None for n in range(hosts)}, seeds[1], workers)
    assert first == second
    assert max(world.attempts.values()) <= DEATHS + DOUBTS


@pytest.mark.parametrize("kind", [FailureKind.INPUT, FailureKind.CRASH])
@pytest.mark.parametrize("position", [0, 9])
def test_a_bad_file_is_a_named_loss_wherever_it_is_listed(kind: FailureKind, position: int) -> None:
    files: dict[str, list[FailureKind | None]] = {f"f{n}": [None] * 3 for n in range(10)}
    files["f4"] = [kind] * 3
    order = [name for name in files if name != "f4"]
    order.insert(position, "f4")
    world, verdict = verdict_of(files, {"h": None}, 1, order=order)
    assert verdict == (None, *sorted(f"f{n}/{i}" for n in range(10) for i in range(3) if n != 4))
    spent = sum(world.attempts[f"f4/{i}"] for i in range(3))
    assert spent == (3 * DEATHS if kind == "crash" else 4), "the other chunks wait while the file is in doubt"


@pytest.mark.parametrize("files", [1, 3, 300])
def test_if_no_file_can_be_read_that_is_said(files: int) -> None:
    """All files are named that were tried; of many files some are, and the step is stopped soon."""
    bad: dict[str, list[FailureKind | None]] = {f"f{n}": [FailureKind.INPUT] * 5 for n in range(files)}
    world, verdict = verdict_of(bad, {"h": None}, 1)
    assert verdict == (InputError,)
    assert sum(world.attempts.values()) <= 4 * min(files, COUNT)
    tried = f"{min(5 * files, COUNT)} chunks{f' of {min(files, COUNT)} files' if files > 1 else ''} were tried"
    assert f"{tried}, and no file can be read: the disk, the mount or the server" in str(world.error)
    assert sum("no other file was read since" in text for text in world.warnings) == min(files, COUNT)


def test_a_step_that_kills_every_process_is_stopped_soon() -> None:
    files: dict[str, list[FailureKind | None]] = {f"f{n}": [FailureKind.CRASH] * 5 for n in range(100)}
    for workers in (1, 4):
        world, verdict = verdict_of(files, {"h": None}, 1, workers)
        assert verdict == (StepError,)
        assert sum(world.attempts.values()) <= 2 * COUNT + 12 * workers


@settings(max_examples=100, deadline=None)
@given(files=FILES, seed=st.integers(0, 2**32), blind=st.integers(1, 3), workers=st.integers(1, 3),
       how=st.sampled_from([FailureKind.INPUT, FailureKind.CRASH, FailureKind.DISK, FailureKind.SPACE]))  # fmt: skip
def test_a_machine_that_fails_everything_changes_nothing(
    files: dict[str, list[FailureKind | None]], seed: int, blind: int, workers: int, how: FailureKind
) -> None:
    """Bad machines take every chunk that they can get; half of the machines are good."""
    if how in {FailureKind.CRASH, FailureKind.DISK, FailureKind.SPACE}:
        blind = 1  # a chunk is tried three times, and each machine is avoided
    machines = {**{f"bad{n}": how for n in range(blind)}, **{f"h{n}": None for n in range(blind)}}
    files = {name: [kind if kind is how else None for kind in chunks] for name, chunks in files.items()}
    if how is not FailureKind.INPUT:
        files = {name: [None] * len(chunks) for name, chunks in files.items()}
    _, quiet = verdict_of(files, {"h": None}, seed)
    world, verdict = verdict_of(files, machines, seed + 1, workers)
    assert verdict == quiet
    assert max(world.attempts.values()) <= DEATHS + DOUBTS + 2


def test_a_machine_without_the_input_is_named_and_avoided() -> None:
    files: dict[str, list[FailureKind | None]] = {f"f{n}": [None] * 2 for n in range(200)}
    machines = {"blind": FailureKind.INPUT, "h1": None, "h2": None}
    world, verdict = verdict_of(files, machines, 3, workers=4)
    assert len(verdict) == 401
    named = [text for text in world.warnings if "fails chunks that others complete" in text]
    assert len(named) == 1
    assert named[0].startswith("step 'step': machine blind fails chunks that others complete: ")
    assert sum("why" in text for text in world.warnings) <= 2 * 3 * 4 + 4, "it gets no more chunks"


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_evictions_lose_nothing(rate: float) -> None:
    files: dict[str, list[FailureKind | None]] = {f"f{n}": [None] * 100 for n in range(20)}
    world = World(files, {"h1": None, "h2": None}, list(files), 10, random.Random(5), evicted=rate)
    scheduler = world.run()
    assert scheduler.given_up == []
    assert len(world.kept) == 2000
    assert max(world.attempts.values()) >= DEATHS


def test_a_chunk_that_loses_its_worker_again_and_again_is_found() -> None:
    files: dict[str, list[FailureKind | None]] = {f"f{n}": [None] * 20 for n in range(20)}
    files["f7"] = [None, FailureKind.LOST]
    world = World(files, {"h1": None, "h2": None}, list(files), 4, random.Random(5))
    scheduler = world.run()
    assert [failed.task.key for failed in scheduler.given_up] == ["f7/1"]
    assert DEATHS <= world.attempts["f7/1"] < LOSSES
    assert scheduler.states["f7/0"] is ChunkState.DONE
