"""The content of a datacard of CMS Combine: columns, sources of uncertainty and directives, each with its line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "AutoStats",
    "Card",
    "Column",
    "Constraint",
    "RateParameter",
    "ShapeSource",
    "Systematic",
]


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
    kind : {"gmM", "gmN", "lnN", "lnU", "shape", "shapeN", "shapeU", "trG"}
    entries : tuple of (float, float) or None
        For each column; of lnN and lnU factors at -1 and +1, of gmN twice the scale, of shapes twice the size of the
        effect in standard deviations, of gmM and trG twice the relative uncertainty.
    events : int
        Of gmN: counted elsewhere.
    line : int
    optional : bool
        Of shapes with a question mark: where there are no histograms the entry is that of lnN.
    histograms : mapping of (str, str) to str
        By channel and process, the name in histograms where another one was edited in.
    """

    name: str
    kind: str
    entries: tuple[tuple[float, float] | None, ...]
    events: int
    line: int
    optional: bool = False
    histograms: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RateParameter:
    """A factor of one process in one channel: free between its bounds, a formula of others, or in a RooWorkspace.

    What ``extArg`` and ``unif`` declare has no process; formulas and functions depend on it. The source is
    ``file:workspace``.
    """

    name: str
    bin: str
    process: str
    value: float
    low: float
    high: float
    formula: str
    line: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A ``param`` line: a parameter with a Gaussian constraint, and its range if there is one."""

    name: str
    mean: float
    down: float
    up: float
    line: int
    bounds: tuple[float, float] | None = None


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
    frozen : dict of str to int
        Parameters that ``nuisance edit freeze`` keeps constant, with its line.
    lines : dict of str to int
        Where the parameters of ``loose`` are.
    notes : list of str
        What was read in another way than the line says, or not at all.
    rows : dict of str to int
        Where the lines of the upper part are, by keyword (the last of ``bin`` and ``process``), and those of groups, by
        ``group NAME``.
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
    frozen: dict[str, int] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def processes(self) -> list[str]:
        """Names of the processes, in order."""
        return list(dict.fromkeys(column.process for column in self.columns))

    @property
    def parameters(self) -> list[str]:
        """Names of all parameters but the strength of the signal."""
        names = [of.name for of in self.systematics]
        names += [of.name for of in self.rate_parameters] + [of.name for of in self.constraints]
        return list(dict.fromkeys([*names, *self.loose]))

    def row(self, *keywords: str) -> int:
        """Return the line of the first of these keywords that the card has; 0 if it has none."""
        return next((self.rows[key] for key in keywords if key in self.rows), 0)

    def line_of(self, text: str) -> int:
        """Return the line of the first parameter, or else process or channel, that a text has in quotes; 0 for none."""
        lines = {name: self.row("rate") for name in (*self.bins, *self.processes)}
        named: list[Systematic | RateParameter | Constraint] = [*self.systematics, *self.constraints]
        own = {of.name: of.line for of in [*named, *self.rate_parameters]} | self.lines
        quoted = re.findall(r"'([^']+)'", text)
        return next((known[name] for known in (own, lines) for name in quoted if name in known), 0)
