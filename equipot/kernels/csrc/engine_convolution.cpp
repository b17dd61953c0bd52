// The first convolution of the inference engine, and the plan that runs the others backwards.
#include "engine_convolution.hpp"

#include "matrix.hpp"

namespace equipot {
namespace {

// Sums of four registers.
template <class T>
inline void sum_four(const Vec<T>* total, T* out, int64_t stride) {
  for (int k = 0; k < 4; ++k) out[k * stride] += sum<T>(total[k]);
}

}  // namespace

// phi[e][q] = sum_k basis_k(e) table[knot_e + k][q]
template <class T>
void EmbeddingConvolution<T>::radial_functions(const AtomEdges<T>& edges, T* radial) const {
  const int64_t width = num_radial_;
  for (int64_t e = 0; e < edges.count; ++e, radial += width) {
    const T* row = table_.data() + edges.knot[e] * width;
    const T b0 = edges.basis[e], b1 = edges.basis[edges.stride + e], b2 = edges.basis[2 * edges.stride + e],
            b3 = edges.basis[3 * edges.stride + e];
    for (int64_t q = 0; q < width; q += lanes<T>)
      store(radial + q, b0 * load(row + q) + b1 * load(row + width + q) + b2 * load(row + 2 * width + q) +
                            b3 * load(row + 3 * width + q));
  }
}

template <class T>
void EmbeddingConvolution<T>::radial_backward(const AtomEdges<T>& edges, const T* g_radial) const {
  const int64_t width = num_radial_;
  for (int64_t e = 0; e < edges.count; ++e, g_radial += width) {
    const T* row = table_.data() + edges.knot[e] * width;
    Vec<T> total[4] = {};
    for (int64_t q = 0; q < width; q += lanes<T>)
      for (int k = 0; k < 4; ++k) total[k] += load(g_radial + q) * load(row + k * width + q);
    sum_four<T>(total, edges.g_basis + e, edges.stride);
  }
}

template <class T>
void EmbeddingConvolution<T>::forward(const EdgeSettings& settings, const AtomEdges<T>& edges, const int32_t* species,
                                      T* out, Workspace<T>& workspace) const {
  const int64_t size = settings.num_harmonics(), width = num_radial_;
  T* radial = workspace.radial.reserve(edges.stride * width);
  radial_functions(edges, radial);
  int64_t first = 0;
  for (int64_t z = 0; z < num_species_; ++z, out += size * width) {
    int64_t last = first;
    while (last < edges.count && species[edges.other(last)] == z) ++last;
    multiply<T>(size, last - first, width, edges.harmonics + first, edges.stride, radial + first * width, width, out,
                width, false);
    first = last;
  }
}

template <class T>
void EmbeddingConvolution<T>::backward(const EdgeSettings& settings, AtomEdges<T>& edges, const int32_t* species,
                                       const T* g, Workspace<T>& workspace) const {
  const int64_t size = settings.num_harmonics(), width = num_radial_;
  T* radial = workspace.radial.reserve(edges.stride * width);
  T* transposed = workspace.radial_transposed.reserve(edges.stride * width);
  T* g_radial = workspace.g_radial.reserve(edges.stride * width);
  radial_functions(edges, radial);
  for (int64_t e = 0; e < edges.count; ++e)
    for (int64_t q = 0; q < width; ++q) transposed[q * edges.stride + e] = radial[e * width + q];
  int64_t first = 0;
  for (int64_t z = 0; z < num_species_; ++z, g += size * width) {
    int64_t last = first;
    while (last < edges.count && species[edges.other(last)] == z) ++last;
    if (last == first) continue;
    multiply<T>(size, width, last - first, g, width, transposed + first, edges.stride, edges.g_harmonics + first,
                edges.stride, true);
    multiply_strided<T>(last - first, size, width, edges.harmonics + first, 1, edges.stride, g, width,
                        g_radial + first * width, width, false);
    first = last;
  }
  radial_backward(edges, g_radial);
}

ConvolutionPlan reversed(const ConvolutionPlan& plan) {
  ConvolutionPlan turned = plan;
  for (ConvolutionPath& path : turned.paths) {
    if (path.l2 % 2 == 0) continue;
    path.diagonal = -path.diagonal;
    for (Coupling& coupling : path.over_m1.terms) coupling.value = -coupling.value;
    for (Coupling& coupling : path.over_m2.terms) coupling.value = -coupling.value;
  }
  return turned;
}

template class EmbeddingConvolution<float>;
template class EmbeddingConvolution<double>;

}  // namespace equipot
