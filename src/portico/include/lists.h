// Columns of lists of any depth, and of texts, as flat arrays of numbers and the lengths of the lists of each level.
#ifndef PORTICO_LISTS_H
#define PORTICO_LISTS_H

#include <RtypesCore.h>

#include <cstddef>
#include <cstring>
#include <iterator>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace portico {

template <typename T, typename = void>
struct Nest {
  using Leaf = T;
  static constexpr int depth = 0;
};
template <typename T>
struct Nest<T, std::void_t<decltype(std::begin(std::declval<const T &>())), typename T::value_type>> {
  using Leaf = typename Nest<typename T::value_type>::Leaf;
  static constexpr int depth = 1 + Nest<typename T::value_type>::depth;
};
template <typename T, typename = void>
struct is_string : std::is_same<T, std::string> {};
template <typename T>
struct is_string<T, std::enable_if_t<!std::is_same_v<T, std::string>, std::void_t<typename T::value_type>>>
    : is_string<typename T::value_type> {};

struct Flat {
  std::string type; // as numpy writes it; empty if the elements are not numbers
  bool text = false;
  std::vector<std::vector<Long64_t>> lengths;
  std::string bytes;
  void copy_to(ULong64_t address) const { std::memcpy(reinterpret_cast<void *>(address), bytes.data(), bytes.size()); }
};

template <std::size_t Level, typename T>
void pour(Flat &flat, const T &value) {
  if constexpr (Nest<T>::depth == 0)
    flat.bytes.append(reinterpret_cast<const char *>(&value), sizeof value);
  else {
    flat.lengths[Level].push_back(std::distance(std::begin(value), std::end(value)));
    for (const typename T::value_type &element : value)
      pour<Level + 1, typename T::value_type>(flat, element);
  }
}

template <typename Rows>
Flat flatten(const Rows &rows) {
  using Row = typename Rows::value_type;
  using Leaf = typename Nest<Row>::Leaf;
  Flat flat;
  flat.text = is_string<Row>::value;
  flat.lengths.resize(Nest<Row>::depth);
  if constexpr (std::is_arithmetic_v<Leaf>) {
    const char kind = std::is_same_v<Leaf, bool> ? 'b' : std::is_floating_point_v<Leaf> ? 'f' : std::is_signed_v<Leaf> ? 'i' : 'u';
    flat.type = kind == 'b' ? std::string("?") : kind + std::to_string(sizeof(Leaf));
    for (const Row &row : rows)
      pour<0, Row>(flat, row);
  }
  return flat;
}

} // namespace portico

#endif
