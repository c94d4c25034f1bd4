"""Dask clusters on real HTCondor and Slurm, over SSH, and of a real Dask Gateway."""

from __future__ import annotations

import gc
import importlib.util
import json
import stat
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest

import portico
from portico.analysis.analysis import load_analysis
from portico.executors.local import LocalExecutor
from portico.executors.where import connect
from portico.runfolder.ledger import Ledger
from tests import doors
from tests.conftest import numbers_of, write_events
from tests.services.farm.need import free_port, missing, wait_for
from tests.services.farm.user import User, end

CHUNKS = 20
CODE = """
import os
import time
from pathlib import Path

PLACE = Path("{place}")


def select(frame, sample):
    (PLACE / "seen" / str(os.getppid())).touch()
    while (PLACE / "wait").exists() or len(list((PLACE / "seen").iterdir())) < {workers}:
        time.sleep(0.05)
    kept = frame.Filter("x > 2", "x > 2").Define("y", "x * w")
    return {{
        "cutflow": kept.Report(),
        "n": frame.Count(),
        "sum": kept.Sum("y"),
        "y": kept.Histo1D(("y", "title;y;events", 30, 0, 15), "y", "w"),
    }}
"""
ANALYSIS = """
name: clusters
dataset:
  samples:
    a: {{files: ["{place}/events*.root"]}}
steps:
  - {{name: select, function: "mysteps:select", chunk: 50 entries}}
"""
SITE = """
kind: {kind}
cores: {cores}
memory: 2 GB
disk: 100 MB
walltime: "{walltime}"
workers: 2
patience: 5
interface: lo
folder: {place}/jobs
"""

both = pytest.mark.parametrize("kind", [
    pytest.param("htcondor", marks=pytest.mark.htcondor), pytest.param("slurm", marks=pytest.mark.slurm),
])  # fmt: skip


