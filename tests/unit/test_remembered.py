"""Summaries and checksums that are remembered between runs: never those of a file that changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import uproot

from portico.files import TreeSummary, raise_errors, summaries, summarise, summarise_each
from portico.files.checksums import checksum_of_file
from portico.files.remembered import Remembered, cache_folder, remembered
from portico.files.storage import checksum_of
from portico.files.summary import Column
from portico.files.version import Version, look_at


def write(path: Path, entries: int = 10, columns: tuple[str, ...] = ("x",)) -> str:
    with uproot.recreate(path) as file:
        file.mktree("Events", dict.fromkeys(columns, "float32"))
        for _ in range(2):
            file["Events"].extend({name: np.zeros(entries // 2, np.float32) for name in columns})
    return str(path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new cache of the user, in a file."""
    monkeypatch.setenv("PORTICO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "files.sqlite"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are opened."""
    names: list[str] = []

    def noted(file: str, tree: str, version: Version | None = None) -> TreeSummary:
        names.append(file)
        return summarise(file, tree, version)

    monkeypatch.setattr(summaries, "summarise", noted)
    return names


def look(*files: str) -> list[TreeSummary]:
    return raise_errors(summarise_each(files, "Events"))


def settle() -> None:
    time.sleep(0.05)  # longer than a tick of the clock that stamps files


def test_a_file_is_opened_once(tmp_path: Path, cache: Path, opened: list[str]) -> None:
    files = [write(tmp_path / f"{i}.root", 10 + 2 * i, ("x", "y")) for i in range(3)]
    settle()
    first = look(*files)
    assert sorted(opened) == files
    assert look(*files) == first == look(*files)
    assert sorted(opened) == files
    assert [s.entries for s in first] == [10, 12, 14]
    assert first[0].columns is first[2].columns
    with sqlite3.connect(cache) as database:
        assert database.execute("SELECT COUNT(*) FROM columns").fetchone() == (1,)
    code = (
        "from portico.files import summaries\nsummaries.summarise = None\n"
        f"print(summaries.summarise_each([{files[1]!r}], 'Events'))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == str([first[1]])


def test_a_file_that_changed_is_read_again(tmp_path: Path, cache: Path, opened: list[str]) -> None:
    file, other = write(tmp_path / "a.root"), write(tmp_path / "b.root", 20)
    status = Path(file).stat()
    settle()
    (before,) = look(file)
    data = Path(file).read_bytes()
    Path(file).write_bytes(data.replace(b"x", b"z"))  # of the same size
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    (after,) = look(file)
    assert [c.name for c in before.columns] == ["x"]
    assert [c.name for c in after.columns] == ["z"]
    assert (after.version, len(opened)) == (before.version, 2)  # all that the key has of its version is the same
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    Path(other).replace(file)
    assert look(file)[0].entries == 20


def test_a_file_that_has_just_been_written_is_not_remembered(tmp_path: Path, cache: Path, opened: list[str]) -> None:
    file = write(tmp_path / "a.root")
    version = look_at(file)
    assert version is not None
    memory, summary = remembered(), summarise(file, "Events")
    memory.keep([("Events", Version(version.text, version.stamp, settled=False), summary)])
    assert memory.summaries([file], "Events") == {}
    memory.keep([("Events", Version(version.text, version.stamp, settled=True), summary)])
    assert memory.summaries([file], "Events") == {file: (version.stamp, summary)}
    seconds = 10**9 * (int(time.time()) - 1)  # whole seconds: the clock may not tell more
    assert not version_at(seconds).settled
    assert version_at(seconds - 5 * 10**9).settled


def version_at(changed: int) -> Version:
    from portico.files import version

    return Version("", "", version._settled(changed))


@pytest.mark.parametrize("damage", ["garbage", "truncated", "entry", "columns", "table", "folder"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, cache: Path, opened: list[str], damage: str) -> None:
    file = write(tmp_path / "a.root")
    settle()
    before = look(file)
    from portico.files import remembered as module

    module._opened.cache_clear()
    if damage == "folder":
        cache.unlink()
        cache.mkdir()
    elif damage == "garbage":
        cache.write_bytes(b"no database" * 1000)
    elif damage == "truncated":
        cache.write_bytes(cache.read_bytes()[:5000])
    else:
        with sqlite3.connect(cache) as database:
            database.execute({
                "entry": "UPDATE summary SET content = replace(content, '10', '11')",
                "columns": "UPDATE columns SET content = x'00'",
                "table": "DROP TABLE summary",
            }[damage])  # fmt: skip
    for _ in range(2):
        assert look(file) == before
    assert len(opened) == (1 if damage == "table" else 2) + (damage == "table")


def test_entries_of_other_versions_do_not_count(tmp_path: Path, cache: Path, opened: list[str]) -> None:
    file = write(tmp_path / "a.root")
    settle()
    look(file)
    with sqlite3.connect(cache) as database:
        database.execute("UPDATE summary SET maker = '0 0.0.1 5.0.0'")
    look(file)
    assert len(opened) == 2


def test_what_was_not_used_is_forgotten(tmp_path: Path) -> None:
    memory = Remembered(tmp_path / "small.sqlite", most_bytes=100_000)
    for number in range(60):
        columns = tuple(Column(f"{number}_{i}", "float") for i in range(400))
        summary = TreeSummary(f"/{number}", "u", "Events", "TTree", 9, (3, 6, 9), 1, columns, "v")
        memory.keep([("Events", Version("v", "s", settled=True), summary)])
    assert (tmp_path / "small.sqlite").stat().st_size < 250_000
    kept = memory.summaries([f"/{number}" for number in range(60)], "Events")
    assert "/59" in kept
    assert len(kept) < 60
    assert kept["/59"][1].ends == (3, 6, 9)


def test_several_use_it_at_once(tmp_path: Path, cache: Path) -> None:
    files = [write(tmp_path / f"{i}.root", 10 + 2 * i) for i in range(8)]
    settle()
    expected = [summarise(file, "Events") for file in files]

    def work(_: int) -> bool:
        memory = Remembered(cache)
        for file, summary in zip(files, expected, strict=True):
            version = look_at(file)
            assert version is not None
            memory.keep([("Events", version, summary)])
            known = memory.summaries(files, "Events")
            if known[file][1] != summary:
                return False
        return memory._path is not None

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_where_nothing_can_be_written_the_process_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PORTICO_CACHE", str(tmp_path / "file" / "below"))
    file = write(tmp_path / "a.root")
    settle()
    assert look(file) == look(file)
    assert len(opened) == 1


def test_the_folder_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORTICO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "portico"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "portico"
    monkeypatch.setenv("PORTICO_CACHE", "")
    assert cache_folder() is None


def test_a_checksum_is_computed_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a.root")
    settle()
    found = checksum_of_file(file)
    assert (found.value, found.source) == (checksum_of(Path(file)), "reading it")
    shutil.copy(file, tmp_path / "b.root")
    monkeypatch.setattr("portico.files.storage.checksum_of", lambda path: "read again")
    assert checksum_of_file(file) == found
    Path(file).write_bytes(Path(file).read_bytes() + b" ")
    assert checksum_of_file(file).value == "read again"
