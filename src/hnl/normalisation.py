"""The normalisation of the search: the number of produced Ds, measured in the control channel Ds -> phi pi -> mu mu pi.

Expected signal, with eff a fraction of all produced decays and f the fraction of Ds that are of the sample's origin:

    N_sig = N_prod f BR(Ds -> N mu) BR(N -> mu pi) eff_HNL,
    N_prod = (N_Ds / eff_Ds) (L_search / L_control) / [BR(Ds -> phi pi) BR(phi -> mu mu)].

- N_Ds: yield of the mass fit (`hnl.control_fit`), with its error.
- eff_Ds = sum of weights of the simulated decays that are chosen, matched to the generator and in the fit range, over
  cross section x luminosity. Its statistical uncertainty is sqrt(sum w^2) / sum w, relative: that of a sum of Poisson
  weights. Of the sample's own entries it is binomial, (1 - p) / (n p); the filter efficiency, counted on that sample,
  adds 1 / n; the sum is 1 / (n p).
- Systematic: each variation of weights and shapes changes eff_Ds by a factor, kept by name. The same name is a
  variation of eff_HNL, to be moved with it: what the two have in common cancels.
- The error of N_prod is that of fit and simulation, added in squares, relative. Those of the branching ratios are one
  number for everything, and are given apart: 9% and 7%.

Prompt Ds and those from b hadrons differ in efficiency. With phi the prompt fraction of those selected
(`hnl.fits.prompt`),

    N_prod(prompt) = N_prod with N_Ds phi for N_Ds and eff_prompt for eff_Ds; N_prod(b) with 1 - phi and eff_b,
    f_prompt = N_prod(prompt) / [N_prod(prompt) + N_prod(b)] = phi / [phi + (1 - phi) eff_prompt / eff_b].

The fraction has a systematic uncertainty: decay lengths of each template stretched and shrunk by a share. It moves
eff_Ds as well, the more so where the fitted fraction is not that of simulation: as a variation ``prompt_fraction``.

f_prompt is the fraction of all Ds in the phase space that the simulated sample was generated in, not of those that
fire the trigger. eff_prompt and eff_b need the fraction of prompt ones among the Ds that were generated. A signal
sample of both origins is normalised by eff_Ds of both: should their shares be wrong in simulation, they are so in both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hnl.constants import CONTROL_RANGE, PDG
from hnl.figures import labelled
from hnl.figures.normalisation import figure_of_prompt
from hnl.fits.prompt import PromptFit, fit_prompt, produced_fraction
from hnl.inputs.control import (
    Measured,
    Simulation,
    in_range,
    luminosities,
    read_fit,
    read_resolution,
    read_simulation,
    simulated_samples,
    weighted_data,
)
from hnl.processes import ORIGINS
from portico import summary
from portico.errors import ConfigError, FitError, InputError, nearest
from portico.selection.model import INCLUSIVE
from portico.stats.shapes import Array

if TYPE_CHECKING:
    from portico import Sample

__all__ = ["BRANCHING_RATIOS", "normalisation", "signal_events"]

_SOURCE: Final = f"value: the original analysis; error: {PDG}"
#: Value, error and source.
BRANCHING_RATIOS: Final[Mapping[str, tuple[Measured, str]]] = {
    "Ds_to_phi_pi": (Measured(0.045, 0.004), _SOURCE),
    "phi_to_mu_mu": (Measured(2.86e-4, 0.19e-4), _SOURCE),
}
_DECAYS_PER_DS: Final = math.prod(ratio.value for ratio, _ in BRANCHING_RATIOS.values())
_LARGEST_STRETCH: Final = 0.5
_MASS: Final = f"{INCLUSIVE}_Ds_mass"


@summary
def normalisation(
    results: Mapping[str, Any], samples: Mapping[str, Sample], *, fit: str, splot: str, variable: str = "C_Ds_lxy_prop",
    stretch: float = 0.05, label: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure the number of produced Ds.

    Parameters
    ----------
    results : mapping of str to Results
        Of `hnl.control.control` without weights, by sample.
    samples : mapping of str to Sample
        All of kind ``data`` are the control data; their parameter ``luminosity`` (1/fb) is that of the control data.
        Simulated Ds -> phi pi has the parameter ``process: control``; ``origin`` as in `hnl.simulate`;
        ``prompt_fraction``, how many of the Ds that it stands for are prompt, unless it is generated here.
    fit, splot : str
        Paths of ``summary.json`` and ``splot.root`` of `hnl.control_fit.control_fit`.
    variable : str
        The decay length that tells prompt Ds from those of b hadrons: a column in cm.
    stretch : float
        Share by which decay lengths of a template may be off: for the resolution, and for momenta of b hadrons.
    label : mapping, optional
        Experiment, status, luminosity and energy above the figures: arguments of `portico.plot.label`.

    Returns
    -------
    dict
        ``normalisation``: JSON, see ``docs/normalisation.md``. Where there are too few events for the prompt fraction
        it is null, and a note says why. ``prompt``: the figure of its fit.

    Raises
    ------
    ConfigError
        If a sample lacks a parameter or luminosity, or `stretch` is not from 0 to 0.5.
    InputError
        If the files are not those of the fit of these data.
    FitError
        If no simulated decay is selected.
    """
    notes: list[str] = []
    data, simulated = [name for name, of in samples.items() if of.kind == "data"], simulated_samples(samples)
    yields = read_fit(fit, data)
    luminosity = luminosities([samples[n] for n in data], [samples[n] for n in simulated], notes)
    simulation = read_simulation(results, [samples[name] for name in simulated], variable)
    per_decay = luminosity["search"] / luminosity["control"] / _DECAYS_PER_DS
    found: dict[str, Any] = {
        "Ds": {**yields.to_json(), "range": list(CONTROL_RANGE)},
        **_of_all(yields, simulation, per_decay),
        "resolution": read_resolution(fit),
        "luminosity": luminosity, "data": data, "simulation": simulated, "notes": notes,
    }  # fmt: skip
    found["efficiency"]["systematic"] = _systematic(results, simulated, notes)
    try:
        fitted, systematic = _prompt(weighted_data(results, data, splot, variable), simulation, stretch)
        shares = _shares(replace(fitted, error=math.hypot(fitted.error, *systematic.values())), simulation, notes)
    except FitError as error:
        notes.append(f"no fraction of prompt Ds: {error}")
        return {"normalisation": found}
    _add_origins(found, shares, simulation, yields, per_decay)
    found["prompt_fraction"] |= {**fitted.to_json(), "systematic": systematic, "variable": variable}
    return labelled({"normalisation": found, "prompt": figure_of_prompt(fitted, variable)}, label)


