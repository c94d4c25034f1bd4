// Matching of candidates with the trigger and with the generator.
#ifndef HNL_MATCHING_H
#define HNL_MATCHING_H

#include "input.h"

#include <cstdlib>

namespace hnl {

// One element for each trigger muon of the event.
struct TriggerMuons {
  RVecUnsigned idx;
  RVecF pt, eta, phi; // of the offline muon
  struct Path {
    RVecShort matched;
    RVecF pt, eta, dr; // of the trigger's object, and its distance to the offline muon; 9999 without a match
    RVecI prescale;
  } path[TRIGGER_PATHS];
};

inline TriggerMuons match_trigger(const std::vector<PreparedTrack> &tracks, const Muons &muons, const RVecShort &good,
                                  const RVecUnsigned &muon, const RVecUnsigned &paths, const RVecF &pt,
                                  const RVecF &eta, const RVecF &phi) {
  TriggerMuons out;
  for (std::size_t t = 0; t < muon.size(); ++t) {
    if (!good[muon[t]])
      continue;
    const PreparedTrack &track = tracks[muons.track[muon[t]]];
    out.idx.push_back(muon[t]);
    out.pt.push_back(track.pt());
    out.eta.push_back(track.eta());
    out.phi.push_back(track.parameters[2][0]);
    const float dr = std::hypot(track.eta() - eta[t], wrap(track.parameters[2][0] - phi[t]));
    for (int p = 0; p < TRIGGER_PATHS; ++p) {
      const bool matched = (paths[t] >> p) & 1u;
      out.path[p].matched.push_back(matched);
      out.path[p].pt.push_back(matched ? pt[t] : 9999.0f);
      out.path[p].eta.push_back(matched ? eta[t] : 9999.0f);
      out.path[p].dr.push_back(matched ? dr : 9999.0f);
      out.path[p].prescale.push_back(1);
    }
  }
  return out;
}

// 1 where the track of a candidate comes from a particle of this kind whose mother is of that kind, signs ignored.
inline RVecShort is_daughter(const RVecUnsigned &tracks, const GeneratorInfo &generator, int pdg, int mother_pdg) {
  RVecShort out(tracks.size(), 0);
  for (std::size_t i = 0; i < tracks.size(); ++i) {
    const int particle = generator.track[tracks[i]];
    out[i] = particle >= 0 && std::abs(generator.pdg[particle]) == pdg &&
             std::abs(generator.mother_pdg[particle]) == mother_pdg;
  }
  return out;
}

// A muon from a Ds that also made an N.
inline RVecShort is_hnl_brother(const RVecUnsigned &tracks, const GeneratorInfo &generator) {
  return generator.l < 0.0f ? RVecShort(tracks.size(), 0) : is_daughter(tracks, generator, 13, 431);
}

// 1 where the track of a candidate comes straight from the meson whose decay was simulated.
inline RVecShort is_meson_daughter(const RVecUnsigned &tracks, const GeneratorInfo &generator, int pdg) {
  return generator.pdg.empty() ? RVecShort(tracks.size(), 0)
                               : is_daughter(tracks, generator, pdg, std::abs(generator.pdg[0]));
}

// Of each candidate: the first generated particle, which is the meson whose decay was simulated; 0 without one.
inline RVecI meson_pdg(int candidates, const GeneratorInfo &generator) {
  return RVecI(candidates, generator.pdg.empty() ? 0 : generator.pdg[0]);
}

// 1 for all candidates when that meson is from a beauty hadron.
inline RVecShort meson_from_b(int candidates, const GeneratorInfo &generator) {
  return RVecShort(candidates, !generator.pdg.empty() && std::abs(generator.mother_pdg[0]) == 5);
}

} // namespace hnl

#endif
