// The smooth number of neighbors of each atom, sum_j envelope(r_ij / cutoff), with exact first and second derivatives.
// Float64 only: it belongs to the energy's constants, not to the network.
#include <algorithm>
#include <cmath>

#include "simd/vector.hpp"

namespace equipot {
namespace {

// The polynomial envelope of this power (equipot.nn.PolynomialEnvelope): f(x) = (1-x)^3 sum_{k<p} (k+1)(k+2)/2 x^k,
// whose slope is -p(p+1)(p+2)/2 x^(p-1) (1-x)^2.
struct Envelope {
  int power;
  double cutoff;

  double factor() const { return -0.5 * power * (power + 1) * (power + 2) / cutoff; }

  double value(double length) const {
    const double x = std::min(length / cutoff, 1.0), rest = 1 - x;
    double series = 0;
    for (int k = power; k > 0; --k) series = series * x + 0.5 * k * (k + 1);
    return rest * rest * rest * series;
  }

  // Slope with respect to the length, divided by the length (power >= 3).
  double slope_over_length(double length) const {
    const double x = std::min(length / cutoff, 1.0), rest = 1 - x;
    return factor() / cutoff * raised(x, power - 2) * rest * rest;
  }

  // d (slope / length) / d length, divided by the length.
  double curvature_over_length(double length) const {
    const double x = std::min(length / cutoff, 1.0), rest = 1 - x;
    const double powers = power > 3 ? raised(x, power - 4) : 1 / std::max(x, 1e-12);
    return factor() / (cutoff * cutoff * cutoff) * powers * rest * ((power - 2) * rest - 2 * x);
  }

  static double raised(double x, int n) {
    double result = 1;
    for (; n > 0; --n) result *= x;
    return result;
  }
};

double dot(const double* a, const double* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

// Atoms below this number are not worth a second thread.
constexpr int64_t atoms_per_thread = 256;

// Calls function(atom) for all of them.
template <class Function>
void for_atoms(int64_t num_nodes, int num_threads, const Function& function) {
  const int useful = int(std::min<int64_t>(num_threads, 1 + num_nodes / atoms_per_thread));
#pragma omp parallel for schedule(static) num_threads(useful) if (useful > 1)
  for (int64_t i = 0; i < num_nodes; ++i) function(i);
}

}  // namespace
}  // namespace equipot

// vector (E, 3), edges of centre i in [center_ptr[i], center_ptr[i+1]); number (N), overwritten.
EQUIPOT_API void equipot_coordination(int power, double cutoff, int64_t num_nodes, const double* vector,
                                      const int64_t* center_ptr, double* number, int num_threads) {
  const equipot::Envelope envelope{power, cutoff};
  equipot::for_atoms(num_nodes, num_threads, [&](int64_t i) {
    double total = 0;
    for (int64_t e = center_ptr[i]; e < center_ptr[i + 1]; ++e) {
      const double* v = vector + 3 * e;
      total += envelope.value(std::sqrt(equipot::dot(v, v)));
    }
    number[i] = total;
  });
}

// Gradient with respect to the vectors, (E, 3), overwritten.
EQUIPOT_API void equipot_coordination_backward(int power, double cutoff, int64_t num_nodes, const double* vector,
                                               const int64_t* center_ptr, const double* g_number, double* g_vector,
                                               int num_threads) {
  const equipot::Envelope envelope{power, cutoff};
  equipot::for_atoms(num_nodes, num_threads, [&](int64_t i) {
    for (int64_t e = center_ptr[i]; e < center_ptr[i + 1]; ++e) {
      const double* v = vector + 3 * e;
      const double along = g_number[i] * envelope.slope_over_length(std::sqrt(equipot::dot(v, v)));
      for (int axis = 0; axis < 3; ++axis) g_vector[3 * e + axis] = along * v[axis];
    }
  });
}

// Gradients of sum(h_vector * g_vector) with respect to g_number (N) and to the vectors (E, 3); each may be null.
EQUIPOT_API void equipot_coordination_double_backward(int power, double cutoff, int64_t num_nodes,
                                                      const double* vector, const int64_t* center_ptr,
                                                      const double* g_number, const double* h_vector,
                                                      double* gg_number, double* g_vector, int num_threads) {
  const equipot::Envelope envelope{power, cutoff};
  equipot::for_atoms(num_nodes, num_threads, [&](int64_t i) {
    double total = 0;
    for (int64_t e = center_ptr[i]; e < center_ptr[i + 1]; ++e) {
      const double *v = vector + 3 * e, *h = h_vector + 3 * e;
      const double length = std::sqrt(equipot::dot(v, v)), projected = equipot::dot(v, h);
      const double slope = envelope.slope_over_length(length);
      total += slope * projected;
      if (g_vector == nullptr) continue;
      const double across = envelope.curvature_over_length(length) * projected;
      for (int axis = 0; axis < 3; ++axis)
        g_vector[3 * e + axis] = g_number[i] * (slope * h[axis] + across * v[axis]);
    }
    if (gg_number != nullptr) gg_number[i] = total;
  });
}
