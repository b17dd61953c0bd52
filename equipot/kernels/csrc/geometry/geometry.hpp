// Spherical harmonics of the edges and the cubic B-spline basis of their lengths, with first and second derivatives.
// SIMD across edges. Everything is written once over a number type: a register, or a dual number of two registers,
// whose tangents give the second derivatives from the code of the first.
#pragma once

#include <cmath>
#include <utility>

#include "simd/vector.hpp"

namespace equipot {

constexpr int max_l = 4;

// A register of values with a register of their derivatives along one direction.
template <class T>
struct Dual {
  Vec<T> value, tangent;

  friend Dual operator+(Dual a, Dual b) { return {a.value + b.value, a.tangent + b.tangent}; }
  friend Dual operator-(Dual a, Dual b) { return {a.value - b.value, a.tangent - b.tangent}; }
  friend Dual operator*(Dual a, Dual b) { return {a.value * b.value, a.value * b.tangent + a.tangent * b.value}; }
  friend Dual operator*(Vec<T> a, Dual b) { return {a * b.value, a * b.tangent}; }
  friend Dual operator*(T a, Dual b) { return {a * b.value, a * b.tangent}; }
  friend Dual operator+(T a, Dual b) { return {a + b.value, b.tangent}; }
  friend Dual operator-(T a, Dual b) { return {a - b.value, -b.tangent}; }
};

// What the formulas are evaluated on: registers, or with their tangents.
template <class T, bool tangents>
struct NumberOf {
  typedef Vec<T> type;
};
template <class T>
struct NumberOf<T, true> {
  typedef Dual<T> type;
};
template <class T, bool tangents>
using Number = typename NumberOf<T, tangents>::type;

template <class T>
inline Vec<T> value(Vec<T> a) {
  return a;
}
template <class T>
inline Vec<T> value(Dual<T> a) {
  return a.value;
}

template <class T>
inline Vec<T> square_root(Vec<T> a) {
  for (int k = 0; k < lanes<T>; ++k) a[k] = std::sqrt(a[k]);
  return a;
}

// The length with this square, but not below the smallest one e3nn divides by.
template <class T>
inline Vec<T> safe_length(Vec<T> square) {
  const Vec<T> smallest = Vec<T>{} + T(1e-12), length = square_root<T>(square);
  return length < smallest ? smallest : length;
}
template <class T>
inline Dual<T> safe_length(Dual<T> square) {
  const Vec<T> length = safe_length<T>(square.value);
  return {length, T(0.5) * square.tangent / length};
}

template <class T>
inline Vec<T> reciprocal(Vec<T> a) {
  return T(1) / a;
}
template <class T>
inline Dual<T> reciprocal(Dual<T> a) {
  const Vec<T> inverse = T(1) / a.value;
  return {inverse, -a.tangent * inverse * inverse};
}

// a where a < limit, else the limit, as a constant.
template <class T>
inline Vec<T> at_most(Vec<T> a, T limit) {
  return a < limit ? a : Vec<T>{} + limit;
}
template <class T>
inline Dual<T> at_most(Dual<T> a, T limit) {
  return {at_most<T>(a.value, limit), a.value < limit ? a.tangent : Vec<T>{}};
}

// The gradient of a solid harmonic of order l is a combination of those of order l - 1: d Y_to / d x_axis has the
// term coefficient * Y_from. By Euler's theorem l Y = x . grad Y, so the table defines the harmonics too. They are
// e3nn's: real, y is the polar axis, component normalised; entry (l, m) stands at l * l + m.
struct GradientTerm {
  int to, axis, from;
  double signed_square;  // of the coefficient, with its sign
};
constexpr GradientTerm gradient_terms[] = {
    {1, 0, 0, 3.},         {2, 1, 0, 3.},         {3, 2, 0, 3.},
    {4, 0, 3, 5.},         {4, 2, 1, 5.},         {5, 0, 2, 5.},         {5, 1, 1, 5.},
    {6, 0, 1, -5. / 3},    {6, 1, 2, 20. / 3},    {6, 2, 3, -5. / 3},    {7, 1, 3, 5.},
    {7, 2, 2, 5.},         {8, 0, 1, -5.},        {8, 2, 3, 5.},
    {9, 0, 8, 10.5},       {9, 2, 4, 10.5},       {10, 0, 7, 7.},        {10, 1, 4, 7.},
    {10, 2, 5, 7.},        {11, 0, 6, 8.4},       {11, 0, 8, 0.7},       {11, 1, 5, 11.2},
    {11, 2, 4, -0.7},      {12, 0, 5, -4.2},      {12, 1, 6, 12.6},      {12, 2, 7, -4.2},
    {13, 0, 4, -0.7},      {13, 1, 7, 11.2},      {13, 2, 6, 8.4},       {13, 2, 8, -0.7},
    {14, 0, 5, -7.},       {14, 1, 8, 7.},        {14, 2, 7, 7.},        {15, 0, 4, -10.5},
    {15, 2, 8, 10.5},
    {16, 0, 15, 18.},      {16, 2, 9, 18.},       {17, 0, 14, 13.5},     {17, 1, 9, 9.},
    {17, 2, 10, 13.5},     {18, 0, 13, 135. / 14}, {18, 0, 15, 9. / 14},  {18, 1, 10, 108. / 7},
    {18, 2, 9, -9. / 14},  {18, 2, 11, 135. / 14}, {19, 0, 12, 90. / 7},  {19, 0, 14, 27. / 14},
    {19, 1, 11, 135. / 7}, {19, 2, 10, -27. / 14}, {20, 0, 11, -54. / 7}, {20, 1, 12, 144. / 7},
    {20, 2, 13, -54. / 7}, {21, 0, 10, -27. / 14}, {21, 1, 13, 135. / 7}, {21, 2, 12, 90. / 7},
    {21, 2, 14, -27. / 14}, {22, 0, 9, -9. / 14},  {22, 0, 11, -135. / 14}, {22, 1, 14, 108. / 7},
    {22, 2, 13, 135. / 14}, {22, 2, 15, -9. / 14}, {23, 0, 10, -13.5},    {23, 1, 15, 9.},
    {23, 2, 14, 13.5},     {24, 0, 9, -18.},      {24, 2, 15, 18.},
};
// Terms of the orders up to l.
constexpr int num_gradient_terms[max_l + 1] = {0, 3, 14, 35, 66};

constexpr double constexpr_sqrt(double x) {
  double root = x;
  for (int k = 0; k < 40; ++k) root = 0.5 * (root + x / root);
  return root;
}
constexpr double coefficient(const GradientTerm& term) {
  return term.signed_square < 0 ? -constexpr_sqrt(-term.signed_square) : constexpr_sqrt(term.signed_square);
}
constexpr int order_of(int entry) { return entry < 1 ? 0 : entry < 4 ? 1 : entry < 9 ? 2 : entry < 16 ? 3 : 4; }

template <class T, bool tangents, size_t... Term>
inline void solid_harmonics(const Number<T, tangents>* x, Number<T, tangents>* y, std::index_sequence<Term...>) {
  constexpr auto& terms = gradient_terms;
  ((y[terms[Term].to] = y[terms[Term].to] + T(coefficient(terms[Term]) / order_of(terms[Term].to)) *
                                                (x[terms[Term].axis] * y[terms[Term].from])),
   ...);
}

template <class T, bool tangents, size_t... Term>
inline void solid_harmonics_backward(const Number<T, tangents>* y, const Vec<T>* g_harmonics,
                                     Number<T, tangents>* g_direction, std::index_sequence<Term...>) {
  constexpr auto& terms = gradient_terms;
  ((g_direction[terms[Term].axis] = g_direction[terms[Term].axis] +
                                    (T(coefficient(terms[Term])) * g_harmonics[terms[Term].to]) * y[terms[Term].from]),
   ...);
}

// Direction, length and harmonics of one register of edges.
template <int L, class T, bool tangents = false>
struct Direction {
  using S = Number<T, tangents>;
  static constexpr auto terms = std::make_index_sequence<num_gradient_terms[L]>();
  S unit[3], length, inverse, harmonics[(L + 1) * (L + 1)];

