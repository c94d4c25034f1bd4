"""Models and counts as pyhf (HistFactory) workspaces: JSON of the schema 1.0.0.

What the format cannot express is written to first order around the background-only fit, see
`portico.stats.exports.binned`: a floating parameter of a shape becomes a sample whose data are the derivative of the
contents, times a free factor.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from portico.files.atomic import write_atomic
from portico.stats.counting import Count, histfactory_channels
from portico.stats.exports.binned import BinnedModel, Process, binned
from portico.stats.histfactory import ASIMOV
from portico.stats.model import Model

__all__ = ["pyhf_counting", "pyhf_workspace", "write_json"]

_VERSION: Final = "1.0.0"


def pyhf_workspace(model: Model, *, penalty: float = 1.0) -> dict[str, Any]:
    """Return a model as a pyhf workspace.

    Factors of nuisance parameters are ``normsys``, their changes of shapes ``histosys``, strengths ``normfactor``; a
    floating parameter of a shape is a sample ``<component>_<parameter>`` with a ``normfactor`` between -N and N, exact
    to first order. Of competing shapes the choice of the fit without signal is written. Strengths other than the
    parameter of interest are relative to their values in that fit. The name of the measurement says whether the data
    are observed, or the Asimov data of that fit: while data are blinded or missing.

    Parameters
    ----------
    model : Model
    penalty : float
        See `portico.stats.fit.Fitter`.

    Raises
    ------
    FitError
        If the fit without signal does not converge.
    InputError
        If the model has no likelihood in bins, see `portico.stats.exports.binned.binned`.
    """
    picture = binned(model, penalty=penalty)
    return {
        "channels": [
            {
                "name": channel.name,
                "samples": [sample for process in channel.processes for sample in _samples(process)],
            }
            for channel in picture.channels
        ],
        "observations": [
            {"name": channel.name, "data": _numbers(channel.data)} for channel in picture.channels
        ],
        "measurements": [
            {
                "name": (ASIMOV if picture.asimov else "observed data; nominal: ") + picture.source,
                "config": {"poi": picture.poi, "parameters": _parameters(picture)},
            }
        ],
        "version": _VERSION,
    }  # fmt: skip


def _samples(process: Process) -> list[dict[str, Any]]:
    common: list[dict[str, Any]] = []
    if process.strength:
        common.append({"name": process.strength, "type": "normfactor", "data": None})
    common += [
        {"name": name, "type": "normsys", "data": {"hi": float(up), "lo": float(down)}}
        for name, (down, up) in process.effects.items()
    ]
    changes = [
        {"name": name, "type": "histosys", "data": {"hi_data": _numbers(up), "lo_data": _numbers(down)}}
        for name, (down, up) in process.changes.items()
    ]
    nominal = {"name": process.name, "data": _numbers(process.nominal), "modifiers": [*common, *changes]}
    linear = [
        {
            "name": f"{process.name}_{name}",
            "data": _numbers(slope),
            "modifiers": [{"name": name, "type": "normfactor", "data": None}, *common],
        }
        for name, slope in process.slopes.items()
    ]
    return [nominal, *linear]


def _parameters(picture: BinnedModel) -> list[dict[str, Any]]:
    strengths = [
        {"name": name, "inits": [float(p.start)], "bounds": [[float(p.low), float(p.high)]]}
        for name, p in picture.strengths.items()
    ]
    slopes = [
        {"name": name, "inits": [0.0], "bounds": [[-float(slope.bound), float(slope.bound)]]}
        for name, slope in picture.slopes.items()
    ]
    return [*strengths, *slopes]


def pyhf_counting(counts: Sequence[Count], *, poi: str = "mu") -> dict[str, Any]:
    """Return counts as a pyhf workspace: a bin each; uncertainties are ``shapesys``, the common one ``normsys``.

    Blinded counts have the expected background as data, which the name of the measurement says.

    Parameters
    ----------
    counts : sequence of Count
    poi : str
        Name of the signal strength.

    Raises
    ------
    ValueError
        If there are no counts, or two have one name.
    """
    check_counts(counts)
    blinded = any(count.observed is None for count in counts)
    return {
        "channels": histfactory_channels(counts, poi=poi),
        "observations": [
            {"name": count.name, "data": [float(count.background if blinded else count.observed or 0)]}
            for count in counts
        ],
        "measurements": [
            {
                "name": f"{ASIMOV}background" if blinded else "observed data",
                "config": {"poi": poi, "parameters": [{"name": poi, "inits": [1.0], "bounds": [[0.0, 1000.0]]}]},
            }
        ],
        "version": _VERSION,
    }


def check_counts(counts: Sequence[Count]) -> None:
    """Check that there are counts, with different names.

    Raises
    ------
    ValueError
        If there are none, or two have one name.
    """
    if not counts:
        raise ValueError("there are no counts to export")
    if len({count.name for count in counts}) < len(counts):
        raise ValueError(f"two counts have the same name: {', '.join(count.name for count in counts)}")


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a workspace; the same content gives the same bytes.

    Raises
    ------
    SpaceError
        If the disk is full.
    """
    with write_atomic(path) as aside:
        aside.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _numbers(values: Any) -> list[float]:
    return [float(value) for value in np.asarray(values, dtype=np.float64)]
