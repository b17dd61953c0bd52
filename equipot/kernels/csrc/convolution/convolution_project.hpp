// The slope of each edge's weight and the gradient of its harmonics, the inner loop of the sender pass.
#pragma once

#include "convolution/convolution.hpp"

namespace equipot {

// With v[m2] = sum_m3 g[e][m3] cross[m2][m3], of each channel:
//   partial[e][m2] = weights[e] v[m2]              a register of partial sums over channels, overwritten
//   slope[e]       = sum_m2 harmonics[m2][e] v[m2]  dL/d weight of each channel
// With a tangent (all four arrays of it given), v' from cross_tangent:
//   partial[e][m2] = weights_tangent[e] v[m2] + weights[e] v'[m2]
//   slope[e]       = as above
//   slope_tangent[e] = sum_m2 harmonics_tangent[m2][e] v[m2] + harmonics[m2][e] v'[m2]
template <class T>
struct Projection {
  int count;  // edges, at most edge_chunk
  int64_t channels, g_stride, harmonics_stride, partial_stride;
  const T* const* g;                // [count]
  const T* const* weights;          // [count]
  const T* const* weights_tangent;  // [count]
  const T* harmonics;               // [2 l2 + 1][harmonics_stride]
  const T* harmonics_tangent;
  const T* cross;  // [registers of channels][2 l2 + 1][2 l3 + 1][lanes]; with l1 = 0 [registers][lanes]
  const T* cross_tangent;
  T* partial;  // [count][partial_stride]
  T* const* slope;  // [count]
  T* const* slope_tangent;
};

template <class T>
void project(int l1, int l2, int l3, bool tangent, const Projection<T>& projection);

}  // namespace equipot
