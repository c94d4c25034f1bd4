"""Input and output over real servers of XRootD, and what happens when these fail."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from XRootD import client

import portico
from portico.analysis.analysis import Analysis
from portico.analysis.chunks import Chunk
from portico.analysis.dataset import Sample
from portico.environment.bundle import collect
from portico.environment.credentials import Credentials
from portico.errors import InputError, RunFolderError, SpaceError, StepError
from portico.executors.local import LocalExecutor
from portico.files import TreeSummary, summarise, summarise_each
from portico.files.checksums import checksum_of_file, server_checksums
from portico.files.kept import stamps
from portico.files.storage import checksum_of, storage_of
from portico.worker.task import Done, Failed, Outcome, Task
from tests.conftest import Remember, numbers_of, write_events
from tests.proxies import authority, host, make_proxy, private
from tests.services.farm.need import free_port
from tests.services.farm.proxy import SlowLink
from tests.services.farm.user import User
from tests.services.farm.xrootd import XRootDServer

pytestmark = pytest.mark.xrootd

CODE = '''
"""Steps of a test."""


def keep(frame, sample):
    kept = frame.Filter("x > 2", "x > 2")
    return {
        "tree": kept.Snapshot("Events", "kept.root"),
        "h": kept.Histo1D(("h", "", 20, 0, 10), "x", "w"),
        "cutflow": kept.Report(),
    }


def fill(frame, sample):
    return {"h": frame.Histo1D(("h", "", 20, 0, 10), "x", "w"), "sum": frame.Sum("w"), "n": frame.Count()}


def slow(frame, sample):
    waited = frame.Filter("gSystem->Sleep(10), true", "all")
    return fill(waited, sample)
'''
STEPS = """
  - {name: keep, function: "mysteps:keep", chunk: 50 entries}
  - {name: fill, function: "mysteps:fill", input: keep, chunk: 50 entries}
