"""The control channel Ds -> phi pi: its selection, the fit of its mass, and sPlot weights of data.

Three steps: ``control`` selects, as ``control.yaml`` says; ``control_fit`` fits the mass of the chosen candidates of
data and gives each event in the fit range a weight; ``control`` once more, with the file of these weights, fills the
same histograms for the Ds alone. Weights are joined to events by run, luminosity block and event.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hnl.constants import MASSES
from hnl.control_figures import figure_of_fit
from hnl.counting import FitError
from hnl.mass_fit import FIT_RANGE, MASS_DIFFERENCE, MassFit, Shape, fit_mass, fit_peak, splot_weights
from portico import step, summary
from portico.selection import Selection, book, load_selection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portico import Sample

__all__ = ["control", "control_fit", "weighted"]

FOLDER: Final = Path(__file__).parent
_KEY: Final = {"run": np.uint32, "lumi": np.uint32, "event": np.uint64}
_FLAGS: Final = ("C_mu1_Phi_isPhiDaughter", "C_mu2_Phi_isPhiDaughter", "C_pi_isDsDaughter")
_MESONS: Final = {"Ds": MASSES["Ds"], "Dplus": MASSES["Ds"] - MASS_DIFFERENCE}
_SIGNIFICANCE: Final = 3.0  # of the Ds yield, below which there is nothing to weight


@step(headers=["include/trigger.h"], files=["control.yaml", "corrections"])
def control(frame: Any, sample: Sample, *, splot: str = "") -> dict[str, Any]:
    """Choose the best candidate of every event of the control channel, and fill its histograms.

    Parameters
    ----------
    frame : RDataFrame node
        Over the ntuples of `hnl.control_skim`.
    sample : Sample
        Generator matching is applied to the kind ``signal``, weights to simulation.
    splot : str
        The file of weights that `control_fit` made: data are then weighted with them, so that histograms are those of
        the Ds. A candidate outside of the fit range has the weight 0; one in it without a weight is an error.

    Returns
    -------
    dict
        As `portico.selection.book` says.
    """
    selection = load_selection(FOLDER / "control.yaml")
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
    low, high = FIT_RANGE
    given = selection.model_dump(exclude_unset=True)
    expression = f"C_Ds_mass > {low} && C_Ds_mass < {high} ? splot(run, lumi, event) : 0.0"
    return selection.replace(
        lookups={**given.get("lookups", {}), "splot": {"file": splot, "value": "weight", "missing": "refuse"}},
        weights={**given.get("weights", {}), "splot": {"expression": expression, "kinds": ["data"]}},
    )


@summary
def control_fit(results: Mapping[str, Any], samples: Mapping[str, Sample]) -> dict[str, Any]:
    """Fit the mass of the Ds in data, and weight each event of the fit range.

    Parameters
    ----------
    results : mapping of str to Results
        Of `control` without weights, by sample: the tree ``candidates``.
    samples : mapping of str to Sample
        All of kind ``data`` are fitted together. Those whose parameter ``process`` is ``control`` give the shapes of
        the peaks, by their parameter ``meson`` (``Ds``, the default, or ``Dplus``); without them a peak is one
        Gaussian.

    Returns
    -------
    dict
        ``fit``: as `hnl.mass_fit.MassFit.to_json`, and from which samples the shapes are. ``splot``: the table of
        ``run``, ``lumi``, ``event`` and ``weight``. ``mass``: the figure.

    Raises
    ------
    ValueError
        If there are no data, or an event is there twice.
    FitError
        If the fit does not converge or finds no Ds.
    """
    data = [name for name, sample in samples.items() if sample.kind == "data"]
    if not data:
        raise ValueError("no sample is of kind data: there is nothing to fit")
    shape, sources = _shape(results, samples)
    events = _candidates([path for name in data for path in results[name]["candidates"]], (*_KEY, "C_Ds_mass"))
    mass = events["C_Ds_mass"].astype(np.float64)
    fit = fit_mass(mass, shape)
    _require_peak(fit)
    inside = (mass > FIT_RANGE[0]) & (mass < FIT_RANGE[1])
    table = {name: events[name][inside].astype(kind) for name, kind in _KEY.items()}
    _require_unique(table)
    weight = splot_weights(mass[inside], fit)
    return {
        "fit": {**fit.to_json(), "data": data, "shapes": sources, "sum_of_weights": float(weight.sum())},
        "splot": {**table, "weight": weight},
        "mass": figure_of_fit(mass[inside], fit),
    }


def _shape(results: Mapping[str, Any], samples: Mapping[str, Sample]) -> tuple[Shape, dict[str, str]]:
    """Shapes of the peaks in simulation, and the samples that they are from by meson."""
    sources = {
        str(sample.parameters.get("meson", "Ds")): name
        for name, sample in samples.items()
        if sample.kind != "data" and sample.parameters.get("process") == "control"
    }
    peaks: dict[str, npt.NDArray[np.float64]] = {}
    for meson, name in sources.items():
        found = _candidates(results[name]["candidates"], ("C_Ds_mass", *_FLAGS))
        matched = np.all([found[flag] > 0 for flag in _FLAGS], axis=0)
        peaks[meson] = found["C_Ds_mass"][matched].astype(np.float64)
    if "Ds" not in peaks:
        return Shape(), {}
    width, core, tail = fit_peak(peaks["Ds"], _MESONS["Ds"])
    if "Dplus" not in peaks:
        return Shape(core, tail), sources
    other, *_ = fit_peak(peaks["Dplus"], _MESONS["Dplus"], core=core, tail=tail)
    return Shape(core, tail, other / width), sources


def _candidates(paths: Iterable[str], columns: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    """Columns of the events with a chosen candidate, one value each, in the order of the files."""
    import awkward as ak
    import uproot

    parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in columns}
    for path in paths:
        with uproot.open(path) as file:
            if lacking := [name for name in columns if name not in file["candidates"].keys()]:  # noqa: SIM118
                raise ValueError(f"{path}: no column '{lacking[0]}' among the candidates; control.yaml must write it")
            tree = file["candidates"].arrays([*columns, "selection"])
        chosen = tree.selection == 0
        tree, chosen = tree[ak.any(chosen, axis=1)], chosen[ak.any(chosen, axis=1)]
        for name in columns:
            values = ak.flatten(tree[name][chosen]) if name.startswith("C_") else tree[name]
            parts[name].append(ak.to_numpy(values))
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _require_peak(fit: MassFit) -> None:
    value, error = fit.values["Ds"], fit.errors["Ds"]
    if value < _SIGNIFICANCE * error:
        raise FitError(
            f"the yield of the Ds is {value:.1f} +- {error:.1f} among {fit.events} events: no peak of "
            f"{_SIGNIFICANCE:g} standard deviations, and no weights; the control channel needs more data"
        )


def _require_unique(table: Mapping[str, npt.NDArray[Any]]) -> None:
    order = np.lexsort((table["event"], table["lumi"], table["run"]))
    key = np.stack([table[name][order].astype(np.uint64) for name in _KEY])
    double = np.flatnonzero((key[:, 1:] == key[:, :-1]).all(axis=0))
    if len(double):
        run, lumi, event = key[:, double[0]]
        raise ValueError(
            f"run {run}, lumi {lumi}, event {event} is in the data twice, as are {len(double) - 1} others: its weight "
            "would be ambiguous; leave out datasets that overlap"
        )
