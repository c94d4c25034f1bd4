"""Simulation: reproducible, with the lifetimes, acceptances, resolutions and trigger that it claims."""

from __future__ import annotations

import itertools
import re

import awkward as ak
import numpy as np
import pytest
import uproot

import hnl.processes as processes
import hnl.simulate as module
from hnl.constants import MASSES, TRIGGER_PATHS
from tests.constants import CONSTANTS
from tests.simulated import DESCRIPTION, HEADERS, assert_same, load, make

SIGNAL = {"process": "signal", "mass": 1.0, "ctau": 10.0, "seed": 1}

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
          double(ds.mother_pdg), double(trigger(mu) || trigger(mu_n))};
}
// Cross section, over that of the pool's draws, of a muon of 6.3 GeV in |eta| < 1.7, if the event is from this quark.
inline double trigger_muon(ULong64_t entry, int quark) {
  Random random(6, entry);
  const Pools &pool = pools();
  const std::size_t event = draw_index(pool.event_cumulative, random);
  double none = 1.0;
  bool fires = false, beauty = false;
  for (std::size_t i = pool.first_hadron[event]; i < pool.first_hadron[event + 1]; ++i) {
    const PoolHadron &hadron = pool.hadrons[i];
    beauty |= pool.species[hadron.species].mass > 5.0;
    none *= 1.0 - hadron.hard_share;
    const HeavyDecay decay = draw_decay(hadron, Draw::any, random);
    for (std::size_t k = pool.first_product[decay.decay]; k < pool.first_product[decay.decay + 1]; ++k) {
      const Momentum momentum = decay.momentum_of(pool.products[k]);
      fires |= std::abs(pool.products[k].pdg) == 13 && momentum.pt() > 6.3 && std::abs(momentum.eta()) < 1.7;
    }
  }
  return fires && beauty == (quark == 5) ? 1.0 / (1.0 - none) : 0.0;
}
// Proper time of a placed decay over the lifetime, change of the mass of two products, whether a B0 oscillated.
inline ROOT::RVecD placed(ULong64_t entry, double mass) {
  Random random(8, entry);
  const Pools &pool = pools();
  PoolHadron hadron{{3.0, -4.0, 12.0}};
  while (pool.species[hadron.species].mass != mass)
    ++hadron.species;
  HeavyDecay decay = draw_decay(hadron, Draw::any, random);
  while (pool.first_product[decay.decay + 1] - pool.first_product[decay.decay] < 2)
    decay = draw_decay(hadron, Draw::any, random);
  Collision collision;
  place(collision, decay, Turn(0.3, true), false, random);
  const std::size_t first = pool.first_product[decay.decay];
  const auto pair = [](const Momentum &a, int p, const Momentum &b, int q) {
    const double e = std::hypot(a.p(), mass_of(p)) + std::hypot(b.p(), mass_of(q));
    const Momentum sum = {a.px + b.px, a.py + b.py, a.pz + b.pz};
    return std::sqrt(e * e - sum.p() * sum.p());
  };
  const Product &a = pool.products[first], &b = pool.products[first + 1];
  const Particle &c = collision.particles[0], &d = collision.particles[1];
  const double change = pair(c.momentum, c.pdg, d.momentum, d.pdg) - pair(a.momentum, a.pdg, b.momentum, b.pdg);
  const double flight = std::hypot(std::hypot(c.origin.x, c.origin.y), c.origin.z) * mass / hadron.momentum.p();
  return {flight / pool.species[hadron.species].ctau, change, double(c.pdg != a.pdg), double(a.vertex)};
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
    return load(TEST_FUNCTIONS)


@pytest.fixture(scope="module")
def signal(root, tmp_path_factory):
    return make(root, tmp_path_factory.mktemp("simulate") / "all", SIGNAL, 0, 300)


def test_every_constant_has_a_source_and_python_has_the_same_ones():
    lines = (HEADERS / "constants.h").read_text(encoding="utf-8").splitlines()
    declared = [(before, line) for before, line in itertools.pairwise(lines) if line.startswith("constexpr")]
    assert len(declared) == len(CONSTANTS) > 80
    assert [line for before, line in declared if "// " not in line and not before.startswith("// ")] == []
    assert len(TRIGGER_PATHS) == CONSTANTS["TRIGGER_PATHS"]
    assert MASSES["Ds"] == CONSTANTS["DS_MASS"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"process": "sygnal"}, "did you mean 'signal'? valid: background, control, mixture, signal"),
        ({"seed": -1}, "'seed' is -1"),
        ({"seed": None}, "seed: 1"),
        ({"mass": 1.9}, "mass must be between"),
        ({"mass": "heavy"}, "'mass' is 'heavy'"),
        ({"ctau": 0.0}, "ctau above 0"),
        ({"min_muons": 1.5}, "min_muons"),
        ({"mode": "slow"}, "valid: data-like, fast"),
        ({"pileup": -1.0}, "from 0 to 200"),
        ({"pileup": "many"}, "'pileup' is 'many'"),
        ({"meson": "Ds"}, "'meson' is for control, not for signal"),
        ({"origin": "c"}, "valid: all, b, prompt"),
        ({"process": "background"}, "'mass' is for signal and mixture, not for background"),
        ({"fractions": {"control": 1.0}}, "'fractions' is for mixture"),
        ({"process": "mixture"}, "for example: fractions: {control"),
        ({"process": "mixture", "fractions": {"data": 1.0}}, "has 'data'; valid: background"),
        ({"process": "mixture", "fractions": {"control": 0.5, "background": 0.6}}, "add to 1"),
        ({"process": "mixture", "fractions": {"control": 1.5, "background": -0.5}}, "from 0 on"),
    ],
)
def test_wrong_parameters_are_named(change, match):
    with pytest.raises(ValueError, match=re.escape(match)):
        processes.event_expression({**SIGNAL, **change}, DESCRIPTION)


