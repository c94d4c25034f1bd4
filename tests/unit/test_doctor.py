"""The checks of the doctor, each from facts to findings, and the doctor with executors of every kind."""

from __future__ import annotations

import copy
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portico import doctor
from portico.doctor import access, credentials, machines
from portico.doctor.facts import Facts, ask_one, gather, wait_for_workers
from portico.doctor.finding import Finding
from portico.environment import probe
from portico.environment.credentials import Credentials
from portico.errors import WorkerError
from portico.workflow.credential_refresh import CredentialRefresh
from tests.proxies import NOW, make_proxy, make_token

HERE = {
    "host": "laptop", "python": "3.12.4", "source": "abc", "root": {"version": "", "problem": ""}, "image": "",
    "versions": {
        "portico": "1.0", "root": "0.1a12", "numpy": "2.1", "dask": "2026.1", "distributed": "2026.1",
        "xrootd": "5.9.9",
    },
    "machine": "x86_64", "cpu": {"model": "Xeon", "features": ["avx2", "fma"]}, "libc": "glibc 2.36",
    "arithmetic": "aa", "cores": 4, "memory": {"total": 16e9, "available": 8e9}, "disk": 50e9, "scratch": "/tmp",
}  # fmt: skip


def worker(**changes: Any) -> dict[str, Any]:
    said = copy.deepcopy(HERE) | {"host": "node", "root": {"version": "6.40.00", "problem": ""}}
    for name, value in changes.items():
        said[name] = {**said[name], **value} if isinstance(value, dict) else value
    return said


def facts(*, cluster: Any = (), threads: Any = (), skew: Any = (), silent: Any = (), **workers: Any) -> Facts:
    told = {"w1": worker(), "w2": worker(), **workers}
    return Facts(HERE, told, dict(silent), dict(cluster), dict(threads), dict(skew))


def levels(findings: Any) -> list[str]:
    return [finding.level for finding in findings]


def only(findings: Any) -> Finding:
    (finding,) = [finding for finding in findings if finding.level != "ok"]
    assert finding.why
    assert finding.fix
    return finding


def test_nothing_is_said_against_machines_that_are_alike():
    found = [finding for check in machines.CHECKS for finding in check(facts())]
    assert set(levels(found)) == {"ok"}
    text = "\n".join(map(str, found))
    assert "2 workers on node" in text
    assert "Python 3.12.4, ROOT 6.40.00, portico 1.0: the same on client and workers" in text


@pytest.mark.parametrize(
    ("changes", "level", "told"),
    [
        ({"versions": {"portico": "0.9"}}, "error", ["portico 0.9 on w3, 1.0 here", "portico-hep==1.0"]),
        ({"versions": {"root": "0.1a11"}}, "error", ["root 0.1a11 on w3", "root==0.1a12"]),
        ({"versions": {"numpy": ""}}, "warning", ["numpy (none) on w3, 2.1 here"]),
        ({"versions": {"distributed": "2025.1"}}, "warning", ["distributed 2025.1 on w3"]),
        ({"root": {"version": "6.38.00"}}, "error", ["ROOT 6.40.00 on w1, w2; ROOT 6.38.00 on w3"]),
        ({"python": "3.11.9"}, "error", ["Python 3.11 on w3, 3.12 here"]),
        ({"source": "abd"}, "warning", ["portico on w3 has the same version as here, but another source"]),
    ],
)
def test_versions_that_differ_are_told(changes, level, told):
    finding = only(machines.versions(facts(w3=worker(**changes))))
    assert finding.level == level
    for words in told:
        assert words in str(finding)


def test_the_last_number_of_python_does_not_matter():
    assert levels(machines.versions(facts(w3=worker(python="3.12.9")))) == ["ok"]


def test_the_scheduler_and_workers_that_cannot_answer_are_compared_too():
    cluster = {"the scheduler": {"python": "3.10.1", "dask": "2026.1"}, "w9": {"python": "3.12.4", "portico": "0.8"}}
    found = list(machines.versions(facts(cluster=cluster, silent={"w9": "KeyError"})))
    assert [f.what for f in found] == ["Python 3.10 on the scheduler, 3.12 here", "portico 0.8 on w9, 1.0 here"]


def test_many_workers_are_counted_not_listed():
    found = only(machines.versions(facts(**{f"w{i}": worker(versions={"root": "9"}) for i in range(10, 110)})))
    assert "on w10, w11, w12 and 97 more" in found.what


def test_workers_that_do_not_answer_or_have_no_root():
    said = {"w3": "ModuleNotFoundError: No module named 'portico'"}
    finding = only(machines.answers(facts(silent=said)))
    assert (finding.level, finding.what) == ("error", "w3: ModuleNotFoundError: No module named 'portico'")
    finding = only(machines.answers(facts(w3=worker(root={"problem": "ROOT cannot be imported"}))))
    assert finding.what == "w3: ROOT cannot be imported"
    assert "in /cvmfs/image" in next(iter(machines.answers(facts(w3=worker(image="/cvmfs/image"))))).what


