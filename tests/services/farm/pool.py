"""A personal HTCondor pool of an ordinary user on loopback."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services.farm.need import missing, wait_for
from tests.services.farm.user import User, end, end_all_in
from tools.facility.places import DEPLOY, fill, free_port
from tools.facility.services import cache, condor_release

ACCESS = """
use SECURITY:HOST_BASED
ALLOW_READ = *
ALLOW_WRITE = *
ALLOW_DAEMON = *
ALLOW_NEGOTIATOR = *
ALLOW_ADMINISTRATOR = *
SEC_DEFAULT_AUTHENTICATION_METHODS = FS, CLAIMTOBE
SEC_CLIENT_AUTHENTICATION_METHODS = FS, CLAIMTOBE
"""
"""Who may do what: everyone, since all that reach the pool are this user."""


def release() -> Path:
    """Return the folder with HTCondor's ``bin`` and ``sbin``, or skip."""
    found = condor_release()
    if found is None:
        missing(f"HTCondor (Debian package htcondor) is missing, also in {cache()}; tools/services.sh installs it")
    return found


@dataclass(frozen=True)
class HTCondorPool:
    """A running pool. ``user`` has HTCondor's programs and ``CONDOR_CONFIG`` in its environment."""

    user: User
    folder: Path
    port: int

    def job(self, cluster: int, process: int = 0) -> dict[str, Any] | None:
        """Return the attributes of a job, also of one that has left the queue; none if it is unknown."""
        for program in ("condor_q", "condor_history"):
            said = self.user.run([program, "-json", f"{cluster}.{process}"]).stdout.strip()
            if said:
                return dict(json.loads(said)[0])
        return None

    def submit(self, description: str, count: int = 1) -> int:
        """Submit a description with ``condor_submit`` and return its cluster."""
        file = self.user.write(self.user.folder("submit") / "job.sub", f"{description}\nqueue {count}\n")
        return int(self.user.run(["condor_submit", "-terse", file], cwd=file.parent).stdout.split(".")[0])

    def hold(self, constraint: str, reason: str = "held by the test") -> None:
        """Hold the jobs of a constraint, such as ``ClusterId == 3`` or ``True``."""
        self.user.run(["condor_hold", "-reason", reason, "-constraint", constraint])

    def release(self, constraint: str) -> None:
        """Release held jobs."""
        self.user.run(["condor_release", "-constraint", constraint])

    def remove(self, constraint: str = "True") -> None:
        """Remove jobs."""
        self.user.run(["condor_rm", "-constraint", constraint], check=False)

    def wait(self, cluster: int, *, status: int = 4, seconds: float = 60) -> dict[str, Any]:
        """Wait until a job has a ``JobStatus`` (2 runs, 4 done, 5 held) and return its attributes."""
        wait_for(
            lambda: (self.job(cluster) or {}).get("JobStatus") == status,
            f"JobStatus {status} of job {cluster}",
            seconds,
            self.folder / "log" / "SchedLog",
        )
        return self.job(cluster) or {}


@contextmanager
def htcondor_pool(user: User, *, cpus: int = 4, memory: int = 16000, extra: str = "") -> Iterator[HTCondorPool]:
    """Start a pool of one partitionable slot and stop it; ``memory`` in MB need not be there, nor the CPUs."""
    programs = release()
    folder = user.folder("c")
    for name in ("log", "spool", "execute", "lock", "run", "s"):
        user.own(_made(folder / name))
    port = free_port()
    values = {"RELEASE": programs, "FOLDER": folder, "PORT": port, "CPUS": cpus, "MEMORY": memory}
    config = fill(DEPLOY / "htcondor" / "pool.conf", folder / "config", values)
    user.write(config, config.read_text() + ACCESS + extra)
    path = os.pathsep.join([str(programs / "bin"), str(programs / "sbin"), user.environment["PATH"]])
    user = user.also(CONDOR_CONFIG=str(config), PATH=path)
    pool = HTCondorPool(user, folder, port)
    master = user.popen([programs / "sbin" / "condor_master", "-f"])
    try:
        wait_for(lambda: _ready(pool), "a slot of HTCondor", 60, folder / "log" / "MasterLog")
        yield pool
    finally:
        end(master, signal.SIGQUIT)
        time.sleep(0.1)
        end_all_in(folder)


def _made(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o755)
    return folder


def _ready(pool: HTCondorPool) -> bool:
    """Whether there is a slot, and a queue that answers."""
    slots = pool.user.run(["condor_status", "-af", "Name"], check=False)
    queue = pool.user.run(["condor_status", "-schedd", "-af", "Name"], check=False)
    return bool(slots.stdout.strip() and queue.stdout.strip())
