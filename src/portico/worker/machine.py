"""The load of the machine once a second, measured by one of the processes that own workers there."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any, Final

import psutil

__all__ = ["SAMPLE", "MachineWatch"]

SAMPLE: Final = ("time", "cpu", "memory", "received", "sent")
"""Of a sample: seconds since 1970, CPU in percent of all cores, bytes in use, bytes over the network since boot."""

_SECOND: Final = 1.0
_IDLE_SECONDS: Final = 10.0
_MOST: Final = 3600  # samples that wait for a chunk to end


class MachineWatch:
    """Samples the machine while it is touched, in a thread; of several processes with the same work one does."""

    def __init__(self) -> None:
        self._samples: deque[list[float]] = deque(maxlen=_MOST)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._touched, self._work = 0.0, ""

    def touch(self, work: str) -> None:
        """Go on for ten seconds more.

        Parameters
        ----------
        work : str
            What is being done: of all processes of the user that do the same on this machine, one takes samples.
        """
        with self._lock:
            self._touched, self._work = time.monotonic(), work
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, name="portico machine", daemon=True)
                self._thread.start()

    def drain(self) -> list[list[float]]:
        """Return the samples since the last call."""
        found = []
        with suppress(IndexError):
            while True:
                found.append(self._samples.popleft())
        return found

    def _follow(self) -> None:
        psutil.cpu_percent()  # the first one is since boot
        turn, work = None, ""
        while True:
            time.sleep(_SECOND)
            with self._lock:
                if time.monotonic() - self._touched > _IDLE_SECONDS:
                    self._thread = None
                    break
                wanted = self._work
            if wanted != work or turn is None:
                if turn is not None:
                    turn.close()
                turn, work = _turn(wanted), wanted
            if turn is not None:
                self._samples.append(_sample())
        if turn is not None:
            turn.close()


def _turn(work: str) -> socket.socket | None:
    """Return what keeps other processes from taking samples until it is closed; None if another one does.

    It is a name in the kernel's abstract namespace, which ends with the process, and nothing can connect to it.
    """
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        name.bind(f"\0portico-machine-{os.getuid()}-{work[:32]}")
    except OSError:
        name.close()
        return None
    return name


def _sample() -> list[float]:
    network: Any = psutil.net_io_counters()
    received, sent = (network.bytes_recv, network.bytes_sent) if network is not None else (0, 0)
    return [round(time.time(), 2), psutil.cpu_percent(), psutil.virtual_memory().used, received, sent]
