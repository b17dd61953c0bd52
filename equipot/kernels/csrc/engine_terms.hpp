// What a potential adds to the network's energies, in float64: atomic energies, scale and shift, the switch of bound
// atoms, and the Ziegler-Biersack-Littmark repulsion. See equipot/models/potential.py and equipot/nn/zbl.py.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace equipot {

// 1 - O(x^6), zero with two derivatives at x = 1: (1 - x)^3 sum_k (k+1)(k+2)/2 x^k, k < 6. `slope` is d/dx.
inline double envelope(double x, double& slope) {
  if (!(x < 1)) {
    slope = 0;
    return 0;
  }
  const double rest = 1 - x, series = 1 + x * (3 + x * (6 + x * (10 + x * (15 + x * 21))));
  const double series_slope = 3 + x * (12 + x * (30 + x * (60 + x * 105)));
  slope = rest * rest * (rest * series_slope - 3 * series);
  return rest * rest * rest * series;
}

struct PotentialTerms {
  double cutoff = 0;
  bool has_exact_isolated_atoms = false, has_zbl = false;
  std::vector<double> scale, shift, atomic_energy, isolated;  // by species; isolated: network energy of a lone atom
  std::vector<double> charge, radius;                         // by species, for the repulsion

  // Whether atoms count their neighbours smoothly.
  bool has_switch() const {
    if (!has_exact_isolated_atoms) return false;
    for (const double s : shift)
      if (s != 0) return true;
    return false;
  }

  // Half the repulsion of a pair; `slope` is d/d(distance).
  double repulsion(int32_t a, int32_t b, double distance, double& slope) const {
    const double reach = std::fmin(radius[size_t(a)] + radius[size_t(b)], cutoff);
    slope = 0;
    if (!(distance < reach)) return 0;
    constexpr double coulomb = 14.3996454784255, screening_length = 0.8854 * 0.529177210903;
    constexpr double weights[] = {0.18175, 0.50986, 0.28022, 0.02817}, decays[] = {3.19980, 0.94229, 0.40290, 0.20162};
    const double za = charge[size_t(a)], zb = charge[size_t(b)];
    const double per_length = (std::pow(za, 0.23) + std::pow(zb, 0.23)) / screening_length;
    double screening = 0, screening_slope = 0, envelope_slope;
    for (int k = 0; k < 4; ++k) {
      const double term = weights[k] * std::exp(-decays[k] * distance * per_length);
      screening += term;
      screening_slope -= term * decays[k] * per_length;
    }
    const double factor = 0.5 * coulomb * za * zb / distance, cut = envelope(distance / reach, envelope_slope);
    slope = factor * ((screening_slope - screening / distance) * cut + screening * envelope_slope / reach);
    return factor * screening * cut;
  }
};

}  // namespace equipot
