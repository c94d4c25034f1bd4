"""The laws of `portico scale`: they recover what times were made with, and never claim more than these tell."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.scaling.law import ASSUMED, Timing, fit_law, fit_storage
from portico.scaling.record import Measurement, Record
from portico.scaling.result import Scaling

GRID = [(n, v) for n in (1, 2, 4, 8) for v in (2.5e8, 5e8, 1e9)]
positive = st.floats(0.05, 50.0)
terms = st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 5.0), st.floats(0.1, 100.0))


def times(law: tuple[float, float, float], points: list[tuple[int, float]], *, noise: float = 0.0, seed: int = 1,
          repeat: int = 3) -> list[Timing]:  # fmt: skip
    """Make times of a law: seconds, and seconds per GB."""
    random, (fixed, serial, shared) = np.random.default_rng(seed), law
    true = {(n, v): fixed + v / 1e9 * (serial + shared / n) for n, v in points}
    return [Timing(n, v, tuple(s * np.exp(random.normal(0, noise, repeat)))) for (n, v), s in true.items()]


@settings(deadline=None, max_examples=40)
@given(terms)
def test_exact_times_give_the_terms_back(law: tuple[float, float, float]) -> None:
    found = fit_law(times(law, GRID))
    fixed, serial, shared = law
    scale = sum(law)
    assert found.determined
    assert found.fixed.value == pytest.approx(fixed, abs=1e-6 * scale)
    assert found.serial.value * 1e9 == pytest.approx(serial, abs=1e-6 * scale)
    assert found.shared.value * 1e9 == pytest.approx(shared, abs=1e-6 * scale)
    assert found.serial_fraction.value == pytest.approx(serial / (serial + shared), abs=1e-5)
    true = fixed + 500 * (serial + shared / 128)
    assert found.seconds(128, 5e11) == pytest.approx(true, rel=1e-4)
    assert found.predict(128, 5e11).low <= true * 1.0001
    assert found.predict(128, 5e11).high >= true * 0.9999
    assert found.efficiency(1, 1e9) == pytest.approx(1.0)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(GRID), st.lists(positive, min_size=1, max_size=3)), min_size=1, max_size=9))
def test_no_times_give_a_negative_term_or_an_interval_without_its_value(points) -> None:
    found = fit_law([Timing(n, v, tuple(seconds)) for (n, v), seconds in points])
    for interval in (found.fixed, found.serial, found.shared, found.serial_fraction, found.predict(100, 1e12)):
        assert 0 <= interval.low <= interval.value * (1 + 1e-6) + 1e-12
        assert interval.value <= interval.high * (1 + 1e-6) + 1e-12
        assert math.isfinite(interval.high)
    assert found.serial_fraction.high <= 1


@settings(deadline=None, max_examples=40)
@given(terms, st.floats(0.02, 0.15))
def test_two_points_leave_open_what_they_do_not_tell(law: tuple[float, float, float], noise: float) -> None:
    """The same times come of a fixed part and of a serial one, which differ by far for more input."""
    found = fit_law(times(law, [(1, 1e9), (2, 1e9)], noise=noise))
    assert not found.determined
    alone, both = (found.seconds(n, 1e9) for n in (1, 2))
    shared = 2 * (alone - both)
    rest = alone - shared
    predicted = found.predict(100, 1e12)
    assert predicted.low <= 1.01 * (rest + 10 * shared)
    assert predicted.high >= 0.99 * (1000 * rest + 10 * shared)
    assert found.serial_fraction.low <= 0.01


def test_intervals_contain_the_truth_as_often_as_they_say() -> None:
    law, inside = (2.0, 0.3, 12.0), np.zeros(3)
    true = (0.3 / 12.3, 2.0, 2.0 + 500 * (0.3 + 12.0 / 128))
    for seed in range(120):
        found = fit_law(times(law, GRID, noise=0.08, seed=seed))
        intervals = (found.serial_fraction, found.fixed, found.predict(128, 5e11))
        inside += [i.low <= value <= i.high for i, value in zip(intervals, true, strict=True)]
    assert np.all(inside / 120 > 0.58), inside / 120
    assert np.all(inside / 120 < 0.92), inside / 120


def test_points_beside_the_law_widen_intervals() -> None:
    straight = times((2.0, 0.3, 12.0), GRID, noise=0.02)
    bent = [Timing(p.workers, p.volume, tuple(s * (1.5 if p.workers == 4 else 1.0) for s in p.seconds))
            for p in straight]  # fmt: skip
    widths = [i.high - i.low for i in (fit_law(of).predict(128, 5e11) for of in (straight, bent))]
    assert widths[1] > 5 * widths[0]


def test_times_measured_once_have_an_assumed_spread() -> None:
    once = fit_law(times((2.0, 0.3, 12.0), GRID, repeat=1))
    assert (once.repeated, once.spread) == (False, ASSUMED)
    more = fit_law(times((2.0, 0.3, 12.0), GRID, repeat=3))
    assert more.repeated
    assert once.predict(8, 1e9).high - once.predict(8, 1e9).low > more.predict(8, 1e9).high - more.predict(8, 1e9).low


def test_impossible_times_are_refused() -> None:
    for wrong in ([], [Timing(1, 1e9, ())], [Timing(1, 0.0, (1.0,))], [Timing(1, 1e9, (0.0,))]):
        with pytest.raises(ValueError, match="positive"):
            fit_law(wrong)


@settings(deadline=None, max_examples=40)
@given(st.floats(2e7, 5e9), st.floats(1e-9, 1e-7), st.floats(0.1, 1.0))
def test_storage_that_is_full_is_seen(rate: float, alone: float, of_cpu: float) -> None:
    """Workers that need ``alone`` seconds per byte share a rate."""
    readings = [(n, max(alone, n / rate), of_cpu * alone) for n in (1, 2, 4, 8, 16) for _ in range(3)]
    found = fit_storage(readings)
    assert found is not None
    if 16 / rate > 1.3 * alone and 1 / rate < alone:
        assert found.seen
        assert found.rate.value == pytest.approx(rate, rel=0.02)
        assert found.rate.low <= rate * 1.01
        assert found.rate.high >= rate * 0.99
    if 16 / rate < alone:
        assert not found.seen
        assert found.rate.value == found.rate.high == math.inf
        assert found.rate.low == pytest.approx(16 / alone, rel=0.1)


def test_cpu_that_grows_is_no_limit_of_the_storage() -> None:
    slower = [(n, 1e-8 * (1 + 0.2 * n), 1e-8 * (0.9 + 0.2 * n)) for n in (1, 2, 4, 8) for _ in range(3)]
    found = fit_storage(slower)
    assert found is not None
    assert not found.seen


def test_waiting_that_hardly_grows_is_no_limit_of_the_storage() -> None:
    """Measured: two workers of an idle machine of two cores, which the driver needs now and then."""
    readings = [(n, wall * (1 + 0.01 * k), cpu) for n, wall, cpu in ((1, 24.5e-9, 24.0e-9), (2, 26.8e-9, 24.9e-9))
                for k in (-1, 0, 1)]  # fmt: skip
    found = fit_storage(readings)
    assert found is not None
    assert (found.seen, found.rate.value, found.rate.low) == (False, math.inf, found.highest)
    assert found.highest == pytest.approx(2 / 26.5e-9, rel=0.01)


def test_nothing_read_has_no_limit() -> None:
    assert fit_storage([]) is None
    assert fit_storage([(1, 0.0, 0.0)]) is None
    one = fit_storage([(2, 1e-8, 5e-9)])
    assert one is not None
    assert (one.seen, one.highest) == (False, pytest.approx(2e8))


@pytest.mark.parametrize(("others", "known"), [(0.05, True), (0.5, False)])
def test_waiting_on_a_crowded_machine_is_not_that_for_storage(others: float, known: bool) -> None:
    made = [
        Measurement(asked=n, workers=n, part=part, chunks=int(40 * part), entries=1000, bytes=int(1e8 * part),
                    seconds=10 * part, loop_seconds=9 * part, worker_seconds=9 * n * part, cpu_seconds=3 * part,
                    bytes_read=int(9e7 * part), others=others)
        for n in (1, 2, 4) for part in (0.5, 1.0) for _ in range(2)
    ]  # fmt: skip
    of = {"chunks": 40, "entries": 1000, "bytes": int(1e8)}
    found = Scaling(
        Record(analysis="a", step="s", on="local", identity="i", cache=False, measurements=tuple(made), **of)
    )
    assert (found.storage is not None and found.storage.seen) is known
    assert any("measure on a quiet machine" in note for note in found.notes) is not known
