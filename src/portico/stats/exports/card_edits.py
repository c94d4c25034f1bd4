"""The directives ``nuisance edit`` of a datacard: they change the lines above them.

Names of processes and channels are ``*`` or regular expressions that match all of a name, as in Combine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from portico.errors import nearest
from portico.stats.exports.card_content import Card, Systematic

__all__ = ["edit"]

_NO_RENAME: Final = ("gmM", "gmN", "trG")
_UNREAD: Final = ("flip", "merge", "split")
_REPEATS: Final = 3  # in a regular expression

_Entry = tuple[float, float] | None


def edit(card: Card, words: Sequence[str], line: int) -> None:
    """Change a card.

    Parameters
    ----------
    card : Card
        Changed in place.
    words : sequence of str
        What follows ``nuisance edit``.
    line : int

    Raises
    ------
    ValueError
        If the directive is unknown or not read, has too few words, or finds nothing.
    """
    known: dict[str, tuple[Callable[[Card, list[str], int], None], int]] = {
        "add": (_add, 5), "changepdf": (_change, 2), "drop": (_drop, 3), "freeze": (_freeze, 1), "rename": (_rename, 2),
    }  # fmt: skip
    command, rest = (words[0], list(words[1:])) if words else ("", [])
    if command in _UNREAD:
        raise ValueError(f"'{command}' is not supported here; change the lines that it edits")
    if command not in known:
        raise ValueError(f"'{command}' is not a directive; {nearest(command, known)}")
    act, least = known[command]
    if len(rest) < least:
        raise ValueError(f"'{command}' takes {least} words or more")
    act(card, rest, line)


def _pattern(text: str) -> re.Pattern[str]:
    """Return a pattern of names, unless looking for it could take for ever, as for ``(a+)+b``."""
    plain = re.sub(r"\\.|\[\^?\]?[^\]]*\]", "", text)
    if re.search(r"\)[*+{]", plain) or len(re.findall(r"[*+{]", plain)) > _REPEATS:
        raise ValueError(f"'{text}' repeats too much; valid: at most {_REPEATS} of *, + and {{, and none after a group")
    try:
        return re.compile(".*" if text == "*" else text)
    except re.error as error:
        raise ValueError(f"'{text}' is not a regular expression: {error}") from error


def _columns(card: Card, process: str, channel: str) -> list[int]:
    processes, channels = _pattern(process), _pattern(channel if channel == "*" else channel.replace("+", r"\+"))
    return [
        at for at, column in enumerate(card.columns)
        if processes.fullmatch(column.process) and channels.fullmatch(column.bin)
    ]  # fmt: skip


def _nothing(card: Card, options: Sequence[str], line: int, what: str) -> None:
    if "ifexists" not in options:
        raise ValueError(f"finds no {what}")
    card.notes.append(f"line {line}: the edit found no {what}")


def _with(systematic: Systematic, entries: dict[int, _Entry]) -> Systematic:
    found = list(systematic.entries)
    for at, entry in entries.items():
        found[at] = entry
    return replace(systematic, entries=tuple(found))


def _add(card: Card, words: list[str], line: int) -> None:
    process, channel, name, kind, value, *options = words
    if kind not in {"lnN", "lnU", "shape", "shapeN", "shapeU"}:
        raise ValueError(f"adds no '{kind}'; valid: lnN, lnU, shape, shapeN, shapeU")
    entry, columns = _entry(value, kind), _columns(card, process, channel)
    if not columns:
        card.notes.append(f"line {line}: the edit found no process '{process}' in a channel '{channel}'")
    at = next((i for i, known in enumerate(card.systematics) if known.name == name), None)
    if at is None:
        empty: tuple[_Entry, ...] = (None,) * len(card.columns)
        card.systematics.append(Systematic(name, kind, empty, 0, line))
        at = len(card.systematics) - 1
    old = card.systematics[at]
    if old.kind != kind:
        raise ValueError(f"'{name}' is there already as {old.kind}")
    if entry is None:
        return
    changed: dict[int, _Entry] = {}
    for column in columns:
        before, added = old.entries[column], entry
        if before is not None and before != (1.0, 1.0) and "overwrite" not in options:
            if "addq" not in options:
                of = card.columns[column]
                raise ValueError(f"'{name}' of '{of.process}' in '{of.bin}' has an entry; say addq or overwrite")
            added = _in_quadrature(before, entry, kind)
        changed[column] = added
    card.systematics[at] = _with(old, changed)


def _entry(text: str, kind: str) -> _Entry:
    try:
        values = [float(word) for word in text.split("/")]
    except ValueError as error:
        raise ValueError(f"'{text}' is not a number, or down/up") from error
    if values in ([0.0], [1.0]) and kind[:2] == "ln":
        return None
    if len(values) > (2 if kind[:2] == "ln" else 1) or not all(math.isfinite(v) and v > 0 for v in values):
        raise ValueError(f"'{text}' is not a number above 0{', or down/up' if kind[:2] == 'ln' else ''}")
    if len(values) == 2:
        return values[0], values[1]
    return (1 / values[0], values[0]) if kind[:2] == "ln" else (values[0], values[0])


def _in_quadrature(one: tuple[float, float], other: tuple[float, float], kind: str) -> tuple[float, float]:
    if kind[:2] != "ln":
        raise ValueError("addq is for lnN and lnU")
    found = []
    for a, b in zip(one, other, strict=True):
        if math.log(a) * math.log(b) < 0:
            raise ValueError(f"addq of {a:g} and {b:g}, which go to different sides")
        found.append(math.exp(math.copysign(math.hypot(math.log(a), math.log(b)), math.log(a) + math.log(b))))
    return found[0], found[1]


def _drop(card: Card, words: list[str], line: int) -> None:
    process, channel, name, *options = words
    columns, pattern, found = _columns(card, process, channel), _pattern(name), False
    for at, old in enumerate(card.systematics):
        if pattern.fullmatch(old.name) and columns:
            found = True
            card.systematics[at] = _with(old, dict.fromkeys(columns))
    if not found:
        _nothing(card, [*options, *(["ifexists"] if channel == "*" else [])], line, f"'{name}' there")


def _rename(card: Card, words: list[str], line: int) -> None:
    if len(words) == 3:
        raise ValueError("'rename' takes old and new, or process, channel, old and new")
    everywhere = len(words) == 2
    process, channel, name, new, *options = ["*", "*", *words] if everywhere else words
    columns, found = _columns(card, process, channel), False
    for at, old in enumerate(list(card.systematics)):
        if old.name != name:
            continue
        found = True
        if old.kind in _NO_RENAME:
            raise ValueError(f"'{name}' is a {old.kind}, which cannot be renamed")
        places = {(card.columns[i].bin, card.columns[i].process): name for i in columns}
        renamed = replace(old, name=new, histograms={**places, **old.histograms})
        rest = {i: None for i in range(len(card.columns)) if i not in columns}
        card.systematics[at] = renamed if everywhere else _with(old, dict.fromkeys(columns))
        if not everywhere:
            card.systematics.append(_with(renamed, dict(rest)))
    if any(constraint.name == name for constraint in card.constraints):
        raise ValueError(f"'{name}' is a param and cannot be renamed")
    if not found or not columns:
        _nothing(card, options, line, f"'{name}' there")


def _change(card: Card, words: list[str], line: int) -> None:
    name, kind = words[:2]
    pattern, found = _pattern(name), False
    for at, old in enumerate(card.systematics):
        if pattern.fullmatch(old.name):
            found = True
            logs, shapes = {"lnN", "lnU"}, {"shape", "shapeN", "shapeU"}
            known = {old.kind, kind}
            if not (known <= logs or known <= shapes or known in ({"lnN", "trG"}, {"lnU", "trG"})):
                raise ValueError(f"'{old.name}' is a {old.kind}, which cannot become a {kind}")
            entries = old.entries
            if known != {"trG"} and "trG" in known:  # Combine takes the logarithm of one number as the width
                entries = tuple(None if of is None else _width(of, kind) for of in entries)
            card.systematics[at] = replace(old, kind=kind, entries=entries)
    if not found:
        card.notes.append(f"line {line}: the edit found no '{name}'")


def _width(entry: tuple[float, float], kind: str) -> tuple[float, float]:
    if kind == "trG":
        if not math.isclose(entry[0] * entry[1], 1.0):
            raise ValueError(f"{entry[0]:g}/{entry[1]:g} has two widths, and trG has one")
        return math.log(entry[1]), math.log(entry[1])
    return math.exp(-entry[1]), math.exp(entry[1])


def _freeze(card: Card, words: list[str], line: int) -> None:
    name, *options = words
    pattern = _pattern(name)
    first = [of.name for of in card.rate_parameters] + list(card.loose)
    found = [of for of in first if pattern.fullmatch(of)] or [of for of in card.parameters if pattern.fullmatch(of)]
    if not found:
        _nothing(card, options, line, f"'{name}'")
    card.frozen.update(dict.fromkeys(found, line))
