// Entry points of the convolution over all atoms of a batch, with weights from a spline table or given edge by edge.
//
// Arrays have a row an edge or an atom. Edges are sorted by receiver: those of atom i are center_ptr[i]..center_ptr[i+1].
// Those it sends are neighbor_order[neighbor_ptr[i]..neighbor_ptr[i+1]]. Passes return 0, 1 when
// memory runs out, or 2 when a knot lies outside the table.
#include "convolution_atoms.hpp"

namespace equipot {
namespace {

// Everything the entry points take, by name; what an entry point or a gradient does not need is null.
template <class T>
struct Arguments {
  const ConvolutionPlan* plan;
  int64_t num_atoms;
  const int64_t *center, *neighbor, *center_ptr, *neighbor_order, *neighbor_ptr;
  const T *x, *harmonics, *basis;
  const int32_t* knot;
  const T* weights;  // or the table
  int64_t num_rows;  // of the table
  const T *g, *hx, *h_harmonics, *h_basis, *h_weights;
  T *out, *gx, *g_harmonics, *g_basis, *g_weights;
  int threads;
  int is_spline;  // weights are a table; `basis` does not tell, since without edges it may be null
};

template <class T>
int threads_for(const Arguments<T>& a) {
  return useful_threads(a.center_ptr[a.num_atoms] * a.plan->work, a.threads);
}

template <class T, class Body>
void with_weights(const Arguments<T>& a, AtomEdges<T>& edges, T* g_weights, Body body) {
  if (a.is_spline)
    body(SplineWeights<T>{a.weights, g_weights, edges.gather_basis_tangent(a.h_basis), a.h_weights});
  else
    body(EdgeWeights<T>{a.weights, g_weights, a.h_weights});
}

// Receiver pass: the result, or with tangents the gradient with respect to g.
template <class T>
int receive(const Arguments<T>& a, bool tangent) {
  const int64_t num_harmonics = a.plan->num_harmonics();
  return share_atoms(a.center_ptr, a.num_atoms, threads_for(a), false, [&](int, int64_t first, int64_t last) {
    auto& [edges, scratch] = ConvolutionThread<T>::here();
    for (int64_t atom = first; atom < last; ++atom) {
      edges.select(atom, a.center_ptr, nullptr, a.neighbor);
      edges.gather(num_harmonics, a.harmonics, a.basis, a.knot);
      T* row = a.out + atom * a.plan->output_dim;
      with_weights(a, edges, static_cast<T*>(nullptr), [&, &edges = edges, &scratch = scratch](const auto& weights) {
        if (!tangent) return convolve<T>(*a.plan, edges.block(), a.x, weights, row, scratch);
        const T* h_harmonics = edges.gather_harmonics_tangent(num_harmonics, a.h_harmonics);
        convolve_double_backward_receiver<T>(*a.plan, edges.block(), a.x, a.hx, h_harmonics, weights, row, scratch);
      });
    }
  });
}

// Sender pass: gradients of features, harmonics and weights; with tangents those of the double backward.
template <class T>
int send(const Arguments<T>& a, bool tangent) {
  const int64_t num_harmonics = a.plan->num_harmonics(), input_dim = a.plan->input_dim;
  const int threads = threads_for(a);
  T* table_gradient = a.is_spline ? a.g_weights : nullptr;
  ThreadTables<T> tables(table_gradient, a.num_rows * a.plan->num_weights, threads);
  const int status = share_atoms(
      a.neighbor_ptr, a.num_atoms, threads, table_gradient != nullptr, [&](int thread, int64_t first, int64_t last) {
        auto& [edges, scratch] = ConvolutionThread<T>::here();
        for (int64_t atom = first; atom < last; ++atom) {
          edges.select(atom, a.neighbor_ptr, a.neighbor_order, a.center);
          edges.gather(num_harmonics, a.harmonics, a.basis, a.knot);
          T* gx_row = a.gx ? a.gx + atom * input_dim : nullptr;
          T* g_harmonics = edges.harmonics_gradient(num_harmonics, a.g_harmonics);
          T* g_basis = edges.basis_gradient(a.g_basis);
          const T* x_row = a.x + atom * input_dim;
          with_weights(a, edges, a.is_spline ? tables.of(thread) : a.g_weights,
                       [&, &edges = edges, &scratch = scratch](const auto& weights) {
                         if (!tangent)
                           return convolve_backward<T>(*a.plan, edges.block(), x_row, a.g, weights, gx_row, g_harmonics,
                                                       g_basis, scratch);
                         convolve_double_backward_sender<T>(
                             *a.plan, edges.block(), x_row, a.hx ? a.hx + atom * input_dim : nullptr, a.g,
                             edges.gather_harmonics_tangent(num_harmonics, a.h_harmonics), weights, gx_row, g_harmonics,
                             g_basis, scratch);
                       });
          edges.scatter(g_harmonics, num_harmonics, a.g_harmonics);
          edges.scatter(g_basis, 4, a.g_basis);
        }
      });
  tables.sum();
  return status;
}

template <class T>
bool knots_fit(const Arguments<T>& a) {
  int32_t lowest = 0, highest = 0;
  for (int64_t e = 0; e < a.center_ptr[a.num_atoms]; ++e) {
    lowest = std::min(lowest, a.knot[e]);
    highest = std::max(highest, a.knot[e]);
  }
  return lowest == 0 && highest + 4 <= a.num_rows;
}

template <class T>
int guarded(int (*pass)(const Arguments<T>&, bool), const Arguments<T>& arguments, bool tangent) {
  if (arguments.is_spline && !knots_fit(arguments)) return 2;
  try {
    return pass(arguments, tangent);
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

}  // namespace
}  // namespace equipot

// The argument list is one struct, so that a call from Python converts one pointer and not thirty.
#define EQUIPOT_CONVOLUTION(T, SUFFIX)                                                                     \
  EQUIPOT_API int equipot_convolution_receive_##SUFFIX(const equipot::Arguments<T>* a, int tangent) {      \
    return equipot::guarded<T>(equipot::receive<T>, *a, tangent != 0);                                     \
  }                                                                                                        \
  EQUIPOT_API int equipot_convolution_send_##SUFFIX(const equipot::Arguments<T>* a, int tangent) {         \
    return equipot::guarded<T>(equipot::send<T>, *a, tangent != 0);                                        \
  }
