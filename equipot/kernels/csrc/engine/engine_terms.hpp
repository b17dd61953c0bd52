// What a potential adds to the network's energies, in float64: atomic energies, scale and shift, the switch of bound
// atoms, and the Ziegler-Biersack-Littmark repulsion. See equipot/models/potential.py and equipot/nn/zbl.py.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace equipot {

// 1 - O(x^6), zero with two derivatives at x = 1: (1 - x)^3 sum_k (k+1)(k+2)/2 x^k, k < 6, for 0 <= x <= 1; and d/dx.
// Number is double or a register of it.
template <class Number>
inline Number envelope_value(Number x) {
  const Number rest = 1.0 - x;
  return rest * rest * rest * (1.0 + x * (3.0 + x * (6.0 + x * (10.0 + x * (15.0 + x * 21.0)))));
}
template <class Number>
inline Number envelope_slope(Number x) {
  // The same polynomial is 1 - 28 x^6 + 48 x^7 - 21 x^8.
  const Number rest = 1.0 - x, square = x * x;
  return -168.0 * square * square * x * rest * rest;
}

// Screened repulsion of nuclei: the universal constants of Ziegler, Biersack and Littmark, or others of the same form.
struct RepulsionConstants {
  double exponent = 0.23, screening_length = 0.8854 * 0.529177210903, strength = 14.3996454784255;
  double weights[4] = {0.18175, 0.50986, 0.28022, 0.02817}, decays[4] = {3.19980, 0.94229, 0.40290, 0.20162};
  double power = 6;  // of the envelope

  RepulsionConstants() = default;
  explicit RepulsionConstants(const double* c)
      : exponent(c[0]), screening_length(c[1]), strength(c[2]), weights{c[3], c[4], c[5], c[6]},
        decays{c[7], c[8], c[9], c[10]}, power(c[11]) {}

  // The polynomial envelope of any power and its slope, for 0 <= x <= 1.
  double envelope(double x, double& slope) const {
    if (power == 6) {
      slope = envelope_slope(x);
      return envelope_value(x);
    }
    const double p = power, low = std::pow(x, p - 1), rest = 1 - x;
    slope = -0.5 * p * (p + 1) * (p + 2) * low * rest * rest;
    return 1 - low * x * (0.5 * (p + 1) * (p + 2) - x * (p * (p + 2) - x * 0.5 * p * (p + 1)));
  }
};

struct PotentialTerms {
  double cutoff = 0;
  RepulsionConstants pair;
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
    const double za = charge[size_t(a)], zb = charge[size_t(b)];
    const double per_length = (std::pow(za, pair.exponent) + std::pow(zb, pair.exponent)) / pair.screening_length;
    double screening = 0, screening_slope = 0;
    for (int k = 0; k < 4; ++k) {
      const double term = pair.weights[k] * std::exp(-pair.decays[k] * distance * per_length);
      screening += term;
      screening_slope -= term * pair.decays[k] * per_length;
    }
    double cut_slope = 0;
    const double factor = 0.5 * pair.strength * za * zb / distance, cut = pair.envelope(distance / reach, cut_slope);
    slope = factor * ((screening_slope - screening / distance) * cut + screening * cut_slope / reach);
    return factor * screening * cut;
  }
};

}  // namespace equipot
