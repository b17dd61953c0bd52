// A slab, a tile of channels of one atom, through a product basis program: values, gradients, both with dual numbers.
#pragma once

#include "product/product_basis.hpp"

namespace equipot {

// A tile of neighbouring channels as registers; arithmetic lane by lane.
template <class T>
struct Slab {
  Vec<T> part[product_basis_registers];

  static Slab filled(T value) {
    Slab result;
    for (int r = 0; r < product_basis_registers; ++r) result.part[r] = Vec<T>{} + value;
    return result;
  }

  static Slab first(const T* p, int64_t count) {
    Slab result = filled(0);
    if (count >= product_basis_tile<T>) {
      for (int r = 0; r < product_basis_registers; ++r) result.part[r] = load(p + r * lanes<T>);
    } else {
      std::memcpy(static_cast<void*>(&result), p, sizeof(T) * size_t(count));
    }
    return result;
  }

  void store_first(T* p, int64_t count) const {
    if (count >= product_basis_tile<T>) {
      for (int r = 0; r < product_basis_registers; ++r) store(p + r * lanes<T>, part[r]);
    } else {
      std::memcpy(p, this, sizeof(T) * size_t(count));
    }
  }
};

template <class T>
inline Slab<T> operator*(const Slab<T>& a, const Slab<T>& b) {
  Slab<T> result;
  for (int r = 0; r < product_basis_registers; ++r) result.part[r] = a.part[r] * b.part[r];
  return result;
}

template <class T>
inline void add_product(Slab<T>& sum, const Slab<T>& a, const Slab<T>& b) {
  for (int r = 0; r < product_basis_registers; ++r) sum.part[r] += a.part[r] * b.part[r];
}

// A value and its derivative along one direction: the sweep below run on these is the exact derivative of the sweep.
template <class T>
struct Dual {
  Slab<T> value, slope;

