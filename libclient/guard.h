/*
 * HAKMEM_CHECK=1: finds what the normal mode cannot; slow and hungry. The thread caches are not
 * used, so every allocation and free comes through here.
 *
 * A block is fenced (fence.h) while there is room for that. The others, which also come after the
 * first 16384 live ones, have a guard before and behind: such a block lies inside a block of the
 * heap: front guard (16 bytes, or the alignment), the program's bytes, and a back guard that fills
 * the rest. Freed, they wait in quarantine, filled with junk, until it is seen that nobody wrote to
 * them.
 */
#ifndef HAKMEM_LIBCLIENT_GUARD_H
#define HAKMEM_LIBCLIENT_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* Once, before main(). */
void guard_init(void);

/* As heap.h's, for guarded blocks. `zero`: to be cleared, else it is filled with junk. */
void *guard_allocate(size_t n_bytes, size_t alignment, bool zero);
/* A block that was allocated before the mode was known has no guards, and is freed as it is. */
void guard_free(void *block);
void *guard_resize(void *block, size_t n_bytes);
/* Exactly what was asked for. */
size_t guard_usable(const void *block);
/* free_sized(): aborts if the size is another one than was asked for. */
void guard_check_size(const void *block, size_t n_bytes);

/* Is it in a block here? */
bool guard_owns(const void *pointer);

/* Looks at what waits in quarantine and at fenced blocks that were never freed: at exit. */
void guard_check_all(void);

struct lock;
struct lock *guard_lock(void);

#endif
