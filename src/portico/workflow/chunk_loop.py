"""The chunk loop: performs what the chunk scheduler decides, on one executor, and writes it to the ledger."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from portico.errors import Detached
from portico.executors.base import Executor
from portico.files import is_remote
from portico.files.atomic import sync_folders
from portico.files.storage import storage_of
from portico.runfolder.ledger import Attempt, Ledger, Planned
from portico.runfolder.tidy import tree_name
from portico.worker.task import Failed, Outcome
from portico.workflow.chunk_scheduler import ChunkScheduler, StepJob
from portico.workflow.chunk_states import (
    AskForProblems,
    Cancel,
    Commit,
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
from portico.workflow.merging import Merging

__all__ = ["Reporter", "run_chunks"]

_TICK = 0.2


class Reporter(Protocol):
    """Shows the progress of a run."""

    def begin(self, step: str, entries: Mapping[str, int], done: Mapping[str, int], workers: int) -> None:
        """Take note that a step begins; ``entries`` and ``done`` by sample."""

    def advance(self, sample: str, entries: int, metrics: Mapping[str, Any], /) -> None:
        """Take note that a chunk is done, and of its metrics."""

    def note(self, message: str) -> None:
        """Announce something that takes a while."""

    def warn(self, message: str) -> None:
        """Tell the user something that does not stop the run."""

    def end(self, step: str, state: str, seconds: float, ran: int) -> None:
        """Take note that a step ended: its state, and how many chunks ran."""


def run_chunks(
    job: StepJob,
    executor: Executor,
    ledger: Ledger,
    reporter: Reporter,
    on_tick: Callable[[float | None], None] = lambda _: None,
    merging: Merging | None = None,
) -> list[Failed]:
    """Run the missing chunks of a step.

    Parameters
    ----------
    job : StepJob
        The chunks.
    executor : Executor
        Runs them.
    ledger : Ledger
        Takes every attempt and every result.
    reporter : Reporter
        Shows what happens.
    on_tick : callable
        Called now and then with the seconds that the step is expected to take still, or None.
    merging : Merging, optional
        Merges neighbours that are done.

    Returns
    -------
    list of Failed
        The chunks that could not be run although the step itself is sound: one chunk of each bad file, whose other
        chunks are not tried, and chunks that killed every process that worked on them.

    Raises
    ------
    StepError
        If the step's code fails.
    SpaceError
        If there is no space left.
    PorticoError
        If portico itself fails.
    """
    return _ChunkLoop(job, executor, ledger, reporter, merging).run(on_tick)


class _ChunkLoop:
    """The shell around the scheduler: it has the clock, the executor, the ledger and the reporter."""

    def __init__(
        self, job: StepJob, executor: Executor, ledger: Ledger, reporter: Reporter, merging: Merging | None
    ) -> None:
        self._executor, self._ledger, self._reporter, self._merging = executor, ledger, reporter, merging
        self._scheduler = ChunkScheduler(job, time.monotonic(), in_queue=executor.keeps_running)
        self._submitted: dict[str, float] = {}
        self._unanswered: set[tuple[str, int]] = set()
        self._finished: list[tuple[Attempt, bytes, list[dict[str, Any]]]] = []
        self._planned: list[Planned] = []
        self._failed: list[Attempt] = []
        self._tried: float | None = None  # when a commit was tried that raised an error
        self._folders: set[str] = set()  # with new names of trees, which are not on disk yet

    def run(self, on_tick: Callable[[float | None], None]) -> list[Failed]:
        scheduler, leave = self._scheduler, False
        try:
            while not scheduler.is_finished:
                self._handle(WorkersChanged(self._executor.workers, self._executor.free))
                outcomes = self._executor.wait(_TICK) if scheduler.running or self._unanswered else self._sleep()
                self._handle(TimePassed(time.monotonic()))
                for outcome in sorted(outcomes, key=lambda outcome: isinstance(outcome, Failed)):
                    self._handle(self._with_wait(outcome))  # what is done first: a failure may end the loop
                on_tick(scheduler.seconds_left)
        except (KeyboardInterrupt, Detached):
            leave = self._executor.keeps_running
            raise
        finally:
            try:
                self._commit()  # first: what is done is kept, whatever happens to the rest
            finally:
                self._handle(Interrupted(leave))
        self._merge()
        return scheduler.given_up

    def _sleep(self) -> list[Outcome]:
        """Wait while all chunks that are left are to be tried again later."""
        time.sleep(_TICK)
        return []

    def _with_wait(self, outcome: Outcome) -> Outcome:
        """Return the outcome with the seconds that the task waited for a worker, by the clocks of both machines."""
        submitted = self._submitted.pop(outcome.task.key, None)
        self._unanswered.discard((outcome.task.key, outcome.task.attempt))
        if submitted is None or "started" not in outcome.metrics:
            return outcome
        wait = max(0.0, outcome.metrics["started"] - submitted)
        return replace(outcome, metrics={**outcome.metrics, "wait": wait})

    def _handle(self, event: Event) -> None:
        """Give the scheduler an event, and perform what it decides."""
        for decision in self._scheduler.handle(event):
            match decision:
                case Submit():
                    self._submitted[decision.task.key] = time.time()
                    self._unanswered.add((decision.task.key, decision.task.attempt))
                    self._executor.submit(decision.task)
                case Keep(planned, done):
                    self._ledger.check()  # the names of trees are those of the driver that has the folder
                    attempt = Attempt(planned.key, done.task.attempt, "done", metrics=dict(done.metrics))
                    kept = _keep(planned, done.files)
                    self._folders |= {file["path"].rpartition("/")[0] for file in kept if not is_remote(file["path"])}
                    self._finished.append((attempt, done.partial, kept))
                    self._planned.append(planned)
                    self._reporter.advance(planned.sample, planned.chunk.entries, done.metrics)
                case Note():
                    self._failed.append(decision.attempt)
                case Commit():
                    self._commit()
                    self._merge()
                case Warn():
                    self._reporter.warn(decision.message)
                case KeepAway():
                    self._executor.keep_away(decision.machine)
                case AskForProblems():
                    for problem in self._executor.problems():
                        self._reporter.warn(problem)
                case Cancel():
                    self._executor.cancel()
                case Stop():
                    raise decision.error

    def _commit(self) -> None:
        if not self._finished and not self._failed:
            return
        sync_folders(self._folders)  # before the ledger says that they are there
        self._folders.clear()
        self._tried = time.time() if self._tried is None else self._tried
        self._ledger.commit(self._finished, self._failed, self._tried)
        self._tried = None
        if self._merging is not None:
            for planned, (_, partial, _) in zip(self._planned, self._finished, strict=True):
                self._merging.take(planned, len(partial))
        self._planned, self._finished, self._failed = [], [], []

    def _merge(self) -> None:
        if self._merging is not None:
            self._merging.merge()


def _keep(planned: Planned, files: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give the trees that a chunk wrote aside their names; return the files as the ledger notes them."""
    kept: list[dict[str, Any]] = []
    numbers: Counter[str] = Counter()
    for file in files:
        number = numbers[file["product"]]
        numbers[file["product"]] += 1
        name = tree_name(file["tree"], planned.position, planned.key, number)
        final = f"{file['path'].rpartition('/')[0]}/{name}"
        storage = storage_of(final)
        storage.rename(file["path"], final)
        kept.append({**file, "path": final, "stamp": storage.stamp(final)})
    return kept
