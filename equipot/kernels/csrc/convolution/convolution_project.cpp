// The projection of g on what an atom sends: edge by edge, over all channels, gradients of harmonics in registers.
#include "convolution/convolution_project.hpp"

#include "simd/vector_part.hpp"

namespace equipot {
namespace {

template <class T, int D2, bool Tangent>
struct EdgeValues {
  Vec<T> partial[D2];
  T harmonics[D2];
  T harmonics_tangent[Tangent ? D2 : 1];
  const T *g, *weights, *weights_tangent;
  T *slope, *slope_tangent;
};

// One register of channels of one edge.
template <class T, int D2, int D3, bool Tangent, class Part>
inline void project_channels(EdgeValues<T, D2, Tangent>& edge, int64_t c, int64_t g_stride, const T* cross,
                             const T* cross_tangent, Part part) {
  constexpr int L = lanes<T>;
  Vec<T> g[D3];
  for (int b = 0; b < D3; ++b) g[b] = part.load(edge.g + b * g_stride + c);
  const Vec<T> weight = part.load(edge.weights + c);
  Vec<T> slope = {}, slope_tangent = {};
  for (int m = 0; m < D2; ++m) {
    Vec<T> v = g[0] * load(cross + m * D3 * L);
    for (int b = 1; b < D3; ++b) v += g[b] * load(cross + (m * D3 + b) * L);
    slope += v * edge.harmonics[m];
    if constexpr (Tangent) {
      Vec<T> v_tangent = g[0] * load(cross_tangent + m * D3 * L);
      for (int b = 1; b < D3; ++b) v_tangent += g[b] * load(cross_tangent + (m * D3 + b) * L);
      slope_tangent += v_tangent * edge.harmonics[m] + v * edge.harmonics_tangent[m];
      edge.partial[m] += weight * v_tangent + part.load(edge.weights_tangent + c) * v;
    } else {
      edge.partial[m] += weight * v;
    }
  }
  part.store(edge.slope + c, slope);
  if constexpr (Tangent) part.store(edge.slope_tangent + c, slope_tangent);
}

// The same for l1 = 0, where v[m] = g[m] times one number.
template <class T, int D, bool Tangent, class Part>
inline void project_channels_scalar(EdgeValues<T, D, Tangent>& edge, int64_t c, int64_t g_stride, const T* cross,
                                    const T* cross_tangent, Part part) {
  const Vec<T> x = load(cross), weight = part.load(edge.weights + c);
  Vec<T> wx = weight * x, x_tangent = {};
  if constexpr (Tangent) {
    x_tangent = load(cross_tangent);
    wx = weight * x_tangent + part.load(edge.weights_tangent + c) * x;
  }
  Vec<T> along = {}, along_tangent = {};
  for (int m = 0; m < D; ++m) {
    const Vec<T> g = part.load(edge.g + m * g_stride + c);
    along += g * edge.harmonics[m];
    if constexpr (Tangent) along_tangent += g * edge.harmonics_tangent[m];
    edge.partial[m] += wx * g;
  }
  part.store(edge.slope + c, x * along);
  if constexpr (Tangent) part.store(edge.slope_tangent + c, x * along_tangent + x_tangent * along);
}

// D3 = 0 stands for l1 = 0.
template <class T, int D2, int D3, bool Tangent>
void project_all(const Projection<T>& projection) {
  constexpr int L = lanes<T>, block = D3 == 0 ? L : D2 * D3 * L;
  // A copy no store can alias, so that the compiler keeps its members in registers.
  const Projection<T> p = projection;
  const First<T> rest(int(p.channels % L));
  for (int e = 0; e < p.count; ++e) {
    T* partial = p.partial + e * p.partial_stride;
    EdgeValues<T, D2, Tangent> edge;
    for (int m = 0; m < D2; ++m) {
      edge.partial[m] = Vec<T>{};
      edge.harmonics[m] = p.harmonics[m * p.harmonics_stride + e];
      if constexpr (Tangent) edge.harmonics_tangent[m] = p.harmonics_tangent[m * p.harmonics_stride + e];
    }
    edge.g = p.g[e];
    edge.weights = p.weights[e];
    edge.slope = p.slope[e];
    if constexpr (Tangent) {
      edge.weights_tangent = p.weights_tangent[e];
      edge.slope_tangent = p.slope_tangent[e];
    }
    const T *cross = p.cross, *cross_tangent = p.cross_tangent;
    const auto channels = [&](int64_t c, auto part) {
      if constexpr (D3 == 0)
        project_channels_scalar<T, D2, Tangent>(edge, c, p.g_stride, cross, cross_tangent, part);
      else
        project_channels<T, D2, D3, Tangent>(edge, c, p.g_stride, cross, cross_tangent, part);
      cross += block;
      if constexpr (Tangent) cross_tangent += block;
    };
    int64_t c = 0;
    for (; c + L <= p.channels; c += L) channels(c, Whole<T>());
    if (c < p.channels) channels(c, rest);
    for (int m = 0; m < D2; ++m) store(partial + m * L, edge.partial[m]);
  }
}

template <class T, int D2, bool Tangent>
void project_to(int l3, const Projection<T>& p) {
  switch (l3) {
    case 0: return project_all<T, D2, 1, Tangent>(p);
    case 1: return project_all<T, D2, 3, Tangent>(p);
    case 2: return project_all<T, D2, 5, Tangent>(p);
    case 3: return project_all<T, D2, 7, Tangent>(p);
    case 4: return project_all<T, D2, 9, Tangent>(p);
    default: return project_all<T, D2, 0, Tangent>(p);
  }
}

template <class T, bool Tangent>
void project_from(int l2, int l3, const Projection<T>& p) {
  switch (l2) {
    case 0: return project_to<T, 1, Tangent>(l3, p);
    case 1: return project_to<T, 3, Tangent>(l3, p);
    case 2: return project_to<T, 5, Tangent>(l3, p);
    case 3: return project_to<T, 7, Tangent>(l3, p);
    default: return project_to<T, 9, Tangent>(l3, p);
  }
}

}  // namespace

template <class T>
void project(int l1, int l2, int l3, bool tangent, const Projection<T>& projection) {
  if (l1 == 0) l3 = convolution_l_max + 1;
  if (tangent)
    project_from<T, true>(l2, l3, projection);
  else
    project_from<T, false>(l2, l3, projection);
}

template void project(int, int, int, bool, const Projection<float>&);
template void project(int, int, int, bool, const Projection<double>&);

}  // namespace equipot
