// Functions that expressions may call: corrections from correctionlib, and look-ups of values by run, lumi and event.
#ifndef PORTICO_CORRECTIONS_H
#define PORTICO_CORRECTIONS_H

#include "shared.h"

#include <correction.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace portico {

using Value = correction::Variable::Type;

template <typename T>
constexpr bool is_number = std::is_arithmetic_v<T>;
template <typename T>
constexpr bool is_text = std::is_convertible_v<T, std::string>;

// Types of inputs. Assigning to an existing value needs no allocation.
struct Real {
  static Value start() { return 0.0; }
  template <typename T>
  static constexpr bool takes = is_number<T>;
  template <typename T>
  static bool set(Value &value, const T &given) {
    std::get<double>(value) = static_cast<double>(given);
    return !std::isnan(std::get<double>(value));
  }
};
struct Integer {
  static Value start() { return std::int64_t(0); }
  template <typename T>
  static constexpr bool takes = is_number<T>;
  template <typename T>
  static bool set(Value &value, const T &given) {
    if constexpr (std::is_floating_point_v<T>) { // a column may store integers as float
      if (!(std::abs(given) < T(1ull << 53)) || std::floor(given) != given)
        return false;
    } else if constexpr (std::is_unsigned_v<T> && sizeof(T) == sizeof(std::int64_t)) { // would become negative
      if (given > static_cast<T>(std::numeric_limits<std::int64_t>::max()))
        return false;
    }
    std::get<std::int64_t>(value) = static_cast<std::int64_t>(given);
    return true;
  }
};
struct Text {
  static Value start() { return std::string(); }
  template <typename T>
  static constexpr bool takes = is_text<T>;
  template <typename T>
  static bool set(Value &value, const T &given) {
    std::get<std::string>(value) = given;
    return true;
  }
};

// The inputs of a correction, in order.
template <typename... Inputs>
struct Signature {
  static std::vector<Value> start() { return {Inputs::start()...}; }
  template <typename... Arguments>
  static constexpr bool takes() {
    if constexpr (sizeof...(Arguments) != sizeof...(Inputs))
      return false;
    else
      return (Inputs::template takes<Arguments> && ...);
  }
  template <typename... Arguments>
  static bool set(std::vector<Value> &values, const Arguments &...arguments) {
    std::size_t i = 0;
    return (Inputs::set(values[i++], arguments) && ...);
  }
};

inline void write(std::ostream &out, const std::string &value) { out << '"' << value << '"'; }
template <typename T, typename = std::enable_if_t<is_number<T>>>
void write(std::ostream &out, T value) {
  if (value != value)
    out << "nan"; // without a sign
  else
    out << +value;
}

// One correction, with its title, the names of its inputs and their valid values for messages.
class Evaluator {
public:
  Evaluator(const std::string &json, const std::string &name, bool compound, std::string title,
            std::vector<std::string> inputs, std::string covers)
      : fTitle(std::move(title)), fInputs(std::move(inputs)), fCovers(std::move(covers)) {
    const auto set = correction::CorrectionSet::from_string(json.c_str());
    if (compound)
      fCompound = set->compound().at(name);
    else
      fSimple = set->at(name);
  }

  // `values` is storage for the arguments, made by the signature and used again in each call.
  template <typename Signature, typename... Arguments>
  double evaluate(std::vector<Value> &values, const Arguments &...arguments) const {
    if (!Signature::set(values, arguments...))
      refuse("not-a-number, or a fraction or 2^63 or more for an integer input", arguments...);
    double result;
    try {
      result = fSimple ? fSimple->evaluate(values) : fCompound->evaluate(values);
    } catch (const std::exception &error) {
      refuse(error.what(), arguments...);
    }
    if (!std::isfinite(result))
      refuse("the result is not finite", arguments...);
    return result;
  }

private:
  template <typename... Arguments>
  [[noreturn]] void refuse(const std::string &why, const Arguments &...arguments) const {
    std::ostringstream out;
    out.precision(std::numeric_limits<double>::max_digits10);
    out << fTitle << " has no value for ";
    std::size_t i = 0;
    ((out << (i ? ", " : "") << fInputs[i] << " = ", write(out, arguments), ++i), ...);
    out << fCovers << " (" << why << ")";
    throw std::runtime_error(out.str());
  }

