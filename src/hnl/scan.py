"""Step 3: limits at every mass and coupling of the plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hnl.hypotheses import Hypothesis, evaluate
from portico import points
from portico.config import parse
from portico.errors import FitError

__all__ = ["scan"]


@points()
def scan(point: Mapping[str, Any], *, cl: float = 0.95) -> dict[str, Any]:
    """Find limits at one point of the plane.

    Parameters
    ----------
    point : mapping
        Of ``points.json`` of `hnl.search.search`: a hypothesis with one coupling.
    cl : float
        Confidence level.

    Returns
    -------
    dict
        ``limit`` on mu and ``cls`` of mu = 1 in their JSON form, None where there are none: no signal is expected, or
        fits did not converge, and ``failed`` is true.
    """
    hypothesis = parse(Hypothesis, dict(point), "the point")
    try:
        found = evaluate(hypothesis, hypothesis.points[0], cl)
    except FitError:
        return {"limit": None, "cls": None, "failed": True}
    limit, cls = (None, None) if found is None else (found[0].to_json(), found[1].to_json())
    return {"limit": limit, "cls": cls, "failed": False}
