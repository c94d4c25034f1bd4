"""The names in a C++ expression, found with just enough of the grammar to know which columns it reads."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Names", "names_of"]

_TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\''
    r"|(?:\d[\d']*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fFlLuU]*"
    r"|(?:::)?[A-Za-z_]\w*(?:\s*::\s*[A-Za-z_]\w*)*|->|\s+|."
)
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*\Z")
_WORDS = frozenset([
    "true", "false", "nullptr", "sizeof", "static_cast", "const", "auto", "and", "or", "not", "xor", "bool", "char",
    "short", "int", "long", "float", "double", "signed", "unsigned", "size_t", "Long64_t", "ULong64_t",
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Names:
    """The names in an expression.

    Parameters
    ----------
    values : frozenset of str
        Columns, definitions, constants.
    functions : frozenset of str
        Unqualified functions that are called.
    parameters : frozenset of str
        ``NAME`` of each ``sample.NAME``.
    """

    values: frozenset[str]
    functions: frozenset[str]
    parameters: frozenset[str]


def names_of(expression: str) -> Names:
    """Return the names in an expression, without qualified names, members and keywords of C++."""
    values, functions, parameters = set(), set(), set()
    tokens = [token for token in _TOKEN.findall(expression) if not token.isspace()]
    for position, word in enumerate(tokens):
        before = tokens[position - 1] if position else ""
        after = tokens[position + 1] if position + 1 < len(tokens) else ""
        if not _IDENTIFIER.match(word) or word in _WORDS:
            continue
        if before == "." and position >= 2 and tokens[position - 2] == "sample":
            parameters.add(word)
        elif before in {".", "->"} or (word == "sample" and after == "."):
            continue
        elif after == "(":
            functions.add(word)
        else:
            values.add(word)
    return Names(frozenset(values), frozenset(functions), frozenset(parameters))
