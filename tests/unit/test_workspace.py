"""Workspaces of pyhf: their limits and CLs are those of pyhf, whatever computes them; toys are those of the model."""

from __future__ import annotations

import copy
import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import pytest
from scipy import stats

from portico.errors import FitError, MissingExtra
from portico.stats import workspace_fits
from portico.stats.asymptotic import ModelProfiles, asymptotic_limit, cls_at
from portico.stats.counting import Count, counting_cls, counting_limit
from portico.stats.infer import deciding_events, infer
from portico.stats.limit import CLs
from portico.stats.model import Model
from portico.stats.toy_limits import cls_of
from portico.stats.toys import throw_toys
from portico.stats.workspace import Workspace, using
from portico.stats.workspace_fits import WorkspaceFitter
from portico.stats.workspace_profiles import PyhfProfiles
from portico.stats.workspace_toys import PyhfToys

MU = {"name": "mu", "type": "normfactor", "data": None}
EFFICIENCY = {"name": "eff", "type": "normsys", "data": {"lo": 0.92, "hi": 1.1}}
NORM = {"name": "norm", "type": "normsys", "data": {"lo": 0.9, "hi": 1.12}}
SHAPE = {"lo_data": [47.0, 39.0, 31.0, 22.0], "hi_data": [54.0, 41.0, 29.0, 17.0]}
TWO_CHANNELS: list[dict[str, Any]] = [
    {
        "name": "A",
        "samples": [
            {"name": "signal", "data": [2.0, 5.0, 8.0, 3.0], "modifiers": [MU, EFFICIENCY]},
            {
                "name": "background",
                "data": [50.0, 40.0, 30.0, 20.0],
                "modifiers": [
                    NORM,
                    {"name": "shape", "type": "histosys", "data": SHAPE},
                    {"name": "stat_A", "type": "staterror", "data": [3.0, 2.5, 2.0, 1.8]},
                ],
            },
        ],
    },
    {
        "name": "B",
        "samples": [
            {"name": "signal", "data": [1.0, 2.0], "modifiers": [MU, EFFICIENCY]},
            {
                "name": "background",
                "data": [100.0, 90.0],
                "modifiers": [NORM, {"name": "unc", "type": "shapesys", "data": [8.0, 7.0]}],
            },
        ],
    },
]
DATA = {"A": [52.0, 43.0, 36.0, 21.0], "B": [97.0, 94.0]}
UNCORRELATED = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0], validate=False)
CORRELATED = pyhf.simplemodels.correlated_background(
    [12.0, 11.0], [50.0, 52.0], [45.0, 57.0], [55.0, 47.0], validate=False
)
# pyhf 0.7.6, numpy and scipy: upper_limit(data, model, scan=None, level=0.05, rtol=1e-6), interpolation codes 4 and 4p
LIMITS = {
    "uncorrelated": (1.01157, (0.55988, 0.75702, 1.06235, 1.50117, 2.05079)),
    "correlated": (1.32057, (0.47801, 0.64924, 0.91719, 1.30766, 1.80466)),
    "two channels": (2.11561, (0.81409, 1.10199, 1.55184, 2.21066, 3.06587)),
}


def make(channels: list[dict[str, Any]], data: dict[str, list[float]], **parameter: Any) -> Workspace:
    """A workspace with a setting of the parameter of interest."""
    config: dict[str, Any] = {"poi": "mu", "parameters": [{"name": "mu", **parameter}] if parameter else []}
    spec = {
        "channels": channels, "observations": [{"name": name, "data": data[name]} for name in data],
        "measurements": [{"name": "meas", "config": config}], "version": "1.0.0",
    }  # fmt: skip
    return Workspace("test", spec, "meas", "mu", tuple(config["parameters"]))


def single(signal: float, background: float, observed: float) -> Workspace:
    """One bin, known yields."""
    samples = [
        {"name": "signal", "data": [signal], "modifiers": [MU]},
        {"name": "background", "data": [background], "modifiers": []},
    ]
    return make([{"name": "A", "samples": samples}], {"A": [observed]})


WORKSPACES = {
    "uncorrelated": make(UNCORRELATED.spec["channels"], {"singlechannel": [51.0, 48.0]}),
    "correlated": make(CORRELATED.spec["channels"], {"single_channel": [62.0, 51.0]}),
    "two channels": make(TWO_CHANNELS, DATA),
}
every_workspace = pytest.mark.parametrize("name", WORKSPACES)


