"""Masses of the chosen candidates of data and simulated background, per category, from the trees of the selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from portico.errors import InputError
from portico.selection.model import INCLUSIVE
from portico.stats.shapes import Array

if TYPE_CHECKING:
    from portico import Sample

__all__ = ["Spectrum", "categories_of", "read_spectra"]

Spectrum = tuple[Array, Array]
"""Masses in GeV and weights."""

_CUTFLOW = "cutflow_"


def categories_of(results: Any) -> list[str]:
    """Return the names of the selections in the order of the tree's column ``selection``, the inclusive one first."""
    return [name.removeprefix(_CUTFLOW) for name in results if name.startswith(_CUTFLOW)]


def read_spectra(results: Mapping[str, Any], samples: Sequence[Sample]) -> dict[str, Spectrum]:
    """Read the N mass of every chosen candidate.

    Parameters
    ----------
    results : mapping of str to Results
        Of `hnl.select.select`, by sample: the tree ``candidates``.
    samples : sequence of Sample
        They are added.

    Returns
    -------
    dict of str to (array, array)
        By category, without the inclusive selection: masses in GeV, in the order of the files, and weights.

    Raises
    ------
    InputError
        If a tree lacks a column, or an event of data has another weight than 1: it would be no count.
    """
    import awkward as ak
    import uproot

    names = categories_of(results[samples[0].name])
    parts: dict[str, list[Spectrum]] = {name: [] for name in names if name != INCLUSIVE}
    for sample in samples:
        for path in results[sample.name]["candidates"]:
            with uproot.open({path: None}) as file:
                tree = file["candidates"]
                try:
                    columns = [tree[name].array() for name in ("C_Hnl_mass", "selection", "weight")]
                except KeyError as error:
                    raise InputError(f"{path}: no column {error}; selection.yaml must write it") from None
            mass, selection, weight = (ak.to_numpy(ak.flatten(column, axis=None)) for column in columns)
            if sample.kind == "data" and not np.all(weight == 1):
                raise InputError(f"{path}: an event of data has a weight other than 1; limits need counts")
            for number, name in enumerate(names):
                if name != INCLUSIVE:
                    chosen = selection == number
                    parts[name].append((mass[chosen].astype(np.float64), weight[chosen].astype(np.float64)))
    empty = (np.empty(0), np.empty(0))
    return {
        name: (np.concatenate([m for m, _ in found or [empty]]), np.concatenate([w for _, w in found or [empty]]))
        for name, found in parts.items()
    }