def test_processors_are_told_apart_by_what_they_compute():
    other = worker(arithmetic="bb", cpu={"model": "Opteron", "features": ["avx"]}, libc="glibc 2.28")
    finding = only(machines.processors(facts(w3=other)))
    assert finding.level == "warning"
    assert "w3: Opteron, avx, glibc 2.28" in finding.what
    assert "rounding" in finding.why
    # Another model that computes the same bits is no reason to worry.
    assert levels(machines.processors(facts(w3=worker(cpu={"model": "Epyc"})))) == ["ok"]
    assert "aarch64: w3" in only(machines.processors(facts(w3=worker(machine="aarch64")))).what


def test_arithmetic_is_that_of_this_process_and_no_constant(monkeypatch):
    arithmetic = probe.arithmetic.__wrapped__
    first = arithmetic()
    assert first == arithmetic() == probe.arithmetic()
    exact = probe.math.sin
    monkeypatch.setattr(probe.math, "sin", lambda x: exact(x) * (1 + 2**-52))
    assert arithmetic() != first


def test_threads_and_crowded_machines():
    assert only(machines.threads(facts(threads={"w1": 1, "w2": 4}))).what == "w2: 4 threads each"
    crowd = {f"c{i}": worker(host="small", cores=2) for i in range(3)}
    assert only(machines.threads(facts(**crowd))).what == "small: 3 workers on 2 cores"


@pytest.mark.parametrize(("available", "level"), [(2.1e9, "ok"), (1.9e9, "warning"), (0.9e9, "error")])
def test_memory_is_shared_by_the_workers_of_a_machine(available, level):
    pair = {name: worker(host="small", memory={"available": available}) for name in ("w3", "w4")}
    found = levels(machines.memory(facts(**pair)))
    assert found == ([] if level == "ok" else [level])


def test_a_limit_of_the_job_counts_as_memory():
    small = worker(host="small", memory={"total": 0.4e9})
    assert only(machines.memory(facts(w3=small))).what == "small: 400 MB for each of 1 workers"


@pytest.mark.parametrize(("free", "level"), [(2e9, []), (0.5e9, ["warning"]), (1e6, ["error"]), (-1, [])])
def test_scratch_disks(free, level):
    assert levels(machines.disk(facts(w3=worker(host="full", disk=free)))) == level


def test_xrootd_that_crashes_beside_root_is_refused():
    assert only(machines.xrootd(facts(w3=worker(versions={"xrootd": "6.2.1"})))).fix == "pip install 'xrootd<6'"
    assert list(machines.xrootd(facts(w3=worker(versions={"xrootd": ""})))) == []


@pytest.mark.parametrize(
    ("ahead", "level"), [(0.0, []), (4.9, []), (-5.1, ["warning"]), (299.0, ["warning"]), (301.0, ["error"])]
)
def test_clocks(ahead, level):
    found = list(machines.clocks(facts(skew={"w1": 0.0, "w2": ahead})))
    assert levels(found) == level
    if found:
        assert ("ahead of" if ahead > 0 else "behind") in found[0].what


class Answering:
    """An executor whose workers answer with what a function returns."""

    workers = 1

    def __init__(self, answer: Any, names: tuple[str, ...] = ("w1", "w2")) -> None:
        self._answer, self._names = answer, names

    def call_all(self, content: dict[str, Any]) -> dict[str, Any]:
        return {name: self._answer(name, content) for name in self._names}

    def call(self, content: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        return self._answer(self._names[0], content), []

    def problems(self) -> list[str]:
        return ["job 12.0 is held: no such user"]


def test_the_skew_of_a_clock_is_what_is_certain():
    ahead = {"w1": 0.0, "w2": 60.0, "w3": -400.0}

    def answer(name: str, content: dict[str, Any]) -> dict[str, Any]:
        return {"probe": {"describe": worker(), "time": time.time() + ahead[name]}}

    skew = gather(Answering(answer, tuple(ahead))).skew  # type: ignore[arg-type]
    assert skew["w1"] == 0.0
    assert skew["w2"] == pytest.approx(60, abs=1)
    assert skew["w3"] == pytest.approx(-400, abs=1)


def meeting(folders: dict[str, Path]) -> Answering:
    """Workers that see another folder where the driver sees its own."""

    def answer(name: str, content: dict[str, Any]) -> dict[str, Any]:
        path, file = content["shared"]
        return {"probe": {"shared": probe.check_shared(folders.get(name, Path(path)), file)}}

    return Answering(answer)


def test_a_run_folder_that_all_see(tmp_path):
    place = tmp_path / "runs" / "new"
    assert levels(access.shared_folder(meeting({}), place)) == ["ok"]  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_that_a_worker_does_not_see(tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "_PATIENCE", 0.3)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    finding = only(access.shared_folder(meeting({"w2": elsewhere}), tmp_path))  # type: ignore[arg-type]
    assert (finding.level, "on w2: this is another folder of the same name" in finding.what) == ("error", True)
    assert "--run" in finding.fix
    finding = only(access.shared_folder(meeting({"w2": tmp_path / "none"}), tmp_path))  # type: ignore[arg-type]
    assert "on w2: no such folder" in finding.what
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]


