"""Troubles of a ledger's file: each has its own words, says what to do, and none is told as another."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from portico.errors import RunFolderError, SpaceError
from portico.runfolder import database
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Ledger
from portico.runfolder.manifest import MANIFEST, read_manifest
from portico.runfolder.repair import repair
from portico.runfolder.verify import verify
from tests.faulty import as_nobody, mounted, read_only, run_failing

WRITE = """
import sys
from pathlib import Path
from portico.errors import PorticoError
from portico.runfolder.folder import RunFolder
try:
    with RunFolder(Path(sys.argv[1])).claim({"analysis": "test", "changed": True}) as (_, ledger):
        ledger.set_about({"x": "1"})
    print("done")
except PorticoError as error:
    print(f"{type(error).__name__}: {error}")
"""
READ = """
import sys
from pathlib import Path
from portico.errors import PorticoError
from portico.monitor.status import read_status
try:
    print(read_status(Path(sys.argv[1])).state)
except PorticoError as error:
    print(f"{type(error).__name__}: {error}")
"""
HOLD = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a step that is done."""
    folder = tmp_path / "run"
    with RunFolder(folder).claim({"analysis": "test"}) as (_, ledger):
        ledger.plan("skim", 0, "frame", {}, others=False)
        ledger.set_state("skim", "done")
    return folder


def claim(run: Path) -> tuple[str, ...]:
    """Claim a run folder; return what was said."""
    with RunFolder(run).claim({"analysis": "test"}) as (folder, ledger):
        ledger.set_about({"x": "1"})
        return folder.notes


def read(run: Path) -> list[str]:
    ledger = RunFolder(run).open_ledger()
    try:
        return [row[0] for row in ledger.steps()]
    finally:
        ledger.close()


