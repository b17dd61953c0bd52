// Edge geometry: the loops over registers of edges, and the entry points over all edges in row-major arrays.
#include "geometry/geometry.hpp"

#include <algorithm>

namespace equipot {
namespace {

// Calls function(std::integral_constant<int, l_max>).
template <class Function>
void with_order(int l_max, const Function& function) {
  switch (l_max) {
    case 0: return function(std::integral_constant<int, 0>());
    case 1: return function(std::integral_constant<int, 1>());
    case 2: return function(std::integral_constant<int, 2>());
    case 3: return function(std::integral_constant<int, 3>());
    default: return function(std::integral_constant<int, 4>());
  }
}

template <class T>
inline void load_rows(const T* rows, int64_t stride, int count, Vec<T>* registers) {
  for (int k = 0; k < count; ++k) registers[k] = load<T>(rows + k * stride);
}

// Stores the first `valid` lanes of every register and zero in the others.
template <class T>
inline void store_rows(const Vec<T>* registers, int count, int64_t valid, T* rows, int64_t stride) {
  for (int k = 0; k < count; ++k) store<T>(rows + k * stride, registers[k]);
  if (valid < lanes<T>)
    for (int k = 0; k < count; ++k) std::fill(rows + k * stride + valid, rows + k * stride + lanes<T>, T(0));
}

template <int L, class T>
void forward(T cutoff, int num_intervals, int64_t count, int64_t stride, const T* vector, T* harmonics, T* basis,
             int32_t* knot) {
  for (int64_t e = 0; e < count; e += lanes<T>) {
    const int64_t valid = std::min<int64_t>(count - e, lanes<T>);
    Vec<T> v[3];
    load_rows<T>(vector + e, stride, 3, v);
    const Direction<L, T> direction(v);
    store_rows<T>(direction.harmonics, (L + 1) * (L + 1), valid, harmonics + e, stride);
    if (basis == nullptr) continue;
    const SplinePoint<T> point(direction.length, cutoff, num_intervals);
    Vec<T> b[4];
    point.basis(b);
    store_rows<T>(b, 4, valid, basis + e, stride);
    for (int k = 0; k < valid; ++k) knot[e + k] = point.knot[k];
  }
}

template <int L, class T>
void backward(T cutoff, int num_intervals, int64_t count, int64_t stride, const T* vector, const T* g_harmonics,
              const T* g_basis, T* g_vector) {
  constexpr int size = (L + 1) * (L + 1);
  for (int64_t e = 0; e < count; e += lanes<T>) {
    Vec<T> v[3], g[size], gb[4], gv[3], g_length = {};
    load_rows<T>(vector + e, stride, 3, v);
    load_rows<T>(g_harmonics + e, stride, size, g);
    const Direction<L, T> direction(v);
    if (g_basis != nullptr) {
      load_rows<T>(g_basis + e, stride, 4, gb);
      g_length = SplinePoint<T>(direction.length, cutoff, num_intervals).backward(gb);
    }
    direction.backward(g, g_length, gv);
    store_rows<T>(gv, 3, lanes<T>, g_vector + e, stride);
  }
}

template <int L, class T>
void double_backward(T cutoff, int num_intervals, int64_t count, int64_t stride, const T* vector, const T* g_harmonics,
                     const T* g_basis, const T* h_vector, T* gg_harmonics, T* gg_basis, T* g_vector) {
  constexpr int size = (L + 1) * (L + 1);
  for (int64_t e = 0; e < count; e += lanes<T>) {
    Vec<T> v[3], h[3], g[size], gb[4];
    Dual<T> moved[3], b[4], gv[3], g_length = {};
    load_rows<T>(vector + e, stride, 3, v);
    load_rows<T>(h_vector + e, stride, 3, h);
    for (int axis = 0; axis < 3; ++axis) moved[axis] = {v[axis], h[axis]};
    const Direction<L, T, true> direction(moved);
    if (gg_harmonics != nullptr)
      for (int k = 0; k < size; ++k) store<T>(gg_harmonics + k * stride + e, direction.harmonics[k].tangent);
    if (gg_basis != nullptr || g_basis != nullptr) {
      const SplinePoint<T, true> point(direction.length, cutoff, num_intervals);
      if (gg_basis != nullptr) {
        point.basis(b);
        for (int k = 0; k < 4; ++k) store<T>(gg_basis + k * stride + e, b[k].tangent);
      }
      if (g_basis != nullptr && g_vector != nullptr) {
        load_rows<T>(g_basis + e, stride, 4, gb);
        g_length = point.backward(gb);
      }
    }
    if (g_vector == nullptr) continue;
    load_rows<T>(g_harmonics + e, stride, size, g);
    direction.backward(g, g_length, gv);
    for (int axis = 0; axis < 3; ++axis) store<T>(g_vector + axis * stride + e, gv[axis].tangent);
  }
}

}  // namespace

template <class T>
void edge_geometry(int l_max, T cutoff, int num_intervals, int64_t count, int64_t stride, const T* vector,
                   T* harmonics, T* basis, int32_t* knot) {
  with_order(l_max, [&](auto l) {
    forward<l.value, T>(cutoff, num_intervals, count, stride, vector, harmonics, basis, knot);
  });
}

template <class T>
void edge_geometry_backward(int l_max, T cutoff, int num_intervals, int64_t count, int64_t stride, const T* vector,
                            const T* g_harmonics, const T* g_basis, T* g_vector) {
  with_order(l_max, [&](auto l) {
    backward<l.value, T>(cutoff, num_intervals, count, stride, vector, g_harmonics, g_basis, g_vector);
  });
}

template <class T>
void edge_geometry_double_backward(int l_max, T cutoff, int num_intervals, int64_t count, int64_t stride,
                                   const T* vector, const T* g_harmonics, const T* g_basis, const T* h_vector,
                                   T* gg_harmonics, T* gg_basis, T* g_vector) {
  with_order(l_max, [&](auto l) {
    double_backward<l.value, T>(cutoff, num_intervals, count, stride, vector, g_harmonics, g_basis, h_vector,
                                gg_harmonics, gg_basis, g_vector);
  });
}

template void edge_geometry(int, float, int, int64_t, int64_t, const float*, float*, float*, int32_t*);
template void edge_geometry(int, double, int, int64_t, int64_t, const double*, double*, double*, int32_t*);
template void edge_geometry_backward(int, float, int, int64_t, int64_t, const float*, const float*, const float*,
                                     float*);
template void edge_geometry_backward(int, double, int, int64_t, int64_t, const double*, const double*, const double*,
                                     double*);
template void edge_geometry_double_backward(int, float, int, int64_t, int64_t, const float*, const float*, const float*,
                                            const float*, float*, float*, float*);
template void edge_geometry_double_backward(int, double, int, int64_t, int64_t, const double*, const double*,
                                            const double*, const double*, double*, double*, double*);

namespace {

// Edges are taken in chunks that stay in the first-level cache while they are turned between the two layouts.
constexpr int64_t chunk = 64;
constexpr int max_harmonics = (max_l + 1) * (max_l + 1);
// Fewer edges than this are not worth a second thread.
constexpr int64_t edges_per_thread = 4096;

// (count, columns) rows -> [columns][chunk], zero beyond count, or everywhere where there are no rows.
template <class T>
void gather_columns(const T* rows, int columns, int64_t count, T* turned) {
  if (rows == nullptr) return std::fill(turned, turned + columns * chunk, T(0));
  for (int64_t e = 0; e < count; ++e)
    for (int k = 0; k < columns; ++k) turned[k * chunk + e] = rows[e * columns + k];
  if (count < chunk)
    for (int k = 0; k < columns; ++k) std::fill(turned + k * chunk + count, turned + (k + 1) * chunk, T(0));
}

template <class T>
void scatter_columns(const T* turned, int columns, int64_t count, T* rows) {
  for (int64_t e = 0; e < count; ++e)
    for (int k = 0; k < columns; ++k) rows[e * columns + k] = turned[k * chunk + e];
}

// Calls function(first edge, number of edges) for every chunk.
template <class Function>
void for_chunks(int64_t num_edges, int num_threads, const Function& function) {
  const int64_t num_chunks = (num_edges + chunk - 1) / chunk;
  const int useful = int(std::min<int64_t>(num_threads, 1 + num_edges / edges_per_thread));
#pragma omp parallel for schedule(static) num_threads(useful) if (useful > 1)
  for (int64_t k = 0; k < num_chunks; ++k) function(k * chunk, std::min(chunk, num_edges - k * chunk));
}

template <class T>
void all_forward(int l_max, double cutoff, int num_intervals, int64_t num_edges, const T* vector, T* harmonics,
                 T* basis, int32_t* knot, int num_threads) {
  const int size = (l_max + 1) * (l_max + 1);
  for_chunks(num_edges, num_threads, [&](int64_t first, int64_t count) {
    alignas(64) T v[3 * chunk], y[max_harmonics * chunk], b[4 * chunk];
    gather_columns(vector + 3 * first, 3, count, v);
    edge_geometry<T>(l_max, T(cutoff), num_intervals, count, chunk, v, y, basis == nullptr ? nullptr : b,
                     basis == nullptr ? nullptr : knot + first);
    scatter_columns(y, size, count, harmonics + size * first);
    if (basis != nullptr) scatter_columns(b, 4, count, basis + 4 * first);
  });
}

template <class T>
void all_backward(int l_max, double cutoff, int num_intervals, int64_t num_edges, const T* vector,
                  const T* g_harmonics, const T* g_basis, T* g_vector, int num_threads) {
  const int size = (l_max + 1) * (l_max + 1);
  for_chunks(num_edges, num_threads, [&](int64_t first, int64_t count) {
    alignas(64) T v[3 * chunk], gy[max_harmonics * chunk], gb[4 * chunk], gv[3 * chunk];
    gather_columns(vector + 3 * first, 3, count, v);
    gather_columns(g_harmonics == nullptr ? nullptr : g_harmonics + size * first, size, count, gy);
    if (g_basis != nullptr) gather_columns(g_basis + 4 * first, 4, count, gb);
    edge_geometry_backward<T>(l_max, T(cutoff), num_intervals, count, chunk, v, gy, g_basis == nullptr ? nullptr : gb,
                              gv);
    scatter_columns(gv, 3, count, g_vector + 3 * first);
  });
}

template <class T>
void all_double_backward(int l_max, double cutoff, int num_intervals, int64_t num_edges, const T* vector,
                         const T* g_harmonics, const T* g_basis, const T* h_vector, T* gg_harmonics, T* gg_basis,
                         T* g_vector, int num_threads) {
  const int size = (l_max + 1) * (l_max + 1);
  for_chunks(num_edges, num_threads, [&](int64_t first, int64_t count) {
    alignas(64) T v[3 * chunk], h[3 * chunk], gy[max_harmonics * chunk], gb[4 * chunk];
    alignas(64) T ggy[max_harmonics * chunk], ggb[4 * chunk], gv[3 * chunk];
    gather_columns(vector + 3 * first, 3, count, v);
    gather_columns(h_vector + 3 * first, 3, count, h);
    if (g_vector != nullptr)
      gather_columns(g_harmonics == nullptr ? nullptr : g_harmonics + size * first, size, count, gy);
    if (g_vector != nullptr && g_basis != nullptr) gather_columns(g_basis + 4 * first, 4, count, gb);
    edge_geometry_double_backward<T>(l_max, T(cutoff), num_intervals, count, chunk, v, gy,
                                     g_vector == nullptr || g_basis == nullptr ? nullptr : gb, h,
                                     gg_harmonics == nullptr ? nullptr : ggy, gg_basis == nullptr ? nullptr : ggb,
                                     g_vector == nullptr ? nullptr : gv);
    if (gg_harmonics != nullptr) scatter_columns(ggy, size, count, gg_harmonics + size * first);
    if (gg_basis != nullptr) scatter_columns(ggb, 4, count, gg_basis + 4 * first);
    if (g_vector != nullptr) scatter_columns(gv, 3, count, g_vector + 3 * first);
  });
}

}  // namespace
}  // namespace equipot