def test_what_a_worker_writes_must_be_seen_here(tmp_path, monkeypatch):
    monkeypatch.setattr(access, "_PATIENCE", 0.3)
    said = {"probe": {"shared": {"wrote": "node-7", "problem": ""}}}
    finding = only(access.shared_folder(Answering(lambda *_: said), tmp_path))  # type: ignore[arg-type]
    assert "on w1, w2: files written there do not appear here" in finding.what


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert only(access.writable(tmp_path / "new")).what == f"{tmp_path}: no permission to write"
    monkeypatch.undo()
    monkeypatch.setattr(access, "free", lambda _: 10_000_000)
    assert only(access.writable(tmp_path / "new")).level == "error"
    monkeypatch.setattr(access, "free", lambda _: 500_000_000)
    assert only(access.writable(tmp_path / "new")).level == "warning"


def test_no_worker_comes():
    waiting = Answering(lambda *_: time.sleep(5))
    waiting.workers = 0
    with pytest.raises(WorkerError, match=r"within 0 s: job 12\.0 is held: no such user"):
        wait_for_workers(waiting, 0.1)  # type: ignore[arg-type]
    with pytest.raises(WorkerError, match=r"no worker answered within 0 s: job 12\.0 is held: no such user"):
        ask_one(waiting, {"op": "probe"}, 0.1)  # type: ignore[arg-type]


def test_what_does_not_open_is_a_finding_not_an_exception(no_credentials, monkeypatch):
    def broken(on: str, workers: int | None) -> None:
        raise WorkerError(f"no Dask scheduler answers at {on}")

    monkeypatch.setattr(doctor, "connect", broken)
    finding = only(doctor.examine(on="tcp://host:1"))
    assert (finding.level, finding.what) == ("error", "no Dask scheduler answers at tcp://host:1")


