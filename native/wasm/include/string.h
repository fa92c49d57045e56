/* Copying and filling are instructions of WebAssembly. */
#ifndef RNNEDGE_STRING_H
#define RNNEDGE_STRING_H

#include <stddef.h>

void *memcpy(void *to, const void *from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);

#endif
