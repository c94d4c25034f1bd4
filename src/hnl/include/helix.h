// Helices in a uniform field along z. Lengths in cm, momenta in GeV.
//
// A track is given, as CMS does, by (q/p, lambda, phi, dxy, dsz) at its closest approach in the transverse plane to a
// reference point: lambda is the angle to the transverse plane, dxy the offset along (-sin phi, cos phi, 0), dsz the
// one along (-sin lambda cos phi, -sin lambda sin phi, cos lambda). For a neutral particle q/p stands for 1/p.
#ifndef HNL_HELIX_H
#define HNL_HELIX_H

#include "constants.h"
#include "matrix.h"

#include <cmath>

namespace hnl {

struct Point {
  double x = 0.0, y = 0.0, z = 0.0;
};

struct Momentum {
  double px = 0.0, py = 0.0, pz = 0.0;
  double pt() const { return std::hypot(px, py); }
  double p() const { return std::sqrt(px * px + py * py + pz * pz); }
  double phi() const { return std::atan2(py, px); }
  double eta() const { return std::asinh(pz / pt()); }
};

struct Track {
  Point reference;
  Vector<5> parameters; // q/p, lambda, phi, dxy, dsz
  Matrix<5, 5> covariance;
  bool neutral = false;

  double charge() const { return neutral ? 0.0 : (parameters[0][0] > 0.0 ? 1.0 : -1.0); }
  double p() const { return 1.0 / std::abs(parameters[0][0]); }
  double pt() const { return p() * std::cos(parameters[1][0]); }
  double eta() const { return std::asinh(std::tan(parameters[1][0])); }
  Momentum momentum() const {
    const double phi = parameters[2][0];
    return {pt() * std::cos(phi), pt() * std::sin(phi), p() * std::sin(parameters[1][0])};
  }
  // The point of closest approach.
  Point position() const {
    const double phi = parameters[2][0];
    const double dxy = parameters[3][0];
    const double dz = parameters[4][0] / std::cos(parameters[1][0]);
    return {reference.x - dxy * std::sin(phi), reference.y + dxy * std::cos(phi), reference.z + dz};
  }
};

inline double wrap(double angle) { return std::remainder(angle, 6.283185307179586); }

// Signed radius in cm of the turn (positive when counterclockwise), for q/p and lambda.
inline double turning_radius(double q_over_p, double lambda) {
  return -std::cos(lambda) / (CURVATURE_PER_TESLA * MAGNETIC_FIELD * q_over_p);
}

// Track parameters at the closest approach to a reference, and their derivatives.
struct Prediction {
  Vector<5> parameters;
  Matrix<5, 3> by_position;
  Matrix<5, 3> by_momentum; // by q/p, lambda, phi at the point
};

inline Prediction predict_line(const Point &point, const Vector<3> &q, const Point &reference) {
  const double c = std::cos(q[2][0]), s = std::sin(q[2][0]);
  const double cl = std::cos(q[1][0]), sl = std::sin(q[1][0]);
  const double dx = point.x - reference.x, dy = point.y - reference.y, dz = point.z - reference.z;
  const double across = -dx * s + dy * c, along = dx * c + dy * s;
  Prediction out;
  out.parameters = {{{q[0][0]}, {q[1][0]}, {q[2][0]}, {across}, {dz * cl - along * sl}}};
  for (int i = 0; i < 3; ++i)
    out.by_momentum[i][i] = 1.0;
  out.by_momentum[3][2] = -along;
  out.by_momentum[4][1] = -dz * sl - along * cl;
  out.by_momentum[4][2] = -across * sl;
  out.by_position = {{{0, 0, 0}, {0, 0, 0}, {0, 0, 0}, {-s, c, 0}, {-c * sl, -s * sl, cl}}};
  return out;
}

// q holds (q/p, lambda, phi) at the point.
inline Prediction predict_helix(const Point &point, const Vector<3> &q, const Point &reference) {
  const double s = std::sin(q[2][0]), c = std::cos(q[2][0]);
  const double sl = std::sin(q[1][0]), cl = std::cos(q[1][0]), tl = sl / cl;
  const double w = turning_radius(q[0][0], q[1][0]);
  // From the centre of the circle to the reference.
  const double u = reference.x - point.x + w * s, v = reference.y - point.y - w * c;
  const double side = w > 0.0 ? 1.0 : -1.0;
  const double distance = std::hypot(u, v);
  const double phi = std::atan2(side * u, -side * v);
  const double turn = wrap(phi - q[2][0]);
  const double dz = point.z + tl * w * turn - reference.z;
  Prediction out;
  out.parameters = {{{q[0][0]}, {q[1][0]}, {phi}, {side * distance - w}, {dz * cl}}};
  // Derivatives of w, u and v by (x, y, z, q/p, lambda, phi) at the point.
  const double dw[6] = {0, 0, 0, -w / q[0][0], -w * tl, 0};
  const double du[6] = {-1, 0, 0, dw[3] * s, dw[4] * s, w * c};
  const double dv[6] = {0, -1, 0, -dw[3] * c, -dw[4] * c, w * s};
  for (int k = 0; k < 6; ++k) {
    const double dphi = (u * dv[k] - v * du[k]) / (distance * distance);
    const double dturn = dphi - (k == 5 ? 1.0 : 0.0);
    double ddz = tl * (dw[k] * turn + w * dturn) + (k == 2 ? 1.0 : 0.0);
    if (k == 4)
      ddz += w * turn / (cl * cl);
    const double rows[5] = {k == 3 ? 1.0 : 0.0, k == 4 ? 1.0 : 0.0, dphi,
                            side * (u * du[k] + v * dv[k]) / distance - dw[k], ddz * cl - (k == 4 ? dz * sl : 0.0)};
    for (int i = 0; i < 5; ++i)
      (k < 3 ? out.by_position[i][k] : out.by_momentum[i][k - 3]) = rows[i];
  }
  return out;
}

inline Prediction predict(const Point &point, const Vector<3> &q, const Point &reference, bool neutral) {
  return neutral ? predict_line(point, q, reference) : predict_helix(point, q, reference);
}

// The same track at its closest approach to another reference. The point that is moved depends on all parameters but
// q/p: far along z from the old reference, its height changes with lambda.
inline Track move_reference(const Track &track, const Point &reference) {
  const Vector<3> q = {{{track.parameters[0][0]}, {track.parameters[1][0]}, {track.parameters[2][0]}}};
  const Prediction there = predict(track.position(), q, reference, track.neutral);
  const double s = std::sin(q[2][0]), c = std::cos(q[2][0]), sl = std::sin(q[1][0]), cl = std::cos(q[1][0]);
  const double dxy = track.parameters[3][0], dsz = track.parameters[4][0];
  const Matrix<3, 5> point = {
      {{0, 0, -dxy * c, -s, 0}, {0, 0, -dxy * s, c, 0}, {0, dsz * sl / (cl * cl), 0, 0, 1.0 / cl}}};
  Matrix<5, 5> jacobian = there.by_position * point;
  for (int i = 0; i < 5; ++i)
    for (int k = 0; k < 3; ++k)
      jacobian[i][k] += there.by_momentum[i][k];
  return {reference, there.parameters, times_transposed(jacobian * track.covariance, jacobian), track.neutral};
}

} // namespace hnl

#endif
