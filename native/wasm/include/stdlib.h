/* What the kernels take of the C library; memory.c has it. */
#ifndef RNNEDGE_STDLIB_H
#define RNNEDGE_STDLIB_H

#include <stddef.h>

void *calloc(size_t count, size_t size);
int posix_memalign(void **memory, size_t alignment, size_t bytes);
void free(void *memory);
static inline int abs(int x) { return x < 0 ? -x : x; }

#endif
