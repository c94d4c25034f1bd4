"""Findings of the doctor, and the names of workers in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, TypeVar

__all__ = ["Finding", "error", "grouped", "named", "ok", "warning"]

Level = Literal["ok", "warning", "error"]
Value = TypeVar("Value", bound=Hashable)

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Parameters
    ----------
    level : {"ok", "warning", "error"}
        ``error``: the run will fail, or its numbers will be wrong. ``warning``: it may.
    check : str
        What was checked.
    what : str
        What was found, and where.
    why : str
        Why it matters; empty if the level is ``ok``.
    fix : str
        What to do; empty if the level is ``ok``.
    """

    level: Level
    check: str
    what: str
    why: str = ""
    fix: str = ""

    def __str__(self) -> str:
        return "; ".join(part for part in (f"{self.check}: {self.what}", self.why, self.fix) if part)

    def to_json(self) -> dict[str, str]:
        """Return the fields as a dictionary, ready for JSON."""
        return asdict(self)


def ok(check: str, what: str) -> Finding:
    """Return a finding without a problem."""
    return Finding("ok", check, what)


def warning(check: str, what: str, why: str, fix: str) -> Finding:
    """Return a finding about something that may go wrong."""
    return Finding("warning", check, what, why, fix)


def error(check: str, what: str, why: str, fix: str) -> Finding:
    """Return a finding about something that will go wrong."""
    return Finding("error", check, what, why, fix)


def grouped(values: Mapping[str, Value]) -> dict[Value, list[str]]:
    """Return the workers that have each value."""
    groups: dict[Value, list[str]] = defaultdict(list)
    for worker, value in values.items():
        groups[value].append(worker)
    return dict(groups)


def named(workers: Iterable[str]) -> str:
    """List the first workers by name, and count the others."""
    names = list(workers)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
