// A column with one value for a chunk, from what RSampleInfo tells of its whole file. Declared when a step needs it.
#ifndef PORTICO_SAMPLE_H
#define PORTICO_SAMPLE_H

#include <ROOT/RDF/InterfaceUtils.hxx>
#include <ROOT/RDF/RInterface.hxx>
#include <ROOT/RDF/RMetaData.hxx>
#include <ROOT/RDF/RSample.hxx>
#include <ROOT/RDF/RSampleInfo.hxx>

#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace portico {

// Where the events of a chunk come from. ROOT's own RSampleInfo would have the range of the chunk.
struct Source {
  ROOT::RDF::Experimental::RSample sample;
  ROOT::RDF::RSampleInfo info;
  Source(const std::string &name, const std::string &id, const std::string &tree, const std::string &file, ULong64_t n,
         const ROOT::RDF::Experimental::RMetaData &metadata)
      : sample(name, tree, file, metadata), info(id, {0, n}, &sample, n) {}
  Source(const Source &) = delete;
};

template <typename F>
class PerSample {
  using Value = std::decay_t<std::invoke_result_t<F &, unsigned int, const ROOT::RDF::RSampleInfo &>>;
  F function;
  std::shared_ptr<Source> source;
  std::optional<Value> value;

public:
  PerSample(F f, std::shared_ptr<Source> s) : function(std::move(f)), source(std::move(s)) {}
  Value operator()() {
    if (!value)
      value.emplace(function(0u, source->info));
    return *value;
  }
};

// As RInterface::DefinePerSample, but with a Define: ROOT aborts where the column meets variations of another one.
template <typename F>
ROOT::RDF::RNode DefinePerSample(ROOT::RDF::RNode node, const std::string &column, const F &function,
                                 const std::string &name, const std::string &id, const std::string &tree,
                                 const std::string &file, ULong64_t entries,
                                 const ROOT::RDF::Experimental::RMetaData &metadata) {
  auto source = std::make_shared<Source>(name, id, tree, file, entries, metadata);
  return node.Define(column, PerSample<F>(function, source), {});
}

} // namespace portico
#endif
