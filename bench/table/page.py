"""The table as a part of docs/performance.md, and its picture, from the JSON of a run."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from bench.table.output import LABELS, number
from bench.table.scenarios import FOUR_LEPTONS, QUERIES

__all__ = ["draw", "update"]

_TABLE = re.compile(r"(<!-- begin of make bench -->\n).*?(<!-- end of make bench -->\n)", re.DOTALL)
_PICTURE = "![Ratios of times with what they are to reach, by row and by query](images/performance.png){width=600px}"
_COLOURS = {"TTree": "tab:blue", "RNTuple": "tab:orange"}


def update(page: Path, picture: Path, content: Mapping[str, Any]) -> None:
    """Put the table of a run into a page, between its two comments, and its picture into a file.

    Parameters
    ----------
    page, picture : Path
        The files.
    content : mapping
        The JSON of the run.

    Raises
    ------
    ValueError
        If the page has no place for it.
    """
    text, made = page.read_text(encoding="utf-8"), markdown(content)
    if not _TABLE.search(text):
        raise ValueError(f"{page}: no '<!-- begin of make bench -->' and '<!-- end of make bench -->'")
    page.write_text(_TABLE.sub(lambda found: f"{found[1]}{made}{found[2]}", text), encoding="utf-8")
    draw(content, picture)


def markdown(content: Mapping[str, Any]) -> str:
    """Return the table and the conditions of a run."""
    layouts = list(dict.fromkeys(row["format"] for row in content["rows"]))
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    equal = "all answers equal" if not content["differences"] else f"{len(content['differences'])} answers differ"
    conditions = (
        f"{content['date']}, commit {content['commit']}; {content['processor']}, {content['cores']} cores, load "
        f"{content['load']:.1f} at the beginning; {content['rounds']} rounds. "
        f"{content['compared']} comparisons, {equal}."
    )
    head = f"| ratio, or value | of | to reach | {' | '.join(layouts)} |"
    lines = [conditions, "", *_sizes(content["input"]), "", f"Python {content['python']}, {versions}.", ""]
    lines += [_PICTURE, "", head, "|---" * (3 + len(layouts)) + "|"]
    for (text, measure), of in _grouped(content["rows"]).items():
        targets = list(dict.fromkeys(row["to reach"] for row in of.values()))
        cells = [_cell(of[layout]) if layout in of else "" for layout in layouts]
        lines.append(f"| {text} | {measure} | {' / '.join(targets)} | {' | '.join(cells)} |")
    tables = {"seconds": LABELS}
    for label, text in {"warm": "nothing cached", "cached": "cached"}.items():
        tables[f"ADL, {text}: seconds"] = tuple(f"{query} {label}" for query in (*QUERIES, FOUR_LEPTONS))
    for head, labels in tables.items():
        lines += ["", *_seconds(content["measured"], head, labels)]
    return "\n".join(lines) + "\n"


def _sizes(inputs: Mapping[str, Any]) -> list[str]:
    """Return the table of events and sizes."""
    kinds, layouts = (list(dict.fromkeys(name.split(", ")[part] for name in inputs)) for part in (0, 1))
    lines = [f"| events | number | files | {', '.join(layouts)} (MB) |", "|---|---|---|---|"]
    for kind in kinds:
        of = {layout: inputs[f"{kind}, {layout}"] for layout in layouts if f"{kind}, {layout}" in inputs}
        one = next(iter(of.values()))
        sizes = ", ".join(f"{of[layout]['MB']:,}" if layout in of else "none" for layout in layouts)
        lines.append(f"| {kind} | {one['events']:,} | {one['files']} | {sizes} |")
    return lines


def _seconds(measured: Mapping[str, Any], head: str, labels: Sequence[str]) -> list[str]:
    """Return the table of the medians of these labels."""
    found = [label for label in labels if any(label in of for of in measured.values())]
    lines = [f"| {head} | {' | '.join(label.partition(' ')[0] for label in found)} |", "|---" * (1 + len(found)) + "|"]
    for name, of in measured.items():
        cells = []
        for label in found:
            costs = [cost for rounds in of.get(label, []) for cost in rounds]
            cells.append(_both(*(statistics.median(cost[of] for cost in costs) for of in ("cpu", "wall") if costs)))
        if any(cells):
            lines.append(f"| {name.replace(', ADL', '')} | {' | '.join(cells)} |")
    return lines if found else []


def _both(cpu: float | None = None, wall: float = 0.0) -> str:
    """Return CPU seconds, and those of the clock where they are others."""
    if cpu is None:
        return ""
    return f"{cpu:.2f}" if abs(wall - cpu) <= max(0.02, 0.05 * cpu) else f"{cpu:.2f} / {wall:.2f}"


def _grouped(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, Mapping[str, Any]]]:
    groups: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["text"], row["measure"]), {})[row["format"]] = row
    return groups


def _cell(row: Mapping[str, Any]) -> str:
    if not row["values"]:
        return row["reason"]
    median = number(statistics.median(row["values"]))
    words = f"**{median}**" if row["reached"] else f"{median}, missed" if row["reached"] is False else median
    loops = "" if row["loops"] is None else f" [{number(row['loops'])}]"
    return f"{words} ({number(min(row['values']))} - {number(max(row['values']))}){loops}"


def draw(content: Mapping[str, Any], path: Path) -> None:
    """Draw the ratios that have something to reach: those of wztree, and beside them those of the ADL queries."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullFormatter
    from PIL import Image

    rows = [row for row in content["rows"] if row["values"] and row["to reach"].startswith(">=")]
    adl = [row for row in rows if row["text"].startswith("ADL")]
    others = _grouped([row for row in rows if row not in adl])
    high = 0.52 * len(others) + 0.7
    figure = Figure(figsize=(5.2, high + 3.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=[high, 3.0])
    for place, ((text, _), of) in enumerate(list(others.items())[::-1]):
        for shift, row in zip((0.04, -0.24), of.values(), strict=False):
            _bar(upper, place + shift, row)
        upper.text(0.01, place + 0.22, text, transform=upper.get_yaxis_transform(), fontsize=7, va="bottom")
    upper.set_ylim(-0.5, len(others) - 0.35)
    upper.set_yticks([])
    for row in adl:
        _point(lower, row)
    names = [query.upper() for query in QUERIES]
    lower.set_yticks(range(len(names)), names[::-1], fontsize=8)
    lower.set_title("ADL queries: compiled RDataFrame / portico", fontsize=8)
    for axes in (upper, lower):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.axvline(1.0, color="0.5", linewidth=0.6)
        axes.tick_params(labelsize=8)
        axes.set_xlabel("ratio of times; black: to reach", fontsize=8)
    key = [Line2D([], [], color=colour, linewidth=5, label=name) for name, colour in _COLOURS.items()]
    key += [Line2D([], [], color="0.3", marker="o", linestyle="", fillstyle=style, label=label)
            for style, label in (("none", "ADL, nothing cached"), ("full", "ADL, cached"))]  # fmt: skip
    figure.legend(handles=key, loc="outside lower center", ncols=4, fontsize=7, frameon=False)
    upper.set_title(f"{content['date']}, {content['commit']}, {content['cores']} cores", fontsize=8)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=160)
    Image.open(drawn).convert("RGB").quantize(64).save(path, optimize=True)  # a third of the size


def _bar(axes: Any, place: float, row: Mapping[str, Any]) -> None:
    values, target = row["values"], float(row["to reach"].partition(" ")[2])
    axes.barh(place, statistics.median(values), color=_COLOURS[row["format"]], height=0.26)
    axes.plot([min(values), max(values)], [place, place], color="0.25", linewidth=1)
    axes.plot([target] * 2, [place - 0.13, place + 0.13], color="black", linewidth=2)


def _point(axes: Any, row: Mapping[str, Any]) -> None:
    number = int(row["text"].partition("Q")[2].partition(",")[0])
    place = len(QUERIES) - number + (0.15 if row["format"] == "TTree" else -0.15)
    style = "none" if "nothing cached" in row["text"] else "full"
    values, target = row["values"], float(row["to reach"].partition(" ")[2])
    axes.plot(
        [statistics.median(values)], [place], color=_COLOURS[row["format"]], marker="o", fillstyle=style, markersize=5
    )
    axes.plot([min(values), max(values)], [place, place], color=_COLOURS[row["format"]], linewidth=1)
    axes.plot([target] * 2, [place - 0.15, place + 0.15], color="black", linewidth=1.5)
