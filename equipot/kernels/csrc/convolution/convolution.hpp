// The convolution out_i = sum_j w_ij (x_j (x) Y_ij) of one atom, its gradients and their gradients.
//
// Features are rows of (component, channel) blocks, channels contiguous. A path couples an input block of order l1 with
// the harmonic of order l2 to order l3, channel by channel, with one weight for each edge, path and channel. Passes over
// the edges an atom receives give the result and the gradient with respect to g; passes over the edges it sends give the
// gradients with respect to its features, the harmonics and the weights. So no two atoms ever write to the same place.
#pragma once

#include <cstdint>
#include <vector>

#include "convolution/edges.hpp"
#include "simd/scratch.hpp"

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

constexpr int plan_path_numbers = 8;

// A plan from plain numbers; false if they make no sense.
//   paths         (num_paths, 8): l1, l2, l3, channels, input_offset, output_offset, output_stride, weight_offset
//   coefficients  for each path (2 l1+1, 2 l2+1, 2 l3+1), one after the other
bool make_plan(int l_max, int64_t input_dim, int64_t output_dim, int64_t num_weights, int64_t num_paths,
               const int64_t* paths, const double* coefficients, ConvolutionPlan& plan);

// Working memory of one thread.
template <class T>
struct ConvolutionScratch {
  Scratch<T> coupling, coupling_tangent, weights, weights_tangent, cross, cross_tangent, slope, slope_tangent, partial,
      zeros;
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

// What is known of tangents, the cotangents of the first gradients, in the double backward; null stands for zero.
template <class T>
struct ConvolutionTangents {
  const T* x;          // receiver pass: (N, input_dim); sender pass: this atom's row
  const T* harmonics;  // [(l_max+1)^2][stride] of the block
};

// Where the sender pass leaves its gradients; what is null is not computed. Those of the weights stand in the weights.
template <class T>
struct ConvolutionGradients {
  T* x_row;      // (input_dim)
  T* harmonics;  // [(l_max+1)^2][stride], added to, entries from count to stride too
  T* basis;      // [4][stride], the same; spline weights only
};

// One path of one atom's edges, added to what the rows hold. Working through the paths, and for each through a few
// atoms, keeps the table's and the features' numbers in the caches, which rows of all paths would be too long for.

// Receiver pass, the result: x (N, input_dim), out_row (output_dim).
template <class T, class Weights>
void receive_path(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges, const T* x,
                  const Weights& weights, T* out_row, ConvolutionScratch<T>& scratch);

// Sender pass, the gradient given g = dL/d out (N, output_dim): x_row (input_dim) are this atom's features.
template <class T, class Weights>
void send_path(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges, const T* x_row,
               const T* g, const Weights& weights, const ConvolutionGradients<T>& gradients,
               ConvolutionScratch<T>& scratch);

// Double backward: the gradient of <tangents, gradients> summed over features, harmonics and weights (the latter through
// the tangents in `weights`). The receiver pass gives the one with respect to g, the sender pass the others.
template <class T, class Weights>
void receive_path_tangent(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges,
                          const T* x, const ConvolutionTangents<T>& tangents, const Weights& weights, T* gg_row,
                          ConvolutionScratch<T>& scratch);
template <class T, class Weights>
void send_path_tangent(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges,
                       const T* x_row, const T* g, const ConvolutionTangents<T>& tangents, const Weights& weights,
                       const ConvolutionGradients<T>& gradients, ConvolutionScratch<T>& scratch);

// Sender pass of sum(b * result) and of what the two passes above differentiate, together: the gradients of features and
// weights alone, with spline weights. b (N, output_dim); harmonics and basis must have tangents.
template <class T>
void send_path_adjoint(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges,
                       const T* x_row, const T* g, const T* b, const ConvolutionTangents<T>& tangents,
                       const SplineWeights<T>& weights, T* gx_row, ConvolutionScratch<T>& scratch);

// All paths of one atom; rows of outputs are overwritten, gradients of harmonics and basis added to.
template <class T, class Weights>
void convolve(const ConvolutionPlan& plan, const EdgeBlock<T>& edges, const T* x, const Weights& weights, T* out_row,
              ConvolutionScratch<T>& scratch);
template <class T, class Weights>
void convolve_backward(const ConvolutionPlan& plan, const EdgeBlock<T>& edges, const T* x_row, const T* g,
                       const Weights& weights, T* gx_row, T* g_harmonics, T* g_basis, ConvolutionScratch<T>& scratch);

}  // namespace equipot
