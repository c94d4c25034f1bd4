"""The comparison of two runs, or of a run with a file of another program, number by number."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

from portico.compare.bins import compare_bins
from portico.compare.events import Rule, compare_tables
from portico.compare.findings import Findings
from portico.compare.keys import KEYS
from portico.compare.mapping import Mapping, TreeEntry, load_mapping
from portico.compare.model import Comparison, Difference, Example, Overlay, Tally, ordered
from portico.compare.numbers import ATOL, RTOL, Tolerance
from portico.compare.sides import RunSide, open_side
from portico.compare.tables import Table, array_table, tree_table
from portico.compare.units import Pair, Side, Unit, units
from portico.compare.values import compare_cutflows, compare_graphs, compare_lists, compare_numbers, compare_values
from portico.errors import ConfigError, nearest
from portico.results.kinds import KINDS
from portico.results.product import Product, ProductKind
from portico.runfolder.folder import SUMMARY_FILE
from portico.runfolder.load import Run

__all__ = ["COMPARERS", "compare"]

_MOST_OVERLAYS = 1000


def compare(
    first: str | Path | Run,
    second: str | Path | Run,
    *,
    rtol: float = RTOL,
    atol: float = ATOL,
    steps: Collection[str] = (),
    samples: Collection[str] = (),
    mapping: str | Path | Mapping | None = None,
    draw_all: bool = False,
) -> Comparison:
    """Compare two runs, such as the original and its port, or a run with a ROOT file.

    Sample by sample and step by step, this compares the entries read, cutflows, every bin of every histogram and
    profile with its sum of squared weights, counts, sums, arrays and graphs, the rows of written trees matched by
    event, and the results of summary steps. The chunks of the two runs may differ.

    Parameters
    ----------
    first, second : str, Path or Run
        Run folders, earlier versions of them (``RUN@previous``, ``RUN@NUMBER``), or ROOT files.
    rtol, atol : float
        Tolerances for floating-point numbers, see `Tolerance`. Zero for both requires identical bits.
    steps, samples : collection of str
        Compare only these.
    mapping : str, Path or Mapping, optional
        Names of histograms, trees and columns on the other side, see ``docs/compare.md``.
    draw_all : bool
        Keep all histograms to be drawn, and not only those that differ.

    Returns
    -------
    Comparison
        ``.equal``, ``.verdict`` and every difference.

    Raises
    ------
    ConfigError
        If a tolerance, step, sample or the mapping is wrong, or if the two have nothing in common.
    RunFolderError
        If a folder is not a run folder.
    InputError
        If a file is missing, changed or damaged.
    SpaceError
        If the temporary files for trees in different orders do not fit on the disk.
    """
    tolerance = Tolerance(rtol, atol)
    chosen = mapping if isinstance(mapping, Mapping) else load_mapping(mapping) if mapping is not None else Mapping()
    with closing(open_side(first)) as a, closing(open_side(second)) as b:
        paths = [a.label, b.label]
        comparison = _compare_sides((a, b), tolerance, chosen, steps, samples, draw_all=draw_all)
    if not comparison.tallies:
        raise ConfigError(
            f"nothing to compare: neither {paths[0]} nor {paths[1]} has results of the chosen steps and samples; "
            "choose others, or run them first"
        )
    return comparison


def _compare_sides(
    sides: tuple[Side, Side],
    tolerance: Tolerance,
    mapping: Mapping,
    steps: Collection[str],
    samples: Collection[str],
    *,
    draw_all: bool,
) -> Comparison:
    tallies: dict[tuple[str, str], Tally] = {}
    differences: list[Difference] = []
    overlays: list[Overlay] = []
    same: list[Overlay] = []
    notes = [*sides[0].notes(), *sides[1].notes()]
    runs = all(isinstance(side, RunSide) for side in sides) and not mapping.names_products
    for unit in units(*sides, mapping, steps, samples, notes):
        findings = Findings(unit.step, unit.sample, tolerance, partial(_blind, sides, unit.sample))
        for overlay in _compare_unit(findings, unit, mapping, sides):
            kept = overlays if findings.touched(overlay.name) else same if draw_all else None
            if kept is not None and len(kept) < _MOST_OVERLAYS:
                kept.append(overlay)
        tallies[unit.step, unit.sample] = findings.tally
        differences += findings.differences()
        notes += [note for note in findings.notes if note not in notes]
    labels = sides[0].label, sides[1].label
    compared = steps if runs else {step for step, _ in tallies} - {""}
    gaps = [gap for side in sides for gap in (side.gaps(compared, samples) if runs or compared else ())]
    if tallies and not differences and not any(tally.products or tally.unread for tally in tallies.values()):
        gaps.append("no product was compared")
    notes = list(dict.fromkeys(notes))  # a run compared with itself has every note twice
    gaps = list(dict.fromkeys(gaps))
    drawn = (*overlays, *same)
    return Comparison(*labels, tolerance, tallies, ordered(differences), (*gaps, *notes), drawn, tuple(gaps))


def _blind(sides: tuple[Side, Side], sample: str, product: str) -> list[tuple[float, float]]:
    """Return the intervals in which a product is blinded on either side."""
    return list(dict.fromkeys(i for side in sides for i in side.blinding.of(product, [sample])))


def _compare_unit(findings: Findings, unit: Unit, mapping: Mapping, sides: tuple[Side, Side]) -> list[Overlay]:
    if unit.absent:
        findings.add("missing", "", unit.what, side=unit.absent)
        return []
    if unit.summary:
        if isinstance(sides[0], RunSide) and isinstance(sides[1], RunSide):
            _compare_summary(findings, unit, mapping, sides[0], sides[1])
        return []
    if unit.read is not None and unit.read[0] != unit.read[1]:
        side = "second" if unit.read[1] < unit.read[0] else "first"
        examples = [Example("entries read", *unit.read)]
        findings.add("missing", "", "entries", abs(unit.read[0] - unit.read[1]), examples, side=side)
    overlays = []
    for name, pair in unit.load().items():
        _compare_pair(findings, unit, mapping, name, pair)
        a, b = pair
        drawn = a is not None and b is not None and KINDS[a.kind].bins and KINDS[b.kind].bins
        if drawn and a is not None and b is not None:
            overlays.append(Overlay(unit.step, unit.sample, name, a, b, tuple(findings.blind(name, a))))
    return overlays


def _compare_pair(findings: Findings, unit: Unit, mapping: Mapping, name: str, pair: Pair) -> None:
    a, b = pair
    if a is None or b is None:
        there = a or b
        kind = there.kind if there is not None else "product"
        findings.add("missing", name, f"{kind}s", side="first" if a is None else "second")
    elif a.kind == b.kind or (KINDS[a.kind].is_table and KINDS[b.kind].is_table):  # arrays are trees in files
        COMPARERS[a.kind](findings, unit, mapping, name, a, b)
    else:
        findings.tally.products += 1
        findings.add("other", name, "kind", 1, [Example("", a.kind.value, b.kind.value)])


def _compare_rows(findings: Findings, unit: Unit, mapping: Mapping, name: str, a: Product, b: Product) -> None:
    entry = unit.rules.get(name)
    label = "/".join(part for part in (unit.step, unit.sample, name) if part)
    first = _table(label, a, mapping, entry if unit.swap else None)
    second = _table(label, b, mapping, None if unit.swap else entry)
    if entry is not None and entry.choose:
        first, second = (first, second.choosing(entry.choose)) if unit.swap else (first.choosing(entry.choose), second)
    if unit.shared:
        first, second = _shared(findings, label, first, second, entry)
    key = tuple(entry.key) if entry is not None and entry.key else mapping.key
    candidate = entry.candidate if entry is not None and entry.candidate else mapping.candidate
    compare_tables(findings, name, first, second, Rule(key, candidate))


def _table(label: str, product: Product, mapping: Mapping, entry: TreeEntry | None) -> Table:
    """Return a product as a table under our names; ``entry`` maps them to the other program's columns."""
    if not KINDS[product.kind].has_files:
        return array_table(label, product)
    table = tree_table(label, product.meta["tree"], product.items)
    if entry is None:
        return table
    if not entry.columns:
        return table.renamed(entry.key, table.names)
    usual = (name for known in KEYS for name in known)
    return table.renamed({**entry.key, **entry.columns}, [*usual, *mapping.key])


