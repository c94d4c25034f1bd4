"""The statements of a script that belong to the step: those on which its results depend."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from portico.lint.of_code import DECLARES
from portico.lint.trace import Trace, is_main_guard
from portico.lint.values import Frame, Handle, Member, handles_in

__all__ = ["Part", "Parts", "parts_of"]

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(eq=False, slots=True)
class Part:
    """A statement at the top level of a script or of its main function.

    Parameters
    ----------
    node : ast.stmt
        The statement.
    main : int
        The identity of the main function that it belongs to; 0 at the top level.
    kept : bool
        Whether results follow from it.
    inside : bool
        Whether it belongs into the step, since it has to do with frames.
    is_argument : bool
        Whether it gives an argument of the main function its value, and is not a statement of the script.
    """

    node: ast.stmt
    main: int = 0
    kept: bool = False
    inside: bool = False
    is_argument: bool = False


@dataclass(slots=True)
class Parts:
    """The statements, and what holds the results.

    Attributes
    ----------
    parts : list of Part
        All statements, in order.
    products : list of str
        Variables with results, or with lists and dictionaries of them.
    lost : dict of int to Handle
        Results that no variable holds at the end, by the identity of the calls that book them.
    """

    parts: list[Part]
    products: list[str] = field(default_factory=list)
    lost: dict[int, Handle] = field(default_factory=dict)


def parts_of(tree: ast.Module, followed: Trace) -> Parts:
    """Return the statements of a script, with those marked that a step needs."""
    found = Parts(list(_flat(tree.body, tree, followed, 0)))
    names = dict(followed.scopes[0].names)
    for main in dict.fromkeys(part.main for part in found.parts if part.main):
        names |= followed.scopes[main].names
    _find_products(found, followed, names)
    uses = [_Uses.of(part.node, followed, names, found.lost) for part in found.parts]
    made = {id(one.node) for one in followed.evaluator.sources}
    for part, use in zip(found.parts, uses, strict=True):
        use.makes = any(id(one) in made for one in ast.walk(part.node))
    _keep(found, uses)
    _place(found, uses)
    return found


def _flat(body: list[ast.stmt], tree: ast.Module, followed: Trace, main: int) -> Iterator[Part]:
    """Yield statements, with those of the main function in place of its call."""
    for number, node in enumerate(body):
        if number == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        if is_main_guard(node) and isinstance(node, ast.If):
            yield from _flat(node.body, tree, followed, main)
        elif isinstance(node, ast.Expr) and (called := _main_of(node.value, tree, followed)) is not None:
            function, arguments = called
            for name, value in arguments.items():
                if not (isinstance(value, ast.Name) and value.id == name):
                    assignment = ast.Assign([ast.Name(name, ast.Store())], value)
                    yield Part(ast.copy_location(assignment, value), id(function), is_argument=True)
            yield from _flat(function.body, tree, followed, id(function))
        elif not isinstance(node, ast.Return):
            yield Part(node, main)


def _main_of(node: ast.expr, tree: ast.Module, followed: Trace) -> tuple[ast.FunctionDef, dict[str, ast.expr]] | None:
    """Return the function that is called once, and its arguments, if it makes frames; it must have a single end."""
    if not isinstance(node, ast.Call):
        return None
    if ast.unparse(node.func) in {"sys.exit", "exit"} and node.args:
        return _main_of(node.args[0], tree, followed)
    for function in tree.body:
        if not (isinstance(function, ast.FunctionDef) and ast.unparse(node.func) == function.name):
            continue
        makes = any(id(statement) in followed.booking for statement in function.body)
        names = [one.arg for one in function.args.args]
        fits = len(names) == len(node.args) == sum(isinstance(one, ast.arg) for one in ast.walk(function.args))
        early = [inner for one in function.body[:-1] for inner in ast.walk(one) if isinstance(inner, ast.Return)]
        once = followed.calls.get(id(function)) == 1
        fits = fits and not node.keywords and not any(isinstance(one, ast.Starred) for one in node.args)
        return (function, dict(zip(names, node.args, strict=True))) if makes and once and fits and not early else None
    return None


def _find_products(found: Parts, followed: Trace, names: dict[str, Any]) -> None:
    """Find the variables that hold results at the end, and the results that none holds."""
    booked = [one for one in followed.graph.booked if one.source.node is not None]
    varied = {id(one.of) for one in booked if one.of is not None}
    bound = {name for part in found.parts for name in _stored(part.node)}
    before = -1
    while len(found.lost) > before:  # what books one result that is lost books all of its results as such
        before, held, found.products = len(found.lost), set(varied), []
        for name, value in names.items():
            holds = [one for one in handles_in(value) if id(one) not in held]
            if name in bound and any(id(one.node) not in found.lost for one in holds):
                found.products.append(name)
                held.update(map(id, holds))
        found.lost |= {id(one.node): one for one in booked if id(one) not in held}


def _stored(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load)}


@dataclass(slots=True)
class _Uses:
    """The names that a statement reads and changes, and whether it is kept in any case.

    ``free``: the names that a function reads when it is called; ``fresh``: those that only this statement sets.
    """

    reads: set[str]
    writes: set[str]
    fresh: set[str]
    free: set[str]
    always: bool
    books: bool
    makes: bool = False

    @classmethod
    def of(cls, node: ast.stmt, followed: Trace, names: dict[str, Any], lost: dict[int, Handle]) -> _Uses:
        """Find them in a statement."""
        skipped = {id(one.node) for one in followed.evaluator.sources}
        nodes = list(_walk(node, skipped))
        stored = _stored(node)
        reads = {one.id for one in nodes if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}
        for source in followed.evaluator.sources:
            if source.node is not None and any(one is source.node for one in nodes):
                reads |= set(source.names) if source.key is None else set()
        if isinstance(node, _DEFINITIONS):
            arguments = {one.arg for one in nodes if isinstance(one, ast.arg)}
            declares = any("Numba.Declare" in ast.unparse(one) for one in node.decorator_list)
            books = any(id(one) in lost for one in nodes)
            return cls(set(), {node.name}, set(), reads - arguments - stored, declares, books)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            bound = {alias.asname or alias.name.partition(".")[0] for alias in node.names}
            return cls(set(), bound, bound, set(), bool({"*", "ROOT"} & bound), False)
        changed = {name for one in nodes for name in _changed(one, followed, names)}
        loop = {name for one in nodes if isinstance(one, (ast.For, ast.comprehension)) for name in _stored(one.target)}
        fresh = {one.id for one in node.targets if isinstance(one, ast.Name)} if isinstance(node, ast.Assign) else set()
        books = any(id(one) in lost for one in nodes)
        return cls(reads - loop, stored | changed, fresh, set(), books or _declares(node), books)


def _walk(node: ast.AST, skipped: set[int]) -> Iterator[ast.AST]:
    """Yield a node and all in it, but not what is within calls that make frames."""
    yield node
    if id(node) not in skipped:
        for child in ast.iter_child_nodes(node):
            yield from _walk(child, skipped)


def _declares(node: ast.stmt) -> bool:
    """Whether a statement gives C++ to ROOT."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and (
        ast.unparse(node.value.func).endswith(DECLARES)
    )  # fmt: skip


