// A whole register or its first lanes behind one interface, so that a loop over channels is written once.
#pragma once

#include <utility>

#include "simd/vector.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace equipot {

template <class T>
struct Whole {
  Vec<T> load(const T* p) const { return equipot::load(p); }
  void store(T* p, Vec<T> v) const { equipot::store(p, v); }
};

// The first n lanes, 0 < n < lanes; loads give zero in the others, and memory beyond the n is not touched.
template <class T>
struct First {
  explicit First(int n) : n(n) {}
  Vec<T> load(const T* p) const { return load_first(p, n); }
  void store(T* p, Vec<T> v) const { store_first(p, v, n); }
  int n;
};

#if defined(__AVX512F__)
template <>
struct First<float> {
  explicit First(int n) : mask(__mmask16((1u << n) - 1)) {}
  Vec<float> load(const float* p) const { return (Vec<float>)_mm512_maskz_loadu_ps(mask, p); }
  void store(float* p, Vec<float> v) const { _mm512_mask_storeu_ps(p, mask, (__m512)v); }
  __mmask16 mask;
};
template <>
struct First<double> {
  explicit First(int n) : mask(__mmask8((1u << n) - 1)) {}
  Vec<double> load(const double* p) const { return (Vec<double>)_mm512_maskz_loadu_pd(mask, p); }
  void store(double* p, Vec<double> v) const { _mm512_mask_storeu_pd(p, mask, (__m512d)v); }
  __mmask8 mask;
};
#elif defined(__AVX2__)
template <>
struct First<float> {
  explicit First(int n) : mask(_mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))) {}
  Vec<float> load(const float* p) const { return (Vec<float>)_mm256_maskload_ps(p, mask); }
  void store(float* p, Vec<float> v) const { _mm256_maskstore_ps(p, mask, (__m256)v); }
  __m256i mask;
};
template <>
struct First<double> {
  explicit First(int n) : mask(_mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3))) {}
  Vec<double> load(const double* p) const { return (Vec<double>)_mm256_maskload_pd(p, mask); }
  void store(double* p, Vec<double> v) const { _mm256_maskstore_pd(p, mask, (__m256d)v); }
  __m256i mask;
};
#endif

// Sum of the lanes of each of `lanes` registers, p + k * stride for k = 0, 1, ...: lane k of the result.
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define EQUIPOT_SHUFFLES 1
#endif
#endif
#if defined(EQUIPOT_SHUFFLES)
// Where lane `lane` of the merged register is taken from: groups of `group` lanes of a and b are halved, a's then b's.
constexpr int merged_lane(int lane, int group, int num_lanes, int half) {
  const int start = lane / group * group, within = lane % group;
  return (within < group / 2 ? start + within : num_lanes + start + within - group / 2) + half * (group / 2);
}
template <int Group, class V, int... Lane>
inline V merge_halves(V a, V b, std::integer_sequence<int, Lane...>) {
  constexpr int n = sizeof...(Lane);
  return __builtin_shufflevector(a, b, merged_lane(Lane, Group, n, 0)...) +
         __builtin_shufflevector(a, b, merged_lane(Lane, Group, n, 1)...);
}
template <class T, int Group>
inline void merge_all(Vec<T>* v) {
  if constexpr (Group > 1) {
    for (int k = 0; k < Group / 2; ++k)
      v[k] = merge_halves<Group>(v[k], v[k + Group / 2], std::make_integer_sequence<int, lanes<T>>());
    merge_all<T, Group / 2>(v);
  }
}
template <class T>
inline Vec<T> sum_each(const T* p, int64_t stride) {
  Vec<T> v[lanes<T>];
  for (int k = 0; k < lanes<T>; ++k) v[k] = load(p + k * stride);
  merge_all<T, lanes<T>>(v);
  return v[0];
}

// Lanes of the lower (Half = 0) or upper (1) halves of a and b in turns: a0 b0 a1 b1 ...
template <int Half, class V, int... Lane>
inline V interleave_halves(V a, V b, std::integer_sequence<int, Lane...>) {
  constexpr int n = sizeof...(Lane);
  return __builtin_shufflevector(a, b, (Lane / 2 + Half * n / 2 + (Lane % 2) * n)...);
}
// Turns `lanes` registers, rows of a square, into its columns: log2(lanes) times rows k and k + lanes / 2 are interleaved.
template <class T>
inline void transpose(Vec<T>* rows) {
  constexpr int n = lanes<T>;
  const auto all = std::make_integer_sequence<int, n>();
  for (int step = 1; step < n; step *= 2) {
    Vec<T> turned[n];
    for (int k = 0; k < n / 2; ++k) {
      turned[2 * k] = interleave_halves<0>(rows[k], rows[k + n / 2], all);
      turned[2 * k + 1] = interleave_halves<1>(rows[k], rows[k + n / 2], all);
    }
    for (int k = 0; k < n; ++k) rows[k] = turned[k];
  }
}
#else
template <class T>
inline void transpose(Vec<T>* rows) {
  for (int k = 0; k < lanes<T>; ++k)
    for (int m = 0; m < k; ++m) {
      const T other = rows[k][m];
      rows[k][m] = rows[m][k];
      rows[m][k] = other;
    }
}
template <class T>
inline Vec<T> sum_each(const T* p, int64_t stride) {
  Vec<T> result = {};
  for (int k = 0; k < lanes<T>; ++k) result[k] = sum<T>(load(p + k * stride));
  return result;
}
#endif

}  // namespace equipot