@dataclass(frozen=True)
class Place:
    """An analysis of a user, and a site beside it."""

    user: User
    folder: Path
    pool: Any
    executor: LocalExecutor

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def site(
        self, kind: str, *, cores: int = 1, walltime: str = "00:10:00", more: str = "", name: str = "farm"
    ) -> Path:
        text = SITE.format(kind=kind, cores=cores, walltime=walltime, place=self.folder)
        return self.user.write(self.folder / f"{name}.yaml", text + more)

    def local(self) -> dict[str, Any]:
        """Return every number of a local run."""
        (self.folder / "seen" / "local").touch()
        (self.folder / "seen" / "local2").touch()
        result = portico.run(load_analysis(self.folder), folder=self.folder / "quiet", executor=self.executor)
        return numbers_of(result, "select")

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start the run; what it says goes to a file."""
        command = [self.user.python, "-m", "portico.cli", "run", self.folder, "--run", self.run, *arguments]
        with self.said.open("w") as said:
            return self.user.popen(command, cwd=self.folder, stdout=said, text=True)

    @property
    def said(self) -> Path:
        return self.folder / "said"

    def workers(self) -> set[str]:
        """Return the workers that did chunks."""
        ledger = Ledger(self.run / "ledger.sqlite", read_only=True)
        rows = list(ledger.metrics("select"))
        ledger.close()
        assert len(rows) == CHUNKS
        return {metrics["worker"] for _, _, metrics in rows}


@pytest.fixture
def make_place(user: User, local: LocalExecutor, request: pytest.FixtureRequest) -> Callable[..., Place]:
    def make(kind: str, workers: int = 2) -> Place:
        pool = request.getfixturevalue(f"{kind}_pool") if kind in {"htcondor", "slurm"} else None
        owner = user if pool is None else pool.user
        folder = owner.folder("clusters")
        (folder / "seen").mkdir()
        random = np.random.default_rng(3)
        for number in range(4):
            write_events(folder / f"events{number}.root", random, 250)
        (folder / "mysteps.py").write_text(CODE.format(place=folder, workers=workers))
        (folder / "analysis.yaml").write_text(ANALYSIS.format(place=folder))
        owner.own(folder)
        return Place(owner, folder, pool, local)

    return make


@both
def test_a_run_on_a_farm_equals_the_local_one(kind: str, make_place: Callable[..., Place]) -> None:
    """Each chunk waits until two workers have begun one: the second joins when the run is under way."""
    place = make_place(kind)
    done = place.user.portico("run", place.folder, "--run", place.run, "--on", place.site(kind), cwd=place.folder)
    assert place.workers() == {"farm-0", "farm-1"}
    assert "warning" not in done.stderr
    assert numbers_of(portico.load(place.run), "select") == place.local()
    left = sorted(path.name for path in (place.folder / "jobs").iterdir() if path.name.startswith("keys"))
    assert left == []
    # Nothing stays in the queue.
    queue = ["condor_q", "-af", "ClusterId"] if kind == "htcondor" else ["squeue", "--noheader", "--format=%i"]
    wait_for(lambda: not place.user.run(queue).stdout.strip(), "an empty queue", 30)


@pytest.mark.full
@both
def test_lost_jobs_are_replaced(kind: str, make_place: Callable[..., Place]) -> None:
    """A job is removed and another held while they work, on Slurm both workers of one job; all is done again."""
    place = make_place(kind)
    cores = 2 if kind == "slurm" else 1
    (place.folder / "wait").touch()
    driver = place.start("--on", place.site(kind, cores=cores))
    try:
        wait_for(lambda: len(list((place.folder / "seen").iterdir())) >= 2, "two workers", 90, place.said)
        first = set((place.folder / "seen").iterdir())
        if kind == "htcondor":
            mine = 'regexp("farm-", JobBatchName) && JobStatus == 2'
            numbers = place.user.run(["condor_q", "-constraint", mine, "-af", "ClusterId"]).stdout.split()
            place.pool.remove(f"ClusterId == {numbers[0]}")
            place.pool.hold(f"ClusterId == {numbers[1]}")
        else:
            place.pool.cancel(*map(int, place.user.run(["squeue", "--noheader", "--format=%i"]).stdout.split()))
        wait_for(lambda: len(set((place.folder / "seen").iterdir()) - first) >= 2, "two new workers", 120, place.said)
        (place.folder / "wait").unlink()
        assert driver.wait(120) == 0, place.said.read_text()
    finally:
        end(driver)
    assert numbers_of(portico.load(place.run), "select") == place.local()


@pytest.mark.full
@pytest.mark.slurm
def test_a_job_over_its_walltime(make_place: Callable[..., Place]) -> None:
    """Slurm ends the only job, whose worker was not told to retire; its chunks are done in the next."""
    place = make_place("slurm", workers=1)
    (place.folder / "wait").touch()
    more = 'options: {worker_extra_args: ["--no-dashboard"]}\n'
    driver = place.start("--on", place.site("slurm", walltime="00:01:00", more=more), "--workers", "1")
    try:
        wait_for(lambda: any((place.folder / "seen").iterdir()), "a worker", 90, place.said)
        job = int(place.user.run(["squeue", "--noheader", "--format=%i"]).stdout.split()[0])
        place.pool.wait(job, "TIMEOUT", 150)
        (place.folder / "wait").unlink()
        assert driver.wait(120) == 0, place.said.read_text()
    finally:
        end(driver)
    assert numbers_of(portico.load(place.run), "select") == place.local()


PROGRAM = """
import json
import sys
import time

from portico.errors import PorticoError
from portico.executors.where import connect

for path in sys.argv[1:]:
    began, told = time.monotonic(), ""
    try:
        executor = connect(path, 2)
        try:
            while not told and time.monotonic() - began < 60:
                executor.wait(0.2)
                told = " ".join(executor.problems())
                if "HTCondor: job" not in told and "Slurm: job" not in told or "ended" in told:
                    told = ""
        finally:
            executor.close()
    except PorticoError as error:
        told = f"{type(error).__name__}: {error}"
    print(json.dumps([time.monotonic() - began, told]))