def signal_events(
    normalisation: Mapping[str, Any], branching_ratio: float, efficiency: float, origin: str = "all"
) -> float:
    """Return the expected number of selected signal events.

    Parameters
    ----------
    normalisation : mapping
        The value of this name in the summary of the step `normalisation`.
    branching_ratio : float
        BR(Ds -> N mu) BR(N -> mu pi).
    efficiency : float
        Fraction of all produced decays of the sample's origin that is selected.
    origin : {"all", "prompt", "b"}
        Which Ds the signal sample holds, its parameter ``origin``.

    Raises
    ------
    ValueError
        For another origin.
    FitError
        If the fraction of prompt Ds is needed and was not found.
    """
    if origin not in ORIGINS:
        raise ValueError(f"origin {origin!r}; {nearest(str(origin), ORIGINS)}")
    produced = normalisation["produced_Ds"]
    if origin != "all":
        if origin not in produced:
            why = "; ".join(normalisation["notes"])
            raise FitError(f"signal of the origin '{origin}' cannot be normalised without fraction of prompt Ds: {why}")
        produced = produced[origin]
    return float(produced["value"]) * branching_ratio * efficiency


def _of_all(yields: Measured, simulation: Simulation, per_decay: float) -> dict[str, Any]:
    """Efficiency and produced Ds of both origins, and the branching ratios; the prompt fraction is not known yet."""
    efficiency = simulation.efficiency()
    produced = _produced(yields, Measured(1.0, 0.0), efficiency, per_decay).to_json()
    return {
        "efficiency": {
            "value": efficiency.value, "statistical": efficiency.error, "corrections": simulation.corrections
        },
        "produced_Ds": {**produced, "simulation": simulation.produced["all"] / _DECAYS_PER_DS},
        "prompt_fraction": None,
        "branching_ratio": {n: {**r.to_json(), "source": source} for n, (r, source) in BRANCHING_RATIOS.items()},
    }  # fmt: skip


