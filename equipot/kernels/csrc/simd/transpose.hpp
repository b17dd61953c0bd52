// The transpose of a row-major matrix, in squares that are turned in registers.
#pragma once

#include <algorithm>

#include "simd/vector_part.hpp"

namespace equipot {

// to (columns, rows) = factor * from (rows, columns), transposed; from_row and to_row are the distances of rows.
template <class T>
void transpose(int64_t rows, int64_t columns, const T* from, int64_t from_row, T* to, int64_t to_row,
               T factor = T(1)) {
  constexpr int n = lanes<T>;
  for (int64_t i = 0; i < rows; i += n)
    for (int64_t j = 0; j < columns; j += n) {
      const T* in = from + i * from_row + j;
      T* out = to + j * to_row + i;
      if (i + n <= rows && j + n <= columns) {
        Vec<T> square[n];
        for (int k = 0; k < n; ++k) square[k] = factor * load(in + k * from_row);
        transpose<T>(square);
        for (int k = 0; k < n; ++k) store(out + k * to_row, square[k]);
      } else {
        const int64_t height = std::min<int64_t>(n, rows - i), width = std::min<int64_t>(n, columns - j);
        for (int64_t c = 0; c < width; ++c)
          for (int64_t r = 0; r < height; ++r) out[c * to_row + r] = factor * in[r * from_row + c];
      }
    }
}

}  // namespace equipot
