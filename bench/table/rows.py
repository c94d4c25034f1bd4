"""The rows of the table: ratios of two measurements of the same round, and what they are to reach."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from bench.table.rounds import Found

__all__ = ["INSTALL", "Filled", "Row", "fill", "rows"]

INSTALL = "pip install 'portico-hep[bench]'"
Side = tuple[str, str]
"""A scenario, as text, and a label."""


@dataclass(frozen=True, slots=True)
class Row:
    """A ratio, or a value.

    Parameters
    ----------
    text : str
        What it is.
    above, below : (str, str)
        The ratio is that of the first to the second; without a second, it is the value.
    measure : {"CPU", "wall", "memory"}
        CPU seconds, wall seconds, or MB.
    target : float, optional
        What it is to reach.
    at_most : bool
        Whether the target is an upper limit.
    """

    text: str
    above: Side
    below: Side | None
    measure: str
    target: float | None = None
    at_most: bool = False


@dataclass(frozen=True, slots=True)
class Filled:
    """A row with its numbers: those of each round; if there are none, the reason."""

    row: Row
    values: tuple[float, ...]
    reason: str = ""

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

# What it is, a scenario and a label, those it is divided by, and what it is to reach.
_ONE_CORE: tuple[tuple[str, str, str, float | None], ...] = (
    ("process runs, nothing cached: compiled RDataFrame / portico", "RDataFrame, compiled:warm", f"{_OURS}:warm", None),
    ("process runs, nothing cached: RDataFrame in Python / portico, RDataFrame", "RDataFrame, Python:warm",
     f"{_FREE}:warm", None),
    ("new process: C++ by hand / portico", "C++ by hand:first", f"{_OURS}:first", None),
    ("new process: coffea / portico", "coffea:first", f"{_OURS}:first", 3.0),
    ("new process: uproot and numba / portico", "uproot and numba:first", f"{_OURS}:first", None),
    ("new process: RDataFrame in Python / portico", "RDataFrame, Python:first", f"{_OURS}:first", None),
    ("new process: DuckDB on Parquet / portico", "DuckDB:first", f"{_OURS}:first", 1.0),
    ("new process: Polars on Parquet / portico", "Polars:first", f"{_OURS}:first", None),
    ("process runs: DuckDB on Parquet / portico, cached", "DuckDB:warm", f"{_OURS}:cached", 5.0),
    ("process runs: Polars on Parquet / portico, cached", "Polars:warm", f"{_OURS}:cached", None),
)  # fmt: skip
_TWO_WORKERS: tuple[tuple[str, str, str, float | None], ...] = (
    ("new Dask workers: distributed RDataFrame / portico", f"{_THEIRS}:first", f"{_DASK}:first", 4.0),
    ("new Dask workers: distributed RDataFrame / portico, RDataFrame", f"{_THEIRS}:first", f"{_FREE_ON_DASK}:first",
     None),
    ("warm, nothing cached: distributed RDataFrame / portico", f"{_THEIRS}:warm", f"{_DASK}:warm", 2.5),
    ("warm: distributed RDataFrame, same cut / portico, changed cut", f"{_THEIRS}:warm", f"{_DASK}:cut", 30.0),
    ("warm: the same, both with the changed cut", f"{_THEIRS}:cut", f"{_DASK}:cut", None),
    ("warm: distributed RDataFrame, same bins / portico, changed bins", f"{_THEIRS}:warm", f"{_DASK}:binning", 30.0),
    ("warm: distributed RDataFrame, same rule / portico, changed rule", f"{_THEIRS}:warm", f"{_DASK}:rule", 30.0),
    ("warm: distributed RDataFrame / portico, RDataFrame, cached", f"{_THEIRS}:warm", f"{_FREE_ON_DASK}:cached", 4.0),
    ("processes run, nothing cached: 1 worker / 2 workers", f"{_OURS}:warm", f"{_OURS}, 2 workers:warm", 1.9),
    ("processes run, cached: 1 worker / 2 workers", f"{_OURS}:cached", f"{_OURS}, 2 workers:cached", 1.9),
)  # fmt: skip


def rows(kinds: Iterable[str], formats: Iterable[str]) -> list[Row]:
    """Return the rows of some kinds of events, over ROOT files of some formats."""
    found: list[Row] = []
    if "wztree" in (kinds := tuple(kinds)):
        for layout in formats:
            found += _wztree(layout)
        after = "first result of hnl select, after import ROOT (s)"
        found.append(Row(after, ("hnl select, RNTuple", "first"), None, "wall", 1.5, at_most=True))
    return found


def _wztree(layout: str) -> list[Row]:
    by, target = ("TTreeReader", 1.0) if layout == "TTree" else ("RNTuple bulk", 0.95)
    by_hand = (f"process runs, nothing cached: {by} by hand / portico", "C++ by hand:warm", f"{_OURS}:warm", target)
    found = []
    for measure, table in (("CPU", (by_hand, *_ONE_CORE)), ("wall", _TWO_WORKERS)):
        for text, above, below, to_reach in table:
            found.append(Row(f"{layout}, {text}", _side(above, layout), _side(below, layout), measure, to_reach))
    memory, side = f"{layout}, memory of a worker, nothing cached (MB)", _side(f"{_DASK}:first", layout)
    return [*found, Row(memory, side, None, "memory", 700.0, at_most=True)]


def _side(text: str, layout: str) -> Side:
    name, _, label = text.partition(":")
    return f"{name}, {'Parquet' if name in {'DuckDB', 'Polars'} else layout}", label


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
    attribute = {"CPU": "cpu", "wall": "wall", "memory": "memory"}[row.measure]
    per_round = [
        [statistics.median(getattr(cost, attribute) for cost in costs) for costs in found.measured[name][label]]
        for name, label in sides
    ]
    if len(per_round) == 1:
        return Filled(row, tuple(per_round[0]))
    return Filled(row, tuple(above / below for above, below in zip(*per_round, strict=True)))
