// The best candidate as an expert writes it for an RNTuple: columns read in bulk, one loop over the vectors.
#include "best.h"

#include <ROOT/RField.hxx>
#include <ROOT/RNTupleModel.hxx>
#include <ROOT/RNTupleReader.hxx>
#include <ROOT/RVec.hxx>

#include <algorithm>

using Bulk = ROOT::RFieldBase::RBulkValues;
using Floats = ROOT::RVecF;

static void best(const char *const *files, int n, const bench::Question &question, double *contents) {
  constexpr std::uint64_t step = 1024; // entries, so that the columns of a step stay in the cache of the processor
  auto histograms = bench::histograms(question.bins);
  for (int f = 0; f < n; ++f) {
    auto model = ROOT::RNTupleModel::CreateBare();
    for (int i = 0; i < bench::of_candidate; ++i)
      model->AddField(std::make_unique<ROOT::RField<Floats>>(bench::axes[i].column));
    for (const char *name : {"C_mu_Ds_isSoft", "C_mu_Hnl_isSoft"})
      model->AddField(std::make_unique<ROOT::RField<ROOT::RVec<short>>>(name));
    model->AddField(std::make_unique<ROOT::RField<int>>("nPV"));
    const auto reader = ROOT::RNTupleReader::Open(std::move(model), "wztree", files[f]);
    std::vector<Bulk> bulks;
    for (int i = 0; i < bench::of_candidate; ++i)
      bulks.push_back(reader->GetModel().CreateBulk(bench::axes[i].column));
    Bulk ds_bulk = reader->GetModel().CreateBulk("C_mu_Ds_isSoft"), hnl_bulk = reader->GetModel().CreateBulk("C_mu_Hnl_isSoft"),
         vertices_bulk = reader->GetModel().CreateBulk("nPV");

    auto cluster = reader->GetDescriptor().FindClusterId(0, 0);
    for (; cluster != ROOT::kInvalidDescriptorId; cluster = reader->GetDescriptor().FindNextClusterId(cluster)) {
      const std::uint64_t entries = reader->GetDescriptor().GetClusterDescriptor(cluster).GetNEntries();
      for (std::uint64_t first = 0; first < entries; first += step) {
        const std::uint64_t last = std::min(entries, first + step);
        const ROOT::RNTupleLocalRange range(cluster, first, last);
        const Floats *columns[bench::of_candidate];
        for (int i = 0; i < bench::of_candidate; ++i)
          columns[i] = static_cast<const Floats *>(bulks[i].ReadBulk(range));
        const auto *ds_soft = static_cast<const ROOT::RVec<short> *>(ds_bulk.ReadBulk(range));
        const auto *hnl_soft = static_cast<const ROOT::RVec<short> *>(hnl_bulk.ReadBulk(range));
        const int *vertices = static_cast<const int *>(vertices_bulk.ReadBulk(range));

        for (std::uint64_t e = 0; e < last - first; ++e) {
          int best = -1;
          float lowest = 0;
          const Floats &mass = columns[0][e], &significance = columns[4][e], &prob = columns[5][e], &pt = columns[7][e],
                       &eta = columns[8][e], &ips = columns[10][e], &ip = columns[12][e];
          const int size = static_cast<int>(ds_soft[e].size());
          for (int i = 0; i < size; ++i) {
            if (!(ds_soft[e][i] > 0 && hnl_soft[e][i] > 0 && pt[i] > question.pt && std::abs(eta[i]) < 1.5 &&
                  significance[i] > 35.5 && std::abs(ip[i]) > 0.03125 && ips[i] > 2.75))
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
            histograms[i].Fill(columns[i][e][best]);
          histograms.back().Fill(vertices[e]);
        }
      }
    }
  }
  bench::copy(histograms, contents);
}

extern "C" int best_rntuple(const char *const *files, int n, double pt, int bins, int by_mass, double *contents) {
  return bench::run([&] { best(files, n, {pt, bins, by_mass != 0}, contents); });
}
