"""Simulation: reproducible, with the lifetimes, acceptances, resolutions and trigger that it claims."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import awkward as ak
import numpy as np
import pytest
import uproot

import hnl.simulate as module
from hnl.constants import CONSTANTS, MASSES, TRIGGER_PATHS

os.environ.setdefault("EXTRA_CLING_ARGS", "-O2")
HEADERS = Path(module.__file__).parent / "include"
SIGNAL = {"process": "signal", "mass": 1.0, "ctau": 10.0, "seed": 1}
DESCRIPTION = json.loads((module.FOLDER / "pools.json").read_text(encoding="utf-8"))

TEST_FUNCTIONS = """
namespace hnl_test {
using namespace hnl;
// Proper decay lengths of Ds (cm) and N (mm), charges, and the acceptance of FACTS section 6.
inline ROOT::RVecD decay(ULong64_t entry, double mass, double ctau) {
  Random random(stream(77, 1, mass, ctau), entry);
  const Collision c = generate_signal(mass, ctau, random);
  const auto length = [](const Generated &a, const Generated &b) {
    return std::hypot(std::hypot(a.origin.x - b.origin.x, a.origin.y - b.origin.y), a.origin.z - b.origin.z);
  };
  const Generated &ds = c.generated[0], &mu = c.generated[1], &n = c.generated[2];
  const Generated &mu_n = c.generated[3], &pi = c.generated[4];
  const auto trigger = [](const Generated &m) { return m.momentum.pt() > 9 && std::abs(m.momentum.eta()) < 1.5; };
  const auto central = [](const Generated &m, double pt) {
    return m.momentum.pt() > pt && std::abs(m.momentum.eta()) < 2.4;
  };
  const double lxy = std::hypot(mu_n.origin.x - BEAM_SPOT_X, mu_n.origin.y - BEAM_SPOT_Y);
  const bool accepted =
      (trigger(mu) || trigger(mu_n)) && central(mu, 2) && central(mu_n, 2) && central(pi, 0.7) && lxy < 100;
  const double e = std::hypot(mu_n.momentum.p(), MUON_MASS) + std::hypot(pi.momentum.p(), PION_MASS);
  const Momentum &a = mu_n.momentum, &b = pi.momentum, sum = {a.px + b.px, a.py + b.py, a.pz + b.pz};
  const double ds_length = length(ds, mu) * DS_MASS / ds.momentum.p();
  const double n_length = 10 * length(n, mu_n) * mass / n.momentum.p();
  return {ds_length, n_length, mu.pdg / 13., mu_n.pdg / 13., double(accepted), std::sqrt(e * e - sum.p() * sum.p()),
          double(ds.mother_pdg)};
}
// Paths fired by a central muon of this momentum and impact parameter.
inline unsigned trigger(ULong64_t entry, double pt, double dxy) {
  Random random(5, entry);
  Track track;
  track.parameters = {{{1.0 / pt}, {0.0}, {0.3}, {dxy}, {0.0}}};
  track.covariance[3][3] = 0.0016 * 0.0016;
  return fire_trigger(track, 0.1, random).paths;
}
} // namespace hnl_test
"""


@pytest.fixture(scope="module")
def root():
    import ROOT

    ROOT.gROOT.SetBatch(True)
    assert ROOT.gInterpreter.Declare(f'#include "{HEADERS / "event.h"}"')
    assert ROOT.gInterpreter.Declare(TEST_FUNCTIONS)
    ROOT.hnl.load_pools(str(module.FOLDER / "ds.root"), str(module.FOLDER / "background.root"))
    return ROOT


def make(root, folder, parameters, first, last, kind="signal"):
    """Simulate a range of entries with a plain, eager RDataFrame; return the events and the products."""
    folder.mkdir()
    frame = root.RDataFrame(last - first).Define("entry", f"(ULong64_t)(rdfentry_ + {first})")
    before = Path.cwd()
    os.chdir(folder)
    try:
        products = module.simulate(frame, SimpleNamespace(name="test", kind=kind, parameters=parameters))
        passed = products["cutflow"].At("trigger fired").GetPass()
        sums = {"generated": products["generated"].GetValue(), "passed": passed}
    finally:
        os.chdir(before)
    with uproot.open(folder / "events.root") as file:
        return file["events"].arrays(), sums


@pytest.fixture(scope="module")
def signal(root, tmp_path_factory):
    return make(root, tmp_path_factory.mktemp("simulate") / "all", SIGNAL, 0, 300)


def test_header_and_table_agree():
    text = (HEADERS / "constants.h").read_text(encoding="utf-8")
    found = dict(re.findall(r"constexpr (?:double|int) (\w+)(?:\[\w+\])? = \{?([^;{}]+)\}?;", text))
    assert found.keys() == CONSTANTS.keys()
    for name, constant in CONSTANTS.items():
        values = constant.value if isinstance(constant.value, tuple) else (constant.value,)
        assert tuple(float(word) for word in found[name].split(",")) == pytest.approx(values, rel=1e-12), name
        assert constant.source
    assert len(TRIGGER_PATHS) == CONSTANTS["TRIGGER_PATHS"].value
    assert MASSES["Ds"] == CONSTANTS["DS_MASS"].value


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"process": "sygnal"}, "possible are 'signal', 'control' and 'background'"),
        ({"seed": -1}, "'seed' is -1"),
        ({"seed": None}, "seed: 1"),
        ({"mass": 1.9}, "mass must be between"),
        ({"mass": "heavy"}, "'mass' is 'heavy'"),
        ({"ctau": 0.0}, "ctau above 0"),
        ({"min_muons": 1.5}, "min_muons"),
    ],
)
def test_wrong_parameters_are_named(change, match):
    with pytest.raises(ValueError, match=re.escape(match)):
        module.event_expression({**SIGNAL, **change}, DESCRIPTION)


@pytest.mark.parametrize("pool", ["ds", "background"])
def test_sums_of_the_pool_factor_are_exact(pool):
    factor = module.pool_factor(pool, DESCRIPTION)
    assert factor > 1.0
    assert factor * 1024 == int(factor * 1024)


def test_chunks_do_not_change_an_event(root, signal, tmp_path):
    whole, sums = signal
    parts = [make(root, tmp_path / str(first), SIGNAL, first, last) for first, last in ((0, 110), (110, 300))]
    joined = ak.concatenate([events for events, _ in parts])
    assert whole.fields == joined.fields
    for field in whole.fields:
        assert ak.to_list(ak.num(whole[field], axis=0)) == ak.to_list(ak.num(joined[field], axis=0))
        left, right = (ak.to_numpy(ak.flatten(events[field], axis=None)) for events in (whole, joined))
        assert left.tobytes() == right.tobytes(), field
    assert sums["generated"] == sum(part["generated"] for _, part in parts)


def test_seed_changes_events(root, signal, tmp_path):
    other, _ = make(root, tmp_path / "other", {**SIGNAL, "seed": 2}, 0, 20)
    assert not np.array_equal(other.PV_z[:, 0], signal[0].PV_z[:20, 0])


def test_events_are_whole(signal):
    events, sums = signal
    assert len(events) == sums["passed"] == 300
    assert sums["generated"] == ak.sum(events.generated)
    assert ak.to_list(events.event) == list(range(1, 301))
    for field in events.fields:
        assert np.all(np.isfinite(ak.to_numpy(ak.flatten(events[field], axis=None)))), field
    tracks = ak.num(events.Track_phi)
    assert ak.all(ak.num(events.Track_cov) == 15 * tracks)
    assert ak.all(ak.num(events.Trig_muon) >= 1)
    assert ak.all(events.Muon_track < tracks)
    assert ak.all(events.Trig_muon < ak.num(events.Muon_track))


def test_data_have_no_generator_columns(root, tmp_path):
    events, _ = make(root, tmp_path / "data", {"process": "background", "seed": 3, "min_muons": 2}, 0, 20, kind="data")
    assert not set(events.fields) & {*module.GENERATOR_COLUMNS, "nPU_trueInt", "generated"}
    assert ak.all(events.run == module.DATA_RUN)
    assert ak.all(ak.num(events.Muon_track) >= 2)


def test_covariances_are_positive_and_pulls_unit(signal):
    """Pulls of q/p and dxy with the true track extrapolated here, by circles in the complex plane."""
    events, _ = signal
    cov = ak.to_numpy(ak.flatten(events.Track_cov)).reshape(-1, 15).astype(float)
    matrices = np.zeros((len(cov), 5, 5))
    rows, columns = np.tril_indices(5)
    matrices[:, rows, columns] = matrices[:, columns, rows] = cov
    assert np.linalg.eigvalsh(matrices / np.sqrt(np.einsum("nii,njj->nij", matrices, matrices))).min() > 0.0

    gen = ak.flatten(events.Track_gen)
    matched = ak.to_numpy(gen) >= 0
    index = events.Track_gen[events.Track_gen >= 0]
    px, py, pz, vx, vy, pdg = (
        ak.to_numpy(ak.flatten(events[f"Gen_{name}"][index])).astype(float)
        for name in ("px", "py", "pz", "vx", "vy", "pdgId")
    )
    charge = np.where(np.abs(pdg) == 13, -np.sign(pdg), np.sign(pdg))
    pt = np.hypot(px, py)
    radius = pt / (0.0029979246 * 3.8)
    beam = complex(CONSTANTS["BEAM_SPOT_X"].value, CONSTANTS["BEAM_SPOT_Y"].value)
    # A positive particle turns clockwise: the centre is to the right of its flight.
    centre = vx + 1j * vy + charge * radius * (py - 1j * px) / pt
    dxy = charge * (radius - np.abs(centre - beam))
    found_dxy = ak.to_numpy(ak.flatten(events.Track_dxy))[matched]
    found_qp = ak.to_numpy(ak.flatten(events.Track_qOverP))[matched]
    errors = np.sqrt(matrices[matched][:, range(5), range(5)])
    far = pt > 1.0
    for pull in ((found_dxy - dxy) / errors[:, 3], (found_qp - charge / np.hypot(pt, pz)) / errors[:, 0]):
        assert np.std(pull[far]) == pytest.approx(1.0, abs=0.12)
        assert np.mean(pull[far]) == pytest.approx(0.0, abs=0.15)


@pytest.mark.parametrize("ctau", [10.0, 1000.0])
def test_lifetimes_charges_and_masses_of_generated_decays(root, ctau):
    decays = 30_000
    frame = root.RDataFrame(decays).Define("d", f"hnl_test::decay(rdfentry_, 1.25, {ctau})")
    for k in range(4):
        frame = frame.Define(f"d{k}", f"d[{k}]")
    means = [frame.Define("product", "d2 * d3").Mean(name) for name in ("d0", "d1", "d2", "d3", "product")]
    mass = frame.Define("mass", "d[5]").Stats("mass")
    ds, n, first, second, product = (mean.GetValue() for mean in means)
    tolerance = 4.0 / np.sqrt(decays)
    assert ds == pytest.approx(CONSTANTS["DS_CTAU"].value, rel=tolerance)
    assert n == pytest.approx(ctau, rel=tolerance)
    assert [first, second, product] == pytest.approx([0, 0, 0], abs=tolerance)
    assert mass.GetValue().GetMean() == pytest.approx(1.25, abs=1e-9)
    assert mass.GetValue().GetRMS() < 1e-9


def test_acceptance_is_that_of_pythia(root):
    """Golden: FACTS section 6, 0.0062 +- 0.0002 accepted at (1.0 GeV, 10 mm), 0.0063 by Pythia alone, prompt Ds."""
    tries = 200_000
    frame = root.RDataFrame(tries).Define("d", "hnl_test::decay(rdfentry_, 1.0, 10.0)").Filter("d[6] == 4")
    accepted, prompt = frame.Define("accepted", "d[4]").Sum("accepted"), frame.Count()
    pool = DESCRIPTION["ds"]["hardccbar"]
    kept = pool["ds_kept_cross_section_pb"] / pool["ds_cross_section_pb"]
    # The pool's own statistics, a few hundred Ds above 10 GeV, dominate.
    assert accepted.GetValue() / prompt.GetValue() * kept == pytest.approx(0.0062, rel=0.1)


def test_trigger_turns_on(root):
    def efficiency(path, pt, significance):
        dxy = significance * np.hypot(0.0016, CONSTANTS["BEAM_SPOT_WIDTH"].value)
        frame = root.RDataFrame(4000).Define("paths", f"hnl_test::trigger(rdfentry_, {pt}, {dxy})")
        return frame.Filter(f"((paths >> {TRIGGER_PATHS.index(path)}) & 1) != 0").Count().GetValue() / 4000

    plateau = CONSTANTS["TRIGGER_EFFICIENCY"].value
    assert efficiency("mu9_ip5", 8.0, 50) < 0.01
    assert efficiency("mu9_ip5", 9.0, 50) == pytest.approx(plateau / 2, abs=0.03)
    assert efficiency("mu9_ip5", 10.0, 50) == pytest.approx(plateau, abs=0.02)
    assert efficiency("mu9_ip5", 20.0, 2) < 0.01
    assert efficiency("mu9_ip5", 20.0, 5) == pytest.approx(plateau / 2, abs=0.03)
    assert efficiency("mu9_ip5", 20.0, 12) == pytest.approx(plateau, abs=0.02)
    assert efficiency("mu7_ip4", 8.0, 50) > efficiency("mu12_ip6", 12.0, 50) > efficiency("mu12_ip6", 11.5, 50)
