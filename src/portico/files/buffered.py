"""Fills of a stored histogram that are in no bin yet: ROOT keeps the first ones in a buffer to choose the axes."""

from __future__ import annotations

from typing import Any

__all__ = ["refuse_unbinned", "unbinned"]


def unbinned(stored: Any) -> int:
    """Return how many fills a histogram or profile read with uproot has that are in no bin."""
    buffer = stored.member("fBuffer", none_if_missing=True)
    return max(0, int(buffer[0])) if buffer is not None and len(buffer) else 0


def refuse_unbinned(stored: Any) -> None:
    """Refuse a histogram whose bins do not have all of its fills.

    Raises
    ------
    ValueError
        If it has fills that are in no bin.
    """
    if fills := unbinned(stored):
        raise ValueError(
            f"{fills:,} of its fills {'is' if fills == 1 else 'are'} in no bin, because it was written while ROOT had "
            "yet to choose its axes; call BufferEmpty() before it is written, or give it fixed axes"
        )
