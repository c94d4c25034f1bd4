"""Pile-up: as many collisions, tracks and vertices as the pool and the profile say, and the hard event unchanged."""

from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest
import uproot

import hnl.simulate as module
from tests.constants import CONSTANTS
from tests.simulated import DESCRIPTION, assert_same, load, make

SIGNAL = {"process": "signal", "mass": 1.0, "ctau": 10.0, "seed": 1}
CROWDED = {**SIGNAL, "mode": "data-like"}
MEAN = 30.0
EVENTS = 150
SPREAD, MERGE, MIN_TRACKS, LENGTH = (
    CONSTANTS[name] for name in ("PILEUP_SPREAD", "PV_MERGE_DZ", "PV_MIN_TRACKS", "BEAM_SPOT_LENGTH")
)

TEST_FUNCTIONS = """
namespace hnl_test {
// A crossing: its mean, and how many collisions, tracks and muons.
inline ROOT::RVecD crossing(ULong64_t entry, double mean) {
  hnl::Random random(91, entry);
  const hnl::Pileup pileup = hnl::draw_pileup(mean, random);
  return {pileup.mean, double(pileup.points.size()), double(pileup.seen.size()), double(pileup.muons)};
}
inline ROOT::RVecD numbers(ULong64_t entry) {
  hnl::Random random(92, entry);
  return {random.gamma(2.0, 3.0), double(random.poisson(0.5)), double(random.poisson(100.0)), random.fork().uniform()};
}
inline std::vector<double> vertices(const std::vector<double> &z, const std::vector<int> &tracks) {
  const auto at = [&](std::size_t i) { return hnl::PrimaryVertex{{0, 0, z[i]}, tracks[i], double(tracks[i])}; };
  std::vector<hnl::PrimaryVertex> others;
  for (std::size_t i = 1; i < z.size(); ++i)
    others.push_back(at(i));
  std::vector<double> out;
  for (const hnl::PrimaryVertex &vertex : hnl::find_vertices(at(0), others))
    out.insert(out.end(), {vertex.point.z, double(vertex.tracks)});
  return out;
}
} // namespace hnl_test
"""


@pytest.fixture(scope="module")
def root():
    return load(TEST_FUNCTIONS)


@pytest.fixture(scope="module")
def crowded(root, tmp_path_factory):
    return make(root, tmp_path_factory.mktemp("pileup") / "all", CROWDED, 0, EVENTS)


@pytest.fixture(scope="module")
def pool():
    """Columns of the pool of minimum-bias tracks, with the radius where each starts, and the event that it is of."""
    with uproot.open(module.FOLDER / "minbias.root") as file:
        events, tracks, vertices = (file[name].arrays(library="np") for name in ("events", "tracks", "vertices"))
    event = np.repeat(np.arange(len(events["tracks"])), events["tracks"])
    first = np.cumsum(events["vertices"]) - events["vertices"]
    vertex = (first[event] + tracks["vertex"]).astype(int)
    radius = 0.1 * np.hypot(vertices["x"], vertices["y"])[vertex]
    return {**tracks, "event": event, "radius": radius, "events": len(events["tracks"])}


def efficiency(pool):
    """Probability that each track of the pool is measured, from the table of constants."""
    pt, code = np.hypot(pool["px"], pool["py"]), np.abs(pool["code"])
    plateau = np.where(code == 2, CONSTANTS["MUON_TRACK_EFFICIENCY"], CONSTANTS["HADRON_TRACK_EFFICIENCY"])
    inside = (pt > 0.5) & (np.abs(pool["pz"]) < 5.747 * pt) & (pool["radius"] < 75.0)
    return inside * plateau * np.exp(-((pool["radius"] / CONSTANTS["TRACK_EFFICIENCY_RADIUS"]) ** 2))


def take(frame, call, count):
    frame = frame.Define("d", call)
    for k in range(count):
        frame = frame.Define(f"d{k}", f"d[{k}]")
    columns = frame.AsNumpy([f"d{k}" for k in range(count)])
    return [columns[f"d{k}"] for k in range(count)]


def test_pool_is_what_its_description_says(pool):
    description = DESCRIPTION["minbias"]
    assert description["events"] == pool["events"]
    assert description["mean_tracks"] == pytest.approx(len(pool["px"]) / pool["events"])
    assert description["cross_section_pb"] == pytest.approx(5.6e10, rel=0.05)  # non-diffractive, 13 TeV
    assert np.mean(pool["radius"] == 0.0) == pytest.approx(0.94, abs=0.03)


def test_profile_and_multiplicities(root, pool):
    crossings = 1500
    mean, count, tracks, muons = take(root.RDataFrame(crossings), f"hnl_test::crossing(rdfentry_, {MEAN})", 4)
    width = SPREAD * MEAN
    assert np.mean(mean) == pytest.approx(MEAN, abs=4 * width / math.sqrt(crossings))
    assert np.std(mean) == pytest.approx(width, rel=0.08)
    assert np.mean((mean - np.mean(mean)) ** 3) / np.std(mean) ** 3 == pytest.approx(2 * SPREAD, abs=0.3)  # a gamma's
    assert np.mean(count) == pytest.approx(np.mean(mean), abs=4 * math.sqrt(MEAN / crossings))
    assert np.var(count - mean) == pytest.approx(MEAN, rel=0.15)
    assert np.sum(tracks) / np.sum(count) == pytest.approx(np.sum(efficiency(pool)) / pool["events"], rel=0.01)
    # A pion or kaon in twelve hundred passes for a muon: rates of 0.2% and 0.4%, and most are too soft.
    assert 0.0003 < np.sum(muons) / np.sum(tracks) < 0.0015


