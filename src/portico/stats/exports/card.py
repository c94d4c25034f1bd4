"""Datacards of CMS Combine, read by their documented grammar (arXiv:2404.06614, section 3).

The upper part of a card names channels, processes and expected events, up to the line ``rate``; every line below it is
a source of uncertainty or a directive. A line that cannot be read is an error; what Combine itself ignores, such as
titles, is a note of the card.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, TypeVar

from portico.errors import InputError, nearest
from portico.stats.exports.card_content import (
    AutoStats,
    Card,
    Column,
    Constraint,
    RateParameter,
    ShapeSource,
    Systematic,
)
from portico.stats.exports.card_edits import edit

__all__ = ["is_card", "parse_card", "read_card"]

_UPPER: Final = ("bin", "imax", "jmax", "kmax", "observation", "process", "rate", "shapes")
_BY_COLUMN: Final = ("gmM", "gmN", "lnN", "lnU", "shape", "shapeN", "shapeU", "trG")
_LOWER: Final = (
    *_BY_COLUMN, "autoMCStats", "discrete", "extArg", "flatParam", "group", "nuisance edit", "param", "rateParam",
    "unif",
)  # fmt: skip
_UNREAD: Final = {
    "constr": "a constraint by a formula", "dFD": "a constraint that is flat with soft edges",
    "dFD2": "a constraint that is flat with soft edges",
    "shapeL": "a linear interpolation of shapes", "shapeL2": "a linear interpolation of shapes",
}  # fmt: skip
_NUMBER = TypeVar("_NUMBER", int, float)


def read_card(path: Path) -> Card:
    """Read a datacard.

    Raises
    ------
    InputError
        If it cannot be read, or a line is none of the grammar: with the line and what would be valid.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    return parse_card(raw, str(path))


def parse_card(raw: bytes, where: str) -> Card:
    """Return the content of a datacard from its bytes.

    Raises
    ------
    InputError
        See `read_card`.
    """
    if b"\0" in raw:
        raise InputError(f"{where}: cannot be read: it is not text")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:  # of comments
        text = raw.decode("latin-1")
    return _Reader(where).read(text)


def is_card(head: bytes) -> bool:
    """Whether a file that begins so may be a datacard: one of its lines begins with imax, jmax or kmax."""
    text = head.decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n")
    words = {line.split()[0] for line in text.splitlines() if line.split()}
    return text[:1] not in {"{", "[", "<"} and bool(words & {"imax", "jmax", "kmax"})


