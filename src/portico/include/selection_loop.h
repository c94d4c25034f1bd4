// A selection as one loop over the entries of a tree, or of its columns in memory, without RDataFrame.
#ifndef PORTICO_SELECTION_LOOP_H
#define PORTICO_SELECTION_LOOP_H

#include "blocks.h"
#include "selection.h"

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

  SelectionLoop(std::shared_ptr<Kernel> kernel, Trees trees, std::unique_ptr<Blocks> blocks, std::size_t columns,
                std::size_t cuts)
      : SelectionLoop(kernel->empty(), std::move(trees), columns, cuts) {
    fKernel = std::move(kernel);
    fBlocks = std::move(blocks);
  }

  // A column that is read in every event, or only where a choice was made.
  void read(std::size_t column, const std::string &name, const std::string &type, bool always) {
    auto &read = (always ? fAlways : fChosen).emplace_back();
    read.first = column;
    fBlocks->add(read.second, name, type, always);
  }

  void run(std::uint64_t first, std::uint64_t last) {
    for (auto &rows : fTrees) {
      fKernel->describe(*rows);
      rows->open();
    }
    for (std::uint64_t entry = first; entry < last;)
      for (const auto end = fBlocks->load(entry, last); entry < end; ++entry)
        event(entry);
    for (auto &rows : fTrees)
      rows->close();
  }

private:
  using Read = std::deque<std::pair<std::size_t, Cursor>>; // by the number of the column
  std::shared_ptr<Kernel> fKernel;
  Trees fTrees;
  Columns fColumns;
  std::unique_ptr<Blocks> fBlocks;
  Read fAlways, fChosen;

  SelectionLoop(Empty empty, Trees trees, std::size_t columns, std::size_t cuts)
      : counts(std::move(empty.counts)), nominal(std::move(empty.nominal)), shapes(std::move(empty.shapes)),
        reached(cuts + 2), fTrees(std::move(trees)), fColumns(columns) {}

  void load(Read &read, std::uint64_t entry) {
    for (auto &[column, cursor] : read)
      fColumns[column] = cursor.at(entry);
  }

  void event(std::uint64_t entry) {
    load(fAlways, entry);
    const Choices choices = fKernel->choose(fColumns);
    count(counts, choices, fKernel->weigh(fColumns));
    if (!shapes.sets.empty())
      fKernel->fill_shapes(shapes, fColumns);
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
    load(fChosen, entry);
    fKernel->fill(nominal, choices, fColumns);
    fill(fTrees);
  }
};

} // namespace portico

#endif
