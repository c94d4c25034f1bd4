"""Strings in Python source that are known without running it: literals and combinations of literals."""

from __future__ import annotations

import ast
import os
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from portico.environment.decorators import imported_names

__all__ = ["strings_of"]

_DEPTH = 30  # names that stand for names, before a circle is assumed
_SAME = {"abspath", "absolute", "as_posix", "expandvars", "fspath", "normpath", "Path", "realpath", "resolve", "str"}
_JOINS = {"join", "joinpath"}


def strings_of(
    sources: Mapping[str, tuple[Path, ast.Module]], calls: Collection[str] = ()
) -> tuple[tuple[Path, str], ...]:
    """Return the strings of modules, each with the file of its module.

    f-strings, ``+``, ``%``, ``format``, ``os.path`` and ``pathlib`` are followed, and names that a module binds once.

    Parameters
    ----------
    sources : mapping of str to (Path, ast.Module)
        The modules, by name.
    calls : collection of str
        Names of functions and methods: return their arguments only.
    """
    return _strings(tuple(sources.items()), tuple(calls), tuple(os.environ.items()), Path.cwd())


# A session plans the same code again and again; the strings follow from the syntax trees and the process's state.
@lru_cache(maxsize=256)
def _strings(
    items: tuple[tuple[str, tuple[Path, ast.Module]], ...], calls: tuple[str, ...],
    _environment: tuple[tuple[str, str], ...], _folder: Path,
) -> tuple[tuple[Path, str], ...]:  # fmt: skip
    return tuple(_found(dict(items), calls))


def _found(sources: Mapping[str, tuple[Path, ast.Module]], calls: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    readers: dict[str, _Reader] = {}
    for module, (path, tree) in sources.items():
        reader, nodes = _reader(module, sources, readers), _nodes(tree)
        if calls:
            called = [node for node in nodes if isinstance(node, ast.Call) and _name(node) in calls]
            nodes = tuple(argument for node in called for argument in node.args)
        for node in nodes:
            if isinstance(node, ast.expr) and (text := reader.text(node)):
                yield path, text


def _name(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


@lru_cache(maxsize=1024)
def _nodes(tree: ast.Module) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree))


class _Reader:
    def __init__(
        self, module: str, sources: Mapping[str, tuple[Path, ast.Module]], readers: dict[str, _Reader]
    ) -> None:  # fmt: skip
        self._sources, self._readers = sources, readers
        self._path, tree = sources[module]
        self._values: dict[str, list[ast.expr]] = {}
        self._imported: dict[str, str] = {}
        for node in _nodes(tree):
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                self._values.setdefault(node.targets[0].id, []).append(node.value)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                self._imported |= dict(imported_names(node, module, self._path.name == "__init__.py"))

    def text(self, node: ast.expr, depth: int = 0) -> str | None:
        """Return the value of an expression if it is a known string or path."""
        if depth > _DEPTH:
            return None
        match node:
            case ast.Constant(value=str(value)):
                return value
            case ast.JoinedStr(values=values):
                return self._joined("", [v.value if isinstance(v, ast.FormattedValue) else v for v in values], depth)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._joined("", [left, right], depth)
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return self._joined("/", [left, right], depth)
            case ast.BinOp(left=left, op=ast.Mod(), right=right):
                return self._filled(left, right.elts if isinstance(right, ast.Tuple) else [right], depth, percent=True)
            case ast.Name(id=name):
                return self._named(name, depth)
            case ast.Attribute(value=value, attr="parent"):
                return self._folder(value, depth)
            case ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(name))):
                return os.environ.get(name)
            case ast.Call():
                return self._called(node, depth)
        return None

    def _called(self, node: ast.Call, depth: int) -> str | None:
        base = node.func.value if isinstance(node.func, ast.Attribute) else None
        name = _name(node)
        if name == "getenv" or (name == "get" and ast.unparse(node.func).endswith("environ.get")):
            texts = [self.text(argument, depth + 1) for argument in node.args]
            return os.environ.get(texts[0], texts[1] if len(texts) > 1 else None) if texts and texts[0] else None
        if name == "dirname" and node.args:
            return self._folder(node.args[0], depth)
        if name == "format" and base is not None and not node.keywords:
            return self._filled(base, node.args, depth, percent=False)
        if name in _JOINS:
            parts = [base, *node.args] if name == "joinpath" and base is not None else node.args
            is_path = name == "joinpath" or ast.unparse(node.func).endswith("path.join")
            return self._joined("/", parts, depth) if is_path else None
        if name in _SAME:
            of = node.args[0] if node.args else base
            return self.text(of, depth + 1) if of is not None else None
        return None

    def _joined(self, between: str, parts: list[ast.expr], depth: int) -> str | None:
        texts = [self.text(part, depth + 1) for part in parts]
        known = [text for text in texts if text is not None]
        if len(known) < len(texts):
            return None
        return os.path.join(*known) if between else "".join(known)  # noqa: PTH118 (text, not a path of ours)

    def _filled(self, template: ast.expr, arguments: list[ast.expr], depth: int, *, percent: bool) -> str | None:
        texts = [self.text(part, depth + 1) for part in [template, *arguments]]
        known = [text for text in texts if text is not None]
        if len(known) < len(texts):
            return None
        try:
            return known[0] % tuple(known[1:]) if percent else known[0].format(*known[1:])
        except (IndexError, KeyError, TypeError, ValueError):
            return None

    def _folder(self, node: ast.expr, depth: int) -> str | None:
        text = self.text(node, depth + 1)
        return str(Path(text).parent) if text else None

    def _named(self, name: str, depth: int) -> str | None:
        if name == "__file__":
            return str(self._path)
        values = self._values.get(name, [])
        if len(values) == 1:
            return self.text(values[0], depth + 1)
        home, _, original = self._imported.get(name, "").rpartition(".")
        if not values and home in self._sources:
            return _reader(home, self._sources, self._readers)._named(original, depth + 1)
        return None


def _reader(
    module: str, sources: Mapping[str, tuple[Path, ast.Module]], readers: dict[str, _Reader]
) -> _Reader:  # fmt: skip
    if module not in readers:
        readers[module] = _Reader(module, sources, readers)
    return readers[module]
