"""Exports through ROOT: RooFit, HS3 and parametric cards say the same as the model, and RooStats finds its limits."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portico.errors import InputError, PorticoError
from portico.stats.asymptotic import ModelProfiles, asymptotic_limit
from portico.stats.exports.card import read_card
from portico.stats.exports.chosen import Chosen, choose
from portico.stats.exports.hs3 import export_hs3
from portico.stats.exports.parametric import parametric_card, write_parametric
from portico.stats.exports.roofit import write_aside, write_workspace
from portico.stats.exports.roofit_builder import coarse
from portico.stats.fit import Fitter
from portico.stats.likelihood import Likelihood
from portico.stats.limit import Limit
from portico.stats.model import Channel, Component, Model, observation
from portico.stats.shapes import (
    Bernstein,
    DoubleCrystalBall,
    Exponentials,
    Parameter,
    PowerLaws,
    Shape,
    Template,
)

ROOSTATS = Path(__file__).parents[1] / "roostats.py"
LOW, HIGH = 1.3, 1.7
PEAK = DoubleCrystalBall(
    low=LOW, high=HIGH, mean=1.5, width=0.012, alpha_left=1.5, n_left=3, alpha_right=1.6, n_right=4
)
MU = Parameter(name="mu", start=1.0, low=0.0, high=50.0, step=0.3)
FINE = tuple(np.linspace(LOW, HIGH, 161))
WIDE = (1.3, 1.4, 1.45, 1.5, 1.55, 1.7)


def roostats(what: str, *files: Path, **asked: Any) -> list[Any]:
    done = subprocess.run(
        [sys.executable, str(ROOSTATS), what, *map(str, files)],
        input=json.dumps(asked), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: list[Any] = json.loads(done.stdout)
    return answer


def peaks(channels: int) -> Model:
    """A peak on an exponential: 410 events, unbinned, and with a second channel of 136 events that shares nuisances."""
    rng = np.random.default_rng(7)
    made, parameters = [], [MU]
    for c, events in enumerate((410, 136)[:channels]):
        x = LOW + rng.exponential(0.25, 5 * events)
        signal = Component(
            name="signal", shapes=(PEAK.model_copy(update={"width": PEAK.width * (1 + 0.3 * c)}),), strength="mu",
            events=8.0 * (c + 1), effects={"lumi": (1 / 1.025, 1.025), "trigger": (0.93, 1.05), f"mc{c}": (0.95, 1.05)},
            shifts={"scale": {"mean": 0.0015}, "resolution": {"width": 0.0012}},
        )  # fmt: skip
        background = Component(
            name="background", shapes=(Exponentials(low=LOW, high=HIGH),), events=1.0, strength=f"n{c}", floating=True
        )
        parameters.append(Parameter(name=f"n{c}", start=float(events), low=0.0, high=1e5, step=10.0))
        values = tuple(x[x < HIGH][:events])
        made.append(Channel(name=f"c{c}", edges=FINE, values=values, components=(signal, background)))
    return Model(channels=tuple(made), parameters=tuple(parameters))


def every_shape(edges: tuple[float, ...] = FINE) -> Model:
    """All shapes, competing ones, binned and not, names that RooFit does not take, strengths without upper bound."""
    rng = np.random.default_rng(5)
    peak = PEAK.model_copy(update={"width": 0.02})
    signal = Component(
        name="signal", shapes=(peak,), events=5.0, strength="mu", effects={"lumi": (0.97, 1.025)},
        shifts={"scale": {"mean": 0.002}, "res": {"width": 0.002}},
    )  # fmt: skip
    families: dict[str, tuple[Shape, ...]] = {
        "exp": (Exponentials(low=LOW, high=HIGH, order=2), Exponentials(low=LOW, high=HIGH, order=1)),
        "power": (PowerLaws(low=LOW, high=HIGH, order=2),),
        "2018": (Bernstein(low=LOW, high=HIGH, order=3),),
    }
    made, parameters = [], [MU]
    for name, shapes in families.items():
        x = rng.beta(1.0, 1.6, 150) * (HIGH - LOW) + LOW
        background = Component(name="background", shapes=shapes, events=2.0, strength=f"n-{name}", floating=True)
        parameters.append(Parameter(name=f"n-{name}", start=70.0, low=0.0, step=5.0))
        data: dict[str, Any] = {"counts": tuple(map(float, np.histogram(x, edges)[0]))}
        if name == "2018":
            data = {"values": tuple(x)}
        made.append(Channel(name=name, edges=edges, components=(signal, background), **data))
    changes: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
        "tilt": ((27, 11.5, 8, 5.5, 5), (34, 12.5, 8.2, 4.6, 2.5)),
        "res": ((30, 13, 7, 5, 4), (30, 11, 9, 5, 4)),
    }
    moved = Component(
        name="histogram", shapes=(Template(low=LOW, high=HIGH, bins=(30, 12, 8, 5, 4), changes=changes),), events=60.0,
        effects={"lumi": (0.98, 1.02)},
    )  # fmt: skip
    fixed = Component(
        name="signal", shapes=(Template(low=LOW, high=HIGH, bins=(1, 2, 3, 2, 1)),), events=9.0, strength="mu"
    )
    made.append(Channel(name="counts", edges=WIDE, counts=(40.0, 25.0, 22.0, 15.0, 8.0), components=(moved, fixed)))
    made.append(narrow())
    parameters.append(Parameter(name="n-narrow", start=70.0, low=0.0, step=5.0))
    return Model(channels=tuple(made), parameters=tuple(parameters))


def narrow() -> Channel:
    """A window so far from 0 that exp(slope x) overflows for slopes that fits may try."""
    low, high = 9.9, 10.1
    peak = PEAK.model_copy(update={"low": low, "high": high, "mean": 10.0, "width": 0.01})
    signal = Component(name="signal", shapes=(peak,), events=5.0, strength="mu", effects={"lumi": (0.97, 1.025)})
    background = Component(
        name="background", shapes=(Exponentials(low=low, high=high),), events=2.0, strength="n-narrow", floating=True
    )
    x = np.random.default_rng(6).beta(1.0, 1.9, 100) * (high - low) + low
    edges = tuple(np.linspace(low, high, 101))
    return Channel(name="narrow", edges=edges, values=tuple(x), components=(signal, background))


def blinded() -> Model:
    model = peaks(1)
    return model.model_copy(
        update={"channels": (model.channels[0].model_copy(update={"blind": ((1.45, 1.55),)}),)}
    )


def points(chosen: Chosen, sigmas: float = 2.0) -> list[dict[str, float]]:
    """Points in all directions around the exported values; nuisance parameters go far, to where templates vanish."""
    rng, found = np.random.default_rng(1), [dict(chosen.values)]
    for _ in range(6):
        at = {}
        for name, parameter in chosen.parameters.items():
            value = chosen.values[name]
            reach = sigmas if parameter.constrained or name in chosen.model.nuisances else 0.1 + 0.2 * abs(value)
            at[name] = float(np.clip(value + reach * rng.normal(), parameter.low, parameter.high))
        found.append(at)
    return [*found, {**found[0], "tilt": 7.0} if "tilt" in found[0] else found[0]]


def compared(chosen: Chosen, at: list[dict[str, float]], found: list[float]) -> float:
    """The largest difference to our likelihood, apart from a constant."""
    likelihood = Likelihood(chosen.model, chosen.data, chosen.choice)
    ours = np.array([likelihood([point[name] for name in likelihood.names]) for point in at])
    assert np.ptp(ours) > 5, "points that differ"
    difference = np.array(found) - ours
    return float(np.abs(difference - difference[0]).max())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(scope="module")
def chosen() -> Chosen:
    return choose(every_shape())


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, dict[str, Any]]:
    """What RooFit finds in exports, by file: three of one model, one in wide bins, one of two unbinned channels.

    The three are written as users do; the others by the process that reads.
    """
    models = {name: every_shape() for name in ("every.root", "every.json", "card.root")}
    models |= {"wide.root": every_shape(WIDE), "two.json": peaks(2)}
    write_workspace(models["every.root"], folder / "every.root")
    export_hs3(models["every.json"], folder / "every.json")
    write_parametric(models["card.root"], folder / "card.txt")
    written = [
        (str(folder / name), f"portico.stats.exports.{module}", choose(models[name]).to_json())
        for name, module in (("wide.root", "roofit"), ("two.json", "hs3"))
    ]
    asked = {}
    for name, model in models.items():
        picked = choose(model)
        asked[name] = [{picked.names[p]: value for p, value in at.items()} for at in points(picked)]
    found = roostats("read", *(folder / name for name in models), points=asked, write=written)
    return dict(zip(models, found, strict=True))


def test_the_choice_without_signal_is_exported(chosen: Chosen) -> None:
    model = every_shape()
    fit = Fitter(model, observation(model)).fit({"mu": 0.0})
    assert chosen.choice == fit.choice == (1,)  # one exponential: the second is not worth its parameters
    assert chosen.labels == ["exp background exponentials1"]
    assert chosen.values["mu"] == 1.0
    assert {name: chosen.values[name] for name in model.nuisances} == pytest.approx(
        {name: fit.values[name] for name in model.nuisances}
    )
    other = choose(model, choice=(0,), values={"n-exp": 60.0, "mu": 2.0})
    assert other.values["n-exp"] == 60.0
    assert other.values["mu"] == 2.0
    assert "exp_background_exponentials2_fraction1" in other.parameters
    assert "exp_background_exponentials2_fraction1" not in chosen.parameters


def test_what_is_chosen_travels_as_text(chosen: Chosen) -> None:
    again = Chosen.from_json(chosen.to_json())
    assert again.model == chosen.model  # infinite bounds too
    assert (again.choice, again.values, again.names) == (chosen.choice, chosen.values, chosen.names)
    for mine, theirs in zip(chosen.data.channels, again.data.channels, strict=True):
        np.testing.assert_array_equal(mine.weights, theirs.weights)
        np.testing.assert_array_equal(mine.used, theirs.used)
    assert again.events == pytest.approx(chosen.events)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"choice": (2,)}, r"choice = \(2,\): it has one number for each competing component, below \[2\]"),
        ({"choice": (0, 0)}, "one number for each competing component"),
        ({"values": {"n-pow": 1.0}}, "there is no parameter 'n-pow'"),
    ],
)
def test_what_does_not_exist_is_not_chosen(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose(every_shape(), **asked)


def test_names_that_become_one_are_refused() -> None:
    model = peaks(2)
    names = ("a-b", "a_b")
    channels = tuple(c.model_copy(update={"name": name}) for c, name in zip(model.channels, names, strict=True))
    with pytest.raises(InputError, match="'a_b' and another one both become 'a_b'"):
        choose(model.model_copy(update={"channels": channels}))


@pytest.mark.full
def test_likelihoods_are_the_same_in_all_formats(chosen: Chosen, files: dict[str, dict[str, Any]]) -> None:
    at = points(chosen)
    reference = files["every.root"]["nll"]
    assert compared(chosen, at, reference) < 0.02  # bins: RooFit takes the density at their centres
    for name in ("every.json", "card.root"):
        np.testing.assert_allclose(files[name]["nll"], reference, rtol=0, atol=1e-6)


def test_unbinned_likelihoods_are_exact(files: dict[str, dict[str, Any]]) -> None:
    picked = choose(peaks(2))
    assert compared(picked, points(picked), files["two.json"]["nll"]) < 1e-6


@pytest.mark.parametrize("name", ["every.root", "every.json", "card.root"])
def test_roles_are_kept(name: str, chosen: Chosen, files: dict[str, dict[str, Any]]) -> None:
    found = files[name]
    free = {chosen.names[parameter] for parameter in chosen.parameters}
    assert found["poi"] == ["mu"]
    assert set(found["nuisances"]) == free - {"mu"}
    assert found["globals"] == ["nom_lumi", "nom_res", "nom_scale", "nom_tilt"]
    assert {"x_p_2018", "x_p_exp", "x_power", "x_counts"} <= set(found["observables"])
    assert not free & set(found["constant"])
    assert set(found["globals"]) <= set(found["constant"])
    assert found["data"]["obsData"][1] == pytest.approx(150 + 150 + 150 + 110 + 100)
    assert "RooBinSamplingPdf" not in found["pdfs"].values()


def test_the_card_says_what_is_in_its_file(chosen: Chosen, folder: Path, files: dict[str, dict[str, Any]]) -> None:
    found, card = files["card.root"], read_card(folder / "card.txt")
    assert card.bins == ["p_exp", "power", "p_2018", "counts", "narrow"]
    assert [card.observations[name] for name in card.bins] == [150, 150, 150, 110, 100]
    assert {(c.process, c.index, c.rate) for c in card.columns} == {
        ("signal", 0, 1.0), ("background", 1, 1.0), ("histogram", 2, 1.0)
    }  # fmt: skip
    for column in card.columns:
        name = f"{column.process}_{column.bin}"
        assert any(s.nominal == f"w:{name}" and s.file == "card.root" for s in card.shapes)
        assert name in found["pdfs"]
    events = {f"{chosen.names[k]}_{chosen.names[c]}_norm": n for (c, k), n in chosen.events.items()}
    assert {name: found["values"][name] for name in events} == pytest.approx(events, rel=1e-6)  # of r = 1
    for name in card.bins:
        assert found["data"][f"data_{name}"][1] == card.observations[name]
    assert {c.name for c in card.constraints} == {"lumi", "res", "scale", "tilt"}
    free = {chosen.names[name] for name in chosen.parameters} - {"mu", "lumi", "res", "scale", "tilt"}
    assert {name for name, kind in card.loose.items() if kind == "flatParam"} == free


def limits(found: list[float]) -> Limit:
    return Limit("asymptotic", found[0], tuple(found[1:]))


def check_limits(model: Model, path: Path, **asked: Any) -> None:
    ours = asymptotic_limit(ModelProfiles(model))
    assert ours.observed is not None
    (answer,) = roostats("limit", path, starts=[ours.observed, *ours.expected], **asked)
    found = limits(answer)
    assert found.observed == pytest.approx(ours.observed, rel=0.01)
    assert found.expected == pytest.approx(ours.expected, rel=0.01)


def test_roostats_finds_the_limit_of_a_peak(folder: Path) -> None:
    model, path = peaks(1), folder / "peak.root"
    check_limits(model, path, write=[(str(path), "portico.stats.exports.roofit", choose(model).to_json())])


def test_roostats_finds_the_limit_of_two_channels_in_hs3(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    model = peaks(2)
    assert files
    check_limits(model, folder / "two.json")


def test_shapes_are_integrated_over_wide_bins(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    model = every_shape(WIDE)
    picked = choose(model)
    assert ("power", "signal") in coarse(picked)
    assert not coarse(choose(every_shape()))
    with pytest.raises(InputError, match="channel 'exp': bins are too wide for the shape of 'background' in HS3"):
        export_hs3(model, folder / "wide.json")
    assert not (folder / "wide.json").exists()
    assert files["wide.root"]["pdfs"]["signal_power"] == "RooBinSamplingPdf"
    assert compared(picked, points(picked), files["wide.root"]["nll"]) < 0.02


def test_blinded_data_are_not_written(folder: Path) -> None:
    model = blinded()
    picked = choose(model)
    total = picked.events["c0", "background"]
    seen = sum(1 for x in model.channels[0].values or () if not 1.45 <= x <= 1.55)
    assert total > 1.1 * seen
    assert "data_obs is the expectation without signal" in parametric_card(picked, "card.root")
    content = json.loads(export_hs3(model, folder / "blind.json").read_text(encoding="utf-8"))
    (data,) = content["data"]
    assert data["name"] == "asimovData_c0"
    written = data["contents"] if data["type"] == "binned" else data["weights"]
    expected = picked.data.channels[0].weights
    np.testing.assert_allclose(written, expected, rtol=1e-9)
    smooth = np.diff(np.log(expected))  # of an exponential, which data are not
    assert np.ptp(smooth) < 1e-6


def test_without_data_the_expectation_of_start_values_is_taken() -> None:
    model = peaks(1)
    empty = model.model_copy(update={"channels": (model.channels[0].model_copy(update={"values": None}),)})
    picked = choose(empty)
    assert picked.blinded
    assert picked.data.channels[0].weights.sum() == pytest.approx(410.0)
    assert math.isclose(picked.values["mu"], 1.0)


def test_files_appear_whole_or_not_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise AssertionError("ROOT in the driver")

    monkeypatch.setattr("portico.root.load", refuse)
    place = folder / "whole"
    model = peaks(1)
    clash = model.model_copy(
        update={
            "parameters": (MU, model.parameters[1].model_copy(update={"name": "x_c0"})),
            "channels": (
                model.channels[0].model_copy(
                    update={
                        "components": (
                            model.channels[0].components[0],
                            model.channels[0].components[1].model_copy(update={"strength": "x_c0"}),
                        )
                    }
                ),
            ),
        }
    )
    with pytest.raises(PorticoError, match="two things are called 'x_c0' in RooFit"):
        write_workspace(clash, place / "clash.root")
    with pytest.raises(PorticoError, match="ROOT did not write it"):
        write_aside(refuse, choose(model), place / "none.root")  # which is not a function write of a module
    assert list(place.iterdir()) == []


def test_a_card_is_no_root_file(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"the card is a text, for example .*card\.txt"):
        write_parametric(peaks(1), folder / "card.root")
