"""An analysis from its first step to its last, on one executor, in one run folder."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from portico import root
from portico._version import __version__
from portico.analysis.analysis import Analysis, StepEntry
from portico.analysis.placed import placed
from portico.doctor import quick_check
from portico.environment.bundle import one_code
from portico.environment.credentials import needs_credentials
from portico.errors import ConfigError, InputError, MissingExtra, PorticoError, WorkerError, nearest
from portico.executors.base import Executor
from portico.executors.where import check_options, connect
from portico.files.atomic import write_atomic
from portico.results.kinds import KINDS
from portico.results.partial import decode
from portico.runfolder.folder import OWN_REPORT, RunFolder
from portico.runfolder.load import Run
from portico.runfolder.prune import prune
from portico.runfolder.version import STALE, SUMMARY
from portico.workflow.chunk_loop import Reporter
from portico.workflow.credential_refresh import CredentialRefresh
from portico.workflow.plan import unblinded
from portico.workflow.recipes import recipes_of
from portico.workflow.state import State
from portico.workflow.step_runner import run_step, write_exports

__all__ = ["LEFT_BEHIND", "run"]

LEFT_BEHIND = "run without --step and --sample to make it again"
"""The end of warnings that results do not belong to what was run; a session expects that and leaves them out."""

_SHOWN = 10  # failures told at the end; the ledger has them all


class _Silent:
    """A reporter that shows nothing."""

    def begin(self, step: str, entries: Mapping[str, int], done: Mapping[str, int], workers: int) -> None: ...
    def advance(self, sample: str, entries: int, metrics: Mapping[str, Any]) -> None: ...
    def note(self, message: str) -> None: ...

    def warn(self, message: str) -> None: ...
    def end(self, step: str, state: str, seconds: float, ran: int) -> None: ...


@one_code()
def run(
    analysis: Analysis, *, folder: str | Path | None = None, on: str = "local", workers: int | None = None,
    batch: bool = False, detach: bool = False, chunks_per_job: int | None = None, steps: Iterable[str] = (),
    samples: Iterable[str] = (), allow_partial: bool = False, accept_changed_input: bool = False, unblind: bool = False,
    store: str | None = None, reporter: Reporter | None = None, executor: Executor | None = None, cache: bool = False,
    export: bool = True, chunk_timeout: float | None = None,
) -> Run:  # fmt: skip
    """Run an analysis; only what is missing runs.

    Parameters
    ----------
    analysis : Analysis
        From `portico.load_analysis`.
    folder : str or Path, optional
        The run folder; ``runs/NAME`` by default.
    on, workers, detach, chunks_per_job
        As in `portico.connect`.
    batch : bool
        Run as plain batch jobs of the site ``on``, which go on without this process.
    steps, samples : iterable of str
        Run only these; ``*`` in the name of a sample stands for any letters.
    allow_partial, accept_changed_input, unblind : bool
        Go on without chunks that cannot be read, the run is then partial; run also over samples that have fewer files
        or entries than when their results were made; show and fit data also where they are hidden.
    store : str, optional
        Folder or URL where trees are written, such as ``root://host//store/user/me/run``; the run folder by default.
    reporter : Reporter, optional
        Shows the progress.
    executor : Executor, optional
        An open one, of `portico.connect`, which stays open, instead of ``on``, ``workers``, ``batch`` and its options.
    cache, export : bool
        Keep the columns that steps read on the workers' disks, and read them from there the next time; write
        ``results.root`` and ``results.json`` (without, those of other results are put aside all the same).
    chunk_timeout : float, optional
        Seconds that a chunk may run; one that takes longer runs again elsewhere. No limit by default.

    Raises
    ------
    PorticoError
        One of its kinds, see `portico.errors`. Whatever was finished before is kept.
    Detached
        With ``detach``, as soon as all jobs are submitted; its text says what to do next.
    KeyboardInterrupt
        When interrupted; notes on it say which batch jobs go on.
    """
    _check_executor(executor, on, workers, chunk_timeout, batch=batch, detach=detach, chunks_per_job=chunks_per_job)
    analysis, allowed = unblinded(analysis) if unblind else analysis, (allow_partial, accept_changed_input)
    chosen, selected = analysis.steps_named(steps), analysis.dataset.matching(samples)
    path = Path(folder) if folder is not None else analysis.run_folder
    claim, teller = RunFolder(path, store or analysis.store).claim(_manifest(analysis)), reporter or _Silent()
    options = {"batch": path if batch else None, "detach": detach, "chunks_per_job": chunks_per_job}
    with claim as (run_folder, ledger), _opened(executor, on, workers, options) as runner:
        run_folder.clean()
        _check(analysis := placed(analysis, runner.storage), runner, run_folder, teller)
        refresh = CredentialRefresh(runner, teller.warn, needs_credentials(analysis, run_folder.store))
        state = State(analysis, run_folder, ledger, runner, teller, refresh, recipes_of(analysis), selected, *allowed,
                      cache, export, chunk_timeout or 0.0)  # fmt: skip
        _run_steps(state, chosen)
    _complain(state, run_folder)
    return Run(run_folder.path)


def _check_executor(
    executor: Executor | None, on: str, workers: int | None, seconds: float | None, **options: Any
) -> None:
    if seconds is not None and seconds <= 0:
        raise ConfigError(f"no chunk can run in {seconds:g} s; give a positive chunk_timeout")
    if executor is None:
        check_options(on, workers, **options)
    elif any(value is not None and value is not False for value in options.values()):
        raise ConfigError("batch, detach and chunks_per_job are options of the executor; give them to portico.connect")


def _run_steps(state: State, steps: Iterable[StepEntry]) -> None:
    """Run steps, and keep what the results were before and are after."""
    ledger, began = state.ledger, time.time()
    with ledger.transaction():
        ledger.keep_version()  # what a driver that was killed has left
        ledger.set_wanted(state.recipes)
    try:
        for step in steps:
            _go_on(state, partial(run_step, state, state.analysis.steps.index(step), step))
        _go_on(state, partial(_tell_stale, state))
        if state.export:  # not for each fill of a session: it reads all results of data
            _tell_unused_blinds(state)
    finally:
        ledger.check()  # files on their way may be those of a driver that has taken the folder over
        state.folder.clean()
        ledger.keep_version()
    _keep_own_report(state, began)
    if ledger.has_older():
        prune(state.folder, ledger)


def _go_on(state: State, work: Callable[[], None]) -> None:
    """Do a piece of work; if the executor is lost meanwhile and can be started again, do what is left of it then."""
    while True:
        before = state.losses
        try:
            work()
        except WorkerError:
            if not state.executor.lost or not state.executor.renew(state.reporter.warn):
                raise
            state.losses = before
        else:
            return


@contextmanager
def _opened(executor: Executor | None, on: str, workers: int | None, options: dict[str, Any]) -> Iterator[Executor]:
    """Open an executor unless one is given; an interrupt gets a note about batch jobs that go on."""
    with ExitStack() as stack:
        if executor is None:
            executor = stack.enter_context(closing(connect(on, workers, **options)))
        try:
            yield executor
        except KeyboardInterrupt as interrupt:
            if words := executor.farewell():
                interrupt.add_note(words)
            raise


def _keep_own_report(state: State, began: float) -> None:
    """Write the executor's own report, if there is one, or note why it is missing."""
    if not state.export:
        return
    path, why = state.folder.path / OWN_REPORT, ""
    try:
        content = state.executor.own_report(began)
    except (MissingExtra, WorkerError) as error:
        content, why = None, str(error)
    if content is not None:
        with write_atomic(path) as aside:
            aside.write_text(content, encoding="utf-8")
    if content is not None or why:
        state.ledger.set_about({OWN_REPORT: why})


