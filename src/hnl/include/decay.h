// Generated particles: decays of the Ds sampled here, those of background from the pools. Lengths in cm, proper decay
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
  double azimuth = 0.0; // of the hardest heavy hadron, and whether z was reflected: background only
  bool reflected = false;
  int pool_event = -1;               // indices in the pools, for checks: the event,
  std::vector<unsigned> pool_decays; // and the decays with muons
};

struct TwoBody {
  Momentum first, second;
};

// Of the first product, in the rest frame of the parent and with respect to its flight. A struct, since elements in braces
// are drawn from left to right by every compiler, and arguments of a function are not.
struct Direction {
  double cos_theta, phi;
};

// Decay of a moving particle.
inline TwoBody decay_two_body(const Momentum &parent, double mass, double m1, double m2, const Direction &direction) {
  const auto [cos_theta, phi] = direction;
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

// A charmed meson that decays here.
struct Meson {
  int pdg;
  double mass, ctau;
  MesonPool Pools::*pool;
};

inline constexpr Meson DS = {431, DS_MASS, DS_CTAU, &Pools::ds};
inline constexpr Meson DPLUS = {411, DPLUS_MASS, DPLUS_CTAU, &Pools::dplus};

// A meson with its point of decay, from the pool in proportion to cross section. Index 0 of the generated list.
inline Point draw_meson(Collision &collision, const Meson &meson, Origin from, Random &random) {
  const MesonPool &pool = pools().*meson.pool;
  const PoolMeson &drawn = pool.mesons[draw_index(pool.cumulative[static_cast<int>(from)], random)];
  const Turn turn{random.uniform(0.0, TWO_PI), random.accept(0.5)};
  const int pdg = random.accept(0.5) ? meson.pdg : -meson.pdg;
  const Momentum momentum = turn(drawn.momentum);
  const Point origin = turn(drawn.origin, collision.point);
  collision.generated.push_back({pdg, -1, drawn.from_b ? 5 : 4, momentum, meson.mass, origin});
  return fly(origin, momentum, meson.mass, random.exponential(meson.ctau));
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
inline Collision generate_signal(double mass, double ctau, Random &random, Origin from = Origin::all) {
  Collision collision{draw_collision_point(random), {}, {}};
  const Point ds_end = draw_meson(collision, DS, from, random);
  const int sign = collision.generated[0].pdg > 0 ? 1 : -1;
  const Direction of_n{random.uniform(-1.0, 1.0), random.uniform(0.0, TWO_PI)};
  const TwoBody ds = decay_two_body(collision.generated[0].momentum, DS_MASS, mass, MUON_MASS, of_n);
  const Point n_end = fly(ds_end, ds.first, mass, random.exponential(0.1 * ctau));
  const Direction of_muon{random.uniform(-1.0, 1.0), random.uniform(0.0, TWO_PI)};
  const TwoBody n = decay_two_body(ds.first, mass, MUON_MASS, PION_MASS, of_muon);
  const int n_sign = random.accept(0.5) ? 1 : -1; // charge of the muon from N
  add_product(collision, -13 * sign, 0, ds.second, MUON_MASS, ds_end);
  add_product(collision, 9900015, 0, ds.first, mass, ds_end);
  add_product(collision, -13 * n_sign, 2, n.first, MUON_MASS, n_end);
  add_product(collision, -211 * n_sign, 2, n.second, PION_MASS, n_end);
  return collision;
}

// Ds or D+ -> phi pi, phi -> mu mu. The phi of a scalar's decay with a pion has helicity 0: muons follow sin^2 theta.
// Generated list: meson, pion, phi, muon, muon.
inline Collision generate_control(const Meson &meson, Origin from, Random &random) {
  Collision collision{draw_collision_point(random), {}, {}};
  const Point end = draw_meson(collision, meson, from, random);
  const int sign = collision.generated[0].pdg > 0 ? 1 : -1;
  double mass = 0.0;
  do
    mass = PHI_MASS + 0.5 * PHI_WIDTH * std::tan(3.141592653589793 * (random.uniform() - 0.5));
  while (mass < 0.98 || mass > 1.06);
  const Direction of_phi{random.uniform(-1.0, 1.0), random.uniform(0.0, TWO_PI)};
  const TwoBody first = decay_two_body(collision.generated[0].momentum, meson.mass, mass, PION_MASS, of_phi);
  double cos_theta = 0.0;
  do
    cos_theta = random.uniform(-1.0, 1.0);
  while (!random.accept(1.0 - cos_theta * cos_theta));
  const TwoBody phi = decay_two_body(first.first, mass, MUON_MASS, MUON_MASS, {cos_theta, random.uniform(0.0, TWO_PI)});
  add_product(collision, 211 * sign, 0, first.second, PION_MASS, end);
  add_product(collision, 333, 0, first.first, mass, end);
  add_product(collision, -13, 2, phi.first, MUON_MASS, end);
  add_product(collision, 13, 2, phi.second, MUON_MASS, end);
  return collision;
}

// A random orientation (Shoemake, Graphics Gems III, 1992: a uniform quaternion).
class Rotation {
public:
  Rotation() = default;
  explicit Rotation(Random &random) {
    const double u = random.uniform(), a = random.uniform(0.0, TWO_PI), b = random.uniform(0.0, TWO_PI);
    const double x = std::sqrt(1.0 - u) * std::sin(a), y = std::sqrt(1.0 - u) * std::cos(a);
    const double z = std::sqrt(u) * std::sin(b), w = std::sqrt(u) * std::cos(b);
    const double rows[3][3] = {{1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)},
                               {2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)},
                               {2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)}};
    for (int i = 0; i < 9; ++i)
      m_[i] = rows[i / 3][i % 3];
  }
  Point operator()(double x, double y, double z) const {
    return {m_[0] * x + m_[1] * y + m_[2] * z, m_[3] * x + m_[4] * y + m_[5] * z, m_[6] * x + m_[7] * y + m_[8] * z};
  }

