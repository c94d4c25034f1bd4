"""Following a script, statement by statement, without running it.

Loops over known lists are unrolled and functions of the script are followed where they are called. Where a condition is
not known both branches are followed, and it is noted what belongs to which.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

from portico.environment.decorators import imported_names
from portico.lint.evaluate import Evaluator, TooLong, bind, joined, with_names
from portico.lint.graph import Graph
from portico.lint.values import UNKNOWN, Frame, Function, Handle, Member, Options, Read, Scope, Source, is_known

__all__ = ["Trace", "is_main_guard", "trace"]

_LEAVE = {"sys.exit", "exit", "quit", "os._exit"}
_TWICE = (UNKNOWN, UNKNOWN)  # what a loop over an unknown list gives


@dataclass(slots=True)
class Trace:
    """The result of following a script.

    Attributes
    ----------
    evaluator : Evaluator
        With the graph, the sources of frames, and the calls of functions of modules.
    scopes : dict of int to Scope
        The names at the end: of the module under 0, of each function that was called under the identity of its node.
    calls : dict of int to int
        How often each function was called.
    booking : set of int
        Identities of the statements in which something is booked, or a frame is made or passed on.
    reading : set of int
        Identities of expression statements that only read results.
    discarded : dict of int to Handle
        Results that nothing is assigned to, by the identity of their statement.
    gave_up : int
        The line at which the script had taken too long to follow; 0 if it was followed to its end.
    """

    evaluator: Evaluator
    scopes: dict[int, Scope] = field(default_factory=dict)
    calls: dict[int, int] = field(default_factory=dict)
    booking: set[int] = field(default_factory=set)
    reading: set[int] = field(default_factory=set)
    discarded: dict[int, Handle] = field(default_factory=dict)
    gave_up: int = 0

    @property
    def graph(self) -> Graph:
        """The calls of frames' methods."""
        return self.evaluator.graph


def is_main_guard(node: ast.stmt) -> bool:
    """Whether a statement is ``if __name__ == "__main__":``."""
    return isinstance(node, ast.If) and ast.unparse(node.test).replace('"', "'") == "__name__ == '__main__'"


def _is_optional(test: ast.expr, scope: Scope) -> bool:
    """Whether a condition depends on options of the command line."""
    return any(isinstance(node, ast.Name) and isinstance(scope.get(node.id), Options) for node in ast.walk(test))


def trace(tree: ast.Module) -> Trace:
    """Follow a script, and then each of its functions that is never called."""
    follower = _Follower()
    module = Scope({})
    follower.trace.scopes[0] = module
    try:
        follower.block(tree.body, module)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and id(node) not in follower.trace.calls:
                follower.inline(Function(node, module), [], {})
    except (TooLong, RecursionError):  # what was found so far is right
        follower.trace.gave_up = follower.line
    return follower.trace


