"""Dask workers as batch jobs, through dask-jobqueue: submitted according to the demand, and replaced when lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed.core import Status
from distributed.deploy.adaptive import Adaptive

from portico.clusters.base import DEATH_SECONDS, SILENT, Cluster, limit, python_of, worker_options
from portico.clusters.queues.base import JobState, Queue
from portico.clusters.queues.select import queue_of
from portico.clusters.silent import SilentScheduler
from portico.clusters.site import Site
from portico.clusters.tls import NAMES, Keys, WorkerSecurity
from portico.errors import ConfigError, WorkerError

__all__ = ["JobCluster", "common_arguments", "make_job"]

_INTERVAL = "1s"
_KEEP_SECONDS = 60.0  # workers without work are kept this long: a summary, or the next step, may follow
_POLL_SECONDS = 5.0  # between two queries of the batch system about jobs without a worker
_LOST_SECONDS = 20.0  # longer than Dask's lost-worker-timeout, after which Dask itself replaces jobs of one worker
_TRIES = 3  # jobs in a row that ended before their worker connected, or that were refused
_PAUSE_SECONDS = 5.0  # after a refused job
_LOG_BYTES, _LOG_LINES = 4096, 3


class JobCluster(Cluster):
    """A Dask cluster whose scheduler runs in this process and whose workers are batch jobs.

    Parameters
    ----------
    site : Site
        Its settings.
    cluster_class : type
        Cluster class of dask-jobqueue.
    arguments : mapping
        Arguments of the class, including ``security``.
    keys : Keys
        TLS keys, which are removed at the end.
    log_of : callable
        Returns the file with the standard error of the job with a given id.
    workers : int, optional
        Maximum number of workers.
    directives : callable
        Returns the arguments of the class that keep jobs away from failing machines.

    Raises
    ------
    ConfigError
        If dask-jobqueue refuses the site's settings.
    WorkerError
        If the batch system does not answer, or the scheduler cannot be started.
    """

    def __init__(
        self, site: Site, cluster_class: Any, arguments: Mapping[str, Any], keys: Keys,
        log_of: Callable[[str], Path], workers: int | None, directives: Callable[[Sequence[str]], dict[str, Any]],
    ) -> None:  # fmt: skip
        self._directives, self._failing = directives, dict[str, None]()
        self.site, self.maximum = site, limit(site, workers)
        self._keys, self._log_of = keys, log_of
        self._jobs: _Jobs | None = None
        try:
            self._queue = queue_of(site)
            self.dask = cluster_class(
                **{"name": site.name, **_silent(arguments)}, protocol="tls://", scheduler_cls=SilentScheduler,
            )  # fmt: skip
        except (TypeError, ValueError) as error:
            keys.remove()
            raise refused(site, error) from error
        except (RuntimeError, OSError) as error:
            keys.remove()
            raise WorkerError(
                f"site '{site.name}': cannot start the Dask scheduler: {error}; check 'interface'"
            ) from error
        except BaseException:
            keys.remove()
            raise

    def adapt(self, demand: Callable[[], int]) -> None:
        """Keep as many jobs as there is work for, from now on."""
        self._jobs = self.dask.adapt(
            Adaptive=_Jobs, minimum=min(-(-self.site.minimum // self.site.cores) * self.site.cores, self.maximum),
            maximum=self.maximum, interval=_INTERVAL, wait_count=1, demand=demand, queue=self._queue,
            cores=self.site.cores, log_of=self._log_of, worker_key=_job_of if self.site.cores > 1 else None,
        )  # fmt: skip

    def problems(self) -> list[str]:
        """Return why jobs are not running, as the batch system reports it."""
        problems = list(dict.fromkeys(self._jobs.troubles)) if self._jobs is not None else []
        ids = [job.job_id for job in list(self.dask.workers.values()) if getattr(job, "job_id", None)]
        try:
            states = self._queue.states(ids)
        except WorkerError as error:
            return [*problems, str(error)]
        reasons = Counter((state.state, state.reason) for state in states.values() if state.state != "ended")
        examples = {(state.state, state.reason): state.id for state in reversed(states.values())}
        for (state, reason), count in reasons.items():
            problems.append(self._describe(state, reason, count, examples[state, reason]))
        return problems

    def _describe(self, state: str, reason: str, count: int, example: str) -> str:
        jobs = f"job {example} is" if count == 1 else f"{count} jobs (such as {example}) are"
        if state == "running":
            return (
                f"{self._queue.name}: {jobs} running, but no worker has connected yet; if this continues, check that "
                f"the worker can reach {self.dask.scheduler_address}, and read the log: {self._log_of(example)}"
            )
        return f"{self._queue.name}: {jobs} {state}" + (f": {reason}" if reason else "")

    def hopeless(self) -> str:
        """Return why no worker can start, after several jobs in a row ended early or were refused."""
        if self._jobs is None or self._jobs.failures < _TRIES:
            return ""
        last = self._jobs.troubles[-1]
        return f"site '{self.site.name}': {_TRIES} jobs in a row failed to start a worker; the last one: {last}"

    def keep_away(self, machine: str, workers: Iterable[str]) -> None:
        """Submit the jobs that follow for other machines, and replace those on this one."""
        self._failing[machine] = None
        with suppress(WorkerError):  # a batch system that is away: the machine only gets no more tasks
            options = {**self.dask.new_spec["options"], **self._directives(tuple(self._failing))}
            self.dask.new_spec = {**self.dask.new_spec, "options": options}
        here = set(workers) & set(self.dask.workers if self.site.cores == 1 else ())
        if here:
            self.dask.sync(self.dask.scale_down, here)

    def close(self) -> None:
        """Remove the jobs, stop the scheduler."""
        super().close()
        self._keys.remove()


class _Jobs(Adaptive):
    """Adaptive scaling: as many jobs as there is work for.

    Dask's own rule counts the tasks in the scheduler, which are never many more than there are workers, and stops
    workers as soon as they are idle. It replaces neither jobs that ended before their worker connected nor jobs with
    several workers.
    """

    def __init__(
        self, cluster: Any, *, demand: Callable[[], int], queue: Queue, cores: int, log_of: Callable[[str], Path],
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(cluster, **options)
        self._dask = cluster  # a SpecCluster; Dask's class has it under a more general type
        self._demand, self._queue, self._cores, self._log_of = demand, queue, cores, log_of
        self._kept, self._needed_at = 1, time.monotonic()  # the first job starts while the run is being planned
        self._had_worker: set[str] = set()
        self._missing_since: dict[str, float] = {}
        self._polled = 0.0
        self._pause_until = 0.0
        self.failures = 0
        self.troubles: list[str] = []

    async def target(self) -> int:
        """Return the target number of workers, a multiple of the workers per job; it decreases only after a delay."""
        wanted, now = self._demand(), time.monotonic()
        if wanted >= self._kept or now - self._needed_at > _KEEP_SECONDS:
            self._kept, self._needed_at = wanted, now
        return -(-self._kept // self._cores) * self._cores

    async def adapt(self) -> None:
        """Check the jobs, then start or stop some."""
        try:
            await self._drop_ended()
            if self.failures < _TRIES and time.monotonic() >= self._pause_until:
                await super().adapt()
        except (RuntimeError, ValueError, OSError, WorkerError) as error:
            await self._fail(_message(error))

    async def scale_up(self, n: Any) -> None:
        """Submit jobs; unlike Dask's own method, this raises an error if one is refused."""
        while len(self._dask.worker_spec) < n // self._cores:
            self._dask.worker_spec.update(self._dask.new_worker_spec())
        await self._dask

    async def _fail(self, why: str) -> None:
        """Record that jobs were refused, and drop them."""
        self.failures += 1
        self.troubles = [*self.troubles, why][-_TRIES:]
        self._pause_until = time.monotonic() + _PAUSE_SECONDS
        for name, job in list(self._dask.workers.items()):
            if not getattr(job, "job_id", None):
                job.status = Status.failed  # otherwise Dask warns at the end that it was never closed
                self._dask.worker_spec.pop(name, None)
                self._dask.workers.pop(name)

    async def _drop_ended(self) -> None:
        """Drop jobs that ended, or were held after their worker had connected; others are submitted instead."""
        jobs = {job.job_id: name for name, job in self._dask.workers.items() if getattr(job, "job_id", None)}
        present = {worker if self._cores == 1 else worker.rpartition("-")[0] for worker in self.observed}
        now = time.monotonic()
        missing = {number for number, name in jobs.items() if name not in present}
        if len(missing) < len(jobs):
            self._had_worker |= set(jobs) - missing
            self.failures, self.troubles = 0, []
        self._missing_since = {number: self._missing_since.get(number, now) for number in missing}
        due = [n for n in missing if n not in self._had_worker or now - self._missing_since[n] > _LOST_SECONDS]
        if not due or now - self._polled < _POLL_SECONDS:
            return
        self._polled = now
        states = await asyncio.to_thread(self._queue.states, due)
        over = [n for n in due if n in states and self._is_over(states[n])]
        if not over:
            return
        fruitless = [n for n in over if n not in self._had_worker]
        self.failures += len(fruitless)
        self.troubles = [*self.troubles, *(self._ending(states[n]) for n in fruitless)][-_TRIES:]
        await self._dask.scale_down([jobs[n] for n in over])

    def _is_over(self, state: JobState) -> bool:
        return state.state == "ended" or (state.state == "held" and state.id in self._had_worker)

    def _ending(self, state: JobState) -> str:
        log = self._log_of(state.id)
        text = f"{self._queue.name}: job {state.id} ended before its worker connected"
        if state.reason:
            text += f" ({state.reason})"
        lines = _tail(log)
        return f"{text}; the end of {log}: " + (" | ".join(lines) if lines else "the file is empty or missing")


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(stream.tell() - _LOG_BYTES, 0))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()][-_LOG_LINES:]


