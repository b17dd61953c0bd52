// The symmetric product basis of many atoms, with gradients and double gradients, for training and plain inference.
//
// Atoms are taken species by species and tile by tile of channels, so that the coefficients of a tile are folded once
// and stay in the first-level cache. How the work is cut does not depend on the number of threads, nor do the results.
#include <algorithm>
#include <type_traits>

#include "node/node_groups.hpp"
#include "product/product_basis_slab.hpp"

namespace equipot {
namespace {

// Neighbouring atoms of one species in the sorted order.
struct Chunk {
  int64_t species, first, last;
  bool only;  // no other chunk has this species
};

// False if a species is out of range. How the atoms are cut does not depend on the number of threads.
bool cut(int64_t num_atoms, int64_t num_species, const int64_t* species, SpeciesOrder& order,
         std::vector<Chunk>& chunks) {
  if (!sort_by_species(num_atoms, num_species, species, order)) return false;
  const int64_t longest = std::max<int64_t>(64, (num_atoms + 63) / 64);  // folding costs about one atom a chunk
  for (int64_t z = 0; z < num_species; ++z) {
    const int64_t begin = order.first[size_t(z)], end = order.first[size_t(z) + 1];
    for (int64_t n = begin; n < end; n += longest) {
      chunks.push_back({z, n, std::min(n + longest, end), end - begin <= longest});
    }
  }
  return true;
}

// What a call reads and writes; x, hx, gx: (atoms, inputs, channels), g, gg, out: (atoms, outputs, channels), weights,
// hw, gw: (species, paths, channels), b as g. Null pointers are absent.
template <class T>
struct Arrays {
  const T *x, *weights, *g, *hx, *hw, *b;
  T *out, *gx, *gw;
};

// One chunk's share of one tile. With Dual numbers the results are derivatives along (hx, hw), and with a Dual
// Cotangent along b of g as well.
template <class T, class Number, class Coefficient, class Cotangent>
class Sweep {
 public:
  Sweep(const ProductBasisProgram& program, int64_t channels, const Arrays<T>& arrays)
      : program_(program), channels_(channels), arrays_(arrays) {}

  void run(const SpeciesOrder& order, const Chunk& chunk, int64_t channel, T* gw) {
    const int64_t count = channels_ - channel, size = program_.num_inputs * channels_;
    const int64_t width = program_.num_outputs * channels_, weights = chunk.species * program_.num_paths * channels_;
    prepare();
    fold(weights + channel, count);
    if (gw != nullptr) std::fill_n(g_coefficients_, program_.num_entries(), Slab<T>::filled(0));
    for (int64_t n = chunk.first; n < chunk.last; ++n) {
      const int64_t atom = order.atoms[size_t(n)];
      load_features(atom * size + channel, count);
      product_basis_nodes(program_, values_);
      if (arrays_.out != nullptr) {
        product_basis_outputs(program_, values_, coefficients_, outputs_);
        T* out = arrays_.out + atom * width + channel;
        for (int32_t o = 0; o < program_.num_outputs; ++o) outputs_[o].store_first(out + o * channels_, count);
      }
      if (arrays_.gx == nullptr && gw == nullptr) continue;
      load_cotangents(atom * width + channel, count);
      if (gw != nullptr) {
        product_basis_gradients<true>(program_, values_, coefficients_, cotangents_, gradients_, g_coefficients_);
      } else {
        product_basis_gradients<false>(program_, values_, coefficients_, cotangents_, gradients_, g_coefficients_);
      }
      if (arrays_.gx == nullptr) continue;
      T* gx = arrays_.gx + atom * size + channel;
      for (int32_t k = 0; k < program_.num_inputs; ++k) {
        result(gradients_[1 + k]).store_first(gx + k * channels_, count);
      }
    }
    if (gw != nullptr) product_basis_unfold_tile(program_, g_coefficients_, totals_, channels_, count, gw + channel);
  }

 private:
  void prepare() {
    static thread_local Scratch<T> memory;
    const int64_t nodes = program_.num_nodes(), entries = program_.num_entries(), tile = product_basis_tile<T>;
    const int64_t numbers = 2 * nodes * int64_t(sizeof(Number)) + entries * int64_t(sizeof(Coefficient)) +
                            program_.num_outputs * int64_t(sizeof(Cotangent));
    Slab<T>* start = reinterpret_cast<Slab<T>*>(memory.reserve(
        numbers / int64_t(sizeof(T)) + (2 * entries + program_.num_outputs + program_.num_paths) * tile));
    values_ = reinterpret_cast<Number*>(start);
    gradients_ = values_ + nodes;
    coefficients_ = reinterpret_cast<Coefficient*>(gradients_ + nodes);
    cotangents_ = reinterpret_cast<Cotangent*>(coefficients_ + entries);
    folded_ = reinterpret_cast<Slab<T>*>(cotangents_ + program_.num_outputs);
    g_coefficients_ = folded_ + entries;
    outputs_ = g_coefficients_ + entries;
    totals_ = outputs_ + program_.num_outputs;
  }

