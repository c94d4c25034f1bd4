"""Progress of a run: bars in a terminal or a notebook, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from portico.monitor.console import SafeConsole
from portico.monitor.notebook import Board, BoardBars
from portico.monitor.units import duration, rate, share

__all__ = ["Progress"]

_TOTAL = "all samples"
_BARS = 12
"""How many samples get a bar at a time."""

_QUIET_SECONDS = 10.0
_LEARNED = 10.0
"""After how many times the length of a chunk the rate is known: until then there may be more workers than at first."""


@dataclass(slots=True)
class _Count:
    """Entries of one sample (or of all): in total, kept from before, done now; and since when.

    ``first`` is when the first chunk came in, and with how many entries; ``seconds`` are those of workers in chunks
    without loading and compiling, which they do once. At first these predict the time that is left, later the rate
    since the first chunk: processes need seconds to start.
    """

    total: int
    kept: int
    now: int = 0
    began: float | None = None
    ended: float | None = None
    first: tuple[float, int] | None = None
    seconds: float = 0.0
    chunks: int = 0

    @property
    def done(self) -> int:
        return self.kept + self.now

    def rate(self, clock: float) -> float:
        """Entries per second of this run alone: what was kept from before does not count."""
        if self.began is None or self.now == 0:
            return 0.0
        return self.now / max((self.ended or clock) - self.began, 1e-3)

    def left(self, clock: float, workers: int = 1) -> str:
        """Say how long it will take from now."""
        speed = self.rate(clock)
        if self.seconds > 0:
            speed = self.now / self.seconds * workers
        if self.first is not None and clock - self.first[0] > 1:
            since = clock - self.first[0]
            measured = (self.now - self.first[1]) / since
            known = since > _LEARNED * self.seconds / self.chunks
            speed = measured if known and measured > 0 else max(speed if self.seconds > 0 else 0.0, measured) or speed
        if self.done >= self.total or speed == 0:
            return ""
        seconds = round((self.total - self.done) / speed)
        return f"{seconds} s left" if seconds < 60 else f"{duration(seconds)} left"


class Progress:
    """A `portico.workflow.chunk_loop.Reporter` that shows what happens; use it in a ``with`` statement.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to write; standard error by default. Without a terminal or a notebook there are no bars: a line when
        a step begins and ends, and in between at most one every ten seconds.
    clock : callable, optional
        Seconds that never go back.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or SafeConsole(stderr=True)
        self._board = Board() if self._console.is_jupyter else None
        # A notebook asks the programs that it starts for colours, and rich then takes any stream for a terminal.
        terminal = sys.stderr.isatty() if console is None else self._console.is_terminal
        self._live = terminal or self._board is not None
        self._clock = clock
        self._step = ""
        self._counts: dict[str, _Count] = {}
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._spoke = self._last = 0.0
        self._workers = 1
        self._chunks = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def begin(self, step: str, entries: Mapping[str, int], done: Mapping[str, int], workers: int) -> None:
        """Note that a step begins; ``entries`` and ``done`` by sample."""
        self._close()
        self._step, self._spoke, self._workers = step, self._clock(), max(workers, 1)
        self._last, self._chunks = self._spoke, 0
        self._counts = {name: _Count(total, done.get(name, 0)) for name, total in entries.items()}
        whole = _Count(sum(entries.values()), sum(done.values()), began=self._spoke)
        self._counts[_TOTAL] = whole
        if whole.done >= whole.total and entries:
            return
        if self._live:
            self._open()
            return
        kept = f" ({whole.kept:,} done before)" if whole.kept else ""
        hands = f"{workers} worker{'' if workers == 1 else 's'}"
        what = f"{len(entries)} sample{'' if len(entries) == 1 else 's'}, {whole.total:,} entries{kept}, {hands}"
        self._say(f"step {step}: {what if entries else 'summary'}")

    def advance(self, sample: str, entries: int, metrics: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Note that a chunk is done, and its metrics."""
        seconds = max(metrics.get("wall", 0.0) - metrics.get("build", 0.0), 0.0)  # without compiling
        now = self._clock()
        for name in (sample, _TOTAL):
            count = self._counts[name]
            if count.began is None:
                count.began = self._last
            count.now += entries
            count.seconds += seconds
            count.chunks += 1
            if count.first is None:
                count.first = (now, entries)
            if count.done >= count.total:
                count.ended = now
        self._last = now
        self._chunks += 1
        if self._bars is not None:
            self._draw(sample)
        elif not self._live and now - self._spoke >= _QUIET_SECONDS:
            self._spoke = now
            whole = self._counts[_TOTAL]
            done, part, *speed = _words(whole, now, self._workers)
            self._say(f"step {self._step}: {', '.join([f'{done} entries ({part})', *filter(None, speed)])}")

    def note(self, message: str) -> None:
        """Show what takes a while."""
        self._say(message)

    def warn(self, message: str) -> None:
        """Show a warning; the run goes on."""
        self._say(f"warning: {message}", style="yellow")

    def end(self, step: str, state: str, seconds: float, ran: int) -> None:
        """Note that a step ended: its state, and how many chunks ran."""
        self._close()
        whole = self._counts.get(_TOTAL) if step == self._step else None
        if ran == 0:
            self._say(f"step {step}: {'done before' if state == 'done' else state}")
            return
        words = [f"{state} in {duration(seconds)}"]
        if whole is not None and whole.total:
            words += [f"{self._chunks:,} chunk{'' if self._chunks == 1 else 's'}", f"{whole.now:,} entries"]
        self._say(f"step {step}: {', '.join(words)}", style="" if state == "done" else "yellow")

    def _open(self) -> None:
        words = [_Word(self._words, column) for column in range(4)]
        if self._board is not None:
            self._bars = BoardBars(self._board, words)
        else:
            self._bars = Bars(
                TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), *words,
                console=self._console, transient=True, refresh_per_second=4,
            )  # fmt: skip
        self._tasks = {}
        samples = [name for name in self._counts if name != _TOTAL]
        shown = {*[name for name in samples if self._counts[name].done < self._counts[name].total][:_BARS], _TOTAL}
        for name in [*samples, _TOTAL] if len(samples) > 1 else samples:
            count = self._counts[name]
            text = f"{self._step}: {name}" if name == _TOTAL else name
            self._tasks[name] = self._bars.add_task(
                text, total=max(count.total, 1), completed=count.done, visible=name in shown, sample=name
            )
        if not samples:
            self._bars.add_task(f"{self._step}: summary", total=None, sample="")
        self._bars.start()

    def _draw(self, sample: str) -> None:
        bars = self._bars
        if bars is None:
            return
        for name in (sample, _TOTAL):
            if name in self._tasks:
                bars.update(self._tasks[name], completed=self._counts[name].done)
        count = self._counts[sample]
        hidden = [name for name in self._tasks if not bars.tasks[self._tasks[name]].visible]
        waiting = [name for name in hidden if self._counts[name].done < self._counts[name].total]
        if count.done >= count.total and waiting:
            bars.update(self._tasks[sample], visible=False)
            bars.update(self._tasks[waiting[0]], visible=True)

    def _words(self, task: Task) -> list[str]:
        count = self._counts.get(task.fields["sample"])
        return _words(count, self._clock(), self._workers) if count is not None else []

    def _close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _say(self, text: str, style: str = "") -> None:
        if self._board is not None:
            self._board.say(text, style)
            return
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


class _Word(ProgressColumn):
    """One of the words that stand after a bar."""

    def __init__(self, words: Callable[[Task], list[str]], column: int) -> None:
        super().__init__()
        self._words, self._column = words, column

    def render(self, task: Task) -> Text:
        """Return the word of one bar."""
        words = self._words(task)
        return Text(words[self._column] if words else "", justify="right", no_wrap=True)


def _words(count: _Count, clock: float, workers: int) -> list[str]:
    """Return entries done, share, rate and time left as text."""
    speed = count.rate(clock)
    return [
        f"{count.done:,} / {count.total:,}",
        share(count.done, count.total),
        rate(speed) if speed > 0 else "starting" if count.began is not None else "",
        count.left(clock, workers),
    ]
