// The control points of splined radial networks: a bias-free perceptron with scaled silu on the knots, then the filter
// that turns function values into B-spline coefficients (equipot/kernels/spline.py), and the gradient of both.
#include <algorithm>
#include <cstdlib>

#include "simd/activation.hpp"
#include "simd/matrix.hpp"
#include "simd/scratch.hpp"
#include "simd/transpose.hpp"

namespace equipot {
namespace {

// Even filter 1 - d2/6 + d4/36: weights of a point, its neighbors and theirs.
constexpr double filter_weights[3] = {3. / 2, -5. / 18, 1. / 36};
// The last rows of the table are zero, so that value, slope and curvature vanish at the cutoff.
constexpr int64_t zero_rows = 3;

// Row of the function values that stands at offset `shift` from table row `row`; the function is even around row 0.
inline int64_t filtered_row(int64_t row, int64_t shift) {
  const int64_t at = row - 1 + shift;
  return at < 0 ? -at : at;
}

struct Network {
  int64_t num_knots;  // num_intervals + 1
  int num_layers;     // matrices
  const int64_t* sizes;

  int64_t num_rows() const { return num_knots + 2; }
  int64_t num_inner() const { return num_rows() - zero_rows; }
  int64_t width() const { return sizes[num_layers - 1]; }
  int64_t num_weights() const { return sizes[num_layers]; }
  int64_t hidden_size() const {
    int64_t total = 0;
    for (int l = 1; l < num_layers; ++l) total += sizes[l];
    return total;
  }
  int64_t weight_offset(int layer) const {
    int64_t offset = 0;
    for (int l = 0; l < layer; ++l) offset += sizes[l] * sizes[l + 1];
    return offset;
  }
};

template <class T>
struct Work {
  Scratch<T> hidden, slope, filtered, gradient, next_gradient, transposed;
};

template <class T>
Work<T>& work() {
  static thread_local Work<T> memory;
  return memory;
}

template <class T>
void activate(int64_t count, T* values, T* slopes) {
  int64_t k = 0;
  Vec<T> slope;
  for (; k + lanes<T> <= count; k += lanes<T>) {
    store(values + k, scaled_silu<T>(load(values + k), slope));
    store(slopes + k, slope);
  }
  if (k == count) return;
  const int valid = int(count - k);
  store_first(values + k, scaled_silu<T>(load_first(values + k, valid), slope), valid);
  store_first(slopes + k, slope, valid);
}

// The hidden layers one behind the other, each (num_knots, size), and the slopes of their activations.
template <class T>
void run_hidden(const Network& net, const T* embedding, const T* weights, T* hidden, T* slopes) {
  const T* input = embedding;
  for (int l = 0; l + 1 < net.num_layers; ++l) {
    const int64_t in = net.sizes[l], out = net.sizes[l + 1];
    multiply<T>(net.num_knots, in, out, input, in, weights + net.weight_offset(l), out, hidden, out, false);
    activate<T>(net.num_knots * out, hidden, slopes);
    input = hidden;
    hidden += net.num_knots * out;
    slopes += net.num_knots * out;
  }
}

// Filtered values (num_inner, width), times `scale`.
template <class T>
void filter(const Network& net, const T* values, T scale, T* filtered) {
  const int64_t width = net.width();
  for (int64_t row = 0; row < net.num_inner(); ++row) {
    T* to = filtered + row * width;
    std::fill(to, to + width, T(0));
    for (int64_t shift = -2; shift <= 2; ++shift) {
      const T weight = scale * T(filter_weights[std::abs(shift)]);
      const T* from = values + filtered_row(row, shift) * width;
      for (int64_t c = 0; c < width; ++c) to[c] += weight * from[c];
    }
  }
}

template <class T>
void filter_transposed(const Network& net, const T* g_filtered, T scale, T* g_values) {
  const int64_t width = net.width();
  std::fill(g_values, g_values + net.num_knots * width, T(0));
  for (int64_t row = 0; row < net.num_inner(); ++row) {
    const T* from = g_filtered + row * width;
    for (int64_t shift = -2; shift <= 2; ++shift) {
      const T weight = scale * T(filter_weights[std::abs(shift)]);
      T* to = g_values + filtered_row(row, shift) * width;
      for (int64_t c = 0; c < width; ++c) to[c] += weight * from[c];
    }
  }
}

template <class T>
const T* transposed(const T* matrix, int64_t rows, int64_t columns, Scratch<T>& scratch) {
  T* turned = scratch.reserve(rows * columns);
  transpose(rows, columns, matrix, columns, turned, rows);
  return turned;
}

// The values that are filtered: the last hidden layer, or the embedding where there is none.
template <class T>
const T* last_values(const Network& net, const T* embedding, const T* hidden) {
  return net.num_layers == 1 ? embedding : hidden + net.num_knots * (net.hidden_size() - net.width());
}

template <class T>
void table(const Network& net, T scale, const T* embedding, const T* weights, T* out) {
  Work<T>& memory = work<T>();
  T* hidden = memory.hidden.reserve(net.num_knots * net.hidden_size());
  T* filtered = memory.filtered.reserve(net.num_inner() * net.width());
  run_hidden(net, embedding, weights, hidden, memory.slope.reserve(net.num_knots * net.hidden_size()));
  filter(net, last_values(net, embedding, hidden), scale, filtered);
  const int64_t columns = net.num_weights();
  multiply<T>(net.num_inner(), net.width(), columns, filtered, net.width(),
              weights + net.weight_offset(net.num_layers - 1), columns, out, columns, false);
  std::fill(out + net.num_inner() * columns, out + net.num_rows() * columns, T(0));
}

template <class T>
void table_backward(const Network& net, T scale, const T* embedding, const T* weights, const T* g_table,
                    T* g_embedding, T* g_weights) {
  Work<T>& memory = work<T>();
  T* hidden = memory.hidden.reserve(net.num_knots * net.hidden_size());
  T* slopes = memory.slope.reserve(net.num_knots * net.hidden_size());
  T* filtered = memory.filtered.reserve(net.num_inner() * net.width());
  run_hidden(net, embedding, weights, hidden, slopes);
  filter(net, last_values(net, embedding, hidden), scale, filtered);

  const int64_t largest = net.num_rows() * *std::max_element(net.sizes, net.sizes + net.num_layers);
  T *gradient = memory.gradient.reserve(largest), *next = memory.next_gradient.reserve(largest);
  int layer = net.num_layers - 1;
  int64_t in = net.sizes[layer], out = net.sizes[layer + 1];
  multiply_strided<T>(in, net.num_inner(), out, filtered, 1, in, g_table, out, g_weights + net.weight_offset(layer), out,
                      false);
  const T* turned = transposed(weights + net.weight_offset(layer), in, out, memory.transposed);
  multiply<T>(net.num_inner(), out, in, g_table, out, turned, in, next, in, false);
  filter_transposed(net, next, scale, gradient);

  for (int64_t end = net.hidden_size(); layer > 0; --layer) {
    // `gradient` is that of the layer's input, which hidden layer `layer` gives.
    const int64_t size = net.sizes[layer];
    const int64_t first = net.num_knots * (end - size);
    for (int64_t k = 0; k < net.num_knots * size; ++k) gradient[k] *= slopes[first + k];
    end -= size;
    in = net.sizes[layer - 1];
    const T* input = layer == 1 ? embedding : hidden + net.num_knots * (end - in);
    multiply_strided<T>(in, net.num_knots, size, input, 1, in, gradient, size, g_weights + net.weight_offset(layer - 1),
                        size, false);
    if (layer == 1 && g_embedding == nullptr) return;
    turned = transposed(weights + net.weight_offset(layer - 1), in, size, memory.transposed);
    multiply<T>(net.num_knots, size, in, gradient, size, turned, in, next, in, false);
    std::swap(gradient, next);
  }
  if (g_embedding != nullptr) std::copy_n(gradient, net.num_knots * net.sizes[0], g_embedding);
}

}  // namespace
}  // namespace equipot

// embedding (num_knots, sizes[0]); weights: the matrices (sizes[l], sizes[l+1]) one behind the other, l < num_layers;
// table (num_knots + 2, sizes[num_layers]), overwritten. Gradients are overwritten; g_embedding may be null.
#define EQUIPOT_RADIAL_TABLE(T, suffix)                                                                                \
  EQUIPOT_API void equipot_radial_table_##suffix(int64_t num_knots, int num_layers, const int64_t* sizes,             \
                                                 double scale, const T* embedding, const T* weights, T* table) {      \
    equipot::table<T>({num_knots, num_layers, sizes}, T(scale), embedding, weights, table);                            \
  }                                                                                                                    \
  EQUIPOT_API void equipot_radial_table_backward_##suffix(                                                             \
      int64_t num_knots, int num_layers, const int64_t* sizes, double scale, const T* embedding, const T* weights,    \
      const T* g_table, T* g_embedding, T* g_weights) {                                                                \
    equipot::table_backward<T>({num_knots, num_layers, sizes}, T(scale), embedding, weights, g_table, g_embedding,    \
                               g_weights);                                                                             \
  }

EQUIPOT_RADIAL_TABLE(float, f32)
EQUIPOT_RADIAL_TABLE(double, f64)