  std::shared_ptr<const correction::Correction> fSimple;
  std::shared_ptr<const correction::CompoundCorrection> fCompound;
  std::string fTitle;
  std::vector<std::string> fInputs;
  std::string fCovers;
};

// A value for each event, found by a block (run and luminosity block in one number) and the event number.
class Table {
public:
  // Arrays with `size` numbers. Keys must be unique.
  Table(const std::uint64_t *block, const std::uint64_t *event, const double *value, std::size_t size, std::string title,
        bool refuses, double missing)
      : fTitle(std::move(title)), fRefuses(refuses), fMissing(missing) {
    fValues.reserve(size);
    for (std::size_t i = 0; i < size; ++i)
      fValues.emplace(Key{block[i], event[i]}, value[i]);
  }

  template <typename Run, typename Lumi, typename Event>
  double find(Run run, Lumi lumi, Event event) const {
    const std::uint64_t r = number(run, "run"), l = number(lumi, "lumi"), e = number(event, "event");
    if (r > std::numeric_limits<std::uint32_t>::max() || l > std::numeric_limits<std::uint32_t>::max())
      throw std::runtime_error(fTitle + " is called with " + name(r, l, e) +
                               "; its arguments are run, lumi, event, in this order");
    const auto found = fValues.find({r << 32 | l, e});
    if (found != fValues.end())
      return found->second;
    if (fRefuses)
      throw std::runtime_error(fTitle + " has no entry for " + name(r, l, e) +
                               "; set a value for events without an entry with 'missing'");
    return fMissing;
  }

private:
  struct Key {
    std::uint64_t block, event;
    bool operator==(const Key &other) const { return block == other.block && event == other.event; }
  };
  struct Hash {
    std::size_t operator()(const Key &key) const { return key.block * 0x9E3779B97F4A7C15ull ^ key.event; }
  };

  // A negative integer is the bit pattern of a large number; a floating-point number must be an exact integer.
  template <typename T>
  std::uint64_t number(T value, const char *what) const {
    if constexpr (std::is_floating_point_v<T>) {
      if (!(value >= 0 && value < T(1ull << std::numeric_limits<T>::digits)) || std::floor(value) != value)
        throw std::runtime_error(fTitle + " is called with " + what + " = " + std::to_string(value) +
                                 ", which is not an integer, or too large to be exact in its type");
      return static_cast<std::uint64_t>(value);
    } else {
      return static_cast<std::make_unsigned_t<T>>(value);
    }
  }

  static std::string name(std::uint64_t run, std::uint64_t lumi, std::uint64_t event) {
    return "run " + std::to_string(run) + ", lumi " + std::to_string(lumi) + ", event " + std::to_string(event);
  }

  std::unordered_map<Key, double, Hash> fValues;
  std::string fTitle;
  bool fRefuses;
  double fMissing;
};

// Run, luminosity block and event may be of any numeric type.
template <typename... Arguments>
constexpr bool are_keys =
    sizeof...(Arguments) == 3 && ((std::is_arithmetic_v<Arguments> && !std::is_same_v<Arguments, bool>)&&...);

// All corrections or tables of the process, by a digest of their content. References to elements stay valid.
#ifdef PORTICO_LOADED_corrections_calls
std::map<std::string, Evaluator> &corrections();
std::map<std::string, Table> &tables();
#else
PORTICO_SHARED std::map<std::string, Evaluator> &corrections() {
  static std::map<std::string, Evaluator> all;
  return all;
}
PORTICO_SHARED std::map<std::string, Table> &tables() {
  static std::map<std::string, Table> all;
  return all;
}
#endif

} // namespace portico

#endif
