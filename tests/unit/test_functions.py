"""Parametric datacards, HS3 beyond HistFactory and ROOT files, against likelihoods written by hand and RooStats."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from iminuit import Minuit
from scipy import stats

from portico.errors import InputError
from portico.stats.exports.card import read_card
from portico.stats.exports.formats import export
from portico.stats.infer import infer
from portico.stats.model_file import list_models, read_model
from portico.stats.results import fit_to_data
from portico.stats.roofit.model import RooFitModel
from portico.stats.roofit.plan import plan_of
from tests import functions

CARD = functions.CARD + """\
eff lnN 0.9/1.15 - 1.05 - - -
scale param 0 1
k rateParam b sig (@0*@0+0.2)/1.2 kk
k rateParam c sig (@0*@0+0.2)/1.2 kk
kk extArg 1 [0,3]
kk param 1 -0.1/+0.2
"""
START = {"r": 1.0, "lumi": 0.0, "eff": 0.0, "scale": 0.0, "kk": 1.0, "slope_a": -0.03, "slope_b": -0.02, "n_a": 200.0,
         "n_b": 500.0}  # fmt: skip
LIMITS = {"r": (0, 20), "scale": (-4, 4), "kk": (0.6, 1.8), "slope_a": (-0.2, 0), "slope_b": (-0.2, 0)}
CENTERS = (0.5 + np.arange(functions.BINS)) * (functions.HIGH - functions.LOW) / functions.BINS + functions.LOW


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of `tests.functions`, and a card of them."""
    made = tmp_path_factory.mktemp("functions")
    script = Path(functions.__file__)
    subprocess.run([sys.executable, str(script), str(made)], check=True, capture_output=True)
    (made / "card.txt").write_text(CARD)
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> RooFitModel:
    """The card, in one process with ROOT for all tests."""
    found = read_model(folder / "card.txt", mass=125.0)
    assert isinstance(found, RooFitModel)
    return found


def density(x: Any, slope: float) -> Any:
    return slope * np.exp(slope * x) / (math.exp(slope * functions.HIGH) - math.exp(slope * functions.LOW))


def logarithm(x: float, down: float, up: float) -> float:
    """log of a factor of lnN with down/up, as Combine's documentation has it."""
    low, high = math.log(down), math.log(up)
    even = 1.0 if abs(x) > 0.5 else 0.125 * 2 * x * (4 * x * x * (3 * 4 * x * x - 10) + 15)
    even = math.copysign(even, x) if abs(x) > 0.5 else even
    return 0.5 * x * ((high - low) + (high + low) * even)


def minus_log(p: Mapping[str, float], data: Mapping[str, Any], nominal: Mapping[str, float]) -> float:
    """-2 log L of the card, written by hand; counts where there are weights."""
    lumi, k = math.exp(p["lumi"] * math.log(1.025)), (p["kk"] ** 2 + 0.2) / 1.2
    count = lumi * (3 * p["r"] * k + 8)
    total = 2 * (count - data["c"] * math.log(count))
    for name, (_, _, _, width) in functions.CHANNELS.items():
        peak = 125 * (1 + functions.MOVE * p["scale"])
        norm = stats.norm.cdf([functions.LOW, functions.HIGH], peak, width)
        effect = logarithm(p["eff"], 0.9, 1.15) if name == "a" else p["eff"] * math.log(1.05)
        signal = p["r"] * functions.SIGNAL * lumi * math.exp(effect) * (1.0 if name == "a" else k)
        x, weights = data[name]
        shape = signal * stats.norm.pdf(x, peak, width) / (norm[1] - norm[0])
        events = shape + p[f"n_{name}"] * density(x, p[f"slope_{name}"])
        total += 2 * (signal + p[f"n_{name}"] - np.sum(weights * np.log(np.maximum(events, 1e-300))))
    pulls = [p[n] - nominal.get(n, 0.0) for n in ("lumi", "eff", "scale")]
    kk = p["kk"] - nominal.get("kk", 1.0)
    return float(total + sum(x * x for x in pulls) + (kk / (0.1 if kk < 0 else 0.2)) ** 2)


