/*
 * Spans: runs of units cut into blocks of one size class, and the bins that hold them.
 *
 * A bin is the home of one class in one arena: a lock and a list of spans with free blocks. Threads
 * are spread over arenas; a span belongs to a bin for as long as it lives, never to a thread, so a
 * thread that exits leaves nothing behind to adopt. Blocks come out and go home in batches, one
 * lock round per bin and batch, whoever frees them.
 *
 * A block is in exactly one of three places: not yet carved (index >= n_carved), free in its span
 * (its bit is set), or out: live or in a thread cache. Freeing what is not out is how double and
 * invalid frees are caught, at the latest when a thread cache is flushed.
 *
 * Life of a span: created (first blocks wanted, none free in the bin) -> partial (listed) <-> full
 * (not listed) -> empty (all blocks home): kept if it is the bin's last partial one, and short,
 * else its run goes back to runs.c.
 *
 * A bin's first span is as short as one can be, its next ones are longer where that wastes less
 * (sizeclass.h): a program has a few blocks of many classes.
 *
 * Place in the life of a SuperSlab: carved, emptied.
 */
#ifndef HAKMEM_LIBCLIENT_SPAN_H
#define HAKMEM_LIBCLIENT_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/list.h"
#include "libclient/lock.h"
#include "libclient/window.h"

#define N_ARENAS 8u

/*
 * What span.listed_in says. It changes under that bin's lock alone: who holds the lock and finds
 * the bin's number knows that the span lives and is in the list; who reads it without (relaxed)
 * learns which lock to take.
 */
#define SPAN_UNLISTED 0u

static inline unsigned span_bin_number(unsigned arena, unsigned class)
{
    return 1 + arena * (N_SMALL + 1) + class;
}

struct bin {
    struct lock lock;
    uint32_t n_partial;
    uint8_t n_gone;      /* span.c: spans that emptied and were not kept, up to KEPT_AFTER */
    struct list partial; /* span.link; in front the one to take from */
    /* Totals, under the lock; read without it for statistics. */
    uint64_t n_spans;
    uint64_t n_units;  /* of these spans */
    uint64_t n_blocks; /* likewise, as they were created */
    uint64_t n_out;    /* blocks live or in thread caches */
} __attribute__((aligned(64)));

/* Arena 0 can be used from here on. */
void span_init(void);
/* And this one. An arena that no thread uses costs no page. Under cache.c's lock, in order. */
void span_open_arena(unsigned arena);
/* Arenas 0 to that less one are open. */
unsigned span_n_arenas(void);
struct bin *span_bin(unsigned arena, unsigned class);
/* The bin of that number. */
struct bin *span_numbered_bin(unsigned number);

/* Where a span's units begin. */
static inline char *span_start(const struct span *span)
{
    return (char *)window.base + window_span_unit(span) * UNIT_BYTES;
}

/*
 * Takes up to n blocks (n >= 1) of `class`, the lowest address last in `blocks`, so that a stack
 * hands it out first. At least one unless memory is out.
 */
unsigned span_take(unsigned arena, unsigned class, void **blocks, unsigned n);

/* Sends n blocks of `class` home, from whatever arenas they are. `blocks` is left in disorder.
 * Aborts on misuse. */
void span_give(unsigned class, void **blocks, unsigned n);

/*
 * Looks at n blocks of `class` that are in a thread cache, and aborts on misuse that is to be seen
 * in them: what would come out when they go home. Leaves out those of other arenas than the first
 * one's.
 */
void span_check_cached(unsigned class, void *const *blocks, unsigned n);

/* The start of the block at `pointer`, which is in a unit of a small class; aborts if no block can
 * begin there. */
void span_check_block(const void *pointer, unsigned class);

/* Makes sure that at least n blocks of `class` are free in the bin's spans. False: out of memory.
 */
bool span_prewarm(unsigned arena, unsigned class, size_t n);

/* Releases every empty span. Bytes given back to runs.c. */
size_t span_trim(void);

/* Sums over the arenas: spans, blocks that are out; what the spans take up, blocks in them. */
void span_stats(unsigned class, uint64_t *n_spans, uint64_t *n_out);
void span_sizes(unsigned class, uint64_t *n_bytes, uint64_t *n_blocks);

#ifdef HAKMEM_DEBUG
bool span_bins_are_valid(void);
#endif

#endif
