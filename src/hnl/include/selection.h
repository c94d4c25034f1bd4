// Choice of the best candidate in each selection. Candidate columns (C_*) have one element per candidate; everything
// here is a pure function of its arguments, so that it gives the same answer on every thread and in every chunk.
#pragma once

#include <ROOT/RVec.hxx>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

namespace hnl {

using ROOT::VecOps::RVec;

/// Offline requirements on a muon that fired a trigger path; columns are float, thresholds double.
struct TriggerCuts {
  double maxDr;
  double maxDptopt;
  double minPt;
  double maxAbsEta;
};

/// Requirements of one category. sign: +1 same, -1 opposite charge of the two muons; lengths in cm,
/// minLxy <= Lxy < maxLxy.
struct CategoryCuts {
  int sign;
  double minLxy;
  double maxLxy;
  double minSignificance;
  double minPionIp;
  double minMuonIps;
};

namespace detail {

/// Value of dr and dptopt of a muon that is matched to no trigger muon.
constexpr float unmatched = 9999.f;

/// Whether the muon fired the path. A muon that is twice in the list of trigger muons is matched when any entry is;
/// dr and dptopt are then those of the last matched entry.
template <typename Index, typename TriggerIndex, typename Flag>
bool fired(Index index, float pt, float eta, const RVec<TriggerIndex> &triggerIndex, const RVec<Flag> &matched,
           const RVec<float> &triggerPt, const RVec<float> &triggerDr, const TriggerCuts &cuts) {
  float dr = unmatched;
  float dptopt = unmatched;
  for (std::size_t i = 0; i < triggerIndex.size(); ++i) {
    if (static_cast<std::int64_t>(triggerIndex[i]) == static_cast<std::int64_t>(index) && matched[i] > 0) {
      dr = triggerDr[i];
      dptopt = std::abs(triggerPt[i] - pt) / pt;
    }
  }
  return dr < cuts.maxDr && dptopt < cuts.maxDptopt && pt > cuts.minPt && std::abs(eta) < cuts.maxAbsEta;
}

} // namespace detail

/// Per candidate: bit 1 when the muon from the Ds fired the path, bit 2 when the muon from N did.
template <typename Index, typename TriggerIndex, typename Flag>
RVec<short> path_fired(const RVec<Index> &indexDs, const RVec<float> &ptDs, const RVec<float> &etaDs,
                       const RVec<Index> &indexN, const RVec<float> &ptN, const RVec<float> &etaN,
                       const RVec<TriggerIndex> &triggerIndex, const RVec<Flag> &matched, const RVec<float> &triggerPt,
                       const RVec<float> &triggerDr, const TriggerCuts &cuts) {
  RVec<short> bits(indexDs.size(), 0);
  for (std::size_t i = 0; i < bits.size(); ++i) {
    if (detail::fired(indexDs[i], ptDs[i], etaDs[i], triggerIndex, matched, triggerPt, triggerDr, cuts))
      bits[i] |= 1;
    if (detail::fired(indexN[i], ptN[i], etaN[i], triggerIndex, matched, triggerPt, triggerDr, cuts))
      bits[i] |= 2;
  }
  return bits;
}

/// Union of the paths.
template <typename... Paths>
RVec<short> any_path(const RVec<short> &first, const Paths &...others) {
  RVec<short> bits(first);
  for (std::size_t i = 0; i < bits.size(); ++i)
    ((bits[i] |= others[i]), ...);
  return bits;
}

/// Whether any element is not 0; false for an event without candidates.
template <typename T>
bool any_candidate(const RVec<T> &flags) {
  for (const auto flag : flags)
    if (flag != 0)
      return true;
  return false;
}

/// 1 for the candidates for which all three flags are above 0.
template <typename Flag>
RVec<short> all_true(const RVec<Flag> &a, const RVec<Flag> &b, const RVec<Flag> &c) {
  RVec<short> result(a.size(), 0);
  for (std::size_t i = 0; i < result.size(); ++i)
    result[i] = a[i] > 0 && b[i] > 0 && c[i] > 0;
  return result;
}

/// Selections that a candidate passes: bit 0 the preselection (inclusive), bit k + 1 category k.
template <typename Flag, typename Charge>
RVec<unsigned> selections(const RVec<short> &trigger, const RVec<Flag> &softDs, const RVec<Flag> &softN,
                          const RVec<Charge> &chargeDs, const RVec<Charge> &chargeN, const RVec<float> &lxy,
                          const RVec<float> &significance, const RVec<float> &pionIp, const RVec<float> &muonIps,
                          const std::vector<CategoryCuts> &categories) {
  RVec<unsigned> bits(trigger.size(), 0u);
  for (std::size_t i = 0; i < bits.size(); ++i) {
    if (!(trigger[i] != 0 && softDs[i] > 0 && softN[i] > 0))
      continue;
    bits[i] = 1u;
    const auto sign = chargeDs[i] * chargeN[i];
    for (std::size_t k = 0; k < categories.size(); ++k) {
      const auto &cuts = categories[k];
      if (sign * cuts.sign > 0 && lxy[i] >= cuts.minLxy && lxy[i] < cuts.maxLxy &&
          significance[i] > cuts.minSignificance && std::abs(pionIp[i]) > cuts.minPionIp &&
          muonIps[i] > cuts.minMuonIps)
        bits[i] |= 1u << (k + 1);
    }
  }
  return bits;
}

/// Score of rule (a): minus the distance to the Ds mass (GeV), rounded to float32 before it is compared.
inline RVec<float> mass_score(const RVec<float> &mass, double nominal) {
  RVec<float> score(mass.size());
  for (std::size_t i = 0; i < mass.size(); ++i)
    score[i] = -static_cast<float>(std::abs(mass[i] - nominal));
  return score;
}

/// Score of rule (b): how much further than the Ds vertex the N vertex is from the primary vertex.
inline RVec<float> ratio_score(const RVec<float> &distanceN, const RVec<float> &distanceDs) {
  return distanceN / distanceDs;
}

/// Score of rule (c).
inline RVec<float> product_score(const RVec<float> &n, const RVec<float> &ds) { return n * ds; }

/// Candidates that rule (b) prefers: N flies away from the beam spot.
inline RVec<short> forward(const RVec<float> &cos2D) {
  RVec<short> result(cos2D.size(), 0);
  for (std::size_t i = 0; i < cos2D.size(); ++i)
    result[i] = cos2D[i] >= 0;
  return result;
}

/// Index of the candidate with the highest score in each of nSelections selections, -1 where a selection has none.
/// A preferred candidate comes before all others; of equal scores the lowest index wins; a score that is not a number
/// counts as the lowest.
inline RVec<int> best(const RVec<unsigned> &bits, const RVec<float> &score, const RVec<short> &preferred,
                      unsigned nSelections) {
  RVec<int> result(nSelections, -1);
  for (unsigned k = 0; k < nSelections; ++k) {
    auto &winner = result[k];
    auto highest = -std::numeric_limits<float>::infinity();
    for (std::size_t i = 0; i < bits.size(); ++i) {
      if (!(bits[i] >> k & 1u))
        continue;
      const auto value = std::isnan(score[i]) ? -std::numeric_limits<float>::infinity() : score[i];
      const bool better = winner < 0 || preferred[i] > preferred[winner] ||
                          (preferred[i] == preferred[winner] && value > highest);
      if (better) {
        winner = static_cast<int>(i);
        highest = value;
      }
    }
  }
  return result;
}

/// The same without preference.
inline RVec<int> best(const RVec<unsigned> &bits, const RVec<float> &score, unsigned nSelections) {
  return best(bits, score, RVec<short>(bits.size(), 1), nSelections);
}

/// Drop the choices that are not matched to the generator.
inline RVec<int> only_matched(RVec<int> best, const RVec<short> &matched) {
  for (auto &index : best)
    if (index >= 0 && !matched[index])
      index = -1;
  return best;
}

/// The selections (0 inclusive, k + 1 category k) that chose a candidate.
inline RVec<int> made(const RVec<int> &best) {
  RVec<int> result;
  for (std::size_t k = 0; k < best.size(); ++k)
    if (best[k] >= 0)
      result.push_back(static_cast<int>(k));
  return result;
}

/// Position in the output's candidate vectors of the choice that a selection made, -1 when it made none.
inline int position(const RVec<int> &selection, int wanted) {
  for (std::size_t i = 0; i < selection.size(); ++i)
    if (selection[i] == wanted)
      return static_cast<int>(i);
  return -1;
}

/// Number of candidates that pass each of the selections that chose one.
inline RVec<int> multiplicity(const RVec<unsigned> &bits, const RVec<int> &selection) {
  RVec<int> result;
  for (const auto k : selection) {
    int count = 0;
    for (const auto candidate : bits)
      count += candidate >> k & 1u;
    result.push_back(count);
  }
  return result;
}

/// Elements of a candidate column at the given indices. A column that is shorter than the candidates throws.
template <typename T, typename Index>
RVec<T> pick(const RVec<T> &column, const RVec<Index> &indices) {
  RVec<T> result;
  result.reserve(indices.size());
  for (const auto index : indices)
    result.push_back(column.at(index));
  return result;
}

/// Proper decay length, in the unit of distance.
inline RVec<float> proper_length(const RVec<float> &distance, const RVec<float> &mass, const RVec<float> &momentum) {
  return distance * mass / momentum;
}

/// Magnitude of the momentum (GeV); summed in double, kept in float.
inline RVec<float> momentum(const RVec<float> &px, const RVec<float> &py, const RVec<float> &pz) {
  RVec<float> result(px.size());
  for (std::size_t i = 0; i < px.size(); ++i) {
    const double x = px[i], y = py[i], z = pz[i];
    result[i] = static_cast<float>(std::sqrt(x * x + y * y + z * z));
  }
  return result;
}

/// Number of a run, luminosity block or event. A negative int32 is the bit pattern of a number above 2^31.
template <typename T>
std::uint64_t number(T value) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<std::uint64_t>(static_cast<std::make_unsigned_t<T>>(value));
  else
    return static_cast<std::uint64_t>(value);
}

} // namespace hnl
