// What the library says of itself: which instruction set it was compiled for, and which one this CPU can run.
#include "engine/engine_api.h"
#include "simd/vector.hpp"

EQUIPOT_API int equipot_abi_version() { return EQUIPOT_ABI_VERSION; }

EQUIPOT_API int equipot_vector_bytes() { return equipot::vector_bytes; }

EQUIPOT_API int equipot_best_instruction_set() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) return 1;
#endif
  return 0;
}
