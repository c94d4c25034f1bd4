"""Step 3: the hypotheses to test: for each mass of N the data of all categories, the background, the expected signal.

For each mass m there is a fit window of m +- 10 sigma and a counting window of m +- 3 sigma, sigma = 6.98e-4 GeV +
7.78e-3 m (mass resolution of arXiv:2403.04584). Until they are asked for with ``unblind``, data in the counting window
are neither counted nor fitted.

Limits are asymptotic, from fits of all categories together, where at least 5 background events within 2 sigma
decide the limit (`portico.stats.few`; a category counts by its sensitivity). Elsewhere they are from the exact counting
construction: the background in the counting window is the count in both sidebands, from 4 to 10 sigma, scaled by the
widths, for a background that is linear over them. A count of n is taken as n + 1 +- sqrt(n + 1), mean and width of a
Poisson mean with a flat prior (as for an on/off measurement, arXiv:physics/0702156), so that empty sidebands are no
background of exactly 0. Without data it is the simulated background, and there is no fit.

Uncertainties of the signal: each variation of the selection, common to all categories, over that of the control channel
where it has the same one; N_prod; the branching ratios of the control channel; the simulation's statistics in each
category; and, in fits, what variations do to mean and width of the peak, the simulation's statistics of both, and by
how much the width of the Ds in the control channel may be another in data than in simulation, common to all categories.
In counts those that categories have in common are added in squares, to one parameter of all categories.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from hnl import theory
from hnl.figures import labelled
from hnl.figures.search import background_fit, figure_of_spectra
from hnl.figures.signal import figure_of_efficiency, figure_of_resolution, figure_of_shapes
from hnl.fits.signal import MOVING, SignalShapes, cms_resolution, fit_signals, shape_shifts
from hnl.hypotheses import SIGNAL, Hypothesis, Point, WindowCounts, Yield
from hnl.inputs.spectra import Spectrum, read_spectra
from hnl.inputs.variations import variations
from hnl.inputs.yields import Efficiency, Signal, read_signal
from hnl.normalisation import signal_events
from portico import summary
from portico.analysis.blinding import open_bins
from portico.errors import ConfigError
from portico.stats.families import choose_families
from portico.stats.few import ASYMPTOTIC_FROM, effective_events, sensitive_strength
from portico.stats.fit import Fit, Fitter
from portico.stats.goodness import goodness_of_fit
from portico.stats.model import Channel, Component, Model
from portico.stats.shapes import Parameter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from portico import Sample

__all__ = ["search"]

FIT: Final = 10.0  # resolutions on each side: the fit window, and the outer end of the sidebands
BINS: Final = 5  # of the fit in one resolution
_NEAR: Final = 2.0  # resolutions, in which the events that decide a limit are counted
_FEWEST: Final = 10.0  # effective simulated events, below which a coupling is left out


@dataclass(frozen=True, slots=True)
class _Options:
    window: float
    inner: float
    points: int
    unblind: bool

    def __post_init__(self) -> None:
        if not 0 < self.window <= self.inner < FIT:
            raise ConfigError(f"0 < window <= sideband < {FIT:g} resolutions, but they are {self.window}, {self.inner}")
        if self.points < 2:
            raise ConfigError(f"points = {self.points}; a scan has at least 2")


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Inputs common to all masses."""

    results: Mapping[str, Any]
    samples: Mapping[str, Sample]
    data: dict[str, Spectrum] | None
    background: dict[str, Spectrum] | None
    normalisation: Mapping[str, Any] | None
    shapes: SignalShapes


