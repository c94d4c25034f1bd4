#ifndef BENCH_MUONS_H
#define BENCH_MUONS_H
#include <ROOT/RVec.hxx>

#include <cmath>
#include <cstdint>

namespace bench {

inline std::uint64_t mix(std::uint64_t x) { // splitmix64
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

inline double uniform(ULong64_t entry, int stream) {
  return (mix(mix(entry) + 0x1000003ULL * static_cast<std::uint64_t>(stream)) >> 11) * 0x1.0p-53;
}

inline int count(ULong64_t entry) { return 1 + static_cast<int>(4 * uniform(entry, 0)); }

inline ROOT::RVecF uniforms(ULong64_t entry, int n, int stream, double low, double high) {
  ROOT::RVecF values(n);
  for (int i = 0; i < n; ++i) values[i] = low + (high - low) * uniform(entry, 100 * stream + i + 1);
  return values;
}

inline ROOT::RVecF momenta(ULong64_t entry, int n) {
  ROOT::RVecF values = uniforms(entry, n, 1, 0, 1);
  for (auto &v : values) v = 3 - 8 * std::log(1 - v);
  return values;
}

inline ROOT::RVecI charges(ULong64_t entry, int n) {
  ROOT::RVecI values(n);
  for (int i = 0; i < n; ++i) values[i] = uniform(entry, 400 + i) < 0.5 ? -1 : 1;
  return values;
}

} // namespace bench
#endif
