// Least-squares fit of particles to one vertex: the full fit of Billoir and Qian (NIM A311 (1992) 139), with position,
// momenta and all covariances.
#ifndef HNL_VERTEX_H
#define HNL_VERTEX_H

#include "helix.h"

#include "Math/ProbFuncMathCore.h"

#include <array>
#include <cmath>

namespace hnl {

// A measured track, or N as a particle, with what its fits need again and again.
struct PreparedTrack : Track {
  Matrix<5, 5> weight; // inverse of the covariance
  double radius = 0.0, centre_x = 0.0, centre_y = 0.0; // of the circle; the radius is signed as the turn
  double start_z = 0.0, slope = 0.0;                   // where it comes closest to the reference, and tan(lambda)
  double kt = 0.0, absolute_eta = 0.0;
  Momentum k;          // at the reference
  bool usable = false; // finite numbers and a positive covariance
};

inline bool is_finite(const Track &track) {
  for (int i = 0; i < 5; ++i)
    if (!std::isfinite(track.parameters[i][0]))
      return false;
  return track.parameters[0][0] != 0.0 && std::abs(track.parameters[1][0]) < 1.5707963;
}

inline PreparedTrack prepare(const Track &track) {
  PreparedTrack out;
  static_cast<Track &>(out) = track;
  if (!is_finite(track) || !invert(track.covariance, out.weight))
    return out;
  double sum = 0.0;
  for (int i = 0; i < 5; ++i)
    sum += out.weight[i][i];
  if (!std::isfinite(sum))
    return out;
  out.usable = true;
  out.k = track.momentum();
  out.kt = track.pt();
  out.absolute_eta = std::abs(track.eta());
  if (track.neutral)
    return out;
  const Point at = track.position();
  out.start_z = at.z;
  out.slope = std::tan(track.parameters[1][0]);
  out.radius = turning_radius(track.parameters[0][0], track.parameters[1][0]);
  out.centre_x = at.x - out.radius * std::sin(track.parameters[2][0]);
  out.centre_y = at.y + out.radius * std::cos(track.parameters[2][0]);
  return out;
}

inline Momentum momentum_of(const Vector<3> &q) {
  const double p = 1.0 / std::abs(q[0][0]), pt = p * std::cos(q[1][0]);
  return {pt * std::cos(q[2][0]), pt * std::sin(q[2][0]), p * std::sin(q[1][0])};
}

template <int N> struct VertexFit {
  bool valid = false;
  Point position;
  Matrix<3, 3> covariance;
  double chi2 = 0.0;        // of 2 N - 3 degrees of freedom
  double probability = 0.0; // to find a larger one
  Momentum momentum[N];     // refitted, at the vertex
  Vector<3> parameters[N];  // q/p, lambda, phi at the vertex
  Matrix<3, 3> with_position[N]; // cov(position, parameters)
  Matrix<3, 3> free[N];          // covariance of the parameters at a fixed position
  Matrix<3, 3> slope[N];         // - d(parameters) / d(position)

  // Covariance of the parameters of two particles, or of one with itself.
  Matrix<3, 3> between(int first, int second) const {
    const Matrix<3, 3> shared = slope[first] * with_position[second];
    return first == second ? free[first] - shared : Matrix<3, 3>{} - shared;
  }
};

// The direction that a track has where it comes closest to a point in the transverse plane.
inline Vector<3> parameters_near(const Track &track, const Point &point) {
  const Vector<3> q = {{{track.parameters[0][0]}, {track.parameters[1][0]}, {track.parameters[2][0]}}};
  const Vector<5> moved = predict(track.position(), q, point, track.neutral).parameters;
  return {{{moved[0][0]}, {moved[1][0]}, {moved[2][0]}}};
}

// Start: a point near the vertex. 5 N numbers are measured, 3 + 3 N fitted. Not valid when it does not converge, or if
// chi2 cannot come below VERTEX_HOPELESS_CHI2: one step from a crossing of the tracks tells that.
template <int N>
VertexFit<N> fit_vertex(const std::array<const PreparedTrack *, N> &tracks, const Point &start) {
  VertexFit<N> fit;
  for (int t = 0; t < N; ++t)
    fit.parameters[t] = parameters_near(*tracks[t], start);
  fit.position = start;
  for (int iteration = 0; iteration < VERTEX_MAX_ITERATIONS && !fit.valid; ++iteration) {
    // Normal equations in blocks: the momenta are eliminated one particle at a time.
    Matrix<3, 3> total, mixed[N];
    Vector<3> right, g[N];
    double chi2 = 0.0, gain = 0.0;
    for (int t = 0; t < N; ++t) {
      const PreparedTrack &track = *tracks[t];
      const Prediction model = predict(fit.position, fit.parameters[t], track.reference, track.neutral);
      Vector<5> residual = track.parameters - model.parameters;
      residual[2][0] = wrap(residual[2][0]);
      chi2 += quadratic_form(residual, track.weight);
      const Matrix<5, 3> wa = track.weight * model.by_position, wb = track.weight * model.by_momentum;
      if (!invert(transposed_times(model.by_momentum, wb), fit.free[t]))
        return fit;
      mixed[t] = transposed_times(wa, model.by_momentum);
      g[t] = transposed_times(wb, residual);
      const Matrix<3, 3> ec = mixed[t] * fit.free[t];
      total = total + transposed_times(model.by_position, wa) - times_transposed(ec, mixed[t]);
      right = right + transposed_times(wa, residual) - ec * g[t];
      gain += quadratic_form(g[t], fit.free[t]);
    }
    if (!invert(total, fit.covariance))
      return fit;
    gain += quadratic_form(right, fit.covariance);
    fit.chi2 = std::max(chi2 - gain, 0.0); // after the step, as far as the model is linear
    if (!(fit.chi2 < VERTEX_HOPELESS_CHI2))
      return fit;
    const Vector<3> step = fit.covariance * right;
    for (int t = 0; t < N; ++t) {
      const double before = fit.parameters[t][0][0];
      fit.parameters[t] = fit.parameters[t] + fit.free[t] * (g[t] - transposed_times(mixed[t], step));
      if (!(before * fit.parameters[t][0][0] > 0.0)) // the charge does not change
        return fit;
      fit.slope[t] = times_transposed(fit.free[t], mixed[t]);
    }
    fit.position.x += step[0][0];
    fit.position.y += step[1][0];
    fit.position.z += step[2][0];
    if (!(std::hypot(fit.position.x, fit.position.y) < VERTEX_MAX_RADIUS))
      return fit;
    fit.valid = gain < VERTEX_CHI2_TOLERANCE;
  }
  if (!fit.valid)
    return fit;
  for (int t = 0; t < N; ++t) {
    fit.with_position[t] = Matrix<3, 3>{} - times_transposed(fit.covariance, fit.slope[t]);
    fit.momentum[t] = momentum_of(fit.parameters[t]);
  }
  fit.probability = ROOT::Math::chisquared_cdf_c(fit.chi2, 2 * N - 3);
  return fit;
}

} // namespace hnl

#endif
