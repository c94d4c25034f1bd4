// Sum, Mean, StdDev, Stats, Min and Max as actions whose results do not depend on how entries are grouped. ROOT's
// own sum in floating point, and its TStatistic drops the entries at which the running sum of weights is 0.
//
// What is not a template is not inline either: cling then compiles it once, and not again for each type of column.
#ifndef PORTICO_NUMBERS_H
#define PORTICO_NUMBERS_H

#include <ROOT/RDF/RActionImpl.hxx>
#include <ROOT/RDataFrame.hxx>
#include <RtypesCore.h>
#include <TTreeReader.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace portico {

// An exact sum of doubles and integers, in fixed point: limbs of 32 bits, the first one in units of 2^-1074, and room
// for carries. Three more count infinities, negative infinities and NaNs. After R. M. Neal, Fast exact summation using
// small and large superaccumulators, arXiv:1505.05571. Agrees with `portico.results.exact`.
class ExactSum {
public:
  static constexpr int kLimbs = 70, kUnit = 1074;
  void add(double x);
  void add(Long64_t x);
  void add(ULong64_t x);
  void add(double a, double b); // products keep all digits
  void add(double a, double b, double c);
  void add(const ExactSum &other);
  void append_to(std::vector<Long64_t> &limbs);

private:
  Long64_t fLimbs[kLimbs + 3] = {};
  int fRoom = 1 << 30; // additions until a limb may overflow

  void put(std::uint64_t mantissa, int position, bool negative);
  void carry();
};

void ExactSum::add(double x) {
  std::uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const bool negative = bits >> 63;
  const int exponent = bits >> 52 & 0x7ff;
  const std::uint64_t mantissa = bits & ((1ull << 52) - 1);
  if (exponent == 0x7ff)
    ++fLimbs[kLimbs + (mantissa ? 2 : negative)];
  else if (exponent)
    put(mantissa | 1ull << 52, exponent - 1, negative);
  else
    put(mantissa, 0, negative);
}
void ExactSum::add(Long64_t x) { put(x < 0 ? -static_cast<ULong64_t>(x) : x, kUnit, x < 0); }
void ExactSum::add(ULong64_t x) { put(x, kUnit, false); }
void ExactSum::add(double a, double b) {
  const double product = a * b;
  add(product);
  if (std::isfinite(product))
    add(std::fma(a, b, -product));
}
void ExactSum::add(double a, double b, double c) {
  const double product = b * c;
  add(a, product);
  if (std::isfinite(product))
    add(a, std::fma(b, c, -product));
}
void ExactSum::add(const ExactSum &other) {
  carry();
  for (int i = 0; i < kLimbs + 3; ++i)
    fLimbs[i] += other.fLimbs[i];
  carry();
}
void ExactSum::append_to(std::vector<Long64_t> &limbs) {
  carry();
  limbs.insert(limbs.end(), fLimbs, fLimbs + kLimbs + 3);
}
void ExactSum::put(std::uint64_t mantissa, int position, bool negative) {
  auto shifted = static_cast<unsigned __int128>(mantissa) << (position & 31);
  for (int limb = position >> 5; shifted; ++limb, shifted >>= 32) {
    const Long64_t digits = static_cast<std::uint32_t>(shifted);
    fLimbs[limb] += negative ? -digits : digits;
  }
  if (--fRoom == 0)
    carry();
}
void ExactSum::carry() {
  for (int i = 0; i + 1 < kLimbs; ++i) {
    const Long64_t over = fLimbs[i] >> 32; // rounds down
    fLimbs[i] -= over * (1ll << 32);
    fLimbs[i + 1] += over;
  }
  fRoom = 1 << 30;
}

// The smallest and the largest number, as the type of the column has them; of equal ones the first.
template <typename T>
struct Extremes {
  std::vector<T> low, high; // empty or one number
  void note(T x) {
    if (x != x)
      return;
    if (low.empty() || x < low[0])
      low.assign(1, x);
    if (high.empty() || x > high[0])
      high.assign(1, x);
  }
  void note(const Extremes &other) {
    for (const T x : other.low)
      note(x);
    for (const T x : other.high)
      note(x);
  }
};

