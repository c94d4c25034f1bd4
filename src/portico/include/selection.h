// What a compiled selection is made of: the choice of candidates, and histograms with one instance per selection.
#ifndef PORTICO_SELECTION_H
#define PORTICO_SELECTION_H

#include <ROOT/RDF/RActionImpl.hxx>
#include <ROOT/RDataFrame.hxx>
#include <ROOT/RVec.hxx>
#include <TH1D.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace portico {

using ROOT::RVec;

// The best candidate so far by one rule in one selection.
struct Best {
  int index = -1;
  bool preferred = false;
  double score = -std::numeric_limits<double>::infinity();

  void offer(int candidate, bool prefer, double value) {
    value = std::isnan(value) ? -std::numeric_limits<double>::infinity() : value;
    if (index < 0 || prefer > preferred || (prefer == preferred && value > score)) {
      index = candidate;
      preferred = prefer;
      score = value;
    }
  }
};

// What a selection decides in one event. Rules and selections are numbered; selection 0 is the preselection alone.
struct Choices {
  std::size_t rules, selections;
  RVec<int> depth;               // per selection: cuts that the event passed, by the candidate that got furthest
  RVec<int> passing;             // per selection: candidates that pass all its cuts
  std::vector<Best> best;        // per rule and selection
  RVec<char> matched;            // per candidate; empty where nothing is matched

  Choices(std::size_t r = 0, std::size_t s = 0) : rules(r), selections(s), depth(s, 0), passing(s, 0), best(r * s) {}

  void reach(std::size_t s, int cuts) {
    if (cuts > depth[s])
      depth[s] = cuts;
  }
  void reach_all(int cuts) {
    for (auto &d : depth)
      if (cuts > d)
        d = cuts;
  }
  const Best &of(std::size_t rule, std::size_t s) const { return best[rule * selections + s]; }
  bool is_matched(int candidate) const { return matched.empty() || matched[candidate]; }
  bool made(std::size_t rule, std::size_t s) const { return of(rule, s).index >= 0 && is_matched(of(rule, s).index); }

  RVec<int> made_by(std::size_t rule) const {
    RVec<int> result;
    for (std::size_t s = 0; s < selections; ++s)
      if (made(rule, s))
        result.push_back(static_cast<int>(s));
    return result;
  }
  bool any_made() const {
    for (std::size_t b = 0; b < best.size(); ++b)
      if (best[b].index >= 0 && is_matched(best[b].index))
        return true;
    return false;
  }
};

// What the graph asks of the choices: few types, since each compiles anew with all that RDataFrame makes of it.
struct Reached {
  int cuts; // negative: a choice was made
  bool operator()(const Choices &choices) const { return cuts < 0 ? choices.any_made() : choices.depth[0] >= cuts; }
};
enum class Which { selections, candidates, multiplicities };
struct MadeBy {
  std::size_t rule;
  Which which;
  RVec<int> operator()(const Choices &choices) const {
    RVec<int> result = choices.made_by(rule);
    for (int &s : result) {
      if (which == Which::candidates)
        s = choices.of(rule, s).index;
      else if (which == Which::multiplicities)
        s = choices.passing[s];
    }
    return result;
  }
};
template <typename T>
struct Same {
  T operator()(const T &x) const { return x; }
};

