// What the detector makes of a charged particle: track, muon identification, trigger. The constants' sources are in
// constants.h.
#ifndef HNL_DETECTOR_H
#define HNL_DETECTOR_H

#include "helix.h"
#include "random.h"

#include <array>
#include <cmath>
#include <cstdlib>

namespace hnl {

struct Particle {
  Momentum momentum; // at production
  Point origin;      // cm
  int pdg = 0;
  int mother = 0; // PDG number
  int decay = -1; // index of the generated particle it comes from, in signal and control
  double charge() const {
    return std::abs(pdg) == 13 || std::abs(pdg) == 11 ? (pdg > 0 ? -1.0 : 1.0) : (pdg > 0 ? 1.0 : -1.0);
  }
};

// First layer with a hit: the one after the particle's origin.
inline int first_layer(double production_radius) {
  int layer = 0;
  while (layer < 13 && LAYER_RADII[layer] < production_radius)
    ++layer;
  return layer;
}

// Errors of (q/p, lambda, phi, offset across, offset along z) where the track is first measured. The angle of multiple
// scattering goes as 1/p times the root of the path in a layer, 1/sqrt(cos lambda): in phi it is 1/cos lambda larger, and
// the impact parameter has the well-known 1/(p sin^1.5 theta). The curvature worsens with the square of the lever arm.
inline std::array<double, 5> measured_errors(double pt, double cl, double eta, double production_radius) {
  const int layer = first_layer(production_radius);
  const bool pixel = layer < PIXEL_LAYERS;
  const auto both = [](double a, double b) { return std::sqrt(a * a + b * b); };
  const double lever = (TRACKER_RADIUS - LAYER_RADII[0]) / (TRACKER_RADIUS + 5.0 - LAYER_RADII[layer]);
  const double growth = 1.0 + PT_RESOLUTION_ETA * eta * eta;
  const double pt_error =
      growth * both(PT_RESOLUTION_SCATTERING * std::sqrt(lever), PT_RESOLUTION_SAGITTA * pt * lever * lever);
  const double scattering = ANGLE_SCATTERING * std::sqrt(cl) / pt;
  const double phi_error = both(ANGLE_RESOLUTION * std::sqrt(lever), scattering / cl);
  const double lambda_error = both(ANGLE_RESOLUTION * std::sqrt(lever), scattering);
  return {pt_error * cl / pt, lambda_error, phi_error, pixel ? PIXEL_OFFSET_XY : STRIP_OFFSET_XY,
          (pixel ? PIXEL_OFFSET_Z : STRIP_OFFSET_Z) * cl};
}

// Where a helix from a point crosses a cylinder around the z axis; the point itself when outside or curling inside it.
inline Point cross_cylinder(const Point &origin, const Momentum &k, double pt, Vector<3> &q, double radius) {
  const double w = turning_radius(q[0][0], q[1][0]);
  const double cx = origin.x - w * k.py / pt, cy = origin.y + w * k.px / pt;
  const double d2 = cx * cx + cy * cy, d = std::sqrt(d2);
  const double a = (radius * radius - w * w + d2) / (2.0 * d);
  if (origin.x * origin.x + origin.y * origin.y >= radius * radius || std::abs(a) >= radius)
    return origin;
  const double h = std::sqrt(radius * radius - a * a);
  double best = 1e9;
  for (const double side : {-1.0, 1.0}) {
    const double x = (a * cx - side * h * cy) / d, y = (a * cy + side * h * cx) / d;
    const double phi = w > 0.0 ? std::atan2(x - cx, cy - y) : std::atan2(cx - x, y - cy);
    double turn = phi - q[2][0]; // between -2 pi and 2 pi; forward only: with the sign of w
    if (turn * w < 0.0)
      turn += w > 0.0 ? 6.283185307179586 : -6.283185307179586;
    if (std::abs(turn) < std::abs(best))
      best = turn;
  }
  const double phi = q[2][0] + best;
  const Point out = {cx + w * std::sin(phi), cy - w * std::cos(phi), origin.z + k.pz / pt * w * best};
  q[2][0] = wrap(phi);
  return out;
}

inline bool is_measured(const Particle &particle, Random &random) {
  const Momentum &k = particle.momentum;
  const double pt2 = k.px * k.px + k.py * k.py;
  const double radius2 = particle.origin.x * particle.origin.x + particle.origin.y * particle.origin.y;
  if (pt2 < TRACK_PT_MIN * TRACK_PT_MIN || k.pz * k.pz > pt2 * TRACK_SLOPE_MAX * TRACK_SLOPE_MAX ||
      radius2 > MAX_PRODUCTION_RADIUS * MAX_PRODUCTION_RADIUS || std::abs(particle.origin.z) > MAX_PRODUCTION_Z)
    return false;
  const double plateau = std::abs(particle.pdg) == 13 ? MUON_TRACK_EFFICIENCY : HADRON_TRACK_EFFICIENCY;
  return random.accept(plateau * std::exp(-radius2 / (TRACK_EFFICIENCY_RADIUS * TRACK_EFFICIENCY_RADIUS)));
}

// The track through a point, for independent errors there, at its closest approach to a reference.
inline Track carry(const Point &point, const Vector<3> &q, const std::array<double, 5> &errors,
                   const Point &reference) {
  const Prediction there = predict_helix(point, q, reference);
  const double s = std::sin(q[2][0]), c = std::cos(q[2][0]), sl = std::sin(q[1][0]), cl = std::cos(q[1][0]);
  double jacobian[5][5];
  for (int i = 0; i < 5; ++i) {
    const double *by = there.by_position[i];
    for (int k = 0; k < 3; ++k)
      jacobian[i][k] = there.by_momentum[i][k];
    jacobian[i][3] = by[1] * c - by[0] * s;
    jacobian[i][4] = by[2] * cl - by[0] * (sl * c) - by[1] * (sl * s);
  }
  Track out{reference, there.parameters};
  for (int i = 0; i < 5; ++i)
    for (int j = 0; j <= i; ++j) {
      double sum = 0.0;
      for (int k = 0; k < 5; ++k)
        sum += jacobian[i][k] * (errors[k] * errors[k]) * jacobian[j][k];
      out.covariance[i][j] = out.covariance[j][i] = sum;
    }
  return out;
}

// The reconstructed track: smeared where it is first measured, and given at its closest approach to the beam spot with
// the covariance carried there, so that what was measured far out is less precise at the beam.
inline Track measure(const Particle &particle, const Point &beam_spot, Random &random) {
  const Momentum &k = particle.momentum;
  const double pt = k.pt(), p = k.p();
  Vector<3> q = {{{particle.charge() / p}, {std::atan2(k.pz, pt)}, {k.phi()}}};
  const double radius = std::hypot(particle.origin.x, particle.origin.y);
  Point point = cross_cylinder(particle.origin, k, pt, q, LAYER_RADII[first_layer(radius)]);
  const std::array<double, 5> errors = measured_errors(pt, pt / p, std::asinh(k.pz / pt), radius);
  const double across = errors[3] * random.gauss(), along = errors[4] * random.gauss();
  const double s = std::sin(q[2][0]), c = std::cos(q[2][0]), sl = k.pz / p, cl = pt / p;
  point.x += -s * across - sl * c * along;
  point.y += c * across - sl * s * along;
  point.z += cl * along;
  for (int i = 0; i < 3; ++i)
    q[i][0] += errors[i] * random.gauss();
  return carry(point, q, errors, beam_spot);
}

struct MuonFlags {
  bool muon = false;
  short soft = 0, loose = 0, medium = 0, global = 0, tracker = 0, stand_alone = 0;
};

// Threshold of the muon system's reach, in transverse momentum.
inline double muon_efficiency(double pt, double eta) {
  const double threshold = std::abs(eta) < MUON_BARREL_ETA ? MUON_THRESHOLD_BARREL : MUON_THRESHOLD_ENDCAP;
  return MUON_EFFICIENCY / (1.0 + std::exp(-(pt - threshold) / MUON_THRESHOLD_WIDTH));
}

inline MuonFlags identify_muon(const Particle &particle, Random &random) {
  const int kind = std::abs(particle.pdg);
  const bool real = kind == 13;
  const double rate = real           ? 1.0
                      : kind == 211  ? PION_FAKE_RATE
                      : kind == 321  ? KAON_FAKE_RATE
                      : kind == 2212 ? PROTON_FAKE_RATE
                                     : 0.0;
  MuonFlags flags;
  const double at = random.uniform();
  flags.muon = at < rate && at < rate * muon_efficiency(particle.momentum.pt(), particle.momentum.eta());
  if (!flags.muon)
    return flags;
  flags.loose = flags.tracker = 1;
  flags.soft = random.accept(real ? MUON_SOFT : FAKE_SOFT);
  flags.global = flags.stand_alone = random.accept(real ? MUON_GLOBAL : FAKE_SOFT);
  flags.medium = random.accept(real ? MUON_MEDIUM : MUON_MEDIUM * FAKE_SOFT);
  return flags;
}

struct TriggerObject {
  unsigned paths = 0; // one bit for each path that this muon fired
  double pt = 0.0, eta = 0.0, phi = 0.0;
};

// Significance of the transverse impact parameter to the beam spot, its width included.
inline double beam_spot_significance(const Track &track) {
  return std::abs(track.parameters[3][0]) / std::sqrt(track.covariance[3][3] + BEAM_SPOT_WIDTH * BEAM_SPOT_WIDTH);
}

// The trigger sees its own, coarser momentum and significance: this makes the turn-on.
inline TriggerObject fire_trigger(const Track &track, double production_radius, Random &random) {
  TriggerObject object;
  object.pt = track.pt() * (1.0 + TRIGGER_PT_RESOLUTION * random.gauss());
  object.eta = track.eta() + TRIGGER_ANGLE_RESOLUTION * random.gauss();
  object.phi = wrap(track.parameters[2][0] + TRIGGER_ANGLE_RESOLUTION * random.gauss());
  const double significance = beam_spot_significance(track) * (1.0 + TRIGGER_SIGNIFICANCE_RESOLUTION * random.gauss());
  const double reach = production_radius / TRIGGER_RADIUS;
  const bool found = random.accept(TRIGGER_EFFICIENCY * std::exp(-reach * reach));
  if (!found || std::abs(object.eta) > TRIGGER_ETA_MAX)
    return object;
  for (int path = 0; path < TRIGGER_PATHS; ++path)
    if (object.pt > TRIGGER_PT[path] && significance > TRIGGER_SIGNIFICANCE[path])
      object.paths |= 1u << path;
  return object;
}

} // namespace hnl

#endif
