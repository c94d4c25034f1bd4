"""Faults of a run folder on disk. Each takes the folder and a random generator, and says what it did."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

__all__ = ["FAULTS", "Fault"]

Fault = Callable[[Path, random.Random], str]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _one(folder: Path, chance: random.Random) -> Path:
    """Choose a file; each kind of file as often as any other."""
    kinds: dict[str, list[Path]] = {}
    for path in _files(folder):
        kinds.setdefault(path.name if "-0000" not in path.name else "tree", []).append(path)
    return chance.choice(kinds[chance.choice(sorted(kinds))])


def cut(folder: Path, chance: random.Random) -> str:
    """Truncate a file."""
    path = _one(folder, chance)
    size = chance.choice(
        [0, path.stat().st_size // 2, max(path.stat().st_size - 1, 0), chance.randrange(1 + path.stat().st_size)]
    )
    os.truncate(path, size)
    return f"{path.relative_to(folder)} cut to {size}"


def flip(folder: Path, chance: random.Random) -> str:
    """Change bits of a file; sometimes its times stay as they were."""
    path = _one(folder, chance)
    content, status = bytearray(path.read_bytes()), path.stat()
    if not content:
        return "nothing to flip"
    places = [chance.randrange(len(content)) for _ in range(chance.choice([1, 1, 1, 20]))]
    for place in places:
        content[place] ^= 1 << chance.randrange(8)
    with path.open("r+b") as stream:
        stream.write(content)
    if hidden := chance.random() < 0.2:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return f"{path.relative_to(folder)} flipped at {places}{', times kept' * hidden}"


def zeros(folder: Path, chance: random.Random) -> str:
    """Replace a part of a file by zeros, as a file system does that lost a block."""
    path = _one(folder, chance)
    content = bytearray(path.read_bytes())
    first = chance.randrange(1 + len(content)) // 512 * 512
    content[first : first + 4096] = bytes(len(content[first : first + 4096]))
    path.write_bytes(content)
    return f"{path.relative_to(folder)} zeros from {first}"


def append(folder: Path, chance: random.Random) -> str:
    """Append to a file."""
    path = _one(folder, chance)
    with path.open("ab") as stream:
        stream.write(chance.randbytes(chance.choice([1, 100, 4096])))
    return f"{path.relative_to(folder)} appended to"


def delete(folder: Path, chance: random.Random) -> str:
    """Remove a file."""
    path = _one(folder, chance)
    path.unlink()
    return f"{path.relative_to(folder)} removed"


def delete_folder(folder: Path, chance: random.Random) -> str:
    """Remove a folder."""
    folders = sorted(path for path in folder.rglob("*") if path.is_dir())
    if not folders:
        return "no folder to remove"
    path = chance.choice(folders)
    shutil.rmtree(path)
    return f"{path.relative_to(folder)}/ removed"


def swap(folder: Path, chance: random.Random) -> str:
    """Exchange two files of one kind of name."""
    path = _one(folder, chance)
    alike = [other for other in _files(folder) if other.suffix == path.suffix and other != path]
    if not alike:
        return "nothing to swap"
    other, aside = chance.choice(alike), folder / "swap"
    path.replace(aside)
    other.replace(path)
    aside.replace(other)
    return f"{path.relative_to(folder)} and {other.relative_to(folder)} exchanged"


def folder_for_file(folder: Path, chance: random.Random) -> str:
    """Put a folder in the place of a file."""
    path = _one(folder, chance)
    path.unlink()
    path.mkdir()
    return f"{path.relative_to(folder)} is a folder"


def file_for_folder(folder: Path, chance: random.Random) -> str:
    """Put a file in the place of a folder."""
    folders = sorted(path for path in folder.rglob("*") if path.is_dir())
    if not folders:
        return "no folder to replace"
    path = chance.choice(folders)
    shutil.rmtree(path)
    path.write_text("a file")
    return f"{path.relative_to(folder)}/ is a file"


def pipe_for_file(folder: Path, chance: random.Random) -> str:
    """Put a pipe, which nobody writes to, in the place of a file."""
    path = _one(folder, chance)
    path.unlink()
    os.mkfifo(path)
    return f"{path.relative_to(folder)} is a pipe"


def touch(folder: Path, chance: random.Random) -> str:
    """Give all files another time, perhaps one that is still to come."""
    ahead = chance.choice([0, 86_400 * 365, -86_400 * 365])
    for path in _files(folder):
        now = path.stat().st_mtime + ahead
        os.utime(path, (now, now))
    return f"all times moved by {ahead} s"


def stranger(folder: Path, chance: random.Random) -> str:
    """Leave a file of the user's in a folder of the run."""
    folders = sorted(path for path in folder.rglob("*") if path.is_dir())
    name = chance.choice(
        ["notes.txt", "all.root", "kept-000007-0123abcd.root", "mine.part", ".mine.part", "results.root.old"]
    )
    path = chance.choice(folders or [folder]) / name
    path.write_text("mine")
    return f"{path.relative_to(folder)} is the user's"