@pytest.fixture(scope="module")
def profiles() -> dict[str, PyhfProfiles]:
    return {name: PyhfProfiles(workspace) for name, workspace in WORKSPACES.items()}


def of_pyhf(name: str, mu: float, codes: tuple[str, str] = ("code4", "code4p")) -> CLs:
    """CLs as pyhf itself finds it."""
    settings = {"normsys": {"interpcode": codes[0]}, "histosys": {"interpcode": codes[1]}}
    spec = WORKSPACES[name].spec
    model = pyhf.Model({"channels": spec["channels"]}, poi_name="mu", validate=False, modifier_settings=settings)
    observed = {entry["name"]: entry["data"] for entry in spec["observations"]}
    data = [n for channel in model.config.channels for n in observed[channel]] + model.config.auxdata
    with np.errstate(all="ignore"):
        cls, tails, expected = pyhf.infer.hypotest(
            mu, data, model, test_stat="qtilde", return_tail_probs=True, return_expected_set=True
        )
    return CLs(mu, float(cls), tuple(map(float, expected)), float(tails[0]), float(tails[1]))


@every_workspace
@pytest.mark.parametrize("mu", [0.5, 1.3])
def test_cls_is_that_of_pyhf(profiles: dict[str, PyhfProfiles], name: str, mu: float) -> None:
    found, reference = cls_at(profiles[name], mu), of_pyhf(name, mu)
    assert found.expected == pytest.approx(reference.expected, abs=1e-4)
    assert [found.observed, found.clsb, found.clb] == pytest.approx(
        [reference.observed, reference.clsb, reference.clb], abs=1e-4
    )


@every_workspace
def test_limits_are_those_of_pyhf(profiles: dict[str, PyhfProfiles], name: str) -> None:
    limit = asymptotic_limit(profiles[name])
    assert limit.observed == pytest.approx(LIMITS[name][0], rel=1e-3)
    assert limit.expected == pytest.approx(LIMITS[name][1], rel=1e-3)
    assert not profiles[name].fitter.notes
    assert limit.observed is not None
    for factor, sign in ((0.995, 1), (1.005, -1)):  # and the level of pyhf now is crossed there
        assert sign * ((of_pyhf(name, limit.observed * factor).observed or 0.0) - 0.05) > 0
        assert sign * (of_pyhf(name, limit.expected[2] * factor).expected[2] - 0.05) > 0


def test_minuit_finds_the_same(profiles: dict[str, PyhfProfiles]) -> None:
    found, reference = PyhfProfiles(WORKSPACES["two channels"], backend="minuit"), profiles["two channels"]
    for mu in (0.9, 2.0):
        assert found.statistics(mu) == pytest.approx(reference.statistics(mu), abs=2e-4)
    limit = asymptotic_limit(PyhfProfiles(WORKSPACES["uncorrelated"], backend="minuit"))
    assert limit.observed == pytest.approx(LIMITS["uncorrelated"][0], rel=5e-4)
    assert limit.expected == pytest.approx(LIMITS["uncorrelated"][1], rel=5e-4)


@pytest.mark.full
def test_jax_finds_the_same_and_is_put_back() -> None:
    pytest.importorskip("jax")
    before = pyhf.get_backend()
    answer = infer(WORKSPACES["uncorrelated"], backend="jax", mus=[0.5])
    assert pyhf.get_backend() == before
    assert pyhf.tensorlib.name == "numpy"
    assert answer.limit.observed == pytest.approx(LIMITS["uncorrelated"][0], rel=5e-4)
    assert answer.limit.expected == pytest.approx(LIMITS["uncorrelated"][1], rel=5e-4)
    assert answer.points[0].observed == pytest.approx(of_pyhf("uncorrelated", 0.5).observed, abs=1e-4)


def test_a_backend_that_is_missing_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(MissingExtra, match=r"the jax backend of pyhf needs the extra 'jax'; install it with: pip"):
        PyhfProfiles(WORKSPACES["uncorrelated"], backend="jax")
    with pytest.raises(ValueError, match="no backend 'torch'; valid: numpy, jax, minuit"):
        WorkspaceFitter(WORKSPACES["uncorrelated"], "torch")


def test_the_backend_and_the_log_are_put_back_after_an_error() -> None:
    before, level = pyhf.get_backend(), logging.getLogger("pyhf").level
    def fail() -> None:
        with using("numpy"):
            pyhf.set_backend("numpy", "minuit")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (pyhf.get_backend(), logging.getLogger("pyhf").level) == (before, level)


