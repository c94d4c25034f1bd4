"""Messages between a driver or Dask worker and the process that runs chunks: JSON and bytes, no pickles."""

from __future__ import annotations

import json
import struct
from typing import IO, Any

__all__ = ["Message", "receive", "send"]

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
