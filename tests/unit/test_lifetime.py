"""Lifetime weights against numpy, against decays generated at the target, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
from scipy import stats

from hnl.lifetime import lifetimes, tag, with_lifetimes
from hnl.select import FOLDER
from portico import root
from portico.analysis.dataset import Sample
from portico.errors import ConfigError
from portico.selection import Selection, load_selection
from tests.simulated import load, make

ROOT = root.load()
CTAUS = (10.0, 100.0, 1000.0)
DECAYS = 200_000

TEST_FUNCTIONS = """
namespace hnl_test {
ROOT::RVecD lifetime_weights(const ROOT::RVecD &t, double ctau, double decays, const ROOT::RVecD &ctaus,
                             const ROOT::RVecD &each) {
  ROOT::RVecD out;
  for (const double x : t)
    out.push_back(ctaus.size() == 1 ? hnl::lifetime_weight(x, ctau, decays, {{ctaus[0], each[0]}})
                                    : hnl::lifetime_weight(x, ctau, decays, {{ctaus[0], each[0]}, {ctaus[1], each[1]},
                                                                             {ctaus[2], each[2]}}));
  return out;
}
} // namespace hnl_test
"""


@pytest.fixture(scope="module")
def weights() -> Any:
    assert ROOT.gInterpreter.Declare(f'#include "{FOLDER / "include" / "lifetime.h"}"')
    assert ROOT.gInterpreter.Declare(TEST_FUNCTIONS)

    def call(t: np.ndarray, ctau: float, decays: float, generated: dict[float, float]) -> np.ndarray:
        lists = [np.asarray(list(values), float) for values in (generated, generated.values())]
        return np.asarray(ROOT.hnl_test.lifetime_weights(t, ctau, decays, *lists))

    return call


def sample(**parameters: Any) -> Sample:
    return Sample(name="signal", kind="signal", parameters={"mass": 1.0, "ctau": 10.0, **parameters})


def selection() -> Selection:
    return load_selection(FOLDER / "selection.yaml")


def test_formula_of_one_sample(weights: Any) -> None:
    t = np.geomspace(1e-3, 5e3, 50)
    found = weights(t, 30.0, 7.0, {100.0: 7.0})
    np.testing.assert_allclose(found, (100 / 30) * np.exp(t * (1 / 100 - 1 / 30)), rtol=1e-12)


def test_formula_of_several_samples(weights: Any) -> None:
    generated = {10.0: 3e5, 100.0: 2e6, 1000.0: 9e6}
    t = np.geomspace(1e-3, 600.0, 50)  # exp(-t/10) is still a number
    total = sum(n * np.exp(-t / ctau) / ctau for ctau, n in generated.items())
    np.testing.assert_allclose(weights(t, 20.0, 2e6, generated), 2e6 * np.exp(-t / 20) / 20 / total, rtol=1e-12)
    far = weights(np.array([1e6]), 20.0, 2e6, generated)  # where no exponential is
    assert np.isfinite(far).all()


@pytest.mark.parametrize(("target", "least"), [(20.0, 310_000), (50.0, 310_000), (300.0, 310_000)])
def test_merged_decays_are_those_of_the_target(weights: Any, target: float, least: float) -> None:
    """Mean, quantiles, number and effective size; 310,000 is what ../shared/hnl/FACTS.md quotes."""
    random = np.random.default_rng(5)
    t = np.concatenate([random.exponential(ctau, DECAYS) for ctau in CTAUS])
    w = weights(t, target, float(DECAYS), dict.fromkeys(CTAUS, float(DECAYS)))
    assert w.sum() ** 2 / (w**2).sum() > least
    assert w.sum() / DECAYS == pytest.approx(1.0, abs=5 * np.sqrt((w**2).sum()) / DECAYS)
    assert np.average(t, weights=w) == pytest.approx(target, rel=0.01)
    own = random.exponential(target, DECAYS)
    for cut in (0.1 * target, target, 3 * target):  # as an acceptance that depends on the decay length
        assert w[t > cut].sum() == pytest.approx(np.count_nonzero(own > cut), rel=0.02)


def proper_lengths(events: ak.Array) -> np.ndarray:
    """Of the generated N, in mm: from its production (index 2 of the generated particles) to its decay (3)."""
    flight = [events[f"Gen_v{axis}"][:, 3] - events[f"Gen_v{axis}"][:, 2] for axis in "xyz"]
    momentum = [events[f"Gen_p{axis}"][:, 2] for axis in "xyz"]
    length, p = (np.sqrt(sum(np.float64(ak.to_numpy(x)) ** 2 for x in parts)) for parts in (flight, momentum))
    return 10.0 * length * np.float64(ak.to_numpy(events.Gen_mass[:, 2])) / p


@pytest.mark.full
def test_accepted_events_are_those_of_a_sample_at_the_target(weights: Any, tmp_path: Path) -> None:
    """Efficiency of trigger and acceptance, and decay lengths of what is accepted, against events made at 50 mm."""
    root = load()
    made = {}
    for ctau in (*CTAUS, 50.0):
        parameters = {"process": "signal", "mass": 1.0, "ctau": ctau, "seed": 77}
        made[ctau] = make(root, tmp_path / f"{ctau:g}", parameters, 0, 2500)
    generated = {ctau: made[ctau][1]["generated"] for ctau in CTAUS}
    t = np.concatenate([proper_lengths(made[ctau][0]) for ctau in CTAUS])
    w = weights(t, 50.0, 1.0, generated)
    efficiency, error = w.sum(), np.sqrt((w**2).sum())
    target = 2500 / made[50.0][1]["generated"]
    assert efficiency == pytest.approx(target, abs=4 * np.hypot(error, target / np.sqrt(2500)))
    assert error < 0.05 * efficiency
    own = proper_lengths(made[50.0][0])
    edges = np.quantile(own, [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
    expected, _ = np.histogram(t, edges, weights=w / w.sum())
    squares, _ = np.histogram(t, edges, weights=(w / w.sum()) ** 2)
    found, _ = np.histogram(own, edges)
    chi2 = ((found / 2500 - expected) ** 2 / (squares + found / 2500**2)).sum()
    assert stats.chi2.sf(chi2, len(found)) > 1e-3


def test_beyond_the_longest_sample_few_events_carry_all(weights: Any) -> None:
    random = np.random.default_rng(6)
    t = np.concatenate([random.exponential(ctau, DECAYS) for ctau in CTAUS])
    w = weights(t, 3000.0, float(DECAYS), dict.fromkeys(CTAUS, float(DECAYS)))
    # The variance of the weight is infinite from twice the longest lifetime on.
    assert w.sum() ** 2 / (w**2).sum() < 0.1 * DECAYS


def test_refused() -> None:
    merged = {"merge_ctau": [10.0, 100.0], "merge_decays": [1e6, 2e6]}
    with pytest.raises(ValueError, match="ctau 200 mm is above 100 mm, the longest that was generated"):
        with_lifetimes(selection(), sample(**merged), [20.0, 200.0])
    with_lifetimes(selection(), sample(**merged), [200.0], extrapolate=True)
    for wrong in ({"merge_ctau": [10.0]}, {"merge_ctau": [10.0, 20.0], "merge_decays": [1e6]}):
        with pytest.raises(ValueError, match="lists of one length"):
            with_lifetimes(selection(), sample(**wrong), [5.0])
    with pytest.raises(ValueError, match="must contain its own ctau, 10 mm"):
        with_lifetimes(selection(), sample(merge_ctau=[20.0], merge_decays=[1e6]), [5.0])
    with pytest.raises(ValueError, match=r"above 0, not -1\.0"):
        with_lifetimes(selection(), sample(), [-1.0])
    with pytest.raises(ValueError, match="have the same name"):
        with_lifetimes(selection(), sample(), [5.0, 5.0])
    with pytest.raises(ConfigError, match="the parameter 'ctau' is 'long'; it must be a number"):
        with_lifetimes(selection(), sample(ctau="long"), [5.0])


def test_what_is_not_signal_is_left_alone() -> None:
    data = Sample(name="data", kind="data")
    before = selection()
    assert with_lifetimes(before, data, [1e9]) == (before, data)
    assert with_lifetimes(before, sample(), []) == (before, sample())


def test_names() -> None:
    assert [tag(ctau) for ctau in (20.0, 0.5, 55000.0)] == ["ctau_20", "ctau_0p5", "ctau_55000"]


def test_effective_size_of_merged_samples() -> None:
    def filled(weights: list[float]) -> hist.Hist[Any]:
        h = hist.Hist(hist.axis.Regular(2, 0, 1), storage=hist.storage.Weight())
        h.fill(np.full(len(weights), 2.0), weight=weights)  # in the overflow
        return h

    class Fake(dict[str, Any]):
        def variations(self, name: str) -> dict[str, Any]:
            return {"nominal": self[name], "lifetime:ctau_20": self[name]}

    results = {"a": Fake(inclusive_x=filled([1.0, 1.0])), "b": Fake(inclusive_x=filled([2.0])), "d": Fake()}
    merge = {"mass": 1.0, "merge_ctau": (10.0,), "merge_decays": (1.0,)}
    samples = {name: Sample(name=name, kind="signal", parameters=merge) for name in "ab"}
    samples["d"] = Sample(name="d", kind="data")
    found = lifetimes(results, samples)["lifetimes"]
    assert found == {"1 GeV": {"ctau_20": {"yield": 4.0, "uncertainty": np.sqrt(6), "effective_events": 16 / 6}}}
    with pytest.raises(ValueError, match="no histogram is weighted to lifetimes"):
        lifetimes({"d": Fake()}, {"d": samples["d"]})
