// The inference engine's program: stages of operations, and where the rows of every buffer lie.
//
// A stage begins with a convolution, which needs the features of all atoms; what follows is node-wise, so a stage runs
// tile by tile. Phases: stages 0..S-1 forward, the last one turning round to its own backward pass within each tile, then
// the convolution of stage s+1 and the operations of stage s backward for s = S-2..0. What is needed in one phase only
// lives in the tile, everything else for all atoms, in space that is used again as soon as it is free.
#pragma once

#include <memory>
#include <vector>

#include "engine/engine_convolution.hpp"
#include "engine/engine_scalar_convolution.hpp"

namespace equipot {

template <class T>
struct Stage {
  EdgeSettings settings;                               // harmonics up to the highest order it couples with
  std::unique_ptr<EmbeddingConvolution<T>> embedding;  // the first stage has this one,
  std::unique_ptr<ScalarConvolution<T>> scalar;        // later ones this, where it serves,
  ConvolutionPlan plan{}, turned{};                    // or these
  std::vector<T> table;                                // (rows, plan.num_weights)
  int input = -1, output = -1;
  int density = -1;              // buffer of the soft count of neighbours, -1: none
  std::vector<T> density_table;  // (rows)
  std::vector<std::unique_ptr<Operation<T>>> operations;
};

// Where the rows of an array lie: of all atoms, or of the atoms of a tile; in columns before it.
struct Placement {
  int64_t dim = 0, column = 0;
  bool is_stored = false;
};

template <class T>
class Program {
 public:
  int add_buffer(int64_t dim);
  Stage<T>& add_stage();
  // Throws std::invalid_argument where the operation fits nowhere.
  void add(std::unique_ptr<Operation<T>> operation);
  // Decides who overwrites and who adds, and where everything lies. Throws std::invalid_argument.
  void finish();

  int num_stages() const { return int(stages_.size()); }
  int num_buffers() const { return int(dims_.size()); }
  int64_t dim(int buffer) const { return dims_.at(size_t(buffer)); }
  const Stage<T>& stage(int s) const { return stages_[size_t(s)]; }
  const Placement& value(int buffer) const { return values_[size_t(buffer)]; }
  const Placement& gradient(int buffer) const { return gradients_[size_t(buffer)]; }
  // Of one moment of a gradient (engine_moments.cpp), in space of its own: values outlive the moments' backward pass.
  const Placement& moment(int buffer) const { return moments_[size_t(buffer)]; }
  int64_t stored_columns() const { return stored_columns_; }
  int64_t tile_columns() const { return tile_columns_; }
  int64_t stored_moment_columns() const { return stored_moment_columns_; }
  int64_t tile_moment_columns() const { return tile_moment_columns_; }

 private:
  void mark_first_writers();
  void place();
  int backward_phase(int s) const { return 2 * num_stages() - 2 - s; }

  std::vector<int64_t> dims_;
  std::vector<Stage<T>> stages_;
  std::vector<Placement> values_, gradients_, moments_;
  int64_t stored_columns_ = 0, tile_columns_ = 0, stored_moment_columns_ = 0, tile_moment_columns_ = 0;
};

}  // namespace equipot
