"""Step 3: upper limits from counts in a window of the N mass, per category and combined.

For each signal sample the window is m_N +- 3 sigma, sigma = 6.98e-4 GeV + 7.78e-3 m (mass resolution of
arXiv:2403.04584), widened to whole bins. The background in it is the count in two sidebands of the data, scaled by the
number of bins, for a background that is linear over the sidebands. A count of n is taken as n + 1 +- sqrt(n + 1), mean
and width of a Poisson mean with a flat prior (as for an on/off measurement, arXiv:physics/0702156), so that empty
sidebands are no background of exactly 0. Without data it is the simulated background with its statistical uncertainty,
and there is no observed limit.

What a limit is given as:

- ``signal_strength``: in units of the sample's own yield, cross section x luminosity x filter efficiency x acceptance;
- ``events``: signal events in the window;
- ``coupling_squared``: |V|^2 at the sample's lifetime held fixed. The sample's yield is taken to be that of
  |V|^2 = ``reference_coupling_squared`` (the sample's parameter ``coupling_squared``, or else the value at which N of
  this mass has this ctau), and to be proportional to |V|^2 through the production Ds -> mu N alone. Acceptance and
  lifetime do not follow |V|^2: that needs the lifetime scan.

Where a count is small: see `portico.stats.counting`. An empty category is a count of 0. No simulated background
without data is a background of 0: the expected limit is then optimistic. No simulated signal in a category: only a
limit on events.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hnl import physics
from hnl.limit_figures import figure_of_categories, figure_of_mass, figure_of_samples
from portico import summary
from portico.errors import FitError
from portico.selection.model import INCLUSIVE
from portico.stats.asymptotic import BANDS, Limit
from portico.stats.counting import ASYMPTOTIC_FROM, counting_limit, upper_limit
from portico.stats.counting import Count as Channel
from portico.stats.counting import asymptotic_counts as asymptotic_limit
from portico.stats.shapes import Array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portico import Sample

CONVENTION: Final = (
    f"{physics.CONVENTION}; the lifetime is that of the sample and held fixed, the yield is proportional to |V|^2 "
    "through Ds -> mu N alone and is the sample's own at reference_coupling_squared"
)
COMBINED: Final = "combined"
#: The histogram of every category that the limits count in: bins of 2 MeV, a quarter of the resolution at 1 GeV.
MASS: Final = "Hnl_mass_fine"


@dataclass(frozen=True, slots=True)
class Window:
    """Signal window and sidebands, as slices of bins.

    Attributes
    ----------
    signal, lower, upper : slice
        Bins of the window and of the two sidebands.
    low, high : float
        Edges of the window in GeV.
    """

    signal: slice
    lower: slice
    upper: slice
    low: float
    high: float

    @property
    def scale(self) -> float:
        """Bins of the window per bin of the sidebands."""
        window, lower, upper = (part.stop - part.start for part in (self.signal, self.lower, self.upper))
        return float(window / (lower + upper))


def mass_resolution(mass: float) -> float:
    """Resolution of the mu pi mass in GeV: 6.98e-4 + 7.78e-3 m (arXiv:2403.04584)."""
    return 6.98e-4 + 7.78e-3 * mass


def mass_window(edges: Array, mass: float, *, half_width: float, inner: float, outer: float) -> Window:
    """Bins within `half_width` of `mass`, and from `inner` to `outer` on both sides, in units of the resolution.

    Parameters
    ----------
    edges : array of shape (bins + 1,)
        Bin edges in GeV. Bins that a boundary cuts belong to the window, and not to a sideband.
    mass : float
        Mass of N in GeV.
    half_width, inner, outer : float
        In standard deviations, ``0 < half_width <= inner < outer``.

    Raises
    ------
    ValueError
        For boundaries out of order, or a window or sideband that is not within the histogram.
    """
    if not 0 < half_width <= inner < outer:
        raise ValueError(f"0 < window <= sideband_inner < sideband_outer, but they are {half_width}, {inner}, {outer}")
    sigma = mass_resolution(mass)
    if mass - outer * sigma < edges[0] or mass + outer * sigma > edges[-1]:
        raise ValueError(
            f"the sidebands of m_N = {mass} GeV, {mass - outer * sigma:.3f} to {mass + outer * sigma:.3f} GeV, leave "
            f"the histogram, {edges[0]} to {edges[-1]} GeV"
        )

    def below(value: float) -> int:
        return int(np.searchsorted(edges, value + 1e-9, side="right")) - 1

    def above(value: float) -> int:
        return int(np.searchsorted(edges, value - 1e-9, side="left"))

    signal = slice(below(mass - half_width * sigma), above(mass + half_width * sigma))
    lower = slice(below(mass - outer * sigma), min(below(mass - inner * sigma), signal.start))
    upper = slice(max(above(mass + inner * sigma), signal.stop), above(mass + outer * sigma))
    if lower.start >= lower.stop or upper.start >= upper.stop:
        raise ValueError(f"a sideband of m_N = {mass} GeV holds no whole bin; the histogram's bins are too wide")
    return Window(signal, lower, upper, float(edges[signal.start]), float(edges[signal.stop]))


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Results by sample, and the samples by kind."""

    results: Mapping[str, Any]
    names: Mapping[str, list[str]]

    @property
    def categories(self) -> list[str]:
        """Every selection with a histogram to count in, but for the inclusive one."""
        first = next(iter(self.results.values()))
        found = [product.removesuffix(f"_{MASS}") for product in first if product.endswith(f"_{MASS}")]
        return [name for name in found if name != INCLUSIVE]

    def sum(self, kind: str, product: str) -> tuple[Array, Array]:
        """Contents and variances of a product, summed over the samples of a kind."""
        return self.sum_of(self.names[kind], product)

    def sum_of(self, names: Sequence[str], product: str) -> tuple[Array, Array]:
        """Contents and variances of a product, summed over samples."""
        histograms = [self.results[name][product] for name in names]
        values: Array = np.sum([histogram.values() for histogram in histograms], axis=0, dtype=np.float64)
        variances: Array = np.sum([histogram.variances() for histogram in histograms], axis=0, dtype=np.float64)
        return values, variances