# What fits do where they have trouble


def test_iminuit_finds_what_scoring_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = cls_at(PyhfProfiles(WORKSPACES["uncorrelated"]), 1.0)
    monkeypatch.setattr(workspace_fits, "score", lambda *_: None)
    found = cls_at(PyhfProfiles(WORKSPACES["uncorrelated"]), 1.0)
    assert found.observed == pytest.approx(reference.observed, abs=1e-4)


def test_a_fit_that_does_not_converge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace_fits, "score", lambda *_: None)
    monkeypatch.setattr(WorkspaceFitter, "_minuit", lambda *_: None)
    with pytest.raises(FitError, match=r"test: the fit with mu = 0 does not converge, neither by Fisher"):
        PyhfProfiles(WORKSPACES["uncorrelated"])


def test_expected_events_that_are_not_those_of_pyhf_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = WORKSPACES["uncorrelated"]
    assert spec.model is not None
    monkeypatch.setattr(spec.model, "expected_data", lambda at: np.array([1.0, 2.0, 99.0, 4.0]))
    with pytest.raises(FitError, match=r"expected events are not those of pyhf: .* in bin 3; please report"):
        WorkspaceFitter(spec)


def test_a_best_fit_that_was_none_is_replaced(profiles: dict[str, PyhfProfiles]) -> None:
    wrong, right = PyhfProfiles(WORKSPACES["correlated"]), asymptotic_limit(profiles["correlated"])
    assert wrong.best is not None
    wrong.best = replace(wrong.best, objective=wrong.best.objective + 30.0)
    assert asymptotic_limit(wrong).observed == pytest.approx(right.observed, rel=1e-4)
    assert wrong.improved == 1


def test_the_bound_of_the_strength_is_no_limit_of_the_answer() -> None:
    """pyhf bounds normfactors at 10 by default, and refuses to test above."""
    answer = infer(single(1.0, 50.0, 150.0), mus=[90.0, 130.0])
    assert answer.best == pytest.approx(100.0, rel=1e-3)
    assert "the best fit of mu is above its upper bound in the workspace, 10: the bound was moved" in answer.notes
    # Two-sided checks by hand: q_mu of one Poisson count.
    q = 2 * (180.0 - 150.0 - 150.0 * np.log(180.0 / 150.0))
    q_asimov = 2 * (180.0 - 50.0 - 50.0 * np.log(180.0 / 50.0))
    root = np.sqrt(q_asimov)
    cls = stats.norm.sf(np.sqrt(q)) / stats.norm.sf(np.sqrt(q) - root)
    assert answer.points[1].observed == pytest.approx(cls, abs=1e-4)
    assert answer.points[0].observed == pytest.approx(0.5, abs=1e-4)  # q~ is 0 below the best fit


def test_parameters_at_a_limit_are_named() -> None:
    channels = copy.deepcopy(TWO_CHANNELS[1:])
    spec = make(channels, {"B": [160.0, 60.0]})
    tight = ({"name": "norm", "bounds": [[-0.1, 0.1]]},)
    answer = infer(Workspace("test", spec.spec, "meas", "mu", tight))
    assert [note for note in answer.notes if "at a limit of its range: norm" in note]


def test_settings_of_unknown_parameters_are_told() -> None:
    spec = WORKSPACES["uncorrelated"]
    answer = infer(Workspace("test", spec.spec, "meas", "mu", ({"name": "uncorr_bkg"}, {"name": "lumi"})))
    (note,) = answer.notes
    assert note == (
        "measurement 'meas' sets 'uncorr_bkg', which the model does not have; did you mean 'uncorr_bkguncrt'?"
    )


def test_an_empty_channel_changes_nothing() -> None:
    spec = WORKSPACES["uncorrelated"].spec
    empty = {"name": "empty", "samples": [{"name": "background", "data": [0.0, 0.0], "modifiers": []}]}
    both = make([*spec["channels"], empty], {"singlechannel": [51.0, 48.0], "empty": [0.0, 0.0]})
    assert infer(both).limit.expected == pytest.approx(LIMITS["uncorrelated"][1], rel=1e-3)


# Models without data, without background, and blinded


