// A selection as one loop over the entries of an RNTuple, or of its columns in memory, without RDataFrame.
#ifndef PORTICO_SELECTION_LOOP_H
#define PORTICO_SELECTION_LOOP_H

#include "selection.h"

#include <ROOT/RDF/RColumnReaderBase.hxx>
#include <ROOT/RDF/Utils.hxx>
#include <ROOT/RDataSource.hxx>
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

  // The columns are those of a data source, which must live until the loop has run.
  SelectionLoop(std::shared_ptr<Kernel> kernel, Trees trees, ROOT::RDF::RDataSource &source, std::size_t columns,
                std::size_t cuts)
      : SelectionLoop(kernel->empty(), std::move(trees), columns, cuts) {
    fKernel = std::move(kernel);
    fSource = &source;
  }

  // A column that is read in every event, or only where a choice was made.
  void read(std::size_t column, const std::string &name, const std::string &type, bool always) {
    if (fSource) {
      const auto &id = ROOT::Internal::RDF::TypeName2TypeID(type);
      (always ? fAlwaysRead : fChosenRead).emplace_back(column, fSource->GetColumnReaders(0, name, id));
      return;
    }
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
    if (fSource)
      fSource->InitSlot(0, first);
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
  using Reader = std::unique_ptr<ROOT::Detail::RDF::RColumnReaderBase>;
  ROOT::RDF::RDataSource *fSource = nullptr;
  std::vector<std::pair<std::size_t, Reader>> fAlwaysRead, fChosenRead;

  SelectionLoop(Empty empty, Trees trees, std::size_t columns, std::size_t cuts)
      : counts(std::move(empty.counts)), nominal(std::move(empty.nominal)), shapes(std::move(empty.shapes)),
        reached(cuts + 2), fTrees(std::move(trees)), fColumns(columns) {}

  void load(std::vector<ROOT::RNTupleView<void>> &views, std::vector<std::pair<std::size_t, Reader>> &readers,
            std::uint64_t entry) {
    for (auto &view : views)
      view(entry);
    for (auto &[column, reader] : readers)
      fColumns[column] = reader->TryGet<void>(entry);
  }

  void event(std::uint64_t entry) {
    load(fAlways, fAlwaysRead, entry);
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
    load(fChosen, fChosenRead, entry);
    fKernel->fill(nominal, choices, fColumns);
    fill(fTrees);
  }
};

} // namespace portico

#endif
