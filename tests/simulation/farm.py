"""The simulated executor: workers that come and go, fail in every way, and answer late, twice or in any order."""

from __future__ import annotations

import heapq
import json
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from portico.environment.bundle import Bundle
from portico.executors.base import Executor
from portico.runfolder.ledger import Ledger
from portico.worker.task import Done, Failed, FailureKind, Outcome, Task
from portico.worker.wire import Message
from portico.workflow import retry_policy
from tests.simulation.data import Data, partial_of
from tests.simulation.disks import Disks
from tests.simulation.world import World

__all__ = ["ATTEMPTS", "Farm", "Mood"]

ATTEMPTS = sum(value for name in retry_policy.__all__ if isinstance(value := getattr(retry_policy, name), int))
"""All limits of the retry policy together: no chunk is tried more often on one replica."""

_WAITS = 5_000  # of one life; none that ends has a tenth of them


@dataclass(frozen=True, slots=True)
class Mood:
    """How badly workers behave.

    Parameters
    ----------
    failing : float
        Chance that an attempt fails although nothing is wrong with its chunk.
    kinds : tuple of FailureKind
        In which ways.
    is_bounded : bool
        Such failures stay below the limits of the retry policy, so that they lose nothing.
    changing, late, doubled, jumping, interrupted : float
        Chances, for each call of `Farm.wait`, that the number of workers or the clock changes or the user presses
        Ctrl-C, and for each outcome that it comes late or twice.
    is_blind : bool
        One of several machines cannot read any file.
    """

    failing: float = 0.0
    kinds: tuple[FailureKind, ...] = ()
    is_bounded: bool = True
    changing: float = 0.0
    late: float = 0.0
    doubled: float = 0.0
    jumping: float = 0.0
    interrupted: float = 0.0
    is_blind: bool = False


@dataclass(order=True, slots=True)
class _Ending:
    """An attempt that ends at a time."""

    due: float
    number: int
    task: Task = field(compare=False)
    kind: FailureKind | None = field(compare=False)
    worker: str = field(compare=False)
    outcome: Outcome | None = field(compare=False, default=None)


