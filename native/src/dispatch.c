/* Chooses the set of kernels by what the processor has. */
#include <string.h>

#include "kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
static int has_avx2(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx512(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}
#endif

#if defined(__x86_64__)
static int has_avxvnni(void) { /* leaf 7.1 of cpuid, which older compilers do not name */
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || eax < 1) return 0;
  if (!__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx)) return 0;
  return has_avx2() && (eax >> 4 & 1);
}

static int has_avx512vnni(void) {
  return has_avx2() && has_avx512() && __builtin_cpu_supports("avx512vnni");
}
#endif

#if defined(__aarch64__)
static int has_dotprod(void) {
#if defined(__linux__)
  return getauxval(AT_HWCAP) >> 20 & 1; /* HWCAP_ASIMDDP */
#else
  return 0;
#endif
}
#endif

/* The sets, the widest first; the first call fills them in. */
static struct kernels sets[] = {
#if defined(__x86_64__)
    {.name = "avx512vnni"}, {.name = "avx512"}, {.name = "avxvnni"}, {.name = "avx2"},
#elif defined(__aarch64__)
    {.name = "dotprod"},
#endif
    {.name = "baseline"},
};
enum { SETS = sizeof sets / sizeof *sets };
static int known[SETS];

static void fill(int set, int is_known, const struct kernels *kernels,
                 const struct integer_kernels *integers) {
  const char *name = sets[set].name;
  known[set] = is_known;
  if (!is_known) return;
  sets[set] = *kernels;
  sets[set].name = name;
  sets[set].integers = integers;
}

const char *set_name(int set) { return set < SETS ? sets[set].name : NULL; }

const struct kernels *find_kernels(const char *name) {
  if (!known[SETS - 1]) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    fill(0, has_avx512vnni(), &kernels_avx512, &integers_avx512vnni);
    fill(1, has_avx2() && has_avx512(), &kernels_avx512, &integers_avx512);
    fill(2, has_avxvnni(), &kernels_avx2, &integers_avxvnni);
    fill(3, has_avx2(), &kernels_avx2, &integers_avx2);
#elif defined(__aarch64__)
    fill(0, has_dotprod(), &kernels_baseline, &integers_dotprod);
#endif
    fill(SETS - 1, 1, &kernels_baseline, &integers_baseline);
  }
  for (int set = 0; set < SETS; set++)
    if (known[set] && (!name || !strcmp(name, sets[set].name))) return &sets[set];
  return NULL;
}
