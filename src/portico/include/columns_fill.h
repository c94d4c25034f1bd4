// Reads whole columns of a range of entries, and appends their values to files. Included when a column is not kept yet.
#ifndef PORTICO_COLUMNS_FILL_H
#define PORTICO_COLUMNS_FILL_H

#include "columns.h"

#include <ROOT/RFieldBase.hxx>
#include <ROOT/RNTupleDS.hxx>
#include <ROOT/RNTupleModel.hxx>
#include <ROOT/RNTupleReader.hxx>
#include <ROOT/RTTreeDS.hxx>
#include <TBasket.h>
#include <TBranch.h>
#include <TBranchElement.h>
#include <TBuffer.h>
#include <TFile.h>
#include <TLeaf.h>
#include <TMath.h>
#include <TTree.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <system_error>
#include <unistd.h>

namespace portico {

ColumnSchema SchemaOf(ROOT::RDF::RDataSource &source) {
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
bool HasCountedArrays(TTree &tree) {
  for (auto *leaf : *tree.GetListOfLeaves())
    if (static_cast<TLeaf *>(leaf)->GetLeafCount())
      return true;
  return false;
}

ColumnSchema SchemaOfTree(TTree &tree, const std::string &name, const std::string &file) {
  ROOT::Internal::RDF::RTTreeDS source(name, file);
  auto schema = SchemaOf(source);
  schema.counted = HasCountedArrays(tree) ? "yes" : "";
  return schema;
}
ColumnSchema SchemaOfNtuple(const std::string &name, const std::string &file) {
  ROOT::RDF::RNTupleDS source(name, file);
  return SchemaOf(source);
}

// A column on its way to a file.
class ColumnSink {
  static constexpr std::size_t kBlock = 1 << 20;
  int fFile;
  std::vector<char> fBuffer;
  std::uint64_t fElements = 0;
  void Flush() {
    for (std::size_t done = 0; done < fBuffer.size();) {
      const auto n = ::write(fFile, fBuffer.data() + done, fBuffer.size() - done);
      if (n < 0 && errno != EINTR)
        throw std::system_error(errno, std::generic_category(), "cannot be written");
      done += n < 0 ? 0 : n;
    }
    fBuffer.clear();
  }

public:
  const std::string name;
  const char element;
  const bool list;
  const std::size_t size; // of an element
  std::vector<std::uint32_t> offsets;

  ColumnSink(const std::string &n, char e, bool l, std::size_t s, int file)
      : fFile(file), name(n), element(e), list(l), size(s), offsets(l ? 1 : 0) {}
  std::uint64_t Elements() const { return fElements; }
  // Room for elements that belong to no entry yet.
  char *Extend(std::size_t elements) {
    if (fBuffer.size() >= kBlock)
      Flush();
    const auto before = fBuffer.size();
    fBuffer.resize(before + elements * size);
    fElements += elements;
    return fBuffer.data() + before;
  }
  // Entries with so many elements each are complete.
  void End(std::size_t entries, std::uint32_t elements) {
    if (fElements > std::numeric_limits<std::uint32_t>::max())
      throw std::runtime_error("column '" + name + "' has too many values in one chunk");
    for (std::size_t i = 0; list && i < entries; ++i)
      offsets.push_back(offsets.back() + elements);
  }
  // Writes what is left, and the offsets behind the values, aligned.
  void Close(std::size_t alignment) {
    Flush();
    if (!list)
      return;
    fBuffer.resize((alignment - fElements * size % alignment) % alignment);
    const auto *bytes = reinterpret_cast<const char *>(offsets.data());
    fBuffer.insert(fBuffer.end(), bytes, bytes + offsets.size() * sizeof offsets[0]);
    Flush();
  }
};

template <typename T, typename Swap>
void CopyEach(char *to, const char *from, std::size_t elements, Swap swap) {
  for (std::size_t i = 0; i < elements; ++i) {
    T x;
    std::memcpy(&x, from + sizeof x * i, sizeof x);
    x = swap(x);
    std::memcpy(to + sizeof x * i, &x, sizeof x);
  }
}

void CopySwapped(char *to, const char *from, std::size_t elements, std::size_t size) {
  switch (size) {
  case 1: std::memcpy(to, from, elements); break;
  case 2: CopyEach<std::uint16_t>(to, from, elements, [](auto x) { return __builtin_bswap16(x); }); break;
  case 4: CopyEach<std::uint32_t>(to, from, elements, [](auto x) { return __builtin_bswap32(x); }); break;
  case 8: CopyEach<std::uint64_t>(to, from, elements, [](auto x) { return __builtin_bswap64(x); }); break;
  default: throw std::runtime_error("no element has this size");
  }
}

// A branch whose baskets hold the values as they are: a leaf of numbers, alone or in an array, or a vector of numbers.
class PlainBranch {
  static constexpr int kVectorHeader = 10; // byte count, version, number of elements
  TBranch &fBranch;
  ColumnSink &fSink;
  int fFixed = 0, fHeader = 0; // elements of each entry; 0 if they vary

  [[noreturn]] void Refuse(const char *why) const {
    throw std::runtime_error("column '" + fSink.name + "' " + why);
  }
  // The elements of an entry, from its first byte to the first one of the next.
  std::size_t Elements(const char *from, const char *to) const {
    const std::size_t bytes = to - from;
    if (!fHeader && bytes % fSink.size == 0)
      return bytes / fSink.size;
    if (bytes < kVectorHeader)
      Refuse("has an entry that is cut off");
    std::uint32_t count = 0, elements = 0;
    CopySwapped(reinterpret_cast<char *>(&count), from, 1, sizeof count);
    CopySwapped(reinterpret_cast<char *>(&elements), from + 6, 1, sizeof elements);
    if (!fHeader || count != ((bytes - 4) | 0x40000000u) || elements * fSink.size + kVectorHeader != bytes)
      Refuse("is written in a form that is not known");
    return elements;
  }
  // Both append the entries from..to-1 of a basket.
  void AppendFixed(TBasket &basket, int from, int to) {
    const int size = basket.GetNevBufSize(), begin = basket.GetKeylen() + from * size;
    if (size != static_cast<int>(fFixed * fSink.size) || begin + (to - from) * size > basket.GetLast())
      Refuse("cannot be read");
    const std::size_t elements = static_cast<std::size_t>(to - from) * fFixed;
    CopySwapped(fSink.Extend(elements), basket.GetBufferRef()->Buffer() + begin, elements, fSink.size);
    fSink.End(to - from, fFixed);
  }
  void AppendVaried(TBasket &basket, int from, int to) {
    const int *offsets = basket.GetEntryOffset();
    const char *buffer = basket.GetBufferRef()->Buffer();
    for (int i = from; i < to; ++i) {
      const int begin = offsets ? offsets[i] : -1, end = i + 1 < basket.GetNevBuf() ? offsets[i + 1] : basket.GetLast();
      if (begin < basket.GetKeylen() || end < begin || end > basket.GetLast())
        Refuse("cannot be read");
      const auto elements = Elements(buffer + begin, buffer + end);
      CopySwapped(fSink.Extend(elements), buffer + begin + fHeader, elements, fSink.size);
      fSink.End(1, elements);
    }
  }

public:
  PlainBranch(TBranch *branch, ColumnSink &sink) : fBranch(*branch), fSink(sink) {
    auto *leaf = static_cast<TLeaf *>(branch->GetListOfLeaves()->At(0));
    if (branch->GetListOfBranches()->GetEntriesFast() || branch->GetListOfLeaves()->GetEntriesFast() != 1 ||
        sink.name != branch->GetName() || branch->GetMother() != branch)
      Refuse("is part of a class");
    if (branch->IsA() == TBranchElement::Class()) {
      const std::string type = static_cast<TBranchElement *>(branch)->GetClassName();
      if (!sink.list || type.rfind("vector<", 0) != 0 || type.find_first_of("<,*", 7) != std::string::npos)
        Refuse("is of a class");
      if (type.find("32_t") != std::string::npos || type.find("16_t") != std::string::npos)
        Refuse("has a type of its own on disk");
      fHeader = kVectorHeader;
      return;
    }
    static const std::string plain = "TLeafO TLeafB TLeafS TLeafI TLeafL TLeafG TLeafF TLeafD ";
    const std::string title = leaf->GetTitle();
    if (branch->IsA() != TBranch::Class() || plain.find(std::string(leaf->ClassName()) + " ") == std::string::npos ||
        sink.name != leaf->GetName() || leaf->GetLenType() != static_cast<int>(sink.size) || sink.element == 's' ||
        title.find('[') != title.rfind('['))
      Refuse("has a type of its own on disk");
    if (!leaf->GetLeafCount())
      fFixed = leaf->GetLenStatic();
    if (!sink.list && fFixed != 1)
      Refuse("is an array");
  }

  // Appends entries, which must follow on those before.
  void Append(Long64_t first, Long64_t last) {
    while (first < last) {
      const auto index = TMath::BinarySearch(fBranch.GetWriteBasket() + 1, fBranch.GetBasketEntry(), first);
      auto *basket = index < 0 ? nullptr : fBranch.GetBasket(index);
      if (!basket || basket->GetDisplacement() || basket->GetLast() > basket->GetBufferRef()->BufferSize())
        Refuse("cannot be read");
      const Long64_t start = fBranch.GetBasketEntry()[index], stop = std::min(last, start + basket->GetNevBuf());
      if (stop <= first)
        Refuse("has fewer entries than the tree");
      if (fFixed)
        AppendFixed(*basket, first - start, stop - start);
      else
        AppendVaried(*basket, first - start, stop - start);
      first = stop;
    }
  }
  TBranch &Branch() { return fBranch; }
};

using ColumnSinks = std::vector<std::unique_ptr<ColumnSink>>;

void AddSink(ColumnSinks &sinks, const std::string &name, const ColumnKind &kind, int file) {
  sinks.push_back(std::make_unique<ColumnSink>(name, kind.element, kind.form != ColumnKind::kScalar, kind.size, file));
}

// Reads the columns cluster by cluster, so that each is fetched once with all its columns.
void FillFromTree(TTree &tree, ColumnSinks &sinks, Long64_t first, Long64_t last) {
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
void AppendBulk<std::string>(const void *values, std::size_t entries, ColumnSink &sink) {
  const auto *texts = static_cast<const std::string *>(values);
  for (std::size_t i = 0; i < entries; ++i) {
    std::memcpy(sink.Extend(texts[i].size()), texts[i].data(), texts[i].size());
    sink.End(1, texts[i].size());
  }
}

using BulkAppender = void (*)(const void *, std::size_t, ColumnSink &);
BulkAppender AppenderOf(char element) {
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

void FillFromNtuple(const std::string &name, const std::string &file, const std::vector<std::string> &types,
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