@pytest.mark.parametrize(
    ("pool", "origin"), [("ds", "all"), ("ds", "prompt"), ("dplus", "b"), ("dplus", "all"), ("background", "all")]
)
def test_sums_of_the_pool_factor_are_exact(pool, origin):
    factor = processes.pool_factor(pool, DESCRIPTION, origin)
    assert factor > 1.0
    assert factor * 1024 == int(factor * 1024)


def test_chunks_do_not_change_an_event(root, signal, tmp_path):
    whole, sums = signal
    parts = [make(root, tmp_path / str(first), SIGNAL, first, last) for first, last in ((0, 110), (110, 300))]
    joined = ak.concatenate([events for events, _ in parts])
    assert_same(whole, joined)
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
    assert not set(events.fields) & {*module.GENERATOR_COLUMNS, "generated"}
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
    beam = complex(CONSTANTS["BEAM_SPOT_X"], CONSTANTS["BEAM_SPOT_Y"])
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
    assert ds == pytest.approx(CONSTANTS["DS_CTAU"], rel=tolerance)
    assert n == pytest.approx(ctau, rel=tolerance)
    assert [first, second, product] == pytest.approx([0, 0, 0], abs=tolerance)
    assert mass.GetValue().GetMean() == pytest.approx(1.25, abs=1e-9)
    assert mass.GetValue().GetRMS() < 1e-9


def test_acceptance_is_that_of_pythia(root):
    """Golden: FACTS section 6 at (1.0 GeV, 10 mm), prompt Ds: 0.0062 +- 0.0002 accepted, 0.0113 with a trigger muon."""
    tries = 200_000
    frame = root.RDataFrame(tries).Define("d", "hnl_test::decay(rdfentry_, 1.0, 10.0)").Filter("d[6] == 4")
    accepted, prompt = frame.Define("accepted", "d[4]").Sum("accepted"), frame.Count()
    triggered = frame.Define("triggered", "d[7]").Sum("triggered")
    pool = DESCRIPTION["ds"]["hardccbar"]
    kept = pool["ds_kept_cross_section_pb"] / pool["ds_cross_section_pb"]
    # The pool's own statistics, a few hundred Ds above 10 GeV, dominate.
    assert accepted.GetValue() / prompt.GetValue() * kept == pytest.approx(0.0062, rel=0.1)
    assert triggered.GetValue() / prompt.GetValue() * kept == pytest.approx(0.0113, rel=0.1)


def species():
    with uproot.open(module.FOLDER / "background.root") as file:
        return {int(row["pdg"]): row for row in file["species"].arrays()}


