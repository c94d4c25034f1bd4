"""The batch jobs of a run folder, submitted by this process or earlier ones, and their results."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from portico.clusters.queues.base import BatchJob, JobState, Queue
from portico.clusters.queues.select import queue_of
from portico.clusters.queues.submission import Submission, submissions
from portico.clusters.site import Site
from portico.environment.bundle import Bundle
from portico.environment.interpreter import SAFE
from portico.errors import PorticoError, RunFolderError, WorkerError
from portico.executors.job import read_outcome, write_bundle
from portico.executors.transfer import bring, discard, job_apart, move_tree, pack, prefix_in_store
from portico.files.storage import storage_of
from portico.runfolder.folder import BATCH, RunFolder
from portico.worker.task import Failed, FailureKind, Outcome, Task

__all__ = ["Job", "Jobs", "job_of", "python_of"]

_SEEN_SECONDS = 3.0  # until a tree is seen whose job has ended; if not, its chunk runs again


@dataclass(eq=False, slots=True)
class Job:
    """A job that is believed to be in the queue.

    Parameters
    ----------
    submission : Submission
        To which it belongs.
    number : int
        Which one of it.
    keys : list of str
        Its chunks whose outcome has not been collected.
    state : JobState, optional
        What the batch system last said.
    ended : float, optional
        When it was first seen to have ended; seconds of the monotonic clock.
    """

    submission: Submission
    number: int
    keys: list[str]
    state: JobState | None = None
    ended: float | None = None

    @property
    def id(self) -> str:
        """Its name in the batch system."""
        return self.submission.ids[self.number]

    def blamed(self, left: list[str]) -> list[str]:
        """Return the chunks on which it ended, of those without an outcome: by its last note, else all."""
        at = self.submission.at(self.number)
        if at.get("stopped"):
            return []
        if at.get("task") in left:
            return [at["task"]]
        return left[:1] if at else left


class Jobs:
    """All submissions of a run folder.

    Parameters
    ----------
    run : Path
        The run folder.
    site : Site
        Where new jobs go.
    on : str
        The site as the user named it.

    Raises
    ------
    ConfigError
        If the site has no batch system.
    """

    def __init__(self, run: Path, site: Site, on: str) -> None:
        self._run, self._site, self._on = run, site, on
        self.queue = queue_of(site)
        self._queues = {site.name: self.queue}
        self._submissions = list(submissions(run))
        self._results: dict[str, Submission] = {}
        self._jobs: dict[str, Job] = {}
        for submission in self._submissions:
            ended = submission.ended()
            self._results |= dict.fromkeys(ended, submission)
            if submission.ids and not submission.cancelled:
                for number, keys in enumerate(submission.keys):
                    self._add(Job(submission, number, [key for key in keys if key not in ended]))

    def _add(self, job: Job) -> None:
        self._jobs |= dict.fromkeys(job.keys, job)

    def _queue(self, site: Site) -> Queue:
        if site.name not in self._queues:
            self._queues[site.name] = queue_of(site)
        return self._queues[site.name]

    @property
    def alive(self) -> list[Job]:
        """The jobs whose chunks have not all been collected."""
        return list(dict.fromkeys(self._jobs.values()))

    def __contains__(self, key: str) -> bool:
        """Whether a chunk has a job or a result."""
        return key in self._jobs or key in self._results

    def submit(self, groups: Sequence[Sequence[Task]], bundle: Bundle) -> None:
        """Submit a job for each group of tasks, with one submission for as many as the batch system takes.

        Raises
        ------
        WorkerError
            If the batch system refuses.
        """
        limit = self.queue.limit
        for first in range(0, len(groups), limit):
            self._submit(groups[first : first + limit], bundle)

    def _submit(self, groups: Sequence[Sequence[Task]], bundle: Bundle) -> None:
        folder = self._new_folder()
        keys = [[task.key for task in group] for group in groups]
        submission = Submission(folder, self._site, keys, (), bundle.function, bundle.code, self._on)
        try:
            submission = self._send(submission, groups, bundle)
        except PorticoError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._submissions.append(submission)
        for number, part in enumerate(keys):
            for key in part:
                self._results.pop(key, None)
            self._add(Job(submission, number, list(part)))

    def _send(self, submission: Submission, groups: Sequence[Sequence[Task]], bundle: Bundle) -> Submission:
        """Write all that the jobs need, and submit them."""
        folder, apart = submission.folder, self._site.filesystem == "none"
        for name in (submission.outcomes, submission.trees, submission.tasks(0).parent, submission.note(0).parent):
            name.mkdir()
        job = job_of(self._site, folder, len(groups))
        if apart:
            if not self.queue.transfers:
                submission = replace(submission, url=prefix_in_store(self._run, self._site.name, submission.number))
            pack(submission, groups, bundle)
            job = job_apart(job, submission.url, python_of(self._site))
        else:
            write_bundle(folder, bundle)
            for number, group in enumerate(groups):
                submission.tasks(number).write_text(json.dumps([task.to_json() for task in group]), encoding="utf-8")
        submission.write()
        job = replace(job, avoid=sorted({name for group in groups for task in group for name in task.avoid}))
        (folder / "job.txt").write_text(self.queue.script(replace(job, secrets="")), encoding="utf-8")
        return submission.submitted_as(self.queue.submit(job))

    def _new_folder(self) -> Path:
        above = self._run / BATCH
        above.mkdir(exist_ok=True)
        taken = [int(path.name) for path in above.iterdir() if path.name.isdecimal()]
        folder = above / str(max(taken, default=0) + 1)
        folder.mkdir(mode=0o700)  # tasks have the URLs of files, in which there may be tokens
        return folder

    def collect(self, tasks: dict[str, Task]) -> Iterator[Outcome]:
        """Return the outcomes that are there of these tasks; each only once."""
        places = {self._place(key).folder: self._place(key) for key in tasks if key in self}
        for submission in places.values():
            for key in sorted(submission.ended() & tasks.keys()):
                if self._place(key) is not submission:
                    continue
                path = submission.outcomes / key
                try:
                    outcome = _brought_home(read_outcome(path, tasks[key]), submission)
                except FileNotFoundError:
                    continue
                if isinstance(outcome, Failed):
                    path.unlink()  # what is done stays until the ledger has it
                self.forget(key)
                yield outcome

    def _place(self, key: str) -> Submission:
        return self._jobs[key].submission if key in self._jobs else self._results[key]

    def forget(self, key: str) -> None:
        """Wait for a chunk no longer; a new task of it is submitted again."""
        self._results.pop(key, None)
        job = self._jobs.pop(key, None)
        if job is not None:
            job.keys.remove(key)

    def ask(self) -> None:
        """Ask the batch system for the state of all jobs.

        Raises
        ------
        WorkerError
            If it does not answer.
        """
        by_site: dict[str, list[Job]] = {}
        for job in self.alive:
            if job.state is not None and job.state.state == "ended" and job.state.cause:
                continue  # removed by us: the batch system would say no more than that
            by_site.setdefault(job.submission.site.name, []).append(job)
        for jobs in by_site.values():
            states = self._queue(jobs[0].submission.site).states([job.id for job in jobs])
            for job in jobs:
                job.state = states[job.id]
                if job.state.state == "held" and job.state.cause:  # held for good: it needs more than it asked for
                    self._queue(job.submission.site).remove([job.id])
                    job.state = replace(job.state, state="ended")
                if job.state.state != "ended":
                    job.ended = None
                elif job.ended is None:
                    job.ended = time.monotonic()
        self._bring()

    def _bring(self) -> None:
        """Bring what jobs without a shared disk made, and that came back.

        Raises
        ------
        WorkerError
            If the store does not answer: then no job counts as ended, whose results may be there.
        """
        found: dict[Path, tuple[Submission, list[int]]] = {}
        for job in self.alive:
            if job.submission.site.filesystem == "none":
                _, numbers = found.setdefault(job.submission.folder, (job.submission, []))
                if job.ended is not None:
                    numbers.append(job.number)
        for submission, numbers in found.values():
            try:
                bring(submission, numbers)
            except PorticoError as error:
                for job in self.alive:
                    job.ended = None if job.submission is submission else job.ended
                raise WorkerError(f"results of batch jobs cannot be fetched: {error}") from error

    def remove_outdated(self, bundle: Bundle) -> None:
        """Remove the jobs that run older code of a step."""
        for submission in self._submissions:
            if submission.function == bundle.function and submission.code != bundle.code:
                self._remove(submission)

    def remove(self, keys: Collection[str]) -> None:
        """Remove the submissions that have jobs for any of these chunks; those that do not answer are passed over."""
        found = {job.submission.folder: job.submission for key, job in self._jobs.items() if key in keys}
        for submission in found.values():
            with suppress(WorkerError):
                self._remove(submission)

    def _remove(self, submission: Submission) -> None:
        if submission.cancelled:
            return
        submission.mark_cancelled()
        for key, job in list(self._jobs.items()):
            if job.submission is submission:
                del self._jobs[key]
        self._queue(submission.site).remove(submission.ids)

    def prune(self, patience: float) -> None:
        """Remove results that the ledger holds or that no plan needs, and submissions of which nothing is left.

        Parameters
        ----------
        patience : float
            Seconds to wait for jobs that are about to end.
        """
        if not self._submissions:
            return
        done, planned = _ledger_keys(self._run)
        until = time.monotonic() + patience
        alive = {job.submission.folder for job in self.alive}
        for submission in list(self._submissions):
            left = submission.ended()
            for key in left & done | left - planned:
                (submission.outcomes / key).unlink(missing_ok=True)
                self._results.pop(key, None)
            empty = submission.folder not in alive and not submission.ended()
            if empty and self._gone(submission, until):
                discard(submission)
                shutil.rmtree(submission.folder, ignore_errors=True)
                self._submissions.remove(submission)

    def _gone(self, submission: Submission, until: float) -> bool:
        """Whether no job of a submission is left: their folder may go only then."""
        while True:
            try:
                states = self._queue(submission.site).states(submission.ids).values()
            except WorkerError:
                return False
            if all(state.state == "ended" for state in states):
                return True
            if time.monotonic() > until:
                return False
            time.sleep(0.5)


def python_of(site: Site) -> str:
    """Return the interpreter of the jobs."""
    return site.python or ("python3" if site.image is not None else sys.executable)


def job_of(site: Site, folder: Path, count: int) -> BatchJob:
    """Return the jobs of a submission's folder."""
    command = (python_of(site), SAFE, "-m", "portico.executors.job", str(folder))
    run = folder.parents[1]
    return BatchJob(f"portico-{run.name}-{folder.name}", command, count, folder, disks=(str(run),))


