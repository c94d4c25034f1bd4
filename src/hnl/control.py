"""The control channel Ds -> phi pi: its selection, as ``control.yaml`` says, and sPlot weights of data.

The step runs twice: for the fit of `hnl.control_fit`, which gives each event of data in its range a weight, and once
more with the file of these weights, to fill the same histograms for the Ds alone. Weights are joined to events by run,
luminosity block and event.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hnl.constants import CONTROL_RANGE
from portico import step
from portico.selection import Selection, book, load_selection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico import Sample

__all__ = ["control", "weighted"]

FOLDER: Final = Path(__file__).parent


@step(headers=["include/trigger.h"], files=["control.yaml", "corrections"])
def control(frame: Any, sample: Sample, *, splot: str = "", switch: Mapping[str, bool] | None = None) -> dict[str, Any]:
    """Choose the best candidate of every event of the control channel, and fill its histograms.

    Parameters
    ----------
    frame : RDataFrame node
        Over the ntuples of `hnl.control_skim`.
    sample : Sample
        Generator matching is applied to the kind ``signal``, weights to simulation.
    splot : str
        The file of weights that `hnl.control_fit` made: data are then weighted with them, so that histograms are those
        of the Ds. A candidate outside of the fit range has the weight 0; one in it without a weight is an error.
    switch : mapping of str to bool, optional
        Weights, shapes and rules to switch on or off, as `portico.selection.load_selection` takes them.

    Returns
    -------
    dict
        As `portico.selection.book` says.
    """
    selection = load_selection(FOLDER / "control.yaml", switch=switch)
    if splot:
        selection = weighted(selection, splot)
    return book(selection, frame, sample, folder=FOLDER, where="control.yaml")


def weighted(selection: Selection, splot: str) -> Selection:
    """Return a selection that weights data with the file of weights.

    Parameters
    ----------
    selection : Selection
        Of the control channel.
    splot : str
        Path of the file.
    """
    low, high = CONTROL_RANGE
    given = selection.model_dump(exclude_unset=True)
    expression = f"C_Ds_mass > {low} && C_Ds_mass < {high} ? splot(run, lumi, event) : 0.0"
    return selection.replace(
        lookups={**given.get("lookups", {}), "splot": {"file": splot, "value": "weight", "missing": "refuse"}},
        weights={**given.get("weights", {}), "splot": {"expression": expression, "kinds": ["data"]}},
    )