class Farm(Executor):
    """An executor of the world.

    Parameters
    ----------
    world : World
        Has the time and the chances.
    data : Data
        The input.
    disks : Disks
        Takes trees.
    mood : Mood
        How workers behave.
    workers : int
        How many there are at first.
    keeps_running : bool
        Jobs go on without the driver, and are found again by their keys.
    """

    name = "simulated"
    workers = 0

    def __init__(
        self, world: World, data: Data, disks: Disks, mood: Mood, workers: int, keeps_running: bool = False
    ) -> None:
        self.workers, self.keeps_running = workers, keeps_running
        self.ledger: Ledger | None = None
        self.on_wait: Callable[[], None] = lambda: None
        self.submitted: Counter[str] = Counter()
        self.outcomes: list[Outcome] = []
        """Of this life, in the order in which the driver got them."""
        self._world, self._data, self._disks, self._mood = world, data, disks, mood
        self._random = world.random("farm")
        self._slack = self._random.choice((0, 0, 1, 4))
        self._endings: list[_Ending] = []
        self._harmed: Counter[tuple[str, str]] = Counter()
        self._results: dict[str, Done] = {}
        self._answered: set[tuple[str, int]] = set()
        self._tried: Counter[tuple[str, int]] = Counter()
        self._numbers = self._waits = self._before = 0

    def begin(self, data: Data, mood: Mood) -> None:
        """Serve a driver."""
        self._data, self._mood = data, mood
        self._seconds = 100.0 + sum(max(0.0, ending.due - self._world.clock.now) for ending in self._endings)
        self.submitted.clear()
        self.outcomes.clear()
        self._harmed.clear()
        for ending in self._endings:  # of jobs that an earlier driver submitted
            if ending.kind is not None:
                self._may(ending.task, ending.kind)
        self._answered.clear()
        self._tried.clear()
        self._waits, self._before = 0, self._numbers

    @property
    def done(self) -> set[str]:
        """Tasks whose results the driver got in this life."""
        return {outcome.task.key for outcome in self.outcomes if isinstance(outcome, Done)}

    @property
    def failures(self) -> list[Failed]:
        """Failures of this life, in the order in which the driver got them."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, Failed)]

    @property
    def distinct_failures(self) -> Counter[tuple[str, int, str]]:
        """The failures of this life by task, attempt and kind: each counts once, however often it came.

        A task whose result was merged and is to be made again, because that of a neighbour is lost, is submitted again.
        """
        came = Counter((failed.task.key, failed.task.attempt, str(failed.kind)) for failed in self.failures)
        return Counter({of: min(count, max(1, self._tried[of[:2]])) for of, count in came.items()})

    def another(self) -> Farm:
        """Return an executor of another driver."""
        return Farm(self._world, self._data, self._disks, Mood(), 2)

    def is_overtaken(self) -> None:
        """Take note that another driver has done what this one submits."""
        self.ledger = None
        self._seconds = math.inf

    def check_time(self, seconds: float) -> None:
        """Check that a life took no longer than its attempts, its waits and those for workers, one after the other."""
        delays = 2.0**retry_policy.TRANSIENTS * len(self.failures)
        most = self._seconds + 20 * delays + 40 * self._world.operations
        if seconds > most:
            raise self._world.violation(f"a driver took {seconds:.0f} s, at most {most:.0f} were needed")

    @property
    def free(self) -> int:
        self._waits += 1
        if self._waits > _WAITS:
            raise self._world.violation("the chunk loop does not end")
        if self.keeps_running:
            return 10**6  # the queue is that of the batch system
        if not self.workers:
            self._seconds += 2.0
        if not self.workers and self._random.random() < 0.2:
            self.workers = self._random.choice((1, 2, 8))
            self._world.count("workers changed", self.workers)
        running = sum(e.outcome is None and (e.task.key, e.task.attempt) not in self._answered for e in self._endings)
        return max(0, self.workers + self._slack - running) if self.workers else 0

    def prepare(self, bundle: Bundle) -> None: ...

    def submit(self, task: Task) -> None:
        world = self._world
        with world.operation(f"submit {task.key[:6]}{task.key[64:]} {task.attempt} {task.chunk}"):
            self._check(task)
            self._tried[task.key, task.attempt] += 1
            if self.keeps_running and self._take_over(task):
                return
            workers = [f"w{number}" for number in range(max(1, self.workers))]
            worker = self._random.choice([name for name in workers if name not in task.avoid] or workers)
            kind = self._data.file_of(task.chunk).failure(task.chunk) or self._by_chance(task)
            if self._mood.is_blind and worker == "w0" and kind is None:
                world.count("machine without input", task.key[:6])
                kind = FailureKind.INPUT
            seconds = self._random.choice((0.1, 1.0, 1.0, 3.0, 60.0))
            if self._random.random() < self._mood.late:
                world.count("late outcome")
                seconds *= self._random.choice((100.0, 3000.0))
            self._push(seconds, task, kind, worker)

    def _take_over(self, task: Task) -> bool:
        """Find the job or the result of a chunk that an earlier driver submitted."""
        if (outcome := self._results.pop(task.key, None)) is not None:
            self._push(0.1, task, None, "", replace(outcome, task=task))
            return True
        earlier = [ending for ending in self._endings if ending.number <= self._before]
        known = next((ending for ending in earlier if ending.task.key == task.key), None)
        if known is not None:
            known.task = task
            known.outcome = known.outcome and replace(known.outcome, task=task)
        return known is not None

    def _check(self, task: Task) -> None:
        self.submitted[task.key] += 1
        limit = ATTEMPTS + self._data.file_of(task.chunk).replicas * (retry_policy.DOUBTS + 1)
        if self.submitted[task.key] > limit:
            words = f"chunk {task.key[:8]} is tried {self.submitted[task.key]} times; at most {limit} may be"
            raise self._world.violation(words)
        refused = [f.task for f in self.failures if f.kind is FailureKind.INPUT and f.task.key == task.key]
        if len({other.attempt for other in refused if other.chunk == task.chunk}) > retry_policy.DOUBTS:
            raise self._world.violation(f"{task.chunk} is read again and again, though the replica is bad")
        query = "SELECT 1 FROM available WHERE key = ?"
        if self.ledger is None:  # another driver has taken the folder over
            return
        if self.ledger._db.execute(query, (task.key[:64],)).fetchone() is not None:
            raise self._world.violation(f"chunk {task.key[:8]} is done, and runs again")

    def _push(
        self, seconds: float, task: Task, kind: FailureKind | None, worker: str, outcome: Outcome | None = None
    ) -> None:
        self._numbers += 1
        self._seconds += seconds
        ending = _Ending(self._world.clock.now + seconds, self._numbers, task, kind, worker, outcome)
        heapq.heappush(self._endings, ending)

    def _by_chance(self, task: Task) -> FailureKind | None:
        mood = self._mood
        if not mood.kinds or self._random.random() >= mood.failing:
            return None
        kind = self._random.choice(mood.kinds)
        if mood.is_bounded and not self._may(task, kind):
            return None
        self._world.count(f"chunk: {kind}", task.key[:6])
        return kind

    def _may(self, task: Task, kind: FailureKind) -> bool:
        """Decide whether a failure is below the limits, and take note of it."""
        if kind is FailureKind.MEMORY:
            return task.chunk.entries > 1
        if kind.is_of_the_worker:
            name, limit = "deaths", retry_policy.DEATHS - 1
        elif kind is FailureKind.TRANSIENT:
            trouble = self._data.file_of(task.chunk).trouble
            name, limit = "transients", 1 if trouble is not None else retry_policy.TRANSIENTS - 1
        else:
            return False
        if self._harmed[task.key, name] >= limit:
            return False
        self._harmed[task.key, name] += 1
        return True

    def wait(self, timeout: float) -> list[Outcome]:
        world, clock = self._world, self._world.clock
        with world.operation("wait"):
            self._disturb()
            self.on_wait()
            first = self._endings[0].due if self._endings else clock.now
            soon = clock.now + timeout
            clock.now = soon if first <= soon or self._random.random() < 0.05 else first  # else the driver was stopped
            outcomes = list(self._ended()) if self.workers or self.keeps_running else []
            self._random.shuffle(outcomes)
            return outcomes

    def _ended(self) -> Iterator[Outcome]:
        while self._endings and self._endings[0].due <= self._world.clock.now:
            ending = heapq.heappop(self._endings)
            outcome = self._collected(ending.outcome) if ending.outcome else self._outcome(ending)
            if ending.outcome is None and self._random.random() < self._mood.doubled:
                self._world.count("doubled outcome", ending.task.key[:6])
                self._push(self._random.choice((0.0, 1.0, 30.0)), ending.task, ending.kind, ending.worker, outcome)
            self._answered.add((outcome.task.key, outcome.task.attempt))
            how = outcome.kind if isinstance(outcome, Failed) else "done"
            self._world.tell(f"outcome {outcome.task.key[:6]}{outcome.task.key[64:]} {outcome.task.attempt}: {how}")
            self.outcomes.append(outcome)
            if isinstance(outcome, Done) and self.keeps_running:
                self._results[outcome.task.key] = outcome  # until the ledger has it
            yield outcome

    def _collected(self, outcome: Outcome) -> Outcome:
        """Return an outcome that a job has left, if its tree is there: a driver that was killed may have renamed it."""
        paths = {str(file["path"]) for file in outcome.files} if isinstance(outcome, Done) else set()
        if not self.keeps_running or paths <= self._disks.files.keys():
            return outcome
        gone = paths & self._disks.removed
        if gone and self.ledger is not None:  # else another driver has taken the folder over, and done all
            raise self._world.violation(f"the tree of a job that goes on without a driver was removed: {gone}")
        self._harmed[outcome.task.key, "deaths"] += 1
        return Failed(outcome.task, FailureKind.LOST, "its tree is not there", metrics={"worker": "job"})

    def _outcome(self, ending: _Ending) -> Outcome:
        task, chunk, clock = ending.task, ending.task.chunk, self._world.clock
        metrics = {"worker": ending.worker, "host": ending.worker, "started": clock.time() - 1.0, "wall": 1.0}
        if ending.kind is not None:
            where = task.folder if ending.kind in {FailureKind.SPACE, FailureKind.DISK} else chunk.file
            return Failed(task, ending.kind, f"{where}: simulated", "log", metrics)
        partial = partial_of(self._data.code, chunk.uuid, chunk.first, chunk.last)
        tree = self._write(task, f"{task.key} {task.attempt} {self._numbers} {self._disks.number}".encode())
        return Done(task, partial, {**metrics, "entries": chunk.entries}, (tree,))

    def _write(self, task: Task, content: bytes) -> dict[str, Any]:
        """Write a tree; those of two attempts differ, as two ROOT files do."""
        path = f"{task.folder}/.{zlib.crc32(content):08x}{self._disks.number:024x}.part.root"
        file = self._disks.put(path, content)
        return {"product": "kept", "tree": "kept", "path": path, "entries": task.chunk.entries,
                "size": len(content), "adler32": file.adler32}  # fmt: skip

    def _disturb(self) -> None:
        mood, world = self._mood, self._world
        if self._random.random() < mood.changing:
            self.workers = self._random.choice((0, 1, 2, 3, 8))
            world.count("workers changed", self.workers)
            self._lose_workers()
        if self._random.random() < mood.jumping:
            seconds = self._random.choice((-7200.0, -1.0, 1.0, 3600.0, 86400.0))
            world.count("clock jumped", seconds)
            world.clock.jump(seconds)
        if self._random.random() < mood.interrupted:
            world.count("interrupt")
            world.faults.append("interrupt")
            raise KeyboardInterrupt

    def _lose_workers(self) -> None:
        for ending in self._endings[self.workers :]:
            is_plain = ending.outcome is None and ending.kind is None
            lost = FailureKind.LOST
            if not is_plain or self._random.random() < 0.5 or not self._may_lose(ending.task):
                continue
            self._world.count(f"chunk: {lost}", ending.task.key[:6])
            ending.kind = lost
            if self._random.random() < 0.3:  # it lives, and answers when it is connected again
                self._world.count("answer of a lost worker", ending.task.key[:6])
                outcome = self._outcome(replace(ending, kind=None))
                self._push(self._random.choice((1.0, 100.0)), ending.task, None, ending.worker, outcome)

    def _may_lose(self, task: Task) -> bool:
        return not self._mood.is_bounded or self._may(task, FailureKind.LOST)

    def call(self, content: dict[str, Any], blobs: list[bytes]) -> Message:
        with self._world.operation("call"):
            text = json.dumps([content, [zlib.crc32(blob) for blob in blobs]])
            return {}, [text.encode()]

    def cancel(self) -> None:
        with self._world.operation("cancel"):
            self._endings.clear()

    def close(self) -> None: ...

    def die(self) -> None:
        """End with the driver, if jobs do not go on; what they were writing stays."""
        if self.keeps_running:
            return
        for ending in self._endings:
            if ending.outcome is None and self._random.random() < 0.5:
                self._write(ending.task, b"half a tree")
        self._endings.clear()
