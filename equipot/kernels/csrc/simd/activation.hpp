// Exponential, sigmoid and scaled silu and tanh of a register, with their derivatives.
#pragma once

#include <cstdint>
#include <cstring>

#include "simd/vector.hpp"

namespace equipot {

// 1 / sqrt(E[f(z)^2]), z standard normal: equipot/nn/activation.py.
constexpr double silu_scale = 1.6791767923989418;
constexpr double tanh_scale = 1.5937334472592695;

template <class T>
struct ExponentialTraits;
template <>
struct ExponentialTraits<float> {
  typedef int32_t Bits __attribute__((vector_size(vector_bytes)));
  static constexpr int mantissa = 23, bias = 127, degree = 7;
  static constexpr float limit = 87.0f, magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to whole numbers
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
};
template <>
struct ExponentialTraits<double> {
  typedef int64_t Bits __attribute__((vector_size(vector_bytes)));
  static constexpr int mantissa = 52, bias = 1023, degree = 13;
  static constexpr double limit = 708.0, magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
};

// exp(x), to 2 units in the last place; saturates at |x| = 87 (float) or 708 (double).
template <class T>
inline Vec<T> exponential(Vec<T> x) {
  using Traits = ExponentialTraits<T>;
  using Bits = typename Traits::Bits;
  const Vec<T> high = Vec<T>{} + Traits::limit, low = -high;
  x = x > high ? high : x;
  x = x < low ? low : x;
  const Vec<T> shifted = x * T(1.44269504088896340736) + Traits::magic;
  const Vec<T> whole = shifted - Traits::magic;
  const Vec<T> rest = (x - whole * Traits::ln2_high) - whole * Traits::ln2_low;
  Vec<T> series = Vec<T>{} + T(1);  // Taylor, by Horner: 1 + r (1 + r/2 (1 + r/3 (...)))
#pragma GCC unroll 16
  for (int n = Traits::degree; n > 0; --n) series = T(1) + series * rest * T(1.0 / n);
  Bits bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + Traits::bias) << Traits::mantissa;  // the whole number stands in the low bits of `shifted`
  Vec<T> power;
  std::memcpy(&power, &bits, sizeof power);
  return series * power;
}

template <class T>
inline Vec<T> sigmoid(Vec<T> x) {
  return T(1) / (T(1) + exponential<T>(-x));
}

template <class T>
inline Vec<T> scaled_silu(Vec<T> x) {
  return T(silu_scale) * x * sigmoid<T>(x);
}

// Value and slope.
template <class T>
inline Vec<T> scaled_silu(Vec<T> x, Vec<T>& slope) {
  const Vec<T> s = T(silu_scale) * sigmoid<T>(x);
  slope = s + x * s * (T(1) - s * T(1 / silu_scale));
  return x * s;
}

template <class T>
inline Vec<T> scaled_tanh(Vec<T> x, Vec<T>& slope) {
  const Vec<T> t = T(2) * sigmoid<T>(x + x) - T(1);
  slope = T(tanh_scale) * (T(1) - t * t);
  return T(tanh_scale) * t;
}

}  // namespace equipot
