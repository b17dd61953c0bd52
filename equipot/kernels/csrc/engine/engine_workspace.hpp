// The working memory of one thread of the inference engine, kept between calls.
#pragma once

#include "convolution/convolution.hpp"
#include "product/product_basis.hpp"
#include "simd/scratch.hpp"

namespace equipot {

template <class T>
struct Workspace {
  // Edges of one atom (engine_edges.hpp).
  Scratch<T> vector, harmonics, basis, g_vector, g_harmonics, g_basis;
  Scratch<int32_t> knot;
  Scratch<int64_t> other, order;
  // Embedding convolution: radial functions of each edge, row by edge and row by function, and their gradient.
  Scratch<T> radial, radial_transposed, g_radial;
  ConvolutionScratch<T> convolution;
  ProductBasisScratch<T> product;
  Scratch<T> rows;  // buffers that live within a tile
  // Moments (engine_moments.cpp): what lives within a tile, and what an atom's edges bring, row by edge.
  Scratch<T> moment_rows, brought;
  Scratch<int64_t> edge_number;
};

}  // namespace equipot
