// The edges of one atom, loaded from the structure: harmonics, spline basis, and the way back to the edge vectors.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "convolution/edges.hpp"
#include "engine/engine_structure.hpp"
#include "engine/engine_workspace.hpp"
#include "geometry/geometry.hpp"

namespace equipot {

// What turns an edge vector into numbers.
struct EdgeSettings {
  int l_max, num_intervals;
  double cutoff;
  // Radial functions whose curvature jumps are splines in two pieces, one table behind the other: the second piece begins
  // with this interval, and its rows three later. -1: one piece.
  int break_interval = -1;
  // Which table serves a pair, (species of the centre, of the neighbour), tables one behind the other; empty: all the same.
  std::vector<int32_t> table_of_pair{};
  int64_t num_species = 0, num_tables = 1;

  int64_t num_harmonics() const { return int64_t(l_max + 1) * (l_max + 1); }
  int64_t rows_of_table() const { return num_intervals + (break_interval < 0 ? 3 : 6); }
  int64_t num_rows() const { return num_tables * rows_of_table(); }

  // From intervals to rows of the tables.
  void place(const int32_t* species, int32_t center, const int64_t* neighbor, int64_t count, int32_t* knot) const {
    if (break_interval >= 0)
      for (int64_t e = 0; e < count; ++e) knot[e] += knot[e] < break_interval ? 0 : 3;
    if (table_of_pair.empty()) return;
    const int32_t* table = table_of_pair.data() + center * num_species;
    for (int64_t e = 0; e < count; ++e) knot[e] += int32_t(table[species[neighbor[e]]] * rows_of_table());
  }
};

// Derivatives of the energy with respect to each edge's vector, x, y and z of an atom's edges one after the other like
// Structure::vectors. What belongs to the reverse edge is counted with the sign of the vector turned.
template <class T>
class EdgeGradient {
 public:
  void start(const Structure& structure) { data_.reserve(3 * structure.capacity()); }
  T* of(const Structure& structure, int64_t atom) const { return data_.data() + 3 * structure.edge_start(atom); }

 private:
  Scratch<T> data_;
};

// The edges of one atom in the workspace; valid until the next atom's are loaded.
template <class T>
class AtomEdges {
 public:
  // With by_species the edges are sorted by the species of the neighbour, and `order` says where each one came from.
  AtomEdges(const Structure& structure, const EdgeSettings& settings, int64_t atom, bool by_species,
            Workspace<T>& workspace)
      : structure_(structure), settings_(settings), workspace_(workspace), atom_(atom) {
    count = structure.edge_count(atom);
    stride = std::max<int64_t>(padded<T>(count), lanes<T>);
    const int32_t* neighbor = structure.neighbors(atom);
    int64_t* other = workspace.other.reserve(stride);
    order = nullptr;
    if (by_species && !structure.has_one_species()) {
      order = workspace.order.reserve(stride);
      for (int64_t e = 0; e < count; ++e) order[e] = e;
      std::stable_sort(order, order + count, [&](int64_t a, int64_t b) {
        return structure.species()[neighbor[a]] < structure.species()[neighbor[b]];
      });
    }
    T* vector = workspace.vector.reserve(3 * stride);
    const double* from = structure.vectors(atom);
    if (order == nullptr) {
      for (int64_t e = 0; e < count; ++e) other[e] = neighbor[e];
      for (int a = 0; a < 3; ++a)
        for (int64_t e = 0; e < count; ++e) vector[a * stride + e] = T(from[a * count + e]);
    } else {
      for (int64_t e = 0; e < count; ++e) other[e] = neighbor[order[e]];
      for (int a = 0; a < 3; ++a)
        for (int64_t e = 0; e < count; ++e) vector[a * stride + e] = T(from[a * count + order[e]]);
    }
    for (int a = 0; a < 3; ++a)  // any vector with a direction
      std::fill(vector + a * stride + count, vector + (a + 1) * stride, T(1));
    harmonics = workspace.harmonics.reserve(settings.num_harmonics() * stride);
    basis = workspace.basis.reserve(4 * stride);
    knot = workspace.knot.reserve(stride);
    edge_geometry<T>(settings.l_max, T(settings.cutoff), settings.num_intervals, count, stride, vector, harmonics,
                     basis, knot);
    settings.place(structure.species(), structure.species()[atom], other, count, knot);
  }

  EdgeBlock<T> block() const { return {count, stride, workspace_.other.data(), nullptr, harmonics, basis, knot}; }
  int64_t other(int64_t e) const { return workspace_.other.data()[e]; }

  // Zeroed space for the gradients with respect to harmonics and basis.
  void start_gradient() {
    const int64_t num_harmonics = settings_.num_harmonics();
    g_harmonics = workspace_.g_harmonics.reserve(num_harmonics * stride);
    g_basis = workspace_.g_basis.reserve(4 * stride);
    std::fill(g_harmonics, g_harmonics + num_harmonics * stride, T(0));
    std::fill(g_basis, g_basis + 4 * stride, T(0));
  }

  // Adds the gradient of a density, given that of each edge's.
  template <class Function>
  void add_density(const std::vector<T>& table, const Function& g_density) const {
    for (int64_t e = 0; e < count; ++e)
      for (int k = 0; k < 4; ++k) g_basis[k * stride + e] += g_density(e) * table[size_t(knot[e] + k)];
  }

  // Adds what the gradients with respect to harmonics and basis come to (or, where `overwrites`, sets it).
  void finish_gradient(const EdgeGradient<T>& gradient, bool overwrites) const {
    T* g_vector = workspace_.g_vector.reserve(3 * stride);
    edge_geometry_backward<T>(settings_.l_max, T(settings_.cutoff), settings_.num_intervals, count, stride,
                              workspace_.vector.data(), g_harmonics, g_basis, g_vector);
    T* to = gradient.of(structure_, atom_);
    if (overwrites) std::fill(to, to + 3 * count, T(0));
    for (int a = 0; a < 3; ++a)
      if (order == nullptr)
        for (int64_t e = 0; e < count; ++e) to[a * count + e] += g_vector[a * stride + e];
      else
        for (int64_t e = 0; e < count; ++e) to[a * count + order[e]] += g_vector[a * stride + e];
  }

  int64_t count, stride;
  T *harmonics, *basis, *g_harmonics, *g_basis;
  int32_t* knot;
  int64_t* order;

 private:
  const Structure& structure_;
  const EdgeSettings& settings_;
  Workspace<T>& workspace_;
  int64_t atom_;
};

// Soft counts of neighbours, sum_e table(r_e), for MACE's density normalisation.
template <class T>
inline T sum_density(const AtomEdges<T>& edges, const std::vector<T>& table) {
  T total = 0;
  for (int64_t e = 0; e < edges.count; ++e)
    for (int k = 0; k < 4; ++k) total += edges.basis[k * edges.stride + e] * table[size_t(edges.knot[e] + k)];
  return total;
}

}  // namespace equipot
