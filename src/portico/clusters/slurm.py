"""Dask clusters on Slurm, through dask-jobqueue."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.clusters.base import import_jobqueue, log_folder, need, prefix
from portico.clusters.queues.base import mebibytes
from portico.clusters.queues.slurm import nodes_of, placed_options
from portico.clusters.site import Site
from portico.errors import WorkerError

if TYPE_CHECKING:
    from portico.clusters.jobqueue import JobCluster

__all__ = ["script", "start"]


def script(site: Site) -> str:
    """Return the job script of one job; nothing is submitted."""
    need("slurm", "Dask on Slurm", ["dask_jobqueue", "distributed"])
    from portico.clusters.jobqueue import make_job

    return make_job(site, import_jobqueue("slurm").SLURMJob, _arguments(site, log_folder(site)))


def start(site: Site, workers: int | None) -> JobCluster:
    """Start a scheduler in this process; workers come with `JobCluster.adapt`."""
    need("slurm", "Dask on Slurm", ["dask_jobqueue", "distributed", "cryptography"])
    if shutil.which("sbatch") is None:
        raise WorkerError("no program 'sbatch' on PATH; run portico on a submit machine of Slurm")
    from portico.clusters.jobqueue import JobCluster
    from portico.clusters.tls import Keys

    folder = log_folder(site)
    keys = Keys(folder)
    arguments = {**_arguments(site, folder), "security": keys.security()}

    def log_of(job: str) -> Path:
        return folder / f"portico-{job}.err"

    def directives(failing: Sequence[str]) -> dict[str, Any]:
        return {"job_extra_directives": _directives(site, folder, nodes_of(failing))}

    return JobCluster(site, import_jobqueue("slurm").SLURMCluster, arguments, keys, log_of, workers, directives)


def _arguments(site: Site, folder: Path) -> dict[str, Any]:
    from portico.clusters.jobqueue import common_arguments

    common = common_arguments(site, folder, "${TMPDIR:-/tmp}")
    exports = [f"export {name}={shlex.quote(value)}" for name, value in site.environment.items()]
    return {
        **common,
        "python": prefix(site, folder) + common["python"],
        "walltime": site.walltime,
        "job_mem": f"{mebibytes(site.memory)}M",
        "job_extra_directives": _directives(site, folder),
        "job_script_prologue": [*exports, *common["job_script_prologue"]],
        **site.options,
    }


def _directives(site: Site, folder: Path, failing: Sequence[str] = ()) -> list[str]:
    options = {"chdir": str(folder), **placed_options(site, failing)}
    return [f"--{name}={shlex.quote(value)}" if value else f"--{name}" for name, value in options.items()]
