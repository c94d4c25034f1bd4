"""The response of the detector: resolutions, efficiencies and misidentification, against the formulae."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.constants import CONSTANTS as VALUE
from tests.simulated import load

BEAM = [VALUE[f"BEAM_SPOT_{axis}"] for axis in "XYZ"]

TEST_FUNCTIONS = """
namespace hnl_test {
inline hnl::Particle particle(double pt, double eta, double radius, int pdg) {
  const double x = hnl::BEAM_SPOT_X, y = hnl::BEAM_SPOT_Y, z = hnl::BEAM_SPOT_Z;
  return {{pt, 0.0, pt * std::sinh(eta)}, {x + radius, y, z + radius * std::sinh(eta)}, pdg};
}
// Parameters of tracks of a particle that flies off along x after it started at a radius, and their errors.
inline ROOT::RVecD measured(double pt, double eta, double radius, int times) {
  const hnl::Point beam = {hnl::BEAM_SPOT_X, hnl::BEAM_SPOT_Y, hnl::BEAM_SPOT_Z};
  hnl::Random random(93, 1);
  ROOT::RVecD out;
  for (int k = 0; k < times; ++k) {
    const hnl::Track track = hnl::measure(particle(pt, eta, radius, 13), beam, random);
    for (int i = 0; i < 5; ++i)
      out.push_back(track.parameters[i][0]);
    for (int i = 0; i < 5; ++i)
      out.push_back(std::sqrt(track.covariance[i][i]));
  }
  return out;
}
// Shares of particles that leave a track, and are identified as loose, soft, global and medium muon.
inline ROOT::RVecD seen(double pt, double eta, double radius, int pdg, int times) {
  hnl::Random random(94, pdg);
  ROOT::RVecD out(5);
  const hnl::Particle one = particle(pt, eta, radius, pdg);
  for (int k = 0; k < times; ++k) {
    out[0] += hnl::is_measured(one, random);
    const hnl::MuonFlags flags = hnl::identify_muon(one, random);
    const short all[4] = {flags.loose, flags.soft, flags.global, flags.medium};
    for (int i = 0; i < 4; ++i)
      out[1 + i] += all[i];
  }
  return out / times;
}
} // namespace hnl_test
"""


@pytest.fixture(scope="module")
def root():
    return load(TEST_FUNCTIONS)


def measured(root, pt, eta, radius=0.0, times=2000):
    found = np.array(root.hnl_test.measured(pt, eta, radius, times)).reshape(times, 10)
    return found[:, :5], found[:, 5:]


def expected_dxy(pt, eta, radius):
    """Offset at the first layer, and the angle there times the way back to the beam; straight tracks."""
    layers = [layer for layer in VALUE["LAYER_RADII"] if layer >= radius]
    inside = len(VALUE["LAYER_RADII"]) - len(layers)
    lever = (VALUE["TRACKER_RADIUS"] - VALUE["LAYER_RADII"][0]) / (VALUE["TRACKER_RADIUS"] + 5.0 - layers[0])
    scattering = VALUE["ANGLE_SCATTERING"] * math.sqrt(math.cosh(eta)) / pt  # 1/(p sin^1.5 theta) = sqrt(cosh eta)/pT
    angle = math.hypot(VALUE["ANGLE_RESOLUTION"] * math.sqrt(lever), scattering)
    offset = VALUE["PIXEL_OFFSET_XY"] if inside < VALUE["PIXEL_LAYERS"] else VALUE["STRIP_OFFSET_XY"]
    return math.hypot(offset, angle * layers[0])


@pytest.mark.parametrize("radius", [0.0, 8.0, 30.0])
@pytest.mark.parametrize("eta", [0.0, -1.2, 2.2])
@pytest.mark.parametrize("pt", [1.0, 5.0, 30.0])
def test_impact_parameter_resolution_depends_on_pt_eta_and_start(root, pt, eta, radius):
    parameters, errors = measured(root, pt, eta, radius)
    if pt > 5.0 or radius < 10.0:  # a curved track has also the error of its curvature
        assert np.mean(errors[:, 3]) == pytest.approx(expected_dxy(pt, eta, radius), rel=0.12)
    pulls = (parameters - np.mean(parameters, axis=0)) / errors
    assert np.std(pulls, axis=0) == pytest.approx(np.ones(5), abs=0.07)


def test_resolutions_worsen_where_they_should(root):
    def error(index, pt, eta, radius=0.0):
        return np.mean(measured(root, pt, eta, radius, 300)[1][:, index])

    assert error(3, 1.0, 0.0) > 2.0 * error(3, 10.0, 0.0)  # scattering
    assert error(3, 1.0, 2.0) == pytest.approx(math.sqrt(math.cosh(2.0)) * error(3, 1.0, 0.0), rel=0.15)
    assert error(3, 10.0, 0.0, 40.0) > 5.0 * error(3, 10.0, 0.0)  # far from the beam
    # The momentum: 0.7% from scattering, more at large eta, and the sagitta at 100 GeV.
    assert error(0, 5.0, 0.0) * 5.0 == pytest.approx(VALUE["PT_RESOLUTION_SCATTERING"], rel=0.02)
    assert error(0, 5.0, 2.0) * 5.0 * math.cosh(2.0) == pytest.approx(0.007 * (1 + 4 * 0.35), rel=0.03)
    lever = (108.0 - 2.9) / (108.0 + 5.0 - 2.9)
    sagitta = math.hypot(0.007 * math.sqrt(lever), 0.015 * lever**2)
    assert error(0, 100.0, 0.0) * 100.0 == pytest.approx(sagitta, rel=0.02)
    assert error(0, 5.0, 0.0, 40.0) > 1.2 * error(0, 5.0, 0.0)


def test_tracks_are_found_where_the_particle_was(root):
    parameters, errors = measured(root, 5.0, 1.0, 0.0)
    expected = [-1.0 / (5.0 * math.cosh(1.0)), math.atan(math.sinh(1.0)), 0.0, 0.0, 0.0]
    assert np.mean(parameters, axis=0) == pytest.approx(expected, abs=4 * np.max(errors / math.sqrt(2000), axis=0)[0])


@pytest.mark.parametrize("radius", [0.0, 10.0, 35.0, 60.0])
@pytest.mark.parametrize(("pdg", "plateau"), [(13, "MUON_TRACK_EFFICIENCY"), (-211, "HADRON_TRACK_EFFICIENCY")])
def test_efficiency_falls_with_displacement(root, radius, pdg, plateau):
    found = root.hnl_test.seen(5.0, 0.0, radius, pdg, 20_000)[0]
    expected = VALUE[plateau] * math.exp(-((math.hypot(radius + BEAM[0], BEAM[1]) / 35.0) ** 2))
    assert found == pytest.approx(expected, abs=0.012)


def test_nothing_is_seen_outside_the_acceptance(root):
    for pt, eta, radius in ((0.4, 0.0, 0.0), (5.0, 2.5, 0.0), (5.0, 0.0, 80.0)):
        assert root.hnl_test.seen(pt, eta, radius, 211, 1000)[0] == 0.0


def test_muons_are_identified_above_a_threshold(root):
    for eta, threshold in ((0.5, 3.3), (1.8, 1.8)):
        half, full = (list(root.hnl_test.seen(pt, eta, 0.0, -13, 20_000)) for pt in (threshold, threshold + 4.0))
        assert half[1] == pytest.approx(VALUE["MUON_EFFICIENCY"] / 2, abs=0.02)
        assert full[1:] == pytest.approx(
            [0.985, 0.985 * VALUE["MUON_SOFT"], 0.985 * VALUE["MUON_GLOBAL"], 0.985 * VALUE["MUON_MEDIUM"]], abs=0.01
        )


@pytest.mark.parametrize(("pdg", "rate"), [(211, 0.002), (-321, 0.004), (2212, 0.0005), (11, 0.0)])
def test_hadrons_pass_for_muons(root, pdg, rate):
    times = 200_000
    loose, soft = list(root.hnl_test.seen(10.0, 0.0, 0.0, pdg, times))[1:3]
    expected = rate * VALUE["MUON_EFFICIENCY"]
    assert loose == pytest.approx(expected, abs=4 * math.sqrt(expected / times) + 1e-12)
    assert soft == pytest.approx(expected * VALUE["FAKE_SOFT"], abs=4 * math.sqrt(expected / times) + 1e-12)
