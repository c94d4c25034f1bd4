// Matrices of a few rows with their size in the type: all that a vertex fit needs, cheap to compile.
#ifndef HNL_MATRIX_H
#define HNL_MATRIX_H

#include <array>
#include <cmath>

namespace hnl {

template <int R, int C> struct Matrix {
  double m[R][C] = {};
  double *operator[](int i) { return m[i]; }
  const double *operator[](int i) const { return m[i]; }
};

template <int N> using Vector = Matrix<N, 1>;

template <int R, int K, int C> Matrix<R, C> operator*(const Matrix<R, K> &a, const Matrix<K, C> &b) {
  Matrix<R, C> out;
  for (int i = 0; i < R; ++i)
    for (int k = 0; k < K; ++k)
      for (int j = 0; j < C; ++j)
        out[i][j] += a[i][k] * b[k][j];
  return out;
}

// The transpose of a times b, without forming the transpose.
template <int K, int R, int C> Matrix<R, C> transposed_times(const Matrix<K, R> &a, const Matrix<K, C> &b) {
  Matrix<R, C> out;
  for (int k = 0; k < K; ++k)
    for (int i = 0; i < R; ++i)
      for (int j = 0; j < C; ++j)
        out[i][j] += a[k][i] * b[k][j];
  return out;
}

// a times the transpose of b.
template <int R, int K, int C> Matrix<R, C> times_transposed(const Matrix<R, K> &a, const Matrix<C, K> &b) {
  Matrix<R, C> out;
  for (int i = 0; i < R; ++i)
    for (int j = 0; j < C; ++j)
      for (int k = 0; k < K; ++k)
        out[i][j] += a[i][k] * b[j][k];
  return out;
}

template <int R, int C> Matrix<R, C> operator+(Matrix<R, C> a, const Matrix<R, C> &b) {
  for (int i = 0; i < R; ++i)
    for (int j = 0; j < C; ++j)
      a[i][j] += b[i][j];
  return a;
}

template <int R, int C> Matrix<R, C> operator-(Matrix<R, C> a, const Matrix<R, C> &b) {
  for (int i = 0; i < R; ++i)
    for (int j = 0; j < C; ++j)
      a[i][j] -= b[i][j];
  return a;
}

// x^T M x.
template <int N> double quadratic_form(const Vector<N> &x, const Matrix<N, N> &matrix) {
  return transposed_times(x, matrix * x)[0][0];
}

// Lower Cholesky factor of a symmetric positive matrix; false when it is not positive.
template <int N> bool cholesky(const Matrix<N, N> &a, Matrix<N, N> &lower) {
  lower = {};
  for (int j = 0; j < N; ++j) {
    double diagonal = a[j][j];
    for (int k = 0; k < j; ++k)
      diagonal -= lower[j][k] * lower[j][k];
    if (!(diagonal > 0.0))
      return false;
    lower[j][j] = std::sqrt(diagonal);
    for (int i = j + 1; i < N; ++i) {
      double sum = a[i][j];
      for (int k = 0; k < j; ++k)
        sum -= lower[i][k] * lower[j][k];
      lower[i][j] = sum / lower[j][j];
    }
  }
  return true;
}

// Inverse of a symmetric positive matrix; false when it is not positive.
template <int N> bool invert(const Matrix<N, N> &a, Matrix<N, N> &inverse) {
  Matrix<N, N> lower;
  if (!cholesky(a, lower))
    return false;
  Matrix<N, N> solved; // inverse of the lower factor
  for (int j = 0; j < N; ++j) {
    solved[j][j] = 1.0 / lower[j][j];
    for (int i = j + 1; i < N; ++i) {
      double sum = 0.0;
      for (int k = j; k < i; ++k)
        sum -= lower[i][k] * solved[k][j];
      solved[i][j] = sum / lower[i][i];
    }
  }
  inverse = transposed_times(solved, solved);
  return true;
}

} // namespace hnl

#endif
