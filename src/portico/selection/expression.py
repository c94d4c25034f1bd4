"""C++ expressions of users: finding their names, and giving columns, constants and definitions names that are unique.

Just enough of the grammar is known for that: strings, numbers, qualified names, members. A name between backquotes is
always that of a column, constant or definition.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass

from portico.cpp import mapped

__all__ = ["FUNCTIONS", "SAMPLE", "Names", "loose_part", "names_of", "value"]

FUNCTIONS = "portico_functions"
"""The C++ namespace of corrections and look-ups."""

SAMPLE = "portico_sample"
"""The C++ object with the parameters of the sample."""

_TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`'
    r"|\.?\d(?:[eEpP][+-]|'\w|[\w.])*"
    r"|(?:::)?[^\W\d]\w*(?:\s*::\s*[^\W\d]\w*)*|->|\s+|.",
    re.DOTALL,
)
_TEMPLATE = re.compile(r"([\w:]*[^\W\d]\w*)\s*<[^<>()&|]*>")
_CLOSING = {")": "(", "]": "[", "}": "{"}
_IDENTIFIER = re.compile(r"[^\W\d]\w*\Z")
_CPP_ONLY = frozenset(["true", "false", "nullptr", "static_cast"])
_INFIX = frozenset(["and", "or", "xor", "bitand", "bitor", "not_eq"])
_PREFIX = frozenset(["not", "compl", "sizeof"])
_TYPES = frozenset([
    "auto", "bool", "char", "const", "double", "float", "int", "long", "short", "signed", "size_t", "unsigned",
    "Long64_t", "ULong64_t",
])  # fmt: skip
_WORDS = _CPP_ONLY | _INFIX | _PREFIX | _TYPES


@dataclass(frozen=True, slots=True)
class Names:
    """The names in an expression, and its C++.

    Parameters
    ----------
    values : frozenset of str
        Columns, definitions, constants.
    functions : frozenset of str
        Unqualified functions that are called.
    parameters : frozenset of str
        ``NAME`` of each ``sample.NAME``.
    code : str
        The expression with the names of the generated C++.
    """

    values: frozenset[str]
    functions: frozenset[str]
    parameters: frozenset[str]
    code: str


def value(name: str) -> str:
    """Return the C++ name of a column, definition or constant, or of a candidate's element of it."""
    return mapped("value", name)


def names_of(expression: str, known: Container[str], functions: Container[str] = ()) -> Names:
    """Find the names in an expression, and replace them by those of the generated C++.

    Qualified names, members and words of C++ stay as they are. The longest known name wins, as in RDataFrame: ``pos.x``
    is that column if there is one, and a member of ``pos`` otherwise. A word of C++ is a column only where C++ could
    not have it: ``int`` in ``int > 3``, but not in ``int(pt)``.

    Parameters
    ----------
    expression : str
        C++.
    known : container of str
        Columns, definitions and constants.
    functions : container of str
        Corrections and look-ups.
    """
    values, called, parameters, code = set[str](), set[str](), set[str](), list[str]()
    tokens = _TOKEN.findall(expression)
    solid = [n for n, token in enumerate(tokens) if not token.isspace()]
    words = ["", "", *(tokens[n] for n in solid), "", ""]
    done = 0  # tokens that are in the code
    for position, start in enumerate(solid, 2):
        word, before, after = words[position], words[position - 1], words[position + 1]
        if start < done:
            continue
        code += tokens[done:start]
        done, made = start + 1, word
        if word.startswith("`"):
            values.add(word[1:-1])
            made = value(word[1:-1])
        elif not _IDENTIFIER.match(word) or before in {".", "->"} or _is_cpp(words, position, known):
            pass
        elif word == "sample" and after == "." and words[position + 3] != "(":
            parameters.add(words[position + 2])
            made, done = f"{SAMPLE}.{value(words[position + 2])}", solid[position] + 1
        elif after == "(":
            called.add(word)
            made = f"{FUNCTIONS}::{word}" if word in functions else word
        else:
            length = _length(words, position, known)
            name = "".join(words[position : position + length])
            values.add(name)
            made, done = value(name), solid[position - 3 + length] + 1
        code.append(made)
    return Names(frozenset(values), frozenset(called), frozenset(parameters), "".join([*code, *tokens[done:]]))


def loose_part(expression: str, known: Container[str]) -> str:
    """Return what in an expression makes it more or less than one, in words; empty if nothing does.

    C++ would evaluate all of ``pt > 5, eta < 2`` and return the last part.
    """
    before = ""
    while expression != before:  # arguments of templates
        before = expression
        expression = _TEMPLATE.sub(lambda found: found[0] if found[1] in known else found[1], expression)
    open_ones: list[str] = []
    for token in _TOKEN.findall(expression):
        if token in _CLOSING.values():
            open_ones.append(token)
        elif token in _CLOSING and (not open_ones or open_ones.pop() != _CLOSING[token]):
            return "its brackets do not match"
        elif token in {",", ";"} and not open_ones:
            return f"'{token}' separates two expressions, of which only one would count; join them with && or ||"
    return "its brackets do not match" if open_ones else ""


def _length(words: Sequence[str], position: int, known: Container[str]) -> int:
    """Return the number of tokens of the longest known name at a position."""
    length = best = 1
    while words[position + length] == "." and _IDENTIFIER.match(words[position + length + 1]):
        length += 2
        if "".join(words[position : position + length]) in known and words[position + length] != "(":
            best = length
    return best


def _is_cpp(words: Sequence[str], position: int, known: Container[str]) -> bool:
    """Return whether a word is one of C++: it is a known name only where nothing but an operand can stand."""
    if words[position] not in _WORDS or words[position] not in known:
        return words[position] in _WORDS
    earlier, before, word, after, later = words[position - 2 : position + 3]
    begins = before == "" or before in "([{,;?:=<>!&|^+-*/%~" or before in _INFIX | _PREFIX
    ends = _follows(after) or after in {".", "->"} or (after == "!" and later == "=")
    ends |= word in _INFIX or (word in _TYPES and after in "+-*&[")
    template = earlier in _WORDS or (earlier not in known and re.fullmatch(r"[\w:]*[^\W\d]\w*", earlier) is not None)
    argument = (before, after) == (",", ">") or (template and before == "<" and after in {">", ","})
    called = earlier in _TYPES or (_IDENTIFIER.match(earlier) and earlier not in _WORDS)
    cast = word in _TYPES and (before, after) == ("(", ")") and not called and not _follows(later)
    return word in _CPP_ONLY or not (begins and ends) or argument or cast


def _follows(word: str) -> bool:
    """Return whether a token follows an operand, and cannot begin one."""
    return word in _INFIX or word in ")]},;?:=<>|^/%"
