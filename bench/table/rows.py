"""The rows of the table: ratios of two measurements of the same round, and what they are to reach."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.table.adl.steps import DECLARED
from bench.table.rounds import Found
from bench.table.scenarios import FOUR_LEPTONS, QUERIES

__all__ = ["INSTALL", "Filled", "Row", "fill", "rows"]

INSTALL = "pip install 'portico-hep[bench]'"
Side = tuple[str, str]
"""A scenario, as text, and a label."""


@dataclass(frozen=True, slots=True)
class Row:
    """A ratio, or a value, for ROOT files of one format.

    Parameters
    ----------
    layout : str
        The format.
    text : str
        What it is; the same for all formats.
    above, below : (str, str)
        The ratio is that of the first to the second; without a second, it is the value.
    measure : {"CPU", "wall", "memory"}
        CPU seconds, wall seconds, or MB.
    target : float, optional
        What it is to reach.
    at_most : bool
        Whether the target is an upper limit.
    """

    layout: str
    text: str
    above: Side
    below: Side | None
    measure: str
    target: float | None = None
    at_most: bool = False

    @property
    def to_reach(self) -> str:
        """The target as text."""
        return "" if self.target is None else f"{'<=' if self.at_most else '>='} {self.target:g}"


@dataclass(frozen=True, slots=True)
class Filled:
    """A row with its numbers: those of each round, and their median by the loops alone, see `Measured`.

    If there are none, ``reason`` says why.
    """

    row: Row
    values: tuple[float, ...]
    reason: str = ""
    loops: float | None = None

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the median is what it is to be; None without a target or a value."""
        if self.row.target is None or not self.values:
            return None
        return self.median <= self.row.target if self.row.at_most else self.median >= self.row.target


_OURS, _FREE = "portico, declared", "portico, RDataFrame"
_DASK, _FREE_ON_DASK, _THEIRS = "portico on Dask, declared", "portico on Dask, RDataFrame", "distributed RDataFrame"
_COLD, _NEW = "process runs, nothing cached", "new process"
Line = tuple[str, str, str, float | None]
"""What it is, a scenario and a label, those it is divided by, and what it is to reach."""
_ONE_CORE: tuple[Line, ...] = (
    (f"{_COLD}: compiled RDataFrame / portico", "RDataFrame, compiled:warm", f"{_OURS}:warm", None),
    (f"{_COLD}: RDataFrame in Python / portico, RDataFrame", "RDataFrame, Python:warm", f"{_FREE}:warm", None),
    (f"{_NEW}: C++ by hand / portico", "C++ by hand:first", f"{_OURS}:first", None),
    (f"{_NEW}: coffea / portico", "coffea:first", f"{_OURS}:first", 3.0),
    (f"{_NEW}: uproot and numba / portico", "uproot and numba:first", f"{_OURS}:first", None),
    (f"{_NEW}: RDataFrame in Python / portico", "RDataFrame, Python:first", f"{_OURS}:first", None),
    (f"{_NEW}: DuckDB on Parquet / portico", "DuckDB:first", f"{_OURS}:first", 1.0),
    (f"{_NEW}: Polars on Parquet / portico", "Polars:first", f"{_OURS}:first", None),
    ("process runs: DuckDB on Parquet / portico, cached", "DuckDB:warm", f"{_OURS}:cached", 5.0),
    ("process runs: Polars on Parquet / portico, cached", "Polars:warm", f"{_OURS}:cached", None),
)
_TWO_WORKERS: tuple[Line, ...] = (
    ("new Dask workers: distributed RDataFrame / portico", f"{_THEIRS}:first", f"{_DASK}:first", 4.0),
    ("new Dask workers: distributed RDataFrame / portico, RDataFrame", f"{_THEIRS}:first", f"{_FREE_ON_DASK}:first",
     None),
    ("warm workers, nothing cached: distributed RDataFrame / portico", f"{_THEIRS}:warm", f"{_DASK}:warm", 2.5),
    ("warm workers: distributed RDataFrame, same cut / portico, changed cut", f"{_THEIRS}:warm", f"{_DASK}:cut", 30.0),
    ("warm workers: the same, both with the changed cut", f"{_THEIRS}:cut", f"{_DASK}:cut", None),
    ("warm workers: distributed RDataFrame, same bins / portico, changed bins", f"{_THEIRS}:warm", f"{_DASK}:binning",
     30.0),
    ("warm workers: distributed RDataFrame, same rule / portico, changed rule", f"{_THEIRS}:warm", f"{_DASK}:rule",
     30.0),
    ("warm workers: distributed RDataFrame / portico, RDataFrame, cached", f"{_THEIRS}:warm",
     f"{_FREE_ON_DASK}:cached", 4.0),
    (f"{_COLD}: 1 worker / 2 workers", f"{_OURS}:warm", f"{_OURS}, 2 workers:warm", 1.9),
    ("process runs, cached: 1 worker / 2 workers", f"{_OURS}:cached", f"{_OURS}, 2 workers:cached", 1.9),
)  # fmt: skip
_BY_HAND: Line = (f"{_COLD}: C++ by hand / portico", "C++ by hand:warm", f"{_OURS}:warm", None)
_BY_HAND_TARGET = {"TTree": 1.0, "RNTuple": 0.95}


