"""Goodness of fit, pulls and impacts against hand calculations and exact expectations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import optimize, special, stats

from portico.errors import ConfigError, FitError
from portico.stats import goodness, impacts
from portico.stats.fit import Fit, Fitter
from portico.stats.goodness import goodness_of_fit
from portico.stats.impacts import pulls_and_impacts
from portico.stats.model import Channel, Component, Model, observation
from portico.stats.shapes import Array, Bernstein, DoubleCrystalBall, Exponentials, Parameter, Template

EDGES = np.linspace(0, 1, 41)
FALL = Exponentials(low=0, high=1)


def poisson(events: float, seed: int, slope: float = -1.5) -> Array:
    return np.random.default_rng(seed).poisson(FALL.contents(EDGES, np.array([slope])) * events).astype(float)


def peak_on_background(counts: Array | None, *, name: str = "a", shapes: Any = (FALL,), **channel: Any) -> Channel:
    peak = DoubleCrystalBall(low=0, high=1, mean=0.5, width=0.04, alpha_left=1.5, n_left=3, alpha_right=1.5, n_right=4)
    signal = Component(name="signal", shapes=(peak,), events=20.0, strength="mu", effects={"lumi": (1 / 1.05, 1.05)})
    background = Component(name="background", shapes=shapes, events=1.0, strength=f"n_{name}", floating=True)
    data = {} if counts is None else {"counts": tuple(counts)}
    return Channel(name=name, edges=tuple(EDGES), components=(signal, background), **data, **channel)


def model(*channels: Channel, low: float = -20.0) -> Model:
    free = [Parameter(name=f"n_{c.name}", start=300.0, low=0.0, high=1e6, step=10) for c in channels]
    return Model(channels=channels, parameters=(Parameter(name="mu", start=0.5, low=low, high=50.0), *free))


def fitted(of: Model, fixed: dict[str, float] | None = None) -> Fit:
    return Fitter(of, observation(of)).fit(fixed)


# goodness of fit


@pytest.mark.parametrize(
    ("expected", "starts"),
    [
        ([2, 2, 2, 10, 1], [0, 3]),
        ([5, 5, 5], [0, 1, 2]),
        ([1, 1, 1], [0]),
        ([9, 0.1, 0.1], [0]),
        ([0, 0, 7, 6], [0, 3]),
    ],
)
def test_bins_are_joined_until_five_are_expected(expected: list[float], starts: list[int]) -> None:
    assert list(goodness.joined(np.array(expected, dtype=float))) == starts


def test_agreement_by_hand() -> None:
    flat = Bernstein(low=0, high=4, order=0)
    n = np.array([13.0, 7.0, 11.0, 9.0])
    component = Component(name="signal", shapes=(flat,), events=10.0, strength="mu")
    of = Model(
        channels=(Channel(name="a", edges=(0, 1, 2, 3, 4), counts=tuple(n), components=(component,)),),
        parameters=(Parameter(name="mu", start=3.0, low=0, high=100),),
    )
    row = goodness_of_fit(of, fitted(of)).combined
    statistic = 2 * np.sum(10 - n + special.xlogy(n, n / 10))
    assert row.statistic == pytest.approx(statistic, rel=1e-3)
    assert (row.bins, row.parameters, row.toys) == (4, 1, 0)
    assert row.p == pytest.approx(stats.chi2.sf(statistic, 3), rel=1e-3)
    assert row.distance == pytest.approx(0.075, abs=1e-6)  # after 13 of 40 events where 10 are expected
    assert math.isnan(row.p_toys)
    held = goodness_of_fit(of, fitted(of, {"mu": 4.0}), fixed={"mu": 4.0}).combined
    assert held.parameters == 0


def test_channels_share_parameters() -> None:
    of = model(peak_on_background(poisson(800, 1)), peak_on_background(poisson(500, 2), name="a_b"))
    found = goodness_of_fit(of, fitted(of))
    assert [row.name for row in found.channels] == ["a", "a_b"]
    assert [row.parameters for row in found.channels] == [2, 2]  # events and slope
    assert found.combined.parameters == 5  # and mu
    assert found.combined.statistic == pytest.approx(sum(row.statistic for row in found.channels))
    assert found.combined.bins == sum(row.bins for row in found.channels)
    assert found.combined.p > 0.01


def test_p_values_are_uniform() -> None:
    p = []
    for seed in range(100):
        of = model(peak_on_background(poisson(600, seed)))
        p.append(goodness_of_fit(of, fitted(of)).combined.p)
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert np.mean(p) == pytest.approx(0.5, abs=0.1)


def test_wrong_shapes_are_seen() -> None:
    counts = poisson(2000, 3, slope=-4.0)
    of = model(peak_on_background(counts, shapes=(Bernstein(low=0, high=1, order=0),)))
    row = goodness_of_fit(of, fitted(of), toys=20).combined
    assert row.p < 1e-9
    assert row.p_toys == row.p_distance == pytest.approx(1 / 21)


def test_toys_agree_with_chi2_and_do_not_depend_on_chance() -> None:
    of = model(peak_on_background(poisson(400, 5)))
    fit = fitted(of)
    one, other = (goodness_of_fit(of, fit, toys=60, seed=4).combined for _ in range(2))
    assert one == other
    assert one.toys == 60
    assert one.p_toys == pytest.approx(one.p, abs=0.25)
    assert one != goodness_of_fit(of, fit, toys=60, seed=5).combined


def test_few_events_leave_no_degree_of_freedom_but_toys() -> None:
    counts = np.zeros(40)
    counts[[3, 5, 20]] = 1
    of = model(peak_on_background(counts))
    row = goodness_of_fit(of, fitted(of, {"mu": 0.0}), fixed={"mu": 0.0}, toys=30).combined
    assert row.bins == 1
    assert math.isnan(row.p)
    assert 0 < row.p_distance <= 1
    empty = model(peak_on_background(np.zeros(40)))
    nothing = goodness_of_fit(empty, fitted(empty, {"mu": 0.0}), fixed={"mu": 0.0}).combined
    assert nothing.statistic == pytest.approx(0, abs=1e-2)
    assert math.isnan(nothing.distance)


def test_blinded_bins_and_unbinned_data() -> None:
    counts = poisson(900, 6)
    centers = (EDGES[1:] + EDGES[:-1]) / 2
    loud = np.where(np.abs(centers - 0.5) < 0.09, 500.0, counts)
    rows = []
    for n in (counts, loud):
        of = model(peak_on_background(n, blind=((0.4, 0.6),)))
        rows.append(goodness_of_fit(of, fitted(of, {"mu": 0.0}), fixed={"mu": 0.0}).combined)
    assert rows[0] == rows[1]
    assert rows[0].bins == 32
    channel = peak_on_background(None)
    values = np.repeat(centers, counts.astype(int))
    unbinned = model(channel.model_copy(update={"values": tuple(values)}))
    binned = model(peak_on_background(counts))
    one, other = (goodness_of_fit(of, fitted(of)).combined for of in (unbinned, binned))
    assert one.statistic == pytest.approx(other.statistic, rel=0.02)


def test_toys_that_fail_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    of = model(peak_on_background(poisson(400, 5)))
    fit = fitted(of)
    with pytest.raises(ValueError, match="toys = -1; it must be 0 or more"):
        goodness_of_fit(of, fit, toys=-1)

    def broken(*_: Any, **__: Any) -> Fit:
        raise FitError("the fit does not converge: mu = 3")

    monkeypatch.setattr(goodness.Fitter, "fit", broken)
    with pytest.raises(FitError, match="5 of 5 fits of toys fail, the last one: the fit does not converge: mu = 3"):
        goodness_of_fit(of, fit, toys=5)


# pulls and impacts


def counting(n: float = 1000.0, control: float | None = None, low: float = -50.0, **more: Any) -> Model:
    """100 mu signal events on 900 known ones, and a control region of 10,000 events that knows the background."""
    flat = Bernstein(low=0, high=1, order=0)
    of_background = {"background": (1 / 1.05, 1.05)}
    components = (
        Component(name="signal", shapes=(flat,), events=100, strength="mu", effects={"efficiency": (1 / 1.1, 1.1)}),
        Component(name="background", shapes=(flat,), events=900, effects=of_background),
    )
    channels = [Channel(name="search", edges=(0, 1), counts=(n,), components=components)]
    if control is not None:
        background = Component(name="background", shapes=(flat,), events=10_000, effects=of_background)
        channels.append(Channel(name="control", edges=(0, 1), counts=(control,), components=(background,)))
    free = (Parameter(name="mu", start=1.0, low=low, high=50.0), *more.get("parameters", ()))
    return Model(channels=tuple(channels), parameters=free)


def test_impacts_of_a_counting_experiment() -> None:
    rows = pulls_and_impacts(counting())
    assert [row.name for row in rows] == ["background", "efficiency"]
    for row in rows:
        assert row.pull == pytest.approx(0, abs=2e-2)
        assert row.sigma == pytest.approx(1, rel=1e-2)
        assert row.note == ""
    assert rows[0].up == pytest.approx(-0.45, rel=2e-2)  # (1000 - 945)/100 - 1
    assert rows[0].down == pytest.approx(9 * (1 - 1 / 1.05), rel=2e-2)
    assert rows[1].up == pytest.approx(1 / 1.1 - 1, rel=2e-2)
    assert rows[1].down == pytest.approx(0.1, rel=2e-2)
    assert [row.name for row in pulls_and_impacts(counting(), ["efficiency"])] == ["efficiency"]


def test_data_pull_and_constrain() -> None:
    row = pulls_and_impacts(counting(control=10_250.0), ["background"])[0]
    k = math.log(1.05)
    pull = optimize.brentq(lambda theta: theta + k * (10_000 * 1.05**theta - 10_250), 0, 1)  # the slope of -log L
    assert row.pull == pytest.approx(pull, rel=1e-2)
    assert row.sigma == pytest.approx(1 / math.sqrt(1 + 10_000 * 1.05**pull * k**2), rel=1e-2)
    with_it = 900 * 1.05 ** (row.pull + row.sigma)
    without = 900 * 1.05**row.pull
    assert row.up == pytest.approx((without - with_it) / 100, rel=2e-2)


def test_impacts_of_a_lack_of_events_are_not_cut_at_zero() -> None:
    rows = pulls_and_impacts(counting(n=850.0, low=0.0))
    assert rows[0].up == pytest.approx(-0.45, rel=2e-2)


def test_impacts_of_asimov_data() -> None:
    rows = pulls_and_impacts(counting(n=1400.0), mu=2.0)
    assert {row.name for row in rows} == {"efficiency", "background"}
    efficiency = next(row for row in rows if row.name == "efficiency")
    assert efficiency.up == pytest.approx(2 * (1 / 1.1 - 1), rel=2e-2)


def test_blinded_impacts_know_nothing_of_the_data() -> None:
    counts = poisson(900, 6)
    loud = np.where(np.abs((EDGES[1:] + EDGES[:-1]) / 2 - 0.5) < 0.09, 500.0, counts)
    one, other = (model(peak_on_background(n, blind=((0.4, 0.6),))) for n in (counts, loud))
    assert pulls_and_impacts(one) == pulls_and_impacts(other)
    assert pulls_and_impacts(one, mu=1.0)[0].up == pytest.approx(1 / 1.05 - 1, rel=0.1)


def test_unusual_parameters_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    tight = (Parameter(name="background", start=0.0, low=-0.3, high=0.3, constrained=True),)
    row = pulls_and_impacts(counting(control=10_250.0, parameters=tight), ["background"])[0]
    assert row.pull == pytest.approx(0.3, abs=1e-3)
    assert row.note.startswith("at a limit: background")
    fit = impacts.Fitter.fit

    def broken(self: Any, fixed: Any = None, **options: Any) -> Fit:
        if fixed and "efficiency" in fixed and fixed["efficiency"] > 0.5:
            raise FitError("the fit does not converge")
        return fit(self, fixed, **options)

    monkeypatch.setattr(impacts.Fitter, "fit", broken)
    row = pulls_and_impacts(counting(), ["efficiency"])[0]
    assert math.isnan(row.up)
    assert row.size == abs(row.down)
    assert row.note == "up: the fit does not converge"


def test_unknown_nuisance_parameters_and_none() -> None:
    with pytest.raises(ConfigError, match="no nuisance parameter 'eficiency'; did you mean 'efficiency'\\? valid: b"):
        pulls_and_impacts(counting(), ["eficiency"])
    with pytest.raises(ConfigError, match="no nuisance parameter 'mu'; valid: background, efficiency"):
        pulls_and_impacts(counting(), ["mu"])
    flat = Component(name="s", shapes=(Template(low=0, high=1, bins=(1,)),), events=5, strength="mu")
    bare = Model(
        channels=(Channel(name="a", edges=(0, 1), counts=(4,), components=(flat,)),),
        parameters=(Parameter(name="mu", start=1, low=0, high=9),),
    )
    assert pulls_and_impacts(bare) == []
