// The symmetric product basis of one atom: folding weights into coefficients, values and gradients.
#include "product/product_basis.hpp"

#include "product/product_basis_slab.hpp"

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

// Numbers as read_product_basis_program takes them. The program lives as long as the process.
EQUIPOT_API equipot::ProductBasisProgram* equipot_product_basis_program(const int64_t* integers, const double* reals) {
  struct {
    const int64_t* integers(int64_t count) { return (next_integer += count) - count; }
    const double* reals(int64_t count) { return (next_real += count) - count; }
    int64_t integer() { return *integers(1); }
    const int64_t* next_integer;
    const double* next_real;
  } source{integers, reals};
  return new equipot::ProductBasisProgram(equipot::read_product_basis_program(source));
}
