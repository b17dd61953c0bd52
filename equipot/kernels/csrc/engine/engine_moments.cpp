// Virials for the heat flux of energies that reach further than an atom's neighbours, without unfolding the structure.
//
// The heat flux is the time derivative of sum_i r_i U_i: besides energies that are carried along, sum_j W_j v_j with
// W_j = sum_i (r_i - r_j) (x) dU_i/dr_j, where i and j are atoms of the infinite structure and their distance is taken
// along the edges that lead from one to the other (M. F. Langer, J. T. Frank, F. Knoop, Phys. Rev. B 108, L100302, 2023).
//
// So beside each gradient g_j = sum_i dU_i/dx_j of a node there are its moments N_j = sum_i (r_i - r_j) dU_i/dx_j, x, y
// and z. Node-wise operations turn them as they turn the gradient. An edge that brings the gradient of atom m to atom n
// brings the moment N_m + (r_m - r_n) g_m. The energy of an atom itself is where it is: moments begin with zero.
//
// Vectors of edges have moments too, about the edge's own atom n: M = sum_i (r_i - r_n) dU_i/dv, v = r_m - r_n. From there
// W_n gets -M and W_m gets M - v (x) dU/dv. What a potential adds to the network (repulsion, switch) depends on the edges of
// the atom whose energy it is, and has no such moments.
#include "engine/engine.hpp"

#include <algorithm>
#include <numeric>

namespace equipot {

template <class T>
void Engine<T>::start_moments() {
  // Exchanges want an address also where there is no atom.
  moment_pool_.reserve(std::max<int64_t>(1, 3 * structure.num_nodes() * program_.stored_moment_columns()));
  for (auto& gradient : moment_gradient_) gradient.start(structure);
  for (auto& thread : threads_) {
    for (auto& moments : thread->moments) moments.resize(size_t(program_.num_buffers()));
    thread->workspace.moment_rows.reserve(3 * structure.tile() * program_.tile_moment_columns());
  }
}

// The tile with each of the three moments in the gradients' place.
template <class T>
std::array<Tile<T>, 3> Engine<T>::moment_tiles(const Tile<T>& tile, Thread& thread) {
  const auto with_moment = [&](int a) {
    T* rows = thread.workspace.moment_rows.data() + a * structure.tile() * program_.tile_moment_columns();
    for (int b = 0; b < program_.num_buffers(); ++b) {
      const Placement& placement = program_.moment(b);
      thread.moments[a][size_t(b)] = placement.is_stored ? stored_moment(a, placement) + tile.first * placement.dim
                                                         : rows + structure.tile() * placement.column;
    }
    return Tile<T>{tile.first,  tile.count,      tile.species,  tile.values, thread.moments[a].data(),
                   tile.energy, no_seed_.data(), tile.workspace};
  };
  return {with_moment(0), with_moment(1), with_moment(2)};
}

// The tile's n-th atom with features x.
template <class T>
void Engine<T>::convolve_moments(const Stage<T>& stage, const T* x, AtomEdges<T>& edges, int64_t n,
                                 const Tile<T>* moments, bool is_first) {
  Workspace<T>& workspace = *moments->workspace;
  const int64_t dim = program_.dim(stage.output), count = edges.count;
  T* brought = workspace.brought.reserve(count * dim);
  int64_t* number = workspace.edge_number.reserve(edges.stride);
  std::iota(number, number + count, int64_t(0));
  EdgeBlock<T> block = edges.block();
  block.other = number;
  const T* g = stored(program_.gradient(stage.output));
  for (int a = 0; a < 3; ++a) {
    const T *vector = workspace.vector.data() + a * edges.stride, *moment = stored_moment(a, program_.moment(stage.output));
    for (int64_t e = 0; e < count; ++e) {
      const T *g_row = g + edges.other(e) * dim, *moment_row = moment + edges.other(e) * dim, distance = vector[e];
      for (int64_t c = 0; c < dim; ++c) brought[e * dim + c] = moment_row[c] + distance * g_row[c];
    }
    T* to = moments[a].gradients[stage.input] + n * program_.dim(stage.input);
    edges.start_gradient();
    if (stage.scalar != nullptr)
      stage.scalar->backward(block, x, brought, to, edges.g_harmonics, edges.g_basis);
    else
      equipot::convolve_backward<T>(stage.turned, block, x, brought, SplineWeights<T>{stage.table.data()}, to,
                                    edges.g_harmonics, edges.g_basis, workspace.convolution);
    if (stage.density >= 0) {
      const T* g_density = stored(program_.gradient(stage.density));
      const T* density_moment = stored_moment(a, program_.moment(stage.density));
      edges.add_density(stage.density_table, [&](int64_t e) {
        return density_moment[edges.other(e)] + vector[e] * g_density[edges.other(e)];
      });
    }
    edges.finish_gradient(moment_gradient_[a], is_first);
  }
}

// The first convolution takes nothing from other atoms.
template <class T>
void Engine<T>::embedding_moments(const Stage<T>& stage, AtomEdges<T>& edges, int64_t n, const Tile<T>* moments,
                                  bool is_first) {
  for (int a = 0; a < 3; ++a) {
    edges.start_gradient();
    stage.embedding->backward(stage.settings, edges, structure.species(),
                              moments[a].gradients[stage.output] + n * program_.dim(stage.output),
                              *moments->workspace);
    if (stage.density >= 0)
      edges.add_density(stage.density_table, [&](int64_t) { return moments[a].gradients[stage.density][n]; });
    edges.finish_gradient(moment_gradient_[a], is_first);
  }
}

// What an atom's edges give to W. v: their vectors, own: dU/dv, pair: the same less that of the reverse edge.
template <class T>
void Engine<T>::collect_centroid(int64_t n, const double* v, const double* own, const double* pair, int64_t stride,
                                 const Results& results, Thread& thread) const {
  const int64_t count = structure.edge_count(n);
  if (structure.has_points()) {
    double* here = thread.centroid_virial + 9 * structure.point(n);
    for (int a = 0; a < 3; ++a) {
      const T* moment = moment_gradient_[a].of(structure, n);
      for (int b = 0; b < 3; ++b)
        for (int64_t e = 0; e < count; ++e) {
          const double m = double(moment[b * count + e]);
          here[3 * a + b] -= m;
          thread.centroid_virial[9 * int64_t(structure.edge_points(n)[e]) + 3 * a + b] +=
              m - v[a * stride + e] * own[b * stride + e];
        }
    }
    return;
  }
  double total[9] = {};
  for (int64_t e = 0; e < count; ++e) {
    const int64_t other = structure.neighbors(n)[e], back = structure.reverse(n, e);
    const int64_t other_count = structure.edge_count(other);
    for (int a = 0; a < 3; ++a) {
      const T *moment = moment_gradient_[a].of(structure, n), *theirs = moment_gradient_[a].of(structure, other) + back;
      for (int b = 0; b < 3; ++b) {
        const double reverse = pair[b * stride + e] - own[b * stride + e];  // minus the gradient of the reverse edge
        total[3 * a + b] +=
            double(theirs[b * other_count]) - double(moment[b * count + e]) - v[a * stride + e] * reverse;
      }
    }
  }
  std::copy(total, total + 9, results.centroid_virial + 9 * structure.original(n));
}

template class Engine<float>;
template class Engine<double>;

}  // namespace equipot