def test_blinded_data_are_not_looked_at() -> None:
    answers = [
        infer(make(TWO_CHANNELS[1:], {"B": data}), blind=True, mus=[2.0]) for data in ([97.0, 94.0], [1000.0, 0.0])
    ]
    assert answers[0] == answers[1]
    (answer, _) = answers
    assert (answer.limit.observed, answer.best, answer.p_value, answer.points[0].observed) == (None,) * 4
    # The median is that of pyhf for data that are the expectation.
    visible = infer(make(TWO_CHANNELS[1:], {"B": [100.0, 90.0]}))
    assert answer.limit.expected == pytest.approx(visible.limit.expected, rel=1e-3)


def test_few_background_events_are_told() -> None:
    """With nothing but the strength free the construction is exact; else there is a note."""
    exact = infer(single(1.0, 2.0, 2.0), mus=[3.0])
    assert exact.limit.method == "counting"
    reference = counting_limit([Count("A", 2.0, 0.0, 1.0, 0.0, 2)])
    assert exact.limit.observed == pytest.approx(reference.observed, rel=1e-4)
    assert exact.points[0].observed == pytest.approx(
        counting_cls([Count("A", 2.0, 0.0, 1.0, 0.0, 2)], 3.0).observed, rel=1e-4
    )
    assert "exact probabilities, for about 2 effective background events, mostly in channel 'A'" in exact.why
    assert re.fullmatch(r"asymptotic formulae would give \d\S+ observed and \d\S+ expected", exact.notes[0])
    assert not infer(single(1.0, 6.0, 5.0)).notes
    assert infer(single(1.0, 0.0, 0.0)).limit.observed == pytest.approx(-np.log(0.05), rel=1e-4)
    many = make(
        [
            {
                "name": "A",
                "samples": [
                    {"name": "signal", "data": [5.0] * 11, "modifiers": [MU]},
                    {"name": "background", "data": [0.3] + [30.0] * 10, "modifiers": []},
                ],
            }
        ],
        {"A": [0.0] + [30.0] * 10},
    )  # exact probabilities of many bins take minutes
    assert infer(many).limit.method == "asymptotic"
    (note,) = infer(uncertain(2.0)).notes
    assert note == (
        "about 2 effective background events, mostly in channel 'A': below 5 asymptotic limits are too low; use toys "
        "(--toys 1000)"
    )


def uncertain(background: float) -> Workspace:
    """One bin with an uncertainty of 1% of its signal."""
    modifiers = [MU, {"name": "eff", "type": "normsys", "data": {"lo": 0.99, "hi": 1.01}}]
    samples = [
        {"name": "signal", "data": [1.0], "modifiers": modifiers},
        {"name": "background", "data": [background], "modifiers": []},
    ]
    return make([{"name": "A", "samples": samples}], {"A": [round(background)]})


def test_bins_count_by_what_they_contribute_to_the_sensitivity(profiles: dict[str, PyhfProfiles]) -> None:
    def deciding(signal: list[float], background: list[float], modifiers: Any = ()) -> tuple[float, str]:
        samples = [
            {"name": "signal", "data": signal, "modifiers": [MU]},
            {"name": "background", "data": background, "modifiers": list(modifiers)},
        ]
        made = PyhfProfiles(make([{"name": "C", "samples": samples}], {"C": background}))
        return deciding_events(made, asymptotic_limit(made).median)

    assert deciding([1.0], [3.0]) == (pytest.approx(3.0, rel=1e-3), "C")
    assert deciding([1.0] * 20, [1.0] * 20)[0] == pytest.approx(20.0, rel=1e-3)  # equal bins are one count
    assert deciding([5.0, 10.0], [0.3, 60.0])[0] < 1  # most of the signal is not most of the sensitivity
    assert deciding([0.01, 9.0, 0.1], [0.1, 50.0, 500.0])[0] > 30  # what has little signal hardly matters
    assert deciding([5.0, 10.0], [1e-6, 60.0])[0] < 5
    far_off = {"name": "norm", "type": "normsys", "data": {"lo": 0.2, "hi": 5.0}}
    many = deciding([2.0, 300.0], [4.0, 1e4])[0]
    samples = [
        {"name": "signal", "data": [300.0], "modifiers": [MU]},
        {"name": "background", "data": [1e4], "modifiers": [far_off]},
    ]
    known = [
        {"name": "signal", "data": [2.0], "modifiers": [MU]}, {"name": "background", "data": [4.0], "modifiers": []}
    ]  # fmt: skip
    made = PyhfProfiles(make([{"name": "U", "samples": samples}, {"name": "K", "samples": known}],
                             {"U": [1e4], "K": [4.0]}))  # fmt: skip
    few, where = deciding_events(made, asymptotic_limit(made).median)
    assert (many > 100, few < 5, where) == (True, True, "K")  # what is not known to 500% tells nothing
    events, name = deciding_events(profiles["two channels"], 1.5)
    assert (name, 30 < events < 200) == ("A", True)


