/* Memory of the module: blocks of multiples of 64 bytes, the free ones in a list by address. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define UNIT 64u
#define PAGE 65536u
#define MOST 0x7ff00000u /* an address is a positive number in JavaScript too */

struct block { /* stands in the UNIT before the memory of a block */
  uint32_t size; /* with the header */
  struct block *next;
};

extern unsigned char __heap_base;

static struct block *first;
static uintptr_t end; /* of the memory that blocks were made of */

static void put(struct block *block) {
  struct block **at = &first;
  while (*at && *at < block) at = &(*at)->next;
  block->next = *at;
  *at = block;
  struct block *next = block->next;
  if (next && (char *)block + block->size == (char *)next) {
    block->size += next->size;
    block->next = next->next;
  }
  for (struct block *before = first; before; before = before->next)
    if (before->next == block && (char *)before + before->size == (char *)block) {
      before->size += block->size;
      before->next = block->next;
    }
}

static int grow(uint32_t bytes) {
  if (!end) end = ((uintptr_t)&__heap_base + UNIT - 1) / UNIT * UNIT;
  const uintptr_t had = (uintptr_t)__builtin_wasm_memory_size(0) * PAGE;
  if (bytes > MOST - end) return 0;
  if (end + bytes > had) {
    const uintptr_t pages = (end + bytes - had + PAGE - 1) / PAGE;
    if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) return 0;
  }
  const uintptr_t top = (uintptr_t)__builtin_wasm_memory_size(0) * PAGE;
  struct block *block = (struct block *)end;
  block->size = top - end;
  end = top;
  put(block);
  return 1;
}

int posix_memalign(void **memory, size_t alignment, size_t bytes) {
  (void)alignment; /* every block lies at a multiple of 64 */
  if (bytes > MOST - 2 * UNIT) return 1;
  const uint32_t size = (bytes + UNIT - 1) / UNIT * UNIT + UNIT;
  for (int turn = 0; turn < 2; turn++) {
    for (struct block **at = &first; *at; at = &(*at)->next) {
      struct block *block = *at;
      if (block->size < size) continue;
      if (block->size > size + UNIT) {
        struct block *rest = (struct block *)((char *)block + size);
        rest->size = block->size - size;
        rest->next = block->next;
        block->size = size;
        *at = rest;
      } else {
        *at = block->next;
      }
      *memory = (char *)block + UNIT;
      return 0;
    }
    if (!turn && !grow(size)) return 1;
  }
  return 1;
}

void *calloc(size_t count, size_t size) {
  void *memory;
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes) || posix_memalign(&memory, UNIT, bytes))
    return NULL;
  return memset(memory, 0, bytes);
}

void free(void *memory) {
  if (memory) put((struct block *)((char *)memory - UNIT));
}
