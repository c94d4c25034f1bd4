"""Checks of what workers can reach: the run folder, the code of the steps, the files of the samples."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from portico.analysis.analysis import Analysis
from portico.doctor.finding import Finding, error, grouped, named, ok, warning
from portico.doctor.machines import NO_DISK, SCARCE_DISK
from portico.environment.probe import free
from portico.errors import PorticoError
from portico.executors.base import Executor
from portico.monitor.units import size
from portico.workflow.plan import bundle_of

__all__ = ["code", "here", "run_folder", "samples", "store"]

_DRIVERS_FILE = "driver"
_NO_SERVER = "no server answers at"
_PATIENCE = 5.0
_SHARE = "give --run a folder on a disk that workers and this machine share"
_ROOT_ERROR = re.compile(r"^(?:Sys)?Error in <[^>]+>: (.+)$", re.MULTILINE)


def _nearest_folder(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    path = folder.absolute()
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def here(folder: Path) -> Iterator[Finding]:
    """Say whether this process can write to the run folder, and whether there is space."""
    place = _nearest_folder(folder)
    why, fix = "results and the trees of steps are written there", "give another folder with --run"
    if not os.access(place, os.W_OK):
        yield error("run folder", f"{place}: cannot be written to", why, fix)
    elif 0 <= (left := free(place)) < SCARCE_DISK:
        make = error if left < NO_DISK else warning
        yield make("run folder", f"{place}: {size(left)} free", why, f"free space, or {fix}")


def run_folder(executor: Executor, folder: Path) -> Iterator[Finding]:
    """Have every worker see what is written here, and the other way round, where the run folder will be."""
    place = _nearest_folder(folder)
    why = "workers write the trees of steps there, and read those of earlier steps"
    try:
        with _scratch(place) as shared:
            (shared / _DRIVERS_FILE).touch()
            answers = executor.call_all({"op": "probe", "meet": [str(shared), _DRIVERS_FILE]})
            problems = {
                name: said["message"] if "failed" in said else said["probe"]["meet"]["problem"]
                for name, said in answers.items()
            }
            wrote = {n: answers[n]["probe"]["meet"]["wrote"] for n, problem in problems.items() if not problem}
            lost = _unseen(shared, wrote)
    except OSError as failure:
        yield error("run folder", f"{place}: cannot be written to: {failure.strerror}", why,
                    "give another folder with --run")  # fmt: skip
        return
    problems |= dict.fromkeys(lost, "what was written there is not seen here")
    bad = {name: problem for name, problem in problems.items() if problem}
    for problem, workers in grouped(bad).items():
        yield error("run folder", f"{place}, on {named(workers)}: {problem}", why, _SHARE)
    if not bad:
        yield ok("run folder", f"{place}: what is written here is seen by the workers, and the other way round")


def _unseen(shared: Path, wrote: dict[str, str]) -> list[str]:
    """Return the workers whose file has not come into sight, which on a network's disk may take a moment."""
    end = time.monotonic() + _PATIENCE
    while missing := [name for name, file in wrote.items() if not (shared / file).exists()]:
        if time.monotonic() > end:
            return missing
        time.sleep(0.2)
    return []


@contextmanager
def _scratch(place: Path) -> Iterator[Path]:
    """Make a folder that nobody else uses, with the permissions of an ordinary one, and remove it."""
    path = place / f".portico-doctor-{uuid4().hex}"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def code(executor: Executor, analysis: Analysis) -> Iterator[Finding]:
    """Send every step to every worker: its headers compile and its modules can be imported there."""
    why, fine = "no chunk of this step can run", []
    for step in analysis.steps:
        where = f"step '{step.name}'"
        try:
            bundle = bundle_of(analysis, step)
            executor.prepare(bundle)
        except PorticoError as failure:
            yield error("code", f"{where}: {failure}", why, "correct it")
            continue
        answers = executor.call_all({"op": "probe", "function": step.function})
        failed = {name: said["message"] for name, said in answers.items() if "failed" in said}
        for message, workers in grouped(failed).items():
            fix = "correct it; what is only missing on a worker must be installed there"
            yield error("code", f"{where}, on {named(workers)}: {message}", why, fix)
        if not failed:
            fine.append((step.name, len(bundle.headers)))
    if fine:
        headers = sum(count for _, count in fine)
        compiled = f", and {headers} C++ header{'' if headers == 1 else 's'} compile" if headers else ""
        yield ok("code", f"steps {', '.join(name for name, _ in fine)}: modules are imported on every worker{compiled}")


def samples(executor: Executor, analysis: Analysis) -> Iterator[Finding]:
    """Read the first file of every sample: its beginning on every worker if it is local, its tree with ROOT on one."""
    first = {name: (s.files[0], s.tree) for name, s in analysis.dataset.samples.items() if s.files}
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
        yield ok("samples", f"the first file of {good} of {len(first)} samples is read by workers")


def _unreadable(executor: Executor, first: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Return the samples whose local file cannot be read everywhere: why, and on which workers."""
    local = {name: file for name, (file, _) in first.items() if "://" not in file}
    answers = executor.call_all({"op": "probe", "readable": list(local.values())})
    told = {name: said["probe"]["readable"] for name, said in answers.items() if "failed" not in said}
    bad: dict[str, str] = {}
    for name, file in local.items():
        where = grouped({worker: files[file] for worker, files in told.items() if file in files})
        if where:
            bad[name] = "; ".join(f"{problem} on {named(workers)}" for problem, workers in where.items())
    return bad


def _read(executor: Executor, file: str, tree: str) -> str:
    said, _ = executor.call({"op": "probe", "read": [file, tree]}, [])
    problem: str = said["message"] if "failed" in said else said["probe"]["read"]
    told = _ROOT_ERROR.search(said.get("log", ""))
    return f"{problem}; ROOT says: {told[1].strip()}" if problem and told else problem


def store(executor: Executor, url: str) -> Iterator[Finding]:
    """Have a worker write a small file to the store, and remove it."""
    said, _ = executor.call({"op": "probe", "store": f"{url.rstrip('/')}/.portico-doctor-{uuid4().hex}"}, [])
    if problem := said["message"] if "failed" in said else said["probe"]["store"]:
        why = "workers write the trees of steps there"
        what = problem if url in problem else f"{url}: {problem}"
        yield error("store", what, why, "give another place, or renew the credentials")
    else:
        yield ok("store", f"{url}: workers write there")
