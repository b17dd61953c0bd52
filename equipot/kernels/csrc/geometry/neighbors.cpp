// The neighbour list: every pair of atoms within the cutoff, found by bins, first counted and then written in order.
//
// Atoms are wrapped into the cell and sorted into bins; an atom is compared with the atoms of the bins within reach,
// and of their periodic images. Nothing is stored between the two passes, so the memory needed is that of the list.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <exception>
#include <vector>

#include "simd/vector.hpp"

namespace equipot {
namespace {

// What the search needs to know of the cell, as the caller lays it out in memory.
struct Frame {
  double box[3][3];      // full-rank cell around the atoms, rows are vectors; periodic rows span the lattice
  double inverse[3][3];  // of the box
  double origin[3];
  double heights[3];  // distance between opposite faces of the box
  double cell[3][3];  // the cell as given: shifts count its vectors
  double radius;      // a little more than the cutoff, for what rounding does to wrapped positions
  double cutoff;
  double max_tests;  // give up beyond so many comparisons of two atoms and visits of bins
};

struct Lattice {
  int64_t is_periodic[3];
  int64_t operation[3][3];  // box = operation * cell along the periodic rows
};

constexpr int64_t too_many_tests = -1, out_of_memory = -2;

// The length of an edge exactly as graph/neighbors.py computes it: the list is compared with it bit by bit, so products
// and sums must not be fused here.
#if defined(__clang__)
#pragma clang fp contract(off)
#define EQUIPOT_UNFUSED
#else
#define EQUIPOT_UNFUSED __attribute__((optimize("fp-contract=off")))
#endif

EQUIPOT_UNFUSED double exact_distance(const double* center, const double* neighbor, const int64_t* shift,
                                      const double (*cell)[3]) {
  double v[3];
  for (int k = 0; k < 3; ++k) v[k] = neighbor[k] - center[k];
  if (shift[0] != 0 || shift[1] != 0 || shift[2] != 0) {
    const double s0 = double(shift[0]), s1 = double(shift[1]), s2 = double(shift[2]);
    for (int k = 0; k < 3; ++k) v[k] += s0 * cell[0][k] + s1 * cell[1][k] + s2 * cell[2][k];
  }
  return std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
}

// The periodic image a bin lies in, of so many bins along an axis. Mostly it is in the cell itself; a division is slow.
inline int64_t image_of(int64_t bin, int64_t number) {
  return bin >= 0 && bin < number ? 0 : bin / number - (bin % number < 0);
}

// Some neighbouring bins along the last axis, in one periodic image: rows of atoms that lie one after the other.
struct Run {
  int64_t begin, end;
  int64_t image[3];
  double translation[3];  // of the image, minus the centre's position
};

// Atoms in bins.
class Bins {
 public:
  Bins(const Frame& frame, const Lattice& lattice, const double* positions, int64_t num_atoms)
      : frame_(frame), lattice_(lattice), positions_(positions) {
    choose_numbers(num_atoms);
    std::vector<double> wrapped(size_t(num_atoms) * 3);
    std::vector<int64_t> bin(num_atoms), offset(size_t(num_atoms) * 3);
    first_.assign(size_t(numbers_[0] * numbers_[1] * numbers_[2] + 1), 0);
    for (int64_t i = 0; i < num_atoms; ++i) {
      bin[i] = wrap(positions + 3 * i, &wrapped[3 * i], &offset[3 * i]);
      ++first_[bin[i] + 1];
    }
    for (size_t b = 1; b < first_.size(); ++b) first_[b] += first_[b - 1];
    atom_.resize(num_atoms);
    bin_.resize(num_atoms);
    for (int k = 0; k < 3; ++k) wrapped_[k].resize(num_atoms);
    offset_.resize(offset.size());
    std::vector<int64_t> next(first_.begin(), first_.end() - 1);
    for (int64_t i = 0; i < num_atoms; ++i) {
      const int64_t row = next[bin[i]]++;
      atom_[row] = i;
      bin_[row] = bin[i];
      for (int k = 0; k < 3; ++k) {
        wrapped_[k][row] = wrapped[3 * i + k];
        offset_[3 * row + k] = offset[3 * i + k];
      }
    }
  }

  bool is_reduced() const {
    for (int k = 0; k < 3; ++k)
      for (int n = 0; n < 3; ++n)
        if (lattice_.is_periodic[k] && lattice_.is_periodic[n] && lattice_.operation[k][n] != (k == n)) return true;
    return false;
  }

