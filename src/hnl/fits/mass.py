"""The mu mu pi mass of the control channel: Ds and D+ over a background, and sPlot weights. Arrays in, numbers out.

The expected density of events in the fit range is

    N_Ds G(m; m_Ds, s) + N_D+ G(m; m_Ds - 98.69 MeV, k s) + N_b exp(slope m),

each component normalised in the range, so that yields are numbers of events in it. Free are the three yields, the mass
of the Ds, the width s and the slope. G is a sum of two Gaussians of one mean and widths s and t s: the resolution
depends on momentum and direction, so that one Gaussian has too little in its tails. The fraction of the narrow one, t,
and the ratio k of the widths of D+ and Ds are taken from simulation, since data do not tell them apart from the
background; the width itself is left to the data. The difference of the masses is fixed to that of the PDG. With hardly
an event beside the peaks the background is flat; with none at all it is 0, without an error: a likelihood has no
minimum in a yield that may be negative where nothing is seen.

The likelihood is written out here: iminuit's own cost functions are compiled by numba where that is installed, which
takes most of a minute before the first fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import special, stats

from hnl.constants import CONTROL_RANGE, MASSES
from portico.errors import FitError
from portico.stats.shapes import Array

if TYPE_CHECKING:
    from iminuit import Minuit

__all__ = [
    "COMPONENTS",
    "MassFit",
    "Shape",
    "bin_contents",
    "component_densities",
    "fit_mass",
    "fit_peak",
    "splot_weights",
]

MASS_DIFFERENCE: Final = 0.09869
"""m(Ds) - m(D+) in GeV (PDG 2024)."""

COMPONENTS: Final = ("Ds", "Dplus", "background")

_PARAMETERS: Final = ("Ds", "Dplus", "background", "mass", "width", "slope")
_LIMITS: Final = {"mass": (1.93, 2.0), "width": (0.002, 0.06), "slope": (-50.0, 50.0)}
_FEWEST: Final = 30  # events; below, six parameters are not determined
_FEWEST_BESIDE: Final = 20  # events beside the peaks that a slope is fitted from
_SIDES: Final = (1.82, 2.02)  # GeV, where the peaks end
_BIN: Final = 0.01  # GeV, of the goodness of fit
_FEWEST_EXPECTED: Final = 5.0
_TINY: Final = 1e-300
_PEAK: Final = 0.1  # GeV, around a simulated peak
_PEAK_LIMITS: Final = {"width": (0.002, 0.06), "core": (0.02, 0.98), "tail": (1.1, 6.0)}


@dataclass(frozen=True, slots=True)
class Shape:
    """Shape of the peaks from simulation; by default one Gaussian, as wide for D+ as for Ds.

    Parameters
    ----------
    core : float
        Fraction of the narrow Gaussian.
    tail : float
        Width of the wide one over that of the narrow one.
    dplus : float
        Width of the D+ over that of the Ds.
    """

    core: float = 1.0
    tail: float = 1.0
    dplus: float = 1.0


@dataclass(frozen=True, slots=True)
class MassFit:
    """The result of a fit.

    Parameters
    ----------
    values, errors : mapping of str to float
        Yields by component, and ``mass``, ``width`` (of the narrow Gaussian, GeV) and ``slope`` (1/GeV); errors from
        the second derivatives, 0 of a background that was fixed to 0.
    minos : mapping of str to (float, float)
        Lower and upper error of each yield from the likelihood; a yield without one is left out.
    shape : Shape
        Was fixed.
    events : int
        In the fit range.
    chi2, p_value : float
        In bins of 10 MeV, joined until 5 events are expected in each.
    ndof : int
        Bins less free parameters.
    """

    values: Mapping[str, float]
    errors: Mapping[str, float]
    minos: Mapping[str, tuple[float, float]]
    shape: Shape
    events: int
    chi2: float
    ndof: int
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """Return the result for a summary."""
        yields = {
            name: {
                "value": self.values[name], "error": self.errors[name], "minos": list(self.minos.get(name, ())) or None,
            }
            for name in COMPONENTS
        }  # fmt: skip
        rest = {name: {"value": self.values[name], "error": self.errors[name]} for name in ("mass", "width", "slope")}
        return {
            "range": list(CONTROL_RANGE), "events": self.events, "yields": yields, **rest,
            "shape": {"core": self.shape.core, "tail": self.shape.tail, "dplus": self.shape.dplus},
            "chi2": self.chi2, "ndof": self.ndof, "p_value": self.p_value,
        }  # fmt: skip


def component_densities(mass: Array, values: Mapping[str, float], shape: Shape) -> Array:
    """Return the densities of the components at masses in the fit range, each normalised in it.

    Parameters
    ----------
    mass : array of shape (n,)
        In GeV.
    values : mapping of str to float
        ``mass``, ``width`` and ``slope``.
    shape : Shape
        Of the peaks.

    Returns
    -------
    array of shape (3, n)
        In 1/GeV, in the order of `COMPONENTS`.
    """
    low, high = CONTROL_RANGE
    mean, width, slope = values["mass"], values["width"], values["slope"]
    background = np.exp(slope * (mass - low)) / ((high - low) * special.exprel(slope * (high - low)))
    return np.stack([
        _peak(mass, mean, width, shape),
        _peak(mass, mean - MASS_DIFFERENCE, width * shape.dplus, shape),
        background,
    ])  # fmt: skip


def _peak(mass: Array, mean: float, width: float, shape: Shape) -> Array:
    density = shape.core * _gaussian(mass, mean, width)
    return density if shape.core == 1 else density + (1 - shape.core) * _gaussian(mass, mean, width * shape.tail)


def _gaussian(mass: Array, mean: float, width: float) -> Array:
    low, high = ((edge - mean) / width for edge in CONTROL_RANGE)
    norm = width * np.sqrt(2 * np.pi) * (special.ndtr(high) - special.ndtr(low))
    return np.asarray(np.exp(-0.5 * ((mass - mean) / width) ** 2) / norm)


def bin_contents(edges: Array, fit: MassFit) -> dict[str, Array]:
    """Return the expected events of each component in bins: density times width at the centres of ten parts of each."""
    parts = (np.arange(10) + 0.5) / 10
    centers = (edges[:-1, None] + parts * np.diff(edges)[:, None]).ravel()
    densities = component_densities(centers, fit.values, fit.shape).reshape(len(COMPONENTS), -1, len(parts))
    means = densities.mean(axis=2) * np.diff(edges)
    return {name: fit.values[name] * mean for name, mean in zip(COMPONENTS, means, strict=True)}


def fit_mass(mass: Array, shape: Shape | None = None) -> MassFit:
    """Fit yields, mass, width and slope by unbinned extended maximum likelihood.

    Yields are free to become negative, so that they are unbiased where there is little signal.

    Parameters
    ----------
    mass : array of shape (n,)
        One per event, in GeV; those outside of the fit range are left out.
    shape : Shape, optional
        Of the peaks.

    Raises
    ------
    FitError
        If there are too few events, or the fit does not converge or ends at a bound: then there is no peak to fit.
    """
    shape = shape or Shape()
    mass = np.asarray(mass, np.float64)
    low, high = CONTROL_RANGE
    mass = mass[(mass > low) & (mass < high)]
    if len(mass) < _FEWEST:
        raise FitError(f"{len(mass)} events from {low} to {high} GeV are too few to fit, {_FEWEST} are needed")

    def minus_log_likelihood(*parameters: float) -> float:
        yields = np.array(parameters[: len(COMPONENTS)])
        densities = component_densities(mass, dict(zip(_PARAMETERS, parameters, strict=True)), shape)
        return float(yields.sum() - np.log(np.maximum(yields @ densities, _TINY)).sum())

    start = dict(zip(_PARAMETERS, _start(mass), strict=True))
    # A handful of events beside the peaks has no slope, and none has no background.
    beside = np.sum((mass < _SIDES[0]) | (mass > _SIDES[1]))
    fixed = () if beside >= _FEWEST_BESIDE else ("slope",) if beside else ("slope", "background")
    start |= dict.fromkeys(fixed, 0.0)
    far = (-float(len(mass)), 3.0 * len(mass))  # the likelihood of negative yields alone has no end
    limits = {**dict.fromkeys(COMPONENTS, far), **_LIMITS}
    minuit = _minimise(minus_log_likelihood, start, limits, "the mu mu pi mass", fixed)
    values, errors = ({name: float(of[name]) for name in _PARAMETERS} for of in (minuit.values, minuit.errors))
    errors |= dict.fromkeys(set(fixed) & set(COMPONENTS), 0.0)
    chi2, ndof = _goodness(mass, MassFit(values, errors, {}, shape, len(mass), 0.0, 0, 1.0), minuit.nfit)
    p_value = float(stats.chi2.sf(chi2, ndof)) if ndof > 0 else 1.0
    return MassFit(values, errors, _minos(minuit), shape, len(mass), chi2, ndof, p_value)


def _start(mass: Array) -> tuple[float, ...]:
    """Guess parameters from counts: the background from both ends of the range, the peaks from windows around them."""
    low, high = CONTROL_RANGE
    left, right = (max(1.0, float(np.sum(ends))) for ends in (mass < _SIDES[0], mass > _SIDES[1]))
    slope = float(np.clip(np.log(right / left * (_SIDES[0] - low) / (high - _SIDES[1])) / (2.085 - 1.785), -20, 20))
    per_gev = (left + right) / ((_SIDES[0] - low) + (high - _SIDES[1]))
    peaks = [
        max(1.0, float(np.sum(np.abs(mass - center) < 0.04)) - 0.08 * per_gev)
        for center in (MASSES["Ds"], MASSES["Ds"] - MASS_DIFFERENCE)
    ]
    return (*peaks, max(1.0, len(mass) - sum(peaks)), MASSES["Ds"], 0.015, slope)


def _minimise(
    function: Callable[..., float],
    start: Mapping[str, float],
    limits: Mapping[str, tuple[float, float]],
    what: str,
    fixed: Sequence[str] = (),
) -> Minuit:
    """Find the minimum of -log(likelihood) and its second derivatives, and check both."""
    from iminuit import Minuit

    offset = function(*start.values())  # small numbers have precise differences
    minuit = Minuit(lambda *parameters: function(*parameters) - offset, *start.values(), name=tuple(start))
    minuit.print_level = -1
    minuit.errordef = Minuit.LIKELIHOOD
    for name, ends in limits.items():
        minuit.limits[name] = ends
    for name in fixed:
        minuit.fixed[name] = True
    minuit.tol = 0.01
    minuit.migrad(ncall=5000, iterate=5)
    if not minuit.valid:
        minuit.simplex().migrad(ncall=5000, iterate=5)
    minuit.hesse()
    at_end = [
        f"{name} = {minuit.values[name]:.4g}"
        for name, (low, high) in limits.items()
        if name not in fixed and min(minuit.values[name] - low, high - minuit.values[name]) < 1e-3 * (high - low)
    ]
    if at_end:
        raise FitError(f"the fit of {what} ends at a bound, {', '.join(at_end)}; is there a peak?")
    if not minuit.valid or not minuit.accurate:
        found = ", ".join(f"{name} = {minuit.values[name]:.4g}" for name in minuit.parameters)
        why = "no valid minimum" if not minuit.valid else "no errors at the minimum"
        raise FitError(f"the fit of {what} does not converge, {why} ({found}); is there a peak, and are events enough?")
    return minuit


def _minos(minuit: Minuit) -> dict[str, tuple[float, float]]:
    found = {}
    for name in COMPONENTS:
        if minuit.fixed[name]:
            continue
        try:
            minuit.minos(name)
        except RuntimeError:  # no error of this one; the others may have theirs
            continue
        error = minuit.merrors[name]
        if error.is_valid:
            found[name] = (float(error.lower), float(error.upper))
    return found


def _goodness(mass: Array, fit: MassFit, free: int) -> tuple[float, int]:
    edges = np.linspace(*CONTROL_RANGE, round((CONTROL_RANGE[1] - CONTROL_RANGE[0]) / _BIN) + 1)
    counts, _ = np.histogram(mass, edges)
    expected = np.sum(list(bin_contents(edges, fit).values()), axis=0)
    groups = np.zeros(len(counts), np.intp)
    group, total = 0, 0.0
    for i, value in enumerate(expected):
        if total >= _FEWEST_EXPECTED and expected[i:].sum() >= _FEWEST_EXPECTED:
            group, total = group + 1, 0.0
        groups[i], total = group, total + value
    n, mu = (np.bincount(groups, weights=values) for values in (counts, expected))
    return float(np.sum((n - mu) ** 2 / np.maximum(mu, 1e-9))), len(n) - free


def fit_peak(
    mass: Array, center: float, *, core: float | None = None, tail: float | None = None
) -> tuple[float, float, float, float]:
    """Fit a double Gaussian to simulated candidates without background.

    Parameters
    ----------
    mass : array of shape (n,)
        In GeV.
    center : float
        Expected position of the peak, in GeV; candidates further than 0.1 GeV from it are left out.
    core, tail : float, optional
        Fraction of the narrow Gaussian and ratio of widths, where they are known already.

    Returns
    -------
    width, core, tail, error : float
        Width of the narrow Gaussian in GeV, its fraction, the ratio of widths, and the error of the width.

    Raises
    ------
    FitError
        If there are too few candidates, or the fit does not converge.
    """
    mass = np.asarray(mass, np.float64)
    mass = mass[np.abs(mass - center) < _PEAK]
    if len(mass) < 10 * _FEWEST:
        raise FitError(f"{len(mass)} simulated candidates around {center} GeV are too few for their shape")
    ends = center + np.array([-_PEAK, _PEAK])

    def minus_log_likelihood(mean: float, width: float, core: float, tail: float) -> float:
        parts = ((core, width), (1 - core, width * tail))
        norm = sum(f * np.diff(special.ndtr((ends - mean) / s))[0] for f, s in parts)
        density = sum(f / s * np.exp(-0.5 * ((mass - mean) / s) ** 2) for f, s in parts)
        return float(len(mass) * np.log(norm) - np.log(density).sum())

    middle = float(np.median(mass))
    spread = float(np.percentile(np.abs(mass - middle), 68.3))
    start = {"mean": middle, "width": 0.8 * spread, "core": core or 0.7, "tail": tail or 2.0}
    fixed = [name for name, value in (("core", core), ("tail", tail)) if value is not None]
    what = f"the simulated peak at {center:.3f} GeV"
    limits = {"mean": (float(ends[0]), float(ends[1])), **_PEAK_LIMITS}
    minuit = _minimise(minus_log_likelihood, start, limits, what, fixed)
    return minuit.values["width"], minuit.values["core"], minuit.values["tail"], minuit.errors["width"]


def splot_weights(mass: Array, fit: MassFit) -> Array:
    """Return the sPlot weight of each event for the Ds component.

    As of Pivk and Le Diberder, Nucl. Instrum. Meth. A 555 (2005) 356, with sums over the events for the covariance
    (variant B of arXiv:2112.04574). Before, the yields are fitted again with the shapes held fixed, as that asks for:
    then the weights add up to the yield of the Ds, their squares to its variance, and those of all components to 1 in
    each event.

    Parameters
    ----------
    mass : array of shape (n,)
        Of the events that were fitted, all of them in the fit range, in GeV.
    fit : MassFit
        Their fit.

    Raises
    ------
    ValueError
        If these are other events than those that were fitted.
    """
    from sweights import Cows

    mass = np.asarray(mass, np.float64)
    inside = (mass > CONTROL_RANGE[0]) & (mass < CONTROL_RANGE[1])
    if len(mass) != fit.events or not inside.all():
        raise ValueError(f"{len(mass)} masses, {int(inside.sum())} of them in range: {fit.events} were fitted")
    found = [number for number, name in enumerate(COMPONENTS) if fit.errors[name] > 0]
    densities = component_densities(mass, fit.values, fit.shape)[found]
    yields = np.array([fit.values[COMPONENTS[number]] for number in found])
    for _ in range(20):  # Newton's method: the likelihood is concave in the yields
        ratio = densities / (yields @ densities)
        step = np.linalg.solve(ratio @ ratio.T, ratio.sum(axis=1) - 1)
        yields += step
        if np.abs(step).max() < 1e-9 * len(mass):
            break
    components = [_component(number, fit) for number in found]
    weights = Cows(mass, components[0], components[1:], yields=yields.tolist(), range=CONTROL_RANGE)
    return np.asarray(weights(mass), np.float64)


def _component(number: int, fit: MassFit) -> Callable[[Array], Array]:
    def density(x: Array) -> Array:
        return np.asarray(component_densities(x, fit.values, fit.shape)[number])

    return density
