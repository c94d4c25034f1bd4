"""Edits that turn the statements of a script into those of a step."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from portico.lint.parts import Part, Parts
from portico.lint.plain import MUTATORS
from portico.lint.samples import Samples
from portico.lint.script import Edit, Script
from portico.lint.trace import Trace
from portico.lint.values import Handle

__all__ = ["OWN", "Edits", "text_of"]

OWN = ("Absent", "analyse", "frame_of", "keep", "kept", "products", "this_sample")
"""The names that a module may have besides those of the script."""

_NO_PART = ("RunGraphs", "EnableImplicitMT", "AddProgressBar", "SetBatch", "DisableImplicitMT")


@dataclass(slots=True)
class Edits:
    """Changes of kept statements.

    Attributes
    ----------
    edits : list of Edit
        The changes, which do not overlap.
    products : list of str
        Further variables with results.
    keeps : bool
        Whether ``keep`` is called.
    names : mapping of str to str
        What ``keep`` and the other names of the module's own are called, since a script may have them, too.
    """

    edits: list[Edit]
    products: list[str]
    keeps: bool
    names: Mapping[str, str]

    @classmethod
    def of(cls, script: Script, followed: Trace, samples: Samples, parts: Parts) -> Edits:
        """Find the changes."""
        used = {one.id for one in ast.walk(script.tree) if isinstance(one, ast.Name)}
        used |= {one.name for one in ast.walk(script.tree) if isinstance(one, (ast.FunctionDef, ast.ClassDef))}
        made = cls([], [], False, {name: name if name not in used else f"{name}_of_step" for name in OWN})
        for part in parts.parts:
            if part.kept:
                made._part(part, script, followed, samples, parts)
        return made

    def _part(self, part: Part, script: Script, followed: Trace, samples: Samples, parts: Parts) -> None:
        for statement, in_loop in _statements(part.node, False):
            if isinstance(statement, ast.Expr) and self._expression(statement, in_loop, script, followed, parts):
                continue
            if isinstance(statement, ast.Expr) and statement is not part.node and _is_no_part(statement, followed):
                self._replace(script, statement, "pass  # reads results, or is of no use in a step")
                continue
            for node in _own(statement):
                self._node(node, statement, script, followed, samples, parts)

    def _expression(self, node: ast.Expr, in_loop: bool, script: Script, followed: Trace, parts: Parts) -> bool:
        """Keep the result of a statement that only books one; return whether it was such a statement."""
        handles = [parts.lost[id(inner)] for inner in ast.walk(node) if id(inner) in parts.lost]
        called = node.value.func if isinstance(node.value, ast.Call) else None
        if not handles or (isinstance(called, ast.Attribute) and called.attr in MUTATORS):
            return False
        name = _name(handles[0])
        if in_loop or handles[0].action != "Snapshot" or id(node) not in followed.discarded:
            self.keeps = True
            calls = [f'{self.names["keep"]}("{_name(one)}", {_text(script, one.node)})' for one in handles]
            self._replace(script, node, "; ".join(calls))
        else:
            while name in self.products:
                name += "_2"
            start, _ = script.span(node)
            self.edits.append(Edit(start, start, f"{name} = "))
            self.products.append(name)
            parts.lost.pop(id(handles[0].node), None)
        return True

    def _node(
        self, node: ast.AST, statement: ast.stmt, script: Script, followed: Trace, samples: Samples, parts: Parts
    ) -> None:
        if not isinstance(node, ast.Call):
            return
        if id(node) in samples.labels:
            self._replace(script, node, self._frame(samples, samples.labels[id(node)]))
        elif id(node) in followed.graph.copied and isinstance(node.func, ast.Attribute):
            self.edits.append(Edit(script.span(node.func.value)[1], script.span(node)[1], ""))
        elif ast.unparse(node.func).endswith(".parse_args") and not (node.args or node.keywords):
            end = script.span(node)[1]
            self.edits.append(Edit(end - 1, end, "[])"))
        if id(node) in parts.lost:
            start, end = script.span(node)
            self.keeps = True
            name = _target(statement, parts.lost[id(node)])
            self.edits += [Edit(start, start, f'{self.names["keep"]}("{name}", ')]
            self.edits += [Edit(end, end, ")")]

    def _frame(self, samples: Samples, label: str) -> str:
        return "frame" if samples.one or not label else f"{self.names['frame_of']}({label})"

    def _replace(self, script: Script, node: ast.expr | ast.stmt, text: str) -> None:
        self.edits.append(Edit(*script.span(node), text))


def _statements(node: ast.stmt, in_loop: bool) -> Iterator[tuple[ast.stmt, bool]]:
    """Yield a statement and those in its blocks, with whether they are in a loop or a function."""
    yield node, in_loop
    many = in_loop or isinstance(node, (ast.For, ast.While, ast.FunctionDef))
    for child in ast.walk(node):
        if child is not node and isinstance(child, ast.stmt) and _parent_is(node, child):
            yield from _statements(child, many)


def _parent_is(node: ast.stmt, child: ast.stmt) -> bool:
    blocks = [getattr(node, name, []) for name in ("body", "orelse", "finalbody")]
    blocks += [one.body for one in [*getattr(node, "handlers", []), *getattr(node, "cases", [])]]
    return any(one is child for block in blocks for one in block)


def _own(node: ast.stmt) -> Iterator[ast.AST]:
    """Yield what belongs to a statement itself, without the statements in its blocks."""
    stack: list[ast.AST] = [node]
    while stack:
        one = stack.pop()
        yield one
        stack += [child for child in ast.iter_child_nodes(one) if not isinstance(child, ast.stmt)]


def _is_no_part(node: ast.Expr, followed: Trace) -> bool:
    called = ast.unparse(node.value.func) if isinstance(node.value, ast.Call) else ""
    return id(node) in followed.reading or called.endswith(_NO_PART)


def _name(handle: Handle) -> str:
    """Return a name for a result: that of its tree or histogram, if it is written there."""
    first = handle.node.args[0] if handle.node.args else None
    if isinstance(first, ast.Call) and first.args:
        first = first.args[0]  # of a model
    elif isinstance(first, ast.Tuple) and first.elts:
        first = first.elts[0]
    named = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""
    if handle.action not in {"Snapshot", "Histo1D", "Histo2D", "Histo3D", "Profile1D", "Profile2D"}:
        named = ""
    word = re.sub(r"\W", "_", named) or f"{handle.action.lower()}_line{handle.line}"
    return word if not word[0].isdigit() else f"_{word}"


def _target(statement: ast.stmt, handle: Handle) -> str:
    """Return the name of the variable that a statement sets, or that of its result."""
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return _name(handle)


def _text(script: Script, node: ast.expr) -> str:
    start, end = script.span(node)
    return script.text[start:end]


def text_of(part: Part, script: Script, edits: list[Edit]) -> str:
    """Return the text of a statement with its changes and the comments above it, indented for where it goes."""
    node, indent = part.node, "    " if part.inside else ""
    if part.is_argument and isinstance(node, ast.Assign):
        begin, end = script.span(node.value)
        return f"{indent}{ast.unparse(node.targets[0])} = {_changed(script, begin, end, edits)}"
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
    begin = script.position(first, node.col_offset)
    end, before = script.span(node)[1], script.text[script.position(first, 0) : begin]
    alone = not before.strip()
    comments = []
    while alone and first > 1 and re.match(r"\s*#(?!#)", script.lines[first - 2]):
        first -= 1
        comments.append(script.lines[first - 1].strip())
    if first == 1:
        comments = [one for one in comments if not one.startswith("#!")]
    rest = script.text[end : script.position(node.end_lineno or node.lineno, 10**6)]
    tail = f"  {rest.strip()}" if rest.strip().startswith("#") else ""
    changes = [one for one in edits if begin <= one.start and one.end <= end]
    spans = [(one.start, one.end) for one in changes]
    for line in range(_line_at(script, begin) + 1, (node.end_lineno or node.lineno) + 1):
        at = script.position(line, 0)
        text = script.lines[line - 1]
        blank = len(text) - len(text.lstrip(" \t"))
        if line not in script.in_strings and text.strip() and not any(a <= at < b for a, b in spans):
            changes.append(Edit(at, at + min(blank, node.col_offset), indent))
    above = "".join(f"{indent}{comment}\n" for comment in reversed(comments))
    gap = "\n" if alone and first > 1 and not script.lines[first - 2].strip() else ""
    return f"{gap}{above}{indent}{_changed(script, begin, end, changes)}{tail}"


def _changed(script: Script, begin: int, end: int, edits: list[Edit]) -> str:
    """Return a part of a script with the changes that lie in it."""
    pieces, position = [], begin
    for change in sorted(edits, key=lambda one: (one.start, one.end)):
        if position <= change.start and change.end <= end:
            pieces += [script.text[position : change.start], change.text]
            position = change.end
    return "".join([*pieces, script.text[position:end]])


def _line_at(script: Script, position: int) -> int:
    """Return the line, from 1, of a position."""
    return script.text.count("\n", 0, position) + 1
