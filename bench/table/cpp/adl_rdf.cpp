// The ADL queries, and the four leptons as the ninth, with RDataFrame in compiled C++: typed columns and lambdas.
#include "../adl/adl.cc"
#include "best.h"

#include <ROOT/RDataFrame.hxx>

using adl::Floats;
using adl::Ints;

static std::vector<ROOT::RDF::RResultPtr<TH1D>> booked(int query, ROOT::RDataFrame &frame) {
  const ROOT::RDF::TH1DModel met("MET_pt", "", 128, 0, 256), pt("Jet_pt", "", 128, 0, 256);
  const std::vector<std::string> muon{"Muon_pt", "Muon_eta", "Muon_phi", "Muon_mass", "Muon_charge"};
  switch (query) {
  case 1: return {frame.Histo1D<float>(met, "MET_pt")};
  case 2: return {frame.Histo1D<Floats>(pt, "Jet_pt")};
  case 3: {
    const auto central = [](const Floats &jets, const Floats &eta) { return jets[abs(eta) < 1]; };
    return {frame.Define("central_pt", central, {"Jet_pt", "Jet_eta"}).Histo1D<Floats>(pt, "central_pt")};
  }
  case 4: {
    const auto two = [](const Floats &jets) { return ROOT::VecOps::Sum(jets > 40) >= 2; };
    return {frame.Filter(two, {"Jet_pt"}).Histo1D<float>(met, "MET_pt")};
  }
  case 5: return {frame.Filter(adl::has_z, muon).Histo1D<float>(met, "MET_pt")};
  case 6: {
    auto chosen = frame.Filter([](const Floats &jets) { return jets.size() >= 3; }, {"Jet_pt"})
                      .Define("trijet", adl::trijet, {"Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass", "Jet_btag"})
                      .Define("trijet_pt", [](const ROOT::RVecD &trijet) { return trijet[0]; }, {"trijet"})
                      .Define("trijet_btag", [](const ROOT::RVecD &trijet) { return trijet[1]; }, {"trijet"});
    return {chosen.Histo1D<double>({"trijet_pt", "", 128, 0, 256}, "trijet_pt"),
            chosen.Histo1D<double>({"trijet_btag", "", 128, -1, 1}, "trijet_btag")};
  }
  case 7:
    return {frame
                .Define("ht", adl::isolated_ht,
                        {"Jet_pt", "Jet_eta", "Jet_phi", "Muon_pt", "Muon_eta", "Muon_phi", "Electron_pt", "Electron_eta",
                         "Electron_phi"})
                .Filter([](double ht) { return ht >= 0; }, {"ht"})
                .Histo1D<double>({"ht", "", 128, 0, 512}, "ht")};
  case 8: {
    const auto mass = [](float met, float met_phi, const Floats &a, const Floats &b, const Floats &c, const Floats &d,
                         const Ints &e, const Floats &f, const Floats &g, const Floats &h, const Floats &i, const Ints &j) {
      return adl::transverse_mass(met, met_phi, a, b, c, d, e, f, g, h, i, j);
    };
    return {frame
                .Define("transverse_mass", mass,
                        {"MET_pt", "MET_phi", "Muon_pt", "Muon_eta", "Muon_phi", "Muon_mass", "Muon_charge", "Electron_pt",
                         "Electron_eta", "Electron_phi", "Electron_mass", "Electron_charge"})
                .Filter([](double mass) { return mass >= 0; }, {"transverse_mass"})
                .Histo1D<double>({"transverse_mass", "", 128, 0, 256}, "transverse_mass")};
  }
  case 9: {
    const auto masses = [](const Floats &a, const Floats &b, const Floats &c, const Floats &d, const Ints &e, const Floats &f,
                           const Floats &g, const Floats &h, const Floats &i, const Floats &j, const Floats &k,
                           const Floats &l, const Floats &m, const Floats &n, const Ints &o, const Floats &p, const Floats &q,
                           const Floats &r, const Floats &s, const Floats &t) {
      return adl::four_leptons({a, b, c, d, e, f, g, h, i, j}, {k, l, m, n, o, p, q, r, s, t});
    };
    std::vector<std::string> columns;
    for (const char *lepton : {"Muon_", "Electron_"})
      for (const char *name : {"pt", "eta", "phi", "mass", "charge", "pfRelIso03_all", "dxy", "dxyErr", "dz", "dzErr"})
        columns.push_back(std::string(lepton) + name);
    return {frame.Define("mass", masses, columns).Histo1D<ROOT::RVecD>({"mass", "", 128, 64, 320}, "mass")};
  }
  }
  throw std::runtime_error("no such query");
}

extern "C" int adl_rdf(const char *const *files, int n, int query, double *contents) {
  return bench::run([&] {
    ROOT::RDataFrame frame("Events", std::vector<std::string>(files, files + n));
    std::vector<TH1D> histograms;
    for (auto &result : booked(query, frame))
      histograms.push_back(*result);
    bench::copy(histograms, contents);
  });
}
