// A data source over columns that lie decompressed in memory, mapped from files by `portico.worker.cached`.
#ifndef PORTICO_COLUMNS_H
#define PORTICO_COLUMNS_H

#include "column_kinds.h"

#include <ROOT/RDF/RColumnReaderBase.hxx>
#include <ROOT/RDF/RSampleInfo.hxx>
#include <ROOT/RDF/Utils.hxx>
#include <ROOT/RDataSource.hxx>
#include <ROOT/RVec.hxx>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <typeinfo>
#include <unordered_map>
#include <utility>
#include <vector>

namespace portico {

// A column that was asked for: where its values are, and of lists where each entry's begin.
struct StoredColumn {
  char *values = nullptr;
  const std::uint32_t *offsets = nullptr;
  Long64_t first = 0; // entry
};

// Hands out one address for all entries, as Snapshot to a TTree expects.
class ScalarReader final : public ROOT::Detail::RDF::RColumnReaderBase {
  const StoredColumn &fColumn;
  const std::size_t fSize;
  Long64_t fEntry = -1;
  alignas(8) char fValue[8] = {};
  void *GetImpl(Long64_t entry) final {
    if (entry != fEntry) {
      const char *from = fColumn.values + (entry - fColumn.first) * fSize;
      switch (fSize) {
      case 1: *fValue = *from; break;
      case 2: std::memcpy(fValue, from, 2); break;
      case 4: std::memcpy(fValue, from, 4); break;
      default: std::memcpy(fValue, from, 8);
      }
      fEntry = entry;
    }
    return fValue;
  }

public:
  ScalarReader(const StoredColumn &column, std::size_t size) : fColumn(column), fSize(size) {}
};

// Lists as ROOT's own readers hand them out: views of memory, to which a step may even write. An RVec of any numbers is
// the same in memory while it is a view, on which ROOT's RNTuple relies too, and none is larger than that of the largest
// ones. So the class is compiled for one type and not for fourteen, which would take seconds in each process.
class ViewReader final : public ROOT::Detail::RDF::RColumnReaderBase {
  using View = ROOT::RVec<std::uint64_t>;
  const StoredColumn &fColumn;
  const std::size_t fSize;
  View fView;
  void *GetImpl(Long64_t entry) final {
    const auto *offsets = fColumn.offsets + (entry - fColumn.first);
    char *begin = fColumn.values + offsets[0] * fSize;
    __builtin_prefetch(offsets + 64); // more columns than the processor follows by itself
    __builtin_prefetch(begin + 512);
    fView.~View(); // an assignment takes three times as long
    return new (&fView) View(reinterpret_cast<std::uint64_t *>(begin), offsets[1] - offsets[0]);
  }

public:
  ViewReader(const StoredColumn &column, std::size_t size) : fColumn(column), fSize(size) {}
};

// Vectors and strings themselves, where these are asked for: Snapshot writes the type that the file has. A vector of any
// numbers is a vector of their bytes in memory, but for those of bool.
template <typename Container>
class CopyReader final : public ROOT::Detail::RDF::RColumnReaderBase {
  const StoredColumn &fColumn;
  const std::size_t fSize;
  Container fCopy;
  void *GetImpl(Long64_t entry) final {
    const auto *offsets = fColumn.offsets + (entry - fColumn.first);
    fCopy.assign(fColumn.values + offsets[0] * fSize, fColumn.values + offsets[1] * fSize);
    return &fCopy;
  }

public:
  CopyReader(const StoredColumn &column, std::size_t size) : fColumn(column), fSize(size) {}
};

using ColumnReader = std::unique_ptr<ROOT::Detail::RDF::RColumnReaderBase>;

inline ColumnReader MakeReader(const StoredColumn &column, const ColumnKind &kind) {
  switch (kind.form) {
  case ColumnKind::kScalar: return std::make_unique<ScalarReader>(column, kind.size);
  case ColumnKind::kView: return std::make_unique<ViewReader>(column, kind.size);
  case ColumnKind::kString: return std::make_unique<CopyReader<std::string>>(column, 1);
  default: break;
  }
  if (kind.element == '?')
    return std::make_unique<CopyReader<std::vector<bool>>>(column, 1);
  return std::make_unique<CopyReader<std::vector<char>>>(column, kind.size);
}
static_assert(sizeof(ROOT::RVec<std::uint64_t>) >= sizeof(ROOT::RVec<std::uint8_t>) &&
              sizeof(ROOT::RVec<std::uint64_t>) >= sizeof(ROOT::RVec<std::uint16_t>) &&
              sizeof(ROOT::RVec<std::uint64_t>) >= sizeof(ROOT::RVec<std::uint32_t>));

// What ROOT's own data source of a tree says of its columns.
struct ColumnSchema {
  std::string label, description, counted; // `counted`: not empty if arrays have their lengths in other columns
  std::vector<std::string> names, types, plain, top, unique; // `plain` as Snapshot writes them; empty types: unknown

