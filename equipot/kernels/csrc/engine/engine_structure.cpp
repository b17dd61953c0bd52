// Keeping a structure for the inference engine: order of atoms, lists with and without skin.
#include "engine/engine_structure.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace equipot {
namespace {

// Fewer atoms than this are all in the cache anyway, and keep the caller's order.
constexpr int64_t reorder_from = 200;
// Atoms whose edges are stored side by side; between chunks there is unused room for the list's skin.
constexpr int64_t chunk_atoms = 512;

// Spreads the lower 20 bits so that two zeros follow each of them.
uint64_t spread(uint64_t x) {
  x &= 0xfffff;
  x = (x | x << 32) & 0x1f00000000ffffull;
  x = (x | x << 16) & 0x1f0000ff0000ffull;
  x = (x | x << 8) & 0x100f00f00f00f00full;
  x = (x | x << 4) & 0x10c30c30c30c30c3ull;
  return (x | x << 2) & 0x1249249249249249ull;
}

// Rows of the inverse of a cell (as columns), or false where it has no volume.
bool invert(const double* c, double* inverse) {
  const double determinant = c[0] * (c[4] * c[8] - c[5] * c[7]) - c[1] * (c[3] * c[8] - c[5] * c[6]) +
                             c[2] * (c[3] * c[7] - c[4] * c[6]);
  if (!(std::fabs(determinant) > 1e-6)) return false;
  for (int a = 0; a < 3; ++a)
    for (int b = 0; b < 3; ++b) {
      const int a1 = (a + 1) % 3, a2 = (a + 2) % 3, b1 = (b + 1) % 3, b2 = (b + 2) % 3;
      inverse[3 * b + a] = (c[3 * a1 + b1] * c[3 * a2 + b2] - c[3 * a1 + b2] * c[3 * a2 + b1]) / determinant;
    }
  return true;
}

}  // namespace

// Along a space-filling (Morton) curve, so that neighbours in space are neighbours in memory.
void Structure::order_atoms(const double* positions, const double* cell) {
  order_.resize(size_t(num_nodes_));
  std::iota(order_.begin(), order_.end(), int64_t(0));
  if (num_atoms_ >= reorder_from) {
    constexpr double bin = 4.0;  // Angstrom: a few atoms
    double inverse[9], lengths[3] = {0, 0, 0};
    const bool is_periodic = cell != nullptr && invert(cell, inverse);
    for (int a = 0; is_periodic && a < 3; ++a)
      lengths[a] = std::hypot(cell[3 * a], std::hypot(cell[3 * a + 1], cell[3 * a + 2]));
    std::vector<uint64_t> key(size_t(num_atoms_), 0);
    for (int64_t n = 0; n < num_atoms_; ++n) {
      const double* r = positions + 3 * n;
      for (int a = 0; a < 3; ++a) {
        double place = r[a];
        if (is_periodic) {
          place = r[0] * inverse[a] + r[1] * inverse[3 + a] + r[2] * inverse[6 + a];
          place = (place - std::floor(place)) * lengths[a];
        }
        const double number = std::floor(place / bin) + (is_periodic ? 0.0 : 524288.0);
        key[size_t(n)] |= spread(uint64_t(std::min(std::max(number, 0.0), 1048575.0))) << a;
      }
    }
    std::stable_sort(order_.begin(), order_.begin() + num_atoms_,
                     [&](int64_t a, int64_t b) { return key[size_t(a)] < key[size_t(b)]; });
  }
}

void Structure::sort_species_in_tiles(const int32_t* species) {
  for (int64_t first = 0; first < num_atoms_; first += tile_)
    std::stable_sort(order_.begin() + first, order_.begin() + std::min(first + tile_, num_atoms_),
                     [&](int64_t a, int64_t b) { return species[a] < species[b]; });
  place_.resize(size_t(num_nodes_));
  species_.resize(size_t(num_nodes_));
  for (int64_t n = 0; n < num_nodes_; ++n) {
    place_[size_t(order_[size_t(n)])] = n;
    species_[size_t(n)] = species[order_[size_t(n)]];
  }
  has_one_species_ = std::adjacent_find(species_.begin(), species_.end(), std::not_equal_to<>()) == species_.end();
}

