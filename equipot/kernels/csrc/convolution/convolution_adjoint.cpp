// All a sender has of a chunk of edges in one loop: what comes back to its features, and the slopes of the weights.
#include "convolution/convolution_adjoint.hpp"

#include "convolution/convolution_orders.hpp"

namespace equipot {
namespace {

// p and q of one edge and register of channels, see convolution_adjoint.hpp.
template <class T, int In, int Out, class Part>
inline void couple_back(const T* g, const T* b, int64_t stride, const T* k, const T* d, Part part, Vec<T>* p,
                        Vec<T>* q) {
  if constexpr (In == 0) {
    for (int m = 0; m < Out; ++m) {
      const Vec<T> row = part.load(g + m * stride);
      p[m] = row * k[0];
      q[m] = part.load(b + m * stride) * k[0] + row * d[0];
    }
  } else {
    for (int m = 0; m < Out; ++m) p[m] = q[m] = Vec<T>{};
    for (int a = 0; a < In; ++a) {
      const Vec<T> row = part.load(g + a * stride), other = part.load(b + a * stride);
      for (int m = 0; m < Out; ++m) {
        const T coupling = k[(a * Out + m) * edge_chunk];
        p[m] += row * coupling;
        q[m] += other * coupling + row * d[(a * Out + m) * edge_chunk];
      }
    }
  }
}

template <class T, int In, int Out, int U, bool Moves, class Part>
inline void contract_adjoint_channels(const AdjointContraction<T>& pass, int64_t c, Part part) {
  constexpr int L = lanes<T>;
  Vec<T> x[Out][U], y[Moves ? Out : 1][U], acc[Out][U];
  for (int m = 0; m < Out; ++m)
    for (int u = 0; u < U; ++u) {
      const int64_t at = m * pass.channels + c + u * L;
      x[m][u] = part.load(pass.x + at);
      if constexpr (Moves) y[m][u] = part.load(pass.x_tangent + at);
      acc[m][u] = part.load(pass.x_adjoint + at);
    }
  for (int e = 0; e < pass.count; ++e) {
    for (int u = 0; u < U; ++u) {
      const int64_t at = c + u * L;
      Vec<T> p[Out], q[Out], slope = {}, slope_of_tangent = {};
      couple_back<T, In, Out>(pass.g[e] + at, pass.b[e] + at, pass.row_stride, pass.coupling + e,
                              pass.coupling_tangent + e, part, p, q);
      const Vec<T> w = part.load(pass.weights[e] + at), h = part.load(pass.weights_tangent[e] + at);
      for (int m = 0; m < Out; ++m) {
        acc[m][u] += h * p[m] + w * q[m];
        slope_of_tangent += x[m][u] * p[m];
        slope += x[m][u] * q[m];
        if constexpr (Moves) slope += y[m][u] * p[m];
      }
      part.store(pass.slope[e] + at, slope);
      part.store(pass.slope_of_tangent[e] + at, slope_of_tangent);
    }
  }
  for (int m = 0; m < Out; ++m)
    for (int u = 0; u < U; ++u) part.store(pass.x_adjoint + m * pass.channels + c + u * L, acc[m][u]);
}

template <class T, int In, int Out>
struct ContractAdjoint {
  static constexpr int most = Out == 1 ? 2 : 1;
  static void run(const AdjointContraction<T>& pass) {
    // A copy no store can alias, so that the compiler keeps its members in registers.
    const AdjointContraction<T> p = pass;
    if (p.x_tangent)
      for_channels<T, most>(p.channels, [&](int64_t c, auto registers, auto part) {
        contract_adjoint_channels<T, In, Out, registers, true>(p, c, part);
      });
    else
      for_channels<T, most>(p.channels, [&](int64_t c, auto registers, auto part) {
        contract_adjoint_channels<T, In, Out, registers, false>(p, c, part);
      });
  }
};

}  // namespace

template <class T>
void contract_adjoint(int l3, int l1, bool diagonal, const AdjointContraction<T>& pass) {
  for_orders<T, ContractAdjoint>(l3, l1, diagonal, pass);
}

template void contract_adjoint(int, int, bool, const AdjointContraction<float>&);
template void contract_adjoint(int, int, bool, const AdjointContraction<double>&);

}  // namespace equipot
