"""The table in the terminal, the same as JSON, and the picture."""

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

__all__ = ["as_json", "draw", "print_table"]

LABELS = ("first", "warm", "fill", "cached", "cut", "binning", "rule")
PACKAGES = ("portico-hep", "root", "coffea", "uproot", "awkward", "numba", "duckdb", "polars", "dask", "numpy")


def conditions(inputs: Mapping[tuple[str, str], Input]) -> dict[str, Any]:
    """Return date, commit, machine, versions and sizes of the input."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.now(UTC).date().isoformat(), "commit": _commit(), "processor": _processor(),
        "cores": psutil.cpu_count(), "load": psutil.getloadavg()[0], "python": platform.python_version(),
        "versions": versions,
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


def as_json(table: Sequence[Filled], found: Found, about: Mapping[str, Any]) -> str:
    """Return all that was measured."""
    measured = {
        name: {label: [[{"wall": c.wall, "cpu": c.cpu, "memory": c.memory} for c in costs] for costs in rounds]
               for label, rounds in labels.items()}
        for name, labels in found.measured.items()
    }  # fmt: skip
    lines = [
        {"text": one.row.text, "measure": one.row.measure, "values": one.values, "target": one.row.target,
         "at most": one.row.at_most, "reached": one.reached, "reason": one.reason}
        for one in table
    ]  # fmt: skip
    content = {
        **about, "rows": lines, "measured": measured, "not installed": found.missing, "failed": found.failed,
        "compared": found.compared, "differences": found.differences,
    }  # fmt: skip
    return json.dumps(content, indent=1)


def print_table(table: Sequence[Filled], found: Found, about: Mapping[str, Any], console: Console) -> None:
    """Print the table, the seconds that it is made of, and where answers differ."""
    console.print(_seconds(found))
    ratios = Table("ratio or value", "of", "median", "least - largest", "to reach", "", box=None, pad_edge=False)
    for one in table:
        row = one.row
        target = "" if row.target is None else f"{'<=' if row.at_most else '>='} {row.target:g}"
        if one.values:
            said = "" if one.reached is None else "reached" if one.reached else "MISSED"
            spread = f"{_number(min(one.values))} - {_number(max(one.values))}"
            ratios.add_row(row.text, row.measure, _number(one.median), spread, target, said)
        else:
            ratios.add_row(row.text, row.measure, "-", one.reason, target, "")
    console.print(ratios)
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
                  f"{about['load']:.1f}", markup=False)  # fmt: skip


def _seconds(found: Found) -> Table:
    """Return the table of CPU and wall seconds, and of memory."""
    shown = [label for label in LABELS if any(label in labels for labels in found.measured.values())]
    table = Table("seconds of CPU / by the clock", *shown, "MB", box=None, pad_edge=False)
    for name, labels in found.measured.items():
        cells = []
        for label in shown:
            costs = [cost for costs in labels.get(label, []) for cost in costs]
            cpu, wall = (
                statistics.median(getattr(cost, of) for cost in costs) if costs else None for of in ("cpu", "wall")
            )
            cells.append(f"{cpu:.2f} / {wall:.2f}" if costs else "")
        peaks = [cost.memory for rounds in labels.values() for costs in rounds for cost in costs]
        table.add_row(name, *cells, f"{max(peaks):.0f}" if peaks else "")
    return table


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def draw(table: Sequence[Filled], about: Mapping[str, Any], path: Path) -> None:
    """Draw the ratios, with their spread and what they are to reach."""
    from matplotlib.figure import Figure

    drawn = [one for one in table if one.values and one.row.below is not None][::-1]
    figure = Figure(figsize=(10, 0.27 * len(drawn) + 1.2), layout="constrained")
    axes = figure.subplots()
    for place, one in enumerate(drawn):
        colour = {None: "0.6", True: "tab:green", False: "tab:red"}[one.reached]
        axes.barh(place, one.median, color=colour, height=0.7)
        axes.plot([min(one.values), max(one.values)], [place, place], color="black", linewidth=1)
        if one.row.target is not None:
            axes.plot([one.row.target] * 2, [place - 0.42, place + 0.42], color="black", linewidth=2)
    axes.set_yticks(range(len(drawn)), [one.row.text for one in drawn], fontsize=7)
    axes.set_xscale("log")
    axes.axvline(1.0, color="0.4", linewidth=0.5)
    axes.margins(y=0.01)
    axes.set_xlabel("ratio of times, above 1: portico needs less; vertical bars: to reach; lines: spread of the rounds")
    axes.set_title(f"{about['date']}, {about['commit']}, {about['cores']} cores of {about['processor']}", fontsize=8)
    figure.savefig(path, dpi=130)
