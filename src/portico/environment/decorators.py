"""Declarations of steps, read from source text: the decorator that a name stands for, and its arguments.

Nothing is run. Names are followed through imports, also from other modules of the analysis, through assignments and
through ``functools.partial``. What cannot be read is refused; a worker compares what was read with what the decorator
declared when the module ran (`portico.step.needs_of`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from portico.errors import ConfigError, nearest
from portico.step import Needs

__all__ = ["find_function", "imported_names"]

_KINDS = {"step": "frame", "points": "points", "summary": "summary"}
_LISTS = {"step": ("headers", "files", "sources"), "points": ("files",), "summary": ()}
_ROLES = {
    "frame": ("frame", "sample"), "points": ("point",), "summary": ("results", "samples"), "list": (),
}  # fmt: skip
_DEPTH = 20  # names that stand for names, before a circle is assumed


@dataclass(frozen=True, slots=True)
class _Value:
    """What a name stands for: a dotted path, and the keywords that it was called with or bound to."""

    path: str
    keywords: tuple[tuple[str | None, str], ...] = ()

    @property
    def decorator(self) -> str:
        """``step``, ``points`` or ``summary``; empty for anything else."""
        home, _, name = self.path.rpartition(".")
        return name if name in _KINDS and home in {"portico", "portico.step"} else ""


@dataclass(slots=True)
class _Scope:
    """The names that a module binds at its top level."""

    expressions: dict[str, list[ast.expr | str]] = field(default_factory=dict)
    fallbacks: set[str] = field(default_factory=set)
    stars: list[str] = field(default_factory=list)

    def bind(self, name: str, value: ast.expr | str, fallback: bool) -> None:
        if fallback:
            self.fallbacks.add(name)
        else:
            self.expressions.setdefault(name, []).append(value)


def imported_names(node: ast.Import | ast.ImportFrom, module: str, is_package: bool) -> Iterator[tuple[str, str]]:
    """Yield the name that an import binds (``*`` for all) and the dotted path that it stands for."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
        return
    base = node.module or ""
    if node.level:
        parts = module.split(".")
        parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
        base = ".".join([*parts, *([node.module] if node.module else [])])
    for alias in node.names:
        yield alias.asname or alias.name, base if alias.name == "*" else f"{base}.{alias.name}"


def find_function(
    module: str, name: str, sources: Mapping[str, tuple[Path, ast.Module]], needs: Needs
) -> tuple[ast.FunctionDef, Needs]:
    """Return the definition of a function, and what its decorators declare; ``needs`` if they declare nothing.

    Parameters
    ----------
    module, name : str
        Of the function.
    sources : mapping of str to (Path, ast.Module)
        The file and the syntax tree of the module and of those that it imports.
    needs : Needs
        Of a function without a decorator.

    Raises
    ------
    ConfigError
        If the function does not exist, has other arguments than its kind, or a declaration cannot be read.
    """
    path, tree = sources[module]
    definitions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if name not in definitions:
        raise ConfigError(
            f"{path}: no function '{name}' at the top level of the module, where steps are defined with def; "
            f"{nearest(name, definitions)}"
        )
    definition, reader = definitions[name], _Reader(sources)
    for decorator in definition.decorator_list:
        where = f"{path}:{decorator.lineno}"
        value = reader.decorator(module, decorator, f"{where}: @{ast.unparse(decorator)} of '{module}:{name}'")
        if value is not None:
            needs = Needs(_KINDS[value.decorator], *_lists(value, f"{where}: @{value.decorator} of '{module}:{name}'"))
    roles = _ROLES[needs.kind]
    if len(definition.args.posonlyargs + definition.args.args) != len(roles):
        words = ", ".join([*roles, "*", "..."])
        raise ConfigError(f"{path}:{definition.lineno}: '{name}' must be defined as {name}({words})")
    return definition, needs


