// The node-wise operations of the inference engine.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/engine_operation.hpp"
#include "product/product_basis.hpp"

namespace equipot {

// out += table[species].
template <class T>
class SpeciesRows : public Operation<T> {
 public:
  SpeciesRows(int output, int64_t dim, std::vector<T> table);
  void forward(const Tile<T>& tile) const override;
  void backward(const Tile<T>&) const override {}

 private:
  int64_t dim_;
  std::vector<T> table_;
};

// Channel mixing of one irrep: (components, in_channels) @ weight (in_channels, out_channels) added to the output.
struct LinearBlock {
  int64_t components, in_offset, in_channels, out_offset, out_channels, weight_offset;
};

// out += x W block by block; one set of matrices for all atoms, or one for each species.
template <class T>
class Linear : public Operation<T> {
 public:
  Linear(int input, int64_t in_dim, int output, int64_t out_dim, std::vector<LinearBlock> blocks, int64_t num_sets,
         std::vector<T> weights);
  void forward(const Tile<T>& tile) const override;
  void backward(const Tile<T>& tile) const override;

 private:
  struct Step : LinearBlock {
    bool is_first_of_output, is_first_of_input;
  };
  int64_t in_dim_, out_dim_, num_sets_, set_size_;
  bool covers_output_, covers_input_;
  std::vector<Step> steps_;
  std::vector<T> weights_, transposed_;
};

// What a gate does to a run of channels.
struct GateItem {
  enum Kind : int64_t { silu = 0, tanh = 1, gated = 2 };
  int64_t kind, in_offset, out_offset, components, channels, gate_offset;
};

// Scalars through scaled silu or tanh, other irreps times the scaled silu of a scalar of their own.
template <class T>
class Gate : public Operation<T> {
 public:
  Gate(int input, int64_t in_dim, int output, int64_t out_dim, std::vector<GateItem> items);
  void forward(const Tile<T>& tile) const override;
  void backward(const Tile<T>& tile) const override;

 private:
  int64_t in_dim_, out_dim_;
  std::vector<GateItem> items_;
};

// out = x / (1 + density), density one number an atom.
template <class T>
class DensityScale : public Operation<T> {
 public:
  DensityScale(int input, int density, int output, int64_t dim);
  void forward(const Tile<T>& tile) const override;
  void backward(const Tile<T>& tile) const override;

 private:
  int64_t dim_;
};

// The symmetric product basis with the weights of the atom's species.
template <class T>
class Product : public Operation<T> {
 public:
  // weights (num_species, program.num_paths, channels)
  Product(int input, int output, ProductBasisProgram program, int64_t channels, int64_t num_species,
          const std::vector<T>& weights);
  void forward(const Tile<T>& tile) const override;
  void backward(const Tile<T>& tile) const override;

 private:
  ProductBasisProgram program_;
  int64_t channels_, coefficients_size_;
  std::vector<T> coefficients_;
};

// One irrep with its channels.
struct InvariantBlock {
  int64_t components, channels;
};

// out = the mean square of the components of each channel, block after block.
template <class T>
class Invariants : public Operation<T> {
 public:
  Invariants(int input, int output, std::vector<InvariantBlock> blocks);
  void forward(const Tile<T>& tile) const override;
  void backward(const Tile<T>& tile) const override;

 private:
  int64_t in_dim_, out_dim_;
  std::vector<InvariantBlock> blocks_;
};

// Network energy += x[offset .. offset + size) . vector.
template <class T>
class Readout : public Operation<T> {
 public:
  Readout(int input, int64_t dim, int64_t offset, std::vector<T> vector);
  void forward(const Tile<T>& tile) const override;
  void backward(const Tile<T>& tile) const override;

 private:
  int64_t dim_, offset_;
  std::vector<T> vector_;
};

}  // namespace equipot
