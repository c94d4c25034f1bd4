"""Figures of limits and of the excluded region. Each returns a Figure and saves nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hnl.figures.published import published_limits
from portico.errors import MissingExtra
from portico.plot.impacts import figure_of_impacts
from portico.plot.limits import figure_of_bands
from portico.plot.plane import figure_of_plane
from portico.stats.impacts import pulls_and_impacts
from portico.stats.limit import BANDS, Limit

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.figure import Figure

    from hnl.hypotheses import Hypothesis, Point

__all__ = ["figure_of_edges", "figure_of_limits", "figure_of_region", "figures_of_nuisances"]

_COUPLING: Final = r"$|V_{\mu N}|^2$"
_STRENGTH: Final = r"upper limit on $\mu$"
_POINTS: Final = 60  # of |V|^2 in the plane
_MARGIN: Final = 0.05  # GeV on each side of the masses


def limits_of(mass: Mapping[str, Any]) -> list[Limit | None]:
    """Return the limits on mu at all points of a mass in the product ``limits``; None where there is none."""
    found = [point["signal_strength"] for point in mass["points"]]
    return [None if content is None else Limit.from_json(content) for content in found]


def figure_of_limits(mass: Mapping[str, Any], cl: float) -> Figure:
    """Limit on mu against the coupling, which moves the lifetime as well.

    Parameters
    ----------
    mass : mapping
        Of one mass in the product ``limits`` of `hnl.limits.limits`.
    cl : float
        Confidence level.
    """
    return figure_of_bands(
        [point["coupling_squared"] for point in mass["points"]], limits_of(mass),
        xlabel=_COUPLING, ylabel=_STRENGTH, logx=True, label=f"{cl:.0%} CL, {mass['method']}",
        title=f"$m_N$ = {mass['mass']:g} GeV", reference=1.0,
    )  # fmt: skip


def figure_of_edges(masses: Sequence[Mapping[str, Any]], cl: float) -> Figure:
    """Lower edge of the excluded couplings against the mass; where nothing is excluded there is a gap.

    Parameters
    ----------
    masses : sequence of mapping
        As in `figure_of_limits`.
    cl : float
        Confidence level.
    """
    return figure_of_bands(
        [mass["mass"] for mass in masses], [_lower_edges(mass) for mass in masses],
        xlabel="$m_N$ (GeV)", ylabel=f"lower edge of the excluded {_COUPLING}", label=f"{cl:.0%} CL",
    )  # fmt: skip


def _lower_edges(mass: Mapping[str, Any]) -> Limit | None:
    """Return the lowest excluded couplings, as the limits on |V|^2 that they are."""
    excluded = mass["excluded"]
    edges = [_lowest(intervals) for intervals in excluded["expected"].values()]
    known = tuple(edge for edge in edges if edge is not None)
    return Limit(mass["method"], _lowest(excluded["observed"] or []), known) if len(known) == len(edges) else None


def _lowest(intervals: Sequence[Sequence[float | None]]) -> float | None:
    return intervals[0][0] if intervals else None


def figure_of_region(masses: Sequence[Mapping[str, Any]], cl: float) -> Figure:
    """Draw the region of mass and coupling that is excluded, and published limits beside it.

    Parameters
    ----------
    masses : sequence of mapping
        As in `figure_of_limits`.
    cl : float
        Confidence level.
    """
    x = [mass["mass"] for mass in masses]
    known = [point["coupling_squared"] for mass in masses for point in mass["points"]]
    y = np.geomspace(min(known), max(known), _POINTS) if min(known) < max(known) else np.array([min(known)])
    observed, *expected = np.stack([_grid(mass, y) for mass in masses], axis=1)
    span = (min(x) - _MARGIN, max(x) + _MARGIN)
    notes = []
    try:
        published = published_limits(span)
    except MissingExtra as error:
        published, notes = [], [f"published limits are not drawn: {error}"]
    return figure_of_plane(
        x, y, np.stack(expected), None if np.isnan(observed).all() else observed,
        xlabel="$m_N$ (GeV)", ylabel=_COUPLING, label=f"{cl:.0%} CL, Majorana N, muon mixing only", published=published,
        xlim=span, notes=notes,
    )  # fmt: skip


def _grid(mass: Mapping[str, Any], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return log10 of the limits at the couplings y, from those tested: the observed one, and the bands."""
    if not mass["points"]:
        return np.full((1 + len(BANDS), len(y)), math.nan)
    at = [math.log10(point["coupling_squared"]) for point in mass["points"]]
    rows = [
        [math.nan] * (1 + len(BANDS)) if limit is None else [limit.observed or math.nan, *limit.expected]
        for limit in limits_of(mass)
    ]
    columns = np.log10(rows).T
    return np.stack([np.interp(np.log10(y), at, column, left=math.nan, right=math.nan) for column in columns])


def figures_of_nuisances(hypothesis: Hypothesis, point: Point) -> dict[str, Figure]:
    """Return pulls and impacts of the nuisance parameters where data are fitted, as ``impacts_<mass>``.

    Nothing is returned of counts, whose construction has no fit.

    Raises
    ------
    FitError
        If a fit does not converge.
    """
    if hypothesis.method == "counting":
        return {}
    rows = pulls_and_impacts(hypothesis.model_at(point))
    title = f"$m_N$ = {hypothesis.mass:g} GeV, {_COUPLING} = {point.coupling_squared:.2g}"
    return {f"impacts_{hypothesis.tag}": figure_of_impacts(rows, poi_label=r"$\mu$", title=title)}