  // About how many runs of bins are visited for one atom.
  static double visits(const Frame& frame, const Lattice& lattice) {
    double product = 1.0;
    for (int k = 0; k < 3; ++k)
      if (lattice.is_periodic[k]) product *= 2.0 * frame.radius / frame.heights[k] + 1.0;
    return product;
  }

  // No component of any shift is larger.
  int64_t largest_shift() const {
    int64_t steps[3], largest = 0;
    for (int k = 0; k < 3; ++k) {
      int64_t low = 0, high = 0;
      for (size_t n = k; n < offset_.size(); n += 3) {
        low = std::min(low, offset_[n]);
        high = std::max(high, offset_[n]);
      }
      steps[k] = high - low + (lattice_.is_periodic[k] ? reach_[k] / numbers_[k] + 1 : 0);
    }
    for (int k = 0; k < 3; ++k) {
      int64_t sum = 0;
      for (int n = 0; n < 3; ++n) sum += steps[n] * std::abs(lattice_.operation[n][k]);
      largest = std::max(largest, sum);
    }
    return largest;
  }

  int64_t atom(int64_t row) const { return atom_[row]; }

  // Adds the number of edges of the atom in a row to count, and returns the work done.
  int64_t count(int64_t row, int64_t& count) const {
    // The radius is as much beyond the cutoff as rounding can matter: only between these two need edges be looked at.
    const double inner = std::max(0.0, 2.0 * frame_.cutoff - frame_.radius), outer = frame_.radius;
    const double inner_squared = inner * inner, outer_squared = outer * outer;
    int64_t work = 0;
    count = -1;  // the atom itself
    for_each_run(row, [&](const Run& run) {
      int64_t inside = 0, candidates = 0;
      for (int64_t other = run.begin; other < run.end; ++other) {
        const double d = distance_squared(run, other);
        inside += d < inner_squared;
        candidates += d <= outer_squared;
      }
      if (inside != candidates) {
        inside = 0;
        for (int64_t other = run.begin; other < run.end; ++other) {
          if (distance_squared(run, other) > outer_squared) continue;
          int64_t shift[3];
          inside += is_self(row, other, run) || edge(row, other, run, shift) < frame_.cutoff;
        }
      }
      count += inside;
      work += run.end - run.begin + 1;
    });
    return work;
  }

  // Calls found(neighbour, shift in cells, distance) for every edge of the atom in a row. Edges to one atom come in
  // ascending order of their images.
  template <class Found>
  void search(int64_t row, std::vector<int64_t>& near, const Found& found) const {
    const double outer_squared = frame_.radius * frame_.radius;
    for_each_run(row, [&](const Run& run) {
      near.resize(run.end - run.begin + 1);
      int64_t num_near = 0;
      for (int64_t other = run.begin; other < run.end; ++other) {
        near[num_near] = other;
        num_near += distance_squared(run, other) <= outer_squared;
      }
      for (int64_t n = 0; n < num_near; ++n) {
        if (is_self(row, near[n], run)) continue;
        int64_t shift[3];
        const double distance = edge(row, near[n], run, shift);
        if (distance < frame_.cutoff) found(atom_[near[n]], shift, distance);
      }
    });
  }

 private:
  // Bins of half the radius; fewer, larger ones in sparse boxes, so that their number is of the order of the atoms'.
  void choose_numbers(int64_t num_atoms) {
    const double most = 8.0 * double(num_atoms) + 4096.0;
    double numbers[3];
    for (int k = 0; k < 3; ++k) numbers[k] = std::max(1.0, std::floor(2.0 * frame_.heights[k] / frame_.radius));
    while (numbers[0] * numbers[1] * numbers[2] > most) {
      double& largest = *std::max_element(numbers, numbers + 3);
      largest = std::max(1.0, std::floor(0.5 * largest));
    }
    for (int k = 0; k < 3; ++k) {
      numbers_[k] = int64_t(numbers[k]);
      const double reach = std::ceil(frame_.radius * numbers[k] / frame_.heights[k]);
      reach_[k] = lattice_.is_periodic[k] ? int64_t(reach) : int64_t(std::min(reach, numbers[k]));
    }
  }

