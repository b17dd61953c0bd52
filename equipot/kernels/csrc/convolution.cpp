// The passes over the edges of one atom: path after path, chunk after chunk of edges.
#include "convolution.hpp"

#include <algorithm>
#include <cstring>

#include "convolution_contract.hpp"
#include "convolution_couplings.hpp"
#include "convolution_project.hpp"
#include "convolution_weights.hpp"

namespace equipot {
namespace {

constexpr int max_components = 2 * convolution_l_max + 1;

template <class Body>
inline void for_chunks(int64_t count, Body body) {
  for (int64_t first = 0; first < count; first += edge_chunk)
    body(Chunk{first, int(std::min<int64_t>(edge_chunk, count - first))});
}

// Adds the receiver's sum of one path and chunk to out_row. `in` are features or their tangents; one of the three
// factors may be a tangent, which the caller has put in its place.
template <class T>
void add_received(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges,
                  const Chunk& chunk, const T* in, const T* coupling, const T* const* weights, T* out_row) {
  const T* rows[edge_chunk];
  point_to_rows(in + path.input_offset, plan.input_dim, edges.other, chunk, rows);
  contract<T>(path.l1, path.l3, path.l2 == 0,
              {chunk.count, path.channels, path.channels, path.output_stride, rows, weights, coupling,
               out_row + path.output_offset});
}

// The same for the gradient of the features, with transposed couplings.
template <class T>
void add_returned(const ConvolutionPath& path, const Chunk& chunk, const T* const* g, const T* coupling,
                  const T* const* weights, T* gx_row) {
  contract<T>(path.l3, path.l1, path.l2 == 0,
              {chunk.count, path.channels, path.output_stride, path.channels, g, weights, coupling,
               gx_row + path.input_offset});
}

template <class T>
const T* harmonics_of(const ConvolutionPath& path, const EdgeBlock<T>& edges, const Chunk& chunk, const T* harmonics) {
  return harmonics + path.l2 * path.l2 * edges.stride + chunk.first;
}

template <class T>
const T* zeros(Scratch<T>& scratch, int64_t count) {
  T* data = scratch.reserve(count);
  std::memset(data, 0, sizeof(T) * count);
  return data;
}

// Sums the registers of partial sums into the gradients: harmonics first, then the four basis functions.
template <class T>
void reduce_partial(const EdgeBlock<T>& edges, const T* partial, int64_t partial_stride, int64_t num_harmonics,
                    T* g_harmonics, T* g_basis) {
  for (int64_t e = 0; e < edges.count; e += lanes<T>) {
    const T* rows = partial + e * partial_stride;
    if (g_harmonics)
      for (int64_t k = 0; k < num_harmonics; ++k) {
        T* target = g_harmonics + k * edges.stride + e;
        store(target, load(target) + sum_each<T>(rows + k * lanes<T>, partial_stride));
      }
    if (g_basis)
      for (int64_t k = 0; k < 4; ++k) {
        T* target = g_basis + k * edges.stride + e;
        store(target, load(target) + sum_each<T>(rows + (num_harmonics + k) * lanes<T>, partial_stride));
      }
  }
}

}  // namespace

template <class T, class Weights>
void convolve(const ConvolutionPlan& plan, const EdgeBlock<T>& edges, const T* x, const Weights& weights, T* out_row,
              ConvolutionScratch<T>& scratch) {
  std::memset(out_row, 0, sizeof(T) * plan.output_dim);
  T* coupling = scratch.coupling.reserve(max_components * max_components * edge_chunk);
  const T* rows[edge_chunk];
  for (const ConvolutionPath& path : plan.paths)
    for_chunks(edges.count, [&](const Chunk& chunk) {
      couple(path, harmonics_of(path, edges, chunk, edges.harmonics), edges.stride, chunk.count, false, coupling);
      const T* const* w = point_to_weights(plan, path, edges, chunk, weights, scratch, rows);
      add_received(plan, path, edges, chunk, x, coupling, w, out_row);
    });
}

template <class T, class Weights>
void convolve_double_backward_receiver(const ConvolutionPlan& plan, const EdgeBlock<T>& edges, const T* x, const T* hx,
                                       const T* h_harmonics, const Weights& weights, T* gg_row,
                                       ConvolutionScratch<T>& scratch) {
  std::memset(gg_row, 0, sizeof(T) * plan.output_dim);
  T* coupling = scratch.coupling.reserve(max_components * max_components * edge_chunk);
  const T *rows[edge_chunk], *tangent_rows[edge_chunk];
  for (const ConvolutionPath& path : plan.paths)
    for_chunks(edges.count, [&](const Chunk& chunk) {
      const T* const* tangents = point_to_tangents(plan, path, edges, chunk, weights, scratch, tangent_rows);
      const T* const* w = nullptr;
      if (hx || h_harmonics) w = point_to_weights(plan, path, edges, chunk, weights, scratch, rows);
      if (tangents || hx)
        couple(path, harmonics_of(path, edges, chunk, edges.harmonics), edges.stride, chunk.count, false, coupling);
      if (tangents) add_received(plan, path, edges, chunk, x, coupling, tangents, gg_row);
      if (hx) add_received(plan, path, edges, chunk, hx, coupling, w, gg_row);
      if (h_harmonics) {
        couple(path, harmonics_of(path, edges, chunk, h_harmonics), edges.stride, chunk.count, false, coupling);
        add_received(plan, path, edges, chunk, x, coupling, w, gg_row);
      }
    });
}

template <class T, class Weights>
void convolve_backward(const ConvolutionPlan& plan, const EdgeBlock<T>& edges, const T* x_row, const T* g,
                       const Weights& weights, T* gx_row, T* g_harmonics, T* g_basis, ConvolutionScratch<T>& scratch) {
  if (gx_row) std::memset(gx_row, 0, sizeof(T) * plan.input_dim);
  if (edges.count == 0) return;
  const bool wants_slope = wants_weight_gradient(weights, g_basis), wants_projection = wants_slope || g_harmonics;
  const int64_t num_harmonics = plan.num_harmonics(), partial_stride = (num_harmonics + 4) * lanes<T>;
  T* coupling = scratch.coupling.reserve(max_components * max_components * edge_chunk);
  T *cross = nullptr, *partial = nullptr;
  if (wants_projection) {
    cross = scratch.cross.reserve(cross_size<T>(plan));
    partial = scratch.partial.reserve(partial_stride * edges.stride);
    std::memset(partial, 0, sizeof(T) * partial_stride * edges.stride);
  }
  const T *weight_rows[edge_chunk], *g_rows[edge_chunk];
  T* slope[edge_chunk];
  for (const ConvolutionPath& path : plan.paths) {
    if (wants_projection) cross_row(path, x_row + path.input_offset, cross);
    for_chunks(edges.count, [&](const Chunk& chunk) {
      const T* const* w = point_to_weights(plan, path, edges, chunk, weights, scratch, weight_rows);
      const T* harmonics = harmonics_of(path, edges, chunk, edges.harmonics);
      point_to_rows(g + path.output_offset, plan.output_dim, edges.other, chunk, g_rows);
      if (gx_row) {
        couple(path, harmonics, edges.stride, chunk.count, true, coupling);
        add_returned<T>(path, chunk, g_rows, coupling, w, gx_row);
      }
      if (!wants_projection) return;
      point_to_slopes(plan, path, edges, chunk, weights, scratch.slope, slope);
      T* chunk_partial = partial + chunk.first * partial_stride;
      project<T>(path.l1, path.l2, path.l3, false,
                 {chunk.count, path.channels, path.output_stride, edges.stride, partial_stride, g_rows, w, nullptr,
                  harmonics, nullptr, cross, nullptr, chunk_partial + path.l2 * path.l2 * lanes<T>, slope, nullptr});
      if (wants_slope)
        spread_slopes<T>(plan, path, edges, chunk, weights, slope, nullptr, g_basis != nullptr,
                         chunk_partial + num_harmonics * lanes<T>, partial_stride);
    });
  }
  if (g_harmonics || g_basis) reduce_partial(edges, partial, partial_stride, num_harmonics, g_harmonics, g_basis);
}

template <class T, class Weights>
void convolve_double_backward_sender(const ConvolutionPlan& plan, const EdgeBlock<T>& edges, const T* x_row,
                                     const T* hx_row, const T* g, const T* h_harmonics, const Weights& weights,
                                     T* gx_row, T* g_harmonics, T* g_basis, ConvolutionScratch<T>& scratch) {
  if (gx_row) std::memset(gx_row, 0, sizeof(T) * plan.input_dim);
  if (edges.count == 0) return;
  const bool wants_slope = wants_weight_gradient(weights, g_basis), wants_projection = wants_slope || g_harmonics;
  const int64_t num_harmonics = plan.num_harmonics(), partial_stride = (num_harmonics + 4) * lanes<T>;
  T* coupling = scratch.coupling.reserve(max_components * max_components * edge_chunk);
  T *cross = nullptr, *cross_tangent = nullptr, *partial = nullptr;
  const T* nothing = zeros(scratch.zeros, std::max({plan.input_dim, padded<T>(plan.max_channels),
                                                    num_harmonics * edges.stride}));
  if (wants_projection) {
    cross = scratch.cross.reserve(cross_size<T>(plan));
    cross_tangent = scratch.cross_tangent.reserve(cross_size<T>(plan));
    partial = scratch.partial.reserve(partial_stride * edges.stride);
    std::memset(partial, 0, sizeof(T) * partial_stride * edges.stride);
  }
  const T *weight_rows[edge_chunk], *tangent_rows[edge_chunk], *zero_rows[edge_chunk], *g_rows[edge_chunk];
  std::fill(zero_rows, zero_rows + edge_chunk, nothing);
  T *slope[edge_chunk], *slope_tangent[edge_chunk];
  for (const ConvolutionPath& path : plan.paths) {
    if (wants_projection) {
      cross_row(path, x_row + path.input_offset, cross);
      cross_row(path, (hx_row ? hx_row : nothing) + path.input_offset, cross_tangent);
    }
    for_chunks(edges.count, [&](const Chunk& chunk) {
      const T* const* w = point_to_weights(plan, path, edges, chunk, weights, scratch, weight_rows);
      const T* const* tangents = point_to_tangents(plan, path, edges, chunk, weights, scratch, tangent_rows);
      const T* harmonics = harmonics_of(path, edges, chunk, edges.harmonics);
      const T* harmonics_tangent = harmonics_of(path, edges, chunk, h_harmonics ? h_harmonics : nothing);
      point_to_rows(g + path.output_offset, plan.output_dim, edges.other, chunk, g_rows);
      if (gx_row && tangents) {
        couple(path, harmonics, edges.stride, chunk.count, true, coupling);
        add_returned<T>(path, chunk, g_rows, coupling, tangents, gx_row);
      }
      if (gx_row && h_harmonics) {
        couple(path, harmonics_tangent, edges.stride, chunk.count, true, coupling);
        add_returned<T>(path, chunk, g_rows, coupling, w, gx_row);
      }
      if (!wants_projection) return;
      point_to_slopes(plan, path, edges, chunk, weights, scratch.slope_tangent, slope_tangent);
      const int64_t slope_stride = padded<T>(plan.max_channels);
      point_to_scratch(scratch.slope.reserve(edge_chunk * slope_stride), slope_stride, chunk, slope);
      T* chunk_partial = partial + chunk.first * partial_stride;
      project<T>(path.l1, path.l2, path.l3, true,
                 {chunk.count, path.channels, path.output_stride, edges.stride, partial_stride, g_rows, w,
                  tangents ? tangents : zero_rows, harmonics, harmonics_tangent, cross, cross_tangent,
                  chunk_partial + path.l2 * path.l2 * lanes<T>, slope, slope_tangent});
      if (wants_slope)
        spread_slopes<T>(plan, path, edges, chunk, weights, slope, slope_tangent, g_basis != nullptr,
                         chunk_partial + num_harmonics * lanes<T>, partial_stride);
    });
  }
  if (g_harmonics || g_basis) reduce_partial(edges, partial, partial_stride, num_harmonics, g_harmonics, g_basis);
}

#define EQUIPOT_INSTANTIATE(T, Weights)                                                                                \
  template void convolve(const ConvolutionPlan&, const EdgeBlock<T>&, const T*, const Weights<T>&, T*,                 \
                         ConvolutionScratch<T>&);                                                                      \
  template void convolve_backward(const ConvolutionPlan&, const EdgeBlock<T>&, const T*, const T*, const Weights<T>&,  \
                                  T*, T*, T*, ConvolutionScratch<T>&);                                                 \
  template void convolve_double_backward_receiver(const ConvolutionPlan&, const EdgeBlock<T>&, const T*, const T*,     \
                                                  const T*, const Weights<T>&, T*, ConvolutionScratch<T>&);            \
  template void convolve_double_backward_sender(const ConvolutionPlan&, const EdgeBlock<T>&, const T*, const T*,       \
                                                const T*, const T*, const Weights<T>&, T*, T*, T*,                     \
                                                ConvolutionScratch<T>&);
EQUIPOT_INSTANTIATE(float, SplineWeights)
EQUIPOT_INSTANTIATE(float, EdgeWeights)
EQUIPOT_INSTANTIATE(double, SplineWeights)
EQUIPOT_INSTANTIATE(double, EdgeWeights)

}  // namespace equipot