def test_branching_ratios_of_the_library():
    """Muons of B and D mesons: PDG, b -> mu 10.7%, b -> c -> mu 8% or so, D+ -> mu 17.6%, D0 -> mu 6.8%."""
    rows = species()
    for row in rows.values():
        assert row["share_0"] + row["share_1"] + row["share_2"] == pytest.approx(1.0)
    for beauty in (511, 521):
        assert rows[beauty]["share_1"] + 2 * rows[beauty]["share_2"] == pytest.approx(0.22, abs=0.03)
    assert rows[411]["share_1"] == pytest.approx(0.17, abs=0.01)
    assert rows[421]["share_1"] == pytest.approx(0.067, abs=0.005)


@pytest.mark.parametrize(("pdg", "mixed"), [(521, 0.0), (511, 0.188), (531, 0.4993)])
def test_decays_are_boosted_and_oscillate(root, pdg, mixed):
    """Flight with the lifetime, invariant masses kept, and the time-integrated x^2 / (2 + 2 x^2) of oscillation."""
    tries = 40_000
    frame = root.RDataFrame(tries).Define("d", f"hnl_test::placed(rdfentry_, {float(species()[pdg]['mass'])!r})")
    for k, name in enumerate(("flight", "change", "mixed", "vertex")):
        frame = frame.Define(name, f"d[{k}]")
    flight = frame.Filter("vertex == 0").Stats("flight")
    change, oscillated = frame.Define("size", "std::abs(change)").Max("size"), frame.Mean("mixed")
    assert flight.GetValue().GetMean() == pytest.approx(1.0, abs=5.0 / np.sqrt(flight.GetValue().GetN()))
    assert change.GetValue() < 1e-9
    assert oscillated.GetValue() == pytest.approx(mixed, abs=0.01)


@pytest.mark.parametrize(("quark", "process", "expected"), [(4, "hardccbar", 1.504e5), (5, "hardbbbar", 4.856e5)])
def test_muon_cross_section_is_that_of_pythia(root, quark, process, expected):
    """Golden: pb of events with a muon of 6.3 GeV in |eta| < 1.7, from whole Pythia events, known to 6%."""
    frame = root.RDataFrame(400_000).Define("w", f"hnl_test::trigger_muon(rdfentry_, {quark})")
    kept = sum(pool["kept_cross_section_pb"] for pool in DESCRIPTION["background"].values())
    assert frame.Mean("w").GetValue() * kept == pytest.approx(expected, rel=0.15), process


def test_no_part_of_the_pools_dominates_the_background(root):
    events = 4000
    parameters = {"process": "background", "seed": 4, "min_muons": 2}
    frame = root.RDataFrame(events).Define("entry", "(ULong64_t)rdfentry_")
    frame = frame.Define("simulated", processes.event_expression(parameters, DESCRIPTION))
    frame = frame.Define("event", "simulated.pool_event").Define("decays", "simulated.pool_decays")
    used = frame.Take["int"]("event"), frame.Take["ROOT::RVec<unsigned>"]("decays")
    origin = np.array(list(used[0].GetValue()))
    decays = np.concatenate([np.array(list(each)) for each in used[1].GetValue()])
    assert np.all(origin >= 0)
    for elements in (origin, decays):
        _, counts = np.unique(elements, return_counts=True)
        assert counts.max() <= 0.008 * events
        assert len(counts) > 1500


def test_trigger_turns_on(root):
    def efficiency(path, pt, significance):
        dxy = significance * np.hypot(0.0016, CONSTANTS["BEAM_SPOT_WIDTH"])
        frame = root.RDataFrame(4000).Define("paths", f"hnl_test::trigger(rdfentry_, {pt}, {dxy})")
        return frame.Filter(f"((paths >> {TRIGGER_PATHS.index(path)}) & 1) != 0").Count().GetValue() / 4000

    plateau = CONSTANTS["TRIGGER_EFFICIENCY"]
    assert efficiency("mu9_ip5", 8.0, 50) < 0.01
    assert efficiency("mu9_ip5", 9.0, 50) == pytest.approx(plateau / 2, abs=0.03)
    assert efficiency("mu9_ip5", 10.0, 50) == pytest.approx(plateau, abs=0.02)
    assert efficiency("mu9_ip5", 20.0, 2) < 0.01
    assert efficiency("mu9_ip5", 20.0, 5) == pytest.approx(plateau / 2, abs=0.03)
    assert efficiency("mu9_ip5", 20.0, 12) == pytest.approx(plateau, abs=0.02)
    assert efficiency("mu7_ip4", 8.0, 50) > efficiency("mu12_ip6", 12.0, 50) > efficiency("mu12_ip6", 11.5, 50)
