"""Limits from counts against exact Poisson limits, toys and pyhf."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyhf
import pytest
from pyhf.infer.intervals.upper_limits import toms748_scan
from scipy import stats

from portico.errors import FitError
from portico.stats.counting import Count, asymptotic_counts, counting_cls, counting_limit, upper_limit


def one(observed: int | None, background: float, uncertainty: float = 0.0, **other: Any) -> Count:
    return Count(**{"name": "a", "signal": 1.0, "signal_uncertainty": 0.0, **other}, background=background,
                   background_uncertainty=uncertainty, observed=observed)  # fmt: skip


@pytest.mark.parametrize(
    ("observed", "background", "asymptotic", "exact"),
    [(0, 0.5, 2.21, 3.00), (2, 1.5, 4.41, 5.08), (3, 3.2, 4.69, 5.30)],
)
def test_reference_numbers_of_low_counts(observed: int, background: float, asymptotic: float, exact: float) -> None:
    channel = one(observed, background)
    assert asymptotic_counts([channel]).observed == pytest.approx(asymptotic, abs=0.006)
    assert counting_limit([channel]).observed == pytest.approx(exact, abs=0.006)
    assert upper_limit([channel]).method == "counting"


@pytest.mark.parametrize("observed", range(6))
@pytest.mark.parametrize("background", [0.0, 0.5, 1.5, 3.2, 12.0])
def test_exact_limits_of_a_known_background(observed: int, background: float) -> None:
    # P(N <= n | m) is the survival function of chi^2 with 2(n + 1) degrees of freedom at 2m: CLs is solved by hand.
    degrees = 2 * (observed + 1)
    exact = stats.chi2.isf(0.05 * stats.chi2.sf(2 * background, degrees), degrees) / 2 - background
    limit = counting_limit([one(observed, background)])
    assert limit.observed == pytest.approx(exact, rel=1e-5)
    assert counting_limit([one(observed, background, signal=0.25)]).observed == pytest.approx(4 * exact, rel=1e-5)


# Sums of Poisson probabilities term by term, solved by bisection with 30 digits (mpmath), rounded.
@pytest.mark.parametrize(("observed", "exact"), list(enumerate([2.9957, 3.9423, 5.0841, 6.3552, 7.6838, 9.0207])))
def test_golden_limits_at_a_background_of_1_5(observed: int, exact: float) -> None:
    assert counting_limit([one(observed, 1.5)]).observed == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("cl", [0.9, 0.95])
def test_cls_at_the_limit_is_what_is_left(cl: float) -> None:
    counts = [one(3, 2.0, 1.0, name="a", signal=2.0, signal_uncertainty=0.5), one(1, 0.7, 0.5, name="b", signal=1.5)]
    limit = counting_limit(counts, cl=cl)
    assert limit.observed is not None
    assert counting_cls(counts, limit.observed).observed == pytest.approx(1 - cl, rel=1e-4)
    for band, mu in enumerate(limit.expected):
        assert counting_cls(counts, mu).expected[band] == pytest.approx(1 - cl, rel=1e-4)


def test_cls_of_one_count() -> None:
    def poisson(mean: float) -> float:
        return math.exp(-mean) * (1 + mean + mean**2 / 2)

    cls = counting_cls([one(2, 1.5)], 4.0)
    assert cls.clsb == pytest.approx(poisson(5.5))
    assert cls.clb == pytest.approx(poisson(1.5))
    assert cls.observed == pytest.approx(poisson(5.5) / poisson(1.5))
    assert list(cls.expected) == sorted(cls.expected)
    assert counting_cls([one(2, 1.5)], 0.0).observed == 1.0
    blinded = counting_cls([one(None, 1.5)], 4.0)
    assert (blinded.observed, blinded.clsb, blinded.clb) == (None, None, None)
    assert blinded.expected == cls.expected
    for mu in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="finite and not negative"):
            counting_cls([one(2, 1.5)], mu)


def test_signal_less_certain_than_its_size_has_no_limit() -> None:
    with pytest.raises(FitError, match="uncertainty larger than the signal"):
        counting_limit([one(3, 1.0, signal_uncertainty=30.0)])


def test_expected_counting_limits_are_those_of_the_quantiles() -> None:
    expected = counting_limit([one(None, 3.2)]).expected
    counts = [int(stats.poisson.ppf(stats.norm.cdf(n), 3.2)) for n in (-2, -1, 0, 1, 2)]
    assert expected == pytest.approx([counting_limit([one(n, 3.2)]).observed for n in counts], rel=1e-5)


@pytest.mark.parametrize("common", [0.0, 0.4])
def test_counting_with_uncertain_yields_against_toys(common: float) -> None:
    channels = [
        one(3, 2.0, 1.0, name="a", signal=2.0, signal_uncertainty=0.5, common=common),
        one(1, 0.7, 0.5, name="b", signal=1.5, common=0.5 * common),
    ]
    limit = counting_limit(channels)
    assert limit.observed is not None
    from portico.stats.counting import _weights

    rng = np.random.default_rng(1)
    size = 400_000

    def draw(mean: float, error: float) -> Any:
        return rng.gamma((mean / error) ** 2, error**2 / mean, size) if error else np.full(size, mean)

    def probability(mu: float) -> float:
        statistic, shared = np.zeros(size), rng.normal(size=size)
        for weight, c in zip(_weights(channels), channels, strict=True):
            means = draw(c.background, c.background_uncertainty)
            means = means + mu * draw(c.signal, c.signal_uncertainty) * (1 + c.common) ** shared
            statistic += weight * rng.poisson(means)
        threshold = sum(w * (c.observed or 0) for w, c in zip(_weights(channels), channels, strict=True))
        return float(np.mean(statistic <= threshold))

    assert probability(limit.observed) / probability(0.0) == pytest.approx(0.05, abs=0.002)


def test_combination_is_stronger_than_its_best_channel() -> None:
    channels = [one(0, 0.5, 0.2, name="a", signal=2.0), one(1, 1.5, 0.4, name="b", signal=1.5)]
    together = counting_limit(channels).expected[2]
    assert together < min(counting_limit([channel]).expected[2] for channel in channels)


def test_what_signals_share_does_not_average_out() -> None:
    alone, shared = (
        counting_limit([one(1, 1.0, name=name, **{kind: 0.3}) for name in "abcd"]).expected[2]
        for kind in ("signal_uncertainty", "common")
    )
    exact = counting_limit([one(1, 1.0, name=name) for name in "abcd"]).expected[2]
    assert exact < alone < 1.05 * exact
    assert shared - exact > 2 * (alone - exact)


@pytest.mark.parametrize("common", [0.0, 0.1])
def test_methods_agree_for_many_events(common: float) -> None:
    channels = [one(210, 200.0, 5.0, name="a", common=common), one(95, 100.0, 3.0, name="b", signal=0.8, common=common)]
    asymptotic, exact = asymptotic_counts(channels), counting_limit(channels)
    assert upper_limit(channels) == asymptotic
    assert exact.observed == pytest.approx(asymptotic.observed, rel=0.05)
    assert exact.expected == pytest.approx(asymptotic.expected, rel=0.05)


def test_asymptotic_counts_is_that_of_pyhf() -> None:
    channels = [
        one(12, 10.0, 2.0, name="a", signal=3.0, signal_uncertainty=0.3),
        one(6, 7.0, 1.5, name="b", signal=2.0),
    ]
    limit = asymptotic_counts(channels)
    main = pyhf.simplemodels.uncorrelated_background(
        signal=[3.0, 2.0], bkg=[10.0, 7.0], bkg_uncertainty=[2.0, 1.5], validate=False
    )
    without = asymptotic_counts([replace(channel, signal_uncertainty=0.0) for channel in channels])
    observed, expected = toms748_scan([12.0, 6.0, *main.config.auxdata], main, 0.0, 10.0, level=0.05, rtol=1e-4)
    assert without.observed == pytest.approx(float(observed), rel=1e-3)
    assert without.expected == pytest.approx([float(value) for value in expected], rel=1e-3)
    assert limit.observed is not None
    assert float(observed) < limit.observed < 1.1 * float(observed)


def test_blinded_channels_have_expected_limits_only() -> None:
    for method in (asymptotic_counts, counting_limit):
        limit = method([one(None, 6.0, 1.0)])
        assert limit.observed is None
        assert all(low < high for low, high in zip(limit.expected, limit.expected[1:], strict=False))


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ([one(1, 2.0, signal=0.0)], "no channel expects signal"),
        ([one(1, 2.0), one(1, 2.0)], "two channels have the same name"),
        ([one(1, 2.0), one(None, 2.0, name="b")], "some channels are blinded"),
    ],
)
def test_impossible_models(channels: list[Count], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        upper_limit(channels)


def test_impossible_numbers() -> None:
    for value in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="finite and at least 0"):
            one(1, value)
    with pytest.raises(ValueError, match="observed = -1"):
        one(-1, 1.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        upper_limit([one(1, 1.0)], cl=95)
    with pytest.raises(ValueError, match="no background in a"):
        asymptotic_counts([one(1, 0.0)])
