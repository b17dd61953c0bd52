// The two convolutions of the inference engine: the first one, of the species' embedding, and those of features.
#pragma once

#include <vector>

#include "engine/engine_edges.hpp"
#include "engine/engine_operation.hpp"

namespace equipot {

// One atom's part of a convolution, forward and backward.
//
// The first convolution. Features are numbers of the species there, so sums over neighbours act on functions of the edge
// alone: A[z][lm][q] = sum over neighbours of species z of Y_lm phi_q, with a few radial functions phi_q from which the
// following linear operation makes every channel. Its backward pass needs the atom's own gradient only.
template <class T>
class EmbeddingConvolution {
 public:
  // table (rows, num_radial): spline of phi.
  EmbeddingConvolution(int64_t num_radial, int64_t num_species, std::vector<T> table)
      : num_radial_(num_radial), num_species_(num_species), table_(std::move(table)) {}

  // out (num_species, num_harmonics, num_radial), overwritten.
  void forward(const EdgeSettings& settings, const AtomEdges<T>& edges, const int32_t* species, T* out,
               Workspace<T>& workspace) const;
  // Adds to the gradients of `edges`, given g = dE/d out.
  void backward(const EdgeSettings& settings, AtomEdges<T>& edges, const int32_t* species, const T* g,
                Workspace<T>& workspace) const;

 private:
  void radial_functions(const AtomEdges<T>& edges, T* radial) const;
  void radial_backward(const AtomEdges<T>& edges, const T* g_radial) const;

  int64_t num_radial_, num_species_;
  std::vector<T> table_;
};

// The plan of the sender pass worked on an atom's own edges, whose vectors have the opposite sign: Y_l(-v) = (-1)^l Y_l(v).
ConvolutionPlan reversed(const ConvolutionPlan& plan);

}  // namespace equipot
