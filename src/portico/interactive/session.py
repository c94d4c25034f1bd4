"""A session: workers that stay up, and fills that run one after the other in a separate thread."""

from __future__ import annotations

import atexit
import json
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from html import escape
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakValueDictionary

from portico.analysis.analysis import Analysis, load_analysis
from portico.config import not_plain
from portico.errors import ConfigError, PorticoError, nearest
from portico.executors.base import Executor
from portico.executors.where import connect
from portico.interactive.fill import Fill, Wanted
from portico.interactive.keeping import keep_results
from portico.interactive.needed import kind_of_step, run_needed
from portico.interactive.so_far import read_so_far
from portico.interactive.stopping import Stopped, Stopping
from portico.interactive.watch import Watch
from portico.results.view import Results
from portico.runfolder.folder import RunFolder
from portico.runfolder.load import Run
from portico.workflow.plan import bundle_of

__all__ = ["Session", "session"]

Value = TypeVar("Value")


def session(
    analysis: Analysis | str | Path, *, on: str = "local", workers: int | None = None, folder: str | Path | None = None,
    executor: Executor | None = None, cache: bool = False, allow_partial: bool = False, unblind: bool = False,
) -> Session:  # fmt: skip
    """Open a session: workers that stay up between one cut and the next.

    Parameters
    ----------
    analysis : Analysis, str or Path
        From `portico.load_analysis`, or what it takes.
    on, workers
        As in `portico.connect`.
    folder : str or Path, optional
        The run folder, which keeps every result; ``runs/NAME`` by default.
    executor : Executor, optional
        An open one, which stays open, instead of ``on`` and ``workers``.
    cache, allow_partial, unblind : bool
        As in `portico.run`.

    Raises
    ------
    ConfigError
        If the analysis is wrong, or ``on`` names nothing.
    WorkerError
        If what it names does not answer.
    """
    loaded = analysis if isinstance(analysis, Analysis) else load_analysis(analysis)
    options = {"cache": cache, "allow_partial": allow_partial, "unblind": unblind}
    opened = executor or connect(on, workers)
    return Session(loaded, Path(folder or loaded.run_folder).absolute(), opened, options, owned=executor is None)


