"""The injection study of bench/bias.py against exact expectations."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from portico.stats.model import Channel, Component, Model
from portico.stats.shapes import Bernstein, Exponentials, Parameter
from tests.unit.test_diagnostics import model, peak_on_background, poisson

SPECIFICATION = importlib.util.spec_from_file_location("_bias", Path(__file__).parents[2] / "bench" / "_bias.py")
assert SPECIFICATION is not None
assert SPECIFICATION.loader is not None
bias = sys.modules["_bias"] = importlib.util.module_from_spec(SPECIFICATION)  # where dataclasses look for it
SPECIFICATION.loader.exec_module(bias)


def counted(b: float) -> Model:
    """One bin with b known background events, one signal event for each unit of mu."""
    flat = Bernstein(low=0, high=1, order=0)
    components = (
        Component(name="signal", shapes=(flat,), events=1.0, strength="mu"),
        Component(name="background", shapes=(flat,), events=b),
    )
    return Model(
        channels=(Channel(name="a", edges=(0, 1), counts=(b,), components=components),),
        parameters=(Parameter(name="mu", start=0.0, low=0.0, high=1e3),),
    )


@pytest.mark.parametrize("errors", ["likelihood", "hesse"])
def test_pulls_of_counts_have_their_exact_mean(errors: Any) -> None:
    rows = bias.bias_study(counted(16.0), injected=(0, 2), toys=256, errors=errors)
    assert [row.injected for row in rows] == [0, 2]
    assert [row.mu for row in rows] == pytest.approx([0, 8], rel=1e-2)  # sigma is sqrt(16)
    for row in rows:
        mean = 16 + row.mu
        n = np.arange(1, 200)
        ratio = np.sqrt(np.maximum(2 * (mean - n + n * np.log(n / mean)), 0)) * np.sign(n - mean)
        pull = ratio if errors == "likelihood" else (n - mean) / np.sqrt(n)
        exact = np.sum(stats.poisson.pmf(n, mean) * pull)
        assert exact == pytest.approx(-1 / (6 if errors == "likelihood" else 2) / math.sqrt(mean), rel=0.15)
        assert abs(row.mean - exact) < 4 * row.error
        assert row.error == pytest.approx(row.width / 16, rel=1e-9)
        assert (row.toys, row.failed) == (256, 0)
        assert row.width == pytest.approx(1, abs=0.2)


def test_envelope_helps_where_one_family_is_wrong() -> None:
    families = (Exponentials(low=0, high=1), Bernstein(low=0, high=1, order=0))
    of = model(peak_on_background(poisson(1500, 7, slope=-4.0), shapes=families))
    rows = bias.bias_study(of, injected=(2,), toys=20)
    found = {(row.truth, row.fitted): row for row in rows}
    assert len(found) == 6
    assert found["exponentials1", "bernstein0"].mean < -1  # the middle of a falling curve lies below its average
    for fitted_by in ("exponentials1", bias.ENVELOPE):
        row = found["exponentials1", fitted_by]
        assert abs(row.mean) < 4 * row.error
