// Reads whole columns of a range of entries, and appends their values to files. Included when a column is not kept yet.
#ifndef PORTICO_COLUMNS_FILL_H
#define PORTICO_COLUMNS_FILL_H

#include "columns.h"
#include "columns_read.h"

#include <ROOT/RFieldBase.hxx>
#include <ROOT/RNTupleDS.hxx>
#include <ROOT/RNTupleModel.hxx>
#include <ROOT/RNTupleReader.hxx>
#include <ROOT/RTTreeDS.hxx>
#include <TFile.h>
#include <TLeaf.h>
#include <TTree.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace portico {

inline ColumnSchema SchemaOf(ROOT::RDF::RDataSource &source) {
  ColumnSchema schema;
  schema.label = source.GetLabel();
  schema.description = ROOT::Internal::RDF::DescribeDataset(source);
  schema.names = source.GetColumnNames();
  schema.top = ROOT::Internal::RDF::GetTopLevelFieldNames(source);
  schema.unique = ROOT::Internal::RDF::GetColumnNamesNoDuplicates(source);
  for (const auto &name : schema.names)
    for (const bool lists : {true, false}) {
      std::string type;
      try {
        type = ROOT::Internal::RDF::GetTypeNameWithOpts(source, name, lists);
      } catch (const std::exception &) { // told when the column is used
      }
      (lists ? schema.types : schema.plain).push_back(type);
    }
  return schema;
}

// Whether a tree has arrays whose length is in another column: Snapshot then writes that column as well.
inline bool HasCountedArrays(TTree &tree) {
  for (auto *leaf : *tree.GetListOfLeaves())
    if (static_cast<TLeaf *>(leaf)->GetLeafCount())
      return true;
  return false;
}

inline ColumnSchema SchemaOfTree(TTree &tree, const std::string &name, const std::string &file) {
  ROOT::Internal::RDF::RTTreeDS source(name, file);
  auto schema = SchemaOf(source);
  schema.counted = HasCountedArrays(tree) ? "yes" : "";
  return schema;
}
inline ColumnSchema SchemaOfNtuple(const std::string &name, const std::string &file) {
  ROOT::RDF::RNTupleDS source(name, file);
  return SchemaOf(source);
}

using ColumnSinks = std::vector<std::unique_ptr<ColumnSink>>;

inline void AddSink(ColumnSinks &sinks, const std::string &name, const ColumnKind &kind, int file) {
  sinks.push_back(std::make_unique<ColumnSink>(name, kind.element, kind.form != ColumnKind::kScalar, kind.size, file));
}

// Reads the columns cluster by cluster, so that each is fetched once with all its columns.
inline void FillFromTree(TTree &tree, ColumnSinks &sinks, Long64_t first, Long64_t last) {
  std::vector<PlainBranch> branches;
  for (auto &sink : sinks) {
    auto *branch = tree.GetBranch(sink->name.c_str());
    if (!branch)
      throw std::runtime_error("column '" + sink->name + "' is no branch");
    branches.emplace_back(branch, *sink);
  }
  tree.SetCacheSize(-1);
  for (auto &branch : branches)
    tree.AddBranchToCache(&branch.Branch(), true);
  tree.StopCacheLearningPhase();
  auto clusters = tree.GetClusterIterator(first);
  for (Long64_t begin = clusters(); begin < last; begin = clusters()) {
    tree.LoadTree(begin);
    for (auto &branch : branches) {
      branch.Append(std::max(first, begin), std::min(last, clusters.GetNextEntry()));
      branch.Branch().DropBaskets("all");
    }
  }
}

template <typename T>
void AppendBulk(const void *values, std::size_t entries, ColumnSink &sink) {
  if (!sink.list) {
    std::memcpy(sink.Extend(entries), values, entries * sizeof(T));
    return sink.End(entries, 1);
  }
  const auto *lists = static_cast<const ROOT::RVec<T> *>(values);
  for (std::size_t i = 0; i < entries; ++i) {
    const auto elements = lists[i].size();
    std::memcpy(sink.Extend(elements), lists[i].data(), elements * sizeof(T));
    sink.End(1, elements);
  }
}
template <>
inline void AppendBulk<std::string>(const void *values, std::size_t entries, ColumnSink &sink) {
  const auto *texts = static_cast<const std::string *>(values);
  for (std::size_t i = 0; i < entries; ++i) {
    std::memcpy(sink.Extend(texts[i].size()), texts[i].data(), texts[i].size());
    sink.End(1, texts[i].size());
  }
}

using BulkAppender = void (*)(const void *, std::size_t, ColumnSink &);
inline BulkAppender AppenderOf(char element) {
  switch (element) {
  case '?': return AppendBulk<bool>;
  case 'c': return AppendBulk<char>;
  case 'b': return AppendBulk<signed char>;
  case 'B': return AppendBulk<unsigned char>;
  case 'h': return AppendBulk<short>;
  case 'H': return AppendBulk<unsigned short>;
  case 'i': return AppendBulk<int>;
  case 'I': return AppendBulk<unsigned int>;
  case 'l': return AppendBulk<long>;
  case 'L': return AppendBulk<unsigned long>;
  case 'q': return AppendBulk<long long>;
  case 'Q': return AppendBulk<unsigned long long>;
  case 'f': return AppendBulk<float>;
  case 'd': return AppendBulk<double>;
  default: return AppendBulk<std::string>;
  }
}

inline void FillFromNtuple(const std::string &name, const std::string &file, const std::vector<std::string> &types,
                           ColumnSinks &sinks, ULong64_t first, ULong64_t last) {
  constexpr std::size_t kEntries = 8192; // at a time
  auto model = ROOT::RNTupleModel::CreateBare();
  for (std::size_t i = 0; i < sinks.size(); ++i)
    model->AddField(ROOT::RFieldBase::Create(sinks[i]->name, types[i]).Unwrap());
  auto reader = ROOT::RNTupleReader::Open(std::move(model), name, file);
  std::vector<ROOT::RFieldBase::RBulkValues> bulks;
  for (const auto &sink : sinks)
    bulks.push_back(reader->GetModel().CreateBulk(sink->name));
  std::vector<std::pair<ULong64_t, ROOT::RNTupleLocalRange>> clusters;
  for (const auto &cluster : reader->GetDescriptor().GetClusterIterable())
    clusters.emplace_back(cluster.GetFirstEntryIndex(),
                          ROOT::RNTupleLocalRange(cluster.GetId(), 0, cluster.GetNEntries()));
  std::sort(clusters.begin(), clusters.end(), [](const auto &a, const auto &b) { return a.first < b.first; });
  for (const auto &[start, range] : clusters)
    for (std::size_t i = 0; i < sinks.size(); ++i)
      for (auto entry = std::max(start, first), end = std::min(start + range.size(), last); entry < end;) {
        const auto entries = std::min<std::size_t>(kEntries, end - entry);
        const auto *values = bulks[i].ReadBulk(*range.begin() + (entry - start), nullptr, entries);
        AppenderOf(sinks[i]->element)(values, entries, *sinks[i]);
        entry += entries;
      }
}

} // namespace portico

#endif
