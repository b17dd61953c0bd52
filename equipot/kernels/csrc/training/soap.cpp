// The optimiser SOAP on a stack of small matrices: one step of each, and orthonormal bases of their power iterations.
#include <algorithm>
#include <cmath>
#include <limits>

#include "simd/matrix.hpp"
#include "simd/scratch.hpp"
#include "simd/transpose.hpp"

namespace equipot {
namespace {

struct Decay {
  double first, second, eps;
};

// A stack of `count` matrices (rows, columns); of a side without a basis both pointers are null.
template <class T>
struct Stack {
  int64_t count, rows, columns;
  const T* gradient;
  T* first;
  T* second;
  T* left_matrix;
  T* right_matrix;
  const T* left_basis;
  const T* right_basis;
  T* direction;
};

// matrix (n, n) = beta matrix + A B for a product that is symmetric: computed in squares on and below the diagonal, and
// those below it are mirrored.
template <class T>
void accumulate(int64_t n, int64_t k, const T* a, const T* b, T beta, T* matrix) {
  constexpr int64_t side = 16;
  for (int64_t r = 0; r < n; r += side) {
    const int64_t height = std::min(side, n - r), width = r + height;
    for (int64_t i = r; i < r + height; ++i)
      for (int64_t j = 0; j < width; ++j) matrix[i * n + j] *= beta;
    multiply<T>(height, k, width, a + r * k, k, b, n, matrix + r * n, n, true);
    transpose(height, r, matrix + r * n, n, matrix + r, n);
  }
}

// Adam's direction of a gradient that is turned into the eigenbasis; may overwrite it.
template <class T>
void adam(int64_t size, const T* turned, T* first, T* second, T* direction, const Decay& decay) {
  const T keep1 = T(decay.first), take1 = T(1.0 - decay.first), eps = T(decay.eps);
  const T keep2 = T(decay.second), take2 = T(1.0 - decay.second);
#pragma omp simd
  for (int64_t k = 0; k < size; ++k) {
    const T g = turned[k], m = keep1 * first[k] + take1 * g, v = keep2 * second[k] + take2 * g * g;
    first[k] = m;
    second[k] = v;
    direction[k] = m / (std::sqrt(v) + eps);
  }
}

template <class T>
void step_matrix(const Stack<T>& stack, int64_t index, const Decay& decay, Scratch<T>& memory) {
  const int64_t m = stack.rows, n = stack.columns, size = m * n, widest = std::max(m, n);
  T* one = memory.reserve(3 * widest * widest);
  T* two = one + widest * widest;
  T* three = two + widest * widest;
  const T* gradient = stack.gradient + index * size;
  const T* left = stack.left_basis == nullptr ? nullptr : stack.left_basis + index * m * m;
  const T* right = stack.right_basis == nullptr ? nullptr : stack.right_basis + index * n * n;
  T* direction = stack.direction + index * size;

  const T* turned = gradient;
  if (left != nullptr) {
    multiply_strided<T>(m, m, n, left, 1, m, turned, n, one, n, false);
    turned = one;
  }
  if (right != nullptr) {
    multiply<T>(m, n, n, turned, n, right, n, two, n, false);
    turned = two;
  }
  T* adapted = left == nullptr && right == nullptr ? direction : two;
  adam(size, turned, stack.first + index * size, stack.second + index * size, adapted, decay);
  if (left != nullptr) {
    T* result = right == nullptr ? direction : one;
    multiply<T>(m, m, n, left, m, adapted, n, result, n, false);
    adapted = result;
  }
  if (right != nullptr) {
    transpose(n, n, right, n, three, n);
    multiply<T>(m, n, n, adapted, n, three, n, direction, n, false);
  }

  transpose(m, n, gradient, n, one, m, T(1.0 - decay.second));
  if (left != nullptr) {
    // The scaled transpose (n, m) is the right factor here and the left one below.
    accumulate(m, n, gradient, one, T(decay.second), stack.left_matrix + index * m * m);
  }
  if (right != nullptr) accumulate(n, m, one, gradient, T(decay.second), stack.right_matrix + index * n * n);
}

template <class T>
void step(const Stack<T>& stack, const Decay& decay, int threads) {
  const double work = double(stack.count) * double(stack.rows + stack.columns) * double(stack.rows * stack.columns);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && work > 1e6)
  for (int64_t index = 0; index < stack.count; ++index) {
    static thread_local Scratch<T> memory;
    step_matrix(stack, index, decay, memory);
  }
}

// out of each matrix X (rows, columns) of a stack: L^T X R, with `back` L X R^T. One of the factors may be null.
template <class T>
void turn(int64_t count, int64_t rows, int64_t columns, const T* stack, const T* left, const T* right, bool back,
          T* out, int threads) {
  const double work = double(count) * double(rows + columns) * double(rows * columns);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && work > 1e6)
  for (int64_t index = 0; index < count; ++index) {
    static thread_local Scratch<T> memory;
    T* half = memory.reserve(rows * columns + columns * columns);
    T* turned = half + rows * columns;
    const T* from = stack + index * rows * columns;
    T* to = out + index * rows * columns;
    if (left != nullptr) {
      multiply_strided<T>(rows, rows, columns, left + index * rows * rows, back ? rows : 1, back ? 1 : rows, from,
                          columns, right == nullptr ? to : half, columns, false);
      from = half;
    }
    if (right == nullptr) continue;
    const T* factor = right + index * columns * columns;
    if (back) transpose(columns, columns, factor, columns, turned, columns);
    multiply<T>(rows, columns, columns, from, columns, back ? turned : factor, columns, to, columns, false);
  }
}

