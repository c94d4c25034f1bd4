// Made events: columns by name, type and distribution, and the numbers in them, the same in every format.
#ifndef BENCH_EVENTS_H
#define BENCH_EVENTS_H
#include <RtypesCore.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

namespace bench {

// xorshift64*, seeded by the number of the file
struct Random {
  std::uint64_t state;
  double operator()() {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return ((state * 0x2545f4914f6cdd1dULL) >> 11) * 0x1.0p-53;
  }
};

struct Lengths {
  int least;
  double mean;
  int now = 0;
  void next(Random &random) {
    double u = random(), p = std::exp(-mean);
    for (now = 0; u > p && now < 20; p *= mean / ++now)
      u -= p;
    now += least;
  }
};

struct Spec {
  std::string name, type, of, shape;
  double a, b;
};

inline double draw(const Spec &spec, Random &random, std::uint64_t event) {
  const double a = spec.a, b = spec.b;
  switch (spec.shape[0]) {
  case 'f': return spec.shape == "flat" ? a + (b - a) * random() : random() < a;
  case 'e': return a - b * std::log(1 - random());
  case 'g': return a + b * std::sqrt(-2 * std::log(1 - random())) * std::cos(2 * M_PI * random());
  case 'l': return std::pow(10, a + (b - a) * random());
  case 'c': return static_cast<double>(event);
  case 's': return (random() < 0.5 ? -1 : 1) * (spec.shape == "signed" ? std::pow(10, a + (b - a) * random()) : 1);
  }
  throw std::runtime_error("no shape " + spec.shape);
}

template <typename T>
struct Typed {
  using Element = T;
  T value{};
  std::vector<T> values, *address = &values;
};

// A column of one value per event, or of as many as the collection has.
struct Column {
  Spec spec;
  Lengths *of;
  std::variant<Typed<float>, Typed<short>, Typed<int>, Typed<std::uint32_t>, Typed<ULong64_t>> typed;

  Column(const Spec &s, Lengths *l) : spec(s), of(l) {
    if (spec.type == "short") typed.emplace<1>();
    else if (spec.type == "int") typed.emplace<2>();
    else if (spec.type == "unsigned") typed.emplace<3>();
    else if (spec.type == "ulong") typed.emplace<4>();
    else if (spec.type != "float") throw std::runtime_error("no type " + spec.type);
  }

  void fill(Random &random, std::uint64_t event) {
    std::visit(
        [&](auto &column) {
          using T = typename std::decay_t<decltype(column)>::Element;
          if (!of) {
            column.value = static_cast<T>(draw(spec, random, event));
            return;
          }
          column.values.resize(of->now);
          for (T &x : column.values)
            x = static_cast<T>(draw(spec, random, event));
        },
        typed);
  }
};

struct Events {
  std::map<std::string, Lengths> lengths;
  std::vector<std::unique_ptr<Column>> columns;
  Random random;

  Events(const char *text, int seed) : random{0x9e3779b97f4a7c15ULL * (static_cast<std::uint64_t>(seed) + 1)} {
    std::istringstream in(text);
    int n = 0;
    for (in >> n; n > 0; --n) {
      std::string collection;
      Lengths l{};
      in >> collection >> l.least >> l.mean;
      lengths[collection] = l;
    }
    for (in >> n; n > 0; --n) {
      Spec spec;
      in >> spec.name >> spec.type >> spec.of >> spec.shape >> spec.a >> spec.b;
      columns.push_back(std::make_unique<Column>(spec, spec.of == "-" ? nullptr : &lengths.at(spec.of)));
    }
    if (!in)
      throw std::runtime_error("the columns cannot be read");
  }

  void next(long event) {
    for (auto &entry : lengths)
      entry.second.next(random);
    for (auto &column : columns)
      column->fill(random, static_cast<std::uint64_t>(event));
  }
};

// Calls a program for ctypes; an exception becomes a message and a status.
template <typename Program>
int write(const char *path, Program program) {
  try {
    program();
    return 0;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "%s: %s\n", path, error.what());
    return 1;
  }
}

} // namespace bench
#endif
