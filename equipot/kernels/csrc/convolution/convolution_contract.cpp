// The contraction over edges: sums stay in registers over all edges of a chunk, for one or a few registers of channels.
#include "convolution/convolution_contract.hpp"

#include "convolution/convolution_orders.hpp"

namespace equipot {
namespace {

// Registers of channels worked on at a time: as many sums as leave room for weights and operands.
template <int Out>
constexpr int unrolled = Out == 1 ? 4 : Out * 2 <= (vector_bytes == 64 ? 18 : 10) ? 2 : 1;

// One or more registers of channels starting at channel `c`, all edges. In = 0 stands for a diagonal coupling.
template <class T, int In, int Out, int U, class Part>
inline void contract_channels(const Contraction<T>& p, int64_t c, Part part) {
  constexpr int L = lanes<T>;
  const int64_t in_stride = p.in_stride, out_stride = p.out_stride;
  Vec<T> acc[Out][U];
  for (int b = 0; b < Out; ++b)
    for (int u = 0; u < U; ++u) acc[b][u] = part.load(p.out + b * out_stride + c + u * L);
  for (int e = 0; e < p.count; ++e) {
    const T* x = p.in[e] + c;
    const T* w = p.weights[e] + c;
    const T* k = p.coupling + e;
    if constexpr (In == 0) {
      Vec<T> wk[U];
      for (int u = 0; u < U; ++u) wk[u] = part.load(w + u * L) * k[0];
      for (int b = 0; b < Out; ++b)
        for (int u = 0; u < U; ++u) acc[b][u] += wk[u] * part.load(x + b * in_stride + u * L);
    } else if constexpr (Out == 1 && In > 1) {
      Vec<T> total[U];
      for (int u = 0; u < U; ++u) total[u] = part.load(x + u * L) * k[0];
      for (int a = 1; a < In; ++a)
        for (int u = 0; u < U; ++u) total[u] += part.load(x + a * in_stride + u * L) * k[a * edge_chunk];
      for (int u = 0; u < U; ++u) acc[0][u] += part.load(w + u * L) * total[u];
    } else {
      Vec<T> weight[U];
      for (int u = 0; u < U; ++u) weight[u] = part.load(w + u * L);
      for (int a = 0; a < In; ++a) {
        Vec<T> wx[U];
        for (int u = 0; u < U; ++u) wx[u] = weight[u] * part.load(x + a * in_stride + u * L);
        for (int b = 0; b < Out; ++b)
          for (int u = 0; u < U; ++u) acc[b][u] += wx[u] * k[(a * Out + b) * edge_chunk];
      }
    }
  }
  for (int b = 0; b < Out; ++b)
    for (int u = 0; u < U; ++u) part.store(p.out + b * out_stride + c + u * L, acc[b][u]);
}

template <class T, int In, int Out>
struct Contract {
  static void run(const Contraction<T>& p) {
    for_channels<T, unrolled<Out>>(p.channels, [&](int64_t c, auto registers, auto part) {
      contract_channels<T, In, Out, registers>(p, c, part);
    });
  }
};

// The same of a tangent. x and its tangent y, weights w and their tangent h, couplings k and their tangent d.
template <class T, int In, int Out, int U, bool Moves, class Part>
inline void contract_tangent_channels(const TangentContraction<T>& p, int64_t c, Part part) {
  constexpr int L = lanes<T>;
  const int64_t in_stride = p.factors.in_stride, out_stride = p.factors.out_stride;
  Vec<T> acc[Out][U];
  for (int b = 0; b < Out; ++b)
    for (int u = 0; u < U; ++u) acc[b][u] = part.load(p.factors.out + b * out_stride + c + u * L);
  for (int e = 0; e < p.factors.count; ++e) {
    const T *x = p.factors.in[e] + c, *y = Moves ? p.in_tangent[e] + c : nullptr;
    const T *k = p.factors.coupling + e, *d = p.coupling_tangent + e;
    Vec<T> w[U], h[U];
    for (int u = 0; u < U; ++u) {
      w[u] = part.load(p.factors.weights[e] + c + u * L);
      h[u] = part.load(p.weights_tangent[e] + c + u * L);
    }
    for (int u = 0; u < U; ++u) {
      if constexpr (In == 0) {
        const Vec<T> of_x = h[u] * k[0] + w[u] * d[0], of_y = w[u] * k[0];
        for (int b = 0; b < Out; ++b) {
          acc[b][u] += of_x * part.load(x + b * in_stride + u * L);
          if constexpr (Moves) acc[b][u] += of_y * part.load(y + b * in_stride + u * L);
        }
      } else if constexpr (Out == 1) {
        Vec<T> of_h = {}, of_w = {};
        for (int a = 0; a < In; ++a) {
          const Vec<T> row = part.load(x + a * in_stride + u * L);
          of_h += row * k[a * edge_chunk];
          of_w += row * d[a * edge_chunk];
          if constexpr (Moves) of_w += part.load(y + a * in_stride + u * L) * k[a * edge_chunk];
        }
        acc[0][u] += h[u] * of_h + w[u] * of_w;
      } else {
        for (int a = 0; a < In; ++a) {
          const Vec<T> row = part.load(x + a * in_stride + u * L), of_d = w[u] * row;
          Vec<T> of_k = h[u] * row;
          if constexpr (Moves) of_k += w[u] * part.load(y + a * in_stride + u * L);
          for (int b = 0; b < Out; ++b)
            acc[b][u] += of_k * k[(a * Out + b) * edge_chunk] + of_d * d[(a * Out + b) * edge_chunk];
        }
      }
    }
  }
  for (int b = 0; b < Out; ++b)
    for (int u = 0; u < U; ++u) part.store(p.factors.out + b * out_stride + c + u * L, acc[b][u]);
}

template <class T, int In, int Out>
struct ContractTangent {
  static void run(const TangentContraction<T>& p) {
    if (p.in_tangent)
      for_channels<T, unrolled<Out>>(p.factors.channels, [&](int64_t c, auto registers, auto part) {
        contract_tangent_channels<T, In, Out, registers, true>(p, c, part);
      });
    else
      for_channels<T, unrolled<Out>>(p.factors.channels, [&](int64_t c, auto registers, auto part) {
        contract_tangent_channels<T, In, Out, registers, false>(p, c, part);
      });
  }
};

}  // namespace

template <class T>
void contract(int l_in, int l_out, bool diagonal, const Contraction<T>& p) {
  for_orders<T, Contract>(l_in, l_out, diagonal, p);
}

template <class T>
void contract_tangent(int l_in, int l_out, bool diagonal, const TangentContraction<T>& p) {
  for_orders<T, ContractTangent>(l_in, l_out, diagonal, p);
}

template void contract(int, int, bool, const Contraction<float>&);
template void contract(int, int, bool, const Contraction<double>&);
template void contract_tangent(int, int, bool, const TangentContraction<float>&);
template void contract_tangent(int, int, bool, const TangentContraction<double>&);

}  // namespace equipot
