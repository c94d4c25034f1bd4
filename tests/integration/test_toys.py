"""Toys as a step: the same bit for bit whoever throws them, resumed and extended, wrong in no silent way."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from portico.errors import InputError
from portico.executors.local import LocalExecutor
from portico.stats.counting import Count, counting_limit
from portico.stats.model import Channel, Component, Model
from portico.stats.shapes import Parameter, Template
from portico.stats.toy_limits import ToyStatistics
from portico.stats.toy_step import run_toys, toy_limit
from portico.stats.toys import ModelToys, throw_toys
from tests.conftest import Remember

pytestmark = pytest.mark.integration

MUS = (2.0, 6.0)


def model(observed: int) -> Model:
    flat = (Template(low=0.0, high=1.0, bins=(1.0,)),)
    components = (
        Component(name="signal", shapes=flat, events=1.0, strength="mu", effects={"efficiency": (0.9, 1.1)}),
        Component(name="background", shapes=flat, events=3.2),
    )
    channel = Channel(name="a", edges=(0.0, 1.0), counts=(float(observed),), components=components)
    return Model(channels=(channel,), parameters=(Parameter(name="mu", start=1.0, low=0.0, high=100.0),))


def bits(statistics: list[ToyStatistics]) -> list[tuple[float | None, bytes, bytes]]:
    return [(of.observed, of.background.tobytes(), of.signal.tobytes()) for of in statistics]


def test_whoever_throws_and_however_often(local: LocalExecutor, tmp_path: Path) -> None:
    path, folder = tmp_path / "model.json", tmp_path / "toys"
    path.write_text(model(3).model_dump_json())
    here = [throw_toys(ModelToys(model(3)), mu, 100, seed=5, index=index) for index, mu in enumerate(MUS)]
    one = LocalExecutor(1)
    try:
        alone = run_toys(path, MUS, 100, tmp_path / "alone", seed=5, chunk=100, executor=one)
    finally:
        one.close()

    class Stop(Exception):
        pass

    def stop(advanced: int) -> None:
        if advanced == 3:
            raise Stop

    with pytest.raises(Stop):
        run_toys(path, MUS, 100, folder, seed=5, chunk=10, executor=local, reporter=Remember(stop))
    reporter = Remember()
    resumed = run_toys(path, MUS, 100, folder, seed=5, chunk=10, executor=local, reporter=reporter)
    assert 0 < reporter.ran["toys"] <= 40 - 2
    assert bits(here) == bits(alone) == bits(resumed)

    more = Remember()
    longer = run_toys(path, (*MUS, 9.0), 120, folder, seed=5, chunk=10, executor=local, reporter=more)
    assert more.ran["toys"] == 2 * (2 * 2 + 12)  # of both hypotheses: what is new
    for before, after in zip(resumed, longer[:2], strict=True):
        assert np.array_equal(after.signal[:100], before.signal)
        assert len(after.signal) == len(after.background) == 120


def test_limit(local: LocalExecutor, tmp_path: Path) -> None:
    reporter = Remember()
    limit = toy_limit(model(3), tmp_path, toys=100, executor=local, reporter=reporter)
    exact = counting_limit([Count("a", 3.2, 0.0, 1.0, 0.1, 3)])
    assert limit.method == "toys"
    assert limit.observed is not None
    assert limit.uncertainty is not None
    assert exact.observed is not None
    assert abs(limit.observed - exact.observed) < 3.5 * limit.uncertainty
    assert abs(limit.expected[2] - exact.expected[2]) < 3.5 * limit.expected_uncertainties[2]
    assert reporter.warnings == []


@pytest.mark.full
def test_workspace_of_pyhf(local: LocalExecutor, tmp_path: Path) -> None:
    sample = {"name": "signal", "data": [1.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]}
    background = {"name": "background", "data": [3.2], "modifiers": []}
    workspace = {
        "channels": [{"name": "a", "samples": [sample, background]}],
        "observations": [{"name": "a", "data": [3.0]}],
        "measurements": [
            {"name": name, "config": {"poi": "mu", "parameters": [{"name": "mu", "bounds": [[0.0, 50.0]]}]}}
            for name in ("first", "second")
        ],
        "version": "1.0.0",
    }
    path = tmp_path / "workspace.json"
    path.write_text(json.dumps(workspace))
    (of_pyhf,) = run_toys(path, [4.0], 100, tmp_path / "pyhf", executor=local)
    # -2 log L of a count, with a signal that is not negative: b is 3.2, and mu is 4
    levels = [2 * (7.2 - max(n, 3.2) - n * math.log(7.2 / max(n, 3.2))) if n < 7.2 else 0.0 for n in range(40)]
    assert of_pyhf.observed == pytest.approx(levels[3], abs=2e-3)
    for statistics, mean in ((of_pyhf.background, 3.2), (of_pyhf.signal, 7.2)):
        assert np.abs(statistics[:, None] - levels).min(axis=1).max() < 2e-3
        few = np.mean(statistics >= levels[4] - 1e-3)
        exact = sum(mean**n * math.exp(-mean) / math.factorial(n) for n in range(5))
        assert few == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 100))
    (blind,) = run_toys(path, [4.0], 100, tmp_path / "blind", blind=True, executor=local)
    assert blind.observed is None


@pytest.mark.full
def test_model_of_roofit(local: LocalExecutor, tmp_path: Path) -> None:
    """The same bits from one worker and from several, in tasks of other sizes; the limit is that of the counts."""
    card = tmp_path / "card.txt"
    card.write_text(
        "imax 1\njmax 1\nkmax *\nbin c\nobservation 3\nbin c c\nprocess sig bkg\nprocess 0 1\nrate 1 3.2\n"
        "k rateParam c bkg (@0*@0+0.2)/1.2 kk\nkk extArg 1 [0,3]\nkk param 1 0.05\n"
    )
    some = run_toys(card, [4.0], 100, tmp_path / "some", seed=5, chunk=20, executor=local)
    one = LocalExecutor(1)
    try:
        alone = run_toys(card, [4.0], 100, tmp_path / "alone", seed=5, chunk=100, executor=one)
    finally:
        one.close()
    assert bits(some) == bits(alone)
    assert not some[0].failed
    assert len(set(some[0].background.tolist())) > 20  # auxiliary measurements are thrown as well


def test_data_that_cannot_be_fitted_stop_before_anything_is_written(tmp_path: Path) -> None:
    broken = tmp_path / "model.json"
    broken.write_text('{"channels": []}')
    with pytest.raises(InputError, match="key 'measurements' is missing"):
        toy_limit(broken, tmp_path / "toys")
    assert not (tmp_path / "toys").exists()
