// All atoms of a batch: gathers each atom's edges from arrays with a row an edge, and shares the atoms among threads.
#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>

#include "convolution/convolution.hpp"

namespace equipot {

// Below this many multiplications a thread is not worth waking up.
constexpr int64_t work_per_thread = 2'000'000;

inline int useful_threads(int64_t work, int threads) {
  return int(std::max<int64_t>(1, std::min<int64_t>(threads, work / work_per_thread)));
}

// Shares atoms 0..num_atoms among threads; body(thread, first, last) is called for ranges of them. With `fixed` each
// thread gets one range, the same in every call, with about as many edges as the others. Returns 0, or 1 without memory.
template <class Body>
int share_atoms(const int64_t* edge_ptr, int64_t num_atoms, int threads, bool fixed, Body body) {
  if (num_atoms == 0) return 0;
  if (threads <= 1) {
    try {
      body(0, int64_t(0), num_atoms);
    } catch (const std::bad_alloc&) {
      return 1;
    }
    return 0;
  }
  std::atomic<int64_t> next{0};
  std::atomic<int> failed{0};
  const int64_t step = std::max<int64_t>(1, std::min<int64_t>(16, num_atoms / (4 * threads)));
#pragma omp parallel num_threads(threads)
  {
    const int thread = omp_get_thread_num(), team = omp_get_num_threads();
    try {
      if (fixed) {
        const auto boundary = [&](int part) {
          if (part == team) return num_atoms;
          const int64_t edges = edge_ptr[num_atoms] * part / team;
          return int64_t(std::lower_bound(edge_ptr, edge_ptr + num_atoms, edges) - edge_ptr);
        };
        body(thread, boundary(thread), boundary(thread + 1));
      } else {
        for (int64_t first = next.fetch_add(step); first < num_atoms; first = next.fetch_add(step))
          body(thread, first, std::min(first + step, num_atoms));
      }
    } catch (const std::bad_alloc&) {
      failed = 1;
    }
  }
  return failed;
}

// One atom's edges, gathered into memory of the calling thread.
template <class T>
class GatheredEdges {
 public:
  // The edges numbered ptr[atom]..ptr[atom+1] (order is null), or those listed there in `order`.
  void select(int64_t atom, const int64_t* ptr, const int64_t* order, const int64_t* other) {
    h_harmonics = h_basis = nullptr;
    g_harmonics = g_basis = nullptr;
    const int64_t begin = ptr[atom], count = ptr[atom + 1] - begin;
    block_ = EdgeBlock<T>{count, padded<T>(count), nullptr, nullptr, nullptr, nullptr, nullptr};
    if (order) {
      int64_t* others = other_.reserve(count);
      for (int64_t e = 0; e < count; ++e) others[e] = other[order[begin + e]];
      block_.edge = order + begin;
      block_.other = others;
    } else {
      int64_t* numbers = edge_.reserve(count);
      for (int64_t e = 0; e < count; ++e) numbers[e] = begin + e;
      block_.edge = numbers;
      block_.other = other + begin;
    }
  }

  void gather(int64_t num_harmonics, const T* harmonics, const T* basis, const int32_t* knot) {
    block_.harmonics = columns(harmonics_, harmonics, num_harmonics);
    if (!basis) return;
    block_.basis = columns(basis_, basis, 4);
    int32_t* knots = knot_.reserve(block_.count);
    for (int64_t e = 0; e < block_.count; ++e) knots[e] = knot[block_.edge[e]];
    block_.knot = knots;
  }

  void gather_tangents(int64_t num_harmonics, const T* harmonics, const T* basis) {
    h_harmonics = columns(harmonics_tangent_, harmonics, num_harmonics);
    h_basis = columns(basis_tangent_, basis, 4);
  }

  // Makes room for the gradients that are wanted (not null).
  void zero_gradients(int64_t num_harmonics, const T* harmonics_wanted, const T* basis_wanted) {
    g_harmonics = zeroed(harmonics_gradient_, num_harmonics, harmonics_wanted);
    g_basis = zeroed(basis_gradient_, 4, basis_wanted);
  }

  void scatter(const T* columns, int64_t width, T* rows) const {
    if (columns) scatter_columns(columns, width, block_.edge, block_.count, block_.stride, rows);
  }

  const EdgeBlock<T>& block() const { return block_; }

  // As edges.hpp's arrays of the block; null where there are none.
  const T *h_harmonics = nullptr, *h_basis = nullptr;
  T *g_harmonics = nullptr, *g_basis = nullptr;

 private:
  const T* columns(Scratch<T>& scratch, const T* rows, int64_t width) {
    if (!rows) return nullptr;
    T* data = scratch.reserve(width * block_.stride);
    gather_columns(rows, width, block_.edge, block_.count, block_.stride, data);
    return data;
  }
  T* zeroed(Scratch<T>& scratch, int64_t width, const T* wanted) {
    if (!wanted) return nullptr;
    T* data = scratch.reserve(width * block_.stride);
    std::memset(data, 0, sizeof(T) * width * block_.stride);
    return data;
  }

  EdgeBlock<T> block_{};
  Scratch<int64_t> other_, edge_;
  Scratch<int32_t> knot_;
  Scratch<T> harmonics_, basis_, harmonics_tangent_, basis_tangent_, harmonics_gradient_, basis_gradient_;
};

// Atoms whose edges are gathered at a time: their passes go path by path, so that rows stay in the caches.
constexpr int64_t atom_block = 16;

// What a thread keeps between calls.
template <class T>
struct ConvolutionThread {
  GatheredEdges<T> edges[atom_block];
  ConvolutionScratch<T> scratch;

  static ConvolutionThread& here() {
    static thread_local ConvolutionThread thread;
    return thread;
  }
};

// One gradient table a thread, summed in the end in the order of the threads; the first is the result itself.
template <class T>
class ThreadTables {
 public:
  ThreadTables(T* result, int64_t size, int threads) : result_(result), size_(size), threads_(threads) {
    if (!result) return;
    std::memset(result, 0, sizeof(T) * size);
    if (threads > 1) std::memset(others_.reserve(size * (threads - 1)), 0, sizeof(T) * size * (threads - 1));
  }
  T* of(int thread) { return !result_ ? nullptr : thread == 0 ? result_ : others_.data() + size_ * (thread - 1); }
  void sum() {
    if (!result_) return;
    for (int thread = 1; thread < threads_; ++thread) {
      const T* other = of(thread);
      for (int64_t k = 0; k < size_; ++k) result_[k] += other[k];
    }
  }

 private:
  T* result_;
  int64_t size_;
  int threads_;
  Scratch<T> others_;
};

}  // namespace equipot
