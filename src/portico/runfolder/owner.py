"""The driver that owns a run folder: its lock and its record.

The lock of the file system keeps other drivers out where it works. Where it does not, or only on one machine, the
record does: host, boot of the machine, process, and the time of the file, which the driver renews every few seconds.
All of these times are of the clock of the file's server. A driver that is overtaken, because it was stopped for so long
that it seemed dead, finds another record than its own, and writes nothing any more.
"""

from __future__ import annotations

import errno
import fcntl
import getpass
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from portico.errors import PorticoError, RunFolderError
from portico.files.troubles import explaining, is_regular

__all__ = ["LOCK", "Held", "Lock", "Record", "hold", "read_lock", "working"]

LOCK = "lock"
BEAT_SECONDS = 10.0
"""How often a driver gives a sign of life."""
DEAD_SECONDS = 75.0
"""For how long a driver that lives may seem to give none: on a network disk others may see it a minute late."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")
_SETTLES = 1.0  # seconds until two drivers that wrote their records at one time see the same one
_MOST, _SHOWN = 4096, 80


@dataclass(frozen=True, slots=True)
class Record:
    """A driver.

    Parameters
    ----------
    process : int
        Its number.
    host, user : str
        Where it runs, and for whom.
    boot, namespace : str
        The boot of the machine, and the name space in which its number means it.
    started : float
        When the process began, in seconds since 1970.
    token : str
        Tells this claim from all others.
    """

    process: int
    host: str
    user: str = ""
    boot: str = ""
    namespace: str = ""
    started: float = 0.0
    token: str = ""

    @classmethod
    def mine(cls) -> Record:
        """Return the record of this process."""
        started = psutil.Process().create_time()
        return cls(os.getpid(), socket.gethostname(), _user(), _boot(), _namespace(), started, uuid.uuid4().hex)

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}" + (f" of {self.user}" if self.user not in {"", _user()} else "")

    @property
    def is_here(self) -> bool:
        """Whether its process can be seen from this one."""
        return (self.host, self.boot, self.namespace) == (socket.gethostname(), _boot(), _namespace())

    @property
    def is_alive(self) -> bool:
        """Whether its process runs, if it can be seen from here."""
        with suppress(psutil.Error):
            return abs(psutil.Process(self.process).create_time() - self.started) < 1.0
        return False


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _boot() -> str:
    return _BOOT.read_text(encoding="ascii").strip() if _BOOT.exists() else ""


def _namespace() -> str:
    try:
        return os.readlink(_NAMESPACE)  # noqa: PTH115 (what it leads to has no path)
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Lock:
    """What a lock file says.

    Parameters
    ----------
    driver : Record, optional
        The driver that works there, or was killed there.
    left : dict
        How the last driver left the folder.
    text : str
        What is there, if it is something else.
    """

    driver: Record | None = None
    left: dict[str, Any] = field(default_factory=dict)
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> Lock:
        """Read the text of a lock file."""
        text = text.strip("\0 \n")
        try:
            content = dict(json.loads(text or "{}"))
            driver = content.pop("driver", None)
            return cls(None if driver is None else Record(**driver), content)
        except (ValueError, TypeError, RecursionError):
            return cls(text=text[:_SHOWN])

    @property
    def who(self) -> str:
        """Who holds it, for messages."""
        return str(self.driver or self.text or "unknown")


@dataclass(slots=True)
class Held:
    """A run folder that is held.

    Parameters
    ----------
    folder : Path
        The folder.
    record : Record
        Of this driver.
    before : dict
        How the last driver left the folder; empty if it was killed.
    locks : bool
        Whether the file system has locks.
    files : list of file
        The lock file, and older ones that were removed meanwhile.
    leave : dict
        What to leave in the lock file at the end.
    """

    folder: Path
    record: Record
    before: dict[str, Any]
    locks: bool
    files: list[IO[bytes]]
    leave: dict[str, Any] = field(default_factory=dict)
    _beaten: float = -BEAT_SECONDS

    def check(self) -> None:
        """Give a sign of life, and refuse to go on in a folder that another driver has taken over.

        Raises
        ------
        RunFolderError
            If another driver has, or the lock file cannot be used.
        """
        now = time.monotonic()
        if now - self._beaten < BEAT_SECONDS:
            return
        found = read_lock(self.folder)
        if found == Lock():
            self._lock_again()
        elif found.driver is None or found.driver.token != self.record.token:
            raise RunFolderError(
                f"{self.folder}: was taken over by another portico run ({found.who}), because this one gave no sign of "
                "life; this run stops, and everything that it recorded is kept"
            )
        with suppress(OSError):
            os.utime(self.folder / LOCK)
        self._beaten = now

    def _lock_again(self) -> None:
        """Make a lock file that was removed."""
        path = self.folder / LOCK
        with explaining(path):
            lock = path.open("a+b", buffering=0)
            self.files.append(lock)
            _lock(lock, self.folder)
            self.begin()

    def announce(self) -> None:
        """Say that this driver is here; the folder is still as the last one left it."""
        self._write({"driver": asdict(self.record), "locks": self.locks, **self.leave})

    def begin(self) -> None:
        """Say that this driver works here, and that the folder is not as the last one left it any more."""
        self.leave = {}
        self._write({"driver": asdict(self.record), "locks": self.locks}, durably=True)

    def _write(self, content: Mapping[str, Any], durably: bool = False) -> None:
        """Write the lock file; it is not replaced, since a lock is of one file and not of a name."""
        lock = self.files[-1]
        with explaining(self.folder / LOCK):
            lock.truncate(0)
            lock.write(json.dumps(content).encode())
            if durably:
                os.fsync(lock.fileno())

    def end(self) -> None:
        """Leave the folder."""
        with suppress(OSError, PorticoError):
            self._write({**self.leave, "locks": self.locks})
        for file in self.files[1:]:
            with suppress(OSError):
                file.close()


def read_lock(folder: Path) -> Lock:
    """Read the lock file of a run folder.

    Raises
    ------
    RunFolderError
        If it cannot be read.
    """
    path = folder / LOCK
    with explaining(path, "read"):
        if not path.exists() or not is_regular(path):
            return Lock()
        return Lock.parse(path.read_text(encoding="utf-8", errors="replace"))


def working(folder: Path) -> str:
    """Return which driver works in a run folder, without touching its lock; empty if none does."""
    found = read_lock(folder).driver
    if found is None:
        return ""
    if found.is_here:
        return str(found) if found.is_alive else ""
    return str(found) if _age(folder / LOCK, time.time()) < DEAD_SECONDS else ""


def _age(path: Path, now: float) -> float:
    """Return the seconds since the last sign of life, whichever way clocks differ."""
    try:
        return abs(now - path.stat().st_mtime)
    except OSError:
        return DEAD_SECONDS


@contextmanager
def hold(folder: Path) -> Iterator[Held]:
    """Hold a run folder: no other driver works in it meanwhile.

    Raises
    ------
    RunFolderError
        If another one does, or the lock file cannot be written.
    SpaceError
        If the disk is full.
    """
    path = folder / LOCK
    with ExitStack() as stack:
        with explaining(path):
            held = _taken(folder, stack)
        stack.callback(held.end)
        stack.enter_context(_beating(held))
        yield held


def _taken(folder: Path, stack: ExitStack) -> Held:
    path = folder / LOCK
    if not is_regular(path):
        raise RunFolderError(f"{path}: is not a file; remove what is in its place, and run again")
    lock = stack.enter_context(path.open("a+b", buffering=0))
    locks = _lock(lock, folder)
    found = _read(lock)
    _refuse(folder, found.driver, locks)
    held = Held(folder, Record.mine(), found.left, locks, [lock], leave=found.left)
    held.announce()
    if not locks:
        time.sleep(_SETTLES)
    held.check()
    return held


def _read(lock: IO[bytes]) -> Lock:
    lock.seek(0)
    return Lock.parse(lock.read(_MOST).decode(errors="replace"))


def _lock(lock: IO[bytes], folder: Path) -> bool:
    """Take the lock of the file system; return whether it has locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _in_use(folder, _read(lock).who) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _refuse(folder: Path, found: Record | None, locks: bool) -> None:
    """Refuse a folder in which a driver works that the lock does not show."""
    if found is None:
        return
    if found.is_here:
        if not locks and found.is_alive:
            raise _in_use(folder, str(found))
        return
    mine = Record.mine()
    if locks and mine.boot and found.boot == mine.boot:
        return  # of a container on this machine
    if (found.host, found.namespace) == (mine.host, mine.namespace):
        return  # of an earlier boot of this machine
    age = _age(folder / LOCK, _server_time(folder))
    if age < DEAD_SECONDS:
        more = f"; its last sign of life was {age:.0f} s ago: if it was killed, run again in {DEAD_SECONDS - age:.0f} s"
        raise _in_use(folder, str(found), more)


def _in_use(folder: Path, who: str, more: str = "") -> RunFolderError:
    return RunFolderError(
        f"{folder}: in use by another portico run ({who}){more}; wait for it, or choose another folder with --run"
    )


def _server_time(folder: Path) -> float:
    """Return the time of the clock that stamps files in a folder."""
    probe = folder / f".{uuid.uuid4().hex}.part"
    try:
        probe.write_bytes(b"")
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def _beating(held: Held) -> Iterator[None]:
    """Give signs of life from a thread of its own."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            with suppress(RunFolderError):  # the next commit says so
                held.check()

    thread = threading.Thread(target=beat, name="portico-signs-of-life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
