"""A fill: one step with one choice of options and samples, while it runs and after."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any, Self

from portico.analysis.analysis import Analysis
from portico.errors import PorticoError, nearest
from portico.interactive.watch import ENDED, Progress, Watch
from portico.monitor.progress import Progress as Bars
from portico.monitor.units import share
from portico.results.table import ShownTable
from portico.results.view import Results
from portico.runfolder.load import Run

if TYPE_CHECKING:
    from portico.compare import Comparison
    from portico.interactive.live import Live

__all__ = ["Fill", "Wanted"]

_GRACE = 10.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request for a fill.

    Parameters
    ----------
    number : int
        Counts the fills of a session.
    analysis : Analysis
        With the options of the fill.
    step : str
        The step to fill.
    kind : str
        ``frame``, ``points`` or ``summary``.
    samples : tuple of str
        The samples to fill it for.
    chosen : tuple of str
        The same if the user chose them; empty for all.
    options : mapping
        The options that the user gave.
    """

    number: int
    analysis: Analysis
    step: str
    kind: str
    samples: tuple[str, ...]
    chosen: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        which = f" for {', '.join(self.chosen)}" if self.chosen else ""
        return f"fill {self.number}: {self.step}({given}){which}"


class Fill(Mapping[str, Results]):
    """Results of a step that are being made: ``fill["signal"]["mass"]`` waits for them.

    `portico.Session.fill` makes it. Fills of different options never share chunks: the key of each has the options.

    Parameters
    ----------
    wanted : Wanted
        What it is asked for.
    watch : Watch
        What is known of it.
    stop : callable
        Asks the session to stop it; takes the seconds that running chunks get.
    keep : callable
        Has the session write its results as a run; takes the name.
    unblind : bool
        Whether data may be shown everywhere.
    """

    def __init__(
        self, wanted: Wanted, watch: Watch, stop: Callable[[float], None], keep: Callable[[str, Fill], Path],
        *, unblind: bool = False,
    ) -> None:  # fmt: skip
        self.wanted, self.unblind = wanted, unblind
        self._watch, self._stop, self._keep = watch, stop, keep
        self._lives: list[Live] = []

    @property
    def step(self) -> str:
        """The step that is filled."""
        return self.wanted.step

    @property
    def analysis(self) -> Analysis:
        """The analysis with the options of the fill."""
        return self.wanted.analysis

    @property
    def samples(self) -> tuple[str, ...]:
        """The samples that it is filled for; ``points`` of a step over points, none of a summary."""
        return () if self.wanted.kind == "summary" else self.wanted.samples

    @property
    def state(self) -> str:
        """``waiting``, ``running``, ``done``, ``partial`` (some chunks cannot be read), ``stopped`` or ``failed``."""
        return self._watch.state

    @property
    def progress(self) -> Progress:
        """Entries done and in total, of the step that runs at the moment or ran last."""
        return Progress(sum(self._watch.done.values()), sum(self._watch.total.values()))

    @property
    def ran(self) -> dict[str, int]:
        """How many chunks ran, by step; 0 for what was there already."""
        return dict(self._watch.ran)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of the run."""
        return tuple(self._watch.warnings)

    def wait(self, timeout: float | None = None) -> Self:
        """Wait for the end, with the progress on standard error, and return the fill itself.

        Interrupted with Ctrl-C, only the waiting ends: the fill goes on, and the workers stay.

        Parameters
        ----------
        timeout : float, optional
            Seconds after which to return although it is running.

        Raises
        ------
        PorticoError
            If the fill has failed: the error of the run.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            self._follow(deadline)
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(f"{self.wanted} continues; its stop() ends it and keeps finished chunks")
            raise
        if self.state in ENDED:
            for live in self._lives:
                live.join()
        if self._watch.error is not None:
            raise self._watch.error.with_traceback(None)
        return self

    def _follow(self, deadline: float | None) -> None:
        with self._watch.events() as events, Bars() as bars:
            while True:
                left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
                try:
                    event = events.get(timeout=left)
                except Empty:
                    return
                if event is None:
                    return
                method, arguments = event
                getattr(bars, method)(*arguments)

    def stop(self, seconds: float = _GRACE) -> Self:
        """End it, keep the chunks that are done, and return the fill itself; the same fill again goes on from there.

        Parameters
        ----------
        seconds : float
            Chunks that run get so long to end; the processes of those that do not are started again. A summary step
            that runs is waited for.
        """
        self._stop(seconds)
        seen = 0
        while self.state not in ENDED:
            seen = self._watch.next_change(seen)
        return self

    def partial(self) -> dict[str, Results]:
        """Return what is there now, by sample, without waiting.

        Results of which chunks are missing have a `Results.note` that says how much is there; figures of
        `portico.plot` show it.
        """
        return dict(self._watch.so_far())

    @property
    def run(self) -> Run:
        """The run folder as it was when the fill was done, with all earlier steps; waits.

        Raises
        ------
        PorticoError
            If the fill has failed or was stopped.
        """
        self.wait()
        if self._watch.run is None:
            raise PorticoError(f"{self.wanted} was stopped; partial() has its results so far, the same fill continues")
        return self._watch.run

    def result(self) -> dict[str, Results]:
        """Return the final results by sample; waits for them.

        Raises
        ------
        PorticoError
            If the fill has failed or was stopped.
        """
        self.run  # noqa: B018 (waits, and raises)
        return dict(self._watch.results)

    @property
    def summary(self) -> dict[str, Any]:
        """The values of a summary step; waits for them.

        Raises
        ------
        PorticoError
            If the fill has failed or was stopped.
        KeyError
            If it is not a summary.
        """
        return self.run.summary(self.step)

    def __getitem__(self, sample: str) -> Results:
        results = self.result()
        if sample not in results:
            raise KeyError(f"{self.wanted}: no sample '{sample}'; {nearest(sample, results)}")
        return results[sample]

    def __iter__(self) -> Iterator[str]:
        return iter(self.samples)

    def __len__(self) -> int:
        return len(self.samples)

    def compare(self, other: Fill | Run | str | Path, **options: Any) -> Comparison:
        """Compare its results with those of another fill or run, see `portico.compare.compare`.

        Parameters
        ----------
        other : Fill, Run, str or Path
            The other results.
        **options
            As `portico.compare.compare` takes them; by default the step and the samples of this fill are compared.
        """
        from portico.compare import compare

        second = other.run if isinstance(other, Fill) else other
        return compare(self.run, second, **{"steps": [self.step], "samples": self.samples, **options})

    def keep(self, name: str) -> Path:
        """Write its results as a run of their own, see `portico.Session.keep`."""
        return self._keep(name, self)

    def show(self, *products: str, samples: Iterable[str] = ()) -> None:
        """Show histograms in a notebook that fill as chunks come in, at most four times a second.

        Parameters
        ----------
        *products : str
            Histograms of one axis, ``*`` in a name standing for any letters; the first few by default.
        samples : iterable of str
            Of these samples; of all by default.

        Raises
        ------
        MissingExtra
            If this is not a notebook and nothing is installed that could be one.
        ConfigError
            If this is not a notebook, or there is no such sample.
        """
        from portico.interactive.live import Live

        chosen = (samples,) if isinstance(samples, str) else tuple(samples)
        self._lives.append(Live(self, self._watch, products, chosen))

    def __repr__(self) -> str:
        return f"<{self.describe()}>"

    def describe(self) -> str:
        """Return a line that says what it is, and how far it has come."""
        return f"{self.wanted}, {self._words()}"

    def _words(self) -> str:
        done, total = self.progress
        if self.state in {"running", "stopped"} and total:
            at = f" step {self._watch.at}" if self._watch.at not in {"", self.step} else ""
            return f"{self.state}{at}: {done:,} of {total:,} entries ({share(done, total)})"
        if self._watch.error is not None:
            return f"failed: {self._watch.error}"
        if self.state not in {"done", "partial"}:
            return self.state
        ran = sum(self.ran.values())
        return f"{self.state}, {ran:,} chunk{'' if ran == 1 else 's'} ran"

    def _repr_html_(self) -> str:
        found = self._watch.so_far()
        rows = [
            (name, (found[name].note or "all entries") if name in found else "", f"{len(found.get(name, ()))}")
            for name in self.samples
        ]
        return ShownTable(("sample", "read", "products"), rows, self.describe(), left=2).html()
