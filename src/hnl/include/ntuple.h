// Blocks of columns that the layouts of the ntuple share, filled one candidate at a time. Lengths in cm, momenta in GeV.
#ifndef HNL_NTUPLE_H
#define HNL_NTUPLE_H

#include "composite.h"
#include "input.h"

namespace hnl {

// The members below are named as the columns, without the prefix: C_Ds_, C_Hnl_, C_Phi_, C_mu_Ds_ and so on.
struct VertexColumns {
  RVecF mass, massErr, preFit_mass, pt, px, py, pz;
  RVecF vertex_x, vertex_y, vertex_z, vertex_xErr, vertex_yErr, vertex_zErr;
  RVecF vertex_chi2, vertex_prob, vertex_cos2D, vertex_cos3D;
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

// The pairs, and the points that distances are measured from: once for each candidate.
struct SharedColumns {
  RVecF mu1mu2_mass, mu1mu2_dr, mu1pi_dr, mu2pi_dr;
  RVecF BS_x, BS_y, BS_z;
  RVecI iBestPV;
};

// Everything of the event that the combinations share.
struct SkimEvent {
  const std::vector<PreparedTrack> &tracks;
  const Muons &muons;
  const RVecShort &fired; // one flag a muon
  const UncertainPoint &beam_spot;
  const std::vector<UncertainPoint> &vertices;

