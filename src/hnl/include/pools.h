// The generator pools, read once per process.
#ifndef HNL_POOLS_H
#define HNL_POOLS_H

#include "helix.h"
#include "random.h"
#include "simulate.h"

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

struct PoolMeson {
  Momentum momentum;
  Point origin; // cm, relative to the collision
  bool from_b = false;
};

struct MesonPool {
  std::vector<PoolMeson> mesons;
  std::vector<double> cumulative[3]; // by origin
};

struct PoolTrack {
  Momentum momentum;
  int pdg = 0;
  int vertex = 0; // index within the event
};

// A weakly decaying hadron, at the collision.
struct PoolHadron {
  Momentum momentum;
  std::size_t species = 0; // index
  bool anti = false;
  std::size_t hard[3] = {}; // how many decays of each class can make a muon that fires the trigger: the first ones
  double hard_share = 0.0; // their share of all decays
};

// Charged product of a decay at rest.
struct Product {
  Momentum momentum;
  int pdg = 0;
  int vertex = 0; // index within the decay; 0: where the hadron decays
  int mother = 0; // PDG number, of muons
};

// Displacement from the hadron's decay, in its rest frame. Lengths in cm.
struct Displacement {
  Point space;
  double time = 0.0;
};

// Decays of a species are in three classes: with no muon, one, and more.
struct Species {
  double mass = 0.0, ctau = 0.0;     // GeV, cm
  double mixing = 0.0;               // mass difference of the oscillation over the width
  double share[3] = {1.0, 0.0, 0.0}; // of each class
  std::size_t first[3] = {}, count[3] = {}; // decays; those with the most energetic muon first
};

