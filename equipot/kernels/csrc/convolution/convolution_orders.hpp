// From orders and channels known at run time to loops compiled for them.
#pragma once

#include <type_traits>

#include "convolution/convolution.hpp"
#include "simd/vector_part.hpp"

namespace equipot {

// Calls body(first channel, number of registers, whole or part of them) for all channels, Most registers at a time.
template <class T, int Most, class Body>
inline void for_channels(int64_t channels, Body body) {
  constexpr int L = lanes<T>;
  int64_t c = 0;
  for (; c + Most * L <= channels; c += Most * L) body(c, std::integral_constant<int, Most>(), Whole<T>());
  if constexpr (Most > 1)
    for (; c + L <= channels; c += L) body(c, std::integral_constant<int, 1>(), Whole<T>());
  if (c < channels) body(c, std::integral_constant<int, 1>(), First<T>(int(channels - c)));
}

template <class T, template <class, int, int> class Loop, int In, class Arguments>
void for_result_order(int l_out, const Arguments& arguments) {
  switch (l_out) {
    case 0: return Loop<T, In, 1>::run(arguments);
    case 1: return Loop<T, In, 3>::run(arguments);
    case 2: return Loop<T, In, 5>::run(arguments);
    case 3: return Loop<T, In, 7>::run(arguments);
    default: return Loop<T, In, 9>::run(arguments);
  }
}

// Runs Loop<T, In, Out> for components In = 2 l_in + 1 and Out = 2 l_out + 1; In = 0 stands for a diagonal coupling.
template <class T, template <class, int, int> class Loop, class Arguments>
void for_orders(int l_in, int l_out, bool diagonal, const Arguments& arguments) {
  if (diagonal) return for_result_order<T, Loop, 0>(l_out, arguments);
  switch (l_in) {
    case 0: return for_result_order<T, Loop, 1>(l_out, arguments);
    case 1: return for_result_order<T, Loop, 3>(l_out, arguments);
    case 2: return for_result_order<T, Loop, 5>(l_out, arguments);
    case 3: return for_result_order<T, Loop, 7>(l_out, arguments);
    default: return for_result_order<T, Loop, 9>(l_out, arguments);
  }
}

}  // namespace equipot
