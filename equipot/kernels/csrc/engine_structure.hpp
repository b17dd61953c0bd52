// The structure the inference engine works on: atoms in an order of its own, their edges within the cutoff.
//
// Edges come in pairs, (i -> j) with vector v and (j -> i) with -v. So whatever an atom does to the atoms it sends to can
// be worked out from the edges on which it receives, with the sign of the vector turned: there is one list only, and no
// two atoms ever write to the same place.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "scratch.hpp"

namespace equipot {

// What a caller knows of a structure's neighbours: pairs within the cutoff and a skin, sorted by centre, each of them in
// both directions; within a pair of atoms with several edges, sorted by shift.
struct SkinList {
  int64_t num_atoms, num_edges;
  const int32_t* species;   // (num_atoms)
  const int64_t* center;    // (num_edges)
  const int64_t* neighbor;  // (num_edges)
  const int64_t* shift;     // (num_edges, 3)
  const double* positions;  // (num_atoms, 3), for the order of the atoms only
  const double* cell;       // (3, 3)
};

struct ClosestPair {
  int64_t i = -1, j = -1;
  double distance = 1e300;
};

class Structure {
 public:
  explicit Structure(int64_t tile) : tile_(tile) {}

  // Takes in a new list.
  void set_list(const SkinList& list);

  // Edges and the vectors of a caller's own, in place of a list: sorted by centre, each of them in both directions and
  // all nearer than the cutoff. The order of the atoms is kept.
  void set_edges(int64_t num_atoms, const int32_t* species, const int64_t* center_ptr, const int64_t* neighbor,
                 const double* vectors);

  // Vectors of the list's edges at these positions; keeps those within the cutoff.
  void update(const double* positions, const double* cell, double cutoff, int num_threads);

  int64_t num_atoms() const { return num_atoms_; }
  int64_t tile() const { return tile_; }
  int64_t num_tiles() const { return (num_atoms_ + tile_ - 1) / tile_; }
  int64_t capacity() const { return capacity_; }                    // edges there is room for
  const int32_t* species() const { return species_.data(); }        // in the engine's order
  int64_t original(int64_t atom) const { return order_[atom]; }     // the caller's number of an atom
  int64_t edge_start(int64_t atom) const { return edge_start_[atom]; }
  int64_t edge_count(int64_t atom) const { return edge_count_[atom]; }
  const int32_t* neighbors(int64_t atom) const { return neighbor_.data() + edge_start_[atom]; }
  // x, y and z of an atom's edges, one after the other, each [edge_count].
  const double* vectors(int64_t atom) const { return vector_.data() + 3 * edge_start_[atom]; }
  // After set_edges: the caller's number of each of an atom's edges.
  const int64_t* callers_edges(int64_t atom) const { return callers_edge_.data() + edge_start_[atom]; }
  const ClosestPair& closest() const { return closest_; }
  bool has_one_species() const { return has_one_species_; }
  int64_t bytes() const;  // of everything kept here

  // Where the reverse of edge `edge` of `atom` stands among the edges of its neighbour.
  int64_t reverse(int64_t atom, int64_t edge) const;

 private:
  void order_atoms(const SkinList& list);
  void sort_species_in_tiles(const int32_t* species);
  void number_shifts(const SkinList& list);
  void update_atoms(int64_t first, int64_t last, double cutoff, ClosestPair& closest);

  int64_t tile_, num_atoms_ = 0, capacity_ = 0;
  bool has_one_species_ = true;
  ClosestPair closest_;
  std::vector<int64_t> order_, place_;  // engine's number -> caller's, and back
  std::vector<int32_t> species_;
  std::vector<int64_t> skin_start_;           // (num_atoms + 1)
  Scratch<int32_t> skin_neighbor_, skin_shift_;
  Scratch<int32_t> shift_of_edge_;            // in the caller's order
  std::vector<std::array<int64_t, 3>> shifts_;  // distinct lattice translations
  std::vector<double> translations_, positions_;
  std::vector<int64_t> edge_start_, edge_count_, callers_edge_;
  Scratch<int32_t> neighbor_;
  Scratch<double> vector_;
};

}  // namespace equipot