// Row-major arrays over all E edges: vector (E, 3), harmonics (E, (l_max+1)^2), basis (E, 4), knot (E). num_intervals
// and what belongs to the basis (basis, knot, g_basis, gg_basis) are 0 and null without a spline; a gradient that is
// zero may be null.
#define EQUIPOT_GEOMETRY(T, suffix)                                                                                    \
  EQUIPOT_API void equipot_edge_geometry_##suffix(int l_max, double cutoff, int num_intervals, int64_t num_edges,     \
                                                  const T* vector, T* harmonics, T* basis, int32_t* knot,             \
                                                  int num_threads) {                                                   \
    equipot::all_forward<T>(l_max, cutoff, num_intervals, num_edges, vector, harmonics, basis, knot, num_threads);     \
  }                                                                                                                    \
  EQUIPOT_API void equipot_edge_geometry_backward_##suffix(int l_max, double cutoff, int num_intervals,               \
                                                           int64_t num_edges, const T* vector, const T* g_harmonics,  \
                                                           const T* g_basis, T* g_vector, int num_threads) {           \
    equipot::all_backward<T>(l_max, cutoff, num_intervals, num_edges, vector, g_harmonics, g_basis, g_vector,          \
                             num_threads);                                                                             \
  }                                                                                                                    \
  EQUIPOT_API void equipot_edge_geometry_double_backward_##suffix(                                                     \
      int l_max, double cutoff, int num_intervals, int64_t num_edges, const T* vector, const T* g_harmonics,          \
      const T* g_basis, const T* h_vector, T* gg_harmonics, T* gg_basis, T* g_vector, int num_threads) {               \
    equipot::all_double_backward<T>(l_max, cutoff, num_intervals, num_edges, vector, g_harmonics, g_basis, h_vector,   \
                                    gg_harmonics, gg_basis, g_vector, num_threads);                                    \
  }

EQUIPOT_GEOMETRY(float, f32)
EQUIPOT_GEOMETRY(double, f64)
