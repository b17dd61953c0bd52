// Entry points of the convolution over all atoms of a batch, with weights from a spline table or given edge by edge.
//
// Arrays have a row an edge or an atom. Edges are sorted by receiver: those of atom i are center_ptr[i]..center_ptr[i+1].
// Those it sends are neighbor_order[neighbor_ptr[i]..neighbor_ptr[i+1]]. Passes return 0, 1 when
// memory runs out, or 2 when a knot lies outside the table.
#include "convolution/convolution_atoms.hpp"

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
  const T *g, *hx, *h_harmonics, *h_basis, *h_weights, *b;
  T *out, *gx, *g_harmonics, *g_basis, *g_weights;
  int threads;
  int is_spline;  // weights are a table; `basis` does not tell, since without edges it may be null
};

template <class T>
int threads_for(const Arguments<T>& a) {
  return useful_threads(a.center_ptr[a.num_atoms] * a.plan->work, a.threads);
}

template <class T, class Body>
void with_weights(const Arguments<T>& a, GatheredEdges<T>& edges, T* g_weights, Body body) {
  if (a.is_spline)
    body(SplineWeights<T>{a.weights, g_weights, edges.h_basis, a.h_weights});
  else
    body(EdgeWeights<T>{a.weights, g_weights, a.h_weights});
}

// Calls body(path, edges, atom) for all atoms, a block of them at a time, path by path; prepare(edges, atom) before the
// first path and finish(edges, atom) after the last.
template <class T, class Prepare, class Body, class Finish>
void for_blocks(const ConvolutionPlan& plan, int64_t first, int64_t last, Prepare prepare, Body body, Finish finish) {
  auto& edges = ConvolutionThread<T>::here().edges;
  for (int64_t start = first; start < last; start += atom_block) {
    const int64_t count = std::min(atom_block, last - start);
    for (int64_t k = 0; k < count; ++k) prepare(edges[k], start + k);
    for (const ConvolutionPath& path : plan.paths)
      for (int64_t k = 0; k < count; ++k) body(path, edges[k], start + k);
    for (int64_t k = 0; k < count; ++k) finish(edges[k], start + k);
  }
}

// Receiver pass: the result, or with tangents the gradient with respect to g.
template <class T>
int receive(const Arguments<T>& a, bool tangent) {
  const ConvolutionPlan& plan = *a.plan;
  const int64_t num_harmonics = plan.num_harmonics();
  const auto pass = [&](int, int64_t first, int64_t last) {
    ConvolutionScratch<T>& scratch = ConvolutionThread<T>::here().scratch;
    const auto prepare = [&](GatheredEdges<T>& edges, int64_t atom) {
      edges.select(atom, a.center_ptr, nullptr, a.neighbor);
      edges.gather(num_harmonics, a.harmonics, a.basis, a.knot);
      if (tangent) edges.gather_tangents(num_harmonics, a.h_harmonics, a.h_basis);
      std::memset(a.out + atom * plan.output_dim, 0, sizeof(T) * plan.output_dim);
    };
    const auto body = [&](const ConvolutionPath& path, GatheredEdges<T>& edges, int64_t atom) {
      T* row = a.out + atom * plan.output_dim;
      with_weights(a, edges, static_cast<T*>(nullptr), [&](const auto& weights) {
        if (tangent)
          receive_path_tangent<T>(plan, path, edges.block(), a.x, {a.hx, edges.h_harmonics}, weights, row, scratch);
        else
          receive_path<T>(plan, path, edges.block(), a.x, weights, row, scratch);
      });
    };
    for_blocks<T>(plan, first, last, prepare, body, [](GatheredEdges<T>&, int64_t) {});
  };
  return share_atoms(a.center_ptr, a.num_atoms, threads_for(a), false, pass);
}

// Sender pass: gradients of features, harmonics and weights; with tangents those of the double backward; with b, of
// features and table, those of both together.
template <class T>
int send(const Arguments<T>& a, bool tangent) {
  const ConvolutionPlan& plan = *a.plan;
  const int64_t num_harmonics = plan.num_harmonics(), input_dim = plan.input_dim;
  const int threads = threads_for(a);
  T* table_gradient = a.is_spline ? a.g_weights : nullptr;
  ThreadTables<T> tables(table_gradient, a.num_rows * plan.num_weights, threads);
  const auto pass = [&](int thread, int64_t first, int64_t last) {
    ConvolutionScratch<T>& scratch = ConvolutionThread<T>::here().scratch;
    const auto prepare = [&](GatheredEdges<T>& edges, int64_t atom) {
      edges.select(atom, a.neighbor_ptr, a.neighbor_order, a.center);
      edges.gather(num_harmonics, a.harmonics, a.basis, a.knot);
      if (tangent) edges.gather_tangents(num_harmonics, a.h_harmonics, a.h_basis);
      edges.zero_gradients(num_harmonics, a.g_harmonics, a.g_basis);
      if (a.gx) std::memset(a.gx + atom * input_dim, 0, sizeof(T) * input_dim);
    };
    const auto body = [&](const ConvolutionPath& path, GatheredEdges<T>& edges, int64_t atom) {
      const ConvolutionGradients<T> gradients{a.gx ? a.gx + atom * input_dim : nullptr, edges.g_harmonics,
                                              edges.g_basis};
      const T* x_row = a.x + atom * input_dim;
      const ConvolutionTangents<T> tangents{a.hx ? a.hx + atom * input_dim : nullptr, edges.h_harmonics};
      if (a.b) {
        const SplineWeights<T> weights{a.weights, tables.of(thread), edges.h_basis, nullptr};
        send_path_adjoint<T>(plan, path, edges.block(), x_row, a.g, a.b, tangents, weights, gradients.x_row, scratch);
        return;
      }
      with_weights(a, edges, a.is_spline ? tables.of(thread) : a.g_weights, [&](const auto& weights) {
        if (tangent)
          send_path_tangent<T>(plan, path, edges.block(), x_row, a.g, tangents, weights, gradients, scratch);
        else
          send_path<T>(plan, path, edges.block(), x_row, a.g, weights, gradients, scratch);
      });
    };
    const auto finish = [&](GatheredEdges<T>& edges, int64_t) {
      edges.scatter(edges.g_harmonics, num_harmonics, a.g_harmonics);
      edges.scatter(edges.g_basis, 4, a.g_basis);
    };
    for_blocks<T>(plan, first, last, prepare, body, finish);
  };
  const int status = share_atoms(a.neighbor_ptr, a.num_atoms, threads, table_gradient != nullptr, pass);
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