def _job_of(worker: Any) -> str:
    """Return the job of a worker; workers of one job end together."""
    return str(worker.name).rpartition("-")[0]


def _message(error: Exception) -> str:
    """Return the batch system's own message from an error of dask-jobqueue."""
    _, found, message = str(error).partition("stderr:\n")
    command = str(error).partition("Command:\n")[2].partition("\n")[0].partition(" ")[0]
    text = " ".join((message if found else str(error)).split())
    return f"{command} refused a job: {text}" if command else text


def refused(site: Site, error: Exception) -> ConfigError:
    """Return the error for settings that dask-jobqueue refuses."""
    reason = " ".join(str(error).split()).partition(". Very likely")[0]  # the rest lists all arguments
    return ConfigError(
        f"site '{site.name}': dask-jobqueue refuses the settings: {reason}; the keys under 'options' are its arguments"
    )


def common_arguments(site: Site, folder: Path, scratch: str) -> dict[str, Any]:
    """Return the arguments of dask-jobqueue that do not depend on the batch system.

    Parameters
    ----------
    site : Site
        Its settings.
    folder : Path
        Folder for logs.
    scratch : str
        Local disk of a worker, if the site does not name one.
    """
    return {
        "cores": site.cores,
        "processes": site.cores,
        "memory": site.memory_bytes,
        "nanny": True,  # restarts a worker that dies within seconds, without queueing again
        "python": python_of(site),
        "interface": site.interface,
        "death_timeout": DEATH_SECONDS,
        "local_directory": site.scratch or scratch,
        "log_directory": str(folder),
        "job_name": "portico",
        "job_script_prologue": [f'export TMPDIR="{site.scratch}"'] if site.scratch else [],
        "worker_extra_args": worker_options(site),
    }


def _silent(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments without HTTP ports, which dask-jobqueue opens on all interfaces; a site may ask for them."""
    scheduler = {"dashboard_address": None, **arguments.get("scheduler_options", {})}
    scheduler.setdefault("dashboard", scheduler["dashboard_address"] is not None)
    worker = list(arguments.get("worker_extra_args", ()))
    missing = () if "--dashboard-address" in worker or "--worker-class" in worker else SILENT
    return {**arguments, "scheduler_options": scheduler, "worker_extra_args": [*worker, *missing]}


def make_job(site: Site, job_class: Any, arguments: Mapping[str, Any]) -> str:
    """Return the script of a job, without starting a scheduler or contacting the batch system.

    Raises
    ------
    ConfigError
        If dask-jobqueue refuses the site's settings.
    """
    arguments = {key: value for key, value in _silent(arguments).items() if key != "scheduler_options"}
    try:
        job = job_class(
            "tls://SCHEDULER:PORT", name=f"{site.name}-0", protocol="tls://",
            **{"security": WorkerSecurity({name.removesuffix(".pem"): name for name in NAMES}), **arguments},
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise refused(site, error) from error
    text: str = job.job_script()
    return text
