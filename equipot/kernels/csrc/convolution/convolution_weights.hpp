// Where a path's weights come from and where their gradients go: spline tables, or rows given edge by edge.
#pragma once

#include "convolution/convolution.hpp"
#include "simd/vector_part.hpp"

namespace equipot {

// The edges of a chunk: `first` is the first of them within its block.
struct Chunk {
  int64_t first;
  int count;
};

// Row k of `rows`, `row_stride` apart, as a pointer for each edge.
template <class T>
inline void point_to_rows(T* rows, int64_t row_stride, const int64_t* row, const Chunk& chunk, T** pointers) {
  for (int e = 0; e < chunk.count; ++e) pointers[e] = rows + row[chunk.first + e] * row_stride;
}
template <class T>
inline void point_to_scratch(T* scratch, int64_t row_stride, const Chunk& chunk, T** pointers) {
  for (int e = 0; e < chunk.count; ++e) pointers[e] = scratch + e * row_stride;
}

// The four rows of a table an edge mixes.
template <class T>
struct Rows {
  const T *t0, *t1, *t2, *t3;

  Rows(const T* table, int32_t knot, int64_t num_weights)
      : t0(table + knot * num_weights), t1(t0 + num_weights), t2(t1 + num_weights), t3(t2 + num_weights) {}

