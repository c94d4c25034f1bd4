"""The fit of the control channel's mass, and sPlot weights of data for its Ds component.

sPlot requires a variable that does not depend on the mass within a component. For momenta and angles that holds only
roughly, since the width of a peak depends on them: it costs little where the peaks stand well above the background.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hnl.constants import CONTROL_RANGE, MASSES
from hnl.figures import labelled
from hnl.figures.control import figure_of_fit
from hnl.fits.mass import MASS_DIFFERENCE, MassFit, Shape, fit_mass, fit_peak, splot_weights
from portico import summary
from portico.errors import FitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portico import Sample

__all__ = ["chosen_candidates", "control_fit"]

#: Columns that identify an event, and their types in the table of weights.
KEY: Final = {"run": np.uint32, "lumi": np.uint32, "event": np.uint64}
#: Are above 0 where the candidate is the simulated decay.
FLAGS: Final = ("C_mu1_Phi_isPhiDaughter", "C_mu2_Phi_isPhiDaughter", "C_pi_isDsDaughter")
_MESONS: Final = {"Ds": MASSES["Ds"], "Dplus": MASSES["Ds"] - MASS_DIFFERENCE}
_SIGNIFICANCE: Final = 3.0  # of the Ds yield, below which there is nothing to weight


@summary
def control_fit(
    results: Mapping[str, Any], samples: Mapping[str, Sample], *, label: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Fit the mass of the Ds in data, and weight each event of the fit range.

    Parameters
    ----------
    results : mapping of str to Results
        Of `hnl.control.control` without weights, by sample: the tree ``candidates``.
    samples : mapping of str to Sample
        All of kind ``data`` are fitted together. Those whose parameter ``process`` is ``control`` give the shapes of
        the peaks, by their parameter ``meson`` (``Ds``, the default, or ``Dplus``); without them a peak is one
        Gaussian.
    label : mapping, optional
        Experiment, status, luminosity and energy above the figures: arguments of `portico.plot.label`.

    Returns
    -------
    dict
        ``fit``: as `hnl.fits.mass.MassFit.to_json`, from which samples the shapes are, and ``resolution``, the width of
        the Ds in data over that in simulation, null without simulation. ``splot``: the table of
        ``run``, ``lumi``, ``event`` and ``weight``. ``mass``: the figure.

    Raises
    ------
    ValueError
        If there are no data, or an event occurs twice.
    FitError
        If the fit does not converge or finds no Ds.
    """
    data = [name for name, sample in samples.items() if sample.kind == "data"]
    if not data:
        raise ValueError("no sample is of kind data: there is nothing to fit")
    shape, sources, simulated = _shape(results, samples)
    events = chosen_candidates([path for name in data for path in results[name]["candidates"]], (*KEY, "C_Ds_mass"))
    mass = events["C_Ds_mass"].astype(np.float64)
    fit = fit_mass(mass, shape)
    _require_peak(fit)
    inside = (mass > CONTROL_RANGE[0]) & (mass < CONTROL_RANGE[1])
    table = {name: events[name][inside].astype(kind) for name, kind in KEY.items()}
    _require_unique(table)
    weight = splot_weights(mass[inside], fit)
    products = {
        "fit": {
            **fit.to_json(),
            "data": data,
            "shapes": sources,
            "resolution": _resolution(fit, simulated),
            "sum_of_weights": float(weight.sum()),
        },
        "splot": {**table, "weight": weight},
        "mass": figure_of_fit(mass[inside], fit),
    }
    return labelled(products, label)


def _resolution(fit: MassFit, simulated: tuple[float, float] | None) -> dict[str, float] | None:
    """Compare the width of the Ds with that in simulation; the uncertainty has both errors and what they differ by."""
    if simulated is None:
        return None
    ratio = fit.values["width"] / simulated[0]
    error = ratio * math.hypot(fit.errors["width"] / fit.values["width"], simulated[1] / simulated[0])
    return {"ratio": ratio, "error": error, "uncertainty": math.hypot(error, ratio - 1)}


def _shape(
    results: Mapping[str, Any], samples: Mapping[str, Sample]
) -> tuple[Shape, dict[str, str], tuple[float, float] | None]:
    """Shapes of the peaks in simulation, the samples that they are from by meson, and the width of the Ds."""
    sources = {
        str(sample.parameters.get("meson", "Ds")): name
        for name, sample in samples.items()
        if sample.kind != "data" and sample.parameters.get("process") == "control"
    }
    peaks: dict[str, npt.NDArray[np.float64]] = {}
    for meson, name in sources.items():
        found = chosen_candidates(results[name]["candidates"], ("C_Ds_mass", *FLAGS))
        matched = np.all([found[flag] > 0 for flag in FLAGS], axis=0)
        peaks[meson] = found["C_Ds_mass"][matched].astype(np.float64)
    if "Ds" not in peaks:
        return Shape(), {}, None
    width, core, tail, _ = fit_peak(peaks["Ds"], _MESONS["Ds"])
    *_, error = fit_peak(peaks["Ds"], _MESONS["Ds"], core=core, tail=tail)  # data are fitted with these
    if "Dplus" not in peaks:
        return Shape(core, tail), sources, (width, error)
    other, *_ = fit_peak(peaks["Dplus"], _MESONS["Dplus"], core=core, tail=tail)
    return Shape(core, tail, other / width), sources, (width, error)


def chosen_candidates(paths: Iterable[str], columns: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    """Return columns of the events with a chosen candidate, one value each, in the order of the files.

    Parameters
    ----------
    paths : iterable of str
        Files with the tree ``candidates`` of `hnl.control.control`.
    columns : tuple of str
        Of the event, or of its candidates.

    Raises
    ------
    ValueError
        If a file has no such column.
    """
    import awkward as ak
    import uproot

    parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in columns}
    for path in paths:
        with uproot.open({path: None}) as file:
            if lacking := [name for name in columns if name not in file["candidates"].keys()]:  # noqa: SIM118
                raise ValueError(f"{path}: no column '{lacking[0]}' among the candidates; control.yaml must write it")
            tree = file["candidates"].arrays([*columns, "selection"])
        chosen = tree.selection == 0
        tree, chosen = tree[ak.any(chosen, axis=1)], chosen[ak.any(chosen, axis=1)]
        for name in columns:
            values = ak.flatten(tree[name][chosen]) if tree[name].ndim > 1 else tree[name]
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
    key = np.stack([table[name][order].astype(np.uint64) for name in KEY])
    double = np.flatnonzero((key[:, 1:] == key[:, :-1]).all(axis=0))
    if len(double):
        run, lumi, event = key[:, double[0]]
        raise ValueError(
            f"run {run}, lumi {lumi}, event {event} is in the data twice, as are {len(double) - 1} others: its weight "
            "would be ambiguous; leave out datasets that overlap"
        )
