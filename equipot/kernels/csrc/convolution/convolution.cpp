// The passes over the edges of one atom, path by path, chunk after chunk of edges.
#include "convolution/convolution.hpp"

#include <algorithm>
#include <cstring>

#include "convolution/convolution_adjoint.hpp"
#include "convolution/convolution_contract.hpp"
#include "convolution/convolution_couplings.hpp"
#include "convolution/convolution_project.hpp"
#include "convolution/convolution_weights.hpp"

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

// Registers of partial sums over channels of a chunk's edges: those of the path's harmonics, then the basis's.
template <class T>
class Partial {
 public:
  Partial(const ConvolutionPath& path, Scratch<T>& scratch)
      : rows(2 * path.l2 + 1), stride((rows + 4) * lanes<T>), data(scratch.reserve(edge_chunk * stride)) {}

  T* basis() const { return data + rows * lanes<T>; }

  // Adds the sums of the registers to the gradients.
  void reduce(const ConvolutionPath& path, const EdgeBlock<T>& edges, const Chunk& chunk,
              const ConvolutionGradients<T>& gradients) const {
    const int64_t whole = padded<T>(chunk.count);
    std::memset(data + chunk.count * stride, 0, sizeof(T) * stride * (whole - chunk.count));
    for (int64_t e = 0; e < whole; e += lanes<T>) {
      if (gradients.harmonics)
        add(data + e * stride, rows, gradients.harmonics + path.l2 * path.l2 * edges.stride + chunk.first + e, edges);
      if (gradients.basis) add(basis() + e * stride, 4, gradients.basis + chunk.first + e, edges);
    }
  }

  int64_t rows, stride;
  T* data;

 private:
  void add(const T* from, int64_t count, T* to, const EdgeBlock<T>& edges) const {
    for (int64_t k = 0; k < count; ++k, to += edges.stride)
      store(to, load(to) + sum_each<T>(from + k * lanes<T>, stride));
  }
};

template <class T>
T* coupling_space(Scratch<T>& scratch) {
  return scratch.reserve(max_components * max_components * edge_chunk);
}

}  // namespace

template <class T, class Weights>
void receive_path(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges, const T* x,
                  const Weights& weights, T* out_row, ConvolutionScratch<T>& scratch) {
  T* coupling = coupling_space(scratch.coupling);
  const T* rows[edge_chunk];
  for_chunks(edges.count, [&](const Chunk& chunk) {
    couple(path, harmonics_of(path, edges, chunk, edges.harmonics), edges.stride, chunk.count, false, coupling);
    const T* const* w = point_to_weights(plan, path, edges, chunk, weights, scratch, rows);
    add_received(plan, path, edges, chunk, x, coupling, w, out_row);
  });
}

template <class T, class Weights>
void receive_path_tangent(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges,
                          const T* x, const ConvolutionTangents<T>& tangents, const Weights& weights, T* gg_row,
                          ConvolutionScratch<T>& scratch) {
  T *coupling = coupling_space(scratch.coupling), *moved = coupling_space(scratch.coupling_tangent);
  const int64_t num_zeros = std::max<int64_t>(path.channels, (2 * path.l2 + 1) * edges.stride);
  const T* nothing = zeros(scratch.zeros, num_zeros);
  const T *rows[edge_chunk], *tangent_rows[edge_chunk], *x_rows[edge_chunk], *x_tangents[edge_chunk];
  const T* zero_rows[edge_chunk];
  std::fill(zero_rows, zero_rows + edge_chunk, nothing);
  for_chunks(edges.count, [&](const Chunk& chunk) {
    const auto [w, w_tangent] = point_to_both(plan, path, edges, chunk, weights, true, scratch, rows, tangent_rows);
    const T* h_harmonics = tangents.harmonics ? harmonics_of(path, edges, chunk, tangents.harmonics) : nothing;
    couple(path, harmonics_of(path, edges, chunk, edges.harmonics), edges.stride, chunk.count, false, coupling);
    couple(path, h_harmonics, edges.stride, chunk.count, false, moved);
    point_to_rows(x + path.input_offset, plan.input_dim, edges.other, chunk, x_rows);
    if (tangents.x) point_to_rows(tangents.x + path.input_offset, plan.input_dim, edges.other, chunk, x_tangents);
    contract_tangent<T>(path.l1, path.l3, path.l2 == 0,
                        {{chunk.count, path.channels, path.channels, path.output_stride, x_rows, w, coupling,
                          gg_row + path.output_offset},
                         tangents.x ? x_tangents : nullptr, w_tangent ? w_tangent : zero_rows, moved});
  });
}

