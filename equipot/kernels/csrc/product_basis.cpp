// The symmetric product basis of one atom: folding weights into coefficients, values and gradients.
#include "product_basis.hpp"

#include "product_basis_slab.hpp"

namespace equipot {

template <class T>
void product_basis_fold(const ProductBasisProgram& program, int64_t channels, const T* weights, T* coefficients) {
  Slab<T>* coefficient = reinterpret_cast<Slab<T>*>(coefficients);
  for (int64_t c = 0; c < channels; c += product_basis_tile<T>) {
    product_basis_fold_tile(program, channels, weights + c, channels - c, coefficient);
    coefficient += program.num_entries();
  }
}

template <class T>
void product_basis_forward(const ProductBasisProgram& program, int64_t channels, const T* x, const T* coefficients,
                           T* out, ProductBasisScratch<T>& scratch) {
  Slab<T>* values =
      reinterpret_cast<Slab<T>*>(scratch.reserve((program.num_nodes() + program.num_outputs) * product_basis_tile<T>));
  Slab<T>* totals = values + program.num_nodes();
  const Slab<T>* coefficient = reinterpret_cast<const Slab<T>*>(coefficients);
  for (int64_t c = 0; c < channels; c += product_basis_tile<T>) {
    const int64_t count = channels - c;
    for (int32_t n = 0; n < program.num_inputs; ++n) values[1 + n] = Slab<T>::first(x + n * channels + c, count);
    product_basis_nodes(program, values);
    product_basis_outputs(program, values, coefficient, totals);
    for (int32_t o = 0; o < program.num_outputs; ++o) totals[o].store_first(out + o * channels + c, count);
    coefficient += program.num_entries();
  }
}

template <class T>
void product_basis_backward(const ProductBasisProgram& program, int64_t channels, const T* x, const T* coefficients,
                            const T* g, T* gx, ProductBasisScratch<T>& scratch) {
  Slab<T>* values = reinterpret_cast<Slab<T>*>(
      scratch.reserve((2 * program.num_nodes() + program.num_outputs) * product_basis_tile<T>));
  Slab<T>*gradients = values + program.num_nodes(), *g_out = gradients + program.num_nodes();
  const Slab<T>* coefficient = reinterpret_cast<const Slab<T>*>(coefficients);
  for (int64_t c = 0; c < channels; c += product_basis_tile<T>) {
    const int64_t count = channels - c;
    for (int32_t n = 0; n < program.num_inputs; ++n) values[1 + n] = Slab<T>::first(x + n * channels + c, count);
    for (int32_t o = 0; o < program.num_outputs; ++o) g_out[o] = Slab<T>::first(g + o * channels + c, count);
    product_basis_nodes(program, values);
    product_basis_gradients<false>(program, values, coefficient, g_out, gradients, static_cast<Slab<T>*>(nullptr));
    for (int32_t n = 0; n < program.num_inputs; ++n) gradients[1 + n].store_first(gx + n * channels + c, count);
    coefficient += program.num_entries();
  }
}

template void product_basis_fold(const ProductBasisProgram&, int64_t, const float*, float*);
template void product_basis_fold(const ProductBasisProgram&, int64_t, const double*, double*);
template void product_basis_forward(const ProductBasisProgram&, int64_t, const float*, const float*, float*,
                                    ProductBasisScratch<float>&);
template void product_basis_forward(const ProductBasisProgram&, int64_t, const double*, const double*, double*,
                                    ProductBasisScratch<double>&);
template void product_basis_backward(const ProductBasisProgram&, int64_t, const float*, const float*, const float*,
                                     float*, ProductBasisScratch<float>&);
template void product_basis_backward(const ProductBasisProgram&, int64_t, const double*, const double*, const double*,
                                     double*, ProductBasisScratch<double>&);

}  // namespace equipot

EQUIPOT_API equipot::ProductBasisProgram* equipot_product_basis_program(
    int32_t num_inputs, int32_t num_outputs, int32_t num_paths, int32_t num_products, const int32_t* products,
    int32_t num_groups, const int32_t* first_group, const int32_t* groups, int32_t num_entries, const int32_t* factor,
    const int32_t* first_term, const int32_t* term_path, const double* term_value) {
  auto* program = new equipot::ProductBasisProgram;
  program->num_inputs = num_inputs;
  program->num_outputs = num_outputs;
  program->num_paths = num_paths;
  for (int32_t n = 0; n < num_products; ++n) program->products.push_back({products[2 * n], products[2 * n + 1]});
  program->first_group.assign(first_group, first_group + num_outputs + 1);
  for (int32_t n = 0; n < num_groups; ++n) {
    program->groups.push_back({groups[3 * n], groups[3 * n + 1], groups[3 * n + 2]});
  }
  program->factor.assign(factor, factor + num_entries);
  program->first_term.assign(first_term, first_term + num_entries + 1);
  for (int32_t n = 0; n < first_term[num_entries]; ++n) program->terms.push_back({term_path[n], term_value[n]});
  return program;
}