// Few translations occur many times: each edge gets the number of its own.
void Structure::number_shifts(const SkinList& list) {
  std::map<std::array<int64_t, 3>, int32_t> numbers;
  std::array<int64_t, 3> last{0, 0, 0};
  int32_t last_number = 0;
  shifts_.assign(1, last);
  numbers[last] = 0;
  int32_t* number = shift_of_edge_.reserve(list.num_edges);
  for (int64_t e = 0; e < list.num_edges; ++e) {
    const int64_t* s = list.shift + 3 * e;
    if (s[0] != last[0] || s[1] != last[1] || s[2] != last[2]) {
      last = {s[0], s[1], s[2]};
      const auto found = numbers.emplace(last, int32_t(shifts_.size()));
      if (found.second) shifts_.push_back(last);
      last_number = found.first->second;
    }
    number[e] = last_number;
  }
}

// What all lists have: nodes in their order, and room for edges.
void Structure::start_list(int64_t num_atoms, int64_t num_nodes, const int32_t* species, const double* positions,
                           const double* cell, int64_t num_edges) {
  num_atoms_ = num_atoms;
  num_nodes_ = num_nodes;
  order_atoms(positions, cell);
  sort_species_in_tiles(species);
  skin_start_.assign(size_t(num_atoms_) + 1, 0);
  capacity_ = num_edges;
  skin_neighbor_.reserve(capacity_);
  neighbor_.reserve(capacity_);
  vector_.reserve(3 * capacity_);
  edge_start_.resize(size_t(num_atoms_));
  edge_count_.resize(size_t(num_atoms_));
}

void Structure::set_list(const SkinList& list) {
  start_list(list.num_atoms, list.num_atoms, list.species, list.positions, list.cell, list.num_edges);
  has_points_ = false;
  num_points_ = 0;
  number_shifts(list);
  std::vector<int64_t> start(size_t(num_atoms_) + 1, 0);
  for (int64_t e = 0; e < list.num_edges; ++e) ++start[size_t(list.center[e]) + 1];
  std::partial_sum(start.begin(), start.end(), start.begin());
  int32_t* neighbor = skin_neighbor_.data();
  int32_t* shift = skin_shift_.reserve(capacity_);
  std::vector<std::pair<int64_t, int32_t>> row;
  for (int64_t n = 0, e = 0; n < num_atoms_; ++n) {
    const int64_t center = order_[size_t(n)];
    row.clear();
    for (int64_t k = start[size_t(center)]; k < start[size_t(center) + 1]; ++k)
      row.emplace_back(place_[size_t(list.neighbor[k])], shift_of_edge_.data()[k]);
    // Stable, so that several edges of a pair keep their order by shift, which the reverse edges have backwards.
    std::stable_sort(row.begin(), row.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& [to, number] : row) {
      neighbor[e] = int32_t(to);
      shift[e++] = number;
    }
    skin_start_[size_t(n) + 1] = e;
  }
  positions_.resize(size_t(3 * num_atoms_));
}

void Structure::set_points(const PointList& list) {
  std::vector<double> positions(size_t(3 * list.num_atoms));
  for (int64_t n = 0; n < list.num_atoms; ++n)
    std::copy_n(list.positions + 3 * int64_t(list.atom_point[n]), 3, positions.begin() + 3 * n);
  const int64_t num_edges = list.start[list.num_atoms];
  start_list(list.num_atoms, list.num_nodes, list.species, positions.data(), nullptr, num_edges);
  has_points_ = true;
  num_points_ = list.num_points;
  edge_point_.reserve(capacity_);
  int32_t *neighbor = skin_neighbor_.data(), *point = skin_point_.reserve(capacity_);
  atom_point_.resize(size_t(num_atoms_));
  std::vector<std::pair<int32_t, int32_t>> row;  // node in the engine's order, point
  for (int64_t n = 0, e = 0; n < num_atoms_; ++n) {
    const int64_t atom = order_[size_t(n)];
    atom_point_[size_t(n)] = list.atom_point[atom];
    row.clear();
    for (int64_t k = list.start[atom]; k < list.start[atom + 1]; ++k)
      row.emplace_back(int32_t(place_[size_t(list.point_node[list.point[k]])]), list.point[k]);
    std::sort(row.begin(), row.end());
    for (const auto& [to, end] : row) {
      neighbor[e] = to;
      point[e++] = end;
    }
    skin_start_[size_t(n) + 1] = e;
  }
}

