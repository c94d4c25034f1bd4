// The choice of candidates in an event, and what a compiled choice calls: all that a changed cut has to include.
#ifndef PORTICO_CHOICES_H
#define PORTICO_CHOICES_H

#include <ROOT/RVec.hxx>

#include "cursor.h"
#include "shared.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace portico {

using ROOT::RVec;

// What the standard library lacks: the smaller and the larger of two numbers of different types, and `abs` of unsigned
// integers. The result is the exact one of the two numbers where a type can hold it.
template <typename A, typename B, bool Larger>
constexpr auto common() {
  using Common = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<Common>) // a float cannot hold every int
    return std::conditional_t<std::is_floating_point_v<A> && std::is_floating_point_v<B>, Common,
                              std::common_type_t<Common, double>>();
  else if constexpr (std::is_signed_v<A> == std::is_signed_v<B> || std::is_signed_v<Common> || Larger)
    return Common();
  else // the smaller one is never above the signed one
    return std::make_signed_t<Common>();
}
template <typename A, typename B>
constexpr bool is_less(A a, B b) {
  if constexpr (std::is_integral_v<A> && std::is_integral_v<B> && std::is_signed_v<A> != std::is_signed_v<B>) {
    if constexpr (std::is_signed_v<A>)
      return a < 0 || std::make_unsigned_t<A>(a) < b;
    else
      return b >= 0 && a < std::make_unsigned_t<B>(b);
  } else {
    using Common = decltype(common<A, B, true>());
    return Common(a) < Common(b);
  }
}
template <typename A, typename B>
constexpr bool is_mixed = !std::is_same_v<A, B> && std::is_arithmetic_v<A> && std::is_arithmetic_v<B>;
template <typename A, typename B, typename = std::enable_if_t<is_mixed<A, B>>>
constexpr auto min(A a, B b) {
  using Common = decltype(common<A, B, false>());
  return is_less(b, a) ? Common(b) : Common(a);
}
template <typename A, typename B, typename = std::enable_if_t<is_mixed<A, B>>>
constexpr auto max(A a, B b) {
  using Common = decltype(common<A, B, true>());
  return is_less(a, b) ? Common(b) : Common(a);
}
template <typename T, typename = std::enable_if_t<std::is_unsigned_v<T>>>
constexpr T abs(T value) {
  return value;
}

// Methods that are not inlined make the choice of a selection, which calls them, quick to compile.
#define PORTICO_CALLED __attribute__((noinline))

// The best candidate so far by one rule in one selection.
struct Best {
  int index = -1;
  bool preferred = false;
  double score = -std::numeric_limits<double>::infinity();

  PORTICO_CALLED void offer(int candidate, bool prefer, double value) {
    const bool higher = value > score || (std::isnan(score) && !std::isnan(value));
    if (index < 0 || prefer > preferred || (prefer == preferred && higher)) {
      index = candidate;
      preferred = prefer;
      score = value;
    }
  }
};

// The choices of a selection in one event. Rules and selections are numbered; selection 0 is the inclusive one.
struct Choices {
  std::size_t rules = 0, selections = 0;
  std::size_t candidates = 0; // in the event
  std::vector<int> depth;    // per selection: number of cuts passed by the candidate that passes most
  std::vector<int> passing;  // per selection: number of candidates that pass all cuts
  std::vector<Best> best;    // per rule and selection
  std::vector<char> matched; // per candidate; empty without matching
  // One choice per rule among the candidates that are in any category, and the category of each candidate: the first
  // that it is in, 0 for none.
  std::vector<Best> shared;
  std::vector<int> category;

  PORTICO_CALLED void reset(std::size_t r, std::size_t s, std::size_t all) {
    rules = r;
    selections = s;
    candidates = all;
    depth.assign(s, 0);
    passing.assign(s, 0);
    best.assign(r * s, Best());
    matched.clear();
  }
  PORTICO_CALLED void match() { matched.assign(candidates, 0); }
  PORTICO_CALLED void share() {
    shared.assign(rules, Best());
    category.assign(candidates, 0);
  }
  PORTICO_CALLED void reach(std::size_t s, int cuts) {
    if (cuts > depth[s])
      depth[s] = cuts;
  }
  PORTICO_CALLED void reach_all(int cuts) {
    for (auto &d : depth)
      if (cuts > d)
        d = cuts;
  }
  PORTICO_CALLED void put(std::size_t candidate, int s) {
    if (category[candidate] == 0)
      category[candidate] = s;
  }
  PORTICO_CALLED void pass(std::size_t s) { ++passing[s]; }
  PORTICO_CALLED void offer(std::size_t rule, std::size_t s, int candidate, bool prefer, double score) {
    best[rule * selections + s].offer(candidate, prefer, score);
  }
  PORTICO_CALLED void offer_shared(std::size_t rule, int candidate, bool prefer, double score) {
    shared[rule].offer(candidate, prefer, score);
  }
  const Best &of(std::size_t rule, std::size_t s) const { return best[rule * selections + s]; }
  bool is_matched(int candidate) const { return matched.empty() || matched[candidate]; }
  bool has_choice(std::size_t rule, std::size_t s) const { return of(rule, s).index >= 0 && is_matched(of(rule, s).index); }

