// Parts of a compiled selection: the choice of candidates, histograms with one instance per selection, cutflows.
#ifndef PORTICO_SELECTION_H
#define PORTICO_SELECTION_H

#include <ROOT/RVec.hxx>
#include <TH1D.h>

#include "cursor.h"
#include "rows.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
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
    value = std::isnan(value) ? -std::numeric_limits<double>::infinity() : value;
    if (index < 0 || prefer > preferred || (prefer == preferred && value > score)) {
      index = candidate;
      preferred = prefer;
      score = value;
    }
  }
};

// The choices of a selection in one event. Rules and selections are numbered; selection 0 is the inclusive one.
struct Choices {
  std::size_t rules = 0, selections = 0;
  std::vector<int> depth;    // per selection: number of cuts passed by the candidate that passes most
  std::vector<int> passing;  // per selection: number of candidates that pass all cuts
  std::vector<Best> best;    // per rule and selection
  std::vector<char> matched; // per candidate; empty without matching
  // One choice per rule among the candidates that are in any category, and the category of each candidate: the first
  // that it is in, 0 for none.
  std::vector<Best> shared;
  std::vector<int> category;

  PORTICO_CALLED void reset(std::size_t r, std::size_t s) {
    rules = r;
    selections = s;
    depth.assign(s, 0);
    passing.assign(s, 0);
    best.assign(r * s, Best());
    matched.clear();
  }
  PORTICO_CALLED void match(std::size_t candidates) { matched.assign(candidates, 0); }
  PORTICO_CALLED void share(std::size_t candidates) {
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

// One histogram per variable and selection.
using Histograms = std::vector<TH1D>;

inline void add(Histograms &to, const Histograms &from) {
  for (std::size_t i = 0; i < from.size(); ++i)
    to[i].Add(&from[i]);
}

// Fill the histograms of each selection that made a choice. `values` has the values of all variables for the first
// choice, then for the next.
inline void fill(Histograms &histograms, const RVec<double> &values, const RVec<double> &weight,
                 const RVec<int> &selection) {
  if (selection.empty()) // only another rule made a choice
    return;
  const std::size_t variables = values.size() / selection.size(), selections = histograms.size() / variables;
  for (std::size_t k = 0; k < selection.size(); ++k)
    for (std::size_t v = 0; v < variables; ++v)
      histograms[v * selections + selection[k]].Fill(values[k * variables + v], weight[k]);
}

// Histograms of the choices: those without variations, and a set for each variation.
struct Filled {
  Histograms plain;
  std::vector<std::string> tags;
  std::vector<Histograms> sets;

  Filled(const Histograms &p, const Histograms &varied, std::vector<std::string> t)
      : plain(p), tags(std::move(t)), sets(tags.size(), varied) {}
};
inline void add(Filled &to, const Filled &from) {
  add(to.plain, from.plain);
  for (std::size_t t = 0; t < to.sets.size(); ++t)
    add(to.sets[t], from.sets[t]);
}

// Number of events, sum of weights and sum of squared weights before all cuts and after each.
struct Flow {
  std::string name;
  std::vector<std::string> cuts;
  std::vector<double> events, weights, squares; // one element more than cuts

  Flow(std::string n, std::vector<std::string> c)
      : name(std::move(n)), cuts(std::move(c)), events(cuts.size() + 1), weights(events.size()),
        squares(events.size()) {}

  void count(std::size_t cut, double weight) {
    events[cut] += 1;
    weights[cut] += weight;
    squares[cut] += weight * weight;
  }
};

struct Counts {
  std::vector<Flow> flows; // per selection
  Histograms histograms;   // per selection the number of candidates; per rule the choices, and the correct ones
};

inline void add(Counts &to, const Counts &from) {
  for (std::size_t s = 0; s < from.flows.size(); ++s)
    for (std::size_t cut = 0; cut < from.flows[s].events.size(); ++cut) {
      to.flows[s].events[cut] += from.flows[s].events[cut];
      to.flows[s].weights[cut] += from.flows[s].weights[cut];
      to.flows[s].squares[cut] += from.flows[s].squares[cut];
    }
  add(to.histograms, from.histograms);
}
// Count an event in the cutflows, and the choices of each rule.
inline void count(Counts &counts, const Choices &choices, double weight) {
  const std::size_t n = choices.selections;
  for (std::size_t s = 0; s < n; ++s) {
    Flow &flow = counts.flows[s];
    for (int cut = 0; cut <= choices.depth[s]; ++cut)
      flow.count(cut, weight);
    if (choices.has_choice(0, s)) {
      flow.count(flow.cuts.size(), weight);
      counts.histograms[s].Fill(choices.passing[s], weight);
    }
    for (std::size_t rule = 0; rule < choices.rules; ++rule) {
      const int index = choices.of(rule, s).index;
      if (index < 0)
        continue;
      counts.histograms[n + 2 * rule].Fill(s, weight);
      if (!choices.matched.empty() && choices.matched[index])
        counts.histograms[n + 2 * rule + 1].Fill(s, weight);
    }
  }
}

inline TH1D labelled(const std::string &name, const std::string &title, const std::vector<std::string> &labels) {
  const int bins = static_cast<int>(labels.size());
  TH1D histogram(name.c_str(), title.c_str(), bins, 0, bins);
  histogram.SetDirectory(nullptr);
  histogram.Sumw2();
  for (int bin = 1; bin <= bins; ++bin)
    histogram.GetXaxis()->SetBinLabel(bin, labels[bin - 1].c_str());
  return histogram;
}

inline Counts counts(const std::vector<std::string> &selections, const std::vector<std::string> &rules,
                     const std::vector<std::vector<std::string>> &cuts) {
  Counts result;
  for (std::size_t s = 0; s < selections.size(); ++s) {
    result.flows.emplace_back("cutflow_" + selections[s], cuts.at(s));
    TH1D candidates(("candidates_" + selections[s]).c_str(), ";candidates that pass;weighted events", 30, 0, 30);
    candidates.SetDirectory(nullptr);
    candidates.Sumw2();
    result.histograms.push_back(candidates);
  }
  for (const auto &rule : rules) {
    result.histograms.push_back(labelled("choices_" + rule, ";;weighted events with a choice", selections));
    const std::string title = ";;weighted events with a choice that is the generated one";
    result.histograms.push_back(labelled("correct_" + rule, title, selections));
  }
  return result;
}

// What a selection fills, empty: the nominal choice and the varied shapes.
struct Empty {
  Counts counts;
  Filled nominal, shapes;
};

// Makes it, in the order of the functions.
class EmptySelection {
  std::vector<std::string> fSelections;
  Counts fCounts;
  Histograms fPlain, fVaried;

public:
  EmptySelection(const std::vector<std::string> &selections, const std::vector<std::string> &rules,
                 const std::vector<std::vector<std::string>> &cuts)
      : fSelections(selections), fCounts(portico::counts(selections, rules, cuts)) {}
  // `ends` are the edges of all bins, or the two ends of the axis if `bins` gives the number of equal bins.
  void histogram(bool varied, const std::string &name, const std::string &title, int bins,
                 const std::vector<double> &ends) {
    auto &histograms = varied ? fVaried : fPlain;
    for (const auto &selection : fSelections) {
      const std::string full = selection + "_" + name;
      if (bins > 0)
        histograms.emplace_back(full.c_str(), title.c_str(), bins, ends.front(), ends.back());
      else
        histograms.emplace_back(full.c_str(), title.c_str(), static_cast<int>(ends.size()) - 1, ends.data());
      histograms.back().SetDirectory(nullptr);
      histograms.back().Sumw2();
    }
  }
  Empty finish(const std::vector<std::string> &nominal, const std::vector<std::string> &shapes) const {
    return {fCounts, Filled(fPlain, fVaried, nominal), Filled({}, fVaried, shapes)};
  }
};

// The columns of an event, in the order of the kernel's; those that are not read are null.
using Columns = const void *const *;

// How a compiled selection chooses; `parameters` are those of the sample, of a type that it knows.
struct Choice {
  void (*choose)(const void *parameters, Columns columns, Choices &to);
  // Writes for each entry how many cuts the best of its candidates passes, or -1 if `choose` has to say; null if it
  // always has to.
  void (*scan)(const void *parameters, Cursor *const *cursors, std::uint64_t first, std::uint64_t last,
               std::int16_t *depth);
};

// A compiled selection.
class Kernel {
public:
  virtual ~Kernel() = default;
  virtual void choose(Columns columns, Choices &to) const = 0;
  virtual double weigh(Columns columns) const = 0; // without the weights of candidates
  virtual void fill(Filled &to, const Choices &choices, Columns columns) = 0;
  virtual void fill_shapes(Filled &to, Columns columns) = 0; // of every varied shape
  virtual void describe(Rows &rows) const = 0; // name the variables that `fill` sets

  bool can_scan() const { return portico_choice.scan; }
  void scan(Cursor *const *cursors, std::uint64_t first, std::uint64_t last, std::int16_t *depth) const {
    portico_choice.scan(fParameters, cursors, first, last, depth);
  }

protected:
  Choice portico_choice;
  const void *fParameters;
  Kernel(const Choice &choice, const void *parameters) : portico_choice(choice), fParameters(parameters) {}
};

// What was compiled in this process, by its namespace: each enters itself.
using NewKernel = std::shared_ptr<Kernel> (*)(double normalisation, const std::vector<double> &parameters,
                                              const Choice &choice);
inline std::map<std::string, Choice> &compiled_choices() {
  static std::map<std::string, Choice> all;
  return all;
}
inline std::map<std::string, NewKernel> &compiled_kernels() {
  static std::map<std::string, NewKernel> all;
  return all;
}
inline bool enter(const char *name, Choice choice) { return compiled_choices().emplace(name, choice).second; }
inline bool enter(const char *name, NewKernel kernel) { return compiled_kernels().emplace(name, kernel).second; }
inline std::shared_ptr<Kernel> make_kernel(const std::string &kernel, const std::string &choice, double normalisation,
                                           const std::vector<double> &parameters) {
  return compiled_kernels().at(kernel)(normalisation, parameters, compiled_choices().at(choice));
}

} // namespace portico

#endif