enum class Operation { Sum, Mean, StdDev, Stats, Min, Max };

// The numbers that one of the operations needs; the others stay 0.
struct Numbers {
  Operation operation = Operation::Sum;
  std::string column;
  std::function<std::string()> column_type;
  bool weighted = false;
  Long64_t n = 0;
  ExactSum weights, squared_weights, total, squares; // sums of w, w^2, wx, wx^2
  Extremes<double> floats;
  Extremes<Long64_t> integers;
  Extremes<ULong64_t> naturals;

  void fill(double x);
  void fill(Long64_t x);
  void fill(ULong64_t x);
  void weigh(double x, double rest, double weight);
  void add(const Numbers &other);
  void clear();
  std::vector<Long64_t> sums(); // limbs of the four sums, one after the other

private:
  bool bounded() const { return operation >= Operation::Stats; }
  void add(double x, double rest);
};

// What an integer has beyond the nearest double, above 2^53.
double rest_of(double) { return 0; }
double rest_of(Long64_t x) { return static_cast<__int128>(x) - static_cast<__int128>(static_cast<double>(x)); }
double rest_of(ULong64_t x) { return static_cast<__int128>(x) - static_cast<__int128>(static_cast<double>(x)); }

void Numbers::add(double x, double rest) {
  total.add(x);
  if (rest)
    total.add(rest);
  if (operation == Operation::Mean)
    return;
  squares.add(x, x);
  if (rest) {
    squares.add(2 * x, rest);
    squares.add(rest, rest);
  }
}
void Numbers::fill(double x) {
  ++n;
  if (bounded())
    floats.note(x);
  if (operation == Operation::Sum)
    total.add(x);
  else if (!weighted && operation <= Operation::Stats)
    add(x, 0);
}
void Numbers::fill(Long64_t x) {
  ++n;
  if (bounded())
    integers.note(x);
  if (operation == Operation::Sum)
    total.add(x);
  else if (!weighted && operation <= Operation::Stats)
    add(static_cast<double>(x), rest_of(x));
}
void Numbers::fill(ULong64_t x) {
  ++n;
  if (bounded())
    naturals.note(x);
  if (operation == Operation::Sum)
    total.add(x);
  else if (!weighted && operation <= Operation::Stats)
    add(static_cast<double>(x), rest_of(x));
}
void Numbers::weigh(double x, double rest, double weight) {
  weights.add(weight);
  squared_weights.add(weight, weight);
  total.add(weight, x);
  squares.add(weight, x, x);
  if (rest && std::isfinite(weight)) {
    total.add(weight, rest);
    squares.add(weight, 2 * x, rest);
    squares.add(weight, rest, rest);
  }
}
void Numbers::add(const Numbers &other) {
  n += other.n;
  weights.add(other.weights);
  squared_weights.add(other.squared_weights);
  total.add(other.total);
  squares.add(other.squares);
  floats.note(other.floats);
  integers.note(other.integers);
  naturals.note(other.naturals);
}
void Numbers::clear() {
  Numbers fresh;
  fresh.operation = operation;
  fresh.column = column;
  fresh.column_type = column_type;
  fresh.weighted = weighted;
  *this = fresh;
}
std::vector<Long64_t> Numbers::sums() {
  if (!weighted) {
    weights = squared_weights = ExactSum();
    weights.add(n);
    squared_weights.add(n);
  }
  std::vector<Long64_t> limbs;
  for (ExactSum *sum : {&weights, &squared_weights, &total, &squares})
    sum->append_to(limbs);
  return limbs;
}

template <typename T, typename = void>
struct is_list : std::false_type {};
template <typename T>
struct is_list<T, std::void_t<decltype(std::begin(std::declval<const T &>())), typename T::value_type>>
    : std::bool_constant<!std::is_same_v<T, std::string>> {};

