// Where a path's weights come from and where their gradients go: spline tables, or rows given edge by edge.
#pragma once

#include "convolution.hpp"
#include "vector_part.hpp"

namespace equipot {

// The edges of a chunk: `first` is the first of them within its block.
struct Chunk {
  int64_t first;
  int count;
};

// Calls body(first channel, Whole or First) for each register of channels.
template <class T, class Body>
inline void for_channels(int64_t channels, Body body) {
  int64_t c = 0;
  for (; c + lanes<T> <= channels; c += lanes<T>) body(c, Whole<T>());
  if (c < channels) body(c, First<T>(int(channels - c)));
}

// Row k of `rows`, `row_stride` apart, as a pointer for each edge.
template <class T>
inline void point_to_rows(T* rows, int64_t row_stride, const int64_t* row, const Chunk& chunk, T** pointers) {
  for (int e = 0; e < chunk.count; ++e) pointers[e] = rows + row[chunk.first + e] * row_stride;
}
template <class T>
inline void point_to_scratch(T* scratch, int64_t row_stride, const Chunk& chunk, T** pointers) {
  for (int e = 0; e < chunk.count; ++e) pointers[e] = scratch + e * row_stride;
}

// out[e] (+)= sum_k basis_k(e) table[knot_e + k], for the channels of a path.
template <class T, bool Add>
inline void mix_rows(const EdgeBlock<T>& edges, const Chunk& chunk, const T* basis, const T* table, int64_t num_weights,
                     int64_t channels, T* out, int64_t out_stride) {
  for (int e = 0; e < chunk.count; ++e) {
    const int64_t n = chunk.first + e;
    const T* t0 = table + edges.knot[n] * num_weights;
    const T *t1 = t0 + num_weights, *t2 = t1 + num_weights, *t3 = t2 + num_weights;
    const T b0 = basis[n], b1 = basis[edges.stride + n], b2 = basis[2 * edges.stride + n], b3 = basis[3 * edges.stride + n];
    T* row = out + e * out_stride;
    for_channels<T>(channels, [&](int64_t c, auto part) {
      Vec<T> w = part.load(t0 + c) * b0 + part.load(t1 + c) * b1 + part.load(t2 + c) * b2 + part.load(t3 + c) * b3;
      if (Add) w += load(row + c);
      store(row + c, w);
    });
  }
}

template <class T>
const T** point_to_weights(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges,
                           const Chunk& chunk, const SplineWeights<T>& weights, ConvolutionScratch<T>& scratch,
                           const T** pointers) {
  const int64_t stride = padded<T>(plan.max_channels);
  T* rows = scratch.weights.reserve(edge_chunk * stride);
  mix_rows<T, false>(edges, chunk, edges.basis, weights.table + path.weight_offset, plan.num_weights, path.channels,
                     rows, stride);
  point_to_scratch<const T>(rows, stride, chunk, pointers);
  return pointers;
}

template <class T>
const T** point_to_weights(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges,
                           const Chunk& chunk, const EdgeWeights<T>& weights, ConvolutionScratch<T>&,
                           const T** pointers) {
  point_to_rows(weights.weights + path.weight_offset, plan.num_weights, edges.edge, chunk, pointers);
  return pointers;
}

// The tangents of the weights; null if they are zero.
template <class T>
const T** point_to_tangents(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges,
                            const Chunk& chunk, const SplineWeights<T>& weights, ConvolutionScratch<T>& scratch,
                            const T** pointers) {
  if (!weights.basis_tangent && !weights.table_tangent) return nullptr;
  const int64_t stride = padded<T>(plan.max_channels), offset = path.weight_offset;
  T* rows = scratch.weights_tangent.reserve(edge_chunk * stride);
  if (weights.basis_tangent)
    mix_rows<T, false>(edges, chunk, weights.basis_tangent, weights.table + offset, plan.num_weights, path.channels,
                       rows, stride);
  if (weights.table_tangent && weights.basis_tangent)
    mix_rows<T, true>(edges, chunk, edges.basis, weights.table_tangent + offset, plan.num_weights, path.channels, rows,
                      stride);
  else if (weights.table_tangent)
    mix_rows<T, false>(edges, chunk, edges.basis, weights.table_tangent + offset, plan.num_weights, path.channels, rows,
                       stride);
  point_to_scratch<const T>(rows, stride, chunk, pointers);
  return pointers;
}

template <class T>
const T** point_to_tangents(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges,
                            const Chunk& chunk, const EdgeWeights<T>& weights, ConvolutionScratch<T>&,
                            const T** pointers) {
  if (!weights.weights_tangent) return nullptr;
  point_to_rows(weights.weights_tangent + path.weight_offset, plan.num_weights, edges.edge, chunk, pointers);
  return pointers;
}

template <class T>
bool wants_weight_gradient(const SplineWeights<T>& weights, const T* g_basis) {
  return weights.g_table || g_basis;
}
template <class T>
bool wants_weight_gradient(const EdgeWeights<T>& weights, const T*) {
  return weights.g_weights;
}

// Where the slope (dL/d weight) of each edge is to be written: the gradient itself, or scratch.
template <class T>
void point_to_slopes(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges,
                     const Chunk& chunk, const SplineWeights<T>&, Scratch<T>& scratch, T** pointers) {
  const int64_t stride = padded<T>(plan.max_channels);
  point_to_scratch(scratch.reserve(edge_chunk * stride), stride, chunk, pointers);
}
template <class T>
void point_to_slopes(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges,
                     const Chunk& chunk, const EdgeWeights<T>& weights, Scratch<T>& scratch, T** pointers) {
  const int64_t stride = padded<T>(plan.max_channels);
  if (weights.g_weights)
    point_to_rows(weights.g_weights + path.weight_offset, plan.num_weights, edges.edge, chunk, pointers);
  else
    point_to_scratch(scratch.reserve(edge_chunk * stride), stride, chunk, pointers);
}

// partial[k] += sums over channels of slope * table row k, one register each.
template <class T>
inline void add_basis_gradient(const EdgeBlock<T>& edges, const Chunk& chunk, const T* table, int64_t num_weights,
                               int64_t channels, T* const* slope, T* partial, int64_t partial_stride) {
  for (int e = 0; e < chunk.count; ++e) {
    const T* t0 = table + edges.knot[chunk.first + e] * num_weights;
    const T *t1 = t0 + num_weights, *t2 = t1 + num_weights, *t3 = t2 + num_weights;
    const T* s = slope[e];
    T* target = partial + e * partial_stride;
    Vec<T> b0 = load(target), b1 = load(target + lanes<T>), b2 = load(target + 2 * lanes<T>),
           b3 = load(target + 3 * lanes<T>);
    for_channels<T>(channels, [&](int64_t c, auto part) {
      const Vec<T> v = part.load(s + c);
      b0 += v * part.load(t0 + c);
      b1 += v * part.load(t1 + c);
      b2 += v * part.load(t2 + c);
      b3 += v * part.load(t3 + c);
    });
    store(target, b0);
    store(target + lanes<T>, b1);
    store(target + 2 * lanes<T>, b2);
    store(target + 3 * lanes<T>, b3);
  }
}

// g_table[knot_e + k] += basis_k(e) slope[e].
template <class T>
inline void add_table_gradient(const EdgeBlock<T>& edges, const Chunk& chunk, const T* basis, int64_t num_weights,
                               int64_t channels, T* const* slope, T* g_table) {
  for (int e = 0; e < chunk.count; ++e) {
    const int64_t n = chunk.first + e;
    T* t0 = g_table + edges.knot[n] * num_weights;
    T *t1 = t0 + num_weights, *t2 = t1 + num_weights, *t3 = t2 + num_weights;
    const T b0 = basis[n], b1 = basis[edges.stride + n], b2 = basis[2 * edges.stride + n], b3 = basis[3 * edges.stride + n];
    const T* s = slope[e];
    for_channels<T>(channels, [&](int64_t c, auto part) {
      const Vec<T> v = part.load(s + c);
      part.store(t0 + c, part.load(t0 + c) + v * b0);
      part.store(t1 + c, part.load(t1 + c) + v * b1);
      part.store(t2 + c, part.load(t2 + c) + v * b2);
      part.store(t3 + c, part.load(t3 + c) + v * b3);
    });
  }
}

// From the slopes of a chunk to the gradients of basis and table. `slope` is dL/dw; in the double backward
// `slope_tangent` is, and `slope` is dL/d(tangent of w); it is null in the first backward.
template <class T>
void spread_slopes(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges,
                   const Chunk& chunk, const SplineWeights<T>& weights, T* const* slope, T* const* slope_tangent,
                   bool wants_basis, T* basis_partial, int64_t partial_stride) {
  const int64_t width = plan.num_weights, channels = path.channels, offset = path.weight_offset;
  T* const* of_weights = slope_tangent ? slope_tangent : slope;
  if (wants_basis) {
    add_basis_gradient(edges, chunk, weights.table + offset, width, channels, of_weights, basis_partial, partial_stride);
    if (slope_tangent && weights.table_tangent)
      add_basis_gradient(edges, chunk, weights.table_tangent + offset, width, channels, slope, basis_partial,
                         partial_stride);
  }
  if (weights.g_table) {
    add_table_gradient(edges, chunk, edges.basis, width, channels, of_weights, weights.g_table + offset);
    if (slope_tangent && weights.basis_tangent)
      add_table_gradient(edges, chunk, weights.basis_tangent, width, channels, slope, weights.g_table + offset);
  }
}
template <class T>
void spread_slopes(const ConvolutionPlan&, const ConvolutionPath&, const EdgeBlock<T>&, const Chunk&,
                   const EdgeWeights<T>&, T* const*, T* const*, bool, T*, int64_t) {}

}  // namespace equipot
