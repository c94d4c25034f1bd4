// The selection of the reference analysis as an expert writes it by hand: one loop with TTreeReader, columns read when an
// event needs them, one best candidate (by mass) per selection, nominal weights, histograms. bench/selection.py builds and runs it.
//
// Usage: selection_loop HISTOGRAMS CORRECTIONS OUT NORMALISATION FILE... ; prints seconds of the loop: by the clock, of CPU.
// HISTOGRAMS: lines "name column bins low high". CORRECTIONS: folder with a file for each correction, which clamp.
#include <TChain.h>
#include <TFile.h>
#include <TH1D.h>
#include <TTreeReader.h>
#include <TTreeReaderArray.h>
#include <TTreeReaderValue.h>
#include <correction.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace {

using Floats = TTreeReaderArray<float>;
using Values = std::vector<correction::Variable::Type>;

struct Category {
  const char *name;
  bool same_sign;
  double min_lxy, max_lxy, min_significance, min_pion_ip, min_muon_ips;
};
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr Category categories[] = {
    {"SSlxy0to1", true, -infinity, 1, 35.3, 0.03, 2.8},  {"SSlxy1to5", true, 1, 5, 107.0, 0.03, 2.6},
    {"SSlxy5toInf", true, 5, infinity, 191.8, 0.03, 3.0}, {"OSlxy0to1", false, -infinity, 1, 38.2, 0.05, 3.5},
    {"OSlxy1to5", false, 1, 5, 120.5, 0.03, 2.2},        {"OSlxy5toInf", false, 5, infinity, 255.0, 0.03, 3.4}};
constexpr std::size_t selections = 1 + std::size(categories);
constexpr double ds_mass = 1.96835;

// A trigger path that fired on a muon with this index.
struct Fired {
  unsigned index;
  float pt, dr;
};

struct Path {
  TTreeReaderArray<short> matched;
  Floats pt, dr;
  Path(TTreeReader &reader, const std::string &name)
      : matched(reader, ("HLT_" + name + "_matched").c_str()), pt(reader, ("HLT_" + name + "_pt").c_str()),
        dr(reader, ("HLT_" + name + "_dr").c_str()) {}
};

struct Muon {
  TTreeReaderArray<unsigned> index;
  TTreeReaderArray<short> soft;
  TTreeReaderArray<int> charge;
  Floats pt, eta, ips;
  Muon(TTreeReader &reader, const std::string &name)
      : index(reader, (name + "_idx").c_str()), soft(reader, (name + "_isSoft").c_str()),
        charge(reader, (name + "_charge").c_str()), pt(reader, (name + "_pt").c_str()),
        eta(reader, (name + "_eta").c_str()), ips(reader, (name + "_BS_ips_xy").c_str()) {}

  bool fired(std::size_t i, const std::vector<Fired> &paths) {
    const float p = pt[i];
    if (!(p > 7.5 && std::abs(eta[i]) < 1.45))
      return false;
    const auto matches = [&](const Fired &path) { return path.index == index[i] && std::abs(path.pt - p) / p < 0.1; };
    return std::any_of(paths.begin(), paths.end(), matches);
  }
};

// A correction with its arguments in place: numbers, then the word of the nominal value if it has one.
struct Nominal {
  correction::Correction::Ref correction;
  Values values;
  Nominal(const std::string &folder, const std::string &name, std::size_t numbers, bool word) : values(numbers, 0.0) {
    correction = correction::CorrectionSet::from_file(folder + "/" + name + ".json")->begin()->second;
    if (word)
      values.emplace_back("nominal");
  }
  double operator()(double x) {
    values[0] = x;
    return correction->evaluate(values);
  }
  double operator()(double x, double y) {
    values[0] = x;
    values[1] = y;
    return correction->evaluate(values);
  }
};

double trigger_factor(bool fired, double data, double simulation) {
  if (fired)
    return simulation > 0.0 ? data / simulation : 1.0;
  return simulation < 1.0 ? (1.0 - data) / (1.0 - simulation) : 1.0;
}

} // namespace

