// Building a convolution plan from plain numbers.
#include <cmath>
#include <cstdlib>

#include "convolution/convolution.hpp"

namespace equipot {
namespace {

// Lists the nonzero entries of coefficients[m1][m2][m3] by target, summed over m1 or m2.
CouplingList list_couplings(const double* coefficients, int d1, int d2, int d3, bool sum_over_m2) {
  CouplingList list;
  const int targets = sum_over_m2 ? d1 : d2, terms = sum_over_m2 ? d2 : d1;
  for (int target = 0; target < targets; ++target)
    for (int m3 = 0; m3 < d3; ++m3) {
      list.start.push_back(int(list.terms.size()));
      for (int term = 0; term < terms; ++term) {
        const int m1 = sum_over_m2 ? target : term, m2 = sum_over_m2 ? term : target;
        const double value = coefficients[(m1 * d2 + m2) * d3 + m3];
        if (std::fabs(value) > 1e-12) list.terms.push_back({term, value});
      }
    }
  list.start.push_back(int(list.terms.size()));
  return list;
}

// With l1 = 0 or l2 = 0 Wigner's 3j is a multiple of the identity, which the kernels rely on.
bool is_diagonal(const double* coefficients, int dimension) {
  for (int a = 0; a < dimension; ++a)
    for (int b = 0; b < dimension; ++b)
      if (std::fabs(coefficients[a * dimension + b] - (a == b ? coefficients[0] : 0.0)) > 1e-12) return false;
  return true;
}

}  // namespace

bool make_plan(int l_max, int64_t input_dim, int64_t output_dim, int64_t num_weights, int64_t num_paths,
               const int64_t* paths, const double* coefficients, ConvolutionPlan& plan) {
  if (l_max < 0 || l_max > convolution_l_max || num_paths < 0) return false;
  plan = ConvolutionPlan{l_max, input_dim, output_dim, num_weights, 0, 0, {}};
  for (int64_t n = 0; n < num_paths; ++n, paths += plan_path_numbers) {
    ConvolutionPath path;
    path.l1 = int(paths[0]);
    path.l2 = int(paths[1]);
    path.l3 = int(paths[2]);
    path.channels = paths[3];
    path.input_offset = paths[4];
    path.output_offset = paths[5];
    path.output_stride = paths[6];
    path.weight_offset = paths[7];
    const int d1 = 2 * path.l1 + 1, d2 = 2 * path.l2 + 1, d3 = 2 * path.l3 + 1;
    const bool orders_fit = path.l1 >= 0 && path.l1 <= convolution_l_max && path.l2 >= 0 && path.l2 <= l_max &&
                            path.l3 >= std::abs(path.l1 - path.l2) && path.l3 <= path.l1 + path.l2 &&
                            path.l3 <= convolution_l_max;
    if (!orders_fit || path.channels < 1 || path.input_offset + d1 * path.channels > input_dim ||
        path.output_offset + (d3 - 1) * path.output_stride + path.channels > output_dim ||
        path.weight_offset + path.channels > num_weights ||
        ((path.l1 == 0 || path.l2 == 0) && !is_diagonal(coefficients, d3)))
      return false;
    path.over_m2 = list_couplings(coefficients, d1, d2, d3, true);
    path.over_m1 = list_couplings(coefficients, d1, d2, d3, false);
    path.diagonal = coefficients[0];
    coefficients += d1 * d2 * d3;
    plan.work += path.channels * (d1 * d3 + 4);
    if (path.channels > plan.max_channels) plan.max_channels = path.channels;
    plan.paths.push_back(std::move(path));
  }
  return true;
}

}  // namespace equipot

// A plan that lives until equipot_convolution_plan_free, or null if the numbers make no sense; see make_plan.
EQUIPOT_API equipot::ConvolutionPlan* equipot_convolution_plan(int l_max, int64_t input_dim, int64_t output_dim,
                                                               int64_t num_weights, int64_t num_paths,
                                                               const int64_t* paths, const double* coefficients) {
  auto* plan = new equipot::ConvolutionPlan;
  if (equipot::make_plan(l_max, input_dim, output_dim, num_weights, num_paths, paths, coefficients, *plan)) return plan;
  delete plan;
  return nullptr;
}

EQUIPOT_API void equipot_convolution_plan_free(equipot::ConvolutionPlan* plan) { delete plan; }
