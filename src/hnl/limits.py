"""Step 3: upper limits at every mass and coupling, and the region of the plane that they exclude.

A point is excluded where the upper limit on mu is below 1: mu multiplies the signal that this coupling predicts, with
its yield and with its lifetime. Between points the logarithm of the limit is taken as linear in the logarithm of |V|^2.
An excluded interval has two edges: below, too few N are produced and they decay too far away; above, they decay too
near. An edge is null where the interval goes on beyond what was tested.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hnl import theory
from hnl.exports.files import files_of
from hnl.figures.limits import figure_of_edges, figure_of_limits, figure_of_region, figures_of_nuisances
from hnl.hypotheses import Hypothesis, Point, named
from hnl.scan import read_hypotheses
from portico import summary
from portico.errors import ConfigError, PorticoError
from portico.stats.asymptotic import discovery
from portico.stats.limit import BANDS

if TYPE_CHECKING:
    from portico import Sample

__all__ = ["crossings", "limits"]

CONVENTION: Final = f"{theory.CONVENTION}; yield and lifetime both follow |V|^2"
Row = Mapping[str, float]


@summary
def limits(
    results: Mapping[str, Any],
    samples: Mapping[str, Sample],  # noqa: ARG001
    *,
    hypotheses: str,
    cl: float = 0.95,
) -> dict[str, Any]:
    """Draw limits and the excluded region from the points of the scan.

    Parameters
    ----------
    results : mapping of str to Results
        Of `hnl.scan.scan`, by sample: ``points``.
    samples : mapping of str to Sample
        Not used.
    hypotheses : str
        Path of ``hypotheses.json`` of `hnl.search.search`.
    cl : float
        Confidence level of the scan.

    Returns
    -------
    dict
        ``limits``: JSON, see the module; figures ``exclusion``, ``edges``, ``limits_<mass>`` and, where data are
        fitted, ``impacts_<mass>``. For each mass the model of the coupling with an expected limit next to 1, as files.

    Raises
    ------
    ConfigError
        If the scan has fewer entries than there are points.
    """
    tested = read_hypotheses(hypotheses)
    rows = _rows(results, sum(len(h.points) for h in tested))
    first, masses = 0, []
    beside: dict[str, Any] = {}
    for h in tested:
        own = rows[first : first + len(h.points)]
        first += len(h.points)
        masses.append(_of_mass(h, own))
        beside[f"limits_{h.tag}"] = figure_of_limits(masses[-1], cl)
        edge = _edge(h, own)
        if edge is not None:
            beside |= _at_edge(h, edge, masses[-1])
    return {
        "limits": {
            "cl": cl,
            "bands": list(BANDS),
            "convention": CONVENTION,
            "observed": any(not math.isnan(row["limit_observed"]) for row in rows),
            "failed": [_where(h, point) for h, point, row in _each(tested, rows) if row["failed"]],
            "masses": masses,
        },
        "exclusion": figure_of_region(masses, cl),
        "edges": figure_of_edges(masses, cl),
        **beside,
    }


def _at_edge(h: Hypothesis, edge: Point, told: dict[str, Any]) -> dict[str, Any]:
    """Return figures and files of one point, and tell of it. Their failure must not lose the limits, and is told."""
    told["edge"] = {"coupling_squared": edge.coupling_squared, "p_value": None}
    made: dict[str, Any] = {}
    try:
        told["edge"]["p_value"] = _p_value(h, edge)
        made |= figures_of_nuisances(h, edge)
        made |= files_of(h, edge)
    except PorticoError as error:
        told["notes"].append(f"p-value, impacts or files of the edge are missing: {error}")
    return made


def _rows(results: Mapping[str, Any], number: int) -> list[Row]:
    """Points in order."""
    columns: dict[str, Any] = {}
    for found in results.values():
        for name, values in found["points"].items():
            columns[name] = np.concatenate([columns.get(name, np.empty(0)), np.asarray(values)])
    order = np.argsort(columns["entry"])
    if len(order) != number:
        raise ConfigError(
            f"{number} points are to be scanned, {len(order)} were: the sample of the step 'scan' needs "
            f"entries: {number} or more"
        )
    return [{name: float(values[i]) for name, values in columns.items()} for i in order]


def _each(tested: Sequence[Hypothesis], rows: Sequence[Row]) -> list[tuple[Hypothesis, Point, Row]]:
    points = [(h, point) for h in tested for point in h.points]
    return [(h, point, row) for (h, point), row in zip(points, rows, strict=True)]


def _where(hypothesis: Hypothesis, point: Point) -> str:
    return f"m_N = {hypothesis.mass:g} GeV, |V|^2 = {point.coupling_squared:.3g}"


def _of_mass(h: Hypothesis, rows: Sequence[Row]) -> dict[str, Any]:
    points = [
        {
            "coupling_squared": point.coupling_squared,
            "ctau": point.ctau,
            "events": point.events,
            "effective_events": sum(found.effective_events for found in point.yields.values()),
            "signal_strength": _bands(row, "limit"),
            "cls": _bands(row, "cls"),
        }
        for point, row in zip(h.points, rows, strict=True)
    ]
    x = [math.log(point.coupling_squared) for point in h.points]
    excluded = {name: _excluded(x, [row[f"limit_{name}"] for row in rows]) for name, _ in named(BANDS)}
    observed = [row["limit_observed"] for row in rows]
    return {
        "mass": h.mass,
        "window": list(h.window),
        "method": h.method,
        "why": h.why,
        "points": points,
        "excluded": {
            "observed": None if all(math.isnan(value) for value in observed) else _excluded(x, observed),
            "expected": excluded,
        },
        "notes": list(h.notes),
    }


def _bands(row: Row, kind: str) -> dict[str, Any]:
    values = {name: _or_none(row[f"{kind}_{name}"]) for name in ("observed", *(n for n, _ in named(BANDS)))}
    expected = [values[name] for name, _ in named(BANDS)]
    return {"observed": values["observed"], "expected": None if None in expected else expected}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _excluded(x: Sequence[float], limit: Sequence[float]) -> list[list[float | None]]:
    """Intervals of |V|^2 in which the limit on mu is below 1."""
    y = [math.log(value) if value > 0 else None for value in limit]  # NaN is not above 0
    return [[None if end is None else math.exp(end) for end in interval] for interval in crossings(x, y)]


def _edge(h: Hypothesis, rows: Sequence[Row]) -> Point | None:
    """Return the coupling at the edge of what can be excluded: its expected limit on mu is nearest to 1."""
    known = [(abs(math.log(row["limit_median"])), i) for i, row in enumerate(rows) if row["limit_median"] > 0]
    return h.points[min(known)[1]] if known else None


def _p_value(h: Hypothesis, edge: Point) -> dict[str, float] | None:
    """Local p-value of no signal; None while blinded, and of counts."""
    if h.method == "counting" or h.model is None or not h.model.observed:
        return None
    p, significance = discovery(h.model_at(edge))
    return {"p": p, "significance": significance}


def crossings(x: Sequence[float], y: Sequence[float | None]) -> list[tuple[float | None, float | None]]:
    """Return the intervals of x in which y is below 0, by linear interpolation between neighbours.

    Parameters
    ----------
    x : sequence of float
        Rising.
    y : sequence of float or None
        None where nothing is known: there an interval ends as at the end of the sequence.

    Returns
    -------
    list of (float or None, float or None)
        Lower and upper edge of each; None where it goes on beyond what is known.
    """
    found: list[tuple[float | None, float | None]] = []
    begin: float | None = None
    inside = False
    for i, value in enumerate(y):
        below = value is not None and value < 0
        if below and not inside:
            begin, inside = _between(x, y, i - 1), True
        elif inside and not below:
            found.append((begin, _between(x, y, i - 1)))
            inside = False
    return [*found, (begin, None)] if inside else found


def _between(x: Sequence[float], y: Sequence[float | None], i: int) -> float | None:
    """Return where y is 0 between points i and i + 1."""
    if i < 0:
        return None
    low, high = y[i], y[i + 1]
    if low is None or high is None:
        return None
    return x[i] + (x[i + 1] - x[i]) * low / (low - high)