"""


@pytest.mark.full
@both
def test_jobs_that_never_start_are_told_with_the_reason(kind: str, make_place: Callable[..., Place]) -> None:
    place = make_place(kind)
    hold = 'extra: {hold: "True"}\n' if kind == "htcondor" else 'extra: {hold: ""}\n'
    refused = "extra: {requirements: '((('}\n" if kind == "htcondor" else "extra: {partition: nothing}\n"
    sites = [
        place.site(kind, name="large", more="").with_name("large.yaml"),
        place.site(kind, name="held", more=hold),
        place.site(kind, name="python", more="python: /nonexistent/python\n"),
        place.site(kind, name="refused", more=refused),
        place.site(kind, name="nowhere", more="").with_name("nowhere.yaml"),
    ]
    place.user.write(sites[0], sites[0].read_text().replace("2 GB", "1 TB"))
    place.user.write(sites[4], sites[4].read_text().replace("interface: lo", "interface: eth77"))
    program = place.user.write(place.folder / "program.py", PROGRAM)
    said = place.user.run([place.user.python, program, *sites], cwd=place.folder, timeout=240)
    large, held, python, wrong, nowhere = (json.loads(line) for line in said.stdout.splitlines())
    if kind == "htcondor":
        assert "job" in large[1]
        assert "none of the 1 slots of the pool matches: the job requests 953,674 MiB of memory" in large[1]
        assert "is held: submitted on hold at user's request" in held[1]
        assert "Parse error" in wrong[1]
    else:
        assert "Memory specification can not be satisfied" in large[1]
        assert "is held: JobHeldUser: release it with: scontrol release" in held[1]
        assert "invalid partition specified: nothing" in wrong[1]
    assert large[0] < 30
    assert held[0] < 30
    assert "WorkerError: site 'python': 3 jobs in a row failed to start a worker" in python[1]
    assert "/nonexistent/python" in python[1].partition("the end of")[2]
    assert "'eth77' is not a valid network interface" in nowhere[1]
    assert "check 'interface'" in nowhere[1]
    assert said.stderr == ""


TRUST = """
import json
import stat
import sys
import time
from pathlib import Path

import distributed
import psutil
from doors import listening, needs_certificate
from portico.environment.bundle import collect
from portico.environment.credentials import Credentials
from portico.errors import WorkerError
from portico.executors.dask import DaskExecutor
from portico.executors.where import connect


def known(dask_worker):
    tokens = [value.files["token"].decode() for value in dask_worker._portico_credentials.values()]
    return [len(dask_worker._portico_bundles), tokens, dask_worker._portico_memory[""]]


def plugins(dask_scheduler):
    return sorted(name.partition("-Client")[0] for name in dask_scheduler.worker_plugins if "portico" in name)


place = Path(sys.argv[1]).parent
executor = connect(sys.argv[1], 1)
try:
    for number in range(3):  # all before the first worker has come
        (place / "late.py").write_text(f"def s(frame, sample):\\n    return {{'n{number}': frame.Count()}}\\n")
        executor.prepare(collect("late:s", place))
        executor.send_credentials(Credentials({"token": f"token{number}".encode()}))
    early = executor.workers
    keys = next((place / "jobs").glob("keys-*"))
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (keys, *sorted(keys.iterdir()))]
    answer, _ = executor.call({"op": "nothing"}, [])
    told = executor.client.run(known)
    sent = executor.client.run_on_scheduler(plugins)
    every = psutil.process_iter(["cmdline"])
    started = [one for one in every if "distributed.cli" in " ".join(one.info["cmdline"] or ())]
    processes = [psutil.Process(), *started, *(child for one in started for child in one.children(recursive=True))]
    ports = [[address, needs_certificate((address, port))] for address, port in listening(processes)]
    address = executor.client.scheduler.address
    try:
        DaskExecutor(address, timeout=5)
        stranger = "let in"
    except WorkerError as error:
        stranger = str(error)
    content = {"early": early, "told": list(told.values()), "sent": sent, "address": address, "stranger": stranger,
               "ports": ports, "modes": modes, "answer": answer["message"], "gone": str(keys)}
