// Writes made events as an RNTuple with fields of std::vector, zstd.
#include "events.h"

#include <ROOT/RNTupleModel.hxx>
#include <ROOT/RNTupleWriteOptions.hxx>
#include <ROOT/RNTupleWriter.hxx>

static void make(const char *path, const char *name, const char *text, long first, long last, int seed) {
  bench::Events events(text, seed);
  auto model = ROOT::RNTupleModel::CreateBare();
  for (auto &column : events.columns)
    std::visit(
        [&](auto &typed) {
          using T = typename std::decay_t<decltype(typed)>::Element;
          if (column->of)
            model->MakeField<std::vector<T>>(column->spec.name);
          else
            model->MakeField<T>(column->spec.name);
        },
        column->typed);
  ROOT::RNTupleWriteOptions options;
  options.SetCompression(505);
  options.SetApproxZippedClusterSize(30'000'000); // as a TTree, and so that a file can be cut
  auto writer = ROOT::RNTupleWriter::Recreate(std::move(model), name, path, options);
  auto entry = writer->CreateRawPtrWriteEntry();
  for (auto &column : events.columns)
    std::visit(
        [&](auto &typed) {
          const void *address = column->of ? static_cast<const void *>(&typed.values) : &typed.value;
          entry->BindRawPtr(column->spec.name, address);
        },
        column->typed);
  for (long event = first; event < last; ++event) {
    events.next(event);
    writer->Fill(*entry);
  }
}

extern "C" int make_rntuple(const char *path, const char *name, const char *text, long first, long last, int seed) {
  return bench::write(path, [&] { make(path, name, text, first, last, seed); });
}
