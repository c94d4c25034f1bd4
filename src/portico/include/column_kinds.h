// The types that columns can have in flat memory: numbers, and lists of them.
#ifndef PORTICO_COLUMN_KINDS_H
#define PORTICO_COLUMN_KINDS_H

#include <ROOT/RVec.hxx>

#include <cstddef>
#include <string>
#include <typeinfo>
#include <vector>

namespace portico {

// A type that a column can be read as: its elements, in the letters of Python's module struct, in lists or not.
struct ColumnKind {
  enum Form { kScalar, kView, kVector, kString };
  const std::type_info *type;
  char element;
  std::size_t size;
  Form form;
};

template <typename T>
void AddKinds(std::vector<ColumnKind> &kinds, char element) {
  kinds.push_back({&typeid(T), element, sizeof(T), ColumnKind::kScalar});
  kinds.push_back({&typeid(ROOT::RVec<T>), element, sizeof(T), ColumnKind::kView});
  kinds.push_back({&typeid(std::vector<T>), element, sizeof(T), ColumnKind::kVector});
}

inline const std::vector<ColumnKind> &ColumnKinds() {
  static const std::vector<ColumnKind> kinds = [] {
    std::vector<ColumnKind> all;
    AddKinds<bool>(all, '?');
    AddKinds<char>(all, 'c');
    AddKinds<signed char>(all, 'b');
    AddKinds<unsigned char>(all, 'B');
    AddKinds<short>(all, 'h');
    AddKinds<unsigned short>(all, 'H');
    AddKinds<int>(all, 'i');
    AddKinds<unsigned int>(all, 'I');
    AddKinds<long>(all, 'l');
    AddKinds<unsigned long>(all, 'L');
    AddKinds<long long>(all, 'q');
    AddKinds<unsigned long long>(all, 'Q');
    AddKinds<float>(all, 'f');
    AddKinds<double>(all, 'd');
    all.push_back({&typeid(std::string), 's', 1, ColumnKind::kString});
    return all;
  }();
  return kinds;
}

inline const ColumnKind *FindKind(const std::type_info &type) {
  for (const auto &kind : ColumnKinds())
    if (*kind.type == type)
      return &kind;
  return nullptr;
}

} // namespace portico

#endif
