"""The shape of the signal in the N mass: a double-sided Crystal Ball per category, at any mass between generated ones.

At every generated mass the shape is fitted inclusively and in each category, see `hnl.fits.shape`. A category with
fewer than 30 effective events takes the inclusive shape; one with fewer than 500 its own mean and width with the
inclusive tails. Where the inclusive candidates are too few for tails, those of the nearest mass that has enough
are used.

In between, the offset of the mean from the mass, the width and the tails are on straight lines in the mass. The width
is close to one line over all masses, and smoother curves through few points would follow their fluctuations. Beyond the
generated masses there is no shape. Samples of all lifetimes of a mass are taken together, every event with its
corrections alone: what depends on the decay length is in the categories.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hnl.fits.shape import FREE_TAILS, KNOWN_TAILS, PARAMETERS, ShapeFit, fit_binned, fit_histogram, fit_shape
from hnl.inputs.variations import MASS_HISTOGRAM, members_of, summed
from portico.errors import FitError, nearest
from portico.selection.model import INCLUSIVE
from portico.stats.shapes import Array, DoubleCrystalBall

if TYPE_CHECKING:
    from hnl.inputs.yields import Signal
    from portico import Sample

__all__ = [
    "CMS_RESOLUTION",
    "MOVING",
    "Resolution",
    "SignalShapes",
    "cms_resolution",
    "fit_signals",
    "shape_shifts",
]

#: Offset (GeV) and slope of the mu pi mass resolution in arXiv:2403.04584.
CMS_RESOLUTION: Final = (6.98e-4, 7.78e-3)

#: Variations of the selection that move the mass of candidates.
MOVING: Final = ("muon_pt",)

_HALF_WIDTH: Final = 10.0  # of the window that is fitted, in resolutions
_SAME: Final = 1e-9  # GeV, between two masses that are one


def cms_resolution(mass: float) -> float:
    """Resolution of the mu pi mass in GeV: 6.98e-4 + 7.78e-3 m (arXiv:2403.04584)."""
    return CMS_RESOLUTION[0] + CMS_RESOLUTION[1] * mass


@dataclass(frozen=True)
class Resolution:
    """A straight line through the fitted widths: offset + slope m.

    Attributes
    ----------
    offset, slope : float
        In GeV, and in GeV per GeV.
    covariance : array of shape (2, 2)
    chi2 : float
    ndof : int
        Widths less 2.
    """

    offset: float
    slope: float
    covariance: Array
    chi2: float
    ndof: int

    def at(self, mass: float) -> tuple[float, float]:
        """Return the resolution in GeV at a mass in GeV, and its error."""
        row = np.array([1.0, mass])
        return self.offset + self.slope * mass, math.sqrt(row @ self.covariance @ row)

    def to_json(self) -> dict[str, Any]:
        """Return the line for a summary, with that of arXiv:2403.04584."""
        errors = np.sqrt(np.diag(self.covariance)).tolist()
        return {
            "offset": {"value": self.offset, "error": errors[0], "cms": CMS_RESOLUTION[0]},
            "slope": {"value": self.slope, "error": errors[1], "cms": CMS_RESOLUTION[1]},
            "correlation": float(self.covariance[0, 1] / (errors[0] * errors[1])),
            "chi2": self.chi2,
            "ndof": self.ndof,
        }


@dataclass(frozen=True)
class SignalShapes:
    """Shapes of every category at the generated masses, and between them.

    Attributes
    ----------
    fits : mapping of float to mapping of str to ShapeFit
        By mass in GeV, then by selection. Every mass has ``inclusive``; a category that is not there had too few
        events and takes that one.
    selections : tuple of str
        Names that shapes are given for.
    """

    fits: Mapping[float, Mapping[str, ShapeFit]]
    selections: tuple[str, ...]

    @property
    def masses(self) -> tuple[float, ...]:
        """Generated masses in GeV, rising."""
        return tuple(sorted(self.fits))

    @property
    def notes(self) -> list[str]:
        """Notes on parameters held in a fit and shapes taken from elsewhere, a sentence each."""
        found = []
        for mass in self.masses:
            for name in self.selections:
                where = f"m_N = {mass:g} GeV, {name}"
                if name not in self.fits[mass]:
                    found.append(f"{where}: fewer than {KNOWN_TAILS:g} effective events, the inclusive shape is used")
                else:
                    found += [f"{where}: {note}" for note in self.fits[mass][name].notes]
        return found

    def fit_at(self, mass: float, selection: str) -> ShapeFit:
        """Return the fit that a selection uses at a generated mass: its own, or the inclusive one."""
        return self.fits[mass].get(selection, self.fits[mass][INCLUSIVE])

    def parameters(self, mass: float, selection: str) -> dict[str, float]:
        """Return the parameters of the shape.

        Parameters
        ----------
        mass : float
            Of N in GeV, within the generated masses.
        selection : str
            A category, or ``inclusive``.

        Returns
        -------
        dict of str to float
            By the names in `hnl.fits.shape.PARAMETERS`; mean and width in GeV.

        Raises
        ------
        ValueError
            For an unknown selection, or a mass beyond the generated ones.
        """
        shares = self._shares(mass, selection)
        found = {
            name: sum(share * fit.values[name] for share, fit in shares) for name in PARAMETERS if name != "mean"
        }
        offset = sum(share * (fit.values["mean"] - fit.generated) for share, fit in shares)
        return {"mean": mass + offset, **found}

    def errors(self, mass: float, selection: str) -> dict[str, float]:
        """Return the statistical errors of `parameters`, from the sizes of the simulated samples."""
        shares = self._shares(mass, selection)
        return {name: math.hypot(*(share * fit.errors[name] for share, fit in shares)) for name in PARAMETERS}

    def shifts(self, mass: float, selection: str) -> dict[str, dict[str, float]]:
        """Return the errors of mean and width, in GeV, as shifts of a nuisance parameter each.

        Selections that take the inclusive shape have its two parameters in common.
        """
        errors = self.errors(mass, selection)
        pairs = zip(self._shares(mass, selection), self._shares(mass, INCLUSIVE), strict=True)
        name = INCLUSIVE if all(fit is common for (_, fit), (_, common) in pairs) else selection
        return {f"signal_{part}_{name}": {part: errors[part]} for part in ("mean", "width")}

    def _shares(self, mass: float, selection: str) -> list[tuple[float, ShapeFit]]:
        """Fits at the generated masses on both sides, and with which shares they count."""
        if selection not in self.selections:
            raise ValueError(f"no signal shape of '{selection}'; {nearest(selection, self.selections)}")
        masses = self.masses
        if not masses[0] - _SAME <= mass <= masses[-1] + _SAME:
            raise ValueError(
                f"the signal shape is known from {masses[0]:g} to {masses[-1]:g} GeV, not at m_N = {mass:g} GeV; "
                "simulate a mass beyond it"
            )
        below = max((at for at in masses if at <= mass + _SAME), default=masses[0])
        above = min((at for at in masses if at >= mass - _SAME), default=masses[-1])
        if below == above:
            return [(1.0, self.fit_at(below, selection))]
        share = (mass - below) / (above - below)
        return [(1 - share, self.fit_at(below, selection)), (share, self.fit_at(above, selection))]

    def shape(self, mass: float, selection: str, low: float, high: float) -> DoubleCrystalBall:
        """Return the shape normalised in the window from low to high, in GeV; see `parameters`."""
        return DoubleCrystalBall(low=low, high=high, **self.parameters(mass, selection))

    def resolution(self, selection: str = INCLUSIVE) -> Resolution:
        """Fit a straight line to the widths of a selection, with those masses at which it has its own.

        Raises
        ------
        FitError
            With fewer than two of them.
        """
        own = [self.fits[mass][selection] for mass in self.masses if selection in self.fits[mass]]
        if len(own) < 2:
            raise FitError(f"the resolution of '{selection}' is known at {len(own)} masses; a line needs two")
        x = np.array([[1.0, fit.generated] for fit in own])
        y = np.array([fit.values["width"] for fit in own])
        errors = np.array([fit.errors["width"] for fit in own])
        covariance = np.linalg.inv((x.T / errors**2) @ x)
        offset, slope = covariance @ (x.T / errors**2) @ y
        chi2 = float((((y - x @ [offset, slope]) / errors) ** 2).sum())
        return Resolution(float(offset), float(slope), covariance, chi2, len(own) - 2)

    def to_json(self) -> dict[str, Any]:
        """Return the fits by mass and selection, the resolution and notes for a summary."""
        shapes = {
            f"{mass:g} GeV": {name: self.fits[mass][name].to_json() for name in self.fits[mass]} for mass in self.masses
        }
        resolution = self.resolution().to_json() if len(self.fits) > 1 else None
        return {"shapes": shapes, "resolution": resolution, "notes": self.notes}


def window(mass: float) -> tuple[float, float]:
    """Return the window in GeV that shapes are fitted in: 10 resolutions of arXiv:2403.04584 to each side."""
    half = _HALF_WIDTH * cms_resolution(mass)
    return mass - half, mass + half


def fit_signals(signals: Mapping[float, Signal]) -> SignalShapes:
    """Fit the shapes of all categories at all masses.

    Parameters
    ----------
    signals : mapping of float to Signal
        By mass, from `hnl.inputs.yields.read_signal`.

    Raises
    ------
    FitError
        Without signal, if a mass has too few candidates for an inclusive shape, or a fit does not converge.
    """
    if not signals:
        raise FitError("there is no signal sample to fit a shape to")
    inclusive: dict[float, ShapeFit] = {}
    first = sorted(signals, key=lambda mass: -np.count_nonzero(signals[mass].chosen(INCLUSIVE)))
    for mass in first:  # the best known first: others use their tails
        known = {at: fit for at, fit in inclusive.items() if fit.effective_events >= FREE_TAILS}
        near = min(known, key=lambda at: abs(at - mass), default=None)
        inclusive[mass] = _fit(signals[mass], INCLUSIVE, None if near is None else known[near].tails)
    fits: dict[float, dict[str, ShapeFit]] = {}
    for mass, signal in sorted(signals.items()):
        fits[mass] = {INCLUSIVE: inclusive[mass]}
        for name in signal.categories:
            weights = signal.correction[signal.chosen(name)]
            if _enough(weights, weights**2):
                fits[mass][name] = _fit(signal, name, inclusive[mass].tails)
    return SignalShapes(fits, next(iter(signals.values())).selections)


def _fit(signal: Signal, selection: str, tails: dict[str, float] | None) -> ShapeFit:
    chosen = signal.chosen(selection)
    mass, weights = signal.candidate_mass[chosen], signal.correction[chosen]
    return fit_shape(mass, weights, signal.mass, *window(signal.mass), tails=tails)


def shape_shifts(
    results: Mapping[str, Any],
    samples: Mapping[str, Sample],
    mass: float,
    category: str,
    *,
    nuisances: Sequence[str] = MOVING,
    notes: list[str] | None = None,
) -> dict[str, dict[str, float]]:
    """Return by how much the mean and the width move under variations that change the mass of candidates.

    Histograms are fitted with the tails of the nominal one. They hold mostly the same events, so that the difference is
    far better known than either.

    Parameters
    ----------
    results, samples
        As for `hnl.inputs.variations.variations`.
    mass : float
        Of N in GeV, a generated one.
    category : str
        With fewer than 30 effective events ``inclusive`` is used in its place, and `notes` gets a sentence.
    nuisances : sequence of str
        Names of variations that have ``NAME:up`` and ``NAME:down``.

    Returns
    -------
    dict of str to dict of str to float
        By nuisance parameter: ``mean`` and ``width``, half the difference of up and down in GeV.

    Raises
    ------
    ValueError
        If no sample has this mass, or no histogram a variation.
    FitError
        If a fit fails, or there are too few events even inclusively.
    """
    members = members_of(results, samples, mass)
    edges, sums = _in_window(results, members, category, mass)
    if not _enough(*sums["nominal"]) and category != INCLUSIVE:
        if notes is not None:
            notes.append(
                f"m_N = {mass:g} GeV, {category}: fewer than {KNOWN_TAILS:g} effective events, the shape moves as the "
                "inclusive one"
            )
        edges, sums = _in_window(results, members, INCLUSIVE, mass)
    nominal = fit_histogram(edges, *sums["nominal"], mass)

    def fitted(variation: str) -> dict[str, float]:
        if variation not in sums:
            raise ValueError(f"no variation '{variation}' of the N mass; {nearest(variation, sums)}")
        return fit_binned(edges, *sums[variation], mass, nominal.values, PARAMETERS[:2]).values

    found = {}
    for name in nuisances:
        up, down = fitted(f"{name}:up"), fitted(f"{name}:down")
        found[name] = {what: (up[what] - down[what]) / 2 for what in PARAMETERS[:2]}
    return found


def _enough(weights: Array, squares: Array) -> bool:
    """Whether there are enough events for a shape of their own."""
    return bool(weights.sum() ** 2 >= KNOWN_TAILS * squares.sum() > 0)


def _in_window(
    results: Mapping[str, Any], members: Sequence[Sample], selection: str, mass: float
) -> tuple[Array, dict[str, tuple[Array, Array]]]:
    """Bins within the window of the fit: their edges, and contents and variances by variation."""
    product = f"{selection}_{MASS_HISTOGRAM}"
    found = summed(results, members, product)
    edges = np.asarray(results[members[0].name][product].axes[0].edges, dtype=np.float64)
    low, high = window(mass)
    first, last = np.searchsorted(edges, [low, high])
    inner = slice(first + 1, last)  # after the underflow; whole bins only
    return edges[first:last], {n: (values[inner], variances[inner]) for n, (values, variances) in found.items()}
