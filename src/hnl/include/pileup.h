// The other collisions of a crossing, from the pool of minimum-bias events, and the primary vertices of all of them.
#ifndef HNL_PILEUP_H
#define HNL_PILEUP_H

#include "record.h"

#include <algorithm>

namespace hnl {

// A collision as vertex finding sees it.
struct PrimaryVertex {
  Point point;          // the truth
  int tracks = 0;       // measured ones that start there, muons of the hard collision not counted
  double sum_pt2 = 0.0; // of its tracks, displaced ones too, that pass near
  void add(const Track &track) {
    const double cl = std::cos(track.parameters[1][0]), pt = cl / std::abs(track.parameters[0][0]);
    const double dz = track.reference.z + track.parameters[4][0] / cl - point.z;
    if (std::abs(track.parameters[3][0]) < PV_TRACK_DISTANCE && std::abs(dz) < PV_TRACK_DISTANCE)
      sum_pt2 += pt * pt;
  }
};

// The vertex as it is fitted, with an error that falls with the number of tracks from it.
inline void store_vertex(Event &event, const PrimaryVertex &vertex, Random &random) {
  const double root = std::sqrt(std::max(vertex.tracks, 1));
  const double xy = std::hypot(PV_ERROR_FLOOR_XY, PV_ERROR_PER_TRACK_XY / root);
  const double z = std::hypot(PV_ERROR_FLOOR_Z, PV_ERROR_PER_TRACK_Z / root);
  event.pv_x.push_back(vertex.point.x + xy * random.gauss());
  event.pv_y.push_back(vertex.point.y + xy * random.gauss());
  event.pv_z.push_back(vertex.point.z + z * random.gauss());
  for (const double element : {xy * xy, 0.0, xy * xy, 0.0, 0.0, z * z})
    event.pv_cov.push_back(element);
  event.pv_prob.push_back(random.uniform());
  event.pv_tracks.push_back(vertex.tracks);
  event.pv_sum_pt2.push_back(vertex.sum_pt2);
}

// Two collisions as one vertex: their mean, weighted by tracks.
inline PrimaryVertex merged(const PrimaryVertex &a, const PrimaryVertex &b) {
  const double m = std::max(a.tracks, 1), n = std::max(b.tracks, 1);
  const auto mean = [=](double x, double y) { return (m * x + n * y) / (m + n); };
  return {{mean(a.point.x, b.point.x), mean(a.point.y, b.point.y), mean(a.point.z, b.point.z)},
          a.tracks + b.tracks,
          a.sum_pt2 + b.sum_pt2};
}

// What is reconstructed: the hard collision always, others with enough tracks; neighbours in z merge. The largest sum
// of squared transverse momenta comes first.
inline std::vector<PrimaryVertex> find_vertices(const PrimaryVertex &hard, const std::vector<PrimaryVertex> &others) {
  std::vector<PrimaryVertex> seeds = {hard};
  std::copy_if(others.begin(), others.end(), std::back_inserter(seeds),
               [](const PrimaryVertex &vertex) { return vertex.tracks >= PV_MIN_TRACKS; });
  std::sort(seeds.begin(), seeds.end(),
            [](const PrimaryVertex &a, const PrimaryVertex &b) { return a.point.z < b.point.z; });
  std::vector<PrimaryVertex> out;
  for (const PrimaryVertex &seed : seeds) {
    if (!out.empty() && seed.point.z - out.back().point.z < PV_MERGE_DZ)
      out.back() = merged(out.back(), seed);
    else
      out.push_back(seed);
  }
  std::sort(out.begin(), out.end(),
            [](const PrimaryVertex &a, const PrimaryVertex &b) { return a.sum_pt2 > b.sum_pt2; });
  return out;
}

// A muon's entry in the list of muons, and in that of the trigger when it fires.
inline bool measure_muon(Event &event, const Particle &particle, const Track &track, const MuonFlags &flags,
                         Random &random) {
  store_muon(event, flags);
  const TriggerObject object = fire_trigger(track, std::hypot(particle.origin.x, particle.origin.y), random);
  if (object.paths != 0)
    store_trigger(event, object);
  return object.paths != 0;
}

// The particles of pile-up that leave tracks.
struct Pileup {
  struct Seen {
    Particle particle;
    MuonFlags flags;
    std::size_t collision;
    bool primary; // starts at the collision itself
  };
  double mean = 0.0; // of the profile, for this crossing
  std::vector<Point> points;
  std::vector<Seen> seen;
  std::size_t muons = 0;
};

// One minimum-bias event of the pool, turned.
inline void add_collision(Pileup &pileup, const Point &point, Random &random) {
  const Pools &pool = pools();
  const auto events = static_cast<double>(pool.first_minbias_track.size() - 1);
  const auto event = static_cast<std::size_t>(random.uniform() * events);
  const Turn turn{random.uniform(0.0, TWO_PI), random.accept(0.5)};
  for (std::size_t i = pool.first_minbias_track[event]; i < pool.first_minbias_track[event + 1]; ++i) {
    const PoolTrack &track = pool.minbias_tracks[i];
    const Point &from = pool.minbias_vertices[pool.first_minbias_vertex[event] + track.vertex];
    const Particle particle{turn(track.momentum), turn(from, point), track.pdg};
    if (!is_measured(particle, random))
      continue;
    const bool primary = from.x == 0.0 && from.y == 0.0 && from.z == 0.0;
    pileup.seen.push_back({particle, identify_muon(particle, random), pileup.points.size(), primary});
    pileup.muons += pileup.seen.back().flags.muon;
  }
  pileup.points.push_back(point);
}

// The crossing's mean is drawn from a gamma distribution around the sample's, the number of collisions from a Poisson
// distribution around that. Without pile-up no random number is used.
inline Pileup draw_pileup(double mean, Random &random) {
  Pileup out;
  if (mean <= 0.0)
    return out;
  constexpr double shape = 1.0 / (PILEUP_SPREAD * PILEUP_SPREAD);
  out.mean = random.gamma(shape, mean / shape);
  for (int left = random.poisson(out.mean); left > 0; --left)
    add_collision(out, draw_collision_point(random), random);
  return out;
}

// Tracks and muons of pile-up, after those of the hard collision. Returns its collisions.
inline std::vector<PrimaryVertex> measure_pileup(Event &event, const Pileup &pileup, const Point &beam_spot,
                                                 Random &random) {
  std::vector<PrimaryVertex> out(pileup.points.size());
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i].point = pileup.points[i];
  for (const Pileup::Seen &one : pileup.seen) {
    const Track track = measure(one.particle, beam_spot, random);
    store_track(event, track, -1, static_cast<int>(one.collision) + 1);
    PrimaryVertex &vertex = out[one.collision];
    vertex.tracks += one.primary;
    vertex.add(track);
    if (one.flags.muon && std::abs(one.particle.pdg) == 13)
      measure_muon(event, one.particle, track, one.flags, random);
    else if (one.flags.muon)
      store_muon(event, one.flags);
  }
  event.n_pileup = static_cast<int>(pileup.points.size());
  event.n_pileup_true = static_cast<int>(std::lround(pileup.mean));
  return out;
}

} // namespace hnl

#endif
