"""Families of backgrounds and their orders: likelihood-ratio tests, few events, bad input."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from portico.errors import ConfigError, FitError
from portico.stats import families
from portico.stats.families import KINDS, choose_families
from portico.stats.shapes import Array, Bernstein, Exponentials, PowerLaws

EDGES = np.linspace(1.2, 1.8, 31)
CURVED = Exponentials(low=1.2, high=1.8, order=2).contents(EDGES, np.array([-8.0, -0.5, 0.6]))


def thrown(truth: Array, events: float, seed: int) -> Array:
    return np.random.default_rng(seed).poisson(truth * events).astype(float)


def orders(found: families.Families) -> dict[str, int]:
    return {shape.kind: getattr(shape, "order", -1) for shape in found.shapes}


def test_orders_follow_what_the_data_ask_for() -> None:
    few, many = (choose_families(EDGES, thrown(CURVED, n, 1), max_order={"bernstein": 4}) for n in (40, 5000))
    assert orders(many)["exponentials"] == 2
    assert orders(many)["power_laws"] == 2
    assert orders(many)["bernstein"] == 4
    assert all(orders(few)[kind] <= orders(many)[kind] for kind in KINDS)
    assert orders(few)["exponentials"] == 1


def test_gain_and_p_are_those_of_wilks() -> None:
    counts = thrown(CURVED, 400, 2)
    found = choose_families(EDGES, counts, kinds=("bernstein",))
    flat = counts.mean()
    saturated = np.sum(flat - counts + counts * np.log(np.where(counts > 0, counts, 1) / flat))
    rows = [row for row in found.tried if row.kind == "bernstein"]
    assert rows[0].nll == pytest.approx(saturated, abs=1e-3)
    assert math.isnan(rows[0].gain)
    for before, row in itertools.pairwise(rows):
        assert row.gain == pytest.approx(2 * (before.nll - row.nll))
        assert row.p == pytest.approx(stats.chi2.sf(row.gain, 1))
    assert [row.kept for row in rows[-2:]] == [True, True]  # the one that is asked for, and the first that is refused
    assert rows[-2].p < 0.05 <= rows[-1].p
    assert {shape.order for shape in found.shapes if isinstance(shape, Bernstein)} == {r.order for r in rows[-2:]}
    alone = choose_families(EDGES, counts, kinds=("bernstein",), further=())
    assert [row.kept for row in alone.tried].count(True) == 1
    assert orders(alone)["bernstein"] == rows[-2].order
    loose = choose_families(EDGES, counts, kinds=("bernstein",), p=1e-12, further=())
    assert orders(loose)["bernstein"] <= orders(alone)["bernstein"]


def test_probability_of_an_unneeded_order_is_p() -> None:
    """Of flat data a line is taken in 5 % of the cases."""
    taken = [
        orders(choose_families(EDGES, thrown(np.full(30, 1 / 30), 300, seed), kinds=("bernstein",),
                               max_order={"bernstein": 1}, further=()))["bernstein"]
        for seed in range(200)
    ]  # fmt: skip
    assert 2 <= sum(taken) <= 20  # 10 expected


def test_start_values_are_those_of_the_fits_and_the_best_is_first() -> None:
    counts = thrown(CURVED, 5000, 3)
    found = choose_families(EDGES, counts, max_order={"bernstein": 2})
    assert found.shapes[0].kind in {"exponentials", "power_laws"}
    for shape in found.shapes:
        values = np.array([parameter.start for parameter in shape.parameters])
        assert tuple(values) == shape.starts
        row = next(row for row in found.tried if row.kept and row.kind == shape.kind)
        mean = shape.contents(EDGES, values) * counts.sum()
        nll = np.sum(mean - counts + counts * np.log(np.where(counts > 0, counts, 1) / mean))
        assert nll == pytest.approx(row.nll, abs=1e-3)


@pytest.mark.parametrize("shape", [Exponentials, PowerLaws, Bernstein])
def test_higher_orders_start_where_lower_ones_ended(shape: Any) -> None:
    values = (-2.0, 1.0, 0.3) if shape is not Bernstein else (-0.7, 0.4)
    before = shape(low=1.2, high=1.8, order=2, starts=values)
    after = shape(low=1.2, high=1.8, order=3)
    raised = list(families._raised(before, after))
    wanted = before.contents(EDGES, np.array(values))
    for starts in raised:
        distance = np.max(np.abs(after.contents(EDGES, np.array(starts)) / wanted - 1))
        assert distance < (1e-9 if shape is Bernstein else 2.0)
    assert raised


def test_blinded_counts_change_nothing() -> None:
    counts = thrown(CURVED, 800, 4)
    centers = (EDGES[1:] + EDGES[:-1]) / 2
    loud = np.where(np.abs(centers - 1.5) < 0.05, 1e4, counts)
    one, other = (choose_families(EDGES, n, blind=[(1.44, 1.56)]) for n in (counts, loud))
    assert one.shapes == other.shapes
    assert str(one.tried) == str(other.tried)


@pytest.mark.parametrize("events", [0, 1, 2])
def test_hardly_any_events_have_a_flat_shape(events: int) -> None:
    counts = np.zeros(30)
    counts[:events] = 1
    found = choose_families(EDGES, counts, kinds=("exponentials",))
    assert found.shapes == (Bernstein(low=1.2, high=1.8, order=0),)
    assert found.tried[0].note == f"{events} events: too few for anything but a flat shape"


def test_few_events_stay_with_the_lowest_orders() -> None:
    counts = np.zeros(30)
    counts[:9] = 1  # a steep fall
    found = choose_families(EDGES, counts)
    assert orders(found) == {"exponentials": 1, "power_laws": 1, "bernstein": 0}
    assert "9 events are too few" in [row.note for row in found.tried]


def test_impossible_power_laws_and_failed_fits_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    around = np.linspace(-1, 1, 11)
    counts = np.full(10, 20.0)
    found = choose_families(around, counts)
    assert "power_laws" not in orders(found)
    assert next(r.note for r in found.tried if r.kind == "power_laws").startswith("a power law needs a window above 0")
    with pytest.raises(FitError, match="no family of backgrounds can be fitted to 200 events: power_laws of order 1"):
        choose_families(around, counts, kinds=["power_laws"])
    fit = families.Fitter.fit

    def broken(self: Any, *args: Any, **options: Any) -> Any:
        if self.model.channels[0].components[0].shapes[0].kind == "exponentials":
            raise FitError("the fit does not converge: slope1 = 50")
        return fit(self, *args, **options)

    monkeypatch.setattr(families.Fitter, "fit", broken)
    found = choose_families(around, counts)
    assert set(orders(found)) == {"bernstein"}
    assert "the fit does not converge: slope1 = 50" in [row.note for row in found.tried]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ("exponentals",)}, "'exponentals' is not a family of backgrounds; did you mean 'exponentials'"),
        ({"max_order": {"chebyshev": 2}}, "'chebyshev' is not a family of backgrounds; valid: bernstein"),
        ({"further": ("bernstien",)}, "'bernstien' is not a family of backgrounds; did you mean 'bernstein'"),
        ({"kinds": ()}, "no family of backgrounds is given; valid: exponentials, power_laws, bernstein"),
        ({"max_order": {"bernstein": 9}}, "highest order 9 of bernstein; it must lie between 0 and 8"),
        ({"max_order": {"exponentials": 0}}, "highest order 0 of exponentials; it must lie between 1 and 4"),
        ({"p": 5}, "p = 5 of the choice between orders; it must lie between 0 and 1"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_families(EDGES, np.ones(30), **options)


@pytest.mark.parametrize(
    ("counts", "blind", "message"),
    [
        (np.ones(29), [], "29 counts in 30 bins"),
        (np.full(30, -1.0), [], "counts must not be negative"),
        (np.full(30, math.nan), [], "counts must not be negative"),
        (np.ones(30), [(1.0, 2.0)], "all bins are blinded"),
    ],
)
def test_unsound_counts(counts: Array, blind: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_families(EDGES, counts, blind=blind)


def test_start_values_are_as_many_as_parameters() -> None:
    with pytest.raises(ValueError, match="2 start values for 1 parameters"):
        Exponentials(low=0, high=1, starts=(1.0, 2.0))
    assert Exponentials(low=0, high=1, starts=(99.0,)).parameters[0].start == 50.0  # the bound
