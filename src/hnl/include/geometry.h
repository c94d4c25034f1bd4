// Distances with their errors: vertices to the beam spot and the primary vertex, tracks to either.
#ifndef HNL_GEOMETRY_H
#define HNL_GEOMETRY_H

#include "vertex.h"

#include <cmath>

namespace hnl {

// A point with its covariance: the beam spot (with its width) or a primary vertex.
struct UncertainPoint {
  Point point;
  Matrix<3, 3> covariance;
  bool usable = true; // finite numbers and a positive covariance
};

struct Distance {
  double value = 0.0, error = 0.0;
  double significance() const { return error > 0.0 ? value / error : 0.0; }
};

// Distance between two independent points, in the transverse plane (2) or in space (3).
template <int DIMENSIONS>
Distance distance(const Point &point, const Matrix<3, 3> &covariance, const UncertainPoint &origin) {
  const double d[3] = {point.x - origin.point.x, point.y - origin.point.y, point.z - origin.point.z};
  double square = 0.0, spread = 0.0;
  for (int i = 0; i < DIMENSIONS; ++i) {
    square += d[i] * d[i];
    for (int j = 0; j < DIMENSIONS; ++j)
      spread += d[i] * d[j] * (covariance[i][j] + origin.covariance[i][j]);
  }
  const double length = std::sqrt(square);
  return {length, length > 0.0 ? std::sqrt(spread) / length : 0.0};
}

// Cosine of the angle between the momentum and the flight from the origin to the vertex.
template <int DIMENSIONS>
double pointing_cosine(const Point &vertex, const Momentum &momentum, const UncertainPoint &origin) {
  const double d[3] = {vertex.x - origin.point.x, vertex.y - origin.point.y, vertex.z - origin.point.z};
  const double k[3] = {momentum.px, momentum.py, momentum.pz};
  double dk = 0.0, dd = 0.0, kk = 0.0;
  for (int i = 0; i < DIMENSIONS; ++i) {
    dk += d[i] * k[i];
    dd += d[i] * d[i];
    kk += k[i] * k[i];
  }
  return dd > 0.0 && kk > 0.0 ? dk / std::sqrt(dd * kk) : 0.0;
}

// Impact parameters of a track to an origin: signed across and along z, and in space.
struct Impact {
  Distance xy, z, space;
};

// The point of a charged track that is nearest in space to an origin, from the track moved to that origin.
inline Point nearest_point(const Track &moved) {
  const Point start = moved.position(), &origin = moved.reference;
  const double w = turning_radius(moved.parameters[0][0], moved.parameters[1][0]), phi = moved.parameters[2][0];
  const double tl = std::tan(moved.parameters[1][0]);
  const double cx = start.x - w * std::sin(phi), cy = start.y + w * std::cos(phi);
  Point at = start;
  double s = 0.0; // path in the transverse plane; Newton's method for a right angle between path and distance
  for (int iteration = 0; iteration < 6; ++iteration) {
    const double c = std::cos(phi + s / w), sn = std::sin(phi + s / w);
    at = {cx + w * sn, cy - w * c, start.z + tl * s};
    const double dx = at.x - origin.x, dy = at.y - origin.y, dz = at.z - origin.z;
    const double slope = 1.0 + tl * tl + (dy * c - dx * sn) / w;
    const double step = -(dx * c + dy * sn + dz * tl) / slope;
    if (!(slope > 0.0) || std::abs(s + step) > std::abs(w)) // no minimum near: stay
      break;
    s += step;
    if (std::abs(step) < 1e-6)
      break;
  }
  return at;
}

inline Impact impact(const Track &track, const UncertainPoint &origin) {
  Impact out;
  const Track moved = move_reference(track, origin.point);
  const Matrix<5, 5> &covariance = moved.covariance;
  const double s = std::sin(moved.parameters[2][0]), c = std::cos(moved.parameters[2][0]);
  const double sl = std::sin(moved.parameters[1][0]), cl = std::cos(moved.parameters[1][0]);
  const double dxy = moved.parameters[3][0], dsz = moved.parameters[4][0];
  // How far the origin's own spread moves each: the track's point of closest approach moves along with the origin.
  const Vector<3> across = {{{-s}, {c}, {0.0}}}, height = {{{-c * sl / cl}, {-s * sl / cl}, {1.0}}};
  out.xy = {dxy, std::sqrt(covariance[3][3] + quadratic_form(across, origin.covariance))};
  const double by_lambda = dsz * sl / (cl * cl);
  const double variance = covariance[4][4] / (cl * cl) + 2.0 * covariance[1][4] * by_lambda / cl +
                          covariance[1][1] * by_lambda * by_lambda;
  out.z = {dsz / cl, std::sqrt(variance + quadratic_form(height, origin.covariance))};
  // In space: the covariance is taken at the nearest point, across the track.
  const Point nearest = nearest_point(moved);
  const Vector<3> to = {{{nearest.x - origin.point.x}, {nearest.y - origin.point.y}, {nearest.z - origin.point.z}}};
  const double d = std::sqrt(transposed_times(to, to)[0][0]);
  out.space.value = d;
  if (!(d > 0.0))
    return out;
  const Track there = move_reference(moved, nearest);
  const double sp = std::sin(there.parameters[2][0]), cp = std::cos(there.parameters[2][0]);
  const Vector<3> n = {{{to[0][0] / d}, {to[1][0] / d}, {to[2][0] / d}}};
  const double u = -sp * n[0][0] + cp * n[1][0], v = -sl * (cp * n[0][0] + sp * n[1][0]) + cl * n[2][0];
  out.space.error = std::sqrt(u * u * there.covariance[3][3] + 2.0 * u * v * there.covariance[3][4] +
                              v * v * there.covariance[4][4] + quadratic_form(n, origin.covariance));
  return out;
}

// Height of a track where its circle passes a point of the transverse plane.
inline double height_at(const PreparedTrack &track, double x, double y) {
  const double side = track.radius > 0.0 ? 1.0 : -1.0;
  const double phi = std::atan2(side * (x - track.centre_x), side * (track.centre_y - y));
  return track.start_z + track.slope * track.radius * wrap(phi - track.parameters[2][0]);
}

struct Crossing {
  bool valid = false;
  Point point;
};

// Where two charged tracks cross in the transverse plane: of two crossings the one with the smaller difference in z.
inline Crossing cross(const PreparedTrack &first, const PreparedTrack &second) {
  const double dx = second.centre_x - first.centre_x, dy = second.centre_y - first.centre_y;
  const double d = std::sqrt(dx * dx + dy * dy);
  const double r0 = std::abs(first.radius), r1 = std::abs(second.radius);
  const double gap = std::max(d - r0 - r1, std::abs(r0 - r1) - d);
  if (gap > SKIM_CROSSING_GAP || !(d > 0.0))
    return {};
  const double a = gap > 0.0 ? (d > std::max(r0, r1) ? r0 + 0.5 * gap : (r0 > r1 ? r0 - 0.5 * gap : -r0 - 0.5 * gap))
                             : (d * d + r0 * r0 - r1 * r1) / (2.0 * d);
  const double h = gap > 0.0 ? 0.0 : std::sqrt(std::max(r0 * r0 - a * a, 0.0));
  Crossing best;
  double smallest = SKIM_CROSSING_DZ;
  for (const double side : {-1.0, 1.0}) {
    const double x = first.centre_x + (a * dx - side * h * dy) / d, y = first.centre_y + (a * dy + side * h * dx) / d;
    if (x * x + y * y > VERTEX_MAX_RADIUS * VERTEX_MAX_RADIUS)
      continue;
    const double z0 = height_at(first, x, y), z1 = height_at(second, x, y);
    if (std::abs(z0 - z1) < smallest) {
      smallest = std::abs(z0 - z1);
      best = {true, {x, y, 0.5 * (z0 + z1)}};
    }
  }
  return best;
}

} // namespace hnl

#endif
