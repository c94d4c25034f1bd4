"""Likelihoods with several minima: limits are those of a search of everything, whatever fits, and nothing is silent."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import optimize, stats

from portico.cli.limit import limit
from portico.stats import workspace_fits
from portico.stats.asymptotic import ModelProfiles, asymptotic_limit, cls_at, invert
from portico.stats.exports.formats import export
from portico.stats.infer import infer
from portico.stats.minima import lowest
from portico.stats.model import Model
from portico.stats.model_file import read_model
from portico.stats.roofit.model import RooFitModel
from portico.stats.roofit.profiles import RooFitProfiles
from portico.stats.scoring import score
from portico.stats.toys import ModelToys
from portico.stats.workspace import Workspace
from portico.stats.workspace_profiles import PyhfProfiles
from portico.stats.workspace_toys import PyhfToys, ThrownData
from tests.large_models import large_model
from tests.second_minima import Searched, random_model

MU = {"name": "mu", "type": "normfactor", "data": None}
UP, DOWN = [86.8, 57.6], [112.3, 71.1]
#: Both variations of the first bin lead up, and the data are far above: profiles have two minima.
TWO_MINIMA: dict[str, Any] = {
    "channels": [
        {
            "name": "SR",
            "samples": [
                {"name": "sig", "data": [23.7, 39.6], "modifiers": [MU]},
                {
                    "name": "bkg", "data": [80.6, 54.3],
                    "modifiers": [{"name": "h", "type": "histosys", "data": {"hi_data": UP, "lo_data": DOWN}}],
                },
            ],
        },
        {
            "name": "CR",
            "samples": [
                {
                    "name": "bkg", "data": [93.9],
                    "modifiers": [{"name": "h", "type": "histosys", "data": {"hi_data": [105.6], "lo_data": [80.3]}}],
                }
            ],
        },
    ],
    "observations": [{"name": "SR", "data": [141, 107]}, {"name": "CR", "data": [93]}],
    "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    "version": "1.0.0",
}  # fmt: skip
RIGHT = 1.818  # by minuit from many starts, and by the search of everything


def workspace(spec: dict[str, Any]) -> Workspace:
    return Workspace("test", spec, "m", "mu")


@pytest.mark.parametrize("backend", ["numpy", "minuit", pytest.param("jax", marks=pytest.mark.full)])
def test_the_limit_is_that_of_the_lowest_minimum(backend: str) -> None:
    answer = infer(workspace(TWO_MINIMA), backend=backend, mus=[1.0, 1.2, 1.5, 1.8])
    assert answer.limit.observed == pytest.approx(RIGHT, rel=5e-4)
    observed = [cls.observed or 0.0 for cls in answer.points]
    assert observed == sorted(observed, reverse=True)
    assert answer.notes == ()


@pytest.mark.full
def test_roofit_goes_to_all_sides_as_well(tmp_path: Path) -> None:
    """Of a RooWorkspace, whose likelihood Portico knows only by its values."""
    export(workspace(TWO_MINIMA), "roofit", tmp_path / "two.root")
    model = read_model(tmp_path / "two.root")
    assert isinstance(model, RooFitModel)
    assert model.session.about["sided"] == ["alpha_h"]
    answer = infer(model, mus=[1.0, 1.2, 1.5, 1.8])
    assert answer.limit.observed == pytest.approx(RIGHT, rel=2e-3)
    observed = [cls.observed or 0.0 for cls in answer.points]
    assert observed == sorted(observed, reverse=True)
    assert answer.notes == ()


@pytest.mark.full
@pytest.mark.parametrize(("seed", "elsewhere"), [(50, 0.5335), (36, 0.4610)])  # limits of fits that keep to one side
def test_roofit_finds_minima_that_its_starts_do_not_lead_to(tmp_path: Path, seed: int, elsewhere: float) -> None:
    spec = random_model(seed)
    export(workspace(spec), "roofit", tmp_path / "random.root")
    found = infer(read_model(tmp_path / "random.root")).limit
    assert (found.observed, found.median) == pytest.approx(Searched(spec).limits(), rel=0.005)
    assert min(abs(found.observed or 0.0 - elsewhere), abs(found.median - elsewhere)) > 0.1 * elsewhere


LOW, HIGH, WIDTH, CENTER, SPREAD = 100.0, 180.0, 1.5, 140.0, 4.0
#: A small bump nearer to where the peak is expected than a large one.
BUMPS = np.linspace(136.5, 138.5, 6), np.linspace(143.5, 146.5, 16)
EVENTS = np.concatenate([np.linspace(LOW, HIGH, 102)[1:-1], *BUMPS])


def peak_and_flat(path: Path) -> Path:
    """Write HS3 of a peak whose mean has a constraint, on a flat background."""
    content = {
        "metadata": {"hs3_version": "0.2"},
        "distributions": [
            {"name": "peak", "type": "gaussian_dist", "x": "m", "mean": "at", "sigma": WIDTH},
            {"name": "flat", "type": "uniform_dist", "x": ["m"]},
            {"name": "both", "type": "mixture_dist", "summands": ["peak", "flat"], "coefficients": ["ns", "nb"],
             "extended": True},
            {"name": "constraint", "type": "gaussian_dist", "x": "at_aux", "mean": "at", "sigma": SPREAD},
            {"name": "all", "type": "product_dist", "factors": ["both", "constraint"]},
        ],
        "functions": [{"name": "ns", "type": "generic_function", "expression": "10*mu"}],
        "data": [{"name": "events", "type": "unbinned", "axes": [{"name": "m", "min": LOW, "max": HIGH}],
                  "entries": [[x] for x in EVENTS.tolist()]}],
        "likelihoods": [{"name": "L", "distributions": ["all"], "data": ["events"]}],
        "domains": [{"name": "default_domain", "type": "product_domain", "axes": [
            {"name": "m", "min": LOW, "max": HIGH}, {"name": "mu", "min": 0.0, "max": 20.0},
            {"name": "at", "min": 125.0, "max": 155.0}, {"name": "nb", "min": 0.0, "max": 1000.0}]}],
        "parameter_points": [{"name": "default_values", "parameters": [
            {"name": "mu", "value": 1.0}, {"name": "at", "value": CENTER}, {"name": "nb", "value": 120.0},
            {"name": "at_aux", "value": CENTER, "const": True}]}],
        "analyses": [{"name": "A", "likelihood": "L", "domains": ["default_domain"], "parameters_of_interest": ["mu"]}],
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return path


def test_a_peak_of_roofit_moves_to_the_larger_of_two_bumps(tmp_path: Path) -> None:
    """The profile has a minimum at each of them, and the fit begins between."""

    def lowest_of(mu: float, mean: float) -> float:
        norm = np.diff(stats.norm.cdf([LOW, HIGH], mean, WIDTH))[0]
        signal = 10 * mu * stats.norm.pdf(EVENTS, mean, WIDTH) / norm
        found = optimize.minimize_scalar(
            lambda nb: 10 * mu + nb - np.sum(np.log(signal + nb / (HIGH - LOW))), bounds=(1, 1000), method="bounded"
        )
        return float(2 * found.fun + ((mean - CENTER) / SPREAD) ** 2)

    places = np.linspace(128, 152, 241).tolist()
    profile = {mu: min(lowest_of(mu, mean) for mean in places) for mu in (0.0, 0.8, 1.2, 2.0)}
    model = read_model(peak_and_flat(tmp_path / "peak.json"))
    assert isinstance(model, RooFitModel)
    assert model.session.about["sided"] == ["at"]
    profiles = RooFitProfiles(model)
    for mu in (0.8, 1.2, 2.0):
        found = profiles.conditional("obs", mu)
        assert found.objective - profiles.background.objective == pytest.approx(profile[mu] - profile[0.0], abs=0.02)
        assert found.values["at"] == pytest.approx(145, abs=0.5)


def test_the_search_of_everything_finds_the_same() -> None:
    observed, expected = Searched(TWO_MINIMA).limits()
    assert observed == pytest.approx(RIGHT, rel=5e-4)
    assert expected == pytest.approx(asymptotic_limit(PyhfProfiles(workspace(TWO_MINIMA))).median, rel=1e-3)


def test_two_of_four_parameters_change_sides_together() -> None:
    """Each alone leads higher, from where all are below 0."""

    def height(at: np.ndarray) -> float:
        return float(np.sum((at**2 - 1) ** 2) - at[0] * at[1] - 0.2 * (at[0] + at[1]) + 0.2 * (at[2] + at[3]))

    def local(start: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, float]:
        at = start.copy()

        def of_free(values: np.ndarray) -> float:
            at[free] = values
            return height(at)

        at[free] = optimize.minimize(of_free, start[free]).x
        return at, height(at)

    found = lowest(local, [np.full(4, -1.0)], np.ones(4, dtype=np.bool_), range(4), lambda _: range(4))
    assert found is not None
    assert np.sign(found[0]).tolist() == [1, 1, -1, -1]


@pytest.mark.parametrize("target", [3.94, 3.97, 3.9])
def test_a_curve_that_is_flat_at_its_end_does_not_end_a_search(target: float) -> None:
    assert invert(lambda x: x**2, target, 1.0) == pytest.approx(math.sqrt(target), rel=1e-3)


@pytest.mark.full
def test_hundreds_of_parameters_that_bend_a_little_need_few_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of the 28 bent parameters of this model lie on another side is seen without fits on all of them."""
    calls, spec = list[int](), large_model(218)

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return score(*arguments)

    monkeypatch.setattr(workspace_fits, "score", counted)
    profiles = PyhfProfiles(Workspace("test", spec, "made", "mu"))
    assert (
        len(
            profiles.fitter._bending(profiles.fitter.likelihood.start, profiles.data, ~profiles.fitter.likelihood.fixed)
        )
        > 20
    )
    found = asymptotic_limit(profiles)
    assert len(calls) == len(profiles._fits) + 2
    one = PyhfProfiles(Workspace("test", spec, "made", "mu"), backend="minuit")
    for which in ("data", "asimov"):
        mu = found.median
        assert profiles.conditional(which, mu).objective == pytest.approx(
            one.conditional(which, mu).objective, abs=1e-4
        )


