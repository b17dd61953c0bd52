// Planning the inference engine's program: first writers, lifetimes and storage.
#include "engine/engine_program.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace equipot {
namespace {

// An array and the phases it lives in.
struct Lifetime {
  int64_t dim;
  int first = 1 << 30, last = -1;

  void touch(int phase) {
    first = std::min(first, phase);
    last = std::max(last, phase);
  }
  bool is_used() const { return last >= 0; }
  bool is_stored() const { return first != last; }
};

// First fit, largest first: arrays that live at the same time get columns of their own. Returns the columns needed.
int64_t first_fit(const std::vector<Lifetime>& lives, bool stored, std::vector<int64_t>& columns) {
  std::vector<size_t> order(lives.size()), placed;
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return lives[a].dim > lives[b].dim; });
  int64_t total = 0;
  for (const size_t n : order) {
    if (!lives[n].is_used() || lives[n].is_stored() != stored) continue;
    int64_t column = 0;
    for (bool moved = true; moved;) {
      moved = false;
      for (const size_t other : placed) {
        const bool meet = lives[n].first <= lives[other].last && lives[other].first <= lives[n].last;
        if (meet && column < columns[other] + lives[other].dim && columns[other] < column + lives[n].dim) {
          column = columns[other] + lives[other].dim;
          moved = true;
        }
      }
    }
    columns[n] = column;
    placed.push_back(n);
    total = std::max(total, column + lives[n].dim);
  }
  return total;
}

}  // namespace

template <class T>
int Program<T>::add_buffer(int64_t dim) {
  if (dim < 1) throw std::invalid_argument("a buffer without columns");
  dims_.push_back(dim);
  return int(dims_.size()) - 1;
}

template <class T>
Stage<T>& Program<T>::add_stage() {
  stages_.emplace_back();
  return stages_.back();
}

template <class T>
void Program<T>::add(std::unique_ptr<Operation<T>> operation) {
  if (stages_.empty()) throw std::invalid_argument("an operation before the first convolution");
  stages_.back().operations.push_back(std::move(operation));
}

template <class T>
void Program<T>::finish() {
  if (stages_.empty() || stages_[0].embedding == nullptr) throw std::invalid_argument("no embedding convolution");
  mark_first_writers();
  place();
}

template <class T>
void Program<T>::mark_first_writers() {
  std::vector<bool> written(dims_.size(), false), has_gradient(dims_.size(), false);
  for (Stage<T>& stage : stages_) {
    if (stage.output >= 0) written[size_t(stage.output)] = true;
    for (auto& operation : stage.operations) {
      if (operation->output < 0) continue;
      operation->overwrites_output = !written[size_t(operation->output)];
      written[size_t(operation->output)] = true;
      if (!operation->overwrites_output && !operation->adds)
        throw std::invalid_argument("two operations write one buffer, and one of them cannot add");
    }
  }
  for (int s = num_stages() - 1; s >= 0; --s) {
    if (s + 1 < num_stages()) {
      const size_t input = size_t(stages_[size_t(s) + 1].input);
      if (has_gradient[input]) throw std::invalid_argument("the input of a convolution is used by its own stage");
      has_gradient[input] = true;
    }
    auto& operations = stages_[size_t(s)].operations;
    for (auto operation = operations.rbegin(); operation != operations.rend(); ++operation)
      for (Input& input : (*operation)->inputs) {
        if (!input.has_gradient) continue;
        input.overwrites_gradient = !has_gradient[size_t(input.buffer)];
        has_gradient[size_t(input.buffer)] = true;
        if (!input.overwrites_gradient && !(*operation)->adds)
          throw std::invalid_argument("two operations read one buffer, and one of them cannot add its gradient");
      }
  }
}

template <class T>
void Program<T>::place() {
  const size_t size = dims_.size();
  std::vector<Lifetime> lives;  // values, then gradients
  for (int k = 0; k < 2; ++k)
    for (const int64_t dim : dims_) lives.push_back({dim});
  std::vector<int> needed_backward(size, 0);
  std::vector<bool> shares(size, false);
  const auto touch_value = [&](int buffer, int phase) { lives[size_t(buffer)].touch(phase); };
  const auto touch_gradient = [&](int buffer, int phase) { lives[size + size_t(buffer)].touch(phase); };
  for (int s = 0; s < num_stages(); ++s) {
    const Stage<T>& stage = stages_[size_t(s)];
    for (const int buffer : {stage.output, stage.density}) {
      if (buffer < 0) continue;
      touch_value(buffer, s);
      touch_gradient(buffer, stage.input < 0 ? backward_phase(s) : backward_phase(s - 1));
    }
    if (stage.input >= 0) {
      touch_value(stage.input, s);
      touch_value(stage.input, backward_phase(s - 1));
      touch_gradient(stage.input, backward_phase(s - 1));
    }
    for (const auto& operation : stage.operations) {
      if (operation->output >= 0) {
        touch_value(operation->output, s);
        touch_gradient(operation->output, backward_phase(s));
        if (operation->output_is_needed_in_backward) {
          touch_value(operation->output, backward_phase(s));
          ++needed_backward[size_t(operation->output)];
        }
      }
      for (const Input& input : operation->inputs) {
        touch_value(input.buffer, s);
        if (input.has_gradient) touch_gradient(input.buffer, backward_phase(s));
        if (input.is_needed_in_backward) {
          touch_value(input.buffer, backward_phase(s));
          ++needed_backward[size_t(input.buffer)];
        }
      }
      if (operation->gradient_may_replace_value) shares[size_t(operation->inputs[0].buffer)] = true;
    }
  }
  const std::vector<Lifetime> of_moments(lives.begin() + int64_t(size), lives.end());
  // A gradient that takes the place of its value: both are one array that lives as long as either.
  for (size_t b = 0; b < size; ++b) {
    shares[b] = shares[b] && needed_backward[b] == 1;
    if (!shares[b]) continue;
    lives[b].touch(lives[size + b].first);
    lives[b].touch(lives[size + b].last);
    lives[size + b] = {dims_[b]};
  }
  std::vector<int64_t> columns(2 * size, 0);
  stored_columns_ = first_fit(lives, true, columns);
  tile_columns_ = first_fit(lives, false, columns);
  for (size_t b = 0; b < size; ++b) {
    values_.push_back({dims_[b], columns[b], lives[b].is_stored()});
    const size_t g = shares[b] ? b : size + b;
    gradients_.push_back({dims_[b], columns[g], lives[g].is_stored()});
  }
  stored_moment_columns_ = first_fit(of_moments, true, columns);
  tile_moment_columns_ = first_fit(of_moments, false, columns);
  for (size_t b = 0; b < size; ++b) moments_.push_back({dims_[b], columns[b], of_moments[b].is_stored()});
}

template class Program<float>;
template class Program<double>;

}  // namespace equipot