  ColumnSchema() = default;
  explicit ColumnSchema(const std::string &text) {
    std::size_t begin = 0;
    Each([&](auto &part) {
      const auto end = std::min(text.find(kPart, begin), text.size());
      Read(part, text.substr(begin, end - begin));
      begin = std::min(end + 1, text.size());
    });
  }
  std::string Text() {
    std::string text;
    Each([&](auto &part) { Write(part, text), text += kPart; });
    return text;
  }

private:
  static constexpr char kPart = '\x1e', kName = '\x1f';
  template <typename F>
  void Each(F &&f) { f(label), f(description), f(counted), f(names), f(types), f(plain), f(top), f(unique); }
  static void Read(std::string &part, const std::string &text) { part = text; }
  static void Read(std::vector<std::string> &part, const std::string &text) {
    for (std::size_t begin = 0, end; begin < text.size(); begin = end + 1) {
      end = text.find(kName, begin);
      part.push_back(text.substr(begin, end - begin));
    }
  }
  static void Write(const std::string &part, std::string &text) { text += part; }
  static void Write(const std::vector<std::string> &part, std::string &text) {
    for (const auto &name : part)
      text += name + kName;
  }
};

class ColumnSource final : public ROOT::RDF::RDataSource {
public:
  // `fill` is called when the loop is about to start and columns were asked for; it returns 0 if they are there.
  ColumnSource(const ColumnSchema &schema, const std::string &sample, ULong64_t first, ULong64_t last,
               std::uintptr_t fill)
      : fSchema(schema), fSample(sample), fFirst(first), fLast(last), fFill(reinterpret_cast<int (*)()>(fill)) {
    for (std::size_t i = 0; i < fSchema.names.size(); ++i)
      fIndex.emplace(fSchema.names[i], i);
  }

  // The columns that were asked for and are not given yet.
  std::size_t Wanted() const { return fWanted.size(); }
  const std::string &WantedName(std::size_t i) const { return fSchema.names[fWanted[i].first]; }
  const std::string &WantedType(std::size_t i) const { return fSchema.types[fWanted[i].first]; }
  const ColumnKind &WantedKind(std::size_t i) const { return *fWanted[i].second; }
  void Give(const std::string &name, std::uintptr_t values, std::uintptr_t offsets) {
    auto &column = *fColumns.at(fIndex.at(name));
    column.values = reinterpret_cast<char *>(values);
    column.offsets = reinterpret_cast<const std::uint32_t *>(offsets);
  }
  const std::string &Refused() const { return fRefused; }

  const std::vector<std::string> &GetColumnNames() const final { return fSchema.names; }
  bool HasColumn(std::string_view name) const final { return fIndex.count(std::string(name)) > 0; }
  std::string GetTypeName(std::string_view name) const final { return Known(fSchema.types.at(At(name))); }
  std::string GetLabel() final { return fSchema.label; }

