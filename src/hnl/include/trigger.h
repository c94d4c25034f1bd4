// Muons that fired a trigger path, as a selection asks for them.
#ifndef HNL_TRIGGER_H
#define HNL_TRIGGER_H

#include <ROOT/RVec.hxx>

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace hnl {

// Offline requirements on a muon that fired; columns are float, thresholds double. Momenta in GeV.
struct TriggerCuts {
  double max_dr, max_dptopt, min_pt, max_abs_eta;
};

// Whether a muon fired the path. One that is twice in the list of trigger muons is matched when any entry is; dr and
// dptopt are then those of the last matched entry, and 9999 without one.
template <typename Index, typename TriggerIndex, typename Flag>
bool muon_fired(Index index, float pt, float eta, const ROOT::RVec<TriggerIndex> &trigger_index,
                const ROOT::RVec<Flag> &matched, const ROOT::RVec<float> &trigger_pt,
                const ROOT::RVec<float> &trigger_dr, const TriggerCuts &cuts) {
  float dr = 9999.f, dptopt = 9999.f;
  for (std::size_t i = 0; i < trigger_index.size(); ++i) {
    if (static_cast<std::int64_t>(trigger_index[i]) == static_cast<std::int64_t>(index) && matched[i] > 0) {
      dr = trigger_dr[i];
      dptopt = std::abs(trigger_pt[i] - pt) / pt;
    }
  }
  return dr < cuts.max_dr && dptopt < cuts.max_dptopt && pt > cuts.min_pt && std::abs(eta) < cuts.max_abs_eta;
}

// Bit 1 when the muon from the Ds fired the path, bit 2 when the muon from N did.
template <typename Index, typename TriggerIndex, typename Flag>
int fired_muons(Index index_ds, float pt_ds, float eta_ds, Index index_n, float pt_n, float eta_n,
                const ROOT::RVec<TriggerIndex> &trigger_index, const ROOT::RVec<Flag> &matched,
                const ROOT::RVec<float> &trigger_pt, const ROOT::RVec<float> &trigger_dr, const TriggerCuts &cuts) {
  return int(muon_fired(index_ds, pt_ds, eta_ds, trigger_index, matched, trigger_pt, trigger_dr, cuts)) |
         int(muon_fired(index_n, pt_n, eta_n, trigger_index, matched, trigger_pt, trigger_dr, cuts)) << 1;
}

// What an event weighs more in data for the way in which its two muons fired: a muon that fired by the ratio of its
// efficiencies in data and simulation, one that did not by that of its inefficiencies. bits: as of fired_muons(). A muon that
// the simulation never leaves without firing says nothing when it did not.
inline double trigger_weight(int bits, double data_ds, double simulation_ds, double data_n, double simulation_n) {
  const auto factor = [](bool did, double data, double simulation) {
    if (did)
      return simulation > 0.0 ? data / simulation : 1.0;
    return simulation < 1.0 ? (1.0 - data) / (1.0 - simulation) : 1.0;
  };
  return factor(bits & 1, data_ds, simulation_ds) * factor(bits & 2, data_n, simulation_n);
}

} // namespace hnl

#endif
