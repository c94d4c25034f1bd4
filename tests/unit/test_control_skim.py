"""Skim of the control channel: columns, masses, matching, and a three-track fit that an independent one agrees with."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import awkward as ak
import numpy as np
import pytest
import uproot

import hnl.control_skim as module
import hnl.simulate as simulation
from hnl import ntuple
from portico.worker.in_process import load_cpp
from tests import helices
from tests.constants import CONSTANTS

HEADERS = Path(module.__file__).parent / "include"
BEAM = np.array([CONSTANTS[f"BEAM_SPOT_{axis}"] for axis in "XYZ"])
MASS = {name: CONSTANTS[f"{name}_MASS"] for name in ("DS", "DPLUS", "PHI")}
PARAMETERS = {
    "Ds": {"process": "control", "seed": 3, "min_muons": 2},
    "Dplus": {"process": "control", "meson": "Dplus", "seed": 3, "min_muons": 2},
    "data": {"process": "background", "seed": 5, "min_muons": 2},
}


@pytest.fixture(scope="module")
def root():
    load_cpp("hnl.simulate:simulate", HEADERS)
    return load_cpp("hnl.control_skim:control_skim", HEADERS)


@pytest.fixture(scope="module")
def produce(root, tmp_path_factory):
    """Return a function that simulates and skims a sample, with plain and eager frames."""

    def make(name, entries):
        folder = tmp_path_factory.mktemp(name)
        sample = SimpleNamespace(name=name, kind="data" if name == "data" else "mc", parameters=PARAMETERS[name])
        before = Path.cwd()
        os.chdir(folder)
        try:
            numbered = root.RDataFrame(entries).Define("entry", "(ULong64_t)rdfentry_")
            simulation.simulate(numbered, sample, format="ttree")
            products = module.control_skim(root.RDataFrame("events", "events.root"), sample)
        finally:
            os.chdir(before)
        cutflow = {cut.GetName(): (cut.GetAll(), cut.GetPass()) for cut in products["cutflow"]}
        with uproot.open(folder / "events.root") as events, uproot.open(folder / "wztree.root") as written:
            types = {name: branch.typename for name, branch in written["wztree"].items()}
            made = {"events": events["events"].arrays(), "tree": written["wztree"].arrays()}
            return SimpleNamespace(**made, types=types, cutflow=cutflow)

    return make


@pytest.fixture(scope="module")
def control(produce):
    return produce("Ds", 500)


def matched(tree):
    return (tree.C_mu1_Phi_isPhiDaughter > 0) & (tree.C_mu2_Phi_isPhiDaughter > 0) & (tree.C_pi_isDsDaughter > 0)


def values(made, column):
    return ak.to_numpy(ak.flatten(made.tree[column][matched(made.tree)])).astype(float)


def test_columns_and_types(control):
    plain = {"unsigned": "uint32_t", "int": "int32_t", "unsigned long": "uint64_t", "short": "int16_t"}
    plain |= {"float": "float"}
    lists = {
        **ntuple.PV_COLUMNS, **ntuple.TRIGGER_COLUMNS, **module.CANDIDATE_COLUMNS,
        **module.GENERATOR_COLUMNS,
    }  # fmt: skip
    expected = {name: plain[kind] for name, kind in ntuple.EVENT_COLUMNS.items()} | {"nPU_trueInt": "int32_t"}
    expected |= {name: f"RVec<{plain[kind]}>" for name, kind in lists.items()}
    short = {"short": "int16_t", "int": "int32_t", "unsigned int": "uint32_t"}
    found = {}
    for name, word in control.types.items():
        inner = word.replace("std::", "").replace("vector<", "RVec<")
        found[name] = f"RVec<{short.get(inner[5:-1], inner[5:-1])}>" if inner.startswith("RVec<") else inner
    assert found == expected
    for part in ("Ds", "Phi"):
        for name in ("mass", "pt", "vertex_x", "vertex_prob", "vertex_cos2D", "vertex_2DSig_BS", "vertex_3DDist_PV"):
            assert f"C_{part}_{name}" in found
    for part in ("mu1_Phi", "mu2_Phi", "pi"):
        assert {f"C_{part}_{name}" for name in ("pt", "charge", "idx", "BS_ips_xy", "fitted_E")} <= set(found)


def test_candidates_are_sound(control):
    tree = control.tree
    for column in tree.fields:
        assert np.all(np.isfinite(ak.to_numpy(ak.flatten(tree[column], axis=None)))), column
        if column.startswith("C_"):
            assert ak.all(ak.num(tree[column]) == tree.nCand), column
    assert ak.all(tree.C_mu1_Phi_charge * tree.C_mu2_Phi_charge == -1)
    assert ak.all(tree.C_mu1_Phi_pt >= tree.C_mu2_Phi_pt)
    assert ak.all(tree.C_mu1_Phi_idx != tree.C_mu2_Phi_idx)
    for column, low, high in (("Phi_mass", 0.9, 1.15), ("Ds_mass", 1.6, 2.3), ("Ds_vertex_prob", 0.01, 1.0)):
        assert ak.all((tree[f"C_{column}"] >= low) & (tree[f"C_{column}"] <= high)), column
    fired = ak.any(tree.C_mu1_Phi_idx[:, :, None] == tree.HLT_mu_trig_idx[:, None, :], axis=-1)
    fired = fired | ak.any(tree.C_mu2_Phi_idx[:, :, None] == tree.HLT_mu_trig_idx[:, None, :], axis=-1)
    assert ak.all(fired)
    parts = ("mu1_Phi", "mu2_Phi", "pi")
    energy, *momentum = (
        sum(ak.values_astype(tree[f"C_{part}_fitted_{name}"], np.float64) for part in parts)
        for name in ("E", "px", "py", "pz")
    )
    assert ak.all(abs(np.sqrt(energy**2 - sum(k**2 for k in momentum)) - tree.C_Ds_mass) < 1e-3), "rounding of energies"


def test_most_of_the_channel_is_found(control):
    whole = ak.all([ak.any(control.events.Track_gen == k, axis=1) for k in (1, 3, 4)], axis=0)
    found = ak.any(matched(control.tree), axis=1)
    assert ak.sum(found) > 0.8 * ak.sum(whole)
    for column, mass, resolution in (("C_Ds_mass", MASS["DS"], 0.014), ("C_Phi_mass", MASS["PHI"], 0.009)):
        low, middle, high = np.percentile(values(control, column), [16, 50, 84])
        assert middle == pytest.approx(mass, abs=0.003)
        assert 0.5 * (high - low) == pytest.approx(resolution, rel=0.4), column
    pull = (values(control, "C_Ds_mass") - MASS["DS"]) / values(control, "C_Ds_massErr")
    low, high = np.percentile(pull, [16, 84])
    assert 0.5 * (high - low) == pytest.approx(1.0, abs=0.15)
    assert np.median(values(control, "C_Ds_vertex_prob")) == pytest.approx(0.505, abs=0.1)


def test_ancestors_are_those_of_the_generator(control):
    origin = {int(e.event): abs(int(e.Gen_motherPdgId[0])) for e in control.events}
    expected = [origin[int(event)] == 5 for event in control.tree.event]
    assert 0.2 < np.mean(expected) < 0.9
    for entry, from_b in zip(control.tree, expected, strict=True):
        assert ak.all(entry.C_mu2_Phi_hasBAncestor == int(from_b))
    assert set(np.unique(abs(ak.to_numpy(ak.flatten(control.tree.C_Ds_gen_pdgId))))) == {431}


def test_dplus_is_told_from_ds(produce):
    made = produce("Dplus", 150)
    assert set(np.unique(abs(ak.to_numpy(ak.flatten(made.tree.C_Ds_gen_pdgId))))) == {411}
    assert len(values(made, "C_Ds_mass")) > 60
    assert np.median(values(made, "C_Ds_mass")) == pytest.approx(MASS["DPLUS"], abs=0.004)


def test_data_have_no_generator_columns(produce):
    made = produce("data", 600)
    assert not set(made.tree.fields) & {*module.GENERATOR_COLUMNS, "nPU_trueInt"}
    assert len(made.tree) > 0


def test_vertices_are_those_of_an_independent_fit(control):
    """Three tracks to one vertex by scipy; the phi from two of them."""
    events = {int(e.event): e for e in control.events}
    for entry in control.tree[:40]:
        event = events[int(entry.event)]
        tracks = [int(event.Muon_track[int(entry[f"C_mu{k}_Phi_idx"][0])]) for k in (1, 2)] + [int(entry.C_pi_idx[0])]
        parameters, covariances = [], []
        for track in tracks:
            covariance = np.zeros((5, 5))
            covariance[np.tril_indices(5)] = np.asarray(event.Track_cov[15 * track : 15 * track + 15], dtype=float)
            covariances.append(covariance + np.tril(covariance, -1).T)
            names = ("qOverP", "lambda", "phi", "dxy", "dsz")
            parameters.append(np.array([float(event[f"Track_{name}"][track]) for name in names]))
        parts = ("mu1_Phi", "mu2_Phi", "pi")
        momenta = [np.array([float(entry[f"C_{p}_fitted_p{axis}"][0]) for axis in "xyz"]) for p in parts]
        for mother, count in (("Ds", 3), ("Phi", 2)):
            position = np.array([float(entry[f"C_{mother}_vertex_{axis}"][0]) for axis in "xyz"])
            x, covariance, value = helices.fit_vertex(
                parameters[:count], covariances[:count], BEAM, position + 0.002, momenta[:count]
            )
            errors = np.sqrt(np.diag(covariance)[:3])
            assert np.all(abs(x[:3] - position) < 0.01 * errors)
            assert [float(entry[f"C_{mother}_vertex_{a}Err"][0]) for a in "xyz"] == pytest.approx(errors, rel=0.01)
            assert value == pytest.approx(float(entry[f"C_{mother}_vertex_chi2"][0]), rel=1e-3, abs=1e-3)
            if mother == "Ds":
                assert x[3:] == pytest.approx(np.ravel(momenta), rel=1e-3, abs=1e-3)
