// The convolution whose results are all scalars, as in the last layer of an architecture: paths (l, l -> 0) couple a
// feature with the harmonic of its own order by their scalar product. Weights are made and used in registers.
#pragma once

#include <vector>

#include "convolution/convolution.hpp"
#include "convolution/edges.hpp"

namespace equipot {

template <class T>
class ScalarConvolution {
 public:
  // Whether all results of a plan are scalars.
  static bool serves(const ConvolutionPlan& plan);

  // table (rows, plan.num_weights)
  ScalarConvolution(const ConvolutionPlan& plan, const std::vector<T>& table);

  // x (N, input_dim) -> out_row (output_dim), overwritten.
  void forward(const EdgeBlock<T>& edges, const T* x, T* out_row) const;

  // The sender's part of the gradient, worked on its own edges, whose vectors have the sign opposite to those it sends
  // on: x_row (input_dim), g (N, output_dim) -> gx_row (input_dim), overwritten; adds to g_harmonics and g_basis.
  void backward(const EdgeBlock<T>& edges, const T* x_row, const T* g, T* gx_row, T* g_harmonics, T* g_basis) const;

 private:
  struct Path {
    int l;
    int64_t channels, input_offset, output_offset, weight_offset;
  };

  template <int L>
  void forward_path(const Path& path, const EdgeBlock<T>& edges, const T* x, T* out_row) const;
  template <int L>
  void backward_path(const Path& path, const EdgeBlock<T>& edges, int64_t e, const T* x_row, const T* g_row, T* gx_row,
                     T* g_harmonics, Vec<T>* g_basis) const;

  int64_t input_dim_, output_dim_, num_weights_;
  std::vector<Path> paths_;
  std::vector<T> table_;  // with the coupling's coefficient
};

}  // namespace equipot