  // Exceptions are kept for later: code that ROOT compiles may not throw.
  ColumnReader GetColumnReaders(unsigned int, std::string_view name, const std::type_info &type) final {
    if (const auto [column, kind] = Column(name, type); column)
      return MakeReader(*column, *kind);
    static const StoredColumn nothing;
    return std::make_unique<ScalarReader>(nothing, 0);
  }
  // A column as a type, which is there once a slot is initialized; null if it cannot be had as this type.
  std::pair<const StoredColumn *, const ColumnKind *> Column(std::string_view name, const std::type_info &type) {
    const auto found = fIndex.find(std::string(name));
    if (found != fIndex.end() && (Is(fSchema.types[found->second], type) || Is(fSchema.plain[found->second], type)))
      if (const auto *kind = FindKind(type))
        return {&Wanted(found->second, *kind), kind};
    if (fRefused.empty())
      fRefused = "column '" + std::string(name) + "' is read as a type that is not kept";
    return {nullptr, nullptr};
  }

  void Initialize() final { fGiven = false; }
  void InitSlot(unsigned int, ULong64_t) final {
    if (fRefused.empty() && !fWanted.empty() && fFill() != 0)
      fRefused = "its columns cannot be kept";
    if (!fRefused.empty())
      throw std::runtime_error(fRefused);
    fWanted.clear();
  }
  std::vector<std::pair<ULong64_t, ULong64_t>> GetEntryRanges() final {
    if (std::exchange(fGiven, true) || fFirst == fLast)
      return {};
    return {{fFirst, fLast}};
  }
  bool SetEntry(unsigned int, ULong64_t) final { return true; }

protected:
  Record_t GetColumnReadersImpl(std::string_view, const std::type_info &) final { return {}; }
  std::string GetTypeNameWithOpts(std::string_view name, bool lists) const final {
    return Known((lists ? fSchema.types : fSchema.plain).at(At(name)));
  }
  const std::vector<std::string> &GetTopLevelFieldNames() const final { return fSchema.top; }
  const std::vector<std::string> &GetColumnNamesNoDuplicates() const final { return fSchema.unique; }
  std::string DescribeDataset() final { return fSchema.description; }
  ROOT::RDF::RSampleInfo
  CreateSampleInfo(unsigned int, const std::unordered_map<std::string, ROOT::RDF::Experimental::RSample *> &) const final {
    return ROOT::RDF::RSampleInfo(fSample, {fFirst, fLast});
  }

private:
  ColumnSchema fSchema;
  std::unordered_map<std::string, std::size_t> fIndex;
  std::unordered_map<std::size_t, std::unique_ptr<StoredColumn>> fColumns;
  std::vector<std::pair<std::size_t, const ColumnKind *>> fWanted;
  std::string fSample, fRefused;
  ULong64_t fFirst, fLast;
  int (*fFill)();
  bool fGiven = false;

  std::size_t At(std::string_view name) const {
    const auto found = fIndex.find(std::string(name));
    if (found == fIndex.end())
      throw std::runtime_error("there is no column '" + std::string(name) + "'");
    return found->second;
  }
  static const std::string &Known(const std::string &type) {
    if (type.empty())
      throw std::runtime_error("a column has no type");
    return type;
  }
  static bool Is(const std::string &name, const std::type_info &type) {
    try {
      return !name.empty() && ROOT::Internal::RDF::TypeName2TypeID(name) == type;
    } catch (const std::exception &) {
      return false;
    }
  }
  const StoredColumn &Wanted(std::size_t index, const ColumnKind &kind) {
    auto &column = fColumns[index];
    if (!column) {
      column = std::make_unique<StoredColumn>();
      column->first = fFirst;
      fWanted.emplace_back(index, &kind);
    }
    return *column;
  }
};

inline ColumnSource *NewColumnSource(const ColumnSchema &schema, const std::string &sample, ULong64_t first,
                                     ULong64_t last, std::uintptr_t fill) {
  return new ColumnSource(schema, sample, first, last, fill);
}

} // namespace portico

#endif
