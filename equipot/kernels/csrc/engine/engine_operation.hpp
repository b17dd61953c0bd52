// What the inference engine is made of: node-wise operations on tiles of atoms, with hand-written backward passes.
//
// An operation reads and writes buffers: (atoms, dim) arrays of values, each with an array of gradients dE/d value. It
// sees a tile, a few consecutive atoms, so that what lives within a tile stays in the first cache levels.
#pragma once

#include <cstdint>
#include <vector>

#include "simd/vector.hpp"

namespace equipot {

// Working memory of one thread that operations may use; see the operations for what it holds.
template <class T>
struct Workspace;

template <class T>
struct Tile {
  int64_t first, count;      // atoms [first, first + count) in the engine's order
  const int32_t* species;    // [count], equal species together
  T* const* values;          // by buffer: the row of the first atom
  T* const* gradients;       // likewise
  double* energy;            // [count] network energies, added to
  const T* seed;             // by species: dE/d(network energy)
  Workspace<T>* workspace;
};

// Calls function(species, first, count) for every run of equal species in the tile.
template <class T, class Function>
void for_species_runs(const Tile<T>& tile, const Function& function) {
  for (int64_t first = 0; first < tile.count;) {
    int64_t last = first + 1;
    while (last < tile.count && tile.species[last] == tile.species[first]) ++last;
    function(int64_t(tile.species[first]), first, last - first);
    first = last;
  }
}

// A buffer an operation reads, and how its backward pass treats it.
struct Input {
  int buffer;
  bool has_gradient;              // whether the backward pass gives it a gradient
  bool is_needed_in_backward;     // whether the backward pass reads its value
  bool overwrites_gradient = false;  // set by the program: the first operation to give it a gradient does not add
};

template <class T>
class Operation {
 public:
  virtual ~Operation() = default;
  virtual void forward(const Tile<T>& tile) const = 0;
  virtual void backward(const Tile<T>& tile) const = 0;

  std::vector<Input> inputs;
  int output = -1;                        // -1: an energy
  bool output_is_needed_in_backward = false;
  bool adds = true;                       // whether it can add to outputs and gradients that others write too
  bool overwrites_output = false;         // set by the program: the first operation to write it does not add
  bool gradient_may_replace_value = false;  // of inputs[0]: element by element, read before it is written
};

}  // namespace equipot