def _changed(node: ast.AST, followed: Trace, names: dict[str, Any]) -> Iterator[str]:
    """Yield the names whose objects a node changes: by an item, an attribute, a method, or a function of the script."""
    if isinstance(node, (ast.Subscript, ast.Attribute)) and not isinstance(node.ctx, ast.Load):
        yield from _base(node)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function = node.value.func
        changed: list[ast.expr] = [function] if isinstance(function, ast.Attribute) else []
        if isinstance(function, ast.Name) and id(node) in followed.booking:
            changed += [one for one in node.value.args if isinstance(one, ast.Name)]
        for one in changed:
            for name in _base(one):
                if not isinstance(names.get(name), (Frame, Handle, Member)):
                    yield name


def _base(node: ast.expr) -> Iterator[str]:
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id


def _keep(found: Parts, uses: list[_Uses]) -> None:
    """Mark what the results follow from, from the last statement to the first."""
    free: set[str] = set()
    callers = _callers(found, uses)
    while True:
        needed = {*found.products, *free}
        for part, use in reversed(list(zip(found.parts, uses, strict=True))):
            if part.kept or use.always or use.writes & needed or id(part) in callers:
                part.kept = True
                needed -= use.fresh
                needed |= use.reads
        wanted = {name for part, use in zip(found.parts, uses, strict=True) if part.kept for name in use.free}
        if wanted <= free:
            return
        free |= wanted


def _callers(found: Parts, uses: list[_Uses]) -> set[int]:
    """Return the statements that call functions which book results that no variable holds."""
    booking = {name for part, use in zip(found.parts, uses, strict=True) if use.books for name in use.writes
               if isinstance(part.node, _DEFINITIONS)}  # fmt: skip
    while True:
        more = {
            name for part, use in zip(found.parts, uses, strict=True)
            if isinstance(part.node, _DEFINITIONS) and use.free & booking for name in use.writes
        }  # fmt: skip
        if more <= booking:
            break
        booking |= more
    return {id(part) for part, use in zip(found.parts, uses, strict=True) if use.reads & booking}


def _place(found: Parts, uses: list[_Uses]) -> None:
    """Mark what belongs into the step: what makes frames, and what has to do with its variables."""
    changed: set[str] = set()
    more = True
    while more:
        more = False
        for part, use in zip(found.parts, uses, strict=True):
            if part.inside or not part.kept or (isinstance(part.node, (ast.Import, ast.ImportFrom)) and not part.main):
                continue
            if part.main or use.books or use.makes or (use.reads | use.writes | use.free) & changed:
                part.inside = more = True
                changed |= use.writes