  // Wraps an atom along the periodic directions and returns its bin.
  int64_t wrap(const double* position, double* wrapped, int64_t* offset) const {
    int64_t bin = 0;
    double cells[3];
    for (int k = 0; k < 3; ++k) {
      double fraction = 0.0;
      for (int n = 0; n < 3; ++n) fraction += (position[n] - frame_.origin[n]) * frame_.inverse[n][k];
      cells[k] = lattice_.is_periodic[k] ? std::floor(fraction) : 0.0;
      offset[k] = int64_t(cells[k]);
      const int64_t along = int64_t((fraction - cells[k]) * double(numbers_[k]));
      bin = bin * numbers_[k] + std::min(std::max<int64_t>(along, 0), numbers_[k] - 1);
    }
    for (int n = 0; n < 3; ++n)
      wrapped[n] =
          position[n] - (cells[0] * frame_.box[0][n] + cells[1] * frame_.box[1][n] + cells[2] * frame_.box[2][n]);
    return bin;
  }

  // Calls visit(run) for the runs of bins within reach of the atom in a row.
  template <class Visit>
  void for_each_run(int64_t row, const Visit& visit) const {
    const int64_t bin = bin_[row];
    const int64_t at[3] = {bin / (numbers_[1] * numbers_[2]), bin / numbers_[2] % numbers_[1], bin % numbers_[2]};
    int64_t low[3], high[3];
    for (int k = 0; k < 3; ++k) {
      low[k] = at[k] - reach_[k];
      high[k] = at[k] + reach_[k];
      if (!lattice_.is_periodic[k]) {
        low[k] = std::max<int64_t>(low[k], 0);
        high[k] = std::min(high[k], numbers_[k] - 1);
      }
    }
    Run run;
    for (int64_t x = low[0]; x <= high[0]; ++x) {
      run.image[0] = image_of(x, numbers_[0]);
      for (int64_t y = low[1]; y <= high[1]; ++y) {
        run.image[1] = image_of(y, numbers_[1]);
        const int64_t column =
            ((x - run.image[0] * numbers_[0]) * numbers_[1] + y - run.image[1] * numbers_[1]) * numbers_[2];
        for (int64_t z = low[2]; z <= high[2];) {
          run.image[2] = image_of(z, numbers_[2]);
          const int64_t base = run.image[2] * numbers_[2], last = std::min(high[2], base + numbers_[2] - 1);
          run.begin = first_[column + z - base];
          run.end = first_[column + last - base + 1];
          for (int k = 0; k < 3; ++k)
            run.translation[k] = run.image[0] * frame_.box[0][k] + run.image[1] * frame_.box[1][k] +
                                 run.image[2] * frame_.box[2][k] - wrapped_[k][row];
          visit(run);
          z = last + 1;
        }
      }
    }
  }

  double distance_squared(const Run& run, int64_t other) const {
    const double x = wrapped_[0][other] + run.translation[0], y = wrapped_[1][other] + run.translation[1],
                 z = wrapped_[2][other] + run.translation[2];
    return x * x + y * y + z * z;
  }

  static bool is_self(int64_t row, int64_t other, const Run& run) {
    return row == other && run.image[0] == 0 && run.image[1] == 0 && run.image[2] == 0;
  }

  // The shift of an edge, for positions as given, and its exact length.
  double edge(int64_t row, int64_t other, const Run& run, int64_t* shift) const {
    int64_t steps[3];
    for (int k = 0; k < 3; ++k) steps[k] = run.image[k] + offset_[3 * row + k] - offset_[3 * other + k];
    for (int k = 0; k < 3; ++k)
      shift[k] = steps[0] * lattice_.operation[0][k] + steps[1] * lattice_.operation[1][k] +
                 steps[2] * lattice_.operation[2][k];
    return exact_distance(positions_ + 3 * atom_[row], positions_ + 3 * atom_[other], shift, frame_.cell);
  }

  const Frame& frame_;
  const Lattice& lattice_;
  const double* positions_;
  int64_t numbers_[3], reach_[3];
  std::vector<int64_t> first_, atom_, bin_, offset_;
  std::vector<double> wrapped_[3];
};

// An edge before it has its place in the list.
struct Edge {
  int64_t neighbor;
  int64_t shift[3];
  double distance;
};

inline bool comes_before(const Edge& a, const Edge& b) {
  if (a.neighbor != b.neighbor) return a.neighbor < b.neighbor;
  return std::lexicographical_compare(a.shift, a.shift + 3, b.shift, b.shift + 3);
}

// The edges of one atom, and the order they are written in.
struct Found {
  std::vector<Edge> edges;
  std::vector<uint64_t> keys;
  std::vector<int64_t> near;