class _Follower:
    def __init__(self) -> None:
        self.trace = Trace(Evaluator(self.inline))
        self.line = 0
        self._returned: list[list[Any]] = []
        self._active: list[ast.FunctionDef | ast.Lambda] = []

    def block(self, body: list[ast.stmt], scope: Scope) -> bool:
        """Follow statements; return whether they leave the block."""
        graph = self.trace.graph
        before = graph.arms
        try:
            return any(self._statement(node, scope) for node in body)
        finally:
            graph.arms = before

    def _statement(self, node: ast.stmt, scope: Scope) -> bool:
        graph = self.trace.graph
        before = len(graph.calls) + len(self.trace.evaluator.sources)
        self.line = node.lineno
        try:
            return self._follow(node, scope)
        finally:
            if len(graph.calls) + len(self.trace.evaluator.sources) > before:
                self.trace.booking.add(id(node))

    def _follow(self, node: ast.stmt, scope: Scope) -> bool:
        value = self.trace.evaluator.value
        match node:
            case ast.Expr():
                return self._expression(node, scope)
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                self._assignment(node, scope)
            case ast.Import() | ast.ImportFrom():
                for name, path in imported_names(node, "", False):
                    scope.names[name] = Member(path)
            case ast.FunctionDef(name=name):
                scope.names[name] = Function(node, scope)
            case ast.Return(value=given):
                found = value(given, scope) if given is not None else None
                if self._returned:
                    self._returned[-1].append(found)
                return True
            case ast.Raise() | ast.Continue() | ast.Break():
                return True
            case _:
                return self._compound(node, scope)
        return False

    def _assignment(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign, scope: Scope) -> None:
        if node.value is None:
            return
        found = self.trace.evaluator.value(node.value, scope)
        if isinstance(node, ast.AugAssign):
            left = self.trace.evaluator.value(node.target, scope)
            if isinstance(left, list) and isinstance(found, (list, tuple)):
                left.extend(found)
                return
            sum_of = ast.copy_location(ast.BinOp(node.target, node.op, node.value), node)
            found = self.trace.evaluator.value(sum_of, scope)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            self._assign(target, found, scope, node.value)

    def _expression(self, node: ast.Expr, scope: Scope) -> bool:
        graph = self.trace.graph
        reads, booked = len(graph.reads), len(graph.booked)
        found = self.trace.evaluator.value(node.value, scope)
        if isinstance(found, Handle) and found.node is node.value:
            self.trace.discarded[id(node)] = found
        elif len(graph.reads) > reads and len(graph.booked) == booked:
            self.trace.reading.add(id(node))
        called = node.value.func if isinstance(node.value, ast.Call) else None
        return called is not None and ast.unparse(called) in _LEAVE

    def _compound(self, node: ast.stmt, scope: Scope) -> bool:
        value = self.trace.evaluator.value
        match node:
            case ast.If(test=test, body=body, orelse=orelse):
                chosen = True if is_main_guard(node) else value(test, scope)
                if is_known(chosen):
                    if _is_optional(test, scope):
                        self._aside(orelse if chosen else body, scope)
                    return self.block(body if chosen else orelse, scope)
                return self._arms(node, [body, orelse], scope)
            case ast.For():
                return self._loop(node, scope)
            case ast.While(test=test, body=body, orelse=orelse):
                value(test, scope)
                self._arms(node, [[*body, *body], []], scope)
                return self.block(orelse, scope)
            case ast.With(items=items, body=body):
                for item in items:
                    found = value(item.context_expr, scope)
                    if item.optional_vars is not None:
                        bind(item.optional_vars, found, scope.names)
                return self.block(body, scope)
            case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=last):
                left = self._arms(node, [[*body, *orelse], *(one.body for one in handlers)], scope)
                return self.block(last, scope) or left
            case ast.Match(subject=subject, cases=cases):
                value(subject, scope)
                return self._arms(node, [*(one.body for one in cases), []], scope)
            case ast.ClassDef(name=name):
                scope.names[name] = UNKNOWN
        return False

    def _arms(self, node: ast.stmt, arms: list[list[ast.stmt]], scope: Scope) -> bool:
        """Follow branches of which one is taken, and join what they bind."""
        graph, outer = self.trace.graph, self.trace.graph.arms
        ends, going = [], []
        for number, body in enumerate(arms):
            branch = Scope(dict(scope.names), scope.parent)
            graph.arms = (*outer, (id(node), number))
            if not self.block(body, branch):
                ends.append(branch.names)
                going.append(number)
        graph.arms = outer
        if not ends:
            return True
        if len(going) == 1:
            graph.arms = (*outer, (id(node), going[0]))  # what follows, too
        names = dict.fromkeys(name for end in ends for name in end)
        for name in names:
            values = [end[name] for end in ends if name in end]
            found = values[0]
            for other in values[1:]:
                found = joined(found, other)
            scope.names[name] = found if len(values) == len(ends) or not is_known(found) else UNKNOWN
        return False

    def _aside(self, body: list[ast.stmt], scope: Scope) -> None:
        """Follow a branch that only an option of the command line would take; what it binds is forgotten."""
        evaluator, before = self.trace.evaluator, len(self.trace.evaluator.sources)
        copies = {
            name: value.copy() if isinstance(value, (list, dict)) else value for name, value in scope.names.items()
        }
        outer, evaluator.aside = evaluator.aside, True
        self.block(body, Scope(copies, scope.parent))
        evaluator.aside = outer
        del evaluator.sources[before:]

    def _loop(self, node: ast.For, scope: Scope) -> bool:
        items = self.trace.evaluator.value(node.iter, scope)
        if isinstance(items, (Handle, Read)):
            items = UNKNOWN
        known = isinstance(items, (list, tuple, dict))
        context = self.trace.evaluator.context[-1]
        before = dict(context)
        for item in list(items) if known else _TWICE:
            bind(node.target, item, scope.names)
            with_names(context, node.target, scope)
            self.block(node.body, scope)
        context.clear()
        context.update(before)
        return self.block(node.orelse, scope)

    def _assign(self, target: ast.expr, value: Any, scope: Scope, given: ast.expr) -> None:
        is_new = isinstance(value, Frame) and not value.source.variable and value.source.key is None
        if is_new and any(node is value.source.node for node in ast.walk(given)):
            self._name(target, value.source, scope)
        if isinstance(target, ast.Subscript):
            base, key = (self.trace.evaluator.value(one, scope) for one in (target.value, target.slice))
            if isinstance(base, dict) and (isinstance(key, (str, int)) or (isinstance(key, tuple) and is_known(key))):
                base[key] = value
        elif isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, Frame):
            bind(target, UNKNOWN, scope.names)
        else:
            bind(target, value, scope.names)

    def _name(self, target: ast.expr, source: Source, scope: Scope) -> None:
        """Note under which name the script keeps a frame."""
        if isinstance(target, ast.Name):
            source.variable = target.id
        elif isinstance(target, ast.Subscript):
            key = self.trace.evaluator.value(target.slice, scope)
            source.key, source.key_node = (key, target.slice) if isinstance(key, str) else (None, None)

    def inline(self, function: Function, given: list[Any], keywords: dict[str, Any]) -> Any:
        """Follow the call of a function; return what it returns."""
        definition, scope = function.node, Scope({}, function.scope)
        arguments = definition.args
        names = [one.arg for one in [*arguments.posonlyargs, *arguments.args]]
        defaults = dict(zip(reversed(names), reversed(arguments.defaults), strict=False))
        values = {name: self.trace.evaluator.value(one, function.scope) for name, one in defaults.items()}
        for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            values[one.arg] = self.trace.evaluator.value(default, function.scope)
        values |= {**dict(zip(names, given, strict=False)), **keywords}
        every = [*names, *(one.arg for one in arguments.kwonlyargs)]
        scope.names.update({name: values.get(name, UNKNOWN) for name in every})
        self.trace.calls[id(definition)] = self.trace.calls.get(id(definition), 0) + 1
        if definition in self._active:
            return UNKNOWN  # it calls itself
        if isinstance(definition, ast.Lambda):
            self._active.append(definition)
            value = self.trace.evaluator.value(definition.body, scope)
            self._active.pop()
            return value
        self.trace.scopes[id(definition)] = scope
        self._active.append(definition)
        self._returned.append([])
        self.trace.evaluator.context.append({name: value for name, value in scope.names.items() if name in every})
        try:
            self.block(definition.body, scope)
        finally:
            self._active.pop()
            returned = self._returned.pop()
            self.trace.evaluator.context.pop()
        found: Any = returned[0] if returned else None
        for other in returned[1:]:
            found = joined(found, other)
        return found
