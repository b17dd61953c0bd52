// The first convolution of the inference engine, and the plan that runs the others backwards.
#include "engine/engine_convolution.hpp"

#include <utility>

#include "simd/matrix.hpp"

namespace equipot {
namespace {

// a0 b0 a1 b1 ... of the lower or the upper halves of two registers.
template <class T, int Offset, size_t... Lane>
inline Vec<T> interleave(Vec<T> a, Vec<T> b, std::index_sequence<Lane...>) {
  return __builtin_shufflevector(a, b, (Lane % 2 == 0 ? Offset + int(Lane) / 2 : lanes<T> + Offset + int(Lane) / 2)...);
}
template <class T>
inline Vec<T> interleave_low(Vec<T> a, Vec<T> b) {
  return interleave<T, 0>(a, b, std::make_index_sequence<lanes<T>>());
}
template <class T>
inline Vec<T> interleave_high(Vec<T> a, Vec<T> b) {
  return interleave<T, lanes<T> / 2>(a, b, std::make_index_sequence<lanes<T>>());
}

// rows (count, width) -> [width][stride], zero from count to the next whole register; width is one of registers.
template <class T>
void transpose(const T* rows, int64_t count, int64_t width, T* out, int64_t stride) {
  constexpr int n = lanes<T>;
  for (int64_t e = 0; e < count; e += n)
    for (int64_t q = 0; q < width; q += n) {
      Vec<T> block[n], turned[n];
      for (int k = 0; k < n; ++k) block[k] = e + k < count ? load(rows + (e + k) * width + q) : Vec<T>{};
      // log2(n) times: row k and row k + n/2 interleaved become rows 2k and 2k + 1.
      for (int step = 1; step < n; step *= 2) {
        for (int k = 0; k < n / 2; ++k) {
          turned[2 * k] = interleave_low<T>(block[k], block[k + n / 2]);
          turned[2 * k + 1] = interleave_high<T>(block[k], block[k + n / 2]);
        }
        for (int k = 0; k < n; ++k) block[k] = turned[k];
      }
      for (int k = 0; k < n; ++k) store(out + (q + k) * stride + e, block[k]);
    }
}

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
  transpose(radial, edges.count, width, transposed, edges.stride);
  int64_t first = 0;
  for (int64_t z = 0; z < num_species_; ++z, g += size * width) {
    int64_t last = first;
    while (last < edges.count && species[edges.other(last)] == z) ++last;
    if (last == first) continue;
    // Whole registers of edges where nothing comes behind: what stands there is not used.
    const int64_t columns = last == edges.count ? edges.stride - first : last - first;
    multiply<T>(size, width, columns, g, width, transposed + first, edges.stride, edges.g_harmonics + first,
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
