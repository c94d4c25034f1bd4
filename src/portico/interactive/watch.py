"""The state of a fill while it runs: written by the session's thread, read by any other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any, NamedTuple

from portico.errors import PorticoError
from portico.results.view import Results
from portico.runfolder.load import Run
from portico.workflow.run import LEFT_BEHIND

__all__ = ["ENDED", "Event", "Progress", "Watch"]

ENDED = frozenset({"done", "partial", "stopped", "failed"})
"""The states of a fill that do not change any more."""

Event = tuple[str, tuple[Any, ...]] | None
"""A method of a reporter with its arguments; None once the fill has ended."""


class Progress(NamedTuple):
    """Entries of a step that are done, and all of them."""

    done: int
    total: int


class Watch:
    """A `portico.workflow.chunk_loop.Reporter` that remembers.

    Parameters
    ----------
    step : str
        The step that is filled; earlier ones may run before it.
    read : callable
        Reads the results so far from the run folder.
    """

    def __init__(self, step: str, read: Callable[[Mapping[str, Results]], dict[str, Results]]) -> None:
        self.state = "waiting"
        self.error: BaseException | None = None
        self.run: Run | None = None
        self.results: Mapping[str, Results] = {}
        self.warnings: list[str] = []
        self.ran: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.total: dict[str, int] = {}
        self.at = ""
        self._step, self._read, self._workers = step, read, 0
        self._changed = threading.Condition()
        self._changes = 0
        self._queues: list[SimpleQueue[Event]] = []

    def begin(self, step: str, entries: Mapping[str, int], done: Mapping[str, int], workers: int) -> None:
        """Note that a step begins."""
        with self._telling(("begin", (step, entries, done, workers))):
            self.at, self._workers = step, workers
            self.total, self.done = dict(entries), dict(done)

    def advance(self, sample: str, entries: int, metrics: Mapping[str, Any]) -> None:
        """Note that a chunk is done."""
        with self._telling(("advance", (sample, entries, metrics))):
            self.done[sample] = self.done.get(sample, 0) + entries

    def note(self, message: str) -> None:
        """Pass on what takes a while."""
        with self._telling(("note", (message,))):
            pass

    def warn(self, message: str) -> None:
        """Note a warning; that later steps have yet to be filled is none."""
        if not message.endswith(LEFT_BEHIND):
            with self._telling(("warn", (message,))):
                self.warnings.append(message)

    def end(self, step: str, state: str, seconds: float, ran: int) -> None:
        """Note that a step ended; what is there of the one that is filled is read while nobody else can write."""
        with self._telling(("end", (step, state, seconds, ran)) if ran or step == self._step else None):
            if step == self._step and state not in {"done", "partial"}:
                with suppress(PorticoError):  # why the step ended is told, not that this cannot be read
                    self.results = self._read(self.results)
            self.ran[step], self.at = ran, ""

    def start(self) -> bool:
        """Note that the fill begins; return whether it still should."""
        with self._telling(None):
            if self.state == "waiting":
                self.state = "running"
                return True
            return False

    def finish(self, state: str, error: BaseException | None = None) -> None:
        """Note that the fill has ended."""
        with self._telling(None):
            self.state, self.error = state, error
            for queue in self._queues:
                queue.put(None)

    def finish_with(self, run: Run, results: Mapping[str, Results], state: str) -> None:
        """Note that the fill has ended with these results."""
        with self._changed:
            self.run, self.results = run, results
        self.finish(state)

    def drop(self) -> bool:
        """End the fill if it has not begun; return whether it has not."""
        with self._changed:
            waiting = self.state == "waiting"
        if waiting:
            self.finish("stopped")
        return waiting

    def so_far(self) -> Mapping[str, Results]:
        """Return the results by sample: the final ones, or what is there of them."""
        with self._changed:
            if self.state == "running" and self.at == self._step:
                self.results = self._read(self.results)
            return dict(self.results)

    def next_change(self, seen: int, timeout: float | None = None) -> int:
        """Wait until something has changed since the change ``seen``; return the last one."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes > seen or self.state in ENDED, timeout)
            return self._changes

    @contextmanager
    def events(self) -> Iterator[SimpleQueue[Event]]:
        """Return a queue of what happens from now on, beginning with where the fill is."""
        queue: SimpleQueue[Event] = SimpleQueue()
        with self._changed:
            if self.at:
                queue.put(("begin", (self.at, dict(self.total), dict(self.done), self._workers)))
            if self.state in ENDED:
                queue.put(None)
            self._queues.append(queue)
        try:
            yield queue
        finally:
            with self._changed:
                self._queues.remove(queue)

    @contextmanager
    def _telling(self, event: Event) -> Iterator[None]:
        with self._changed:
            yield
            self._changes += 1
            if event is not None:
                for queue in self._queues:
                    queue.put(event)
            self._changed.notify_all()
