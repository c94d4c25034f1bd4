"""A child process with pipes for messages: neither writing nor reading waits for a process that is stopped or dead.

A pipe alone does not tell that the process is gone: a child of its own, as a step may have forked, keeps it open.
"""

from __future__ import annotations

import io
import os
import selectors
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, Protocol

import psutil

from portico.worker.wire import Incoming, Message, send

__all__ = ["Child", "Inbox", "end", "has_died", "is_stopped", "kill", "post", "start"]

_PIECE = 2**20
_MOMENT = 0.05  # within which a process that writes goes on writing
_PATIENCE = 5.0  # until a process that was killed, but waits for its disk, is left alone


class Child(Protocol):
    """A child process with pipes: `subprocess.Popen`, or one that was forked by other means."""

    pid: int
    returncode: int | None
    stdin: IO[bytes] | None
    stdout: IO[bytes] | None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its status."""

    def kill(self) -> None:
        """Kill it."""


def start(command: Sequence[str], log: IO[bytes], environment: Mapping[str, str], *files: int) -> Child:
    """Start a process in a group of its own, which `end` ends with all that it has started.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments.
    log : file
        Its standard error.
    environment : mapping of str
        Its environment variables.
    *files : int
        Files that it gets besides.
    """
    return subprocess.Popen(
        command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, process_group=0,
        pass_fds=files,
    )  # fmt: skip


def has_died(process: Child) -> bool:
    """Return whether a process is dead; it stays known to the system, so that its number is not given to another."""
    if process.returncode is not None:
        return True
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def is_stopped(process: Child) -> bool:
    """Return whether a process was stopped (SIGSTOP), and will not go on by itself."""
    try:
        return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


def kill(process: Child) -> None:
    """Kill a process with all that it has started and that is in its group."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def end(process: Child) -> int:
    """Kill a process with all that it has started and that is in its group; return its status, as Popen has it."""
    if process.returncode is None:
        kill(process)
        with suppress(subprocess.TimeoutExpired):  # it is dead as soon as its disk answers
            process.wait(_PATIENCE)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    return process.returncode if process.returncode is not None else -signal.SIGKILL


def post(stream: IO[bytes], content: dict[str, Any], blobs: list[bytes]) -> None:
    """Write a message in a thread of its own: a stopped process reads no more than a pipe holds."""
    message, number = io.BytesIO(), os.dup(stream.fileno())
    send(message, content, blobs)
    threading.Thread(target=_write, args=(number, message.getbuffer()), name="portico-post", daemon=True).start()


def _write(number: int, data: memoryview) -> None:
    try:
        with suppress(BrokenPipeError):  # a dead process shows on reading
            while data:
                data = data[os.write(number, data) :]
    finally:
        os.close(number)


class Inbox:
    """The answer to one message, read as it comes.

    Parameters
    ----------
    process : Child
        Who answers.
    """

    def __init__(self, process: Child) -> None:
        self._process, self._incoming = process, Incoming()
        if process.stdout is None:
            raise RuntimeError("the process has no pipe")
        self._pipe, self._number = process.stdout, process.stdout.fileno()
        os.set_blocking(self._number, False)

    def take(self) -> Message | None:
        """Return the answer; None if it is not complete.

        Raises
        ------
        EOFError
            If the process died before it was, or was ended by another thread.
        """
        if self._pipe.closed:
            raise EOFError
        with selectors.DefaultSelector() as selector:
            selector.register(self._number, selectors.EVENT_READ)
            while True:
                died = has_died(self._process)  # first: what it wrote before is read below
                is_closed = self._read()
                if (message := self._incoming.message()) is not None:
                    return message
                if died or is_closed:
                    raise EOFError
                if not selector.select(_MOMENT):
                    return None

    def _read(self) -> bool:
        """Read all that is there; return whether nothing more can come."""
        try:
            while piece := os.read(self._number, _PIECE):
                self._incoming.feed(piece)
        except BlockingIOError:
            return False
        return True
