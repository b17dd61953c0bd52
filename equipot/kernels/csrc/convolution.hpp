// The convolution out_i = sum_j w_ij (x_j (x) Y_ij) of one atom, its gradients and their gradients.
//
// Features are rows of (component, channel) blocks, channels contiguous. A path couples an input block of order l1 with
// the harmonic of order l2 to order l3, channel by channel, with one weight for each edge, path and channel. Passes over
// the edges an atom receives give the result and the gradient with respect to g; passes over the edges it sends give the
// gradients with respect to its features, the harmonics and the weights. So no two atoms ever write to the same place.
#pragma once

#include <cstdint>
#include <vector>

#include "edges.hpp"
#include "scratch.hpp"

namespace equipot {

constexpr int convolution_l_max = 4;
// Edges are worked on in chunks of this many, so that what belongs to a chunk stays in the first-level cache.
constexpr int edge_chunk = 32;

// One nonzero coefficient of a path: the component it is summed over, and its value.
struct Coupling {
  int index;
  double value;
};

// Couplings of all targets (a, b), flattened: those of target t stand in [start[t], start[t+1]).
struct CouplingList {
  std::vector<int> start;
  std::vector<Coupling> terms;
};

struct ConvolutionPath {
  int l1, l2, l3;
  int64_t channels;
  int64_t input_offset;   // of the input block in a row of features; its components are `channels` apart
  int64_t output_offset;  // of this path's first channel in a row of the result
  int64_t output_stride;  // channels of the output block: distance of its components
  int64_t weight_offset;  // of this path's first weight in a row of weights
  CouplingList over_m2;   // targets (m1, m3), sums over m2
  CouplingList over_m1;   // targets (m2, m3), sums over m1
  double diagonal;        // with l1 = 0 or l2 = 0: the coefficients are this number times the identity
};

struct ConvolutionPlan {
  int l_max;
  int64_t input_dim, output_dim, num_weights, max_channels;
  int64_t work;  // multiplications an edge, about
  std::vector<ConvolutionPath> paths;

  int64_t num_harmonics() const { return int64_t(l_max + 1) * (l_max + 1); }
};

// Working memory of one thread.
template <class T>
struct ConvolutionScratch {
  Scratch<T> coupling, weights, weights_tangent, cross, cross_tangent, slope, slope_tangent, partial, zeros;
};

// Weights w_e = sum_k basis_k(e) table[knot_e + k]: the table's rows are shared by all edges.
template <class T>
struct SplineWeights {
  const T* table;       // (rows, num_weights)
  T* g_table = nullptr;  // gradient, added to; null if not wanted
  // Double backward: the cotangents of the gradients with respect to basis and table; null stands for zero.
  const T* basis_tangent = nullptr;  // [4][stride] of the block
  const T* table_tangent = nullptr;  // (rows, num_weights)
};

// Weights given edge by edge.
template <class T>
struct EdgeWeights {
  const T* weights;                    // (E, num_weights)
  T* g_weights = nullptr;              // gradient, rows of the block's edges overwritten; null if not wanted
  const T* weights_tangent = nullptr;  // (E, num_weights), double backward; null stands for zero
};

// Receiver pass: the result's row of one atom.
//   x        (N, input_dim) features of all atoms
//   out_row  (output_dim), overwritten
template <class T, class Weights>
void convolve(const ConvolutionPlan& plan, const EdgeBlock<T>& edges, const T* x, const Weights& weights, T* out_row,
              ConvolutionScratch<T>& scratch);

// Sender pass of the gradient, given g = dL/d out. Outputs that are null are not computed.
//   x_row        (input_dim) features of this atom
//   g            (N, output_dim)
//   gx_row       (input_dim), overwritten
//   g_harmonics  [(l_max+1)^2][stride], added to, entries from count to stride too
//   g_basis      [4][stride], the same; spline weights only
template <class T, class Weights>
void convolve_backward(const ConvolutionPlan& plan, const EdgeBlock<T>& edges, const T* x_row, const T* g,
                       const Weights& weights, T* gx_row, T* g_harmonics, T* g_basis, ConvolutionScratch<T>& scratch);

// Double backward: the gradient of <hx, gx> + <h_harmonics, g_harmonics> + <h_weights, g_weights> (the latter through
// the tangents in `weights`), where tangents that are null stand for zero.

// Receiver pass, with respect to g.
//   hx           (N, input_dim)
//   h_harmonics  [(l_max+1)^2][stride] of the block
//   gg_row       (output_dim), overwritten
template <class T, class Weights>
void convolve_double_backward_receiver(const ConvolutionPlan& plan, const EdgeBlock<T>& edges, const T* x, const T* hx,
                                       const T* h_harmonics, const Weights& weights, T* gg_row,
                                       ConvolutionScratch<T>& scratch);

// Sender pass, with respect to features, harmonics and weights.
template <class T, class Weights>
void convolve_double_backward_sender(const ConvolutionPlan& plan, const EdgeBlock<T>& edges, const T* x_row,
                                     const T* hx_row, const T* g, const T* h_harmonics, const Weights& weights,
                                     T* gx_row, T* g_harmonics, T* g_basis, ConvolutionScratch<T>& scratch);

}  // namespace equipot
