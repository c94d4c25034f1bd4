"""Number of events that decide a limit: the guard of the asymptotic formulae.

A limit compares two hypotheses, mu and 0. Their likelihood ratio is a sum over bins of n log(with/without), which is as
good as normal if no few events carry it. Its skewness says how far it is from that: a single Poisson count of b events
has a skewness of 1/sqrt(b), so that (variance)^3/(third moment)^2 is the number of events of the count that is equally
skewed. Bins that contribute nothing to the sensitivity, because little signal is expected in them or because a nuisance
parameter absorbs it, drop out by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy import optimize

from portico.stats.shapes import Array

__all__ = ["ASYMPTOTIC_FROM", "effective_events", "sensitive_strength"]

#: Events that decide a limit, below which asymptotic limits are too low (2.2 instead of 3.0 for n = 0).
ASYMPTOTIC_FROM: Final = 5.0
_LEAST: Final = 1e-9  # events in a bin, so that logarithms exist
_MEDIAN: Final = 3.84  # q of the strength at the median expected limit of 95%


def effective_events(without: Array, with_signal: Array) -> tuple[float, int]:
    """Return the number of events of a single count that is as skewed as the likelihood ratio.

    Parameters
    ----------
    without, with_signal : array of shape (bins,)
        Expected events of both hypotheses, with nuisance parameters fitted, in all bins and auxiliary counts.

    Returns
    -------
    number : float
        The smaller one of both hypotheses; infinite where they expect the same.
    bin : int
        The one that contributes most to the skewness.
    """
    rates = [np.maximum(of, _LEAST) for of in (without, with_signal)]
    weights = np.abs(np.log(rates[1] / rates[0]))
    found = []
    for rate in rates:
        third = weights**3 * rate
        skewed = float(third.sum())
        number = float(np.sum(weights**2 * rate)) ** 3 / skewed**2 if skewed > 0 else math.inf
        found.append((number, int(np.argmax(third))))
    return min(found)


def sensitive_strength(signal: Sequence[float] | Array, background: Sequence[float] | Array) -> float:
    """Return the strength that is at the median expected limit, without uncertainties.

    Parameters
    ----------
    signal, background : array of shape (bins,)
        Expected events; some signal is above 0.
    """
    s, b = np.asarray(signal, dtype=np.float64), np.maximum(np.asarray(background, dtype=np.float64), _LEAST)

    def excess(logarithm: float) -> float:
        x = math.exp(logarithm) * s
        return 2 * float(np.sum(x - b * np.log1p(x / b))) - _MEDIAN

    center = -math.log(float(s.sum()))
    low, high = center - 1.0, center + 1.0
    while excess(low) > 0:
        low -= 2.0
    while excess(high) < 0:
        high += 2.0
    return math.exp(float(optimize.brentq(excess, low, high, xtol=1e-6)))