  static Dual filled(T value) { return {Slab<T>::filled(value), Slab<T>::filled(0)}; }
};

template <class T>
inline Dual<T> operator*(const Dual<T>& a, const Dual<T>& b) {
  Dual<T> result{a.value * b.value, a.value * b.slope};
  add_product(result.slope, a.slope, b.value);
  return result;
}

template <class T>
inline Dual<T> operator*(const Slab<T>& a, const Dual<T>& b) {
  return {a * b.value, a * b.slope};
}

template <class T>
inline void add_product(Dual<T>& sum, const Dual<T>& a, const Dual<T>& b) {
  add_product(sum.value, a.value, b.value);
  add_product(sum.slope, a.value, b.slope);
  add_product(sum.slope, a.slope, b.value);
}

template <class T>
inline void add_product(Dual<T>& sum, const Slab<T>& a, const Dual<T>& b) {
  add_product(sum.value, a, b.value);
  add_product(sum.slope, a, b.slope);
}

template <class T>
inline void add_product(Dual<T>& sum, const Dual<T>& a, const Slab<T>& b) {
  add_product(sum, b, a);
}

// The part of a * b that belongs in the result: all of it, or the slope of a dual number.
template <class T>
inline void add_result(Slab<T>& sum, const Slab<T>& a, const Slab<T>& b) {
  add_product(sum, a, b);
}

template <class T>
inline void add_result(Slab<T>& sum, const Dual<T>& a, const Dual<T>& b) {
  add_product(sum, a.value, b.slope);
  add_product(sum, a.slope, b.value);
}

// coefficient[k] from one tile of one species' weights: row p of `weights` lies at p * channels, and `count` channels
// are left from there on.
template <class T>
inline void product_basis_fold_tile(const ProductBasisProgram& program, int64_t channels, const T* weights,
                                    int64_t count, Slab<T>* coefficients) {
  for (int32_t k = 0; k < program.num_entries(); ++k) {
    Slab<T> total = Slab<T>::filled(0);
    for (int32_t n = program.first_term[k]; n < program.first_term[k + 1]; ++n) {
      const auto& term = program.terms[n];
      add_product(total, Slab<T>::filled(T(term.value)), Slab<T>::first(weights + term.path * channels, count));
    }
    coefficients[k] = total;
  }
}

// The transpose: the gradient of the weights, overwritten in `g_weights`, from that of the coefficients.
template <class T>
inline void product_basis_unfold_tile(const ProductBasisProgram& program, const Slab<T>* g_coefficients,
                                      Slab<T>* totals, int64_t channels, int64_t count, T* g_weights) {
  for (int32_t p = 0; p < program.num_paths; ++p) totals[p] = Slab<T>::filled(0);
  for (int32_t k = 0; k < program.num_entries(); ++k) {
    for (int32_t n = program.first_term[k]; n < program.first_term[k + 1]; ++n) {
      const auto& term = program.terms[n];
      add_product(totals[term.path], Slab<T>::filled(T(term.value)), g_coefficients[k]);
    }
  }
  for (int32_t p = 0; p < program.num_paths; ++p) totals[p].store_first(g_weights + p * channels, count);
}

// values: the nodes, of which 1..num_inputs are set; the others are filled in here.
template <class Number>
inline void product_basis_nodes(const ProductBasisProgram& program, Number* values) {
  values[0] = Number::filled(1);
  Number* node = values + 1 + program.num_inputs;
  for (const auto& product : program.products) *node++ = values[product.left] * values[product.right];
}

// out[o] from the nodes; of dual numbers the slope.
template <class T, class Number, class Coefficient>
inline void product_basis_outputs(const ProductBasisProgram& program, const Number* values,
                                  const Coefficient* coefficients, Slab<T>* out) {
  const int32_t* factor = program.factor.data();
  for (int32_t o = 0; o < program.num_outputs; ++o) {
    Slab<T> total = Slab<T>::filled(0);
    for (int32_t n = program.first_group[o]; n < program.first_group[o + 1]; ++n) {
      const auto& group = program.groups[n];
      Number inner = Number::filled(0);
      for (int32_t k = group.first; k < group.last; ++k) add_product(inner, coefficients[k], values[factor[k]]);
      add_result(total, values[group.prefix], inner);
    }
    out[o] = total;
  }
}

// gradients[n] = d sum_o g_o y_o / d node n for the features, n = 1..num_inputs (other nodes: working memory), and with
// `also_coefficients` g_coefficients[k] += d sum_o g_o y_o / d coefficient k. Of dual numbers both are full for the
// nodes, and the slope for the coefficients.
template <bool also_coefficients, class T, class Number, class Coefficient, class Cotangent>
inline void product_basis_gradients(const ProductBasisProgram& program, const Number* values,
                                    const Coefficient* coefficients, const Cotangent* g, Number* gradients,
                                    Slab<T>* g_coefficients) {
  const int32_t* factor = program.factor.data();
  const int32_t num_nodes = program.num_nodes();
  for (int32_t n = 0; n < num_nodes; ++n) gradients[n] = Number::filled(0);
  for (int32_t o = 0; o < program.num_outputs; ++o) {
    const Cotangent g_out = g[o];
    for (int32_t n = program.first_group[o]; n < program.first_group[o + 1]; ++n) {
      const auto& group = program.groups[n];
      const Number above = g_out * values[group.prefix];
      Number inner = Number::filled(0);
      for (int32_t k = group.first; k < group.last; ++k) {
        const int32_t node = factor[k];
        const Number value = values[node];
        add_product(inner, coefficients[k], value);
        add_product(gradients[node], coefficients[k], above);
        if (also_coefficients) add_result(g_coefficients[k], above, value);
      }
      add_product(gradients[group.prefix], g_out, inner);
    }
  }
  for (int32_t n = num_nodes - 1; n > program.num_inputs; --n) {
    const auto& product = program.products[n - 1 - program.num_inputs];
    const Number above = gradients[n];
    add_product(gradients[product.left], above, values[product.right]);
    add_product(gradients[product.right], above, values[product.left]);
  }
}

}  // namespace equipot
