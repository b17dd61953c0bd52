// The inference engine: a frozen potential's energies and first derivatives without torch and without automatic
// differentiation. Nothing is stored for an edge but its vector, its neighbour and its gradient.
#pragma once

#include <omp.h>

#include <array>
#include <memory>
#include <vector>

#include "engine/engine_nodes.hpp"
#include "engine/engine_program.hpp"
#include "engine/engine_terms.hpp"

namespace equipot {

// What a caller wants, in the caller's order of atoms; null: not wanted. With a list of points the rows of forces,
// node_virial and centroid_virial are points, and what comes from the atoms evaluated here is added to them.
struct Results {
  double* node_energy = nullptr;  // (num_atoms)
  double* forces = nullptr;       // (num_atoms, 3)
  double* virial = nullptr;       // (3, 3), symmetric
  double* node_virial = nullptr;  // (num_atoms, 3, 3), symmetric: half of every edge's share at each end
  // (num_atoms, 3, 3), position first: W_j = sum_i (r_i - r_j) (x) dU_i/dr_j, with which the heat flux is sum_j W_j v_j
  double* centroid_virial = nullptr;

  bool wants_moments() const { return centroid_virial != nullptr; }
  bool wants_gradient() const {
    return forces != nullptr || virial != nullptr || node_virial != nullptr || wants_moments();
  }
};

// How the halo gets its rows: called with an array of rows by node, in the engine's order, those of atoms filled; it
// fills the others with what the same array holds for them where they are evaluated. In every evaluation the calls are
// the same ones in the same order everywhere.
struct Exchange {
  void (*function)(void* context, void* rows, int64_t row_bytes) = nullptr;  // null: there is no halo
  void* context = nullptr;
};

// The engine for either precision, as the entry points see it.
class EngineBase {
 public:
  EngineBase(const EdgeSettings& settings, int64_t num_species, int64_t tile)
      : settings(settings), num_species(num_species), structure(tile) {}
  virtual ~EngineBase() = default;
  virtual bool is_double() const = 0;
  // Plans the program, and finds the network's energy of each species' lone atom.
  virtual void finish() = 0;
  // Evaluates the structure as it is now. `num_threads` is an upper limit.
  virtual void run(const Results& results, int num_threads, const Exchange& exchange = {}) = 0;
  virtual int64_t bytes() const = 0;

  EdgeSettings settings;
  int64_t num_species;
  PotentialTerms terms;
  Structure structure;
};

template <class T>
class Engine final : public EngineBase {
 public:
  Engine(const EdgeSettings& settings, int64_t num_species, int64_t tile);

  bool is_double() const override { return sizeof(T) == sizeof(double); }
  // What the readers of a document fill.
  Program<T>& program() { return program_; }
  void finish() override;
  void run(const Results& results, int num_threads, const Exchange& exchange) override;
  int64_t bytes() const override;

 private:
  // What the network is run for; each has all that comes before it.
  enum class Pass { energies, gradients, moments };

  struct Thread {
    Workspace<T> workspace;
    std::vector<T*> values, gradients, moments[3];  // by buffer, for the present tile
    double virial[6];
    Scratch<double> pairs;
    // With points: what is added to them, where several threads run, and where this thread adds.
    Scratch<double> point_forces, point_virial, point_centroid;
    double *forces, *node_virial, *centroid_virial;
  };

  void network(Pass pass, int num_threads, const Exchange& exchange);
  void fill_halo(int phase, Pass pass, const Exchange& exchange);
  void run_tile(int phase, int64_t tile, Pass pass, Thread& thread);
  void convolve_forward(const Stage<T>& stage, const Tile<T>& tile);
  void convolve_backward(const Stage<T>& stage, const Tile<T>& tile, const Tile<T>* moments, bool is_first);
  void embedding_backward(const Stage<T>& stage, const Tile<T>& tile, const Tile<T>* moments, bool is_first);
  T* stored(const Placement& placement) { return pool_.data() + structure.num_nodes() * placement.column; }

  // engine_moments.cpp
  void start_moments();
  std::array<Tile<T>, 3> moment_tiles(const Tile<T>& tile, Thread& thread);
  void convolve_moments(const Stage<T>& stage, const T* x, AtomEdges<T>& edges, int64_t n, const Tile<T>* moments,
                        bool is_first);
  void embedding_moments(const Stage<T>& stage, AtomEdges<T>& edges, int64_t n, const Tile<T>* moments, bool is_first);
  T* stored_moment(int a, const Placement& placement) {
    return moment_pool_.data() + structure.num_nodes() * (a * program_.stored_moment_columns() + placement.column);
  }
  void collect_centroid(int64_t atom, const double* v, const double* own, const double* pair, int64_t stride,
                        const Results& results, Thread& thread) const;

  void collect(const Results& results, int num_threads);
  void start_points(const Results& results);
  void finish_points(const Results& results, int num_threads);
  void collect_atom(int64_t atom, const Results& results, Thread& thread) const;
  double collect_edges(int64_t atom, const Results& results, Thread& thread) const;
  void scatter(int64_t atom, const double* v, const double* gradient, int64_t stride, const Results& results,
               Thread& thread) const;
  double radial_slopes(int64_t atom, const double* v, int64_t stride, double* inverse, double* own_slope,
                       double* pair_slope) const;
  double switch_of(int64_t atom, double& slope) const;

  Program<T> program_;
  std::vector<T> seed_;
  Scratch<T> pool_;
  std::vector<double> energy_, switch_, switch_slope_;  // network energies; the switch of bound atoms
  EdgeGradient<T> gradient_, moment_gradient_[3];
  std::vector<T> no_seed_;
  Scratch<T> moment_pool_;
  std::vector<std::unique_ptr<Thread>> threads_;
};

// Calls function(thread, item) for every item in [0, items), on threads 0..num_threads-1.
template <class Function>
void in_parallel(int64_t items, int num_threads, const Function& function) {
  if (num_threads <= 1) {
    for (int64_t item = 0; item < items; ++item) function(0, item);
    return;
  }
#pragma omp parallel num_threads(num_threads)
  {
    const int thread = omp_get_thread_num();
#pragma omp for schedule(static)
    for (int64_t item = 0; item < items; ++item) function(thread, item);
  }
}

}  // namespace equipot
