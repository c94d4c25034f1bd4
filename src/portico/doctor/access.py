"""Checks of access: to the run folder, the code of the steps, the files of the samples and the store."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from portico.analysis.analysis import Analysis
from portico.doctor.facts import ask_one
from portico.doctor.finding import Finding, error, grouped, named, ok, warning
from portico.doctor.machines import NO_DISK, SCARCE_DISK
from portico.environment.probe import free
from portico.errors import PorticoError
from portico.executors.base import Executor
from portico.monitor.units import size
from portico.runfolder.folder import RunFolder
from portico.workflow.checks import check
from portico.workflow.dry_run import reading
from portico.workflow.plan import bundle_of

__all__ = ["code", "samples", "shared_folder", "steps", "store", "writable"]

_DRIVERS_FILE = "driver"
_NO_SERVER = "no server answers at"
_PATIENCE = 5.0
_SHARE = "choose with --run a folder on a disk that workers and this machine share"
_ROOT_ERROR = re.compile(r"^(?:Sys)?Error in <[^>]+>: (.+)$", re.MULTILINE)


def _nearest_folder(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    path = folder.absolute()
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def writable(folder: Path) -> Iterator[Finding]:
    """Check whether this process can write to the run folder, and whether there is space."""
    nearest = _nearest_folder(folder)
    why, fix = "results and the trees of steps are written there", "choose another folder with --run"
    if not os.access(nearest, os.W_OK):
        yield error("run folder", f"{nearest}: no permission to write", why, fix)
    elif 0 <= (left := free(nearest)) < SCARCE_DISK:
        make = error if left < NO_DISK else warning
        yield make("run folder", f"{nearest}: {size(left)} free", why, f"free some space, or {fix}")


def shared_folder(executor: Executor, folder: Path) -> Iterator[Finding]:
    """Check that every worker sees the files that this machine writes into the folder, and the reverse."""
    nearest = _nearest_folder(folder)
    why = "workers write the trees of steps there, and read those of earlier steps"
    try:
        with _scratch(nearest) as shared:
            (shared / _DRIVERS_FILE).touch()
            answers = executor.call_all({"op": "probe", "shared": [str(shared), _DRIVERS_FILE]})
            problems = {
                name: answer["message"] if "failed" in answer else answer["probe"]["shared"]["problem"]
                for name, answer in answers.items()
            }
            wrote = {n: answers[n]["probe"]["shared"]["wrote"] for n, problem in problems.items() if not problem}
            unseen = _unseen(shared, wrote)
    except OSError as failure:
        yield error("run folder", f"{nearest}: cannot write to it: {failure.strerror}", why,
                    "choose another folder with --run")  # fmt: skip
        return
    problems |= dict.fromkeys(unseen, "files written there do not appear here")
    bad = {name: problem for name, problem in problems.items() if problem}
    for problem, workers in grouped(bad).items():
        yield error("run folder", f"{nearest}, on {named(workers)}: {problem}", why, _SHARE)
    if not bad:
        yield ok("run folder", f"{nearest}: shared by this machine and the workers")


def _unseen(shared: Path, wrote: dict[str, str]) -> list[str]:
    """Return the workers whose file has not appeared, which may take a moment on a network disk."""
    end = time.monotonic() + _PATIENCE
    while missing := [name for name, file in wrote.items() if not (shared / file).exists()]:
        if time.monotonic() > end:
            return missing
        time.sleep(0.2)
    return []


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Make a temporary folder with the permissions of an ordinary one, and remove it at the end."""
    path = folder / f".portico-doctor-{uuid4().hex}"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def code(executor: Executor, analysis: Analysis) -> Generator[Finding, None, set[str]]:
    """Check on every worker that the headers of each step compile and that its modules can be imported.

    Returns
    -------
    set of str
        The names of the steps for which this is not so.
    """
    why, fine = "no chunk of this step can run", []
    for step in analysis.steps:
        where = f"step '{step.name}'"
        try:
            bundle = bundle_of(analysis, step)
            executor.prepare(bundle.with_library())
        except PorticoError as failure:
            yield error("code", f"{where}: {failure}", why, "correct the code")
            continue
        answers = executor.call_all({"op": "probe", "function": step.function})
        failed = {name: answer["message"] for name, answer in answers.items() if "failed" in answer}
        for message, workers in grouped(failed).items():
            fix = "correct the code, or install on the workers what is missing there"
            yield error("code", f"{where}, on {named(workers)}: {message}", why, fix)
        if not failed:
            fine.append((step.name, len(bundle.headers)))
    if fine:
        headers = sum(count for _, count in fine)
        compiled = f", and {headers} C++ header{'' if headers == 1 else 's'} compile" if headers else ""
        yield ok("code", f"steps {', '.join(name for name, _ in fine)}: every worker imports the modules{compiled}")
    return {step.name for step in analysis.steps} - {name for name, _ in fine}


