// From the network's energies and edge gradients to what a caller wants: potential energies, forces, virials.
#include "engine.hpp"

#include <algorithm>
#include <cmath>

namespace equipot {
namespace {

// shares[xx, xy, ...] += (v g^T + g v^T) / 2 * factor
inline void add_outer(const double* v, const double* g, double factor, double* share) {
  for (int a = 0; a < 3; ++a)
    for (int b = 0; b < 3; ++b) share[3 * a + b] += factor * 0.5 * (v[a] * g[b] + v[b] * g[a]);
}

constexpr int64_t atoms_at_once = 64;

}  // namespace

// tanh(sum of envelopes), and d(shift * tanh)/d(sum).
template <class T>
double Engine<T>::switch_of(int64_t atom, double& slope) const {
  const int64_t count = structure.edge_count(atom);
  const double *x = structure.vectors(atom), *y = x + count, *z = y + count;
  double total = 0, unused;
  for (int64_t e = 0; e < count; ++e)
    total += envelope(std::sqrt(x[e] * x[e] + y[e] * y[e] + z[e] * z[e]) / terms.cutoff, unused);
  const double value = std::tanh(total);
  slope = terms.shift[size_t(structure.species()[atom])] * (1 - value * value);
  return value;
}

template <class T>
void Engine<T>::collect(const Results& results, int num_threads) {
  const int64_t num_atoms = structure.num_atoms(), parts = (num_atoms + atoms_at_once - 1) / atoms_at_once;
  const auto for_atoms = [&](const auto& function) {
    in_parallel(parts, num_threads, [&](int thread, int64_t part) {
      const int64_t last = std::min((part + 1) * atoms_at_once, num_atoms);
      for (int64_t n = part * atoms_at_once; n < last; ++n) function(n, *threads_[size_t(thread)]);
    });
  };
  for (auto& thread : threads_) std::fill(thread->virial, thread->virial + 9, 0.0);
  if (terms.has_switch()) {
    switch_.resize(size_t(num_atoms));
    switch_slope_.resize(size_t(num_atoms));
    for_atoms([&](int64_t n, Thread&) { switch_[size_t(n)] = switch_of(n, switch_slope_[size_t(n)]); });
  }
  for_atoms([&](int64_t n, Thread& thread) { collect_atom(n, results, thread); });
  if (results.virial != nullptr) {
    std::fill(results.virial, results.virial + 9, 0.0);
    for (const auto& thread : threads_)
      for (int k = 0; k < 9; ++k) results.virial[k] += thread->virial[k];
  }
}

template <class T>
void Engine<T>::collect_atom(int64_t n, const Results& results, Thread& thread) const {
  const size_t species = size_t(structure.species()[n]);
  const int64_t to = structure.original(n), count = structure.edge_count(n);
  const bool has_switch = terms.has_switch();
  double relative = energy_[size_t(n)], shift = terms.shift[species], pair_energy = 0;
  if (terms.has_exact_isolated_atoms) {
    relative = count > 0 ? relative - terms.isolated[species] : 0.0;
    shift *= has_switch ? switch_[size_t(n)] : 0.0;
  }
  const bool wants_gradient = results.wants_gradient();
  const bool wants_pairs = results.forces != nullptr || results.node_virial != nullptr;
  const double* vectors = structure.vectors(n);
  const int32_t* neighbors = structure.neighbors(n);
  const T* gradient = wants_gradient ? gradient_.of(structure, n) : nullptr;
  double force[3] = {}, virial[9] = {}, node_virial[9] = {};
  for (int64_t e = 0; e < count && (wants_gradient || terms.has_zbl); ++e) {
    const double v[3] = {vectors[e], vectors[count + e], vectors[2 * count + e]};
    const int32_t other = neighbors[e];
    double own_slope = 0, other_slope = 0;  // d(energy)/d(distance) from this edge, and from its reverse
    const double distance = terms.has_zbl || has_switch ? std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]) : 1.0;
    if (terms.has_zbl) {
      pair_energy += terms.repulsion(int32_t(species), structure.species()[other], distance, own_slope);
      other_slope = own_slope;
    }
    if (!wants_gradient) continue;
    if (has_switch) {
      double slope;
      envelope(distance / terms.cutoff, slope);
      own_slope += switch_slope_[size_t(n)] * slope / terms.cutoff;
      other_slope += switch_slope_[size_t(other)] * slope / terms.cutoff;
    }
    double own[3], pair[3];
    for (int a = 0; a < 3; ++a) {
      own[a] = double(gradient[a * count + e]) + own_slope * v[a] / distance;
      pair[a] = own[a] + other_slope * v[a] / distance;
    }
    if (results.virial != nullptr) add_outer(v, own, -1.0, virial);
    if (results.edge_gradient != nullptr)
      std::copy(own, own + 3, results.edge_gradient + 3 * structure.callers_edges(n)[e]);
    if (!wants_pairs) continue;
    const int64_t back = structure.reverse(n, e), other_count = structure.edge_count(other);
    const T* theirs = gradient_.of(structure, other);
    for (int a = 0; a < 3; ++a) {
      pair[a] -= double(theirs[a * other_count + back]);
      force[a] += pair[a];
    }
    if (results.node_virial != nullptr) add_outer(v, pair, -0.5, node_virial);
  }
  for (int k = 0; k < 9; ++k) thread.virial[k] += virial[k];
  if (results.forces != nullptr) std::copy(force, force + 3, results.forces + 3 * to);
  if (results.node_virial != nullptr) std::copy(node_virial, node_virial + 9, results.node_virial + 9 * to);
  if (results.node_energy != nullptr)
    results.node_energy[to] = terms.atomic_energy[species] + shift + terms.scale[species] * relative + pair_energy;
}

template class Engine<float>;
template class Engine<double>;

}  // namespace equipot