// A number as the type in which it is added up.
template <typename T>
using Wide = std::conditional_t<std::is_floating_point_v<T>, double,
                                std::conditional_t<std::is_unsigned_v<T> && !std::is_same_v<T, char>, ULong64_t, Long64_t>>;

class Tally : public ROOT::Detail::RDF::RActionImpl<Tally> {
public:
  using Result_t = Numbers;
  Tally(std::shared_ptr<Numbers> result, unsigned slots);
  Tally(Tally &&) = default;
  Tally(const Tally &) = delete;
  std::shared_ptr<Numbers> GetResultPtr() const { return fResult; }
  void Initialize() {}
  void InitTask(TTreeReader *, unsigned) {}
  void Finalize();
  std::string GetActionName() const { return "Tally"; }
  Tally MakeNew(void *result, std::string_view);

  template <typename T>
  void Exec(unsigned slot, const T &value) {
    if constexpr (is_list<T>::value)
      for (const typename T::value_type element : value)
        Exec(slot, element);
    else if constexpr (std::is_arithmetic_v<T>)
      of(slot).fill(static_cast<Wide<T>>(value));
    else
      refuse();
  }
  template <typename T, typename W>
  void Exec(unsigned slot, const T &value, const W &weight) {
    if constexpr (is_list<T>::value && is_list<W>::value) {
      require_equal(value.size(), weight.size());
      auto w = std::begin(weight);
      for (const typename T::value_type element : value) {
        const typename W::value_type its = *w++;
        Exec(slot, element, its);
      }
    } else if constexpr (is_list<T>::value)
      for (const typename T::value_type element : value)
        Exec(slot, element, weight);
    else if constexpr (std::is_arithmetic_v<T> && std::is_arithmetic_v<W>) {
      const auto x = static_cast<Wide<T>>(value);
      of(slot).fill(x);
      of(slot).weigh(static_cast<double>(x), rest_of(x), static_cast<double>(weight));
    } else
      refuse();
  }

private:
  std::shared_ptr<Numbers> fResult;
  std::shared_ptr<std::vector<Numbers>> fSlots;

  Numbers &of(unsigned slot);
  void refuse() const;
  void require_equal(std::size_t values, std::size_t weights) const;
};

Tally::Tally(std::shared_ptr<Numbers> result, unsigned slots)
    : fResult(std::move(result)), fSlots(std::make_shared<std::vector<Numbers>>(slots, *fResult)) {}
void Tally::Finalize() {
  for (const auto &slot : *fSlots)
    fResult->add(slot);
}
Tally Tally::MakeNew(void *result, std::string_view) {
  auto &fresh = *static_cast<std::shared_ptr<Numbers> *>(result);
  fresh->clear();
  return Tally(fresh, fSlots->size());
}
Numbers &Tally::of(unsigned slot) { return (*fSlots)[slot]; }
void Tally::refuse() const {
  throw std::runtime_error("column '" + fResult->column + "' is a " + fResult->column_type() +
                           ", and Sum, Mean, StdDev, Stats, Min and Max need numbers or lists of numbers");
}
void Tally::require_equal(std::size_t values, std::size_t weights) const {
  if (values != weights)
    throw std::runtime_error("Stats: an entry has " + std::to_string(weights) + " weights for " +
                             std::to_string(values) + " values of column '" + fResult->column + "'");
}

ROOT::RDF::RResultPtr<Numbers> book(ROOT::RDF::RNode node, Operation operation,
                                    const std::vector<std::string> &columns) {
  auto result = std::make_shared<Numbers>();
  result->operation = operation;
  result->weighted = columns.size() > 1;
  result->column = columns[0];
  result->column_type = [node, column = columns[0]]() mutable { return node.GetColumnType(column); };
  return node.Book(Tally(result, node.GetNSlots()), columns);
}

} // namespace portico

#endif
