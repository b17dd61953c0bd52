// From the network's energies and edge gradients to what a caller wants: potential energies, forces, virials.
#include "engine/engine.hpp"

#include <algorithm>
#include <cmath>

namespace equipot {
namespace {

constexpr int64_t atoms_at_once = 64;

// Registers of float64 over the edges of one atom, as structures of arrays with a common stride; zero beyond the edges.
using Real = Vec<double>;
constexpr int voigt[6][2] = {{0, 0}, {1, 1}, {2, 2}, {1, 2}, {0, 2}, {0, 1}};

inline Real square_root(Real a) {
  for (int k = 0; k < lanes<double>; ++k) a[k] = std::sqrt(a[k]);
  return a;
}

// (3, 3) from Voigt order.
inline void spread(const double* six, double* matrix) {
  for (int k = 0; k < 6; ++k) matrix[3 * voigt[k][0] + voigt[k][1]] = matrix[3 * voigt[k][1] + voigt[k][0]] = six[k];
}

// six += factor * sum_e (v g^T + g v^T) / 2
inline void add_outer(const double* v, const double* g, int64_t stride, double factor, double* six) {
  for (int k = 0; k < 6; ++k) {
    const int a = voigt[k][0], b = voigt[k][1];
    Real total = {};
    for (int64_t e = 0; e < stride; e += lanes<double>)
      total += load(v + a * stride + e) * load(g + b * stride + e) + load(v + b * stride + e) * load(g + a * stride + e);
    six[k] += 0.5 * factor * sum<double>(total);
  }
}

}  // namespace

// tanh(sum of envelopes), and d(shift * tanh)/d(sum).
template <class T>
double Engine<T>::switch_of(int64_t atom, double& slope) const {
  const int64_t count = structure.edge_count(atom);
  const double *x = structure.vectors(atom), *y = x + count, *z = y + count;
  double total = 0;
  for (int64_t e = 0; e < count; ++e)
    total += envelope_value(std::sqrt(x[e] * x[e] + y[e] * y[e] + z[e] * z[e]) / terms.cutoff);
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
  for (auto& thread : threads_) std::fill(thread->virial, thread->virial + 6, 0.0);
  if (terms.has_switch()) {
    switch_.resize(size_t(num_atoms));
    switch_slope_.resize(size_t(num_atoms));
    for_atoms([&](int64_t n, Thread&) { switch_[size_t(n)] = switch_of(n, switch_slope_[size_t(n)]); });
  }
  if (structure.has_points()) start_points(results);
  for_atoms([&](int64_t n, Thread& thread) { collect_atom(n, results, thread); });
  if (structure.has_points()) finish_points(results, num_threads);
  if (results.virial != nullptr) {
    double total[6] = {};
    for (const auto& thread : threads_)
      for (int k = 0; k < 6; ++k) total[k] += thread->virial[k];
    spread(total, results.virial);
  }
}

// Several atoms may add to one point: the first thread adds where the caller wants it, the others for themselves.
template <class T>
void Engine<T>::start_points(const Results& results) {
  const int64_t num_points = structure.num_points();
  for (size_t t = 0; t < threads_.size(); ++t) {
    Thread& thread = *threads_[t];
    thread.forces = results.forces;
    thread.node_virial = results.node_virial;
    thread.centroid_virial = results.centroid_virial;
    if (t == 0) continue;
    if (results.forces != nullptr) thread.forces = thread.point_forces.reserve(3 * num_points);
    if (results.node_virial != nullptr) thread.node_virial = thread.point_virial.reserve(9 * num_points);
    if (results.centroid_virial != nullptr) thread.centroid_virial = thread.point_centroid.reserve(9 * num_points);
    if (results.forces != nullptr) std::fill_n(thread.forces, 3 * num_points, 0.0);
    if (results.node_virial != nullptr) std::fill_n(thread.node_virial, 9 * num_points, 0.0);
    if (results.centroid_virial != nullptr) std::fill_n(thread.centroid_virial, 9 * num_points, 0.0);
  }
}

template <class T>
void Engine<T>::finish_points(const Results& results, int num_threads) {
  const auto add = [&](double* to, int64_t width, double* Thread::*part) {
    if (to == nullptr || threads_.size() < 2) return;
    in_parallel((structure.num_points() + atoms_at_once - 1) / atoms_at_once, num_threads, [&](int, int64_t block) {
      const int64_t first = block * atoms_at_once * width;
      const int64_t last = std::min(first + atoms_at_once * width, structure.num_points() * width);
      for (size_t t = 1; t < threads_.size(); ++t)
        for (int64_t k = first; k < last; ++k) to[k] += (threads_[t].get()->*part)[k];
    });
  };
  add(results.forces, 3, &Thread::forces);
  add(results.node_virial, 9, &Thread::node_virial);
  add(results.centroid_virial, 9, &Thread::centroid_virial);
}

// An edge pulls its atom one way and the point where it ends the other way; each has half of its virial.
template <class T>
void Engine<T>::scatter(int64_t n, const double* v, const double* gradient, int64_t stride, const Results& results,
                        Thread& thread) const {
  const int64_t count = structure.edge_count(n), here = structure.point(n);
  const int32_t* ends = structure.edge_points(n);
  if (results.forces != nullptr) {
    double total[3] = {};
    for (int64_t e = 0; e < count; ++e)
      for (int a = 0; a < 3; ++a) {
        total[a] += gradient[a * stride + e];
        thread.forces[3 * int64_t(ends[e]) + a] -= gradient[a * stride + e];
      }
    for (int a = 0; a < 3; ++a) thread.forces[3 * here + a] += total[a];
  }
  for (int64_t e = 0; results.node_virial != nullptr && e < count; ++e)
    for (int a = 0; a < 3; ++a)
      for (int b = 0; b < 3; ++b) {
        const double share = -0.25 * (v[a * stride + e] * gradient[b * stride + e] +
                                      v[b * stride + e] * gradient[a * stride + e]);
        thread.node_virial[9 * here + 3 * a + b] += share;
        thread.node_virial[9 * int64_t(ends[e]) + 3 * a + b] += share;
      }
}

template <class T>
void Engine<T>::collect_atom(int64_t n, const Results& results, Thread& thread) const {
  const size_t species = size_t(structure.species()[n]);
  const int64_t to = structure.original(n), count = structure.edge_count(n);
  double relative = energy_[size_t(n)], shift = terms.shift[species], pair_energy = 0;
  if (terms.has_exact_isolated_atoms) {
    relative = count > 0 ? relative - terms.isolated[species] : 0.0;
    shift *= terms.has_switch() ? switch_[size_t(n)] : 0.0;
  }
  if (results.wants_gradient() || terms.has_zbl) pair_energy = collect_edges(n, results, thread);
  if (results.node_energy != nullptr)
    results.node_energy[to] = terms.atomic_energy[species] + shift + terms.scale[species] * relative + pair_energy;
}

// Returns the atom's share of the repulsion.
template <class T>
double Engine<T>::collect_edges(int64_t n, const Results& results, Thread& thread) const {
  const int64_t count = structure.edge_count(n), stride = padded<double>(count);
  const bool has_slopes = terms.has_zbl || terms.has_switch();
  double* v = thread.pairs.reserve(12 * stride);
  // The derivative by each edge's vector, and with its reverse's taken away; 1/distance; radial parts of both.
  double *own = v + 3 * stride, *pair = own + 3 * stride, *inverse = pair + 3 * stride, *own_slope = inverse + stride,
         *pair_slope = own_slope + stride;
  const double* vectors = structure.vectors(n);
  const int32_t* neighbors = structure.neighbors(n);
  for (int a = 0; a < 3; ++a) {
    std::copy(vectors + a * count, vectors + (a + 1) * count, v + a * stride);
    std::fill(v + a * stride + count, v + (a + 1) * stride, 0.0);
  }
  const double pair_energy = has_slopes ? radial_slopes(n, v, stride, inverse, own_slope, pair_slope) : 0.0;
  if (!results.wants_gradient()) return pair_energy;

  const T* gradient = gradient_.of(structure, n);
  for (int a = 0; a < 3; ++a) {
    double *g = own + a * stride, *p = pair + a * stride;
    for (int64_t e = 0; e < count; ++e) g[e] = double(gradient[a * count + e]);
    std::fill(g + count, g + stride, 0.0);
    std::copy(g, g + stride, p);
    for (int64_t e = 0; has_slopes && e < stride; e += lanes<double>) {
      const Real direction = load(v + a * stride + e) * load(inverse + e);
      store(g + e, load(g + e) + load(own_slope + e) * direction);
      store(p + e, load(p + e) + load(pair_slope + e) * direction);
    }
  }
  if (results.virial != nullptr) add_outer(v, own, stride, -1.0, thread.virial);
  if (structure.has_points()) {
    scatter(n, v, own, stride, results, thread);
    if (results.wants_moments()) collect_centroid(n, v, own, pair, stride, results, thread);
    return pair_energy;
  }
  if (results.forces == nullptr && results.node_virial == nullptr && !results.wants_moments()) return pair_energy;

  for (int64_t e = 0; e < count; ++e) {
    const int64_t other = neighbors[e], back = structure.reverse(n, e), other_count = structure.edge_count(other);
    const T* theirs = gradient_.of(structure, other) + back;
    for (int a = 0; a < 3; ++a) pair[a * stride + e] -= double(theirs[a * other_count]);
  }
  const int64_t to = structure.original(n);
  for (int a = 0; results.forces != nullptr && a < 3; ++a) {
    Real total = {};
    for (int64_t e = 0; e < stride; e += lanes<double>) total += load(pair + a * stride + e);
    results.forces[3 * to + a] = sum<double>(total);
  }
  if (results.node_virial != nullptr) {
    double six[6] = {};
    add_outer(v, pair, stride, -0.5, six);
    spread(six, results.node_virial + 9 * to);
  }
  if (results.wants_moments()) collect_centroid(n, v, own, pair, stride, results, thread);
  return pair_energy;
}

// Derivatives by the distance of what a potential adds to the network: of each edge, and with its reverse's.
template <class T>
double Engine<T>::radial_slopes(int64_t n, const double* v, int64_t stride, double* inverse, double* own_slope,
                                double* pair_slope) const {
  const int64_t count = structure.edge_count(n);
  const int32_t *neighbors = structure.neighbors(n), *species = structure.species();
  for (int64_t e = 0; e < stride; e += lanes<double>) {
    Real square = {};
    for (int a = 0; a < 3; ++a) square += load(v + a * stride + e) * load(v + a * stride + e);
    const Real distance = square_root(square);
    store(own_slope + e, terms.has_switch() ? envelope_slope(distance / terms.cutoff) / terms.cutoff : Real{});
    store(inverse + e, distance > 0.0 ? 1.0 / distance : Real{});
  }
  double energy = 0;
  for (int64_t e = 0; e < count; ++e) {
    double own = 0, both = 0;
    if (terms.has_switch()) {
      own = switch_slope_[size_t(n)] * own_slope[e];
      // With points, what belongs to the reverse edge is added from there.
      if (!structure.has_points()) both = own + switch_slope_[size_t(neighbors[e])] * own_slope[e];
    }
    if (terms.has_zbl) {
      double slope;
      energy += terms.repulsion(species[n], species[neighbors[e]], 1 / inverse[e], slope);
      own += slope;
      both += 2 * slope;
    }
    own_slope[e] = own;
    pair_slope[e] = both;
  }
  std::fill(pair_slope + count, pair_slope + stride, 0.0);
  return energy;
}

template class Engine<float>;
template class Engine<double>;

}  // namespace equipot
