"""An analysis from its first step to its last, on one executor, in one run folder."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from portico._version import __version__
from portico.analysis.analysis import Analysis, StepEntry
from portico.doctor import quick_check
from portico.environment.credentials import needs_credentials
from portico.errors import ConfigError, InputError, PorticoError, WorkerError, nearest
from portico.executors.base import Executor
from portico.executors.where import open_executor
from portico.runfolder.folder import RunFolder
from portico.runfolder.load import Run
from portico.workflow.chunk_loop import Reporter
from portico.workflow.credential_refresh import CredentialRefresh
from portico.workflow.plan import root_version, unblinded
from portico.workflow.state import State
from portico.workflow.step_runner import run_step

__all__ = ["connect", "run"]

_SHOWN = 10  # failures told at the end; the ledger has them all


class _Silent:
    """A reporter that shows nothing."""

    def begin(self, step: str, entries: Mapping[str, int], done: Mapping[str, int], workers: int) -> None: ...
    def advance(self, sample: str, entries: int) -> None: ...
    def warn(self, message: str) -> None: ...
    def end(self, step: str, state: str, seconds: float, ran: int) -> None: ...


def run(
    analysis: Analysis,
    *,
    folder: str | Path | None = None,
    on: str = "local",
    workers: int | None = None,
    batch: bool = False,
    steps: Iterable[str] = (),
    samples: Iterable[str] = (),
    allow_partial: bool = False,
    unblind: bool = False,
    store: str | None = None,
    reporter: Reporter | None = None,
    executor: Executor | None = None,
) -> Run:
    """Run an analysis; what is done already is not done again.

    Parameters
    ----------
    analysis : Analysis
        From `portico.load_analysis`.
    folder : str or Path, optional
        The run folder; ``runs/NAME`` by default.
    on, workers, batch
        As in `connect`.
    steps, samples : iterable of str
        Run only these; ``*`` in the name of a sample stands for any letters.
    allow_partial, unblind : bool
        Go on without chunks that cannot be read, the run is then partial; show and fit data also where they are hidden.
    store : str, optional
        Folder or URL where trees are written, such as ``root://host//store/user/me/run``; the run folder by default.
    reporter : Reporter, optional
        Is told about progress.
    executor : Executor, optional
        An open one, of `connect`, which stays open, instead of ``on``, ``workers`` and ``batch``.

    Raises
    ------
    PorticoError
        One of its kinds, see `portico.errors`. Whatever was finished before is kept.
    """
    analysis = unblinded(analysis) if unblind else analysis
    chosen, selected = _choose(analysis, tuple(steps)), analysis.dataset.matching(samples)
    path = Path(folder) if folder is not None else Path("runs") / analysis.name
    place, teller = RunFolder(path, store or analysis.store), reporter or _Silent()
    with place.claim(_manifest(analysis)) as ledger, ExitStack() as opened:
        if executor is None:
            executor = opened.enter_context(closing(connect(on, workers, batch=path if batch else None)))
        place.clean()
        _check(analysis, executor, place, teller)
        credentials = CredentialRefresh(executor, teller.warn, needs_credentials(analysis, place.store))
        state = State(analysis, place, ledger, executor, on, teller, selected, allow_partial, credentials)
        try:
            for position, step in chosen:
                run_step(state, position, step)
        finally:
            place.clean()
    _complain(state, place)
    return Run(place.path)


def connect(on: str = "local", workers: int | None = None, *, batch: str | Path | None = None) -> Executor:
    """Open what runs chunks, for several runs one after the other; close it with its ``close()``.

    Parameters
    ----------
    on : str
        ``local``: processes of this machine; ``dask``: an own Dask cluster here; the address of a Dask scheduler;
        ``distrdf``: ROOT's own distributed RDataFrame; or a site, by its name or its file.
    workers : int, optional
        How many; all cores by default, on a site as many as it says.
    batch : str or Path, optional
        The run folder, for plain batch jobs of the site, which go on without this process.

    Raises
    ------
    ConfigError
        If ``on`` names nothing.
    WorkerError
        If what it names does not answer.
    """
    if batch is None:
        return open_executor(on, workers)
    from portico.executors.batch import open_batch

    return open_batch(on, Path(batch), workers=workers)


def _complain(state: State, place: RunFolder) -> None:
    if not state.failures or state.allow_partial:
        return
    kind = InputError if any(kind in {"input", "transient"} for kind, _ in state.failures) else WorkerError
    shown = [text for _, text in state.failures[:_SHOWN]]
    more = [f"... and {len(state.failures) - _SHOWN} more; see: portico status {place.path}"]
    raise kind("\n".join(shown + more * (len(state.failures) > _SHOWN)))


def _check(analysis: Analysis, executor: Executor, place: RunFolder, reporter: Reporter) -> None:
    """Look at what can be seen at once: what cannot work stops the run before it begins."""
    found = quick_check(analysis, executor, place.path, place.store)
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
        "ROOT": root_version(),
        "python": platform.python_version(),
        "samples": {name: sample.kind for name, sample in analysis.dataset.samples.items()},
        "blind": analysis.blind,
    }


def _choose(analysis: Analysis, names: Sequence[str]) -> list[tuple[int, StepEntry]]:
    valid = [step.name for step in analysis.steps]
    for name in names:
        if name not in valid:
            raise ConfigError(f"{analysis.path}: no step '{name}'; {nearest(name, valid)}")
    return [(i, step) for i, step in enumerate(analysis.steps) if not names or step.name in names]