def _tell_stale(state: State) -> None:
    """Warn of results that the chosen steps and samples have left behind, and label their files."""
    stale, known = state.ledger.stale(), {step.name for step in state.analysis.steps}
    for step, kind, *_ in state.ledger.steps():
        if kind != "summary":
            write_exports(state, step)
        names = [sample for other, sample in sorted(stale) if other == step]
        if names and step not in known:
            state.reporter.warn(f"step '{step}' is not in the analysis any more; its results stay, as {STALE}")
        elif names:
            which = "".join(f", '{name}'" for name in names if name != SUMMARY)
            state.reporter.warn(f"step '{step}'{which}: {STALE} or input than those of now; {LEFT_BEHIND}")


def _tell_unused_blinds(state: State) -> None:
    """Warn of patterns of blinded products that are those of no histogram of data, as with an error of spelling."""
    kinds = {step: kind for step, kind, *_ in state.ledger.steps()}
    steps = [step.name for step in state.analysis.steps if kinds.get(step.name) != "summary"]
    keys = {step: state.ledger.result_keys(step) for step in steps} if state.analysis.blind else {}
    if not keys or not all(keys.values()):  # a step that has not run may have them
        return
    data = {name for name, sample in state.analysis.dataset.samples.items() if sample.kind == "data"}
    names: set[str] = set()
    for step, of_step in keys.items():
        for sample in data & of_step.keys():
            if (blob := state.ledger.result(step, sample, of_step[sample])) is None:
                return
            products = decode(blob)
            names |= {p.meta.get("variation", [name])[0] for name, p in products.items() if KINDS[p.kind].bins}
    for pattern in state.analysis.blind:
        if names and not any(fnmatchcase(name, pattern) for name in names):
            what = f"blind: '{pattern}' is the name of no histogram of data and hides nothing"
            state.reporter.warn(f"{what}; {nearest(pattern, names)}")


def _complain(state: State, run_folder: RunFolder) -> None:
    if not state.failures or state.allow_partial:
        return
    kind = InputError if any(kind.is_of_the_file for kind, _ in state.failures) else WorkerError
    shown = [text for _, text in state.failures[:_SHOWN]]
    more = [f"... and {len(state.failures) - _SHOWN} more; see: portico status {run_folder.path}"]
    raise kind("\n".join(shown + more * (len(state.failures) > _SHOWN)))


def _check(analysis: Analysis, executor: Executor, run_folder: RunFolder, reporter: Reporter) -> None:
    """Look at what can be seen at once: what cannot work stops the run before it begins."""
    if executor.dashboard:
        reporter.note(f"Dask dashboard: {executor.dashboard}")
    for note in run_folder.notes:
        reporter.warn(note)
    found = quick_check(analysis, executor, run_folder.path, run_folder.store)
    for finding in found:
        if finding.level == "warning":
            reporter.warn(str(finding))
    if errors := [str(finding) for finding in found if finding.level == "error"]:
        raise PorticoError("\n".join(errors))


def _manifest(analysis: Analysis) -> dict[str, Any]:
    return {
        "analysis": analysis.name,
        "file": str(analysis.path),
        "portico": __version__,
        "ROOT": root.version(),
        "python": platform.python_version(),
        "samples": {name: sample.kind for name, sample in analysis.dataset.samples.items()},
        "blind": analysis.blind,
        "plot": analysis.plot.model_dump(exclude_defaults=True),
        "needs": {step.name: list(dict.fromkeys(step.after)) for step in analysis.steps},
    }
