"""The doctor on real workers, and credentials that are sent to real ones: used there, and shown nowhere."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

import portico
from portico.analysis.analysis import Analysis
from portico.cli import cli
from portico.doctor import quick_check
from portico.environment.credentials import Credentials, install
from portico.errors import StepError
from portico.executors.base import Executor
from portico.executors.dask import DaskExecutor
from portico.executors.local import LocalExecutor
from tests.conftest import REPOSITORY
from tests.proxies import make_proxy, make_token

pytestmark = pytest.mark.integration

CODE = """
import os
import portico


@portico.step(headers=["good.h"])
def good(frame, sample):
    return {"n": frame.Count()}


@portico.step(headers=["bad.h"])
def bad(frame, sample):
    return {"n": frame.Count()}


def trusting(frame, sample):
    for name in ("X509_USER_PROXY", "BEARER_TOKEN_FILE"):
        content = open(os.environ[name], "rb").read()
        assert len(content) > 100, name
    assert os.stat(os.environ["X509_USER_PROXY"]).st_mode & 0o777 == 0o600
    return {"n": frame.Count()}


def failing(frame, sample):
    raise ValueError("no luck with " + os.environ["BEARER_TOKEN_FILE"])
"""
STEPS = '  - {{name: {0}, function: "mysteps:{0}"}}'


@pytest.fixture
def analysis(make_analysis: Callable[..., Analysis], events: Path) -> Callable[..., Analysis]:
    def make(*steps: str, file: str = f"{events}/events*.root", more: str = "") -> Analysis:
        samples = f'    a: {{files: ["{file}"]}}\n{more}'
        headers = {"good__h": "inline int good() { return 1; }\n", "bad__h": "inline int bad() { return x; }\n"}
        return make_analysis(CODE, "\n".join(STEPS.format(step) for step in steps), samples, **headers)

    return make


def examine(*arguments: str | Path) -> tuple[int, dict[str, list[dict[str, str]]], str]:
    """Call the command; return its status, its findings by check, and all that it wrote."""
    done = CliRunner().invoke(cli, ["doctor", *map(str, arguments), "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    findings: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        findings.setdefault(finding["check"], []).append(finding)
    return done.exit_code, findings, done.output


def test_a_good_analysis_is_well_and_nothing_is_left(analysis, tmp_path):
    where = analysis("good").path
    status, findings, _ = examine(where, "--workers", "1", "--run", tmp_path / "run")
    assert (status, {f["level"] for found in findings.values() for f in found}) == (0, {"ok"})
    machine = {"credentials", "workers", "versions", "processors", "run folder"}
    assert {*machine, "code", "samples", "steps"} == set(findings)
    assert findings["code"][0]["what"].endswith("and 1 C++ header compile")
    assert [path.name for path in tmp_path.iterdir()] == ["analysis"]


def test_headers_that_do_not_compile_and_files_that_are_no_good_are_named(analysis, events, tmp_path):
    whole = (events / "events0.root").read_bytes()
    (tmp_path / "short.root").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.root").write_text("text")
    more = "".join(
        f'    {name}: {{files: ["{tmp_path}/{name}.root"], tree: {tree}}}\n'
        for name, tree in (("short", "Events"), ("text", "Events"))
    )
    more += f'    other: {{files: ["{events}/events1.root"], tree: Nothing}}\n'
    more += '    far: {files: ["root://127.0.0.1:9//x.root"]}\n    farther: {files: ["root://127.0.0.1:9//y.root"]}'
    status, findings, _ = examine(analysis("good", "bad", more=more).path, "--workers", "1", "--run", tmp_path / "run")
    assert status == 1
    bad, good = findings["code"]
    assert (bad["level"], good["level"]) == ("error", "ok")
    assert "step 'bad', on process 0: " in bad["what"]
    assert "undeclared identifier 'x'" in bad["what"]
    told = {f["what"].partition(", ")[0]: f["what"] for f in findings["samples"] if f["level"] == "error"}
    assert "ROOT" in told["sample short"]
    assert "is not a ROOT file on process 0" in told["sample text"]
    assert "no tree 'Nothing'" in told["sample other"]
    assert told["samples far"].endswith("no server answers at 127.0.0.1:9")
    assert findings["samples"][-1]["what"] == "workers can read the first file of 1 of 6 samples"


def test_text_shows_what_why_and_the_fix(analysis, tmp_path, monkeypatch):
    monkeypatch.setenv("BEARER_TOKEN", make_token({"exp": 1700000000}).decode())
    where = analysis("good", more='    far: {files: ["root://127.0.0.1:9//x.root"]}').path
    done = CliRunner().invoke(cli, ["doctor", str(where), "--workers", "1", "--run", str(tmp_path / "run")])
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if "expired at" in line)
    assert lines[at].startswith("error   token")
    assert [line.split()[0] for line in lines[at + 1 : at + 3]] == ["why", "fix"]
    assert lines[-1] == "2 errors"
    assert "checking the samples" in done.stderr
    assert "looking" not in done.stdout


LOOPBACK = ("--host", "127.0.0.1", "--no-dashboard")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """A function that starts a scheduler and workers by name, with variables for each; it returns the address."""
    with ExitStack() as stack:

        def start(module: str, *arguments: str, **variables: str) -> None:
            log = stack.enter_context((tmp_path / f"{module}-{len(arguments)}.log").open("ab"))
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *arguments, *LOOPBACK],
                stdout=log, stderr=log, env={**os.environ, **variables},
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.kill)

        def make(**workers: dict[str, str]) -> str:
            file = tmp_path / "scheduler.json"
            start("dask_scheduler", "--port", "0", "--scheduler-file", str(file))
            wait_until(file.exists)
            address: str = json.loads(file.read_text())["address"]
            for name, variables in workers.items():
                folder = str(tmp_path / name)
                start("dask_worker", address, "--name", name, "--nthreads", "1", "--no-nanny", "--local-directory",
                      folder, **variables)  # fmt: skip
            return address

        yield make


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def wait_for(executor: DaskExecutor, count: int) -> None:
    wait_until(lambda: executor.workers == count)


@pytest.mark.dask
def test_workers_with_other_versions_are_told(analysis, cluster, tmp_path):
    # A worker whose Python finds another portico, and the package of another ROOT.
    other = tmp_path / "other"
    shutil.copytree(REPOSITORY / "src" / "portico", other / "portico", ignore=shutil.ignore_patterns("__pycache__"))
    (other / "portico" / "_version.py").write_text('__version__ = "0.0.7"\n')
    for name, version in (("portico-hep", "0.0.7"), ("root", "0.1a11")):
        folder = other / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    address = cluster(same={}, odd={"PYTHONPATH": str(other)})
    executor = DaskExecutor(address)
    try:
        wait_for(executor, 2)
        quick = quick_check(analysis("good"), executor, tmp_path / "run")
        assert [(f.level, f.what) for f in quick] == [
            ("error", f"portico 0.0.7 on odd, {portico.__version__} here"),
            ("error", f"root 0.1a11 on odd, {metadata.version('root')} here"),
        ]
    finally:
        executor.close()
    status, findings, _ = examine("--on", address)
    assert status == 1
    told = [f["what"] for f in findings["versions"] if f["level"] == "error"]
    assert f"portico 0.0.7 on odd, {portico.__version__} here" in told
    assert any(what.startswith("root 0.1a11 on odd") for what in told)


def secrets_of(credentials: Credentials) -> list[bytes]:
    """What must be seen nowhere: the token and its signature, and lines of the private key."""
    token, proxy = credentials.files["token"], credentials.files["proxy"]
    key = proxy[proxy.index(b"-----BEGIN RSA") :].splitlines()[1:4]
    return [token, token.rsplit(b".", 1)[1], *key]


@pytest.mark.dask
@pytest.mark.parametrize("on", ["local", pytest.param("dask", marks=pytest.mark.full)])
def test_workers_use_credentials_and_nobody_shows_them(analysis, cluster, tmp_path, on, caplog, capfd, monkeypatch):
    monkeypatch.setenv("BEARER_TOKEN", "of the user, to be replaced")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    credentials = Credentials({"proxy": make_proxy(), "token": make_token({"exp": 4000000000, "sub": "x" * 200})})
    caplog.set_level("DEBUG")
    if on == "local":
        executor: Executor = LocalExecutor(1)
    else:
        executor = DaskExecutor(cluster(only={"TMPDIR": str(tmp_path)}))
        wait_for(executor, 1)
    try:
        executor.send_credentials(credentials)
        run = portico.run(analysis("trusting"), folder=tmp_path / "run", executor=executor)
        assert int(run["trusting"]["a"]["n"]) == 1000
        executor.send_credentials(Credentials({**credentials.files, "proxy": make_proxy(number=2)}))
        with pytest.raises(StepError, match="no luck") as failed:
            portico.run(analysis("failing"), folder=tmp_path / "fails", executor=executor)
        installed = [path for path in tmp_path.glob("portico-*/*") if path.name in {"proxy.pem", "token"}]
        assert {stat.S_IMODE(path.stat().st_mode) for path in installed} == {0o600}
        assert {stat.S_IMODE(path.parent.stat().st_mode) for path in installed} == {0o700}
        if isinstance(executor, DaskExecutor):
            names = list(executor.client.scheduler_info(n_workers=-1)["workers"])

            def gone() -> bool:
                executor.client.retire_workers(names)  # refused while a result of the failed run is not released
                return not list(tmp_path.glob("portico-*"))

            wait_until(gone)
    finally:
        executor.close()
    out, err = capfd.readouterr()
    shown = [str(failed.value), repr(failed.value), caplog.text, out, err, repr(credentials)]
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) > 5
    for secret in secrets_of(credentials):
        assert not [text for text in shown if secret.decode() in text]
        assert not [content for content in kept if secret in content]


def test_the_search_for_secrets_finds_them(tmp_path, monkeypatch):
    for name in ("X509_USER_PROXY", "BEARER_TOKEN_FILE"):
        monkeypatch.setenv(name, "")
    credentials = Credentials({"proxy": make_proxy(), "token": make_token({"exp": 4000000000})})
    install(credentials.files, tmp_path)
    found = [path.read_bytes() for path in tmp_path.iterdir()]
    assert all(any(secret in content for content in found) for secret in secrets_of(credentials))
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
