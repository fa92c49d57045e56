/* Chooses the set of kernels by what the processor has. */
#include <string.h>

#include "kernels.h"

#if defined(__x86_64__)
static int has_avx2(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx512(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}
#endif

const struct kernels *find_kernels(const char *name) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (has_avx2() && has_avx512() && (!name || !strcmp(name, kernels_avx512.name)))
    return &kernels_avx512;
  if (has_avx2() && (!name || !strcmp(name, kernels_avx2.name))) return &kernels_avx2;
#endif
  if (!name || !strcmp(name, kernels_baseline.name)) return &kernels_baseline;
  return NULL;
}
