"""The reference analysis: its demonstration's numbers agree with one another, and the whole chain runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import awkward as ak
import pytest
import uproot
import yaml
from click.testing import CliRunner

import portico
from hnl import theory
from hnl.cli import hepdata
from hnl.inputs.spectra import read_spectra
from portico.analysis.analysis import Analysis, load_analysis
from portico.executors.local import LocalExecutor
from portico.stats.exports.formats import export
from portico.stats.model_file import read_model
from tests import choices
from tests.conftest import Remember
from tests.reference import CTAUS, ENTRIES, SEARCH

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

GOLDEN = Path(__file__).with_name("golden_hnl.json")


def test_cross_sections_are_those_of_physics_and_pools() -> None:
    pools = json.loads(resources.files("hnl").joinpath("pools/pools.json").read_text())
    ds = sum(pools["ds"][process]["ds_cross_section_pb"] for process in ("hardccbar", "hardbbbar"))
    heavy = sum(pools["background"][process]["cross_section_pb"] for process in ("hardccbar", "hardbbbar"))
    for sample in load_analysis("hnl").dataset.samples.values():
        if sample.kind == "signal":
            mass, ctau = sample.number("mass"), sample.number("ctau")
            coupling = theory.coupling_squared(mass, ctau)
            ratio = theory.ds_to_mu_n_branching_ratio(mass, coupling) * theory.n_to_mu_pi_branching_ratio(mass)
            assert sample.cross_section == pytest.approx(ds * ratio, rel=2e-3), sample.name
        elif sample.name == "control":
            assert sample.cross_section == pytest.approx(ds * 0.045 * 2.86e-4, rel=2e-3)
        elif sample.name == "control_dplus":
            dplus = sum(pools["dplus"][process]["dplus_cross_section_pb"] for process in ("hardccbar", "hardbbbar"))
            assert sample.cross_section == pytest.approx(dplus * 0.0057 * 2.86e-4, rel=2e-3)
        elif sample.name == "background":
            assert sample.cross_section == pytest.approx(heavy, rel=2e-3)


def test_a_second_run_does_nothing(small: Analysis, chain: portico.Run, local: LocalExecutor) -> None:
    names = [step.name for step in small.steps]
    again = Remember()
    portico.run(small, folder=chain.path, executor=local, reporter=again)
    assert chain.states == dict.fromkeys(names, "done")
    assert again.ran == dict.fromkeys(names, 0)


def test_the_whole_chain(small: Analysis, chain: portico.Run) -> None:
    run = chain
    for name, sample in small.dataset.samples.items():
        if name != "control_data":  # a mixture has no normalisation
            efficiency = sample.entries / run["simulate"][name]["generated"]
            if sample.kind != "data":  # a count of 600 tries: 4%
                assert sample.filter_efficiency == pytest.approx(efficiency, rel=0.2), name
    for name in SEARCH:
        check_selected(small.dataset[name], run["skim"][name], run["select"][name])
        check_choices(run, small.dataset[name])
    lifetimes = run.summary("lifetimes")["lifetimes"]["1 GeV"]
    assert set(lifetimes) == {"ctau_20", "ctau_50"}
    assert all(entry["effective_events"] > 20 for entry in lifetimes.values())
    check_limits(run, unblinded=False)
    check_control(run)


def check_limits(run: portico.Run, *, unblinded: bool) -> None:
    found = run.summary("limits")["limits"]
    assert found["observed"] is unblinded
    assert not found["failed"]
    (mass,) = found["masses"]
    assert mass["mass"] == 1.0
    for point in mass["points"]:
        strength = point["signal_strength"]
        assert strength["expected"] == sorted(strength["expected"])
        assert (strength["observed"] is not None) is unblinded
        # A limit of mu above 1 is a CLs of mu = 1 above 5%, to the precision of both.
        assert (strength["expected"][2] > 1) == (point["cls"]["expected"][2] > 0.05)
    lifetimes = [point["ctau"] for point in mass["points"]]
    assert lifetimes[0] == CTAUS[1]
    assert lifetimes == sorted(lifetimes, reverse=True)
    assert (run.path / "limits" / "exclusion.pdf").read_bytes().startswith(b"%PDF")


def test_unblinding_looks_at_the_windows_and_runs_no_more_than_it_must(
    small: Analysis, chain: portico.Run, local: LocalExecutor, tmp_path: Path
) -> None:
    folder, again = tmp_path / "run", Remember()
    shutil.copytree(chain.path, folder)
    first = chain.summary("search")["search"]["masses"][0]
    # What the report hides is what is not fitted.
    assert small.blind["*_Hnl_mass*"][0] == pytest.approx(first["window"], abs=1e-4)
    hidden = [side["observed"] for side in chain.summary("search")["search"]["masses"][0]["counts"].values()]
    assert hidden == [None] * 6
    run = portico.run(small, folder=folder, executor=local, unblind=True, reporter=again)
    assert {step for step, ran in again.ran.items() if ran} == {"search", "scan", "limits"}
    check_limits(run, unblinded=True)
    sides = run.summary("search")["search"]["masses"][0]["counts"]
    low, high = run.summary("search")["search"]["masses"][0]["window"]
    spectra = read_spectra(run["select"], [small.dataset["data"]])
    for category, (masses, _) in spectra.items():
        assert sides[category]["observed"] == ((masses > low) & (masses < high)).sum()
    assert run.summary("search")["signal"] == chain.summary("search")["signal"]


def check_selected(sample: portico.Sample, skimmed: portico.Results, selected: portico.Results) -> None:
    flow = selected["cutflow_inclusive"]
    assert skimmed["cutflow"].passed[-1] == selected["cutflow"].reached[0] == flow.reached[0]
    # Every event that is chosen is in one category, in each variation too.
    for variation, together in selected.variations("inclusive_Hnl_mass_fine").items():
        parts = [selected.variations(f"{name}_Hnl_mass_fine")[variation] for name in choices.CUTS]
        added = sum(part.values(flow=True) for part in parts)
        assert added == pytest.approx(together.values(flow=True), rel=1e-9), (sample.name, variation)
    assert flow.passed[-1] == sum(selected[f"cutflow_{name}"].passed[-1] for name in choices.CUTS)
    mass = selected["inclusive_Hnl_mass_fine"]
    if sample.kind == "data":
        assert mass.sum(flow=True).value == flow.passed[-1] == flow.yields[-1]
        return
    assert sample.cross_section is not None
    assert sample.luminosity is not None
    weight = sample.cross_section * 1000 * sample.luminosity * sample.filter_efficiency / ENTRIES
    assert flow.yields[0] == pytest.approx(weight * flow.reached[0], rel=0.1)  # pile-up moves it a little
    varied = selected.variations("inclusive_Hnl_mass_fine")
    nominal = varied["nominal"].sum(flow=True).value
    # trigger, identification and reconstruction of two muons
    assert nominal == pytest.approx(flow.yields[-1], rel=0.15)
    for factor in ("pileup", "trigger", "muon_id", "muon_reco"):
        low, high = sorted(varied[f"{factor}:{word}"].sum(flow=True).value for word in ("up", "down"))
        assert 0.8 * nominal < low < nominal < high < 1.2 * nominal, factor
    if sample.kind == "signal":
        peak = float((mass.values() * mass.axes[0].centers).sum() / mass.values().sum())
        assert peak == pytest.approx(sample.number("mass"), abs=0.01)
        assert (selected["correct_mass"].values() <= selected["choices_mass"].values()).all()


def check_choices(run: portico.Run, sample: portico.Sample) -> None:
    """The choices are, event by event, those of the selection that was written a second time."""
    skimmed, selected = (
        concatenated(run[step][sample.name][product], product, columns)
        for step, product, columns in (("skim", "wztree", choices.COLUMNS), ("select", "candidates", choices.CHOSEN))
    )
    keys = list(zip(*(skimmed[name].to_list() for name in choices.KEY), strict=True))
    for rule in choices.RULES:
        suffix = "" if rule == "mass" else f"_{rule}"
        expected = choices.choice(skimmed, rule, signal=sample.kind == "signal")
        columns = [selected[name].to_list() for name in (*choices.KEY, f"selection{suffix}", f"chosen{suffix}")]
        found = {
            (tuple(key), selection): index
            for *key, of_selections, indices in zip(*columns, strict=True)
            for selection, index in zip(of_selections, indices, strict=True)
        }
        known = {(keys[entry], selection): index for (entry, selection), index in expected.items()}
        assert found == known, (sample.name, rule)


def concatenated(paths: Sequence[str], tree: str, columns: Sequence[str]) -> ak.Array:
    parts = []
    for path in paths:
        with uproot.open(path) as file:
            have = set(file[tree].keys())
            parts.append(file[tree].arrays([name for name in columns if name in have]))
    return ak.concatenate(parts)


def check_control(run: portico.Run) -> None:
    fit = run.summary("control_fit")["fit"]
    weighted = run["control_weighted"]["control_data"]["inclusive_Ds_mass"]
    assert weighted.sum(flow=True).value == pytest.approx(fit["yields"]["Ds"]["value"], rel=0.01)


def test_golden_numbers(chain: portico.Run) -> None:
    """Selection, weights, lifetimes and control channel of fixed seeds, written down when they were last understood.

    To renew them: ``PORTICO_GOLDEN=write pytest tests/integration/test_hnl.py``, and look at the difference.
    """
    found = golden(chain)
    if os.environ.get("PORTICO_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-3 if key.startswith("fit") else 1e-6, abs=1e-12), key


def golden(run: portico.Run) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for name in SEARCH:
        selected = run["select"][name]
        numbers[f"{name} cutflow"] = list(selected["cutflow_inclusive"].passed)
        flows = [flow for key, flow in selected.cutflows.items() if key.startswith("cutflow_")]
        numbers[f"{name} chosen by selection"] = [flow.passed[-1] for flow in flows]
        numbers[f"{name} yields"] = [flow.yields[-1] for flow in flows]
        varied = selected.variations("inclusive_Ds_mass")
        numbers |= {f"{name} {variation}": float(h.sum(flow=True).value) for variation, h in varied.items()}
    for target, entry in run.summary("lifetimes")["lifetimes"]["1 GeV"].items():
        numbers[f"effective events at {target}"] = entry["effective_events"]
    yields = run.summary("control_fit")["fit"]["yields"]
    return numbers | {f"fit of {component}": yields[component]["value"] for component in ("Ds", "Dplus")}


def test_the_model_of_a_mass_is_written_for_roofit(chain: portico.Run, tmp_path: Path) -> None:
    model = read_model(chain.path / "limits" / "model_m1.json")
    assert "mass_resolution" in model.nuisances
    export(model, "roofit", tmp_path / "model.root")  # no two things have one name there
    assert (tmp_path / "model.root").stat().st_size > 1000


def test_limits_become_a_submission_to_hepdata(chain: portico.Run, tmp_path: Path) -> None:
    done = CliRunner().invoke(hepdata, [str(chain.path), str(tmp_path / "hepdata")])
    assert done.exit_code == 0, done.output
    documents = list(yaml.safe_load_all((tmp_path / "hepdata" / "submission.yaml").read_text()))
    files = [document["data_file"] for document in documents if "data_file" in document]
    points, region = (yaml.safe_load((tmp_path / "hepdata" / name).read_text()) for name in files)
    (mass,) = chain.summary("limits")["limits"]["masses"]
    medians = [point["signal_strength"]["expected"][2] for point in mass["points"]]
    assert [row["value"] for row in points["dependent_variables"][0]["values"]] == pytest.approx(medians, rel=1e-5)
    low = region["dependent_variables"][0]["values"][0]["value"]
    intervals = mass["excluded"]["expected"]["median"]
    assert low == (pytest.approx(intervals[0][0], rel=1e-5) if intervals else "-")
