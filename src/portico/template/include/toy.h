// Random numbers that are a function of the event alone: the same whatever runs the event, and where.
#pragma once

#include <cmath>
#include <cstdint>

namespace @NAME@ {

// SplitMix64: Steele, Lea, Flood, Fast splittable pseudorandom number generators (2014).
inline std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// Flat in (0, 1); each `stream` of an event is independent of the others.
inline double uniform(std::uint64_t seed, std::uint64_t entry, std::uint64_t stream) {
  return ((mix(mix(mix(seed) ^ entry) ^ stream) >> 11) + 0.5) / 9007199254740992.0;
}

// Of mean 0 and standard deviation 1, by Box and Muller; uses `stream` and `stream + 1`.
inline double normal(std::uint64_t seed, std::uint64_t entry, std::uint64_t stream) {
  const double radius = std::sqrt(-2.0 * std::log(uniform(seed, entry, stream)));
  return radius * std::cos(6.283185307179586 * uniform(seed, entry, stream + 1));
}

// A resonance on top of nothing.
inline float signal_mass(double mean, double width, std::uint64_t seed, std::uint64_t entry) {
  return static_cast<float>(mean + width * normal(seed, entry, 0));
}

// A falling spectrum from 80 GeV on.
inline float background_mass(std::uint64_t seed, std::uint64_t entry) {
  return static_cast<float>(80.0 - 40.0 * std::log(uniform(seed, entry, 0)));
}

// Transverse momentum in GeV: falls exponentially from 10 GeV on with the given mean above it.
inline float momentum(double mean, std::uint64_t seed, std::uint64_t entry) {
  return static_cast<float>(10.0 - mean * std::log(uniform(seed, entry, 2)));
}

}  // namespace @NAME@