// Householder's QR decomposition of as many matrices as there are lanes, one in each: entry (i, j) of all of them is
// the register at j * n + i. A single small matrix has too little to do in each of its many steps.

// Reflects Columns columns by 1 - tau v v^T.
template <class T, int Columns>
inline void reflect(int64_t length, const Vec<T>* v, Vec<T> tau, Vec<T>* column, int64_t stride) {
  Vec<T> dot[Columns] = {};
  for (int64_t i = 0; i < length; ++i)
    for (int c = 0; c < Columns; ++c) dot[c] += v[i] * column[c * stride + i];
  for (int c = 0; c < Columns; ++c) dot[c] *= tau;
  for (int64_t i = 0; i < length; ++i)
    for (int c = 0; c < Columns; ++c) column[c * stride + i] -= dot[c] * v[i];
}

template <class T>
void reflect_columns(int64_t count, int64_t length, const Vec<T>* v, Vec<T> tau, Vec<T>* column, int64_t stride) {
  int64_t c = 0;
  for (; c + 4 <= count; c += 4) reflect<T, 4>(length, v, tau, column + c * stride, stride);
  for (; c < count; ++c) reflect<T, 1>(length, v, tau, column + c * stride, stride);
}

// Makes v (length) the vector of the reflection that turns it into its first axis; returns tau, 0 for a vector of zeros
// or of what is left of a column that depends on those before it (of numbers near one, and so nothing but rounding),
// whose inverse would overflow.
template <class T>
Vec<T> householder(int64_t length, Vec<T>* v) {
  constexpr T least = std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon();
  Vec<T> square = {}, tau;
  for (int64_t i = 0; i < length; ++i) square += v[i] * v[i];
  for (int lane = 0; lane < lanes<T>; ++lane) {
    const T norm = std::sqrt(T(square[lane])), head = v[0][lane];
    v[0][lane] = head + std::copysign(norm, head);
    tau[lane] = square[lane] > least ? 1 / (norm * (norm + std::abs(head))) : T(0);
  }
  return tau;
}

// Scales every column of every matrix to a largest entry of one: it changes nothing in Q, and no square underflows.
template <class T>
void scale_columns(int64_t n, Vec<T>* a) {
  for (int64_t j = 0; j < n; ++j) {
    Vec<T> highest = {}, lowest = {};
    for (int64_t i = 0; i < n; ++i) {
      const Vec<T> v = a[j * n + i];
      highest = v > highest ? v : highest;
      lowest = v < lowest ? v : lowest;
    }
    const Vec<T> largest = highest > -lowest ? highest : -lowest;
    const Vec<T> factor = largest > std::numeric_limits<T>::min() ? 1 / largest : Vec<T>{};
    for (int64_t i = 0; i < n; ++i) a[j * n + i] *= factor;
  }
}

