"""Each service starts, does one real thing through the user's own tools, and leaves no process behind."""

from __future__ import annotations

import socket
import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import uproot

from tests.conftest import write_events
from tests.services.farm.need import wait_for
from tests.services.farm.pool import HTCondorPool
from tests.services.farm.pool import htcondor_pool as start_htcondor
from tests.services.farm.proxy import SlowLink
from tests.services.farm.proxy import slow_link as open_slow_link
from tests.services.farm.slurm import SlurmPool
from tests.services.farm.slurm import slurm_pool as start_slurm
from tests.services.farm.user import User, processes_in
from tests.services.farm.xrootd import XRootDServer
from tools.facility.services import answers

BINDINGS = """
import time
import htcondor2

schedd = htcondor2.Schedd()
job = {"executable": "/bin/sleep", "arguments": "0.1", "request_memory": "100", "log": "LOG"}
cluster = schedd.submit(htcondor2.Submit(job), count=2).cluster()
deadline = time.monotonic() + 60
while schedd.query(f"ClusterId == {cluster}") and time.monotonic() < deadline:
    time.sleep(0.2)
print(*(done["ExitCode"] for done in schedd.history(f"ClusterId == {cluster}", ["ExitCode"], 2)))
"""


def test_user_is_ordinary_and_has_portico(user: User) -> None:
    said = user.run([user.python, "-c", "import os, ROOT; print(os.getuid(), ROOT.gROOT.GetVersion())"])
    assert said.stdout.split()[0] == str(user.uid) != "0"
    assert "portico" in user.portico("--version").stdout
    folder = user.folder("mine")
    user.run(["touch", folder / "file"])
    assert (folder / "file").stat().st_uid == user.uid


@pytest.mark.htcondor
def test_htcondor_by_command_line_and_by_python(htcondor_pool: HTCondorPool) -> None:
    cluster = htcondor_pool.submit("executable = /bin/sleep\narguments = 0.1\nrequest_memory = 100")
    assert htcondor_pool.wait(cluster)["ExitCode"] == 0
    folder = htcondor_pool.user.folder("bindings")
    code = BINDINGS.replace("LOG", str(folder / "log"))
    said = htcondor_pool.user.run([htcondor_pool.user.python, "-W", "error", "-c", code], cwd=folder)
    assert said.stdout.split() == ["0", "0"]


@pytest.mark.full
@pytest.mark.htcondor
def test_htcondor_holds_and_releases(htcondor_pool: HTCondorPool) -> None:
    cluster = htcondor_pool.submit("executable = /bin/sleep\narguments = 60\nrequest_memory = 100")
    htcondor_pool.wait(cluster, status=2)
    htcondor_pool.hold(f"ClusterId == {cluster}", "no disk at this site")
    assert "no disk at this site" in htcondor_pool.wait(cluster, status=5)["HoldReason"]
    htcondor_pool.release(f"ClusterId == {cluster}")
    htcondor_pool.wait(cluster, status=2)
    htcondor_pool.remove(f"ClusterId == {cluster}")
    htcondor_pool.wait(cluster, status=3)


@pytest.mark.slurm
def test_slurm_by_command_line(slurm_pool: SlurmPool) -> None:
    folder = slurm_pool.user.folder("slurm")
    job = slurm_pool.submit("#!/bin/sh\nid -u\n", f"--output={folder}/out")
    slurm_pool.wait(job)
    assert (folder / "out").read_text().strip() == str(slurm_pool.user.uid)
    failing = slurm_pool.submit("#!/bin/sh\nexit 3\n")
    slurm_pool.wait(failing, "FAILED")


@pytest.mark.full
@pytest.mark.htcondor
def test_htcondor_leaves_nothing_with_a_running_job(user: User) -> None:
    with start_htcondor(user, cpus=1) as pool:
        pool.wait(pool.submit("executable = /bin/sleep\narguments = 600\nrequest_memory = 100"), status=2)
        wait_for(lambda: "sleep" in [process.name() for process in processes_in(pool.folder)], "the job's process")
    assert processes_in(pool.folder) == []
    assert not answers(pool.port)


@pytest.mark.full
@pytest.mark.slurm
def test_slurm_leaves_nothing_with_a_running_job(user: User) -> None:
    with start_slurm(user, cpus=1) as pool:
        job = pool.submit("#!/bin/sh\nexec sleep 600\n")
        pool.wait(job, "RUNNING")
        assert "munged" in [process.name() for process in processes_in(pool.folder)]
    assert processes_in(pool.folder) == []


@pytest.mark.xrootd
def test_xrootd_is_read_and_written(xrootd_server: Callable[..., XRootDServer], user: User, tmp_path: Path) -> None:
    server = xrootd_server()
    write_events(tmp_path / "made.root", np.random.default_rng(1), 100)
    url = server.put(tmp_path / "made.root", "some/made.root")
    back = user.folder("back")
    user.run(["xrdcp", "--silent", url, back / "made.root"])
    assert (back / "made.root").read_bytes() == (tmp_path / "made.root").read_bytes()
    with uproot.open(f"{url}:Events") as remote, uproot.open(f"{tmp_path / 'made.root'}:Events") as local:
        assert remote["x"].array(library="np").tobytes() == local["x"].array(library="np").tobytes()
    user.run(["xrdcp", "--silent", back / "made.root", server.url("new/made.root")])
    said = user.run(["xrdfs", f"127.0.0.1:{server.port}", "query", "checksum", "/new/made.root"]).stdout.split()
    assert said == ["adler32", f"{zlib.adler32((tmp_path / 'made.root').read_bytes()):08x}"]


@pytest.mark.xrootd
def test_xrootd_refuses_to_write_and_comes_back_on_its_port(
    xrootd_server: Callable[..., XRootDServer], user: User
) -> None:
    server = xrootd_server(read_only=True)
    replica = xrootd_server()
    text = user.write(user.folder("text") / "text", "text\n")
    assert replica.put(text) != server.put(text)
    user.run(["xrdcp", "--silent", text, replica.url("other")])
    refused = user.run(["xrdcp", "--silent", text, server.url("other")], check=False)
    assert refused.returncode != 0
    assert "marked read/only" in refused.stderr
    assert not (server.folder / "other").exists()
    port = server.port
    server.stop()
    assert not answers(port)
    assert processes_in(server.home) == []
    assert server.start().port == port
    assert user.run(["xrdfs", f"127.0.0.1:{port}", "cat", "/text"]).stdout == "text\n"


@pytest.mark.full
@pytest.mark.xrootd
def test_slow_link_is_as_slow_as_said(
    xrootd_server: Callable[..., XRootDServer],
    slow_link: Callable[[XRootDServer, float], SlowLink],
    user: User,
    tmp_path: Path,
) -> None:
    server = xrootd_server()
    (tmp_path / "bytes").write_bytes(bytes(200_000))
    server.put(tmp_path / "bytes")
    link = slow_link(server, 100_000)
    start = time.monotonic()
    user.run(["xrdcp", "--silent", server.url("bytes", link.port), user.folder("slow") / "bytes"])
    seconds = time.monotonic() - start
    assert link.passed >= 200_000  # else the client went around it
    assert 1.9 < seconds < 4


def test_a_link_is_cut_and_closed() -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        with open_slow_link(listener.getsockname()[1], 1e9) as link:
            with socket.create_connection(("127.0.0.1", link.port), timeout=10) as client:
                server = stack.enter_context(listener.accept()[0])
                server.sendall(b"text")
                assert client.recv(4) == b"text"
                link.cut()
                assert client.recv(1) == b""
            assert answers(link.port)
        assert not answers(link.port)