def steps(analysis: Analysis, folder: Path, bad_samples: Set[str], bad_steps: Set[str]) -> Iterator[Finding]:
    """Build each step over no entries, in a process of this machine.

    Parameters
    ----------
    analysis : Analysis
        Its steps.
    folder : Path
        The run folder.
    bad_samples, bad_steps : set of str
        Those of which is known that they cannot be read, or imported.
    """
    good = [name for name in analysis.dataset.samples if name not in bad_samples]
    if not good:
        return
    try:
        with reading(RunFolder(folder), analysis.name) as ledger:
            found = check(analysis, RunFolder(folder), ledger, samples=good)
    except PorticoError as failure:
        yield error("run folder", str(failure), "the run would not start", "choose another folder with --run")
        return
    for problem in found.problems:
        if problem.step in bad_steps:
            continue
        if problem.level == "warning":
            yield warning("steps", str(problem), "events may count twice", "remove one of them, if so")
        else:
            yield error("steps", str(problem), "the run would fail", "correct the step, its options or its input")
    if not found.errors:
        but = f"; not checked: {'; '.join(found.unchecked)}" if found.unchecked else ""
        yield ok("steps", f"every step can be built on its input{but}")


def samples(executor: Executor, analysis: Analysis) -> Generator[Finding, None, set[str]]:
    """Read the first file of every sample: its first bytes on every worker if it is local, its tree on one worker.

    Returns
    -------
    set of str
        The names of the samples that cannot be read.
    """
    first = {name: (s.reads(s.files[0])[0], s.tree) for name, s in analysis.dataset.samples.items() if s.files}
    bad = _unreadable(executor, first)
    dead: set[str] = set()
    for name, (file, tree) in first.items():
        server = urlsplit(file).netloc
        if name in bad:
            continue
        bad[name] = f"{_NO_SERVER} {server}" if server in dead else _read(executor, file, tree)
        if bad[name].startswith(_NO_SERVER):
            bad[name] = f"{_NO_SERVER} {server}"
            dead.add(server)
    for problem, names in grouped(bad).items():
        if problem:
            what = f"sample{'s' * (len(names) > 1)} {named(names)}, {first[names[0]][0]}: {problem}"
            fix = "check the path, the mount or the server, and the credentials"
            yield error("samples", what, "its chunks will fail", fix)
    good = sum(not problem for problem in bad.values())
    if good:
        yield ok("samples", f"workers can read the first file of {good} of {len(first)} samples")
    return {name for name, problem in bad.items() if problem}


def _unreadable(executor: Executor, first: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Return the samples whose local file some workers cannot read: why, and which workers."""
    local = {name: file for name, (file, _) in first.items() if "://" not in file}
    answers = executor.call_all({"op": "probe", "readable": list(local.values())})
    problems = {name: answer["probe"]["readable"] for name, answer in answers.items() if "failed" not in answer}
    bad: dict[str, str] = {}
    for name, file in local.items():
        where = grouped({worker: files[file] for worker, files in problems.items() if file in files})
        if where:
            bad[name] = "; ".join(f"{problem} on {named(workers)}" for problem, workers in where.items())
    return bad


def _read(executor: Executor, file: str, tree: str) -> str:
    answer = ask_one(executor, {"op": "probe", "read": [file, tree]})
    problem: str = answer["message"] if "failed" in answer else answer["probe"]["read"]
    logged = _ROOT_ERROR.search(answer.get("log", ""))
    return f"{problem}; ROOT says: {logged[1].strip()}" if problem and logged else problem


def store(executor: Executor, url: str) -> Iterator[Finding]:
    """Let a worker write a small file to the store and remove it."""
    answer = ask_one(executor, {"op": "probe", "store": f"{url.rstrip('/')}/.portico-doctor-{uuid4().hex}"})
    if problem := answer["message"] if "failed" in answer else answer["probe"]["store"]:
        why = "workers write the trees of steps there"
        what = problem if url in problem else f"{url}: {problem}"
        yield error("store", what, why, "choose another store, or renew the credentials")
    else:
        yield ok("store", f"{url}: workers can write there")
