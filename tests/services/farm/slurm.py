"""A Slurm of one node that an ordinary user runs on loopback, with a munge of its own."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.farm.need import free_port, program, wait_for
from tests.services.farm.user import User, end, end_all_in

CONFIG = """\
ClusterName=portico
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MailProg=/bin/true
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=0,batch_sched_delay=0,bf_interval=2
KillWait=2
CompleteWait=0
OverTimeLimit=0
InactiveLimit=0
MinJobAge={keep}
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=short Nodes={host} Default=YES MaxTime=60 DefaultTime=10 State=UP
"""


@dataclass(frozen=True)
class SlurmPool:
    """A running Slurm. ``user`` has ``SLURM_CONF`` in its environment."""

    user: User
    folder: Path

    def submit(self, script: str, *options: str) -> int:
        """Submit a script with ``sbatch`` and return the job's number."""
        file = self.user.write(self.user.folder("submit") / "job.sh", script)
        said = self.user.run(["sbatch", "--parsable", *options, file], cwd=file.parent).stdout
        return int(said.strip().split(";")[0])

    def state(self, job: int) -> str:
        """Return a job's state, such as ``RUNNING``; empty if it is unknown."""
        said = self.user.run(["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}"], check=False)
        return said.stdout.strip()

    def wait(self, job: int, state: str = "COMPLETED", seconds: float = 60) -> None:
        """Wait until a job has a state."""
        wait_for(lambda: self.state(job) == state, f"{state} of job {job}", seconds, self.folder / "slurmctld.log")

    def cancel(self, *jobs: int) -> None:
        """Cancel jobs; all of them if none is named."""
        self.user.run(["scancel", *(map(str, jobs) if jobs else [f"--user={self.user.name}"])], check=False)


@contextmanager
def slurm_pool(user: User, *, cpus: int = 4, memory: int = 16000, keep: int = 300) -> Iterator[SlurmPool]:
    """Start a Slurm of one node and stop it.

    ``memory`` in MB need not be there, nor the CPUs. ``keep``: seconds for which finished jobs are remembered. Jobs
    over their walltime end between 0 and 30 s after it, which is whole minutes; that is Slurm's.
    """
    munged, controller = program("munged", "munge"), program("slurmctld", "slurmctld")
    node = program("slurmd", "slurmd")
    program("sbatch", "slurm-client")
    folder = user.folder("s")
    for name in ("state", "spool"):
        (folder / name).mkdir()
        user.own(folder / name)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    user.own(key)
    text = CONFIG.format(
        host=socket.gethostname().split(".")[0], controller_port=free_port(), node_port=free_port(), user=user.name,
        folder=folder, cpus=cpus, memory=memory, keep=keep,
    )  # fmt: skip
    config = user.write(folder / "slurm.conf", text)
    user.write(folder / "cgroup.conf", "CgroupPlugin=disabled\n" if _knows_disabled(node) else "")
    user = user.also(SLURM_CONF=str(config), PATH=os.pathsep.join([str(controller.parent), user.environment["PATH"]]))
    pool = SlurmPool(user, folder)
    with ExitStack() as stack:
        stack.callback(end_all_in, folder)
        munge = [
            munged, "--foreground", f"--key-file={key}", f"--socket={folder}/munge.socket",
            f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed",
        ]  # fmt: skip
        stack.callback(end, user.popen(munge))
        wait_for((folder / "munge.socket").exists, "the socket of munge", 20, folder / "munged.log")
        stack.callback(end, user.popen([controller, "-D", "-c", "-f", config]))
        stack.callback(end, user.popen([node, "-D", "-f", config]))
        wait_for(lambda: _ready(pool), "an idle node of Slurm", 60, folder / "slurmctld.log")
        yield pool


def _knows_disabled(slurmd: Path) -> bool:
    """Whether this Slurm is one that looks for control groups unless told not to (23.11 and newer)."""
    said = subprocess.run([slurmd, "-V"], capture_output=True, text=True, check=False).stdout.split()
    return bool(said) and said[-1] >= "23.11"


def _ready(pool: SlurmPool) -> bool:
    said = pool.user.run(["sinfo", "--noheader", "--format=%T"], check=False)
    return said.stdout.strip() == "idle"