@summary
def search(
    results: Mapping[str, Any], samples: Mapping[str, Sample], *, normalisation: str = "", unblind: bool = False,
    points: int = 20, window: float = 3.0, sideband: float = 4.0, label: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Collect the inputs of the limits of each generated mass.

    Parameters
    ----------
    results, samples : mapping of str
        Of `hnl.select.select`: trees ``candidates`` and histograms ``CATEGORY_Hnl_mass_fine``. Signal samples have the
        parameters ``mass`` (GeV) and ``ctau`` (mm).
    normalisation : str
        Path of ``summary.json`` of `hnl.normalisation.normalisation`; without it cross sections normalise the signal.
    unblind : bool
        Look at data in the counting windows.
    points : int
        Couplings for each mass, between the one of the longest generated lifetime and 1, equally spaced in log |V|^2.
    window, sideband : float
        Half width of the counting window and inner end of the sidebands, in resolutions.
    label : mapping, optional
        Above figures: arguments of `portico.plot.label`.

    Returns
    -------
    dict
        ``search``, ``signal``: JSON; ``hypotheses.json``: each mass; ``points.json``: each coupling alone; figures
        ``fit_<mass>`` of data, ``efficiency_<mass>``, ``resolution`` and, of one mass, ``shapes_<mass>`` of signal.

    Raises
    ------
    ConfigError
        Without signal, or without both data and background; for windows out of order.
    FitError
        If no background family can be fitted.
    """
    options = _Options(window, sideband, points, unblind)
    read = {kind: read_spectra(results, of) if of else None for kind, of in _by_kind(samples, results).items()}
    found = _read_normalisation(normalisation)
    shapes = fit_signals(signals := read_signal(results, samples))
    inputs = _Inputs(results, samples, read["data"], read["background"], found, shapes)
    hypotheses = [_hypothesis(signal, inputs, options) for signal in signals.values()]
    fits = {h.tag: background_fit(h) for h in hypotheses if h.model is not None and h.points}
    products = {
        "search": {
            "convention": theory.CONVENTION,
            "unblinded": unblind,
            "background": "data" if read["data"] else "simulation",
            "normalisation": "control channel" if normalisation else "cross sections of the samples",
            "masses": [{**_summary_of(h), "goodness": _goodness(fits.get(h.tag))} for h in hypotheses],
        },
        "signal": shapes.to_json(),
        **_files(hypotheses),
        **{f"fit_{h.tag}": figure_of_spectra(h, *fits[h.tag]) for h in hypotheses if h.tag in fits},
        **_figures(hypotheses, signals, shapes),
    }
    return labelled(products, label)


def _files(hypotheses: Sequence[Hypothesis]) -> dict[str, str]:
    """Return each mass with all its couplings, and each coupling alone, as `hnl.scan.scan` tests it."""
    listed = {"hypotheses.json": hypotheses, "points.json": [one for h in hypotheses for one in h.each()]}
    return {name: json.dumps([h.model_dump(mode="json") for h in of]) for name, of in listed.items()}


def _read_normalisation(path: str) -> Mapping[str, Any] | None:
    if not path:
        return None
    content: Mapping[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    if "normalisation" not in content:
        raise ConfigError(f"{path}: is not a summary of hnl.normalisation")
    return dict(content["normalisation"])


def _goodness(fitted: tuple[Fitter, Fit] | None) -> dict[str, Any] | None:
    """Goodness of the background fit in the bins that are not blinded; None of a channel with no degree of freedom."""
    if fitted is None:
        return None
    fitter, fit = fitted
    found = goodness_of_fit(fitter.model, fit, fixed={fitter.model.poi: 0.0})
    rows = (*found.channels, found.combined)
    told = {row.name: {"statistic": row.statistic, "bins": row.bins, "p": row.p} for row in rows}
    return {name: row if math.isfinite(row["p"]) else None for name, row in told.items()}


def _figures(
    hypotheses: Sequence[Hypothesis], signals: Mapping[float, Signal], shapes: SignalShapes
) -> dict[str, Figure]:
    middle = hypotheses[len(hypotheses) // 2]  # the others look alike, and take seconds to draw
    return {
        f"shapes_{middle.tag}": figure_of_shapes(signals[middle.mass], shapes),
        "resolution": figure_of_resolution(shapes),
        **{f"efficiency_{h.tag}": figure_of_efficiency(signals[h.mass]) for h in hypotheses},
    }


def _by_kind(samples: Mapping[str, Sample], results: Mapping[str, Any]) -> dict[str, list[Sample]]:
    kinds: dict[str, list[Sample]] = {"signal": [], "data": [], "background": []}
    for name, sample in samples.items():
        if name in results and not str(sample.parameters.get("process", "")).startswith("control"):
            kinds[sample.kind].append(sample)
    if not kinds.pop("signal"):
        raise ConfigError("no sample is of kind signal: there is nothing to set a limit on")
    if not kinds["data"] and not kinds["background"]:
        raise ConfigError("no sample is of kind data or background: the background cannot be estimated")
    return kinds


def _hypothesis(signal: Signal, inputs: _Inputs, options: _Options) -> Hypothesis:
    sigma = cms_resolution(signal.mass)
    low, high = signal.mass - FIT * sigma, signal.mass + FIT * sigma
    window = (signal.mass - options.window * sigma, signal.mass + options.window * sigma)
    notes: list[str] = []
    points = _points(signal, inputs, options, (low, high), notes)
    effects = {category: _effects(signal, inputs, category, notes) for category in signal.categories}
    counts = {category: _side(signal, category, inputs, options, effects[category]) for category in signal.categories}
    method, why = _method(points, counts, options)
    model = None
    if inputs.data is not None:
        model = _model(signal, inputs, effects, (low, high), () if options.unblind else (window,), notes)
    return Hypothesis(
        mass=signal.mass, window=window, method=method if model is not None else "counting", why=why, model=model,
        counts=counts, points=points, notes=tuple(notes),
    )  # fmt: skip


def _points(
    signal: Signal, inputs: _Inputs, options: _Options, window: tuple[float, float], notes: list[str]
) -> tuple[Point, ...]:
    """Couplings from the one of the longest generated lifetime up to 1, and their expected signal in the fit window."""
    lowest = theory.coupling_squared(signal.mass, signal.longest)
    couplings = np.geomspace(lowest, 1.0, options.points)
    ctaus = np.array([theory.proper_decay_length(signal.mass, float(v)) for v in couplings])
    ctaus[0] = signal.longest  # not above it by rounding
    found = []
    for v, ctau, efficiency in zip(couplings, ctaus, signal.efficiencies(ctaus, window=window), strict=True):
        known = sum(efficiency[name].effective_events for name in signal.categories)
        if known < _FEWEST:
            notes.append(
                f"|V|^2 from {v:.3g} on is not tested: N would decay within {ctau:.3g} mm, where {known:.0f} simulated "
                f"events are left, fewer than {_FEWEST:g}"
            )
            break
        decays = _decays(signal, inputs, float(v))
        yields = {name: _yield(efficiency[name], decays) for name in signal.categories}
        found.append(Point(coupling_squared=float(v), ctau=float(ctau), yields=yields))
    return tuple(found)


def _yield(efficiency: Efficiency, decays: float) -> Yield:
    relative = efficiency.error / efficiency.value if efficiency.value > 0 else 0.0
    return Yield(events=decays * efficiency.value, statistical=relative, effective_events=efficiency.effective_events)


def _decays(signal: Signal, inputs: _Inputs, coupling_squared: float) -> float:
    """Number of decays Ds -> mu N -> mu mu pi that were produced at a coupling."""
    ratio = theory.n_to_mu_pi_branching_ratio(signal.mass)
    branching = theory.ds_to_mu_n_branching_ratio(signal.mass, coupling_squared) * ratio
    if inputs.normalisation is not None:
        sample = inputs.samples[signal.samples[0].name]
        origin = str(sample.parameters.get("origin", "all"))
        return signal_events(inputs.normalisation, branching, 1.0, origin)
    first = signal.samples[0]
    own = theory.ds_to_mu_n_branching_ratio(signal.mass, theory.coupling_squared(signal.mass, first.ctau)) * ratio
    return first.decays * first.event_weight * branching / own


def _effects(signal: Signal, inputs: _Inputs, category: str, notes: list[str]) -> dict[str, tuple[float, float]]:
    """Factors of the expected signal by nuisance parameter, at -1 and +1."""
    factors = variations(inputs.results, inputs.samples, signal.mass, category, notes=notes)
    if inputs.normalisation is None:
        return factors
    control = inputs.normalisation["efficiency"]["systematic"]
    # What moves both efficiencies cancels in their ratio.
    found = {
        name: (down / control.get(name, (1.0, 1.0))[0], up / control.get(name, (1.0, 1.0))[1])
        for name, (down, up) in factors.items()
    }
    for name, (down, up) in control.items():
        found.setdefault(name, (1 / down, 1 / up))
    produced = inputs.normalisation["produced_Ds"]
    origin = str(inputs.samples[signal.samples[0].name].parameters.get("origin", "all"))
    if origin != "all":  # normalised with the Ds of this origin, whose error has that of the fraction
        produced = produced[origin]
        found.pop("prompt_fraction", None)
    ratios = inputs.normalisation["branching_ratio"].values()
    for name, relative in (
        ("produced_Ds", produced["error"] / produced["value"]),
        ("control_branching_ratios", math.hypot(*(ratio["error"] / ratio["value"] for ratio in ratios))),
    ):
        found[name] = (1 / (1 + relative), 1 + relative)
    return found


def _side(
    signal: Signal, category: str, inputs: _Inputs, options: _Options, effects: Mapping[str, tuple[float, float]]
) -> WindowCounts:
    sigma = cms_resolution(signal.mass)
    masses, weights = (inputs.data or inputs.background or {})[category]
    far = np.abs(masses - signal.mass) / sigma
    window = far < options.window
    shape = inputs.shapes.shape(signal.mass, category, signal.mass - FIT * sigma, signal.mass + FIT * sigma)
    edges = signal.mass + sigma * np.array([-options.window, options.window])
    fraction = float(shape.contents(edges, np.array([shape.mean, shape.width]))[0])
    systematic = math.hypot(*(0.5 * (math.log(up) - math.log(down)) for down, up in effects.values()))
    if inputs.data is None:
        background, error = float(weights[window].sum()), float(np.sqrt(np.sum(weights[window] ** 2)))
        return WindowCounts(
            background=background, uncertainty=error, observed=None, signal_fraction=fraction, systematic=systematic
        )
    # A count of n leaves a mean with the distribution Gamma(n + 1) for a flat prior: never exactly 0.
    count = float(np.sum((far >= options.inner) & (far < FIT))) + 1
    scale = options.window / (FIT - options.inner)
    return WindowCounts(
        background=count * scale, uncertainty=math.sqrt(count) * scale,
        observed=int(window.sum()) if options.unblind else None, signal_fraction=fraction, systematic=systematic,
    )  # fmt: skip


def _method(
    points: Sequence[Point], counts: Mapping[str, WindowCounts], options: _Options
) -> tuple[Literal["asymptotic", "counting"], str]:
    if not points:
        return "counting", "no coupling can be tested"
    names = list(counts)
    background = np.array([counts[name].background * _NEAR / options.window for name in names])
    found = []
    for point in points:
        signal = np.array([point.yields[name].events * counts[name].signal_fraction for name in names])
        if signal.sum() > 0:
            strength = sensitive_strength(signal, background)
            found.append(effective_events(background, background + strength * signal))
    if not found:
        return "counting", "no coupling can be tested"
    fewest, at = min(found)
    if fewest < ASYMPTOTIC_FROM:
        return "counting", (
            f"about {fewest:.2g} effective background events within {_NEAR:g} resolutions, mostly in "
            f"{names[at]}: below {ASYMPTOTIC_FROM:g} asymptotic limits are too low"
        )
    return "asymptotic", f"about {fewest:.3g} effective background events within {_NEAR:g} resolutions"


def _model(
    signal: Signal,
    inputs: _Inputs,
    effects: Mapping[str, Mapping[str, tuple[float, float]]],
    window: tuple[float, float],
    blind: tuple[tuple[float, float], ...],
    notes: list[str],
) -> Model:
    """Channels in fine bins, each with signal and the families of background that compete."""
    low, high = window
    edges = np.linspace(low, high, round(2 * FIT * BINS) + 1)
    channels, parameters = [], [Parameter(name="mu", start=0.0, low=0.0, step=0.1)]
    for category in signal.categories:
        masses, _ = (inputs.data or {})[category]
        counts = np.histogram(masses, edges)[0].astype(np.float64)
        families = choose_families(edges, counts, blind=blind)
        notes += [f"{category}: {row.note}" for row in families.tried if row.note]
        strength = f"events_{category}"  # background_{category} is the name of the component in RooFit
        used = open_bins(edges, blind)  # all events, from those outside of what is blinded
        start = max(float(counts[used].sum()) / float(used.mean()), 0.5)
        parameters.append(Parameter(name=strength, start=start, low=0.0, step=math.sqrt(start)))
        shape = inputs.shapes.shape(signal.mass, category, low, high)
        moving = [name for name in MOVING if name in effects[category]]  # not where the selection switched it off
        shifts = shape_shifts(inputs.results, inputs.samples, signal.mass, category, nuisances=moving)
        components = (
            Component(
                name=SIGNAL, shapes=(shape,), events=1.0, strength="mu", effects=dict(effects[category]),
                shifts={**shifts, **inputs.shapes.shifts(signal.mass, category), **_resolution(inputs, shape.width)},
            ),
            Component(name="background", shapes=families.shapes, events=1.0, strength=strength, floating=True),
        )  # fmt: skip
        channels.append(
            Channel(name=category, edges=tuple(edges), counts=tuple(counts), blind=blind, components=components)
        )
    return Model(channels=tuple(channels), parameters=tuple(parameters))


def _resolution(inputs: _Inputs, width: float) -> dict[str, dict[str, float]]:
    """Return the shift of the width that the control channel allows."""
    found = (inputs.normalisation or {}).get("resolution")
    return {"mass_resolution": {"width": found["uncertainty"] * width}} if found else {}


def _summary_of(hypothesis: Hypothesis) -> dict[str, Any]:
    """Return the summary of a mass."""
    return {
        "mass": hypothesis.mass,
        "window": list(hypothesis.window),
        "method": hypothesis.method,
        "why": hypothesis.why,
        "counts": {name: side.model_dump() for name, side in hypothesis.counts.items()},
        "points": len(hypothesis.points),
        "coupling_squared": [point.coupling_squared for point in hypothesis.points],
        "ctau": [point.ctau for point in hypothesis.points],
        "events": [point.events for point in hypothesis.points],
        "notes": list(hypothesis.notes),
    }