"""
FILL = '  - {name: fill, function: "mysteps:fill", chunk: 50 entries}'
SLOW = '  - {name: slow, function: "mysteps:slow", chunk: 50 entries}'

Start = Callable[..., XRootDServer]
Make = Callable[..., Analysis]


IMPATIENT = {"ConnectionWindow": 1, "ConnectionRetry": 2, "StreamErrorWindow": 1}


@pytest.fixture
def impatient() -> Iterator[None]:
    """Make the client of this process give a server up after 2 s."""
    before = {name: client.EnvGetInt(name) for name in IMPATIENT}
    for name, seconds in IMPATIENT.items():
        client.EnvPutInt(name, seconds)
    yield
    for name, value in before.items():
        client.EnvPutInt(name, value)


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    made = LocalExecutor(1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def hasty_process() -> Iterator[LocalExecutor]:
    made = LocalExecutor(1)
    with pytest.MonkeyPatch.context() as patch:
        for name, seconds in IMPATIENT.items():
            patch.setenv(f"XRD_{name.upper()}", str(seconds))
        made.call({"op": "probe"}, [])  # its process starts, and keeps these settings
    yield made
    made.close()


@pytest.fixture
def hasty(hasty_process: LocalExecutor, impatient: None) -> LocalExecutor:
    """One process that gives a server up after 2 s, as this one does."""
    return hasty_process


@pytest.fixture
def one(tmp_path: Path) -> Path:
    write_events(tmp_path / "one.root", np.random.default_rng(3), 250)
    return tmp_path / "one.root"


def listed(*files: Any) -> str:
    return f"    a: {{files: {[str(f) if not isinstance(f, list) else [str(p) for p in f] for f in files]}}}"


def run_chunk(
    executor: LocalExecutor, folder: Path, url: str, uuid: str, store: str, function: str = "keep", last: int = 250,
    source: str = "",
) -> Outcome:  # fmt: skip
    """Run one chunk as the driver would."""
    (folder / "mysteps.py").write_text(CODE)
    executor.prepare(collect(f"mysteps:{function}", folder))
    sample = Sample(name="a").model_dump(exclude={"files"})
    task = Task("key", 1, Chunk(url, uuid, "Events", 0, last), f"mysteps:{function}", sample, {}, store, source=source)
    executor.submit(task)
    while not (outcomes := executor.wait(1)):
        pass
    return outcomes[0]


def test_a_server_keeps_files(xrootd_server: Start, one: Path) -> None:
    server = xrootd_server()
    keeps_files(server.url("some/folder"), server.folder / "some" / "folder", one)


def keeps_files(url: str, folder: Path, one: Path) -> None:
    storage = storage_of(url)
    assert storage.listed(url) == {}
    assert not storage.holds(url)
    storage.make(url)
    storage.make(url)
    assert storage.write(f"{url}/.1.part", one) == checksum_of(one)
    assert (folder / ".1.part").read_bytes() == one.read_bytes()
    assert storage.holds(url)
    assert storage.list(url.rpartition("/")[0], ".part") == [f"{url}/.1.part"]
    (folder / "x.root").write_bytes(b"older")
    storage.rename(f"{url}/.1.part", f"{url}/x.root")
    assert (folder / "x.root").read_bytes() == one.read_bytes()
    assert not (folder / ".1.part").exists()
    assert storage.checksum(f"{url}/x.root") == storage._read_back(f"{url}/x.root") == checksum_of(one)
    found = stamps([f"{url}/x.root", f"{url}/y.root", f"{url}-not/x.root", str(one)])
    there = {path: stamp and int(stamp.partition(":")[0]) for path, stamp in found.items()}
    assert there == {
        f"{url}/x.root": one.stat().st_size, f"{url}/y.root": None, f"{url}-not/x.root": None,
        str(one): one.stat().st_size,
    }  # fmt: skip
    assert found[f"{url}/x.root"] == storage.stamp(f"{url}/x.root")
    for _ in range(2):
        storage.remove(f"{url}/x.root")
    assert storage.size(f"{url}/x.root") is None
    with pytest.raises(InputError, match=r"x\.root: cannot be renamed to y\.root: .*\[3011\]"):
        storage.rename(f"{url}/x.root", f"{url}/y.root")


def test_what_was_written_wrongly_is_removed(
    xrootd_server: Start, one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = xrootd_server()
    storage = storage_of(server.url())
    copy = type(storage)._copy

    def and_damage(self: Any, source: Path, path: str, size: int) -> Any:
        answer = copy(self, source, path, size)
        with (server.folder / "x.root").open("r+b") as stream:
            stream.seek(1000)
            stream.write(b"other")
        return answer

    monkeypatch.setattr(type(storage), "_copy", and_damage)
    with pytest.raises(InputError, match="was written wrongly"):
        storage.write(server.url("x.root"), one)
    assert not (server.folder / "x.root").exists()


def test_a_run_over_a_server_is_equal_to_a_local_one(
    xrootd_server: Start, events: Path, make_analysis: Make, executor: LocalExecutor, tmp_path: Path
) -> None:
    local = portico.run(
        make_analysis(CODE, STEPS, listed(events / "events0.root", events / "empty.root")),
        folder=tmp_path / "local", executor=executor,
    )  # fmt: skip
    server = xrootd_server()
    urls = [server.put(events / name) for name in ("events0.root", "empty.root")]
    store = server.url("trees/run")
    analysis = make_analysis(CODE, f"{STEPS}\nstore: {store}", listed(*urls))
    run = portico.run(analysis, folder=tmp_path / "far", executor=executor)
    for step in ("keep", "fill"):
        assert numbers_of(run, step) == numbers_of(local, step)
    trees = list(run["keep"]["a"]["tree"])
    assert len(trees) == 5
    assert all(tree.startswith(f"{store}/keep/a/Events-") for tree in trees)
    # Not over the server: it would go on to give the files that are open, also after they were removed.
    files = [server.folder / tree.removeprefix(server.url()) for tree in trees]
    columns = uproot.concatenate([f"{file}:Events" for file in files], ["x", "w"])
    x = uproot.open(f"{events / 'events0.root'}:Events")["x"].array(library="np")
    assert columns["x"].to_numpy().tobytes() == x[x > 2].tobytes()
    assert not list(server.folder.rglob("*.part"))
    assert not list((tmp_path / "far").rglob("kept*.root")) + list((tmp_path / "far").rglob("Events*.root"))

    files[1].unlink()  # is made again, and nothing else
    again = Remember()
    run = portico.run(analysis, folder=tmp_path / "far", executor=executor, reporter=again)
    assert again.ran == {"keep": 1, "fill": 1}
    assert numbers_of(run, "fill") == numbers_of(local, "fill")
    assert list(run["keep"]["a"]["tree"]) == trees

    analysis = make_analysis(CODE.replace("x > 2", "x > 3"), f"{STEPS}\nstore: {store}", listed(*urls))
    run = portico.run(analysis, folder=tmp_path / "far", executor=executor)
    there = set(storage_of(store).list(f"{store}/keep", ".root"))
    assert there == set(run["keep"]["a"]["tree"])  # those of the older code lie elsewhere
    with pytest.raises(RunFolderError, match="contains something other than the trees of this run"):
        portico.run(analysis, folder=tmp_path / "other", executor=executor)


@pytest.mark.full
def test_a_server_away_for_20_seconds(
    xrootd_server: Start, events: Path, make_analysis: Make, executor: LocalExecutor, tmp_path: Path
) -> None:
    names = [f"events{number}.root" for number in range(4)]
    local = make_analysis(CODE, SLOW.replace("slow", "fill"), listed(*(events / name for name in names)))
    quiet = portico.run(local, folder=tmp_path / "quiet", executor=executor)
    server = xrootd_server()
    urls = [server.put(events / name) for name in names]

    def away() -> None:
        server.stop()
        time.sleep(20)
        server.start()

    outage = threading.Thread(target=away)
    reporter = Remember(lambda advanced: outage.start() if advanced == 3 else None)
    began = time.monotonic()
    analysis = make_analysis(CODE, SLOW, listed(*urls))
    run = portico.run(analysis, folder=tmp_path / "run", executor=executor, reporter=reporter)
    assert time.monotonic() - began > 20
    outage.join()
    assert numbers_of(run, "slow") == {
        name.replace("fill", "slow"): value for name, value in numbers_of(quiet, "fill").items()
    }
    assert run["slow"]["a"]["n"] == 1000


@pytest.mark.full
def test_a_slow_server_is_read_to_the_end(
    xrootd_server: Start,
    slow_link: Callable[[XRootDServer, float], SlowLink],
    one: Path,
    make_analysis: Make,
    executor: LocalExecutor,
    tmp_path: Path,
) -> None:
    server = xrootd_server()
    server.put(one)
    link = slow_link(server, 10_000)
    analysis = make_analysis(CODE, FILL.replace("50 entries", "250 entries"), listed(server.url("one.root", link.port)))
    run = portico.run(analysis, folder=tmp_path / "run", executor=executor)
    assert run["fill"]["a"]["n"] == 250
    assert link.passed > 10_000


@pytest.mark.full
def test_a_dead_server_is_known_soon(one: Path, hasty: LocalExecutor, tmp_path: Path) -> None:
    url = f"root://127.0.0.1:{free_port()}//one.root"
    began = time.monotonic()
    failed = run_chunk(hasty, tmp_path, url, "", str(tmp_path))
    assert isinstance(failed, Failed)
    assert failed.kind == "transient"
    assert "Connection error" in failed.message
    (error,) = summarise_each([url], "Events")
    assert str(error).startswith(f"{url}: cannot be opened: ")
    assert "[FATAL] Connection error" in str(error)
    assert time.monotonic() - began < 60


def test_with_the_columns_kept_no_server_is_needed(
    xrootd_server: Start, one: Path, impatient: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTICO_COLUMNS", str(tmp_path / "columns"))
    for name, seconds in IMPATIENT.items():
        monkeypatch.setenv(f"XRD_{name.upper()}", str(seconds))
    server, caching = xrootd_server(), LocalExecutor(1)
    url, uuid = server.put(one), summarise(str(one), "Events").uuid

    def fill(source: str) -> Outcome:
        return run_chunk(caching, tmp_path, url, uuid, str(tmp_path), "fill", source=source)

    try:
        plain, first = fill(""), fill(uuid)
        server.stop()
        again, without = fill(uuid), fill("")
    finally:
        caching.close()
    assert isinstance(plain, Done)
    assert isinstance(first, Done)
    assert isinstance(again, Done), again
    assert isinstance(without, Failed)
    assert first.metrics["columns_filled"] == again.metrics["columns_found"] == 2
    assert again.metrics["columns_filled"] == 0
    assert plain.partial == first.partial == again.partial


def test_summaries_and_checksums_of_servers_are_remembered(
    xrootd_server: Start, one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTICO_CACHE", str(tmp_path / "cache"))
    server = xrootd_server()
    url = server.put(one)
    os.utime(server.folder / "one.root", (1e9, 1e9))
    (first,) = summarise_each([url], "Events")
    assert isinstance(first, TreeSummary)
    assert first.version == f"{one.stat().st_size}:{10**18}"
    assert server_checksums([(url, first.version), (str(one), "")]) == {url: checksum_of(one)}
    assert checksum_of_file(url).source == "its server"
    with monkeypatch.context() as patched:
        patched.setattr("portico.files.summaries.summarise", None)
        patched.setattr("portico.files.storage._Server.kept_checksum", None)
        assert summarise_each([url], "Events") == [first]
        assert server_checksums([(url, first.version)]) == {url: checksum_of(one)}
    (server.folder / "one.root").write_bytes(one.read_bytes() + b" ")
    (changed,) = summarise_each([url], "Events")
    assert isinstance(changed, TreeSummary)
    assert changed.version.startswith(f"{one.stat().st_size + 1}:")
    assert server_checksums([(url, changed.version)]) == {url: checksum_of(server.folder / "one.root")}


def test_files_that_are_not_what_was_planned(
    xrootd_server: Start, one: Path, executor: LocalExecutor, tmp_path: Path
) -> None:
    server = xrootd_server()
    url = server.put(one)
    planned = summarise(url, "Events")
    there = server.folder / "one.root"

    def outcome(url: str = url) -> Failed:
        failed = run_chunk(executor, tmp_path, url, planned.uuid, str(tmp_path))
        assert isinstance(failed, Failed)
        return failed

    assert isinstance(run_chunk(executor, tmp_path, url, planned.uuid, str(tmp_path)), Done)
    with there.open("r+b") as stream:
        stream.truncate(one.stat().st_size * 3 // 5)
    assert outcome().kind == "input"
    with pytest.raises(InputError, match=r"one\.root: .*truncated"):
        summarise(url, "Events")

    write_events(tmp_path / "other.root", np.random.default_rng(4), 250)
    shutil.copyfile(tmp_path / "other.root", there)
    failed = outcome()
    assert failed.kind == "input"
    assert "was replaced after the run was planned" in failed.message

    gone = server.put(one, "gone.root")
    (server.folder / "gone.root").unlink()
    failed = outcome(gone)
    assert failed.kind == "input"
    assert "[3011]" in failed.message
    assert "no such file or directory" in failed.message
    with pytest.raises(InputError, match="no such file or directory"):
        summarise(gone, "Events")


@pytest.mark.full
def test_damage_in_the_middle_is_not_counted(
    xrootd_server: Start, one: Path, executor: LocalExecutor, tmp_path: Path
) -> None:
    server = xrootd_server()
    url = server.put(one)
    planned = summarise(url, "Events")
    with uproot.open(one) as file:
        place = file["Events"]["x"].member("fBasketSeek")[2]
    with (server.folder / "one.root").open("r+b") as stream:
        stream.seek(int(place))
        stream.write(bytes(300))
    failed = run_chunk(executor, tmp_path, url, planned.uuid, str(tmp_path))
    assert isinstance(failed, Failed)
    assert failed.kind in {"input", "crash"}


def test_a_file_with_fewer_columns(
    xrootd_server: Start, one: Path, make_analysis: Make, executor: LocalExecutor, tmp_path: Path
) -> None:
    server = xrootd_server()
    with uproot.recreate(tmp_path / "fewer.root") as file:
        file["Events"] = {"x": np.arange(10.0)}
    analysis = make_analysis(CODE, FILL, listed(server.put(one), server.put(tmp_path / "fewer.root")))
    with pytest.raises(StepError, match="column 'w' is missing"):
        portico.run(analysis, folder=tmp_path / "run", executor=executor)


def test_a_store_that_may_not_be_written(
    xrootd_server: Start, one: Path, executor: LocalExecutor, tmp_path: Path
) -> None:
    closed = xrootd_server(read_only=True)
    failed = run_chunk(executor, tmp_path, str(one), "", closed.url("trees"))
    assert isinstance(failed, Failed)
    assert failed.kind == "disk"  # another machine may be let in
    for words in (closed.url("trees"), "marked read/only", "choose another folder"):
        assert words in failed.message
    assert not list(closed.folder.rglob("*"))
    with pytest.raises(RunFolderError, match="marked read/only"):
        storage_of(closed.url("trees")).make(closed.url("trees"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_store_that_is_full(xrootd_server: Start, one: Path, executor: LocalExecutor, tmp_path: Path) -> None:
    server = xrootd_server()
    disk = server.folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k,mode=777", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted: {mounted.stderr.decode()}")
    try:
        (disk / "filler").write_bytes(bytes(16 * 1024))
        failed = run_chunk(executor, tmp_path, str(one), "", server.url("disk/trees"))
        assert isinstance(failed, Failed)
        assert failed.kind == "space"
        assert "space" in failed.message
        assert server.url("disk/trees") in failed.message
        assert not list(disk.rglob("*.part"))
        with pytest.raises(SpaceError):
            storage_of(server.url()).write(server.url("disk/one.root"), one)
        assert not list(disk.rglob("*.root"))
    finally:
        server.stop()
        subprocess.run(["umount", disk], check=True)


@pytest.mark.full
def test_a_store_that_does_not_answer_is_said(one: Path, hasty: LocalExecutor, tmp_path: Path) -> None:
    store = f"root://127.0.0.1:{free_port()}//trees"
    failed = run_chunk(hasty, tmp_path, str(one), "", store)
    assert isinstance(failed, Failed)
    assert failed.kind == "transient"
    assert f"a tree in {store}: cannot be written" in failed.message
    assert "Connection error" in failed.message
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.full
def test_another_place_is_read_when_the_first_is_dead(
    xrootd_server: Start, events: Path, make_analysis: Make, hasty: LocalExecutor, tmp_path: Path
) -> None:
    names = ["events0.root", "events1.root"]
    quiet = portico.run(
        make_analysis(CODE, FILL, listed(*(events / name for name in names))), folder=tmp_path / "quiet", executor=hasty
    )
    server, dead = xrootd_server(), f"root://127.0.0.1:{free_port()}//"
    places = [[dead + name, server.put(events / name)] for name in names]
    reporter = Remember()
    run = portico.run(
        make_analysis(CODE, FILL, listed(*places)), folder=tmp_path / "run", executor=hasty, reporter=reporter
    )
    assert numbers_of(run, "fill") == numbers_of(quiet, "fill")


@pytest.mark.full
def test_another_place_is_read_when_the_first_dies(
    xrootd_server: Start, events: Path, make_analysis: Make, hasty: LocalExecutor, tmp_path: Path
) -> None:
    names = ["events0.root", "events1.root"]
    analysis = make_analysis(CODE, FILL, listed(*(events / name for name in names)))
    quiet = portico.run(analysis, folder=tmp_path / "quiet", executor=hasty)
    first, second = xrootd_server(), xrootd_server()
    places = [[server.put(events / name) for server in (first, second)] for name in names]
    reporter = Remember(lambda advanced: first.stop() if advanced == 2 else None)
    analysis = make_analysis(CODE, FILL, listed(*places))
    run = portico.run(analysis, folder=tmp_path / "run", executor=hasty, reporter=reporter)
    assert numbers_of(run, "fill") == numbers_of(quiet, "fill")
    assert any(first.url("events") in warning and "next replica" in warning for warning in reporter.warnings)


@contextmanager
def refusing() -> Iterator[tuple[str, list[int]]]:
    """Yield the address of a server that hangs up on everybody, and a list with an element for each who called."""
    calls: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    caller, (_, port) = listener.accept()
                    calls.append(port)
                    caller.close()

        threading.Thread(target=answer, daemon=True).start()
        yield f"root://127.0.0.1:{listener.getsockname()[1]}", calls
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.full
def test_all_places_that_were_tried_are_named(xrootd_server: Start, one: Path, impatient: None) -> None:
    server, asked = xrootd_server(), []
    server.put(one)
    for names in (("one",), ("one", "two", "three")):
        with refusing() as (dead, calls):
            files = [f"{dead}//{name}.root" for name in names]
            others = {file: (server.url(file.rpartition("/")[2]),) for file in files}
            found = summarise_each(files, "Events", 1, replicas=others)
        asked.append(len(calls))
        assert found[0] == summarise(server.url("one.root"), "Events")
        for file, error in zip(files[1:], found[1:], strict=True):
            assert isinstance(error, InputError)
            assert f"  {file}: its server" in str(error)
            assert f"  {others[file][0]}: cannot be opened" in str(error)
            assert "[3011]" in str(error)
    assert 0 < asked[1] <= asked[0] + 1, "the dead server is asked for one file, and not for the others"


@pytest.mark.full
def test_root_and_uproot_read_in_one_process(xrootd_server: Start, one: Path) -> None:
    url = xrootd_server().put(one)
    by_root = f"""
