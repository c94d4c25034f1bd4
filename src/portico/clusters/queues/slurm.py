"""The queue of Slurm, through its commands, whose options and output have been stable for many versions."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Literal

from portico.clusters.queues.base import BatchJob, JobState, mebibytes
from portico.clusters.site import Site
from portico.errors import WorkerError

__all__ = ["Slurm", "nodes_of", "placed_options"]

_RUNNING = {"RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STAGE_OUT", "SIGNALING", "STOPPED", "RESIZING"}
_IDLE = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"}
_CAUSES = {"OUT_OF_MEMORY": "memory", "TIMEOUT": "walltime", "DEADLINE": "walltime"}
_HELD = re.compile(
    r"held|JobHoldMaxRequeue|BadConstraints|Partition\w*Limit|PartitionConfig|DependencyNeverSatisfied", re.IGNORECASE
)
_HINTS = {
    "Resources": "no node is free",
    "Priority": "jobs with higher priority go first",
    "JobHeldUser": "release it with: scontrol release {}",
    "JobHeldAdmin": "only an administrator can release it",
    "PartitionTimeLimit": "the walltime of the site exceeds the limit of the partition",
    "BadConstraints": "no node has the resources that the job requests",
}
_GONE = re.compile(r"Invalid job id|already completing or completed", re.IGNORECASE)
_FIELDS = "JobArrayID:|,State:|,Reason:|,exit_code:|"
_END = "END"
_SECONDS = 60.0
_AT_A_TIME = 500


class Slurm:
    """The Slurm cluster of the commands on PATH.

    Parameters
    ----------
    site : Site
        Resources of a job; ``extra`` has further options of sbatch, such as ``partition``.
    """

    name = "Slurm"
    transfers = False

    def __init__(self, site: Site) -> None:
        self._site = site

    @cached_property
    def limit(self) -> int:
        """Maximum number of jobs in one array."""
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _run(["scontrol", "show", "config"]), re.MULTILINE)
        return max(int(found[1]) - 1, 1) if found else 1000

    def script(self, job: BatchJob) -> str:
        """Return the job script as it would be submitted."""
        site = self._site
        logs = str(job.folder).replace("%", "%%")
        output, errors = ("/dev/null", "/dev/null") if job.apart else (f"{logs}/%a.out", f"{logs}/%a.err")
        options = {
            "job-name": job.name,
            "array": f"0-{job.count - 1}",
            "ntasks": "1",
            "cpus-per-task": str(site.cores),
            "mem": f"{mebibytes(site.memory)}M",
            "time": site.walltime,
            "output": output,
            "error": errors,
            **placed_options(site, job.avoid),
        }
        lines = [f"#SBATCH --{name}" + (f"={shlex.quote(value)}" if value else "") for name, value in options.items()]
        variables = {**site.environment, **job.environment}
        lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        command = [*_in_image(site, job), *job.command]
        last = f'exec {shlex.join(command)} "$SLURM_ARRAY_TASK_ID"'
        given = [f"{last} <<'{_END}'", job.secrets, _END] if job.secrets else [last]
        return "\n".join(["#!/bin/sh", *lines, *given, ""])

    def submit(self, job: BatchJob) -> list[str]:
        """Submit all jobs as one array; see `Queue`."""
        if job.avoid:
            job = replace(job, avoid=nodes_of(job.avoid))
        folder = "/" if job.apart else str(job.folder)
        answer = _run(["sbatch", "--parsable", "--chdir", folder], self.script(job))
        number = answer.strip().partition(";")[0]
        return [f"{number}_{index}" for index in range(job.count)]

    def states(self, ids: Iterable[str]) -> dict[str, JobState]:
        """Return the state of each job; see `Queue`."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return {}
        words = ["squeue", "--me", "--array", "--states=all", "--noheader", f"--Format={_FIELDS}"]
        found = _table(_run(words))
        gone = [name for name in wanted if name not in found]
        if gone:
            found |= self._accounted(gone)
        return {name: _state(name, *found[name]) if name in found else JobState(name, "ended") for name in wanted}

    def remove(self, ids: Iterable[str]) -> None:
        """Remove jobs; see `Queue`."""
        for some in _in_parts(list(ids)):
            _run(["scancel", *some], ignored=_GONE)

    @staticmethod
    def _accounted(ids: Sequence[str]) -> dict[str, list[str]]:
        """Query the accounting, which not every Slurm has, for jobs that left the queue some time ago."""
        found: dict[str, list[str]] = {}
        numbers = sorted({name.partition("_")[0] for name in ids})
        for some in _in_parts(numbers):
            words = ["sacct", "--noheader", "--parsable", "--allocations", "--array", "--format=JobID,State,ExitCode"]
            table = _table(_run([*words, f"--jobs={','.join(some)}"], ignored=re.compile("")))
            found |= {name: [state.partition(" ")[0], "", code] for name, (state, code) in table.items()}
        return found


