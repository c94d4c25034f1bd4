"""`portico fit`: uncertainties, pulls, impacts, goodness of fit and yields, against formulas and iminuit."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from iminuit import Minuit

from portico.cli.fit import fit
from portico.plot.fitted import figures_of_fitted
from portico.stats.asymptotic import ModelProfiles
from portico.stats.model import Model
from portico.stats.model_file import read_model
from portico.stats.results import fit_to_data
from portico.stats.workspace import Workspace
from portico.stats.workspace_fits import WorkspaceFitter
from portico.stats.workspace_likelihood import WorkspaceLikelihood
from portico.stats.workspace_results import fit_workspace
from tests.unit.test_datacards import put
from tests.unit.test_export_formats import PEAK
from tests.unit.test_workspace_exports import SPEC


def read(path: Path) -> Workspace:
    found = read_model(path)
    assert isinstance(found, Workspace)
    return found


def test_a_count_by_formula(tmp_path: Path) -> None:
    """40 observed over 25 known to 10%, and a signal of 10: the uncertainties add in quadrature."""
    card = put(tmp_path, "bg trG - 0.1\n")
    card.write_text(card.read_text().replace("observation  30", "observation  40"))
    result = fit_workspace(read(card), impacts=True)
    r, bg = result.parameters
    assert (r.name, bg.name) == ("r", "bg")
    assert r.value == pytest.approx(1.5, abs=1e-4)
    assert r.error == pytest.approx(math.hypot(math.sqrt(40), 2.5) / 10, rel=1e-3)
    assert (bg.value, bg.error, bg.pull, bg.constraint) == pytest.approx((1.0, 0.1, 0.0, 1.0), abs=2e-3)
    assert math.isnan(r.pull)
    (impact,) = result.impacts
    assert (impact.name, impact.up, impact.down) == (
        "bg",
        pytest.approx(-0.25, rel=1e-3),
        pytest.approx(0.25, rel=1e-3),
    )
    table = {row.sample: row for row in result.yields}
    assert (table["sig"].before, table["sig"].after) == pytest.approx((10, 15), abs=1e-3)
    assert (table["total"].before, table["total"].after, table["total"].observed) == pytest.approx(
        (35, 40, 40), abs=1e-3
    )
    assert table["total"].error == pytest.approx(math.sqrt(40), rel=1e-3)
    assert (result.statistic, result.degrees) == (pytest.approx(0, abs=1e-6), 0)
    assert math.isnan(result.p_value)


def test_uncertainties_are_those_of_minuit(tmp_path: Path) -> None:
    (tmp_path / "workspace.json").write_text(json.dumps(SPEC))
    model = read(tmp_path / "workspace.json")
    result = fit_workspace(model, impacts=True)
    fitter = WorkspaceFitter(model)
    likelihood = WorkspaceLikelihood(fitter.likelihood, np.concatenate([model.counts, model.model.config.auxdata]))
    names = fitter.likelihood.names
    found = {of.name: of for of in result.parameters}
    minuit = Minuit(likelihood, [found[name].value for name in names], name=names)
    minuit.errordef, minuit.tol, minuit.strategy = Minuit.LIKELIHOOD, 1e-4, 2
    for name in names:
        minuit.fixed[name] = found[name].fixed
    minuit.migrad()
    minuit.hesse()
    for name in names:
        if not found[name].fixed:
            assert found[name].value == pytest.approx(minuit.values[name], abs=0.02 * minuit.errors[name])
            assert found[name].error == pytest.approx(minuit.errors[name], rel=0.02)
    assert found["held"].fixed
    assert math.isnan(found["held"].error)
    assert found["u[0]"].constraint < 1
    assert result.statistic == pytest.approx(2 * minuit.fval, abs=1e-3)
    # 3 bins and 6 auxiliary measurements, for mu, k and 6 constrained parameters
    assert result.degrees == 1
    impacts = {of.name: of for of in result.impacts}
    assert impacts.keys() == {"lumi", "norm", "shape", "stat[0]", "stat[1]", "u[0]"}
    minuit.fixed["norm"] = True
    for sign, change in ((1, impacts["norm"].up), (-1, impacts["norm"].down)):
        minuit.values["norm"] = found["norm"].value + sign * found["norm"].error
        minuit.migrad()
        assert minuit.values["mu"] - found["mu"].value == pytest.approx(change, abs=0.01 * found["mu"].error)


def test_the_command(tmp_path: Path) -> None:
    card = put(tmp_path, "bg lnN - 1.2\n")
    text = CliRunner().invoke(fit, [str(card), "--impacts"]).output
    assert "impact on r" in text
    assert "goodness of fit: -2 log of the ratio to the saturated model = " in text
    done = CliRunner().invoke(fit, [str(card), "--blind", "--json"])
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["parameters"][0]["at_bound"]  # no signal in the expectation without signal
    assert found["yields"][-1]["observed"] is None
    assert "blinded: the data are the expectation without signal at the start values" in found["notes"]
    text = CliRunner().invoke(fit, [str(card), "--toys", "20", "--plots", str(tmp_path / "figures")]).output
    assert ", of 20 toys p = " in text
    names = {f"{name}.{end}" for name in ("prefit_ch", "postfit_ch", "pulls") for end in ("pdf", "png")}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == names
    own = tmp_path / "own.json"
    own.write_text('{"channels": [{"name": "A", "edges": [0, 1], "counts": [5], "components": []}], "parameters": []}')
    assert CliRunner().invoke(fit, [str(own)]).exit_code != 0
    assert CliRunner().invoke(fit, [str(tmp_path / "none.json")]).exit_code == 2


def test_uncertainties_of_yields_by_formula(tmp_path: Path) -> None:
    """Two log-normals before the fit; after it the total has the uncertainty of the count."""
    card = put(tmp_path, "bg lnN - 1.2\nlumi lnN 1.1 1.1\n")
    table = {row.sample: row for row in fit_workspace(read(card)).yields}
    up, down = 25 * 1.2, 25 / 1.2
    of_bg, of_lumi = 0.5 * (up - down), 0.5 * (1.1 - 1 / 1.1)
    assert table["bkg"].before_error == pytest.approx(math.hypot(of_bg, 25 * of_lumi), rel=1e-3)
    assert table["sig"].before_error == pytest.approx(10 * of_lumi, rel=1e-3)
    assert table["total"].before_error == pytest.approx(math.hypot(of_bg, 35 * of_lumi), rel=1e-3)
    assert table["total"].error == pytest.approx(math.sqrt(30), rel=0.02)
    assert table["sig"].error > table["total"].error  # signal and background are anticorrelated


def test_a_model_of_portico(tmp_path: Path) -> None:
    """Parameters are those of its profiles; the figures have all channels."""
    path = tmp_path / "peak.json"
    path.write_text(json.dumps(PEAK))
    model = read_model(path)
    assert isinstance(model, Model)
    result = fit_to_data(model, impacts=True, toys=10)
    best = ModelProfiles(model).best
    assert best is not None
    for of in result.parameters:
        assert of.value == pytest.approx(best.values[of.name], abs=1e-3 * max(1.0, abs(of.value)))
    (channel,) = result.channels
    assert channel.signals == ("signal",)
    total = result.yields[-1]
    assert (total.observed, total.after) == (193, pytest.approx(193, rel=1e-3))
    assert total.error == pytest.approx(math.sqrt(193), rel=0.05)
    assert result.toys == 10
    assert figures_of_fitted(result).keys() == {"prefit_A", "postfit_A"}  # no parameter is constrained
    assert json.loads(json.dumps(result.to_json()))["channels"][0]["edges"][0] == 0.9
    blinded = fit_to_data(model, blind=True)
    assert blinded.parameters[0].value == pytest.approx(0.0, abs=1e-3)
    assert math.isnan(blinded.yields[-1].observed)
