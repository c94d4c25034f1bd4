"""One step over its chunks on one executor: what is missing is run, failures are decided upon, all is noted."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Protocol

from portico.analysis.dataset import Sample
from portico.errors import Detached, PorticoError, SpaceError, StepError, WorkerError, nearest
from portico.executors.base import Executor
from portico.files import TreeSummary, column_changes
from portico.files.storage import storage_of
from portico.results.product import decode, encode
from portico.runfolder.ledger import Attempt, Ledger, Planned
from portico.worker.task import Done, Failed, Outcome, Task
from portico.workflow.retry_policy import DEATHS, Record, Way, decide
from portico.workflow.split_chunks import Halves

__all__ = ["Reporter", "StepJob", "run_chunks"]

_TICK = 0.2
_QUIET_SECONDS = 30.0
_SLOW_SECONDS, _SLOW_TIMES = 120.0, 5.0
_FLUSH_SECONDS = 0.5
_FLUSH_CHUNKS = 200
_UNDECLARED = re.compile(r"undeclared identifier '(\w+)'|[Uu]nknown columns?:? \"?(\w+)")


class Reporter(Protocol):
    """Is told what happens, to show it."""

    def begin(self, step: str, entries: Mapping[str, int], done: Mapping[str, int], workers: int) -> None:
        """Take note that a step begins; ``entries`` and ``done`` by sample."""

    def advance(self, sample: str, entries: int) -> None:
        """Take note that a chunk is done."""

    def warn(self, message: str) -> None:
        """Tell the user something that does not stop the run."""

    def end(self, step: str, state: str, seconds: float, ran: int) -> None:
        """Take note that a step ended: its state, and how many chunks ran."""


@dataclass(frozen=True, slots=True)
class StepJob:
    """What is to be run for one step.

    Parameters
    ----------
    step : str
        Its name.
    tasks : iterable of (Planned, Task)
        The chunks that are missing, in order.
    files : mapping
        What is known about each input file of each sample, for explanations.
    samples : mapping
        Each sample as the step sees it.
    look : callable
        Called now and then with the seconds that the step is expected to take still, or None.
    """

    step: str
    tasks: Iterable[tuple[Planned, Task]]
    files: Mapping[str, Mapping[str, TreeSummary]]
    samples: Mapping[str, Sample]
    look: Callable[[float | None], None] = lambda _: None


def run_chunks(job: StepJob, executor: Executor, ledger: Ledger, reporter: Reporter) -> list[Failed]:
    """Run the missing chunks of a step.

    Returns
    -------
    list of Failed
        The chunks that could not be run although the step itself is sound: of bad files (the kinds ``input`` and
        ``transient``) one chunk each, the others of such a file are not tried; and chunks that killed every process
        that worked on them.

    Raises
    ------
    StepError
        If the step's code fails.
    SpaceError
        If there is no space left.
    PorticoError
        If portico itself fails.
    """
    return _Loop(job, executor, ledger, reporter).run()


class _Loop:
    """The driver's loop over one step."""

    def __init__(self, job: StepJob, executor: Executor, ledger: Ledger, reporter: Reporter) -> None:
        self._job, self._executor, self._ledger, self._reporter = job, executor, ledger, reporter
        self._pending: deque[Task] = deque()
        self._planned: dict[str, Planned] = {}
        for planned, task in job.tasks:
            self._pending.append(task)
            self._planned[planned.key] = planned
        self._later: list[tuple[float, Task]] = []
        self._sent: dict[str, tuple[float, Task]] = {}
        self._told: set[str] = set()
        self._longest = 0.0
        self._halves = Halves()
        self._records: dict[str, Record] = {}
        self._bad_files: set[tuple[str, str]] = set()
        self._finished: list[tuple[Attempt, bytes, list[dict[str, Any]]]] = []
        self._unsaved: list[Attempt] = []
        self._given_up: dict[str, Failed] = {}
        self._successes = 0
        self._began = self._flushed = self._looked = self._quiet_since = time.monotonic()

    def run(self) -> list[Failed]:
        cancel = True
        try:
            while self._pending or self._later or self._sent:
                self._submit()
                outcomes = self._executor.wait(_TICK) if self._sent else self._pause()
                for outcome in sorted(outcomes, key=lambda outcome: isinstance(outcome, Failed)):
                    self._take(outcome)  # what is done first: a failure may end the loop
                self._watch(bool(outcomes))
                self._flush(len(self._finished) >= _FLUSH_CHUNKS)
        except (KeyboardInterrupt, Detached):
            cancel = not self._executor.outlives
            raise
        finally:
            if self._sent and cancel:
                self._executor.cancel()
            self._flush(force=True)
        return list(self._given_up.values())

    def _pause(self) -> list[Outcome]:
        """Wait for what is to be tried again later."""
        time.sleep(_TICK)
        return []

    def _submit(self) -> None:
        now = time.monotonic()
        due = [task for when, task in self._later if when <= now]
        self._later = [(when, task) for when, task in self._later if when > now]
        self._pending.extendleft(reversed(due))
        for _ in range(min(self._executor.free, len(self._pending))):
            task = self._pending.popleft()
            if self._is_moot(task):
                continue
            self._sent[task.key] = (time.time(), task)
            self._executor.submit(task)

    def _is_moot(self, task: Task) -> bool:
        """Whether a task need not run: its file is in quarantine, or its other half was given up."""
        planned = self._of(task)
        return (planned.sample, planned.chunk.file) in self._bad_files or planned.key in self._given_up

    def _of(self, task: Task) -> Planned:
        return self._planned[self._halves.whole(task).key]

    def _watch(self, alive: bool) -> None:
        now = time.monotonic()
        if alive:
            self._quiet_since = now
        elif now - self._quiet_since > _QUIET_SECONDS:
            for problem in self._executor.problems():
                self._reporter.warn(problem)
            self._quiet_since = now
        if now - self._looked > 1:
            self._looked = now
            self._watch_slow(time.time())
        left = len(self._planned) - self._successes
        self._job.look(left * (now - self._began) / self._successes if self._successes else None)

    def _watch_slow(self, now: float) -> None:
        """Name chunks that take very much longer than others: a slow server, a sick machine."""
        limit = max(_SLOW_SECONDS, _SLOW_TIMES * self._longest)
        slow = [key for key, (sent, _) in self._sent.items() if now - sent > limit and key not in self._told]
        # With more of them than workers can hold they wait for a job to start, and are not slow.
        if slow and not self._executor.outlives and len(self._sent) <= 2 * self._executor.workers:
            for key in slow:
                self._told.add(key)
                sent, task = self._sent[key]
                words = f"has been under way for {now - sent:.0f} s, the longest before took {self._longest:.0f} s"
                self._reporter.warn(f"step '{self._job.step}', {task.chunk}: {words}; is its storage or machine slow?")

    def _take(self, outcome: Done | Failed) -> None:
        if outcome.task.key not in self._sent:
            return
        sent, _ = self._sent.pop(outcome.task.key)
        metrics = dict(outcome.metrics)
        if "started" in metrics:
            metrics["wait"] = max(0.0, metrics["started"] - sent)
        if isinstance(outcome, Failed):
            self._fail(outcome, metrics)
            return
        done = self._halves.join(replace(outcome, metrics=metrics))
        if done is None:
            return
        planned = self._planned[done.task.key]
        partial, outputs = self._keep(planned, done.partial)
        attempt = Attempt(planned.key, done.task.attempt, "done", metrics=dict(done.metrics))
        self._finished.append((attempt, partial, outputs))
        self._successes += 1
        self._longest = max(self._longest, time.time() - sent)
        self._reporter.advance(planned.sample, planned.chunk.entries)

    def _keep(self, planned: Planned, partial: bytes) -> tuple[bytes, list[dict[str, Any]]]:
        """Give the trees that a chunk wrote aside their names, and note them in its partial result."""
        products = decode(partial)
        outputs: list[dict[str, Any]] = []
        for name, product in products.items():
            if product.kind != "tree":
                continue
            items = []
            for number, item in enumerate(product.items):
                part = f"-{number}" if number else ""  # of a chunk that ran in halves
                file = f"{product.meta['tree']}-{planned.position:06d}-{planned.key[:8]}{part}.root"
                final = f"{item['path'].rpartition('/')[0]}/{file}"
                storage_of(final).rename(item["path"], final)
                items.append({**item, "path": final})
                outputs.append({"product": name, "tree": product.meta["tree"], **items[-1]})
            products[name] = replace(product, items=tuple(items))
        return (encode(products), outputs) if outputs else (partial, outputs)

    def _fail(self, failed: Failed, metrics: dict[str, Any]) -> None:
        task, planned = failed.task, self._of(failed.task)
        if self._is_moot(task):
            return
        self._unsaved.append(Attempt(planned.key, task.attempt, failed.kind, failed.message, failed.log, metrics))
        places = self._job.samples[planned.sample].places(planned.chunk.file)
        record = self._records.setdefault(task.key, Record(len(places)))
        verdict = decide(failed, record)
        final = verdict.way in {Way.QUARANTINE, Way.GIVE_UP}
        text = explain(failed, self._job.step, planned, self._job.files, final)
        words = f"{text}; {verdict.words}" if verdict.words else text
        match verdict.way:
            case Way.STOP:
                self._stop(failed, text)
            case Way.RETRY:
                moved = record.refused + record.transients if verdict.next_place else 0
                chunk = replace(task.chunk, file=places[moved % len(places)]) if verdict.next_place else task.chunk
                avoid = (*task.avoid, str(metrics["worker"])) if verdict.elsewhere and "worker" in metrics else ()
                again = replace(task, attempt=task.attempt + 1, chunk=chunk, avoid=avoid)
                if verdict.elsewhere and self._successes:
                    self._pending.append(again)  # last, so that a storm does not hit the same chunk again and again
                else:
                    self._later.append((time.monotonic() + verdict.after, again))
            case Way.HALVE:
                self._pending.extendleft(reversed(self._halves.cut(task)))
            case Way.QUARANTINE:
                self._bad_files.add((planned.sample, planned.chunk.file))
                self._given_up[planned.key] = replace(failed, task=self._halves.whole(task))
            case Way.GIVE_UP:
                self._given_up[planned.key] = replace(failed, task=self._halves.whole(task))
        self._reporter.warn(words)
        crashed = sum(given.kind == "crash" for given in self._given_up.values())
        if crashed >= DEATHS and not self._successes:
            raise StepError(f"{text}\nthe first {crashed} chunks all killed their process: the step itself is at fault")

    def _stop(self, failed: Failed, text: str) -> NoReturn:
        match failed.kind:
            case "user":
                raise StepError(text)
            case "space":
                raise SpaceError(f"{text}; free space and run again, what is done is kept")
            case "transient":
                raise WorkerError(f"{text}; the store does not answer; run again when it does, what is done is kept")
            case _:
                raise PorticoError(f"{text}\nthis is a fault of portico or of its installation:\n{failed.log.strip()}")

    def _flush(self, force: bool) -> None:
        due = time.monotonic() - self._flushed > _FLUSH_SECONDS
        if (force or due) and (self._finished or self._unsaved):
            self._ledger.commit(self._finished, self._unsaved)
            self._finished, self._unsaved = [], []
            self._flushed = time.monotonic()


def explain(
    failed: Failed, step: str, planned: Planned, files: Mapping[str, Mapping[str, TreeSummary]], final: bool = False
) -> str:
    """Say what failed, where, and what the file has to do with it; if it is final, what to do."""
    text = f"step '{step}', sample '{planned.sample}', {planned.chunk}: {failed.message}"
    siblings = files.get(planned.sample, {})
    summary = siblings.get(planned.chunk.file)
    if failed.kind in {"input", "transient"}:
        return f"{text}; copy or make the file again, or go on without it with --allow-partial" if final else text
    if failed.kind == "memory" and final:
        return f"{text}; give workers more memory, or go on without it with --allow-partial"
    if failed.kind != "user" or summary is None:
        return text
    reference = next((file for file in siblings.values() if file.entries > 0), summary)
    changes = column_changes(reference, summary)
    if changes:
        text += f"\nthis file differs from {reference.file}: " + "; ".join(changes[:5])
    elif match := _UNDECLARED.search(failed.message):
        word = match[1] or match[2]
        close = nearest(word, (column.name for column in summary.columns)).partition("valid: ")
        text += f"\n'{word}' is neither a column of the input nor a C++ name" + (
            f"; {close[0]}" if close[0] else "; see: portico inspect FILE"
        )
    return text
