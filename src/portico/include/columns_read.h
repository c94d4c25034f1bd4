// Values of branches of a TTree, taken out of its baskets as they are: to memory, or to files of the column cache.
#ifndef PORTICO_COLUMNS_READ_H
#define PORTICO_COLUMNS_READ_H

#include "column_kinds.h"

#include <TBasket.h>
#include <TBranch.h>
#include <TBranchElement.h>
#include <TBuffer.h>
#include <TLeaf.h>
#include <TMath.h>
#include <TTree.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace portico {

// A column on its way to a file, or, without one, in memory.
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

  ColumnSink(const std::string &n, char e, bool l, std::size_t s, int file = -1)
      : fFile(file), name(n), element(e), list(l), size(s), offsets(l ? 1 : 0) {}
  std::uint64_t Elements() const { return fElements; }
  const char *Values() const { return fBuffer.data(); } // in memory
  void Clear() {
    fBuffer.clear();
    fElements = 0;
    offsets.resize(list ? 1 : 0);
  }
  // Room for elements that belong to no entry yet.
  char *Extend(std::size_t elements) {
    if (fFile >= 0 && fBuffer.size() >= kBlock)
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

inline void CopySwapped(char *to, const char *from, std::size_t elements, std::size_t size) {
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

} // namespace portico

#endif
