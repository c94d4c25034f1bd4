// Where the values of a column lie in memory.
#ifndef PORTICO_CURSOR_H
#define PORTICO_CURSOR_H

#include <ROOT/RVec.hxx>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>

namespace portico {

// The elements of a list in one entry.
template <typename T>
struct Span {
  const T *values;
  std::size_t count;
  std::size_t size() const { return count; }
  const T &operator[](std::size_t i) const { return values[i]; }
};

// Where the values of a column are in the present block: objects that follow each other, or the elements of lists.
class Cursor {
  using View = ROOT::RVec<std::uint64_t>; // as in ViewReader
  char *fValues = nullptr;
  std::size_t fSize = 0; // of an object or element
  const std::uint32_t *fOffsets = nullptr;
  std::uint64_t fFirst = 0;
  View fView;

public:
  void move(const void *values, std::size_t size, const std::uint32_t *offsets, std::uint64_t first) {
    fValues = static_cast<char *>(const_cast<void *>(values));
    fSize = size;
    fOffsets = offsets;
    fFirst = first;
  }
  // A number, or a list as an RVec, which stays until the next call.
  const void *at(std::uint64_t entry) {
    const auto i = entry - fFirst;
    if (!fOffsets)
      return fValues + i * fSize;
    const auto *offsets = fOffsets + i;
    char *begin = fValues + offsets[0] * fSize;
    __builtin_prefetch(offsets + 64); // more columns than the processor follows by itself
    __builtin_prefetch(begin + 512);
    fView.~View();
    return new (&fView) View(reinterpret_cast<std::uint64_t *>(begin), offsets[1] - offsets[0]);
  }
  // Has the processor fetch what will be read soon: first where a list begins, then its elements.
  void fetch_offsets(std::uint64_t entry) const {
    if (fOffsets)
      __builtin_prefetch(fOffsets + (entry - fFirst));
  }
  void fetch_values(std::uint64_t entry) const {
    if (fOffsets)
      __builtin_prefetch(fValues + fOffsets[entry - fFirst] * fSize);
  }
  // Where the lists of an entry and of those that follow begin among the values; null if these are no flat memory.
  const std::uint32_t *offsets(std::uint64_t entry) const { return fOffsets ? fOffsets + (entry - fFirst) : nullptr; }
  template <typename T>
  const T *values() const {
    return reinterpret_cast<const T *>(fValues);
  }
  template <typename T>
  Span<T> list(std::uint64_t entry) const {
    const auto i = entry - fFirst;
    if (!fOffsets) {
      const auto &list = *reinterpret_cast<const ROOT::RVec<T> *>(fValues + i * fSize);
      return {list.data(), list.size()};
    }
    const auto *offsets = fOffsets + i;
    const auto *begin = reinterpret_cast<const T *>(fValues) + offsets[0];
    __builtin_prefetch(offsets + 64);
    __builtin_prefetch(begin + 512 / sizeof(T));
    return {begin, offsets[1] - offsets[0]};
  }
};

// Whether some columns have lists of the same lengths in a range of entries, all of them in flat memory.
__attribute__((noinline)) inline bool are_equally_long(Cursor *const *cursors, std::initializer_list<int> columns,
                                                       std::uint64_t first, std::uint64_t last) {
  const std::uint32_t *one = nullptr;
  for (const int column : columns) {
    const auto *offsets = cursors[column]->offsets(first);
    if (!offsets || (one && std::memcmp(one, offsets, (last - first + 1) * sizeof(*one)) != 0))
      return false;
    one = offsets;
  }
  return one;
}

} // namespace portico

#endif
