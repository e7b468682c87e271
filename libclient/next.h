/*
 * The next allocator behind this one in the program's symbol search, for pointers that are not ours
 * (HAKMEM_FOREIGN=next).
 */
#ifndef HAKMEM_LIBCLIENT_NEXT_H
#define HAKMEM_LIBCLIENT_NEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Looks it up; not from within malloc, since dlsym() may allocate. Once, from a constructor. */
void next_init(void);
/* False: there is none. */
bool next_free(void *block);
bool next_usable(const void *block, size_t *n_bytes);

#endif