  template <class Part>
  Vec<T> mixed(Part part, int64_t c, const Vec<T>* basis) const {
    return part.load(t0 + c) * basis[0] + part.load(t1 + c) * basis[1] + part.load(t2 + c) * basis[2] +
           part.load(t3 + c) * basis[3];
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
  for (int e = 0, count = chunk.count; e < count; ++e, out += out_stride) {
    const Rows<T> rows(table, knot[e], num_weights);
    Vec<T> b[4];
    for (int k = 0; k < 4; ++k) b[k] = Vec<T>{} + basis[k * stride + e];
    const auto put = [&](int64_t c, Vec<T> w) { store(out + c, Add ? w + load(out + c) : w); };
    int64_t c = 0;
    for (; c < pairs; c += 2 * L) {
      const Vec<T> first = rows.mixed(Whole<T>(), c, b), second = rows.mixed(Whole<T>(), c + L, b);
      put(c, first);
      put(c + L, second);
    }
    if (c < whole) {
      put(c, rows.mixed(Whole<T>(), c, b));
      c += L;
    }
    if (rest) put(c, rows.mixed(First<T>(int(rest)), c, b));
  }
}

// The same with two bases at once, for the weights and their tangents.
template <class T>
__attribute__((noinline)) void mix_rows_twice(const EdgeBlock<T>& edges, const Chunk& chunk, const T* basis_tangent,
                                              const T* table, int64_t num_weights, int64_t channels, T* out,
                                              T* out_tangent, int64_t out_stride) {
  const int32_t* knot = edges.knot + chunk.first;
  const int64_t stride = edges.stride, rest = channels % lanes<T>, whole = channels - rest;
  const T* basis = edges.basis + chunk.first;
  basis_tangent += chunk.first;
  for (int e = 0, count = chunk.count; e < count; ++e, out += out_stride, out_tangent += out_stride) {
    const Rows<T> rows(table, knot[e], num_weights);
    Vec<T> b[4], h[4];
    for (int k = 0; k < 4; ++k) {
      b[k] = Vec<T>{} + basis[k * stride + e];
      h[k] = Vec<T>{} + basis_tangent[k * stride + e];
    }
    for (int64_t c = 0; c < whole; c += lanes<T>) {
      const Vec<T> w = rows.mixed(Whole<T>(), c, b), w_tangent = rows.mixed(Whole<T>(), c, h);
      store(out + c, w);
      store(out_tangent + c, w_tangent);
    }
    if (rest) {
      const First<T> part{int(rest)};
      store(out + whole, rows.mixed(part, whole, b));
      store(out_tangent + whole, rows.mixed(part, whole, h));
    }
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

// Pointers to the weights and to their tangents; null where tangents are zero or weights are not asked for.
template <class T>
struct WeightPointers {
  const T* const* weights;
  const T* const* tangents;
};

template <class T>
WeightPointers<T> point_to_both(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges,
                                const Chunk& chunk, const SplineWeights<T>& weights, bool wants_weights,
                                ConvolutionScratch<T>& scratch, const T** pointers, const T** tangent_pointers) {
  const int64_t stride = padded<T>(plan.max_channels), offset = path.weight_offset;
  const int64_t width = plan.num_weights, channels = path.channels;
  const bool has_tangents = weights.basis_tangent || weights.table_tangent;
  T* tangents = scratch.weights_tangent.reserve(edge_chunk * stride);
  if (weights.basis_tangent && wants_weights) {
    T* rows = scratch.weights.reserve(edge_chunk * stride);
    mix_rows_twice(edges, chunk, weights.basis_tangent, weights.table + offset, width, channels, rows, tangents, stride);
    point_to_scratch<const T>(rows, stride, chunk, pointers);
  } else {
    if (wants_weights) point_to_weights(plan, path, edges, chunk, weights, scratch, pointers);
    if (weights.basis_tangent)
      mix_rows<T, false>(edges, chunk, weights.basis_tangent, weights.table + offset, width, channels, tangents, stride);
  }
  if (weights.table_tangent && weights.basis_tangent)
    mix_rows<T, true>(edges, chunk, edges.basis, weights.table_tangent + offset, width, channels, tangents, stride);
  else if (weights.table_tangent)
    mix_rows<T, false>(edges, chunk, edges.basis, weights.table_tangent + offset, width, channels, tangents, stride);
  if (has_tangents) point_to_scratch<const T>(tangents, stride, chunk, tangent_pointers);
  return {wants_weights ? pointers : nullptr, has_tangents ? tangent_pointers : nullptr};
}

template <class T>
WeightPointers<T> point_to_both(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges,
                                const Chunk& chunk, const EdgeWeights<T>& weights, bool wants_weights,
                                ConvolutionScratch<T>& scratch, const T** pointers, const T** tangent_pointers) {
  if (wants_weights) point_to_weights(plan, path, edges, chunk, weights, scratch, pointers);
  if (weights.weights_tangent)
    point_to_rows(weights.weights_tangent + path.weight_offset, plan.num_weights, edges.edge, chunk, tangent_pointers);
  return {wants_weights ? pointers : nullptr, weights.weights_tangent ? tangent_pointers : nullptr};
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

// g_table[knot_e + k] += basis_k(e) slope[e], and basis_tangent_k(e) slope_of_tangent[e] with a tangent.
template <class T, bool Tangent>
__attribute__((noinline)) void add_table_gradient(const EdgeBlock<T>& edges, const Chunk& chunk,
                                                  const T* basis_tangent, int64_t num_weights, int64_t channels,
                                                  T* const* slope, T* const* slope_of_tangent, T* g_table) {
  const int32_t* knot = edges.knot + chunk.first;
  const int64_t stride = edges.stride, rest = channels % lanes<T>, whole = channels - rest;
  const T* basis = edges.basis + chunk.first;
  if (Tangent) basis_tangent += chunk.first;
  for (int e = 0, count = chunk.count; e < count; ++e) {
    T* t0 = g_table + knot[e] * num_weights;
    T *t1 = t0 + num_weights, *t2 = t1 + num_weights, *t3 = t2 + num_weights;
    Vec<T> b[4], h[4];
    for (int k = 0; k < 4; ++k) {
      b[k] = Vec<T>{} + basis[k * stride + e];
      h[k] = Tangent ? Vec<T>{} + basis_tangent[k * stride + e] : Vec<T>{};
    }
    const T *s = slope[e], *s_tangent = Tangent ? slope_of_tangent[e] : nullptr;
    const auto add = [&](auto part, int64_t c) {
      const Vec<T> v = part.load(s + c);
      Vec<T> r0 = part.load(t0 + c) + v * b[0], r1 = part.load(t1 + c) + v * b[1], r2 = part.load(t2 + c) + v * b[2],
             r3 = part.load(t3 + c) + v * b[3];
      if constexpr (Tangent) {
        const Vec<T> u = part.load(s_tangent + c);
        r0 += u * h[0];
        r1 += u * h[1];
        r2 += u * h[2];
        r3 += u * h[3];
      }
      part.store(t0 + c, r0);
      part.store(t1 + c, r1);
      part.store(t2 + c, r2);
      part.store(t3 + c, r3);
    };
    for (int64_t c = 0; c < whole; c += lanes<T>) add(Whole<T>(), c);
    if (rest) add(First<T>(int(rest)), whole);
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
  if (!weights.g_table) return;
  if (slope_tangent && weights.basis_tangent)
    add_table_gradient<T, true>(edges, chunk, weights.basis_tangent, width, channels, of_weights, slope,
                                weights.g_table + offset);
  else
    add_table_gradient<T, false>(edges, chunk, nullptr, width, channels, of_weights, nullptr, weights.g_table + offset);
}
template <class T>
void spread_slopes(const ConvolutionPlan&, const ConvolutionPath&, const EdgeBlock<T>&, const Chunk&,
                   const EdgeWeights<T>&, T* const*, T* const*, bool, T*, int64_t) {}

}  // namespace equipot
