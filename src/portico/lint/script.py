"""A script as text and syntax tree, with the text of any part of it."""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from portico.errors import ConfigError
from portico.files.troubles import is_regular

__all__ = ["Edit", "Script", "read_script"]


@dataclass(frozen=True, slots=True)
class Edit:
    """Text that replaces a part of a script, by positions in its text."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Script:
    """A script in Python.

    Parameters
    ----------
    path : Path
        Its file.
    text : str
        What it holds.
    tree : ast.Module
        The same as a syntax tree.
    """

    path: Path
    text: str
    tree: ast.Module

    @cached_property
    def _starts(self) -> list[int]:
        """The position at which each line begins, and the end."""
        positions = [0]
        for line in self.text.splitlines(keepends=True):
            positions.append(positions[-1] + len(line))
        return positions

    @cached_property
    def lines(self) -> list[str]:
        """The lines, without their ends."""
        return self.text.splitlines()

    @cached_property
    def in_strings(self) -> frozenset[int]:
        """The lines, from 1, that begin within a string: their indentation belongs to it."""
        inside: set[int] = set()
        begun: list[int] = []
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            name = tokenize.tok_name[token.type]
            if name == "STRING":
                inside.update(range(token.start[0] + 1, token.end[0] + 1))
            elif name == "FSTRING_START":
                begun.append(token.start[0])
            elif name == "FSTRING_END":
                inside.update(range(begun.pop() + 1, token.end[0] + 1))
        return frozenset(inside)

    def position(self, line: int, column: int) -> int:
        """Return the position of a line, from 1, and a column in bytes, as `ast` has them."""
        start = self._starts[line - 1]
        text = self.lines[line - 1] if line <= len(self.lines) else ""
        return start + len(text.encode()[:column].decode())

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Return the positions at which a part begins and ends."""
        last, column = node.end_lineno or node.lineno, node.end_col_offset or 0
        return self.position(node.lineno, node.col_offset), self.position(last, column)

    def source(self, node: ast.expr | ast.stmt) -> str:
        """Return the text of a part on one line."""
        start, end = self.span(node)
        return " ".join(self.text[start:end].split())


def read_script(path: Path) -> Script:
    """Read a script; it is not run.

    Raises
    ------
    ConfigError
        If there is none, or it is not Python.
    """
    if path.suffix == ".ipynb":
        raise ConfigError(f"{path}: a notebook; write its code to a script first: jupyter nbconvert --to script {path}")
    if path.suffix in {".C", ".cc", ".cpp", ".cxx"}:
        raise ConfigError(f"{path}: C++; only scripts in Python can be read, whose C++ may stay in headers")
    if not is_regular(path):
        raise ConfigError(f"{path}: is a pipe, a device or a folder; name a script in Python")
    try:
        with tokenize.open(path) as stream:
            text = stream.read()
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: cannot be read: {reason}; name a script in Python") from error
    text = text.replace("\f", " ")  # a form feed is blank to Python, but ends a line for str.splitlines
    try:
        with warnings.catch_warnings():  # of escape sequences in C++: no concern of ours
            warnings.simplefilter("ignore")
            tree = ast.parse(text, filename=str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        said = error.msg if isinstance(error, SyntaxError) else str(error) or "it is nested too deeply"
        raise ConfigError(f"{path}{line}: not Python of this version: {said}; correct it first") from error
    return Script(path, text, tree)
