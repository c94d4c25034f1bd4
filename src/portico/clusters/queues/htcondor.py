"""The queue of HTCondor, through its Python bindings (version 2, which HTCondor 24 and later ship)."""

from __future__ import annotations

import importlib.util
import logging
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from portico.clusters.queues.base import BatchJob, JobState, mebibytes
from portico.clusters.site import Site
from portico.errors import MissingExtra, WorkerError

__all__ = ["PASSED", "HTCondor", "container_lines", "placed_lines"]

logger = logging.getLogger(__name__)

_IDLE, _REMOVED, _COMPLETED, _HELD = 1, 3, 4, 5
_CAUSES = {34: "memory", 46: "walltime", 47: "walltime"}  # HoldReasonCode: HTCondor's manual, job attributes
_STATE = ("ClusterId", "ProcId", "JobStatus", "HoldReason", "HoldReasonCode", "LastRejMatchReason", "RemoveReason",
          "ExitBySignal", "ExitCode", "ExitSignal")  # fmt: skip
_REMOVED_BY_US = 1  # a reason code of our choice; the bindings take a reason only together with a code
PASSED = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "HOME", "USER", "LANG", "X509_CERT_DIR", "EXTRA_CLING_ARGS")
"""Variables that jobs get. Every user of the pool can read job descriptions, so they have only what programs need."""

_AVOID_SECONDS = 300
"""Seconds for which a job waits for another machine than those that it avoids."""

_EXPLAIN_AGAIN = 60.0
"""Seconds after which the slots of the pool are queried again."""