def test_random_numbers(root):
    gamma, few, many, other = take(root.RDataFrame(20_000), "hnl_test::numbers(rdfentry_)", 4)
    assert [np.mean(gamma), np.var(gamma)] == pytest.approx([6.0, 18.0], rel=0.06)
    assert [np.mean(few), np.var(few), np.mean(few == 0)] == pytest.approx([0.5, 0.5, math.exp(-0.5)], rel=0.06)
    assert [np.mean(many), np.var(many)] == pytest.approx([100.0, 100.0], rel=0.05)
    assert abs(np.corrcoef(gamma, other)[0, 1]) < 0.03


def test_neighbouring_vertices_merge(root):
    near = 0.9 * MERGE
    found = np.array(root.hnl_test.vertices([0.0, 1.0, 1.0 + near, -2.0, 5.0], [10, 30, 10, 3, 2])).reshape(-1, 2)
    assert found[:, 1].tolist() == [40, 10, 3]  # the one with two tracks is not there
    assert found[:, 0] == pytest.approx([1.0 + near / 4, 0.0, -2.0])
    alone = np.array(root.hnl_test.vertices([0.0], [0]))
    assert alone.tolist() == [0.0, 0.0]


def test_hard_event_is_that_without_pileup(root, crowded, tmp_path):
    events, sums = crowded
    quiet, quiet_sums = make(root, tmp_path / "quiet", SIGNAL, 0, EVENTS)
    assert sums == quiet_sums
    own = events.Track_collision == 0
    for name in ("qOverP", "lambda", "phi", "dxy", "dsz", "charge", "gen"):
        assert ak.all(events[f"Track_{name}"][own] == quiet[f"Track_{name}"]), name
    assert ak.all(events.Gen_pz == quiet.Gen_pz)
    assert ak.all(quiet.nPU == 0)
    assert ak.all(quiet.nPU_trueInt == 0)
    assert ak.all(ak.num(quiet.PV_z) == 1)


def test_chunks_do_not_change_an_event(root, crowded, tmp_path):
    whole, _ = crowded
    parts = [make(root, tmp_path / str(first), CROWDED, first, last)[0] for first, last in ((0, 11), (11, 30))]
    assert_same(whole[:30], ak.concatenate(parts))


def test_events_are_whole(crowded):
    events, _ = crowded
    assert ak.all(ak.num(events.Track_cov) == 15 * ak.num(events.Track_phi))
    assert ak.all(events.Muon_track < ak.num(events.Track_phi))
    assert ak.all(ak.num(events.PV_cov) == 6 * ak.num(events.PV_z))
    assert ak.max(events.Track_collision) == ak.max(events.nPU)
    assert ak.all(events.Track_gen[events.Track_collision > 0] == -1)
    assert ak.sum(events.PV_nTracks) < ak.sum(ak.num(events.Track_phi))
    for field in events.fields:
        assert np.all(np.isfinite(ak.to_numpy(ak.flatten(events[field], axis=None)))), field


def test_vertices_are_as_many_as_a_toy_gives(crowded, pool):
    """The toy: collisions on a line, tracks of the pool kept by their efficiency, the rules of the documentation."""
    events, _ = crowded
    random = np.random.default_rng(5)
    keep, primary = efficiency(pool), pool["radius"] == 0.0
    tracks = np.zeros(pool["events"], dtype=int)
    kept = primary & (random.random(len(keep)) < keep)
    np.add.at(tracks, pool["event"][kept], 1)
    counts = []
    for collisions in np.repeat(ak.to_numpy(events.nPU), 5):
        z = random.normal(0.0, LENGTH, collisions)[random.choice(tracks, collisions) >= MIN_TRACKS]
        counts.append(1 + np.count_nonzero(np.diff(np.sort([*z, random.normal(0.0, LENGTH)])) > MERGE))
    assert ak.mean(ak.num(events.PV_z)) == pytest.approx(np.mean(counts), rel=0.02)


def test_vertices_are_ordered_by_the_sum_of_squared_momenta(crowded):
    events, _ = crowded
    assert ak.all(events.PV_sumPt2[:, 1:] <= events.PV_sumPt2[:, :-1])
    events = events[events.Gen_motherPdgId[:, 0] == 4]  # the Ds of a charm pair starts at the collision
    z = events.Gen_vz[:, 0]
    own = events[[f"Track_{name}" for name in ("qOverP", "lambda", "dxy", "dsz", "collision")]]
    near = np.abs(own.Track_dsz / np.cos(own.Track_lambda) + events.BS_z - z) < 0.1
    near = near & (np.abs(own.Track_dxy) < 0.1) & (own.Track_collision == 0)
    pt2 = ak.sum((np.cos(own.Track_lambda) / own.Track_qOverP)[near] ** 2, axis=1)
    hard = ak.argmin(np.abs(events.PV_z - z), axis=1, keepdims=True)
    alone = np.abs(events.PV_sumPt2[hard][:, 0] / pt2 - 1.0) < 1e-3
    assert 0.75 < ak.mean(alone) < 0.98  # the others have merged with a neighbour
    # The muon of the displaced N does not count: that is one of two that may have fired.
    assert 0.4 < ak.mean(hard == 0) < 0.65


def test_muons_of_pileup_count(root, tmp_path):
    parameters = {"process": "background", "seed": 3, "min_muons": 2, "pileup": 60}
    events, sums = make(root, tmp_path / "two", parameters, 0, 60)
    assert ak.all(ak.num(events.Muon_track) >= 2)
    from_pileup = ak.any(events.Track_collision[events.Muon_track] > 0, axis=1)
    assert 0.4 < ak.mean(from_pileup) < 1.0
    # Golden: 2,000 events without pile-up have 1.79e-4.
    assert sums["passed"] / sums["generated"] > 3e-4
