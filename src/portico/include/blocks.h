// Columns of a range of entries as flat memory, in pieces: out of the baskets of a TTree, or in bulk out of an RNTuple.
#ifndef PORTICO_BLOCKS_H
#define PORTICO_BLOCKS_H

#include "columns_read.h"
#include "cursor.h"

#include <ROOT/RDF/Utils.hxx>
#include <ROOT/RFieldBase.hxx>
#include <ROOT/RNTupleReader.hxx>
#include <ROOT/RNTupleView.hxx>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <stdexcept>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

namespace portico {

// Columns cannot be read in blocks, but perhaps by RDataFrame.
struct NotInBlocks : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Blocks {
public:
  virtual ~Blocks() = default;
  // Adds a column of a type, numbers or lists of them, that is read in every event or only in some. The cursor stays.
  virtual void add(Cursor &cursor, const std::string &name, const std::string &type, bool always) = 0;
  // Reads the columns of every event from an entry on, and returns the entry where the block ends.
  virtual std::uint64_t load(std::uint64_t first, std::uint64_t last) = 0;
  // Reads the other columns of an entry in the block.
  virtual void load_rest(std::uint64_t entry) = 0;
  // Whether all columns stay where they are while a block is read.
  virtual bool stay() const { return false; }
};

class TreeBlocks final : public Blocks {
  static constexpr Long64_t kEntries = 8192; // of a block, so that it stays in the processor's cache
  struct Column {
    ColumnSink sink;
    PlainBranch branch;
    Cursor &cursor;
    Column(TBranch *from, const std::string &name, const ColumnKind &kind, Cursor &to)
        : sink(name, kind.element, kind.form != ColumnKind::kScalar, kind.size), branch(from, sink), cursor(to) {}
  };
  TTree &fTree;
  std::deque<Column> fAlways, fRest;
  Long64_t fFirst = 0, fEnd = 0, fClusterEnd = -1; // the present block
  bool fHasRest = false;

  void Read(std::deque<Column> &columns) {
    for (auto &column : columns) {
      column.sink.Clear();
      try {
        column.branch.Append(fFirst, fEnd);
      } catch (const std::exception &error) {
        throw NotInBlocks(error.what());
      }
      const auto *offsets = column.sink.list ? column.sink.offsets.data() : nullptr;
      column.cursor.move(column.sink.Values(), column.sink.size, offsets, fFirst);
    }
  }
  void Each(void (*what)(TTree &, TBranch &)) {
    for (auto *columns : {&fAlways, &fRest})
      for (auto &column : *columns)
        what(fTree, column.branch.Branch());
  }

public:
  explicit TreeBlocks(TTree &tree) : fTree(tree) {}
  void add(Cursor &cursor, const std::string &name, const std::string &type, bool always) final {
    const auto *kind = FindKind(ROOT::Internal::RDF::TypeName2TypeID(type));
    auto *branch = fTree.GetBranch(name.c_str());
    if (!branch || !kind || kind->form == ColumnKind::kString)
      throw NotInBlocks("column '" + name + "' is no branch of numbers");
    try {
      (always ? fAlways : fRest).emplace_back(branch, name, *kind, cursor);
    } catch (const std::exception &error) {
      throw NotInBlocks(error.what());
    }
  }
  std::uint64_t load(std::uint64_t first, std::uint64_t last) final {
    if (fClusterEnd < 0) {
      fTree.SetCacheSize(-1);
      Each([](TTree &tree, TBranch &branch) { tree.AddBranchToCache(&branch, true); });
      fTree.StopCacheLearningPhase();
    }
    fFirst = first;
    if (fFirst >= fClusterEnd) {
      Each([](TTree &, TBranch &branch) { branch.DropBaskets("all"); });
      auto clusters = fTree.GetClusterIterator(fFirst);
      clusters();
      fClusterEnd = clusters.GetNextEntry();
      fTree.LoadTree(fFirst);
    }
    fEnd = std::min({static_cast<Long64_t>(last), fClusterEnd, fFirst + kEntries});
    Read(fAlways);
    fHasRest = false;
    return fEnd;
  }
  void load_rest(std::uint64_t) final {
    if (!std::exchange(fHasRest, true))
      Read(fRest);
  }
};

class NtupleBlocks final : public Blocks {
  static constexpr std::uint64_t kEntries = 2048;
  struct Column {
    ROOT::RNTupleView<void> view;
    ROOT::RFieldBase::RBulkValues bulk;
    std::size_t size;
    Cursor &cursor;
  };
  struct Value {
    ROOT::RNTupleView<void> view;
    Cursor &cursor;
  };
  std::unique_ptr<ROOT::RNTupleReader> fReader;
  std::vector<std::unique_ptr<ROOT::RFieldBase>> fFields; // of the values, which they outlive
  std::vector<std::shared_ptr<void>> fValues;
  std::vector<Column> fAlways;
  std::vector<Value> fRest;
  std::vector<std::pair<std::uint64_t, ROOT::RNTupleLocalRange>> fClusters; // by their first entries

public:
  NtupleBlocks(const std::string &path, const std::string &name) : fReader(ROOT::RNTupleReader::Open(name, path)) {
    for (const auto &cluster : fReader->GetDescriptor().GetClusterIterable())
      fClusters.emplace_back(cluster.GetFirstEntryIndex(),
                             ROOT::RNTupleLocalRange(cluster.GetId(), 0, cluster.GetNEntries()));
    std::sort(fClusters.begin(), fClusters.end(), [](const auto &a, const auto &b) { return a.first < b.first; });
  }
  void add(Cursor &cursor, const std::string &name, const std::string &type, bool always) final {
    fFields.push_back(ROOT::RFieldBase::Create("value", type).Unwrap());
    fValues.push_back(fFields.back()->CreateValue().GetPtr<void>());
    auto view = fReader->GetView(name, fValues.back().get(), type);
    cursor.move(fValues.back().get(), 0, nullptr, 0);
    if (always) {
      auto bulk = view.CreateBulk();
      fAlways.push_back({std::move(view), std::move(bulk), fFields.back()->GetValueSize(), cursor});
    } else {
      fRest.push_back({std::move(view), cursor});
    }
  }
  std::uint64_t load(std::uint64_t first, std::uint64_t last) final {
    const auto after = std::upper_bound(fClusters.begin(), fClusters.end(), first,
                                        [](std::uint64_t entry, const auto &cluster) { return entry < cluster.first; });
    if (after == fClusters.begin())
      throw std::runtime_error("the RNTuple has no entry " + std::to_string(first));
    const auto &[start, range] = *std::prev(after);
    const auto end = std::min({last, start + range.size(), first + kEntries});
    if (end <= first)
      throw std::runtime_error("the RNTuple has no entry " + std::to_string(first));
    for (auto &column : fAlways) {
      const auto *values = column.bulk.ReadBulk(*range.begin() + (first - start), nullptr, end - first);
      column.cursor.move(values, column.size, nullptr, first);
    }
    return end;
  }
  void load_rest(std::uint64_t entry) final { // few events get here: not worth whole pages
    for (auto &column : fRest)
      column.view(entry);
  }
};

inline std::unique_ptr<Blocks> blocks_of(TTree &tree) { return std::make_unique<TreeBlocks>(tree); } // which must live as long
inline std::unique_ptr<Blocks> blocks_of(const std::string &path, const std::string &ntuple) {
  return std::make_unique<NtupleBlocks>(path, ntuple);
}

} // namespace portico

#endif
