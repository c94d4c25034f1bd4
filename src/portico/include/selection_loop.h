// A selection as one loop over the entries of an RNTuple, without RDataFrame.
#ifndef PORTICO_SELECTION_LOOP_H
#define PORTICO_SELECTION_LOOP_H

#include "selection.h"

#include <ROOT/RField.hxx>
#include <ROOT/RNTupleReader.hxx>
#include <ROOT/RNTupleView.hxx>

#include <cstddef>
#include <cstdint>
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

  SelectionLoop(std::shared_ptr<Kernel> kernel, Trees trees, const std::string &path, const std::string &tree,
                std::size_t columns, std::size_t cuts)
      : SelectionLoop(kernel->empty(), std::move(trees), columns, cuts) {
    fKernel = std::move(kernel);
    fReader = ROOT::RNTupleReader::Open(tree, path);
  }

  // A column that is read in every event, or only where a choice was made.
  void read(std::size_t column, const std::string &name, const std::string &type, bool always) {
    fFields.push_back(ROOT::RFieldBase::Create("value", type).Unwrap());
    fValues.push_back(fFields.back()->CreateValue().GetPtr<void>());
    (always ? fAlways : fChosen).push_back(fReader->GetView(name, fValues.back().get(), type));
    fColumns[column] = fValues.back().get();
  }

  void run(std::uint64_t first, std::uint64_t last) {
    for (auto &rows : fTrees) {
      fKernel->describe(*rows);
      rows->open();
    }
    for (std::uint64_t entry = first; entry < last; ++entry)
      event(entry);
    for (auto &rows : fTrees)
      rows->close();
  }

private:
  std::shared_ptr<Kernel> fKernel;
  Trees fTrees;
  Columns fColumns;
  std::unique_ptr<ROOT::RNTupleReader> fReader;
  std::vector<std::unique_ptr<ROOT::RFieldBase>> fFields; // of the values, which they outlive
  std::vector<std::shared_ptr<void>> fValues;
  std::vector<ROOT::RNTupleView<void>> fAlways, fChosen;

  SelectionLoop(Empty empty, Trees trees, std::size_t columns, std::size_t cuts)
      : counts(std::move(empty.counts)), nominal(std::move(empty.nominal)), shapes(std::move(empty.shapes)),
        reached(cuts + 2), fTrees(std::move(trees)), fColumns(columns) {}

  void event(std::uint64_t entry) {
    for (auto &view : fAlways)
      view(entry);
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
    for (auto &view : fChosen)
      view(entry);
    fKernel->fill(nominal, choices, fColumns);
    fill(fTrees);
  }
};

} // namespace portico

#endif