  explicit Direction(const S* vector)
      : length(safe_length<T>(vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2])),
        inverse(reciprocal<T>(length)),
        harmonics{} {
    for (int axis = 0; axis < 3; ++axis) unit[axis] = vector[axis] * inverse;
    harmonics[0] = T(1) + harmonics[0];
    solid_harmonics<T, tangents>(unit, harmonics, terms);
  }

  // Gradient with respect to the vector from those of the harmonics and of the length.
  void backward(const Vec<T>* g_harmonics, S g_length, S* g_vector) const {
    S g_unit[3] = {}, radial = S{};
    solid_harmonics_backward<T, tangents>(harmonics, g_harmonics, g_unit, terms);
    for (int axis = 0; axis < 3; ++axis) radial = radial + unit[axis] * g_unit[axis];
    for (int axis = 0; axis < 3; ++axis)
      g_vector[axis] = inverse * (g_unit[axis] - unit[axis] * radial) + unit[axis] * g_length;
  }
};

// As many integers as there are lanes of T.
template <class T>
struct Integers;
template <>
struct Integers<float> {
  typedef int32_t type __attribute__((vector_size(vector_bytes)));
};
template <>
struct Integers<double> {
  typedef int32_t type __attribute__((vector_size(vector_bytes / 2)));
};

