// The convolution to scalars, forward and backward, for one atom.
#include "engine/engine_scalar_convolution.hpp"

#include <algorithm>

namespace equipot {
namespace {

template <class T>
inline Vec<T> load_part(const T* p, int used) {
  return used == lanes<T> ? load(p) : load_first(p, used);
}

template <class T>
inline void store_part(T* p, Vec<T> v, int used) {
  if (used == lanes<T>)
    store(p, v);
  else
    store_first(p, v, used);
}

// Channels [c, c + Registers registers) of the sum over edges; `used` lanes of the last register.
template <class T, int L, int Registers>
inline void sum_channels(const EdgeBlock<T>& edges, const T* x, int64_t dim, int64_t channels, const T* table,
                         int64_t num_weights, T* out, int used = lanes<T>) {
  constexpr int size = 2 * L + 1, n = lanes<T>;
  Vec<T> total[Registers] = {};
  for (int64_t e = 0; e < edges.count; ++e) {
    const T *row = table + edges.knot[e] * num_weights, *from = x + edges.other[e] * dim;
    T b[4], y[size];
    for (int k = 0; k < 4; ++k) b[k] = edges.basis[k * edges.stride + e];
    for (int m = 0; m < size; ++m) y[m] = edges.harmonics[(L * L + m) * edges.stride + e];
    for (int v = 0; v < Registers; ++v) {
      Vec<T> weight = {}, product = {};
      for (int k = 0; k < 4; ++k) weight += b[k] * load_part<T>(row + k * num_weights + v * n, used);
      for (int m = 0; m < size; ++m) product += y[m] * load_part<T>(from + m * channels + v * n, used);
      total[v] += weight * product;
    }
  }
  for (int v = 0; v < Registers; ++v) store_part<T>(out + v * n, total[v], used);
}

// What one edge's gradients sum up over channels.
template <class T, int Size>
struct EdgeSums {
  Vec<T> harmonic[Size], slope[4];

  inline __attribute__((always_inline)) void start(const Vec<T>* g_basis) {
#pragma GCC unroll 16
    for (int m = 0; m < Size; ++m) harmonic[m] = Vec<T>{};
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) slope[k] = g_basis[k];
  }

  // A register of channels, `used` lanes of it.
  inline __attribute__((always_inline)) void add(const T* b, const T* y, const T* row, int64_t num_weights, const T* g,
                                                 const T* x, T* gx, int64_t channels, int used) {
    Vec<T> table[4], weight = {}, product = {};
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      table[k] = load_part<T>(row + k * num_weights, used);
      weight += b[k] * table[k];
    }
    const Vec<T> gradient = load_part<T>(g, used), weighted = weight * gradient;
#pragma GCC unroll 16
    for (int m = 0; m < Size; ++m) {
      const Vec<T> feature = load_part<T>(x + m * channels, used);
      product += y[m] * feature;
      harmonic[m] += weighted * feature;
      store_part<T>(gx + m * channels, load_part<T>(gx + m * channels, used) + y[m] * weighted, used);
    }
    product *= gradient;
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) slope[k] += product * table[k];
  }
};

}  // namespace

template <class T>
bool ScalarConvolution<T>::serves(const ConvolutionPlan& plan) {
  return std::all_of(plan.paths.begin(), plan.paths.end(),
                     [](const ConvolutionPath& path) { return path.l3 == 0 && path.l1 == path.l2; });
}

template <class T>
ScalarConvolution<T>::ScalarConvolution(const ConvolutionPlan& plan, const std::vector<T>& table)
    : input_dim_(plan.input_dim), output_dim_(plan.output_dim), num_weights_(plan.num_weights), table_(table) {
  const int64_t rows = int64_t(table.size()) / num_weights_;
  for (const ConvolutionPath& path : plan.paths) {
    paths_.push_back({path.l1, path.channels, path.input_offset, path.output_offset, path.weight_offset});
    const T coefficient = T(path.over_m2.terms.front().value);  // of every component with itself
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t c = 0; c < path.channels; ++c) table_[size_t(row * num_weights_ + path.weight_offset + c)] *= coefficient;
  }
}

