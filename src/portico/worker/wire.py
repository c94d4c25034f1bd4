"""Messages between a driver or Dask worker and the process that runs chunks: JSON and bytes, no pickles."""

from __future__ import annotations

import json
import struct
from typing import IO, Any

__all__ = ["Incoming", "Message", "receive", "send"]

Message = tuple[dict[str, Any], list[bytes]]
"""What JSON can hold, and bytes."""

_HEAD = struct.Struct("<QI")


def send(stream: IO[bytes], content: dict[str, Any], blobs: list[bytes] | None = None) -> None:
    """Write one message."""
    blobs = blobs or []
    head = json.dumps({**content, "sizes": [len(blob) for blob in blobs]}).encode()
    stream.write(_HEAD.pack(len(head), len(blobs)) + head)
    for blob in blobs:
        stream.write(blob)
    stream.flush()


def receive(stream: IO[bytes]) -> Message:
    """Read one message.

    Raises
    ------
    EOFError
        If the other side is gone.
    """
    size, _ = _HEAD.unpack(_read(stream, _HEAD.size))
    content = json.loads(_read(stream, size))
    return content, [_read(stream, size) for size in content.pop("sizes")]


def _read(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


class Incoming:
    """A message that arrives in pieces."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._head: tuple[dict[str, Any], list[int], int] | None = None

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        self._data += data

    def message(self) -> Message | None:
        """Return the message; None as long as a part of it is missing."""
        if self._head is None:
            if len(self._data) < _HEAD.size:
                return None
            size, _ = _HEAD.unpack_from(self._data)
            first = _HEAD.size + size
            if len(self._data) < first:
                return None
            content = json.loads(self._data[_HEAD.size : first])
            self._head = content, content.pop("sizes"), first
        content, sizes, first = self._head
        if len(self._data) < first + sum(sizes):
            return None
        blobs = []
        for size in sizes:
            blobs.append(bytes(memoryview(self._data)[first : first + size]))
            first += size
        return content, blobs