def own(spec: dict[str, Any]) -> Model:
    """The same as a model of portico, whose templates are interpolated in straight lines."""
    observed = {entry["name"]: entry["data"] for entry in spec["observations"]}
    channels = []
    for channel in spec["channels"]:
        components = []
        for sample in channel["samples"]:
            data, bins = sample["data"], len(sample["data"])
            changes = {
                m["name"]: [m["data"]["lo_data"], m["data"]["hi_data"]]
                for m in sample["modifiers"] if m["type"] == "histosys"
            }  # fmt: skip
            shape = {"kind": "template", "low": 0.0, "high": float(bins), "bins": data, "changes": changes}
            component: dict[str, Any] = {"name": sample["name"], "events": sum(data), "shapes": [shape]}
            components.append(component | ({"strength": "mu"} if sample["name"] == "sig" else {}))
        edges = [float(i) for i in range(bins + 1)]
        channels.append({"name": channel["name"], "edges": edges, "counts": observed[channel["name"]],
                         "components": components})  # fmt: skip
    return Model.model_validate({"channels": channels, "parameters": [{"name": "mu", "start": 1.0, "low": 0.0}]})


def test_own_models_have_the_same_minima() -> None:
    """Their templates move in other curves between the variations: the limits are close, and those of many starts."""
    model = own(TWO_MINIMA)
    found = asymptotic_limit(ModelProfiles(model))
    assert found.observed == pytest.approx(RIGHT, rel=0.03)
    profiles = ModelProfiles(model)
    for mu in (1.2, 1.5, 1.8):
        likelihood = profiles._fitter.likelihood(())
        at = likelihood.names.index("h")
        values = [
            likelihood([mu if name == "mu" else h for name in likelihood.names])
            for h in np.linspace(-4, 4, 2001).tolist()
        ]
        assert likelihood.names[at] == "h"
        assert profiles.conditional("data", mu).nll == pytest.approx(min(values), abs=1e-4)