def change(path: Path, place: int, bits: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= bits
    path.write_bytes(content)


def change_ledger(path: Path, how: str) -> None:
    size = path.stat().st_size
    match how:
        case "bit in a text":
            content = path.read_bytes()
            path.write_bytes(content.replace(b"skim", b"skil", 1))
        case "cut":
            os.truncate(path, size - 4096)
        case "zeros":
            path.write_bytes(bytes(size))
        case "text":
            path.write_text("not a database")
        case "longer":
            path.write_bytes(path.read_bytes() + b"x")
        case "version":
            change(path, 63, 64)
        case "sql":
            other = sqlite3.connect(path)
            other.execute("UPDATE step SET state = 'failed'")
            other.commit()
            other.close()


@pytest.mark.parametrize("how", ["longer", "sql"])
def test_a_ledger_that_something_else_changed_is_looked_through(run: Path, how: str) -> None:
    change_ledger(run / "ledger.sqlite", how)
    words = "ledger.sqlite: is damaged: it was changed since the last run, by something else than portico; see what is"
    with pytest.raises(RunFolderError, match=words):
        read(run)
    [note] = claim(run)
    assert note.endswith("changed since the last run, by something else than portico; nothing in it is damaged")
    assert claim(run) == ()
    assert read(run) == ["skim"]
    ledger = RunFolder(run).open_ledger()
    assert [row[2] for row in ledger.steps()] == ["interrupted"], "what has no checksum is not believed"
    ledger.close()


@pytest.mark.parametrize("how", ["bit in a text", "cut", "zeros", "text", "version"])
def test_a_ledger_whose_structure_is_damaged_is_repaired(run: Path, how: str) -> None:
    change_ledger(run / "ledger.sqlite", how)
    before = (run / "ledger.sqlite").read_bytes()
    for action in (read, claim, claim):  # a refusal is not forgotten
        with pytest.raises(RunFolderError, match=rf"ledger.sqlite: is damaged.*portico repair {run}"):
            action(run)
    assert not verify(run).to_json()["whole"]
    repaired = repair(run)
    assert f"the old one is {run}/ledger.sqlite.damaged-1" in repaired.done[0]
    assert (run / "ledger.sqlite.damaged-1").read_bytes() == before
    assert claim(run) == ()
    assert read(run) in (["skim"], ["skil"], [])
    assert verify(run).to_json()["whole"]
    assert repair(run).done == ()


def test_damages_after_a_kill_are_found_by_the_structure(run: Path) -> None:
    (run / "lock").write_text("killed here")
    content = bytearray((run / "ledger.sqlite").read_bytes())
    content[4096 * 3 : 4096 * 6] = bytes(4096 * 3)
    (run / "ledger.sqlite").write_bytes(content)
    with pytest.raises(RunFolderError, match=rf"ledger.sqlite: is damaged.*portico repair {run}"):
        claim(run)


def test_a_ledger_that_is_gone_is_told_and_begun_again(run: Path) -> None:
    for empty in (False, True):
        (run / "ledger.sqlite").unlink()
        if empty:
            (run / "ledger.sqlite").touch()
        with pytest.raises(RunFolderError, match=r"does not exist; if the run has begun|is empty, and finished"):
            read(run)
        [note] = claim(run)
        assert note == f"{run}/ledger.sqlite: is gone, and with it what was done; all of it is run again"
        assert read(run) == []


def test_the_ledger_of_another_run_is_refused(run: Path, tmp_path: Path) -> None:
    claim(tmp_path / "other")
    for name in ("ledger.sqlite", "lock"):
        shutil.copy(tmp_path / "other" / name, run / name)
    for action in (read, claim):
        with pytest.raises(
            RunFolderError, match=f"is the ledger of another run than {run}/run.json; put the right one"
        ):
            action(run)


def test_a_copy_whose_first_drivers_end_between_its_files_goes_on(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy gets a name of its own in run.json and in the ledger, one after the other."""
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)

    def fails(*_: object) -> None:
        raise RunFolderError("the disk fails")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "set_about", fails)
        for _ in range(3):
            with pytest.raises(RunFolderError, match="the disk fails"):
                claim(copy)
    assert read(copy) == ["skim"]
    for _ in range(2):
        assert claim(copy) == ()
        assert read(copy) == ["skim"]
    for name in ("ledger.sqlite", "lock"):
        shutil.copy(run / name, copy / name)
    with pytest.raises(RunFolderError, match="is the ledger of another run"):
        claim(copy)


def test_a_database_that_is_no_ledger(run: Path) -> None:
    (run / "ledger.sqlite").unlink()
    (run / "lock").unlink()
    other = sqlite3.connect(run / "ledger.sqlite")
    other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(RunFolderError, match="is not a ledger of portico; move it away"):
        claim(run)
    with pytest.raises(RunFolderError, match="has not begun"):
        read(run)
    assert repair(run).done[0].endswith("the old one is " + str(run / "ledger.sqlite.damaged-1"))
    assert claim(run) == ()


def test_another_journal_beside_a_ledger(run: Path) -> None:
    content = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(600)
    (run / "ledger.sqlite-journal").write_bytes(content)
    with pytest.raises(RunFolderError, match=r"ledger.sqlite-journal is not of it, and would change it"):
        read(run)
    aside = run / "ledger.sqlite-journal.foreign-1"
    assert claim(run)[0].endswith(f"is not of this ledger, which was closed without one; it was moved to {aside}")
    assert aside.read_bytes() == content
    assert read(run) == ["skim"]


@pytest.mark.parametrize("name", ["ledger.sqlite", "ledger.sqlite-journal", MANIFEST])
def test_something_else_in_place_of_a_file(run: Path, name: str) -> None:
    """A pipe would be waited for, for ever."""
    path = run / name
    for kind in ("folder", "pipe", "link"):
        path.unlink(missing_ok=True)
        match kind:
            case "folder":
                path.mkdir()
            case "pipe":
                os.mkfifo(path)
            case "link":
                path.symlink_to("/nowhere")
        for action in (read, claim):
            with pytest.raises(RunFolderError, match=f"{name}: is not a file; remove what is in its place"):
                action(run)
        path.rmdir() if kind == "folder" else path.unlink()


@pytest.mark.parametrize("how", ["empty", "cut", "flipped", "gone", "no text", "no checksum"])
def test_a_manifest_is_written_again_from_the_ledger(run: Path, how: str) -> None:
    path, before = run / MANIFEST, read_manifest(run)
    match how:
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_text(path.read_text()[:40])
        case "flipped":
            path.write_text(path.read_text().replace('"test"', '"tess"'))
        case "gone":
            path.unlink()
        case "no text":
            path.write_bytes(b"\xff\xfe\x00")
        case "no checksum":
            path.write_text('{"analysis": "test"}')
    words = {
        "gone": "is not a run folder of portico",
        "empty": "run.json: is empty; write it again with: portico repair",
    }
    with pytest.raises(
        RunFolderError, match=words.get(how, "run.json: is damaged; write it again with: portico repair")
    ):
        read(run)
    [note] = claim(run)
    assert note.startswith(f"{path}: is ")
    assert note.endswith("it is restored from the ledger")
    assert read_manifest(run) == before
    assert read(run) == ["skim"]


def test_a_damaged_manifest_without_a_ledger(run: Path) -> None:
    (run / "ledger.sqlite").unlink()
    (run / MANIFEST).write_bytes(b"")
    words = "run.json: is empty, and there is no ledger to restore it from; remove it, and run again"
    with pytest.raises(RunFolderError, match=words):
        claim(run)


def test_a_driver_that_was_killed_before_the_first_table_is_no_hindrance(tmp_path: Path) -> None:
    """SQLite's header is written before the tables are, and before run.json."""
    folder = tmp_path / "run"
    folder.mkdir()
    with sqlite3.connect(folder / "ledger.sqlite") as ledger:
        ledger.execute("CREATE TABLE x (y)")
        ledger.execute("DROP TABLE x")
    ledger.close()
    assert (folder / "ledger.sqlite").stat().st_size
    assert claim(folder) == ()
    assert not verify(folder).faults


def test_a_ledger_that_is_removed_or_replaced_while_it_is_written(run: Path) -> None:
    for replaced in (False, True):
        with RunFolder(run).claim({"analysis": "test"}) as (_, ledger):
            content = (run / "ledger.sqlite").read_bytes()
            (run / "ledger.sqlite").unlink()
            if replaced:
                (run / "ledger.sqlite").write_bytes(content)
            with pytest.raises(RunFolderError, match="was removed or replaced while the run wrote to it; nothing that"):
                ledger.set_about({"name": "value"})


def test_a_ledger_that_another_program_holds(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCKED_SECONDS", 0.5)
    monkeypatch.setattr(database, "_PATIENCE", 0.1)
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(run / "ledger.sqlite")], stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    try:
        for action in (read, claim):
            with pytest.raises(RunFolderError, match=r"another program has held it for 0 s.*\(fuser .* names it\)"):
                action(run)
    finally:
        other.kill()
        other.communicate()
    claim(run)


def test_a_full_disk(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=300k") as disk:
        claim(disk / "run")
        (disk / "ballast").write_bytes(bytes(4096 * (os.statvfs(disk).f_bfree - 20)))
        words = r"ledger.sqlite: cannot be written, the disk is full|no space left"
        with (
            RunFolder(disk / "run").claim({"analysis": "test"}) as (_, ledger),
            pytest.raises(SpaceError, match=words),
        ):
            ledger.set_about({"x": "x" * 100_000})
        with (disk / "ballast").open("ab") as stream:
            stream.write(bytes(4096 * os.statvfs(disk).f_bfree))
        with pytest.raises(SpaceError, match=r"(the disk is full|no space left); free space and run again"):
            claim(disk / "run")
        (disk / "ballast").unlink()
        claim(disk / "run")
        assert read(disk / "run") == []


def test_a_read_only_folder_can_be_read_and_says_why_it_cannot_be_written(run: Path) -> None:
    with read_only(run):
        assert read(run) == ["skim"]
        with pytest.raises(RunFolderError, match=f"{run}.*: cannot be written: the file system is read-only"):
            claim(run)
    claim(run)


FAILING = [
    "write@ledger.sqlite:EIO", "sync@ledger.sqlite:EIO", "read@ledger.sqlite:EIO", "sync@run:EIO", "write@lock:EIO",
    "write@.part:EIO", "rename@run.json:EIO",
]  # fmt: skip


@pytest.mark.parametrize("rules", FAILING)
def test_a_failing_disk_is_never_told_as_a_full_one(run: Path, rules: str) -> None:
    done = run_failing(rules, WRITE, run)
    assert done.stdout.startswith(f"RunFolderError: {run}"), done
    assert "input/output error" in done.stdout or "fails; see its log" in done.stdout
    assert "full" not in done.stdout
    assert "space" not in done.stdout
    assert "Traceback" not in done.stderr
    claim(run)
    assert read(run) == ["skim"]


@pytest.mark.parametrize("rules", ["write@ledger.sqlite:EDQUOT write@.part:EDQUOT", "write@lock:EDQUOT"])
def test_a_quota_is_told_as_one(run: Path, rules: str) -> None:
    done = run_failing(rules, WRITE, run)
    assert done.stdout.startswith("SpaceError: "), done
    assert "no space left in the quota" in done.stdout


def test_reading_from_a_failing_disk(run: Path) -> None:
    for rules in ("read@ledger.sqlite:EIO", "read@run.json:EIO", "read@lock:EIO", "read@ledger.sqlite:ESTALE"):
        said = run_failing(rules, READ, run).stdout
        assert said.startswith(f"RunFolderError: {run}/{rules.partition('@')[2].partition(':')[0]}: "), said
        assert "fails; see its log" in said or "stale file handle" in said
        assert "full" not in said


def test_a_folder_of_another_user(run: Path, tmp_path: Path) -> None:
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    for path in run.iterdir():
        path.chmod(0o644)
    assert as_nobody(lambda: read(run)) == "['skim']"
    said = as_nobody(lambda: claim(run))
    assert said.startswith(f"RunFolderError: {run}: cannot be written: "), said
    assert "it belongs to root (mode 755), this is nobody" in said
    (run / "ledger.sqlite").chmod(0o600)
    said = as_nobody(lambda: read(run))
    assert said.startswith(f"RunFolderError: {run}/ledger.sqlite: cannot be read: "), said
    assert "it belongs to root (mode 600)" in said


def test_a_journal_that_a_reader_may_not_take_back(run: Path, tmp_path: Path) -> None:
    """As after a kill of a driver in the middle of a commit, in the folder of somebody else."""
    code = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode = TRUNCATE")
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN IMMEDIATE")
database.execute("UPDATE step SET state = 'failed'")
for n in range(300):
    database.execute("INSERT INTO about VALUES (?, ?)", (str(n), "x" * 1000))
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code, str(run / "ledger.sqlite")], check=False)
    assert (run / "ledger.sqlite-journal").stat().st_size > 0
    (run / "lock").write_text("killed")
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    for path in run.iterdir():
        path.chmod(0o644)
    said = as_nobody(lambda: read(run))
    assert "a driver was killed while it wrote, and only a user who may write" in said or "cannot be" in said, said
    assert "Traceback" not in said
    assert read(run) == ["skim"]
    ledger = Ledger(run / "ledger.sqlite", read_only=True)
    assert ledger.steps()[0][2] == "done"
    ledger.close()
