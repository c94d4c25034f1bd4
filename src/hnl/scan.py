"""Step 3: limits at every mass and coupling, one point an entry: they run in parallel wherever steps do, and resume."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hnl.hypotheses import Hypothesis, evaluate, named
from portico import step
from portico.config import parse
from portico.errors import ConfigError, FitError
from portico.results.derived import Late
from portico.stats.limit import CLs, Limit

if TYPE_CHECKING:
    from portico import Sample

__all__ = ["COLUMNS", "read_hypotheses", "scan"]

#: Of the product ``points``: limits on mu and CLs of mu = 1, observed and expected; NaN where there is none.
COLUMNS: Final = (
    "entry", "failed",
    *(f"{kind}_{name}" for kind in ("limit", "cls") for name in ("observed", "m2", "m1", "median", "p1", "p2")),
)  # fmt: skip


@step()
def scan(frame: Any, sample: Sample, *, hypotheses: str, cl: float = 0.95) -> dict[str, Any]:  # noqa: ARG001
    """Find limits at points of the plane.

    Parameters
    ----------
    frame : RDataFrame node
        Of a generated sample with an entry for each point, the couplings of the first mass first. Entries beyond the
        last point are left out.
    sample : Sample
        Not used.
    hypotheses : str
        Path of ``hypotheses.json`` of `hnl.search.search`.
    cl : float
        Confidence level.

    Returns
    -------
    dict
        ``points``: arrays, see `COLUMNS`; ``failed`` is 1 where fits did not converge.
    """
    return {"points": Late(frame.AsNumpy(["entry"]), lambda columns: _points(columns["entry"], hypotheses, cl))}


def _points(entries: npt.NDArray[Any], hypotheses: str, cl: float) -> dict[str, npt.NDArray[np.float64]]:
    tested = [(h, point) for h in read_hypotheses(hypotheses) for point in h.points]
    rows: list[dict[str, float]] = []
    for entry in entries.astype(np.int64).tolist():
        if entry >= len(tested):
            continue
        try:
            found = evaluate(tested[entry][0], tested[entry][1], cl)
        except FitError:
            rows.append({"entry": entry, "failed": 1})
            continue
        rows.append({"entry": entry, "failed": 0, **_row(found)})
    return {name: np.array([row.get(name, math.nan) for row in rows], np.float64) for name in COLUMNS}


def _row(found: tuple[Limit, CLs] | None) -> dict[str, float]:
    """Columns of a point; none where no signal is expected."""
    row: dict[str, float] = {}
    if found is not None:
        for kind, observed, expected in (
            ("limit", found[0].observed, found[0].expected), ("cls", found[1].observed, found[1].expected),
        ):  # fmt: skip
            row |= {f"{kind}_{name}": number for name, number in named(expected)}
            if observed is not None:
                row[f"{kind}_observed"] = observed
    return row


def read_hypotheses(path: str) -> Sequence[Hypothesis]:
    """Read what `hnl.search.search` wrote.

    Raises
    ------
    ConfigError
        If it is something else.
    """
    return _read(path, Path(path).stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _read(path: str, _changed: int) -> Sequence[Hypothesis]:
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(content, list):
        raise ConfigError(f"{path}: no list of hypotheses; it is written by hnl.search")
    return [parse(Hypothesis, item, f"{path}: hypothesis {number}") for number, item in enumerate(content)]
