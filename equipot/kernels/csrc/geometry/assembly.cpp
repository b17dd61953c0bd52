// Forces and virials from the energy's gradients with respect to the edge vectors: sums over the edges of each atom.
#include <algorithm>

#include "simd/vector.hpp"

namespace equipot {
namespace {

// Atoms below this number are not worth a second thread.
constexpr int64_t atoms_per_thread = 512;

int useful_threads(int64_t num_nodes, int num_threads) {
  return int(std::min<int64_t>(num_threads, 1 + num_nodes / atoms_per_thread));
}

}  // namespace
}  // namespace equipot

// gradient (E, 3) is dE / d vector (E, 3), from centre to neighbor. Overwritten: forces (N, 3); node_virial (N, 9), the
// share -sum_e vector (x) gradient of the edges an atom is the centre of, null if not wanted.
EQUIPOT_API void equipot_assemble(int64_t num_nodes, const double* gradient, const double* vector,
                                  const int64_t* center_ptr, const int64_t* neighbor_order,
                                  const int64_t* neighbor_ptr, double* forces, double* node_virial, int num_threads) {
  const int useful = equipot::useful_threads(num_nodes, num_threads);
#pragma omp parallel for schedule(static) num_threads(useful) if (useful > 1)
  for (int64_t i = 0; i < num_nodes; ++i) {
    // Moving an atom forward shortens the vectors it is the centre of: it feels +gradient, the neighbor -gradient.
    double force[3] = {}, virial[9] = {};
    for (int64_t e = center_ptr[i]; e < center_ptr[i + 1]; ++e) {
      const double *g = gradient + 3 * e, *v = vector + 3 * e;
      for (int a = 0; a < 3; ++a) force[a] += g[a];
      for (int a = 0; a < 3; ++a)
        for (int b = 0; b < 3; ++b) virial[3 * a + b] -= v[a] * g[b];
    }
    for (int64_t k = neighbor_ptr[i]; k < neighbor_ptr[i + 1]; ++k) {
      const double* g = gradient + 3 * neighbor_order[k];
      for (int a = 0; a < 3; ++a) force[a] -= g[a];
    }
    std::copy(force, force + 3, forces + 3 * i);
    if (node_virial != nullptr) std::copy(virial, virial + 9, node_virial + 9 * i);
  }
}

// h_gradient (E, 3), overwritten, from h_forces (N, 3) and h_node_virial (N, 9); either may be null.
EQUIPOT_API void equipot_assemble_backward(int64_t num_nodes, const double* vector, const int64_t* center_ptr,
                                           const int64_t* neighbor, const double* h_forces,
                                           const double* h_node_virial, double* h_gradient, int num_threads) {
  const int useful = equipot::useful_threads(num_nodes, num_threads);
#pragma omp parallel for schedule(static) num_threads(useful) if (useful > 1)
  for (int64_t i = 0; i < num_nodes; ++i) {
    for (int64_t e = center_ptr[i]; e < center_ptr[i + 1]; ++e) {
      double h[3] = {};
      if (h_forces != nullptr)
        for (int a = 0; a < 3; ++a) h[a] += h_forces[3 * i + a] - h_forces[3 * neighbor[e] + a];
      if (h_node_virial != nullptr)
        for (int a = 0; a < 3; ++a)
          for (int b = 0; b < 3; ++b) h[b] -= h_node_virial[9 * i + 3 * a + b] * vector[3 * e + a];
      std::copy(h, h + 3, h_gradient + 3 * e);
    }
  }
}
