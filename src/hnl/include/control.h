// Ds -> phi pi, phi -> mu mu: all candidates of an event, with the columns of the ntuple. Lengths in cm, momenta in GeV.
#ifndef HNL_CONTROL_H
#define HNL_CONTROL_H

#include "ntuple.h"

namespace hnl {

struct ControlCandidates {
  VertexColumns Ds, Phi;
  MuonColumns mu1_Phi, mu2_Phi;
  TrackColumns pi;
  SharedColumns shared;
  RVecUnsigned track_mu1_Phi, track_mu2_Phi; // for matching with the generator; not written
  int size() const { return static_cast<int>(pi.pt.size()); }
};

inline bool within(double x, double low, double high) { return x > low && x < high; }

// The phi of two muons; the first has the larger transverse momentum.
struct PhiFit {
  unsigned first = 0, second = 0;
  VertexFit<2> vertex;
  Composite sum;
  double mass_before = 0.0;
};

// phi does not fly: the three tracks are fitted to one vertex.
inline void add_control_candidate(ControlCandidates &out, const SkimEvent &event, const PhiFit &phi, unsigned pion) {
  const PreparedTrack &first = event.muon(phi.first), &second = event.muon(phi.second), &third = event.tracks[pion];
  const FourMomentum before =
      with_mass(first.k, MUON_MASS) + with_mass(second.k, MUON_MASS) + with_mass(third.k, PION_MASS);
  if (!within(before.mass(), 0.9 * CONTROL_MASS_MIN, 1.1 * CONTROL_MASS_MAX))
    return;
  const VertexFit<3> fit = fit_vertex<3>({&first, &second, &third}, phi.vertex.position);
  if (!fit.valid || fit.probability < SKIM_VERTEX_PROBABILITY)
    return;
  const FourMomentum k_first = with_mass(fit.momentum[0], MUON_MASS), k_second = with_mass(fit.momentum[1], MUON_MASS),
                     k_pion = with_mass(fit.momentum[2], PION_MASS);
  const Composite ds = combine<3>(fit, {k_first, k_second, k_pion});
  if (!within(ds.k.mass(), CONTROL_MASS_MIN, CONTROL_MASS_MAX))
    return;
  const Origins origins = origins_of(event, best_vertex(fit.position, ds.k, event.vertices));
  fill_vertex(out.Phi, phi.vertex, phi.sum, phi.mass_before, origins);
  fill_vertex(out.Ds, fit, ds, before.mass(), origins);
  fill_muon(out.mu1_Phi, event, phi.first, k_first, origins);
  fill_muon(out.mu2_Phi, event, phi.second, k_second, origins);
  fill_track(out.pi, third, pion, k_pion, origins, false);
  fill_shared(out.shared, first, second, third, (k_first + k_second).mass(), origins);
  out.track_mu1_Phi.push_back(event.muons.track[phi.first]);
  out.track_mu2_Phi.push_back(event.muons.track[phi.second]);
}

// Two muons of opposite charge, one of which fired the trigger, near the mass of the phi. Not valid otherwise.
inline PhiFit fit_phi(const SkimEvent &event, unsigned first, unsigned second) {
  PhiFit phi;
  if (event.muon(first).kt < event.muon(second).kt)
    std::swap(first, second);
  const PreparedTrack &one = event.muon(first), &two = event.muon(second);
  phi.first = first;
  phi.second = second;
  phi.mass_before = (with_mass(one.k, MUON_MASS) + with_mass(two.k, MUON_MASS)).mass();
  if (one.radius * two.radius > 0.0 || !(event.fired[first] || event.fired[second]) ||
      !within(phi.mass_before, 0.8 * CONTROL_PHI_MASS_MIN, 1.2 * CONTROL_PHI_MASS_MAX))
    return phi;
  const Crossing crossing = cross(one, two);
  if (!crossing.valid)
    return phi;
  phi.vertex = fit_vertex<2>({&one, &two}, crossing.point);
  if (!phi.vertex.valid)
    return phi;
  phi.sum = combine<2>(phi.vertex, {with_mass(phi.vertex.momentum[0], MUON_MASS),
                                    with_mass(phi.vertex.momentum[1], MUON_MASS)});
  phi.vertex.valid = phi.vertex.probability > SKIM_VERTEX_PROBABILITY &&
                     within(phi.sum.k.mass(), CONTROL_PHI_MASS_MIN, CONTROL_PHI_MASS_MAX);
  return phi;
}

inline ControlCandidates find_control_candidates(const std::vector<PreparedTrack> &tracks, const Muons &muons,
                                                 const RVecShort &fired, const UncertainPoint &beam_spot,
                                                 const std::vector<UncertainPoint> &vertices) {
  const SkimEvent event{tracks, muons, fired, beam_spot, vertices};
  const std::vector<unsigned> good = good_muons(event), pions = good_pions(event);
  ControlCandidates out;
  for (std::size_t a = 0; a < good.size(); ++a)
    for (std::size_t b = a + 1; b < good.size(); ++b) {
      const PhiFit phi = fit_phi(event, good[a], good[b]);
      if (!phi.vertex.valid)
        continue;
      for (const unsigned pion : pions)
        if (pion != muons.track[phi.first] && pion != muons.track[phi.second])
          add_control_candidate(out, event, phi, pion);
    }
  return out;
}

} // namespace hnl

#endif