  // Images of a neighbour were found in ascending order, so the neighbour and the place in the order found decide. In a
  // reduced cell the order of images is another one.
  void sort(bool is_reduced) {
    if (is_reduced) std::sort(edges.begin(), edges.end(), comes_before);
    keys.clear();
    for (size_t n = 0; n < edges.size(); ++n) keys.push_back(uint64_t(edges[n].neighbor) << 32 | n);
    std::sort(keys.begin(), keys.end());
  }
};

template <class S>
void write_rows(const Bins& bins, int64_t row, const int64_t* first, Found& found, int64_t* center, int64_t* neighbor,
                S* shift, double* distance) {
  found.edges.clear();
  bins.search(row, found.near, [&](int64_t other, const int64_t* s, double d) {
    found.edges.push_back({other, {s[0], s[1], s[2]}, d});
  });
  found.sort(bins.is_reduced());
  const int64_t atom = bins.atom(row);
  int64_t e = first[atom];
  for (const uint64_t key : found.keys) {
    const Edge& edge = found.edges[key & 0xffffffffu];
    center[e] = atom;
    neighbor[e] = edge.neighbor;
    for (int k = 0; k < 3; ++k) shift[3 * e + k] = S(edge.shift[k]);
    distance[e] = edge.distance;
    ++e;
  }
}

// Runs work(row) for every row of the bins on some threads; false where one ran out of memory.
template <class Work>
bool for_each_row(int64_t num_rows, int num_threads, const Work& work) {
  std::atomic<bool> failed(false);
#pragma omp parallel num_threads(num_threads) if (num_threads > 1)
  {
    auto worker = work();
#pragma omp for schedule(dynamic, 256)
    for (int64_t row = 0; row < num_rows; ++row) {
      if (failed.load(std::memory_order_relaxed)) continue;
      try {
        worker(row);
      } catch (const std::exception&) {
        failed = true;
      }
    }
  }
  return !failed;
}

}  // namespace
}  // namespace equipot

// Counts the edges of every atom: first[i] to first[i + 1] are those of atom i. Returns their number, -1 where there is
// too much to compare, -2 without memory; no
// component of any shift is larger than largest_shift.
EQUIPOT_API int64_t equipot_count_neighbors(const equipot::Frame* frame, const equipot::Lattice* lattice,
                                            const double* positions, int64_t num_atoms, int num_threads, int64_t* first,
                                            int64_t* largest_shift) try {
  using namespace equipot;
  if (double(num_atoms) * Bins::visits(*frame, *lattice) > frame->max_tests) return too_many_tests;
  const Bins bins(*frame, *lattice, positions, num_atoms);
  std::atomic<int64_t> tests(0);
  const int64_t most = int64_t(std::min(frame->max_tests, 9e18));
  const bool is_done = for_each_row(num_atoms, num_threads, [&] {
    return [&](int64_t row) {
      if (tests.load(std::memory_order_relaxed) > most) return;
      tests.fetch_add(bins.count(row, first[bins.atom(row) + 1]), std::memory_order_relaxed);
    };
  });
  if (!is_done) return out_of_memory;
  if (tests > most) return too_many_tests;
  first[0] = 0;
  for (int64_t i = 0; i < num_atoms; ++i) first[i + 1] += first[i];
  *largest_shift = bins.largest_shift();
  return first[num_atoms];
} catch (const std::exception&) {
  return equipot::out_of_memory;
}

// Writes the edges, sorted by centre, neighbour and shift, where the count placed them. shift is (E, 3), of int8 where
// has_small_shifts, else int64. Returns 0, or -2 without memory.
EQUIPOT_API int64_t equipot_fill_neighbors(const equipot::Frame* frame, const equipot::Lattice* lattice,
                                           const double* positions, int64_t num_atoms, int num_threads,
                                           const int64_t* first, int has_small_shifts, int64_t* center,
                                           int64_t* neighbor, void* shift, double* distance) try {
  using namespace equipot;
  const Bins bins(*frame, *lattice, positions, num_atoms);
  const bool is_done = for_each_row(num_atoms, num_threads, [&] {
    return [&, found = Found()](int64_t row) mutable {
      if (has_small_shifts)
        write_rows(bins, row, first, found, center, neighbor, static_cast<int8_t*>(shift), distance);
      else
        write_rows(bins, row, first, found, center, neighbor, static_cast<int64_t*>(shift), distance);
    };
  });
  return is_done ? 0 : out_of_memory;
} catch (const std::exception&) {
  return equipot::out_of_memory;
}
