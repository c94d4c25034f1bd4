"""What would go wrong in a run, told before it does."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from portico.analysis.analysis import Analysis
from portico.doctor import machines, reach, trust
from portico.doctor.facts import Facts, ask_cluster, gather, wait_for_workers
from portico.doctor.finding import Finding, error
from portico.environment.credentials import Credentials, find_credentials, needs_credentials
from portico.environment.probe import describe
from portico.errors import ConfigError, PorticoError
from portico.executors.base import Executor
from portico.executors.where import open_executor
from portico.files import is_remote

__all__ = ["Finding", "examine", "quick_check"]


def examine(
    analysis: Analysis | None = None,
    *,
    on: str = "local",
    workers: int | None = None,
    folder: str | Path | None = None,
    store: str | None = None,
    patience: float = 120.0,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Finding]:
    """Look at everything that a run will need, as it will need it.

    Parameters
    ----------
    analysis : Analysis, optional
        Without one, only what every run needs is looked at.
    on : str
        Where the run will go, as for `portico.run`.
    workers : int, optional
        How many; on a site, how many at most.
    folder : str or Path, optional
        The run folder; ``runs/NAME`` by default.
    store : str, optional
        Folder or URL under which trees are written; that of the analysis by default, else the run folder.
    patience : float
        Seconds to wait for a first worker.
    tell : callable
        Is told what is looked at next.

    Yields
    ------
    Finding
        In order; also what is well.

    Raises
    ------
    ConfigError
        If ``on`` names nothing.
    """
    place = Path(folder or (Path("runs") / analysis.name if analysis else ""))
    store = store or (analysis.store if analysis else None)
    needed = analysis is not None and needs_credentials(analysis, store)
    tell("credentials")
    yield from trust.credentials(needed)
    if analysis is not None:
        yield from (*_missing_extra(analysis), *reach.here(place))
    tell(f"workers of {on}")
    try:
        with closing(open_executor(on, workers)) as executor:
            wait_for_workers(executor, patience)
            facts = gather(executor)
            for check in machines.CHECKS:
                yield from check(facts)
            if facts.workers and analysis is not None:
                trusted = find_credentials() if needed else Credentials()
                yield from _reach(executor, analysis, place, store, trusted, tell)
    except ConfigError:
        raise
    except PorticoError as failure:
        yield error("workers", str(failure), "nothing can run", "make what it names work, and look again")


def _reach(
    executor: Executor, analysis: Analysis, folder: Path, store: str | None, trusted: Credentials,
    tell: Callable[[str], None],
) -> Iterator[Finding]:  # fmt: skip
    if store is None or any(step.files for step in analysis.steps):
        tell("the run folder")
        yield from reach.run_folder(executor, folder)
    if trusted.files:
        yield from trust.exposed(executor)
        executor.entrust(trusted)
    tell("the samples")
    yield from reach.samples(executor, analysis)
    if store is not None:
        tell("the store")
        yield from reach.store(executor, store) if is_remote(store) else reach.run_folder(executor, Path(store))
    tell("the code of the steps")  # last: what does not compile would be sent along with all that follows
    yield from reach.code(executor, analysis)


def quick_check(analysis: Analysis, executor: Executor, folder: Path, store: str | None = None) -> list[Finding]:
    """Look at what can be looked at before a run without asking a worker: in less than half a second.

    Parameters
    ----------
    analysis : Analysis
        What is to be run.
    executor : Executor
        An open one.
    folder : Path
        The run folder.
    store : str, optional
        Folder or URL under which trees are written, if not in the run folder.

    Returns
    -------
    list of Finding
        Errors and warnings only.
    """
    found = [*_missing_extra(analysis), *reach.here(folder)]
    if needs_credentials(analysis, store):
        found += trust.expired(find_credentials())
    cluster, threads = ask_cluster(executor)
    facts = Facts(describe(folder), cluster=cluster, threads=threads)
    found += [*machines.versions(facts), *machines.threads(facts)]
    return [finding for finding in found if finding.level != "ok"]


def _missing_extra(analysis: Analysis) -> Iterator[Finding]:
    remote = [file for file in _files(analysis) if file.startswith(("root://", "roots://"))]
    if remote and importlib.util.find_spec("fsspec_xrootd") is None:
        yield error("XRootD", f"{remote[0]} cannot be read: the extra 'xrootd' is not installed",
                    "files are looked into here before they are given to workers",
                    "pip install 'portico-hep[xrootd]'")  # fmt: skip


def _files(analysis: Analysis) -> Iterable[str]:
    return (file for sample in analysis.dataset.samples.values() for file in sample.files)