inline void require_size(std::size_t found, std::size_t expected, const char *column) {
  if (found != expected)
    throw std::runtime_error(std::string("column ") + column + " has " + std::to_string(found) +
                             " elements where others have " + std::to_string(expected) +
                             ": candidate columns must be of one length");
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

template <typename T>
ROOT::RDF::RNode pick(ROOT::RDF::RNode node, const std::string &name, const std::string &column) {
  return node.Redefine(name, Pick<T>{}, {column, "chosen"});
}

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

// A list in a text, one item in a line. This and what follows takes literals as they are: each temporary object in the
// function that books a selection costs a millisecond to compile.
inline std::vector<std::string> words(const char *text) {
  std::vector<std::string> result;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    result.push_back(line);
  return result;
}

// One histogram per variable and selection.
using Histograms = std::vector<TH1D>;

// `ends` are the edges of bins, or the two ends of as many equal ones as `bins` says.
inline void prototypes(Histograms &histograms, const std::vector<std::string> &selections, const char *name,
                       const char *title, int bins, std::initializer_list<double> ends) {
  for (const auto &selection : selections) {
    const std::string full = selection + "_" + name;
    if (bins > 0)
      histograms.emplace_back(full.c_str(), title, bins, *ends.begin(), *(ends.end() - 1));
    else
      histograms.emplace_back(full.c_str(), title, static_cast<int>(ends.size()) - 1, ends.begin());
    histograms.back().SetDirectory(nullptr);
    histograms.back().Sumw2();
  }
}

inline void add(Histograms &to, const Histograms &from) {
  for (std::size_t i = 0; i < from.size(); ++i)
    to[i].Add(&from[i]);
}
inline void clear(Histograms &histograms) {
  for (auto &histogram : histograms)
    histogram.Reset();
}

// Common to the actions below: a copy of the result for each slot, added up at the end.
template <typename Derived, typename Result>
class Action : public ROOT::Detail::RDF::RActionImpl<Derived> {
public:
  using Result_t = Result;
  Action(std::shared_ptr<Result> result, unsigned slots) : fResult(std::move(result)), fSlots(slots, *fResult) {}
  Action(Action &&) = default;
  Action(const Action &) = delete;
  std::shared_ptr<Result> GetResultPtr() const { return fResult; }
  void Initialize() {}
  void InitTask(TTreeReader *, unsigned) {}
  void Finalize() {
    for (const auto &slot : fSlots)
      add(*fResult, slot);
  }
  std::string GetActionName() const { return "Selection"; }
  Derived MakeNew(void *result, std::string_view) {
    auto &fresh = *static_cast<std::shared_ptr<Result> *>(result);
    clear(*fresh);
    return Derived(fresh, fSlots.size());
  }

protected:
  std::shared_ptr<Result> fResult;
  std::vector<Result> fSlots;
};

// Fills the histograms of each selection that made a choice. `values` are all variables' values for the first of the
// choices, then for the next; one action for all of them, since what RDataFrame does for each costs more than to fill.
class Fill : public Action<Fill, Histograms> {
public:
  using Action<Fill, Histograms>::Action;
  void Exec(unsigned slot, const RVec<double> &values, const RVec<double> &weight, const RVec<int> &selection) {
    if (selection.empty()) // another rule made a choice
      return;
    auto &histograms = fSlots[slot];
    const std::size_t variables = values.size() / selection.size(), selections = histograms.size() / variables;
    for (std::size_t k = 0; k < selection.size(); ++k)
      for (std::size_t v = 0; v < variables; ++v)
        histograms[v * selections + selection[k]].Fill(values[k * variables + v], weight[k]);
  }
};

inline ROOT::RDF::RResultPtr<Histograms> fill(ROOT::RDF::RNode node, const char *values, const Histograms &prototypes) {
  auto result = std::make_shared<Histograms>(prototypes);
  return node.Book<RVec<double>, RVec<double>, RVec<int>>(Fill(result, node.GetNSlots()),
                                                          {values, "weight", "selection"});
}

// Events before all cuts and after each: their number, and the sums of their weights and of the squares of these.
struct Flow {
  std::string name;
  std::vector<std::string> cuts;
  std::vector<double> events, weights, squares; // one more than there are cuts

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
  Histograms histograms;   // per selection the number of candidates; per rule the choices, and the right ones
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
inline void clear(Counts &counts) {
  for (auto &flow : counts.flows)
    flow = Flow(flow.name, flow.cuts);
  clear(counts.histograms);
}

// What became of the events.
class Count : public Action<Count, Counts> {
public:
  using Action<Count, Counts>::Action;
  void Exec(unsigned slot, const Choices &choices, double weight) {
    auto &counts = fSlots[slot];
    const std::size_t n = choices.selections;
    for (std::size_t s = 0; s < n; ++s) {
      Flow &flow = counts.flows[s];
      for (int cut = 0; cut <= choices.depth[s]; ++cut)
        flow.count(cut, weight);
      if (choices.made(0, s)) {
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
};

inline TH1D labelled(const std::string &name, const std::string &title, const std::vector<std::string> &labels) {
  const int bins = static_cast<int>(labels.size());
  TH1D histogram(name.c_str(), title.c_str(), bins, 0, bins);
  histogram.SetDirectory(nullptr);
  histogram.Sumw2();
  for (int bin = 1; bin <= bins; ++bin)
    histogram.GetXaxis()->SetBinLabel(bin, labels[bin - 1].c_str());
  return histogram;
}

inline ROOT::RDF::RResultPtr<Counts> count(ROOT::RDF::RNode node, const std::vector<std::string> &selections,
                                           const std::vector<std::string> &rules,
                                           std::initializer_list<const char *> cuts) {
  auto result = std::make_shared<Counts>();
  for (std::size_t s = 0; s < selections.size(); ++s) {
    result->flows.emplace_back("cutflow_" + selections[s], words(*(cuts.begin() + s)));
    TH1D candidates(("candidates_" + selections[s]).c_str(), ";candidates that pass;weighted events", 30, 0, 30);
    candidates.SetDirectory(nullptr);
    candidates.Sumw2();
    result->histograms.push_back(candidates);
  }
  for (const auto &rule : rules) {
    result->histograms.push_back(labelled("choices_" + rule, ";;weighted events with a choice", selections));
    const std::string title = ";;weighted events with a choice that is the generated one";
    result->histograms.push_back(labelled("correct_" + rule, title, selections));
  }
  return node.Book<Choices, double>(Count(result, node.GetNSlots()), {"portico_choices", "portico_event_weight"});
}

// What a selection books: the node from which the tree is written, and handles. Histograms that vary are a map's.
struct Booked {
  ROOT::RDF::RNode tree;
  ROOT::RDF::RResultPtr<ROOT::RDF::RCutFlowReport> report;
  ROOT::RDF::RResultPtr<Counts> counts;
  std::vector<ROOT::RDF::RResultPtr<Histograms>> histograms;
  std::vector<ROOT::RDF::Experimental::RResultMap<Histograms>> varied;
};

} // namespace portico

#endif