def fitted(objective: Callable[[Mapping[str, float]], float], start: Mapping[str, float], **held: float) -> Any:
    names = list(START)
    at = [held.get(name, start[name]) for name in names]
    minuit = Minuit(lambda values: objective(dict(zip(names, values, strict=True))), at, name=names)
    minuit.errordef, minuit.tol, minuit.strategy = 1.0, 0.001, 1
    for name in names:
        minuit.limits[name] = LIMITS.get(name, (0, None) if name[0] == "n" else (-7, 7))
        minuit.fixed[name] = name in held
        minuit.errors[name] = 0.1 * max(abs(start[name]), 0.1)
    minuit.migrad(ncall=20000)
    assert minuit.valid
    return minuit


def by_hand(folder: Path) -> tuple[dict[str, float], Callable[[float], float]]:
    """Return the best fit, and CLs of a strength."""
    read = json.loads((folder / "data.json").read_text())
    data = {"a": (np.array(read["a"]), np.ones(len(read["a"]))), "b": (CENTERS, np.array(read["b"])), "c": 12}

    def observed(p: Mapping[str, float]) -> float:
        return minus_log(p, data, {})

    best, without = fitted(observed, START), fitted(observed, START, r=0.0)
    at = dict(zip(START, without.values, strict=True))
    widths = CENTERS[1] - CENTERS[0]
    fake: dict[str, Any] = {
        name: (CENTERS, at[f"n_{name}"] * density(CENTERS, at[f"slope_{name}"]) * widths) for name in "ab"
    }
    fake["c"] = 8 * math.exp(at["lumi"] * math.log(1.025))
    nominal = {name: at[name] for name in ("lumi", "eff", "scale", "kk")}

    def expected(p: Mapping[str, float]) -> float:
        return minus_log(p, fake, nominal)

    lowest = expected(at)

    def cls(mu: float) -> float:
        q = max(fitted(observed, {**START, **at}, r=mu).fval - best.fval, 0.0)
        q_asimov = max(fitted(expected, at, r=mu).fval - lowest, 1e-9)
        root, asimov = math.sqrt(q), math.sqrt(q_asimov)
        if q <= q_asimov:
            return float(stats.norm.sf(root) / stats.norm.cdf(asimov - root))
        return float(stats.norm.sf((q + q_asimov) / (2 * asimov)) / stats.norm.sf((q - q_asimov) / (2 * asimov)))

    return dict(zip(START, best.values, strict=True)), cls


def test_a_card_of_functions_by_hand(folder: Path, model: RooFitModel) -> None:
    found = infer(model, mus=[2.0])
    best, cls = by_hand(folder)
    assert found.best == pytest.approx(best["r"], abs=0.01)
    assert found.points[0].observed == pytest.approx(cls(2.0), rel=0.01)
    assert found.limit.observed is not None
    assert cls(found.limit.observed) == pytest.approx(0.05, rel=0.01)
    assert any("MH, which is 125" in note for note in found.notes)
    result = fit_to_data(model, impacts=True)
    values = {of.name: of for of in result.parameters}
    for name in ("r", "scale", "eff", "kk", "slope_a", "slope_b"):
        assert values[name].value == pytest.approx(best[name], abs=0.03 * max(abs(values[name].error), 1e-6))
    assert values["shapeBkg_bkg_a__norm"].value == pytest.approx(best["n_a"], rel=0.002)
    assert {of.name for of in result.impacts} == {"lumi", "eff", "scale", "kk"}
    totals = {(row.channel, row.sample): row for row in result.yields}
    assert totals["a", "sig"].before == pytest.approx(functions.SIGNAL, rel=1e-3)
    assert totals["a", "total"].observed == 206
    assert totals["a", "total"].after == pytest.approx(206, abs=3)
    assert totals["c", "sig"].before == pytest.approx(3, rel=1e-3)
    assert totals["c", "total"].observed == 12