  // Make the shared choice that of the inclusive selection, and of the category that the chosen candidate is in.
  PORTICO_CALLED void take(bool inclusive, bool of_category) {
    for (std::size_t rule = 0; rule < rules; ++rule) {
      const Best &chosen = shared[rule];
      if (chosen.index >= 0 && inclusive)
        best[rule * selections] = chosen;
      if (chosen.index >= 0 && of_category)
        best[rule * selections + category[chosen.index]] = chosen;
    }
  }

  RVec<int> selections_with_choice(std::size_t rule) const {
    RVec<int> result;
    for (std::size_t s = 0; s < selections; ++s)
      if (has_choice(rule, s))
        result.push_back(static_cast<int>(s));
    return result;
  }
  bool any_choice() const {
    for (std::size_t b = 0; b < best.size(); ++b)
      if (best[b].index >= 0 && is_matched(best[b].index))
        return true;
    return false;
  }
};

// How many cuts the best candidate passes that was looked at.
struct Depth {
  int depth = 0;
  void reach_all(int cuts) { depth = cuts > depth ? cuts : depth; }
};

enum class Quantity { selections, candidates, multiplicities };
struct ChosenBy {
  std::size_t rule;
  Quantity quantity;
  RVec<int> operator()(const Choices &choices) const {
    RVec<int> result = choices.selections_with_choice(rule);
    for (int &s : result) {
      if (quantity == Quantity::candidates)
        s = choices.of(rule, s).index;
      else if (quantity == Quantity::multiplicities)
        s = choices.passing[s];
    }
    return result;
  }
};
PORTICO_CALLED inline void require_size(std::size_t found, std::size_t expected, const char *column) {
  if (found != expected)
    throw std::runtime_error(std::string("column ") + column + " has " + std::to_string(found) +
                             " elements, but other candidate columns have " + std::to_string(expected) +
                             ": all must have the same length");
}

// The value of a shape in the type of its column. A column of integers gets integers, and only such as it can hold. That
// is no static_assert, after whose failure cling compiles RVec wrongly in the same process.
template <typename T, typename V>
T shaped(V value, const char *column) {
  const T result = static_cast<T>(value);
  if constexpr (std::is_integral_v<T> && !std::is_integral_v<V>)
    throw std::runtime_error(std::string("a shape of column ") + column +
                             ", which has integers, must give integers; convert its value, as in int(...)");
  else if constexpr (std::is_integral_v<T>)
    if (static_cast<V>(result) != value || (result < 0) != (value < 0))
      throw std::runtime_error(std::string("a shape changes column ") + column + " to " + std::to_string(value) +
                               ", which its type cannot hold");
  return result;
}

// A column's value of each chosen candidate.
template <typename T>
struct Pick {
  RVec<T> operator()(const RVec<T> &column, const RVec<int> &chosen) const {
    RVec<T> result;
    result.reserve(chosen.size());
    for (const int index : chosen)
      result.push_back(column.at(index));
    return result;
  }
};

// A run, luminosity block or event number: a negative int32 is the bit pattern of a number above 2^31.
template <typename To, typename From>
struct Unsigned {
  To operator()(const From &value) const {
    if constexpr (std::is_integral_v<From>)
      return static_cast<To>(static_cast<std::make_unsigned_t<From>>(value));
    else
      return static_cast<To>(value);
  }
};

// The columns of an event, in the order of the kernel's; those that are not read are null.
using Columns = const void *const *;

// How a compiled selection chooses; `parameters` are those of the sample, of a type that it knows, and `numbers` those
// that its cuts compare with.
struct Choice {
  void (*choose)(const void *parameters, const double *numbers, Columns columns, Choices &to);
  // Writes for each entry how many cuts the best of its candidates passes, or -1 if `choose` has to say; null if it
  // always has to.
  void (*scan)(const void *parameters, const double *numbers, Cursor *const *cursors, std::uint64_t first,
               std::uint64_t last, std::int16_t *depth);
};

// The choices that were compiled in this process, by their namespaces: each enters itself.
#ifdef PORTICO_LOADED_selection_calls
std::map<std::string, Choice> &compiled_choices();
#else
PORTICO_SHARED std::map<std::string, Choice> &compiled_choices() {
  static std::map<std::string, Choice> all;
  return all;
}
#endif
inline bool enter(const char *name, Choice choice) { return compiled_choices().insert_or_assign(name, choice).second; }

} // namespace portico

#endif
