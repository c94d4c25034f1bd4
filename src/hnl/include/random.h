// Random numbers that depend on the seed and the entry only, never on what was drawn for other entries.
#ifndef HNL_RANDOM_H
#define HNL_RANDOM_H

#include <cmath>
#include <cstdint>

namespace hnl {

// SplitMix64 finaliser (Steele, Lea and Flood, OOPSLA 2014): a bijection of 64 bits that passes BigCrush as a hash.
inline std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

// The n-th number of (seed, entry) is a hash of the key and n. Own transformations: those of <random> differ
// between standard libraries.
class Random {
public:
  Random(std::uint64_t seed, std::uint64_t entry) : key_(mix(mix(seed) ^ mix(~entry))) {}

  // Another sequence of the same seed and entry.
  Random fork() const {
    Random out = *this;
    out.key_ = mix(key_ ^ 0xD1B54A32D192ED03ULL);
    out.counter_ = 0;
    out.has_spare_ = false;
    return out;
  }

  // Uniform in (0, 1), never 0 nor 1.
  double uniform() { return (static_cast<double>(mix(key_ + counter_++) >> 12) + 0.5) * 0x1p-52; }

  double uniform(double low, double high) { return low + (high - low) * uniform(); }

  bool accept(double probability) { return uniform() < probability; }

  double exponential(double mean) { return -mean * std::log(uniform()); }

  // Gamma distribution of a shape of at least 1 (Marsaglia and Tsang, ACM Trans. Math. Softw. 26 (2000) 363).
  double gamma(double shape, double scale) {
    const double d = shape - 1.0 / 3.0, c = 1.0 / std::sqrt(9.0 * d);
    while (true) {
      const double x = gauss(), root = 1.0 + c * x, v = root * root * root;
      if (v > 0.0 && std::log(uniform()) < 0.5 * x * x + d - d * v + d * std::log(v))
        return d * v * scale;
    }
  }

  // Poisson distribution by products of uniform numbers (Knuth); the mean must be far below 700.
  int poisson(double mean) {
    const double limit = std::exp(-mean);
    int count = -1;
    for (double product = 1.0; product > limit; ++count)
      product *= uniform();
    return count;
  }

  // Unit Gaussian by Box and Muller, both numbers used.
  double gauss() {
    if (has_spare_) {
      has_spare_ = false;
      return spare_;
    }
    const double radius = std::sqrt(-2.0 * std::log(uniform()));
    const double angle = 6.283185307179586 * uniform();
    spare_ = radius * std::sin(angle);
    has_spare_ = true;
    return radius * std::cos(angle);
  }

private:
  std::uint64_t key_;
  std::uint64_t counter_ = 0;
  double spare_ = 0.0;
  bool has_spare_ = false;
};

} // namespace hnl

#endif
