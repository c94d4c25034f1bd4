"""A slow link: a TCP proxy on loopback that lets through so many bytes a second."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class SlowLink:
    """A proxy to a port of loopback; all its connections together get ``bytes_per_second`` in each direction.

    ``bytes_per_second`` may be changed at any time; 0 stops the traffic and keeps the connections. ``passed`` is how
    many bytes came back from the server.
    """

    def __init__(self, target: int, bytes_per_second: float) -> None:
        self.bytes_per_second = bytes_per_second
        self.passed = 0
        self._target = target
        self._lock = threading.Lock()
        self._due = {"up": time.monotonic(), "down": time.monotonic()}
        self._open: set[socket.socket] = set()
        self._closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Close the link and all connections over it."""
        self._closed.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Close the connections that are open now; new ones are let through."""
        with self._lock:
            connections, self._open = self._open, set()
        for each in connections:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open |= {client, server}
            for source, sink, way in ((client, server, "up"), (server, client, "down")):
                threading.Thread(target=self._carry, args=(source, sink, way), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        try:
            while data := source.recv(self._size()):
                self._wait(way, len(data))
                sink.sendall(data)
                if way == "down":
                    self.passed += len(data)
        except OSError:
            pass
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        with self._lock:
            self._open -= {source, sink}

    def _size(self) -> int:
        """Return how much is taken at once: a tenth of a second's worth."""
        return int(min(65536, max(256, self.bytes_per_second / 10)))

    def _wait(self, way: str, size: int) -> None:
        """Wait until ``size`` bytes more may pass."""
        while self.bytes_per_second <= 0 and not self._closed.wait(0.05):
            pass
        with self._lock:
            start = max(self._due[way], time.monotonic())
            self._due[way] = start + size / max(self.bytes_per_second, 1)
            until = self._due[way]
        self._closed.wait(max(0.0, until - time.monotonic()))


@contextmanager
def slow_link(target: int, bytes_per_second: float) -> Iterator[SlowLink]:
    """Open a slow link to a port of loopback and close it."""
    link = SlowLink(target, bytes_per_second)
    try:
        yield link
    finally:
        link.close()