@pytest.fixture
def no_credentials(monkeypatch, tmp_path):
    for name in ("X509_USER_PROXY", "BEARER_TOKEN", "BEARER_TOKEN_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4294900000)


def test_credentials_that_are_good(no_credentials, monkeypatch, tmp_path):
    path = tmp_path / "proxy"
    path.write_bytes(make_proxy())
    path.chmod(0o600)
    monkeypatch.setenv("X509_USER_PROXY", str(path))
    monkeypatch.setenv("BEARER_TOKEN", make_token({"exp": time.time() + 7200}).decode())
    assert levels(credentials.check(needed=True)) == ["ok", "ok"]
    path.chmod(0o644)
    assert only(credentials.check(needed=True)).fix == f"chmod 600 {path}"


@pytest.mark.parametrize(("needed", "level"), [(True, "error"), (False, "warning")])
@pytest.mark.parametrize("token", [make_token({"exp": 1700000000}), make_token({"exp": NOW.timestamp() - 5})])
def test_an_expired_token_is_an_error_where_it_is_needed(no_credentials, monkeypatch, token, needed, level):
    monkeypatch.setenv("BEARER_TOKEN", token.decode())
    finding = only(credentials.check(needed))
    assert finding.level == level
    assert "expired at" in finding.what
    assert "htgettoken" in finding.fix
    assert token.decode() not in str(finding)
    assert levels(credentials.expired(Credentials({"token": token}))) == ["error"]


def test_an_expired_one_beside_a_good_one_is_only_a_warning(no_credentials, monkeypatch, tmp_path):
    both = Credentials({"token": make_token({"exp": 1700000000}), "proxy": make_proxy()})
    assert levels(credentials.expired(both)) == ["warning"]
    path = tmp_path / "proxy"
    path.write_bytes(both.files["proxy"])
    path.chmod(0o600)
    monkeypatch.setenv("X509_USER_PROXY", str(path))
    monkeypatch.setenv("BEARER_TOKEN", both.files["token"].decode())
    assert levels(credentials.check(needed=True)) == ["ok", "warning"]


@pytest.mark.parametrize(
    ("make", "told"),
    [(lambda: make_token({"exp": time.time() + 1800}), "expires in"), (lambda: b"opaque", "not a JSON web token")],
)
def test_tokens_that_may_end_before_the_run(no_credentials, monkeypatch, make, told):
    monkeypatch.setenv("BEARER_TOKEN", make().decode())
    finding = only(credentials.check(needed=True))
    assert finding.level == "warning"
    assert told in finding.what


def test_missing_credentials_matter_where_they_are_needed(no_credentials, monkeypatch, tmp_path):
    assert levels(credentials.check(needed=False)) == ["ok"]
    assert levels(credentials.check(needed=True)) == ["warning"]
    path = tmp_path / "no proxy"
    path.write_text("nothing")
    path.chmod(0o600)
    monkeypatch.setenv("X509_USER_PROXY", str(path))
    assert only(credentials.check(needed=True)).level == "error"


@pytest.mark.parametrize(
    ("address", "warned"),
    [("tcp://10.0.0.1:1", True), ("tls://10.0.0.1:1", False), ("tcp://127.0.0.1:1", False), ("inproc://1/2", False)],
)
def test_credentials_over_an_open_network(address, warned):
    client = SimpleNamespace(scheduler_info=lambda n_workers: {"address": address})
    assert levels(credentials.unencrypted(SimpleNamespace(client=client))) == ["warning"] * warned  # type: ignore[arg-type]
    assert list(credentials.unencrypted(SimpleNamespace())) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("executor", [
    SimpleNamespace(address="tcp://10.0.0.1:1"),
    SimpleNamespace(client=SimpleNamespace(scheduler_info=lambda n_workers: {"address": "tcp://10.0.0.1:1"})),
])  # fmt: skip
def test_a_run_warns_and_sends_no_credentials_over_an_open_network_unless_told(
    no_credentials, monkeypatch, tmp_path, make_analysis, executor
):
    monkeypatch.setenv("BEARER_TOKEN", make_token({"exp": time.time() + 90000}).decode())
    monkeypatch.setattr("portico.doctor.ask_cluster", lambda executor: ({}, {}))
    given = []
    executor.send_credentials = given.append
    analysis = remote_analysis(make_analysis)
    for told, words in (("", "they are not sent to the workers of tcp://10.0.0.1:1"), ("1", "they are sent to")):
        monkeypatch.setenv("PORTICO_SEND_UNENCRYPTED", told)
        found = doctor.quick_check(analysis, executor, tmp_path)
        assert [words in finding.what for finding in found if finding.check == "credentials"] == [True]
        CredentialRefresh(executor, lambda text: None, needed=True).refresh()
        assert len(given) == bool(told)


def remote_analysis(make_analysis):
    return make_analysis("\n", '  - {name: s, function: "mysteps:s"}', '    a: {files: ["root://127.0.0.1//x.root"]}')


def test_the_quick_check_asks_no_worker_and_is_quick(no_credentials, make_analysis, monkeypatch, tmp_path):
    analysis = remote_analysis(make_analysis)
    assert doctor.quick_check(analysis, SimpleNamespace(), tmp_path / "run") == []  # type: ignore[arg-type]
    monkeypatch.setenv("BEARER_TOKEN", make_token({"exp": 1700000000}).decode())
    began = time.process_time()
    finding = only(doctor.quick_check(analysis, SimpleNamespace(), tmp_path / "run"))  # type: ignore[arg-type]
    assert time.process_time() - began < 0.5
    assert "2023-11-14 22:13 UTC" in str(finding)
    assert not (tmp_path / "run").exists()


def test_the_quick_check_names_a_missing_extra(no_credentials, make_analysis, monkeypatch, tmp_path):
    analysis = remote_analysis(make_analysis)
    monkeypatch.setattr("portico.doctor.importlib.util.find_spec", lambda _: None)
    finding = only(doctor.quick_check(analysis, SimpleNamespace(), tmp_path))  # type: ignore[arg-type]
    assert "portico-hep[xrootd]" in finding.fix


def test_findings_are_json():
    finding = only(machines.versions(facts(w3=worker(python="3.11.9"))))
    assert set(json.loads(json.dumps(finding.to_json()))) == {"level", "check", "what", "why", "fix"}


def test_a_server_that_does_not_answer_is_told_at_once():
    began = time.monotonic()
    problem = probe._unreachable("root://127.0.0.1:9//store/x.root")
    assert problem.startswith("no server answers at 127.0.0.1:9: ")
    assert time.monotonic() - began < 5
    assert probe._unreachable("/local/x.root") == probe._unreachable("https://host/x.root") == ""


def test_memory_of_a_control_group(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    limit.write_text("123456789\n")
    monkeypatch.setattr(probe, "_CGROUPS", (str(tmp_path) + "/memory.max",))
    assert probe._memory()["total"] == 123456789
    limit.write_text("max\n")
    assert probe._memory()["total"] > 123456789
