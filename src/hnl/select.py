"""Step 2 of the analysis: preselection, categories, best candidate, weights, histograms, as ``selection.yaml`` says.

There are seven selections: the six categories, and ``inclusive``, all of them together. One candidate of an event is
chosen, among those that are in any category; the event is in the category of that candidate and in no other.

Layout of the tree ``candidates``: one entry per event with a choice by any rule. Every candidate column ``C_*``, and
``weight``, is a short vector with one element per selection that has the event; ``selection`` says which (0
inclusive, then the categories in order), ``chosen`` is the candidate's index in the input. So ``C_Hnl_mass[selection
== 3]`` is the N mass of the third category's candidate, or nothing. The layout is the same when another selection
file chooses a candidate per category. The alternatives are worse: seven trees are seven files per chunk; seven scalar
columns per variable are 400 columns, mostly empty; one entry per choice breaks the key (run, lumi, event) by which
runs are compared and weights are joined.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hnl.lifetime import with_lifetimes
from portico import step
from portico.selection import book, load_selection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portico import Sample

FOLDER: Final = Path(__file__).parent


@step(headers=["include/trigger.h", "include/lifetime.h"], files=["selection.yaml", "corrections"])
def select(
    frame: Any,
    sample: Sample,
    *,
    lifetimes: Sequence[float] = (),
    extrapolate: bool = False,
    cuts: Mapping[str, str] | None = None,
    switch: Mapping[str, bool] | None = None,
    histograms: Mapping[str, Mapping[str, Any]] | None = None,
    selection: str = "",
) -> dict[str, Any]:
    """Choose the best candidate of every event, and fill the histograms of its category and of all.

    Parameters
    ----------
    frame : RDataFrame node
        Over ``wztree`` ntuples.
    sample : Sample
        Generator matching is applied to the kind ``signal``, weights to simulation.
    lifetimes : sequence of float
        In mm: signal is weighted to each of them as well, see `hnl.lifetime`.
    extrapolate : bool
        Allow lifetimes above the longest that was generated.
    cuts : mapping of str to str, optional
        Cuts in place of those in the file, as `portico.selection.load_selection` takes them.
    switch : mapping of str to bool, optional
        Weights, shapes and rules to switch on or off, as `portico.selection.load_selection` takes them.
    histograms : mapping of str to mapping, optional
        Other binnings of the file's histograms and further ones, as `portico.selection.load_selection` takes them.
    selection : str
        Another selection file than ``selection.yaml``, or a folder with a ``selection.yaml``. Paths in the folder's
        are relative to it, those in a file alone to this package. Name it under ``files`` in ``analysis.yaml``, so
        that its content counts.

    Returns
    -------
    dict
        As `portico.selection.book` says.
    """
    given = Path(selection) if selection else FOLDER
    folder, path = (given, given / "selection.yaml") if given.is_dir() else (FOLDER, given)
    declared = load_selection(path, cuts, switch, histograms)
    declared, sample = with_lifetimes(declared, sample, lifetimes, extrapolate=extrapolate)
    return book(declared, frame, sample, folder=folder, where=path.name)
