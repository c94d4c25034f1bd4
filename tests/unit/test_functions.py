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
from portico.stats.exports.formats import export
from portico.stats.infer import infer
from portico.stats.model_file import list_models, read_model
from portico.stats.results import fit_to_data
from portico.stats.roofit.model import RooFitModel
from tests import functions

CARD = """imax *
jmax *
kmax *
shapes sig a a.root w:sig_$CHANNEL
shapes bkg a a.root w:bkg_$CHANNEL
shapes data_obs a a.root w:data_$CHANNEL
shapes * b b.root w:$PROCESS_$CHANNEL
shapes data_obs b b.root w:data_b
bin a b
observation -1 -1
bin a a b b
process sig bkg sig bkg
process 0 1 0 1
rate 1 1 1 1
lumi lnN 1.025 - 1.025 -
eff lnN 0.9/1.15 - 1.05 -
scale param 0 1
k rateParam b sig (@0*@0+0.2)/1.2 kk
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
    total = 0.0
    for name, (_, _, _, width) in functions.CHANNELS.items():
        peak = 125 * (1 + functions.MOVE * p["scale"])
        norm = stats.norm.cdf([functions.LOW, functions.HIGH], peak, width)
        effect = logarithm(p["eff"], 0.9, 1.15) if name == "a" else p["eff"] * math.log(1.05)
        signal = p["r"] * functions.SIGNAL * math.exp(p["lumi"] * math.log(1.025) + effect)
        signal *= 1.0 if name == "a" else (p["kk"] ** 2 + 0.2) / 1.2
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
    data = {"a": (np.array(read["a"]), np.ones(len(read["a"]))), "b": (CENTERS, np.array(read["b"]))}

    def observed(p: Mapping[str, float]) -> float:
        return minus_log(p, data, {})

    best, without = fitted(observed, START), fitted(observed, START, r=0.0)
    at = dict(zip(START, without.values, strict=True))
    widths = CENTERS[1] - CENTERS[0]
    fake = {name: (CENTERS, at[f"n_{name}"] * density(CENTERS, at[f"slope_{name}"]) * widths) for name in data}
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


def test_a_card_of_functions_by_hand(folder: Path) -> None:
    model = read_model(folder / "card.txt", mass=125.0)
    assert isinstance(model, RooFitModel)
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


def test_the_same_limit_after_export_and_in_archives(folder: Path, tmp_path: Path) -> None:
    model = read_model(folder / "card.txt", mass=125.0)
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
