"""A batch job, which runs its chunks one after the other and writes the outcome of each, without a connection.

It is started by the batch system as ``python -P -m portico.executors.job FOLDER NUMBER``; FOLDER is that of a
`portico.clusters.queues.submission.Submission`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from portico.clusters.queues.submission import CREDENTIALS, Submission
from portico.environment.bundle import Bundle
from portico.environment.credentials import Credentials
from portico.files.atomic import write_atomic
from portico.step import Needs
from portico.worker.process import RunnerProcess
from portico.worker.task import Failed, FailureKind, Outcome, Task, outcome_of
from portico.worker.wire import receive, send

__all__ = [
    "BUNDLE", "MEMORY_SHARE", "end", "read_bundle", "read_credentials", "read_outcome", "run_job",
    "write_bundle", "write_outcome",
]  # fmt: skip

MEMORY_SHARE = 0.9
"""Of a job's memory, what the process that runs chunks may use: it is ended before the batch system ends the job."""
BUNDLE = ("bundle.json", "bundle.zip")
_DIGEST_BYTES = hashlib.sha256().digest_size


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Write an outcome, whole or not at all, with a checksum before it.

    Raises
    ------
    SpaceError
        If the disk is full.
    """
    content, blobs = outcome.to_answer()
    buffer = io.BytesIO()
    send(buffer, {"key": outcome.task.key, **content}, blobs)
    with write_atomic(path) as aside:
        aside.write_bytes(hashlib.sha256(buffer.getbuffer()).digest() + buffer.getbuffer())


def read_outcome(path: Path, task: Task) -> Outcome:
    """Read the outcome of a task; one that is damaged or of another task is a lost one.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    written = path.read_bytes()
    digest, message = written[:_DIGEST_BYTES], written[_DIGEST_BYTES:]
    if hashlib.sha256(message).digest() != digest:
        damage = f"its result {path} is damaged: {len(written):,} bytes with a wrong checksum"
        return Failed(task, FailureKind.LOST, damage)
    content, blobs = receive(io.BytesIO(message))
    if content["key"] != task.key:
        return Failed(task, FailureKind.LOST, f"its result {path} belongs to another chunk")
    return outcome_of(task, (content, blobs))


def write_bundle(folder: Path, bundle: Bundle) -> None:
    """Write a bundle for the jobs."""
    described, archive = (folder / name for name in BUNDLE)
    archive.write_bytes(bundle.archive)
    described.write_text(json.dumps(bundle.describe()), encoding="utf-8")


def read_bundle(folder: Path) -> Bundle:
    """Read what `write_bundle` wrote."""
    described, archive = (folder / name for name in BUNDLE)
    content = json.loads(described.read_text(encoding="utf-8"))
    members = {name: Path(path) for name, path in content["origins"].items()}
    digest = content["digest"]
    return Bundle(
        content["function"], Needs.from_json(content["needs"]), (), members, content["headers"], digest, digest,
        archive.read_bytes(), content["included"], content["spelled"], content["variables"], content["sources"],
        content["library"],
    )  # fmt: skip


def read_credentials(folder: Path) -> Credentials:
    """Read what the driver left, anew before each chunk: it may have been renewed."""
    if not folder.is_dir():
        return Credentials()
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return Credentials({path.name: path.read_bytes() for path in paths})


def run_job(folder: Path, number: int) -> None:
    """Run the chunks of a job that have no outcome yet.

    Parameters
    ----------
    folder : Path
        Of the submission.
    number : int
        Of the job in it, from 0.
    """
    submission = Submission.read(folder)
    if submission is None:
        raise SystemExit(f"{folder}: no submission of portico; were the jobs cancelled?")
    tasks = [Task.from_json(task) for task in json.loads(submission.tasks(number).read_text(encoding="utf-8"))]
    note = {"host": socket.gethostname(), "process": os.getpid(), "began": time.time()}
    runner = RunnerProcess(int(MEMORY_SHARE * submission.site.memory_bytes))
    try:
        runner.use(read_bundle(folder))
        for task in tasks:
            path = submission.outcomes / task.key
            if path.exists():  # the batch system started this job a second time
                continue
            _write_note(submission.note(number), {**note, "task": task.key, "since": time.time()})
            runner.use_credentials(read_credentials(folder.parent / CREDENTIALS))
            runner.start(_aside(task, submission))
            write_outcome(path, replace(runner.outcome(), task=task))
        _write_note(submission.note(number), {**note, "ended": time.time()})
    finally:
        runner.stop()


def _aside(task: Task, submission: Submission) -> Task:
    """Have trees that belong into the run folder written where no driver cleans; those of a store go there at once."""
    inside = Path(task.folder).is_relative_to(submission.folder.parents[1])
    return replace(task, folder=str(submission.trees)) if inside else task


def _write_note(path: Path, content: dict[str, Any]) -> None:
    with write_atomic(path) as aside:
        aside.write_text(json.dumps(content), encoding="utf-8")


def end(number: int, _: object) -> None:
    """Turn the batch system's wish that the job ends into an exception, so that its process is stopped."""
    raise SystemExit(f"the batch system ended this job ({signal.Signals(number).name})")


def main() -> None:
    """Run the job that the command line names."""
    signal.signal(signal.SIGTERM, end)
    run_job(Path(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
