"""Checks that find the problems of a run before it starts."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from portico.analysis.analysis import Analysis
from portico.analysis.placed import placed
from portico.clusters.site import find_site
from portico.doctor import access, credentials, machines
from portico.doctor.facts import Facts, ask_cluster, gather, wait_for_workers
from portico.doctor.finding import Finding, error
from portico.environment.credentials import Credentials, find_credentials, needs_credentials
from portico.environment.probe import describe
from portico.errors import ConfigError, PorticoError
from portico.executors.base import Executor
from portico.executors.trust import may_send
from portico.executors.where import connect, site_at
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
    """Check everything that a run needs, in the same way as the run will use it.

    Parameters
    ----------
    analysis : Analysis, optional
        Without one, check only what every run needs.
    on : str
        Where the run will go, as for `portico.run`.
    workers : int, optional
        Number of workers; on a site, the maximum.
    folder : str or Path, optional
        The run folder; ``runs/NAME`` by default.
    store : str, optional
        Folder or URL under which trees are written; that of the analysis by default, else the run folder.
    patience : float
        Seconds to wait for a first worker.
    tell : callable
        Called with the name of each check before it starts.

    Yields
    ------
    Finding
        In order, including checks without a problem.

    Raises
    ------
    ConfigError
        If ``on`` is not a known site or address.
    """
    folder = Path(folder or (Path("runs") / analysis.name if analysis else ""))
    store = store or (analysis.store if analysis else None)
    needed = analysis is not None and needs_credentials(analysis, store)
    tell("credentials")
    yield from credentials.check(needed)
    if analysis is not None:
        yield from (*_missing_extra(analysis), *access.writable(folder))
    tell(f"workers of {on}")
    try:
        with closing(connect(on, workers)) as executor:
            wait_for_workers(executor, patience)
            facts = replace(gather(executor), site_file=str(find_site(on)) if site_at(on) is not None else "")
            for check in machines.CHECKS:
                yield from check(facts)
            if facts.workers and analysis is not None:
                shipped = find_credentials() if needed else Credentials()
                yield from _access(executor, placed(analysis, executor.storage), folder, store, shipped, tell)
    except ConfigError:
        raise
    except PorticoError as failure:
        yield error("workers", str(failure), "nothing can run", "correct this, then run portico doctor again")


def _access(
    executor: Executor, analysis: Analysis, folder: Path, store: str | None, shipped: Credentials,
    tell: Callable[[str], None],
) -> Iterator[Finding]:  # fmt: skip
    if store is None or any(step.files for step in analysis.steps):
        tell("the run folder")
        yield from access.shared_folder(executor, folder)
    if shipped.files:
        yield from credentials.unencrypted(executor)
        if may_send(executor):
            executor.send_credentials(shipped)
    tell("the samples")
    unread = yield from access.samples(executor, analysis)
    if store is not None:
        tell("the store")
        yield from access.store(executor, store) if is_remote(store) else access.shared_folder(executor, Path(store))
    tell("the code of the steps")  # last: a header that does not compile would be sent again with each later probe
    broken = yield from access.code(executor, analysis)
    tell("the steps on their input")
    yield from access.steps(analysis, folder, unread, broken)


def quick_check(analysis: Analysis, executor: Executor, folder: Path, store: str | None = None) -> list[Finding]:
    """Make the checks that need no worker, in less than half a second.

    Parameters
    ----------
    analysis : Analysis
        The analysis to run.
    executor : Executor
        An open executor.
    folder : Path
        The run folder.
    store : str, optional
        Folder or URL under which trees are written, if not in the run folder.

    Returns
    -------
    list of Finding
        Errors and warnings only.
    """
    found = [*_missing_extra(analysis), *access.writable(folder)]
    if needs_credentials(analysis, store):
        shipped = find_credentials()
        found += credentials.expired(shipped)
        found += credentials.unencrypted(executor) if shipped.files else ()
    cluster, threads = ask_cluster(executor)
    facts = Facts(describe(folder), cluster=cluster, threads=threads)
    found += [*machines.versions(facts), *machines.threads(facts)]
    return [finding for finding in found if finding.level != "ok"]


def _missing_extra(analysis: Analysis) -> Iterator[Finding]:
    remote = [file for file in _files(analysis) if file.startswith(("root://", "roots://"))]
    if remote and importlib.util.find_spec("fsspec_xrootd") is None:
        yield error("XRootD", f"{remote[0]} cannot be read: the extra 'xrootd' is not installed",
                    "files are read on this machine to cut them into chunks",
                    "pip install 'portico-hep[xrootd]'")  # fmt: skip


def _files(analysis: Analysis) -> Iterable[str]:
    return (file for sample in analysis.dataset.samples.values() for file in sample.files)
