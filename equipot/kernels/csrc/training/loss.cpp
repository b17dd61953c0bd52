// Labels of a batch in float64: which of them count, the errors of a prediction, the training loss and its slopes.
// These are a few hundred numbers; one pass over them takes the time of a single torch operation.
#include <cmath>
#include <cstdint>

#include "simd/vector.hpp"

namespace equipot {
namespace {

// As in equipot.training.loss: x^2; |x|; Huber's; the length of an atom's error, smoothed.
enum Form { mse, mae, huber, norm };

// A kind of label: rows of predictions and labels, the graph each row belongs to, and what becomes of them. Without a
// prediction nothing but the masks is known.
struct Label {
  int64_t num_rows, width;
  const int64_t* graph;        // of each row; null: row k is graph k
  const double* label;         // (num_rows, width)
  const double* weight;        // (num_graphs)
  const double* prediction;    // (num_rows, width) or null
  uint8_t* mask;               // (num_rows), true where a label counts
  double* error;               // (num_rows, width), zero where it does not
  double* slope;               // (num_rows, width), derivative of the loss in the prediction

  int64_t graph_of(int64_t row) const { return graph == nullptr ? row : graph[row]; }

  bool counts(int64_t row) const {
    bool all = weight[graph_of(row)] != 0;
    for (int64_t k = 0; k < width; ++k) all = all && std::isfinite(label[row * width + k]);
    return all;
  }
};

double penalty(double error, int form, double delta, double& slope) {
  if (form == mse) {
    slope = 2 * error;
    return error * error;
  }
  if (form == mae) {
    slope = error > 0 ? 1 : error < 0 ? -1 : error;  // NaN stays NaN
    return std::abs(error);
  }
  slope = error / delta;
  slope = slope > 1 ? 1 : slope < -1 ? -1 : slope;
  return slope * (error - 0.5 * delta * slope);
}

// Sum over the rows of factor * weight * penalty(scale * error), with the scales of the graphs or one for all.
double add_up(const Label& p, int form, double delta, double factor, double scale, const double* scales) {
  double total = 0;
  for (int64_t row = 0; row < p.num_rows; ++row) {
    const int64_t graph = p.graph_of(row), first = row * p.width;
    const double s = scales == nullptr ? scale : scales[graph], weight = p.weight[graph] * factor;
    double square = delta * delta, sum = 0;
    for (int64_t k = first; k < first + p.width; ++k) {
      const double error = p.mask[row] ? p.prediction[k] - p.label[k] : 0.0;
      p.error[k] = error;
      if (form == norm)
        square += s * error * s * error;
      else
        sum += penalty(s * error, form, delta, p.slope[k]);
    }
    const double length = std::sqrt(square);
    if (form == norm) sum = length - delta;
    for (int64_t k = first; k < first + p.width; ++k)
      p.slope[k] = weight * s * (form == norm ? s * p.error[k] / length : p.slope[k]);
    total += weight * sum;
  }
  return total;
}

}  // namespace
}  // namespace equipot

// Fields of equipot::Label for energies, forces and stresses one after the other.
// counts (3) get the number of labels that count.
EQUIPOT_API void equipot_label_masks(const equipot::Label* labels, double* counts) {
  for (int n = 0; n < 3; ++n) {
    int64_t count = 0;
    for (int64_t row = 0; row < labels[n].num_rows; ++row) {
      labels[n].mask[row] = labels[n].counts(row);
      count += labels[n].mask[row];
    }
    counts[n] = double(count);
  }
}

// parts (3) get the weighted sums, errors and slopes what belongs to them; the masks are given. forms and factors are
// those of each kind of label; errors of energies and stresses are scaled graph by graph, (num_graphs) each.
EQUIPOT_API void equipot_loss(const equipot::Label* labels, const int* forms, double delta, const double* factors,
                              double forces_scale, const double* energy_scales, const double* stress_scales,
                              double* parts) {
  const double* scales[3] = {energy_scales, nullptr, stress_scales};
  for (int n = 0; n < 3; ++n) {
    const equipot::Label& label = labels[n];
    parts[n] = label.prediction == nullptr
                   ? 0
                   : equipot::add_up(label, forms[n], delta, factors[n], forces_scale, scales[n]);
  }
}
