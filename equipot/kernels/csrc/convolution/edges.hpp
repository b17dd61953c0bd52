// The edges of one atom as a structure of arrays, so that work on edges is SIMD across edges.
#pragma once

#include <cstdint>

#include "simd/scratch.hpp"
#include "simd/vector_part.hpp"

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
  constexpr int n = lanes<T>;
  const int64_t whole = width - width % n;
  for (int64_t e = 0; e < stride; e += n) {
    const int filled = int(count - e < n ? count - e : n);
    for (int64_t column = 0; column < whole; column += n) {
      Vec<T> square[n];
      for (int k = 0; k < n; ++k) square[k] = k < filled ? load(rows + edge[e + k] * width + column) : Vec<T>{};
      transpose<T>(square);
      for (int k = 0; k < n; ++k) store(out + (column + k) * stride + e, square[k]);
    }
    for (int64_t column = whole; column < width; ++column)
      for (int k = 0; k < n; ++k)
        out[column * stride + e + k] = k < filled ? rows[edge[e + k] * width + column] : T(0);
  }
}

// The reverse: [width][stride] into rows edge[0..count), overwritten.
template <class T>
inline void scatter_columns(const T* columns, int64_t width, const int64_t* edge, int64_t count, int64_t stride,
                            T* rows) {
  constexpr int n = lanes<T>;
  const int64_t whole = width - width % n;
  for (int64_t e = 0; e < count; e += n) {
    const int filled = int(count - e < n ? count - e : n);
    for (int64_t column = 0; column < whole; column += n) {
      Vec<T> square[n];
      for (int k = 0; k < n; ++k) square[k] = load(columns + (column + k) * stride + e);
      transpose<T>(square);
      for (int k = 0; k < filled; ++k) store(rows + edge[e + k] * width + column, square[k]);
    }
    for (int k = 0; k < filled; ++k)
      for (int64_t column = whole; column < width; ++column)
        rows[edge[e + k] * width + column] = columns[column * stride + e + k];
  }
}

}  // namespace equipot
