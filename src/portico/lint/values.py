"""The values that names stand for while a script is followed without running it.

Plain values of Python are themselves. What is not known is `UNKNOWN`. Frames and results of RDataFrame, modules and
functions have classes of their own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

__all__ = [
    "MOST", "UNKNOWN", "Chain", "Frame", "Function", "Handle", "Member", "Options", "Parser", "Read", "Scope", "Source",
    "handles_in", "is_known", "size",
]  # fmt: skip

MOST = 1_000_000
"""Values and letters of plain data that are followed."""


class _Unknown(Enum):
    UNKNOWN = "unknown"


UNKNOWN = _Unknown.UNKNOWN
Arms = tuple[tuple[int, int], ...]
"""The branches in which something happens: for each ``if`` whose condition is not known, which arm."""


@dataclass(eq=False, slots=True)
class Source:
    """The input of a frame, where the script makes it.

    Parameters
    ----------
    line : int
        The line.
    node : ast.Call, optional
        The call that makes the frame; none of a parameter of a function that is never called.
    kind : str
        ``tree``, ``spec``, ``entries``, or ``other`` for what cannot be the input of a step.
    tree, files, entries : optional
        The name of the tree, the files, and the number of entries of a generated frame, where they are known.
    names : dict of str to str
        Strings by which the frame may be called: loop variables and parameters.
    key : str, optional
        Under which it is put into a dictionary.
    key_node : ast.expr, optional
        The expression of this key.
    variable : str
        The variable to which it is assigned.
    """

    line: int
    node: ast.Call | None = None
    kind: str = "tree"
    tree: str | None = None
    files: tuple[str, ...] | None = None
    entries: int | None = None
    names: dict[str, str] = field(default_factory=dict)
    key: str | None = None
    key_node: ast.expr | None = None
    variable: str = ""
    spec: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """A node of RDataFrame's graph: its source, the cuts before it, and the columns that were defined."""

    source: Source
    cuts: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Handle:
    """A booked result; ``of`` is the one whose variations it has."""

    source: Source
    action: str
    node: ast.Call
    arms: Arms = ()
    order: int = 0
    of: Handle | None = None

    @property
    def line(self) -> int:
        """Where it is booked."""
        return self.node.end_lineno or self.node.lineno


@dataclass(frozen=True, slots=True)
class Read:
    """A value that follows from a result: it needs the event loop."""

    line: int


@dataclass(frozen=True, slots=True)
class Member:
    """A module, or what it holds, by its dotted path."""

    path: str


@dataclass(eq=False, slots=True)
class Chain:
    """A TChain, or a file opened by ROOT."""

    tree: str | None = None
    files: list[str] | None = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Parser:
    """A parser of command-line options, with their defaults as far as they are known."""

    defaults: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, slots=True)
class Options:
    """What a parser returns if no options are given."""

    values: Mapping[str, Any]


@dataclass(eq=False, slots=True)
class Scope:
    """The names of a module or of a call of a function."""

    names: dict[str, Any] = field(default_factory=dict)
    parent: Scope | None = None

    def get(self, name: str) -> Any:
        """Return what a name stands for."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return UNKNOWN


@dataclass(frozen=True, eq=False, slots=True)
class Function:
    """A function of the script, and where it is defined."""

    node: ast.FunctionDef | ast.Lambda
    scope: Scope


def size(value: Any) -> int:
    """Return of how many values and letters plain data of Python consists; more than `MOST` for all else.

    What is held twice counts twice: a few lines can make a list of lists that is larger than any memory when it is
    written out.
    """
    found, left = 0, [value]
    while left and found <= MOST:
        one = left.pop()
        found += 1
        if isinstance(one, (list, tuple, set, dict)):
            left += one.values() if isinstance(one, dict) else one
        elif isinstance(one, str):
            found += len(one)
        elif isinstance(one, int):
            found += one.bit_length() // 8
        elif one is not None and not isinstance(one, float):
            return MOST + 1
    return found


def is_known(value: Any) -> bool:
    """Whether a value is plain data of Python, with all that it holds, and not too large to be followed."""
    return size(value) <= MOST


def handles_in(value: Any, depth: int = 0) -> Iterator[Handle]:
    """Yield the results in a value: itself, or those in lists and dictionaries."""
    if isinstance(value, Handle):
        yield value
    elif isinstance(value, (list, tuple, dict)) and depth < 5:
        for item in value.values() if isinstance(value, dict) else value:
            yield from handles_in(item, depth + 1)
