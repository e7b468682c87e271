/*
 * Tick: what is looked at from time to time, because nobody else in the program runs that could:
 * pages without blocks, and originals of earlier forks.
 *
 * A program that neither forks nor needs another span may have both; what it does still reach are
 * the refills and flushes of its thread caches.
 */
#ifndef HAKMEM_LIBCLIENT_TICK_H
#define HAKMEM_LIBCLIENT_TICK_H

#include "libclient/purge.h"
#include "libclient/source.h"

/* At slow paths, often: reads a clock or two, and waits for nobody. No lock is held. */
static inline void tick(void)
{
    purge_tick();
    source_tick();
}

#endif