struct Pools {
  MesonPool ds, dplus;
  std::vector<PoolHadron> hadrons;
  std::vector<std::size_t> first_hadron; // of each event, the hardest first; one more than there are events
  std::vector<double> event_cumulative;  // cross section with a hard decay
  std::vector<PoolTrack> tracks;         // of some events: those that are not from heavy hadrons
  std::vector<Point> vertices;
  std::vector<std::size_t> first_track, first_vertex;
  std::vector<double> tracks_cumulative;
  std::vector<Species> species;
  std::vector<Product> products; // muons first within each decay
  std::vector<Displacement> displacements;
  std::vector<std::size_t> first_product, first_displacement;
  std::vector<PoolTrack> minbias_tracks;
  std::vector<Point> minbias_vertices;
  std::vector<std::size_t> first_minbias_track, first_minbias_vertex;
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

inline MesonPool read_mesons(const PoolFile &file, const char *tree) {
  const auto momenta = read_momenta(file, tree);
  const auto origins = read_points(file, tree, 0.1);
  const auto from_b = file.read<std::int8_t>(tree, "from_b");
  const auto weight = file.read<float>(tree, "weight");
  MesonPool out;
  std::vector<double> prompt(weight), b(weight);
  for (std::size_t i = 0; i < momenta.size(); ++i) {
    out.mesons.push_back({momenta[i], from_b[i] != 0.0 ? origins[i] : Point{}, from_b[i] != 0.0});
    (from_b[i] != 0.0 ? prompt : b)[i] = 0.0;
  }
  out.cumulative[static_cast<int>(Origin::all)] = running_sum(weight);
  out.cumulative[static_cast<int>(Origin::prompt)] = running_sum(prompt);
  out.cumulative[static_cast<int>(Origin::b)] = running_sum(b);
  return out;
}

// Where each group starts, and the end of the last.
template <typename T> std::vector<std::size_t> read_starts(const PoolFile &file, const char *tree, const char *column) {
  std::vector<std::size_t> out = {0};
  for (const double count : file.read<T>(tree, column))
    out.push_back(out.back() + static_cast<std::size_t>(count));
  return out;
}

// PDG number of a particle stored as a code whose sign is the charge.
inline int pdg_of_code(double code) {
  static constexpr int numbers[6] = {0, -11, -13, 211, 321, 2212}; // of positive particles
  return numbers[static_cast<int>(std::abs(code))] * (code > 0 ? 1 : -1);
}

// The decays, and the PDG number of each species.
inline std::vector<double> read_library(Pools &pools, const PoolFile &file) {
  const auto column = [&](const char *name) { return file.read<double>("species", name); };
  const auto mass = column("mass"), ctau = column("ctau"), mixing = column("mixing");
  const std::vector<double> shares[3] = {column("share_0"), column("share_1"), column("share_2")};
  const auto count = [&](const char *name) { return file.read<std::int32_t>("species", name); };
  const std::vector<double> counts[3] = {count("decays_0"), count("decays_1"), count("decays_2")};
  std::size_t first = 0;
  for (std::size_t i = 0; i < mass.size(); ++i) {
    Species species{mass[i], ctau[i], mixing[i]};
    for (int k = 0; k < 3; ++k) {
      species.share[k] = shares[k][i];
      species.first[k] = first;
      first += species.count[k] = static_cast<std::size_t>(counts[k][i]);
    }
    pools.species.push_back(species);
  }
  static constexpr double unit = 1e-4; // GeV
  const auto x = file.read<std::int16_t>("products", "px"), y = file.read<std::int16_t>("products", "py"),
             z = file.read<std::int16_t>("products", "pz");
  const auto code = file.read<std::int8_t>("products", "code");
  const auto vertex = file.read<std::uint8_t>("products", "vertex");
  const auto mother = file.read<std::int32_t>("products", "mother");
  for (std::size_t i = 0; i < x.size(); ++i)
    pools.products.push_back(
        {{unit * x[i], unit * y[i], unit * z[i]}, pdg_of_code(code[i]), int(vertex[i]), int(mother[i])});
  const auto space = read_points(file, "decay_vertices", 0.1);
  const auto time = file.read<float>("decay_vertices", "t");
  for (std::size_t i = 0; i < space.size(); ++i)
    pools.displacements.push_back({space[i], 0.1 * time[i]});
  pools.first_product = read_starts<std::uint8_t>(file, "decays", "products");
  pools.first_displacement = read_starts<std::uint8_t>(file, "decays", "vertices");
  return count("pdg");
}

inline void read_hadrons(Pools &pools, const PoolFile &file, const std::vector<double> &species) {
  const auto momenta = read_momenta(file, "hadrons");
  const auto pdg = file.read<std::int32_t>("hadrons", "pdg");
  const auto one = file.read<std::int16_t>("hadrons", "hard_1"), more = file.read<std::int16_t>("hadrons", "hard_2");
  for (std::size_t i = 0; i < momenta.size(); ++i) {
    const auto at = std::find(species.begin(), species.end(), std::abs(pdg[i]));
    if (at == species.end())
      throw std::runtime_error("the pools have no decays of hadron " + std::to_string(int(pdg[i])));
    pools.hadrons.push_back({momenta[i],
                             std::size_t(at - species.begin()),
                             pdg[i] < 0.0,
                             {0, static_cast<std::size_t>(one[i]), static_cast<std::size_t>(more[i])}});
    PoolHadron &hadron = pools.hadrons.back();
    const Species &of = pools.species[hadron.species];
    for (int kind = 1; kind < 3; ++kind)
      if (of.count[kind] > 0)
        hadron.hard_share += of.share[kind] * double(hadron.hard[kind]) / double(of.count[kind]);
  }
}

inline std::vector<PoolTrack> read_pool_tracks(const PoolFile &file) {
  const auto momenta = read_momenta(file, "tracks");
  const auto code = file.read<std::int8_t>("tracks", "code");
  const auto vertex = file.read<std::uint8_t>("tracks", "vertex");
  std::vector<PoolTrack> out(momenta.size());
  for (std::size_t i = 0; i < momenta.size(); ++i)
    out[i] = {momenta[i], pdg_of_code(code[i]), int(vertex[i])};
  return out;
}

inline void read_events(Pools &pools, const PoolFile &file) {
  read_hadrons(pools, file, read_library(pools, file));
  pools.tracks = read_pool_tracks(file);
  pools.vertices = read_points(file, "vertices", 0.1);
  pools.event_cumulative = running_sum(file.read<double>("events", "weight"));
  pools.tracks_cumulative = running_sum(file.read<double>("events", "tracks_weight"));
  pools.first_hadron = read_starts<std::uint16_t>(file, "events", "hadrons");
  pools.first_track = read_starts<std::uint16_t>(file, "events", "tracks");
  pools.first_vertex = read_starts<std::uint16_t>(file, "events", "vertices");
}

inline void read_minbias(Pools &pools, const PoolFile &file) {
  pools.minbias_tracks = read_pool_tracks(file);
  pools.minbias_vertices = read_points(file, "vertices", 0.1);
  pools.first_minbias_track = read_starts<std::uint16_t>(file, "events", "tracks");
  pools.first_minbias_vertex = read_starts<std::uint16_t>(file, "events", "vertices");
}

inline Pools &mutable_pools() {
  static Pools pools;
  return pools;
}

inline const Pools &pools() { return mutable_pools(); }

} // namespace hnl

#endif
