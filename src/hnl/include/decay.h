// Generated particles: decays of the Ds sampled here, background events from the pool. Lengths in cm, proper decay
// lengths of N in mm on the outside.
#ifndef HNL_DECAY_H
#define HNL_DECAY_H

#include "detector.h"
#include "pools.h"

#include <cmath>
#include <vector>

namespace hnl {

// A generated particle that is kept for matching.
struct Generated {
  int pdg = 0;
  int mother = -1; // index in the list
  int mother_pdg = 0;
  Momentum momentum;
  double mass = 0.0;
  Point origin;
};

struct Collision {
  Point point;
  std::vector<Particle> particles; // charged and stable
  std::vector<Generated> generated;
  double azimuth = 0.0; // of the hardest muon, and whether z was reflected: background only
  bool reflected = false;
};

struct TwoBody {
  Momentum first, second;
};

// Decay of a moving particle; cos_theta is with respect to its direction of flight, in its rest frame.
inline TwoBody decay_two_body(const Momentum &parent, double mass, double m1, double m2, double cos_theta, double phi) {
  const double sum = m1 + m2, difference = m1 - m2;
  const double k = std::sqrt((mass * mass - sum * sum) * (mass * mass - difference * difference)) / (2.0 * mass);
  const double p = parent.p(), energy = std::hypot(p, mass);
  const double e1 = std::hypot(k, m1);
  const double along = (energy * k * cos_theta + p * e1) / mass; // boosted along the flight
  const double across = k * std::sqrt(1.0 - cos_theta * cos_theta);
  const double pt = parent.pt(), ux = parent.px / p, uy = parent.py / p, uz = parent.pz / p;
  // Two directions across the flight: one horizontal, one completing the frame.
  const double hx = -parent.py / pt, hy = parent.px / pt;
  const double a = across * std::cos(phi), b = across * std::sin(phi);
  Momentum first = {along * ux + a * hx - b * uz * hy, along * uy + a * hy + b * uz * hx,
                    along * uz + b * (ux * hy - uy * hx)};
  return {first, {parent.px - first.px, parent.py - first.py, parent.pz - first.pz}};
}

inline Point fly(const Point &from, const Momentum &momentum, double mass, double proper_length) {
  const double scale = proper_length / mass;
  return {from.x + momentum.px * scale, from.y + momentum.py * scale, from.z + momentum.pz * scale};
}

// A turn around the beam and, for half of the events, a reflection: the pool is not merely repeated.
struct Turn {
  double c = 1.0, s = 0.0, z = 1.0;
  explicit Turn(double phi, bool reflect) : c(std::cos(phi)), s(std::sin(phi)), z(reflect ? -1.0 : 1.0) {}
  Momentum operator()(const Momentum &k) const { return {c * k.px - s * k.py, s * k.px + c * k.py, z * k.pz}; }
  Point operator()(const Point &x, const Point &shift) const {
    return {c * x.x - s * x.y + shift.x, s * x.x + c * x.y + shift.y, z * x.z + shift.z};
  }
};

inline constexpr double TWO_PI = 6.283185307179586;

inline Point draw_collision_point(Random &random) {
  return {BEAM_SPOT_X + BEAM_SPOT_WIDTH * random.gauss(), BEAM_SPOT_Y + BEAM_SPOT_WIDTH * random.gauss(),
          BEAM_SPOT_Z + BEAM_SPOT_LENGTH * random.gauss()};
}

// A Ds with its point of decay, from the pool in proportion to cross section. Index 0 of the generated list.
inline Point draw_ds(Collision &collision, Random &random) {
  const PoolDs &ds = pools().ds[draw_index(pools().ds_cumulative, random)];
  const Turn turn(random.uniform(0.0, TWO_PI), random.accept(0.5));
  const int pdg = random.accept(0.5) ? 431 : -431;
  const Momentum momentum = turn(ds.momentum);
  const Point origin = turn(ds.origin, collision.point);
  collision.generated.push_back({pdg, -1, ds.from_b ? 5 : 4, momentum, DS_MASS, origin});
  return fly(origin, momentum, DS_MASS, random.exponential(DS_CTAU));
}

inline void add_product(Collision &collision, int pdg, int mother, const Momentum &momentum, double mass,
                        const Point &origin) {
  const int index = static_cast<int>(collision.generated.size());
  const int mother_pdg = collision.generated[mother].pdg;
  collision.generated.push_back({pdg, mother, mother_pdg, momentum, mass, origin});
  if (std::abs(pdg) == 13 || std::abs(pdg) == 211)
    collision.particles.push_back({momentum, origin, pdg, mother_pdg, index});
}

// Ds -> mu N, N -> mu pi of either charge (Majorana), both isotropic. Mass in GeV, ctau in mm.
// Generated list: Ds, muon, N, muon, pion.
inline Collision generate_signal(double mass, double ctau, Random &random) {
  Collision collision{draw_collision_point(random), {}, {}};
  const Point ds_end = draw_ds(collision, random);
  const int sign = collision.generated[0].pdg > 0 ? 1 : -1;
  const TwoBody ds = decay_two_body(collision.generated[0].momentum, DS_MASS, mass, MUON_MASS,
                                    random.uniform(-1.0, 1.0), random.uniform(0.0, TWO_PI));
  const Point n_end = fly(ds_end, ds.first, mass, random.exponential(0.1 * ctau));
  const TwoBody n =
      decay_two_body(ds.first, mass, MUON_MASS, PION_MASS, random.uniform(-1.0, 1.0), random.uniform(0.0, TWO_PI));
  const int n_sign = random.accept(0.5) ? 1 : -1; // charge of the muon from N
  add_product(collision, -13 * sign, 0, ds.second, MUON_MASS, ds_end);
  add_product(collision, 9900015, 0, ds.first, mass, ds_end);
  add_product(collision, -13 * n_sign, 2, n.first, MUON_MASS, n_end);
  add_product(collision, -211 * n_sign, 2, n.second, PION_MASS, n_end);
  return collision;
}

// Ds -> phi pi, phi -> mu mu. The phi of a scalar's decay with a pion has helicity 0: muons follow sin^2 theta.
// Generated list: Ds, pion, phi, muon, muon.
inline Collision generate_control(Random &random) {
  Collision collision{draw_collision_point(random), {}, {}};
  const Point ds_end = draw_ds(collision, random);
  const int sign = collision.generated[0].pdg > 0 ? 1 : -1;
  double mass = 0.0;
  do
    mass = PHI_MASS + 0.5 * PHI_WIDTH * std::tan(3.141592653589793 * (random.uniform() - 0.5));
  while (mass < 0.98 || mass > 1.06);
  const TwoBody ds = decay_two_body(collision.generated[0].momentum, DS_MASS, mass, PION_MASS,
                                    random.uniform(-1.0, 1.0), random.uniform(0.0, TWO_PI));
  double cos_theta = 0.0;
  do
    cos_theta = random.uniform(-1.0, 1.0);
  while (!random.accept(1.0 - cos_theta * cos_theta));
  const TwoBody phi = decay_two_body(ds.first, mass, MUON_MASS, MUON_MASS, cos_theta, random.uniform(0.0, TWO_PI));
  add_product(collision, 211 * sign, 0, ds.second, PION_MASS, ds_end);
  add_product(collision, 333, 0, ds.first, mass, ds_end);
  add_product(collision, -13, 2, phi.first, MUON_MASS, ds_end);
  add_product(collision, 13, 2, phi.second, MUON_MASS, ds_end);
  return collision;
}

inline const PoolTrack &hardest_muon(std::size_t event) { return pools().tracks[pools().hardest_muon[event]]; }

enum class Part { heavy, fragmentation, all_but_one };

// Add part of a pool event: the products of heavy hadrons, the rest, or all but the products of one heavy hadron.
inline void add_pool_tracks(Collision &collision, std::size_t event, const Turn &turn, int charge, Part part,
                            int dropped = 0) {
  const Pools &pool = pools();
  for (std::size_t i = pool.first_track[event]; i < pool.first_track[event + 1]; ++i) {
    const PoolTrack &track = pool.tracks[i];
    const bool heavy = track.ancestor > 0;
    if (part == Part::all_but_one ? track.ancestor == dropped : heavy != (part == Part::heavy))
      continue;
    const Point origin = turn(pool.vertices[pool.first_vertex[event] + track.vertex], collision.point);
    collision.particles.push_back({turn(track.momentum), origin, charge * track.pdg, charge * track.mother, -1});
  }
}

// What else is in the event of a Ds: a pool event turned so that its triggering hadron, which is left out, had the
// azimuth of the Ds.
inline void add_companions(Collision &collision, Random &random) {
  const std::size_t event = draw_index(pools().event_cumulative, random);
  const PoolTrack &muon = hardest_muon(event);
  const Turn turn(collision.generated[0].momentum.phi() - muon.momentum.phi(), random.accept(0.5));
  add_pool_tracks(collision, event, turn, random.accept(0.5) ? 1 : -1, Part::all_but_one, muon.ancestor);
}

// Beauty and charm: the heavy hadrons of a pool event.
inline Collision generate_background(Random &random) {
  Collision collision{draw_collision_point(random), {}, {}};
  const std::size_t event = draw_index(pools().event_cumulative, random);
  collision.azimuth = random.uniform(0.0, TWO_PI);
  collision.reflected = random.accept(0.5);
  const int charge = random.accept(0.5) ? 1 : -1;
  const Turn turn(collision.azimuth - hardest_muon(event).momentum.phi(), collision.reflected);
  add_pool_tracks(collision, event, turn, charge, Part::heavy);
  for (Particle &particle : collision.particles)
    if (std::abs(particle.pdg) == 13) {
      particle.decay = static_cast<int>(collision.generated.size());
      collision.generated.push_back({particle.pdg, -1, particle.mother, particle.momentum, MUON_MASS, particle.origin});
    }
  return collision;
}

// Its other tracks are those of a second pool event, turned to the same azimuth of the muon.
inline void add_fragmentation(Collision &collision, Random &random) {
  const std::size_t event = draw_index(pools().event_cumulative, random);
  const Turn turn(collision.azimuth - hardest_muon(event).momentum.phi(), collision.reflected);
  add_pool_tracks(collision, event, turn, random.accept(0.5) ? 1 : -1, Part::fragmentation);
}

} // namespace hnl

#endif
