"""Chunks as plain batch jobs, which the submitting process or a later one collects.

All that is known lies in the run folder (`portico.clusters.queues.submission`). A chunk is found again by its key:
one that has a job in the queue or a result that was not collected is not submitted again.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from portico.clusters.queues.base import mebibytes
from portico.clusters.queues.select import queue_of
from portico.clusters.queues.submission import CREDENTIALS, submissions
from portico.clusters.site import RESERVED, Site, load_site, looks_like_a_file
from portico.environment.bundle import Bundle
from portico.environment.credentials import Credentials
from portico.errors import ConfigError, Detached, WorkerError
from portico.executors.base import Executor, Portion
from portico.executors.batchjobs import Job, Jobs, job_of, python_of
from portico.executors.transfer import job_apart
from portico.files.placement import Placement
from portico.runfolder.folder import BATCH
from portico.worker.process import RunnerProcess
from portico.worker.task import Failed, FailureKind, Outcome, Task
from portico.worker.wire import Message

__all__ = ["BatchExecutor", "batch_script", "batch_site", "group_size", "open_batch"]

_MOST = 100
"""Chunks of a job at most, unless the user says otherwise: what is lost with a job, and waits for it, is bounded."""

_POLL, _GRACE, _LEAVE, _LINGER = 5.0, 10.0, 10.0, 2.0
_STILLBORN = 3
_FAST, _SLOW, _SLOWER = 0.2, 2.0, 1.3
_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded", re.IGNORECASE)


def group_size(chunks: int, workers: int, chosen: int | None = None) -> int:
    """Return how many chunks a job gets: one job for each worker, and more jobs if there are very many chunks.

    Parameters
    ----------
    chunks, workers : int
        Number of chunks, and for how many jobs at a time.
    chosen : int, optional
        What the user wants.
    """
    return chosen or max(1, min(-(-chunks // workers), _MOST))


def open_batch(
    on: str, run: Path, *, workers: int | None = None, chunks_per_job: int | None = None, detach: bool = False
) -> BatchExecutor:
    """Open the batch system of a site for a run; parameters as of `BatchExecutor`.

    Raises
    ------
    ConfigError
        If ``on`` is not a site, or one without a batch system.
    """
    site = batch_site(on)
    on = str(Path(on).expanduser().resolve()) if looks_like_a_file(on) else on
    return BatchExecutor(site, run, workers=workers, chunks_per_job=chunks_per_job, detach=detach, on=on)


def batch_script(on: str, run: Path) -> str:
    """Return what would be submitted for one job of a run.

    Raises
    ------
    ConfigError
        If ``on`` is not a site, or one without a batch system.
    """
    site = _one_core(batch_site(on))
    queue, job = queue_of(site), job_of(site, run.resolve() / BATCH / "1", 1)
    if site.filesystem == "none":
        job = replace(job_apart(job, "" if queue.transfers else f"root://STORE/{BATCH}/1", python_of(site)), secrets="")
    return queue.script(job)


def batch_site(on: str) -> Site:
    """Return the site that ``on`` names.

    Raises
    ------
    ConfigError
        If it is not a site, or one without a batch system.
    """
    if on in RESERVED or "://" in on:
        raise ConfigError(f"no batch jobs can go to '{on}'; give a site with HTCondor or Slurm, see: portico site")
    site = load_site(on)
    queue_of(site)
    return site


class BatchExecutor(Executor):
    """Groups of chunks as jobs of HTCondor or Slurm.

    Parameters
    ----------
    site : Site
        Where, and what a job may use; a job has one core, and its share of what the site gives for all ``cores``.
    run : Path
        The run folder, on a disk that jobs share with this process.
    workers : int, optional
        For how many jobs at a time to cut; by default the site's.
    chunks_per_job : int, optional
        Chunks of one job; by default from ``workers``.
    detach : bool
        Leave (`portico.errors.Detached`) as soon as all is submitted and nothing is left to collect.
    on : str
        The site as the user named it, if not by its name.
    poll, grace : float
        Seconds between two questions to the batch system, and for which files of a job that ended may still appear.

    Raises
    ------
    ConfigError
        If the site has no batch system.
    """

    keeps_running = True

    def __init__(
        self, site: Site, run: Path, *, workers: int | None = None, chunks_per_job: int | None = None,
        detach: bool = False, on: str = "", poll: float = _POLL, grace: float = _GRACE,
    ) -> None:  # fmt: skip
        self._site, self._run = _one_core(site), run.resolve()
        self._width, self._chosen, self._detach = workers or site.workers, chunks_per_job, detach
        self._poll, self._grace = poll, grace
        self._jobs = Jobs(self._run, self._site, on or site.name)
        self._runner = RunnerProcess()
        self._bundle: Bundle | None = None  # none as long as the run folder is not known to be ours alone
        self._waiting: dict[str, Task] = {}
        self._queued: list[Task] = []
        self._alone: set[str] = set()  # each in a job of its own
        self._asked_at = self._scanned_at = self._queued_at = 0.0
        self._portion, self._more = Portion(), False
        self._pause, self._peak, self._stillborn, self._trouble = _FAST, 0, 0, ""

    @property
    def name(self) -> str:
        """The name of the site, and that its jobs are plain batch jobs."""
        return f"{self._site.name} --batch"

    @property
    def storage(self) -> Placement:
        """The storage sites that are read where the jobs run."""
        return self._site.storage

    @property
    def workers(self) -> int:
        """Most jobs that were seen running at once; before any did, for how many the chunks are cut."""
        return self._peak or self._width

    @property
    def free(self) -> int:
        """As many as there are: the queue is the batch system's."""
        return 1_000_000_000

    @property
    def alive(self) -> list[Job]:
        """The jobs whose chunks have not all been collected."""
        return self._jobs.alive

    def prepare(self, bundle: Bundle) -> None:
        """Give the bundle to the jobs that follow; jobs with older code of the same step are removed."""
        self._bundle = bundle
        self._runner.use(bundle)
        self._jobs.remove_outdated(bundle)
        self._jobs.prune(0.0)

    def submit(self, task: Task) -> None:
        """Take a task; it is submitted with those that follow, unless a job or a result of it is there."""
        self._waiting[task.key] = task
        if task.key not in self._jobs:
            self._queued_at = self._queued_at if self._queued else time.monotonic()
            self._queued.append(task)

    def wait(self, timeout: float) -> list[Outcome]:
        """Submit what was taken, and return what ended.

        Raises
        ------
        Detached
            If it is to detach and nothing is left to collect.
        WorkerError
            If the batch system refuses the jobs, the jobs end before they begin, or the user removed them.
        """
        now = time.monotonic()
        if self._queued and (self._detach or not self.alive or now - self._queued_at > _LINGER):
            self._send()
        found: list[Outcome] = []
        asked = now - self._asked_at >= self._poll
        if asked:
            self._ask()
        if asked or self._detach or self._more or now - self._scanned_at >= self._pause:
            found = self._collect()
        if asked and not self._more:  # after collecting: what a job wrote before it ended is there by now
            found += self._lost()
        if not found and self._detach and not self._queued:
            raise Detached(self.farewell())
        if not found:
            time.sleep(timeout)
        return found

    def farewell(self) -> str:
        """Say what goes on without this process, and how to come back to it; empty if nothing does."""
        jobs = self.alive
        if not jobs:
            return ""
        chunks = sum(len(job.keys) for job in jobs)
        return (
            f"{_count(len(jobs), 'job')} of {self._jobs.queue.name} with {_count(chunks, 'chunk')} go on without this "
            f"process: portico status {self._run}\nthe same command collects the results and continues; "
            f"portico cancel {self._run} removes the jobs"
        )

    def call(self, content: dict[str, Any], blobs: list[bytes]) -> Message:
        """Answer a message here: it is short, and would wait for a job to start."""
        return self._runner.call(content, blobs)

    def call_all(self, content: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Answer a message here, in place of the jobs, which do not run yet."""
        return {"the machine that submits": self._runner.call(content, [])[0]}

    def send_credentials(self, credentials: Credentials) -> None:
        """Leave credentials in the run folder, readable to the user alone; jobs read them before each chunk."""
        self._runner.use_credentials(credentials)
        folder = self._run / BATCH / CREDENTIALS
        if not credentials.files and not folder.exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        for path in folder.iterdir():
            if path.name not in credentials.files:
                path.unlink()
        for name, content in credentials.files.items():
            aside = folder / f".{name}"
            aside.unlink(missing_ok=True)
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(content)
            aside.replace(folder / name)

    def problems(self) -> list[str]:
        """Tell about held jobs, and about jobs that have been idle for longer than the site's patience."""
        jobs = self.alive
        words = [self._trouble] if self._trouble else []
        for reason, some in _by_reason(jobs, "held").items():
            words.append(
                f"{len(some)} of {_count(len(jobs), 'job')} held by {self._jobs.queue.name} ({some[0]}): {reason}; "
                f"release them when the cause is gone, or remove them with: portico cancel {self._run}"
            )
        waited = time.time() - min((job.submission.submitted for job in jobs), default=time.time())
        running = any(job.state is not None and job.state.state == "running" for job in jobs)
        if not running and waited > self._site.patience:
            for reason, some in _by_reason(jobs, "idle").items():
                which = f"{len(some)} of {_count(len(jobs), 'job')} idle ({some[0]})"
                words.append(f"no job has started for {waited:.0f} s; {which}: {reason or 'reason unknown'}")
        return words

    def cancel(self) -> None:
        """Remove the jobs that are waited for."""
        self._jobs.remove(self._waiting.keys())
        self._waiting, self._queued = {}, []

    def close(self) -> None:
        """Stop the process of this machine and remove what is not needed any more; jobs go on."""
        self._runner.stop()
        if self._bundle is None:
            return
        self._jobs.prune(_LEAVE if not self._waiting else 0.0)
        if not any(submissions(self._run)):
            shutil.rmtree(self._run / BATCH / CREDENTIALS, ignore_errors=True)
            with suppress(OSError):
                (self._run / BATCH).rmdir()

    def _send(self) -> None:
        if self._bundle is None:
            raise RuntimeError("no bundle was given")
        tasks, self._queued = self._queued, []
        alone, others = ([task for task in tasks if (task.key in self._alone) is which] for which in (True, False))
        size = group_size(len(others), self._width, self._chosen)
        groups = [others[first : first + size] for first in range(0, len(others), size)]
        self._jobs.submit([*([task] for task in alone), *groups], self._bundle)
        self._pause = _FAST

    def _collect(self) -> list[Outcome]:
        """Look for results, the more seldom the longer none came."""
        found = list(islice(self._jobs.collect(self._waiting), self._portion.count))
        self._more = len(found) == self._portion.count
        self._portion.learn(found)
        for outcome in found:
            del self._waiting[outcome.task.key]
            self._stillborn = 0
        self._pause = _FAST if found else min(_SLOWER * self._pause, _SLOW)
        self._scanned_at = time.monotonic()
        return found

    def _ask(self) -> None:
        """Ask for the state of the jobs; that the batch system is away for a while does not end the run."""
        self._asked_at = time.monotonic()
        if any(job.submission.cancelled for job in self.alive):
            raise WorkerError("the jobs were removed by portico cancel; the same command submits what is missing")
        try:
            self._jobs.ask()
        except WorkerError as error:
            self._trouble = str(error)
            return
        self._trouble = ""
        running = sum(job.state is not None and job.state.state == "running" for job in self.alive)
        self._peak = max(self._peak, running)

    def _lost(self) -> list[Outcome]:
        """Tell about the chunks of jobs that ended without a result for them.

        Raises
        ------
        WorkerError
            If jobs end before they begin: it would happen to all.
        """
        now, found = time.monotonic(), list[Outcome]()
        for job in self.alive:
            if job.ended is not None and now - job.ended >= self._grace:
                found += self._failures(job)
        return found

    def _failures(self, job: Job) -> list[Outcome]:
        """Blame the chunk on which a job ended; those that it had not begun are submitted again.

        All are at fault if it never began: then it is the job itself that does not work.
        """
        left = [key for key in job.keys if key in self._waiting]
        at = job.submission.at(job.number)
        blamed = job.blamed(left)
        kind, message, log = self._ending(job)
        self._stillborn += not at and not (job.state is not None and job.state.cause)
        if self._stillborn >= _STILLBORN:
            seen = f", and is {self._run} seen there" if self._site.filesystem == "shared" else " and find portico"
            hint = f"does {python_of(self._site)} run where the jobs run{seen}?"
            raise WorkerError(f"jobs end before they begin: {message}\n{log.strip()}\ncheck the site: {hint}")
        for key in list(job.keys):
            self._jobs.forget(key)
        if kind is not FailureKind.LOST and not at and len(left) > 1:  # which of them is not known
            blamed = []
            self._alone.update(left)
        found: list[Outcome] = []
        for key in left:
            task = self._waiting[key]
            if key in blamed:
                del self._waiting[key]
                found.append(Failed(task, kind, message, log))
            else:
                self.submit(task)
        return found

    def _ending(self, job: Job) -> tuple[FailureKind, str, str]:
        """Say how a job ended: kind, message, and the end of what it printed."""
        state, log = job.state, job.submission.log(job.number)
        reason, cause = (state.reason, state.cause) if state is not None else ("", "")
        name = f"job {job.id} of {self._jobs.queue.name}"
        told = reason or "the batch system does not say why"
        if cause == "memory":
            return FailureKind.MEMORY, f"{name} had too little memory: {told}; it may use {self._site.memory}", log
        if cause == "walltime":
            hint = "give the site more, or the jobs less with --chunks-per-job"
            return FailureKind.TIMEOUT, f"{name} was over its walltime of {self._site.walltime}: {told}; {hint}", log
        if _NO_SPACE.search(log):
            return FailureKind.SPACE, f"{name} had no space left on its disk", log
        last = next((line for line in reversed(log.splitlines()) if line.strip()), "")
        printed = f"; it printed: {last.strip()}" if last else ""
        return FailureKind.LOST, f"{name} ended without a result: {told}{printed}", log


def _one_core(site: Site) -> Site:
    """Return what a job with one core may use."""
    shares = {name: f"{max(mebibytes(getattr(site, name)) // site.cores, 1)} MiB" for name in ("memory", "disk")}
    return site if site.cores == 1 else site.model_copy(update={**shares, "cores": 1})


def _by_reason(jobs: list[Job], state: str) -> dict[str, list[str]]:
    """Return the names of the jobs in a state by the reason that the batch system tells."""
    found: dict[str, list[str]] = {}
    for job in jobs:
        if job.state is not None and job.state.state == state:
            found.setdefault(job.state.reason, []).append(job.id)
    return found


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"
