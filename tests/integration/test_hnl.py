"""The reference analysis: its demonstration's numbers agree with one another, and the whole chain runs."""

from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path

import pytest

import portico
from hnl import physics
from portico.analysis import Analysis, load_analysis
from portico.executors.local import LocalExecutor
from tests.conftest import Remember

pytestmark = pytest.mark.integration

ENTRIES = 600
STEPS = ["simulate", "skim", "select", "histograms", "limits"]


@pytest.fixture(scope="module")
def small() -> Analysis:
    """The demonstration with few events."""
    analysis = load_analysis("hnl")
    samples = {
        name: sample.model_copy(update={"entries": ENTRIES, "processed_events": sample.processed_events and ENTRIES})
        for name, sample in analysis.dataset.samples.items()
    }
    return analysis.model_copy(update={"dataset": analysis.dataset.model_copy(update={"samples": samples})})


def test_cross_sections_are_those_of_physics_and_pools() -> None:
    pools = json.loads(resources.files("hnl").joinpath("pools/pools.json").read_text())
    ds = sum(pools["ds"][process]["ds_cross_section_pb"] for process in ("hardccbar", "hardbbbar"))
    heavy = sum(pools["background"][process]["cross_section_pb"] for process in ("hardccbar", "hardbbbar"))
    for sample in load_analysis("hnl").dataset.samples.values():
        if sample.kind == "signal":
            mass, ctau = float(sample.parameters["mass"]), float(sample.parameters["ctau"])
            coupling = physics.coupling_squared(mass, ctau)
            ratio = physics.ds_to_mu_n_branching_ratio(mass, coupling) * physics.n_to_mu_pi_branching_ratio(mass)
            assert sample.cross_section == pytest.approx(ds * ratio, rel=2e-3), sample.name
        elif sample.name == "control":
            assert sample.cross_section == pytest.approx(ds * 0.045 * 2.86e-4, rel=2e-3)
        elif sample.name == "background":
            assert sample.cross_section == pytest.approx(heavy, rel=2e-3)


def test_the_whole_chain(small: Analysis, tmp_path: Path) -> None:
    executor = LocalExecutor(2)
    try:
        run = portico.run(small, folder=tmp_path / "run", executor=executor)
        again = Remember()
        portico.run(small, folder=tmp_path / "run", executor=executor, reporter=again)
    finally:
        executor.close()
    assert run.states == dict.fromkeys(STEPS, "done")
    assert again.ran == dict.fromkeys(STEPS, 0)
    for name, sample in small.dataset.samples.items():
        simulated = run["simulate"][name]
        efficiency = ENTRIES / simulated["generated"]
        if sample.kind != "data":  # a count of 600 tries: 4%
            assert sample.filter_efficiency == pytest.approx(efficiency, rel=0.2), name
        skimmed, selected = run["skim"][name]["cutflow"], run["select"][name]["cutflow"]
        assert skimmed.passed[-1] == selected.reached[0]
        best = run["histograms"][name]["inclusive_hnl_mass_fine"].sum(flow=True)
        weight = 1.0
        if sample.kind != "data":
            assert sample.cross_section is not None
            assert sample.luminosity is not None
            weight = sample.cross_section * 1000 * sample.luminosity * sample.filter_efficiency / ENTRIES
        count = run["select"][name]["selected"].values()[0]
        assert getattr(best, "value", best) == pytest.approx(weight * count, rel=1e-9), name
        if sample.kind == "signal":
            h = run["histograms"][name]["inclusive_hnl_mass_fine"]
            peak = float((h.values() * h.axes[0].centers).sum() / h.values().sum())
            assert peak == pytest.approx(float(sample.parameters["mass"]), abs=0.01)
    limits = run.summary("limits")["limits"]["samples"]
    assert len(limits) == 4
    for entry in limits.values():
        strength = entry["channels"]["combined"]["limit"]["signal_strength"]
        assert 0 < strength["observed"] < math.inf
        assert strength["expected"] == sorted(strength["expected"])
    assert (tmp_path / "run" / "limits" / "brazil.pdf").read_bytes().startswith(b"%PDF")
