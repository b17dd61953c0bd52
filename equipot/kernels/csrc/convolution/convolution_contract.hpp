// Sum over edges of weight * coupling matrix * row, the inner loop of the receiver pass and of the features' gradient.
#pragma once

#include "convolution/convolution.hpp"

namespace equipot {

// out[b][c] += sum_e weights[e][c] sum_a coupling[a][b][e] in[e][a][c]. With a diagonal coupling there is one number an
// edge: out[a][c] += sum_e weights[e][c] coupling[e] in[e][a][c].
template <class T>
struct Contraction {
  int count;  // edges, at most edge_chunk
  int64_t channels, in_stride, out_stride;
  const T* const* in;       // [count]
  const T* const* weights;  // [count]
  const T* coupling;        // [2 l_in + 1][2 l_out + 1][edge_chunk]
  T* out;
};

template <class T>
void contract(int l_in, int l_out, bool diagonal, const Contraction<T>& contraction);

// How the sum moves with its three factors, `in_tangent` may be null:
//   out[b][c] += sum_e sum_a (weights_tangent in + weights in_tangent)[a] coupling[a][b] + (weights in)[a] coupling_tangent[a][b]
template <class T>
struct TangentContraction {
  Contraction<T> factors;
  const T* const* in_tangent;
  const T* const* weights_tangent;
  const T* coupling_tangent;
};

template <class T>
void contract_tangent(int l_in, int l_out, bool diagonal, const TangentContraction<T>& contraction);

}  // namespace equipot
