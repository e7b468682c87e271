/*
 * The pages of spans: which hold no block that is out, which have gone, and what is on record of
 * their being left alone.
 *
 * Everything here runs under the lock of the span's bin.
 *
 * Place in the life of a SuperSlab: carved, not emptied.
 */
#ifndef HAKMEM_LIBCLIENT_SPANPAGES_H
#define HAKMEM_LIBCLIENT_SPANPAGES_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/atomic.h"
#include "libclient/holes.h"
#include "libclient/window.h"

#define SPANPAGES_MAX (UNITS_PER_SUPERSLAB * PAGES_PER_UNIT)

/* span.rest: some of these, and n_free. */
#define SPANPAGES_SEEN   0x8000u /* at n_free, and nothing was taken since */
#define SPANPAGES_DONE   0x4000u /* and all that can go has gone */
#define SPANPAGES_HOLED  0x2000u /* some page has gone, at this n_free or another */
#define SPANPAGES_N_FREE 0x1fffu

static_assert(SPAN_MAX_BLOCKS <= SPANPAGES_N_FREE, "n_free fits");

/* The heap's age: how often it has grown by a step, modulo 256. A hint. */
extern uint8_t spanpages_age __attribute__((visibility("hidden")));

/* The pages, as set bits, that hold no part of a block that is out, or cannot, and have not gone.
 * How many. */
unsigned spanpages_find_free(const struct span *span, uint64_t pages[SPANPAGES_MAX / 64]);

/* Pages [page, end) of the span have gone. */
void spanpages_open_holes(struct span *span, uint32_t page, uint32_t end);
/* These blocks of a holed span have been taken. */
void spanpages_close_holes(struct span *span, void *const *blocks, unsigned n);

#ifdef HAKMEM_DEBUG
/* No block that is out lies in a page that has gone, and the flags agree. */
bool spanpages_are_valid(const struct span *span);
#endif

/* Blocks are taken from it. */
static inline void spanpages_note_use(struct span *span)
{
    /* Relaxed: hints, also read without the lock. */
    atomic_store_relaxed(&span->used_at, atomic_load_relaxed(&spanpages_age));
    span->rest &= SPANPAGES_HOLED;
}

#endif