@pytest.mark.full
def test_the_same_limit_after_export_and_in_archives(folder: Path, model: RooFitModel, tmp_path: Path) -> None:
    limit = infer(model).limit.observed
    export(model, "roofit", tmp_path / "model.root")
    again = infer(read_model(tmp_path / "model.root"))
    assert again.limit.observed == pytest.approx(limit, rel=2e-3)
    with tarfile.open(tmp_path / "cards.tar.gz", "w:gz") as archive:
        for name in ("card.txt", "a.root", "b.root"):
            archive.add(folder / name, f"analysis/{name}")
    assert [(of.name, of.format) for of in list_models(tmp_path / "cards.tar.gz").models] == [
        ("analysis/card.txt", "Combine")
    ]
    inside = infer(read_model(tmp_path / "cards.tar.gz", mass=125.0))
    assert inside.limit.observed == pytest.approx(limit, rel=1e-6)
    with pytest.raises(InputError, match="functions of RooFit, which pyhf cannot hold"):
        export(model, "pyhf", tmp_path / "model.json")


HS3: dict[str, Any] = {
    "metadata": {"hs3_version": "0.2"},
    "distributions": [
        {"name": "peak", "type": "gaussian_dist", "x": "m", "mean": 125.0, "sigma": 2.0},
        {"name": "fall", "type": "exponential_dist", "x": "m", "c": "slope"},
        {"name": "both", "type": "mixture_dist", "summands": ["peak", "fall"], "coefficients": ["ns", "nb"],
         "extended": True},
        {"name": "count", "type": "poisson_dist", "x": "n", "mean": "total"},
        {"name": "eff_constraint", "type": "gaussian_dist", "x": "eff_aux", "mean": "eff", "sigma": 0.1},
        {"name": "shape", "type": "product_dist", "factors": ["both", "eff_constraint"]},
    ],
    "functions": [
        {"name": "ns", "type": "generic_function", "expression": "12*mu*eff"},
        {"name": "total", "type": "generic_function", "expression": "5*mu*eff + 6"},
    ],
    "data": [
        {"name": "events", "type": "unbinned", "axes": [{"name": "m", "min": 100.0, "max": 180.0}], "entries": []},
        {"name": "number", "type": "point", "value": 9.0},
    ],
    "likelihoods": [{"name": "L", "distributions": ["shape", "count"], "data": ["events", "number"]}],
    "domains": [
        {"name": "default_domain", "type": "product_domain",
         "axes": [{"name": "m", "min": 100.0, "max": 180.0}, {"name": "n", "min": 0.0, "max": 1000.0},
                  {"name": "mu", "min": 0.0, "max": 20.0}, {"name": "eff", "min": 0.0, "max": 2.0},
                  {"name": "slope", "min": 0.0, "max": 0.2}, {"name": "nb", "min": 0.0, "max": 2000.0}]}
    ],
    "parameter_points": [
        {"name": "default_values", "parameters": [
            {"name": "mu", "value": 1.0}, {"name": "eff", "value": 1.0}, {"name": "slope", "value": 0.03},
            {"name": "nb", "value": 200.0}, {"name": "eff_aux", "value": 1.0, "const": True},
            {"name": "n", "value": 9.0},
        ]}
    ],
    "analyses": [{"name": "A", "likelihood": "L", "domains": ["default_domain"], "parameters_of_interest": ["mu"]}],
}  # fmt: skip


def hs3(folder: Path, path: Path, **changes: Any) -> Path:
    """Write the HS3 above with the data of channel a, and parts changed."""
    content = json.loads(json.dumps({**HS3, **changes}))
    content["data"][0]["entries"] = [[x] for x in json.loads((folder / "data.json").read_text())["a"]]
    path.write_text(json.dumps(content))
    return path