@summary
def limits(
    results: Mapping[str, Any],
    samples: Mapping[str, Sample],
    *,
    cl: float = 0.95,
    window: float = 3.0,
    sideband_inner: float = 4.0,
    sideband_outer: float = 10.0,
    compare: bool = False,
) -> dict[str, Any]:
    """Set upper limits for each signal sample, per category and combined.

    Parameters
    ----------
    results : mapping of str to Results
        Of `hnl.select.select`, by sample: histograms ``CATEGORY_Hnl_mass`` and ``CATEGORY_Hnl_mass_fine``.
    samples : mapping of str to Sample
        Signal samples need the parameter ``mass`` (GeV), and ``ctau`` (mm) for a coupling. Samples whose parameter
        ``process`` begins with ``control`` are left out.
    cl : float
        Confidence level.
    window : float
        Half width of the signal window, in standard deviations of the mass resolution.
    sideband_inner, sideband_outer : float
        The sidebands, in the same unit.
    compare : bool
        Where the combined limit is from counting, find the asymptotic one as well: its fits take minutes.

    Returns
    -------
    dict
        ``limits``: JSON, see the module's docstring; figures ``brazil`` (all samples, combined), ``limit_<sample>``
        (each category and combined) and ``mass_<category>``.

    Raises
    ------
    ValueError
        Without signal, or without both data and background; for a signal sample without mass, data with weights, or an
        impossible window.
    """
    names = _by_kind(samples)
    options = {"half_width": window, "inner": sideband_inner, "outer": sideband_outer}
    inputs = _Inputs(results, names)
    entries = {name: _limits_of(samples[name], inputs, cl, options, compare=compare) for name in names["signal"]}
    figures = {f"limit_{name}": figure_of_categories(name, entry, cl) for name, entry in entries.items()}
    for category in inputs.categories:
        figures[f"mass_{category}"] = figure_of_mass(category, results, names)
    return {
        "limits": {
            "cl": cl,
            "bands": list(BANDS),
            "convention": CONVENTION,
            "observed": "data" if names["data"] else None,
            "background": "sidebands of the data" if names["data"] else "simulation",
            "samples": entries,
        },
        "brazil": figure_of_samples(entries, cl),
        **figures,
    }


def _by_kind(samples: Mapping[str, Sample]) -> dict[str, list[str]]:
    """Names of the samples that count, by kind."""
    names: dict[str, list[str]] = {"signal": [], "data": [], "background": []}
    for name, sample in samples.items():
        if not str(sample.parameters.get("process", "")).startswith("control"):
            names[sample.kind].append(name)
    if not names["signal"]:
        raise ValueError("no sample is of kind signal: there is nothing to set a limit on")
    if not names["data"] and not names["background"]:
        raise ValueError("no sample is of kind data or background: the background cannot be estimated")
    return names


def _limits_of(
    sample: Sample, inputs: _Inputs, cl: float, options: Mapping[str, float], *, compare: bool
) -> dict[str, Any]:
    mass = sample.number("mass")
    ctau = sample.number("ctau") if "ctau" in sample.parameters else None
    reference = None if ctau is None else physics.coupling_squared(mass, ctau)
    if "coupling_squared" in sample.parameters:
        reference = sample.number("coupling_squared")
    channels = []
    for category in inputs.categories:
        edges = np.asarray(inputs.results[sample.name][f"{category}_{MASS}"].axes[0].edges, dtype=np.float64)
        region = mass_window(edges, mass, **options)
        channels.append(_channel(category, sample.name, inputs, region))
    entries = {channel.name: _entry([channel], cl, reference) for channel in channels}
    entries[COMBINED] = _entry(channels, cl, reference, compare=compare)
    return {
        "mass": mass,
        "ctau": ctau,
        "window": [region.low, region.high],
        "reference_coupling_squared": reference,
        "channels": entries,
    }


