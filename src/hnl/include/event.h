// The event file's content, and the simulation of one entry. Lengths in cm, momenta in GeV, proper lengths in mm.
#ifndef HNL_EVENT_H
#define HNL_EVENT_H

#include "decay.h"

#include "ROOT/RVec.hxx"

#include <cstdint>
#include <cstring>

namespace hnl {

using ROOT::RVecF;
using ROOT::RVecI;
using RVecShort = ROOT::RVec<short>;
using RVecUnsigned = ROOT::RVec<unsigned>;

struct Event {
  bool triggered = false;
  double generated_decays = 0.0; // how many decays (events, in background) this entry stands for
  float bs_x = 0, bs_y = 0, bs_z = 0, bs_width_x = 0, bs_width_y = 0, bs_width_z = 0;
  RVecF pv_x, pv_y, pv_z, pv_cov, pv_prob; // covariance: xx, xy, yy, xz, yz, zz of each
  RVecF track_q_over_p, track_lambda, track_phi, track_dxy, track_dsz;
  RVecF track_cov; // 15 a track: the lower triangle by rows, in the order of the parameters
  RVecI track_charge, track_gen;
  RVecUnsigned muon_track;
  RVecShort muon_soft, muon_loose, muon_medium, muon_global, muon_tracker, muon_stand_alone;
  RVecUnsigned trigger_muon, trigger_paths;
  RVecF trigger_pt, trigger_eta, trigger_phi;
  RVecI gen_pdg, gen_mother, gen_mother_pdg;
  RVecF gen_px, gen_py, gen_pz, gen_mass, gen_vx, gen_vy, gen_vz;
  int pool_event = -1; // of background, for checks: where it comes from in the pools
  RVecUnsigned pool_decays;
};

// 16 bits of mantissa: enough for matrices with correlations up to 0.9999, and they compress.
inline float shorten(double value) {
  const float single = static_cast<float>(value);
  std::uint32_t bits;
  std::memcpy(&bits, &single, sizeof bits);
  bits = (bits + 0x40u) & 0xFFFFFF80u;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

inline void store_track(Event &event, const Track &track, int generated) {
  RVecF *columns[5] = {&event.track_q_over_p, &event.track_lambda, &event.track_phi, &event.track_dxy,
                       &event.track_dsz};
  for (int i = 0; i < 5; ++i) {
    columns[i]->push_back(static_cast<float>(track.parameters[i][0]));
    for (int j = 0; j <= i; ++j)
      event.track_cov.push_back(shorten(track.covariance[i][j]));
  }
  event.track_charge.push_back(track.charge() > 0.0 ? 1 : -1);
  event.track_gen.push_back(generated);
}

inline void store_muon(Event &event, const MuonFlags &flags) {
  event.muon_track.push_back(event.track_charge.size() - 1);
  event.muon_soft.push_back(flags.soft);
  event.muon_loose.push_back(flags.loose);
  event.muon_medium.push_back(flags.medium);
  event.muon_global.push_back(flags.global);
  event.muon_tracker.push_back(flags.tracker);
  event.muon_stand_alone.push_back(flags.stand_alone);
}

inline void store_trigger(Event &event, const TriggerObject &object) {
  event.trigger_muon.push_back(event.muon_track.size() - 1);
  event.trigger_paths.push_back(object.paths);
  event.trigger_pt.push_back(object.pt);
  event.trigger_eta.push_back(object.eta);
  event.trigger_phi.push_back(object.phi);
}

// The paths that were fired, one element for each muon and path.
inline RVecI fired_paths(const RVecUnsigned &masks, int paths) {
  RVecI out;
  for (const unsigned mask : masks)
    for (int path = 0; path < paths; ++path)
      if ((mask >> path) & 1u)
        out.push_back(path);
  return out;
}

inline void store_generated(Event &event, const std::vector<Generated> &list) {
  for (const Generated &particle : list) {
    event.gen_pdg.push_back(particle.pdg);
    event.gen_mother.push_back(particle.mother);
    event.gen_mother_pdg.push_back(particle.mother_pdg);
    event.gen_px.push_back(particle.momentum.px);
    event.gen_py.push_back(particle.momentum.py);
    event.gen_pz.push_back(particle.momentum.pz);
    event.gen_mass.push_back(particle.mass);
    event.gen_vx.push_back(particle.origin.x);
    event.gen_vy.push_back(particle.origin.y);
    event.gen_vz.push_back(particle.origin.z);
  }
}

// The primary vertex, with an error that falls with the number of tracks from it.
inline void store_primary_vertex(Event &event, const Point &truth, int tracks, Random &random) {
  const double root = std::sqrt(std::max(tracks, 1));
  const double xy = std::hypot(PV_ERROR_FLOOR_XY, PV_ERROR_PER_TRACK_XY / root);
  const double z = std::hypot(PV_ERROR_FLOOR_Z, PV_ERROR_PER_TRACK_Z / root);
  event.pv_x.push_back(truth.x + xy * random.gauss());
  event.pv_y.push_back(truth.y + xy * random.gauss());
  event.pv_z.push_back(truth.z + z * random.gauss());
  for (const double element : {xy * xy, 0.0, xy * xy, 0.0, 0.0, z * z})
    event.pv_cov.push_back(element);
  event.pv_prob.push_back(random.uniform());
}

// Muons first: most tries end there. Those from `first` on.
inline bool measure_muons(Event &event, const Collision &collision, std::size_t first, const Point &beam_spot,
                          Random &random) {
  bool fired = false;
  for (std::size_t i = first; i < collision.particles.size(); ++i) {
    const Particle &particle = collision.particles[i];
    if (std::abs(particle.pdg) != 13 || !is_measured(particle, random))
      continue;
    const Track track = measure(particle, beam_spot, random);
    const MuonFlags flags = identify_muon(particle, random);
    store_track(event, track, particle.decay);
    if (!flags.muon)
      continue;
    store_muon(event, flags);
    const TriggerObject object = fire_trigger(track, std::hypot(particle.origin.x, particle.origin.y), random);
    if (object.paths == 0)
      continue;
    store_trigger(event, object);
    fired = true;
  }
  return fired;
}

// A particle other than a muon that leaves a track, and what the muon system takes it for.
struct Seen {
  const Particle *particle;
  MuonFlags flags;
};

inline std::vector<Seen> find_others(const Collision &collision, Random &random) {
  std::vector<Seen> out;
  for (const Particle &particle : collision.particles)
    if (std::abs(particle.pdg) != 13 && is_measured(particle, random))
      out.push_back({&particle, identify_muon(particle, random)});
  return out;
}

inline void measure_others(Event &event, const Collision &collision, const std::vector<Seen> &seen,
                           const Point &beam_spot, Random &random) {
  int primary = 0;
  for (const Seen &one : seen) {
    store_track(event, measure(*one.particle, beam_spot, random), one.particle->decay);
    if (one.flags.muon)
      store_muon(event, one.flags);
    if (one.particle->origin.x == collision.point.x && one.particle->origin.y == collision.point.y)
      ++primary;
  }
  store_primary_vertex(event, collision.point, primary, random);
  store_generated(event, collision.generated);
}

inline bool can_fire(const Collision &collision) {
  for (const Particle &particle : collision.particles)
    if (std::abs(particle.pdg) == 13 && particle.momentum.pt() > GENERATOR_MUON_PT &&
        std::abs(particle.momentum.eta()) < GENERATOR_MUON_ETA &&
        std::hypot(particle.origin.x, particle.origin.y) < MAX_DECAY_RADIUS)
      return true;
  return false;
}

// A muon that can fire, and all decays inside the tracker.
inline bool can_fire_inside(const Collision &collision) {
  for (const Generated &particle : collision.generated)
    if (std::hypot(particle.origin.x, particle.origin.y) > MAX_DECAY_RADIUS)
      return false;
  return can_fire(collision);
}

// What an entry is asked for besides its process.
struct Request {
  ULong64_t seed = 0;
  double per_try = 1.0;   // how many decays of the full spectrum one draw from the pool stands for
  unsigned min_muons = 1; // identified muons, fakes included
};

// Generate until a trigger fires and enough muons are identified.
// The rest of the event comes after the trigger: only the process' own muons fire it.
template <typename Generator, typename Useful, typename Rest>
Event simulate(Random &random, const Request &request, Generator &&generate, Useful &&useful, Rest &&add_rest) {
  const Point beam_spot = {BEAM_SPOT_X, BEAM_SPOT_Y, BEAM_SPOT_Z};
  Event event;
  for (int attempt = 1; attempt <= MAX_TRIES && !event.triggered; ++attempt) {
    Collision collision = generate(random);
    event.generated_decays = attempt * request.per_try;
    Event fresh;
    if (!useful(collision) || !measure_muons(fresh, collision, 0, beam_spot, random))
      continue;
    const std::size_t own = collision.particles.size();
    add_rest(collision, random);
    measure_muons(fresh, collision, own, beam_spot, random);
    const std::vector<Seen> others = find_others(collision, random);
    const auto fakes = std::count_if(others.begin(), others.end(), [](const Seen &one) { return one.flags.muon; });
    if (fresh.muon_track.size() + fakes < request.min_muons)
      continue;
    measure_others(fresh, collision, others, beam_spot, random);
    fresh.generated_decays = event.generated_decays;
    fresh.pool_event = collision.pool_event;
    fresh.pool_decays.assign(collision.pool_decays.begin(), collision.pool_decays.end());
    fresh.triggered = true;
    event = std::move(fresh);
  }
  event.bs_x = beam_spot.x;
  event.bs_y = beam_spot.y;
  event.bs_z = beam_spot.z;
  event.bs_width_x = event.bs_width_y = BEAM_SPOT_WIDTH;
  event.bs_width_z = BEAM_SPOT_LENGTH;
  return event;
}

// Numbers of one process, mass and lifetime are not those of another of the same seed.
inline std::uint64_t stream(std::uint64_t seed, std::uint64_t process, double mass = 0.0, double ctau = 0.0) {
  const auto steps = [](double x) { return static_cast<std::uint64_t>(std::llround(1e6 * x)); };
  return mix(seed + mix(process + mix(steps(mass) + mix(steps(ctau)))));
}

inline Event simulate_signal(ULong64_t entry, const Request &request, double mass, double ctau) {
  Random random(stream(request.seed, 1, mass, ctau), entry);
  const auto generate = [=](Random &r) { return generate_signal(mass, ctau, r); };
  return simulate(random, request, generate, can_fire_inside, add_companions);
}

inline Event simulate_control(ULong64_t entry, const Request &request) {
  Random random(stream(request.seed, 2), entry);
  return simulate(random, request, generate_control, can_fire_inside, add_companions);
}

inline Event simulate_background(ULong64_t entry, const Request &request) {
  Random random(stream(request.seed, 3), entry);
  return simulate(random, request, generate_background, can_fire, add_fragmentation);
}

} // namespace hnl

#endif
