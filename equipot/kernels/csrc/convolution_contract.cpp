// The contraction over edges: sums stay in registers over all edges of a chunk, for one or a few registers of channels.
#include "convolution_contract.hpp"

#include "vector_part.hpp"

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
void contract_all(const Contraction<T>& p) {
  constexpr int L = lanes<T>, U = unrolled<Out>;
  int64_t c = 0;
  for (; c + U * L <= p.channels; c += U * L) contract_channels<T, In, Out, U>(p, c, Whole<T>());
  if constexpr (U > 1)
    for (; c + L <= p.channels; c += L) contract_channels<T, In, Out, 1>(p, c, Whole<T>());
  if (c < p.channels) contract_channels<T, In, Out, 1>(p, c, First<T>(int(p.channels - c)));
}

template <class T, int In>
void contract_to(int l_out, const Contraction<T>& p) {
  switch (l_out) {
    case 0: return contract_all<T, In, 1>(p);
    case 1: return contract_all<T, In, 3>(p);
    case 2: return contract_all<T, In, 5>(p);
    case 3: return contract_all<T, In, 7>(p);
    default: return contract_all<T, In, 9>(p);
  }
}

}  // namespace

template <class T>
void contract(int l_in, int l_out, bool diagonal, const Contraction<T>& p) {
  if (diagonal) return contract_to<T, 0>(l_out, p);
  switch (l_in) {
    case 0: return contract_to<T, 1>(l_out, p);
    case 1: return contract_to<T, 3>(l_out, p);
    case 2: return contract_to<T, 5>(l_out, p);
    case 3: return contract_to<T, 7>(l_out, p);
    default: return contract_to<T, 9>(l_out, p);
  }
}

template void contract(int, int, bool, const Contraction<float>&);
template void contract(int, int, bool, const Contraction<double>&);

}  // namespace equipot
