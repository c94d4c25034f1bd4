"""Credentials against a server of XRootD that asks for them, and what the doctor says of such a server."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from portico.analysis.analysis import Analysis
from portico.cli import cli
from portico.environment.credentials import Credentials
from portico.executors.local import LocalExecutor
from tests.proxies import NOW, authority, host, make_proxy, private
from tests.services.farm.user import User
from tests.services.farm.xrootd import XRootDServer

pytestmark = pytest.mark.xrootd


@pytest.fixture
def server(user: User, xrootd_server: Callable[..., XRootDServer], monkeypatch: pytest.MonkeyPatch) -> XRootDServer:
    """A server that lets in who shows a proxy by the authority of the tests."""
    folder = user.folder("trust")
    pem = user.write(folder / "authority.pem", authority().decode())
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(pem)]
    digest = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    pem.rename(folder / f"{digest}.0")
    user.write(folder / "host.pem", host().decode())
    user.write(folder / "host.key", private(3).decode(), 0o400)
    monkeypatch.setenv("X509_CERT_DIR", str(folder))
    monkeypatch.setenv("X509_USER_PROXY", str(folder / "none"))
    monkeypatch.setenv("XrdSecGSISRVNAMES", "*")  # the server's certificate is for 127.0.0.1, whatever its name
    options = f"-certdir:{folder} -cert:{folder}/host.pem -key:{folder}/host.key -crl:0 -gmapopt:10 -vomsat:0 -dlgpxy:0"
    return xrootd_server(xrootd__seclib="libXrdSec.so", sec__protocol=f"gsi {options}", sec__protbind="* only gsi")


def problem(executor: LocalExecutor, url: str) -> str:
    """Read a file with ROOT in the executor's process; return what ROOT says against it."""
    said, _ = executor.call({"op": "probe", "read": [url, "Events"]}, [])
    assert "failed" not in said, said
    return said["log"] if said["probe"]["read"] else ""


def test_a_worker_reads_with_a_proxy_that_came_after_it_had_tried_without(server: XRootDServer, events: Path) -> None:
    url = server.put(events / "events0.root")
    with closing(LocalExecutor(1)) as executor:
        assert "Auth failed" in problem(executor, url)
        executor.send_credentials(Credentials({"proxy": make_proxy()}))
        assert problem(executor, url) == ""


@pytest.mark.full
def test_new_connections_use_a_renewed_proxy(server: XRootDServer, events: Path) -> None:
    url = server.put(events / "events0.root")
    with closing(LocalExecutor(1)) as executor:
        ends = time.time() + 15
        executor.send_credentials(Credentials({"proxy": make_proxy(hours=(ends - NOW.timestamp()) / 3600)}))
        assert problem(executor, url) == ""
        process = executor.call({"op": "probe"}, [])[0]["metrics"]["process"]
        time.sleep(max(ends + 1 - time.time(), 0))
        server.stop()  # connections that were let in stay open
        server.start()
        assert "Auth failed" in problem(executor, url)
        executor.send_credentials(Credentials({"proxy": make_proxy(number=2)}))
        assert problem(executor, url) == ""
        # It is the process that held the expired one, so what ROOT has compiled is kept.
        assert executor.call({"op": "probe"}, [])[0]["metrics"]["process"] == process


def doctor(analysis: Analysis, *arguments: str) -> dict[str, list[dict[str, str]]]:
    done = CliRunner().invoke(cli, ["doctor", str(analysis.path), "--workers", "1", "--json", *arguments])
    assert "PRIVATE KEY" not in done.output
    findings: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        findings.setdefault(finding["check"], []).append(finding)
    assert done.exit_code == any(f["level"] == "error" for found in findings.values() for f in found)
    return findings


def test_the_doctor_reads_and_writes_with_the_credentials(
    server: XRootDServer, events: Path, make_analysis: Callable[..., Analysis], tmp_path: Path, monkeypatch
) -> None:
    url = server.put(events / "events0.root")
    code = 'def n(frame, sample):\n    return {"n": frame.Count()}\n'
    gone = server.url("gone.root")
    samples = f'    a: {{files: ["{url}"]}}\n    b: {{files: ["{gone}"]}}'
    analysis = make_analysis(code, '  - {name: n, function: "mysteps:n"}', samples)
    options = ("--run", str(tmp_path / "run"), "--store", server.url("out/me"))

    found = doctor(analysis, *options)
    assert "X509_USER_PROXY names it" in found["proxy"][0]["what"]
    assert "Auth failed" in found["samples"][0]["what"]
    assert found["store"][0]["level"] == "error"

    path = tmp_path / "proxy"
    since = (time.time() - NOW.timestamp()) / 3600  # the tests began some time ago
    path.write_bytes(make_proxy(hours=since + 0.5))
    path.chmod(0o600)
    monkeypatch.setenv("X509_USER_PROXY", str(path))
    found = doctor(analysis, *options)
    assert (found["proxy"][0]["level"], "expires in" in found["proxy"][0]["what"]) == ("warning", True)
    bad, good = found["samples"]
    assert "sample b" in bad["what"]
    assert "no such file or directory" in bad["what"]
    assert good["what"] == "workers can read the first file of 1 of 2 samples"
    assert found["store"][0]["level"] == "ok"
    assert [file.name for file in (server.folder / "out").rglob("*") if file.is_file()] == []


@pytest.mark.full
def test_a_store_that_is_read_only_is_told(
    xrootd_server: Callable[..., XRootDServer], events: Path, make_analysis: Callable[..., Analysis], tmp_path: Path
) -> None:
    server = xrootd_server(read_only=True)
    code = 'def n(frame, sample):\n    return {"n": frame.Count()}\n'
    samples = f'    a: {{files: ["{server.put(events / "events0.root")}"]}}'
    analysis = make_analysis(code, '  - {name: n, function: "mysteps:n"}', samples)
    found = doctor(analysis, "--run", str(tmp_path / "run"), "--store", server.url("out"))
    assert found["samples"][0]["level"] == "ok"
    assert found["store"][0]["level"] == "error"
    assert "marked read/only" in found["store"][0]["what"]