int main(int argc, char **argv) {
  if (argc < 6) {
    std::fprintf(stderr, "usage: selection_loop HISTOGRAMS CORRECTIONS OUT NORMALISATION FILE...\n");
    return 2;
  }
  const std::string corrections = argv[2];
  const double normalisation = std::atof(argv[4]);
  TChain chain("wztree");
  for (int i = 5; i < argc; ++i)
    chain.Add(argv[i]);
  TTreeReader reader(&chain);

  TTreeReaderArray<unsigned> trigger_index(reader, "HLT_mu_trig_idx");
  std::vector<std::unique_ptr<Path>> paths;
  for (const char *name : {"mu7_ip4", "mu8_ip3", "mu8_ip5", "mu8_ip6", "mu8p5_ip3p5", "mu9_ip4", "mu9_ip5", "mu9_ip6",
                           "mu10p5_ip3p5", "mu12_ip6"})
    paths.push_back(std::make_unique<Path>(reader, name));
  Muon ds(reader, "C_mu_Ds"), hnl(reader, "C_mu_Hnl");
  std::map<std::string, std::unique_ptr<Floats>> columns;
  const auto column = [&](const std::string &name) {
    auto &found = columns[name];
    if (!found)
      found = std::make_unique<Floats>(reader, name.c_str());
    return found.get();
  };
  Floats &mass = *column("C_Ds_mass"), &lxy = *column("C_Hnl_vertex_2DDist_BS"), &pion_ip = *column("C_pi_BS_ip_xy");
  Floats &significance = *column("C_Hnl_vertex_2DSig_BS");
  std::map<std::string, TTreeReaderValue<int>> numbers;
  for (const char *name : {"nPV", "nPU_trueInt"})
    numbers.try_emplace(name, reader, name);
  TTreeReaderValue<int> &pileup_true = numbers.at("nPU_trueInt");

  struct Filled {
    Floats *column = nullptr;
    TTreeReaderValue<int> *number = nullptr;
    const double *computed = nullptr;
    std::vector<TH1D> histograms;
  };
  Floats &n_mass = *column("C_Hnl_mass"), &distance = *column("C_Hnl_vertex_3DDist_PV");
  Floats &px = *column("C_Hnl_px"), &py = *column("C_Hnl_py"), &pz = *column("C_Hnl_pz");
  double corrected_ds = 0, corrected_hnl = 0, proper_length = 0;
  std::vector<Filled> filled;
  std::ifstream list(argv[1]);
  std::string name, from;
  int bins;
  double low, high;
  while (list >> name >> from >> bins >> low >> high) {
    Filled &one = filled.emplace_back();
    if (from == "C_mu_Ds_BS_ips_xy")
      one.computed = &corrected_ds;
    else if (from == "C_mu_Hnl_BS_ips_xy")
      one.computed = &corrected_hnl;
    else if (from == "C_Hnl_l_prop")
      one.computed = &proper_length;
    else if (numbers.count(from))
      one.number = &numbers.at(from);
    else
      one.column = from == "C_mu_Ds_pt" ? &ds.pt : from == "C_mu_Hnl_pt" ? &hnl.pt : column(from);
    for (std::size_t s = 0; s < selections; ++s) {
      const std::string full = (s ? categories[s - 1].name : std::string("inclusive")) + "_" + name;
      one.histograms.emplace_back(full.c_str(), "", bins, low, high).SetDirectory(nullptr);
      one.histograms.back().Sumw2();
    }
  }

  Nominal pileup(corrections, "pileup", 1, true), ips_scale(corrections, "muon_ips_scale", 1, true);
  Nominal data(corrections, "trigger_efficiency_data", 2, true);
  Nominal simulation(corrections, "trigger_efficiency_simulation", 2, false);
  Nominal id(corrections, "muon_id", 2, true), reco(corrections, "muon_reco", 2, true);
  const auto corrected_ips = [&](Muon &muon, std::size_t i) {
    return static_cast<float>(muon.ips[i] * ips_scale(muon.pt[i]));
  };

  std::vector<Fired> fired;
  std::vector<int> bits;
  const std::clock_t cpu = std::clock();
  const auto start = std::chrono::steady_clock::now();
  while (reader.Next()) {
    fired.clear();
    for (auto &path : paths) {
      const std::size_t first = fired.size();
      for (std::size_t j = 0; j < trigger_index.GetSize(); ++j) {
        if (path->matched[j] <= 0)
          continue;
        const Fired now{trigger_index[j], path->pt[j], path->dr[j]};
        std::size_t k = first; // of a muon that is listed twice, the last entry counts
        while (k < fired.size() && fired[k].index != now.index)
          ++k;
        if (k == fired.size())
          fired.push_back(now);
        else
          fired[k] = now;
      }
    }
    fired.erase(std::remove_if(fired.begin(), fired.end(), [](const Fired &path) { return !(path.dr < 0.05); }), fired.end());
    if (fired.empty())
      continue;

    struct {
      int index = -1;
      double score = -infinity;
    } best[selections];
    const std::size_t size = ds.index.GetSize();
    bits.assign(size, 0);
    for (std::size_t i = 0; i < size; ++i) {
      if (!(ds.soft[i] > 0 && hnl.soft[i] > 0))
        continue;
      bits[i] = int(ds.fired(i, fired)) | int(hnl.fired(i, fired)) << 1;
      if (!bits[i])
        continue;
      double score = -static_cast<float>(std::abs(mass[i] - ds_mass));
      if (std::isnan(score))
        score = -infinity;
      const auto offer = [&](std::size_t s) {
        if (best[s].index < 0 || score > best[s].score)
          best[s] = {static_cast<int>(i), score};
      };
      offer(0);
      const bool same_sign = ds.charge[i] * hnl.charge[i] > 0;
      for (std::size_t c = 0; c < std::size(categories); ++c) {
        const Category &cuts = categories[c];
        if (same_sign == cuts.same_sign && lxy[i] >= cuts.min_lxy && lxy[i] < cuts.max_lxy &&
            significance[i] > cuts.min_significance && std::abs(pion_ip[i]) > cuts.min_pion_ip &&
            corrected_ips(hnl, i) > cuts.min_muon_ips)
          offer(c + 1);
      }
    }
    if (best[0].index < 0)
      continue;

    const double of_event = normalisation * pileup(*pileup_true);
    int last = -1;
    double weight = 0;
    for (std::size_t s = 0; s < selections; ++s) {
      const int i = best[s].index;
      if (i < 0)
        continue;
      if (i != last) {
        corrected_ds = corrected_ips(ds, i);
        corrected_hnl = corrected_ips(hnl, i);
        const double p = std::sqrt(double(px[i]) * px[i] + double(py[i]) * py[i] + double(pz[i]) * pz[i]);
        proper_length = distance[i] * n_mass[i] / p;
        const double pt_ds = ds.pt[i], pt_hnl = hnl.pt[i], eta_ds = std::abs(ds.eta[i]), eta_hnl = std::abs(hnl.eta[i]);
        weight = of_event *
                 trigger_factor(bits[i] & 1, data(pt_ds, corrected_ds), simulation(pt_ds, corrected_ds)) *
                 trigger_factor(bits[i] & 2, data(pt_hnl, corrected_hnl), simulation(pt_hnl, corrected_hnl)) *
                 id(pt_ds, eta_ds) * id(pt_hnl, eta_hnl) * reco(pt_ds, eta_ds) * reco(pt_hnl, eta_hnl);
        last = i;
      }
      for (Filled &one : filled)
        one.histograms[s].Fill(one.column ? (*one.column)[i] : one.number ? **one.number : *one.computed, weight);
    }
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  if (reader.GetEntryStatus() != TTreeReader::kEntryBeyondEnd)
    return 1; // ROOT has written why
  std::printf("%.6f %.6f\n", seconds.count(), static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC);
  TFile out(argv[3], "RECREATE");
  for (const Filled &one : filled)
    for (const TH1D &histogram : one.histograms)
      histogram.Write();
  return 0;
}
