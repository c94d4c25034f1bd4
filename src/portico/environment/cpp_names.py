"""Names that C++ text defines outside of functions and classes, and words that it uses.

They tell whether one text can change the meaning of another in the same process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from portico.cpp import KEYWORDS

__all__ = ["Names", "names_in", "names_of", "words_in"]

_SKIPPED = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"([^()\s\\]{0,16})\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![0-9A-Za-z])\'(?:\\.|[^\'\\\n])+\'',
    re.DOTALL,
)
_MACRO = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)
_COMMAND = re.compile(r"^[ \t]*#[ \t]*\w+", re.MULTILINE)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
_PIECE = re.compile(r"[A-Za-z_]\w*|::|\S")
_WORD = re.compile(r"[A-Za-z_]\w*")
_USED = re.compile(r"(?<![\w.])(?<!->)[A-Za-z_]\w*")  # without members
_TYPES = {"class", "struct", "union", "enum", "concept"}
_PAIRS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Names:
    """Names in C++ text.

    Parameters
    ----------
    everywhere : frozenset of str
        Names that are defined outside of any namespace, and macros. ``*`` stands for what can change anything: an
        operator, a namespace that is opened to all, a file that is not text.
    inside : frozenset of str
        Names that are defined in namespaces, without these.
    namespaces : frozenset of str
        The namespaces.
    words : frozenset of str
        All identifiers but those of members.
    """

    everywhere: frozenset[str] = frozenset()
    inside: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()

    def can_change(self, others: Iterable[Names], words: Iterable[str]) -> bool:
        """Return whether other C++ may mean something else in a process that also holds this one.

        Parameters
        ----------
        others : iterable of Names
            The other C++.
        words : iterable of str
            Identifiers in code that uses the other C++, from outside of namespaces.
        """
        if "*" in self.everywhere or not self.everywhere.isdisjoint(words):
            return True
        return any(
            not self.everywhere.isdisjoint(other.words)
            or not self.inside.isdisjoint(other.everywhere | other.inside)
            or not (self.namespaces.isdisjoint(other.namespaces) or self.inside.isdisjoint(other.words))
            for other in others
        )


def words_in(folder: Path) -> frozenset[str]:
    """Return the identifiers in all text files of a folder."""
    texts = (_text_of(path) for path in folder.rglob("*") if path.is_file())
    return frozenset(word for text in texts for word in _WORD.findall(text or ""))


def names_in(path: Path) -> Names:
    """Return the names in a file of C++; `names_of` has the details."""
    text = _text_of(path)
    return Names(frozenset("*")) if text is None else names_of(text)


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def names_of(text: str) -> Names:
    """Return the names that C++ text defines outside of functions and classes, and the words that it uses.

    A few words that it only uses may be among the names, as types of results.
    """
    text = _SKIPPED.sub(" ", text)
    found = _Found(everywhere=set(_MACRO.findall(text)))
    pieces = _PIECE.findall(_DIRECTIVE.sub(" ", text))
    found.read(iter(pieces), "")
    every, inside = (frozenset(names - KEYWORDS) for names in (found.everywhere, found.inside))
    return Names(
        every, inside, frozenset(found.namespaces), frozenset(_USED.findall(_COMMAND.sub(" ", text))) - KEYWORDS
    )


@dataclass(slots=True)
class _Found:
    everywhere: set[str]
    inside: set[str] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=set)

    def read(self, pieces: Iterator[str], namespace: str) -> None:
        """Read declarations until the namespace closes."""
        declaration: list[str] = []
        for piece in pieces:
            if piece == "{":
                if "namespace" in declaration:
                    named = [word for word in declaration if word not in KEYWORDS and _WORD.fullmatch(word)]
                    self.namespaces.update(named)
                    self.read(pieces, named[-1] if named else namespace)
                elif declaration[-1:] == ["extern"]:
                    self.read(pieces, namespace)
                else:
                    self._note(declaration, namespace)
                    block = list(_until("}", pieces))
                    if declaration[:1] == ["enum"] and declaration[1:2] not in (["class"], ["struct"]):
                        self._note(block, namespace)
                    declaration = [*declaration, "{}"]  # a variable may follow a class
                    continue
                declaration = []
            elif piece == "}":
                return
            elif piece == ";":
                self._note(declaration, namespace)
                declaration = []
            elif piece in _PAIRS:
                declaration += [piece, *_until(_PAIRS[piece], pieces), _PAIRS[piece]]
            else:
                if declaration[-1:] == ["{}"] and declaration[0] not in _TYPES and piece != ",":
                    declaration = []  # a function has ended
                declaration.append(piece)

    def _note(self, declaration: list[str], namespace: str) -> None:
        names = self.inside if namespace else self.everywhere
        if declaration[:2] == ["using", "namespace"] or ("operator" in declaration and not namespace):
            self.everywhere.add("*")
        names.update(_declared(declaration))


def _declared(declaration: list[str]) -> Iterator[str]:
    """Yield the names that a declaration without its blocks gives to something, and perhaps a few others."""
    depth, angle, of_type = 0, 0, False
    for position, piece in enumerate(declaration):
        following = declaration[position + 1] if position + 1 < len(declaration) else ";"
        if piece in "([":
            depth += 1
        elif piece in ")]":
            depth -= 1
        elif piece == "<":
            angle += 1
        elif piece == ">":
            angle -= angle > 0
        elif depth or angle:
            continue
        elif piece in _TYPES:
            of_type = True
        elif _WORD.match(piece):
            if of_type or following in {"(", "=", ";", ",", "[", "{}"}:
                yield piece
        elif piece in {":", "="} and of_type:  # what a class is derived from
            return


def _until(closing: str, pieces: Iterator[str]) -> Iterator[str]:
    """Yield pieces up to the one that closes what has been opened."""
    opened = [closing]
    for piece in pieces:
        if piece in _PAIRS:
            opened.append(_PAIRS[piece])
        elif piece == opened[-1]:
            opened.pop()
            if not opened:
                return
        yield piece
