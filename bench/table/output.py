"""The table in the terminal and as JSON, with the conditions under which it was measured."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from bench.table.inputs import Input
from bench.table.rounds import Found
from bench.table.rows import INSTALL, Filled
from bench.table.scenarios import FOUR_LEPTONS, QUERIES
from portico.root import version as root_version

__all__ = ["LABELS", "as_json", "conditions", "grouped", "number", "print_table"]

LABELS = ("first", "warm", "fill", "cached", "cut", "binning", "rule")
COSTS = ("wall", "cpu", "work", "memory")
PACKAGES = ("portico-hep", "root", "coffea", "uproot", "awkward", "numba", "duckdb", "polars", "dask", "numpy")


def conditions(inputs: Mapping[tuple[str, str], Input], rounds: int) -> dict[str, Any]:
    """Return date, commit, machine, versions, rounds and sizes of the input."""
    versions = {}
    for package in PACKAGES:
        try:
            found = metadata.version(package)
            versions[package] = root_version() if package == "root" else found  # the wheel has a number of its own
        except metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.now(UTC).date().isoformat(), "commit": _commit(), "processor": _processor(),
        "cores": psutil.cpu_count(), "load": psutil.getloadavg()[0], "python": platform.python_version(),
        "versions": versions, "rounds": rounds,
        "input": {f"{kind}, {layout}": {"events": given.events, "files": len(given.files), "MB": round(given.megabytes)}
                  for (kind, layout), given in inputs.items() if given.events},
    }  # fmt: skip


def _commit() -> str:
    asked = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False,
                           cwd=Path(__file__).parent)  # fmt: skip
    return asked.stdout.strip()


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def grouped(table: Sequence[Filled]) -> dict[tuple[str, str], dict[str, Filled]]:
    """Return the rows by what they are and what they measure, and by format."""
    groups: dict[tuple[str, str], dict[str, Filled]] = {}
    for one in table:
        groups.setdefault((one.row.text, one.row.measure), {})[one.row.layout] = one
    return groups


def number(value: float) -> str:
    """Return a number with three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def as_json(table: Sequence[Filled], found: Found, about: Mapping[str, Any]) -> str:
    """Return all that was measured."""
    measured = {
        name: {label: [[{of: getattr(cost, of) for of in COSTS} for cost in costs] for costs in rounds]
               for label, rounds in labels.items()}
        for name, labels in found.measured.items()
    }  # fmt: skip
    lines = [
        {"text": one.row.text, "format": one.row.layout, "measure": one.row.measure, "values": one.values,
         "loops": one.loops, "to reach": one.row.to_reach, "reached": one.reached, "reason": one.reason}
        for one in table
    ]  # fmt: skip
    content = {
        **about, "rows": lines, "measured": measured, "not installed": found.missing, "failed": found.failed,
        "compared": found.compared, "differences": found.differences,
    }  # fmt: skip
    return json.dumps(content, indent=1)


def print_table(table: Sequence[Filled], found: Found, about: Mapping[str, Any], console: Console) -> None:
    """Print the seconds and the table that is made of them, and where answers differ."""
    shown = {"seconds of CPU / by the clock": LABELS}
    states = {"warm": "process runs, nothing cached", "cached": "process runs, cached"}
    shown |= {
        f"ADL, {text}": tuple(f"{query} {label}" for query in (*QUERIES, FOUR_LEPTONS))
        for label, text in states.items()
    }
    for head, labels in shown.items():
        there = [label for label in labels if any(label in measured for measured in found.measured.values())]
        if there:
            console.print(_seconds(found, there, head), "")
    console.print(_ratios(table))
    for name, packages in found.missing.items():
        console.print(f"{name}: not installed: {' '.join(packages)}; {INSTALL}", markup=False)
    for name, reason in found.failed.items():
        console.print(f"{name}: failed: {reason}", markup=False)
    for sentence in found.differences:
        console.print(f"DIFFERENCE {sentence}", markup=False)
    if not found.differences:
        console.print(f"{found.compared} answers were compared with those of another program: all equal")
    sizes = "; ".join(f"{name}: {of['events']:,} events, {of['MB']:,} MB" for name, of in about["input"].items())
    console.print(f"{sizes}\n{about['date']}, {about['commit']}, {about['processor']}, {about['cores']} cores, load "
                  f"{about['load']:.1f}, {about['rounds']} rounds", markup=False)  # fmt: skip


def _ratios(table: Sequence[Filled]) -> Table:
    """Return the table of ratios, with a column for each format."""
    layouts = list(dict.fromkeys(one.row.layout for one in table))
    printed = Table("ratio, or value; least - largest \\[loops alone]", "of", *layouts, box=None, pad_edge=False)
    for (text, measure), of in grouped(table).items():
        printed.add_row(text, measure, *(_cell(of[layout]) if layout in of else "" for layout in layouts))
    return printed


def _cell(one: Filled) -> str:
    if not one.values:
        return one.reason
    words = f"{number(one.median)}; {number(min(one.values))} - {number(max(one.values))}"
    if one.loops is not None:
        words += rf" \[{number(one.loops)}]"
    if one.reached is not None:
        words += f", {one.row.to_reach} {'reached' if one.reached else 'MISSED'}"
    return words


def _seconds(found: Found, labels: Sequence[str], head: str) -> Table:
    """Return the table of CPU and wall seconds, and of the memory of a process."""
    table = Table(head, *labels, "MB", box=None, pad_edge=False)
    for name, measured in found.measured.items():
        cells = []
        for label in labels:
            costs = [cost for costs in measured.get(label, []) for cost in costs]
            medians = [statistics.median(getattr(cost, of) for cost in costs) for of in ("cpu", "wall") if costs]
            cells.append(" / ".join(f"{median:.2f}" for median in medians))
        peaks = [cost.memory for rounds in measured.values() for costs in rounds for cost in costs]
        if any(cells):
            table.add_row(name, *cells, f"{max(peaks):.0f}")
    return table
