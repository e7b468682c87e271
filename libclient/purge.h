/*
 * Purge: pages that hold no block go back to the host although their SuperSlab is in use.
 *
 * Metadata is out of line, so a page is free as soon as no block that is out lies in it: not of
 * free units alone, but inside spans as well, of which a few survivors may be all that is left.
 * Such pages are given back by the process itself, at slow paths, when they have been left alone
 * for a second or more: leased ones by punching them out of their file, private ones by
 * MADV_DONTNEED. They read as zero afterwards.
 *
 * Not those of a SuperSlab that was copied at a fork: a child may read what is behind them
 * (originals.c gives that back). A fork that comes between the decision and the call turns the
 * mapping private, and the kernel then refuses to punch through it.
 *
 * Place in the life of a SuperSlab: carved, not emptied.
 */
#ifndef HAKMEM_LIBCLIENT_PURGE_H
#define HAKMEM_LIBCLIENT_PURGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At slow paths, often: looks at the clock, and does a bounded piece of work when it is time. No
 * lock is held. */
void purge_tick(void);

/* Everything that can go, however short a time it has been free. Bytes. */
size_t purge_all(void);

/*
 * For growth.c, which holds purge_lock(): one SuperSlab.
 */
enum purge_when {
    PURGE_WHEN_RESTED, /* what is as it was at the look before */
    PURGE_FOR_GROWTH,  /* spans that nobody took from while the heap grew, free units */
    PURGE_NOW,
};
void purge_slab(uint32_t index, enum purge_when when);

/* Pages of one SuperSlab, under purge_lock() and a lock, or by somebody, that keeps it in use and
 * these pages out of it. False: they cannot go. */
struct superslab;
bool purge_pages(void *at, size_t n_bytes, const struct superslab *slab);

struct purge_counters {
    uint64_t purged_bytes;
    uint64_t failures; /* calls that the kernel refused: locked memory, say */
};
/* Relaxed: figures. */
struct purge_counters purge_counters(void);

struct lock;
struct lock *purge_lock(void);

#endif
