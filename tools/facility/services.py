"""Starting and stopping services, each by the number of its own process."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tools.facility.accounts import become
from tools.facility.places import FacilityError, Places, State

MARK = "PORTICO_FACILITY"
"""Variable in the environment of all services: the folder of their facility."""
STOP = {"condor": signal.SIGQUIT}
PATHS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")


def program(name: str) -> Path | None:
    """Return the path of a program; none if it is missing."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *PATHS]))
    return Path(found) if found is not None else None


def cache() -> Path:
    """Return the folder into which tools/services.sh unpacks."""
    if named := os.environ.get("PORTICO_CACHE"):
        return Path(named)
    if os.geteuid() == 0:
        return Path("/var/cache/portico")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portico"


def condor_release() -> Path | None:
    """Return the folder with HTCondor's ``bin`` and ``sbin``; none if there is none."""
    if found := program("condor_master"):
        return found.resolve().parents[1]
    unpacked = (cache() / "condor").resolve() / "usr"
    return unpacked if (unpacked / "sbin" / "condor_master").exists() else None


def running(state: State, name: str) -> psutil.Process | None:
    """Return the process of a service, if it is the one that was started."""
    number, started = state.processes.get(name, (0, 0.0))
    with suppress(psutil.Error):
        process = psutil.Process(number)
        if number and abs(process.create_time() - started) < 1 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def start(
    places: Places, state: State, name: str, command: Sequence[str | Path], environment: Mapping[str, str],
    account: pwd.struct_passwd | None = None,
) -> None:  # fmt: skip
    """Start a service in a session of its own; as another account if root starts it."""
    log = places.folder / "log" / f"{name}.log"
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as stream:  # noqa: PTH123
        process = subprocess.Popen(
            [str(word) for word in command], env={**environment, MARK: str(places.folder)}, cwd=places.folder,
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True, umask=0o022,
            **(become(account) if account is not None else {}),
        )  # fmt: skip
    state.processes[name] = (process.pid, psutil.Process(process.pid).create_time())
    places.save(state)


def wait_for(places: Places, state: State, name: str, ready: Callable[[], bool], seconds: float = 300) -> None:
    """Wait until a service answers.

    Raises
    ------
    FacilityError
        If it ends, or does not answer in time; with the end of its log.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        ended = running(state, name) is None
        if ended or time.monotonic() > deadline:
            log = places.folder / "log" / f"{name}.log"
            said = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            how = "ended" if ended else f"did not answer within {seconds:g} s"
            raise FacilityError(f"{name} {how}; the end of {log}:\n{said}")
        time.sleep(0.1)


def answers(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def stop(places: Places, state: State, seconds: float = 20) -> list[str]:
    """Stop all services with what they started; return the names of those that ran."""
    stopped, left = [], []
    for name in reversed(list(state.processes)):
        process = running(state, name)
        if process is not None:
            stopped.append(name)
            left += [process, *_below(process)]
            with suppress(psutil.NoSuchProcess):
                process.send_signal(STOP.get(name, signal.SIGTERM))
            psutil.wait_procs([process], timeout=seconds)
    # What outlives its service, also one of before: the environment has the folder, which no other process has.
    left += [process for process in psutil.process_iter() if _is_marked(process, places.folder)]
    for process in left:
        with suppress(psutil.NoSuchProcess):  # psutil checks that the number is still that of the same process
            process.kill()
    psutil.wait_procs(left, timeout=10)
    state.processes.clear()
    places.save(state)
    return stopped


def _below(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return list(process.children(recursive=True))
    return []


def _is_marked(process: psutil.Process, folder: Path) -> bool:
    with suppress(psutil.Error):
        return process.pid != os.getpid() and process.environ().get(MARK) == str(folder)
    return False