  const PreparedTrack &muon(unsigned m) const { return tracks[muons.track[m]]; }
};

inline bool in_acceptance(const PreparedTrack &track, double min_pt) {
  return track.usable && track.kt > min_pt && track.absolute_eta < SKIM_ETA;
}

inline std::vector<unsigned> good_muons(const SkimEvent &event) {
  std::vector<unsigned> out;
  for (unsigned m = 0; m < event.muons.track.size(); ++m)
    if (in_acceptance(event.muon(m), SKIM_MUON_PT))
      out.push_back(m);
  return out;
}

inline std::vector<unsigned> good_pions(const SkimEvent &event) {
  std::vector<unsigned> out;
  for (unsigned t = 0; t < event.tracks.size(); ++t)
    if (in_acceptance(event.tracks[t], SKIM_PION_PT))
      out.push_back(t);
  return out;
}

// The primary vertex nearest in space to the line of flight of a particle; -1 without a usable one. Not by chi2: that
// prefers vertices with large errors, and is wrong twice as often for mesons from b, which do not come from the vertex.
inline int best_vertex(const Point &decay, const FourMomentum &k, const std::vector<UncertainPoint> &vertices) {
  const double p2 = k.px * k.px + k.py * k.py + k.pz * k.pz;
  int best = -1;
  double smallest = 1e30;
  for (std::size_t v = 0; v < vertices.size(); ++v) {
    const Point &point = vertices[v].point;
    const double dx = decay.x - point.x, dy = decay.y - point.y, dz = decay.z - point.z;
    const double along = dx * k.px + dy * k.py + dz * k.pz;
    const double distance = dx * dx + dy * dy + dz * dz - along * along / p2;
    if (vertices[v].usable && distance < smallest) {
      smallest = distance;
      best = static_cast<int>(v);
    }
  }
  return best;
}

// Where a candidate's distances are measured from. Without a primary vertex the beam spot stands in for it.
struct Origins {
  int best = -1;
  const UncertainPoint &beam_spot, &vertex;
};

inline Origins origins_of(const SkimEvent &event, int best) {
  return {best, event.beam_spot, best < 0 ? event.beam_spot : event.vertices[best]};
}

inline void fill_distances(VertexColumns &out, const Point &position, const Matrix<3, 3> &covariance,
                           const Origins &origins) {
  const Distance bs2 = distance<2>(position, covariance, origins.beam_spot);
  const Distance bs3 = distance<3>(position, covariance, origins.beam_spot);
  const Distance pv2 = distance<2>(position, covariance, origins.vertex);
  const Distance pv3 = distance<3>(position, covariance, origins.vertex);
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

template <int N>
void fill_vertex(VertexColumns &out, const VertexFit<N> &fit, const Composite &sum, double mass_before,
                 const Origins &origins) {
  const Momentum momentum = {sum.k.px, sum.k.py, sum.k.pz};
  out.mass.push_back(sum.k.mass());
  out.massErr.push_back(sum.mass_error);
  out.preFit_mass.push_back(mass_before);
  out.pt.push_back(momentum.pt());
  out.px.push_back(momentum.px);
  out.py.push_back(momentum.py);
  out.pz.push_back(momentum.pz);
  out.vertex_x.push_back(fit.position.x);
  out.vertex_y.push_back(fit.position.y);
  out.vertex_z.push_back(fit.position.z);
  out.vertex_xErr.push_back(std::sqrt(fit.covariance[0][0]));
  out.vertex_yErr.push_back(std::sqrt(fit.covariance[1][1]));
  out.vertex_zErr.push_back(std::sqrt(fit.covariance[2][2]));
  out.vertex_chi2.push_back(fit.chi2);
  out.vertex_prob.push_back(fit.probability);
  out.vertex_cos2D.push_back(pointing_cosine<2>(fit.position, momentum, origins.beam_spot));
  out.vertex_cos3D.push_back(pointing_cosine<3>(fit.position, momentum, origins.vertex));
  fill_distances(out, fit.position, fit.covariance, origins);
}

// Impact parameters of muons are absolute, as in the original; those of the pion keep their sign.
inline void fill_track(TrackColumns &out, const PreparedTrack &track, unsigned idx, const FourMomentum &fitted,
                       const Origins &origins, bool absolute) {
  const Impact bs = impact(track, origins.beam_spot), pv = impact(track, origins.vertex);
  const auto sign = [absolute](double x) { return absolute ? std::abs(x) : x; };
  out.pt.push_back(track.kt);
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
  out.PV_ip.push_back(pv.space.value);
  out.PV_ip_xy.push_back(sign(pv.xy.value));
  out.PV_ip_z.push_back(sign(pv.z.value));
  out.PV_ips.push_back(pv.space.significance());
  out.PV_ips_xy.push_back(sign(pv.xy.significance()));
  out.PV_ips_z.push_back(sign(pv.z.significance()));
  out.fitted_px.push_back(fitted.px);
  out.fitted_py.push_back(fitted.py);
  out.fitted_pz.push_back(fitted.pz);
  out.fitted_E.push_back(fitted.e);
}

inline void fill_muon(MuonColumns &out, const SkimEvent &event, unsigned m, const FourMomentum &fitted,
                      const Origins &origins) {
  fill_track(out, event.muon(m), m, fitted, origins, true);
  out.isSoft.push_back(event.muons.soft[m]);
  out.isLoose.push_back(event.muons.loose[m]);
  out.isMedium.push_back(event.muons.medium[m]);
  out.isGlobal.push_back(event.muons.global[m]);
  out.isTracker.push_back(event.muons.tracker[m]);
  out.isStandAlone.push_back(event.muons.stand_alone[m]);
}

inline double delta_r(const Track &a, const Track &b) {
  return std::hypot(a.eta() - b.eta(), wrap(a.parameters[2][0] - b.parameters[2][0]));
}

inline void fill_shared(SharedColumns &out, const PreparedTrack &first, const PreparedTrack &second,
                        const PreparedTrack &pion, double dimuon_mass, const Origins &origins) {
  out.mu1mu2_mass.push_back(dimuon_mass);
  out.mu1mu2_dr.push_back(delta_r(first, second));
  out.mu1pi_dr.push_back(delta_r(first, pion));
  out.mu2pi_dr.push_back(delta_r(second, pion));
  out.BS_x.push_back(origins.beam_spot.point.x);
  out.BS_y.push_back(origins.beam_spot.point.y);
  out.BS_z.push_back(origins.beam_spot.point.z);
  out.iBestPV.push_back(origins.best);
}

} // namespace hnl

#endif