class _Reader:
    """Follows names through modules."""

    def __init__(self, sources: Mapping[str, tuple[Path, ast.Module]]) -> None:
        self._sources = sources
        self._scopes: dict[str, _Scope] = {}

    def decorator(self, module: str, node: ast.expr, where: str) -> _Value | None:
        """Return what a decorator stands for if it is one of portico's.

        Raises
        ------
        ConfigError
            If it is only sometimes, or has more than one definition.
        """
        found = set(self._values(module, node))
        ours = {value for value in found if value is not None and value.decorator}
        if len(ours) > 1 or (ours and found != ours):
            raise ConfigError(
                f"{where} has several definitions, and which of them counts cannot be read without running the "
                "module; write @portico.step(headers=[...], files=[...]) directly above the function"
            )
        return ours.pop() if ours else None

    def _values(self, module: str, node: ast.expr, depth: int = 0) -> Iterator[_Value | None]:
        """Yield all that an expression may stand for; None for what cannot be read."""
        if depth > _DEPTH:
            yield None
        elif isinstance(node, ast.Name):
            yield from self._named(module, node.id, depth + 1)
        elif isinstance(node, ast.Attribute):
            for value in self._values(module, node.value, depth + 1):
                if value is not None:
                    yield from self._member(f"{value.path}.{node.attr}", depth + 1)
        elif isinstance(node, ast.Call):
            for value in self._values(module, node.func, depth + 1):
                yield from self._called(module, node, value, depth + 1)
        elif isinstance(node, ast.IfExp):
            yield from self._values(module, node.body, depth + 1)
            yield from self._values(module, node.orelse, depth + 1)
        else:
            yield None

    def _called(self, module: str, node: ast.Call, value: _Value | None, depth: int) -> Iterator[_Value | None]:
        given = tuple((keyword.arg, ast.unparse(keyword.value)) for keyword in node.keywords)
        if value is not None and value.decorator:
            yield replace(value, keywords=(*value.keywords, *given))
        elif value is not None and value.path == "functools.partial" and node.args:
            for inner in self._values(module, node.args[0], depth):
                yield inner and replace(inner, keywords=(*inner.keywords, *given))
        else:
            yield None

    def _named(self, module: str, name: str, depth: int) -> Iterator[_Value | None]:
        scope = self._scope(module)
        bound = scope.expressions.get(name, [])
        for value in bound:
            if isinstance(value, str):
                yield from self._member(value, depth)
            else:
                yield from self._values(module, value, depth)
        if bound or name in scope.fallbacks:
            return
        for star in scope.stars:
            if star in self._sources and name in self._scope(star).expressions:
                yield from self._named(star, name, depth)
                return
        # By "from portico import *"; otherwise the module ends with a NameError when it runs.
        yield _Value(f"portico.{name}" if name in _KINDS else name)

    def _member(self, path: str, depth: int) -> Iterator[_Value | None]:
        home, _, name = path.rpartition(".")
        if depth <= _DEPTH and home in self._sources and path not in self._sources:
            yield from self._named(home, name, depth + 1)
        else:
            yield _Value(path)

    def _scope(self, module: str) -> _Scope:
        if module not in self._scopes:
            path, tree = self._sources[module]
            self._scopes[module] = scope = _Scope()
            _bind(scope, tree.body, module, path.name == "__init__.py", fallback=False)
        return self._scopes[module]


def _bind(scope: _Scope, body: list[ast.stmt], module: str, is_package: bool, fallback: bool) -> None:
    """Note what statements bind, also those in blocks; what an ``except`` binds counts only if nothing else does."""
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for name, path in imported_names(node, module, is_package):
                if name == "*":
                    scope.stars.append(path)
                else:
                    scope.bind(name, path, fallback)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            scope.bind(node.name, f"{module}:{node.name}", fallback)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    scope.bind(target.id, node.value, fallback)
        for block in ("body", "orelse", "finalbody"):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                _bind(scope, getattr(node, block, []), module, is_package, fallback)
        for handler in getattr(node, "handlers", []):
            _bind(scope, handler.body, module, is_package, fallback=True)


def _lists(value: _Value, where: str) -> tuple[tuple[str, ...], ...]:
    """Return the lists of `portico.step.Needs` in their order."""
    lists: dict[str, tuple[str, ...]] = {"headers": (), "files": (), "sources": ()}
    valid = _LISTS[value.decorator]
    for key, text in value.keywords:
        try:
            written = ast.literal_eval(text)
        except ValueError:
            written = ""
        if key not in valid or not isinstance(written, (list, tuple)) or not all(isinstance(v, str) for v in written):
            takes = f"takes {', '.join(f'{key}=[...]' for key in valid)}" if valid else "takes no arguments"
            raise ConfigError(f"{where} {takes}, written out as lists of strings")
        lists[key or ""] = tuple(written)
    return tuple(lists.values())
