"""A model as HS3, the JSON format of the HEP Statistics Serialization Standard, as ROOT writes it.

It is the workspace of `portico.stats.exports.roofit` through RooJSONFactoryWSTool (HS3 0.2 by ROOT 6.40): one
likelihood over the channels, their data, and an analysis with parameter of interest, nuisance parameters and global
observables by their domains. Formulae are ``generic_function``, shapes are ``crystalball_doublesided_dist``,
``exponential_dist``, ``power_sum_dist``, ``bernstein_poly_dist``, ``histogram_dist`` and ``mixture_dist``.

Integrals of a shape over bins have no place in it: ROOT writes them and cannot read them. Where the density at the
centre of bins is not good enough, the model is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from portico.errors import InputError
from portico.stats.exports.chosen import Chosen, choose
from portico.stats.exports.roofit import write_aside
from portico.stats.exports.roofit_builder import coarse
from portico.stats.likelihood import Choice
from portico.stats.model import Model

__all__ = ["export_hs3"]


def export_hs3(
    model: Model, path: str | Path, *, choice: Choice | None = None, values: Mapping[str, float] | None = None
) -> Path:
    """Write a model as HS3 JSON atomically. ROOT runs in its own process.

    Parameters
    ----------
    model : Model
    path : str or Path
        Its folder is made, a file there is replaced.
    choice, values
        See `portico.stats.exports.roofit.roofit_workspace`.

    Raises
    ------
    InputError
        If bins are too wide: see above.
    InputError, FitError, PorticoError, SpaceError
        See `portico.stats.exports.roofit.write_workspace`.
    """
    path, chosen = Path(path), choose(model, choice=choice, values=values)
    if wide := sorted(coarse(chosen)):
        channel, component = wide[0]
        raise InputError(
            f"channel '{channel}': bins are too wide for the shape of '{component}' in HS3, which takes the density at "
            "their centres; use finer bins, unbinned values, or the export for pyhf"
        )
    return write_aside(write, chosen, path)


def write(workspace: Any, _: Chosen, path: str) -> bool:
    """Write a workspace as HS3; return whether that went well."""
    import ROOT

    return bool(ROOT.RooJSONFactoryWSTool(workspace).exportJSON(path))