finally:
    executor.close()
print(json.dumps(content))
"""


@pytest.mark.full
@both
def test_late_workers_get_all_and_strangers_nothing(kind: str, make_place: Callable[..., Place]) -> None:
    place = make_place(kind)
    program = place.user.write(place.folder / "trust.py", TRUST)
    place.user.write(place.folder / "doors.py", Path(doors.__file__).read_text())
    said = place.user.run([place.user.python, program, place.site(kind)], cwd=place.folder, timeout=120)
    found = json.loads(said.stdout)
    assert found["early"] == 0
    assert found["told"] == [[1, ["token2"], 1_800_000_000]]  # the last of each; memory less that of Dask
    assert found["sent"] == ["portico-bundle", "portico-credentials", "portico-runner"]
    assert "nothing" in found["answer"]
    assert found["address"].startswith("tls://127.0.0.1:")
    assert "needs the cluster's certificates" in found["stranger"]
    assert found["ports"] == [["127.0.0.1", True]] * 3  # the scheduler, a nanny and a worker; nothing speaks HTTP
    assert found["modes"] == [stat.S_IRWXU, *[stat.S_IRUSR | stat.S_IWUSR] * 3]
    assert not Path(found["gone"]).exists()


SSH_SERVER = """
import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import asyncssh

folder, port = Path(sys.argv[1]), int(sys.argv[2])


async def handle(process):
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    child = subprocess.Popen(["/bin/sh", "-c", process.command], start_new_session=True, **pipes)
    await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    try:
        while child.poll() is None:
            await asyncio.sleep(0.1)
        await process.stdout.drain()
        process.exit(child.returncode)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


async def serve():
    client, host = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    client.write_private_key(folder / "id")
    client.write_public_key(folder / "id.pub")
    await asyncssh.listen(
        "127.0.0.1", port, server_host_keys=[host], authorized_client_keys=str(folder / "id.pub"),
        process_factory=handle, encoding=None,
    )
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host.export_public_key().decode()}")
    await asyncio.Event().wait()


