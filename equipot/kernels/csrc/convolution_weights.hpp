// Where a path's weights come from and where their gradients go: spline tables, or rows given edge by edge.
#pragma once

#include <type_traits>

#include "convolution.hpp"
#include "vector_part.hpp"

namespace equipot {

// The edges of a chunk: `first` is the first of them within its block.
struct Chunk {
  int64_t first;
  int count;
};

// Calls body(first channel, Whole or First, number of registers) for all channels, two registers at a time: enough
// independent sums to keep the multipliers busy. The body works on that many registers from the first channel on.
template <class T, class Body>
inline void for_channels(int64_t channels, Body body) {
  int64_t c = 0;
  for (; c + 2 * lanes<T> <= channels; c += 2 * lanes<T>) body(c, Whole<T>(), std::integral_constant<int, 2>());
  if (c + lanes<T> <= channels) {
    body(c, Whole<T>(), std::integral_constant<int, 1>());
    c += lanes<T>;
  }
  if (c < channels) body(c, First<T>(int(channels - c)), std::integral_constant<int, 1>());
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

// The rows of a table an edge mixes, and its basis.
template <class T>
struct Stencil {
  T* row[4];
  Vec<T> basis[4];

  Stencil(const EdgeBlock<T>& edges, int64_t e, const T* basis_columns, T* table, int64_t num_weights) {
    for (int k = 0; k < 4; ++k) row[k] = table + (edges.knot[e] + k) * num_weights;
    for (int k = 0; k < 4; ++k) basis[k] = Vec<T>{} + basis_columns[k * edges.stride + e];
  }
};

// out[e] (+)= sum_k basis_k(e) table[knot_e + k], for the channels of a path. Not inlined: its registers are all taken.
template <class T, bool Add>
__attribute__((noinline)) void mix_rows(const EdgeBlock<T>& edges, const Chunk& chunk, const T* basis, const T* table,
                                        int64_t num_weights, int64_t channels, T* out, int64_t out_stride) {
  constexpr int L = lanes<T>;
  const int32_t* knot = edges.knot + chunk.first;
  const int64_t stride = edges.stride, rest = channels % L, whole = channels - rest, pairs = whole - whole % (2 * L);
  basis += chunk.first;
  const auto mixed = [](auto part, const T* t0, const T* t1, const T* t2, const T* t3, const Vec<T>* b, const T* place) {
    Vec<T> w = part.load(t0) * b[0] + part.load(t1) * b[1] + part.load(t2) * b[2] + part.load(t3) * b[3];
    if (Add) w += load(place);
    return w;
  };
  for (int e = 0, count = chunk.count; e < count; ++e, out += out_stride) {
    const T* t0 = table + knot[e] * num_weights;
    const T *t1 = t0 + num_weights, *t2 = t1 + num_weights, *t3 = t2 + num_weights;
    Vec<T> b[4];
    for (int k = 0; k < 4; ++k) b[k] = Vec<T>{} + basis[k * stride + e];
    int64_t c = 0;
    for (; c < pairs; c += 2 * L) {
      const Vec<T> first = mixed(Whole<T>(), t0 + c, t1 + c, t2 + c, t3 + c, b, out + c);
      const Vec<T> second = mixed(Whole<T>(), t0 + c + L, t1 + c + L, t2 + c + L, t3 + c + L, b, out + c + L);
      store(out + c, first);
      store(out + c + L, second);
    }
    if (c < whole) {
      store(out + c, mixed(Whole<T>(), t0 + c, t1 + c, t2 + c, t3 + c, b, out + c));
      c += L;
    }
    if (rest) store(out + c, mixed(First<T>(int(rest)), t0 + c, t1 + c, t2 + c, t3 + c, b, out + c));
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

// partial[k] (+)= sums over channels of slope * table row k, one register each.
template <class T, bool Add>
__attribute__((noinline)) void add_basis_gradient(const EdgeBlock<T>& edges, const Chunk& chunk, const T* table,
                                                  int64_t num_weights, int64_t channels, T* const* slope, T* partial,
                                                  int64_t partial_stride) {
  constexpr int L = lanes<T>;
  const int32_t* knot = edges.knot + chunk.first;
  const int64_t rest = channels % L, whole = channels - rest, pairs = whole - whole % (2 * L);
  for (int e = 0, count = chunk.count; e < count; ++e, partial += partial_stride) {
    const T* t0 = table + knot[e] * num_weights;
    const T *t1 = t0 + num_weights, *t2 = t1 + num_weights, *t3 = t2 + num_weights, *s = slope[e];
    // Two registers a sum, so that one need not wait for the other's addition.
    Vec<T> a0 = {}, a1 = {}, a2 = {}, a3 = {}, b0 = {}, b1 = {}, b2 = {}, b3 = {};
    int64_t c = 0;
    for (; c < pairs; c += 2 * L) {
      const Vec<T> first = load(s + c), second = load(s + c + L);
      a0 += first * load(t0 + c);
      b0 += second * load(t0 + c + L);
      a1 += first * load(t1 + c);
      b1 += second * load(t1 + c + L);
      a2 += first * load(t2 + c);
      b2 += second * load(t2 + c + L);
      a3 += first * load(t3 + c);
      b3 += second * load(t3 + c + L);
    }
    const auto last = [&](auto part) {
      const Vec<T> v = part.load(s + c);
      a0 += v * part.load(t0 + c);
      a1 += v * part.load(t1 + c);
      a2 += v * part.load(t2 + c);
      a3 += v * part.load(t3 + c);
      c += L;
    };
    if (c < whole) last(Whole<T>());
    if (rest) last(First<T>(int(rest)));
    const Vec<T> total[4] = {a0 + b0, a1 + b1, a2 + b2, a3 + b3};
    for (int k = 0; k < 4; ++k) store(partial + k * L, Add ? total[k] + load(partial + k * L) : total[k]);
  }
}

// g_table[knot_e + k] += basis_k(e) slope[e].
template <class T>
inline void add_table_gradient(const EdgeBlock<T>& edges, const Chunk& chunk, const T* basis, int64_t num_weights,
                               int64_t channels, T* const* slope, T* g_table) {
  const EdgeBlock<T> block = edges;
  for (int e = 0; e < chunk.count; ++e) {
    const Stencil<T> stencil(block, chunk.first + e, basis, g_table, num_weights);
    const T* s = slope[e];
    for_channels<T>(channels, [&](int64_t c, auto part, auto registers) {
      constexpr int U = registers;
      Vec<T> v[U];
      for (int u = 0; u < U; ++u) v[u] = part.load(s + c + u * lanes<T>);
      for (int k = 0; k < 4; ++k)
        for (int u = 0; u < U; ++u) {
          T* place = stencil.row[k] + c + u * lanes<T>;
          part.store(place, part.load(place) + v[u] * stencil.basis[k]);
        }
    });
  }
}

// From the slopes of a chunk to the gradients of basis and table. `slope` is dL/dw; in the double backward
// `slope_tangent` is, and `slope` is dL/d(tangent of w); it is null in the first backward. `basis_partial` gets four
// registers an edge, overwritten.
template <class T>
void spread_slopes(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges,
                   const Chunk& chunk, const SplineWeights<T>& weights, T* const* slope, T* const* slope_tangent,
                   bool wants_basis, T* basis_partial, int64_t partial_stride) {
  const int64_t width = plan.num_weights, channels = path.channels, offset = path.weight_offset;
  T* const* of_weights = slope_tangent ? slope_tangent : slope;
  if (wants_basis) {
    add_basis_gradient<T, false>(edges, chunk, weights.table + offset, width, channels, of_weights, basis_partial,
                                 partial_stride);
    if (slope_tangent && weights.table_tangent)
      add_basis_gradient<T, true>(edges, chunk, weights.table_tangent + offset, width, channels, slope, basis_partial,
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
