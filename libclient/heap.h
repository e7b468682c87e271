/*
 * The heap: a request of any size and alignment, a block of any kind. Beneath the malloc family and
 * above the kinds.
 *
 * Initialises the library at the first request: the loader may call malloc before any constructor
 * has run.
 */
#ifndef HAKMEM_LIBCLIENT_HEAP_H
#define HAKMEM_LIBCLIENT_HEAP_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A block of at least n_bytes at a multiple of `alignment` (a power of two). `grows`: it is
 * realloc() that asks. *zero: it is known to read as zero. NULL with errno ENOMEM; else errno is
 * kept.
 */
void *heap_allocate(size_t n_bytes, size_t alignment, bool grows, bool *zero);

/* calloc() for a size: n_bytes at a multiple of 16 that read as zero. Likewise. */
void *heap_allocate_zeroed(size_t n_bytes);

/* Frees; NULL is allowed. Keeps errno. Aborts on what is no live block of ours or, if so set, of
 * the next allocator's. */
void heap_free(void *block);

/* realloc() for a block and a size that are not 0. NULL with errno ENOMEM: the block is as it was.
 */
void *heap_resize(void *block, size_t n_bytes);
/* Usable bytes of a live block; aborts if it is none. */
size_t heap_usable(const void *block);

/* Where the block begins that `inside` points into; NULL if it points into no unit that is in use.
 */
void *heap_block_start(const void *inside);

/* Sets the heap up, if it is not. False: there is no address space to work in. */
bool heap_is_ready(void);
/* Has anything been asked of it yet? */
bool heap_is_set_up(void);

#endif
