"""Runners forked from a process that has only loaded ROOT, so that each starts at once.

The server runs no code of a step, so that a runner that is forked from it begins as a new process does. The runners are
children of the driver (``CLONE_PARENT`` of clone(2)), which watches, kills and waits for them as for those that it
starts itself. Where the server cannot be used, the driver starts runners in the usual way.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import platform
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from portico.worker.child import Child, end, start

__all__ = ["ForkServer", "serve"]

_logger = logging.getLogger(__name__)

_CLONE: Final = {"x86_64": 56, "aarch64": 220}
"""The number of clone(2), of each machine on which its arguments that are used here have the same order."""
_CLONE_PARENT: Final = 0x8000
_SECONDS: Final = 120.0  # within which the server has loaded ROOT
_MESSAGE: Final = 2**16
_POLL: Final = 0.01


class _Forked:
    """A runner that the server has forked: a child of this process with pipes, as `subprocess.Popen` has them."""

    def __init__(self, pid: int, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.pid = pid
        self.stdin: IO[bytes] | None = stdin
        self.stdout: IO[bytes] | None = stdout
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its status; negative if a signal has ended it.

        Raises
        ------
        subprocess.TimeoutExpired
            If it takes longer.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = self.pid, signal.SIGKILL
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("runner", timeout or 0.0)
            else:
                time.sleep(_POLL)
        return self.returncode

    def kill(self) -> None:
        """Kill it."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


class ForkServer:
    """A server that is started when the first runner is needed, and again if it is gone."""

    def __init__(self) -> None:
        self._process: Child | None = None
        self._channel: socket.socket | None = None
        self._around: tuple[str, Mapping[str, str]] | None = None
        self._forked = 0

    def _prepare(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the server, unless it runs in the same working directory and environment; does not wait for it."""
        around = (os.getcwd(), dict(environment))  # noqa: PTH109
        if self._process is not None and self._around == around and self._channel is not None:
            return
        self.close()
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its, Path(os.devnull).open("wb") as nothing:  # what it prints is of no chunk
            number = its.fileno()
            self._process = start([*command, "--fork-server", str(number)], nothing, environment, number)
        self._channel, self._around, self._forked = ours, around, 0

    def start(self, command: Sequence[str], folder: Path, log: IO[bytes], environment: Mapping[str, str]) -> Child:
        """Start a runner.

        Parameters
        ----------
        command : sequence of str
            What starts a runner, without its folder.
        folder : Path
            Its folder.
        log : file
            Its standard error.
        environment : mapping of str
            Its environment variables.
        """
        try:
            self._prepare(command, environment)
            return self._fork(folder, log)
        except (OSError, ValueError) as error:
            _logger.debug("runners are started one by one: %s", error)
            self.close()
            return start([*command, str(folder)], log, environment)

    def _fork(self, folder: Path, log: IO[bytes]) -> Child:
        if self._channel is None:
            raise OSError("no server")
        (its_in, our_in), (our_out, its_out) = os.pipe(), os.pipe()
        stdin, stdout = os.fdopen(our_in, "wb", 0), os.fdopen(our_out, "rb", 0)
        try:
            self._channel.settimeout(_SECONDS)
            message = {"folder": str(folder), "number": self._forked}
            socket.send_fds(self._channel, [json.dumps(message).encode()], [its_in, its_out, log.fileno()])
            pid = int(self._channel.recv(_MESSAGE))  # of a server that has ended, nothing
        except BaseException:
            stdin.close()
            stdout.close()
            self.close()  # it may yet answer
            raise
        finally:
            os.close(its_in)
            os.close(its_out)
        self._forked += 1
        with suppress(OSError):  # which it does itself as well, perhaps later than it has to be killed
            os.setpgid(pid, pid)
        return _Forked(pid, stdin, stdout)

    def close(self) -> None:
        """End the server; the runners live on."""
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            end(self._process)
        self._channel = self._process = None


def serve(number: int, run: Callable[[Path], None], warm: Callable[[], None]) -> None:
    """Fork a runner for each message on a socket, until the other side is gone.

    Parameters
    ----------
    number : int
        Of the socket's file.
    run : callable
        What a runner does in its folder, on its standard input and output.
    warm : callable
        Prepares what most runners need; called once, when more have begun than there are cores, as more will.
    """
    with socket.socket(fileno=number) as channel:
        warmed = False
        while True:
            message, files, *_ = socket.recv_fds(channel, _MESSAGE, 3)
            if not message:
                return
            request: dict[str, Any] = json.loads(message)
            if (pid := _fork_sibling()) == 0:
                _begin(channel, files)
                run(Path(request["folder"]))
                os._exit(0)
            for file in files:
                os.close(file)
            channel.send(str(pid).encode())
            if not warmed and request["number"] >= len(os.sched_getaffinity(0)):
                warmed = True
                with suppress(Exception):  # it saves time, and no more
                    warm()


def _begin(channel: socket.socket, files: Sequence[int]) -> None:
    """Give a forked process a group, a standard input, output and error of its own."""
    os.setpgid(0, 0)
    channel.close()
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)


def _fork_sibling() -> int:
    """Fork a child of this process's parent; return 0 in the child, its process id here.

    Raises
    ------
    OSError
        If the system does not do it.
    """
    python, system = ctypes.pythonapi, ctypes.PyDLL(None, use_errno=True)  # both keep the interpreter's lock
    system.syscall.restype = ctypes.c_long
    call = _CLONE.get(platform.machine())
    if call is None:
        raise OSError(f"clone is not known on {platform.machine()}")
    python.PyOS_BeforeFork()
    pid = int(system.syscall(*map(ctypes.c_long, (call, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0))))
    if pid == 0:
        python.PyOS_AfterFork_Child()
        return 0
    number = ctypes.get_errno()
    python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, os.strerror(number))
    return pid
