// A selection as one loop over the entries of a tree, or of its columns in memory, without RDataFrame.
#ifndef PORTICO_SELECTION_LOOP_H
#define PORTICO_SELECTION_LOOP_H

#include "blocks.h"
#include "selection.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace portico {

class SelectionLoop {
public:
  Counts counts;
  Filled nominal, shapes;
  std::vector<std::int64_t> reached; // events before all cuts, and after each: `cuts`, and the choice

  SelectionLoop(std::shared_ptr<Kernel> kernel, const Empty &empty, std::unique_ptr<Blocks> blocks, std::size_t columns,
                std::size_t cuts)
      : counts(empty.counts), nominal(empty.nominal), shapes(empty.shapes), reached(cuts + 2),
        fKernel(std::move(kernel)), fColumns(columns), fCursors(columns), fBlocks(std::move(blocks)) {}

  void write(std::shared_ptr<Rows> rows) { fTrees.push_back(std::move(rows)); }

  // A column that is read in every event (0), in those that have to be looked at (1), or where a choice was made (2).
  void read(std::size_t column, const std::string &name, const std::string &type, int stage) {
    auto &read = fRead[stage].emplace_back();
    read.first = column;
    fCursors[column] = &read.second;
    fBlocks->add(read.second, name, type, stage < 2);
  }

  void run(std::uint64_t first, std::uint64_t last) {
    for (auto &rows : fTrees) {
      fKernel->describe(*rows);
      rows->open();
    }
    for (std::uint64_t entry = first; entry < last;)
      for (const auto end = fBlocks->load(entry, last); entry < end;)
        entry = part(entry, std::min(end, entry + kEntries));
    for (auto &rows : fTrees)
      rows->close();
  }

private:
  static constexpr std::uint64_t kEntries = 4096;
  std::shared_ptr<Kernel> fKernel;
  Trees fTrees;
  std::vector<const void *> fColumns;
  std::vector<Cursor *> fCursors;
  std::unique_ptr<Blocks> fBlocks;
  std::deque<std::pair<std::size_t, Cursor>> fRead[3]; // by the number of the column
  Choices fChoices;
  std::vector<std::uint64_t> fLooked; // the events that `event` has to look at
  std::vector<std::int16_t> fDepth = std::vector<std::int16_t>(kEntries, -1);

  void load(int stage, std::uint64_t entry) {
    for (auto &[column, cursor] : fRead[stage])
      fColumns[column] = cursor.at(entry);
  }

  std::uint64_t part(std::uint64_t entry, std::uint64_t end) {
    if (fKernel->can_scan())
      fKernel->scan(fCursors.data(), entry, end, fDepth.data());
    const auto first = entry;
    fLooked.clear();
    for (std::uint64_t i = 0; i < end - first; ++i)
      if (fDepth[i] < 0)
        fLooked.push_back(first + i);
    for (std::size_t looked = 0; entry < end; ++entry) {
      load(0, entry);
      if (fDepth[entry - first] < 0) {
        fetch(++looked);
        event(entry);
      } else {
        rejected(fDepth[entry - first]);
      }
    }
    return end;
  }

  // Has the processor fetch columns of events to come, which are far apart in memory.
  void fetch(std::size_t next) {
    if (!fBlocks->stay())
      return;
    for (int stage : {1, 2})
      for (const auto &[_, cursor] : fRead[stage]) {
        if (next + 1 < fLooked.size())
          cursor.fetch_offsets(fLooked[next + 1]);
        if (next < fLooked.size())
          cursor.fetch_values(fLooked[next]);
      }
  }

  // An event without a candidate that passes what comes before the categories.
  void rejected(int depth) {
    const double weight = fKernel->weigh(fColumns.data());
    for (auto &flow : counts.flows)
      for (int cut = 0; cut <= depth; ++cut)
        flow.count(cut, weight);
    for (int cut = 0; cut <= depth; ++cut)
      ++reached[cut];
  }

  void event(std::uint64_t entry) {
    load(1, entry);
    fKernel->choose(fColumns.data(), fChoices);
    const Choices &choices = fChoices;
    count(counts, choices, fKernel->weigh(fColumns.data()));
    if (!shapes.sets.empty())
      fKernel->fill_shapes(shapes, fColumns.data());
    ++reached[0];
    for (std::size_t cut = 1; cut + 1 < reached.size(); ++cut) {
      if (choices.depth[0] < static_cast<int>(cut))
        return;
      ++reached[cut];
    }
    if (!choices.any_choice())
      return;
    ++reached.back();
    fBlocks->load_rest(entry);
    load(2, entry);
    fKernel->fill(nominal, choices, fColumns.data());
    fill(fTrees);
  }
};

} // namespace portico

#endif
