/*
 * Growth: before the process comes to hold more than ever, pages without blocks that are at rest
 * go back to the host.
 *
 * A program whose sizes change over its life fills new spans while old ones, of sizes that it no
 * longer asks for, are kept by a few survivors each. What is held then is the sum of all its
 * phases. So each time that it has grown by a step, by SuperSlabs whose memory is new or by holes
 * that were closed (holes.h), and holds more than it did at the most, about as much is purged
 * elsewhere, from spans that nothing was taken from during the last steps. purge.c does it.
 *
 * Below the mark nothing is done. So a program whose sizes come and go in turns pays once, if at
 * all: what it takes again of purged pages raises the mark by half of that, and soon it holds what
 * it needs.
 *
 * Place in the life of a SuperSlab: carved, not emptied.
 */
#ifndef HAKMEM_LIBCLIENT_GROWTH_H
#define HAKMEM_LIBCLIENT_GROWTH_H

#include <stdint.h>

#include "common/atomic.h"
#include "common/check.h"
#include "libclient/holes.h"

/* The next step is due when holes_grown_bytes is so much. Changes under purge_lock(). */
extern uint64_t growth_due_bytes __attribute__((visibility("hidden")));
void growth_step(void);
/* What went for this reason; part of purge_counters(). */
uint64_t growth_purged_bytes(void);

/* At slow paths, after memory was taken: does a bounded piece of work if the heap has grown by a
 * step. No lock is held. */
static inline void growth_tick(void)
{
    /* Relaxed: a hint; what is done is decided under the lock. */
    if (check_unlikely(atomic_load_relaxed(&holes_grown_bytes) >=
                       atomic_load_relaxed(&growth_due_bytes)))
        growth_step();
}

#endif
