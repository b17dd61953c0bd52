// The symmetric product basis of one atom: many polynomials in the same few features, evaluated channel by channel.
//
// Output o is a sum over monomials with a coefficient a channel. Most coefficients vanish by symmetry, so a program
// made once from the plan lists only the others, as groups  y_o += prefix * sum_k coefficient_k * factor_k  whose
// prefixes and factors are 1, a feature, or a product of two earlier nodes. The weights of an atom's species are folded
// into the coefficients beforehand: that costs as much as one more atom, and an atom then pays one multiplication a
// monomial.
#pragma once

#include <cstdint>
#include <vector>

#include "simd/scratch.hpp"
#include "simd/vector.hpp"

namespace equipot {

// Nodes: 0 is the constant 1, 1..num_inputs are the features, the others are products[n - 1 - num_inputs].
struct ProductBasisProgram {
  struct Product {
    int32_t left, right;
  };
  struct Group {
    int32_t prefix, first, last;  // entries [first, last)
  };
  struct Term {
    int32_t path;
    double value;
  };
  int32_t num_inputs, num_outputs, num_paths;
  std::vector<Product> products;
  std::vector<int32_t> first_group;  // num_outputs + 1; the groups of output o
  std::vector<Group> groups;
  std::vector<int32_t> factor;      // node of each entry
  std::vector<int32_t> first_term;  // num_entries + 1; an entry's coefficient is sum of value * weight[path]
  std::vector<Term> terms;

  int32_t num_nodes() const { return 1 + num_inputs + int32_t(products.size()); }
  int32_t num_entries() const { return int32_t(factor.size()); }
};

// A program from plain numbers, taken one after the other from source.integer(), source.integers(count) and
// source.reals(count): numbers of inputs, outputs and paths; number of products, (num_products, 2); number of groups,
// first_group, (num_groups, 3); number of entries, factor, first_term, path of each term; value of each term.
template <class Source>
ProductBasisProgram read_product_basis_program(Source& source) {
  ProductBasisProgram program;
  const auto list = [&](int64_t count) {
    const int64_t* from = source.integers(count);
    return std::vector<int32_t>(from, from + count);
  };
  program.num_inputs = int32_t(source.integer());
  program.num_outputs = int32_t(source.integer());
  program.num_paths = int32_t(source.integer());
  for (int64_t n = source.integer(); n > 0; --n) {
    const int64_t* pair = source.integers(2);
    program.products.push_back({int32_t(pair[0]), int32_t(pair[1])});
  }
  const int64_t num_groups = source.integer();
  program.first_group = list(program.num_outputs + 1);
  for (int64_t n = 0; n < num_groups; ++n) {
    const int64_t* group = source.integers(3);
    program.groups.push_back({int32_t(group[0]), int32_t(group[1]), int32_t(group[2])});
  }
  const int64_t num_entries = source.integer();
  program.factor = list(num_entries);
  program.first_term = list(num_entries + 1);
  const std::vector<int32_t> path = list(program.first_term.back());
  const double* value = source.reals(int64_t(path.size()));
  for (size_t n = 0; n < path.size(); ++n) program.terms.push_back({path[n], value[n]});
  return program;
}

// Channels are worked on in tiles of this many registers, so that the tables are read once for all of them.
constexpr int product_basis_registers = 2;

template <class T>
constexpr int64_t product_basis_tile = product_basis_registers * lanes<T>;

// Numbers of T in the folded coefficients of one species: (tiles, num_entries, product_basis_tile), zero beyond the
// last channel.
template <class T>
inline int64_t product_basis_coefficients(const ProductBasisProgram& program, int64_t channels) {
  const int64_t tile = product_basis_tile<T>;
  return (channels + tile - 1) / tile * tile * program.num_entries();
}

template <class T>
using ProductBasisScratch = Scratch<T>;

// weights (num_paths, channels) of one species -> coefficients.
template <class T>
void product_basis_fold(const ProductBasisProgram& program, int64_t channels, const T* weights, T* coefficients);

// x (num_inputs, channels) of one atom -> out (num_outputs, channels), overwritten.
template <class T>
void product_basis_forward(const ProductBasisProgram& program, int64_t channels, const T* x, const T* coefficients,
                           T* out, ProductBasisScratch<T>& scratch);

// g (num_outputs, channels) = dE/d out -> gx (num_inputs, channels) = dE/d x, overwritten.
template <class T>
void product_basis_backward(const ProductBasisProgram& program, int64_t channels, const T* x, const T* coefficients,
                            const T* g, T* gx, ProductBasisScratch<T>& scratch);

}  // namespace equipot