  void fold(int64_t offset, int64_t count) {
    if constexpr (std::is_same_v<Coefficient, Slab<T>>) {
      product_basis_fold_tile(program_, channels_, arrays_.weights + offset, count, coefficients_);
    } else {
      product_basis_fold_tile(program_, channels_, arrays_.weights + offset, count, folded_);
      for (int32_t k = 0; k < program_.num_entries(); ++k) coefficients_[k].value = folded_[k];
      product_basis_fold_tile(program_, channels_, arrays_.hw + offset, count, folded_);
      for (int32_t k = 0; k < program_.num_entries(); ++k) coefficients_[k].slope = folded_[k];
    }
  }

  void load_features(int64_t offset, int64_t count) {
    for (int32_t k = 0; k < program_.num_inputs; ++k) {
      const Slab<T> value = Slab<T>::first(arrays_.x + offset + k * channels_, count);
      if constexpr (std::is_same_v<Number, Slab<T>>) {
        values_[1 + k] = value;
      } else {
        values_[1 + k].value = value;
        values_[1 + k].slope =
            arrays_.hx ? Slab<T>::first(arrays_.hx + offset + k * channels_, count) : Slab<T>::filled(0);
      }
    }
  }

  void load_cotangents(int64_t offset, int64_t count) {
    for (int32_t o = 0; o < program_.num_outputs; ++o) {
      const Slab<T> value = Slab<T>::first(arrays_.g + offset + o * channels_, count);
      if constexpr (std::is_same_v<Cotangent, Slab<T>>) {
        cotangents_[o] = value;
      } else {
        cotangents_[o] = {value, Slab<T>::first(arrays_.b + offset + o * channels_, count)};
      }
    }
  }

  static const Slab<T>& result(const Slab<T>& number) { return number; }
  static const Slab<T>& result(const Dual<T>& number) { return number.slope; }

  const ProductBasisProgram& program_;
  const int64_t channels_;
  const Arrays<T>& arrays_;
  Number *values_, *gradients_;
  Coefficient* coefficients_;
  Cotangent* cotangents_;
  Slab<T>*folded_, *g_coefficients_, *outputs_, *totals_;
};

// Returns false if a species is out of range.
template <class T, class Number, class Coefficient, class Cotangent = Slab<T>>
bool run(const ProductBasisProgram& program, int64_t num_atoms, int64_t channels, int64_t num_species,
         const int64_t* species, const Arrays<T>& arrays, int num_threads) {
  SpeciesOrder order;
  std::vector<Chunk> chunks;
  if (!cut(num_atoms, num_species, species, order, chunks)) return false;
  const int64_t num_chunks = int64_t(chunks.size()), rows = program.num_paths * channels;
  const int64_t tiles = (channels + product_basis_tile<T> - 1) / product_basis_tile<T>, items = num_chunks * tiles;
  std::vector<T> partial;  // the weight gradient of chunks that share their species
  if (arrays.gw != nullptr) {
    std::fill_n(arrays.gw, num_species * rows, T(0));
    for (const auto& chunk : chunks) {
      if (!chunk.only) partial.resize(size_t(num_chunks * rows));
    }
  }
  const bool worth_it = num_atoms * tiles * program.num_entries() > 20000;
#pragma omp parallel for schedule(dynamic) num_threads(num_threads) if (num_threads > 1 && worth_it)
  for (int64_t item = 0; item < items; ++item) {
    const int64_t n = item / tiles;
    const Chunk& chunk = chunks[size_t(n)];
    T* gw = nullptr;
    if (arrays.gw != nullptr) gw = chunk.only ? arrays.gw + chunk.species * rows : partial.data() + n * rows;
    const int64_t channel = item % tiles * product_basis_tile<T>;
    Sweep<T, Number, Coefficient, Cotangent>(program, channels, arrays).run(order, chunk, channel, gw);
  }
  if (!partial.empty()) {
    for (int64_t n = 0; n < num_chunks; ++n) {
      const Chunk& chunk = chunks[size_t(n)];
      if (chunk.only) continue;
      T* gw = arrays.gw + chunk.species * rows;
      for (int64_t k = 0; k < rows; ++k) gw[k] += partial[size_t(n * rows + k)];
    }
  }
  return true;
}

template <class T>
int forward(const ProductBasisProgram* program, int64_t num_atoms, int64_t channels, int64_t num_species, const T* x,
            const int64_t* species, const T* weights, T* out, int num_threads) {
  const Arrays<T> arrays{x, weights, nullptr, nullptr, nullptr, nullptr, out, nullptr, nullptr};
  return run<T, Slab<T>, Slab<T>>(*program, num_atoms, channels, num_species, species, arrays, num_threads) ? 0 : 1;
}

template <class T>
int backward(const ProductBasisProgram* program, int64_t num_atoms, int64_t channels, int64_t num_species, const T* x,
             const int64_t* species, const T* weights, const T* g, T* gx, T* gw, int num_threads) {
  const Arrays<T> arrays{x, weights, g, nullptr, nullptr, nullptr, nullptr, gx, gw};
  return run<T, Slab<T>, Slab<T>>(*program, num_atoms, channels, num_species, species, arrays, num_threads) ? 0 : 1;
}

// The gradients of sum(hx * gx) + sum(hw * gw) with gx, gw those of backward().
template <class T>
int double_backward(const ProductBasisProgram* program, int64_t num_atoms, int64_t channels, int64_t num_species,
                    const T* x, const int64_t* species, const T* weights, const T* g, const T* hx, const T* hw, T* gg,
                    T* gx, T* gw, int num_threads) {
  const Arrays<T> arrays{x, weights, g, hx, hw, nullptr, gg, gx, gw};
  const bool valid =
      hw == nullptr
          ? run<T, Dual<T>, Slab<T>>(*program, num_atoms, channels, num_species, species, arrays, num_threads)
          : run<T, Dual<T>, Dual<T>>(*program, num_atoms, channels, num_species, species, arrays, num_threads);
  return valid ? 0 : 1;
}

// The gradients of sum(b * out) + sum(hx * gx), with out and gx those of forward() and backward(): a derivative along
// (hx, b) of backward().
template <class T>
int adjoint(const ProductBasisProgram* program, int64_t num_atoms, int64_t channels, int64_t num_species, const T* x,
            const int64_t* species, const T* weights, const T* g, const T* hx, const T* b, T* gx, T* gw,
            int num_threads) {
  const Arrays<T> arrays{x, weights, g, hx, nullptr, b, nullptr, gx, gw};
  return run<T, Dual<T>, Slab<T>, Dual<T>>(*program, num_atoms, channels, num_species, species, arrays, num_threads)
             ? 0
             : 1;
}

}  // namespace
}  // namespace equipot

