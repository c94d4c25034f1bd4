// The best candidate as an expert writes it for a TTree: one loop with TTreeReader, columns read when an event needs them.
#include "best.h"

#include <TChain.h>
#include <TTreeReader.h>
#include <TTreeReaderArray.h>
#include <TTreeReaderValue.h>

#include <memory>
#include <stdexcept>

using Floats = TTreeReaderArray<float>;

static void best(const char *const *files, int n, const bench::Question &question, double *contents) {
  TChain chain("wztree");
  for (int i = 0; i < n; ++i)
    chain.Add(files[i]);
  TTreeReader reader(&chain);
  TTreeReaderArray<short> ds_soft(reader, "C_mu_Ds_isSoft"), hnl_soft(reader, "C_mu_Hnl_isSoft");
  TTreeReaderValue<int> vertices(reader, "nPV");
  std::vector<std::unique_ptr<Floats>> columns;
  for (int i = 0; i < bench::of_candidate; ++i)
    columns.push_back(std::make_unique<Floats>(reader, bench::axes[i].column));
  Floats &mass = *columns[0], &significance = *columns[4], &prob = *columns[5], &pt = *columns[7], &eta = *columns[8],
         &ips = *columns[10], &ip = *columns[12];
  auto histograms = bench::histograms(question.bins);

  while (reader.Next()) {
    int best = -1;
    float lowest = 0;
    const int size = static_cast<int>(ds_soft.GetSize());
    for (int i = 0; i < size; ++i) {
      if (!(ds_soft[i] > 0 && hnl_soft[i] > 0 && pt[i] > question.pt && std::abs(eta[i]) < 1.5 && significance[i] > 35.5 &&
            std::abs(ip[i]) > 0.03125 && ips[i] > 2.75))
        continue;
      const float score = question.by_mass ? static_cast<float>(std::abs(mass[i] - 1.96875)) : -prob[i];
      if (best < 0 || score < lowest) {
        best = i;
        lowest = score;
      }
    }
    if (best < 0)
      continue;
    for (int i = 0; i < bench::of_candidate; ++i)
      histograms[i].Fill((*columns[i])[best]);
    histograms.back().Fill(*vertices);
  }
  if (reader.GetEntryStatus() != TTreeReader::kEntryBeyondEnd)
    throw std::runtime_error("the files cannot be read"); // ROOT has written why
  bench::copy(histograms, contents);
}

extern "C" int best_ttree(const char *const *files, int n, double pt, int bins, int by_mass, double *contents) {
  return bench::run([&] { best(files, n, {pt, bins, by_mass != 0}, contents); });
}
