// Columns that lie in memory as one block.
#ifndef PORTICO_BLOCKS_MAPPED_H
#define PORTICO_BLOCKS_MAPPED_H

#include "blocks.h"
#include "columns.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace portico {

class MappedBlocks final : public Blocks {
  ColumnSource &fSource;
  std::vector<std::pair<const StoredColumn *, Cursor *>> fColumns;
  std::vector<std::size_t> fSizes;
  std::vector<bool> fLists;

public:
  explicit MappedBlocks(ColumnSource &source) : fSource(source) {}
  void add(Cursor &cursor, const std::string &name, const std::string &type, bool) final {
    const auto &[column, kind] = fSource.Column(name, ROOT::Internal::RDF::TypeName2TypeID(type));
    if (!column)
      throw NotInBlocks(fSource.Refused());
    fColumns.emplace_back(column, &cursor);
    fSizes.push_back(kind->size);
    fLists.push_back(kind->form != ColumnKind::kScalar);
  }
  std::uint64_t load(std::uint64_t first, std::uint64_t last) final {
    fSource.InitSlot(0, first);
    for (std::size_t i = 0; i < fColumns.size(); ++i)
      fColumns[i].second->move(fColumns[i].first->values, fSizes[i], fColumns[i].first->offsets, fColumns[i].first->first);
    return last;
  }
  void load_rest(std::uint64_t) final {}
  bool stay() const final { return true; }
};

// The source must live as long.
inline std::unique_ptr<Blocks> mapped_blocks(ColumnSource &source) { return std::make_unique<MappedBlocks>(source); }

} // namespace portico

#endif
