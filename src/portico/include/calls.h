// Functions that Python calls by ctypes, so that nothing has to be compiled to call them. They throw no exceptions.
#ifndef PORTICO_CALLS_H
#define PORTICO_CALLS_H

#include <cstddef>
#include <cstdlib>
#include <cxxabi.h>
#include <exception>
#include <string>
#include <typeinfo>
#include <vector>

namespace portico {
namespace calls {

using Texts = const char *const *;
inline std::vector<std::string> list(Texts texts, std::size_t size) { return {texts, texts + size}; }

// Why the last call failed: the type of an exception, a colon, and its words.
inline std::string &failure() {
  static std::string words;
  return words;
}
inline const char *words() { return failure().c_str(); }

// Call a function, and return whether that went well.
template <typename F>
bool succeeds(F function) {
  try {
    function();
    return true;
  } catch (const std::exception &error) {
    char *name = abi::__cxa_demangle(typeid(error).name(), nullptr, nullptr, nullptr);
    failure() = std::string(name ? name : "exception") + ": " + error.what();
    std::free(name);
  } catch (...) {
    failure() = "exception: of a type that is none of the standard library";
  }
  return false;
}

template <typename F>
const void *address(F function) {
  return reinterpret_cast<const void *>(function);
}

} // namespace calls
} // namespace portico

#endif
