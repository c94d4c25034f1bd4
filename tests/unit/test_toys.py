"""Toys against exact Poisson probabilities; limits from statistics whose distributions are known."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import stats

from portico.errors import ConfigError, FitError
from portico.stats.asymptotic import ModelProfiles
from portico.stats.counting import Count, counting_cls, counting_limit
from portico.stats.model import Channel, Component, Model
from portico.stats.shapes import DoubleCrystalBall, Exponentials, Parameter, Template
from portico.stats.toy_limits import OutOfRange, ToyStatistics, cls_of, limit_of, statistics_of
from portico.stats.toy_step import run_toys, strengths, toy_limit
from portico.stats.toys import ModelToys, throw_toy, throw_toys

MU = Parameter(name="mu", start=1.0, low=0.0, high=100.0)


def one_bin(observed: int | None, background: float, **other: Any) -> Model:
    flat = (Template(low=0.0, high=1.0, bins=(1.0,)),)
    components = (
        Component(name="signal", shapes=flat, events=1.0, strength="mu"),
        Component(name="background", shapes=flat, events=background, **other),
    )
    counts = None if observed is None else (float(observed),)
    channel = Channel(name="a", edges=(0.0, 1.0), counts=counts, components=components)
    return Model(channels=(channel,), parameters=(MU,))


def number(value: float | None) -> float:
    assert value is not None
    return value


def peak(*, values: bool) -> Model:
    edges = np.linspace(0.0, 1.0, 11)
    x = (np.arange(60) + 0.5) / 60
    data: dict[str, Any] = {"values": tuple(x)} if values else {"counts": tuple(np.histogram(x, edges)[0].tolist())}
    shapes = {"low": 0.0, "high": 1.0}
    signal = DoubleCrystalBall(
        **shapes, mean=0.5, width=0.05, alpha_left=1.5, n_left=3.0, alpha_right=1.5, n_right=3.0
    )
    components = (
        Component(name="signal", shapes=(signal,), events=5.0, strength="mu", effects={"efficiency": (0.9, 1.1)}),
        Component(name="background", shapes=(Exponentials(**shapes),), events=1.0, strength="n", floating=True),
    )
    channel = Channel(name="a", edges=tuple(edges.tolist()), components=components, **data)
    return Model(channels=(channel,), parameters=(MU, Parameter(name="n", start=50.0, low=0.0, high=1e4, step=5.0)))


@pytest.mark.parametrize(("observed", "background", "mu"), [(3, 3.2, 4.0), (0, 0.5, 2.0)])
def test_toys_agree_with_the_exact_construction(observed: int, background: float, mu: float) -> None:
    exact = counting_cls([Count("a", background, 0.0, 1.0, 0.0, observed)], mu)
    toys = cls_of(throw_toys(ModelToys(one_bin(observed, background)), mu, 400, seed=3))
    cls, clsb, clb = (number(value) for value in (exact.observed, exact.clsb, exact.clb))
    relative = (1 - clsb) / clsb / 400 + (1 - clb) / clb / 400
    assert number(toys.uncertainty) == pytest.approx(cls * math.sqrt(relative), rel=0.5)
    assert abs(number(toys.observed) - cls) < 3.5 * cls * math.sqrt(relative)
    assert abs(number(toys.clsb) - clsb) < 3.5 * math.sqrt(clsb * (1 - clsb) / 400)
    assert abs(number(toys.clb) - clb) < 3.5 * math.sqrt(clb * (1 - clb) / 400)
    for band in (2, 3, 4):
        assert abs(toys.expected[band] - exact.expected[band]) < 3.5 * toys.expected_uncertainties[band]
    assert toys.failed == 0


def test_limit_from_toys_is_the_exact_one() -> None:
    source = ModelToys(one_bin(3, 3.2))
    mus = (2.2, 4.0, 6.0, 12.0)
    limit = limit_of([throw_toys(source, mu, 300, index=i) for i, mu in enumerate(mus)])
    exact = counting_limit([Count("a", 3.2, 0.0, 1.0, 0.0, 3)])
    assert limit.method == "toys"
    assert number(limit.uncertainty) < 0.5
    assert abs(number(limit.observed) - number(exact.observed)) < 3.5 * number(limit.uncertainty)
    assert abs(limit.expected[2] - exact.expected[2]) < 3.5 * limit.expected_uncertainties[2]
    assert [cls.mu for cls in limit.scan] == list(mus)


def gaussian(mu: float, observed: float | None, toys: int) -> ToyStatistics:
    """Return q_mu of a measurement of mu with an uncertainty of 1, without fluctuations: at quantiles."""
    x = stats.norm.ppf((np.arange(toys) + 0.5) / toys)
    q = [np.where(x + at < mu, (mu - x - at) ** 2, 0.0) for at in (0.0, mu)]
    of_data = None if observed is None else max(mu - observed, 0.0) ** 2
    return ToyStatistics(mu, of_data, q[0], q[1])


@pytest.mark.parametrize("observed", [-0.5, 0.0, 1.0])
def test_limits_of_a_gaussian_measurement(observed: float) -> None:
    # CLs = Phi(x - mu)/Phi(x) for a measured x: limits are x + Phi^-1(1 - 0.05 Phi(x)).
    limit = limit_of([gaussian(mu, observed, 40_000) for mu in np.geomspace(0.8, 5.0, 12)])
    exact = [x + stats.norm.isf(0.05 * stats.norm.cdf(x)) for x in (observed, -2, -1, 0, 1, 2)]
    assert limit.observed == pytest.approx(exact[0], rel=5e-3)
    assert limit.expected == pytest.approx(exact[1:], rel=1e-2)
    # the slope of log CLs is -phi/(1 - Phi), and CLs+b and CLb are shares of 40,000
    distance = exact[0] - observed
    slope = stats.norm.pdf(distance) / stats.norm.sf(distance)
    one = math.sqrt((1 / stats.norm.sf(distance) - 1 + 1 / stats.norm.cdf(observed) - 1) / 40_000) / slope
    assert 0.3 * one < number(limit.uncertainty) < one  # several points share the work


def test_uncertainty_of_a_limit_is_the_spread_of_limits() -> None:
    rng, found = np.random.default_rng(5), []
    for _ in range(60):
        scan = []
        for mu in np.geomspace(0.3, 6.0, 10):
            q = [np.maximum(mu - rng.normal(at, 1.0, 400), 0.0) ** 2 for at in (0.0, mu)]
            scan.append(ToyStatistics(mu, mu**2, q[0], q[1]))
        found.append(limit_of(scan))
    exact = stats.norm.isf(0.025)
    pulls = [(number(limit.observed) - exact) / number(limit.uncertainty) for limit in found]
    assert abs(float(np.mean(pulls))) < 0.45
    assert 0.7 < float(np.std(pulls)) < 1.3


def test_toys_are_seeded_one_by_one() -> None:
    source = ModelToys(one_bin(3, 3.2))
    first = throw_toys(source, 4.0, 100, seed=7, index=2)
    again = [throw_toy(ModelToys(one_bin(3, 3.2)), 4.0, n, signal=True, seed=7, index=2) for n in (99, 3, 50)]
    assert again == [first.signal[n] for n in (99, 3, 50)]
    for other in (throw_toys(source, 4.0, 100, seed=8, index=2), throw_toys(source, 4.0, 100, seed=7, index=3)):
        assert not np.array_equal(other.signal, first.signal)
        assert not np.array_equal(other.background, first.background)
    assert not np.array_equal(first.background, first.signal)


def test_constraints_are_thrown_around_the_fit_to_the_data() -> None:
    # 8 observed of 4 expected with a factor of 1.5 at +1: the fit without signal pulls the parameter, and toys follow.
    source = ModelToys(one_bin(8, 4.0, effects={"rate": (1 / 1.5, 1.5)}))
    thrown = [source.sample(0.0, np.random.default_rng(n)) for n in range(2000)]
    fit = thrown[0][1]
    pull = fit.values["rate"]
    # d/dt of 4 f^t - 8 t log f + t^2/2 with f = 1.5
    assert 4 * math.log(1.5) * 1.5**pull - 8 * math.log(1.5) + pull == pytest.approx(0.0, abs=2e-2)
    centers = np.array([data.centers["rate"] for data, _ in thrown])
    counts = np.array([data.channels[0].weights[0] for data, _ in thrown])
    assert centers.mean() == pytest.approx(pull, abs=4 / math.sqrt(2000))
    assert centers.std() == pytest.approx(1.0, abs=4 / math.sqrt(4000))
    assert counts.mean() == pytest.approx(4 * 1.5**pull, abs=4 * math.sqrt(4 * 1.5**pull / 2000))


def test_unbinned_data_are_taken_in_fine_bins() -> None:
    unbinned, exact = ModelToys(peak(values=True)), ModelProfiles(peak(values=True))
    assert len(unbinned.model.channels[0].edges) == 201
    assert sum(unbinned.model.channels[0].counts or ()) == 60
    assert unbinned.observed_statistic(2.0) == pytest.approx(exact.statistics(2.0)[0], abs=0.03)
    data, fit = unbinned.sample(1.0, np.random.default_rng(1))
    assert data.channels[0].weights.sum() == pytest.approx(60, abs=35)
    assert unbinned.statistic(1.0, (data, fit)) >= 0


def test_blinded_and_absent_data_give_expected_limits_only() -> None:
    blind = peak(values=False)
    blind = blind.model_copy(update={"channels": (blind.channels[0].model_copy(update={"blind": ((0.3, 0.7),)}),)})
    for source in (ModelToys(blind), ModelToys(one_bin(None, 3.2)), ModelToys(one_bin(9, 3.2), blind=True)):
        assert not source.observed
        with pytest.raises(ValueError, match="blinded or missing"):
            source.observed_statistic(1.0)
    # what is seen does not enter: the same toys as without data
    statistics = [throw_toys(ModelToys(model, blind=True), 4.0, 100) for model in (one_bin(9, 3.2), one_bin(None, 3.2))]
    assert np.array_equal(statistics[0].signal, statistics[1].signal)
    cls = cls_of(statistics[0])
    assert (cls.observed, cls.clsb, cls.clb, cls.uncertainty) == (None, None, None, None)
    # all bins are thrown, also the blinded ones
    data, fit = ModelToys(blind).sample(1.0, np.random.default_rng(2))
    assert fit.values["mu"] == 1.0
    assert data.channels[0].used.all()
    assert data.channels[0].weights[3:7].sum() > 0


def test_toys_that_fail_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ModelToys(one_bin(3, 3.2))
    calls = iter(range(1000))

    def failing(mu: float, data: Any) -> float:
        if next(calls) % 200 == 7:
            raise FitError("no minimum")
        return 1.0

    monkeypatch.setattr(source, "statistic", failing)
    statistics = throw_toys(source, 4.0, 200)
    assert (statistics.failed, len(statistics.background), len(statistics.signal)) == (2, 199, 199)
    assert cls_of(statistics).failed == 2
    bad = np.array([math.nan] * 3 + [1.0] * 197)
    with pytest.raises(FitError, match=r"to 3 of 200 toys with signal do not converge at mu = 4; up to 1% may"):
        statistics_of(4.0, None, np.ones(200), bad)


def test_a_fit_to_the_data_that_fails_is_no_failed_toy(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ModelToys(one_bin(3, 3.2))

    def fails(mu: float) -> None:
        raise FitError("no minimum of the data")

    monkeypatch.setattr(source, "_conditional", fails)
    with pytest.raises(FitError, match="no minimum of the data"):
        throw_toys(source, 4.0, 100)


def test_data_beyond_all_toys() -> None:
    few = ToyStatistics(1.0, 50.0, np.zeros(100), np.zeros(100))
    cls = cls_of(few)
    assert cls.observed == 0.0
    assert number(cls.uncertainty) > 0.5  # no toy is so far, with signal or without: nothing is known


def test_where_to_look_is_told() -> None:
    with pytest.raises(OutOfRange, match=r"\(expected at -2\) is below 0.05 for all mu from 3 to 5; give lower") as low:
        limit_of([gaussian(mu, None, 1000) for mu in (3.0, 4.0, 5.0)])
    assert not low.value.higher
    with pytest.raises(OutOfRange, match=r"CLs \(expected at \+1\) is not below 0.05 for .* give higher ones") as high:
        limit_of([gaussian(mu, None, 1000) for mu in (0.5, 1.5, 2.4)])
    assert high.value.higher


def test_strengths_surround_the_limits() -> None:
    found = strengths(one_bin(3, 3.2))
    exact = counting_limit([Count("a", 3.2, 0.0, 1.0, 0.0, 3)])
    assert found == sorted(found)
    assert found[0] < exact.expected[0]
    assert found[-1] > exact.expected[-1]
    assert all(1.1 < b / a < 1.3 for a, b in pairwise(found))
    assert strengths(one_bin(None, 3.2)) == strengths(one_bin(30, 3.2), blind=True)
    assert strengths(one_bin(30, 3.2))[-1] > 1.5 * found[-1]


def test_impossible_requests(tmp_path: Any) -> None:
    source, model = ModelToys(one_bin(3, 3.2)), one_bin(3, 3.2)
    for mu in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="finite and above 0"):
            throw_toys(source, mu, 100)
        with pytest.raises(ConfigError, match="finite and above 0"):
            run_toys(model, [mu], 100, tmp_path)
    with pytest.raises(ValueError, match="10 toys are too few, 100 are needed"):
        throw_toys(source, 1.0, 10)
    with pytest.raises(ConfigError, match="10 toys are too few, 100 are needed"):
        toy_limit(model, tmp_path, toys=10, mus=(1.0,))
    with pytest.raises(ConfigError, match="no signal strengths"):
        run_toys(model, [], 100, tmp_path)
    with pytest.raises(ConfigError, match="seed = -1"):
        run_toys(model, [1.0], 100, tmp_path, seed=-1)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        toy_limit(model, tmp_path, cl=95)
    with pytest.raises(ValueError, match="between 0 and 1"):
        limit_of([gaussian(1.0, 0.0, 100)] * 2, cl=95)
    with pytest.raises(ValueError, match="two strengths"):
        limit_of([gaussian(1.0, 0.0, 100)])
    (tmp_path / "analysis.yaml").write_text("name: mine\n")
    with pytest.raises(ConfigError, match="belongs to another analysis; give toys a separate folder"):
        run_toys(model, [1.0], 100, tmp_path)
    assert (tmp_path / "analysis.yaml").read_text() == "name: mine\n"


def test_few_toys_tell_little() -> None:
    # 9 toys of 100 with signal up to some strength, none from the next one on: CLs falls below 0.05 about there
    scan = [ToyStatistics(mu, None, np.full(100, 2.0), np.array([3.0] * n + [0.0] * (100 - n)))
            for mu, n in ((1.0, 9), (2.0, 9), (3.0, 0))]  # fmt: skip
    limit = limit_of(scan)
    assert all(1.5 < mu < 3.0 for mu in limit.expected)
    assert all(0.1 < error < 1.0 for error in limit.expected_uncertainties)
