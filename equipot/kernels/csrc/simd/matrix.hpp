// Products of small row-major matrices: C = A B or C += A B with blocks of C held in registers.
#pragma once

#include <algorithm>

#include "simd/vector.hpp"

namespace equipot {

// A may have any stride between rows and between columns (a transposed A costs nothing); rows of B and C are contiguous.
template <class T>
struct MatrixProduct {
  int64_t k;
  const T* a;
  int64_t a_row, a_column;
  const T* b;
  int64_t ldb;
  T* c;
  int64_t ldc;
  bool accumulate;
};

// Rows of a block, so that block_rows * 2 sums, 2 registers of B and one element of A fill the registers.
#if defined(__AVX512F__)
constexpr int block_rows = 12;
#else
constexpr int block_rows = 6;
#endif

namespace detail {

// One block of Rows rows and Registers registers of columns. The sum over k is a single chain for each register, so
// many rows or registers are needed to hide the latency of the multiply-add.
template <class T, int Rows, int Registers>
inline void multiply_block(const MatrixProduct<T>& p, const T* a, const T* b, T* c) {
  Vec<T> total[Rows][Registers];
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Registers; ++v) total[r][v] = p.accumulate ? load(c + r * p.ldc + v * lanes<T>) : Vec<T>{};
  for (int64_t k = 0; k < p.k; ++k) {
    Vec<T> row[Registers];
    for (int v = 0; v < Registers; ++v) row[v] = load(b + k * p.ldb + v * lanes<T>);
    for (int r = 0; r < Rows; ++r) {
      const T factor = a[r * p.a_row + k * p.a_column];
      for (int v = 0; v < Registers; ++v) total[r][v] += factor * row[v];
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Registers; ++v) store(c + r * p.ldc + v * lanes<T>, total[r][v]);
}

// The last, partial register of columns: B is read through a padded copy of a few of its rows at a time.
template <class T, int Rows>
inline void multiply_tail(const MatrixProduct<T>& p, const T* a, const T* b, T* c, int columns) {
  Vec<T> total[Rows];
  for (int r = 0; r < Rows; ++r) total[r] = p.accumulate ? load_first(c + r * p.ldc, columns) : Vec<T>{};
  for (int64_t k = 0; k < p.k; ++k) {
    // Only the end of the last row of B may lie at the end of its memory.
    const T* at = b + k * p.ldb;
    const Vec<T> row = (p.k - 1 - k) * p.ldb >= lanes<T> - columns ? load(at) : load_first(at, columns);
    for (int r = 0; r < Rows; ++r) total[r] += a[r * p.a_row + k * p.a_column] * row;
  }
  for (int r = 0; r < Rows; ++r) store_first(c + r * p.ldc, total[r], columns);
}

// All columns of Rows rows; few rows take more registers of columns at a time.
template <class T, int Rows>
inline void multiply_rows(const MatrixProduct<T>& p, const T* a, T* c, int64_t n) {
  constexpr int wide = Rows <= 2 ? 4 : (Rows == 3 ? 3 : 2);
  int64_t j = 0;
  for (; j + wide * lanes<T> <= n; j += wide * lanes<T>) multiply_block<T, Rows, wide>(p, a, p.b + j, c + j);
  for (; j + lanes<T> <= n; j += lanes<T>) multiply_block<T, Rows, 1>(p, a, p.b + j, c + j);
  if (j < n) multiply_tail<T, Rows>(p, a, p.b + j, c + j, int(n - j));
}

template <class T, int Rows>
inline void multiply_rows_of(int rows, const MatrixProduct<T>& p, const T* a, T* c, int64_t n) {
  if (rows == Rows) {
    multiply_rows<T, Rows>(p, a, c, n);
  } else if constexpr (Rows > 1) {
    multiply_rows_of<T, Rows - 1>(rows, p, a, c, n);
  }
}

}  // namespace detail

// C (rows, n) = A (rows, k) B (k, n), or C += A B; element (r, k) of A at a[r * a_row + k * a_column].
template <class T>
void multiply_strided(int64_t rows, int64_t k, int64_t n, const T* a, int64_t a_row, int64_t a_column, const T* b,
                      int64_t ldb, T* c, int64_t ldc, bool accumulate) {
  const MatrixProduct<T> product{k, a, a_row, a_column, b, ldb, c, ldc, accumulate};
  // Blocks of nearly equal height: 7 rows are 4 + 3, not 6 + 1.
  int64_t blocks = (rows + block_rows - 1) / block_rows;
  for (int64_t first = 0; first < rows; --blocks) {
    const int64_t height = (rows - first + blocks - 1) / blocks;
    detail::multiply_rows_of<T, block_rows>(int(height), product, a + first * a_row, c + first * ldc, n);
    first += height;
  }
}

// C (rows, n) = A (rows, k) B (k, n), or C += A B; all row-major with leading dimensions lda, ldb, ldc.
template <class T>
inline void multiply(int64_t rows, int64_t k, int64_t n, const T* a, int64_t lda, const T* b, int64_t ldb, T* c,
                     int64_t ldc, bool accumulate) {
  multiply_strided<T>(rows, k, n, a, lda, 1, b, ldb, c, ldc, accumulate);
}

}  // namespace equipot
