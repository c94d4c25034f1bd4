// Ds -> mu N, N -> mu pi: all candidates of an event, with the columns of the ntuple. Lengths in cm, momenta in GeV.
#ifndef HNL_CANDIDATES_H
#define HNL_CANDIDATES_H

#include "input.h"
#include "vertex.h"

namespace hnl {

// The members below are named as the columns, without the prefix C_Ds_, C_Hnl_, C_mu_Ds_, C_mu_Hnl_ or C_pi_.
struct VertexColumns {
  RVecF mass, pt, px, py, pz;
  RVecF vertex_x, vertex_y, vertex_z, vertex_xErr, vertex_yErr, vertex_zErr, vertex_prob, vertex_cos2D, vertex_cos3D;
  RVecF vertex_2DDist_BS, vertex_2DErr_BS, vertex_2DSig_BS, vertex_3DDist_BS, vertex_3DErr_BS, vertex_3DSig_BS;
  RVecF vertex_2DDist_PV, vertex_2DErr_PV, vertex_2DSig_PV, vertex_3DDist_PV, vertex_3DErr_PV, vertex_3DSig_PV;
};

struct TrackColumns {
  RVecF pt, eta, phi;
  RVecI charge;
  RVecUnsigned idx;
  RVecF BS_ip, BS_ip_xy, BS_ip_z, BS_ips, BS_ips_xy, BS_ips_z;
  RVecF PV_ip, PV_ip_xy, PV_ip_z, PV_ips, PV_ips_xy, PV_ips_z;
  RVecF fitted_px, fitted_py, fitted_pz, fitted_E;
};

struct MuonColumns : TrackColumns {
  RVecShort isSoft, isLoose, isMedium, isGlobal, isTracker, isStandAlone;
};

struct Candidates {
  VertexColumns Ds, Hnl;
  MuonColumns mu_Ds, mu_Hnl;
  TrackColumns pi;
  RVecF mu1mu2_mass, mu1mu2_dr, mu1pi_dr, mu2pi_dr;
  RVecF mu_Ds_BS_x, mu_Ds_BS_y, mu_Ds_BS_z;
  RVecI mu_Ds_iBestPV;
  RVecUnsigned track_mu_Ds, track_mu_Hnl, track_pi; // for matching with the generator; not written
  int size() const { return static_cast<int>(pi.pt.size()); }
};

struct FourMomentum {
  double px = 0.0, py = 0.0, pz = 0.0, e = 0.0;
  double mass() const { return std::sqrt(std::max(e * e - px * px - py * py - pz * pz, 0.0)); }
};

inline FourMomentum with_mass(const Momentum &k, double mass) { return {k.px, k.py, k.pz, std::hypot(k.p(), mass)}; }

inline FourMomentum operator+(const FourMomentum &a, const FourMomentum &b) {
  return {a.px + b.px, a.py + b.py, a.pz + b.pz, a.e + b.e};
}

inline double delta_r(const Track &a, const Track &b) {
  return std::hypot(a.eta() - b.eta(), wrap(a.parameters[2][0] - b.parameters[2][0]));
}

// The primary vertex nearest in z to a track at the beam.
inline int best_vertex(const Track &track, const std::vector<Origin> &vertices) {
  int best = -1;
  double nearest = 1e9;
  for (std::size_t v = 0; v < vertices.size(); ++v) {
    const double dz = std::abs(track.position().z - vertices[v].point.z);
    if (dz < nearest) {
      nearest = dz;
      best = static_cast<int>(v);
    }
  }
  return best;
}

inline void fill_vertex(VertexColumns &out, const VertexFit &fit, const FourMomentum &sum, const Origin &beam_spot,
                        const Origin &pv) {
  const Momentum momentum = {sum.px, sum.py, sum.pz};
  const Distance bs2 = distance<2>(fit.position, fit.covariance, beam_spot),
                 bs3 = distance<3>(fit.position, fit.covariance, beam_spot);
  const Distance pv2 = distance<2>(fit.position, fit.covariance, pv),
                 pv3 = distance<3>(fit.position, fit.covariance, pv);
  out.mass.push_back(sum.mass());
  out.pt.push_back(momentum.pt());
  out.px.push_back(sum.px);
  out.py.push_back(sum.py);
  out.pz.push_back(sum.pz);
  out.vertex_x.push_back(fit.position.x);
  out.vertex_y.push_back(fit.position.y);
  out.vertex_z.push_back(fit.position.z);
  out.vertex_xErr.push_back(std::sqrt(fit.covariance[0][0]));
  out.vertex_yErr.push_back(std::sqrt(fit.covariance[1][1]));
  out.vertex_zErr.push_back(std::sqrt(fit.covariance[2][2]));
  out.vertex_prob.push_back(fit.probability);
  out.vertex_cos2D.push_back(pointing_cosine<2>(fit.position, momentum, beam_spot));
  out.vertex_cos3D.push_back(pointing_cosine<3>(fit.position, momentum, pv));
  out.vertex_2DDist_BS.push_back(bs2.value);
  out.vertex_2DErr_BS.push_back(bs2.error);
  out.vertex_2DSig_BS.push_back(bs2.significance());
  out.vertex_3DDist_BS.push_back(bs3.value);
  out.vertex_3DErr_BS.push_back(bs3.error);
  out.vertex_3DSig_BS.push_back(bs3.significance());
  out.vertex_2DDist_PV.push_back(pv2.value);
  out.vertex_2DErr_PV.push_back(pv2.error);
  out.vertex_2DSig_PV.push_back(pv2.significance());
  out.vertex_3DDist_PV.push_back(pv3.value);
  out.vertex_3DErr_PV.push_back(pv3.error);
  out.vertex_3DSig_PV.push_back(pv3.significance());
}

// Impact parameters of muons are absolute, as in the original; those of the pion keep their sign.
inline void fill_track(TrackColumns &out, const Track &track, unsigned idx, const FourMomentum &fitted,
                       const Origin &beam_spot, const Origin &pv, bool absolute) {
  const Impact bs = impact(track, beam_spot), to_pv = impact(track, pv);
  const auto sign = [absolute](double x) { return absolute ? std::abs(x) : x; };
  out.pt.push_back(track.pt());
  out.eta.push_back(track.eta());
  out.phi.push_back(track.parameters[2][0]);
  out.charge.push_back(track.charge() > 0.0 ? 1 : -1);
  out.idx.push_back(idx);
  out.BS_ip.push_back(bs.space.value);
  out.BS_ip_xy.push_back(sign(bs.xy.value));
  out.BS_ip_z.push_back(sign(bs.z.value));
  out.BS_ips.push_back(bs.space.significance());
  out.BS_ips_xy.push_back(sign(bs.xy.significance()));
  out.BS_ips_z.push_back(sign(bs.z.significance()));
  out.PV_ip.push_back(to_pv.space.value);
  out.PV_ip_xy.push_back(sign(to_pv.xy.value));
  out.PV_ip_z.push_back(sign(to_pv.z.value));
  out.PV_ips.push_back(to_pv.space.significance());
  out.PV_ips_xy.push_back(sign(to_pv.xy.significance()));
  out.PV_ips_z.push_back(sign(to_pv.z.significance()));
  out.fitted_px.push_back(fitted.px);
  out.fitted_py.push_back(fitted.py);
  out.fitted_pz.push_back(fitted.pz);
  out.fitted_E.push_back(fitted.e);
}

inline void fill_flags(MuonColumns &out, const Muons &muons, unsigned m) {
  out.isSoft.push_back(muons.soft[m]);
  out.isLoose.push_back(muons.loose[m]);
  out.isMedium.push_back(muons.medium[m]);
  out.isGlobal.push_back(muons.global[m]);
  out.isTracker.push_back(muons.tracker[m]);
  out.isStandAlone.push_back(muons.stand_alone[m]);
}

inline bool in_acceptance(const Track &track, double min_pt) {
  return track.pt() > min_pt && std::abs(track.eta()) < SKIM_ETA;
}

// Everything of the event that the combinations share.
struct SkimInput {
  const std::vector<Track> &tracks;
  const Muons &muons;
  const BeamSpot &beam_spot;
  const std::vector<Origin> &vertices;
};

// The vertex of mu and pi, after cuts that need no fit. N is neutral: the charges are opposite.
inline VertexFit fit_hnl(const Track &muon, const Track &pion) {
  if (muon.charge() * pion.charge() > 0.0)
    return {};
  const FourMomentum rough = with_mass(muon.momentum(), MUON_MASS) + with_mass(pion.momentum(), PION_MASS);
  if (std::hypot(rough.px, rough.py) < 0.5 * SKIM_MU_PI_PT || rough.mass() > 1.5 * SKIM_MU_PI_MASS_MAX)
    return {};
  const Crossing crossing = cross(muon, pion);
  return crossing.valid ? fit_vertex(muon, pion, crossing.point) : VertexFit{};
}

inline void add_candidate(Candidates &out, const SkimInput &in, unsigned mu_hnl, unsigned mu_ds, unsigned pion,
                          const VertexFit &hnl_fit, const Track &hnl) {
  const Track &first = in.tracks[in.muons.track[mu_ds]], &second = in.tracks[in.muons.track[mu_hnl]],
              &pi = in.tracks[pion];
  const VertexFit ds_fit = fit_vertex(hnl, first, hnl.position());
  if (!ds_fit.valid || ds_fit.probability < SKIM_VERTEX_PROBABILITY)
    return;
  const FourMomentum k_mu = with_mass(hnl_fit.momentum[0], MUON_MASS), k_pi = with_mass(hnl_fit.momentum[1], PION_MASS);
  const FourMomentum k_hnl = k_mu + k_pi, k_first = with_mass(ds_fit.momentum[1], MUON_MASS);
  const FourMomentum k_ds = with_mass(ds_fit.momentum[0], k_hnl.mass()) + k_first;
  const int v = best_vertex(first, in.vertices);
  if (!(k_ds.mass() < SKIM_MU_MU_PI_MASS_MAX) || v < 0)
    return;
  const Origin &pv = in.vertices[v];
  fill_vertex(out.Hnl, hnl_fit, k_hnl, in.beam_spot, pv);
  fill_vertex(out.Ds, ds_fit, k_ds, in.beam_spot, pv);
  fill_track(out.mu_Ds, first, mu_ds, k_first, in.beam_spot, pv, true);
  fill_track(out.mu_Hnl, second, mu_hnl, k_mu, in.beam_spot, pv, true);
  fill_track(out.pi, pi, pion, k_pi, in.beam_spot, pv, false);
  fill_flags(out.mu_Ds, in.muons, mu_ds);
  fill_flags(out.mu_Hnl, in.muons, mu_hnl);
  out.mu1mu2_mass.push_back((k_first + k_mu).mass());
  out.mu1mu2_dr.push_back(delta_r(first, second));
  out.mu1pi_dr.push_back(delta_r(first, pi));
  out.mu2pi_dr.push_back(delta_r(second, pi));
  out.mu_Ds_BS_x.push_back(in.beam_spot.point.x);
  out.mu_Ds_BS_y.push_back(in.beam_spot.point.y);
  out.mu_Ds_BS_z.push_back(in.beam_spot.point.z);
  out.mu_Ds_iBestPV.push_back(v);
  out.track_mu_Ds.push_back(in.muons.track[mu_ds]);
  out.track_mu_Hnl.push_back(in.muons.track[mu_hnl]);
  out.track_pi.push_back(pion);
}

// All combinations of a muon and a pion to N, and of N and a second muon to Ds; one of the muons fired the trigger.
inline Candidates find_candidates(const std::vector<Track> &tracks, const Muons &muons, const RVecShort &fired,
                                  const BeamSpot &beam_spot, const std::vector<Origin> &vertices) {
  const SkimInput in{tracks, muons, beam_spot, vertices};
  Candidates out;
  const unsigned n = muons.track.size();
  for (unsigned second = 0; second < n; ++second) {
    const Track &muon = tracks[muons.track[second]];
    if (!in_acceptance(muon, SKIM_MUON_PT))
      continue;
    for (unsigned pion = 0; pion < tracks.size(); ++pion) {
      if (pion == muons.track[second] || !in_acceptance(tracks[pion], SKIM_PION_PT))
        continue;
      const VertexFit fit = fit_hnl(muon, tracks[pion]);
      if (!fit.valid || fit.probability < SKIM_VERTEX_PROBABILITY)
        continue;
      const FourMomentum sum = with_mass(fit.momentum[0], MUON_MASS) + with_mass(fit.momentum[1], PION_MASS);
      if (sum.mass() < SKIM_MU_PI_MASS_MIN || sum.mass() > SKIM_MU_PI_MASS_MAX ||
          std::hypot(sum.px, sum.py) < SKIM_MU_PI_PT)
        continue;
      const Track hnl = neutral_sum(fit, beam_spot.point);
      for (unsigned first = 0; first < n; ++first)
        if (first != second && muons.track[first] != pion && (fired[first] || fired[second]) &&
            in_acceptance(tracks[muons.track[first]], SKIM_MUON_PT))
          add_candidate(out, in, second, first, pion, fit, hnl);
    }
  }
  return out;
}

} // namespace hnl

#endif
