"""Self-contained HTML pages, and the page of a report."""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from portico.files.atomic import write_atomic
from portico.report.content import read

__all__ = ["write_html", "write_report"]

_MOST_COLUMNS = 16
_FEW_ROWS, _MANY_COLUMNS, _LONG = 6, 7, 100
_SCRIPTS = {"plotly": "plotly/plotly-cartesian.min.js", "script": "templates/report.js"}
_PHASES = (
    ("setup", "load ROOT and the step", "#b9ac70"),
    ("open", "open file", "#94a4a2"),
    ("build", "build graph", "#ffa90e"),
    ("jit", "compile", "#e76300"),
    ("loop", "event loop", "#3f90da"),
    ("serialise", "collect", "#832db6"),
)


def write_report(run_path: Path, output: Path | None = None) -> Path:
    """Write the report of a run as one self-contained HTML file.

    The same run folder gives the same file, byte for byte.

    Parameters
    ----------
    run_path : Path
        The run folder.
    output : Path, optional
        The file to write; ``report.html`` in the run folder by default.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    RunFolderError
        If ``run_path`` is not a run folder.
    SpaceError
        If the disk is full.
    """
    run_path = Path(run_path)
    path = Path(output) if output is not None else run_path / "report.html"
    page, scripts = read(run_path), {name: _read(file) for name, file in _SCRIPTS.items()}
    return write_html(
        "report.html.j2", path, page=page, phases=_PHASES, phase_seconds=_phase_seconds, **scripts,
        hashes=" ".join(f"'sha256-{_hash(script)}'" for script in scripts.values()),
        own_report=page.own_report and quote(os.path.relpath(page.own_report, path.parent)),
        plotted=any(step.plots for step in page.steps), flows=any(step.flows for step in page.steps),
    )  # fmt: skip


def _read(file: str) -> str:
    return (files("portico.report") / file).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def write_html(template: str, path: Path, **values: Any) -> Path:
    """Fill a template of this package and write the page.

    Raises
    ------
    SpaceError
        If the disk is full.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("portico.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, seconds=_seconds, table=_table)
    environment.filters.update(measured=_measured)
    environment.filters.update(memory=lambda x: f"{x / 1e6:,.0f} MB", percent=lambda x: f"{100 * x:.3g}%")
    environment.tests.update(simple=_is_simple)
    text = environment.get_template(template).render(**values)
    with write_atomic(path) as aside:
        aside.write_text(text, encoding="utf-8")
    return path


def _phase_seconds(phases: Any) -> dict[str, float]:
    """Return the seconds of each phase; ``build`` without ``jit``, which is shown separately."""
    seconds = {name: float(getattr(phases, name)) for name, *_ in _PHASES}
    seconds["build"] = max(0.0, seconds["build"] - seconds["jit"])
    return seconds


def _number(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "–"
        return f"{value:,.0f}" if abs(value) >= 1e3 and abs(value) < 1e12 else f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_number(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        if not value:
            return "none"
        return ", ".join(f"[{_number(item)}]" if isinstance(item, (list, tuple)) else _number(item) for item in value)
    return str(value)


def _measured(pair: tuple[float, float]) -> tuple[str, str]:
    """Return a value and its error, both as precise as two digits of the error."""
    value, error = pair
    if not (math.isfinite(value) and error > 0 and math.isfinite(error)):
        return _number(value), _number(error)
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return (f"{value:,.{decimals}f}", f"{error:,.{decimals}f}") if decimals < 6 else (f"{value:.2g}", f"{error:.2g}")


def _seconds(value: float) -> str:
    if value < 0.01:
        return "< 0.01 s" if value > 0 else "0 s"
    if value < 90:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _is_simple(value: object) -> bool:
    """Return whether a value fits in one cell: a number, text, or a list of these or of short lists of these."""
    if isinstance(value, Mapping):
        return False
    if isinstance(value, (list, tuple)):
        return all(_is_short(item) if isinstance(item, (list, tuple)) else _is_simple(item) for item in value)
    return True


def _is_long(value: object) -> bool:
    """Return whether a value is too much for a cell of a table."""
    return not _is_simple(value) or len(_number(value)) > _LONG


def _is_short(value: Sequence[object]) -> bool:
    return len(value) <= 4 and not any(isinstance(item, (Mapping, list, tuple)) for item in value)


class _Table(NamedTuple):
    """A value as columns and named rows; what fits into no cell is apart, by row."""

    columns: list[str]
    rows: list[tuple[str, list[object]]]
    rest: dict[str, dict[str, object]]


def _table(value: object) -> _Table | None:
    """Return a value as a table if it consists of several mappings with mostly the same keys."""
    if not isinstance(value, (Mapping, list)) or len(value) < 2:
        return None
    if not all(isinstance(row, Mapping) and row for row in (value.values() if isinstance(value, Mapping) else value)):
        return None
    named = value.items() if isinstance(value, Mapping) else _named(value)
    whole = {str(name): dict(_leaves(row)) for name, row in named}
    apart = {key for row in whole.values() for key, v in row.items() if _is_long(v)}
    rest = {name: {k: v for k, v in row.items() if k in apart} for name, row in whole.items()}
    rows = {name: {k: v for k, v in row.items() if k not in apart} for name, row in whole.items()}
    keys = dict.fromkeys(key for row in rows.values() for key in row)
    # If one row has None and others have a mapping, the None gets no column of its own.
    columns = [key for key in keys if not any(other.startswith(f"{key} ") for other in keys)]
    filled = sum(len(row) for row in rows.values())
    if not columns or len(columns) > _MOST_COLUMNS or filled < 0.6 * len(columns) * len(rows):
        return None
    cells = [(name, [row.get(key) for key in columns]) for name, row in rows.items()]
    if len(rows) <= _FEW_ROWS and len(columns) > _MANY_COLUMNS:
        turned = [(key, [row[i] for _, row in cells]) for i, key in enumerate(columns)]
        columns, cells = [name for name, _ in cells], turned
    return _Table(columns, cells, {name: left for name, left in rest.items() if left})


def _named(rows: Sequence[Mapping[str, object]]) -> list[tuple[str, Mapping[str, object]]]:
    """Name rows by their first value, or by their number if that is not of one row alone."""
    key = next(iter(rows[0]))
    names = [_number(row.get(key)) for row in rows]
    if len(set(names)) < len(rows) or not all(isinstance(row.get(key), (str, int, float)) for row in rows):
        return [(str(i), row) for i, row in enumerate(rows, 1)]
    return [(f"{key} {name}", {k: v for k, v in row.items() if k != key} or row)
            for name, row in zip(names, rows, strict=True)]  # fmt: skip


def _leaves(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        name = f"{above} {key}".strip().replace("_", " ")
        if isinstance(item, Mapping) and item:
            yield from _leaves(item, name)
        else:
            yield name, item