def test_hs3_of_functions_by_hand(folder: Path, tmp_path: Path) -> None:
    model = read_model(hs3(folder, tmp_path / "model.json"))
    assert isinstance(model, RooFitModel)
    x = np.array(json.loads((folder / "data.json").read_text())["a"])
    norm = np.diff(stats.norm.cdf([100, 180], 125, 2))[0]

    def by_formula(mu: float, eff: float, slope: float, nb: float) -> float:
        ns, total = 12 * mu * eff, 5 * mu * eff + 6
        events = ns * stats.norm.pdf(x, 125, 2) / norm + nb * density(x, -slope)
        return float(2 * (ns + nb - np.sum(np.log(events)) + total - 9 * math.log(total)) + ((eff - 1) / 0.1) ** 2)

    minuit = Minuit(by_formula, mu=1.0, eff=1.0, slope=0.03, nb=200.0)
    minuit.errordef, minuit.tol = 1.0, 0.001
    minuit.limits = [(0, 20), (0, 2), (0, 0.2), (0, 2000)]
    minuit.migrad()
    found = {of.name: of for of in fit_to_data(model).parameters}
    for name in minuit.parameters:
        assert found[name].value == pytest.approx(minuit.values[name], abs=0.02 * minuit.errors[name])
        assert found[name].error == pytest.approx(minuit.errors[name], rel=0.05)
    result = infer(model, mus=[1.5])
    profile = Minuit(by_formula, mu=1.5, eff=1.0, slope=0.03, nb=200.0)
    profile.errordef, profile.tol, profile.fixed["mu"] = 1.0, 0.001, True
    profile.limits = [(0, 20), (0, 2), (0, 0.2), (0, 2000)]
    profile.migrad()
    clsb = stats.norm.sf(math.sqrt(max(profile.fval - minuit.fval, 0.0))) if minuit.values["mu"] < 1.5 else 0.5
    assert result.points[0].clsb == pytest.approx(clsb, rel=0.02)
    assert result.significance == pytest.approx(math.sqrt(_without(by_formula) - minuit.fval), rel=0.01)


def _without(of: Callable[..., float]) -> float:
    minuit = Minuit(of, mu=0.0, eff=1.0, slope=0.03, nb=200.0)
    minuit.errordef, minuit.fixed["mu"] = 1.0, True
    minuit.limits = [(0, 20), (0, 2), (0, 0.2), (0, 2000)]
    minuit.migrad()
    return float(minuit.fval)


def test_distributions_that_roofit_does_not_read_are_named(folder: Path, model: RooFitModel, tmp_path: Path) -> None:
    other = [{**HS3["distributions"][0], "type": "argus_of_somebody_dist"}, *HS3["distributions"][1:]]
    path = hs3(folder, tmp_path / "other.json", distributions=other)
    with pytest.raises(InputError, match="'peak' in 'distributions' is a 'argus_of_somebody_dist', which RooFit does"):
        build_hs3(model, path)
    path = hs3(folder, tmp_path / "poi.json", analyses=[{**HS3["analyses"][0], "parameters_of_interest": ["nu"]}])
    with pytest.raises(InputError, match="nothing depends on the parameter of interest 'nu'"):
        build_hs3(model, path)
    loose = json.loads(json.dumps(HS3["parameter_points"]))
    loose[0]["parameters"][4].pop("const")
    path = hs3(folder, tmp_path / "loose.json", parameter_points=loose)
    with pytest.raises(InputError, match=r"'eff_constraint' constrains nothing, since .* are both free"):
        build_hs3(model, path)


def build_hs3(model: RooFitModel, path: Path) -> Any:
    """Build HS3 in the process of a model."""
    content = {"text": path.read_text(), "analysis": "A"}
    return model.session.ask("build", where=str(path), kind="hs3", content=content)


def build(model: RooFitModel, path: Path) -> Any:
    """Build another card in the process of a model."""
    card = read_card(path)
    return model.session.ask("build", where=str(path), kind="card", content=plan_of(card, path.parent, mass=125.0))