def _shared(
    findings: Findings, label: str, first: Table, second: Table, entry: TreeEntry | None
) -> tuple[Table, Table]:
    """Drop the columns that only one side has."""
    both = [name for name in first.names if name in second.names]
    wanted = [*entry.key, *entry.columns] if entry is not None else []
    for table in (first, second):
        for name in wanted:
            if name not in table.names:
                raise ConfigError(f"mapping: '{label}' has no column '{name}'; {nearest(name, table.names)}")
    more = len(first.names) + len(second.names) - 2 * len(both)
    if more and not wanted:
        findings.notes[f"{label}: {more:,} columns exist on one side only and were not compared"] = None
    return first.only(both), second.only(both)


def _compare_summary(findings: Findings, unit: Unit, mapping: Mapping, first: RunSide, second: RunSide) -> None:
    findings.tally.products += 1
    compare_values(findings, SUMMARY_FILE, first.summary(unit.step), second.summary(unit.step))
    tables = first.tables(unit.step), second.tables(unit.step)
    for name in dict.fromkeys([*tables[0], *tables[1]]):
        if name not in tables[0] or name not in tables[1]:
            findings.add("missing", f"{name}.root", "tables", side="first" if name in tables[1] else "second")
            continue
        both = [tree_table(f"{unit.step}/{name}.root", name, [{"path": str(side[name])}]) for side in tables]
        compare_tables(findings, f"{name}.root", both[0], both[1], Rule(mapping.key, mapping.candidate))


Comparer = Callable[[Findings, Unit, Mapping, str, Product, Product], None]


def _by_numbers(compare: Callable[[Findings, str, Product, Product], None]) -> Comparer:
    def comparer(findings: Findings, _unit: Unit, _mapping: Mapping, name: str, a: Product, b: Product) -> None:
        findings.tally.products += 1
        compare(findings, name, a, b)

    return comparer


COMPARERS: Final[dict[ProductKind, Comparer]] = {
    ProductKind.HISTOGRAM: _by_numbers(compare_bins),
    ProductKind.PROFILE: _by_numbers(compare_bins),
    ProductKind.COUNT: _by_numbers(compare_numbers),
    ProductKind.SUM: _by_numbers(compare_numbers),
    ProductKind.MINIMUM: _by_numbers(compare_numbers),
    ProductKind.MAXIMUM: _by_numbers(compare_numbers),
    ProductKind.MOMENTS: _by_numbers(compare_numbers),
    ProductKind.CUTFLOW: _by_numbers(compare_cutflows),
    ProductKind.GRAPH: _by_numbers(compare_graphs),
    ProductKind.ARRAY: _compare_rows,
    ProductKind.TREE: _compare_rows,
    ProductKind.LIST: _by_numbers(compare_lists),
}
"""How two products of each kind are compared."""
