"""Step 2 of the analysis: preselection, categories, best candidate, weights, histograms, as ``selection.yaml`` says.

There are seven selections: ``inclusive`` (the preselection alone) and the six categories. Each chooses its own best
candidate among those that pass it, so an event may give different candidates to several.

Layout of the tree ``candidates``: one entry per event with at least one choice. Every candidate column ``C_*``, and
``weight``, is a short vector with one element per choice *made*; ``selection`` says which selection made it (0
inclusive, then the categories in order), ``chosen`` is the candidate's index in the input. So
``C_Hnl_mass[selection == 3]`` is the N mass of the third category's best candidate, or nothing. The alternatives are
worse: seven trees are seven files per chunk; seven scalar columns per variable are 400 columns, mostly empty; one entry
per choice breaks the key (run, lumi, event) by which runs are compared and weights are joined.
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
) -> dict[str, Any]:
    """Choose the best candidate of every event in each selection, and fill the histograms of all.

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
        Cuts in place of those in ``selection.yaml``, as `portico.selection.load_selection` takes them.

    Returns
    -------
    dict
        As `portico.selection.book` says.
    """
    selection = load_selection(FOLDER / "selection.yaml", cuts)
    selection, sample = with_lifetimes(selection, sample, lifetimes, extrapolate=extrapolate)
    return book(selection, frame, sample, folder=FOLDER, where="selection.yaml")
