// The two tables a path is reduced to before its inner loops: couplings of an edge, and what an atom sends.
//
// Both are sums over short lists known only at run time, so they are worked out for several registers at a time.
#pragma once

#include <type_traits>

#include "convolution/convolution.hpp"
#include "simd/vector_part.hpp"

namespace equipot {

// Calls body(register, number of them) for `count` registers, four at a time as long as there are.
template <class Body>
inline void for_registers(int count, Body body) {
  int k = 0;
  for (; k + 4 <= count; k += 4) body(k, std::integral_constant<int, 4>());
  if (k + 2 <= count) {
    body(k, std::integral_constant<int, 2>());
    k += 2;
  }
  if (k < count) body(k, std::integral_constant<int, 1>());
}

// coupling[m1][m3][e] = sum_m2 C[m1][m2][m3] harmonics[m2][e] for `count` edges, SIMD across edges; [m3][m1][e] if
// transposed; one row if the harmonic is a scalar. Rows are edge_chunk apart.
template <class T>
inline void couple(const ConvolutionPath& path, const T* harmonics, int64_t stride, int count, bool transposed,
                   T* coupling) {
  if (path.l2 == 0) {
    for (int e = 0; e < count; e += lanes<T>) store(coupling + e, load(harmonics + e) * T(path.diagonal));
    return;
  }
  const int d1 = 2 * path.l1 + 1, d3 = 2 * path.l3 + 1;
  const int* start = path.over_m2.start.data();
  const Coupling* terms = path.over_m2.terms.data();
  for_registers(int(padded<T>(count) / lanes<T>), [&](int first, auto registers) {
    constexpr int R = registers;
    const T* from = harmonics + first * lanes<T>;
    for (int m1 = 0; m1 < d1; ++m1)
      for (int m3 = 0; m3 < d3; ++m3) {
        const int target = m1 * d3 + m3;
        Vec<T> total[R] = {};
        for (int n = start[target]; n < start[target + 1]; ++n) {
          const Vec<T> value = Vec<T>{} + T(terms[n].value);
          const T* row = from + terms[n].index * stride;
          for (int r = 0; r < R; ++r) total[r] += load(row + r * lanes<T>) * value;
        }
        T* to = coupling + (transposed ? m3 * d1 + m1 : target) * edge_chunk + first * lanes<T>;
        for (int r = 0; r < R; ++r) store(to + r * lanes<T>, total[r]);
      }
  });
}

// cross[register][m2][m3][lane] = sum_m1 C[m1][m2][m3] x[m1][channel]; with l1 = 0 only [register][lane].
template <class T>
inline void cross_row(const ConvolutionPath& path, const T* x, T* cross) {
  constexpr int L = lanes<T>;
  const int d1 = 2 * path.l1 + 1, whole = int(path.channels / L), rest = int(path.channels % L);
  const int num_targets = path.l1 == 0 ? 1 : (2 * path.l2 + 1) * (2 * path.l3 + 1);
  const int64_t step = int64_t(num_targets) * L;
  const int* start = path.over_m1.start.data();
  const Coupling* terms = path.over_m1.terms.data();
  const auto some = [&](int first, auto registers, auto part) {
    constexpr int R = registers;
    const T* from = x + first * L;
    T* to = cross + first * step;
    if (path.l1 == 0) {
      for (int r = 0; r < R; ++r) store(to + r * step, part.load(from + r * L) * T(path.diagonal));
      return;
    }
    Vec<T> row[2 * convolution_l_max + 1][R];
    for (int m1 = 0; m1 < d1; ++m1)
      for (int r = 0; r < R; ++r) row[m1][r] = part.load(from + m1 * path.channels + r * L);
    for (int target = 0; target < num_targets; ++target) {
      Vec<T> total[R] = {};
      for (int n = start[target]; n < start[target + 1]; ++n) {
        const Vec<T> value = Vec<T>{} + T(terms[n].value);
        for (int r = 0; r < R; ++r) total[r] += row[terms[n].index][r] * value;
      }
      for (int r = 0; r < R; ++r) store(to + r * step + target * L, total[r]);
    }
  };
  for_registers(whole, [&](int first, auto registers) { some(first, registers, Whole<T>()); });
  if (rest) some(whole, std::integral_constant<int, 1>(), First<T>(rest));
}

// Numbers in `cross`.
template <class T>
inline int64_t cross_size(const ConvolutionPath& path) {
  return padded<T>(path.channels) * (2 * path.l2 + 1) * (2 * path.l3 + 1);
}

}  // namespace equipot
