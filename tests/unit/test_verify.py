"""`portico verify` finds everything that is not as it was written, `portico repair` and the next run mend it."""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from portico.analysis.chunks import Chunk
from portico.cli import cli
from portico.errors import RunFolderError
from portico.files.storage import storage_of
from portico.results.partial import encode
from portico.results.product import Product, ProductKind
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Attempt, Ledger, Planned
from portico.runfolder.point_list import read_points, write_points
from portico.runfolder.repair import repair
from portico.runfolder.step_files import StepFiles
from portico.runfolder.verify import verify

MANIFEST = {"analysis": "test"}
KEYS = [f"{number}" * 64 for number in range(3)]


def tree_of(run: Path, number: int) -> Path:
    return run / "skim" / "a" / f"t-{number:06d}-{KEYS[number][:8]}.root"


def count(value: int) -> bytes:
    return encode({"n": Product(ProductKind.COUNT, {"operation": "Count"}, {"value": np.array([value])})})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with three chunks that wrote trees, results, exports, a summary, and points."""
    folder = tmp_path / "run"
    with RunFolder(folder).claim(dict(MANIFEST)) as (_, ledger):
        planned = [Planned("a", n, key, Chunk("/data/x.root", "u", "t", n, n + 1)) for n, key in enumerate(KEYS)]
        for position, step in enumerate(("skim", "sums", "scan")):
            kind = ("frame", "summary", "points")[position]
            ledger.plan(step, position, kind, {"a": planned} if step == "skim" else {}, others=False)
            ledger.set_state(step, "done")
        for number, key in enumerate(KEYS):
            tree = tree_of(folder, number)
            tree.parent.mkdir(parents=True, exist_ok=True)
            tree.write_bytes(f"tree {number}".encode() * 100)
            file = {"product": "t", "tree": "t", "path": str(tree.resolve()), "size": tree.stat().st_size, "uuid": "u",
                    "adler32": f"{zlib.adler32(tree.read_bytes()):08x}",
                    "stamp": storage_of(str(tree)).stamp(str(tree))}  # fmt: skip
            ledger.commit([(Attempt(key, 1, "done", metrics={"wall": 1.0}), count(number), [file])])
        ledger.set_result("skim", "a", "key", count(3), chunks=KEYS)
        StepFiles(folder, "skim", ledger).write("exports", {"results.root": b"r" * 500, "a/manifest.json": b"{}"})
        StepFiles(folder, "sums", ledger).write("old", {"summary.json": b'{"a": 1}'}, '{"a": 1}')
        StepFiles(folder, "sums", ledger).write("new", {"summary.json": b'{"a": 2}'}, '{"a": 2}')
    write_points(folder / "scan" / "points.json", "key", [1, 2.5, {"m": 3}])
    return folder


def flip(path: Path, *, hidden: bool = False) -> None:
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    if hidden:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def sql(run: Path, statement: str, *values: Any) -> None:
    """Change the ledger, as a driver that was killed there could have left it."""
    (run / "lock").write_text("")
    other = sqlite3.connect(run / "ledger.sqlite")
    assert other.execute(statement, values).rowcount > 0
    other.commit()
    other.close()


def done(run: Path) -> set[str]:
    ledger = RunFolder(run).open_ledger()
    try:
        return set(ledger.done("skim"))
    finally:
        ledger.close()


def claim(run: Path) -> tuple[str, ...]:
    with RunFolder(run).claim(dict(MANIFEST)) as (folder, _):
        return folder.notes


def test_a_whole_run_is_whole(run: Path) -> None:
    found = verify(run)
    assert (found.faults, found.notes) == ((), ())
    assert (found.files, found.chunks) == (8, 3)
    shown = CliRunner().invoke(cli, ["verify", str(run)])
    assert (shown.exit_code, shown.output) == (0, f"{run}: 8 files, 2.3 kB, of 3 chunks: all unchanged\n")
    assert repair(run).to_json() == {"run": str(run), "done": (), "left": ()}
    assert CliRunner().invoke(cli, ["repair", str(run)]).output == f"{run}: nothing was wrong\n"


@pytest.mark.parametrize("name", ["tree", "skim/results.root", "skim/a/manifest.json", "sums/summary.json", "older",
                                  "scan/points.json", "run.json"])  # fmt: skip
@pytest.mark.parametrize("how", ["flipped", "flipped, times kept", "cut", "empty", "gone", "folder"])
def test_each_file_that_is_wrong_is_named(run: Path, name: str, how: str) -> None:
    older = next((run / "older.results" / "sums").rglob("summary.json"))
    path = {"tree": tree_of(run, 1), "older": older}.get(name, run / name)
    match how:
        case "flipped":
            flip(path)
        case "flipped, times kept":
            flip(path, hidden=True)
        case "cut":
            os.truncate(path, path.stat().st_size - 1)
        case "empty":
            os.truncate(path, 0)
        case "gone":
            path.unlink()
        case "folder":
            path.unlink()
            path.mkdir()
    if name == "scan/points.json" and how == "gone":
        return  # a list of points that is not there is made when it is needed
    result = CliRunner().invoke(cli, ["verify", str(run), "--json"])
    content = json.loads(result.output)
    assert (result.exit_code, content["whole"]) == (1, False)
    assert [Path(fault["path"]).name for fault in content["faults"]][:1] in ([path.name], ["run"])
    assert [fault["key"] for fault in content["faults"]] == [KEYS[1] if name == "tree" else ""]
    if name == "run.json":
        return
    repair(run)
    assert done(run) == {*KEYS} - ({KEYS[1]} if name == "tree" else set())


@pytest.mark.parametrize(
    ("statement", "words", "left"),
    [
        ("UPDATE done SET partial = X'00' WHERE key LIKE '1%'", "1 chunk in it", {KEYS[0], KEYS[2]}),
        ("UPDATE done SET outputs = 'x' WHERE key LIKE '1%'", "1 chunk in it", {KEYS[0], KEYS[2]}),
        ("UPDATE done SET outputs = REPLACE(outputs, 'skim', 'skin')", "3 chunks in it", set()),
        ("UPDATE done SET checksum = checksum + 1 WHERE key NOT LIKE '1%'", "2 chunks in it", {KEYS[1]}),
        ("UPDATE result SET merged = X'00' WHERE step = 'skim' AND sample = 'a'", "1 merged result in it", {*KEYS}),
        ("UPDATE result SET completeness = 0.5 WHERE sample = 'a'", "1 merged result in it", {*KEYS}),
        ("UPDATE result SET chunks = X'00' WHERE sample = 'a'", "1 merged result in it", {*KEYS}),
        ("UPDATE result SET merged = X'00' WHERE step = 'sums'", "2 merged results in it", {*KEYS}),
        ("UPDATE attempt SET metrics = '{'", "3 other parts in it", {*KEYS}),
        ("UPDATE current SET inputs = 'x' WHERE sample = 'a'", "1 other part in it", {*KEYS}),
        ("INSERT INTO version VALUES (9, 1.0, 'x')", "1 other part in it", {*KEYS}),
    ],
)
def test_a_damage_in_the_ledger_forgets_that_part_and_not_the_run(
    run: Path, statement: str, words: str, left: set[str]
) -> None:
    sql(run, statement)
    [fault] = verify(run).faults
    assert words in fault.what
    [note] = claim(run)
    assert f"a driver was killed while it wrote; {words} were damaged and will be recreated" in note
    assert claim(run) == ()
    assert done(run) == left
    assert not verify(run).faults


def test_a_damage_that_is_met_is_named_and_forgotten_by_the_next_run(run: Path) -> None:
    """A bit that flips while a run is in the middle."""

    def work() -> None:
        with RunFolder(run).claim(dict(MANIFEST)) as (_, ledger):
            other = sqlite3.connect(run / "ledger.sqlite")
            other.execute("UPDATE done SET partial = X'00' WHERE key LIKE '1%'")
            other.commit()
            other.close()
            list(ledger.partials("skim", "a"))

    with pytest.raises(RunFolderError, match=r"the result of chunk 111111111111 is damaged; run again: damaged"):
        work()
    assert "1 chunk in it were damaged" in claim(run)[0]
    assert done(run) == {KEYS[0], KEYS[2]}


def test_what_can_be_read_of_a_damaged_ledger_is_kept(run: Path) -> None:
    path = run / "ledger.sqlite"
    content = bytearray(path.read_bytes())
    index = content.index(KEYS[1].encode())  # in a page of one of the indices, or of a table
    page = index // 4096 * 4096
    content[page : page + 100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(RunFolderError, match=f"portico repair {run}"):
        claim(run)
    repaired = repair(run)
    assert "rows could be read, and the old one is" in repaired.done[0]
    assert claim(run) == ()
    assert not verify(run).faults
    assert read_points(run / "scan" / "points.json") == ("key", [1, 2.5, {"m": 3}])


def test_foreign_files_are_notes(run: Path) -> None:
    (run / "skim" / "a" / "mine.root").write_text("mine")
    found = verify(run)
    assert not found.faults
    [note] = found.notes
    assert "skim/a/mine.root: does not belong to this run; the next run moves it to foreign.files" in note


def test_a_run_that_is_working_is_told(run: Path) -> None:
    with RunFolder(run).claim(dict(MANIFEST)):
        [note] = verify(run).notes
        assert f"process {os.getpid()} on " in note
        with pytest.raises(RunFolderError, match="in use by another portico run"):
            repair(run)


def test_what_is_no_run(tmp_path: Path) -> None:
    for action in (verify, repair):
        with pytest.raises(RunFolderError, match="no such folder; give a run folder"):
            action(tmp_path / "none")
    assert "is not a run folder of portico" in verify(tmp_path).faults[0].what
    with pytest.raises(RunFolderError, match="is not a run folder of portico"):
        repair(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_whose_ledger_and_manifest_are_gone(run: Path) -> None:
    (run / "ledger.sqlite").unlink()
    (run / "run.json").write_text("")
    with pytest.raises(RunFolderError, match="and there is no ledger to restore it from; remove"):
        repair(run)


def test_results_of_a_copy_are_verified_where_they_lie(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    run.rename(moved)
    assert not verify(moved).faults
    ledger = Ledger(moved / "ledger.sqlite", read_only=True)
    assert ledger.trees() == {str(tree_of(moved, number)) for number in range(3)}
    ledger.close()