def _in_image(site: Site, job: BatchJob) -> list[str]:
    if site.image is None:
        return []
    shown = [] if job.apart else [option for folder in job.disks for option in ("--bind", folder)]
    return ["apptainer", "exec", *shown, site.image]


def nodes_of(machines: Iterable[str]) -> list[str]:
    """Return those of the machines that are nodes of this Slurm; none if no other node would be left.

    Raises
    ------
    WorkerError
        If Slurm does not answer.
    """
    nodes = set(_run(["sinfo", "--noheader", "--Node", "--responding", "--format=%N"]).split())
    known = [name for name in (name.partition(".")[0] for name in machines) if name in nodes]
    return known if nodes - set(known) else []


def placed_options(site: Site, failing: Iterable[str] = ()) -> dict[str, str]:
    """Return the site's further options of ``sbatch``, with those that say in which queue and where a job runs.

    Parameters
    ----------
    site : Site
        Never on its machines ``avoid``.
    failing : iterable of str
        Nodes on which the jobs do not run either.
    """
    options = {**site.queue_line, **{name.lstrip("-"): value for name, value in site.extra.items()}}
    excluded = dict.fromkeys([*filter(None, [options.get("exclude", "")]), *site.avoid, *failing])
    return {**options, **({"exclude": ",".join(excluded)} if excluded else {})}


def _in_parts(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split a list into parts that fit on a command line."""
    return (words[first : first + _AT_A_TIME] for first in range(0, len(words), _AT_A_TIME))


def _table(text: str) -> dict[str, list[str]]:
    """Return the other fields of each line by its first field; fields end with a bar."""
    rows = [[word.strip() for word in line.split("|")[:-1]] for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows if row}


def _state(name: str, state: str, reason: str, code: str) -> JobState:
    reason = "" if reason == "None" else reason
    if state in _IDLE:
        hint = _HINTS.get(reason, "").format(name)
        kind: Literal["held", "idle"] = "held" if _HELD.search(f"{reason} {state}") else "idle"
        return JobState(name, kind, f"{reason}: {hint}" if hint else reason)
    if state in _RUNNING:
        return JobState(name, "running")
    words = [word for word in (reason if reason != state else "", _exit(code)) if word]
    ending = f"{state} ({', '.join(words)})" if words else state
    return JobState(name, "ended", ending, _CAUSES.get(state, ""))  # type: ignore[arg-type]


def _exit(code: str) -> str:
    """Describe how a program ended, from ``STATUS:SIGNAL`` or from the status of the system call ``wait``."""
    match = re.fullmatch(r"(\d+):(\d+)", code)
    if match is not None:
        status, number = int(match[1]), int(match[2])
    elif code.isdecimal():
        status, number = int(code) >> 8, int(code) & 0x7F
    else:
        return ""
    return f"killed by signal {number}" if number else f"exit status {status}" if status else ""


def _run(command: Sequence[str], text: str = "", ignored: re.Pattern[str] | None = None) -> str:
    """Run a command of Slurm and return its output.

    Raises
    ------
    WorkerError
        If it does not exist, does not answer, or fails with a message that does not match ``ignored``.
    """
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except OSError as error:
        raise WorkerError(
            f"no program '{command[0]}': {error.strerror}; Slurm's commands must be on PATH where portico runs"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise WorkerError(f"{command[0]} did not answer for {_SECONDS:.0f} s; try: sinfo") from error
    message = " ".join(done.stderr.split())
    if done.returncode != 0 and not (ignored is not None and ignored.search(message)):
        raise WorkerError(f"{command[0]} failed with status {done.returncode}: {message}")
    return done.stdout
