"""Names and literals in generated C++, and the text of its exceptions.

Every name that Portico makes up begins with ``portico_``. One word follows in its own names; two in those of users'
columns, definitions, weights and so on: the kind, and the name as the user knows it. So none can capture another.
"""

from __future__ import annotations

import json
import re

__all__ = ["KEYWORDS", "exception_words", "line_directive", "mapped", "quoted", "unmapped"]

KEYWORDS = frozenset([
    "alignas", "alignof", "and", "and_eq", "asm", "auto", "bitand", "bitor", "bool", "break", "case", "catch",
    "char", "char8_t", "char16_t", "char32_t", "class", "compl", "concept", "const", "consteval", "constexpr",
    "constinit", "const_cast", "continue", "co_await", "co_return", "co_yield", "decltype", "default", "delete",
    "do", "double", "dynamic_cast", "else", "enum", "explicit", "export", "extern", "false", "float", "for",
    "friend", "goto", "if", "inline", "int", "long", "mutable", "namespace", "new", "noexcept", "not", "not_eq",
    "nullptr", "operator", "or", "or_eq", "private", "protected", "public", "register", "reinterpret_cast",
    "requires", "return", "short", "signed", "sizeof", "static", "static_assert", "static_cast", "struct", "switch",
    "template", "this", "thread_local", "throw", "true", "try", "typedef", "typeid", "typename", "union",
    "unsigned", "using", "virtual", "void", "volatile", "wchar_t", "while", "xor", "xor_eq",
])  # fmt: skip
"""The words that C++ reserves."""

_RAISED = re.compile(r"^.* => [\w:]+: ")
_PLAIN = re.compile(r"[A-Za-z0-9_]+")
_MAPPED = re.compile(r"\bportico_(?:value|all)(?:_(\w+)|x_((?:[A-Za-z0-9]*_[0-9a-f]{1,5}_)+[A-Za-z0-9]*))")


def mapped(kind: str, name: str, prefix: str = "portico_") -> str:
    """Return the C++ name of what a user calls something; different kinds or names give different ones.

    Parameters
    ----------
    kind : str
        Small letters other than x: what it is.
    name : str
        Any text. Characters that C++ does not allow in names are written as numbers, as ``pos_2e_x`` for ``pos.x``.
    prefix : str
        Beginning of the result.
    """
    if _PLAIN.fullmatch(name):
        return f"{prefix}{kind}_{name}"
    return f"{prefix}{kind}x_" + re.sub(r"[^A-Za-z0-9]", lambda odd: f"_{ord(odd[0]):x}_", name)


def unmapped(text: str) -> str:
    """Return a text, such as a message of the compiler, with users' names in place of mapped ones."""

    def original(found: re.Match[str]) -> str:
        if found[1]:
            return found[1]
        parts = found[2].split("_")
        return "".join(chr(int(part, 16)) if n % 2 else part for n, part in enumerate(parts))

    return _MAPPED.sub(original, text)


def quoted(text: str) -> str:
    """Return a text as a C++ string literal."""
    return json.dumps(text, ensure_ascii=False)


def line_directive(where: str) -> str:
    """Return a directive that makes the compiler's messages name a key of the user's file."""
    return f"\n#line 1 {quoted('in ' + where)}\n"


def exception_words(error: BaseException) -> str:
    """Return the text of a C++ exception in one line, without what cppyy puts before it."""
    return _RAISED.sub("", " ".join(str(error).split()))
