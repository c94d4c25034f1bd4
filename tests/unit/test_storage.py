"""Storage: folders, replicas of a file, the store of a run; and errors that are transient."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import threading
import traceback
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portico.analysis.analysis import load_analysis
from portico.analysis.dataset import Sample, load_dataset
from portico.errors import ConfigError, InputError, MissingExtra, RunFolderError, SpaceError, StepError
from portico.files import may_pass, raise_errors, remote, retried, summarise, summarise_each, tune_xrootd
from portico.files.kept import stamps
from portico.files.storage import normal, storage_of
from portico.runfolder.folder import RunFolder
from portico.runfolder.tidy import settle
from portico.worker.classify import check_log, classify
from portico.worker.output_trouble import OutputError
from portico.worker.runner import Runner
from tests.conftest import write_events


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited; the clock goes on by them and by nothing else."""
    waited: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", waited.append)
    monkeypatch.setattr(remote.time, "monotonic", lambda: sum(waited))
    return waited


def failing(times: int, words: str) -> Any:
    left = [InputError(words)] * times

    def attempt() -> str:
        if left:
            raise left.pop()
        return "done"

    return attempt


def test_what_may_pass_is_tried_again_after_growing_waits(waits: list[float]) -> None:
    assert retried(failing(4, "x: [ERROR] Operation expired")) == "done"
    assert waits == [1, 2, 4, 8]


def test_patience_ends_and_the_last_error_is_told(waits: list[float]) -> None:
    with pytest.raises(InputError, match="Connection error"):
        retried(failing(100, "x: [FATAL] Connection error"))
    assert waits == [1, 2, 4, 8]  # the next attempt would begin after half a minute


def test_what_does_not_pass_is_not_tried_again(waits: list[float]) -> None:
    with pytest.raises(InputError):
        retried(failing(1, "x: [ERROR] Server responded with an error: [3011] no such file or directory"))
    assert waits == []


# What XRootD 5 wrote in the situations told, each caused on purpose, but for those from its source, which is named.
SERVER = "[ERROR] Server responded with an error: "
PASSING = [
    "[FATAL] Connection error",  # nobody listens
    "[FATAL] Socket error",  # no route
    "[FATAL] Socket timeout",  # a server that was stopped with SIGSTOP
    "[FATAL] Invalid address",  # the name is not known
    "[ERROR] Operation expired",
    "[FATAL] Redirect limit has been reached",  # XrdClStatus.cc
    SERVER + "[3011] No servers are available to read the file.",  # a redirector without servers
    SERVER + "[3007] Unable to read /x; input/output error",  # XProtocol.hh
]
LASTING = [
    SERVER + "[3011] Unable to open file /x; no such file or directory",
    SERVER + "[3010] Unable to create /x; permission denied",
    SERVER + "[3025] Unable to create /x; file system is marked read/only",
    "page checksum verification failed",
]


def test_passing_and_lasting_errors() -> None:
    assert [words for words in PASSING if not may_pass(words)] == []
    assert [words for words in LASTING if may_pass(words)] == []


def classified(error: BaseException, log: str = "", where: str = "") -> tuple[str, str]:
    try:
        raise error
    except BaseException as caught:
        return classify(caught, log, traceback.extract_tb(caught.__traceback__), where)


def opening(words: str) -> str:
    return f"Error in <TNetXNGFile::Open>: {words}\n"


@pytest.mark.parametrize("words", PASSING)
def test_what_may_pass_is_transient(words: str) -> None:
    assert classified(InputError("cannot be opened"), opening(words)) == ("transient", f"cannot be opened: {words}")
    assert classified(InputError(f"root://h//x: cannot be written: {words}"))[0] == "transient"
    assert classified(RuntimeError("loop"), opening(words), "steps.py:3") == ("transient", f"cannot be read: {words}")


@pytest.mark.parametrize("words", LASTING)
def test_what_lasts_is_bad_input(words: str) -> None:
    assert classified(InputError("cannot be opened"), opening(words)) == ("input", f"cannot be opened: {words}")


