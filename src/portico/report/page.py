"""Self-contained HTML pages, and the page of a report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from portico.files.atomic import write_atomic
from portico.report.content import read

__all__ = ["write_html", "write_report"]

_MOST_COLUMNS = 16
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
    page = read(run_path)
    return write_html("report.html.j2", path, page=page, phases=_PHASES, phase_seconds=_phase_seconds)


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
        return ", ".join(_number(item) for item in value)
    return str(value)


def _seconds(value: float) -> str:
    if value < 0.01:
        return "< 0.01 s" if value > 0 else "0 s"
    if value < 90:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _is_simple(value: object) -> bool:
    """Return whether a value fits in one cell: a number, text, or a list of these."""
    if isinstance(value, Mapping):
        return False
    if isinstance(value, (list, tuple)):
        return all(not isinstance(item, (Mapping, list, tuple)) for item in value)
    return True


def _table(value: object) -> tuple[list[str], list[tuple[str, list[object]]]] | None:
    """Return a value as columns and named rows if it consists of several mappings with mostly the same keys."""
    if not isinstance(value, (Mapping, list)) or len(value) < 2:
        return None
    named = value.items() if isinstance(value, Mapping) else [(str(i), row) for i, row in enumerate(value, 1)]
    if not all(isinstance(row, Mapping) and row for _, row in named):
        return None
    rows = {str(name): dict(_leaves(row)) for name, row in named}
    named_columns = dict.fromkeys(key for row in rows.values() for key in row)
    # If one row has None and others have a mapping, the None gets no column of its own.
    columns = [key for key in named_columns if not any(other.startswith(f"{key} ") for other in named_columns)]
    filled = sum(len(row) for row in rows.values())
    if len(columns) > _MOST_COLUMNS or filled < 0.6 * len(columns) * len(rows):
        return None
    if not all(_is_simple(item) for row in rows.values() for item in row.values()):
        return None
    return columns, [(name, [row.get(key) for key in columns]) for name, row in rows.items()]


def _leaves(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        name = f"{above} {key}".strip().replace("_", " ")
        if isinstance(item, Mapping) and item:
            yield from _leaves(item, name)
        else:
            yield name, item
