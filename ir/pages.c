#include "ir/pages.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { LINE = 64 };

void use_huge_pages(void *memory, size_t bytes) {
#ifdef MADV_HUGEPAGE
  const size_t before = -(uintptr_t)memory % HUGE_PAGE;
  if (bytes >= before + HUGE_PAGE) madvise((char *)memory + before, (bytes - before) / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE); /* advice only */
#endif
}

void *pages_new(size_t bytes, size_t *size) {
  size_t alignment = bytes < HUGE_PAGE ? LINE : HUGE_PAGE;
  *size = (bytes / alignment + (bytes % alignment != 0 || !bytes)) * alignment;
  void *memory = aligned_alloc(alignment, *size);
  if (memory) use_huge_pages(memory, *size);
  return memory;
}
