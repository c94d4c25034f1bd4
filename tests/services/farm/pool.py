"""A personal HTCondor pool of an ordinary user on loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services.farm.need import cache, free_port, missing, wait_for
from tests.services.farm.user import User, end, end_all_in

CONFIG = """\
RELEASE_DIR = {release}
BIN = $(RELEASE_DIR)/bin
SBIN = $(RELEASE_DIR)/sbin
LIB = $(RELEASE_DIR)/lib/condor
LIBEXEC = $(RELEASE_DIR)/libexec/condor
SHARE = $(RELEASE_DIR)/share/condor
LOCAL_DIR = {folder}
LOG = $(LOCAL_DIR)/log
SPOOL = $(LOCAL_DIR)/spool
EXECUTE = $(LOCAL_DIR)/execute
LOCK = $(LOCAL_DIR)/lock
RUN = $(LOCAL_DIR)/run
DAEMON_SOCKET_DIR = $(LOCAL_DIR)/s
REQUIRE_LOCAL_CONFIG_FILE = False
LOCAL_CONFIG_DIR =
ENABLE_USER_CONFIG = False

CONDOR_HOST = 127.0.0.1
COLLECTOR_HOST = 127.0.0.1:{port}
SHARED_PORT_PORT = {port}
NETWORK_INTERFACE = 127.0.0.1
ENABLE_IPV6 = False
NO_DNS = True
DEFAULT_DOMAIN_NAME = localdomain
UID_DOMAIN = localdomain
FILESYSTEM_DOMAIN = localdomain
TRUST_UID_DOMAIN = True
DAEMON_LIST = MASTER, COLLECTOR, NEGOTIATOR, SCHEDD, STARTD

use SECURITY:HOST_BASED
ALLOW_READ = *
ALLOW_WRITE = *
ALLOW_DAEMON = *
ALLOW_NEGOTIATOR = *
ALLOW_ADMINISTRATOR = *
SEC_DEFAULT_AUTHENTICATION_METHODS = FS, CLAIMTOBE
SEC_CLIENT_AUTHENTICATION_METHODS = FS, CLAIMTOBE

NUM_CPUS = {cpus}
MEMORY = {memory}
NUM_SLOTS = 1
NUM_SLOTS_TYPE_1 = 1
SLOT_TYPE_1 = 100%
SLOT_TYPE_1_PARTITIONABLE = True
START = True
SUSPEND = False
PREEMPT = False
KILL = False
RUNBENCHMARKS = False
BASE_CGROUP =

NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_MIN_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
SCHEDD_INTERVAL = 2
SCHEDD_MIN_INTERVAL = 1
UPDATE_INTERVAL = 5
STARTER_UPDATE_INTERVAL = 5
STARTER_INITIAL_UPDATE_INTERVAL = 1
SHADOW_QUEUE_UPDATE_INTERVAL = 5
PERIODIC_EXPR_INTERVAL = 2
MAX_PERIODIC_EXPR_INTERVAL = 4
CLAIM_WORKLIFE = 60
MACHINE_MAX_VACATE_TIME = 5
KILLING_TIMEOUT = 5
SHUTDOWN_FAST_TIMEOUT = 5
"""


def release() -> Path:
    """Return the folder with HTCondor's ``bin`` and ``sbin``, or skip."""
    if found := shutil.which("condor_master", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin"):
        return Path(found).resolve().parents[1]
    unpacked = (cache() / "condor").resolve() / "usr"
    if not (unpacked / "sbin" / "condor_master").exists():
        missing(f"HTCondor (Debian package htcondor) is missing, also in {cache()}; tools/services.sh installs it")
    return unpacked


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
    text = CONFIG.format(release=programs, folder=folder, port=port, cpus=cpus, memory=memory)
    config = user.write(folder / "config", text + extra)
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
