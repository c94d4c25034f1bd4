"""The chunk scheduler: decides what happens to the chunks of a step. Pure: no clock, no files, no executor.

Events go in, decisions come out (`portico.workflow.chunk_states`); `portico.workflow.chunk_loop` performs them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from portico.analysis.dataset import Sample
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
    KeepAway,
    Note,
    Stop,
    Submit,
    TimePassed,
    Warn,
    WorkersChanged,
)
from portico.workflow.doubts import Doubts
from portico.workflow.explain import error_of, explain, failing_machine, hopeless, slow_chunk
from portico.workflow.machines import Machines, machine_of
from portico.workflow.retry_policy import DEATHS, Action, Evidence, History, Response, next_replica, patience, respond
from portico.workflow.split_chunks import Halves
from portico.workflow.trials import COUNT, LEAST, TIMES, Trials

__all__ = ["ChunkScheduler", "StepJob"]

_QUIET_SECONDS, _ALONE_SECONDS = 30.0, 1.0
_SLOW_SECONDS, _SLOW_TIMES = 120.0, 5.0
_COMMIT_SECONDS, _COMMIT_CHUNKS, _COMMIT_BYTES = 0.5, 200, 2**26
_LAST = {FailureKind.CRASH, FailureKind.LOST, FailureKind.TIMEOUT}
_AGAINST_THE_STEP = {FailureKind.CRASH, FailureKind.TIMEOUT}


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
    others : iterable of Planned
        The chunks of the step that are done already.
    """

    step: str
    tasks: Iterable[tuple[Planned, Task]]
    files: Mapping[str, Mapping[str, TreeSummary]]
    samples: Mapping[str, Sample]
    others: Iterable[Planned] = ()


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
        tasks = list(job.tasks)
        self._waiting = deque(task for _, task in tasks)
        self._planned = {planned.key: planned for planned, _ in tasks}
        self._states = dict.fromkeys(self._planned, ChunkState.WAITING)
        self._delayed: list[tuple[float, Task]] = []
        self._running: dict[str, tuple[float, Task]] = {}
        self._halves, self._doubts, self._machines = Halves(), Doubts(), Machines()
        self._trials: Trials | None = None
        # By chunk: deaths of all its parts; those of which a part succeeded; those of which one part died often.
        self._against, self._able, self._deadly = Counter[str](), set[str](), set[str]()
        self._submissions: dict[str, int] = {}
        self._submitted = self._ended = self._lost = 0
        self._histories: dict[str, History] = {}
        self._refused: dict[str, set[str]] = {}  # the replicas that were found to be bad, by key
        self._bad_files: set[tuple[str, str]] = set()
        self._given_up: dict[str, Failed] = {}
        self._slow, self._warned = set[str](), set[str]()
        self._longest, self._successes, self._held, self._held_bytes, self._workers = 0.0, 0, 0, 0, 0
        self._now = self._began = self._committed = self._quiet_since = now

    @property
    def is_finished(self) -> bool:
        """Whether no chunk is waiting, delayed, doubted or running."""
        return not (self._waiting or self._delayed or self._running or self._doubts.are_open)

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
        suspects = tuple(sorted(self._machines.suspects))
        while self._waiting and len(decisions) < event.free:
            task = self._waiting.popleft()
            if self._is_needless(task):
                self._drop(task)
            elif not self._doubts.hold(self._file_of(task), task):
                self._move(task.key, Cause.SUBMITTED)
                self._running[task.key] = (self._now, task)
                self._submitted += 1
                self._submissions[task.key] = self._submitted
                others = [name for name in suspects if name not in task.avoid]
                decisions.append(Submit(replace(task, avoid=(*task.avoid, *others)) if others else task))
        if not (self._waiting or self._delayed or self._running):
            self._read_alone()
        return decisions

    def _read_alone(self, keys: Collection[str] | None = None) -> None:
        """Read what is doubted once more, all or some, for nothing else can be read."""
        for task in self._doubts.recall_alone(keys):
            self._move(task.key, Cause.ALONE)
            self._delayed.append((self._now + _ALONE_SECONDS, task))

    def _file_of(self, task: Task) -> tuple[str, str]:
        planned = self._planned_of(task)
        return planned.sample, planned.chunk.file

    def _is_needless(self, task: Task) -> bool:
        """Whether a task need not run: its file is in quarantine, or its other half was given up."""
        return self._file_of(task) in self._bad_files or self._planned_of(task).key in self._given_up

    def _drop(self, task: Task) -> None:
        self._move(task.key, Cause.NOT_NEEDED)
        self._end_split(task, Cause.NOT_NEEDED)
        self._settle(task)

    def _settle(self, task: Task) -> None:
        """Let the chunks run that wait for what comes of a doubted one, if this was it."""
        self._waiting.extendleft(reversed(self._doubts.settle(self._file_of(task), task.key)))

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
        decisions: list[Decision] = [
            Warn(slow_chunk(self._job.step, slow[key].chunk, self._now - self._running[key][0], self._longest))
            for key in slow.keys() - self._slow
        ]
        self._slow |= slow.keys()
        return decisions

    def _succeed(self, done: Done) -> list[Decision]:
        self._quiet_since = self._now
        sent, task = self._running.pop(done.task.key)
        self._move(task.key, Cause.SUCCEEDED)
        self._able.add(self._planned_of(task).key)
        told = self._learn(task, done.metrics)
        new = [text for text in dict.fromkeys(done.warnings) if text not in self._warned]
        self._warned |= set(new)
        warnings = [*told, *(Warn(f"step '{self._job.step}': {text}") for text in new)]
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

    def _learn(self, task: Task, metrics: Mapping[str, Any]) -> list[Decision]:
        """Take note that a file was read, and where; return what is to be done about machines that could not."""
        file = self._file_of(task)
        self._ended += 1
        failing = self._machines.succeeded(task.key, file, self._submissions.pop(task.key), metrics)
        self._settle(task)
        again = self._doubts.recall(self._machines.was_read_since)
        for other in again:
            self._move(other.key, Cause.OTHER_READ)
        self._waiting.extendleft(reversed(again))
        where = f"{self._planned_of(task).chunk}"
        told = {name: failing_machine(name, self._machines.failures(name), where) for name in failing}
        return [one for name in failing for one in (Warn(f"step '{self._job.step}': {told[name]}"), KeepAway(name))]

    def _fail(self, failed: Failed) -> list[Decision]:
        self._quiet_since = self._now
        _, task = self._running.pop(failed.task.key)
        if self._is_needless(task):
            self._drop(task)
            return []
        planned = self._planned_of(task)
        replicas = self._job.samples[planned.sample].replicas_of(planned.chunk.file)
        response = respond(failed, *self._weigh(failed, task, len(replicas)))
        final = response.action in {Action.QUARANTINE, Action.GIVE_UP}
        text = explain(failed, self._job.step, planned, self._job.files, final)
        self._held += 1
        attempt = Attempt(planned.key, task.attempt, failed.kind, failed.message, failed.log, dict(failed.metrics))
        decisions: list[Decision] = [Note(attempt)]
        if is_trying := response.action is Action.DOUBT or final or failed.kind in _AGAINST_THE_STEP:
            self._begin_trials()
        match response.action:
            case Action.STOP:
                return [*decisions, Stop(error_of(failed, text))]
            case Action.RETRY | Action.DOUBT:
                self._retry(failed, task, response, replicas)
            case Action.SPLIT:
                self._split(task)
            case Action.QUARANTINE | Action.GIVE_UP:
                self._give_up(failed, task, is_bad_file=response.action is Action.QUARANTINE)
        decisions.append(Warn(f"{text}; {response.message}" if response.message else text))
        return [*decisions, *self._try_step(text)] if is_trying else decisions

    def _weigh(self, failed: Failed, task: Task, replicas: int) -> tuple[History, Evidence]:
        """Return what a chunk went through, a failure included, and what the others say about it."""
        key, whole = task.key, self._planned_of(task).key
        self._histories[key] = history = self._histories.get(key, History(replicas)).after(failed.kind)
        self._machines.failed(key, self._file_of(task), self._submitted, failed.kind, failed.metrics)
        self._ended += 1
        self._lost += failed.kind is FailureKind.LOST
        self._against[whole] += failed.kind in _AGAINST_THE_STEP
        self._deadly |= {whole} if history.deaths >= DEATHS else set()
        if failed.kind is FailureKind.LOST:
            others = self._lost - history.losses, self._ended - history.losses
            return history, Evidence(losses=patience(len(self._planned), *others))
        if not failed.kind.is_of_the_file:
            return history, Evidence()
        is_alone = self._doubts.is_alone(key) and self._machines.tried_again(key, failed.metrics)
        return history, Evidence(self._machines.is_witnessed(key, failed.metrics), is_alone)

    def _begin_trials(self) -> None:
        """Run some chunks of different files first: if all of them fail, the files are not to blame."""
        if self._trials is None:
            self._trials = Trials([*self._planned.values(), *self._job.others])
            self._waiting = deque(sorted(self._waiting, key=lambda task: not self._is_trial(task)))

    def _is_trial(self, task: Task) -> bool:
        return self._trials is not None and self._planned_of(task).key in self._trials.chunks

    def _try_step(self, text: str) -> list[Decision]:
        """Stop if no chunk that was tried can be done; ask once more for those whose files nobody could read yet."""
        trials = self._trials
        if trials is None or len(trials.chunks) < LEAST:
            return []
        is_deadly = len(trials.chunks) == COUNT and not self._deadly.isdisjoint(trials.chunks)
        if trials.all(self._speaks_against) and (is_deadly or trials.all(self._is_given_up)):
            return [Stop(hopeless(text, trials.chunks.values(), self._bad_files))]
        if not self._successes and trials.all(self._is_in_doubt):
            self._read_alone(trials.chunks)
        return []

    def _is_given_up(self, key: str, file: tuple[str, str]) -> bool:
        return file in self._bad_files or key in self._given_up

    def _speaks_against(self, key: str, file: tuple[str, str]) -> bool:
        return self._is_given_up(key, file) or (self._against[key] >= TIMES and key not in self._able)

    def _is_in_doubt(self, key: str, file: tuple[str, str]) -> bool:
        return self._states.get(key) is ChunkState.DOUBTED or self._speaks_against(key, file)

    def _retry(self, failed: Failed, task: Task, response: Response, replicas: tuple[str, ...]) -> None:
        chunk, avoid, history = task.chunk, task.avoid, self._histories[task.key]
        bad = self._refused.setdefault(task.key, set())
        if failed.kind is FailureKind.INPUT:
            bad.add(chunk.file)
        if response.from_next_replica:
            chunk = replace(chunk, file=next_replica(replicas, chunk.file, bad, response.action is Action.DOUBT))
        if response.action is Action.DOUBT:
            bad.clear()  # each is read once more
        if response.on_another_worker:
            names = (str(failed.metrics.get("worker", "")), machine_of(failed.metrics))
            avoid = tuple(dict.fromkeys([*avoid, *(name for name in names if name)]))
        again = replace(task, attempt=task.attempt + 1, chunk=chunk, avoid=avoid)
        if response.action is Action.DOUBT:
            self._histories[task.key] = replace(history, doubts=history.doubts + 1)
            self._move(task.key, Cause.DOUBTED)
            self._doubts.park(self._file_of(task), again)
        elif failed.kind in _LAST and not (self._is_trial(task) and not self._successes):
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
        self._settle(task)

    def _give_up(self, failed: Failed, task: Task, *, is_bad_file: bool) -> None:
        self._move(task.key, Cause.GIVEN_UP)
        self._end_split(task, Cause.HALF_GIVEN_UP)
        whole, file = self._halves.planned(task), self._file_of(task)
        self._given_up[whole.key] = replace(failed, task=whole)
        self._settle(task)
        if not is_bad_file:
            return
        self._bad_files.add(file)
        self._machines.condemn(file)
        for other in self._doubts.end(file):
            self._drop(other)