def test_toys_take_the_lowest_minimum() -> None:
    toys, profiles = PyhfToys(workspace(TWO_MINIMA)), PyhfProfiles(workspace(TWO_MINIMA))
    for mu in (1.5, 1.8):
        expected = profiles.statistics(mu)[0]
        assert toys.observed_statistic(mu) == pytest.approx(expected, abs=2e-3)
        for side in (-2.0, 2.0):  # wherever fits to a toy begin
            assert profiles.data is not None
            near = toys.fitter.fit(profiles.data, mu, {**toys.fitter.start(), "mu": mu, "h": side})
            assert toys.statistic(mu, ThrownData(profiles.data, near)) == pytest.approx(expected, abs=2e-3)
    assert ModelToys(own(TWO_MINIMA)).observed_statistic(1.5) == pytest.approx(
        ModelProfiles(own(TWO_MINIMA)).statistics(1.5)[0], abs=2e-3
    )


class Rising:
    """Statistics whose CLs rises: 1/CLs falls between 1.2 and 1.6."""

    poi, unit, improved, several_minima, observed = "mu", 1.0, 0, True, True

    def statistics(self, mu: float) -> tuple[float, float]:
        q = 4 * mu**2 if mu < 1.2 else max(5.76 - 8 * (mu - 1.2), 1.0) if mu < 1.8 else 1.0 + 4 * (mu - 1.8) ** 2
        return q, self.of_asimov(mu)

    def of_asimov(self, mu: float) -> float:
        return 6.25 * mu**2


