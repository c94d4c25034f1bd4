"""The layout of a file that holds one column of one chunk.

A header of 128 bytes, the values, and of lists the offsets: where the elements of each entry begin, as 32-bit integers,
and behind the last one the number of all. Values and offsets begin at multiples of 64 bytes, after a gap that differs
from column to column: a loop reads many columns at the same entry, and a processor can keep only a few places with the
same address within a page.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import xxhash

__all__ = ["ALIGNMENT", "HEADER_BYTES", "SIZES", "Damaged", "Head", "checksum"]

HEADER_BYTES = 128
ALIGNMENT = 64
SIZES = {letter: struct.calcsize(letter) for letter in "?cbBhHiIlLqQfd"} | {"s": 1}
"""Bytes of an element by its letter: those of the module `struct`, and ``s`` for characters of strings."""
_PLACES = 64  # in a page
_MAGIC = b"PORTICO\x01"
_HEAD = struct.Struct("<8s32sc?6xQQQ")
_CHECK = struct.Struct("<Q")


class Damaged(Exception):  # noqa: N818 (a state, not an error: the column is read again)
    """A file is not what was written, or not of the column that was asked for."""


@dataclass(frozen=True, slots=True)
class Head:
    """The header.

    Parameters
    ----------
    key : bytes
        What the column is, in 32 bytes.
    element : str
        The letter of the type of its elements.
    lists : bool
        Whether an entry is a list of elements, or one.
    entries, elements : int
        The number of all.
    content : int
        The checksum of what follows.
    """

    key: bytes
    element: str
    lists: bool
    entries: int
    elements: int
    content: int = 0

    @property
    def values_at(self) -> int:
        """Where the values begin."""
        return HEADER_BYTES + self.key[0] % _PLACES * ALIGNMENT

    @property
    def offsets_at(self) -> int:
        """Where the offsets begin."""
        end = self.values_at + self.elements * SIZES[self.element]
        return end + -end % ALIGNMENT

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        if self.lists:
            return self.offsets_at + 4 * (self.entries + 1)
        return self.values_at + self.elements * SIZES[self.element]

    def sealed(self, content: int) -> bytes:
        """Return the header as it is written, with the checksum of what follows it."""
        head = replace(self, content=content)
        packed = _HEAD.pack(
            _MAGIC, head.key, head.element.encode(), head.lists, head.entries, head.elements, head.content
        )
        return (packed + _CHECK.pack(checksum(packed))).ljust(HEADER_BYTES, b"\0")

    @classmethod
    def read(cls, written: bytes) -> Head:
        """Read what `sealed` returned.

        Raises
        ------
        Damaged
            If it is not that.
        """
        packed, check = written[: _HEAD.size], written[_HEAD.size : _HEAD.size + _CHECK.size]
        if len(written) < HEADER_BYTES or _CHECK.unpack(check)[0] != checksum(packed):
            raise Damaged("its header is damaged")
        magic, key, element, lists, entries, elements, content = _HEAD.unpack(packed)
        if magic != _MAGIC or element.decode() not in SIZES:
            raise Damaged("it has another layout")
        return cls(key, element.decode(), lists, entries, elements, content)

    def check(self, key: bytes, element: str, lists: bool, entries: int, size: int) -> None:
        """Refuse a file of another column or size.

        Raises
        ------
        Damaged
            If it is one.
        """
        if (self.key, self.element, self.lists, self.entries, self.size) != (key, element, lists, entries, size):
            raise Damaged("it is of another column, or cut off")

    def check_content(self, content: memoryview) -> None:
        """Refuse a file whose content, behind the header, has another checksum.

        Raises
        ------
        Damaged
            If it has.
        """
        if checksum(content) != self.content:
            raise Damaged("its content is damaged")


def checksum(content: bytes | memoryview) -> int:
    """Return the checksum of bytes: XXH3, 10 GB a second."""
    return xxhash.xxh3_64_intdigest(content)
