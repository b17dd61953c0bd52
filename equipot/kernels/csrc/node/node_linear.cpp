// Channel mixing of node features, irrep by irrep, with one set of matrices or one a species; and its two transposes.
//
// A block's rows, (atom, component), lie apart in memory. They are gathered into a small contiguous matrix first: the
// copy costs a fraction of the product, and the product then always works on full register blocks.
#include <algorithm>

#include "simd/matrix.hpp"
#include "node/node_groups.hpp"
#include "simd/scratch.hpp"
#include "simd/transpose.hpp"

namespace equipot {
namespace {

// Rows [components] of in_channels numbers times a (in_channels, out_channels) matrix.
struct MixBlock {
  int64_t components, in_offset, in_channels, out_offset, out_channels, weight_offset;
};

struct Mixing {
  int64_t num_blocks;
  const MixBlock* blocks;
  int64_t in_dim, out_dim, weight_size;  // numbers of an atom before and after, and of one set of matrices
};

// Some atoms of one species: listed, or (atoms null) first, first + 1, ...
struct Run {
  int64_t species, first, count;
  const int64_t* atoms;

  int64_t atom(int64_t n) const { return atoms == nullptr ? first + n : atoms[n]; }
};

constexpr int64_t rows_at_once = 96;

// Runs of at most `longest` atoms, species by species; false if a species is out of range.
bool cut(int64_t num_atoms, int64_t num_species, const int64_t* species, int64_t longest, SpeciesOrder& order,
         std::vector<Run>& runs) {
  if (species == nullptr || num_species == 1) {
    for (int64_t n = 0; species != nullptr && n < num_atoms; ++n) {
      if (species[n] != 0) return false;
    }
    for (int64_t n = 0; n < num_atoms; n += longest) runs.push_back({0, n, std::min(longest, num_atoms - n), nullptr});
    return true;
  }
  if (!sort_by_species(num_atoms, num_species, species, order)) return false;
  for (int64_t z = 0; z < num_species; ++z) {
    const int64_t end = order.first[size_t(z) + 1];
    for (int64_t n = order.first[size_t(z)]; n < end; n += longest) {
      runs.push_back({z, 0, std::min(longest, end - n), order.atoms.data() + n});
    }
  }
  return true;
}

// Columns [offset, offset + width) of every component of a run's atoms as one matrix of `width` columns.
template <class T>
void gather(const Run& run, const T* x, int64_t dim, int64_t offset, int64_t components, int64_t channels,
            int64_t width, T* rows) {
  for (int64_t n = 0; n < run.count; ++n) {
    const T* from = x + run.atom(n) * dim + offset;
    for (int64_t m = 0; m < components; ++m) rows = std::copy_n(from + m * channels, width, rows);
  }
}

template <class T>
void scatter(const Run& run, const T* rows, int64_t dim, int64_t offset, int64_t size, bool accumulate, T* out) {
  for (int64_t n = 0; n < run.count; ++n, rows += size) {
    T* to = out + run.atom(n) * dim + offset;
    if (accumulate) {
      for (int64_t k = 0; k < size; ++k) to[k] += rows[k];
    } else {
      std::copy_n(rows, size, to);
    }
  }
}

// The blocks of the map from outputs to inputs.
std::vector<MixBlock> transposed_blocks(const Mixing& mixing) {
  std::vector<MixBlock> blocks;
  for (int64_t b = 0; b < mixing.num_blocks; ++b) {
    const MixBlock& block = mixing.blocks[b];
    blocks.push_back({block.components, block.out_offset, block.out_channels, block.in_offset, block.in_channels,
                      block.weight_offset});
  }
  return blocks;
}

template <class T>
void mix_run(const Mixing& mixing, const Run& run, const T* x, const T* weights, bool accumulate, T* out) {
  static thread_local Scratch<T> memory;
  for (int64_t b = 0; b < mixing.num_blocks; ++b) {
    const MixBlock& block = mixing.blocks[b];
    const T* matrix = weights + block.weight_offset;
    const int64_t rows = run.count * block.components, size = block.components * block.out_channels;
    if (block.components == 1 && run.atoms == nullptr) {
      multiply<T>(rows, block.in_channels, block.out_channels, x + run.first * mixing.in_dim + block.in_offset,
                  mixing.in_dim, matrix, block.out_channels, out + run.first * mixing.out_dim + block.out_offset,
                  mixing.out_dim, accumulate);
      continue;
    }
    T* input = memory.reserve(rows * (block.in_channels + block.out_channels));
    T* output = input + rows * block.in_channels;
    gather(run, x, mixing.in_dim, block.in_offset, block.components, block.in_channels, block.in_channels, input);
    multiply<T>(rows, block.in_channels, block.out_channels, input, block.in_channels, matrix, block.out_channels,
                output, block.out_channels, false);
    scatter(run, output, mixing.out_dim, block.out_offset, size, accumulate, out);
  }
}

int64_t widest(const Mixing& mixing) {
  int64_t components = 1;
  for (int64_t b = 0; b < mixing.num_blocks; ++b) components = std::max(components, mixing.blocks[b].components);
  return components;
}

int64_t multiplications(const Mixing& mixing, int64_t num_atoms) {
  int64_t total = 0;
  for (int64_t b = 0; b < mixing.num_blocks; ++b) {
    total += mixing.blocks[b].components * mixing.blocks[b].in_channels * mixing.blocks[b].out_channels;
  }
  return total * num_atoms;
}

constexpr int64_t worth_threads = 2000000;  // multiplications, some 50 microseconds

template <class T>
int mix(Mixing mixing, int64_t num_atoms, int64_t num_species, const int64_t* species, const T* x, const T* weights,
        const T* addend, bool is_transposed, T* out, int num_threads) {
  SpeciesOrder order;
  std::vector<Run> runs;
  const int64_t longest = std::max<int64_t>(1, rows_at_once / widest(mixing));
  if (!cut(num_atoms, num_species, species, longest, order, runs)) return 1;
  std::vector<MixBlock> blocks;
  if (is_transposed) {
    // Kept between calls and not cleared: only the matrices of species that occur are written, and read.
    static thread_local Scratch<T> turned;
    T* matrices = turned.reserve(num_species * mixing.weight_size);
    blocks = transposed_blocks(mixing);
    int64_t done = -1;
    for (const Run& run : runs) {
      if (run.species == done) continue;
      done = run.species;
      for (const MixBlock& block : blocks) {
        const int64_t offset = done * mixing.weight_size + block.weight_offset;
        transpose(block.out_channels, block.in_channels, weights + offset, block.in_channels, matrices + offset,
                  block.out_channels);
      }
    }
    weights = matrices;
    mixing.blocks = blocks.data();
    std::swap(mixing.in_dim, mixing.out_dim);
  }
  int64_t covered = 0;
  for (int64_t b = 0; b < mixing.num_blocks; ++b) {
    covered += mixing.blocks[b].components * mixing.blocks[b].out_channels;
  }
  if (addend != nullptr) {
    std::copy_n(addend, num_atoms * mixing.out_dim, out);
  } else if (covered < mixing.out_dim) {
    std::fill_n(out, num_atoms * mixing.out_dim, T(0));
  }
  const bool many = num_threads > 1 && multiplications(mixing, num_atoms) > worth_threads;
#pragma omp parallel for schedule(static) num_threads(num_threads) if (many)
  for (int64_t n = 0; n < int64_t(runs.size()); ++n) {
    const Run& run = runs[size_t(n)];
    mix_run(mixing, run, x, weights + run.species * mixing.weight_size, addend != nullptr, out);
  }
  return 0;
}

// Rows [first, first + count) of one matrix of one species' gradient: sum over its atoms of x^T g, added or not.
template <class T>
void outer_rows(const Mixing& mixing, const MixBlock& block, const Run* begin, const Run* end, int64_t first,
                int64_t count, const T* x, const T* g, bool accumulate, T* gw) {
  static thread_local Scratch<T> memory;
  for (const Run* run = begin; run != end; ++run) {
    const int64_t rows = run->count * block.components;
    T* to = gw + block.weight_offset + first * block.out_channels;
    if (block.components == 1 && run->atoms == nullptr) {
      multiply_strided<T>(count, rows, block.out_channels, x + run->first * mixing.in_dim + block.in_offset + first, 1,
                          mixing.in_dim, g + run->first * mixing.out_dim + block.out_offset, mixing.out_dim, to,
                          block.out_channels, accumulate || run != begin);
      continue;
    }
    T* left = memory.reserve(rows * (count + block.out_channels));
    T* right = left + rows * count;
    gather(*run, x, mixing.in_dim, block.in_offset + first, block.components, block.in_channels, count, left);
    gather(*run, g, mixing.out_dim, block.out_offset, block.components, block.out_channels, block.out_channels, right);
    multiply_strided<T>(count, rows, block.out_channels, left, 1, count, right, block.out_channels, to,
                        block.out_channels, accumulate || run != begin);
  }
}

template <class T>
int mix_outer(const Mixing& mixing, int64_t num_atoms, int64_t num_species, const int64_t* species, const T* x,
              const T* g, const T* second_x, const T* second_g, T* gw, int num_threads) {
  SpeciesOrder order;
  std::vector<Run> runs;
  const int64_t longest = std::max<int64_t>(1, rows_at_once / widest(mixing));
  if (!cut(num_atoms, num_species, species, longest, order, runs)) return 1;
  const bool many = num_threads > 1 && multiplications(mixing, num_atoms) > worth_threads;
  struct Item {
    const Run *begin, *end;
    const MixBlock* block;
    int64_t first, count;
  };
  std::vector<Item> items;
  std::vector<bool> present(size_t(num_species), false);
  for (size_t n = 0; n < runs.size();) {
    size_t end = n;
    while (end < runs.size() && runs[end].species == runs[n].species) ++end;
    present[size_t(runs[n].species)] = true;
    for (int64_t b = 0; b < mixing.num_blocks; ++b) {
      // Shares of whole register blocks: gathering g is repeated for each, and no sum over threads is needed.
      const int64_t channels = mixing.blocks[b].in_channels, share = many ? 4 * block_rows : channels;
      for (int64_t c = 0; c < channels; c += share) {
        items.push_back({runs.data() + n, runs.data() + end, mixing.blocks + b, c, std::min(share, channels - c)});
      }
    }
    n = end;
  }
  for (int64_t z = 0; z < num_species; ++z) {
    if (!present[size_t(z)]) std::fill_n(gw + z * mixing.weight_size, mixing.weight_size, T(0));
  }
#pragma omp parallel for schedule(dynamic) num_threads(num_threads) if (many)
  for (int64_t n = 0; n < int64_t(items.size()); ++n) {
    const Item& item = items[size_t(n)];
    T* to = gw + item.begin->species * mixing.weight_size;
    outer_rows(mixing, *item.block, item.begin, item.end, item.first, item.count, x, g, false, to);
    if (second_x != nullptr)
      outer_rows(mixing, *item.block, item.begin, item.end, item.first, item.count, second_x, second_g, true, to);
  }
  return 0;
}

}  // namespace
}  // namespace equipot

