"""Dask clusters on HTCondor, through dask-jobqueue."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.clusters.base import import_jobqueue, log_folder, need
from portico.clusters.queues.htcondor import PASSED, container_lines, placed_lines
from portico.clusters.site import Site
from portico.errors import WorkerError

if TYPE_CHECKING:
    from portico.clusters.jobqueue import JobCluster

__all__ = ["script", "start"]


def script(site: Site) -> str:
    """Return the job description of one job; nothing is submitted."""
    need("htcondor", "Dask on HTCondor", ["dask_jobqueue", "distributed"])
    from portico.clusters.jobqueue import make_job
    from portico.clusters.tls import NAMES

    arguments = _arguments(site, log_folder(site), [f"KEYS/{name}" for name in NAMES])
    return make_job(site, import_jobqueue("htcondor").HTCondorJob, arguments)


def start(site: Site, workers: int | None) -> JobCluster:
    """Start a scheduler in this process; workers come with `JobCluster.adapt`."""
    need("htcondor", "Dask on HTCondor", ["dask_jobqueue", "distributed", "cryptography", "htcondor2"])
    if shutil.which("condor_submit") is None:
        raise WorkerError("no program 'condor_submit' on PATH; run portico on a submit machine of HTCondor")
    from portico.clusters.jobqueue import JobCluster
    from portico.clusters.tls import Keys

    folder = log_folder(site)
    keys = Keys(folder)
    arguments = {**_arguments(site, folder, keys.files), "security": keys.security(transferred=True)}

    def log_of(job: str) -> Path:
        return folder / f"worker-{job}.err"

    def directives(failing: Sequence[str]) -> dict[str, Any]:
        return {"job_extra_directives": _lines(site, folder, keys.files, failing)}

    return JobCluster(site, import_jobqueue("htcondor").HTCondorCluster, arguments, keys, log_of, workers, directives)


def _arguments(site: Site, folder: Path, keys: Sequence[object]) -> dict[str, Any]:
    from portico.clusters.jobqueue import common_arguments

    options = dict(site.options)
    where = [word for key, flag in (("pool", "-pool"), ("schedd", "-name")) if key in options
             for word in (flag, str(options.pop(key)))]  # fmt: skip
    return {
        **common_arguments(site, folder, "$_CONDOR_SCRATCH_DIR"),
        "disk": site.disk,
        "job_extra_directives": _lines(site, folder, keys),
        "submit_command_extra": where,
        "cancel_command_extra": where,
        **options,
    }


def _lines(site: Site, folder: Path, keys: Sequence[object], failing: Sequence[str] = ()) -> dict[str, str]:
    quote = import_jobqueue("htcondor").quote_environment
    lines = {
        "initialdir": str(folder),
        # HTCondor transfers the keys with the job, because containers and remote machines may not see our disks.
        "should_transfer_files": "YES",
        "transfer_input_files": ",".join(str(key) for key in keys),
        "transfer_executable": "False",
        "allowed_job_duration": str(site.seconds),
    }
    passed = {} if site.image is not None else {name: os.environ[name] for name in PASSED if name in os.environ}
    if site.image is not None:
        lines |= container_lines(site.image)
    if variables := {**passed, **site.environment}:
        lines["environment"] = f'"{quote(variables)}"'
    extra = placed_lines(site, failing)
    given = {name.lower() for name in extra}
    return {**{name: value for name, value in lines.items() if name not in given}, **extra}
