// The structure the inference engine works on: atoms in an order of its own, their edges within the cutoff.
//
// Edges come in pairs, (i -> j) with vector v and (j -> i) with -v. So whatever an atom does to the atoms it sends to can
// be worked out from the edges on which it receives, with the sign of the vector turned: there is one list only, and no
// two atoms ever write to the same place.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "simd/scratch.hpp"

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

// What a caller knows who keeps images of atoms himself, as LAMMPS does with its ghosts. Points are atoms and their images;
// nodes are atoms: those to evaluate, then the halo, atoms that are evaluated elsewhere. Pairs go from atoms to points
// within the cutoff and a skin; each of them is there in both directions, here or where the other atom is evaluated.
struct PointList {
  int64_t num_atoms, num_nodes, num_points;
  const int32_t* species;      // (num_nodes)
  const int32_t* atom_point;   // (num_atoms) which point an atom itself is
  const int32_t* point_node;   // (num_points) of which node a point is an image; anything where no pair ends
  const int64_t* start;        // (num_atoms + 1) pairs of an atom
  const int32_t* point;        // (num_pairs) where they end
  const double* positions;     // (num_points, 3), for the order of the atoms only
};

// Two atoms in the caller's numbers, or two points of his.
struct ClosestPair {
  int64_t i = -1, j = -1;
  double distance = 1e300;
};

class Structure {
 public:
  explicit Structure(int64_t tile) : tile_(tile) {}

  // Takes in a new list.
  void set_list(const SkinList& list);

  void set_points(const PointList& list);

  // Vectors of the list's edges at these positions, of atoms or of points; keeps those within the cutoff. The cell serves
  // lists with shifts.
  void update(const double* positions, const double* cell, double cutoff, int num_threads);

  int64_t num_atoms() const { return num_atoms_; }                  // to evaluate
  int64_t num_nodes() const { return num_nodes_; }                  // with the halo, which comes behind them
  int64_t num_points() const { return num_points_; }
  bool has_points() const { return has_points_; }                   // whether the list is one of points
  int64_t tile() const { return tile_; }
  int64_t num_tiles() const { return (num_atoms_ + tile_ - 1) / tile_; }
  int64_t capacity() const { return capacity_; }                    // edges there is room for
  const int32_t* species() const { return species_.data(); }        // in the engine's order
  int64_t original(int64_t atom) const { return order_[atom]; }     // the caller's number of an atom
  const int64_t* places() const { return place_.data(); }           // the engine's number of each of the caller's nodes
  int64_t edge_start(int64_t atom) const { return edge_start_[atom]; }
  int64_t edge_count(int64_t atom) const { return edge_count_[atom]; }
  const int32_t* neighbors(int64_t atom) const { return neighbor_.data() + edge_start_[atom]; }
  // x, y and z of an atom's edges, one after the other, each [edge_count].
  const double* vectors(int64_t atom) const { return vector_.data() + 3 * edge_start_[atom]; }
  // With points: which one an atom is, and where its edges end.
  int64_t point(int64_t atom) const { return atom_point_[size_t(atom)]; }
  const int32_t* edge_points(int64_t atom) const { return edge_point_.data() + edge_start_[atom]; }
  const ClosestPair& closest() const { return closest_; }
  bool has_one_species() const { return has_one_species_; }
  int64_t bytes() const;  // of everything kept here

  // Where the reverse of edge `edge` of `atom` stands among the edges of its neighbour; without points.
  int64_t reverse(int64_t atom, int64_t edge) const;

 private:
  void start_list(int64_t num_atoms, int64_t num_nodes, const int32_t* species, const double* positions,
                  const double* cell, int64_t num_edges);
  void order_atoms(const double* positions, const double* cell);
  void sort_species_in_tiles(const int32_t* species);
  void number_shifts(const SkinList& list);
  template <bool has_points>
  void update_atoms(int64_t first, int64_t last, double cutoff, ClosestPair& closest);

  int64_t tile_, num_atoms_ = 0, num_nodes_ = 0, num_points_ = 0, capacity_ = 0;
  bool has_one_species_ = true, has_points_ = false;
  ClosestPair closest_;
  std::vector<int64_t> order_, place_;  // engine's number -> caller's, and back
  std::vector<int32_t> species_, atom_point_;
  std::vector<int64_t> skin_start_;           // (num_atoms + 1)
  Scratch<int32_t> skin_neighbor_, skin_shift_, skin_point_;  // shifts, or points
  Scratch<int32_t> shift_of_edge_;            // in the caller's order
  std::vector<std::array<int64_t, 3>> shifts_;  // distinct lattice translations
  std::vector<double> translations_, positions_;
  const double* point_positions_ = nullptr;     // the caller's, while the list is updated
  std::vector<int64_t> edge_start_, edge_count_;
  Scratch<int32_t> neighbor_, edge_point_;
  Scratch<double> vector_;
};

}  // namespace equipot
