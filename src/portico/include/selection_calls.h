// The loop of a selection as functions for ctypes.
#ifndef PORTICO_SELECTION_CALLS_H
#define PORTICO_SELECTION_CALLS_H

#include "blocks_mapped.h"
#include "calls.h"
#include "collect.h"
#include "selection_loop.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace portico {
namespace calls {

struct Called {
  SelectionLoop loop;
  std::unique_ptr<HistogramList> list; // that Python is reading
};

// A HistogramList for Python.
struct Flat {
  const char *heads;
  const Long64_t *cells, *squares;
  const double *values, *sumw2, *stats, *entries;
  std::size_t bytes, histograms, all_cells, all_squares;
};

// `sizes` are the numbers of `labels` of each selection.
inline bool new_empty(EmptySelection **made, Texts selections, std::size_t n, Texts rules, std::size_t m, Texts labels,
                      const std::size_t *sizes) {
  return succeeds([&] {
    std::vector<std::vector<std::string>> cuts;
    for (std::size_t s = 0; s < n; labels += sizes[s++])
      cuts.push_back(list(labels, sizes[s]));
    *made = new EmptySelection(list(selections, n), list(rules, m), cuts);
  });
}
inline bool add_histogram(EmptySelection *to, bool varied, const char *name, const char *title, int bins,
                          const double *ends, std::size_t n) {
  return succeeds([&] { to->histogram(varied, name, title, bins, {ends, ends + n}); });
}
inline bool finish_empty(Empty **made, EmptySelection *of, Texts nominal, std::size_t n, Texts shapes, std::size_t m) {
  const std::unique_ptr<EmptySelection> owned(of);
  return succeeds([&] { *made = new Empty(of->finish(list(nominal, n), list(shapes, m))); });
}
inline void delete_empty(Empty *empty) { delete empty; }

// The source is a TTree or a ColumnSource, which has to live as long, or null: then it is an RNTuple of a file.
inline bool new_loop(Called **made, const char *kernel, const char *choice, double normalisation,
                     const double *parameters, std::size_t n, const double *numbers, std::size_t m,
                     const Empty *empty, void *source, bool mapped, const char *file, const char *ntuple,
                     std::size_t columns, std::size_t cuts) {
  return succeeds([&] {
    auto blocks = !source  ? blocks_of(file, ntuple)
                  : mapped ? mapped_blocks(*static_cast<ColumnSource *>(source))
                           : blocks_of(*static_cast<TTree *>(source));
    auto compiled = make_kernel(kernel, choice, normalisation, {parameters, parameters + n}, {numbers, numbers + m});
    *made = new Called{SelectionLoop(std::move(compiled), *empty, std::move(blocks), columns, cuts), nullptr};
  });
}
inline bool add_column(Called *to, std::size_t number, const char *name, const char *type, int stage) {
  return succeeds([&] { to->loop.read(number, name, type, stage); });
}
inline bool add_tree(Called *to, const char *tree, const char *path, bool ntuple, std::size_t cluster) {
  return succeeds([&] { to->loop.write(std::make_shared<Rows>(tree, path, ntuple, cluster)); });
}
inline bool run_loop(Called *called, std::uint64_t first, std::uint64_t last) {
  return succeeds([&] { called->loop.run(first, last); });
}
inline void delete_loop(Called *called) { delete called; }

// Those of the counts (0), without variations (1), of a variation of the nominal choice (2), or of a shape (3); they
// stay until the next call.
inline bool read_histograms(Called *called, int group, std::size_t set, Flat *to) {
  return succeeds([&] {
    auto &loop = called->loop;
    auto &histograms = group == 0   ? loop.counts.histograms
                       : group == 1 ? loop.nominal.plain
                       : group == 2 ? loop.nominal.sets.at(set)
                                    : loop.shapes.sets.at(set);
    called->list = std::make_unique<HistogramList>(histograms);
    const auto &l = *called->list;
    *to = {l.heads.data(), l.cells.data(), l.squares.data(), l.values.data(), l.sumw2.data(), l.stats.data(),
           l.entries.data(), l.heads.size(), l.cells.size(), l.values.size(), l.sumw2.size()};
  });
}
inline void read_flow(const Called *called, std::size_t selection, double *events, double *weights, double *squares) {
  const auto &flow = called->loop.counts.flows[selection];
  std::copy(flow.events.begin(), flow.events.end(), events);
  std::copy(flow.weights.begin(), flow.weights.end(), weights);
  std::copy(flow.squares.begin(), flow.squares.end(), squares);
}
inline void read_reached(const Called *called, std::int64_t *to) {
  std::copy(called->loop.reached.begin(), called->loop.reached.end(), to);
}

} // namespace calls

// The addresses of the functions, in the order of `portico.selection.calls`.
inline std::uintptr_t selection_calls() {
  using namespace calls;
  static const void *const all[] = {
      address(words),      address(new_empty), address(add_histogram), address(finish_empty),    address(delete_empty),
      address(new_loop),   address(add_column), address(add_tree),     address(run_loop),        address(delete_loop),
      address(read_histograms), address(read_flow), address(read_reached)};
  return reinterpret_cast<std::uintptr_t>(all);
}

} // namespace portico

#endif