EQUIPOT_CONVOLUTION(float, f32)
EQUIPOT_CONVOLUTION(double, f64)

// Sorts edges by neighbour, stable: neighbor_order (E) and neighbor_ptr (num_atoms + 1), and center_ptr (num_atoms + 1)
// for edges sorted by centre. Returns 0; 1 if an index lies outside 0..num_atoms; 2 if the centres do not ascend.
EQUIPOT_API int equipot_edge_index(int64_t num_atoms, int64_t num_edges, const int64_t* center, const int64_t* neighbor,
                                   int64_t* center_ptr, int64_t* neighbor_order, int64_t* neighbor_ptr) {
  std::memset(center_ptr, 0, sizeof(int64_t) * (num_atoms + 1));
  std::memset(neighbor_ptr, 0, sizeof(int64_t) * (num_atoms + 1));
  int64_t previous = 0;
  for (int64_t e = 0; e < num_edges; ++e) {
    if (uint64_t(center[e]) >= uint64_t(num_atoms) || uint64_t(neighbor[e]) >= uint64_t(num_atoms)) return 1;
    if (center[e] < previous) return 2;
    previous = center[e];
    ++center_ptr[center[e] + 1];
    ++neighbor_ptr[neighbor[e] + 1];
  }
  for (int64_t atom = 0; atom < num_atoms; ++atom) {
    center_ptr[atom + 1] += center_ptr[atom];
    neighbor_ptr[atom + 1] += neighbor_ptr[atom];
  }
  // Each start is advanced while its edges are placed, which leaves it at its successor's start: shifted back after.
  for (int64_t e = 0; e < num_edges; ++e) neighbor_order[neighbor_ptr[neighbor[e]]++] = e;
  for (int64_t atom = num_atoms; atom > 0; --atom) neighbor_ptr[atom] = neighbor_ptr[atom - 1];
  if (num_atoms >= 0) neighbor_ptr[0] = 0;
  return 0;
}
