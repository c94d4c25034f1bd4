"""The fraction of prompt Ds, from a template fit of their decay length. Arrays in, numbers out.

Data, weighted so that they are the Ds alone, are a sum of two templates of simulation: prompt Ds, and Ds from decays of
b hadrons, which lie further out. In bin i are expected

    mu_i = N [phi p_i + (1 - phi) b_i],     V_i = N^2 [phi^2 s_i(p) + (1 - phi)^2 s_i(b)],

with p and b the contents of the templates (each adds up to 1) and s their statistical variances. The templates' own
uncertainty is part of the fit: in each bin a factor beta on mu is fitted as well, which the simulation holds near 1.
With k = mu^2 / V, the effective number of simulated events, it has a closed form, and so has what is left to minimise
(Dembinski and Abdelmotteleb, Eur. Phys. J. C 82 (2022) 1043, arXiv:2206.12346):

    beta_i = (n_i + k_i) / (mu_i + k_i),     chi2 = sum_i [D(n_i, beta_i mu_i) + D(k_i, beta_i k_i)],
    D(n, mu) = 2 [mu - n + n ln(n / mu)].

Data with weights enter as n = (sum w)^2 / sum w^2 events, and mu is scaled likewise (Bohm and Zech, Nucl. Instrum.
Meth. A 748 (2014) 1). Free are N and phi. The minimum is distributed as chi2.

This is ``iminuit.cost.Template`` with the method ``da``, which a test compares it with; it is written out here for the
reason that `hnl.fits.mass` gives: ten seconds of compiling where numba is installed. Besides, that one leaves out bins
without simulation.

Bins are made from the simulation, so that data do not choose them: 50 um wide, joined until each holds 20 effective
events of both templates together, and a share of them that lets 10 effective events of data be expected; the first and
the last are open. Thus no bin has data and no simulation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from portico.errors import FitError

if TYPE_CHECKING:
    from iminuit import Minuit

__all__ = ["PromptFit", "fit_prompt", "produced_fraction"]

Array = npt.NDArray[np.float64]
Weighted = tuple[npt.ArrayLike, npt.ArrayLike]

_WHAT: Final = ("data", "template of prompt Ds", "template of Ds from b")
_GRID: Final = np.linspace(0.0, 0.2, 41)  # cm
_FEWEST_IN_BIN: Final = 20.0  # effective simulated events,
_FEWEST_EXPECTED: Final = 10.0  # and of data
_FEWEST_BINS: Final = 4
_FEWEST: Final = 50.0  # effective events of data, and of each template
_BOUNDS: Final = (-0.5, 1.5)  # of phi: beyond 0 and 1, so that it is unbiased near them
_OUTSIDE: Final = 3.0  # standard deviations that phi may be outside of 0 to 1


@dataclass(frozen=True, slots=True)
class PromptFit:
    """The result of a fit.

    Parameters
    ----------
    fraction, error : float
        Fraction phi of prompt ones among the Ds that were selected, as fitted: it may be a little outside of 0 to 1.
    total, total_error : float
        Weighted events N.
    edges : array of shape (bins + 1,)
        In cm. Events below the first or above the last are in the first and the last bin.
    data, variance : array of shape (bins,)
        Sum of weights, and of their squares.
    templates, template_variance : array of shape (2, bins)
        Prompt and from b; each template adds up to 1.
    chi2, p_value : float
        Goodness of fit.
    ndof : int
        Bins less 2.
    """

    fraction: float
    error: float
    total: float
    total_error: float
    edges: Array
    data: Array
    variance: Array
    templates: Array
    template_variance: Array
    chi2: float
    ndof: int
    p_value: float

    @property
    def components(self) -> Array:
        """Expected events of prompt Ds and of those from b, of shape (2, bins)."""
        yields = self.total * np.array([self.fraction, 1 - self.fraction])
        return np.asarray(yields[:, None] * self.templates)

    @property
    def pulls(self) -> Array:
        """Data less fit over the errors of data and templates, of shape (bins,)."""
        yields = self.total * np.array([self.fraction, 1 - self.fraction])
        variance = self.variance + yields**2 @ self.template_variance
        return np.asarray((self.data - self.components.sum(axis=0)) / np.sqrt(variance))

    def to_json(self) -> dict[str, Any]:
        """Return the result for a summary."""
        return {
            "selected": {"value": self.fraction, "error": self.error},
            "events": {"value": self.total, "error": self.total_error},
            "edges": self.edges.tolist(), "chi2": self.chi2, "ndof": self.ndof, "p_value": self.p_value,
        }  # fmt: skip


def fit_prompt(data: Weighted, prompt: Weighted, beauty: Weighted) -> PromptFit:
    """Fit the fraction of prompt Ds to their proper decay length.

    Parameters
    ----------
    data, prompt, beauty : (array of shape (n,), array of shape (n,))
        Decay lengths in cm, and weights: of data and of the two templates.

    Raises
    ------
    FitError
        If there are too few events, a template or the data have a negative content in a bin, the fit does not converge,
        or the fraction is far outside of 0 to 1: then the templates are not those of the data.
    """
    lengths, weights = zip(*(_checked(*pair) for pair in (data, prompt, beauty)), strict=True)
    for what, weight in zip(_WHAT, weights, strict=True):
        if (effective := _effective(weight)) < _FEWEST:
            raise FitError(
                f"the decay length of the Ds: {what}: worth {effective:.1f} events of weight 1, {_FEWEST:g} are needed"
            )
    edges = _edges(np.concatenate(lengths[1:]), np.concatenate(weights[1:]), _effective(weights[0]))
    contents, variances = zip(*(_histogram(*pair, edges) for pair in zip(lengths, weights, strict=True)), strict=True)
    _require_positive(contents, edges)
    sums = np.array([content.sum() for content in contents[1:]])[:, None]
    templates, spread = np.stack(contents[1:]) / sums, np.stack(variances[1:]) / sums**2
    minuit = _minimise(contents[0], variances[0], templates, spread)
    ndof = len(contents[0]) - 2
    chi2 = float(minuit.fval or 0.0)
    return PromptFit(
        float(minuit.values["fraction"]), float(minuit.errors["fraction"]), float(minuit.values["total"]),
        float(minuit.errors["total"]), edges, contents[0], variances[0], templates, spread, chi2, ndof,
        float(stats.chi2.sf(chi2, ndof)),
    )  # fmt: skip


def produced_fraction(selected: tuple[float, float], ratio: tuple[float, float]) -> tuple[float, float]:
    """Return the fraction of prompt ones among all Ds that were produced, and its error.

    f = phi / [phi + r (1 - phi)], with r = eff(prompt) / eff(from b); its error is propagated to first order from those
    of phi and r: df/dphi = r / D^2 and df/dr = -phi (1 - phi) / D^2, with D the denominator.

    Parameters
    ----------
    selected : (float, float)
        Fraction phi of prompt ones among those selected, 0 to 1, and its error.
    ratio : (float, float)
        r, above 0, and its error.
    """
    (phi, phi_error), (r, r_error) = selected, ratio
    denominator = phi + r * (1 - phi)
    error = math.hypot(r * phi_error, phi * (1 - phi) * r_error) / denominator**2
    return phi / denominator, error


def _checked(length: npt.ArrayLike, weight: npt.ArrayLike) -> tuple[Array, Array]:
    lengths, weights = np.asarray(length, np.float64), np.asarray(weight, np.float64)
    if lengths.shape != weights.shape or lengths.ndim != 1:
        raise ValueError(f"decay lengths of shape {lengths.shape} and weights of shape {weights.shape}: one an event")
    if not (np.isfinite(lengths).all() and np.isfinite(weights).all()):
        raise FitError("the decay length of the Ds: a length or a weight is not a finite number")
    return lengths, weights


def _effective(weight: Array) -> float:
    squares = float(np.sum(weight**2))
    total = max(float(weight.sum()), 0.0)
    return total**2 / squares if squares > 0 else 0.0


def _edges(length: Array, weight: Array, events: float) -> Array:
    """Edges of a fine grid, without those that have too little simulation, or too few expected data, below them."""
    content, squares = _histogram(length, weight, _GRID)
    least = content.sum() * _FEWEST_EXPECTED / events
    edges, total, square = [_GRID[0]], 0.0, 0.0
    for i, (value, variance) in enumerate(zip(content, squares, strict=True)):
        total, square = total + value, square + variance
        if total >= least and total**2 >= _FEWEST_IN_BIN * square:
            edges.append(_GRID[i + 1])
            total = square = 0.0
    if square > 0 and len(edges) > 1:  # what is left of the tail goes to the bin before
        edges[-1] = _GRID[-1]
    if len(edges) - 1 < _FEWEST_BINS:
        raise FitError(
            f"the decay length of the Ds: data and simulation suffice for {len(edges) - 1} bins, {_FEWEST_BINS} are "
            "needed"
        )
    return np.array(edges)


def _histogram(length: Array, weight: Array, edges: Array) -> tuple[Array, Array]:
    """Sums of weights and of their squares, with what lies outside in the first and the last bin."""
    number = np.clip(np.searchsorted(edges, length, side="right") - 1, 0, len(edges) - 2)
    return tuple(np.bincount(number, weights=w, minlength=len(edges) - 1) for w in (weight, weight**2))  # type: ignore[return-value]


def _require_positive(contents: Sequence[Array], edges: Array) -> None:
    for what, content, lowest in zip(_WHAT, contents, (np.finfo(float).tiny, 0.0, 0.0), strict=True):
        if len(wrong := np.flatnonzero(content < lowest)):
            i = wrong[0]
            why = "there are too few events for their weights" if content is contents[0] else "its weights are negative"
            raise FitError(
                f"the decay length of the Ds: {what}: a content of {content[i]:.4g} from {edges[i]:g} to "
                f"{edges[i + 1]:g} cm; {why}"
            )


def _minimise(content: Array, variance: Array, templates: Array, spread: Array) -> Minuit:
    from iminuit import Minuit

    scale = content / variance
    n = content * scale

    def chi2(total: float, fraction: float) -> float:
        yields = total * np.array([fraction, 1 - fraction])
        mu = scale * (yields @ templates)
        v = scale**2 * (yields**2 @ spread)
        if not (mu > 0).all():
            return 1e9 * (1 + fraction**2)  # outside of what a sum of the templates can be
        k = mu**2 / v
        beta = (n + k) / (mu + k)
        return float(_deviance(n, beta * mu) + _deviance(k, beta * k))

    minuit = Minuit(chi2, total=float(content.sum()), fraction=0.5)
    minuit.print_level = -1
    minuit.errordef = Minuit.LEAST_SQUARES
    minuit.limits["fraction"] = _BOUNDS
    minuit.tol = 0.01
    minuit.migrad(ncall=2000, iterate=5)
    minuit.hesse()
    fraction, error = minuit.values["fraction"], minuit.errors["fraction"]
    found = f"a fraction of prompt Ds of {fraction:.3f} +- {error:.3f}"
    if not minuit.valid or not minuit.accurate:
        raise FitError(f"the fit of the decay length of the Ds does not converge; it is at {found}")
    if max(-fraction, fraction - 1) > _OUTSIDE * error:
        raise FitError(
            f"the fit of the decay length of the Ds gives {found}: the simulated templates are not those of the data"
        )
    return minuit


def _deviance(n: Array, mu: Array) -> float:
    return 2.0 * float(np.sum(mu - n + special.xlogy(n, n / mu)))