# The models of portico against pyhf


def own_model() -> Model:
    """The two channels with symmetric variations, as a model of portico."""
    def factors(k: float) -> tuple[float, float]:
        return 1 / k, k

    def template(data: list[float], changes: dict[str, list[float]]) -> dict[str, Any]:
        moved = {
            name: ([a - b for a, b in zip(data, by, strict=True)], [a + b for a, b in zip(data, by, strict=True)])
            for name, by in changes.items()
        }
        return {"kind": "template", "low": 0.0, "high": float(len(data)), "bins": data, "changes": moved}

    def component(name: str, shape: dict[str, Any], **options: Any) -> dict[str, Any]:
        return {"name": name, "shapes": [shape], "events": sum(shape["bins"]), **options}

    single_bins = {f"stat{i}": [3.0 if i == j else 0.0 for j in range(4)] for i in range(4)}
    signal = {"strength": "mu", "effects": {"eff": factors(1.1)}}
    background = {"effects": {"norm": factors(1.12)}}
    channels = [
        {
            "name": "A", "edges": [0.0, 1.0, 2.0, 3.0, 4.0], "counts": DATA["A"],
            "components": [
                component("signal", template([2.0, 5.0, 8.0, 3.0], {}), **signal),
                component("background", template([50.0, 40.0, 30.0, 20.0],
                                                 {"shape": [4.0, 1.0, -1.0, -3.0], **single_bins}), **background),
            ],
        },
        {
            "name": "B", "edges": [0.0, 1.0, 2.0], "counts": DATA["B"],
            "components": [
                component("signal", template([1.0, 2.0], {}), **signal),
                component("background", template([100.0, 90.0], {}), **background),
            ],
        },
    ]  # fmt: skip
    strength = {"name": "mu", "start": 1.0, "low": 0.0, "high": 50.0}
    return Model.model_validate({"channels": channels, "parameters": [strength]})


def the_same_for_pyhf() -> Workspace:
    channels = copy.deepcopy(TWO_CHANNELS)
    normsys = {"eff": {"lo": 1 / 1.1, "hi": 1.1}, "norm": {"lo": 1 / 1.12, "hi": 1.12}}
    for channel in channels:
        for sample in channel["samples"]:
            sample["modifiers"] = [
                {**of, "data": normsys[of["name"]]} if of["type"] == "normsys" else of for of in sample["modifiers"]
            ]
    background = channels[0]["samples"][1]
    norm, nominal = background["modifiers"][0], np.array(background["data"])
    changes = {"shape": np.array([4.0, 1.0, -1.0, -3.0])} | {f"stat{i}": 3.0 * np.eye(4)[i] for i in range(4)}
    background["modifiers"] = [norm] + [
        {
            "name": name, "type": "histosys",
            "data": {"lo_data": (nominal - change).tolist(), "hi_data": (nominal + change).tolist()},
        }
        for name, change in changes.items()
    ]  # fmt: skip
    channels[1]["samples"][1]["modifiers"].pop()
    return make(channels, DATA)


