// The columns of an event as the objects that the skim works with.
#ifndef HNL_INPUT_H
#define HNL_INPUT_H

#include "geometry.h"
#include "vectors.h"

#include <stdexcept>
#include <string>
#include <vector>

namespace hnl {

// Columns that belong together are of the same length, or nothing here can be trusted.
inline void require_size(const char *column, std::size_t found, std::size_t expected) {
  if (found != expected)
    throw std::runtime_error(std::string("an event has ") + std::to_string(found) + " elements of " + column +
                             " where its other columns ask for " + std::to_string(expected));
}

inline UncertainPoint read_beam_spot(float x, float y, float z, float width_x, float width_y, float width_z) {
  UncertainPoint out;
  out.point = {x, y, z};
  const float widths[3] = {width_x, width_y, width_z};
  for (int i = 0; i < 3; ++i)
    out.covariance[i][i] = widths[i] * widths[i];
  return out;
}

inline std::vector<UncertainPoint> read_vertices(const RVecF &x, const RVecF &y, const RVecF &z, const RVecF &cov) {
  require_size("PV_cov", cov.size(), 6 * x.size());
  std::vector<UncertainPoint> out(x.size());
  for (std::size_t v = 0; v < x.size(); ++v) {
    out[v].point = {x[v], y[v], z[v]};
    for (int i = 0, k = 6 * v; i < 3; ++i)
      for (int j = 0; j <= i; ++j, ++k)
        out[v].covariance[i][j] = out[v].covariance[j][i] = cov[k];
    Matrix<3, 3> lower;
    out[v].usable = std::isfinite(x[v] + y[v] + z[v]) && cholesky(out[v].covariance, lower) &&
                    std::isfinite(lower[0][0] + lower[1][1] + lower[2][2]);
  }
  return out;
}

// Error of one coordinate ('x', 'y' or 'z') of each vertex; -1 where the covariance is none.
inline RVecF vertex_error(const RVecF &cov, char axis) {
  static constexpr int diagonal[3] = {0, 2, 5};
  RVecF out;
  for (std::size_t v = 0; 6 * v < cov.size(); ++v) {
    const float variance = cov[6 * v + diagonal[axis - 'x']];
    out.push_back(variance >= 0.0f && std::isfinite(variance) ? std::sqrt(variance) : -1.0f);
  }
  return out;
}

// Tracks with unusable numbers keep their place and take part in nothing.
inline std::vector<PreparedTrack> read_tracks(const UncertainPoint &beam_spot, const RVecF &q_over_p,
                                              const RVecF &lambda, const RVecF &phi, const RVecF &dxy,
                                              const RVecF &dsz, const RVecF &cov) {
  require_size("Track_cov", cov.size(), 15 * phi.size());
  std::vector<PreparedTrack> out;
  out.reserve(phi.size());
  Track track;
  track.reference = beam_spot.point;
  for (std::size_t t = 0; t < phi.size(); ++t) {
    track.parameters = {{{q_over_p[t]}, {lambda[t]}, {phi[t]}, {dxy[t]}, {dsz[t]}}};
    for (int i = 0, k = 15 * t; i < 5; ++i)
      for (int j = 0; j <= i; ++j, ++k)
        track.covariance[i][j] = track.covariance[j][i] = cov[k];
    out.push_back(prepare(track));
  }
  return out;
}

struct Muons {
  RVecUnsigned track;
  RVecShort soft, loose, medium, global, tracker, stand_alone;
};

inline Muons read_muons(const RVecUnsigned &track, const RVecShort &soft, const RVecShort &loose,
                        const RVecShort &medium, const RVecShort &global, const RVecShort &tracker,
                        const RVecShort &stand_alone) {
  return {track, soft, loose, medium, global, tracker, stand_alone};
}

// Muons that fired a path and are good enough to have done so: one flag a muon.
inline RVecShort trigger_muons(const RVecF &q_over_p, const RVecF &lambda, const Muons &muons,
                               const RVecUnsigned &fired) {
  for (const unsigned track : muons.track)
    if (track >= lambda.size())
      throw std::runtime_error("Muon_track names track " + std::to_string(track) + " of " +
                               std::to_string(lambda.size()) + ": the event is not whole");
  RVecShort out(muons.track.size(), 0);
  for (const unsigned m : fired) {
    if (m >= out.size())
      throw std::runtime_error("Trig_muon names muon " + std::to_string(m) + " of " + std::to_string(out.size()) +
                               ": the event is not whole");
    const float slope = lambda[muons.track[m]];
    out[m] = muons.soft[m] > 0 && std::cos(slope) > SKIM_TRIGGER_PT * std::abs(q_over_p[muons.track[m]]) &&
             std::abs(std::asinh(std::tan(slope))) < SKIM_TRIGGER_ETA;
  }
  return out;
}

struct GeneratorInfo {
  RVecI track, pdg, mother, mother_pdg;
  float l = -1.0f, l_prop = -1.0f; // decay length of N in cm, proper one in mm; -1 without an N
};

inline GeneratorInfo read_generator(const RVecI &track, const RVecI &pdg, const RVecI &mother, const RVecI &mother_pdg,
                                    const RVecF &px, const RVecF &py, const RVecF &pz, const RVecF &mass,
                                    const RVecF &vx, const RVecF &vy, const RVecF &vz) {
  GeneratorInfo out{track, pdg, mother, mother_pdg};
  for (std::size_t i = 0; i < pdg.size(); ++i) {
    const int n = mother[i];
    if (n < 0 || pdg[n] != 9900015)
      continue;
    const double dx = vx[i] - vx[n], dy = vy[i] - vy[n], dz = vz[i] - vz[n];
    const double length = std::sqrt(dx * dx + dy * dy + dz * dz);
    const double p = std::sqrt(px[n] * px[n] + py[n] * py[n] + pz[n] * pz[n]);
    out.l = length;
    out.l_prop = 10.0 * length * mass[n] / p;
    break;
  }
  return out;
}

} // namespace hnl

#endif
