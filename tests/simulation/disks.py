"""The simulated storage of trees: a local disk, of which a power cut takes what was not synced, or a server."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from portico.errors import InputError
from portico.files.troubles import explained
from tests.simulation.world import World

__all__ = ["LOCAL", "REMOTE", "Disks", "File"]

LOCAL, REMOTE = "/simulated/store", "root://simulated//store"
_ERRORS = (errno.EIO, errno.ENOSPC, errno.ESTALE, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class File:
    """A file, with the inode that it keeps when it is renamed."""

    content: bytes
    inode: int

    @property
    def stamp(self) -> str:
        """Size, time of the last modification, inode."""
        return f"{len(self.content)}:{self.inode}:{self.inode}"

    @property
    def adler32(self) -> str:
        """The checksum."""
        return f"{zlib.adler32(self.content):08x}"


@dataclass(slots=True)
class Disks:
    """Files by path, as a driver sees them, and names that are not on the disk yet."""

    world: World
    files: dict[str, File] = field(default_factory=dict)
    unsynced: list[dict[str, File | None]] = field(default_factory=list)
    """Changes in order, each as a whole: paths, and what they named before."""
    removed: set[str] = field(default_factory=set)
    number: int = 0

    def put(self, path: str, content: bytes) -> File:
        """Write a file as a worker does, synced, name and content."""
        self.number += 1
        self.files[path] = file = File(content, self.number)
        return file

    def holds_path(self, path: str) -> bool:
        """Return whether a path is of these disks."""
        return path.startswith((LOCAL, REMOTE))

    def lose_power(self) -> None:
        """Lose names that were not synced: the last changes, however many. A rename is one change."""
        kept = self.world.random("power").randint(0, len(self.unsynced))
        for change in reversed(self.unsynced[kept:]):
            for path, before in change.items():
                self.world.count("lost name", path)
                self._set(path, before)
        self.unsynced.clear()

    def _set(self, path: str, file: File | None) -> None:
        if file is None:
            self.files.pop(path, None)
        else:
            self.files[path] = file

    def change(self, *changes: tuple[str, File | None]) -> None:
        """Give names, which are on a server's disk at once, and on a local one when their folder is synced."""
        if changes[0][0].startswith(LOCAL):
            self.unsynced.append({path: self.files.get(path) for path, _ in changes})
        for path, file in changes:
            self._set(path, file)

    def sync(self, folders: Iterable[str | Path]) -> None:
        """Stand for `portico.files.atomic.sync_folders`."""
        for folder in map(str, folders):
            with self.world.operation(f"sync {folder}"):
                if self.world.fails("sync fails", folder):
                    raise self._error(folder)
                self.unsynced = [c for c in self.unsynced if all(path.rpartition("/")[0] != folder for path in c)]

    def sync_path(self, path: Path) -> None:
        """Stand for `portico.files.atomic.sync`: of the files of the run folder, which are real."""
        with self.world.operation(f"sync {path.name}"):
            if self.world.fails("write fails", path.name):
                number = self.world.random("storage").choice(_ERRORS)
                raise OSError(number, os.strerror(number), str(path))

    # As `portico.files.storage.Storage`:

    def make(self, folder: str) -> None:
        with self.world.operation(f"make {folder}"):
            pass

    def write(self, path: str, source: Path) -> str:
        with self.world.operation(f"write {path}"):
            return self.put(path, source.read_bytes()).adler32

    def rename(self, aside: str, final: str) -> None:
        def move() -> None:
            file = self.files.get(aside)
            if file is None:
                raise self._error(aside, errno.ENOENT)
            self.change((aside, None), (final, file))

        self._do("rename", f"{aside.rpartition('/')[2]} to {final}", final, move)

    def remove(self, path: str) -> None:
        def unlink() -> None:
            self.change((path, None))
            self.removed.add(path)

        self._do("remove", path, path, unlink)

    def _do(self, what: str, told: str, path: str, action: Callable[[], None]) -> None:
        with self.world.operation(f"{what} {told}"):
            if self.world.fails(f"{what} fails", told):
                raise self._error(path)
            action()
            if self.world.fails(f"answer of {what} is lost", told):
                raise self._error(path)

    def _error(self, path: str, number: int = 0) -> Exception:
        if path.startswith(REMOTE):
            return InputError(f"{path}: the server does not answer")
        number = number or self.world.random("storage").choice(_ERRORS)
        return explained(OSError(number, os.strerror(number), path), path)

    def size(self, path: str) -> int | None:
        file = self.files.get(path)
        return None if file is None else len(file.content)

    def stat(self, path: str) -> tuple[int, int] | None:
        file = self.files.get(path)
        return None if file is None else (len(file.content), file.inode)

    def stamp(self, path: str) -> str | None:
        self.world.alive()
        file = self.files.get(path)
        return None if file is None else file.stamp

    def listed(self, folder: str) -> dict[str, str]:
        self.world.alive()
        return {path: self.files[path].stamp for path in sorted(self.files) if path.startswith(f"{folder}/")}

    def holds(self, folder: str) -> bool:
        return bool(self.listed(folder))

    def list(self, folder: str, suffix: str) -> list[str]:
        return [path for path in self.listed(folder) if path.endswith(suffix)]

    def checksum(self, path: str) -> str:
        return self.files[path].adler32 if path in self.files else ""

    def kept_checksum(self, path: str) -> str:
        return ""

    def damage(self, path: str) -> None:
        """Change a file as a broken disk does."""
        file = self.files[path]
        self.number += 1
        self.files[path] = replace(file, content=file.content[::-1] + b"?", inode=self.number)