def test_who_is_not_let_in_does_not_lose_all_files() -> None:
    words = "[FATAL] Auth failed: No protocols left to try"  # a server that wants a proxy, asked without
    kind, text = classified(InputError("cannot be opened"), opening(words))
    assert kind == "user"
    assert text.startswith(f"cannot be opened: {words}; renew")


@pytest.mark.parametrize(
    ("error", "log", "where", "kind"),
    [
        (StepError("returned nothing"), opening("[FATAL] Connection error"), "", "user"),
        (ValueError("wrong"), "", "steps.py:3 (x)", "user"),
        (ValueError("wrong"), "", "", "internal"),
        (RuntimeError("loop"), "Error in <TBasket::ReadBasketBuffers>: bad\n", "", "input"),
        (OSError(errno.ENOSPC, "full"), "", "", "space"),
        (OSError(errno.EDQUOT, "full", "/r/x"), "", "", "space"),
        (SpaceError("full"), "", "", "space"),
        (RuntimeError("x"), "SysError in <TFile::WriteBuffer>: error (No space left on device)\n", "", "space"),
        (RuntimeError("x"), "SysError in <TFile::Flush>: error flushing file /r/x Input/output error\n", "", "disk"),
        (RuntimeError("x"), "SysError in <TFile::ReadBuffer>: error reading from file /r/x\n", "", "input"),
        (OutputError("/r/x: cannot be written: input/output error"), "", "", "disk"),
        (MemoryError(), "", "steps.py:3 (x)", "memory"),
        (RuntimeError("bad_alloc: std::bad_alloc"), "", "", "memory"),
        (RunFolderError("root://h//x: cannot be made: [3010] permission denied"), "", "", "user"),
        (InputError("was replaced after the run was planned"), "", "", "input"),
    ],
)
def test_kinds_of_failures(error: BaseException, log: str, where: str, kind: str) -> None:
    assert classified(error, log, where)[0] == kind


def test_a_full_disk_is_told_with_its_place() -> None:
    name = f"/store/a/.{'0' * 32}.part"
    said = f"SysError in <TFile::WriteBuffer>: error writing to file {name} (-1) (No space left on device)"
    assert classified(RuntimeError("x"), f"Info: other\n{said}\n") == ("space", "no space left in /store/a")


def test_messages_name_no_hidden_file(tmp_path: Path) -> None:
    (tmp_path / "stderr.log").touch()
    error = InputError(f"root://host//store/skim/a/.{'0' * 32}.part: cannot be written: no answer")
    words = Runner(tmp_path)._explain(error, 0)["message"]
    assert words == "a tree in root://host//store/skim/a: cannot be written: no answer"


def test_a_log_can_refuse_what_seemed_to_go_well() -> None:
    check_log("Info in <x>: nothing\n", "/f")
    harmless = "Error in <TBufferFile::CheckByteCount>: object of class TLeafF read too few bytes: 1 instead of 2\n"
    check_log(harmless, "/f")
    with pytest.raises(InputError, match=r"cannot be read: \[FATAL\] Socket timeout"):
        check_log("Error in <TNetXNGFile::ReadBuffers>: [FATAL] Socket timeout\n", "/f")
    with pytest.raises(InputError, match="ROOT reported: Error in <TBranch::GetBasket>"):
        check_log("Error in <TBranch::GetBasket>: bad\n", "/f")
    with pytest.raises(SpaceError, match="/f"):
        check_log("write: No space left on device\n", "/f")
    with pytest.raises(OutputError, match="/f: cannot be written: SysError in <TFile::WriteBuffer>: error writing"):
        check_log("SysError in <TFile::WriteBuffer>: error writing to file /f/x (-1) Input/output error\n", "/f")


def test_a_full_disk_of_the_column_cache_is_not_that_of_the_trees() -> None:
    own = "portico: /d/x.root entries 0-9: read without the column cache: write: No space left on device\n"
    check_log(own, "/f")
    assert classified(ValueError("wrong"), own, "steps.py:3 (x)")[0] == "user"
    with pytest.raises(SpaceError, match="/f"):
        check_log(f"{own}write: No space left on device\n", "/f")