def leftover(folder: Path, chance: random.Random) -> str:
    """Leave a file of an attempt that was killed."""
    folders = sorted(path for path in folder.rglob("*") if path.is_dir())
    path = chance.choice(folders or [folder]) / f".{uuid.UUID(int=chance.getrandbits(128)).hex}.part"
    path.write_bytes(b"root" + chance.randbytes(100))
    return f"{path.relative_to(folder)} was left"


def journal(folder: Path, chance: random.Random) -> str:
    """Leave something beside the ledger that looks like its journal."""
    path = folder / "ledger.sqlite-journal"
    path.write_bytes(
        chance.choice([b"", b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + chance.randbytes(2000), chance.randbytes(2000)])
    )
    return f"a journal of {path.stat().st_size} bytes"


def no_lock(folder: Path, chance: random.Random) -> str:
    """Change or remove the lock file."""
    path = folder / "lock"
    what = chance.choice(["removed", "", "process 1 on elsewhere", "\0" * 30, "process x"])
    path.unlink(missing_ok=True)
    if what != "removed":
        path.write_text(what)
    return f"lock: {what!r}"


def link(folder: Path, chance: random.Random) -> str:
    """Move a file elsewhere, and leave a link to it."""
    path = _one(folder, chance)
    target = folder.parent / f"linked-{path.name}"
    path.replace(target)
    path.symlink_to(target)
    return f"{path.relative_to(folder)} is a link"


def dead_link(folder: Path, chance: random.Random) -> str:
    """Put a link that leads nowhere, or to itself, in the place of a file."""
    path = _one(folder, chance)
    path.unlink()
    path.symlink_to(chance.choice(["/nowhere/at/all", path.name]))
    return f"{path.relative_to(folder)} is a dead link"


def moved(folder: Path, chance: random.Random) -> str:
    """Move the run folder away and back, over a copy: all inodes change."""
    aside = folder.with_name("aside")
    shutil.copytree(folder, aside, symlinks=True)
    shutil.rmtree(folder)
    aside.rename(folder)
    return "the folder was copied and moved back"


def sql(folder: Path, chance: random.Random) -> str:
    """Change a row of the ledger with another program."""
    import sqlite3

    tables = ["step", "plan", "done", "attempt", "result", "current", "wanted", "version"]
    statement = chance.choice([
        f"DELETE FROM {chance.choice(tables)} WHERE rowid = (SELECT MIN(rowid) FROM {chance.choice(tables)})",
        "UPDATE done SET partial = X'00'", "UPDATE result SET merged = X'0102'", "UPDATE plan SET last = last + 1",
        "UPDATE result SET completeness = 0.5", "DROP TABLE done", "DROP TABLE version", "PRAGMA user_version = 99",
        "UPDATE done SET outputs = '[]'", "UPDATE done SET outputs = 'x'", "DELETE FROM done",
        "UPDATE current SET key = 'x'", "UPDATE step SET state = 'failed'", "VACUUM",
    ])  # fmt: skip
    if not all(path.is_file() for path in folder.glob("ledger.sqlite*")) or not (folder / "ledger.sqlite").exists():
        return "no ledger to change"
    db = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
    try:
        db.execute(statement)
    except sqlite3.Error as error:
        return f"no SQL: {error}"
    finally:
        db.close()
    return statement


def reader(folder: Path, chance: random.Random) -> str:
    """Have another program hold the ledger for a second."""
    seconds = chance.uniform(0.2, 1.5)
    code = (
        "import sqlite3, sys, time; d = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "d.execute('BEGIN EXCLUSIVE'); print('x', flush=True); time.sleep(float(sys.argv[2]))"
    )
    if not (folder / "ledger.sqlite").is_file():
        return "no ledger to hold"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / "ledger.sqlite"), str(seconds)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    return f"the ledger is held for {seconds:.1f} s"


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        cut, flip, flip, zeros, append, delete, delete_folder, swap, folder_for_file, file_for_folder, pipe_for_file,
        touch, stranger, leftover, journal, no_lock, link, dead_link, moved, sql, reader,
    )
}  # fmt: skip
"""By name."""
