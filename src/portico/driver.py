"""One step over its chunks on one executor: what is missing is run, failures are decided upon, all is noted."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from portico.errors import PorticoError, SpaceError, StepError, nearest
from portico.executors.base import Done, Executor, Failed, Task
from portico.files import TreeSummary, column_changes
from portico.ledger import Attempt, Ledger, Planned
from portico.merge import decode, encode

__all__ = ["ATTEMPTS", "Reporter", "StepJob", "run_chunks"]

ATTEMPTS = 3
"""How often a chunk is tried whose worker died."""

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
    """

    step: str
    tasks: Iterable[tuple[Planned, Task]]
    files: Mapping[str, Mapping[str, TreeSummary]]


def run_chunks(job: StepJob, executor: Executor, ledger: Ledger, reporter: Reporter) -> list[Failed]:
    """Run the missing chunks of a step.

    Returns
    -------
    list of Failed
        The chunks that could not be run although the step itself is sound: bad files, and chunks that
        killed every process that worked on them.

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
        self._sent: dict[str, float] = {}
        self._finished: list[tuple[Attempt, bytes, list[dict[str, Any]]]] = []
        self._unsaved: list[Attempt] = []
        self._given_up: list[Failed] = []
        self._successes = 0
        self._flushed = time.monotonic()
        self._quiet_since = time.monotonic()

    def run(self) -> list[Failed]:
        try:
            while self._pending or self._sent:
                self._submit()
                outcomes = self._executor.wait(0.2)
                for outcome in sorted(outcomes, key=lambda outcome: isinstance(outcome, Failed)):
                    self._take(outcome)  # what is done first: a failure may end the loop
                self._watch(bool(outcomes))
                self._flush(len(self._finished) >= _FLUSH_CHUNKS)
        finally:
            if self._sent:
                self._executor.cancel()
            self._flush(force=True)
        return self._given_up

    def _submit(self) -> None:
        for _ in range(min(self._executor.free, len(self._pending))):
            task = self._pending.popleft()
            self._sent[task.key] = time.time()
            self._executor.submit(task)

    def _watch(self, alive: bool) -> None:
        now = time.monotonic()
        if alive:
            self._quiet_since = now
        elif now - self._quiet_since > 30 and self._executor.workers == 0:
            self._reporter.warn("no worker is connected; the run goes on when one joins")
            self._quiet_since = now

    def _take(self, outcome: Done | Failed) -> None:
        sent = self._sent.pop(outcome.task.key, None)
        if sent is None:
            return
        metrics = dict(outcome.metrics)
        if "started" in metrics:
            metrics["wait"] = max(0.0, metrics["started"] - sent)
        if isinstance(outcome, Failed):
            self._fail(outcome, metrics)
            return
        planned = self._planned[outcome.task.key]
        partial, outputs = self._keep(planned, outcome.partial)
        attempt = Attempt(planned.key, outcome.task.attempt, "done", metrics=metrics)
        self._finished.append((attempt, partial, outputs))
        self._successes += 1
        self._reporter.advance(planned.sample, planned.chunk.entries)

    def _keep(self, planned: Planned, partial: bytes) -> tuple[bytes, list[dict[str, Any]]]:
        """Give the trees that a chunk wrote aside their names, and note them in its partial result."""
        products = decode(partial)
        outputs: list[dict[str, Any]] = []
        for name, product in products.items():
            if product.kind != "tree":
                continue
            item = product.items[0]
            aside = Path(item["path"])
            final = aside.with_name(f"{product.meta['tree']}-{planned.position:06d}-{planned.key[:8]}.root")
            aside.replace(final)
            output = {**item, "path": str(final)}
            products[name] = replace(product, items=(output,))
            outputs.append({"product": name, "tree": product.meta["tree"], **output})
        return (encode(products), outputs) if outputs else (partial, outputs)

    def _fail(self, failed: Failed, metrics: dict[str, Any]) -> None:
        task = failed.task
        self._unsaved.append(Attempt(task.key, task.attempt, failed.kind, failed.message, failed.log, metrics))
        text = explain(failed, self._job.step, self._planned[task.key], self._job.files)
        match failed.kind:
            case "user":
                raise StepError(text)
            case "space":
                raise SpaceError(f"{text}; free space and run again, what is done is kept")
            case "internal":
                raise PorticoError(f"{text}\nthis is a fault of portico or of its installation:\n{failed.log.strip()}")
            case "crash" | "lost" if task.attempt < ATTEMPTS:
                self._pending.append(replace(task, attempt=task.attempt + 1))
                self._reporter.warn(f"{text}; trying again ({task.attempt + 1} of {ATTEMPTS})")
            case _:
                self._given_up.append(failed)
                self._reporter.warn(text)
        crashed = sum(given.kind == "crash" for given in self._given_up)
        if crashed >= ATTEMPTS and not self._successes:
            raise StepError(f"{text}\nthe first {crashed} chunks all killed their process: the step itself is at fault")

    def _flush(self, force: bool) -> None:
        due = time.monotonic() - self._flushed > _FLUSH_SECONDS
        if (force or due) and (self._finished or self._unsaved):
            self._ledger.commit(self._finished, self._unsaved)
            self._finished, self._unsaved = [], []
            self._flushed = time.monotonic()


def explain(failed: Failed, step: str, planned: Planned, files: Mapping[str, Mapping[str, TreeSummary]]) -> str:
    """Say what failed, where, and what the file has to do with it."""
    text = f"step '{step}', sample '{planned.sample}', {planned.chunk}: {failed.message}"
    siblings = files.get(planned.sample, {})
    summary = siblings.get(planned.chunk.file)
    if failed.kind == "input":
        return f"{text}; copy or make the file again, or go on without it with --allow-partial"
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
