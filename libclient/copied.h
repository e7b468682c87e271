/*
 * Which pages of a private file mapping has this process copied by writing to them? The kernel's
 * page tables tell (Documentation/admin-guide/mm/pagemap.rst).
 *
 * Copied is what is mapped at this moment and is neither the file's page nor the kernel's page of
 * zeros. A copy that is swapped out looks to an unprivileged reader like other things that are not
 * copies, and so is left out. Nothing that is not a copy is ever said to be one.
 *
 * Not thread-safe: originals.c's, under source.c's lock.
 */
#ifndef HAKMEM_LIBCLIENT_COPIED_H
#define HAKMEM_LIBCLIENT_COPIED_H

#include <stdbool.h>
#include <stdint.h>

#define COPIED_PAGE_BYTES 4096u
#define COPIED_PAGES      512u /* of a SuperSlab */
#define COPIED_WORDS      (COPIED_PAGES / 64)

/* A descriptor to ask by, or -1: no /proc, or not for this process. The caller closes it. */
int copied_open(void);

/* Sets the bits of the SuperSlab's pages that are copied; the others stay as they are. False: the
 * kernel does not tell. */
bool copied_find(int fd, const void *superslab, uint64_t bits[COPIED_WORDS]);

/* The two ways to ask: the first from Linux 6.7 on. */
bool copied_find_by_scan(int fd, const void *superslab, uint64_t bits[COPIED_WORDS]);
bool copied_find_by_reading(int fd, const void *superslab, uint64_t bits[COPIED_WORDS]);

#endif
