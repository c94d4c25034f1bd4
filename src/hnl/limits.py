"""Step 3: upper limits at every mass and coupling, and the region of the plane that they exclude.

A point is excluded where the upper limit on mu is below 1: mu multiplies the signal that this coupling predicts, with
its yield and with its lifetime. Between points the logarithm of the limit on mu is interpolated linearly in log |V|^2.
An excluded interval has two edges: below, too few N are produced and they decay too far away; above, they decay too
near. An edge is null where the interval extends beyond the tested couplings.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hnl import theory
from hnl.exports.files import files_of
from hnl.figures import labelled
from hnl.figures.limits import figure_of_edges, figure_of_limits, figure_of_region, figures_of_nuisances
from hnl.hypotheses import Hypothesis, Point, named, read_hypotheses
from portico import summary
from portico.errors import ConfigError, PorticoError
from portico.stats.asymptotic import discovery
from portico.stats.limit import BANDS, CLs, Limit

if TYPE_CHECKING:
    from portico import Sample

__all__ = ["crossings", "limits"]

CONVENTION: Final = f"{theory.CONVENTION}; yield and lifetime both follow |V|^2"


class Scanned(NamedTuple):
    """What the scan found at a point: neither limit nor CLs where fits failed or no signal is expected."""

    limit: Limit | None
    cls: CLs | None
    failed: bool

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Scanned:
        """Return what `hnl.scan.scan` found at a point."""
        limit, at_one = content["limit"], content["cls"]
        return cls(limit and Limit.from_json(limit), at_one and CLs.from_json(at_one), content["failed"])


@summary
def limits(
    results: Mapping[str, Any],
    samples: Mapping[str, Sample],  # noqa: ARG001
    *,
    hypotheses: str,
    cl: float = 0.95,
    label: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Draw limits and the excluded region from the points of the scan.

    Parameters
    ----------
    results, samples : mapping of str
        Of `hnl.scan.scan`; samples are not used.
    hypotheses : str
        Path of ``hypotheses.json`` of `hnl.search.search`.
    cl : float
        Confidence level of the scan.
    label : mapping, optional
        Above the figures: arguments of `portico.plot.label`.

    Returns
    -------
    dict
        ``limits``: JSON, see the module; figures ``exclusion``, ``edges``, ``limits_<mass>`` and, where data are
        fitted, ``impacts_<mass>``; a mass at which no coupling can be tested has none, and no
        exclusion alone. For each mass the model of the coupling with an expected limit next to 1, as files.

    Raises
    ------
    ConfigError
        If the scan has other points than the hypotheses, or these are not in order.
    """
    tested = read_hypotheses(hypotheses)
    scanned = [Scanned.from_json(value) for value in results["points"]["values"]]
    _check(tested, results["points"]["points"], hypotheses)
    first, masses, beside = 0, [], dict[str, Any]()
    for h in tested:
        own = scanned[first : first + len(h.points)]
        first += len(h.points)
        masses.append(_of_mass(h, own))
        if h.points:
            beside[f"limits_{h.tag}"] = figure_of_limits(masses[-1], cl)
        edge = _edge(h, own)
        if edge is not None:
            beside |= _at_edge(h, edge, masses[-1])
    products = {
        "limits": {
            "cl": cl,
            "bands": list(BANDS),
            "convention": CONVENTION,
            "observed": any(found.limit is not None and found.limit.observed is not None for found in scanned),
            "failed": [where for where, found in zip(_places(tested), scanned, strict=True) if found.failed],
            "masses": masses,
        },
        **({"exclusion": figure_of_region(masses, cl)} if scanned else {}),
        "edges": figure_of_edges(masses, cl),
        **beside,
    }
    return labelled(products, label)


