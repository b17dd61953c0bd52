// The sender pass of a loss on energies and on their gradients at once, for features and weights.
#pragma once

#include "convolution/convolution.hpp"

namespace equipot {

// With couplings k, d = coupling_tangent and rows g, b of the receivers, of each edge and channel:
//   p[m] = sum_a k[a][m] g[a]          q[m] = sum_a k[a][m] b[a] + d[a][m] g[a]
//   x_adjoint[m] += sum_e weights_tangent p[m] + weights q[m]
//   slope_of_tangent[e] = sum_m x[m] p[m]                       slope[e] = sum_m x[m] q[m] + x_tangent[m] p[m]
// x_tangent may be null. With a diagonal coupling there is one number an edge.
template <class T>
struct AdjointContraction {
  int count;  // edges, at most edge_chunk
  int64_t channels, row_stride;  // components of g and b are row_stride apart, those of x `channels`
  const T* const* g;                // [count]
  const T* const* b;                // [count]
  const T* const* weights;          // [count]
  const T* const* weights_tangent;  // [count]
  const T* coupling;                // [2 l3 + 1][2 l1 + 1][edge_chunk]
  const T* coupling_tangent;
  const T *x, *x_tangent;
  T* x_adjoint;
  T* const* slope;             // [count]
  T* const* slope_of_tangent;  // [count]
};

template <class T>
void contract_adjoint(int l3, int l1, bool diagonal, const AdjointContraction<T>& contraction);

}  // namespace equipot
