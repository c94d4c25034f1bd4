"""The core of portico.stats against quadrature, differences, hand calculations, brute force and pyhf."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import integrate, stats

from portico.errors import FitError
from portico.stats import fit as fitting
from portico.stats.asymptotic import ModelProfiles, asymptotic_limit, cls_at, discovery
from portico.stats.fit import Fitter
from portico.stats.likelihood import Likelihood
from portico.stats.limit import CLs, Limit
from portico.stats.model import Channel, Component, Model, Observation, Points, observation
from portico.stats.shapes import (
    Array,
    Bernstein,
    DoubleCrystalBall,
    Exponentials,
    Parameter,
    PowerLaws,
    Template,
    interpolation,
)

LOW, HIGH = 1.2, 1.8
BINS = np.linspace(LOW, HIGH, 13)
SLOPES = st.floats(-50, 50)
FRACTIONS = st.floats(0, 1)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[Any, Array]:
    """A shape and values of its parameters, anywhere between their bounds."""
    kind = draw(st.sampled_from(["crystal", "exponentials", "power_laws", "bernstein"]))
    if kind == "crystal":
        tails = [draw(st.floats(0.5, 4)), draw(st.floats(1.1, 20)), draw(st.floats(0.5, 4)), draw(st.floats(1.1, 20))]
        shape: Any = DoubleCrystalBall(
            low=LOW, high=HIGH, mean=1.5, width=0.02, alpha_left=tails[0], n_left=tails[1], alpha_right=tails[2],
            n_right=tails[3],
        )  # fmt: skip
        return shape, np.array([draw(st.floats(1.15, 1.85)), draw(st.floats(0.01, 0.3))])
    if kind == "bernstein":
        order = draw(st.integers(0, 8))
        values = draw(st.lists(st.floats(-8, 8), min_size=order, max_size=order))
        return Bernstein(low=LOW, high=HIGH, order=order), np.array(values)
    order = draw(st.integers(1, 4))
    slopes = draw(st.lists(SLOPES, min_size=order, max_size=order))
    fractions = draw(st.lists(FRACTIONS, min_size=order - 1, max_size=order - 1))
    of = Exponentials if kind == "exponentials" else PowerLaws
    return of(low=LOW, high=HIGH, order=order), np.array(slopes + fractions)


@settings(max_examples=100, deadline=None)
@given(shapes())
def test_contents_are_integrals_of_the_density(drawn: tuple[Any, Array]) -> None:
    shape, values = drawn
    contents = shape.contents(BINS, values)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    x = (BINS[:-1, None] + BINS[1:, None]) / 2 + np.diff(BINS)[:, None] / 2 * nodes
    dense = shape.density(x.ravel(), values).reshape(x.shape)
    assert np.all(dense >= 0)
    assert np.all(contents >= 0)
    assert np.sum(contents) == pytest.approx(1, abs=1e-9)
    assert contents == pytest.approx(dense @ weights * np.diff(BINS) / 2, rel=2e-3, abs=2e-5)  # kinks of the tails


@settings(max_examples=50, deadline=None)
@given(shapes())
def test_contents_of_joined_bins_add_up(drawn: tuple[Any, Array]) -> None:
    shape, values = drawn
    fine, coarse = shape.contents(BINS, values), shape.contents(BINS[::3], values)
    assert coarse == pytest.approx(fine.reshape(-1, 3).sum(axis=1), abs=1e-12)


def test_terms_of_sums_have_the_documented_form() -> None:
    x = np.linspace(LOW, HIGH, 7)
    u = (x - LOW) / (HIGH - LOW)
    values = np.array([-3.0, 1.5, 0.25])
    norm = [integrate.quad(lambda t, s=s: math.exp(s * (t - LOW) / (HIGH - LOW)), LOW, HIGH)[0] for s in values[:2]]
    wanted = 0.25 * np.exp(-3 * u) / norm[0] + 0.75 * np.exp(1.5 * u) / norm[1]
    assert Exponentials(low=LOW, high=HIGH, order=2).density(x, values) == pytest.approx(wanted, rel=1e-9)
    power = -3.0 / math.log(HIGH / LOW)
    norm_of_power = integrate.quad(lambda t: (t / LOW) ** power, LOW, HIGH)[0]
    one = PowerLaws(low=LOW, high=HIGH).density(x, np.array([-3.0]))
    assert one == pytest.approx((x / LOW) ** power / norm_of_power, rel=1e-9)
    flat = PowerLaws(low=LOW, high=HIGH).density(x, np.array([0.0]))
    assert flat == pytest.approx(np.full(7, 1 / (HIGH - LOW)))


def test_fractions_reach_every_mixture() -> None:
    shape = Exponentials(low=0, high=1, order=3)
    x = np.array([0.0])  # where exp(s u) = 1, so that the density is sum f_i / norm_i
    norms = [(1 - math.exp(-s)) / s for s in (1.0, 2.0, 3.0)]
    values = np.array([-1.0, -2.0, -3.0, 0.2, 0.5])  # fractions 0.2, 0.8 * 0.5, the rest
    assert shape.density(x, values)[0] == pytest.approx(0.2 / norms[0] + 0.4 / norms[1] + 0.4 / norms[2])


def test_bernstein_of_equal_coefficients_is_flat_and_of_order_one_is_a_line() -> None:
    x = np.linspace(0, 2, 5)
    assert Bernstein(low=0, high=2, order=4).density(x, np.zeros(4)) == pytest.approx(np.full(5, 0.5))
    line = Bernstein(low=0, high=2, order=1).density(x, np.array([math.log(3)]))
    assert line == pytest.approx([0.25, 0.375, 0.5, 0.625, 0.75])


@pytest.mark.full
def test_double_crystal_ball_is_that_of_numba_stats() -> None:
    crystalball_ex = pytest.importorskip("numba_stats.crystalball_ex")
    shape = DoubleCrystalBall(
        low=LOW, high=HIGH, mean=1.5, width=0.02, alpha_left=1.3, n_left=2.5, alpha_right=1.8, n_right=5.0
    )
    of = (1.3, 2.5, 0.02, 1.8, 5.0, 0.02, 1.5)
    x = np.linspace(LOW, HIGH, 41)
    inside = crystalball_ex.cdf(np.array([HIGH]), *of)[0] - crystalball_ex.cdf(np.array([LOW]), *of)[0]
    values = np.array([1.5, 0.02])
    assert shape.density(x, values) == pytest.approx(crystalball_ex.pdf(x, *of) / inside, rel=1e-6)
    assert shape.contents(x, values) == pytest.approx(np.diff(crystalball_ex.cdf(x, *of)) / inside, rel=1e-6)


@pytest.mark.parametrize("distance", [5, 8, 12, 30])
def test_peak_beside_the_window_keeps_its_normalisation(distance: float) -> None:
    shape = DoubleCrystalBall(
        low=0, high=1, mean=-0.05 * distance, width=0.05, alpha_left=1.5, n_left=3, alpha_right=9.0, n_right=3
    )
    values = np.array([-0.05 * distance, 0.05])
    integral = integrate.quad(lambda x: shape.density(np.array([x]), values)[0], 0, 1, points=[0.01, 0.05, 0.2])[0]
    assert integral == pytest.approx(1, rel=1e-6)
    assert shape.contents(np.linspace(0, 1, 11), values).sum() == pytest.approx(1, rel=1e-9)


def test_templates_interpolate_between_their_variations() -> None:
    template = Template(low=0, high=2, bins=(3, 1), changes={"a": ((2, 1), (6, 0))})
    edges = np.array([0.0, 1.0, 2.0])
    for theta, contents in ((0, [3, 1]), (1, [6, 0]), (-1, [2, 1]), (2, [9, 0])):
        assert template.contents(edges, np.array([float(theta)])) == pytest.approx(np.array(contents) / 4)
    assert template.density(np.array([0.5, 1.5]), np.array([0.0])) == pytest.approx([0.75, 0.25])
    with pytest.raises(ValueError, match="a template of 2 bins in a channel of 3"):
        template.contents(np.linspace(0, 2, 4), np.array([0.0]))


@pytest.mark.parametrize("joint", [-1.0, 0.0, 1.0])
def test_interpolation_has_two_continuous_derivatives(joint: float) -> None:
    def derivatives(side: int) -> list[float]:
        h = 1e-3
        f = [interpolation(joint + side * i * h)[1] for i in range(4)]
        second = (2 * f[0] - 5 * f[1] + 4 * f[2] - f[3]) / h**2  # one-sided, of second order
        return [f[0], side * (-11 * f[0] + 18 * f[1] - 9 * f[2] + 2 * f[3]) / (6 * h), second]

    assert derivatives(1) == pytest.approx(derivatives(-1), abs=2e-4)
    assert [interpolation(sign * 1.0)[0] for sign in (-1, 1)] == [-1.0, 1.0]
    assert [interpolation(sign * 1.0)[1] for sign in (-1, 0, 1)] == [1.0, 0.0, 1.0]


# models


def peak(width: float = 0.03) -> DoubleCrystalBall:
    return DoubleCrystalBall(
        low=LOW, high=HIGH, mean=1.5, width=width, alpha_left=1.5, n_left=3, alpha_right=1.5, n_right=4
    )


def families() -> tuple[Any, ...]:
    return (
        Exponentials(low=LOW, high=HIGH),
        Bernstein(low=LOW, high=HIGH, order=2),
        PowerLaws(low=LOW, high=HIGH, order=2),
    )


def channel(name: str, seed: int, kind: str = "counts", events: float = 200.0, **more: Any) -> Channel:
    """A channel of a peak with systematic uncertainties on a falling background."""
    random = np.random.default_rng(seed)
    truth = Exponentials(low=LOW, high=HIGH).contents(BINS, np.array([-1.2])) * events
    counts = random.poisson(truth)
    data: dict[str, Any] = {"counts": tuple(map(float, counts))}
    if kind == "values":
        data = {"values": tuple(random.uniform(np.repeat(BINS[:-1], counts), np.repeat(BINS[1:], counts)))}
    signal = Component(
        name="signal", shapes=(peak(),), events=8.0, strength="mu",
        effects={"luminosity": (0.98, 1.02), f"efficiency_{name}": (0.85, 1.2)},
        shifts={"scale": {"mean": 0.004}, "resolution": {"width": 0.003}},
    )  # fmt: skip
    background = Component(
        name="background", shapes=more.pop("shapes", families()), events=1.0, strength=f"n_{name}", floating=True
    )
    components: tuple[Component, ...] = (signal, background)
    if kind == "counts":
        tilt = ((8.5,) * 12, tuple(range(1, 24, 2)))
        shape = Template(low=LOW, high=HIGH, bins=tuple(range(3, 15)), changes={"tilt": tilt})
        components += (Component(name="other", shapes=(shape,), events=15.0, effects={"luminosity": (0.98, 1.02)}),)
    return Channel(name=name, edges=tuple(BINS), components=components, **data, **more)


def model(*channels: Channel, low: float = -20.0) -> Model:
    strengths = [Parameter(name=f"n_{c.name}", start=100.0, high=1e5, low=0.0, step=10) for c in channels]
    return Model(channels=channels, parameters=(Parameter(name="mu", start=1.0, low=low, high=100.0), *strengths))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6), kind=st.sampled_from(["counts", "values"]), blind=st.booleans(),
    choice=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)  # fmt: skip
def test_gradient_is_that_of_differences(seed: int, kind: str, blind: bool, choice: tuple[int, int]) -> None:
    hidden = {"blind": ((1.45, 1.55),)} if blind else {}
    of = model(channel("a", seed, kind, **hidden), channel("b", seed + 1))
    likelihood = Likelihood(of, observation(of), choice)
    random = np.random.default_rng(seed)
    at = likelihood.start({"n_a": 150.0, "n_b": 180.0})
    for i, name in enumerate(likelihood.names):
        parameter = of.all_parameters[name]
        at[i] = np.clip(at[i] + random.normal() * parameter.step * 3, parameter.low, parameter.high)
        if "fraction" in name:
            at[i] = random.uniform(0.1, 0.9)
    gradient = likelihood.gradient(at)
    for i in range(len(at)):
        h = 1e-5 * max(1.0, abs(at[i]))
        step = h * (np.arange(len(at)) == i)
        slope = (likelihood(at + step) - likelihood(at - step)) / (2 * h)
        assert gradient[i] == pytest.approx(slope, rel=1e-4, abs=2e-4), likelihood.names[i]


def one_bin(n: float, b: float, s: float = 1.0, low: float = -1e4, **signal: Any) -> Model:
    """Counts in one bin: mu s + b."""
    flat = (Bernstein(low=0, high=1, order=0),)
    components = (
        Component(name="signal", shapes=flat, events=s, strength="mu", **signal),
        Component(name="background", shapes=flat, events=b),
    )
    return Model(
        channels=(Channel(name="a", edges=(0, 1), counts=(n,), components=components),),
        parameters=(Parameter(name="mu", start=1.0, low=low, high=1e5),),
    )


def test_likelihood_of_one_bin_by_hand() -> None:
    of = one_bin(12, 5, 2, effects={"efficiency": (0.8, 1.3)})
    likelihood = Likelihood(of, observation(of))
    assert likelihood.names == ["mu", "efficiency"]
    for mu, theta, factor in ((1.0, 0.0, 1.0), (3.0, 1.0, 1.3), (3.0, -1.0, 0.8), (2.0, 2.0, 1.3**2)):
        expected = 5 + 2 * mu * factor
        wanted = expected - 12 + 12 * math.log(12 / expected) + theta**2 / 2
        assert likelihood([mu, theta]) == pytest.approx(wanted, rel=1e-12)
    moved = Likelihood(of, dataclasses.replace(observation(of), centers={"efficiency": 0.7}))
    assert moved([1.0, 0.7]) == pytest.approx(likelihood([1.0, 0.7]) - 0.7**2 / 2)


def test_unbinned_likelihood_by_hand() -> None:
    x = (0.1, 0.4, 0.7)
    components = (
        Component(name="line", shapes=(Bernstein(low=0, high=1, order=1),), events=2.0, strength="mu"),
        Component(name="flat", shapes=(Bernstein(low=0, high=1, order=0),), events=3.0),
    )
    of = Model(
        channels=(Channel(name="a", edges=(0, 1), values=x, components=components),),
        parameters=(Parameter(name="mu", start=1.0),),
    )
    assert Likelihood(of, observation(of))([1.5]) == pytest.approx(6.0 - 3 * math.log(6.0))  # the line begins flat


def test_expected_events_add_up() -> None:
    of = model(channel("a", 1))
    fit = Fitter(of, observation(of)).fit()
    parts = Fitter(of, observation(of)).likelihood(fit.choice).expected(fit.values)[0]
    assert list(parts) == ["signal", "background", "other"]
    assert parts["background"].sum() == pytest.approx(fit.values["n_a"])
    assert sum(part.sum() for part in parts.values()) == pytest.approx(sum(of.channels[0].counts or ()), rel=0.05)


# validation


def changed(of: Any, **what: Any) -> Any:
    return type(of).model_validate({**of.model_dump(), **what})


FLAT = Bernstein(low=0, high=1, order=0)
SOUND = one_bin(3, 1)
BACKGROUND = SOUND.channels[0].components[1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Parameter(name="x", start=3, low=0, high=1), "parameter 'x': 3.0 is not between 0.0 and 1.0"),
        (lambda: Bernstein(low=1, high=1), "a window from 1.0 to 1.0 is empty"),
        (lambda: PowerLaws(low=0, high=1), "a power law needs a window above 0, this one begins at 0"),
        (lambda: Exponentials(low=0, high=1, order=5), "order"),
        (lambda: Template(low=0, high=1, bins=(0, 0)), "contents of a template must be finite, not negative"),
        (lambda: Template(low=0, high=1, bins=(2, -1)), "contents of a template must be finite, not negative"),
        (lambda: Template(low=0, high=1, bins=(2, 1), changes={"a": ((1,), (2,))}), "template at -1 and \\+1 of 'a' h"),
        (lambda: changed(BACKGROUND, events=-1), "events"),
        (lambda: changed(BACKGROUND, events=math.inf), "events"),
        (lambda: changed(BACKGROUND, shapes=()), "shapes"),
        (lambda: changed(BACKGROUND, effects={"lumi": (0.9, 0)}), "component 'background': the factors of 'lumi' must"),
        (lambda: changed(BACKGROUND, shifts={"scale": {"meen": 1}}), "'scale' shifts 'meen'; valid: \\(none\\)"),
        (lambda: changed(SOUND.channels[0], edges=(1, 0)), "channel 'a': bin edges must increase"),
        (lambda: changed(SOUND.channels[0], blind=((0.6, 0.4),)), "channel 'a': write a blinded interval as"),
        (lambda: changed(SOUND.channels[0], blind=((0.4, math.nan),)), "channel 'a': write a blinded interval as"),
        (lambda: changed(SOUND.channels[0], values=(0.5,)), "channel 'a': give data either as counts or as values"),
        (lambda: changed(SOUND.channels[0], counts=(1, 2)), "channel 'a': 2 counts in 1 bins"),
        (lambda: changed(SOUND.channels[0], counts=(-1,)), "channel 'a': counts must not be negative"),
        (lambda: changed(SOUND.channels[0], counts=None, values=(7,)), "channel 'a': a value lies outside of the win"),
        (lambda: changed(SOUND.channels[0], components=(BACKGROUND,) * 2), "channel 'a': two components have the same"),
        (lambda: changed(SOUND.channels[0], edges=(0, 2)), "channel 'a': 'signal' has another window, 0.0 to 1.0"),
        (
            lambda: Channel(
                name="a", edges=(0, 1), values=(0.5,),
                components=(changed(BACKGROUND, shapes=(Template(low=0, high=1, bins=(1,)),)),),
            ),
            "channel 'a': a template needs counts, not values",
        ),
        (
            lambda: Channel(
                name="a", edges=(0, 1),
                components=(changed(BACKGROUND, shapes=(Template(low=0, high=1, bins=(1, 2)),)),),
            ),
            "channel 'a': a template of 'background' has 2 bins, the channel 1",
        ),
        (lambda: changed(SOUND, channels=SOUND.channels * 2), "two channels have one name"),
        (lambda: changed(SOUND, parameters=(Parameter(name="my", start=1),)), "'mu' is not a parameter; valid"),
        (lambda: changed(SOUND, poi="nu"), "parameter of interest 'nu' multiplies no component"),
        (
            lambda: changed(SOUND, parameters=(*SOUND.parameters, Parameter(name="x", start=1))),
            "nothing depends on the parameter 'x'",
        ),
        (lambda: changed(SOUND, parameters=SOUND.parameters * 2), "two parameters have one name"),
        (
            lambda: one_bin(3, 1, effects={"mu": (0.9, 1.1)}),
            "'mu' is a strength and a nuisance parameter; give one of them another name",
        ),
        (lambda: changed(SOUND, pio="mu"), "pio"),
    ],
)  # fmt: skip
def test_unsound_models_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make()


def test_models_survive_json() -> None:
    of = model(channel("a", 1), channel("b", 2, "values"))
    assert Model.model_validate_json(of.model_dump_json()) == of


def test_channels_without_data_or_all_blind() -> None:
    with pytest.raises(ValueError, match="channel 'a' has no data"):
        observation(changed(SOUND, channels=(changed(SOUND.channels[0], counts=None),)))
    with pytest.raises(ValueError, match="channel 'a': all bins are blinded, nothing is left to fit"):
        observation(changed(SOUND, channels=(changed(SOUND.channels[0], blind=((0, 1),)),)))


def test_events_where_nothing_is_expected_are_refused() -> None:
    template = Template(low=0, high=3, bins=(4, 0, 0), changes={"smear": ((4, 0, 0), (3, 1, 0))})
    component = Component(name="signal", shapes=(template,), events=4.0, strength="mu")
    parameters = (Parameter(name="mu", start=1.0),)

    def with_counts(*counts: float, **more: Any) -> Model:
        of = Channel(name="a", edges=(0, 1, 2, 3), counts=counts, components=(component,), **more)
        return Model(channels=(of,), parameters=parameters)

    with pytest.raises(ValueError, match="channel 'a': 2 events between 2 and 3, where no component expects any; join"):
        observation(with_counts(5, 0, 2))
    observation(with_counts(5, 1, 0))  # a variation expects some
    observation(with_counts(5, 0, 2, blind=((2, 3),)))


# fits


@pytest.mark.parametrize(("n", "b", "s"), [(12, 5, 2), (3, 8, 1), (0, 0.5, 1), (10_000, 9_000, 10)])
def test_fit_of_one_bin_is_the_analytic_one(n: float, b: float, s: float) -> None:
    if n == 0:  # the likelihood falls towards -b/s: a bound is needed, and reported
        of = one_bin(n, b, s, low=0.0)
        fit = Fitter(of, observation(of)).fit()
        assert fit.values["mu"] == pytest.approx(0, abs=1e-3)
        assert fit.at_limit == ("mu",)
        return
    of = one_bin(n, b, s)
    fit = Fitter(of, observation(of)).fit(errors=True)
    assert fit.values["mu"] == pytest.approx((n - b) / s, rel=1e-3, abs=2e-3 * math.sqrt(n) / s)
    assert fit.errors["mu"] == pytest.approx(math.sqrt(n) / s, rel=1e-2)
    assert fit.nll == pytest.approx(0, abs=1e-5)
    assert fit.at_limit == ()


def test_far_bounds_are_no_limits() -> None:
    of = changed(one_bin(12, 5), parameters=(Parameter(name="mu", start=1.0, low=0.0, high=1e9, step=3.0),))
    assert Fitter(of, observation(of)).fit().at_limit == ()
    of = changed(one_bin(2, 5), parameters=(Parameter(name="mu", start=1.0, low=0.0, high=1e9, step=3.0),))
    assert Fitter(of, observation(of)).fit().at_limit == ("mu",)


def test_fit_with_a_nuisance_has_the_errors_of_the_information_matrix() -> None:
    of = one_bin(1000, 900, 100, effects={"efficiency": (1 / 1.1, 1.1)})
    fit = Fitter(of, observation(of)).fit(errors=True)
    statistical, systematic = math.sqrt(1000) / 100, math.log(1.1)
    assert fit.errors["mu"] == pytest.approx(math.hypot(statistical, systematic), rel=3e-3)
    assert fit.errors["efficiency"] == pytest.approx(1, rel=3e-3)
    assert fit.covariance is not None
    assert fit.covariance[0, 1] == pytest.approx(-systematic, rel=2e-2)  # differences of gradients


def test_unknown_parameter_names_the_nearest() -> None:
    with pytest.raises(FitError, match="the model has no parameter 'luminsity'; did you mean 'luminosity'"):
        Fitter(model(channel("a", 1)), observation(model(channel("a", 1)))).fit({"luminsity": 1.0})


def test_fit_that_cannot_converge_says_where() -> None:
    of = one_bin(3, 1)
    data = Observation((Points(np.array([0.0, 1.0]), None, np.array([math.nan]), np.array([True])),))
    with pytest.raises(FitError, match="the fit does not converge: mu = "):
        Fitter(of, data).fit()


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("fixed", [{}, {"mu": 3.0}])
def test_envelope_is_the_smallest_of_all_combinations(seed: int, penalty: float, fixed: dict[str, float]) -> None:
    of = model(channel("a", seed), channel("b", seed + 50, events=60))
    chosen = Fitter(of, observation(of), penalty=penalty).fit(fixed)
    every = {}
    for choice in itertools.product(range(3), repeat=2):
        lone = Fitter(of, observation(of), penalty=penalty, choose=False, choice=choice)
        every[choice] = lone.fit(fixed).objective
    # what channels share stays where it is while shapes are chosen, which may miss a little
    assert chosen.objective == pytest.approx(min(every.values()), abs=0.1)
    assert every[chosen.choice] == pytest.approx(min(every.values()), abs=0.1)


@pytest.mark.parametrize("kind", ["counts", "values"])
@pytest.mark.parametrize("seed", range(6))
def test_envelope_of_one_channel_is_exact(kind: str, seed: int) -> None:
    of = model(channel("a", seed, kind, events=90))
    for fixed in ({}, {"mu": 0.0}, {"mu": 4.0}):
        chosen = Fitter(of, observation(of)).fit(fixed)
        every = [
            Fitter(of, observation(of), choose=False, choice=(i,)).fit(fixed).objective for i in range(len(families()))
        ]
        assert chosen.objective == pytest.approx(min(every), abs=5e-3)


def test_two_components_of_one_channel_can_compete() -> None:
    base = channel("a", 4)
    second = Component(
        name="second", shapes=(Bernstein(low=LOW, high=HIGH, order=1), Exponentials(low=LOW, high=HIGH, order=1)),
        events=20.0, floating=True,
    )  # fmt: skip
    of = model(changed(base, components=(*base.components, second)))
    chosen = Fitter(of, observation(of), choice=(1, 1)).fit()
    every = [
        Fitter(of, observation(of), choose=False, choice=choice).fit().objective
        for choice in itertools.product(range(3), range(2))
    ]
    assert chosen.objective < min(every) + 0.02  # a fit that begins anew may end in a minimum that is not the lowest


@pytest.mark.parametrize("kind", ["counts", "values"])
@pytest.mark.parametrize("fixed", [{}, {"mu": 3.0}])
def test_minima_are_those_of_iminuit(kind: str, fixed: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    of = model(channel("a", 5, kind), channel("b", 6, kind))
    scored = Fitter(of, observation(of), choose=False).fit(fixed)
    monkeypatch.setattr(fitting, "score", lambda *_: None)
    minimised = Fitter(of, observation(of), choose=False).fit(fixed)
    assert scored.nll == pytest.approx(minimised.nll, abs=2e-5)
    for name, value in minimised.values.items():
        step = of.all_parameters[name].step
        assert scored.values[name] == pytest.approx(value, abs=0.05 * step, rel=5e-3), name


@pytest.mark.parametrize("kind", ["counts", "values"])
def test_blinded_data_change_nothing(kind: str) -> None:
    rivals = families()[:2]
    seen = channel("a", 5, kind, blind=((1.45, 1.55),), shapes=rivals)
    if kind == "counts":
        centers = (BINS[1:] + BINS[:-1]) / 2
        other = [1e3 if 1.45 < x < 1.55 else n for x, n in zip(centers, seen.counts or (), strict=True)]
        loud = changed(seen, counts=tuple(other))
    else:
        loud = changed(seen, values=(*(seen.values or ()), *([1.5] * 1000)))
    quiet, noisy = (model(c) for c in (seen, loud))
    assert not noisy.observed
    one, other_fit = (Fitter(of, observation(of)).fit({"mu": 0.0}) for of in (quiet, noisy))
    assert one == other_fit
    limits = [asymptotic_limit(ModelProfiles(of)) for of in (quiet, noisy)]
    assert limits[0] == limits[1]
    assert limits[0].observed is None
    with pytest.raises(ValueError, match="there is no observed p-value while data are blinded"):
        discovery(noisy)


# asymptotic limits


def test_limits_of_many_events_are_gaussian() -> None:
    """Of n = b: median CLs limit 1.96 sqrt(b), and bands sigma (N + Phi^-1(1 - 0.05 Phi(N))), arXiv:1007.1727."""
    b = 1e8
    limit = asymptotic_limit(ModelProfiles(one_bin(b, b, math.sqrt(b), low=0.0)))
    bands = [float(stats.norm.isf(0.05 * stats.norm.cdf(n)) + n) for n in (-2, -1, 0, 1, 2)]
    assert limit.expected == pytest.approx(bands, rel=1e-3)
    assert limit.observed == pytest.approx(1.95996, rel=1e-3)
    above = asymptotic_limit(ModelProfiles(one_bin(b + 2 * math.sqrt(b), b, math.sqrt(b), low=0.0)))
    assert above.observed == pytest.approx(bands[4], rel=1e-3)
    loose = asymptotic_limit(ModelProfiles(one_bin(b, b, math.sqrt(b), low=0.0)), cl=0.9)
    assert loose.expected[2] == pytest.approx(1.64485, rel=1e-3)
    p, significance = discovery(one_bin(b + 3 * math.sqrt(b), b, math.sqrt(b)))
    assert (p, significance) == pytest.approx((1.35e-3, 3.0), rel=1e-2)


def test_cls_of_one_bin_follows_the_formulae() -> None:
    profiles = ModelProfiles(one_bin(9, 6, 1, low=0.0))

    def q(n: float, mu: float) -> float:
        return 2 * (mu + 6 - n + n * math.log(n / (mu + 6))) if n - 6 < mu else 0.0

    for mu in (2.0, 5.0, 9.0):
        root, root_a = math.sqrt(q(9, mu)), math.sqrt(q(6, mu))
        found = cls_at(profiles, mu)
        assert root <= root_a
        assert found.observed == pytest.approx(stats.norm.sf(root) / stats.norm.sf(root - root_a), abs=1e-4)
        assert found.expected[2] == pytest.approx(2 * stats.norm.sf(root_a), abs=1e-4)


def test_impossible_confidence_levels_and_no_signal() -> None:
    with pytest.raises(ValueError, match="confidence level = 95; it must lie between 0 and 1"):
        asymptotic_limit(ModelProfiles(SOUND), cl=95)
    with pytest.raises(FitError, match="does not depend on mu: there is no signal where data are"):
        asymptotic_limit(ModelProfiles(one_bin(3, 3, 0.0)))


SIGNAL, BEFORE = np.array([1.0, 3.0, 6.0, 2.0]), np.array([30.0, 24.0, 20.0, 15.0])
COUNTS = {"a": (33, 22, 27, 13), "b": (12, 14, 9, 9)}


def binned(kappa: float = 1.1) -> Model:
    channels = []
    for name, n in COUNTS.items():
        share = 1.0 if name == "a" else 0.4
        signal, background = (
            Template(low=0, high=4, bins=tuple(SIGNAL)), Template(low=0, high=4, bins=tuple(BEFORE)),
        )  # fmt: skip
        of_signal = {"efficiency": (1 / kappa, kappa), f"trigger_{name}": (1 / 1.05, 1.05)}
        components = (
            Component(name="signal", shapes=(signal,), events=12 * share, strength="mu", effects=of_signal),
            Component(name="background", shapes=(background,), events=89 * share, strength=f"n_{name}"),
        )
        channels.append(Channel(name=name, edges=(0, 1, 2, 3, 4), counts=n, components=components))
    free = [Parameter(name=f"n_{name}", start=1.0, low=0.0, high=10.0) for name in COUNTS]
    return Model(
        channels=tuple(channels), parameters=(Parameter(name="mu", start=1.0, low=0.0, high=50.0), *free)
    )


def the_same_in_pyhf(kappa: float = 1.1) -> tuple[Any, Any]:
    import pyhf

    def norm(name: str, factor: float) -> dict[str, Any]:
        return {"name": name, "type": "normsys", "data": {"hi": factor, "lo": 1 / factor}}

    channels = []
    for name in COUNTS:
        share = 1.0 if name == "a" else 0.4
        mu = {"name": "mu", "type": "normfactor", "data": None}
        free = {"name": f"n_{name}", "type": "normfactor", "data": None}
        modifiers = [mu, norm("efficiency", kappa), norm(f"trigger_{name}", 1.05)]
        channels.append({"name": name, "samples": [
            {"name": "signal", "data": list(SIGNAL * share), "modifiers": modifiers},
            {"name": "background", "data": list(BEFORE * share), "modifiers": [free]},
        ]})  # fmt: skip
    bounds = [{"name": "mu", "bounds": [[0, 50]], "inits": [1.0]}]
    specification = {
        "channels": channels, "version": "1.0.0",
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": bounds}}],
        "observations": [{"name": name, "data": list(n)} for name, n in COUNTS.items()],
    }  # fmt: skip
    workspace = pyhf.Workspace(specification)
    # normalisations of ours are powers of kappa, which is code 1
    settings_ = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code4p"}}
    return workspace.model(modifier_settings=settings_), workspace


def test_an_unbinned_channel_needs_no_bins_for_its_expected_limits() -> None:
    fine = model(channel("a", 5, "values"))
    whole = (fine.channels[0].edges[0], fine.channels[0].edges[-1])
    window = model(changed(fine.channels[0], edges=whole))
    first, second = (asymptotic_limit(ModelProfiles(of)).expected for of in (fine, window))
    assert first == pytest.approx(second, rel=0.01)


def test_a_signal_outside_of_the_window_is_refused() -> None:
    base = channel("a", 5)
    signal = base.components[0]
    away = changed(signal, shapes=(changed(signal.shapes[0], mean=HIGH + 0.5),))
    with pytest.raises(ValueError, match=r"channel 'a': the signal at .* lies outside of the window"):
        model(changed(base, components=(away, *base.components[1:])))


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")  # pyhf 0.7 with a newer jsonschema
def test_limits_are_those_of_pyhf(request: pytest.FixtureRequest) -> None:
    import pyhf

    before = pyhf.get_backend()
    request.addfinalizer(lambda: pyhf.set_backend(*before))
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-4))
    theirs, workspace = the_same_in_pyhf()
    data = workspace.data(theirs)
    profiles = ModelProfiles(binned())

    def theirs_at(mu: float) -> tuple[float, list[float]]:
        observed, expected = pyhf.infer.hypotest(mu, data, theirs, test_stat="qtilde", return_expected_set=True)
        return float(observed), [float(value) for value in expected]

    for mu in (0.6, 2.0):
        observed, expected = theirs_at(mu)
        found = cls_at(profiles, mu)
        assert found.observed == pytest.approx(observed, abs=1e-4)
        assert found.expected == pytest.approx(expected, abs=1e-4)
    limit = asymptotic_limit(profiles)
    for position, mu in [(None, limit.observed or 0.0), *((i, limit.expected[i]) for i in (0, 2, 4))]:
        below, above = (theirs_at(share * mu) for share in (0.995, 1.005))  # 0.5 % around our limit
        first, second = (cls[0] if position is None else cls[1][position] for cls in (below, above))
        assert first > 0.05 > second


NUMBERS = st.floats(allow_nan=False)
FIVE = st.tuples(*[NUMBERS] * 5)
CLS = st.builds(CLs, NUMBERS, st.none() | NUMBERS, FIVE, st.none() | NUMBERS, st.none() | NUMBERS)
CLS_OF_TOYS = st.builds(
    CLs, NUMBERS, st.none() | NUMBERS, FIVE, st.none() | NUMBERS, st.none() | NUMBERS, st.none() | NUMBERS, FIVE,
    st.integers(0, 9),
)  # fmt: skip
LIMITS = st.builds(Limit, st.just("asymptotic"), st.none() | NUMBERS, FIVE)
LIMITS_OF_TOYS = st.builds(
    Limit, st.just("toys"), st.none() | NUMBERS, FIVE, st.none() | NUMBERS, FIVE, st.lists(CLS_OF_TOYS).map(tuple)
)


@given(st.one_of(CLS, CLS_OF_TOYS, LIMITS, LIMITS_OF_TOYS))
def test_limits_are_the_same_after_json(value: CLs | Limit) -> None:
    text = json.dumps(value.to_json(), allow_nan=False)
    assert type(value).from_json(json.loads(text)) == value


def test_numbers_that_are_not_finite_are_words_in_json() -> None:
    limit = Limit("asymptotic", math.nan, (-math.inf, 0.0, 1.0, 2.0, math.inf))
    assert limit.to_json() == {
        "method": "asymptotic", "observed": "NaN", "expected": ["-Infinity", 0.0, 1.0, 2.0, "Infinity"],
    }  # fmt: skip
    assert math.isnan(Limit.from_json(limit.to_json()).observed or 0.0)