asyncio.run(serve())
"""


@contextmanager
def ssh_server(folder: Path) -> Iterator[int]:
    """Serve commands of this user by SSH on loopback, with a key of its own; yield the port."""
    port, log = free_port(), folder / "ssh.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            [sys.executable, "-c", SSH_SERVER, folder, str(port)], stdout=stream, stderr=subprocess.STDOUT
        )
    try:
        wait_for((folder / "known_hosts").exists, "the SSH server", 60, log)
        yield port
    finally:
        end(server)


@pytest.mark.full
def test_a_run_over_ssh_equals_the_local_one(make_place: Callable[..., Place]) -> None:
    """The driver is the ordinary user; commands run as the user of the tests, who serves them."""
    if importlib.util.find_spec("asyncssh") is None:
        missing("asyncssh is missing")
    place = make_place("ssh")
    text = textwrap.dedent(f"""\
        kind: ssh
        cores: 2
        memory: 4 GB
        interface: lo
        folder: {place.folder}/jobs
        python: {sys.executable}
        environment: {{EXTRA_CLING_ARGS: -O0}}
        options: {{hosts: [127.0.0.1], port: PORT, client_keys: [{place.folder}/id], username: me,
                   known_hosts: {place.folder}/known_hosts}}
    """)
    analysis = load_analysis(place.folder)
    with ssh_server(place.folder) as port:
        site = place.folder / "machines.yaml"
        site.write_text(text.replace("PORT", str(port)))
        run = portico.run(analysis, folder=place.run, on=str(site))
        workers = place.workers()
        assert len(workers) == 2
        assert all(worker.startswith("tls://127.0.0.1:") for worker in workers)
        assert numbers_of(run, "select") == place.local()
        # The scheduler, a nanny and two workers in processes of their own, which have a nanny each.
        assert [address for address, _ in doors.opened_by(str(site), 2)] == ["127.0.0.1"] * 5
        (place.folder / "known_hosts").write_text("")
        words = "no worker could be started on 127.0.0.1: Host key is not trusted .*; check: ssh 127.0.0.1"
        with pytest.raises(portico.PorticoError, match=words):
            portico.run(analysis, folder=place.run, on=str(site))


def status_of(address: str) -> int:
    """Return the HTTP status an address answers with, 0 if nothing answers."""
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@contextmanager
def gateway(folder: Path) -> Iterator[tuple[str, str]]:
    """Run a gateway whose clusters are processes of this user; yield its addresses."""
    if importlib.util.find_spec("dask_gateway_server") is None:
        missing("dask-gateway-server is missing; pip install 'dask-gateway-server[local]'")
    api, http, tcp = free_port(), free_port(), free_port()
    python = f"[{sys.executable!r}, '-m', 'distributed.cli."
    (folder / "config.py").write_text(textwrap.dedent(f"""\
        c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
        c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
        c.DaskGateway.address = "127.0.0.1:{api}"
        c.Proxy.address = "127.0.0.1:{http}"
        c.Proxy.tcp_address = "127.0.0.1:{tcp}"
        c.UnsafeLocalBackend.clusters_directory = "{folder}/clusters"
        c.ClusterConfig.scheduler_cmd = {python}dask_scheduler']
        c.ClusterConfig.worker_cmd = {python}dask_worker']
    """))
    (folder / "clusters").mkdir()
    log = folder / "gateway.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            [sys.executable, "-c", "from dask_gateway_server.app import main; main()", "-f", folder / "config.py"],
            stdout=stream, stderr=subprocess.STDOUT, cwd=folder,
        )  # fmt: skip
    try:
        # Its proxy answers, with "Not Found", before it knows the way to the server.
        wait_for(lambda: status_of(f"http://127.0.0.1:{http}/api/v1/options") == 401, "the gateway", 60, log)
        yield f"http://127.0.0.1:{http}", f"gateway://127.0.0.1:{tcp}"
    finally:
        end(server)


def test_a_run_on_a_gateway_equals_the_local_one(make_place: Callable[..., Place], tmp_path: Path) -> None:
    place = make_place("gateway", workers=1)
    with gateway(tmp_path) as (address, proxy):
        site = place.folder / "facility.yaml"
        options = f"{{address: '{address}', proxy_address: '{proxy}', auth: basic}}"
        site.write_text(f"kind: gateway\nworkers: 1\nminimum: 1\noptions: {options}\n")
        run = portico.run(load_analysis(place.folder), folder=place.run, on=str(site))
        assert len(place.workers()) == 1
        assert numbers_of(run, "select") == place.local()
        before = doors.listening([psutil.Process()])
        executor: Any = connect(str(site), 1)
        try:
            executor.call({"op": "nothing"}, [])
            told = executor.client.scheduler_info()
            places = [urlsplit(told["address"]), *map(urlsplit, told["workers"])]
            assert [place.scheme for place in places] == ["tls"] * 2
            assert all(doors.needs_certificate((place.hostname, place.port)) for place in places)
            assert doors.listening([psutil.Process()]) == before
        finally:
            executor.close()
        site.write_text(site.read_text().replace("auth: basic", "auth: basic, wrker_cores: 2"))
        with pytest.raises(portico.PorticoError, match="the gateway has no option 'wrker_cores'"):
            portico.run(load_analysis(place.folder), folder=tmp_path / "other", on=str(site))
    gc.collect()  # what is said on deletion fails this test


def test_a_gateway_that_is_not_there_is_told(tmp_path: Path) -> None:
    site = tmp_path / "facility.yaml"
    site.write_text(f"kind: gateway\noptions: {{address: 'http://127.0.0.1:{free_port()}', auth: basic}}\n")
    with pytest.raises(portico.PorticoError, match=r"http://127.* did not start a cluster: Cannot connect"):
        connect(str(site), None)