private:
  double m_[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
};

// From the rest frame of a particle to the one where it has this momentum; time and space, or energy and momentum.
inline Point boost(const Momentum &parent, double mass, const Point &space, double time) {
  const double p2 = parent.px * parent.px + parent.py * parent.py + parent.pz * parent.pz;
  const double energy = std::sqrt(p2 + mass * mass);
  const double along = parent.px * space.x + parent.py * space.y + parent.pz * space.z;
  const double scale = (along / (energy + mass) + time) / mass;
  return {space.x + scale * parent.px, space.y + scale * parent.py, space.z + scale * parent.pz};
}

inline double mass_of(int pdg) {
  switch (std::abs(pdg)) {
  case 11:
    return ELECTRON_MASS;
  case 13:
    return MUON_MASS;
  case 211:
    return PION_MASS;
  case 321:
    return KAON_MASS;
  default:
    return PROTON_MASS;
  }
}

// A decay of the library for a hadron of the pool, in an orientation.
struct HeavyDecay {
  const PoolHadron *hadron = nullptr;
  std::size_t decay = 0;
  Rotation rotation;
  Momentum momentum_of(const Product &product) const {
    const Momentum &k = product.momentum;
    const Point turned = rotation(k.px, k.py, k.pz);
    const double mass = mass_of(product.pdg);
    const double energy = std::sqrt(k.px * k.px + k.py * k.py + k.pz * k.pz + mass * mass);
    const Point moving = boost(hadron->momentum, pools().species[hadron->species].mass, turned, energy);
    return {moving.x, moving.y, moving.z};
  }
};

// Which decays to draw from. Hard ones can make a muon that fires the trigger, given the hadron's momentum.
enum class Draw { any, hard, soft };

// Range of indices within a class.
struct Range {
  std::size_t first, last;
};

inline Range range_of(const PoolHadron &hadron, int kind, Draw draw) {
  const std::size_t count = pools().species[hadron.species].count[kind], hard = hadron.hard[kind];
  return {draw == Draw::soft ? hard : 0, draw == Draw::hard ? hard : count};
}

