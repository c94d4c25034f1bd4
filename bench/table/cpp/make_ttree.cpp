// Writes made events as a TTree, zstd: with branches of std::vector, or of arrays with their lengths as NanoAOD has them.
#include "events.h"

#include <TFile.h>
#include <TTree.h>

#include <type_traits>

namespace {

template <typename T>
const char *leaf() {
  return std::is_same_v<T, float> ? "F" : std::is_same_v<T, short> ? "S" : std::is_same_v<T, int> ? "I"
       : std::is_same_v<T, std::uint32_t> ? "i" : "l";
}

void make(const char *path, const char *name, const char *text, bool arrays, long first, long last, int seed) {
  bench::Events events(text, seed);
  TFile file(path, "RECREATE", "", 505);
  if (file.IsZombie())
    throw std::runtime_error("the file cannot be written");
  TTree *tree = new TTree(name, ""); // of the file
  if (arrays)
    for (auto &[collection, lengths] : events.lengths)
      tree->Branch(("n" + collection).c_str(), &lengths.now, ("n" + collection + "/I").c_str());
  for (auto &column : events.columns)
    std::visit(
        [&](auto &typed) {
          using T = typename std::decay_t<decltype(typed)>::Element;
          const std::string &branch = column->spec.name;
          if (!column->of)
            tree->Branch(branch.c_str(), &typed.value, (branch + "/" + leaf<T>()).c_str());
          else if (arrays) {
            typed.values.reserve(64); // more than there ever are: it does not move
            tree->Branch(branch.c_str(), typed.values.data(), (branch + "[n" + column->spec.of + "]/" + leaf<T>()).c_str());
          } else
            tree->Branch(branch.c_str(), &typed.address);
        },
        column->typed);
  for (long event = first; event < last; ++event) {
    events.next(event);
    if (tree->Fill() < 0)
      throw std::runtime_error("the file cannot be written");
  }
  file.Write();
}

} // namespace

extern "C" int make_ttree(const char *path, const char *name, const char *text, int arrays, long first, long last, int seed) {
  return bench::write(path, [&] { make(path, name, text, arrays != 0, first, last, seed); });
}
