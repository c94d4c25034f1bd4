// What all programs of the best candidate have in common: the question, and the histograms.
#ifndef BENCH_BEST_H
#define BENCH_BEST_H
#include <TH1D.h>

#include <cmath>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

namespace bench {

struct Question {
  double pt;
  int bins;
  bool by_mass;
};

struct Axis {
  const char *column;
  double low, high;
};
constexpr Axis axes[] = {{"C_Ds_mass", 0, 4},
                         {"C_Hnl_mass", 0, 4},
                         {"C_Hnl_pt", 0, 64},
                         {"C_Hnl_vertex_2DDist_BS", 0, 32},
                         {"C_Hnl_vertex_2DSig_BS", 0, 128},
                         {"C_Hnl_vertex_prob", 0, 1},
                         {"C_Hnl_vertex_cos2D", -1, 1},
                         {"C_mu_Ds_pt", 0, 32},
                         {"C_mu_Ds_eta", -4, 4},
                         {"C_mu_Hnl_pt", 0, 32},
                         {"C_mu_Hnl_BS_ips_xy", 0, 128},
                         {"C_pi_pt", 0, 16},
                         {"C_pi_BS_ip_xy", -1, 1},
                         {"nPV", 0, 64}};
constexpr int of_candidate = std::size(axes) - 1; // all but nPV

inline std::vector<TH1D> histograms(int bins) {
  TH1::AddDirectory(false);
  std::vector<TH1D> made;
  for (const Axis &axis : axes)
    made.emplace_back(axis.column, "", bins, axis.low, axis.high);
  return made;
}

// Copies the contents, with those of the flow bins.
template <typename Histograms>
void copy(Histograms &from, double *to) {
  for (auto &histogram : from)
    for (int bin = 0; bin < histogram.GetNbinsX() + 2; ++bin)
      *to++ = histogram.GetBinContent(bin);
}

// Calls a program for ctypes; an exception becomes a message and a status.
template <typename Program>
int run(Program program) {
  try {
    program();
    return 0;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

} // namespace bench
#endif