// Share of such decays of a class among all decays.
inline double share_of(const PoolHadron &hadron, int kind, Draw draw) {
  const Species &species = pools().species[hadron.species];
  const Range range = range_of(hadron, kind, draw);
  const double all = static_cast<double>(species.count[kind]);
  return all == 0.0 ? 0.0 : species.share[kind] * static_cast<double>(range.last - range.first) / all;
}

// One decay: the class by its share, all of a class alike.
inline HeavyDecay draw_decay(const PoolHadron &hadron, Draw draw, Random &random) {
  const double shares[3] = {share_of(hadron, 0, draw), share_of(hadron, 1, draw), share_of(hadron, 2, draw)};
  const double at = random.uniform() * (shares[0] + shares[1] + shares[2]);
  const int kind = at < shares[0] ? 0 : at < shares[0] + shares[1] ? 1 : 2;
  const Range range = range_of(hadron, kind, draw);
  const auto index = static_cast<std::size_t>(random.uniform() * static_cast<double>(range.last - range.first));
  return {&hadron, pools().species[hadron.species].first[kind] + range.first + index, Rotation(random)};
}

inline bool has_firing_muon(const HeavyDecay &decay) {
  const Pools &pool = pools();
  for (std::size_t i = pool.first_product[decay.decay]; i < pool.first_product[decay.decay + 1]; ++i) {
    if (std::abs(pool.products[i].pdg) != 13)
      return false;
    const Momentum momentum = decay.momentum_of(pool.products[i]);
    const double pt2 = momentum.px * momentum.px + momentum.py * momentum.py;
    if (pt2 > GENERATOR_MUON_PT * GENERATOR_MUON_PT && std::abs(momentum.eta()) < GENERATOR_MUON_ETA)
      return true;
  }
  return false;
}

// PDG number of the antiparticle; quarkonia are their own.
inline int conjugate(int pdg) {
  const int id = std::abs(pdg);
  return id / 1000 % 10 == 0 && id / 100 % 10 == id / 10 % 10 && id > 100 ? pdg : -pdg;
}

// Let a hadron fly, oscillate and decay: the products in the frame of the detector.
inline void place(Collision &collision, const HeavyDecay &decay, const Turn &turn, bool anti, Random &random) {
  const Pools &pool = pools();
  const Species &species = pool.species[decay.hadron->species];
  const Momentum &parent = decay.hadron->momentum;
  const double length = random.exponential(species.ctau);
  const double oscillation = std::sin(0.5 * species.mixing * length / species.ctau);
  if (species.mixing > 0.0 && random.accept(oscillation * oscillation))
    anti = !anti;
  const Displacement *displacements = &pool.displacements[pool.first_displacement[decay.decay]];
  for (std::size_t i = pool.first_product[decay.decay]; i < pool.first_product[decay.decay + 1]; ++i) {
    const Product &product = pool.products[i];
    const Displacement at = product.vertex > 0 ? displacements[product.vertex - 1] : Displacement{};
    const Point turned = decay.rotation(at.space.x, at.space.y, at.space.z);
    const Point origin = turn(boost(parent, species.mass, turned, at.time + length), collision.point);
    const int pdg = anti ? -product.pdg : product.pdg, mother = anti ? conjugate(product.mother) : product.mother;
    collision.particles.push_back({turn(decay.momentum_of(product)), origin, pdg, mother, -1});
  }
}

// Tracks of a pool event that are not from heavy hadrons.
inline void add_pool_tracks(Collision &collision, std::size_t event, const Turn &turn, int charge) {
  const Pools &pool = pools();
  for (std::size_t i = pool.first_track[event]; i < pool.first_track[event + 1]; ++i) {
    const PoolTrack &track = pool.tracks[i];
    const Point origin = turn(pool.vertices[pool.first_vertex[event] + track.vertex], collision.point);
    collision.particles.push_back({turn(track.momentum), origin, charge * track.pdg, 0, -1});
  }
}

inline const PoolHadron &hardest_hadron(std::size_t event) { return pools().hadrons[pools().first_hadron[event]]; }

