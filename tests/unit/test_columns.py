"""The column cache: what is kept is what was written or nothing, and the folder stays within its limit."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import stat
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from portico.cli import cli
from portico.columns import ChunkColumns, ColumnCache, MappedColumn, column_cache
from portico.columns.eviction import Held, allowed, beyond
from portico.columns.layout import ALIGNMENT, HEADER_BYTES, SIZES, Damaged, Head, checksum
from portico.errors import PorticoWarning

LISTS = [[1.5, -2.0], [], [np.nan, np.inf, 0.0]]


@pytest.fixture
def cache(tmp_path: Path) -> ColumnCache:
    return ColumnCache(tmp_path / "columns")


@pytest.fixture
def chunk(cache: ColumnCache) -> ChunkColumns:
    return cache.chunk("identity", "Events", 10, 13)


def write(chunk: ChunkColumns, name: str = "x", lists: list[list[float]] = LISTS) -> MappedColumn:
    writer = chunk.begin(name, "f", lists=True)
    try:
        values = np.array([value for each in lists for value in each], np.float32)
        offsets = np.cumsum([0, *map(len, lists)], dtype=np.uint32)
        content = values.tobytes()
        os.write(writer.fileno(), content + bytes(-len(content) % ALIGNMENT) + offsets.tobytes())
        return writer.finish(len(values))
    finally:
        writer.close()


def read(column: MappedColumn | None) -> list[list[float]] | None:
    if column is None:
        return None
    head, memory = column.head, column.memory
    values = np.frombuffer(memory, np.float32, head.elements, head.values_at)
    offsets = np.frombuffer(memory, np.uint32, head.entries + 1, head.offsets_at)
    assert column.values == values.ctypes.data
    assert column.offsets == offsets.ctypes.data
    return [values[first:last].tolist() for first, last in pairwise(offsets)]


def same(found: list[list[float]] | None) -> bool:
    return repr(found) == repr(LISTS)


def files(cache: ColumnCache) -> list[Path]:
    return [path for path in cache.folder.rglob("*") if path.is_file()]


heads = st.builds(
    Head, st.binary(min_size=32, max_size=32), st.sampled_from(sorted(SIZES)), st.booleans(), st.integers(0, 2**40),
    st.integers(0, 2**32 - 1),
)  # fmt: skip


@given(heads, st.integers(0, 2**64 - 1))
def test_a_header_reads_as_it_was_written(head: Head, content: int) -> None:
    written = head.sealed(content)
    found = Head.read(written)
    assert len(written) == HEADER_BYTES
    assert (found.key, found.element, found.lists, found.entries, found.elements) == (
        head.key, head.element, head.lists, head.entries, head.elements,
    )  # fmt: skip
    assert found.content == content
    assert found.offsets_at % ALIGNMENT == 0
    assert found.size >= found.offsets_at if head.lists else found.size <= found.offsets_at


@given(heads, st.integers(0, 127), st.integers(1, 255))
def test_a_changed_byte_of_a_header_is_seen(head: Head, place: int, change: int) -> None:
    written = bytearray(head.sealed(1))
    written[place] ^= change
    if place < 80:  # the rest is zeros that nothing reads
        with pytest.raises(Damaged):
            Head.read(bytes(written))


@given(st.lists(st.builds(Held, st.uuids().map(str), st.integers(0, 100), st.integers(0, 5))), st.integers(0, 300))
def test_what_was_used_least_recently_goes(held: list[Held], limit: int) -> None:
    removed = beyond(held, limit)
    kept = [file for file in held if file not in removed]
    assert sum(file.size for file in kept) <= limit
    assert all(gone.used <= file.used for gone in removed for file in kept)
    if removed:
        newest = max(removed, key=lambda file: (file.used, [-ord(letter) for letter in file.path]))
        assert sum(file.size for file in kept) + newest.size > limit


def test_at_most_a_quarter_of_the_disk_is_used() -> None:
    assert allowed(10, held=0, free=1000) == 10
    assert allowed(1000, held=0, free=1000) == 250
    assert allowed(1000, held=200, free=800) == 250


def test_a_column_reads_as_it_was_written(cache: ColumnCache, chunk: ChunkColumns) -> None:
    assert chunk.open("x", "f", lists=True) is None
    assert same(read(write(chunk)))
    assert same(read(chunk.open("x", "f", lists=True)))
    assert same(read(ColumnCache(cache.folder).chunk("identity", "Events", 10, 13).open("x", "f", lists=True)))


@pytest.mark.parametrize(
    ("what", "name", "element", "lists"),
    [
        (("other", "Events", 10, 13), "x", "f", True), (("identity", "other", 10, 13), "x", "f", True),
        (("identity", "Events", 9, 12), "x", "f", True), (("identity", "Events", 10, 14), "x", "f", True),
        (("identity", "Events", 10, 13), "y", "f", True), (("identity", "Events", 10, 13), "x", "i", True),
        (("identity", "Events", 10, 13), "x", "f", False),
    ],
)  # fmt: skip
def test_another_column_is_not_found(
    cache: ColumnCache, chunk: ChunkColumns, what: tuple[str, str, int, int], name: str, element: str, lists: bool
) -> None:
    write(chunk)
    assert cache.chunk(*what).open(name, element, lists) is None


def test_a_file_under_the_name_of_another_is_refused(cache: ColumnCache, chunk: ChunkColumns) -> None:
    write(chunk, "x")
    (x,) = files(cache)
    write(chunk, "y", [[9.0], [8.0], [7.0]])
    (y,) = set(files(cache)) - {x}
    shutil.copy(y, x)
    assert chunk.open("x", "f", lists=True) is None


@pytest.mark.parametrize("place", [0, 20, 60, HEADER_BYTES, HEADER_BYTES + 3, -1])
@pytest.mark.parametrize("fresh", [True, False], ids=["another process", "the same process"])
def test_a_flipped_byte_is_seen(cache: ColumnCache, chunk: ChunkColumns, place: int, fresh: bool) -> None:
    write(chunk)
    (path,) = files(cache)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    time.sleep(0.02)  # the clock that stamps files
    path.write_bytes(content)
    looked = ColumnCache(cache.folder).chunk("identity", "Events", 10, 13) if fresh else chunk
    assert looked.open("x", "f", lists=True) is None
    assert not path.exists()
    assert same(read(write(chunk)))
    assert same(read(chunk.open("x", "f", lists=True)))


@pytest.mark.parametrize("size", [0, 50, HEADER_BYTES, HEADER_BYTES + 20, -1])
def test_a_truncated_file_is_seen(cache: ColumnCache, chunk: ChunkColumns, size: int) -> None:
    write(chunk)
    (path,) = files(cache)
    path.write_bytes(path.read_bytes()[:size])
    assert chunk.open("x", "f", lists=True) is None
    assert not path.exists()


def test_what_is_in_use_stays_when_it_is_removed(cache: ColumnCache, chunk: ChunkColumns) -> None:
    written = write(chunk)
    opened = chunk.open("x", "f", lists=True)
    assert cache.clear() > 0
    assert files(cache) == []
    assert same(read(written))
    assert same(read(opened))
    assert chunk.open("x", "f", lists=True) is None


def test_what_a_step_writes_into_a_column_reaches_no_file(cache: ColumnCache, chunk: ChunkColumns) -> None:
    column = write(chunk)
    column.memory[column.head.values_at : column.head.values_at + 4] = np.float32(99).tobytes()
    assert same(read(chunk.open("x", "f", lists=True)))
    assert same(read(ColumnCache(cache.folder).chunk("identity", "Events", 10, 13).open("x", "f", lists=True)))


def test_a_folder_removed_meanwhile_is_no_error(cache: ColumnCache, chunk: ChunkColumns) -> None:
    writer = chunk.begin("x", "f", lists=False)
    shutil.rmtree(cache.folder)
    os.write(writer.fileno(), np.zeros(3, np.float32).tobytes())
    column = writer.finish(3)
    writer.close()
    assert np.frombuffer(column.memory, np.float32, 3, column.head.values_at).tolist() == [0, 0, 0]
    assert chunk.open("x", "f", lists=False) is None
    assert same(read(write(chunk)))
    assert same(read(chunk.open("x", "f", lists=True)))


def test_what_a_killed_writer_leaves_is_not_found_and_goes(cache: ColumnCache, chunk: ChunkColumns) -> None:
    writer = chunk.begin("x", "f", lists=True)
    os.write(writer.fileno(), b"half")
    (path,) = files(cache)
    assert chunk.open("x", "f", lists=True) is None
    list(cache.held())
    assert path.exists(), "it may be at work"
    os.utime(path, (0, 0))
    list(cache.held())
    assert not path.exists()
    writer.close()


def test_a_file_of_another_length_is_not_kept(chunk: ChunkColumns) -> None:
    writer = chunk.begin("x", "f", lists=False)
    os.write(writer.fileno(), b"1234")
    with pytest.raises(OSError, match="another size"):
        writer.finish(3)
    writer.close()
    assert chunk.open("x", "f", lists=False) is None


def test_the_folder_stays_within_its_limit(tmp_path: Path) -> None:
    big = [[float(number)] * 10_000 for number in range(3)]
    cache = ColumnCache(tmp_path / "columns", 1_000_000)
    for number in range(20):
        write(cache.chunk(f"file{number}", "Events", 0, 3), "x", big)
        assert cache.chunk("file0", "Events", 0, 3).open("x", "f", lists=True) is not None, "used again each time"
    assert sum(path.stat().st_size for path in files(cache)) <= 1_000_000 + 1_000_000 // 20
    kept = [n for n in range(20) if cache.chunk(f"file{n}", "Events", 0, 3).open("x", "f", lists=True) is not None]
    assert kept[0] == 0
    assert kept[1:] == list(range(21 - len(kept), 20))


def _write_often(folder: Path) -> None:
    chunk = ColumnCache(folder).chunk("identity", "Events", 10, 13)
    for _ in range(200):
        write(chunk)
        assert same(read(chunk.open("x", "f", lists=True)))


def test_two_processes_fill_at_once(cache: ColumnCache, chunk: ChunkColumns) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_often, args=(cache.folder,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert same(read(chunk.open("x", "f", lists=True)))
    assert len(files(cache)) == 1


def test_a_schema_reads_as_it_was_written_or_not_at_all(cache: ColumnCache, chunk: ChunkColumns) -> None:
    assert chunk.schema() is None
    chunk.keep_schema(b"columns\0and more", "root://host//file.root")
    assert chunk.schema() == b"columns\0and more"
    assert chunk.about() == "root://host//file.root"
    (path,) = files(cache)
    path.write_bytes(path.read_bytes() + b"!")
    assert chunk.schema() is None


def test_contents_are_told_by_file(cache: ColumnCache) -> None:
    assert cache.contents() == []
    for file, entries in (("one.root", 3), ("two.root", 6), ("one.root", 6)):
        for first in range(0, entries, 3):
            chunk = cache.chunk(f"identity of {file}", "Events", first, first + 3)
            chunk.keep_schema(b"columns", file)
            write(chunk, "x")
            write(chunk, "y")
    write(cache.chunk("of which nothing is known", "Events", 0, 3))
    found = {kept.file: (kept.chunks, kept.columns) for kept in cache.contents()}
    assert found == {"one.root": (2, 4), "two.root": (2, 4), "": (1, 1)}
    assert [kept.file for kept in cache.contents()] == ["", "one.root", "two.root"]
    assert cache.clear() >= 9 * 4096
    assert cache.contents() == []


def test_only_its_user_may_open_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "columns"
    folder.mkdir(mode=0o777)
    write(ColumnCache(folder).chunk("identity", "Events", 0, 3))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "columns").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="belongs to another user"):
        ColumnCache(tmp_path / "columns")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "columns"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    monkeypatch.setenv("PORTICO_COLUMNS", str(folder))
    with pytest.warns(PorticoWarning, match="columns are not kept: .* belongs to another user"):
        assert column_cache() is None
    assert column_cache() is None  # told once
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"PORTICO_CACHE": "", "PORTICO_COLUMNS": None}, None),
        ({"PORTICO_CACHE": "{}/a", "PORTICO_COLUMNS": None}, "a/columns"),
        ({"PORTICO_CACHE": "{}/a", "PORTICO_COLUMNS": "{}/b"}, "b"),
        ({"PORTICO_CACHE": "", "PORTICO_COLUMNS": "{}/b"}, "b"),
        ({"PORTICO_CACHE": "{}/a", "PORTICO_COLUMNS": ""}, None),
        ({"PORTICO_COLUMNS": "{}/b", "PORTICO_COLUMNS_SIZE": "0"}, None),
        ({"PORTICO_COLUMNS": "{}/b", "PORTICO_COLUMNS_SIZE": "2 GB"}, "b"),
    ],
)
def test_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str | None], expected: str | None
) -> None:
    monkeypatch.delenv("PORTICO_COLUMNS_SIZE", raising=False)
    for name, value in variables.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value.format(tmp_path))
    found = column_cache()
    assert (None if found is None else found.folder) == (None if expected is None else tmp_path / expected)


def test_a_size_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTICO_COLUMNS", str(tmp_path))
    monkeypatch.setenv("PORTICO_COLUMNS_SIZE", "much")
    with pytest.warns(PorticoWarning, match="'much' is not a size"):
        assert column_cache() is None


def test_a_checksum_sees_each_byte() -> None:
    content = bytes(range(256))
    assert len({checksum(content[:i] + b"\xff\xff" + content[i + 2 :]) for i in range(0, 250, 2)}) == 125


def test_the_command_shows_and_clears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTICO_COLUMNS", str(tmp_path / "columns"))
    chunk = ColumnCache(tmp_path / "columns").chunk("identity", "Events", 0, 3)
    chunk.keep_schema(b"columns", "one.root")
    write(chunk)
    shown = CliRunner().invoke(cli, ["cache"])
    assert "1 columns of 1 chunks, used" in shown.stdout
    assert "one.root" in shown.stdout
    told = json.loads(CliRunner().invoke(cli, ["cache", "--json"]).stdout)
    assert [file["file"] for file in told["files"]] == ["one.root"]
    assert told["size"] > 0
    assert "removed" in CliRunner().invoke(cli, ["cache", "--clear"]).stdout
    assert json.loads(CliRunner().invoke(cli, ["cache", "--json"]).stdout)["files"] == []
    monkeypatch.setenv("PORTICO_COLUMNS", "")
    assert "no columns are cached" in CliRunner().invoke(cli, ["cache"]).stdout
