/*
 * The C library's own malloc, for what this one cannot serve: there was no address space for a heap
 * (a limit on it, or memory that is locked as it is mapped), or there is no more. The program is
 * then as well off as without this library.
 *
 * There is none in a program that is linked statically, or with a C library that does not show it.
 */
#ifndef HAKMEM_LIBCLIENT_LASTRESORT_H
#define HAKMEM_LIBCLIENT_LASTRESORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At a multiple of `alignment`, a power of two; zero all over if `zero`. NULL: it has none,
 * either. */
void *lastresort_allocate(size_t n_bytes, size_t alignment, bool zero);

/* For a pointer that is not ours. False: nothing has ever come from here. */
bool lastresort_free(void *block);
bool lastresort_usable(const void *block, size_t *n_bytes);

/* Blocks that it was asked for, and gave. */
uint64_t lastresort_n_blocks(void);

#endif
