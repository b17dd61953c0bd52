// One SIMD register of the instruction set this library is compiled for, and the few operations kernels need on it.
// Channels are the contiguous axis of every array, so a register holds neighbouring channels of one component.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

namespace equipot {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

template <class T>
struct Simd;
template <>
struct Simd<float> {
  typedef float type __attribute__((vector_size(vector_bytes), aligned(alignof(float)), may_alias));
};
template <>
struct Simd<double> {
  typedef double type __attribute__((vector_size(vector_bytes), aligned(alignof(double)), may_alias));
};

// A register of T; arithmetic with + - * /, also with a scalar, works lane by lane.
template <class T>
using Vec = typename Simd<T>::type;

// Lanes in a register of T.
template <class T>
constexpr int lanes = vector_bytes / int(sizeof(T));

template <class T>
inline Vec<T> load(const T* p) {
  return *reinterpret_cast<const Vec<T>*>(p);
}

template <class T>
inline void store(T* p, Vec<T> v) {
  *reinterpret_cast<Vec<T>*>(p) = v;
}

// The first n lanes from memory, zero in the others.
template <class T>
inline Vec<T> load_first(const T* p, int n) {
  Vec<T> v = {};
  std::memcpy(&v, p, sizeof(T) * n);
  return v;
}

template <class T>
inline void store_first(T* p, Vec<T> v, int n) {
  std::memcpy(p, &v, sizeof(T) * n);
}

// Adds to each lane its partner Half away, again and again with half of it; small steps stay within 16 bytes.
template <class T, int Half, size_t... Lane>
inline Vec<T> fold(Vec<T> v, std::index_sequence<Lane...> lane) {
  if constexpr (Half > 0) {
    v += __builtin_shufflevector(v, v, (int(Lane) ^ Half)...);
    return fold<T, Half / 2>(v, lane);
  } else {
    return v;
  }
}

template <class T>
inline T sum(Vec<T> v) {
  return fold<T, lanes<T> / 2>(v, std::make_index_sequence<lanes<T>>())[0];
}

// n rounded up to whole registers.
template <class T>
constexpr int64_t padded(int64_t n) {
  return (n + lanes<T> - 1) / lanes<T> * lanes<T>;
}

}  // namespace equipot

#define EQUIPOT_API extern "C" __attribute__((visibility("default")))
