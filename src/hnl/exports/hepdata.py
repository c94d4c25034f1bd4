"""A run of the search as a submission to HEPData: limits on mu at every point, and the couplings that are excluded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hnl.figures.limits import limits_of
from portico.errors import InputError
from portico.runfolder.load import Run
from portico.stats.exports.hepdata import Column, Table, exclusion_columns, hepdata_submission, limits_columns

__all__ = ["write_hepdata"]


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
    tables = [_points(found, qualifiers), _region(found, qualifiers)]
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


def _region(found: Mapping[str, Any], qualifiers: Mapping[str, str]) -> Table:
    masses = Column("$m_N$", [mass["mass"] for mass in found["masses"]], "GeV", independent=True)
    names = {"median": "Expected", "m1": "Expected -1 sigma", "p1": "Expected +1 sigma"}
    excluded = {
        label: [[tuple(i) for i in mass["excluded"]["expected"][name]] for mass in found["masses"]]
        for name, label in names.items()
    }
    if found["observed"]:
        excluded["Observed"] = [[tuple(i) for i in mass["excluded"]["observed"] or []] for mass in found["masses"]]
    columns = exclusion_columns(masses, excluded, "$|V_{\\mu N}|^2$", qualifiers=qualifiers)
    text = "Excluded couplings of each mass, from a lower to an upper edge; an edge beyond the scan is left out."
    return Table("Excluded couplings", text, "Figure exclusion", columns)