@pytest.mark.parametrize(
    ("change", "to", "words"),
    [
        ("scale param 0 1", "pdfindex discrete", "line 18: 'pdfindex' is a discrete, which chooses among the shapes"),
        ("lumi lnN 1.025", "lumi shape 1.0", "line 16: 'lumi' is shape: it changes a shape, which is not read"),
        ("lumi lnN 1.025 - 1.025 - 1.025 1.025", "lumi gmM 0.1 - 0.1 - - -", "line 16: 'lumi' is gmM: a gamma"),
        ("rate 1 1", "rate 1 -1", "line 5: 'bkg' in channel 'a' is a function and has a rate of -1"),
        ("a.root w:bkg", "a.root w:nothing", "line 5: .*a.root:w has no pdf 'nothing_a'; .*bkg_a"),
        ("a.root w:bkg", "none.root w:bkg", "line 5: .*none.root: cannot be read"),
        ("a.root w:bkg", "a.root v:bkg", "line 5: .*a.root has no RooWorkspace 'v'; "),
        ("shapes bkg a a.root w:bkg", "shapes bkg a a.root hist", "channel 'a' has functions, and 'bkg' is not in a"),
        ("1.2 kk", "1.2 nobody", "line 19: 'k' depends on 'nobody', which is not a parameter"),
        ("(@0*@0+0.2)/1.2 kk", "(@0*@1+0.2)/1.2 kk", "line 19: 'k': @1 is beyond the parameters kk"),
        ("(@0*@0+0.2)/1.2 kk", "(@0*@0+/1.2 kk", "line 19: 'k': RooFit cannot compile the formula"),
        ("observation -1 -1 12", "observation 100 -1 12", "the observation of channel 'a' is 100, its data have 206"),
    ],
)  # fmt: skip
def test_what_is_not_read_has_its_line(folder: Path, model: RooFitModel, change: str, to: str, words: str) -> None:
    assert change in CARD
    path = folder / "wrong.txt"
    path.write_text(CARD.replace(change, to))
    with pytest.raises(InputError, match=words):
        build(model, path)


KINDS = """imax *
jmax *
kmax *
shapes * a a.root w:$PROCESS_$CHANNEL
shapes data_obs a a.root w:data_a
bin a
observation 206
bin a a
process sig bkg
process 0 1
rate 1 1
g gmN 5 - 0.2
t trG 0.1 -
u lnU 1.2 -
eff lnN 0.9/1.15 -
x unif 0.5 1.5
k rateParam a sig @0*@1 x,slope_a
scale param 0 -1/+2 [-2,3]
slope_a flatParam
nuisance edit freeze slope_a
"""


@pytest.mark.parametrize(("t", "u", "eff", "g", "x"), [(0.5, -0.4, 0.3, 7.0, 1.2), (-1.0, 1.0, -1.5, 2.0, 0.6)])
def test_every_kind_of_line_by_formula(
    folder: Path, model: RooFitModel, t: float, u: float, eff: float, g: float, x: float
) -> None:
    path = folder / "kinds.txt"
    path.write_text(KINDS)
    about = {of["name"]: of for of in build(model, path)["parameters"]}
    start = {name: of["value"] for name, of in about.items()}
    assert (start["g"], about["g"]["constraint"][0]) == (5.0, pytest.approx(5.0, rel=1e-3))
    assert about["g"]["constraint"][1:] == pytest.approx([math.sqrt(5)] * 2, rel=0.05)
    assert about["t"]["constraint"] == pytest.approx([0, 1, 1], abs=1e-3)
    assert about["scale"]["constraint"] == pytest.approx([0, 1, 2], abs=0.01)
    assert (about["scale"]["low"], about["scale"]["high"]) == (-2, 3)
    assert about["u"]["constraint"] is about["x"]["constraint"] is None
    assert (about["u"]["low"], about["u"]["high"], about["x"]["low"], about["x"]["high"]) == (-1, 1, 0.5, 1.5)
    assert about["slope_a"]["constant"]
    values = {**start, "r": 2.0, "t": t, "u": u, "eff": eff, "g": g, "x": x}
    (events,) = model.session.ask("events", values=values)
    factor = 2 * (1 + 0.1 * t) * 1.2**u * math.exp(logarithm(eff, 0.9, 1.15)) * x * -0.03
    assert sum(events["sig"]) == pytest.approx(functions.SIGNAL * factor, rel=1e-6)
    assert sum(events["bkg"]) == pytest.approx(0.2 * g * 200, rel=1e-6)


def test_a_choice_of_shapes_is_refused(folder: Path, model: RooFitModel) -> None:
    script = Path(functions.__file__).with_name("multi.py")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    path = folder / "several.txt"
    path.write_text(CARD.replace("shapes bkg a a.root w:bkg_$CHANNEL", "shapes bkg a multi.root w:several"))
    with pytest.raises(InputError, match=r"line 5: .*multi\.root:w: 'several' is a RooMultiPdf, a choice of shapes"):
        build(model, path)