// All return 1 if a species is out of range (nothing is written then), else 0.
#define EQUIPOT_PRODUCT_BASIS(T, suffix)                                                                             \
  EQUIPOT_API int equipot_product_basis_forward_##suffix(                                                            \
      const equipot::ProductBasisProgram* program, int64_t num_atoms, int64_t channels, int64_t num_species,         \
      const T* x, const int64_t* species, const T* weights, T* out, int num_threads) {                               \
    return equipot::forward<T>(program, num_atoms, channels, num_species, x, species, weights, out, num_threads);    \
  }                                                                                                                  \
  EQUIPOT_API int equipot_product_basis_backward_##suffix(                                                           \
      const equipot::ProductBasisProgram* program, int64_t num_atoms, int64_t channels, int64_t num_species,         \
      const T* x, const int64_t* species, const T* weights, const T* g, T* gx, T* gw, int num_threads) {             \
    return equipot::backward<T>(program, num_atoms, channels, num_species, x, species, weights, g, gx, gw,           \
                                num_threads);                                                                        \
  }                                                                                                                  \
  EQUIPOT_API int equipot_product_basis_double_backward_##suffix(                                                    \
      const equipot::ProductBasisProgram* program, int64_t num_atoms, int64_t channels, int64_t num_species,         \
      const T* x, const int64_t* species, const T* weights, const T* g, const T* hx, const T* hw, T* gg, T* gx,      \
      T* gw, int num_threads) {                                                                                      \
    return equipot::double_backward<T>(program, num_atoms, channels, num_species, x, species, weights, g, hx, hw,    \
                                       gg, gx, gw, num_threads);                                                     \
  }                                                                                                                  \
  EQUIPOT_API int equipot_product_basis_adjoint_##suffix(                                                            \
      const equipot::ProductBasisProgram* program, int64_t num_atoms, int64_t channels, int64_t num_species,         \
      const T* x, const int64_t* species, const T* weights, const T* g, const T* hx, const T* b, T* gx, T* gw,       \
      int num_threads) {                                                                                             \
    return equipot::adjoint<T>(program, num_atoms, channels, num_species, x, species, weights, g, hx, b, gx, gw,     \
                               num_threads);                                                                         \
  }
EQUIPOT_PRODUCT_BASIS(float, f32)
EQUIPOT_PRODUCT_BASIS(double, f64)