class _Reader:
    """Reads one card; knows the line where it is."""

    def __init__(self, where: str) -> None:
        self.card = Card(where)
        self._where, self._line = where, 0
        self._declared: dict[str, int | None] = {}
        self._observed: list[float] | None = None
        self._rows: dict[str, list[str]] = {}  # bin, process, index: of the expected events
        self._lines_of_nuisances = 0
        self._begun = self._edited = False

    def read(self, text: str) -> Card:
        lines = self._lines(text)
        for words in lines:
            if self._upper(words):
                break
        else:
            raise InputError(f"{self._where}: there is no line 'rate'; it names the expected events of each column")
        for words in lines:
            self._lower(words)
        self._count("imax", len(self.card.bins), "channels")
        self._count("jmax", len(self.card.processes) - 1, "processes minus one")
        if not self._edited:  # Combine counts lines, and not after edits
            self._count("kmax", self._lines_of_nuisances, "nuisance parameters")
        known = self.card.parameters
        for group, members in self.card.groups.items():
            for member in members:
                if member not in known:
                    self._line = self.card.row(f"group {group}")
                    raise self._wrong(f"group '{group}': there is no parameter '{member}'; {nearest(member, known)}")
        return self.card

    def _lines(self, text: str) -> Iterator[list[str]]:
        for self._line, line in enumerate(text.splitlines(), 1):
            content = re.sub(r"(^|\s)#.*", "", line).strip()
            if content and not content.startswith("--"):
                yield content.split()

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self._where}, line {self._line}: {what}" if self._line else f"{self._where}: {what}")

    def _note(self, text: str) -> None:
        self.card.notes.append(f"line {self._line}: {text}")

    def _number(self, word: str, what: str, kind: Callable[[str], _NUMBER]) -> _NUMBER:
        try:
            value = kind(word)
        except ValueError:
            value = kind("0") if word == "-" else None  # type: ignore[assignment]
        if value is None or not math.isfinite(value):
            raise self._wrong(f"{what} is a{' whole' if kind is int else ''} number, not '{word}'")
        return value

    def _upper(self, words: list[str]) -> bool:
        """Read a line; whether it was the last of the upper part."""
        key, rest = words[0].lower() if words[0] == "Observation" else words[0], words[1:]
        if key in _UPPER:
            self._begun, self.card.rows[key] = True, self._line
        if key in {"imax", "jmax", "kmax"}:
            if not rest:
                raise self._wrong(f"'{key}' needs a number, or * to count")
            self._declared[key] = None if rest[0] == "*" else self._number(rest[0], key, int)
        elif key == "shapes":
            self._shapes(rest)
        elif key == "observation":
            self._observation(rest)
        elif key == "bin":
            self._rows["bin"] = [self._channel(name) for name in rest]
        elif key == "process":
            self._process(rest)
        elif key == "rate":
            self._rate(rest)
            return True
        else:
            self._title(words)
        return False

    def _title(self, words: list[str]) -> None:
        """Pass a line that Combine ignores: a title; unless it looks like a line that is meant."""
        close = get_close_matches(words[0], _UPPER, n=1, cutoff=0.8)
        numbers = len(words) > 1 and re.fullmatch(r"\*|-?[\d.]+", words[1])
        if (close and numbers) or (len(words) > 1 and _shape_kind(words[1])[0] in _LOWER):
            raise self._wrong(f"'{words[0]}' is not a keyword above 'rate'; {nearest(words[0], _UPPER)}")
        if self._begun:
            self._note(f"'{' '.join(words)[:40]}' begins with none of {', '.join(_UPPER)}, and was ignored")

    def _channel(self, name: str) -> str:
        """Return the name of a channel; Combine called it ``bin1`` where it was ``1``, and newer versions refuse it."""
        if not name[0].isdigit():
            return name
        if self._observed is None:  # once: the line is there twice
            self._note(f"channel '{name}' is called 'bin{name}', as older versions of Combine do")
        return f"bin{name}"

    def _shapes(self, rest: list[str]) -> None:
        if len(rest) < 3 or (len(rest) < 4 and rest[2] != "FAKE"):
            line = "shapes process channel file histogram [histogram_with_systematics]"
            raise self._wrong(f"write a line of shapes as: {line}")
        process, channel, file, nominal, varied = [*rest, "", ""][:5]
        channel = f"bin{channel}" if channel[0].isdigit() else channel
        if any((known.process, known.bin) == (process, channel) for known in self.card.shapes):
            raise self._wrong(f"shapes of process '{process}' in channel '{channel}' are there already")
        self.card.shapes.append(ShapeSource(process, channel, file, nominal, varied, self._line))

    def _observation(self, rest: list[str]) -> None:
        values = [self._number(word, "an observation", float) for word in rest]
        names = self._rows.pop("bin", [])
        if names and len(names) != len(values):
            raise self._wrong(f"{len(values)} observations for {len(names)} channels: {', '.join(names)}")
        self._observed = values
        if names:
            if len(set(names)) < len(names):
                raise self._wrong(f"a channel occurs twice: {', '.join(names)}")
            self.card.bins = names

    def _process(self, rest: list[str]) -> None:
        if "bin" not in self._rows:
            raise self._wrong("the line 'bin' with the channel of each column comes before 'process'")
        if len(rest) != len(self._rows["bin"]):
            raise self._wrong(f"{len(rest)} processes for {len(self._rows['bin'])} columns of 'bin'")
        if "index" in self._rows:
            raise self._wrong("there are two lines 'process', names and numbers; this is the third")
        self._rows["index" if "process" in self._rows else "process"] = rest

    def _rate(self, rest: list[str]) -> None:
        if "index" not in self._rows:
            raise self._wrong("two lines 'process', names and numbers, come before 'rate'")
        names, indices = self._rows["process"], self._rows["index"]
        if re.fullmatch(r"-?\d+", names[0]) and not re.fullmatch(r"-?\d+", indices[0]):
            names, indices = indices, names
        if len(rest) != len(names):
            raise self._wrong(f"{len(rest)} rates for {len(names)} columns")
        card, bins = self.card, list(dict.fromkeys(self._rows["bin"]))
        card.bins = card.bins or bins
        for name, process, index, rate in zip(self._rows["bin"], names, indices, rest, strict=True):
            if name not in card.bins:
                raise self._wrong(f"channel '{name}' has no observation; {nearest(name, card.bins)}")
            number, events = self._number(index, "the index of a process", int), self._number(rate, "a rate", float)
            column = Column(name, process, number, events)
            if column.rate < 0 and column.rate != -1:
                raise self._wrong(f"rate {rate} of '{process}' in '{name}': give 0 or more, or -1 for the integral")
            if any((known.bin, known.process) == (name, process) for known in card.columns):
                raise self._wrong(f"process '{process}' occurs twice in channel '{name}'")
            if any(known.process == process and (known.index <= 0) != (column.index <= 0) for known in card.columns):
                raise self._wrong(f"process '{process}' is signal (0 and below) in one channel and not in another")
            card.columns.append(column)
        if missing := [name for name in card.bins if name not in bins]:
            raise self._wrong(f"no process contributes to channel '{missing[0]}'")
        if not any(column.index <= 0 for column in card.columns):
            raise self._wrong("there is no signal, which has an index of 0 or below")
        if self._observed is not None:
            if len(self._observed) != len(card.bins):
                raise self._wrong(f"{len(self._observed)} observations for {len(card.bins)} channels")
            card.observations = dict(zip(card.bins, self._observed, strict=True))

    def _count(self, key: str, found: int, what: str) -> None:
        declared = self._declared.get(key)
        if declared is not None and declared != found:
            self._line = self.card.row(key)
            raise self._wrong(f"{key} says {declared} {what}, the card has {found}")

    def _lower(self, words: list[str]) -> None:
        name, kind, rest = words[0].removesuffix("[nofloat]"), words[1] if len(words) > 1 else "", words[2:]
        if not kind:
            self._note(f"'{name}' has nothing behind it, and was ignored")
            return
        if (name, kind) == ("nuisance", "edit"):
            self._edit(rest)
            return
        if name != words[0]:
            self.card.frozen[name] = self._line
            self._note(f"'{name}' is [nofloat]: it is kept constant")
        if name[0].isdigit():
            name = f"theta{name}"  # as Combine does
        kind, optional = _shape_kind(kind)
        if kind in _BY_COLUMN:
            self._systematic(name, kind, rest, optional=optional)
        elif kind in {"discrete", "flatParam"}:
            self.card.loose[name] = kind
            self.card.lines[name] = self._line
        elif (read := self._directives.get(kind)) is not None:
            read(name, rest)
        elif kind in _UNREAD:
            raise self._wrong(f"'{name}' is a {kind}, {_UNREAD[kind]}, which is not read here")
        else:
            raise self._wrong(f"'{kind}' is not a kind of uncertainty; {nearest(kind, _LOWER)}")

    @property
    def _directives(self) -> dict[str, Callable[[str, list[str]], None]]:
        return {
            "autoMCStats": self._statistics, "extArg": self._external, "group": self._group, "param": self._constraint,
            "rateParam": self._rate_parameter, "unif": self._uniform,
        }  # fmt: skip

    def _edit(self, words: list[str]) -> None:
        self._edited = True
        try:
            edit(self.card, words, self._line)
        except ValueError as error:
            raise self._wrong(f"nuisance edit {' '.join(words)}: {error}") from error

    def _systematic(self, name: str, kind: str, rest: list[str], *, optional: bool) -> None:
        events = 0
        self._lines_of_nuisances += 1
        if kind == "gmN":
            if not rest:
                raise self._wrong("write a line of gmN as: name gmN N, then an entry for each column")
            events, rest = self._number(rest[0], "N of gmN", int), rest[1:]
            if events < 0:
                raise self._wrong(f"N of gmN must not be negative, but is {events}")
        if len(rest) < len(self.card.columns):
            raise self._wrong(f"'{name}' has {len(rest)} entries for {len(self.card.columns)} columns")
        together = {"lnN", "shape", "shapeN"}  # kinds that act with one parameter, on two lines
        if any(known.name == name and not {known.kind, kind} <= together for known in self.card.systematics):
            raise self._wrong(f"'{name}' occurs twice")
        entries = tuple(self._entry(word, kind, optional) for word in rest[: len(self.card.columns)])  # then a comment
        self.card.systematics.append(Systematic(name, kind, entries, events, self._line, optional))

    def _entry(self, word: str, kind: str, optional: bool) -> tuple[float, float] | None:
        if re.fullmatch("-+", word):
            return None
        values = [self._number(part, f"an entry of {kind}", float) for part in word.split("/")]
        if len(values) > (2 if kind in {"lnN", "lnU"} or optional else 1):
            raise self._wrong(f"'{word}': an entry of {kind} is one number{', or down/up' if kind[:2] == 'ln' else ''}")
        if kind != "trG" and (min(values) < 0 or (len(values) == 2 and min(values) == 0)):
            raise self._wrong(f"'{word}': an entry of {kind} must be above 0, or - for no effect")
        if values[0] == 0:
            return None
        if len(values) == 2:
            return values[0], values[1]
        return (1 / values[0], values[0]) if kind in {"lnN", "lnU"} else (values[0], values[0])

    def _rate_parameter(self, name: str, rest: list[str]) -> None:
        if len(rest) < 3:
            raise self._wrong("write a rate parameter as: name rateParam channel process value [low,high]")
        bins, processes = rest[:2]
        matched = [c for c in self.card.columns if fnmatchcase(c.bin, bins) and fnmatchcase(c.process, processes)]
        if not matched:
            raise self._wrong(
                f"process '{processes}' in channel '{bins}' is not a column; channels: {', '.join(self.card.bins)}; "
                f"processes: {', '.join(self.card.processes)}"
            )
        argument = self._argument(name, rest[2:])
        for column in matched:
            self.card.rate_parameters.append(replace(argument, bin=column.bin, process=column.process))

    def _argument(self, name: str, words: list[str]) -> RateParameter:
        """Return a parameter, a formula or an object of a RooWorkspace, which multiplies nothing yet."""
        value, more = words[0] if words else "", "".join(words[1:])
        if "@" in value or (more and more[0] not in "[R"):  # RecycleConflictNodes
            return RateParameter(name, "", "", 1.0, -math.inf, math.inf, " ".join(words), self._line)
        if ":" in value:
            return RateParameter(name, "", "", 1.0, -math.inf, math.inf, "", self._line, value)
        number, low, high = self._number(value, f"the value of '{name}'", float), -math.inf, math.inf
        if more:
            low, high = self._range(more, f"'{name}'")
            if not low <= number <= high:
                raise self._wrong(f"'{name}' = {number:g} is not between {low:g} and {high:g}")
        return RateParameter(name, "", "", number, low, high, "", self._line)

    def _external(self, name: str, rest: list[str]) -> None:
        self.card.rate_parameters.append(self._argument(name, rest))

    def _uniform(self, name: str, rest: list[str]) -> None:
        self._lines_of_nuisances += 1
        if len(rest) != 2:
            raise self._wrong("a parameter with a uniform prior is: name unif low high")
        low, high = (self._number(word, "a bound", float) for word in rest)
        if not low < high:
            raise self._wrong(f"'{name}': {low:g} is not below {high:g}")
        middle = 0.5 * (low + high)
        self.card.rate_parameters.append(RateParameter(name, "", "", middle, low, high, "", self._line))

    def _range(self, text: str, what: str) -> tuple[float, float]:
        if not (bounds := re.fullmatch(r"\[([^,]+),([^,]+)\]", text)):
            raise self._wrong(f"the range of {what} is [low,high], not '{text}'")
        low, high = (self._number(word, "a bound", float) for word in bounds.groups())
        if not low < high:
            raise self._wrong(f"the range of {what} is {text}, and {low:g} is not below {high:g}")
        return low, high

    def _constraint(self, name: str, rest: list[str]) -> None:
        self._lines_of_nuisances += 1
        if len(rest) < 2:
            raise self._wrong("write a constrained parameter as: name param mean sigma, or name param mean -down/+up")
        mean, sides = self._number(rest[0], "a mean", float), rest[1].split("/")
        values = [abs(self._number(side, "an uncertainty", float)) for side in sides]
        if len(values) > 2 or min(values) == 0:
            raise self._wrong(f"'{rest[1]}': an uncertainty must be a number above 0, or -down/+up")
        bounds = self._range("".join(rest[2:]), "a param") if len(rest) > 2 and rest[2].startswith("[") else None
        self.card.constraints.append(Constraint(name, mean, values[0], values[-1], self._line, bounds))

    def _group(self, name: str, rest: list[str]) -> None:
        if len(rest) < 2 or rest[0] not in {"=", "+="} or (rest[0] == "+=") != (name in self.card.groups):
            raise self._wrong("write a group as: name group = parameters, and with += more of them later")
        self.card.rows.setdefault(f"group {name}", self._line)
        self.card.groups[name] = [*self.card.groups.get(name, []), *rest[1:]]

    def _statistics(self, pattern: str, rest: list[str]) -> None:
        if not 1 <= len(rest) <= 3:
            raise self._wrong("write the line as: channel autoMCStats threshold [include-signal] [hist-mode]")
        matched = [name for name in self.card.bins if fnmatchcase(name, pattern)]
        if not matched:
            raise self._wrong(f"channel '{pattern}' does not exist; {nearest(pattern, self.card.bins)}")
        flags = [self._number(word, "a flag of autoMCStats", int) for word in rest[1:]] + [0, 1][len(rest) - 1 :]
        threshold = self._number(rest[0], "the threshold", float)
        for name in matched:
            self.card.statistics[name] = AutoStats(threshold, bool(flags[0]), flags[1], self._line)


def _shape_kind(kind: str) -> tuple[str, bool]:
    """Return a kind without marks such as those of ``shape*`` and ``shapeN2?``, and whether histograms are optional."""
    found = re.fullmatch(r"(shape[NU]?)2?a?\*?(\?)?", kind)
    return (found[1], bool(found[2])) if found else (kind, False)
