// Least-squares fit of two particles to one vertex (the full Billoir fit: position and momenta, all covariances).
#ifndef HNL_VERTEX_H
#define HNL_VERTEX_H

#include "helix.h"

#include <cmath>

namespace hnl {

struct VertexFit {
  bool valid = false;
  Point position;
  Matrix<3, 3> covariance;
  double chi2 = 0.0;
  double probability = 0.0;
  Momentum momentum[2];          // refitted, at the vertex
  Vector<3> parameters[2];       // q/p, lambda, phi at the vertex
  Matrix<3, 3> own[2];           // covariance of the parameters of each particle
  Matrix<3, 3> with_position[2]; // cov(position, parameters)
  Matrix<3, 3> between;          // cov(parameters of the first, of the second)
};

inline Momentum momentum_of(const Vector<3> &q) {
  const double p = 1.0 / std::abs(q[0][0]), pt = p * std::cos(q[1][0]);
  return {pt * std::cos(q[2][0]), pt * std::sin(q[2][0]), p * std::sin(q[1][0])};
}

// d(px, py, pz) / d(q/p, lambda, phi).
inline Matrix<3, 3> momentum_jacobian(const Vector<3> &q) {
  const Momentum k = momentum_of(q);
  const double p = k.p(), sl = std::sin(q[1][0]), c = std::cos(q[2][0]), s = std::sin(q[2][0]);
  return {{{-k.px / q[0][0], -p * sl * c, -k.py},
           {-k.py / q[0][0], -p * sl * s, k.px},
           {-k.pz / q[0][0], p * std::cos(q[1][0]), 0.0}}};
}

// The direction that a track has where it comes closest to a point in the transverse plane.
inline Vector<3> parameters_near(const Track &track, const Point &point) {
  const Vector<3> q = {{{track.parameters[0][0]}, {track.parameters[1][0]}, {track.parameters[2][0]}}};
  const Vector<5> moved = predict(track.position(), q, point, track.neutral).parameters;
  return {{{moved[0][0]}, {moved[1][0]}, {moved[2][0]}}};
}

// Start: a point near the vertex. One degree of freedom: 2 x 5 measured, 3 + 2 x 3 fitted.
inline VertexFit fit_vertex(const Track &first, const Track &second, const Point &start) {
  const Track *tracks[2] = {&first, &second};
  VertexFit fit;
  Matrix<5, 5> weights[2];
  for (int t = 0; t < 2; ++t) {
    if (!invert(tracks[t]->covariance, weights[t]))
      return fit;
    fit.parameters[t] = parameters_near(*tracks[t], start);
  }
  fit.position = start;
  double previous = 1e30;
  Matrix<3, 3> c_inverse[2], e[2];
  for (int iteration = 0; iteration < VERTEX_MAX_ITERATIONS; ++iteration) {
    // Normal equations in blocks: the momenta are eliminated one particle at a time.
    Matrix<3, 3> total;
    Vector<3> right, g[2];
    double chi2 = 0.0;
    for (int t = 0; t < 2; ++t) {
      const Prediction model = predict(fit.position, fit.parameters[t], tracks[t]->reference, tracks[t]->neutral);
      Vector<5> residual = tracks[t]->parameters - model.parameters;
      residual[2][0] = wrap(residual[2][0]);
      chi2 += quadratic_form(residual, weights[t]);
      const Matrix<5, 3> wa = weights[t] * model.by_position, wb = weights[t] * model.by_momentum;
      if (!invert(transposed_times(model.by_momentum, wb), c_inverse[t]))
        return fit;
      e[t] = transposed_times(wa, model.by_momentum);
      g[t] = transposed_times(wb, residual);
      const Matrix<3, 3> ec = e[t] * c_inverse[t];
      total = total + transposed_times(model.by_position, wa) - times_transposed(ec, e[t]);
      right = right + transposed_times(wa, residual) - ec * g[t];
    }
    if (!invert(total, fit.covariance) || !std::isfinite(chi2))
      return fit;
    if (iteration == 1 && chi2 > VERTEX_HOPELESS_CHI2)
      return fit;
    fit.chi2 = chi2;
    const Vector<3> step = fit.covariance * right;
    // Stop where the derivatives were taken: values and covariances then belong to one point.
    if (std::abs(previous - chi2) < VERTEX_CHI2_TOLERANCE && quadratic_form(step, total) < VERTEX_CHI2_TOLERANCE) {
      fit.valid = true;
      break;
    }
    previous = chi2;
    for (int t = 0; t < 2; ++t)
      fit.parameters[t] = fit.parameters[t] + c_inverse[t] * (g[t] - transposed_times(e[t], step));
    fit.position.x += step[0][0];
    fit.position.y += step[1][0];
    fit.position.z += step[2][0];
    if (!(std::hypot(fit.position.x, fit.position.y) < VERTEX_MAX_RADIUS))
      return fit;
  }
  const Matrix<3, 3> ce[2] = {times_transposed(c_inverse[0], e[0]), times_transposed(c_inverse[1], e[1])};
  for (int t = 0; t < 2; ++t) {
    fit.with_position[t] = Matrix<3, 3>{} - times_transposed(fit.covariance, ce[t]);
    fit.own[t] = c_inverse[t] - ce[t] * fit.with_position[t];
  }
  fit.between = Matrix<3, 3>{} - ce[0] * fit.with_position[1];
  fit.probability = std::erfc(std::sqrt(0.5 * fit.chi2));
  for (int t = 0; t < 2; ++t)
    fit.momentum[t] = momentum_of(fit.parameters[t]);
  return fit;
}

// The sum of the two particles as one neutral particle, at its closest approach to the reference.
inline Track neutral_sum(const VertexFit &fit, const Point &reference) {
  const Matrix<3, 3> jacobian[2] = {momentum_jacobian(fit.parameters[0]), momentum_jacobian(fit.parameters[1])};
  const Momentum sum = {fit.momentum[0].px + fit.momentum[1].px, fit.momentum[0].py + fit.momentum[1].py,
                        fit.momentum[0].pz + fit.momentum[1].pz};
  const Matrix<3, 3> cross = times_transposed(jacobian[0] * fit.between, jacobian[1]);
  Matrix<3, 3> momentum_covariance = cross;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      momentum_covariance[i][j] += cross[j][i];
  Matrix<3, 3> position_momentum;
  for (int t = 0; t < 2; ++t) {
    momentum_covariance = momentum_covariance + times_transposed(jacobian[t] * fit.own[t], jacobian[t]);
    position_momentum = position_momentum + times_transposed(fit.with_position[t], jacobian[t]);
  }
  const double p = sum.p(), pt = sum.pt();
  const Vector<3> q = {{{1.0 / p}, {std::atan2(sum.pz, pt)}, {sum.phi()}}};
  Matrix<3, 3> to_q = {{{-sum.px / (p * p * p), -sum.py / (p * p * p), -sum.pz / (p * p * p)},
                        {-sum.pz * sum.px / (pt * p * p), -sum.pz * sum.py / (pt * p * p), pt / (p * p)},
                        {-sum.py / (pt * pt), sum.px / (pt * pt), 0.0}}};
  const Prediction there = predict_line(fit.position, q, reference);
  const Matrix<5, 3> by_momentum = there.by_momentum * to_q;
  const Matrix<5, 5> mixed = times_transposed(there.by_position * position_momentum, by_momentum);
  Matrix<5, 5> covariance = times_transposed(there.by_position * fit.covariance, there.by_position) +
                            times_transposed(by_momentum * momentum_covariance, by_momentum);
  for (int i = 0; i < 5; ++i)
    for (int j = 0; j < 5; ++j)
      covariance[i][j] += mixed[i][j] + mixed[j][i];
  return {reference, there.parameters, covariance, true};
}

} // namespace hnl

#endif
