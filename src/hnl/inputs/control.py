"""Inputs of the normalisation: the fit, luminosities, the simulated decays, and data with their sPlot weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hnl.constants import CONTROL_RANGE
from hnl.control_fit import FLAGS, KEY, chosen_candidates
from hnl.processes import ORIGINS
from portico.errors import ConfigError, FitError, InputError, nearest
from portico.selection.booking import event_weight

if TYPE_CHECKING:
    from portico import Sample

__all__ = [
    "PROMPT_FRACTION", "Measured", "Simulation", "in_range", "luminosities", "read_fit", "read_resolution",
    "read_simulation", "simulated_samples", "weighted_data",
]  # fmt: skip

Array = npt.NDArray[np.float64]

#: Fraction of prompt ones among the Ds that `hnl.simulate` generates: cross sections of ``pools/pools.json``.
PROMPT_FRACTION: Final = 0.42757

_PB_PER_FB: Final = 1000.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A number with its error."""

    value: float
    error: float

    @property
    def relative(self) -> float:
        """Error over value."""
        return self.error / self.value

    def to_json(self) -> dict[str, float]:
        """Return the value and its error for a summary."""
        return {"value": self.value, "error": self.error}


@dataclass(frozen=True, slots=True)
class Simulation:
    """Simulated decays Ds -> phi pi, phi -> mu mu that are chosen, matched to the generator and in the fit range.

    Parameters
    ----------
    length, weight : array of shape (n,)
        Proper decay length of the Ds in cm, and weight.
    prompt : array of bool, shape (n,)
        False for a Ds from a b hadron.
    produced : mapping of str to float
        By origin, the decays that were produced: cross section x luminosity.
    corrections : float
        Mean factor that trigger, identification and pile-up give a decay.
    """

    length: Array
    weight: Array
    prompt: npt.NDArray[np.bool_]
    produced: Mapping[str, float]
    corrections: float

    @property
    def templates(self) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Decay lengths and weights of prompt Ds, and of those from b."""
        prompt, beauty = ((self.length[chosen], self.weight[chosen]) for chosen in (self.prompt, ~self.prompt))
        return prompt, beauty

    @property
    def prompt_fraction(self) -> float:
        """Of all produced Ds."""
        return self.produced["prompt"] / self.produced["all"]

    def efficiency(self, origin: str = "all") -> Measured:
        """Return which fraction of the produced decays is selected, and its statistical error.

        Parameters
        ----------
        origin : {"all", "prompt", "b"}
            Of the Ds.

        Raises
        ------
        FitError
            If none is selected.
        """
        chosen = {"all": self.prompt | True, "prompt": self.prompt, "b": ~self.prompt}[origin]
        total, squares = (float(np.sum(self.weight[chosen] ** power)) for power in (1, 2))
        if total <= 0:
            raise FitError(
                f"no simulated Ds -> phi pi ({origin}) is selected, or their weights add up to {total:.4g}: "
                "no efficiency; simulate more"
            )
        return Measured(total / self.produced[origin], math.sqrt(squares) / self.produced[origin])


def simulated_samples(samples: Mapping[str, Sample]) -> list[str]:
    """Return the simulated samples of Ds -> phi pi, by their parameters ``process`` and ``meson``.

    Raises
    ------
    ConfigError
        If there is none, or there are no data.
    """
    found = [
        name
        for name, sample in samples.items()
        if sample.kind != "data"
        and sample.parameters.get("process") == "control"
        and sample.parameters.get("meson", "Ds") == "Ds"
    ]
    if not found or all(sample.kind != "data" for sample in samples.values()):
        raise ConfigError(
            "the normalisation needs data of the control channel (kind: data) and a simulated sample of Ds -> phi pi "
            f"(parameters: {{process: control}}); samples: {', '.join(samples) or '(none)'}"
        )
    return found


def read_fit(path: str, data: Sequence[str]) -> Measured:
    """Return the yield of the Ds from the summary of `hnl.control_fit.control_fit`.

    Parameters
    ----------
    path : str
        Of ``summary.json``.
    data : sequence of str
        The samples that must have been fitted.

    Raises
    ------
    InputError
        If it is no such file, or other data or another range were fitted.
    FitError
        If the yield is not positive.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))["fit"]
        found = Measured(*(float(content["yields"]["Ds"][key]) for key in ("value", "error")))
        fitted, low_high = list(content["data"]), tuple(content["range"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not the summary of a fit of the control channel ({type(error).__name__}: {error}); "
            "give the step: files: {fit: control_fit/summary.json, splot: control_fit/splot.root}"
        ) from None
    if sorted(fitted) != sorted(data) or low_high != CONTROL_RANGE:
        raise InputError(
            f"{path}: {', '.join(fitted)} were fitted from {low_high[0]} to {low_high[-1]} GeV, but the data here are "
            f"{', '.join(data)}, in {CONTROL_RANGE[0]} to {CONTROL_RANGE[1]} GeV; run that step on the same samples"
        )
    if not (found.value > 0 and found.error > 0):
        raise FitError(f"{path}: the yield of the Ds is {found.value:g} +- {found.error:g}: nothing to normalise to")
    return found


def read_resolution(path: str) -> dict[str, float] | None:
    """Return the width of the Ds in data over that in simulation, with its uncertainty; None where it is not known."""
    found: dict[str, float] | None = json.loads(Path(path).read_text(encoding="utf-8"))["fit"].get("resolution")
    return found


def luminosities(data: Sequence[Sample], simulated: Sequence[Sample], notes: list[str]) -> dict[str, float]:
    """Return the luminosities ``control``, of the data, and ``search``, that simulation is normalised to, in 1/fb.

    Parameters
    ----------
    data, simulated : sequence of Sample
        Each sample of data has the parameter ``luminosity``, and they add up; or none has, and theirs is one.
    notes : list of str
        Gets a sentence in the latter case.

    Raises
    ------
    ConfigError
        If one is missing or not positive.
    """
    search = {sample.luminosity for sample in simulated}
    if len(search) != 1 or not (only := search.pop()):
        raise ConfigError(
            f"{', '.join(s.name for s in simulated)}: simulated samples need one luminosity above 0, that of the search"
        )
    own = [sample for sample in data if "luminosity" in sample.parameters]
    if own and len(own) < len(data):
        lacking = next(sample.name for sample in data if sample not in own)
        raise ConfigError(f"sample '{lacking}': the parameter 'luminosity' is missing, and '{own[0].name}' has one")
    if own:
        if wrong := [sample.name for sample in own if not sample.number("luminosity") > 0]:
            raise ConfigError(f"sample '{wrong[0]}': the parameter 'luminosity' must be above 0, in 1/fb")
        return {"control": sum(s.number("luminosity") * s.completeness for s in own), "search": only}
    of_data = {sample.luminosity for sample in data}
    if len(of_data) != 1 or not (common := of_data.pop()):
        raise ConfigError(
            f"the control data {', '.join(s.name for s in data)} have no common luminosity; give each what it has in "
            "1/fb, for example: parameters: {luminosity: 1.5}"
        )
    notes.append(
        f"the control data have no parameter 'luminosity'; taken as that of the dataset, {common:g} /fb: wrong "
        "where their triggers are prescaled or they are a stand-in"
    )
    return {"control": common, "search": only}


def read_simulation(results: Mapping[str, Any], samples: Sequence[Sample], variable: str) -> Simulation:
    """Return the simulated decays that are chosen, matched to the generator and in the fit range.

    Parameters
    ----------
    results : mapping of str to Results
        Of `hnl.control.control`.
    samples : sequence of Sample
        Of Ds -> phi pi; those of one origin (parameter ``origin``) and of both are added.
    variable : str
        Column of the decay length, in cm.

    Raises
    ------
    ConfigError
        If a sample cannot be normalised, or the share of prompt Ds in it is not known.
    """
    columns = ("C_Ds_mass", variable, "weight", "C_mu2_Phi_hasBAncestor", *FLAGS)
    parts: list[tuple[Array, Array, npt.NDArray[np.bool_]]] = []
    produced, uncorrected = dict.fromkeys(ORIGINS, 0.0), 0.0
    for sample in samples:
        found = chosen_candidates(results[sample.name]["candidates"], columns)
        chosen = np.all([found[flag] > 0 for flag in FLAGS], axis=0) & in_range(found["C_Ds_mass"])
        length, weight, beauty = (found[name][chosen] for name in columns[1:4])
        parts.append((length.astype(np.float64), weight.astype(np.float64), beauty <= 0))
        uncorrected += event_weight(sample) * len(weight)  # tells also whether it can be normalised
        decays = float(sample.cross_section or 0) * float(sample.luminosity or 0) * _PB_PER_FB
        share = _prompt_share(sample)
        for origin, part in (("all", 1.0), ("prompt", share), ("b", 1 - share)):
            produced[origin] += decays * part
    length, weight, prompt = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    for origin, chosen in (("prompt", prompt), ("b", ~prompt)):
        if chosen.any() and not produced[origin] > 0:
            raise ConfigError(f"the simulation holds Ds of origin '{origin}', but by its parameters none was generated")
    return Simulation(length, weight, prompt, produced, float(weight.sum()) / uncorrected if uncorrected else 1.0)


def _prompt_share(sample: Sample) -> float:
    """Return the fraction of prompt Ds in a sample."""
    origin = sample.parameters.get("origin", "all")
    if origin not in ORIGINS:
        hint = nearest(str(origin), ORIGINS)
        raise ConfigError(f"sample '{sample.name}': the parameter 'origin' is {origin!r}; {hint}")
    if origin != "all":
        return 1.0 if origin == "prompt" else 0.0
    if "prompt_fraction" not in sample.parameters and sample.entries is not None:
        return PROMPT_FRACTION
    if not 0 <= (share := sample.number("prompt_fraction")) <= 1:
        raise ConfigError(f"sample '{sample.name}': 'prompt_fraction' is {share:g}; it must be between 0 and 1")
    return share


def in_range(mass: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which masses in GeV are in the fit range."""
    low, high = CONTROL_RANGE
    mass = mass.astype(np.float64)
    return np.asarray((mass > low) & (mass < high))


def weighted_data(results: Mapping[str, Any], data: Sequence[str], path: str, variable: str) -> tuple[Array, Array]:
    """Return decay lengths in cm of the data in the fit range, and their sPlot weights, joined by run, lumi and event.

    Parameters
    ----------
    results : mapping of str to Results
        Of `hnl.control.control`.
    data : sequence of str
        Samples.
    path : str
        Of ``splot.root``.
    variable : str
        Column of the decay length.

    Raises
    ------
    InputError
        If the file is no such table, or an event has no weight in it.
    """
    table = _table(path)
    weight_of = dict(zip(_keys(table), table["weight"].tolist(), strict=True))
    found = chosen_candidates((p for name in data for p in results[name]["candidates"]), (*KEY, "C_Ds_mass", variable))
    inside = in_range(found["C_Ds_mass"])
    keys = _keys({name: found[name][inside] for name in KEY})
    try:
        weights = [weight_of[key] for key in keys]
    except KeyError as error:
        run, lumi, event = error.args[0]
        raise InputError(
            f"{path}: no weight for run {run}, lumi {lumi}, event {event}, which is in the fit range; "
            "it must be that of the fit of these data"
        ) from None
    return found[variable][inside].astype(np.float64), np.array(weights, np.float64)


def _keys(columns: Mapping[str, npt.NDArray[Any]]) -> list[tuple[int, int, int]]:
    return list(zip(*(columns[name].astype(kind).tolist() for name, kind in KEY.items()), strict=True))


def _table(path: str) -> dict[str, npt.NDArray[Any]]:
    import uproot

    try:
        with uproot.open({path: None}) as file:
            found: dict[str, npt.NDArray[Any]] = file["splot"].arrays([*KEY, "weight"], library="np")
    except Exception as error:  # uproot lets many kinds through for damaged files
        raise InputError(f"{path}: no table of sPlot weights: {' '.join(str(error).split())}") from None
    return found
