// Distances with their errors: vertices to the beam spot and the primary vertex, tracks to either.
#ifndef HNL_GEOMETRY_H
#define HNL_GEOMETRY_H

#include "helix.h"

#include <cmath>

namespace hnl {

// A point with its covariance: the beam spot (with its width) or a primary vertex.
struct Origin {
  Point point;
  Matrix<3, 3> covariance;
};

struct Distance {
  double value = 0.0, error = 0.0;
  double significance() const { return error > 0.0 ? value / error : 0.0; }
};

// Distance between two independent points, in the transverse plane (2) or in space (3).
template <int DIMENSIONS> Distance distance(const Point &point, const Matrix<3, 3> &covariance, const Origin &origin) {
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
template <int DIMENSIONS> double pointing_cosine(const Point &vertex, const Momentum &momentum, const Origin &origin) {
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

inline Impact impact(const Track &track, const Origin &origin) {
  const Track moved = move_reference(track, origin.point);
  const double s = std::sin(moved.parameters[2][0]), c = std::cos(moved.parameters[2][0]);
  const double sl = std::sin(moved.parameters[1][0]), cl = std::cos(moved.parameters[1][0]);
  const double dxy = moved.parameters[3][0], dsz = moved.parameters[4][0];
  // The origin's own spread along the two directions across the track.
  const Matrix<3, 2> across = {{{-s, -sl * c}, {c, -sl * s}, {0.0, cl}}};
  const Matrix<2, 2> spread = transposed_times(across, origin.covariance * across);
  const double xx = moved.covariance[3][3] + spread[0][0], zz = moved.covariance[4][4] + spread[1][1];
  const double xz = moved.covariance[3][4] + spread[0][1];
  Impact out;
  out.xy = {dxy, std::sqrt(xx)};
  out.z = {dsz / cl, std::sqrt(moved.covariance[4][4] / (cl * cl) + origin.covariance[2][2])};
  const double d = std::hypot(dxy, dsz);
  out.space = {d, d > 0.0 ? std::sqrt(dxy * dxy * xx + dsz * dsz * zz + 2.0 * dxy * dsz * xz) / d : 0.0};
  return out;
}

// Height of a track where its circle passes a point of the transverse plane.
inline double height_at(const Track &track, double w, double cx, double cy, double x, double y) {
  const double phi = w > 0.0 ? std::atan2(x - cx, cy - y) : std::atan2(cx - x, y - cy);
  return track.position().z + std::tan(track.parameters[1][0]) * w * wrap(phi - track.parameters[2][0]);
}

struct Crossing {
  bool valid = false;
  Point point;
};

// Where two charged tracks cross in the transverse plane: of two crossings the one with the smaller difference in z.
inline Crossing cross(const Track &first, const Track &second) {
  double w[2], cx[2], cy[2];
  const Track *tracks[2] = {&first, &second};
  for (int t = 0; t < 2; ++t) {
    const Point at = tracks[t]->position();
    w[t] = turning_radius(tracks[t]->parameters[0][0], tracks[t]->parameters[1][0]);
    cx[t] = at.x - w[t] * std::sin(tracks[t]->parameters[2][0]);
    cy[t] = at.y + w[t] * std::cos(tracks[t]->parameters[2][0]);
  }
  const double dx = cx[1] - cx[0], dy = cy[1] - cy[0], d = std::hypot(dx, dy);
  const double r0 = std::abs(w[0]), r1 = std::abs(w[1]);
  const double gap = std::max(d - r0 - r1, std::abs(r0 - r1) - d);
  if (gap > SKIM_CROSSING_GAP || !(d > 0.0))
    return {};
  const double a = gap > 0.0 ? (d > std::max(r0, r1) ? r0 + 0.5 * gap : (r0 > r1 ? r0 - 0.5 * gap : -r0 - 0.5 * gap))
                             : (d * d + r0 * r0 - r1 * r1) / (2.0 * d);
  const double h = gap > 0.0 ? 0.0 : std::sqrt(std::max(r0 * r0 - a * a, 0.0));
  Crossing best;
  double smallest = SKIM_CROSSING_DZ;
  for (const double side : {-1.0, 1.0}) {
    const double x = cx[0] + (a * dx - side * h * dy) / d, y = cy[0] + (a * dy + side * h * dx) / d;
    const double z0 = height_at(first, w[0], cx[0], cy[0], x, y), z1 = height_at(second, w[1], cx[1], cy[1], x, y);
    if (std::abs(z0 - z1) < smallest && std::hypot(x, y) < VERTEX_MAX_RADIUS) {
      smallest = std::abs(z0 - z1);
      best = {true, {x, y, 0.5 * (z0 + z1)}};
    }
  }
  return best;
}

} // namespace hnl

#endif
