"""A run of the search as a submission to HEPData: limits on mu at every point, and the couplings that are excluded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hnl.figures.limits import limits_of
from portico.errors import InputError
from portico.plot.plane import runs_of
from portico.runfolder.load import Run
from portico.stats.exports.hepdata import (
    Column,
    Interval,
    Table,
    exclusion_columns,
    hepdata_submission,
    limits_columns,
)
from portico.stats.limit import BANDS

__all__ = ["region", "write_hepdata"]


def write_hepdata(run: Run, folder: Path) -> Path:
    """Write the submission, and return its archive.

    Parameters
    ----------
    run : Run
        Of the whole search.
    folder : Path
        Is made.

    Raises
    ------
    InputError
        If the run has no limits yet.
    MissingExtra
        If hepdata_lib is not installed.
    """
    if run.states.get("limits") not in {"done", "partial"}:
        raise InputError(f"{run.path}: has no limits; run it to its end with: portico run hnl --run {run.path}")
    found = run.summary("limits")["limits"]
    qualifiers = {"CL": f"{found['cl']:.4g}", "Convention": str(found["convention"])}
    tables = [_points(found, qualifiers), region(found, qualifiers)]
    return hepdata_submission(folder, tables, abstract="Search for heavy neutral leptons in Ds -> mu N, N -> mu pi.")


def _points(found: Mapping[str, Any], qualifiers: Mapping[str, str]) -> Table:
    rows = [
        (mass["mass"], point, limit)
        for mass in found["masses"]
        for point, limit in zip(mass["points"], limits_of(mass), strict=True)
        if limit is not None
    ]
    columns = (
        Column("$m_N$", [mass for mass, _, _ in rows], "GeV", independent=True),
        Column("$|V_{\\mu N}|^2$", [point["coupling_squared"] for _, point, _ in rows], independent=True),
        Column("$c\\tau$", [point["ctau"] for _, point, _ in rows], "mm", independent=True),
        *limits_columns([limit for _, _, limit in rows], "upper limit on signal strength", qualifiers=qualifiers),
    )
    text = "Upper limits on the signal strength mu, which multiplies the signal that each coupling predicts."
    return Table("Limits on signal strength", text, "Figures limits_<mass>", columns)


def region(found: Mapping[str, Any], qualifiers: Mapping[str, str]) -> Table:
    """Return the table of excluded couplings.

    Parameters
    ----------
    found : mapping
        The product ``limits`` of `hnl.limits.limits`.
    qualifiers : mapping of str to str
        Of all columns.
    """
    masses = Column("$m_N$", [mass["mass"] for mass in found["masses"]], "GeV", independent=True)
    names = {0: ("median", "Expected"), -1: ("m1", "Expected -1 sigma"), 1: ("p1", "Expected +1 sigma")}
    excluded = {
        label: [_closed(mass, mass["excluded"]["expected"][name], sigma) for mass in found["masses"]]
        for sigma, (name, label) in names.items()
    }
    if found["observed"]:
        excluded["Observed"] = [_closed(mass, mass["excluded"]["observed"] or [], None) for mass in found["masses"]]
    columns = exclusion_columns(masses, excluded, "$|V_{\\mu N}|^2$", qualifiers=qualifiers)
    text = (
        "Excluded couplings of each mass, from a lower to an upper edge. Where an interval goes on beyond the scan, or "
        "to a coupling without a limit, its edge is the last coupling that was tested and is excluded."
    )
    return Table("Excluded couplings", text, "Figure exclusion", columns)


def _closed(mass: Mapping[str, Any], intervals: Sequence[Sequence[float | None]], sigma: int | None) -> list[Interval]:
    """Return intervals with both edges: one without any would look like a mass at which nothing is excluded."""
    couplings = [point["coupling_squared"] for point in mass["points"]]
    values = [
        None if limit is None else limit.observed if sigma is None else limit.expected[BANDS.index(sigma)]
        for limit in limits_of(mass)
    ]
    inside = np.array([value is not None and 0 < value < 1 for value in values], bool)
    return [
        (couplings[first] if low is None else low, couplings[last - 1] if high is None else high)
        for (low, high), (first, last) in zip(intervals, runs_of(inside), strict=True)
    ]
