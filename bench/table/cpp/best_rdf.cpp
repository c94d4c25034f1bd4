// The best candidate with RDataFrame in compiled C++: typed columns and lambdas.
#include "best.h"

#include <ROOT/RDataFrame.hxx>
#include <ROOT/RVec.hxx>

using ROOT::RVecF;
using Shorts = ROOT::RVec<short>;

static void best(const char *const *files, int n, const bench::Question &question, double *contents) {
  ROOT::RDataFrame frame("wztree", std::vector<std::string>(files, files + n));
  const auto choose = [=](const Shorts &ds_soft, const Shorts &hnl_soft, const RVecF &pt, const RVecF &eta,
                          const RVecF &significance, const RVecF &ip, const RVecF &ips, const RVecF &mass, const RVecF &prob) {
    int best = -1;
    float lowest = 0;
    for (int i = 0; i < static_cast<int>(pt.size()); ++i) {
      if (!(ds_soft[i] > 0 && hnl_soft[i] > 0 && pt[i] > question.pt && std::abs(eta[i]) < 1.5 && significance[i] > 35.5 &&
            std::abs(ip[i]) > 0.03125 && ips[i] > 2.75))
        continue;
      const float score = question.by_mass ? static_cast<float>(std::abs(mass[i] - 1.96875)) : -prob[i];
      if (best < 0 || score < lowest) {
        best = i;
        lowest = score;
      }
    }
    return best;
  };
  auto chosen = frame
                    .Define("best", choose,
                            {"C_mu_Ds_isSoft", "C_mu_Hnl_isSoft", "C_mu_Ds_pt", "C_mu_Ds_eta", "C_Hnl_vertex_2DSig_BS",
                             "C_pi_BS_ip_xy", "C_mu_Hnl_BS_ips_xy", "C_Ds_mass", "C_Hnl_vertex_prob"})
                    .Filter([](int best) { return best >= 0; }, {"best"});
  std::vector<ROOT::RDF::RResultPtr<TH1D>> booked;
  for (int i = 0; i < bench::of_candidate; ++i) {
    const bench::Axis &axis = bench::axes[i];
    booked.push_back(chosen
                         .Define("value", [](const RVecF &values, int best) { return values[best]; }, {axis.column, "best"})
                         .Histo1D<float>({axis.column, "", question.bins, axis.low, axis.high}, "value"));
  }
  const bench::Axis &last = bench::axes[bench::of_candidate];
  booked.push_back(chosen.Histo1D<int>({last.column, "", question.bins, last.low, last.high}, last.column));
  std::vector<TH1D> histograms;
  for (auto &result : booked)
    histograms.push_back(*result);
  bench::copy(histograms, contents);
}

extern "C" int best_rdf(const char *const *files, int n, double pt, int bins, int by_mass, double *contents) {
  return bench::run([&] { best(files, n, {pt, bins, by_mass != 0}, contents); });
}