def _add_origins(
    found: dict[str, Any], shares: Mapping[str, Measured], simulation: Simulation, yields: Measured, per_decay: float
) -> None:
    """Add efficiency and produced Ds of each origin, and the prompt fraction of all produced Ds."""
    for origin, share in shares.items():
        one = simulation.efficiency(origin)
        found["efficiency"][origin] = {"value": one.value, "statistical": one.error}
        found["produced_Ds"][origin] = _produced(yields, share, one, per_decay).to_json()
    phi, ratio = shares["prompt"], _ratio(simulation)
    fraction, error = produced_fraction((phi.value, phi.error), (ratio.value, ratio.error))
    found["prompt_fraction"] = {"value": fraction, "error": error, "simulation": simulation.prompt_fraction}
    off = math.hypot(error, fraction - simulation.prompt_fraction)
    change = off * (simulation.efficiency("prompt").value - simulation.efficiency("b").value)
    relative = change / simulation.efficiency().value
    found["efficiency"]["systematic"]["prompt_fraction"] = [1 - relative, 1 + relative]


def _systematic(results: Mapping[str, Any], names: Sequence[str], notes: list[str]) -> dict[str, list[float]]:
    """Factors [down, up] of the efficiency by variation, from the histogram of the mass in the fit range."""
    sums: dict[str, float] = {}
    for name in names:
        if _MASS not in results[name]:
            raise InputError(f"sample '{name}': no histogram '{_MASS}'; control.yaml must fill it")
        for variation, histogram in results[name].variations(_MASS).items():
            inside = in_range(histogram.axes[0].centers)
            sums[variation] = sums.get(variation, 0.0) + float(histogram.values()[inside].sum())
    nominal = sums.pop("nominal")
    names_of = {name.partition(":")[0]: None for name in sums if name.endswith((":down", ":up"))}
    if not names_of or nominal <= 0:
        notes.append(f"the histogram '{_MASS}' is not varied: the efficiency has no systematic uncertainty")
        return {}
    return {name: [sums.get(f"{name}:{side}", nominal) / nominal for side in ("down", "up")] for name in names_of}


def _produced(yields: Measured, share: Measured, efficiency: Measured, per_decay: float) -> Measured:
    """N_prod of the module's docstring: yield x share / efficiency, with the error of the three."""
    value = yields.value * share.value / efficiency.value * per_decay
    error = math.hypot(
        share.value * yields.error, share.error * yields.value, share.value * yields.value * efficiency.relative
    )
    return Measured(value, error / efficiency.value * per_decay)


def _ratio(simulation: Simulation) -> Measured:
    """Efficiency of prompt Ds over that of Ds from b."""
    prompt, beauty = simulation.efficiency("prompt"), simulation.efficiency("b")
    value = prompt.value / beauty.value
    return Measured(value, value * math.hypot(prompt.relative, beauty.relative))


def _prompt(data: tuple[Array, Array], simulation: Simulation, stretch: float) -> tuple[PromptFit, dict[str, float]]:
    """Fit the prompt fraction; how far it moves, at most, with longer or shorter decay lengths of each template."""
    if not 0 <= stretch <= _LARGEST_STRETCH:
        raise ConfigError(f"stretch = {stretch:g}; it is a share from 0 to {_LARGEST_STRETCH:g}, such as 0.05")
    fitted, systematic = fit_prompt(data, *simulation.templates), {}
    for which, name in enumerate(("prompt_decay_length", "b_decay_length")):
        moved = []
        for factor in (1 - stretch, 1 + stretch):
            templates = list(simulation.templates)
            length, weight = templates[which]
            templates[which] = length * factor, weight
            moved.append(abs(fit_prompt(data, *templates).fraction - fitted.fraction))
        systematic[name] = max(moved)
    return fitted, systematic


def _shares(fitted: PromptFit, simulation: Simulation, notes: list[str]) -> dict[str, Measured]:
    """Shares of both origins in the selected Ds, from 0 to 1."""
    for origin in ("prompt", "b"):
        simulation.efficiency(origin)
    phi = min(max(fitted.fraction, 0.0), 1.0)
    if phi != fitted.fraction:
        notes.append(f"the fitted prompt fraction is {fitted.fraction:.3f} +- {fitted.error:.3f}, taken as {phi:g}")
    return {"prompt": Measured(phi, fitted.error), "b": Measured(1 - phi, fitted.error)}