def test_a_cls_that_rises_is_never_silent() -> None:
    found = asymptotic_limit(Rising())
    assert found.observed is not None
    assert found.observed > 1.8
    assert cls_at(Rising(), found.observed).observed == pytest.approx(0.05, abs=1e-3)
    (note,) = found.notes
    assert note.startswith("CLs of mu rises between ")
    assert "the limit is the largest strength that is not excluded" in note


def off(seeds: Iterable[int]) -> dict[int, tuple[float, ...]]:
    """Return the models whose limits are off by more than 0.5%, and by how much."""
    found = {}
    for seed in seeds:
        spec = random_model(seed)
        ours = asymptotic_limit(PyhfProfiles(workspace(spec)))
        ratios = (ours.observed or math.nan, ours.median) / np.array(Searched(spec).limits())
        if not np.all(np.abs(ratios - 1) < 0.005):
            found[seed] = tuple(ratios.tolist())
    return found


def test_random_models_have_the_limits_of_a_search_of_everything() -> None:
    """Of 727 CLs is steep and then flat; minima of 728 without signal lie on other sides of all three parameters."""
    assert off([0, 1, 2, 727, 728]) == {}


@pytest.mark.parametrize("seed", [170, 727, *(pytest.param(seed, marks=pytest.mark.full) for seed in (74, 360, 584))])
def test_a_search_from_more_points_finds_no_lower_minimum(seed: int) -> None:
    spec = random_model(seed)
    more = np.linspace(-2.5, 2.5, 11).tolist()
    assert Searched(spec).limits() == pytest.approx(Searched(spec, more).limits(), rel=1e-4)


@pytest.mark.full
@pytest.mark.timeout(7200)
def test_a_thousand_random_models_have_the_limits_of_a_search_of_everything() -> None:
    assert off(range(1000)) == {}


def test_the_command_says_nothing_where_nothing_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "workspace.json"
    path.write_text(json.dumps(TWO_MINIMA))
    done = CliRunner().invoke(limit, [str(path)])
    assert done.exit_code == 0
    assert "1.818" in done.stdout
    assert "note" not in done.stdout
