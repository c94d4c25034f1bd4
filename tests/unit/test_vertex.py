"""The vertex fit on decays of known place: pulls, flat probability, and an independent fit that agrees."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2, kstest

import hnl.skim as module
from tests import helices
from tests.constants import CONSTANTS

HEADERS = Path(module.__file__).parent / "include"
BEAM = np.array([CONSTANTS[f"BEAM_SPOT_{axis}"] for axis in "XYZ"])
DS_MASS, MUON, PION = (CONSTANTS[f"{name}_MASS"] for name in ("DS", "MUON", "PION"))
DECADES = ((0.06, 0.6), (0.6, 6.0), (6.0, 60.0))  # cm; three decades of flight length of N

# Ds -> mu N, N -> mu pi with a flight length of N that is even in its logarithm, measured by the detector's model.
# Nothing but the fit decides what is returned: all decays in acceptance are.
TEST_FUNCTIONS = """
namespace vertex_test {
using namespace hnl;

struct Decay {
  double mass, length;
  Point pv, end;
  UncertainPoint measured;
  PreparedTrack muon, pion, first;
};

inline bool visible(const Particle &p) { return p.momentum.pt() > 0.7 && std::abs(p.momentum.eta()) < 2.4; }

inline TwoBody isotropic(const Momentum &k, double mass, double m1, double m2, Random &random) {
  return decay_two_body(k, mass, m1, m2, {random.uniform(-1.0, 1.0), random.uniform(0.0, 6.283185307)});
}

inline Decay draw(double mass, double low, double high, Random &random) {
  const Point beam = {BEAM_SPOT_X, BEAM_SPOT_Y, BEAM_SPOT_Z};
  while (true) {
    Decay out;
    out.mass = mass;
    out.pv = {beam.x + 0.0012 * random.gauss(), beam.y + 0.0012 * random.gauss(), beam.z + 3.5 * random.gauss()};
    const double pt = 6.0 - 6.0 * std::log(1.0 - random.uniform()), eta = random.uniform(-1.5, 1.5);
    const double phi = random.uniform(0.0, 6.283185307);
    const Momentum k = {pt * std::cos(phi), pt * std::sin(phi), pt * std::sinh(eta)};
    const TwoBody ds = isotropic(k, DS_MASS, mass, MUON_MASS, random);
    out.length = low * std::pow(high / low, random.uniform());
    const double scale = out.length / ds.first.p();
    out.end = {out.pv.x + scale * ds.first.px, out.pv.y + scale * ds.first.py, out.pv.z + scale * ds.first.pz};
    const TwoBody n = isotropic(ds.first, mass, MUON_MASS, PION_MASS, random);
    const Particle muon = {n.first, out.end, 13}, pion = {n.second, out.end, 211}, first = {ds.second, out.pv, -13};
    if (!visible(muon) || !visible(pion) || !visible(first))
      continue;
    out.muon = prepare(measure(muon, beam, random));
    out.pion = prepare(measure(pion, beam, random));
    out.first = prepare(measure(first, beam, random));
    out.measured = {out.pv, {{{2.25e-6, 0, 0}, {0, 2.25e-6, 0}, {0, 0, 4e-6}}}};
    out.measured.point.x += 0.0015 * random.gauss();
    out.measured.point.y += 0.0015 * random.gauss();
    out.measured.point.z += 0.0020 * random.gauss();
    return out;
  }
}

struct Fitted {
  VertexFit<2> n, ds;
  Composite n_sum, ds_sum;
};

inline Fitted fit(const Decay &decay) {
  Fitted out;
  const Crossing crossing = cross(decay.muon, decay.pion);
  if (!crossing.valid)
    return out;
  out.n = fit_vertex<2>({&decay.muon, &decay.pion}, crossing.point);
  if (!out.n.valid)
    return out;
  out.n_sum = combine<2>(out.n, {with_mass(out.n.momentum[0], MUON_MASS), with_mass(out.n.momentum[1], PION_MASS)});
  const Decayed n = as_particle(out.n.position, out.n.covariance, out.n_sum, {BEAM_SPOT_X, BEAM_SPOT_Y, BEAM_SPOT_Z});
  out.ds = fit_vertex<2>({&n.track, &decay.first}, n.track.position());
  out.ds_sum = combine(out.ds, n, MUON_MASS);
  return out;
}

inline void add_pulls(ROOT::RVecD &out, const VertexFit<2> &fit, const Point &truth) {
  out.push_back((fit.position.x - truth.x) / std::sqrt(fit.covariance[0][0]));
  out.push_back((fit.position.y - truth.y) / std::sqrt(fit.covariance[1][1]));
  out.push_back((fit.position.z - truth.z) / std::sqrt(fit.covariance[2][2]));
}

inline ROOT::RVecD pulls(int decays, double mass, double low, double high, unsigned seed) {
  Random random(seed, 1);
  ROOT::RVecD out;
  for (int i = 0; i < decays; ++i) {
    const Decay decay = draw(mass, low, high, random);
    const Fitted found = fit(decay);
    if (!found.ds.valid)
      continue;
    const Distance flight = distance<3>(found.n.position, found.n.covariance, decay.measured);
    add_pulls(out, found.n, decay.end);
    out.push_back((found.n_sum.k.mass() - mass) / found.n_sum.mass_error);
    out.push_back((flight.value - decay.length) / flight.error);
    add_pulls(out, found.ds, decay.pv);
    out.push_back((found.ds_sum.k.mass() - DS_MASS) / found.ds_sum.mass_error);
    out.push_back(found.n.probability);
    out.push_back(found.ds.probability);
  }
  return out;
}

inline void add_track(ROOT::RVecD &out, const Track &track) {
  for (int i = 0; i < 5; ++i)
    out.push_back(track.parameters[i][0]);
  for (int i = 0; i < 5; ++i)
    for (int j = 0; j < 5; ++j)
      out.push_back(track.covariance[i][j]);
}

template <int N> void add_fit(ROOT::RVecD &out, const VertexFit<N> &fit) {
  for (const double x : {fit.chi2, fit.position.x, fit.position.y, fit.position.z})
    out.push_back(x);
  for (const Momentum &k : fit.momentum)
    for (const double x : {k.px, k.py, k.pz})
      out.push_back(x);
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      out.push_back(fit.covariance[i][j]);
}

// Three tracks with covariance, the fit of N, the fit of the Ds with mass and error, and the fit of all three tracks to
// one vertex, all as rows of 30 + 30 + 30 + 19 + 19 + 4 + 22 numbers.
inline ROOT::RVecD sample(int decays, double mass, double low, double high, unsigned seed) {
  Random random(seed, 2);
  ROOT::RVecD out;
  for (int i = 0; i < decays; ++i) {
    const Decay decay = draw(mass, low, high, random);
    const Fitted found = fit(decay);
    auto whole = fit_vertex<3>({&decay.muon, &decay.pion, &decay.first}, found.ds.position);
    if (!found.ds.valid)
      continue;
    if (!whole.valid) // N has flown
      whole.chi2 = 1e9;
    for (const PreparedTrack *track : {&decay.muon, &decay.pion, &decay.first})
      add_track(out, *track);
    add_fit(out, found.n);
    add_fit(out, found.ds);
    for (const Composite *sum : {&found.n_sum, &found.ds_sum})
      for (const double x : {sum->k.mass(), sum->mass_error})
        out.push_back(x);
    add_fit(out, whole);
  }
  return out;
}

inline ROOT::RVecD probability(double chi2) {
  return {ROOT::Math::chisquared_cdf_c(chi2, 1), ROOT::Math::chisquared_cdf_c(chi2, 3)};
}
} // namespace vertex_test
"""


@pytest.fixture(scope="module")
def root():
    import ROOT

    ROOT.gROOT.SetBatch(True)
    for header in ("decay.h", "geometry.h", "composite.h"):
        assert ROOT.gInterpreter.Declare(f'#include "{HEADERS / header}"')
    assert ROOT.gInterpreter.Declare(TEST_FUNCTIONS)
    return ROOT


PULLS = ("N x", "N y", "N z", "N mass", "flight", "Ds x", "Ds y", "Ds z", "Ds mass")


@pytest.fixture(scope="module")
def pulls(root):
    """Pulls and probabilities of 8,000 decays in each decade of flight length."""
    found = {}
    for number, decade in enumerate(DECADES):
        for mass in (1.0, 1.8):
            rows = np.array(root.vertex_test.pulls(4000, mass, *decade, 10 + number)).reshape(-1, len(PULLS) + 2)
            assert len(rows) > 0.98 * 4000, "the fit loses decays"
            found[decade, mass] = rows
    return {decade: np.concatenate([found[decade, 1.0], found[decade, 1.8]]) for decade in DECADES}


@pytest.mark.parametrize("decade", DECADES, ids=lambda d: f"{d[0]:g}-{d[1]:g} cm")
@pytest.mark.parametrize("number", range(len(PULLS)), ids=PULLS)
def test_pulls_are_unit_gaussians(pulls, decade, number):
    """Width and centre from quantiles; with 8,000 decays they are known to 0.012 and 0.014."""
    low, middle, high = np.percentile(pulls[decade][:, number], [15.866, 50.0, 84.134])
    assert 0.5 * (high - low) == pytest.approx(1.0, abs=0.05)
    assert middle == pytest.approx(0.0, abs=0.05)
    assert np.mean(np.abs(pulls[decade][:, number]) > 3.0) < 0.006, "tails; 0.0027 of a Gaussian"


@pytest.mark.parametrize("which", [-2, -1], ids=["N", "Ds"])
def test_probability_is_flat(pulls, which):
    values = np.concatenate([rows[:, which] for rows in pulls.values()])
    counts, _ = np.histogram(values, 20, (0.0, 1.0))
    expected = len(values) / 20
    assert np.all(abs(counts / expected - 1.0) < 0.1), counts
    # A deviation of the distribution by 1% of the decays would be seen; the skim's own cut is at 0.01.
    assert kstest(values[values > 0.01], "uniform", (0.01, 0.99)).statistic < 0.015


def unpack(row):
    """Split a row of `sample`."""
    tracks = [row[30 * k : 30 * k + 5] for k in range(3)]
    covariances = [row[30 * k + 5 : 30 * k + 30].reshape(5, 5) for k in range(3)]
    return tracks, covariances, row[90:109], row[109:128], row[128:132], row[132:]


@pytest.fixture(scope="module")
def sample(root):
    ranges = ((0.06, 1.0), (1.0, 40.0))
    parts = [root.vertex_test.sample(255, mass, *between, 5) for mass in (1.0, 1.5) for between in ranges]
    rows = np.concatenate([np.array(part).reshape(-1, 154) for part in parts])
    assert len(rows) >= 1000
    return rows[:1000]


def test_a_thousand_vertices_agree_with_scipy(sample):
    """MINPACK, other parameters, numerical derivatives: chi2, position and momenta to 1e-4."""
    for row in sample:
        tracks, covariances, fitted, *_ = unpack(row)
        position, momenta = fitted[1:4], fitted[4:10]
        start = [momenta[:3] * 1.002, momenta[3:] * 0.998]
        x, covariance, value = helices.fit_vertex(tracks[:2], covariances[:2], BEAM, position * 1.003, start)
        assert np.linalg.norm(x[:3] - position) < 1e-4 * np.linalg.norm(position)
        assert x[3:] == pytest.approx(momenta, rel=1e-4, abs=1e-5)
        assert value == pytest.approx(fitted[0], rel=1e-4, abs=1e-4)
        errors = np.sqrt(np.diag(covariance)[:3])
        assert errors == pytest.approx(np.sqrt(np.diag(fitted[10:].reshape(3, 3))), rel=2e-3)


def mass_of(momenta, masses):
    energy = sum(math.sqrt(m * m + float(k @ k)) for k, m in zip(momenta, masses, strict=True))
    total = np.sum(momenta, axis=0)
    return math.sqrt(energy**2 - float(total @ total))


def test_two_fits_in_a_row_are_one_fit_of_the_whole_decay(sample):
    """N, then N with the muon: the same as one fit of three tracks to two vertices, N flying straight between them.

    So the chi2 add up, and position, mass and error of the mass of the Ds are those of the whole, which needs the
    correlation of the mass of N with its flight.
    """
    for row in sample[::10]:
        tracks, covariances, first, second, masses, _ = unpack(row)
        residuals = helices.residuals_of(tracks, [helices.whitening(c) for c in covariances], BEAM)

        def evaluate(x, residuals=residuals):
            muon, pion, other = x[4:7], x[7:10], x[10:13]
            end = x[:3] + x[3] * (muon + pion)
            return residuals([end, end, x[:3]], [muon, pion, other])

        along = first[4:7] + first[7:10]
        length = float((first[1:4] - second[1:4]) @ along / (along @ along))
        start = np.concatenate([second[1:4], [length], first[4:10], second[7:10]])
        fit = helices.least_squares(evaluate, start, method="lm", x_scale="jac", xtol=1e-12, ftol=1e-12)
        steps = np.concatenate([np.full(3, 1e-5), [1e-6], 1e-5 * np.abs(fit.x[4:]) + 1e-7])
        jacobian = helices.gradient(evaluate, fit.x, steps)
        covariance = np.linalg.inv(jacobian.T @ jacobian)
        assert 2.0 * fit.cost == pytest.approx(first[0] + second[0], rel=0.02, abs=0.02)
        error = np.sqrt(np.diag(second[10:].reshape(3, 3)))
        assert np.all(abs(fit.x[:3] - second[1:4]) < 0.03 * error)
        assert error == pytest.approx(np.sqrt(np.diag(covariance)[:3]), rel=0.02)

        def mass(x):
            return np.array([mass_of([x[4:7], x[7:10], x[10:13]], [MUON, PION, MUON])])

        slope = helices.gradient(mass, fit.x, steps)
        expected = math.sqrt((slope @ covariance @ slope.T).item())
        assert masses[3] == pytest.approx(expected, rel=0.01)
        assert abs(masses[2] - mass(fit.x)[0]) < 0.02 * expected


def test_three_tracks_to_one_vertex_agree_with_scipy(sample):
    compared = 0
    for row in sample:
        tracks, covariances, _, _, _, fitted = unpack(row)
        if fitted[0] > 15.0 or compared == 100:
            continue
        momenta = fitted[4:13]
        x, covariance, value = helices.fit_vertex(tracks, covariances, BEAM, fitted[1:4], momenta.reshape(3, 3) * 1.001)
        errors = np.sqrt(np.diag(fitted[13:].reshape(3, 3)))
        assert np.all(abs(x[:3] - fitted[1:4]) < 1e-3 * errors)
        assert x[3:] == pytest.approx(momenta, rel=1e-4, abs=1e-5)
        assert value == pytest.approx(fitted[0], rel=1e-4, abs=1e-4)
        assert errors == pytest.approx(np.sqrt(np.diag(covariance)[:3]), rel=2e-3)
        compared += 1
    assert compared > 20


def test_probabilities_are_those_of_scipy(root):
    for value in (1e-6, 0.3, 3.0, 40.0):
        assert list(root.vertex_test.probability(value)) == pytest.approx(chi2.sf(value, [1, 3]), rel=1e-9)
