/*
 * Tells of forks that ran no handlers (_Fork, raw clone): a page that the kernel zeroes in a child
 * with a copied address space (MADV_WIPEONFORK), with a word for each of those who want to know. It
 * stays silent in a vfork child, which shares our state. A kernel without it: such forks go
 * unnoticed, as everywhere.
 *
 * Set under source.c's lock; any thread may ask.
 */
#ifndef HAKMEM_LIBCLIENT_FORKMARK_H
#define HAKMEM_LIBCLIENT_FORKMARK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/atomic.h"
#include "common/check.h"

enum forkmark { FORKMARK_LINK, FORKMARK_ORIGINALS, N_FORKMARKS };

/* The word of each mark in that page; NULL: not set. Constant once it is set. */
extern uint32_t *forkmark_words[N_FORKMARKS] __attribute__((visibility("hidden")));

/* From now on a child is told from us. False: it will not be. `n_syscalls` is where the caller
 * counts what is called here. */
bool forkmark_set(enum forkmark which, uint64_t *n_syscalls);
/* Are we a child of the process that set it? False where it was never set. Asked for each SuperSlab
 * that is taken or freed. Relaxed: it orders nothing. */
static inline bool forkmark_is_wiped(enum forkmark which)
{
    const uint32_t *word = forkmark_words[which];
    return word && check_unlikely(atomic_load_relaxed(word) == 0);
}

#endif