def rows(kinds: Iterable[str], formats: Iterable[str]) -> list[Row]:
    """Return the rows of some kinds of events, over ROOT files of some formats."""
    kinds, found = tuple(kinds), list[Row]()
    for layout in formats:
        if "wztree" in kinds:
            found += _wztree(layout)
        if "nano" in kinds:
            found += _nano(layout)
    if "wztree" in kinds:
        after = "first result of hnl select, after import ROOT (s)"
        found.append(Row("RNTuple", after, ("hnl select, RNTuple", "first"), None, "wall", 1.5, at_most=True))
    return found


def _wztree(layout: str) -> list[Row]:
    by_hand = (*_BY_HAND[:3], _BY_HAND_TARGET[layout])
    found = [
        Row(layout, text, _side(above, layout), _side(below, layout), measure, target)
        for measure, lines in (("CPU", (by_hand, *_ONE_CORE)), ("wall", _TWO_WORKERS))
        for text, above, below, target in lines
    ]
    worker = _side(f"{_DASK}:first", layout)
    memory = Row(layout, "memory of a worker, nothing cached (MB)", worker, None, "memory", 700.0, at_most=True)
    return [*found, memory]


def _side(text: str, layout: str) -> Side:
    name, _, label = text.partition(":")
    return f"{name}, {'Parquet' if name in {'DuckDB', 'Polars'} else layout}", label


def _nano(layout: str) -> list[Row]:
    """Rows of the ADL queries; they say which are declared selections and which are steps with RDataFrame."""
    found = []
    ours, theirs = f"portico, ADL, {layout}", f"RDataFrame, compiled, ADL, {layout}"
    for state, label in (("nothing cached", "warm"), ("cached", "cached")):
        for query in (*QUERIES, FOUR_LEPTONS):
            step = "declared" if query in DECLARED else "RDataFrame"
            name = f"ADL {query.upper()}" if query in QUERIES else "four leptons"
            text = f"{name}, {state}: compiled RDataFrame / portico, {step}"
            target = None if query not in QUERIES else 1.6 if query == "q6" else 1.0
            found.append(Row(layout, text, (theirs, f"{query} warm"), (ours, f"{query} {label}"), "CPU", target))
    return found


def fill(row: Row, found: Found) -> Filled:
    """Return a row with its numbers, or with the reason why it has none."""
    sides = [side for side in (row.above, row.below) if side is not None]
    for name, label in sides:
        if name in found.missing:
            return Filled(row, (), f"not installed: {' '.join(found.missing[name])}: {INSTALL}")
        if name in found.failed:
            return Filled(row, (), f"failed: {name}: {found.failed[name].splitlines()[0]}")
        if label not in found.measured.get(name, {}):
            return Filled(row, (), f"not measured: {name}")
    values = _values(row.measure.lower(), sides, found)
    loops = statistics.median(_values("work", sides, found)) if row.measure == "CPU" else None
    return Filled(row, values, "", loops)


def _values(attribute: str, sides: Sequence[Side], found: Found) -> tuple[float, ...]:
    """Return the ratio of each round, or its value."""
    per_round = [
        [statistics.median(getattr(cost, attribute) for cost in costs) for costs in found.measured[name][label]]
        for name, label in sides
    ]
    if len(per_round) == 1:
        return tuple(per_round[0])
    return tuple(above / below for above, below in zip(*per_round, strict=True))