// blocks: (num_blocks, 6), fields of MixBlock. Both return 1 if a species is out of range, else 0; species may be null
// for one set of matrices (num_species 1).
#define EQUIPOT_NODE_LINEAR(T, suffix)                                                                              \
  /* out = x W + addend, or with is_transposed x W^T + addend; addend may be null. */                               \
  EQUIPOT_API int equipot_mix_##suffix(int64_t num_blocks, const int64_t* blocks, int64_t in_dim, int64_t out_dim,  \
                                       int64_t weight_size, int64_t num_atoms, int64_t num_species,                 \
                                       const int64_t* species, const T* x, const T* weights, const T* addend,       \
                                       T* out, int is_transposed, int num_threads) {                                \
    const equipot::Mixing mixing{num_blocks, reinterpret_cast<const equipot::MixBlock*>(blocks), in_dim, out_dim,   \
                                 weight_size};                                                                      \
    return equipot::mix<T>(mixing, num_atoms, num_species, species, x, weights, addend, is_transposed != 0, out,    \
                           num_threads);                                                                            \
  }                                                                                                                 \
  /* gw (num_species, weight_size) = sum over atoms of x^T g, and of a second pair's unless it is null. */           \
  EQUIPOT_API int equipot_mix_outer_##suffix(int64_t num_blocks, const int64_t* blocks, int64_t in_dim,             \
                                             int64_t out_dim, int64_t weight_size, int64_t num_atoms,               \
                                             int64_t num_species, const int64_t* species, const T* x, const T* g,   \
                                             const T* second_x, const T* second_g, T* gw, int num_threads) {        \
    const equipot::Mixing mixing{num_blocks, reinterpret_cast<const equipot::MixBlock*>(blocks), in_dim, out_dim,   \
                                 weight_size};                                                                      \
    return equipot::mix_outer<T>(mixing, num_atoms, num_species, species, x, g, second_x, second_g, gw,             \
                                 num_threads);                                                                      \
  }
EQUIPOT_NODE_LINEAR(float, f32)
EQUIPOT_NODE_LINEAR(double, f64)