def _channel(category: str, signal: str, inputs: _Inputs, region: Window) -> Channel:
    product = f"{category}_{MASS}"
    expected, variance = inputs.sum_of([signal], product)
    s, s_error = float(expected[region.signal].sum()), float(np.sqrt(variance[region.signal].sum()))
    if s < 0:
        raise ValueError(f"signal {signal!r} has a negative yield in {category}: {s:.3g} events")
    if not inputs.names["data"]:
        b, b_variance = (float(part[region.signal].sum()) for part in inputs.sum("background", product))
        if b < 0:
            raise ValueError(f"the simulated background has a negative yield in {category}: {b:.3g} events")
        return Channel(category, b, float(np.sqrt(b_variance)), s, s_error, None)
    counts, _ = inputs.sum("data", product)
    if not np.array_equal(counts, np.round(counts)) or (counts < 0).any():
        raise ValueError(
            f"{product} of data has contents that are no counts: data must have weight 1 for a counting limit"
        )
    # A count of n leaves a mean with the distribution Gamma(n + 1) for a flat prior: never exactly 0.
    side = float(counts[region.lower].sum() + counts[region.upper].sum()) + 1
    background, error = side * region.scale, float(np.sqrt(side)) * region.scale
    return Channel(category, background, error, s, s_error, round(float(counts[region.signal].sum())))


def _entry(
    channels: Sequence[Channel], cl: float, reference: float | None, *, compare: bool = False
) -> dict[str, Any]:
    """Limits of one or more channels together, for JSON."""
    blinded = channels[0].observed is None
    signal = sum(channel.signal for channel in channels)
    entry: dict[str, Any] = {
        "observed": None if blinded else sum(channel.observed or 0 for channel in channels),
        "background": sum(channel.background for channel in channels),
        "background_uncertainty": float(np.hypot.reduce([channel.background_uncertainty for channel in channels])),
        "signal": signal,
        "signal_uncertainty": float(np.hypot.reduce([channel.signal_uncertainty for channel in channels])),
        "method": None,
        "limit": {"signal_strength": None, "events": None, "coupling_squared": None},
        "asymptotic_signal_strength": None,
        "notes": _notes(channels),
    }
    if signal > 0:
        limit = upper_limit(channels, cl=cl)
        entry["method"] = limit.method
        entry["limit"]["signal_strength"] = _bands(limit)
        entry["limit"]["events"] = _bands(limit.scaled(signal))
        if reference is not None:
            coupling = limit.scaled(reference)
            entry["limit"]["coupling_squared"] = _bands(coupling)
            if max(coupling.expected[-1], coupling.observed or 0.0) > 1:
                entry["notes"].append("limits on |V|^2 above 1 exclude nothing")
        if compare and limit.method == "counting" and all(c.background > 0 for c in channels if c.signal > 0):
            try:
                entry["asymptotic_signal_strength"] = _bands(asymptotic_limit(channels, cl=cl))
            except FitError as error:
                entry["notes"].append(f"no asymptotic limit for comparison: {error}")
    elif len(channels) == 1:
        limit = counting_limit([replace(channels[0], signal=1.0, signal_uncertainty=0.0)], cl=cl)
        entry["method"] = limit.method
        entry["limit"]["events"] = _bands(limit)
    return entry


def _notes(channels: Sequence[Channel]) -> list[str]:
    contributing = [channel for channel in channels if channel.signal > 0]
    notes = []
    if without := [channel.name for channel in channels if channel.signal == 0]:
        notes.append(
            f"no simulated signal in the window in {', '.join(without)}: no limit on the signal strength there"
        )
    if few := [channel.name for channel in contributing if channel.background < ASYMPTOTIC_FROM]:
        notes.append(
            f"fewer than {ASYMPTOTIC_FROM:g} background events in {', '.join(few)}: asymptotic limits are too low, "
            "the limit is from the exact counting construction"
        )
    if zero := [channel.name for channel in channels if channel.background == 0]:
        notes.append(
            f"background estimate 0 in {', '.join(zero)}: taken as exactly 0, so that the observed "
            "limit is conservative and the expected one optimistic"
        )
    return notes


def _bands(limit: Limit) -> dict[str, Any]:
    return {"observed": limit.observed, "expected": list(limit.expected)}