import warnings; warnings.simplefilter("ignore"); import ROOT
ROOT.gEnv.SetValue("TFile.ForceRemote", 1)
print(ROOT.RDataFrame("Events", "{url}").Count().GetValue())
"""
    by_uproot = f"import uproot; print(uproot.open('{url}:Events').num_entries)\n"
    for code in (by_root + by_uproot + by_root, by_uproot + by_root + by_uproot):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
        assert done.stdout.split() == ["250", "250", "250"], done.stderr


@pytest.mark.full
def test_behind_a_redirector(user: User, xrootd_server: Start, one: Path, executor: LocalExecutor) -> None:
    shared = free_port()
    cluster = {"all__manager": f"127.0.0.1:{shared}"}
    server = xrootd_server(all__role="server", **cluster)
    manager = xrootd_server(
        all__role="manager", cms__delay="startup 2 servers 1 full 1 lookup 1", **cluster
    )
    daemons = [Cms(user, manager, shared), Cms(user, server, free_port())]
    try:
        server.put(one)
        url = manager.url("one.root")
        for _ in range(100):
            with suppress(InputError):
                summarise(url, "Events")
                break
        far, near = (replace(summarise(path, "Events"), file="", version="") for path in (url, str(one)))
        assert far == near
        keeps_files(manager.url("some/folder"), server.folder / "some" / "folder", one)
        done = run_chunk(executor, one.parent, url, summarise(url, "Events").uuid, manager.url("trees"))
        assert isinstance(done, Done)
        (item,) = done.files
        written = server.folder / item["path"].removeprefix(manager.url())
        assert written.parent == server.folder / "trees"
        assert checksum_of(written) == item["adler32"]
    finally:
        for daemon in daemons:
            daemon.stop()


@pytest.mark.full
def test_proxies_open_input_and_store(
    user: User, xrootd_server: Start, one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust = user.folder("trust")
    pem = user.write(trust / "authority.pem", authority().decode())
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(pem)]
    named = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    pem.rename(trust / f"{named}.0")
    user.write(trust / "host.pem", host().decode())
    user.write(trust / "host.key", private(3).decode(), 0o400)
    for name, value in {"X509_CERT_DIR": trust, "X509_USER_PROXY": trust / "none", "XrdSecGSISRVNAMES": "*"}.items():
        monkeypatch.setenv(name, str(value))
    options = f"-certdir:{trust} -cert:{trust}/host.pem -key:{trust}/host.key -crl:0 -gmapopt:10 -vomsat:0 -dlgpxy:0"
    server = xrootd_server(xrootd__seclib="libXrdSec.so", sec__protocol=f"gsi {options}", sec__protbind="* only gsi")
    url = server.put(one)
    executor = LocalExecutor(1)
    try:
        for file, store in ((url, str(tmp_path)), (str(one), server.url("trees"))):
            failed = run_chunk(executor, tmp_path, file, "", store)
            assert isinstance(failed, Failed)
            assert failed.kind == "user"
            assert "Auth failed" in failed.message
            assert "renew" in failed.message
        executor.send_credentials(Credentials({"proxy": make_proxy()}))
        done = run_chunk(executor, tmp_path, url, "", server.url("trees"))
        assert isinstance(done, Done)
        (item,) = done.files
        assert checksum_of(server.folder / item["path"].removeprefix(server.url())) == item["adler32"]
    finally:
        executor.close()


class Cms:
    """The daemon that makes a server part of a cluster, with the server's configuration."""

    def __init__(self, user: User, server: XRootDServer, port: int) -> None:
        text = server._config.read_text()
        config = user.write(server.home / "cms", text.replace(f"xrd.port {server.port}", f"xrd.port {port}"))
        self._process = user.popen(["cmsd", "-c", config, "-l", server.home / "cms.log"])

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