def _check(tested: Sequence[Hypothesis], scanned: Sequence[Mapping[str, Any]], path: str) -> None:
    """Refuse hypotheses whose limits would be given to another mass or coupling.

    Raises
    ------
    ConfigError
        If there are none, if one has the name of another, if couplings do not rise, or if the scan has other points.
    """
    tags = [h.tag for h in tested]
    if not tested or len(set(tags)) < len(tags):
        raise ConfigError(f"{path}: each mass occurs once, and at least one: found {', '.join(tags) or 'none'}")
    for h in tested:
        couplings = [point.coupling_squared for point in h.points]
        if any(low >= high for low, high in itertools.pairwise(couplings)):
            raise ConfigError(f"{path}: the couplings of m_N = {h.mass:g} GeV do not rise; sort them, each once")
    wanted = [(h.mass, [point.model_dump(mode="json")]) for h in tested for point in h.points]
    if len(scanned) != len(wanted):
        raise ConfigError(f"the scan has {len(scanned)} of {len(wanted)} points; run the step 'scan' again")
    for where, expected, found in zip(_places(tested), wanted, scanned, strict=True):
        if expected != (found["mass"], found["points"]):
            raise ConfigError(f"the scan tested another point, or another signal, than {where} of {path}; run the step "
                              "'scan' again")  # fmt: skip


def _at_edge(h: Hypothesis, edge: Point, summary_of_mass: dict[str, Any]) -> dict[str, Any]:
    """Return figures and files of a point, and add its p-value to the summary. A failure loses no limit."""
    summary_of_mass["edge"] = {"coupling_squared": edge.coupling_squared, "p_value": None}
    made: dict[str, Any] = {}
    try:
        summary_of_mass["edge"]["p_value"] = _p_value(h, edge)
        made |= figures_of_nuisances(h, edge)
        made |= files_of(h, edge)
    except PorticoError as error:
        summary_of_mass["notes"].append(f"p-value, impacts or files of the edge are missing: {error}")
    return made


def _places(tested: Sequence[Hypothesis]) -> list[str]:
    return [f"m_N = {h.mass:g} GeV, |V|^2 = {point.coupling_squared:.3g}" for h in tested for point in h.points]


def _of_mass(h: Hypothesis, scanned: Sequence[Scanned]) -> dict[str, Any]:
    points = [
        {
            "coupling_squared": point.coupling_squared,
            "ctau": point.ctau,
            "events": point.events,
            "effective_events": sum(found.effective_events for found in point.yields.values()),
            "signal_strength": None if limit is None else limit.to_json(),
            "cls": None if cls is None else cls.to_json(),
        }
        for point, (limit, cls, _) in zip(h.points, scanned, strict=True)
    ]
    x = [math.log(point.coupling_squared) for point in h.points]
    limits = [found.limit for found in scanned]
    observed = [None if limit is None else limit.observed for limit in limits]
    bands = [[None if limit is None else limit.expected[i] for limit in limits] for i in range(len(BANDS))]
    return {
        "mass": h.mass,
        "window": list(h.window),
        "method": h.method,
        "why": h.why,
        "points": points,
        "excluded": {
            "observed": None if all(value is None for value in observed) else _excluded(x, observed),
            "expected": {name: _excluded(x, band) for name, band in named(bands)},
        },
        "notes": list(h.notes),
    }


def _excluded(x: Sequence[float], limits: Sequence[float | None]) -> list[list[float | None]]:
    """Return the intervals of |V|^2 in which the limit on mu is below 1."""
    y = [math.log(value) if value else None for value in limits]
    return [[None if end is None else math.exp(end) for end in interval] for interval in crossings(x, y)]


def _edge(h: Hypothesis, scanned: Sequence[Scanned]) -> Point | None:
    """Return the coupling at the edge of what can be excluded: its expected limit on mu is nearest to 1."""
    known = [(abs(math.log(limit.median)), i) for i, (limit, _, _) in enumerate(scanned) if limit is not None]
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
        None where there is no value: an interval ends there as at the end of the sequence.

    Returns
    -------
    list of (float or None, float or None)
        Lower and upper edge of each; None where it extends beyond the known values.
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
