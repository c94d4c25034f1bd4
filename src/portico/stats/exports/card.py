"""Datacards of CMS Combine, read by their documented grammar (arXiv:2404.06614, section 3).

The upper part of a card names channels, processes and expected events, up to the line ``rate``; every line below it is
a source of uncertainty or a directive. A line that cannot be read is an error, never skipped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, TypeVar

from portico.errors import InputError, nearest

__all__ = ["AutoStats", "Card", "Column", "Constraint", "RateParameter", "ShapeSource", "Systematic", "read_card"]

_UPPER: Final = ("bin", "imax", "jmax", "kmax", "observation", "process", "rate", "shapes")
_BY_COLUMN: Final = ("gmN", "lnN", "lnU", "shape", "shapeN")
_LOWER: Final = (*_BY_COLUMN, "autoMCStats", "discrete", "flatParam", "group", "param", "rateParam")
_NUMBER = TypeVar("_NUMBER", int, float)


@dataclass(frozen=True, slots=True)
class Column:
    """A process in a channel; signal has an index of 0 or below. A rate of -1 means the integral of its histogram."""

    bin: str
    process: str
    index: int
    rate: float


@dataclass(frozen=True, slots=True)
class ShapeSource:
    """Where shapes are: ``*`` stands for any process or channel; ``FAKE`` is the file of a counting experiment."""

    process: str
    bin: str
    file: str
    nominal: str
    varied: str
    line: int


@dataclass(frozen=True, slots=True)
class Systematic:
    """A line with an entry for each column.

    Attributes
    ----------
    name : str
    kind : {"gmN", "lnN", "lnU", "shape", "shapeN"}
    entries : tuple of (float, float) or None
        For each column; of lnN and lnU factors at -1 and +1, of gmN twice the scale, of shapes twice the size of the
        effect in standard deviations.
    events : int
        Of gmN: counted elsewhere.
    line : int
    """

    name: str
    kind: str
    entries: tuple[tuple[float, float] | None, ...]
    events: int
    line: int


@dataclass(frozen=True, slots=True)
class RateParameter:
    """A factor of one process in one channel: free between its bounds, or a formula of others."""

    name: str
    bin: str
    process: str
    value: float
    low: float
    high: float
    formula: str
    line: int


@dataclass(frozen=True, slots=True)
class Constraint:
    """A ``param`` line: a parameter with a Gaussian constraint."""

    name: str
    mean: float
    down: float
    up: float
    line: int


@dataclass(frozen=True, slots=True)
class AutoStats:
    """An ``autoMCStats`` line, for one channel."""

    threshold: float
    include_signal: bool
    mode: int
    line: int


@dataclass(slots=True)
class Card:
    """The content of a datacard.

    Attributes
    ----------
    where : str
        The file, for messages.
    bins : list of str
        Channels.
    observations : dict of str to float
        -1 means the integral of the histogram; empty if the card says nothing.
    columns : list of Column
    shapes : list of ShapeSource
    systematics : list of Systematic
    rate_parameters : list of RateParameter
    constraints : list of Constraint
    loose : dict of str to str
        ``flatParam`` or ``discrete``, by name of the parameter.
    groups : dict of str to list of str
        Names of nuisance parameters, which Combine can freeze together.
    statistics : dict of str to AutoStats
        By channel.
    """

    where: str
    bins: list[str] = field(default_factory=list)
    observations: dict[str, float] = field(default_factory=dict)
    columns: list[Column] = field(default_factory=list)
    shapes: list[ShapeSource] = field(default_factory=list)
    systematics: list[Systematic] = field(default_factory=list)
    rate_parameters: list[RateParameter] = field(default_factory=list)
    constraints: list[Constraint] = field(default_factory=list)
    loose: dict[str, str] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    statistics: dict[str, AutoStats] = field(default_factory=dict)

    @property
    def processes(self) -> list[str]:
        """Names of the processes, in order."""
        return list(dict.fromkeys(column.process for column in self.columns))


def read_card(path: Path) -> Card:
    """Read a datacard.

    Raises
    ------
    InputError
        If it cannot be read, or a line is none of the grammar: with the line and what would be valid.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    return _Reader(str(path)).read(text)