def test_own_models_give_what_pyhf_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Factors 1/k and k are k^theta in code 1, symmetric templates are linear in code 0, here and in pyhf."""
    monkeypatch.setitem(WORKSPACES, "own", the_same_for_pyhf())
    own = ModelProfiles(own_model())
    for mu in (0.8, 2.0):
        found, reference = cls_at(own, mu), of_pyhf("own", mu, ("code1", "code0"))
        assert found.expected == pytest.approx(reference.expected, abs=1e-4)
        assert [found.observed, found.clsb, found.clb] == pytest.approx(
            [reference.observed, reference.clsb, reference.clb], abs=1e-4
        )
    limit = infer(own_model()).limit
    assert limit.observed is not None
    for factor, sign in ((0.998, 1), (1.002, -1)):
        codes = ("code1", "code0")
        assert sign * ((of_pyhf("own", limit.observed * factor, codes).observed or 0.0) - 0.05) > 0
        for i, expected in enumerate(limit.expected):
            assert sign * (of_pyhf("own", expected * factor, codes).expected[i] - 0.05) > 0


def test_own_models_are_asked_the_same() -> None:
    answer = infer(own_model(), mus=[1.0])
    blinded = infer(own_model(), mus=[1.0], blind=True)
    assert (blinded.best, blinded.limit.observed, blinded.points[0].observed) == (None, None, None)
    assert blinded.limit.expected == pytest.approx(answer.limit.expected)
    channels = [channel.model_copy(update={"counts": None}) for channel in own_model().channels]
    without = infer(own_model().model_copy(update={"channels": tuple(channels)}))
    assert (without.best, without.limit.observed) == (None, None)
    assert without.notes == ("there are no data: expected numbers are those of the start values of all parameters",)
    expectation = [[50.0, 40.0, 30.0, 20.0], [100.0, 90.0]]
    channels = [c.model_copy(update={"counts": tuple(n)}) for c, n in zip(channels, expectation, strict=True)]
    filled = infer(own_model().model_copy(update={"channels": tuple(channels)}))
    assert without.limit.expected == pytest.approx(filled.limit.expected, rel=1e-3)


# Toys


def test_toys_are_those_of_the_model() -> None:
    """Means are expected ones, widths those of toys that pyhf throws with numpy's global generator."""
    toys, rng = PyhfToys(WORKSPACES["two channels"]), np.random.default_rng(1)
    thrown = np.array([toys.sample(1.0, rng).values for _ in range(2000)])
    model, fit = WORKSPACES["two channels"].model, toys.sample(1.0, rng).near
    parameters = np.array([fit.values[name] for name in model.config.par_names])
    assert fit.values["mu"] == 1.0
    pulls = (thrown.mean(axis=0) - model.expected_data(parameters)) / (thrown.std(axis=0) / np.sqrt(len(thrown)))
    assert np.abs(pulls).max() < 4
    reference = np.asarray(model.make_pdf(parameters).sample((2000,)))
    assert thrown.std(axis=0) == pytest.approx(reference.std(axis=0), rel=0.12)  # five sigma


def test_a_toy_depends_on_its_seed_alone() -> None:
    first, second = (PyhfToys(WORKSPACES["uncorrelated"]) for _ in range(2))
    first.statistic(0.5, first.sample(0.5, np.random.default_rng(7)))  # others before it do not matter
    values = [
        (data.values.tolist(), toys.statistic(1.0, data))
        for toys in (first, second)
        for data in [toys.sample(1.0, np.random.default_rng(3))]
    ]
    assert values[0] == values[1]


def test_the_observed_statistic_is_that_of_the_profiles(profiles: dict[str, PyhfProfiles]) -> None:
    toys = PyhfToys(WORKSPACES["two channels"])
    assert toys.observed_statistic(2.0) == pytest.approx(profiles["two channels"].statistics(2.0)[0], abs=1e-3)
    blinded = PyhfToys(WORKSPACES["two channels"], blind=True)
    assert not blinded.observed
    with pytest.raises(ValueError, match="no observed statistic while data are blinded"):
        blinded.observed_statistic(1.0)


def test_cls_of_toys_is_exact_for_a_count() -> None:
    """One bin with known background and nothing observed: CLs = exp(-mu s), CLs+b = exp(-mu s - b)."""
    found = cls_of(throw_toys(PyhfToys(single(1.0, 0.5, 0.0)), 1.0, 200, seed=4))
    assert found.observed is not None
    assert found.uncertainty is not None
    assert found.clsb == pytest.approx(np.exp(-1.5), abs=3 * np.sqrt(0.22 * 0.78 / 200))
    assert found.clb == pytest.approx(np.exp(-0.5), abs=3 * np.sqrt(0.61 * 0.39 / 200))
    assert found.observed == pytest.approx(np.exp(-1.0), abs=3 * found.uncertainty)


@pytest.mark.full
@pytest.mark.parametrize("mode", [0o700, 0o777])
def test_what_jax_compiles_is_kept_where_nobody_else_can_write(tmp_path: Path, mode: int) -> None:
    kept = tmp_path / "jax"
    kept.mkdir()
    kept.chmod(mode)
    code = (
        "from portico.stats.workspace import using\n"
        "with using('jax'):\n"
        "    import jax; jax.jit(lambda x: sum(jax.numpy.sin(k * x) for k in range(300)))(1.0)"
    )
    environment = {**os.environ, "PORTICO_JAX": str(kept)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert bool(list(kept.iterdir())) == (mode == 0o700)
