"""Plain Python operations on known values: text, paths, numbers and containers."""

from __future__ import annotations

import ast
import operator
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from portico.config import parse_json
from portico.lint.values import MOST, UNKNOWN, is_known, size
from portico.root import root_folder

__all__ = ["FUNCTIONS", "MUTATORS", "Opened", "binary", "call", "compare", "method", "tutorials"]

_LARGEST = 10_000  # items of a container, letters of a text
# Formats that may make a long text of little: a width or precision of five digits, or of another value.
_WIDE = re.compile(r"%(?:\([^)]*\))?[-+ #0]*\d*\.?(?:\*|\d{5})|\{[^{}]*:[^{}]*(?:\{|\d{5})")

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
    ast.Is: operator.is_, ast.IsNot: operator.is_not,
}  # fmt: skip
_OF_TEXT = {
    "endswith", "format", "join", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace",
    "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "title", "upper",
}  # fmt: skip
_OF_MAPPINGS = {"get", "items", "keys", "values"}
MUTATORS = {"append", "extend", "insert", "update", "add", "setdefault"}
"""Methods that change a container, which are carried out as well."""


class Opened(str):
    """The path of a file that a script opened to read it."""

    __slots__ = ()


def tutorials() -> str | None:
    """Return the folder of ROOT's tutorials, without loading ROOT."""
    home = root_folder()
    return str(home / "tutorials") if home is not None and (home / "tutorials").is_dir() else None


def _open(path: Any, mode: str = "r", **_: Any) -> Any:
    return Opened(path) if not set(mode) & set("wax+") else UNKNOWN


def _load(stream: Any) -> Any:
    if not isinstance(stream, Opened):
        return UNKNOWN
    path = Path(stream)
    return parse_json(path.read_bytes()) if path.is_file() and path.stat().st_size < 1_000_000 else UNKNOWN


def _range(*arguments: int) -> Any:
    numbers = range(*arguments)
    return list(numbers) if len(numbers) <= _LARGEST else UNKNOWN


def _path(*parts: str) -> str:
    return os.path.join(*parts) if parts else "."  # noqa: PTH118 (text of a script)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "os.path.join": os.path.join, "os.path.dirname": os.path.dirname, "os.path.basename": os.path.basename,
    "os.path.abspath": os.path.abspath, "os.path.realpath": os.path.realpath, "os.path.normpath": os.path.normpath,
    "os.path.expanduser": os.path.expanduser, "os.path.expandvars": os.path.expandvars,
    "os.path.splitext": os.path.splitext, "os.getenv": os.environ.get, "os.environ.get": os.environ.get,
    "os.fspath": str, "pathlib.Path": _path, "json.load": _load, "json.loads": parse_json,
    "open": _open, "range": _range, "len": len, "list": list, "tuple": tuple, "dict": dict, "sorted": sorted,
    "reversed": lambda items: list(items)[::-1], "enumerate": lambda *a, **k: list(enumerate(*a, **k)),
    "zip": lambda *lists, **_: list(zip(*lists, strict=False)), "str": str, "int": int, "float": float, "bool": bool,
    "ROOT.gROOT.GetTutorialDir": tutorials, "ROOT.gROOT.GetTutorialsDir": tutorials,
    "ROOT.std.string": str, "ROOT.TString": str, "ROOT.std.vector": lambda *_: UNKNOWN,
}  # fmt: skip
"""Functions that are called if all their arguments are known, by their dotted names."""

_CONTAINERS = {"list", "tuple", "dict", "enumerate", "zip", "reversed", "len"}  # whatever they hold


def call(path: str, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """Return what a function of `FUNCTIONS` gives for known arguments; `UNKNOWN` otherwise."""
    given = [*arguments, *keywords.values()]
    if any(one is UNKNOWN for one in given) or not (path in _CONTAINERS or all(map(is_known, given))):
        return UNKNOWN
    return _tried(FUNCTIONS[path], *arguments, **keywords)


def method(value: Any, name: str, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """Return what a method of a text or container gives; `UNKNOWN` if it or an argument is not known."""
    if isinstance(value, (list, dict, set)) and name in MUTATORS:
        return UNKNOWN if len(value) > _LARGEST else _tried(getattr(value, name, None), *arguments, **keywords)
    if isinstance(value, str):
        if name == "Data":  # of a TString
            return value
        given = size([*arguments, *keywords.values()])
        if name not in _OF_TEXT or given > MOST or given * size(value) > 10 * MOST:  # what it may become
            return UNKNOWN
        if name == "format" and _WIDE.search(value):
            return UNKNOWN
        return _tried(getattr(value, name), *arguments, **keywords)
    if isinstance(value, dict) and name in _OF_MAPPINGS:
        found = _tried(getattr(value, name), *arguments)
        return found if name == "get" else list(found)
    return UNKNOWN


def compare(node: ast.Compare, values: list[Any]) -> Any:
    """Return whether a comparison of known values holds."""
    if not all(map(is_known, values)):
        return UNKNOWN
    return _tried(
        lambda: all(
            _COMPARISONS[type(op)](one, other) for op, one, other in zip(node.ops, values[:-1], values[1:], strict=True)
        )
    )


def binary(kind: type[ast.operator], left: Any, right: Any) -> Any:
    """Return the result of an operator between known values."""
    if kind is ast.Div and isinstance(left, str) and isinstance(right, str):
        return _path(left, right)  # of pathlib
    if kind is ast.Mod and isinstance(left, str) and _WIDE.search(left):
        return UNKNOWN
    if kind is ast.Mult and not all(isinstance(one, (int, float)) for one in (left, right)):
        return UNKNOWN  # may be of any length
    if kind is not ast.Add and not (is_known(left) and is_known(right)):
        return UNKNOWN
    return _tried(_OPERATORS[kind], left, right) if kind in _OPERATORS else UNKNOWN


def _tried(function: Any, *arguments: Any, **keywords: Any) -> Any:
    """Return what a function gives; `UNKNOWN` where it fails, as the script then would, or is too large."""
    try:
        found = function(*arguments, **keywords)
    except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError, RecursionError):
        return UNKNOWN
    return UNKNOWN if isinstance(found, (str, list, tuple, dict)) and len(found) > MOST else found