class _Reader:
    """Reads one card; knows the line where it is."""

    def __init__(self, where: str) -> None:
        self.card = Card(where)
        self._where, self._line = where, 0
        self._declared: dict[str, int | None] = {}
        self._observed: list[float] | None = None
        self._rows: dict[str, list[str]] = {}  # bin, process, index: of the expected events

    def read(self, text: str) -> Card:
        lines = self._lines(text)
        for words in lines:
            if self._upper(words):
                break
        else:
            raise InputError(f"{self._where}: there is no line 'rate'; it names the expected events of each column")
        for words in lines:
            self._lower(words)
        self._line = 0
        self._count("imax", len(self.card.bins), "channels")
        self._count("jmax", len(self.card.processes) - 1, "processes minus one")
        self._count("kmax", len(self.card.systematics) + len(self.card.constraints), "nuisance parameters")
        for group, members in self.card.groups.items():
            known = {s.name for s in self.card.systematics} | {c.name for c in self.card.constraints}
            known |= {r.name for r in self.card.rate_parameters} | set(self.card.loose)
            for member in members:
                if member not in known:
                    raise self._wrong(f"group '{group}': there is no parameter '{member}'; {nearest(member, known)}")
        return self.card

    def _lines(self, text: str) -> Iterator[list[str]]:
        for self._line, line in enumerate(text.splitlines(), 1):
            content = re.sub(r"(^|\s)#.*", "", line).strip()
            if content and not content.startswith("--"):
                yield content.split()

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self._where}, line {self._line}: {what}" if self._line else f"{self._where}: {what}")

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
        if key in {"imax", "jmax", "kmax"}:
            if not rest:
                raise self._wrong(f"'{key}' has a number, or * to count")
            self._declared[key] = None if rest[0] == "*" else self._number(rest[0], key, int)
        elif key == "shapes":
            self._shapes(rest)
        elif key == "observation":
            self._observation(rest)
        elif key == "bin":
            for name in rest:
                if name[0].isdigit():
                    raise self._wrong(f"channel '{name}' begins with a digit, which Combine does not take")
            self._rows["bin"] = rest
        elif key == "process":
            self._process(rest)
        elif key == "rate":
            self._rate(rest)
            return True
        else:
            raise self._wrong(f"'{key}' is not a keyword above 'rate'; {nearest(key, _UPPER)}")
        return False

    def _shapes(self, rest: list[str]) -> None:
        if len(rest) < 3 or (len(rest) < 4 and rest[2] != "FAKE"):
            raise self._wrong("a line of shapes is: shapes process channel file histogram [histogram_with_systematics]")
        process, channel, file, nominal, varied = [*rest, "", ""][:5]
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
                raise self._wrong(f"rate {rate} of '{process}' in '{name}': it is not negative, or -1 for the integral")
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
            raise self._wrong(f"{key} says {declared} {what}, the card has {found}")

    def _lower(self, words: list[str]) -> None:
        name, kind, rest = words[0].removesuffix("[nofloat]"), words[1] if len(words) > 1 else "", words[2:]
        if (name, kind) == ("nuisance", "edit"):
            raise self._wrong("'nuisance edit' is not read here; change the lines that it edits")
        if kind in _BY_COLUMN:
            self._systematic(name, kind, rest)
        elif kind == "rateParam":
            self._rate_parameter(name, rest)
        elif kind == "param":
            self._constraint(name, rest)
        elif kind in {"discrete", "flatParam"}:
            self.card.loose[name] = kind
        elif kind == "group":
            self._group(name, rest)
        elif kind == "autoMCStats":
            self._statistics(name, rest)
        else:
            raise self._wrong(f"'{kind}' is not a kind of uncertainty; {nearest(kind, _LOWER)}")

    def _systematic(self, name: str, kind: str, rest: list[str]) -> None:
        events = 0
        if kind == "gmN":
            if not rest:
                raise self._wrong("a line of gmN is: name gmN N, then an entry for each column")
            events, rest = self._number(rest[0], "N of gmN", int), rest[1:]
            if events < 0:
                raise self._wrong(f"N of gmN is not negative, but {events}")
        if len(rest) < len(self.card.columns):
            raise self._wrong(f"'{name}' has {len(rest)} entries for {len(self.card.columns)} columns")
        if any(known.name == name for known in self.card.systematics):
            raise self._wrong(f"'{name}' occurs twice")
        entries = tuple(self._entry(word, kind) for word in rest[: len(self.card.columns)])  # the rest is a comment
        self.card.systematics.append(Systematic(name, kind, entries, events, self._line))

    def _entry(self, word: str, kind: str) -> tuple[float, float] | None:
        if re.fullmatch("-+", word):
            return None
        values = [self._number(part, f"an entry of {kind}", float) for part in word.split("/")]
        if len(values) > (2 if kind in {"lnN", "lnU"} else 1):
            raise self._wrong(f"'{word}': an entry of {kind} is one number{', or down/up' if kind[:2] == 'ln' else ''}")
        if min(values) < 0 or (len(values) == 2 and min(values) == 0):
            raise self._wrong(f"'{word}': an entry of {kind} is above 0, or - for no effect")
        if values[0] == 0:
            return None
        if len(values) == 2:
            return values[0], values[1]
        return (1 / values[0], values[0]) if kind in {"lnN", "lnU"} else (values[0], values[0])

    def _rate_parameter(self, name: str, rest: list[str]) -> None:
        if len(rest) < 3:
            raise self._wrong("a rate parameter is: name rateParam channel process value [low,high]")
        bins, processes, value, more = rest[0], rest[1], rest[2], "".join(rest[3:])
        matched = [c for c in self.card.columns if fnmatchcase(c.bin, bins) and fnmatchcase(c.process, processes)]
        if not matched:
            raise self._wrong(
                f"process '{processes}' in channel '{bins}' is no column; channels: {', '.join(self.card.bins)}; "
                f"processes: {', '.join(self.card.processes)}"
            )
        number, low, high, formula = 1.0, -math.inf, math.inf, ""
        if (more and not more.startswith("[")) or ":" in value:
            formula = f"{value} {more}".strip()
        else:
            number = self._number(value, "the value of a rate parameter", float)
            if more:
                if not (bounds := re.fullmatch(r"\[([^,]+),([^,]+)\]", more)):
                    raise self._wrong(f"the range of a rate parameter is [low,high], not '{more}'")
                low, high = (self._number(word, "a bound", float) for word in bounds.groups())
                if not low <= number <= high:
                    raise self._wrong(f"'{name}' = {number:g} is not between {low:g} and {high:g}")
        for column in matched:
            self.card.rate_parameters.append(
                RateParameter(name, column.bin, column.process, number, low, high, formula, self._line)
            )

    def _constraint(self, name: str, rest: list[str]) -> None:
        if len(rest) < 2:
            raise self._wrong("a constrained parameter is: name param mean sigma, or name param mean -down/+up")
        mean, sides = self._number(rest[0], "a mean", float), rest[1].split("/")
        values = [abs(self._number(side, "an uncertainty", float)) for side in sides]
        if len(values) > 2 or min(values) == 0:
            raise self._wrong(f"'{rest[1]}': an uncertainty is a number above 0, or -down/+up")
        self.card.constraints.append(Constraint(name, mean, values[0], values[-1], self._line))

    def _group(self, name: str, rest: list[str]) -> None:
        if len(rest) < 2 or rest[0] not in {"=", "+="} or (rest[0] == "+=") != (name in self.card.groups):
            raise self._wrong("a group is: name group = parameters, and with += more of them later")
        self.card.groups[name] = [*self.card.groups.get(name, []), *rest[1:]]

    def _statistics(self, pattern: str, rest: list[str]) -> None:
        if not 1 <= len(rest) <= 3:
            raise self._wrong("the line is: channel autoMCStats threshold [include-signal] [hist-mode]")
        matched = [name for name in self.card.bins if fnmatchcase(name, pattern)]
        if not matched:
            raise self._wrong(f"channel '{pattern}' does not exist; {nearest(pattern, self.card.bins)}")
        flags = [self._number(word, "a flag of autoMCStats", int) for word in rest[1:]] + [0, 1][len(rest) - 1 :]
        threshold = self._number(rest[0], "the threshold", float)
        for name in matched:
            self.card.statistics[name] = AutoStats(threshold, bool(flags[0]), flags[1], self._line)
