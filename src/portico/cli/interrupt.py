"""Ctrl-C: the first one ends a command in good order within two seconds, the second one at once.

Python raises `KeyboardInterrupt` when its main thread gets to it, which may be never: a disk or a server that does not
answer holds a system call for as long as it likes. So a thread of its own watches the signals, and ends the process if
the command does not. Nothing is lost by that: what is recorded as done is on disk, and processes end with their driver.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any

__all__ = ["PATIENCE", "ready_to_leave", "wait_for"]

PATIENCE = 1.7
"""Seconds from the first Ctrl-C to the end, unless there is something to wait for."""
_INTERRUPTED = 130
_CURSOR = "\x1b[?25h"  # which the display of progress has hidden
_OWN = "portico"

_waits: list[tuple[float, str]] = []


def wait_for(what: str, seconds: float) -> None:
    """Let Ctrl-C wait longer, from now on; the user reads what for.

    Parameters
    ----------
    what : str
        Such as "the batch system to remove the jobs".
    seconds : float
        For how long at most.
    """
    _waits.append((seconds, what))


def ready_to_leave() -> None:
    """Watch for Ctrl-C until this process ends; only in the main thread of a command."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, writer), name="portico-interrupt", daemon=True).start()


def _watch(reader: socket.socket, writer: socket.socket) -> None:  # noqa: ARG001 (kept open)
    deadlines: list[tuple[float, str]] = []
    while True:
        reader.settimeout(max(deadlines[0][0] - time.monotonic(), 0.001) if deadlines else None)
        try:
            is_interrupt = reader.recv(1) == bytes([signal.SIGINT])
        except TimeoutError:
            _, words = deadlines.pop(0)
            if not deadlines:
                _leave(f"left without waiting any longer{_where()}")
            _say(words)
            continue
        if is_interrupt and deadlines:
            _leave("left at once")
        if is_interrupt:
            deadlines = _deadlines(time.monotonic())


def _deadlines(now: float) -> list[tuple[float, str]]:
    """Return when to say what; at the last one the process ends."""
    if not _waits:
        return [(now + PATIENCE, "")]
    seconds, what = max(_waits)
    return [(now + PATIENCE, f"waiting for {what}; Ctrl-C again leaves at once"), (now + seconds, "")]


def _where() -> str:
    """Say where the main thread waits: in the innermost function of portico."""
    frame: Any = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] == _OWN:
            return f" for {module}.{frame.f_code.co_name}"
        frame = frame.f_back
    return ""


def _say(words: str) -> None:
    with suppress(OSError):
        os.write(2, f"\n{words}\n".encode())


def _leave(words: str) -> None:
    cursor = _CURSOR if os.isatty(2) else ""
    _say(f"{cursor}{words}; what is done is kept, the same command continues where it stopped")
    os._exit(_INTERRUPTED)
