// The generator pools, read once per process.
#ifndef HNL_POOLS_H
#define HNL_POOLS_H

#include "helix.h"
#include "random.h"

#include "TFile.h"
#include "TTree.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace hnl {

struct PoolDs {
  Momentum momentum;
  Point origin; // cm, relative to the collision
  bool from_b = false;
};

struct PoolTrack {
  Momentum momentum;
  int pdg = 0;
  int vertex = 0;   // index within the event
  int ancestor = 0; // charm or beauty hadron it comes from, 0 for none
  int mother = 0;   // PDG number
};

struct Pools {
  std::vector<PoolDs> ds;
  std::vector<double> ds_cumulative;
  std::vector<PoolTrack> tracks;
  std::vector<Point> vertices;
  std::vector<std::size_t> first_track, first_vertex; // one more than there are events
  std::vector<std::size_t> hardest_muon;              // track that made the event enter the pool
  std::vector<double> event_cumulative;
};

// Index drawn in proportion to the weights of a running sum.
inline std::size_t draw_index(const std::vector<double> &cumulative, Random &random) {
  const double at = random.uniform() * cumulative.back();
  return std::upper_bound(cumulative.begin(), cumulative.end() - 1, at) - cumulative.begin();
}

// A file of the pools: trees of plain numbers.
class PoolFile {
public:
  explicit PoolFile(const std::string &path) : file_(TFile::Open(path.c_str())) {
    if (!file_ || file_->IsZombie())
      throw std::runtime_error("cannot open the pool file " + path);
  }

  // One column of a tree, as doubles.
  template <typename T> std::vector<double> read(const char *tree_name, const char *column) const {
    auto *tree = file_->Get<TTree>(tree_name);
    TBranch *branch = tree ? tree->GetBranch(column) : nullptr;
    if (!branch)
      throw std::runtime_error(std::string("the pool file ") + file_->GetName() + " has no column " + tree_name + "." +
                               column);
    T value{};
    branch->SetAddress(&value);
    std::vector<double> out(tree->GetEntries());
    for (std::size_t i = 0; i < out.size(); ++i) {
      branch->GetEntry(i);
      out[i] = static_cast<double>(value);
    }
    branch->ResetAddress();
    return out;
  }

private:
  std::unique_ptr<TFile> file_;
};

inline std::vector<double> running_sum(const std::vector<double> &weights) {
  std::vector<double> out(weights.size());
  double sum = 0.0;
  for (std::size_t i = 0; i < weights.size(); ++i)
    out[i] = sum += weights[i];
  return out;
}

inline std::vector<Point> read_points(const PoolFile &file, const char *tree, double scale) {
  const auto x = file.read<float>(tree, "x"), y = file.read<float>(tree, "y"), z = file.read<float>(tree, "z");
  std::vector<Point> out(x.size());
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = {x[i] * scale, y[i] * scale, z[i] * scale};
  return out;
}

inline std::vector<Momentum> read_momenta(const PoolFile &file, const char *tree) {
  const auto x = file.read<float>(tree, "px"), y = file.read<float>(tree, "py"), z = file.read<float>(tree, "pz");
  std::vector<Momentum> out(x.size());
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = {x[i], y[i], z[i]};
  return out;
}

inline void read_ds(Pools &pools, const PoolFile &file) {
  const auto momenta = read_momenta(file, "ds");
  const auto origins = read_points(file, "ds", 0.1);
  const auto from_b = file.read<std::int8_t>("ds", "from_b");
  pools.ds_cumulative = running_sum(file.read<float>("ds", "weight"));
  for (std::size_t i = 0; i < momenta.size(); ++i)
    pools.ds.push_back({momenta[i], from_b[i] != 0.0 ? origins[i] : Point{}, from_b[i] != 0.0});
}

inline void read_events(Pools &pools, const PoolFile &file) {
  static constexpr int numbers[6] = {0, -11, -13, 211, 321, 2212}; // of positive particles, by code
  const auto momenta = read_momenta(file, "tracks");
  const auto code = file.read<std::int8_t>("tracks", "code");
  const auto vertex = file.read<std::uint8_t>("tracks", "vertex");
  const auto ancestor = file.read<std::uint8_t>("tracks", "ancestor");
  const auto mother = file.read<std::int32_t>("tracks", "mother");
  for (std::size_t i = 0; i < momenta.size(); ++i) {
    const int pdg = numbers[static_cast<int>(std::abs(code[i]))] * (code[i] > 0 ? 1 : -1);
    pools.tracks.push_back({momenta[i], pdg, int(vertex[i]), int(ancestor[i]), int(mother[i])});
  }
  pools.vertices = read_points(file, "vertices", 0.1);
  pools.event_cumulative = running_sum(file.read<float>("events", "weight"));
  pools.first_track = {0};
  pools.first_vertex = {0};
  for (const double count : file.read<std::uint16_t>("events", "tracks"))
    pools.first_track.push_back(pools.first_track.back() + static_cast<std::size_t>(count));
  for (const double count : file.read<std::uint16_t>("events", "vertices"))
    pools.first_vertex.push_back(pools.first_vertex.back() + static_cast<std::size_t>(count));
  for (std::size_t e = 0; e + 1 < pools.first_track.size(); ++e) {
    double pt = 0.0;
    pools.hardest_muon.push_back(pools.first_track[e]);
    for (std::size_t i = pools.first_track[e]; i < pools.first_track[e + 1]; ++i)
      if (std::abs(pools.tracks[i].pdg) == 13 && pools.tracks[i].momentum.pt() > pt) {
        pt = pools.tracks[i].momentum.pt();
        pools.hardest_muon.back() = i;
      }
  }
}

inline Pools &mutable_pools() {
  static Pools pools;
  return pools;
}

inline const Pools &pools() { return mutable_pools(); }

// Read the two files, unless this process has them already.
inline void load_pools(const std::string &ds_path, const std::string &background_path) {
  Pools &pools = mutable_pools();
  if (!pools.ds.empty())
    return;
  Pools fresh;
  read_ds(fresh, PoolFile(ds_path));
  read_events(fresh, PoolFile(background_path));
  pools = std::move(fresh);
}

} // namespace hnl

#endif
