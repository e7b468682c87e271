/*
 * Huge blocks: whole SuperSlabs in a row. Leased where an extent can hold them, else private.
 *
 * Place in the life of a SuperSlab: carved as one, emptied as one.
 */
#ifndef HAKMEM_LIBCLIENT_HUGE_H
#define HAKMEM_LIBCLIENT_HUGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `grows`: for realloc(), which will want more of it. Any power of two as alignment. NULL: out of
 * memory. */
void *huge_allocate(size_t n_bytes, size_t alignment, bool grows, bool *zero);
/* All of it reads as zero, as far as n_bytes. *is_new: it did without being cleared. */
void *huge_allocate_zeroed(size_t n_bytes, bool *is_new);
/* Aborts on misuse, as does huge_usable(). */
void huge_free(void *block);
size_t huge_usable(const void *block);
/*
 * Makes it n_bytes without copying: in place, or by moving its pages. The new place of the block,
 * or NULL: neither is possible, nothing has changed.
 */
void *huge_resize(void *block, size_t n_bytes);

/*
 * What is resident for huge blocks beyond what they were asked for, less the quarter that may be:
 * in pages, below zero while it is less. And: so much of this block's end has gone back.
 */
int64_t huge_spare_pages(void);
void huge_note_given_back(void *block, size_t n_bytes);

/* Bytes of all huge blocks. */
uint64_t huge_live_bytes(void);

#endif
