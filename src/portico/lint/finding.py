"""Findings in a script, with line, reason and fix."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

__all__ = ["LEVELS", "Finding", "Level"]

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found at a line of a script.

    Parameters
    ----------
    level : {"error", "warning", "note"}
        ``error``: a step cannot do this, or its numbers would be others. ``warning``: it may fail, elsewhere or for
        some events. ``note``: it has no effect.
    rule : str
        Which rule found it, such as ``local-entry``.
    line : int
        The line of the script.
    what, why, fix : str
        What is there, why it matters, and what to do.
    """

    level: Level
    rule: str
    line: int
    what: str
    why: str
    fix: str

    def to_json(self) -> dict[str, str | int]:
        """Return the fields as a dictionary, ready for JSON."""
        return asdict(self)