template <class T, class Weights>
void send_path(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges, const T* x_row,
               const T* g, const Weights& weights, const ConvolutionGradients<T>& gradients,
               ConvolutionScratch<T>& scratch) {
  const bool wants_slope = wants_weight_gradient(weights, gradients.basis);
  const bool wants_projection = wants_slope || gradients.harmonics;
  T* coupling = coupling_space(scratch.coupling);
  const Partial<T> partial(path, scratch.partial);
  T* cross = nullptr;
  if (wants_projection && edges.count > 0) {
    cross = scratch.cross.reserve(cross_size<T>(path));
    cross_row(path, x_row + path.input_offset, cross);
  }
  const T *weight_rows[edge_chunk], *g_rows[edge_chunk];
  T* slope[edge_chunk];
  for_chunks(edges.count, [&](const Chunk& chunk) {
    const T* const* w = point_to_weights(plan, path, edges, chunk, weights, scratch, weight_rows);
    const T* harmonics = harmonics_of(path, edges, chunk, edges.harmonics);
    point_to_rows(g + path.output_offset, plan.output_dim, edges.other, chunk, g_rows);
    if (gradients.x_row) {
      couple(path, harmonics, edges.stride, chunk.count, true, coupling);
      add_returned<T>(path, chunk, g_rows, coupling, w, gradients.x_row);
    }
    if (!wants_projection) return;
    point_to_slopes(plan, path, edges, chunk, weights, scratch.slope, slope);
    project<T>(path.l1, path.l2, path.l3, false,
               {chunk.count, path.channels, path.output_stride, edges.stride, partial.stride, g_rows, w, nullptr,
                harmonics, nullptr, cross, nullptr, partial.data, slope, nullptr});
    if (wants_slope)
      spread_slopes<T>(plan, path, edges, chunk, weights, slope, nullptr, gradients.basis != nullptr, partial.basis(),
                       partial.stride);
    partial.reduce(path, edges, chunk, gradients);
  });
}

template <class T, class Weights>
void send_path_tangent(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges,
                       const T* x_row, const T* g, const ConvolutionTangents<T>& tangents, const Weights& weights,
                       const ConvolutionGradients<T>& gradients, ConvolutionScratch<T>& scratch) {
  if (edges.count == 0) return;
  const bool wants_slope = wants_weight_gradient(weights, gradients.basis);
  const bool wants_projection = wants_slope || gradients.harmonics;
  const int64_t slope_stride = padded<T>(plan.max_channels);
  T* coupling = coupling_space(scratch.coupling);
  const Partial<T> partial(path, scratch.partial);
  T *cross = nullptr, *cross_tangent = nullptr;
  const T* nothing = zeros(scratch.zeros, std::max((2 * path.l1 + 1) * path.channels,
                                                   std::max<int64_t>(path.channels, (2 * path.l2 + 1) * edges.stride)));
  if (wants_projection) {
    cross = scratch.cross.reserve(cross_size<T>(path));
    cross_row(path, x_row + path.input_offset, cross);
    cross_tangent = scratch.cross_tangent.reserve(cross_size<T>(path));
    cross_row(path, tangents.x ? tangents.x + path.input_offset : nothing, cross_tangent);
  }
  const T *weight_rows[edge_chunk], *tangent_rows[edge_chunk], *zero_rows[edge_chunk], *g_rows[edge_chunk];
  std::fill(zero_rows, zero_rows + edge_chunk, nothing);
  T *slope[edge_chunk], *slope_tangent[edge_chunk];
  for_chunks(edges.count, [&](const Chunk& chunk) {
    const auto [w, w_tangent] =
        point_to_both(plan, path, edges, chunk, weights, true, scratch, weight_rows, tangent_rows);
    const T* harmonics = harmonics_of(path, edges, chunk, edges.harmonics);
    const T* h_harmonics = tangents.harmonics ? harmonics_of(path, edges, chunk, tangents.harmonics) : nothing;
    point_to_rows(g + path.output_offset, plan.output_dim, edges.other, chunk, g_rows);
    if (gradients.x_row && w_tangent) {
      couple(path, harmonics, edges.stride, chunk.count, true, coupling);
      add_returned<T>(path, chunk, g_rows, coupling, w_tangent, gradients.x_row);
    }
    if (gradients.x_row && tangents.harmonics) {
      couple(path, h_harmonics, edges.stride, chunk.count, true, coupling);
      add_returned<T>(path, chunk, g_rows, coupling, w, gradients.x_row);
    }
    if (!wants_projection) return;
    point_to_slopes(plan, path, edges, chunk, weights, scratch.slope_tangent, slope_tangent);
    point_to_scratch(scratch.slope.reserve(edge_chunk * slope_stride), slope_stride, chunk, slope);
    project<T>(path.l1, path.l2, path.l3, true,
               {chunk.count, path.channels, path.output_stride, edges.stride, partial.stride, g_rows, w,
                w_tangent ? w_tangent : zero_rows, harmonics, h_harmonics, cross, cross_tangent, partial.data, slope,
                slope_tangent});
    if (wants_slope)
      spread_slopes<T>(plan, path, edges, chunk, weights, slope, slope_tangent, gradients.basis != nullptr,
                       partial.basis(), partial.stride);
    partial.reduce(path, edges, chunk, gradients);
  });
}

