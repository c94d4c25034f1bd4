"""The chunk scheduler: decides what happens to the chunks of a step. Pure: no clock, no files, no executor.

Events go in, decisions come out (`portico.workflow.chunk_states`); `portico.workflow.chunk_loop` performs them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from portico.analysis.dataset import Sample
from portico.errors import StepError
from portico.files import TreeSummary
from portico.runfolder.ledger import Attempt, Planned
from portico.worker.task import Done, Failed, FailureKind, Task
from portico.workflow.chunk_states import (
    TRANSITIONS,
    AskForProblems,
    Cancel,
    Cause,
    ChunkState,
    Commit,
    Decision,
    Event,
    Interrupted,
    Keep,
    Note,
    Stop,
    Submit,
    TimePassed,
    Warn,
    WorkersChanged,
)
from portico.workflow.explain import error_of, explain
from portico.workflow.retry_policy import DEATHS, Action, History, Response, respond
from portico.workflow.split_chunks import Halves

__all__ = ["ChunkScheduler", "StepJob"]

_QUIET_SECONDS = 30.0
_SLOW_SECONDS, _SLOW_TIMES = 120.0, 5.0
_COMMIT_SECONDS = 0.5
_COMMIT_CHUNKS, _COMMIT_BYTES = 200, 2**26


@dataclass(frozen=True, slots=True)
class StepJob:
    """The missing chunks of one step.

    Parameters
    ----------
    step : str
        Name of the step.
    tasks : iterable of (Planned, Task)
        The chunks, in order.
    files : mapping of str to mapping of str to TreeSummary
        What is known about each input file of each sample, for explanations.
    samples : mapping of str to Sample
        Each sample as the step sees it.
    """

    step: str
    tasks: Iterable[tuple[Planned, Task]]
    files: Mapping[str, Mapping[str, TreeSummary]]
    samples: Mapping[str, Sample]


class ChunkScheduler:
    """The state of every chunk of a step.

    Parameters
    ----------
    job : StepJob
        The chunks to run.
    now : float
        The time at which the step begins, of the clock that `TimePassed` tells.
    in_queue : bool
        Submitted chunks wait in the queue of a batch system, so that waiting long is no sign of a slow chunk.
    """

    def __init__(self, job: StepJob, now: float = 0.0, in_queue: bool = False) -> None:
        self._job, self._in_queue = job, in_queue
        self._waiting: deque[Task] = deque()
        self._planned: dict[str, Planned] = {}
        for planned, task in job.tasks:
            self._waiting.append(task)
            self._planned[planned.key] = planned
        self._states = dict.fromkeys(self._planned, ChunkState.WAITING)
        self._delayed: list[tuple[float, Task]] = []
        self._running: dict[str, tuple[float, Task]] = {}
        self._halves = Halves()
        self._histories: dict[str, History] = {}
        self._refused: dict[str, set[str]] = {}  # the replicas that were found to be bad, by key
        self._bad_files: set[tuple[str, str]] = set()
        self._given_up: dict[str, Failed] = {}
        self._slow: set[str] = set()
        self._warned: set[str] = set()
        self._longest, self._successes, self._held, self._held_bytes, self._workers = 0.0, 0, 0, 0, 0
        self._now = self._began = self._committed = self._quiet_since = now

    @property
    def is_finished(self) -> bool:
        """Whether no chunk is waiting, delayed or running."""
        return not (self._waiting or self._delayed or self._running)

    @property
    def running(self) -> int:
        """Number of submitted tasks that have not ended."""
        return len(self._running)

    @property
    def states(self) -> Mapping[str, ChunkState]:
        """The state of each chunk and of each half, by key."""
        return self._states

    @property
    def given_up(self) -> list[Failed]:
        """The failures that were final, one for each chunk that was given up, and one for each bad file."""
        return list(self._given_up.values())

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the step is expected to take still; None before the first chunk is done."""
        left = len(self._planned) - self._successes
        return left * (self._now - self._began) / self._successes if self._successes else None

    def handle(self, event: Event) -> list[Decision]:
        """Take an event and return what is to be done, in order."""
        match event:
            case TimePassed():
                return self._pass_time(event.now)
            case WorkersChanged():
                return self._submit(event)
            case Interrupted():
                return [Cancel()] if self._running and not event.leave else []
            case Done():
                return self._succeed(event) if event.task.key in self._running else []
            case Failed():
                return self._fail(event) if self._is_awaited(event.task) else []

    def _is_awaited(self, task: Task) -> bool:
        """Whether this attempt is the one that runs: the failure of an earlier one may come twice, or late."""
        return task.key in self._running and self._running[task.key][1].attempt == task.attempt

    def _move(self, key: str, cause: Cause) -> None:
        self._states[key] = TRANSITIONS[self._states[key], cause]

    def _submit(self, event: WorkersChanged) -> list[Decision]:
        self._workers = event.workers
        decisions: list[Decision] = []
        for _ in range(min(event.free, len(self._waiting))):
            task = self._waiting.popleft()
            if self._is_needless(task):
                self._drop(task)
                continue
            self._move(task.key, Cause.SUBMITTED)
            self._running[task.key] = (self._now, task)
            decisions.append(Submit(task))
        return decisions

    def _is_needless(self, task: Task) -> bool:
        """Whether a task need not run: its file is in quarantine, or its other half was given up."""
        planned = self._planned_of(task)
        return (planned.sample, planned.chunk.file) in self._bad_files or planned.key in self._given_up

    def _drop(self, task: Task) -> None:
        self._move(task.key, Cause.NOT_NEEDED)
        self._end_split(task, Cause.NOT_NEEDED)

    def _end_split(self, task: Task, cause: Cause) -> None:
        """End what waits for halves of the same chunk, which will not all come."""
        for key in self._halves.split_parts(self._halves.planned(task)):
            if self._states[key] is ChunkState.SPLIT:
                self._move(key, cause)

    def _planned_of(self, task: Task) -> Planned:
        return self._planned[self._halves.planned(task).key]

    def _pass_time(self, now: float) -> list[Decision]:
        self._now = now
        due = [task for when, task in self._delayed if when <= now]
        self._delayed = [(when, task) for when, task in self._delayed if when > now]
        for task in due:
            self._move(task.key, Cause.DUE)
        self._waiting.extendleft(reversed(due))
        decisions = self._warn_of_slow()
        if now - self._quiet_since > _QUIET_SECONDS:
            self._quiet_since = now
            decisions.append(AskForProblems())
        if self._held and now - self._committed > _COMMIT_SECONDS:
            decisions.append(self._commit())
        return decisions

    def _commit(self) -> Commit:
        self._held, self._held_bytes, self._committed = 0, 0, self._now
        return Commit()

    def _warn_of_slow(self) -> list[Decision]:
        """Name chunks that take very much longer than others: a slow server, a sick machine."""
        # With more of them than workers can hold they wait for a job to start, and are not slow.
        if self._in_queue or len(self._running) > 2 * self._workers:
            return []
        limit = max(_SLOW_SECONDS, _SLOW_TIMES * self._longest)
        slow = {key: task for key, (sent, task) in self._running.items() if self._now - sent > limit}
        decisions: list[Decision] = []
        for key in slow.keys() - self._slow:
            seconds = self._now - self._running[key][0]
            words = f"has been running for {seconds:.0f} s, the longest before took {self._longest:.0f} s"
            decisions.append(
                Warn(f"step '{self._job.step}', {slow[key].chunk}: {words}; is its storage or machine slow?")
            )
        self._slow |= slow.keys()
        return decisions

    def _succeed(self, done: Done) -> list[Decision]:
        self._quiet_since = self._now
        sent, _ = self._running.pop(done.task.key)
        self._move(done.task.key, Cause.SUCCEEDED)
        new = [text for text in dict.fromkeys(done.warnings) if text not in self._warned]
        self._warned |= set(new)
        warnings: list[Decision] = [Warn(f"step '{self._job.step}': {text}") for text in new]
        if self._halves.is_half(done.task) and self._is_needless(done.task):
            self._end_split(done.task, Cause.NOT_NEEDED)
            return warnings
        while self._halves.is_half(done.task):
            joined = self._halves.join(done)
            if joined is None:
                return warnings
            done = joined
            self._move(done.task.key, Cause.HALVES_DONE)
        self._successes += 1
        self._longest = max(self._longest, self._now - sent)
        self._held += 1
        self._held_bytes += len(done.partial)
        keep = Keep(self._planned[done.task.key], done)
        is_much = self._held >= _COMMIT_CHUNKS or self._held_bytes >= _COMMIT_BYTES
        return [*warnings, keep, self._commit()] if is_much else [*warnings, keep]

    def _fail(self, failed: Failed) -> list[Decision]:
        task = failed.task
        self._quiet_since = self._now
        del self._running[task.key]
        if self._is_needless(task):
            self._drop(task)
            return []
        planned = self._planned_of(task)
        replicas = self._job.samples[planned.sample].replicas_of(planned.chunk.file)
        history = self._histories.get(task.key, History(len(replicas))).after(failed.kind)
        self._histories[task.key] = history
        response = respond(failed, history)
        final = response.action in {Action.QUARANTINE, Action.GIVE_UP}
        text = explain(failed, self._job.step, planned, self._job.files, final)
        self._held += 1
        attempt = Attempt(planned.key, task.attempt, failed.kind, failed.message, failed.log, dict(failed.metrics))
        decisions: list[Decision] = [Note(attempt)]
        match response.action:
            case Action.STOP:
                return [*decisions, Stop(error_of(failed, text))]
            case Action.RETRY:
                self._retry(failed, response, replicas)
            case Action.SPLIT:
                self._split(task)
            case Action.QUARANTINE | Action.GIVE_UP:
                if response.action is Action.QUARANTINE:
                    self._bad_files.add((planned.sample, planned.chunk.file))
                self._give_up(failed)
        decisions.append(Warn(f"{text}; {response.message}" if response.message else text))
        crashed = sum(given.kind is FailureKind.CRASH for given in self._given_up.values())
        if crashed >= DEATHS and not self._successes:
            words = f"the first {crashed} chunks all killed their process: the step itself is at fault"
            decisions.append(Stop(StepError(f"{text}\n{words}")))
        return decisions

    def _retry(self, failed: Failed, response: Response, replicas: tuple[str, ...]) -> None:
        task, chunk, avoid = failed.task, failed.task.chunk, failed.task.avoid
        if response.from_next_replica:
            bad = self._refused.setdefault(task.key, set())
            if failed.kind is FailureKind.INPUT:
                bad.add(chunk.file)
            chunk = replace(chunk, file=_next_replica(replicas, chunk.file, bad))
        if response.on_another_worker and "worker" in failed.metrics:
            avoid = (*avoid, str(failed.metrics["worker"]))
        again = replace(task, attempt=task.attempt + 1, chunk=chunk, avoid=avoid)
        if response.on_another_worker and self._successes:
            self._move(task.key, Cause.RETRIED)
            self._waiting.append(again)  # last, so that a storm does not hit the same chunk again and again
        else:
            self._move(task.key, Cause.RETRIED_LATER)
            self._delayed.append((self._now + response.delay, again))

    def _split(self, task: Task) -> None:
        self._move(task.key, Cause.SPLIT)
        halves = self._halves.split(task)
        self._states |= {half.key: ChunkState.WAITING for half in halves}
        self._waiting.extendleft(reversed(halves))

    def _give_up(self, failed: Failed) -> None:
        self._move(failed.task.key, Cause.GIVEN_UP)
        self._end_split(failed.task, Cause.HALF_GIVEN_UP)
        whole = self._halves.planned(failed.task)
        self._given_up[whole.key] = replace(failed, task=whole)


def _next_replica(replicas: tuple[str, ...], last: str, bad: Collection[str]) -> str:
    """Return the replica after the last one that was read, without those that are bad."""
    after = replicas.index(last) + 1
    return next(file for file in (*replicas[after:], *replicas[:after]) if file not in bad)