// The uniform cubic B-spline basis at one register of lengths: interval number and place within it.
template <class T, bool tangents = false>
struct SplinePoint {
  using S = Number<T, tangents>;
  typename Integers<T>::type knot;
  S place;            // 0..1
  Vec<T> per_length;  // d place / d length: 0 at and beyond the cutoff

  SplinePoint(S length, T cutoff, int num_intervals) {
    const T scale = T(num_intervals) / cutoff;
    const S scaled = scale * length;
    // Clamped before it becomes an integer, so that neither infinity nor NaN ever index a table.
    const Vec<T> inside = at_most<T>(value<T>(scaled), T(num_intervals));
    knot = __builtin_convertvector(inside, decltype(knot));
    knot = knot < num_intervals ? knot : knot - 1;
    place = at_most<T>(scaled - __builtin_convertvector(knot, Vec<T>) * one(), T(1));
    per_length = value<T>(scaled) < T(num_intervals) ? Vec<T>{} + scale : Vec<T>{};
  }

  void basis(S* b) const {
    const S t = place, s = T(1) - t, t2 = t * t;
    b[0] = T(1. / 6) * (s * s * s);
    b[1] = T(2. / 3) + t2 * (T(-1) + T(0.5) * t);
    b[3] = T(1. / 6) * (t2 * t);
    b[2] = T(1) - (b[0] + b[1] + b[3]);
  }

  // d (sum_k g_k b_k) / d length.
  S backward(const Vec<T>* g) const {
    const S t = place, s = T(1) - t, t2 = t * t;
    const S b0 = T(-0.5) * (s * s), b1 = t * (T(-2) + T(1.5) * t), b3 = T(0.5) * t2;
    return per_length * ((g[0] - g[2]) * b0 + (g[1] - g[2]) * b1 + (g[3] - g[2]) * b3);
  }

 private:
  static S one() { return T(1) + S{}; }
};

// Harmonics (l, m), and with `basis` the spline basis and knots, of `count` edges.
//
// All arrays but `knot` are structures of arrays with this stride, a multiple of the register: vector [3][stride],
// finite beyond count; harmonics [(l_max+1)^2][stride] and basis [4][stride], set to 0 beyond count; knot [count].
template <class T>
void edge_geometry(int l_max, T cutoff, int num_intervals, int64_t count, int64_t stride, const T* vector,
                   T* harmonics, T* basis, int32_t* knot);

// Gradient with respect to the vectors, [3][stride], overwritten; g_basis may be null. Gradients finite beyond count.
template <class T>
void edge_geometry_backward(int l_max, T cutoff, int num_intervals, int64_t count, int64_t stride, const T* vector,
                            const T* g_harmonics, const T* g_basis, T* g_vector);

// Gradients of sum(h_vector * g_vector), with g_vector from edge_geometry_backward: with respect to g_harmonics, to
// g_basis and to the vectors; each of them null if not wanted.
template <class T>
void edge_geometry_double_backward(int l_max, T cutoff, int num_intervals, int64_t count, int64_t stride,
                                   const T* vector, const T* g_harmonics, const T* g_basis, const T* h_vector,
                                   T* gg_harmonics, T* gg_basis, T* g_vector);

}  // namespace equipot
