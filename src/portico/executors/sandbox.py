"""A batch job that shares no disk with the driver: it has all it needs in its own folder, and leaves its results there.

The batch system starts it as ``python -P -m portico.executors.sandbox PLACE NUMBER``. PLACE is ``.`` if HTCondor
transfers files to and from the current folder. Else it is the URL with which the names of the submission's files in a
store begin, and each result is sent there at once.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from portico.clusters.queues.submission import CREDENTIALS, OUTCOME
from portico.environment.credentials import install
from portico.environment.scratch import Scratch
from portico.executors.job import (
    BUNDLE,
    MEMORY_SHARE,
    end,
    read_bundle,
    read_credentials,
    read_outcome,
    write_outcome,
)  # fmt: skip
from portico.files import is_remote
from portico.files.atomic import write_atomic
from portico.files.storage import storage_of
from portico.runfolder.tidy import HIDDEN
from portico.worker.process import RunnerProcess
from portico.worker.task import Done, Failed, Outcome, Task

__all__ = ["NOTE", "TASKS", "encode_secrets", "run_here"]

TASKS, NOTE = "tasks.json", "note.json"
"""Names of the tasks, and of the note on what the job does."""

_MARGIN = 0.9
"""Of the walltime, after which no chunk begins: results come back only if the job ends by itself."""

_NEWER = 10.0
"""Seconds, more than the resolution of the times that HTCondor compares."""

Send = Callable[[Path], None]


def run_here(folder: Path, number: int, send: Send = lambda _: None) -> None:
    """Run the chunks of a job that have no outcome yet.

    A job that was evicted and starts again finds the outcomes and trees that it had.

    Parameters
    ----------
    folder : Path
        With what `portico.executors.transfer.pack` made for this job.
    number : int
        Of the job.
    send : callable
        Takes each file that is to be seen before the job ends.
    """
    content = json.loads((folder / TASKS).read_text(encoding="utf-8"))
    tasks = [Task.from_json(task) for task in content["tasks"]]
    done = _done(folder, tasks)
    began, longest = time.time(), 0.0
    note = {"host": socket.gethostname(), "process": os.getpid(), "began": began, "number": number}
    _write(folder / NOTE, note)
    send(folder / NOTE)
    runner = RunnerProcess(int(MEMORY_SHARE * content["memory"]))
    stopped = False
    try:
        runner.use(read_bundle(folder))
        for task in tasks:
            if task.key in done:
                continue
            since = time.time()
            stopped = longest > 0 and since - began + longest > _MARGIN * content["seconds"]
            if stopped:
                break
            _write(folder / NOTE, {**note, "task": task.key, "since": since})
            runner.use_credentials(read_credentials(folder / CREDENTIALS))
            runner.start(_local(task, folder, content["files"]))
            outcome = _named(replace(runner.outcome(), task=task), folder, content["files"])
            write_outcome(folder / f"{OUTCOME}{task.key}", outcome)
            send(folder / f"{OUTCOME}{task.key}")
            longest = max(longest, time.time() - since)
        _write(folder / NOTE, {**note, "ended": time.time(), "stopped": stopped})
        send(folder / NOTE)
    finally:
        runner.stop()


def _done(folder: Path, tasks: list[Task]) -> set[str]:
    """Return the keys of the chunks that an earlier start of this job finished, and remove what it left half done."""
    done, trees = set(), set()
    for task in tasks:
        with suppress(FileNotFoundError):
            outcome = read_outcome(folder / f"{OUTCOME}{task.key}", task)
            names = {str(file["path"]).rpartition("/")[2] for file in getattr(outcome, "files", ())}
            here = isinstance(outcome, Done) and (is_remote(task.folder) or all((folder / n).exists() for n in names))
            if here:
                done.add(task.key)
                trees |= names
            else:
                (folder / f"{OUTCOME}{task.key}").unlink()
    for path in folder.iterdir():
        if HIDDEN.fullmatch(path.name) and path.name not in trees and path.is_file():
            path.unlink()
    later = time.time() + _NEWER
    for name in (*trees, *(f"{OUTCOME}{key}" for key in done)):
        if (folder / name).exists():
            os.utime(folder / name, (later, later))  # HTCondor brings back only what is new since the job began
    return done


def _local(task: Task, folder: Path, files: Mapping[str, str]) -> Task:
    """Return a task that reads transferred files, and writes trees where they are transferred from."""

    def at(path: str) -> str:
        return str(folder / files[path]) if path in files else path

    moved = replace(
        task, chunk=replace(task.chunk, file=at(task.chunk.file)), reference=at(task.reference),
        friends=tuple(map(at, task.friends)), source="" if task.chunk.file in files else task.source,
    )  # fmt: skip
    return moved if is_remote(task.folder) else replace(moved, folder=str(folder))


def _named(outcome: Outcome, folder: Path, files: Mapping[str, str]) -> Outcome:
    """Return an outcome whose words name the user's files, not their copies."""

    def told(text: str) -> str:
        for path, name in files.items():
            text = text.replace(str(folder / name), path)
        return text

    if isinstance(outcome, Failed):
        return replace(outcome, message=told(outcome.message), log=told(outcome.log))
    return replace(outcome, warnings=tuple(map(told, outcome.warnings)))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with write_atomic(path) as aside:
        aside.write_text(json.dumps(content), encoding="utf-8")


def encode_secrets(files: Mapping[str, bytes]) -> str:
    """Return credentials as the text that a job reads from its standard input; empty if there are none."""
    content = {name: base64.b64encode(value).decode() for name, value in files.items()}
    return json.dumps(content) if files else ""


def _run_from_store(url: str, number: int) -> None:
    """Fetch what the job needs from the store, and send each result there."""
    scratch = Scratch()
    _have_a_home(scratch.path)
    try:
        text = "" if sys.stdin.isatty() else sys.stdin.read()
        secrets = {name: base64.b64decode(value) for name, value in json.loads(text or "{}").items()}
        place, own = scratch.path / "job", scratch.path / "own"
        for folder in (place, own, place / CREDENTIALS):
            folder.mkdir()
        install(secrets, own)
        for name, value in secrets.items():
            (place / CREDENTIALS / name).write_bytes(value)
        storage = storage_of(url)
        for name, there in (*((name, name) for name in BUNDLE), (TASKS, f"{number}.{TASKS}")):
            storage.fetch(f"{url}.{there}", place / name)

        def send(path: Path) -> None:
            name = f"{url}.{number}.{NOTE}" if path.name == NOTE else f"{url}.{path.name}"
            aside = f"{url}.{number}.part"
            storage.write(aside, path)
            storage.rename(aside, name)

        run_here(place, number, send)
    finally:
        scratch.close()


def main() -> None:
    """Run the job that the command line names."""
    signal.signal(signal.SIGTERM, end)
    place, number = sys.argv[1], int(sys.argv[2])
    if is_remote(place):
        _run_from_store(place, number)
    else:
        _have_a_home(Path(place).resolve())
        run_here(Path(place).resolve(), number)


def _have_a_home(folder: Path) -> None:
    """Have ROOT and libraries write to a folder that exists: the user's home need not be on this machine."""
    if not os.access(Path("~").expanduser(), os.W_OK):
        os.environ["HOME"] = str(folder)


if __name__ == "__main__":
    main()
