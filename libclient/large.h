/*
 * Large blocks: more than the small classes hold, up to LARGE_MAX_BYTES: runs of 64 KiB units.
 *
 * Place in the life of a SuperSlab: carved, emptied.
 */
#ifndef HAKMEM_LIBCLIENT_LARGE_H
#define HAKMEM_LIBCLIENT_LARGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/superslab.h"

#define LARGE_MAX_BYTES (SUPERSLAB_BYTES / 2)

/* Alignment: a power of two up to LARGE_MAX_BYTES. *zero: reads as zero. NULL: out of memory. */
void *large_allocate(size_t n_bytes, size_t alignment, bool *zero);
/* Aborts on misuse, as does large_usable(). */
void large_free(void *block);
size_t large_usable(const void *block);
/* In place, to a size that is still large. False: there is no room; nothing has changed. */
bool large_resize(void *block, size_t n_bytes);

/* Bytes of all large blocks. */
uint64_t large_live_bytes(void);

#endif