// Q (count, n, n) of `count` matrices (count, n, n), at most as many as there are lanes.
template <class T>
void orthonormal(int64_t count, int64_t n, const T* matrices, T* bases, Scratch<T>& memory) {
  Vec<T>* a = reinterpret_cast<Vec<T>*>(memory.reserve((2 * n * n + n) * lanes<T>));
  Vec<T>* q = a + n * n;
  Vec<T>* tau = q + n * n;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      Vec<T> entry = {};
      for (int64_t lane = 0; lane < count; ++lane) entry[lane] = matrices[(lane * n + i) * n + j];
      a[j * n + i] = entry;
    }
  scale_columns<T>(n, a);
  for (int64_t k = 0; k < n; ++k) {
    Vec<T>* v = a + k * n + k;
    tau[k] = householder<T>(n - k, v);
    reflect_columns<T>(n - k - 1, n - k, v, tau[k], v + n, n);
  }
  // Q is the product of the reflections; from the last to the first, each finds the rows and columns before its own as
  // those of the identity.
  for (int64_t k = n - 1; k >= 0; --k) {
    for (int64_t j = k; j < n; ++j) q[j * n + k] = Vec<T>{};
    for (int64_t i = k; i < n; ++i) q[k * n + i] = Vec<T>{};
    q[k * n + k] += T(1);
    reflect_columns<T>(n - k, n - k, a + k * n + k, tau[k], q + k * n + k, n);
  }
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      const Vec<T> entry = q[j * n + i];
      for (int64_t lane = 0; lane < count; ++lane) bases[(lane * n + i) * n + j] = entry[lane];
    }
}

template <class T>
void orthonormal_all(int64_t count, int64_t n, const T* matrices, T* bases, int threads) {
  const int64_t groups = (count + lanes<T> - 1) / lanes<T>;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && double(count) * n * n * n > 1e6)
  for (int64_t group = 0; group < groups; ++group) {
    static thread_local Scratch<T> memory;
    const int64_t first = group * lanes<T>;
    orthonormal<T>(std::min<int64_t>(lanes<T>, count - first), n, matrices + first * n * n, bases + first * n * n,
                   memory);
  }
}

}  // namespace
}  // namespace equipot

// Gradients and moments (count, rows, columns), matrices and bases (count, side, side), all row-major; a side without a
// basis has null pointers. Moments and matrices are brought up to date; direction is Adam's step, turned back.
EQUIPOT_API void equipot_soap_step_f32(int64_t count, int64_t rows, int64_t columns, double beta1, double beta2,
                                       double eps, const float* gradient, float* first, float* second,
                                       float* left_matrix, float* right_matrix, const float* left_basis,
                                       const float* right_basis, float* direction, int threads) {
  equipot::step<float>({count, rows, columns, gradient, first, second, left_matrix, right_matrix, left_basis,
                        right_basis, direction},
                       {beta1, beta2, eps}, threads);
}
EQUIPOT_API void equipot_soap_step_f64(int64_t count, int64_t rows, int64_t columns, double beta1, double beta2,
                                       double eps, const double* gradient, double* first, double* second,
                                       double* left_matrix, double* right_matrix, const double* left_basis,
                                       const double* right_basis, double* direction, int threads) {
  equipot::step<double>({count, rows, columns, gradient, first, second, left_matrix, right_matrix, left_basis,
                         right_basis, direction},
                        {beta1, beta2, eps}, threads);
}

// Stacks (count, rows, columns) into the bases (left (count, rows, rows), right (count, columns, columns), one of them may
// be null), L^T X R, or back, L X R^T.
EQUIPOT_API void equipot_soap_turn_f32(int64_t count, int64_t rows, int64_t columns, const float* stack,
                                       const float* left, const float* right, int back, float* out, int threads) {
  equipot::turn<float>(count, rows, columns, stack, left, right, back != 0, out, threads);
}
EQUIPOT_API void equipot_soap_turn_f64(int64_t count, int64_t rows, int64_t columns, const double* stack,
                                       const double* left, const double* right, int back, double* out, int threads) {
  equipot::turn<double>(count, rows, columns, stack, left, right, back != 0, out, threads);
}

// The orthonormal factor Q (count, n, n) of each matrix = Q R.
EQUIPOT_API void equipot_orthonormal_f32(int64_t count, int64_t n, const float* matrices, float* bases, int threads) {
  equipot::orthonormal_all<float>(count, n, matrices, bases, threads);
}
EQUIPOT_API void equipot_orthonormal_f64(int64_t count, int64_t n, const double* matrices, double* bases,
                                         int threads) {
  equipot::orthonormal_all<double>(count, n, matrices, bases, threads);
}
