// What decays at a fitted vertex: its momentum and mass with their errors, and itself as a particle of a further fit.
#ifndef HNL_COMPOSITE_H
#define HNL_COMPOSITE_H

#include "vertex.h"

#include <algorithm>

namespace hnl {

struct FourMomentum {
  double px = 0.0, py = 0.0, pz = 0.0, e = 0.0;
  double pt() const { return std::hypot(px, py); }
  double mass() const { return std::sqrt(std::max(e * e - px * px - py * py - pz * pz, 0.0)); }
};

inline FourMomentum with_mass(const Momentum &k, double mass) { return {k.px, k.py, k.pz, std::hypot(k.p(), mass)}; }

inline FourMomentum operator+(const FourMomentum &a, const FourMomentum &b) {
  return {a.px + b.px, a.py + b.py, a.pz + b.pz, a.e + b.e};
}

// d(px, py, pz) / d(q/p, lambda, phi).
inline Matrix<3, 3> momentum_jacobian(const Vector<3> &q) {
  const Momentum k = momentum_of(q);
  const double p = k.p(), sl = std::sin(q[1][0]), c = std::cos(q[2][0]), s = std::sin(q[2][0]);
  return {{{-k.px / q[0][0], -p * sl * c, -k.py},
           {-k.py / q[0][0], -p * sl * s, k.px},
           {-k.pz / q[0][0], p * std::cos(q[1][0]), 0.0}}};
}

// d(mass of the sum) / d(momentum of one of its particles, at fixed mass).
inline Matrix<1, 3> mass_gradient(const FourMomentum &sum, const FourMomentum &one) {
  const double mass = std::max(sum.mass(), 1e-6);
  return {{{(sum.e * one.px / one.e - sum.px) / mass, (sum.e * one.py / one.e - sum.py) / mass,
            (sum.e * one.pz / one.e - sum.pz) / mass}}};
}

// The sum of the particles of a vertex.
struct Composite {
  FourMomentum k;
  double mass_error = 0.0;
  Matrix<4, 4> covariance;    // of px, py, pz, mass
  Matrix<3, 4> with_position; // cov(position, (px, py, pz, mass))
};

template <int N> Composite combine(const VertexFit<N> &fit, const std::array<FourMomentum, N> &particles) {
  Composite out;
  for (const FourMomentum &particle : particles)
    out.k = out.k + particle;
  Matrix<4, 3> jacobian[N]; // d(px, py, pz, mass) / d(parameters of one)
  for (int t = 0; t < N; ++t) {
    const Matrix<1, 3> gradient = mass_gradient(out.k, particles[t]);
    const Matrix<4, 3> by_momentum = {
        {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {gradient[0][0], gradient[0][1], gradient[0][2]}}};
    jacobian[t] = by_momentum * momentum_jacobian(fit.parameters[t]);
    out.with_position = out.with_position + times_transposed(fit.with_position[t], jacobian[t]);
  }
  for (int a = 0; a < N; ++a)
    for (int b = 0; b < N; ++b)
      out.covariance = out.covariance + times_transposed(jacobian[a] * fit.between(a, b), jacobian[b]);
  out.mass_error = std::sqrt(std::max(out.covariance[3][3], 0.0));
  return out;
}

// A composite as one neutral particle whose mass is measured together with its direction.
struct Decayed {
  PreparedTrack track;
  double mass = 0.0, mass_variance = 0.0;
  Vector<5> with_mass; // cov(track parameters, mass)
};

inline Decayed as_particle(const Point &position, const Matrix<3, 3> &covariance, const Composite &sum,
                           const Point &reference) {
  const FourMomentum &k = sum.k;
  const double pt = k.pt(), p = std::hypot(pt, k.pz);
  const Vector<3> q = {{{1.0 / p}, {std::atan2(k.pz, pt)}, {std::atan2(k.py, k.px)}}};
  const Matrix<3, 4> to_q = {{{-k.px / (p * p * p), -k.py / (p * p * p), -k.pz / (p * p * p), 0},
                              {-k.pz * k.px / (pt * p * p), -k.pz * k.py / (pt * p * p), pt / (p * p), 0},
                              {-k.py / (pt * pt), k.px / (pt * pt), 0, 0}}};
  const Prediction there = predict_line(position, q, reference);
  const Matrix<5, 4> by_sum = there.by_momentum * to_q;
  // Rows: the five parameters and the mass.
  Matrix<6, 3> a;
  Matrix<6, 4> b;
  for (int i = 0; i < 5; ++i) {
    std::copy(there.by_position[i], there.by_position[i] + 3, a[i]);
    std::copy(by_sum[i], by_sum[i] + 4, b[i]);
  }
  b[5][3] = 1.0;
  const Matrix<6, 6> mixed = times_transposed(a * sum.with_position, b);
  const Matrix<6, 6> all = times_transposed(a * covariance, a) + times_transposed(b * sum.covariance, b) + mixed;
  Track track{reference, there.parameters, {}, true};
  Decayed out;
  for (int i = 0; i < 5; ++i) {
    for (int j = 0; j < 5; ++j)
      track.covariance[i][j] = all[i][j] + mixed[j][i];
    out.with_mass[i][0] = all[i][5] + mixed[5][i];
  }
  out.track = prepare(track);
  out.mass = k.mass();
  out.mass_variance = all[5][5] + mixed[5][5];
  return out;
}

// The sum of a decayed particle (first) and a track (second) after their fit. The fit moves direction and momentum of the
// first, and its mass with them, as far as they are correlated.
inline Composite combine(const VertexFit<2> &fit, const Decayed &decayed, double second_mass) {
  const Prediction model = predict_line(fit.position, fit.parameters[0], decayed.track.reference);
  const Vector<5> weights = decayed.track.weight * decayed.with_mass; // d(mass) / d(parameters)
  Vector<5> moved = model.parameters - decayed.track.parameters;
  moved[2][0] = wrap(moved[2][0]);
  const double mass = decayed.mass + transposed_times(weights, moved)[0][0];
  const FourMomentum first = with_mass(fit.momentum[0], mass), second = with_mass(fit.momentum[1], second_mass);
  Composite out = combine<2>(fit, {first, second});
  // The error of the mass again, with the mass of the first as it depends on position and momentum.
  const double by_mass = mass / first.e * out.k.e / std::max(out.k.mass(), 1e-6);
  Matrix<1, 3> by_position = transposed_times(weights, model.by_position), by_q[2];
  const Matrix<1, 3> mass_by_q = transposed_times(weights, model.by_momentum);
  for (int t = 0; t < 2; ++t)
    by_q[t] = mass_gradient(out.k, t == 0 ? first : second) * momentum_jacobian(fit.parameters[t]);
  for (int i = 0; i < 3; ++i) {
    by_position[0][i] *= by_mass;
    by_q[0][0][i] += by_mass * mass_by_q[0][i];
  }
  const double unexplained = decayed.mass_variance - transposed_times(decayed.with_mass, weights)[0][0];
  double variance = by_mass * by_mass * unexplained;
  variance += times_transposed(by_position * fit.covariance, by_position)[0][0];
  for (int a = 0; a < 2; ++a) {
    variance += 2.0 * times_transposed(by_position * fit.with_position[a], by_q[a])[0][0];
    for (int b = 0; b < 2; ++b)
      variance += times_transposed(by_q[a] * fit.between(a, b), by_q[b])[0][0];
  }
  out.mass_error = std::sqrt(std::max(variance, 0.0));
  return out;
}

} // namespace hnl

#endif