// What else is in the event of a Ds: a pool event turned so that its hardest hadron, which is left out, had the azimuth
// of the Ds.
inline void add_companions(Collision &collision, Random &random) {
  const Pools &pool = pools();
  const std::size_t event = draw_index(pool.tracks_cumulative, random);
  const Turn turn(collision.generated[0].momentum.phi() - hardest_hadron(event).momentum.phi(), random.accept(0.5));
  const bool anti = random.accept(0.5);
  for (std::size_t i = pool.first_hadron[event] + 1; i < pool.first_hadron[event + 1]; ++i)
    place(collision, draw_decay(pool.hadrons[i], Draw::any, random), turn, pool.hadrons[i].anti != anti, random);
  add_pool_tracks(collision, event, turn, anti ? -1 : 1);
}

// Decays of the hadrons of an event, given that at least one is hard: that is in the events' weights. Those that can
// be hard come first. Empty when no muon of theirs can fire the trigger.
inline std::vector<HeavyDecay> draw_firing_decays(std::size_t event, Random &random) {
  const Pools &pool = pools();
  const std::size_t count = pool.first_hadron[event + 1] - pool.first_hadron[event];
  const PoolHadron *hadrons = &pool.hadrons[pool.first_hadron[event]];
  double none = 1.0; // probability that no decay is hard, from one hadron on
  for (std::size_t i = 0; i < count; ++i)
    none *= 1.0 - hadrons[i].hard_share;
  std::vector<HeavyDecay> out;
  out.reserve(count);
  unsigned hard = 0; // bits of the hadrons
  bool fires = false;
  for (std::size_t i = 0; i < count; ++i) {
    const double share = hadrons[i].hard_share;
    if (share == 0.0)
      break;
    if (random.accept(hard != 0 ? share : share / (1.0 - none))) {
      hard |= 1u << i;
      out.push_back(draw_decay(hadrons[i], Draw::hard, random));
      fires = fires || has_firing_muon(out.back());
    }
    none /= 1.0 - share;
  }
  if (!fires)
    return {};
  for (std::size_t i = 0; i < count; ++i)
    if (((hard >> i) & 1u) == 0)
      out.push_back(draw_decay(hadrons[i], Draw::soft, random));
  return out;
}

// Beauty and charm: the heavy hadrons of a pool event.
inline Collision generate_background(Random &random) {
  Collision collision;
  const Pools &pool = pools();
  const std::size_t event = draw_index(pool.event_cumulative, random);
  const std::vector<HeavyDecay> decays = draw_firing_decays(event, random);
  if (decays.empty())
    return collision;
  collision.point = draw_collision_point(random);
  collision.azimuth = random.uniform(0.0, TWO_PI);
  collision.reflected = random.accept(0.5);
  const bool anti = random.accept(0.5);
  const Turn turn(collision.azimuth - hardest_hadron(event).momentum.phi(), collision.reflected);
  collision.pool_event = static_cast<int>(event);
  for (const HeavyDecay &decay : decays) {
    place(collision, decay, turn, decay.hadron->anti != anti, random);
    if (std::abs(pool.products[pool.first_product[decay.decay]].pdg) == 13)
      collision.pool_decays.push_back(static_cast<unsigned>(decay.decay));
  }
  for (Particle &particle : collision.particles)
    if (std::abs(particle.pdg) == 13) {
      particle.decay = static_cast<int>(collision.generated.size());
      collision.generated.push_back({particle.pdg, -1, particle.mother, particle.momentum, MUON_MASS, particle.origin});
    }
  return collision;
}

// Its other tracks are those of a second pool event, turned to the same azimuth of the hardest hadron.
inline void add_fragmentation(Collision &collision, Random &random) {
  const std::size_t event = draw_index(pools().tracks_cumulative, random);
  const Turn turn(collision.azimuth - hardest_hadron(event).momentum.phi(), collision.reflected);
  add_pool_tracks(collision, event, turn, random.accept(0.5) ? 1 : -1);
}

} // namespace hnl

#endif