template <class T>
void send_path_adjoint(const ConvolutionPlan& plan, const ConvolutionPath& path, const EdgeBlock<T>& edges,
                       const T* x_row, const T* g, const T* b, const ConvolutionTangents<T>& tangents,
                       const SplineWeights<T>& weights, T* gx_row, ConvolutionScratch<T>& scratch) {
  T *coupling = coupling_space(scratch.coupling), *moved = coupling_space(scratch.coupling_tangent);
  const T *weight_rows[edge_chunk], *tangent_rows[edge_chunk], *g_rows[edge_chunk], *b_rows[edge_chunk];
  T *slope[edge_chunk], *slope_of_tangent[edge_chunk];
  const T* x = x_row + path.input_offset;
  const T* x_tangent = tangents.x ? tangents.x + path.input_offset : nullptr;
  for_chunks(edges.count, [&](const Chunk& chunk) {
    const auto [w, w_tangent] =
        point_to_both(plan, path, edges, chunk, weights, true, scratch, weight_rows, tangent_rows);
    couple(path, harmonics_of(path, edges, chunk, edges.harmonics), edges.stride, chunk.count, true, coupling);
    couple(path, harmonics_of(path, edges, chunk, tangents.harmonics), edges.stride, chunk.count, true, moved);
    point_to_rows(g + path.output_offset, plan.output_dim, edges.other, chunk, g_rows);
    point_to_rows(b + path.output_offset, plan.output_dim, edges.other, chunk, b_rows);
    point_to_slopes(plan, path, edges, chunk, weights, scratch.slope, slope);
    point_to_slopes(plan, path, edges, chunk, weights, scratch.slope_tangent, slope_of_tangent);
    contract_adjoint<T>(path.l3, path.l1, path.l2 == 0,
                        {chunk.count, path.channels, path.output_stride, g_rows, b_rows, w, w_tangent, coupling, moved,
                         x, x_tangent, gx_row + path.input_offset, slope, slope_of_tangent});
    spread_slopes<T>(plan, path, edges, chunk, weights, slope_of_tangent, slope, false, nullptr, 0);
  });
}

template <class T, class Weights>
void convolve(const ConvolutionPlan& plan, const EdgeBlock<T>& edges, const T* x, const Weights& weights, T* out_row,
              ConvolutionScratch<T>& scratch) {
  std::memset(out_row, 0, sizeof(T) * plan.output_dim);
  for (const ConvolutionPath& path : plan.paths) receive_path<T>(plan, path, edges, x, weights, out_row, scratch);
}

template <class T, class Weights>
void convolve_backward(const ConvolutionPlan& plan, const EdgeBlock<T>& edges, const T* x_row, const T* g,
                       const Weights& weights, T* gx_row, T* g_harmonics, T* g_basis, ConvolutionScratch<T>& scratch) {
  if (gx_row) std::memset(gx_row, 0, sizeof(T) * plan.input_dim);
  const ConvolutionGradients<T> gradients{gx_row, g_harmonics, g_basis};
  for (const ConvolutionPath& path : plan.paths)
    send_path<T>(plan, path, edges, x_row, g, weights, gradients, scratch);
}

#define EQUIPOT_INSTANTIATE(T, Weights)                                                                                \
  template void receive_path(const ConvolutionPlan&, const ConvolutionPath&, const EdgeBlock<T>&, const T*,            \
                             const Weights<T>&, T*, ConvolutionScratch<T>&);                                           \
  template void send_path(const ConvolutionPlan&, const ConvolutionPath&, const EdgeBlock<T>&, const T*, const T*,     \
                          const Weights<T>&, const ConvolutionGradients<T>&, ConvolutionScratch<T>&);                  \
  template void receive_path_tangent(const ConvolutionPlan&, const ConvolutionPath&, const EdgeBlock<T>&, const T*,    \
                                     const ConvolutionTangents<T>&, const Weights<T>&, T*, ConvolutionScratch<T>&);    \
  template void send_path_tangent(const ConvolutionPlan&, const ConvolutionPath&, const EdgeBlock<T>&, const T*,       \
                                  const T*, const ConvolutionTangents<T>&, const Weights<T>&,                          \
                                  const ConvolutionGradients<T>&, ConvolutionScratch<T>&);                             \
  template void convolve(const ConvolutionPlan&, const EdgeBlock<T>&, const T*, const Weights<T>&, T*,                 \
                         ConvolutionScratch<T>&);                                                                      \
  template void convolve_backward(const ConvolutionPlan&, const EdgeBlock<T>&, const T*, const T*, const Weights<T>&,  \
                                  T*, T*, T*, ConvolutionScratch<T>&);
EQUIPOT_INSTANTIATE(float, SplineWeights)
EQUIPOT_INSTANTIATE(float, EdgeWeights)
EQUIPOT_INSTANTIATE(double, SplineWeights)
EQUIPOT_INSTANTIATE(double, EdgeWeights)
#define EQUIPOT_INSTANTIATE_ADJOINT(T)                                                                                 \
  template void send_path_adjoint(const ConvolutionPlan&, const ConvolutionPath&, const EdgeBlock<T>&, const T*,       \
                                  const T*, const T*, const ConvolutionTangents<T>&, const SplineWeights<T>&, T*,      \
                                  ConvolutionScratch<T>&);
EQUIPOT_INSTANTIATE_ADJOINT(float)
EQUIPOT_INSTANTIATE_ADJOINT(double)

}  // namespace equipot
