"""The driver's side of batch jobs that share no disk with it: what they need goes there, what they made comes back.

HTCondor transfers files itself, between ``jobs/N`` of the submission and the folder of job N. Slurm does not: there,
files go through the store of the run, on an XRootD server, with names that begin with the number of the submission.
The side of the jobs is `portico.executors.sandbox`.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from portico.clusters.queues.base import BatchJob
from portico.clusters.queues.submission import CREDENTIALS, OUTCOME, Submission
from portico.environment.bundle import Bundle
from portico.environment.interpreter import SAFE
from portico.errors import ConfigError, PorticoError
from portico.executors.job import BUNDLE, write_bundle
from portico.executors.sandbox import NOTE, TASKS, encode_secrets
from portico.files import is_remote
from portico.files.atomic import rename_when_seen, sync
from portico.files.storage import checksum_of, storage_of
from portico.runfolder.folder import BATCH
from portico.runfolder.manifest import read_manifest
from portico.runfolder.tidy import HIDDEN
from portico.worker.task import Task

__all__ = ["bring", "discard", "job_apart", "move_tree", "pack", "prefix_in_store"]


def prefix_in_store(run: Path, site: str, number: str) -> str:
    """Return with what the URLs of a submission begin.

    Raises
    ------
    ConfigError
        If the run has no store on a server.
    """
    store = str(read_manifest(run).get("store") or "")
    if not is_remote(store):
        raise ConfigError(
            f"site '{site}' has filesystem: none, and Slurm transfers no files: give a store that its nodes and this "
            "machine reach, with --store root://HOST//FOLDER"
        )
    return f"{store.rstrip('/')}/{BATCH}/{number}"


def pack(submission: Submission, groups: Sequence[Sequence[Task]], bundle: Bundle) -> None:
    """Lay ready what goes to the jobs, or send it to the store: code, tasks, and the local files that they read.

    Parameters
    ----------
    submission : Submission
        Of these jobs.
    groups : sequence of sequence of Task
        The tasks of each job.
    bundle : Bundle
        The code of the step.

    Raises
    ------
    ConfigError
        If local files cannot be sent there.
    PorticoError
        If the store does not take the files.
    """
    write_bundle(submission.folder, bundle)
    for number, group in enumerate(groups):
        place = submission.job(number) / "in"
        place.mkdir(parents=True)
        files = _linked(submission, group, place)
        about = {"memory": submission.site.memory_bytes, "seconds": submission.site.seconds, "files": files}
        (place / TASKS).write_text(json.dumps({**about, "tasks": [task.to_json() for task in group]}), encoding="utf-8")
    if submission.url:
        storage = storage_of(submission.url)
        storage.make(submission.url.rpartition("/")[0])
        for name in BUNDLE:
            storage.write(f"{submission.url}.{name}", submission.folder / name)
        for number in range(len(groups)):
            storage.write(f"{submission.url}.{number}.{TASKS}", submission.job(number) / "in" / TASKS)


def job_apart(job: BatchJob, url: str, python: str) -> BatchJob:
    """Return the jobs of a submission as those that share no disk; see `BatchJob` and `Submission.url`."""
    folder = job.folder.parent / CREDENTIALS
    secrets = sorted(path for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []
    job = replace(job, command=(python, SAFE, "-m", "portico.executors.sandbox", url or "."), apart=True)
    if url:
        return replace(job, secrets=encode_secrets({path.name: path.read_bytes() for path in secrets}))
    return replace(job, inputs=[f"../../{name}" for name in BUNDLE] + ([f"../../../{CREDENTIALS}"] if secrets else []))


def bring(submission: Submission, numbers: Sequence[int]) -> None:
    """Bring what came back to where it lies if job and driver share a disk.

    HTCondor writes files with their final names, so only those of jobs that have ended are complete.

    Parameters
    ----------
    submission : Submission
        Of the jobs.
    numbers : sequence of int
        The jobs that have ended.

    Raises
    ------
    PorticoError
        If the store does not answer.
    """
    if submission.url:
        _fetch(submission)
        return
    for number in numbers:
        place = submission.job(number)
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if HIDDEN.fullmatch(path.name) and path.is_file():
                sync(path)
                path.replace(submission.trees / path.name)
        for path in sorted(place.glob(f"{OUTCOME}*")):  # after the trees, which they name
            path.replace(submission.outcomes / path.name.removeprefix(OUTCOME))
        with suppress(FileNotFoundError):
            (place / NOTE).replace(submission.note(number))


def _fetch(submission: Submission) -> None:
    storage = storage_of(submission.url)
    for name in submission.in_store():
        if name.startswith(OUTCOME):
            final = submission.outcomes / name.removeprefix(OUTCOME)
        elif name.endswith(f".{NOTE}"):
            final = submission.note(int(name.partition(".")[0]))
        else:
            continue
        aside = final.with_name(f".{final.name}.part")
        storage.fetch(f"{submission.url}.{name}", aside)
        aside.replace(final)
        storage.remove(f"{submission.url}.{name}")


def discard(submission: Submission) -> None:
    """Remove the files of a submission from the store, unless it belongs to the original of a copied run."""
    if submission.url and submission.ids:
        with suppress(PorticoError):
            for name in submission.in_store():
                storage_of(submission.url).remove(f"{submission.url}.{name}")


def move_tree(here: Path, final: Path, seconds: float, checksum: str = "") -> str:
    """Give a tree its place, also on another disk; return what is wrong with it, or nothing.

    Parameters
    ----------
    here, final : Path
        Where it is and belongs.
    seconds : float
        For how long to wait until it is seen.
    checksum : str
        Its Adler-32 where it was written, if it was transferred.
    """
    try:
        if checksum and here.exists() and checksum_of(here) != checksum:
            return f"the tree that its job wrote was damaged on its way: {here}"
        rename_when_seen(here, final, seconds)
    except FileNotFoundError:
        return f"the tree that its job wrote does not exist: {here}"
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        storage_of(final).write(str(final), here)
        here.unlink()
    return ""


def _linked(submission: Submission, tasks: Sequence[Task], place: Path) -> Mapping[str, str]:
    """Link the local files of tasks into the folder that is transferred; return the name of each there."""
    paths = {name for task in tasks for name in (task.chunk.file, task.reference, *task.friends)}
    local = sorted(path for path in paths if path and not is_remote(path))
    if local and submission.url:
        raise ConfigError(
            f"{local[0]}: is a file of this machine, but site '{submission.site.name}' has filesystem: none, and Slurm "
            "transfers no files; put it on a server, as root://HOST//FILE"
        )
    names = {path: f"{hashlib.sha256(path.encode()).hexdigest()[:16]}-{Path(path).name}" for path in local}
    for path, name in names.items():
        (place / name).symlink_to(Path(path).absolute())
    return names