class HTCondor:
    """The schedd of a site.

    Parameters
    ----------
    site : Site
        Resources of a job; ``options`` may hold ``pool`` (address of the collector) and ``schedd`` (its name),
        by default those of this machine's configuration. ``extra`` has further lines of the job description.
    """

    name = "HTCondor"
    limit = 10_000
    transfers = True

    def __init__(self, site: Site) -> None:
        self._site = site
        self._why: dict[str, tuple[float, str]] = {}

    @cached_property
    def _htcondor(self) -> Any:
        if importlib.util.find_spec("htcondor2") is None:
            raise MissingExtra("htcondor", "HTCondor")
        import htcondor2

        return htcondor2

    @cached_property
    def _collector(self) -> Any:
        return self._htcondor.Collector(self._site.options.get("pool"))

    @cached_property
    def _schedd(self) -> Any:
        here = self._collector.locate(self._htcondor.DaemonType.Schedd, self._site.options.get("schedd"))
        return self._htcondor.Schedd(here)

    def script(self, job: BatchJob) -> str:
        """Return the job description as it would be submitted."""
        site = self._site
        lines = {
            "universe": "vanilla",
            "batch_name": job.name,
            # HTCondor may start a program under another name, and then Python would not find its environment.
            "executable": "/usr/bin/env",
            "arguments": _quoted([*job.command, "$(ProcId)"]),
            "transfer_executable": "False",
            "should_transfer_files": "IF_NEEDED",
            "initialdir": str(job.folder),
            "output": "$(ProcId).out",
            "error": "$(ProcId).err",
            "log": "events.log",
            "request_cpus": str(site.cores),
            "request_memory": str(mebibytes(site.memory)),
            "request_disk": str(1024 * mebibytes(site.disk)),
            "allowed_job_duration": str(site.seconds),
        }
        if job.apart:
            lines |= _transferred(job)
        if site.image is not None:
            lines |= container_lines(site.image)
        else:
            lines["getenv"] = ", ".join(name for name in PASSED if not (job.apart and name == "HOME"))
        if variables := {**site.environment, **job.environment}:
            lines["environment"] = _quoted([f"{name}={value}" for name, value in variables.items()])
        extra = placed_lines(site, job.avoid)
        given = {name.lower() for name in extra}
        kept = {name: value for name, value in lines.items() if name not in given}
        return "".join(f"{name} = {value}\n" for name, value in {**kept, **extra}.items()) + f"queue {job.count}\n"

    def submit(self, job: BatchJob) -> list[str]:
        """Submit all jobs as one cluster.

        Raises
        ------
        MissingExtra
            If the bindings are not installed.
        WorkerError
            If the schedd does not answer or refuses.
        """
        with self._asking("submit"), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = self._schedd.submit(self._htcondor.Submit(self.script(job)))
        for warning in caught:
            logger.warning("HTCondor: %s", " ".join(str(warning.message).split()))
        return [f"{result.cluster()}.{number}" for number in range(job.count)]

    def states(self, ids: Iterable[str]) -> dict[str, JobState]:
        """Return the state of each job; see `Queue`."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return {}
        with self._asking("report the states of jobs"):
            found = self._read(self._schedd.query(_constraint(wanted), list(_STATE)))
            gone = [name for name in wanted if name not in found]
            if gone:
                found |= self._read(self._schedd.history(_constraint(gone), list(_STATE), match=len(gone)))
            return {name: self._state(name, found.get(name)) for name in wanted}

    def remove(self, ids: Iterable[str]) -> None:
        """Remove jobs; see `Queue`."""
        wanted = list(ids)
        if wanted:
            with self._asking("remove jobs"):
                self._schedd.act(self._htcondor.JobAction.Remove, wanted, ("removed by portico", _REMOVED_BY_US))

    def _read(self, ads: Iterable[Any]) -> dict[str, Mapping[str, Any]]:
        return {f"{ad['ClusterId']}.{ad['ProcId']}": ad for ad in ads}

    def _state(self, name: str, ad: Mapping[str, Any] | None) -> JobState:
        if ad is None:
            return JobState(name, "ended")
        status = ad.get("JobStatus")
        if status == _HELD:
            code = ad.get("HoldReasonCode")
            reason = f"{ad.get('HoldReason', 'reason unknown')} (code {code})"
            return JobState(name, "held", reason, _CAUSES.get(code, ""))  # type: ignore[arg-type]
        if status == _IDLE:
            return JobState(name, "idle", self._idle(name, ad))
        if status in {_REMOVED, _COMPLETED}:
            return JobState(name, "ended", _ending(ad), "removed" if status == _REMOVED else "")
        return JobState(name, "running")

    def _idle(self, name: str, ad: Mapping[str, Any]) -> str:
        """Return why a job is idle; jobs of one cluster have the same requests, so one is checked from time to time."""
        cluster = name.partition(".")[0]
        when, why = self._why.get(cluster, (float("-inf"), ""))
        if time.monotonic() - when > _EXPLAIN_AGAIN:
            why = self._explain(name)
            self._why[cluster] = (time.monotonic(), why)
        reason = ad.get("LastRejMatchReason")
        return f"{why}; HTCondor says: {reason.strip()}" if reason else why

    def _explain(self, name: str) -> str:
        jobs = self._schedd.query(_constraint([name]))
        slots = self._collector.query(self._htcondor.AdType.Startd, 'SlotType =!= "Dynamic"')
        if not slots:
            return "the pool has no slots"
        if not jobs:
            return ""
        job = jobs[0]
        for slot in slots:  # as if the slot were free
            for what in ("Cpus", "Memory", "Disk"):
                if f"TotalSlot{what}" in slot:
                    slot[what] = slot[f"TotalSlot{what}"]
        fits = sum(job.symmetricMatch(slot) for slot in slots)
        if fits:
            return f"waits for a free slot ({fits} of {len(slots)} in the pool match)"
        return f"none of the {len(slots)} slots of the pool matches: " + (
            _too_large(job, slots) or f"its requirements are {job.lookup('Requirements')}"
        )

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            yield
        except (self._htcondor.HTCondorException, OSError, RuntimeError) as error:
            raise WorkerError(
                f"HTCondor did not {what}: {' '.join(str(error).split())}; check CONDOR_CONFIG (or /etc/condor) on "
                "this machine, and that condor_q works here"
            ) from error


def _too_large(job: Any, slots: Sequence[Any]) -> str:
    """Return the resources that the job requests but no slot has."""
    words = []
    for what, unit in (("Cpus", "cores"), ("Memory", "MiB of memory"), ("Disk", "KiB of disk")):
        requested = job.eval(f"Request{what}") if f"Request{what}" in job else 0
        largest = max(slot.get(what, 0) for slot in slots)
        if isinstance(requested, (int, float)) and requested > largest:
            words.append(f"the job requests {requested:,} {unit}, the largest slot has {largest:,}")
    return "; ".join(words)


def _ending(ad: Mapping[str, Any]) -> str:
    if ad.get("JobStatus") == _REMOVED:
        return f"removed: {ad.get('RemoveReason', 'reason unknown')}"
    if ad.get("ExitBySignal"):
        return f"killed by signal {ad.get('ExitSignal')}"
    return f"ended with status {ad['ExitCode']}" if "ExitCode" in ad else ""


def _constraint(ids: Iterable[str]) -> str:
    """Return the ClassAd expression that is true only for these jobs."""
    runs: list[list[int]] = []  # cluster, first and last process
    for cluster, proc in sorted(tuple(int(part) for part in name.split(".")) for name in ids):
        if runs and runs[-1][0] == cluster and runs[-1][2] == proc - 1:
            runs[-1][2] = proc
        else:
            runs.append([cluster, proc, proc])
    return " || ".join(f"(ClusterId == {c} && ProcId >= {first} && ProcId <= {last})" for c, first, last in runs)


def _transferred(job: BatchJob) -> dict[str, str]:
    """Return the lines that have HTCondor transfer files: whenever a job ends, also if it is evicted and runs again.

    A list of what to bring back would hold a job that could not even begin. Without one, HTCondor brings back all new
    files of the job's folder, but no folders in it.
    """
    return {
        "should_transfer_files": "YES",
        "when_to_transfer_output": "ON_EXIT_OR_EVICT",
        "transfer_input_files": ", ".join([*job.inputs, "in/"]),
        "encrypt_input_files": "*",  # credentials may be among them
        "initialdir": f"{job.folder}/jobs/$(ProcId)",
        **{name: f"{job.folder}/$(ProcId).{end}" for name, end in (("output", "out"), ("error", "err"))},
        "log": f"{job.folder}/events.log",
    }


def container_lines(image: str) -> dict[str, str]:
    """Return the lines that have a job run in an image; one that is a folder, with gigabytes of files, stays there.

    HTCondor would copy it to every job, unless the pool's ``CONTAINER_SHARED_FS`` names the disk on which it lies.
    """
    lines = {"universe": "container", "container_image": image}
    return {**lines, "transfer_container": "False"} if Path(image).is_dir() else lines


def placed_lines(site: Site, failing: Iterable[str] = ()) -> dict[str, str]:
    """Return the site's further lines of a job description, with those that say in which queue and where a job runs.

    Parameters
    ----------
    site : Site
        Never on its machines ``avoid``.
    failing : iterable of str
        Machines on which the jobs run only if no other one takes them for a while.
    """
    given = {name.lower() for name in site.extra}
    lines = {**{name: value for name, value in site.queue_line.items() if name.lower() not in given}, **site.extra}
    rules = [*([_elsewhere(site.avoid)] if site.avoid else []), *([_if_possible(failing)] if failing else [])]
    if rules:
        name = next((name for name in lines if name.lower() == "requirements"), "requirements")
        lines[name] = " && ".join([*([f"({lines[name]})"] if name in lines else []), *rules])
    return lines


def _if_possible(machines: Iterable[str]) -> str:
    """Return the requirement of a job that is to run on other machines, unless none takes it for a while."""
    return f"({_elsewhere(machines)} || time() - MY.QDate > {_AVOID_SECONDS})"


def _elsewhere(machines: Iterable[str]) -> str:
    """Return the requirement of a job that is to run on other machines, named with their domain or without."""
    names = dict.fromkeys(name.partition(".")[0] for name in machines)
    return " && ".join(f'!regexp("^{name}([.]|$)", TARGET.Machine)' for name in names)


def _quoted(words: Iterable[str]) -> str:
    """Format arguments or variables in HTCondor's syntax: in double quotes, each in single quotes if necessary."""
    text = []
    for word in words:
        doubled = word.replace("'", "''").replace('"', '""')
        text.append(f"'{doubled}'" if not word or set(word) & set(" \t'") else doubled)
    return '"' + " ".join(text) + '"'
