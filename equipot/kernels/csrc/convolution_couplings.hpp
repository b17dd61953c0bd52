// The two tables a path is reduced to before its inner loops: couplings of an edge, and what an atom sends.
#pragma once

#include "convolution.hpp"
#include "vector_part.hpp"

namespace equipot {

// coupling[m1][m3][e] = sum_m2 C[m1][m2][m3] harmonics[m2][e] for `count` edges, SIMD across edges; [m3][m1][e] if
// transposed; one row if the harmonic is a scalar. Rows are edge_chunk apart.
template <class T>
inline void couple(const ConvolutionPath& path, const T* harmonics, int64_t stride, int count, bool transposed,
                   T* coupling) {
  const int d1 = 2 * path.l1 + 1, d3 = 2 * path.l3 + 1;
  if (path.l2 == 0) {
    for (int e = 0; e < count; e += lanes<T>) store(coupling + e, load(harmonics + e) * T(path.diagonal));
    return;
  }
  for (int m1 = 0; m1 < d1; ++m1)
    for (int m3 = 0; m3 < d3; ++m3) {
      const int target = m1 * d3 + m3, begin = path.over_m2.start[target], end = path.over_m2.start[target + 1];
      T* row = coupling + (transposed ? m3 * d1 + m1 : target) * edge_chunk;
      for (int e = 0; e < count; e += lanes<T>) {
        Vec<T> total = {};
        for (int n = begin; n < end; ++n) {
          const Coupling& term = path.over_m2.terms[n];
          total += load(harmonics + term.index * stride + e) * T(term.value);
        }
        store(row + e, total);
      }
    }
}

// cross[register][m2][m3][lane] = sum_m1 C[m1][m2][m3] x[m1][channel]; with l1 = 0 only [register][lane].
template <class T>
inline void cross_row(const ConvolutionPath& path, const T* x, T* cross) {
  const int d1 = 2 * path.l1 + 1, num_targets = int(path.over_m1.start.size()) - 1;
  const int* start = path.over_m1.start.data();
  const Coupling* terms = path.over_m1.terms.data();
  const auto one_register = [&](const T* from, auto part) {
    if (path.l1 == 0) {
      store(cross, part.load(from) * T(path.diagonal));
      cross += lanes<T>;
      return;
    }
    Vec<T> row[2 * convolution_l_max + 1];
    for (int m1 = 0; m1 < d1; ++m1) row[m1] = part.load(from + m1 * path.channels);
    for (int target = 0; target < num_targets; ++target) {
      Vec<T> total = {};
      for (int n = start[target]; n < start[target + 1]; ++n) total += row[terms[n].index] * T(terms[n].value);
      store(cross, total);
      cross += lanes<T>;
    }
  };
  int64_t c = 0;
  for (; c + lanes<T> <= path.channels; c += lanes<T>) one_register(x + c, Whole<T>());
  if (c < path.channels) one_register(x + c, First<T>(int(path.channels - c)));
}

// Numbers in `cross`.
template <class T>
inline int64_t cross_size(const ConvolutionPath& path) {
  return padded<T>(path.channels) * (2 * path.l2 + 1) * (2 * path.l3 + 1);
}

}  // namespace equipot
