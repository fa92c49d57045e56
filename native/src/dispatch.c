/* Chooses the set of kernels by what the processor has. */
#include <string.h>

#include "kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
/*
 * By cpuid itself: what compilers offer for it takes a library of theirs, which others leave empty.
 * An instruction set is usable where the system keeps its registers, too, by XCR0.
 */
static unsigned bits(unsigned leaf, unsigned part, char from) {
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid_count(leaf, part, &eax, &ebx, &ecx, &edx)) return 0;
  return from == 'a' ? eax : from == 'b' ? ebx : ecx;
}

static int keeps(unsigned registers) {
  unsigned low, high;
  if (!(bits(1, 0, 'c') >> 27 & 1)) return 0; /* OSXSAVE */
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & registers) == registers;
}

static int has_avx2(void) { /* and AVX and FMA */
  const unsigned first = bits(1, 0, 'c');
  return keeps(0x6) && (first >> 28 & 1) && (first >> 12 & 1) && (bits(7, 0, 'b') >> 5 & 1);
}

static int has_avx512(void) { /* F, DQ, BW and VL */
  const unsigned wanted = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
  return has_avx2() && keeps(0xe6) && (bits(7, 0, 'b') & wanted) == wanted;
}

static int has_avxvnni(void) {
  return has_avx2() && bits(7, 0, 'a') >= 1 && (bits(7, 1, 'a') >> 4 & 1);
}

static int has_avx512vnni(void) { return has_avx512() && (bits(7, 0, 'c') >> 11 & 1); }
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
    fill(0, has_avx512vnni(), &kernels_avx512, &integers_avx512vnni);
    fill(1, has_avx512(), &kernels_avx512, &integers_avx512);
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
