"""The value of an expression, as far as it is known without running the script."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from portico.lint import frames, plain
from portico.lint.graph import ANY_CUT, DISTINCT, Graph
from portico.lint.values import (
    MOST,
    UNKNOWN,
    Chain,
    Frame,
    Function,
    Handle,
    Member,
    Options,
    Parser,
    Read,
    Scope,
    Source,
    is_known,
)

__all__ = ["Evaluator", "MemberCall", "TooLong", "bind"]

_STEPS = 100_000  # expressions, before a script is given up: it may have loops in loops
_CONVERT = {"float", "int", "len", "print", "str", "sum", "round", "abs", "min", "max"}


class TooLong(Exception):  # noqa: N818 (not an error)
    """A script takes too long to follow."""


@dataclass(frozen=True, eq=False, slots=True)
class MemberCall:
    """A call of a function of a module, such as ``ROOT.gInterpreter.Declare``, with the values of its arguments.

    It is ``sure`` if it does not depend on a condition that is not known, or on an option.
    """

    node: ast.Call
    path: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    sure: bool = True


@dataclass(slots=True)
class Evaluator:
    """Evaluates expressions.

    Parameters
    ----------
    inline : callable
        Returns what a function of the script gives for arguments.
    """

    inline: Callable[[Function, list[Any], dict[str, Any]], Any]
    graph: Graph = field(default_factory=Graph)
    sources: list[Source] = field(default_factory=list)
    members: list[MemberCall] = field(default_factory=list)
    context: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    aside: bool = False
    _steps: int = 0

    def value(self, node: ast.expr | None, scope: Scope) -> Any:
        """Return the value of an expression."""
        self._steps += 1
        if self._steps > _STEPS:
            raise TooLong
        match node:
            case None:
                return UNKNOWN
            case ast.Constant(value=value):
                return value if is_known(value) else UNKNOWN
            case ast.Name(id=name):
                return self._name(name, scope)
            case ast.Attribute():
                return self._attribute(node, scope)
            case ast.Call():
                return self._call(node, scope)
            case ast.Subscript(value=base, slice=key):
                return self._item(node, self.value(base, scope), self.value(key, scope))
            case ast.JoinedStr(values=parts):
                return self._text(node, parts, scope)
            case ast.Lambda():
                return Function(node, scope)
            case ast.Starred(value=inner) | ast.Await(value=inner) | ast.NamedExpr(value=inner):
                return self.value(inner, scope)
        return self._container(node, scope)

    def _container(self, node: ast.expr, scope: Scope) -> Any:
        match node:
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
                values = self._elements(items, scope)
                return UNKNOWN if values is None else (tuple(values) if isinstance(node, ast.Tuple) else values)
            case ast.Dict(keys=keys, values=values):
                return self._mapping(keys, values, scope)
            case ast.ListComp(generators=loops, elt=item) | ast.GeneratorExp(generators=loops, elt=item):
                return self._comprehension(loops, scope, lambda inner: self.value(item, inner))
            case ast.DictComp(generators=loops, key=key, value=item):
                pairs = self._comprehension(
                    loops, scope, lambda inner: (self.value(key, inner), self.value(item, inner))
                )
                known = isinstance(pairs, list) and all(isinstance(name, (str, int)) for name, _ in pairs)
                return dict(pairs) if known else UNKNOWN
        return self._operation(node, scope)

    def _operation(self, node: ast.expr, scope: Scope) -> Any:
        match node:
            case ast.BinOp(left=left, op=op, right=right):
                values = [self.value(left, scope), self.value(right, scope)]
                return self._after_reading(node, values) or plain.binary(type(op), *values)
            case ast.Compare(left=left, comparators=others):
                values = [self.value(one, scope) for one in [left, *others]]
                return self._after_reading(node, values) or plain.compare(node, values)
            case ast.BoolOp(op=op, values=parts):
                return self._either(isinstance(op, ast.Or), parts, scope)
            case ast.UnaryOp(op=op, operand=operand):
                value = self.value(operand, scope)
                if isinstance(op, ast.Not):
                    return not value if is_known(value) else UNKNOWN
                return -value if isinstance(op, ast.USub) and isinstance(value, (int, float)) else UNKNOWN
            case ast.IfExp(test=test, body=body, orelse=orelse):
                chosen = self.value(test, scope)
                if is_known(chosen):
                    return self.value(body if chosen else orelse, scope)
                return joined(self.value(body, scope), self.value(orelse, scope))
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.value(child, scope)
        return UNKNOWN

    def _name(self, name: str, scope: Scope) -> Any:
        value = scope.get(name)
        if value is UNKNOWN and (name in plain.FUNCTIONS or name in _CONVERT):
            return Member(name)
        return value

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Any:
        value = self.value(node.value, scope)
        if isinstance(value, Member):
            path = f"{value.path}.{node.attr}".replace("ROOT.ROOT.", "ROOT.")
            return {"os.sep": "/", "math.pi": 3.141592653589793}.get(path, Member(path))
        if isinstance(value, Options):
            return value.values.get(node.attr, UNKNOWN)
        return value if isinstance(value, Read) else UNKNOWN

    def _item(self, node: ast.expr, value: Any, key: Any) -> Any:
        if isinstance(value, Handle):
            return self.graph.read(node, value) if value.action == "AsNumpy" else value
        if isinstance(value, Read):
            return value
        if isinstance(value, Member) and value.path == "os.environ" and isinstance(key, str):
            return plain.call("os.getenv", [key], {})
        if isinstance(value, Member):
            return value  # a template
        if isinstance(value, (list, tuple, dict, str)) and is_known(key):
            try:
                return value[key]
            except (LookupError, TypeError):
                return UNKNOWN
        return UNKNOWN

    def _elements(self, items: list[ast.expr], scope: Scope) -> list[Any] | None:
        found: list[Any] = []
        for item in items:
            value = self.value(item, scope)
            if isinstance(item, ast.Starred):
                if not isinstance(value, (list, tuple)) or len(found) + len(value) > MOST:
                    return None
                found += value
            else:
                found.append(value)
        return found

    def _mapping(self, keys: list[ast.expr | None], values: list[ast.expr], scope: Scope) -> Any:
        found: dict[Any, Any] = {}
        for key_node, item in zip(keys, values, strict=True):
            key, value = self.value(key_node, scope), self.value(item, scope)
            if key_node is None and isinstance(value, dict):
                found |= value
            elif isinstance(key, (str, int, float)):
                found[key] = value
            else:
                return UNKNOWN
        return found

    def _text(self, node: ast.expr, parts: list[ast.expr], scope: Scope) -> Any:
        values = [self.value(p.value if isinstance(p, ast.FormattedValue) else p, scope) for p in parts]
        plain_parts = all(not isinstance(p, ast.FormattedValue) or (p.format_spec is None and p.conversion < 0)
                          for p in parts)  # fmt: skip
        if read := self._after_reading(node, values):
            return read
        return "".join(map(str, values)) if plain_parts and all(map(is_known, values)) else UNKNOWN

    def _after_reading(self, node: ast.expr, values: list[Any]) -> Any:
        """Return what follows from results among the values; None if there are none."""
        for value in values:
            if isinstance(value, Handle):
                return self.graph.read(node, value)
            if isinstance(value, Read):
                return value
        return None

    def _either(self, is_or: bool, parts: list[ast.expr], scope: Scope) -> Any:
        result: Any = not is_or
        for part in parts:
            result = self.value(part, scope)
            if not is_known(result) or bool(result) == is_or:
                return result
        return result

    def _comprehension(self, loops: list[ast.comprehension], scope: Scope, make: Callable[[Scope], Any]) -> Any:
        inner = Scope({}, scope)
        known = True
        found: list[Any] = []

        def turn(rest: list[ast.comprehension]) -> None:
            nonlocal known
            if not rest:
                found.append(make(inner))
                return
            items = self.value(rest[0].iter, inner)
            known = known and isinstance(items, (list, tuple, dict))
            for item in items if isinstance(items, (list, tuple, dict)) else [UNKNOWN]:
                bind(rest[0].target, item, inner.names)
                with_names(self.context[-1], rest[0].target, inner)
                passed = [self.value(test, inner) for test in rest[0].ifs]
                known = known and all(map(is_known, passed))
                if all(one is UNKNOWN or one for one in passed):
                    turn(rest[1:])

        before = dict(self.context[-1])
        turn(loops)
        self.context[-1] = before
        return found if known else UNKNOWN

    def _call(self, node: ast.Call, scope: Scope) -> Any:
        base: Any = UNKNOWN
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name and isinstance(node.func, ast.Attribute):
            base = self.value(node.func.value, scope)
        elements = self._elements(node.args, scope)
        arguments = [UNKNOWN] if elements is None else elements
        keywords = {k.arg: self.value(k.value, scope) for k in node.keywords if k.arg is not None}
        if isinstance(base, Handle) and name in DISTINCT and base.action == "Snapshot":
            base = Frame(Source(node.lineno, kind="other"))
        if base is UNKNOWN and name in DISTINCT:
            base = Frame(Source(node.lineno, kind="other"))
        if isinstance(base, Frame):
            return self.graph.use(node, name, base, [*arguments, *keywords.values()])
        if isinstance(base, Handle):
            return self.graph.read(node, base, name)
        if isinstance(base, Read):
            return base
        if isinstance(base, (Chain, Parser)):
            return frames.method(base, name, arguments, keywords)
        if name and not isinstance(base, (Member, _Unknown)):
            read = None if name in plain.MUTATORS else self._after_reading(node, arguments)
            return read or plain.method(base, name, arguments, keywords)
        callee = self._attribute(node.func, scope) if isinstance(node.func, ast.Attribute) else (
            self.value(node.func, scope))  # fmt: skip
        return self._called(node, callee, arguments, keywords)

    def _called(self, node: ast.Call, callee: Any, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        if isinstance(callee, Function):
            return self.inline(callee, arguments, keywords)
        if isinstance(callee, Member):
            sure = not (self.aside or self.graph.arms)
            self.members.append(MemberCall(node, callee.path, tuple(arguments), keywords, sure))
            return self._of_module(node, callee.path, arguments, keywords)
        return _passed_on(arguments)

    def _of_module(self, node: ast.Call, path: str, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        last = path.rpartition(".")[2]
        if path.startswith("ROOT.") and (source := frames.source_of(node, last, arguments)) is not None:
            source.names = {name: text for name, text in self.context[-1].items() if isinstance(text, str)}
            self.sources.append(source)
            return Frame(source)
        if last == "VariationsFor" and arguments and isinstance(arguments[0], Handle):
            return self.graph.varied(node, arguments[0])
        if last == "RunGraphs":
            for handle in arguments[0] if arguments and isinstance(arguments[0], (list, tuple)) else []:
                if isinstance(handle, Handle):
                    self.graph.read(node, handle)
            return UNKNOWN
        if (made := frames.other(path, arguments)) is not None:
            return made
        if path in _CONVERT and (read := self._after_reading(node, arguments)) is not None:
            return read
        if path in plain.FUNCTIONS:
            return plain.call(path, arguments, keywords)
        return _passed_on(arguments)


_Unknown = type(UNKNOWN)


def _passed_on(arguments: list[Any]) -> Any:
    """Return what a function that is not known is likely to give: the frame it got, with whatever cuts."""
    for one in arguments:
        if isinstance(one, Frame):
            return Frame(one.source, (*one.cuts, ANY_CUT), one.columns)
    return UNKNOWN


def joined(one: Any, other: Any) -> Any:
    """Return what a name stands for after two branches: what both say, or what is booked in one."""
    if one is other or (is_known(one) and is_known(other) and one == other):
        return one
    if isinstance(one, Options) and isinstance(other, Options) and one.values is other.values:
        return one
    for value in (one, other):
        if isinstance(value, (Frame, Handle)):
            return value
    return UNKNOWN


def targets(node: ast.expr) -> Iterator[str]:
    """Yield the names that a target binds."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id


def bind(target: ast.expr, value: Any, names: dict[str, Any]) -> None:
    """Bind names to a value, or to its parts."""
    if isinstance(target, ast.Name):
        names[target.id] = value
    elif isinstance(target, (ast.Tuple, ast.List)):
        fits = isinstance(value, (list, tuple)) and len(value) == len(target.elts)
        for inner, part in zip(target.elts, value if fits else [UNKNOWN] * len(target.elts), strict=True):
            bind(inner, part, names)
    elif isinstance(target, ast.Starred):
        bind(target.value, UNKNOWN, names)


def with_names(context: dict[str, Any], target: ast.expr, scope: Scope) -> None:
    """Note the values of the names that a loop binds."""
    context.update({name: scope.get(name) for name in targets(target)})
