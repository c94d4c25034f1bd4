// Weights that turn decays generated with one lifetime or several into those of another.
#ifndef HNL_LIFETIME_H
#define HNL_LIFETIME_H

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <stdexcept>

namespace hnl {

// A sample of one lifetime: proper decay length in mm, and how many decays were generated (events / efficiency).
struct GeneratedLifetime {
  double ctau, decays;
};

// Weight, besides its own sample's normalisation, of a decay after the proper length t (mm), so that all samples
// together show `decays` times the fraction of decays of lifetime `ctau` that are accepted:
//   decays * [exp(-t/ctau) / ctau] / sum_i [decays_i exp(-t/ctau_i) / ctau_i],
// which for one sample is (ctau_1/ctau) exp[t (1/ctau_1 - 1/ctau)].
inline double lifetime_weight(double t, double ctau, double decays, std::initializer_list<GeneratedLifetime> samples) {
  if (!(t >= 0.0))
    throw std::runtime_error("lifetime_weight: the event has no generated N");
  double longest = ctau;
  for (const GeneratedLifetime &sample : samples)
    longest = std::max(longest, sample.ctau);
  // Every exponent relative to the longest lifetime: none of them underflows.
  const auto density = [t, longest](double tau) { return std::exp(t / longest - t / tau) / tau; };
  double generated = 0.0;
  for (const GeneratedLifetime &sample : samples)
    generated += sample.decays * density(sample.ctau);
  return decays * density(ctau) / generated;
}

} // namespace hnl

#endif
