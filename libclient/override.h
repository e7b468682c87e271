/*
 * The malloc family's prototypes, as the C library declares them. Not from <stdlib.h> and
 * <malloc.h>: their attributes would let the compiler assume of these functions, while it compiles
 * them, what only their callers may assume.
 */
#ifndef HAKMEM_LIBCLIENT_OVERRIDE_H
#define HAKMEM_LIBCLIENT_OVERRIDE_H

#include <stddef.h>

void *malloc(size_t n_bytes);
void free(void *block);
void *calloc(size_t n, size_t size);
void *realloc(void *block, size_t n_bytes);
void *reallocarray(void *block, size_t n, size_t size);
int posix_memalign(void **out, size_t alignment, size_t n_bytes);
void *aligned_alloc(size_t alignment, size_t n_bytes);
void *memalign(size_t alignment, size_t n_bytes);
void *valloc(size_t n_bytes);
void *pvalloc(size_t n_bytes);
size_t malloc_usable_size(void *block);
void free_sized(void *block, size_t n_bytes);
void free_aligned_sized(void *block, size_t alignment, size_t n_bytes);
void cfree(void *block);

#endif
