// Parts of a compiled selection: histograms with one instance per selection, cutflows, and what fills them.
#ifndef PORTICO_SELECTION_H
#define PORTICO_SELECTION_H

#include <TH1D.h>

#include "choices.h"
#include "rows.h"

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace portico {

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

// A compiled selection.
class Kernel {
public:
  virtual ~Kernel() = default;
  virtual void choose(Columns columns, Choices &to) const = 0;
  virtual double weigh(Columns columns) const = 0; // without the weights of candidates
  virtual void fill(Filled &to, const Choices &choices, Columns columns) = 0;
  virtual void fill_shapes(Filled &to, Columns columns) = 0; // of every varied shape
  virtual void describe(Rows &rows) const = 0; // name the variables that `fill` sets

  bool can_scan() const { return fChoice.scan; }
  void scan(Cursor *const *cursors, std::uint64_t first, std::uint64_t last, std::int16_t *depth) const {
    fChoice.scan(fParameters, fNumbers.data(), cursors, first, last, depth);
  }
  void compare_with(std::vector<double> numbers) { fNumbers = std::move(numbers); }

protected:
  Kernel(const Choice &choice, const void *parameters) : fChoice(choice), fParameters(parameters) {}
  void portico_choose_now(Columns columns, Choices &to) const {
    fChoice.choose(fParameters, fNumbers.data(), columns, to);
  }

private:
  Choice fChoice;
  const void *fParameters;
  std::vector<double> fNumbers;
};

// What was compiled in this process, by its namespace: each enters itself.
using NewKernel = std::shared_ptr<Kernel> (*)(double normalisation, const std::vector<double> &parameters,
                                              const Choice &choice);
#ifdef PORTICO_LOADED_selection_calls
std::map<std::string, NewKernel> &compiled_kernels();
#else
PORTICO_SHARED std::map<std::string, NewKernel> &compiled_kernels() {
  static std::map<std::string, NewKernel> all;
  return all;
}
#endif
inline bool enter(const char *name, NewKernel kernel) { return compiled_kernels().insert_or_assign(name, kernel).second; }
inline std::shared_ptr<Kernel> make_kernel(const std::string &kernel, const std::string &choice, double normalisation,
                                           const std::vector<double> &parameters, std::vector<double> numbers) {
  auto made = compiled_kernels().at(kernel)(normalisation, parameters, compiled_choices().at(choice));
  made->compare_with(std::move(numbers));
  return made;
}

} // namespace portico

#endif
