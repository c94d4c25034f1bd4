"""Scenarios: the questions that each contender is asked in a round, in a process of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FOUR_LEPTONS", "QUERIES", "Ask", "Scenario", "missing_packages", "scenarios"]

CUTS = ({"pt": 7.75}, {"pt": 8.0}, {"pt": 8.25})
BINNINGS = ({"bins": 128}, {"bins": 32}, {"bins": 256})
RULE = ({"rule": "prob"},)
QUERIES = tuple(f"q{number}" for number in range(1, 9))
"""The queries of the ADL benchmark; the labels of what they are asked begin with them."""
FOUR_LEPTONS = "h4l"
"""ROOT's four-lepton analysis, beside them."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A query, asked once for each of its arguments one after the other.

    Parameters
    ----------
    label : str
        What is measured: ``first`` query in the process, ``warm`` the same again, ``fill`` with the column cache
        empty, ``cached`` from the column cache, ``cut``, ``binning`` and ``rule`` with another one of these; empty to
        have the answer only, in the first round.
    method : str
        Of the contender.
    arguments : tuple of mapping
        Arguments that are a part of the query.
    options : mapping
        Arguments that are none.
    """

    label: str
    method: str
    arguments: tuple[Mapping[str, Any], ...] = ({},)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A contender with its input and its questions.

    Parameters
    ----------
    name : str
        As it is printed; the rows of the table use it.
    contender : str
        Module in ``bench.table.contenders``.
    kind, format : str
        Of the input.
    workers : int
        How many cores it may use.
    asks : tuple of Ask
        In order.
    """

    name: str
    contender: str
    kind: str
    format: str
    workers: int
    asks: tuple[Ask, ...]

    def __str__(self) -> str:
        return f"{self.name}, {self.format}"


def missing_packages(contender: str) -> list[str]:
    """Return the packages that a contender needs and that are not installed."""
    return [package for package in NEEDS.get(contender, ()) if importlib.util.find_spec(package) is None]


NEEDS = {
    "coffea": ("coffea",),
    "coffea_adl": ("coffea",),
    "distrdf": ("distributed",),
    "duckdb": ("duckdb", "pyarrow"),
    "duckdb_adl": ("duckdb", "pyarrow"),
    "numba_adl": ("numba",),
    "polars": ("polars", "pyarrow"),
    "polars_adl": ("polars", "pyarrow"),
    "portico_dask": ("distributed",),
    "uproot_numba": ("numba",),
}


def scenarios(kinds: Iterable[str], formats: Iterable[str]) -> list[Scenario]:
    """Return the scenarios of some kinds of events, over ROOT files of some formats."""
    found: list[Scenario] = []
    for kind in kinds:
        found += {"wztree": _wztree, "nano": _nano}[kind](tuple(formats))
    return found


def _wztree(formats: tuple[str, ...]) -> list[Scenario]:
    def scenario(name: str, contender: str, layout: str, asks: Iterable[Ask], workers: int = 1) -> Scenario:
        return Scenario(name, contender, "wztree", layout, workers, tuple(asks))

    found = []
    for layout in formats:
        found += [
            scenario(
                "C++ by hand", "compiled", layout, [*_twice("by_hand"), Ask("", "by_hand", CUTS + BINNINGS + RULE)]
            ),
            scenario("RDataFrame, compiled", "compiled", layout, _twice("rdataframe")),
            scenario("RDataFrame, Python", "rdataframe", layout, _twice("best")),
            scenario("coffea", "coffea", layout, _twice("best")),
            scenario("uproot and numba", "uproot_numba", layout, _twice("best")),
            scenario("portico, RDataFrame", "portico", layout, _portico("free", changes=False)),
            scenario("portico, declared", "portico", layout, _portico("declared", changes=False)),
            scenario("portico, declared, 2 workers", "portico", layout, _portico("declared", changes=False), workers=2),
            scenario("distributed RDataFrame", "distrdf", layout, _distributed(), workers=2),
            scenario("portico on Dask, RDataFrame", "portico_dask", layout, _portico("free", changes=False), workers=2),
            scenario("portico on Dask, declared", "portico_dask", layout, _portico("declared"), workers=2),
        ]
    found += [scenario(name, contender, "Parquet", _twice("best"))
              for name, contender in (("DuckDB", "duckdb"), ("Polars", "polars"))]  # fmt: skip
    return [*found, Scenario("hnl select", "hnl_select", "hnl", "RNTuple", 1, (Ask("first", "select"),))]


def _nano(formats: tuple[str, ...]) -> list[Scenario]:
    def scenario(name: str, contender: str, layout: str, asks: Iterable[Ask]) -> Scenario:
        return Scenario(f"{name}, ADL", contender, "nano", layout, 1, tuple(asks))

    found = []
    for layout in formats:
        found += [
            scenario("RDataFrame, compiled", "compiled", layout, _adl((*QUERIES, FOUR_LEPTONS))),
            scenario("portico", "portico", layout, _adl((*QUERIES, FOUR_LEPTONS), cache=True)),
        ]
    found.append(scenario("RDataFrame, Python", "rdataframe", "TTree", _adl((*QUERIES, FOUR_LEPTONS))))
    others = {"coffea": "coffea_adl", "uproot and numba": "numba_adl"}
    # NanoAOD's own format; coffea's schema needs the lengths of its arrays.
    found += [scenario(name, contender, "TTree", _adl(QUERIES)) for name, contender in others.items()]
    databases = {"DuckDB": "duckdb_adl", "Polars": "polars_adl"}
    return found + [scenario(name, contender, "Parquet", _adl(QUERIES)) for name, contender in databases.items()]


def _adl(queries: Iterable[str], *, cache: bool = False) -> list[Ask]:
    """Ask every query, after all are compiled."""
    asks = []
    for query in queries:
        asked = ({"query": query},)
        asks += [Ask(f"{query} first", "adl", asked), Ask(f"{query} warm", "adl", asked)]
        if cache:
            kept = {"cache": True}
            asks += [Ask(f"{query} fill", "adl", asked, kept), Ask(f"{query} cached", "adl", asked * 2, kept)]
    return asks


def _twice(method: str) -> list[Ask]:
    return [Ask("first", method), Ask("warm", method)]


def _distributed() -> list[Ask]:
    return [
        *_twice("best"),
        Ask("cut", "best", CUTS[:1]),
        Ask("binning", "best", BINNINGS[:1]),
        Ask("rule", "best", RULE),
    ]


def _portico(step: str, *, changes: bool = True) -> list[Ask]:
    """Ask in new sessions, which have nothing but their workers and the column cache; a change in the last one."""
    plain, cached = {"step": step}, {"step": step, "cache": True}
    asks = [Ask("first", "best", options=plain), Ask("warm", "best", options=plain)]
    asks += [Ask("fill", "best", options=cached), Ask("cached", "best", ({},) * 3, cached)]
    if changes:
        again = {**cached, "again": True}
        asks += [
            Ask("cut", "best", CUTS, again),
            Ask("binning", "best", BINNINGS, again),
            Ask("rule", "best", RULE, again),
        ]
    return asks
