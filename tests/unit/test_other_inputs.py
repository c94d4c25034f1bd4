"""HS3 and HistFactory XML as input: the likelihood is that of RooFit, or of the workspace they were made from."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyhf.writexml
import pytest

from portico.errors import ConfigError, InputError
from portico.stats.model_file import list_models, read_model
from portico.stats.workspace import Workspace
from tests.unit.test_datacards import profile

LUMI = {"constraint_name": "lumiConstraint", "name": "Lumi", "parameter": "Lumi", "type": "normfactor"}
K = {"name": "k", "parameter": "k", "type": "normfactor"}
STATISTICS = {
    "constraint_type": "Poisson", "name": "staterror", "type": "staterror",
    "parameters": ["gamma_stat_A_bin_0", "gamma_stat_A_bin_1"],
}  # fmt: skip
FREE = {
    "constraint_type": "Gauss", "data": {"vals": [0.0]}, "name": "sf", "parameters": ["gamma_sf_bin_0"],
    "type": "shapesys",
}  # fmt: skip


def norm(low: float, high: float) -> dict[str, Any]:
    return {
        "constraint_name": "alpha_normConstraint", "data": {"hi": high, "lo": low}, "interpolation": 5, "name": "norm",
        "parameter": "alpha_norm", "type": "normsys",
    }  # fmt: skip


def distribution(name: str, *samples: dict[str, Any]) -> dict[str, Any]:
    bins = len(samples[0]["data"]["contents"])
    axis = {"max": float(bins), "min": 0.0, "name": f"obs_x_{name}", "nbins": bins}
    return {"axes": [axis], "name": f"model_{name}", "samples": list(samples), "type": "histfactory_dist"}


def sample(name: str, contents: list[float], *modifiers: dict[str, Any], errors: Any = None) -> dict[str, Any]:
    data = {"contents": contents} if errors is None else {"contents": contents, "errors": errors}
    return {"data": data, "modifiers": [LUMI, *modifiers], "name": name}


def gauss(name: str, x: str, mean: str, sigma: float) -> dict[str, Any]:
    return {"mean": mean, "name": name, "sigma": sigma, "type": "gaussian_dist", "x": x}


SHAPE = {
    "constraint_name": "alpha_shapeConstraint", "name": "shape", "parameter": "alpha_shape", "type": "histosys",
    "data": {"hi": {"contents": [55, 50]}, "lo": {"contents": [46, 54]}},
}  # fmt: skip
UNCORRELATED = {
    "constraint_type": "Poisson", "data": {"vals": [0.1, 0.1]}, "name": "ss", "type": "shapesys",
    "parameters": ["gamma_ss_bin_0", "gamma_ss_bin_1"],
}  # fmt: skip
MU = {"name": "mu", "parameter": "mu", "type": "normfactor"}
BOUNDS = {"Lumi": (0, 10), "alpha_norm": (-5, 5), "alpha_shape": (-5, 5), "k": (0, 10), "mu": (0, 10)}
# As RooJSONFactoryWSTool of ROOT 6.40 writes a model of HistFactory with three channels
HS3: dict[str, Any] = {
    "analyses": [
        {"domains": ["all"], "likelihood": f"simPdf_{data}", "name": f"simPdf_{data}", "parameters_of_interest": ["mu"]}
        for data in ("asimovData", "obsData")
    ],
    "data": [
        {"contents": contents, "name": f"{data}_{channel}", "type": "binned", "axes": []}
        for data, of in (("asimovData", ([82, 73], [60], [40])), ("obsData", ([85, 77], [63], [41])))
        for channel, contents in zip("ABC", of, strict=True)
    ],
    "distributions": [
        distribution(
            "A",
            sample("background", [50, 52], norm(0.9, 1.1), SHAPE, STATISTICS, errors=[2.936101, 4.048916]),
            sample("other", [20, 10], K, UNCORRELATED, STATISTICS, errors=[1.17444, 0.7786378]),
            sample("signal", [12, 11], MU),
        ),
        gauss("alpha_normConstraint", "alpha_norm", "nom_alpha_norm", 1.0),
        gauss("alpha_shapeConstraint", "alpha_shape", "nom_alpha_shape", 1.0),
        gauss("lumiConstraint", "Lumi", "nominalLumi", 0.02),
        distribution("B", sample("free", [30], FREE), sample("other", [30], K, norm(0.95, 1.04))),
        distribution("C", sample("free", [40], FREE)),
    ],
    "domains": [
        {"name": "all", "type": "product_domain",
         "axes": [{"name": name, "min": low, "max": high} for name, (low, high) in BOUNDS.items()]}
    ],
    "likelihoods": [
        {
            "data": [f"{data}_{c}" for c in "ABC"], "distributions": [f"model_{c}" for c in "ABC"],
            "name": f"simPdf_{data}",
        }
        for data in ("asimovData", "obsData")
    ],
    "metadata": {"hs3_version": "0.2", "packages": [{"name": "ROOT", "version": "6.40.00"}]},
    "parameter_points": [
        {"name": "default_values", "parameters": [
            {"name": "Lumi", "value": 1.0}, {"name": "alpha_norm", "value": 0.0}, {"name": "alpha_shape", "value": 0.0},
            {"const": True, "name": "nom_alpha_norm", "value": 0.0}, {"name": "k", "value": 1.0},
            {"const": True, "name": "nom_alpha_shape", "value": 0.0}, {"name": "mu", "value": 1.0},
            {"const": True, "name": "nominalLumi", "value": 1.0},
        ]}
    ],
}  # fmt: skip
#: -log L of RooFit 6.40 at these strengths, with all other parameters fitted, less that at 0
ROOFIT = {0.0: 0.0, 1.0: -1.037086, 2.0: -0.632710, 3.0: 1.174340}


def put(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_the_likelihood_of_hs3_is_that_of_roofit(tmp_path: Path) -> None:
    model = read_model(put(tmp_path / "model.json", HS3))
    assert isinstance(model, Workspace)
    assert (model.measurement, model.poi) == ("simPdf_obsData", "mu")
    assert model.notes == (
        "analysis 'simPdf_obsData' was taken, of simPdf_asimovData, simPdf_obsData: --measurement selects another",
    )
    assert profile(model, list(ROOFIT)) == pytest.approx(list(ROOFIT.values()), abs=3e-4)
    asimov = read_model(tmp_path / "model.json", measurement="simPdf_asimovData")
    assert isinstance(asimov, Workspace)
    assert asimov.notes == ()
    assert {82.0, 73.0, 60.0, 40.0} <= set(asimov.counts.tolist())
    (listed,) = list_models(tmp_path / "model.json").models
    assert (listed.format, listed.measurements[1]) == ("HS3", ("simPdf_obsData", "mu"))


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    copied = copy.deepcopy(HS3)
    change(copied)
    return copied


def modifier(of: dict[str, Any], sample: int, number: int) -> dict[str, Any]:
    found: dict[str, Any] = of["distributions"][0]["samples"][sample]["modifiers"][number]
    return found


def test_gaussian_gammas_and_constants(tmp_path: Path) -> None:
    def change(of: dict[str, Any]) -> None:
        for at, number in ((0, 3), (1, 3)):
            modifier(of, at, number)["constraint_type"] = "Gauss"
        modifier(of, 1, 2)["constraint_type"] = "Gauss"
        of["parameter_points"][0]["parameters"] += [
            {"name": "gamma_stat_A_bin_1", "value": 1.0, "const": True}, {"name": "alpha_norm", "value": 0.0}
        ]  # fmt: skip
        of["parameter_points"][0]["parameters"][1]["const"] = True

    model = read_model(put(tmp_path / "model.json", changed(change)))
    assert isinstance(model, Workspace)
    found = {
        (s["name"], m["name"]): (m["type"], m["data"])
        for s in model.spec["channels"][0]["samples"] for m in s["modifiers"]
    }  # fmt: skip
    assert found["background", "gamma_stat_A"] == ("staterror", [2.936101, 0.0])
    assert found["other", "gamma_stat_A"] == ("staterror", [1.17444, 0.0])
    assert found["other", "gamma_ss"] == ("staterror", [2.0, 1.0])
    fixed = dict(zip(model.model.config.par_names, model.model.config.suggested_fixed(), strict=True))
    assert fixed["alpha_norm"]
    assert fixed["gamma_stat_A[1]"]
    assert not fixed["alpha_shape"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("analyses"), "HS3 without 'analyses'"),
        (lambda s: s["analyses"][1].update(parameters_of_interest=[]), "'simPdf_obsData' has no 'param"),
        (lambda s: s["likelihoods"][1]["data"].pop(), "likelihood 'simPdf_obsData': 3 distributions and 2 data"),
        (lambda s: s["likelihoods"][1].update(distributions=["model_A", "model_B", "model_D"]),
         "'model_D' is not in 'distributions'; did you mean"),
        (lambda s: modifier(s, 0, 1).update(type="custom"),
         r"distribution 'model_A', sample 'background', custom 'norm' is not read; valid: histosys, normfactor"),
        (lambda s: modifier(s, 0, 1).update(interpolation=0), "normsys 'norm': interpolation 0 is not that of"),
        (lambda s: modifier(s, 0, 1).update(constraint="Poisson"), "a constraint of the type 'Poisson' is not"),
        (lambda s: modifier(s, 0, 1).update(data={"hi": 1.0}), "normsys 'norm': 'data' has the keys hi and lo"),
        (lambda s: modifier(s, 1, 2).update(data={"vals": [0.1]}), "shapesys 'ss': 1 values for 2 bins"),
        (lambda s: s["distributions"][0]["samples"][0]["data"].pop("errors"), "'errors' must be a list of numbers"),
        (lambda s: s["distributions"][3].update(type="lognormal_dist"),
         "its constraint 'lumiConstraint' is a 'lognormal_dist'; valid: gaussian_dist"),
        (lambda s: s["distributions"][3].update(mean="nominal"), "'nominal' has no value in 'parameter_points'"),
        (lambda s: s["data"][3].update(contents=[85]), "1 observed bins, but its samples have 2"),
        (lambda s: s["analyses"][1].update(domains=True), "of this HS3 has another type .*'bool' object is not"),
        (lambda s: s["domains"][0]["axes"][0].pop("name"), "of this HS3 has another type .*key 'name' is missing"),
        (lambda s: s.update(data=[{}]), "'data' must be a list of objects with names"),
    ],
)  # fmt: skip
def test_hs3_that_is_not_read(tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_model(put(tmp_path / "model.json", changed(change)))


def test_an_analysis_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no analysis 'simPdf'; did you mean"):
        read_model(put(tmp_path / "model.json", HS3), measurement="simPdf")


SPEC: dict[str, Any] = {
    "channels": [
        {"name": "A", "samples": [
            {"name": "signal", "data": [12.0, 11.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
            {"name": "background", "data": [50.0, 52.0], "modifiers": [
                {"name": "norm", "type": "normsys", "data": {"lo": 0.9, "hi": 1.1}},
                {"name": "shape", "type": "histosys", "data": {"hi_data": [55.0, 50.0], "lo_data": [46.0, 54.0]}},
                {"name": "staterror_A", "type": "staterror", "data": [3.0, 4.0]},
            ]},
        ]}
    ],
    "observations": [{"name": "A", "data": [71.0, 64.0]}],
    "measurements": [{"name": "meas", "config": {"poi": "mu", "parameters": [
        {"name": "mu", "inits": [1.0], "bounds": [[0.0, 10.0]]}]}}],
    "version": "1.0.0",
}  # fmt: skip


def test_histfactory_xml_is_the_workspace_it_was_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("config", "data"):
        (tmp_path / folder).mkdir()
    top = tmp_path / "FitConfig.xml"
    top.write_bytes(pyhf.writexml.writexml(SPEC, Path("config"), Path("data"), "FitConfig"))
    monkeypatch.chdir("/")
    strengths = [0.0, 1.0, 2.0]
    wanted = profile(read_model(put(tmp_path / "workspace.json", SPEC)), strengths)
    assert profile(read_model(top), strengths) == pytest.approx(wanted, abs=1e-6)
    (listed,) = list_models(top).models
    assert listed.measurements == (("meas", "mu"),)
    channel = tmp_path / "config" / "FitConfig_A.xml"
    with pytest.raises(InputError, match=r"FitConfig_A\.xml: the XML of a channel; give the one with 'Combination'"):
        read_model(channel)
    with pytest.raises(ConfigError, match="HistFactory XML takes no patches"):
        read_model(top, ["x"])
    (tmp_path / "data" / "data.root").unlink()
    with pytest.raises(InputError, match=r"FitConfig\.xml: pyhf cannot read this HistFactory XML, with"):
        read_model(top)
    channel.unlink()
    with pytest.raises(InputError, match=r"channel config/FitConfig_A\.xml is not in its folder or one of those"):
        read_model(top)


@pytest.mark.parametrize(
    ("text", "message"),
    [("<a", "not XML"), ("<html></html>", "XML with 'html', not HistFactory XML"),
     ("<Combination/>", "'Combination' has no 'Input'")],
)  # fmt: skip
def test_other_xml(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_model(tmp_path / "a.xml")