class Session:
    """Fills of steps with changing options, on workers that stay; use it in a ``with`` statement, or close it.

    The run folder keeps every result by its content. A fill of options that were filled before is there at once, one of
    changed options computes what they change. Between fills, other runs may use the folder.

    Parameters
    ----------
    analysis : Analysis
        The analysis.
    folder : Path
        The run folder.
    executor : Executor
        Runs the chunks.
    options : dict
        Further options of `portico.run`.
    owned : bool
        Whether to close the executor with the session.
    """

    def __init__(
        self, analysis: Analysis, folder: Path, executor: Executor, options: dict[str, Any], *, owned: bool
    ) -> None:
        self.analysis, self.folder, self.executor = analysis, folder, executor
        self.fills: list[Fill] = []
        self._options, self._owned, self._closed = options, owned, False
        self._running: tuple[Watch, Stopping] | None = None
        self._known: WeakValueDictionary[tuple[str, str], Results] = WeakValueDictionary()
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        # The processes of an executor die with the thread that started them: it lives as long as this process.
        threading.Thread(target=self._work, name="portico session", daemon=True).start()
        atexit.register(self.close)

    def _work(self) -> None:
        while True:
            self._jobs.get()()

    def _later(self, function: Callable[[], Value]) -> Future[Value]:
        """Have the session's thread call a function, after what it was given before."""
        future: Future[Value] = Future()

        def job() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # whoever waits gets it
                future.set_exception(error)

        self._jobs.put(job)
        return future

    def fill(self, step: str, /, *, samples: Iterable[str] = (), after: Fill | None = None, **options: Any) -> Fill:
        """Fill a step, and return at once: what comes back can be looked at while it grows.

        Earlier steps that it needs are taken from the run folder, or run first.

        Parameters
        ----------
        step : str
            Name of the step.
        samples : iterable of str
            The samples, ``*`` in a name standing for any letters; all of the step by default.
        after : Fill, optional
            Options of earlier steps are those of this fill, such as the cuts for which to compute the limit.
        **options
            Options of the step, in place of those in ``analysis.yaml``.

        Raises
        ------
        ConfigError
            If there is no such step, sample or option, or if the session is closed.
        """
        self._refuse_closed()
        analysis = self.analysis if after is None else after.wanted.analysis
        wanted = _wanted(len(self.fills) + 1, analysis, step, samples, options)
        watch = Watch(step, partial(read_so_far, self.folder, step, wanted.samples))
        made = Fill(wanted, watch, partial(self._stop, watch), self.keep, unblind=bool(self._options["unblind"]))
        self.fills.append(made)
        self._later(partial(self._make, wanted, watch))
        return made

    def keep(self, name: str, fill: Fill | None = None) -> Path:
        """Write the results of a fill as a run of their own, which every command reads; return its folder.

        Parameters
        ----------
        name : str
            Name of the new run folder, beside that of the session, or its path.
        fill : Fill, optional
            Whose results; of the last fill by default.

        Raises
        ------
        ConfigError
            If there is no fill, or the folder exists.
        PorticoError
            If the fill has failed or was stopped.
        """
        self._refuse_closed()
        if not self.fills:
            raise ConfigError("no step was filled yet; fill a step, then keep it")
        fill = self.fills[-1] if fill is None else fill
        kept, folder = fill.run, Path(name) if "/" in name else self.folder.parent / name
        if folder.exists():
            raise ConfigError(f"{folder}: exists already; keep it under another name")
        wanted, options = fill.wanted, {**self._options, "executor": self.executor}
        function = partial(keep_results, kept, folder, wanted.analysis, wanted.step, wanted.chosen, options)
        return self._later(function).result()

    def close(self) -> None:
        """Stop what runs, keep what is done, and end the workers unless the executor was given."""
        atexit.unregister(self.close)
        if self._closed:
            return
        self._closed = True
        for fill in self.fills:
            fill.stop(0.0)
        if self._owned:
            self._later(self.executor.close).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        workers = "closed" if self._closed else _count(self.executor.workers, "worker")
        seen = f", {self.executor.dashboard}" if not self._closed and self.executor.dashboard else ""
        fills = _count(len(self.fills), "fill")
        return f"<session of {self.analysis.name} in {self.folder}, {workers}, {fills}{seen}>"

    def _repr_html_(self) -> str:
        link = "" if self._closed else escape(self.executor.dashboard)
        shown = f'<div><a href="{link}" target="_blank">Dask dashboard</a></div>' if link else ""
        return f"<div>{escape(repr(self))}</div>{shown}"

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ConfigError("this session is closed; open a new one with portico.session(...)")

    def _stop(self, watch: Watch, seconds: float) -> None:
        with self._lock:
            if self._running is not None and self._running[0] is watch:
                self._running[1].stop(seconds)
            else:
                watch.drop()

    def _make(self, wanted: Wanted, watch: Watch) -> None:
        with self._lock:
            if not watch.start():
                return
            executor = Stopping(self.executor)
            self._running = watch, executor
        try:
            options = {"folder": self.folder, "executor": executor, "reporter": watch, "export": False, **self._options}
            made = _frozen(run_needed(wanted.analysis, wanted.step, wanted.chosen, **options), wanted)
            watch.finish_with(made, self._read(made, wanted), made.states[wanted.step])
        except Stopped:
            watch.finish("stopped")
        except BaseException as error:  # whoever waits gets it
            watch.finish("failed", error)
        finally:
            with self._lock:
                self._running = None

    def _read(self, made: Run, wanted: Wanted) -> dict[str, Results]:
        """Return the results by sample, those that an earlier fill has read without reading them again."""
        if wanted.kind == "summary":
            return {}
        keys = {name: (wanted.step, made.version.steps[wanted.step].results[name]) for name in wanted.samples}
        found = {name: self._known[key] for name, key in keys.items() if key in self._known}
        found |= made.read(wanted.step, [name for name in keys if name not in found])
        for name, results in found.items():
            self._known[keys[name]] = results
        return {name: found[name] for name in wanted.samples}


def _wanted(number: int, analysis: Analysis, step: str, samples: Iterable[str], options: dict[str, Any]) -> Wanted:
    """Check what a fill is asked for."""
    for name, value in options.items():
        if odd := not_plain(value):
            raise ConfigError(f"step '{step}': options are values that analysis.yaml could have: {name}: {odd}")
    try:
        options = json.loads(json.dumps(options, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"step '{step}': options are values that analysis.yaml could have: {error}") from None
    analysis = analysis.with_options(step, **options)
    (entry,) = analysis.steps_named([step])
    bundle_of(analysis, entry)
    kind, there = kind_of_step(analysis, entry), analysis.samples_of(entry)
    chosen = analysis.dataset.matching([samples] if isinstance(samples, str) else samples)
    if chosen and kind != "frame":
        raise ConfigError(f"step '{step}' is computed from all samples; omit 'samples'")
    if absent := [name for name in chosen if name not in there]:
        raise ConfigError(f"step '{step}' does not run on sample '{absent[0]}'; {nearest(absent[0], there)}")
    return Wanted(number, analysis, step, kind, chosen or there, chosen, options)


def _frozen(made: Run, wanted: Wanted) -> Run:
    """Return the run as the version that it is now, whatever runs in its folder later.

    Raises
    ------
    PorticoError
        If it has not the results that were wanted.
    """
    with closing(RunFolder(made.path).open_ledger()) as ledger:
        numbers = [n for n, _ in reversed(ledger.versions()) if ledger.version(n).keys == made.version.keys]
    found = Run(Path(f"{made.path}@{numbers[0]}")) if numbers else made
    of = found.version.steps.get(wanted.step)
    there = {} if of is None else {"*": of.files} if wanted.kind == "summary" else of.results
    absent = [name for name in (["*"] if wanted.kind == "summary" else wanted.samples) if not there.get(name)]
    if of is None or absent or set(of.stale) & {*wanted.samples, "*"}:
        raise PorticoError(f"{wanted}: has no result; a warning says why, or another run used {made.path} meanwhile")
    return found


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
