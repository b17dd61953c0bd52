// The edges of one atom as a structure of arrays, so that work on edges is SIMD across edges.
#pragma once

#include <cstdint>

#include "scratch.hpp"
#include "vector.hpp"

namespace equipot {

// Edges in which one atom is the receiver (receiver pass: `other` sends) or the sender (sender pass: `other` receives).
template <class T>
struct EdgeBlock {
  int64_t count;            // number of edges
  int64_t stride;           // padded<T>(count); entries of the arrays from count to stride are finite
  const int64_t* other;     // [count] the atom at the other end
  const int64_t* edge;      // [count] number of the edge: its row in arrays of edge weights; null where there are none
  const T* harmonics;       // [(l_max+1)^2][stride]
  const T* basis;           // [4][stride] spline basis; null with edge weights
  const int32_t* knot;      // [count] first table row of each edge; null with edge weights
};

// Rows edge[0..count) of a row-major (E, width) array, as [width][stride]; zeros beyond count.
template <class T>
inline void gather_columns(const T* rows, int64_t width, const int64_t* edge, int64_t count, int64_t stride, T* out) {
  for (int64_t k = 0; k < width; ++k)
    for (int64_t e = count; e < stride; ++e) out[k * stride + e] = T(0);
  for (int64_t e = 0; e < count; ++e) {
    const T* row = rows + edge[e] * width;
    for (int64_t k = 0; k < width; ++k) out[k * stride + e] = row[k];
  }
}

// The reverse: [width][stride] into rows edge[0..count), overwritten.
template <class T>
inline void scatter_columns(const T* columns, int64_t width, const int64_t* edge, int64_t count, int64_t stride,
                            T* rows) {
  for (int64_t e = 0; e < count; ++e) {
    T* row = rows + edge[e] * width;
    for (int64_t k = 0; k < width; ++k) row[k] = columns[k * stride + e];
  }
}

}  // namespace equipot