def _ledger_keys(run: Path) -> tuple[set[str], set[str]]:
    """Return the keys of the chunks that are done, and of all that are planned."""
    try:
        ledger = RunFolder(run).open_ledger()
    except RunFolderError:
        return set(), set()
    try:
        steps = [row[0] for row in ledger.steps()]
        done = {key for step in steps for key in ledger.done(step)}
        return done, {planned.key for step in steps for planned in ledger.planned(step)}
    finally:
        ledger.close()


def _brought_home(outcome: Outcome, submission: Submission) -> Outcome:
    """Bring the trees that a job wrote to where its task wanted them."""
    if isinstance(outcome, Failed):
        return outcome
    files = []
    for file in outcome.files:
        above, _, name = str(file["path"]).rpartition("/")
        here = submission.trees / name  # also after the run folder was moved or copied
        if above == str(submission.trees) or here.exists():
            above = outcome.task.folder
            checksum = str(file.get("adler32", "")) if submission.site.filesystem == "none" else ""
            if problem := move_tree(here, Path(above, name), _SEEN_SECONDS, checksum):
                return Failed(outcome.task, FailureKind.LOST, problem)
        elif above == outcome.task.folder.rstrip("/"):
            if storage_of(above).size(str(file["path"])) is None:  # a driver that was killed may have renamed it
                words = f"the tree that its job wrote does not exist: {file['path']}"
                return Failed(outcome.task, FailureKind.LOST, words)
        else:
            words = f"the tree that its job wrote belongs to another run folder: {file['path']}"
            return Failed(outcome.task, FailureKind.LOST, words)
        files.append({**file, "path": f"{above}/{name}"})
    return replace(outcome, files=files)
