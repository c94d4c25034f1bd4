// The simulation of one entry: generated until it passes, measured, and recorded.
#ifndef HNL_EVENT_H
#define HNL_EVENT_H

#include "pileup.h"

namespace hnl {

// Muons first: most tries end there. Those from `first` on.
inline bool measure_muons(Event &event, PrimaryVertex &vertex, const Collision &collision, std::size_t first,
                          const Point &beam_spot, Random &random) {
  bool fired = false;
  for (std::size_t i = first; i < collision.particles.size(); ++i) {
    const Particle &particle = collision.particles[i];
    if (std::abs(particle.pdg) != 13 || !is_measured(particle, random))
      continue;
    const Track track = measure(particle, beam_spot, random);
    const MuonFlags flags = identify_muon(particle, random);
    store_track(event, track, particle.decay);
    vertex.add(track);
    if (flags.muon && measure_muon(event, particle, track, flags, random))
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

inline void measure_others(Event &event, PrimaryVertex &vertex, const Collision &collision,
                           const std::vector<Seen> &seen, const Point &beam_spot, Random &random) {
  for (const Seen &one : seen) {
    const Track track = measure(*one.particle, beam_spot, random);
    store_track(event, track, one.particle->decay);
    vertex.add(track);
    if (one.flags.muon)
      store_muon(event, one.flags);
    if (one.particle->origin.x == collision.point.x && one.particle->origin.y == collision.point.y)
      ++vertex.tracks;
  }
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

// Generate until a trigger fires and enough muons are identified.
// The rest of the event comes after the trigger: only the process' own muons fire it. Pile-up has random numbers of its
// own, so that the hard collision is the same with and without it, unless its muons are needed.
template <typename Generator, typename Useful, typename Rest>
Event simulate(Random &random, const Request &request, Generator &&generate, Useful &&useful, Rest &&add_rest) {
  const Point beam_spot = {BEAM_SPOT_X, BEAM_SPOT_Y, BEAM_SPOT_Z};
  Random pileup_random = random.fork();
  Event event;
  for (int attempt = 1; attempt <= MAX_TRIES && !event.triggered; ++attempt) {
    Collision collision = generate(random);
    event.generated_decays = attempt * request.per_try;
    Event fresh;
    PrimaryVertex hard{collision.point};
    if (!useful(collision) || !measure_muons(fresh, hard, collision, 0, beam_spot, random))
      continue;
    const std::size_t own = collision.particles.size();
    add_rest(collision, random);
    measure_muons(fresh, hard, collision, own, beam_spot, random);
    const std::vector<Seen> others = find_others(collision, random);
    const auto fakes = std::count_if(others.begin(), others.end(), [](const Seen &one) { return one.flags.muon; });
    const Pileup pileup = draw_pileup(request.pileup, pileup_random);
    if (fresh.muon_track.size() + fakes + pileup.muons < request.min_muons)
      continue;
    measure_others(fresh, hard, collision, others, beam_spot, random);
    const std::vector<PrimaryVertex> vertices = measure_pileup(fresh, pileup, beam_spot, pileup_random);
    for (const PrimaryVertex &vertex : find_vertices(hard, vertices))
      store_vertex(fresh, vertex, random);
    store_generated(fresh, collision.generated);
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

} // namespace hnl

#endif