def test_limits_of_the_client_give_way_to_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("XRD_")]:
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "XRootD.client", raising=False)
    monkeypatch.setenv("XRD_CONNECTIONWINDOW", "77")
    monkeypatch.setenv("XRD_STREAMERRORWINDOW", "")  # so that monkeypatch puts it back
    monkeypatch.delenv("XRD_STREAMERRORWINDOW")
    before = dict(os.environ)
    try:
        tune_xrootd()
        assert os.environ["XRD_CONNECTIONWINDOW"] == "77"
        assert int(os.environ["XRD_STREAMERRORWINDOW"]) < 60  # the client's own is half an hour
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]


def test_a_folder_keeps_files(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", str(tmp_path / "a" / "b")
    source.write_bytes(b"some bytes" * 1000)
    storage = storage_of(folder)
    assert storage.listed(folder) == {}
    assert not storage.holds(folder)
    storage.make(folder)
    storage.make(folder)
    assert not storage.holds(folder)
    written = storage.write(f"{folder}/.1.part", source)
    assert written == storage.checksum(f"{folder}/.1.part") == f"{zlib.adler32(source.read_bytes()):08x}"
    storage.rename(f"{folder}/.1.part", f"{folder}/x.root")
    assert storage.holds(folder)
    assert storage.list(str(tmp_path / "a"), ".root") == [f"{folder}/x.root"]
    assert storage.list(folder, ".part") == []
    found = stamps([f"{folder}/x.root", f"{folder}/y.root"])
    assert found == {f"{folder}/x.root": storage.stamp(f"{folder}/x.root"), f"{folder}/y.root": None}
    assert str(found[f"{folder}/x.root"]).startswith("10000:")
    storage.remove(f"{folder}/x.root")
    storage.remove(f"{folder}/x.root")
    assert storage.size(f"{folder}/x.root") is None


def test_a_file_that_a_network_disk_shows_late_is_renamed(tmp_path: Path) -> None:
    aside, final = tmp_path / ".1.part", tmp_path / "x.root"
    late = threading.Timer(0.4, aside.write_bytes, (b"late",))
    late.start()
    storage_of(tmp_path).rename(str(aside), str(final))
    assert final.read_bytes() == b"late"
    late.join()


def test_a_folder_that_is_full_or_closed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    storage = storage_of(tmp_path)
    with pytest.raises(RunFolderError, match="cannot be written: something else is in its place; remove it"):
        storage.make(str(source))
    monkeypatch.setattr("portico.files.storage._SEEN_SECONDS", 0.1)
    with pytest.raises(InputError, match="nothing: is not there"):
        storage.rename(str(tmp_path / "nothing"), str(tmp_path / "x"))
    with pytest.raises(InputError, match="nothing: cannot be read: No such file"):
        storage.checksum(str(tmp_path / "nothing"))

    def full(_: Path, target: str) -> None:
        Path(target).write_bytes(b"ha")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(SpaceError, match="target: no space left"):
        storage.write(str(tmp_path / "target"), source)
    assert not (tmp_path / "target").exists()


def test_places_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("https://host/x", "s3://bucket/x", "root:///x"):
        with pytest.raises(ConfigError, match=r"root://host//store/user/me"):
            storage_of(place)
    monkeypatch.setitem(sys.modules, "XRootD", None)
    with pytest.raises(MissingExtra, match=r"portico-hep\[xrootd\]"):
        storage_of("root://never-used-before//x")


def test_one_form_of_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert normal("a/") == str(tmp_path / "a")
    assert {normal(f"root://h:1/{path}") for path in ("s/x", "/s/x", "/s/x/", "//s/x")} == {"root://h:1//s/x"}


def claim(folder: Path, store: str | None) -> RunFolder:
    with RunFolder(folder, store).claim({"analysis": "a"}) as (claimed, _):
        return claimed


def test_a_store_belongs_to_one_run(tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = claim(tmp_path / "run", str(store))
    assert first.trees("skim", "a") == f"{store}/skim/a"
    assert RunFolder(tmp_path / "run").trees("skim", "a") == f"{tmp_path}/run/skim/a"
    assert claim(tmp_path / "run", None).store == str(store)  # remembered
    with pytest.raises(RunFolderError, match=f"{store}: contains something other than the trees of this run"):
        claim(tmp_path / "other", str(store))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "precious.root").write_bytes(b"root")
    with pytest.raises(RunFolderError, match="contains something other"):
        claim(tmp_path / "run", str(mine))


def test_a_copy_of_a_run_folder_leaves_the_store_to_the_original(tmp_path: Path) -> None:
    store, first, second = tmp_path / "store", tmp_path / "run", tmp_path / "second"
    claim(first, str(store))
    (store / "skim").mkdir()
    (store / "skim" / "x.root").touch()
    shutil.copytree(first, second)
    for given in (None, str(store)):
        with pytest.raises(RunFolderError, match=rf"{second}: is a copy of {first}.*{store} belongs to the original"):
            claim(second, given)
    claim(first, None)
    first.rename(tmp_path / "moved")
    assert claim(tmp_path / "moved", None).store == str(store), "a folder that was moved keeps its store"
    with pytest.raises(RunFolderError, match="is a copy of"):  # its original is not where it was
        claim(second, None)
    assert claim(second, str(tmp_path / "own")).store == str(tmp_path / "own")
    assert claim(second, None).store == str(tmp_path / "own")


def test_a_store_in_the_run_folder_moves_with_it(tmp_path: Path) -> None:
    claim(tmp_path / "run", str(tmp_path / "run" / "trees"))
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    (tmp_path / "run").rename(tmp_path / "moved")
    for name in ("moved", "copy"):
        assert claim(tmp_path / name, None).store == str(tmp_path / name / "trees")


def test_what_a_step_does_not_want_goes(tmp_path: Path) -> None:
    store, hidden = tmp_path / "store", f".{'0' * 32}.part"
    names = ["skim/a/x.root", "skim/a/old.root", f"skim/a/{hidden}", "skim/results.root", "fill/a/x.root",
             "skim/a/t-000000-0123abcd.root", "skim/a/t-000001-0123abcd-1.root", "skim/a/t-000000-ffffffff.root",
             "skim/a/mine.root", "skim/a/.mine.part", "skim/a/notes.txt"]  # fmt: skip
    for name in names:
        path = store / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())

    def left() -> set[str]:
        return {str(path.relative_to(store)) for path in store.rglob("*.*") if path.is_file()}

    x, old = (f"{store}/skim/a/{name}.root" for name in ("x", "old"))
    keys = ["0123abcd" * 8]
    assert not settle(str(store), "skim", {"b"}, wanted=[x], known={x, old}, keys=keys)  # another sample
    assert left() == set(names)
    moved = settle(str(store), "skim", None, wanted=[x], known={x, old}, keys=keys)
    assert moved == {f"{store}/skim/a/{name}.root": f"{store}/foreign.files/skim/a/{name}.root"
                     for name in ("mine", "t-000000-ffffffff")}  # fmt: skip
    others = {"skim/results.root", "fill/a/x.root", "skim/a/.mine.part", "skim/a/notes.txt",
              "foreign.files/skim/a/mine.root", "foreign.files/skim/a/t-000000-ffffffff.root"}  # fmt: skip
    assert left() == {"skim/a/x.root", "older.results/skim/a/old.root", *others}
    settle(str(store), "skim", {"a"}, wanted=[old], known={old, x}, keys=keys)  # back to the older one
    assert left() == {"skim/a/old.root", "older.results/skim/a/x.root", *others}
    (store / "skim/a/mine.root").write_bytes(b"again")
    again = settle(str(store), "skim", None, wanted=[old], known={old, x}, keys=keys)
    assert list(again.values()) == [f"{store}/foreign.files/skim/a/mine.root.2"]
    assert (store / "foreign.files/skim/a/mine.root").read_bytes() == b"skim/a/mine.root"


