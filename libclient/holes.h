/*
 * Holes: pages that have gone back to the host from SuperSlabs in use, and have not been used
 * since.
 *
 * One bit per page of the window, in memory that is taken when the first page goes; most programs
 * never do that. They tell how much is really held, what need not be given back again, and what
 * the next block there will cost. They are told when blocks are handed out, not when pages are
 * touched.
 *
 * A unit's bits belong to whoever the unit belongs to: while it is part of a span they are under
 * its bin's lock, else under that of the units.
 *
 * Place in the life of a SuperSlab: carved, not emptied.
 */
#ifndef HAKMEM_LIBCLIENT_HOLES_H
#define HAKMEM_LIBCLIENT_HOLES_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/atomic.h"
#include "common/superslab.h"

#define PAGE_BYTES     ((size_t)4096)
#define PAGES_PER_UNIT ((unsigned)(UNIT_BYTES / PAGE_BYTES))
#define ALL_PAGES      0xffffu /* of a unit */

static_assert(PAGES_PER_UNIT == 16, "a unit's pages are 16 bits");

/* May pages go? False: there is no memory to keep a record of it. Under purge_lock(). */
bool holes_init(void);
/* Indexed by unit of the window; NULL: there never was a hole. */
extern uint16_t *holes_of_unit __attribute__((visibility("hidden")));
/* The same for whoever does not know that there was one: another thread may be in holes_init().
 * (Who finds a unit's holes, under the lock that they were made under, has seen this, too.) */
static inline const uint16_t *holes_if_any(void)
{
    /* Pairs with the release in holes_init(): the record's memory is there. */
    return atomic_load_acquire(&holes_of_unit);
}

/* These pages of the unit have gone; they are in use again. Each is to change. */
void holes_open(size_t unit, uint16_t pages);
void holes_close(size_t unit, uint16_t pages);
/* The unit's memory is not in use any more. */
void holes_forget(size_t unit);

/*
 * By how many bytes the process has come to hold more: memory that is new, and holes that were
 * closed, which are counted apart, too. Both only grow. Relaxed: figures that steer.
 */
extern uint64_t holes_grown_bytes __attribute__((visibility("hidden")));
void holes_count_new(size_t n_bytes);
uint64_t holes_closed_bytes(void);
/* What is open. */
uint64_t holes_bytes(void);

#endif
