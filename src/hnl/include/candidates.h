// Ds -> mu N, N -> mu pi: all candidates of an event, with the columns of the ntuple. Lengths in cm, momenta in GeV.
#ifndef HNL_CANDIDATES_H
#define HNL_CANDIDATES_H

#include "ntuple.h"

namespace hnl {

struct Candidates {
  VertexColumns Ds, Hnl;
  MuonColumns mu_Ds, mu_Hnl;
  TrackColumns pi;
  SharedColumns shared;
  RVecUnsigned track_mu_Ds, track_mu_Hnl; // for matching with the generator; not written
  int size() const { return static_cast<int>(pi.pt.size()); }
};

// N of a muon and a pion.
struct HnlFit {
  unsigned muon = 0, pion = 0;
  VertexFit<2> vertex;
  FourMomentum k_muon, k_pion;
  Composite sum;
  Decayed particle;
};

// Charges are opposite: N is neutral. First cuts that need no fit, with room for what the fit changes.
inline VertexFit<2> fit_hnl(const PreparedTrack &muon, const PreparedTrack &pion) {
  const FourMomentum rough = with_mass(muon.k, MUON_MASS) + with_mass(pion.k, PION_MASS);
  if (rough.pt() < 0.5 * SKIM_MU_PI_PT || rough.mass() > 1.5 * SKIM_MU_PI_MASS_MAX)
    return {};
  const Crossing crossing = cross(muon, pion);
  return crossing.valid ? fit_vertex<2>({&muon, &pion}, crossing.point) : VertexFit<2>{};
}

inline void add_candidate(Candidates &out, const SkimEvent &event, const HnlFit &hnl, unsigned mu_ds) {
  const PreparedTrack &first = event.muon(mu_ds), &second = event.muon(hnl.muon), &pion = event.tracks[hnl.pion];
  if ((hnl.sum.k + with_mass(first.k, MUON_MASS)).mass() > 1.5 * SKIM_MU_MU_PI_MASS_MAX)
    return;
  const VertexFit<2> fit = fit_vertex<2>({&hnl.particle.track, &first}, hnl.particle.track.position());
  if (!fit.valid || fit.probability < SKIM_VERTEX_PROBABILITY)
    return;
  const Composite ds = combine(fit, hnl.particle, MUON_MASS);
  if (!(ds.k.mass() < SKIM_MU_MU_PI_MASS_MAX))
    return;
  const Origins origins = origins_of(event, best_vertex(fit.position, ds.k, event.vertices));
  const FourMomentum k_first = with_mass(fit.momentum[1], MUON_MASS);
  const FourMomentum before = with_mass(second.k, MUON_MASS) + with_mass(pion.k, PION_MASS);
  fill_vertex(out.Hnl, hnl.vertex, hnl.sum, before.mass(), origins);
  fill_vertex(out.Ds, fit, ds, (before + with_mass(first.k, MUON_MASS)).mass(), origins);
  fill_muon(out.mu_Ds, event, mu_ds, k_first, origins);
  fill_muon(out.mu_Hnl, event, hnl.muon, hnl.k_muon, origins);
  fill_track(out.pi, pion, hnl.pion, hnl.k_pion, origins, false);
  fill_shared(out.shared, first, second, pion, (k_first + hnl.k_muon).mass(), origins);
  out.track_mu_Ds.push_back(event.muons.track[mu_ds]);
  out.track_mu_Hnl.push_back(event.muons.track[hnl.muon]);
}

// The muons that can be the one from the Ds when another is the one from N: one of the two fired the trigger.
inline std::vector<unsigned> partners(const SkimEvent &event, const std::vector<unsigned> &muons, unsigned second) {
  std::vector<unsigned> out;
  for (const unsigned first : muons)
    if (first != second && (event.fired[first] || event.fired[second]))
      out.push_back(first);
  return out;
}

// All combinations of a muon and a pion to N, and of N and a second muon to Ds.
inline Candidates find_candidates(const std::vector<PreparedTrack> &tracks, const Muons &muons, const RVecShort &fired,
                                  const UncertainPoint &beam_spot, const std::vector<UncertainPoint> &vertices) {
  const SkimEvent event{tracks, muons, fired, beam_spot, vertices};
  const std::vector<unsigned> good = good_muons(event), pions = good_pions(event);
  Candidates out;
  HnlFit hnl;
  for (const unsigned second : good) {
    const std::vector<unsigned> firsts = partners(event, good, second);
    const PreparedTrack &muon = event.muon(second);
    if (firsts.empty())
      continue;
    for (const unsigned pion : pions) {
      if (muon.radius * tracks[pion].radius > 0.0 || pion == muons.track[second])
        continue;
      hnl.vertex = fit_hnl(muon, tracks[pion]);
      if (!hnl.vertex.valid || hnl.vertex.probability < SKIM_VERTEX_PROBABILITY)
        continue;
      hnl.k_muon = with_mass(hnl.vertex.momentum[0], MUON_MASS);
      hnl.k_pion = with_mass(hnl.vertex.momentum[1], PION_MASS);
      const FourMomentum k = hnl.k_muon + hnl.k_pion;
      if (k.mass() < SKIM_MU_PI_MASS_MIN || k.mass() > SKIM_MU_PI_MASS_MAX || k.pt() < SKIM_MU_PI_PT)
        continue;
      hnl.muon = second;
      hnl.pion = pion;
      hnl.sum = combine<2>(hnl.vertex, {hnl.k_muon, hnl.k_pion});
      hnl.particle = as_particle(hnl.vertex.position, hnl.vertex.covariance, hnl.sum, beam_spot.point);
      if (!hnl.particle.track.usable)
        continue;
      for (const unsigned first : firsts)
        if (muons.track[first] != pion)
          add_candidate(out, event, hnl, first);
    }
  }
  return out;
}

} // namespace hnl

#endif
