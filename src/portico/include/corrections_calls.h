// The registration of corrections and tables as functions for ctypes.
#ifndef PORTICO_CORRECTIONS_CALLS_H
#define PORTICO_CORRECTIONS_CALLS_H

#include "calls.h"
#include "corrections.h"

#include <cstddef>
#include <cstdint>

namespace portico {
namespace calls {

inline bool register_correction(const char *key, const char *json, const char *name, bool compound, const char *title,
                                Texts inputs, std::size_t n, const char *covers) {
  return succeeds([&] { corrections().try_emplace(key, json, name, compound, title, list(inputs, n), covers); });
}
inline bool register_table(const char *key, const std::uint64_t *blocks, const std::uint64_t *events,
                           const double *values, std::size_t size, const char *title, bool refuses, double missing) {
  return succeeds([&] { tables().try_emplace(key, blocks, events, values, size, title, refuses, missing); });
}

} // namespace calls

// The addresses of the functions, in the order of `portico.corrections.compiled`.
inline std::uintptr_t corrections_calls() {
  using namespace calls;
  static const void *const all[] = {address(words), address(register_correction), address(register_table)};
  return reinterpret_cast<std::uintptr_t>(all);
}

} // namespace portico

#endif