template <class T>
template <int L>
void ScalarConvolution<T>::forward_path(const Path& path, const EdgeBlock<T>& edges, const T* x, T* out_row) const {
  constexpr int n = lanes<T>;
  const T *from = x + path.input_offset, *table = table_.data() + path.weight_offset;
  T* out = out_row + path.output_offset;
  int64_t c = 0;
  for (; c + 4 * n <= path.channels; c += 4 * n)
    sum_channels<T, L, 4>(edges, from + c, input_dim_, path.channels, table + c, num_weights_, out + c);
  for (; c + n <= path.channels; c += n)
    sum_channels<T, L, 1>(edges, from + c, input_dim_, path.channels, table + c, num_weights_, out + c);
  if (c < path.channels)
    sum_channels<T, L, 1>(edges, from + c, input_dim_, path.channels, table + c, num_weights_, out + c,
                          int(path.channels - c));
}

template <class T>
void ScalarConvolution<T>::forward(const EdgeBlock<T>& edges, const T* x, T* out_row) const {
  for (const Path& path : paths_) switch (path.l) {
      case 0: forward_path<0>(path, edges, x, out_row); break;
      case 1: forward_path<1>(path, edges, x, out_row); break;
      case 2: forward_path<2>(path, edges, x, out_row); break;
      case 3: forward_path<3>(path, edges, x, out_row); break;
      default: forward_path<4>(path, edges, x, out_row);
    }
}

template <class T>
template <int L>
inline void ScalarConvolution<T>::backward_path(const Path& path, const EdgeBlock<T>& edges, int64_t e, const T* x_row,
                                                const T* g_row, T* gx_row, T* g_harmonics, Vec<T>* g_basis) const {
  constexpr int size = 2 * L + 1, n = lanes<T>;
  const T *row = table_.data() + edges.knot[e] * num_weights_ + path.weight_offset, *x = x_row + path.input_offset;
  T b[4], y[size], *gx = gx_row + path.input_offset;
  for (int k = 0; k < 4; ++k) b[k] = edges.basis[k * edges.stride + e];
  for (int m = 0; m < size; ++m) y[m] = (L % 2 == 1 ? T(-1) : T(1)) * edges.harmonics[(L * L + m) * edges.stride + e];
  EdgeSums<T, size> sums;
  sums.start(g_basis);
  const int64_t whole = path.channels / n * n;
  for (int64_t c = 0; c < whole; c += n)
    sums.add(b, y, row + c, num_weights_, g_row + path.output_offset + c, x + c, gx + c, path.channels, n);
  if (whole < path.channels)
    sums.add(b, y, row + whole, num_weights_, g_row + path.output_offset + whole, x + whole, gx + whole, path.channels,
             int(path.channels - whole));
  for (int k = 0; k < 4; ++k) g_basis[k] = sums.slope[k];
  for (int m = 0; m < size; ++m)
    g_harmonics[(L * L + m) * edges.stride + e] += (L % 2 == 1 ? T(-1) : T(1)) * sum<T>(sums.harmonic[m]);
}

template <class T>
void ScalarConvolution<T>::backward(const EdgeBlock<T>& edges, const T* x_row, const T* g, T* gx_row, T* g_harmonics,
                                    T* g_basis) const {
  std::fill(gx_row, gx_row + input_dim_, T(0));
  for (int64_t e = 0; e < edges.count; ++e) {
    const T* g_row = g + edges.other[e] * output_dim_;
    Vec<T> slope[4] = {};
    for (const Path& path : paths_) switch (path.l) {
        case 0: backward_path<0>(path, edges, e, x_row, g_row, gx_row, g_harmonics, slope); break;
        case 1: backward_path<1>(path, edges, e, x_row, g_row, gx_row, g_harmonics, slope); break;
        case 2: backward_path<2>(path, edges, e, x_row, g_row, gx_row, g_harmonics, slope); break;
        case 3: backward_path<3>(path, edges, e, x_row, g_row, gx_row, g_harmonics, slope); break;
        default: backward_path<4>(path, edges, e, x_row, g_row, gx_row, g_harmonics, slope);
      }
    for (int k = 0; k < 4; ++k) g_basis[k * edges.stride + e] += sum<T>(slope[k]);
  }
}

template class ScalarConvolution<float>;
template class ScalarConvolution<double>;

}  // namespace equipot