def test_folders_that_a_copy_would_share_are_refused(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "skim").symlink_to(tmp_path / "disk")
    with pytest.raises(RunFolderError, match=rf"run/skim: is a link to {tmp_path}/disk.*--store"):
        settle(str(tmp_path / "run"), "skim", None, wanted=[], known=(), keys=[])


def dataset_of(folder: Path, text: str) -> dict[str, Sample]:
    path = folder / "datasets.yaml"
    path.write_text(text)
    return load_dataset(path).samples


def test_places_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTICO_TEST_HOST", "b")
    (tmp_path / "local.root").write_bytes(b"root")
    (tmp_path / "list.json").write_text('[["root://a//z.root", "root://b//z.root"], "/store/w.root"]')
    samples = dataset_of(
        tmp_path,
        """
        redirectors: [root://a/, "root://c:1/atlas"]
        samples:
          one: {files: [[cache/x.root, "root://${PORTICO_TEST_HOST}//x.root"], local.root]}
          two: {files: [/store/y.root, list.json]}
          three: {files: /store/y.root, redirectors: [root://d]}
          four: {files: "*.root", redirectors: []}
        """,
    )
    first = f"{tmp_path}/cache/x.root"  # need not be there: the other may be
    assert samples["one"].files == (first, f"{tmp_path}/local.root")
    assert samples["one"].replicas == {first: ("root://b//x.root",)}
    assert samples["one"].replicas_of(first) == (first, "root://b//x.root")
    assert samples["one"].replicas_of("root://b//x.root") == ("root://b//x.root", first)
    assert samples["one"].replicas_of(f"{tmp_path}/local.root") == (f"{tmp_path}/local.root",)
    store = ("root://a//store/y.root", "root://c:1/atlas/store/y.root")
    assert samples["two"].replicas_of(store[0]) == store
    assert samples["two"].files == (store[0], "root://a//z.root", "root://a//store/w.root")
    assert samples["three"].files == ("root://d//store/y.root",)
    assert samples["four"].files == (f"{tmp_path}/local.root",)
    assert "replicas" not in samples["one"].model_dump()  # where the data lie does not make them others


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ('[["root://a//x.root", "root://b//x.root"], "root://b//x.root"]', "listed twice"),
        ('[["root://a//*.root", "root://b//x.root"]]', "servers are not searched"),
        ('["root://a//*.root"]', "name every file"),
        ("[[]]", "a file with no replica"),
        ("[[1]]", "files"),
        ('["/store/x.root"], redirectors: [host]', "'host' is not a URL"),
        ("x.root, replicas: {x.root: [y.root]}", "a list within 'files'; remove 'replicas'"),
    ],
)
def test_wrong_places_are_refused(tmp_path: Path, files: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        dataset_of(tmp_path, f"samples: {{one: {{files: {files}}}}}")


def test_a_file_is_read_where_it_is(tmp_path: Path) -> None:
    write_events(tmp_path / "here.root", np.random.default_rng(1), 20)
    (tmp_path / "bad.root").write_bytes(b"root and nothing more")
    here, bad, gone = (str(tmp_path / name) for name in ("here.root", "bad.root", "gone.root"))
    others = {gone: (bad, here)}
    found = raise_errors(summarise_each([gone, here], "Events", replicas=others))
    assert found == [summarise(here, "Events")] * 2
    good, wrong = summarise_each([here, gone], "Events", replicas={gone: (bad,)})
    assert good == summarise(here, "Events")
    assert isinstance(wrong, InputError)
    for words in ("gone.root: none of its 2 replicas can be read", "gone.root: no such file", "bad.root: cannot"):
        assert words in str(wrong)


def test_the_store_of_an_analysis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTICO_TEST_USER", "me")
    write_events(tmp_path / "x.root", np.random.default_rng(1), 1)
    steps = "dataset: {samples: {a: {files: x.root}}}\nsteps: [{name: s, function: 'm:f'}]\n"
    path = tmp_path / "analysis.yaml"
    for text, store in {
        "": None,
        "store: root://h/store/${PORTICO_TEST_USER}/": "root://h//store/me",
        "store: trees": f"{tmp_path}/trees",
    }.items():
        path.write_text(f"name: a\n{text}\n{steps}")
        assert load_analysis(path).store == store
        assert load_analysis(path, store="root://other//x").store == "root://other//x"
