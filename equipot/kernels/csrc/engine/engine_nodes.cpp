// The node-wise operations of the inference engine, forward and backward.
#include "engine/engine_nodes.hpp"

#include <algorithm>

#include "simd/activation.hpp"
#include "engine/engine_workspace.hpp"
#include "simd/matrix.hpp"

namespace equipot {
namespace {

// Calls function(offset, lanes used) for every register of a run of channels; the last one may be partial.
template <class T, class Function>
inline void for_registers(int64_t channels, const Function& function) {
  int64_t c = 0;
  for (; c + lanes<T> <= channels; c += lanes<T>) function(c, lanes<T>);
  if (c < channels) function(c, int(channels - c));
}

template <class T>
inline Vec<T> load_part(const T* p, int n) {
  return n == lanes<T> ? load(p) : load_first(p, n);
}

template <class T>
inline void store_part(T* p, Vec<T> v, int n) {
  if (n == lanes<T>)
    store(p, v);
  else
    store_first(p, v, n);
}

}  // namespace

template <class T>
SpeciesRows<T>::SpeciesRows(int output, int64_t dim, std::vector<T> table) : dim_(dim), table_(std::move(table)) {
  this->output = output;
}

template <class T>
void SpeciesRows<T>::forward(const Tile<T>& tile) const {
  T* out = tile.values[this->output];
  for (int64_t n = 0; n < tile.count; ++n, out += dim_) {
    const T* row = table_.data() + tile.species[n] * dim_;
    if (this->overwrites_output)
      std::copy(row, row + dim_, out);
    else
      for (int64_t c = 0; c < dim_; ++c) out[c] += row[c];
  }
}

template <class T>
Linear<T>::Linear(int input, int64_t in_dim, int output, int64_t out_dim, std::vector<LinearBlock> blocks,
                  int64_t num_sets, std::vector<T> weights)
    : in_dim_(in_dim), out_dim_(out_dim), num_sets_(num_sets), set_size_(int64_t(weights.size()) / num_sets),
      weights_(std::move(weights)), transposed_(weights_.size()) {
  this->inputs = {{input, true, false}};
  this->output = output;
  int64_t written = 0, read = 0;
  for (const LinearBlock& block : blocks) {
    Step step{block, true, true};
    for (const Step& earlier : steps_) {
      if (earlier.out_offset == block.out_offset) step.is_first_of_output = false;
      if (earlier.in_offset == block.in_offset) step.is_first_of_input = false;
    }
    if (step.is_first_of_output) written += block.components * block.out_channels;
    if (step.is_first_of_input) read += block.components * block.in_channels;
    steps_.push_back(step);
    const int64_t k = block.in_channels, n = block.out_channels;
    for (int64_t set = 0; set < num_sets; ++set) {
      const int64_t offset = set * set_size_ + block.weight_offset;
      for (int64_t a = 0; a < k; ++a)
        for (int64_t b = 0; b < n; ++b) transposed_[offset + b * k + a] = weights_[offset + a * n + b];
    }
  }
  covers_output_ = written == out_dim;
  covers_input_ = read == in_dim;
}

template <class T>
void Linear<T>::forward(const Tile<T>& tile) const {
  const T* x = tile.values[this->inputs[0].buffer];
  T* out = tile.values[this->output];
  const bool clears = this->overwrites_output && !covers_output_;
  if (clears) std::fill(out, out + tile.count * out_dim_, T(0));
  const auto mix = [&](int64_t set, int64_t first, int64_t count) {
    for (const Step& step : steps_) {
      const bool adds = !this->overwrites_output || clears || !step.is_first_of_output;
      const T* weight = weights_.data() + set * set_size_ + step.weight_offset;
      for (int64_t m = 0; m < step.components; ++m)
        multiply<T>(count, step.in_channels, step.out_channels,
                    x + first * in_dim_ + step.in_offset + m * step.in_channels, in_dim_, weight, step.out_channels,
                    out + first * out_dim_ + step.out_offset + m * step.out_channels, out_dim_, adds);
    }
  };
  if (num_sets_ == 1)
    mix(0, 0, tile.count);
  else
    for_species_runs(tile, mix);
}

template <class T>
void Linear<T>::backward(const Tile<T>& tile) const {
  const T* g = tile.gradients[this->output];
  T* gx = tile.gradients[this->inputs[0].buffer];
  const bool overwrites = this->inputs[0].overwrites_gradient, clears = overwrites && !covers_input_;
  if (clears) std::fill(gx, gx + tile.count * in_dim_, T(0));
  const auto mix = [&](int64_t set, int64_t first, int64_t count) {
    for (const Step& step : steps_) {
      const bool adds = !overwrites || clears || !step.is_first_of_input;
      const T* weight = transposed_.data() + set * set_size_ + step.weight_offset;
      for (int64_t m = 0; m < step.components; ++m)
        multiply<T>(count, step.out_channels, step.in_channels,
                    g + first * out_dim_ + step.out_offset + m * step.out_channels, out_dim_, weight, step.in_channels,
                    gx + first * in_dim_ + step.in_offset + m * step.in_channels, in_dim_, adds);
    }
  };
  if (num_sets_ == 1)
    mix(0, 0, tile.count);
  else
    for_species_runs(tile, mix);
}

template <class T>
Gate<T>::Gate(int input, int64_t in_dim, int output, int64_t out_dim, std::vector<GateItem> items)
    : in_dim_(in_dim), out_dim_(out_dim), items_(std::move(items)) {
  this->inputs = {{input, true, true}};
  this->output = output;
  this->gradient_may_replace_value = true;
  this->adds = false;
}

template <class T>
void Gate<T>::forward(const Tile<T>& tile) const {
  for (int64_t n = 0; n < tile.count; ++n) {
    const T* x = tile.values[this->inputs[0].buffer] + n * in_dim_;
    T* out = tile.values[this->output] + n * out_dim_;
    for (const GateItem& item : items_)
      for_registers<T>(item.channels, [&](int64_t c, int used) {
        const T* in = x + item.in_offset + c;
        T* to = out + item.out_offset + c;
        if (item.kind == GateItem::silu) {
          store_part<T>(to, scaled_silu<T>(load_part<T>(in, used)), used);
        } else if (item.kind == GateItem::tanh) {
          Vec<T> slope;
          store_part<T>(to, scaled_tanh<T>(load_part<T>(in, used), slope), used);
        } else {
          const Vec<T> gate = scaled_silu<T>(load_part<T>(x + item.gate_offset + c, used));
          for (int64_t m = 0; m < item.components; ++m)
            store_part<T>(to + m * item.channels, gate * load_part<T>(in + m * item.channels, used), used);
        }
      });
  }
}

template <class T>
void Gate<T>::backward(const Tile<T>& tile) const {
  for (int64_t n = 0; n < tile.count; ++n) {
    const T* x = tile.values[this->inputs[0].buffer] + n * in_dim_;
    const T* g = tile.gradients[this->output] + n * out_dim_;
    T* gx = tile.gradients[this->inputs[0].buffer] + n * in_dim_;  // may be x itself
    for (const GateItem& item : items_)
      for_registers<T>(item.channels, [&](int64_t c, int used) {
        const T* in = x + item.in_offset + c;
        const T* from = g + item.out_offset + c;
        T* to = gx + item.in_offset + c;
        Vec<T> slope;
        if (item.kind != GateItem::gated) {
          const Vec<T> value = load_part<T>(in, used);
          if (item.kind == GateItem::silu)
            scaled_silu<T>(value, slope);
          else
            scaled_tanh<T>(value, slope);
          store_part<T>(to, slope * load_part<T>(from, used), used);
          return;
        }
        const Vec<T> gate = scaled_silu<T>(load_part<T>(x + item.gate_offset + c, used), slope);
        Vec<T> total = {};
        for (int64_t m = 0; m < item.components; ++m) {
          const Vec<T> gradient = load_part<T>(from + m * item.channels, used);
          total += gradient * load_part<T>(in + m * item.channels, used);
          store_part<T>(to + m * item.channels, gate * gradient, used);
        }
        store_part<T>(gx + item.gate_offset + c, slope * total, used);
      });
  }
}

template <class T>
DensityScale<T>::DensityScale(int input, int density, int output, int64_t dim) : dim_(dim) {
  this->inputs = {{input, true, false}, {density, true, true}};
  this->output = output;
  this->output_is_needed_in_backward = true;
  this->adds = false;
}

template <class T>
void DensityScale<T>::forward(const Tile<T>& tile) const {
  const T* x = tile.values[this->inputs[0].buffer];
  T* out = tile.values[this->output];
  for (int64_t n = 0; n < tile.count; ++n) {
    const T factor = T(1) / (T(1) + tile.values[this->inputs[1].buffer][n]);
    for (int64_t c = 0; c < dim_; ++c) out[n * dim_ + c] = factor * x[n * dim_ + c];
  }
}

template <class T>
void DensityScale<T>::backward(const Tile<T>& tile) const {
  const T* out = tile.values[this->output];
  const T* g = tile.gradients[this->output];
  T* gx = tile.gradients[this->inputs[0].buffer];
  for (int64_t n = 0; n < tile.count; ++n) {
    const T factor = T(1) / (T(1) + tile.values[this->inputs[1].buffer][n]);
    T total = 0;
    for (int64_t c = 0; c < dim_; ++c) {
      total += g[n * dim_ + c] * out[n * dim_ + c];
      gx[n * dim_ + c] = factor * g[n * dim_ + c];
    }
    tile.gradients[this->inputs[1].buffer][n] = -factor * total;
  }
}

template <class T>
Product<T>::Product(int input, int output, ProductBasisProgram program, int64_t channels, int64_t num_species,
                    const std::vector<T>& weights)
    : program_(std::move(program)), channels_(channels),
      coefficients_size_(product_basis_coefficients<T>(program_, channels)),
      coefficients_(size_t(num_species * coefficients_size_)) {
  this->inputs = {{input, true, true}};
  this->output = output;
  this->adds = false;
  for (int64_t z = 0; z < num_species; ++z)
    product_basis_fold<T>(program_, channels, weights.data() + z * program_.num_paths * channels,
                          coefficients_.data() + z * coefficients_size_);
}

template <class T>
void Product<T>::forward(const Tile<T>& tile) const {
  const int64_t in_dim = program_.num_inputs * channels_, out_dim = program_.num_outputs * channels_;
  for (int64_t n = 0; n < tile.count; ++n)
    product_basis_forward<T>(program_, channels_, tile.values[this->inputs[0].buffer] + n * in_dim,
                             coefficients_.data() + tile.species[n] * coefficients_size_,
                             tile.values[this->output] + n * out_dim, tile.workspace->product);
}

template <class T>
void Product<T>::backward(const Tile<T>& tile) const {
  const int64_t in_dim = program_.num_inputs * channels_, out_dim = program_.num_outputs * channels_;
  for (int64_t n = 0; n < tile.count; ++n)
    product_basis_backward<T>(program_, channels_, tile.values[this->inputs[0].buffer] + n * in_dim,
                              coefficients_.data() + tile.species[n] * coefficients_size_,
                              tile.gradients[this->output] + n * out_dim,
                              tile.gradients[this->inputs[0].buffer] + n * in_dim, tile.workspace->product);
}

template <class T>
Invariants<T>::Invariants(int input, int output, std::vector<InvariantBlock> blocks)
    : in_dim_(0), out_dim_(0), blocks_(std::move(blocks)) {
  this->inputs = {{input, true, true}};
  this->output = output;
  for (const InvariantBlock& block : blocks_) {
    in_dim_ += block.components * block.channels;
    out_dim_ += block.channels;
  }
}

template <class T>
void Invariants<T>::forward(const Tile<T>& tile) const {
  const T* x = tile.values[this->inputs[0].buffer];
  T* out = tile.values[this->output];
  for (int64_t n = 0; n < tile.count; ++n)
    for (const InvariantBlock& block : blocks_) {
      const T factor = T(1) / T(block.components);
      if (this->overwrites_output) std::fill(out, out + block.channels, T(0));
      for (int64_t m = 0; m < block.components; ++m)
        for (int64_t c = 0; c < block.channels; ++c) {
          const T value = x[m * block.channels + c];
          out[c] += factor * value * value;
        }
      x += block.components * block.channels;
      out += block.channels;
    }
}

template <class T>
void Invariants<T>::backward(const Tile<T>& tile) const {
  const T* x = tile.values[this->inputs[0].buffer];
  const T* g = tile.gradients[this->output];
  T* gx = tile.gradients[this->inputs[0].buffer];
  const bool overwrites = this->inputs[0].overwrites_gradient;
  for (int64_t n = 0; n < tile.count; ++n)
    for (const InvariantBlock& block : blocks_) {
      const T factor = T(2) / T(block.components);
      for (int64_t m = 0; m < block.components; ++m)
        for (int64_t c = 0; c < block.channels; ++c) {
          const int64_t k = m * block.channels + c;
          gx[k] = (overwrites ? T(0) : gx[k]) + factor * g[c] * x[k];
        }
      x += block.components * block.channels;
      gx += block.components * block.channels;
      g += block.channels;
    }
}

template <class T>
Readout<T>::Readout(int input, int64_t dim, int64_t offset, std::vector<T> vector)
    : dim_(dim), offset_(offset), vector_(std::move(vector)) {
  this->inputs = {{input, true, false}};
}

template <class T>
void Readout<T>::forward(const Tile<T>& tile) const {
  const T* x = tile.values[this->inputs[0].buffer] + offset_;
  for (int64_t n = 0; n < tile.count; ++n, x += dim_) {
    Vec<T> total = {};
    for_registers<T>(int64_t(vector_.size()), [&](int64_t c, int used) {
      total += load_part<T>(x + c, used) * load_part<T>(vector_.data() + c, used);
    });
    tile.energy[n] += double(sum<T>(total));
  }
}

template <class T>
void Readout<T>::backward(const Tile<T>& tile) const {
  T* gx = tile.gradients[this->inputs[0].buffer];
  if (this->inputs[0].overwrites_gradient) std::fill(gx, gx + tile.count * dim_, T(0));
  gx += offset_;
  for (int64_t n = 0; n < tile.count; ++n, gx += dim_) {
    const T seed = tile.seed[tile.species[n]];
    for (size_t c = 0; c < vector_.size(); ++c) gx[c] += seed * vector_[c];
  }
}

#define EQUIPOT_NODES(T)          \
  template class SpeciesRows<T>;  \
  template class Linear<T>;       \
  template class Gate<T>;         \
  template class DensityScale<T>; \
  template class Product<T>;      \
  template class Invariants<T>;   \
  template class Readout<T>;
EQUIPOT_NODES(float)
EQUIPOT_NODES(double)

}  // namespace equipot