void Structure::update(const double* positions, const double* cell, double cutoff, int num_threads) {
  if (has_points_) {
    point_positions_ = positions;
  } else {
    translations_.resize(3 * shifts_.size());
    for (size_t k = 0; k < shifts_.size(); ++k)
      for (int a = 0; a < 3; ++a)
        translations_[3 * k + a] = double(shifts_[k][0]) * cell[a] + double(shifts_[k][1]) * cell[3 + a] +
                                   double(shifts_[k][2]) * cell[6 + a];
    for (int64_t n = 0; n < num_atoms_; ++n)
      for (int a = 0; a < 3; ++a) positions_[3 * n + a] = positions[3 * order_[size_t(n)] + a];
  }
  closest_ = ClosestPair();
  const int64_t num_chunks = (num_atoms_ + chunk_atoms - 1) / chunk_atoms;
#pragma omp parallel num_threads(num_threads) if (num_threads > 1)
  {
    ClosestPair closest;
#pragma omp for schedule(static)
    for (int64_t k = 0; k < num_chunks; ++k) {
      const int64_t first = k * chunk_atoms, last = std::min((k + 1) * chunk_atoms, num_atoms_);
      if (has_points_)
        update_atoms<true>(first, last, cutoff, closest);
      else
        update_atoms<false>(first, last, cutoff, closest);
    }
#pragma omp critical
    if (closest.distance < closest_.distance) closest_ = closest;
  }
  if (closest_.i >= 0 && !has_points_) {
    closest_.i = order_[size_t(closest_.i)];
    closest_.j = order_[size_t(closest_.j)];
    if (closest_.j < closest_.i) std::swap(closest_.i, closest_.j);
  }
}

template <bool has_points>
void Structure::update_atoms(int64_t first, int64_t last, double cutoff, ClosestPair& closest) {
  const double* position = has_points ? point_positions_ : positions_.data();
  const double* translation = translations_.data();
  int64_t next = skin_start_[size_t(first)];
  for (int64_t n = first; n < last; ++n) {
    const int64_t begin = skin_start_[size_t(n)], end = skin_start_[size_t(n) + 1];
    int32_t* neighbor = neighbor_.data() + next;
    // Gathered with room for all of the skin, then closed up: the room behind belongs to later atoms.
    double *x = vector_.data() + 3 * next, *y = x + (end - begin), *z = y + (end - begin);
    int32_t* point = has_points ? edge_point_.data() + next : nullptr;
    const double* here = position + 3 * (has_points ? int64_t(atom_point_[size_t(n)]) : n);
    int64_t count = 0;
    double nearest = 1e300;
    int64_t nearest_neighbor = -1;
    for (int64_t e = begin; e < end; ++e) {
      const int64_t to = skin_neighbor_.data()[e], end_point = has_points ? skin_point_.data()[e] : to;
      const double* there = position + 3 * end_point;
      double vx = there[0] - here[0], vy = there[1] - here[1], vz = there[2] - here[2];
      if constexpr (has_points) {
        point[count] = int32_t(end_point);
      } else {
        const double* t = translation + 3 * skin_shift_.data()[e];
        vx += t[0];
        vy += t[1];
        vz += t[2];
      }
      const double square = vx * vx + vy * vy + vz * vz;
      neighbor[count] = int32_t(to);
      x[count] = vx;
      y[count] = vy;
      z[count] = vz;
      count += std::sqrt(square) < cutoff;
      if (square < nearest) {
        nearest = square;
        nearest_neighbor = end_point;
      }
    }
    if (count < end - begin) {
      std::copy(y, y + count, x + count);
      std::copy(z, z + count, x + 2 * count);
    }
    edge_start_[size_t(n)] = next;
    edge_count_[size_t(n)] = count;
    next += count;
    if (nearest_neighbor >= 0 && std::sqrt(nearest) < closest.distance)
      closest = {has_points ? int64_t(atom_point_[size_t(n)]) : n, nearest_neighbor, std::sqrt(nearest)};
  }
}

int64_t Structure::reverse(int64_t atom, int64_t edge) const {
  const int32_t* own = neighbors(atom);
  const int64_t own_count = edge_count_[size_t(atom)], other = own[edge];
  // The edges of this pair: [first, last) here, and as many backwards from where they begin at the other atom.
  int64_t first = edge, last = edge + 1;
  while (first > 0 && own[first - 1] == other) --first;
  while (last < own_count && own[last] == other) ++last;
  const int32_t* theirs = neighbors(other);
  int64_t begin = 0;
  for (int64_t k = 0, count = edge_count_[size_t(other)]; k < count; ++k) begin += theirs[k] < atom;
  return begin + (last - 1 - edge);
}

int64_t Structure::bytes() const {
  return num_nodes_ * int64_t(6 * sizeof(int64_t) + 3 * sizeof(double) + sizeof(int32_t)) +
         capacity_ * int64_t((has_points_ ? 5 : 4) * sizeof(int32_t) + 3 * sizeof(double));
}

}  // namespace equipot
